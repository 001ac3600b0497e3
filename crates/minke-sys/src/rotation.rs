//! The names of a log that is rotated: the current file has the log's, older ones have `.1`, `.2` and so on behind it, and `.gz`
//! behind that once they are packed. Only one process at a time may change them (docs/design/streams.md): the shim while its
//! container runs, the engine while it doesn't.
//!
//! ```text
//!  rotate:   x -> x.1 -> x.2 -> ...          last to first; the last place is given up first
//!  replace:  made elsewhere -> x.N.gz, then x.N goes     not while a reader has locked x.N
//! ```
//! Where a crash has left both forms in one place, the unpacked one counts.

use alloc::format;
use alloc::string::{String, ToString as _};

use rustix::fs::{Access, AtFlags, CWD, FlockOperation, Mode, OFlags};

use crate::{AsFd, Errno, Result};

/// What a packed file's name has behind its number.
pub const PACKED: &str = ".gz";

/// The names of one log.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    /// The current file's.
    pub path: &'a str,
    /// How many files are kept, at least 1.
    pub files: u32,
    /// Older ones may be packed.
    pub packs: bool,
}

impl Names<'_> {
    /// Gives every file the next older name, so that a new current one can be made. What can't be renamed stays where it is.
    pub fn rotate(&self) {
        // Emptied under a reader it would be read from the middle: a new one takes its place.
        if self.files <= 1 {
            let _ = rustix::fs::unlink(self.path);
            return;
        }
        let last = self.files - 1;
        let vacant = (1..=last).find(|place| !self.is_taken(*place)).unwrap_or(last);
        if self.packs && vacant == last {
            let _ = rustix::fs::unlink(self.packed(last));
            let _ = rustix::fs::unlink(self.plain(last));
        }
        for place in (0..vacant).rev() {
            self.shift(place);
        }
    }

    fn shift(&self, place: u32) {
        let plain = self.plain(place);
        if !self.packs || place == 0 || exists(&plain) {
            if self.packs && place > 0 {
                let _ = rustix::fs::unlink(self.packed(place));
            }
            let _ = rustix::fs::rename(plain, self.plain(place + 1));
        } else {
            let _ = rustix::fs::rename(self.packed(place), self.packed(place + 1));
        }
    }

    /// Puts the file `packed`, on the same file system, in the place of an older one, which is open: a file that is open keeps its number.
    ///
    /// # Errors
    /// `NOENT` if the older one or `packed` isn't there any more, `AGAIN` while somebody reads it.
    pub fn replace(&self, older: impl AsFd, packed: &str) -> Result<()> {
        let wanted = rustix::fs::fstat(older)?;
        for place in 1..self.files {
            let plain = self.plain(place);
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let Ok(file) = rustix::fs::open(&plain, flags, Mode::empty()) else { continue };
            let found = rustix::fs::fstat(&file)?;
            if (found.st_dev, found.st_ino) != (wanted.st_dev, wanted.st_ino) {
                continue;
            }
            rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
            rustix::fs::rename(packed, self.packed(place))?;
            return rustix::fs::unlink(plain);
        }
        Err(Errno::NOENT)
    }

    fn is_taken(&self, place: u32) -> bool {
        exists(&self.plain(place)) || (self.packs && exists(&self.packed(place)))
    }

    fn plain(&self, place: u32) -> String {
        if place == 0 { self.path.to_string() } else { format!("{}.{place}", self.path) }
    }

    fn packed(&self, place: u32) -> String {
        format!("{}{PACKED}", self.plain(place))
    }
}

fn exists(path: &str) -> bool {
    rustix::fs::accessat(CWD, path, Access::EXISTS, AtFlags::empty()).is_ok()
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use std::path::PathBuf;

    use super::*;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("minke-rotation-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&folder);
            std::fs::create_dir_all(&folder).unwrap();
            Self(folder)
        }

        fn path(&self, name: &str) -> String {
            self.0.join(name).to_str().unwrap().to_owned()
        }

        fn write(&self, name: &str, text: &str) {
            std::fs::write(self.path(name), text).unwrap();
        }

        /// The files that are there, and what is in them.
        fn found(&self) -> String {
            let mut found: Vec<String> = std::fs::read_dir(&self.0)
                .unwrap()
                .map(|entry| {
                    let path = entry.unwrap().path();
                    let text = std::fs::read_to_string(&path).unwrap();
                    format!("{}={text}", path.file_name().unwrap().to_str().unwrap())
                })
                .collect();
            found.sort();
            found.join(" ")
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn every_file_gets_the_next_older_name_packed_or_not() {
        let scratch = Scratch::new("names");
        let path = scratch.path("x");
        let names = Names { path: &path, files: 4, packs: true };
        for (before, after) in [
            (&[("x", "a")][..], "x.1=a"),
            (&[("x", "b"), ("x.1.gz", "a")], "x.1=b x.2.gz=a"),
            (&[("x", "d"), ("x.1", "c"), ("x.2.gz", "b"), ("x.3", "a")], "x.1=d x.2=c x.3.gz=b"),
            (&[("x", "d"), ("x.1.gz", "c"), ("x.2", "b"), ("x.3.gz", "a")], "x.1=d x.2.gz=c x.3=b"),
            // Cut short: a gap is filled, and of two forms the unpacked one counts.
            (&[("x", "c"), ("x.2", "b"), ("x.3.gz", "a")], "x.1=c x.2=b x.3.gz=a"),
            (&[("x", "b"), ("x.1", "a"), ("x.1.gz", "a")], "x.1=b x.2=a"),
        ] {
            for (name, text) in before {
                scratch.write(name, text);
            }
            names.rotate();
            assert_eq!(scratch.found(), after, "{before:?}");
            for entry in std::fs::read_dir(&scratch.0).unwrap() {
                std::fs::remove_file(entry.unwrap().path()).unwrap();
            }
        }
    }

    #[test]
    fn the_one_file_that_is_meant_is_replaced_wherever_it_is_by_now() {
        let scratch = Scratch::new("replace");
        let path = scratch.path("x");
        let names = Names { path: &path, files: 4, packs: true };
        scratch.write("x", "b");
        scratch.write("x.1", "a");
        let meant = std::fs::File::open(scratch.path("x.1")).unwrap();
        names.rotate();
        scratch.write("made", "A");
        let other = std::fs::File::open(scratch.path("made")).unwrap();
        assert_eq!(names.replace(&other, &scratch.path("made")), Err(Errno::NOENT));
        assert_eq!(names.replace(&meant, &scratch.path("gone")), Err(Errno::NOENT));
        let reader = std::fs::File::open(scratch.path("x.2")).unwrap();
        rustix::fs::flock(&reader, FlockOperation::NonBlockingLockShared).unwrap();
        assert_eq!(names.replace(&meant, &scratch.path("made")), Err(Errno::AGAIN));
        drop(reader);
        names.replace(&meant, &scratch.path("made")).unwrap();
        assert_eq!(scratch.found(), "x.1=b x.2.gz=A");
    }

    #[test]
    fn one_file_only_makes_room_for_itself() {
        let scratch = Scratch::new("one");
        scratch.write("x", "a");
        Names { path: &scratch.path("x"), files: 1, packs: false }.rotate();
        assert_eq!(scratch.found(), "");
    }
}
