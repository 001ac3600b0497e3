//! The files of a log while a shim rotates and an engine packs them: `x` is renamed to `x.1`, `x.1` before it to `x.2`, and a new `x`
//! made; `x.2` may become `x.2.gz` meanwhile. Names change under a reader, open files don't: a file is known by its number on the
//! device, which nobody else gets while it is open. What a reader has open and locked isn't packed (docs/design/streams.md), so its
//! place can always be found, until it is given up.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use minke_sys::rotation::PACKED;
use rustix::fs::FlockOperation;

/// How often a file is looked for anew that is on its way from one name to the next.
const ATTEMPTS: u32 = 2000;
/// After so many, whoever has begun to change the names is given time to finish.
const BUSY_ATTEMPTS: u32 = 1000;

/// What a file is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    /// Of an open file.
    pub fn of(file: &File) -> io::Result<Self> {
        let found = file.metadata()?;
        Ok(Self { device: found.dev(), inode: found.ino() })
    }

    fn at(path: &Path) -> io::Result<Option<Self>> {
        match std::fs::metadata(path) {
            Ok(found) => Ok(Some(Self { device: found.dev(), inode: found.ino() })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// One of a log's files, open. While it is, it isn't packed.
#[derive(Debug)]
pub struct LogFile {
    file: File,
    packed: bool,
}

impl LogFile {
    /// One that isn't packed.
    pub fn plain(file: File) -> Self {
        Self { file, packed: false }
    }

    /// The open file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Whether its content is packed; then it is complete.
    pub fn is_packed(&self) -> bool {
        self.packed
    }

    /// What it is known by.
    pub fn identity(&self) -> io::Result<Identity> {
        Identity::of(&self.file)
    }

    /// Lets it be packed, also while it is open.
    pub fn unlock(&self) -> io::Result<()> {
        Ok(rustix::fs::flock(&self.file, FlockOperation::Unlock)?)
    }

    /// Whether it has been given up: nobody will find it again.
    pub fn is_gone(&self) -> io::Result<bool> {
        Ok(self.file.metadata()?.nlink() == 0)
    }
}

/// Opens all files of the log whose current one is called `path`, oldest first. In the middle of a rotation there may be no
/// current one.
pub fn open_all(path: &Path) -> io::Result<Vec<LogFile>> {
    let mut files = Vec::new();
    let Some((oldest, mut place)) = oldest(path)? else { return Ok(files) };
    files.push(oldest);
    while let Some(last) = files.last()
        && let Some(next) = after(path, last, &mut place)?
    {
        files.push(next);
    }
    Ok(files)
}

/// What comes after `file`, one of the log's or one that was: the next newer one, or, if it is gone itself, the oldest that is
/// left. `place` is where it was last seen, or 0: names only grow, so it is looked for from there upwards and can't be missed.
pub fn after(path: &Path, file: &LogFile, place: &mut usize) -> io::Result<Option<LogFile>> {
    let identity = file.identity()?;
    for attempt in 0..ATTEMPTS {
        be_patient(attempt);
        if file.is_gone()? {
            let Some((oldest, found)) = oldest(path)? else { return Ok(None) };
            *place = found;
            return Ok(Some(oldest));
        }
        // Not found and not gone: two rotations came between two looks.
        let Some(found) = find(path, identity, *place)? else { continue };
        *place = found;
        if found == 0 {
            return Ok(None);
        }
        let next = open(path, found - 1)?;
        // Whoever is renamed goes last to first: while this file has its name, what was opened is its successor.
        if is_at(path, found, identity)? {
            match next {
                Some(next) => {
                    *place = found - 1;
                    return Ok(Some(next));
                }
                None if found == 1 => return Ok(None),
                None => {}
            }
        }
    }
    Ok(None)
}

/// The newest file of the log that is complete, not packed, and not among `known`.
pub fn newest_unpacked(path: &Path, known: &[Identity]) -> io::Result<Option<LogFile>> {
    for place in 1.. {
        if let Some(identity) = Identity::at(&name(path, place))? {
            if !known.contains(&identity)
                && let Some(file) = open(path, place)?
                && !file.packed
                && !known.contains(&file.identity()?)
            {
                return Ok(Some(file));
            }
        } else if anything_at(path, place)?.is_none() && is_end(path, place)? {
            break;
        }
    }
    Ok(None)
}

/// The place of a file, looked for from `from` upwards.
fn find(path: &Path, identity: Identity, from: usize) -> io::Result<Option<usize>> {
    for place in from.. {
        if is_at(path, place, identity)? {
            return Ok(Some(place));
        }
        if anything_at(path, place)?.is_none() && is_end(path, place)? {
            break;
        }
    }
    Ok(None)
}

/// The oldest file and its place.
fn oldest(path: &Path) -> io::Result<Option<(LogFile, usize)>> {
    for attempt in 0..ATTEMPTS {
        be_patient(attempt);
        // Held open, so that no later one is taken for it: while it is the current one, at most one rotation has begun.
        let current = open(path, 0)?;
        let mut last = None;
        for place in 0.. {
            match anything_at(path, place)? {
                Some(identity) => last = Some((place, identity)),
                None if is_end(path, place)? => break,
                None => {}
            }
        }
        // Without a current one a rotation goes on, or a shim has ended in the middle of one.
        let Some(current) = current else {
            if attempt < BUSY_ATTEMPTS + 20 && last.is_some() {
                continue;
            }
            let Some((place, _)) = last else { return Ok(None) };
            if let Some(file) = open(path, place)? {
                return Ok(Some((file, place)));
            }
            continue;
        };
        let Some((place, identity)) = last else { continue };
        // A rotation may have put the next newer one at its name.
        if let Some(file) = open(path, place)?
            && file.identity()? == identity
            && is_at(path, 0, current.identity()?)?
        {
            return Ok(Some((file, place)));
        }
    }
    Ok(None)
}

/// Whether a name that isn't there is the end, and not the gap that a rotation leaves for a moment.
fn is_end(path: &Path, place: usize) -> io::Result<bool> {
    Ok(anything_at(path, place + 1)?.is_none())
}

/// What is at a place; of two forms, the one that isn't packed.
fn anything_at(path: &Path, place: usize) -> io::Result<Option<Identity>> {
    match Identity::at(&name(path, place))? {
        Some(identity) => Ok(Some(identity)),
        None if place == 0 => Ok(None),
        None => Identity::at(&packed_name(path, place)),
    }
}

/// Whether a file is at a place, in whichever form.
fn is_at(path: &Path, place: usize, identity: Identity) -> io::Result<bool> {
    Ok(Identity::at(&name(path, place))? == Some(identity)
        || (place > 0 && Identity::at(&packed_name(path, place))? == Some(identity)))
}

/// Opens what is at a place; `None` also for what is being changed this moment.
fn open(path: &Path, place: usize) -> io::Result<Option<LogFile>> {
    let (file, packed) = match open_name(&name(path, place))? {
        Some(file) => (file, false),
        None if place == 0 => return Ok(None),
        None => match open_name(&packed_name(path, place))? {
            Some(file) => (file, true),
            None => return Ok(None),
        },
    };
    let file = LogFile { file, packed };
    if !packed {
        // Where files can't be locked, none is packed either.
        let locked = rustix::fs::flock(&file.file, FlockOperation::NonBlockingLockShared);
        if locked == Err(rustix::io::Errno::WOULDBLOCK) {
            return Ok(None);
        }
    }
    Ok((!file.is_gone()?).then_some(file))
}

fn open_name(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn be_patient(attempt: u32) {
    if attempt > BUSY_ATTEMPTS {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The name at a place: the current file's, then `.1` and so on.
fn name(path: &Path, place: usize) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    if place == 0 {
        return name.into();
    }
    name.push(format!(".{place}"));
    name.into()
}

fn packed_name(path: &Path, place: usize) -> PathBuf {
    let mut name = name(path, place).into_os_string();
    name.push(PACKED);
    name.into()
}

#[cfg(test)]
mod tests;
