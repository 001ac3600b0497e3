//! Paths inside a root directory: `..` and symbolic links never lead out of it, magic links are never followed.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};

use crate::{Errno, Result};

/// How many links a path that is being made may go through, and how often a racing rename is retried.
const ATTEMPTS: u32 = 40;

/// A directory that acts as `/` for every path given to it.
pub struct Root {
    fd: OwnedFd,
}

impl Root {
    /// Takes a directory's descriptor.
    pub fn new(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// The calling process's own root.
    pub fn current() -> Result<Self> {
        rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map(Self::new)
    }

    /// The directory.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Opens a file.
    pub fn open(&self, path: &str, flags: OFlags, mode: Mode) -> Result<OwnedFd> {
        self.open_resolving(path, flags, mode, ResolveFlags::empty())
    }

    fn open_resolving(&self, path: &str, flags: OFlags, mode: Mode, more: ResolveFlags) -> Result<OwnedFd> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | more;
        let path = if path.is_empty() { "/" } else { path };
        for _ in 0..ATTEMPTS {
            match rustix::fs::openat2(&self.fd, path, flags | OFlags::CLOEXEC, mode, resolve) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                result => return result,
            }
        }
        Err(Errno::AGAIN)
    }

    /// Finds what a path names, following links, without opening it.
    pub fn find(&self, path: &str) -> Result<OwnedFd> {
        self.open(path, OFlags::PATH, Mode::empty())
    }

    /// Opens a regular file for reading; `None` where there is something else, which is not opened: with some devices that does something.
    pub fn open_regular(&self, path: &str) -> Result<Option<OwnedFd>> {
        let found = self.find(path)?;
        if kind(&found)? != FileType::RegularFile {
            return Ok(None);
        }
        // The same file, whatever the name leads to by now.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        rustix::fs::open(crate::descriptor::magic_path(&found), flags, Mode::empty()).map(Some)
    }

    /// Finds what a path names if no part of it is a symbolic link (`ELOOP` otherwise).
    pub fn find_without_links(&self, path: &str) -> Result<OwnedFd> {
        self.open_resolving(path, OFlags::PATH, Mode::empty(), ResolveFlags::NO_SYMLINKS)
    }

    /// Finds a directory; it and its parents are made, owned by the caller, if they aren't there.
    pub fn make_directories(&self, path: &str, mode: u32) -> Result<OwnedFd> {
        match self.open(path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()) {
            Err(Errno::NOENT) => {}
            result => return result,
        }
        let mut reached = String::new();
        let mut rest: Vec<String> = components(path);
        rest.reverse();
        let mut links = 0;
        let mut directory = self.find("/")?;
        while let Some(name) = rest.pop() {
            let next = format!("{reached}/{name}");
            match self.open(&next, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()) {
                Ok(found) => {
                    (directory, reached) = (found, next);
                    continue;
                }
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno),
            }
            match rustix::fs::mkdirat(&directory, name.as_str(), Mode::from_raw_mode(mode)) {
                Ok(()) => {
                    // A racing rename could have put something else there: the open below refuses all but a directory.
                    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW;
                    (directory, reached) = (self.open(&next, flags, Mode::empty())?, next);
                }
                // A link to nothing: go where it points, inside the root.
                Err(Errno::EXIST) => {
                    links += 1;
                    if links > ATTEMPTS {
                        return Err(Errno::LOOP);
                    }
                    let target = rustix::fs::readlinkat(&directory, name.as_str(), Vec::new())
                        .map_err(|errno| if errno == Errno::INVAL { Errno::NOTDIR } else { errno })?;
                    let target = target.into_string().map_err(|_| Errno::INVAL)?;
                    if target.starts_with('/') {
                        (directory, reached) = (self.find("/")?, String::new());
                    }
                    rest.extend(components(&target).into_iter().rev());
                }
                Err(errno) => return Err(errno),
            }
        }
        Ok(directory)
    }

    /// Finds a file of any kind; an empty regular one is made (with its parents) if nothing is there.
    pub fn make_file(&self, path: &str, mode: u32) -> Result<OwnedFd> {
        match self.find(path) {
            Err(Errno::NOENT) => {}
            result => return result,
        }
        let (parent, name) = split(path)?;
        let parent = self.make_directories(parent, 0o755)?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(&parent, name, flags, Mode::from_raw_mode(mode)) {
            Ok(_) => {}
            // A link to nothing: make what it names, once.
            Err(Errno::EXIST) => {
                let target = rustix::fs::readlinkat(&parent, name, Vec::new())?;
                let target = target.into_string().map_err(|_| Errno::INVAL)?;
                let target = if target.starts_with('/') {
                    target
                } else {
                    format!("{}/{target}", path.rsplit_once('/').map_or("", |(parent, _)| parent))
                };
                let (parent, name) = split(&target)?;
                let parent = self.make_directories(parent, 0o755)?;
                rustix::fs::openat(&parent, name, flags, Mode::from_raw_mode(mode))?;
            }
            Err(errno) => return Err(errno),
        }
        self.find(path)
    }

    /// Opens (making it if needed) the directory of a path and returns it with the path's last name.
    pub fn make_parent<'a>(&self, path: &'a str) -> Result<(OwnedFd, &'a str)> {
        let (parent, name) = split(path)?;
        Ok((self.make_directories(parent, 0o755)?, name))
    }
}

fn components(path: &str) -> Vec<String> {
    path.split('/').filter(|name| !name.is_empty() && *name != ".").map(ToOwned::to_owned).collect()
}

fn split(path: &str) -> Result<(&str, &str)> {
    let path = path.trim_end_matches('/');
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
    if name.is_empty() || name == "." || name == ".." { Err(Errno::INVAL) } else { Ok((parent, name)) }
}

/// The kind of file behind a descriptor.
pub fn kind(fd: impl AsFd) -> Result<FileType> {
    Ok(FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode))
}

/// Whether a descriptor is the null device, whatever its name.
pub fn is_null_device(fd: impl AsFd) -> Result<bool> {
    let stat = rustix::fs::fstat(fd)?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && stat.st_rdev == rustix::fs::makedev(1, 3))
}

/// Copies what is in the directory `from` into the directory `to`: files, directories, links and devices with their owners and
/// modes; neither is left by a link. At most `depth` levels deep.
pub fn copy_content(from: BorrowedFd<'_>, to: BorrowedFd<'_>, depth: u32) -> Result<()> {
    if depth == 0 {
        return Err(Errno::LOOP);
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let directory = rustix::fs::openat(from, ".", flags, Mode::empty())?;
    let mut buffer = vec![core::mem::MaybeUninit::uninit(); 8192];
    let mut entries = rustix::fs::RawDir::new(&directory, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let mode = Mode::from_raw_mode(stat.st_mode);
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                rustix::fs::mkdirat(to, name, Mode::from_raw_mode(0o700))?;
                let (inner, outer) = (
                    rustix::fs::openat(from, name, flags, Mode::empty())?,
                    rustix::fs::openat(to, name, flags, Mode::empty())?,
                );
                copy_content(inner.as_fd(), outer.as_fd(), depth - 1)?;
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(from, name, Vec::new())?;
                rustix::fs::symlinkat(target, to, name)?;
            }
            FileType::RegularFile => copy_file(from, to, name)?,
            kind => rustix::fs::mknodat(to, name, kind, mode, stat.st_rdev)?,
        }
        let (uid, gid) = (rustix::fs::Uid::from_raw(stat.st_uid), rustix::fs::Gid::from_raw(stat.st_gid));
        rustix::fs::chownat(to, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            rustix::fs::chmodat(to, name, mode, AtFlags::empty())?;
        }
    }
    Ok(())
}

fn copy_file(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &core::ffi::CStr) -> Result<()> {
    let source =
        rustix::fs::openat(from, name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let target = rustix::fs::openat(to, name, flags, Mode::from_raw_mode(0o600))?;
    let mut chunk = vec![0u8; 16 * 1024];
    loop {
        match rustix::io::read(&source, &mut chunk)? {
            0 => return Ok(()),
            count => crate::descriptor::write_all(&target, &chunk[..count]).map_err(|(_, errno)| errno)?,
        }
    }
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    struct Scratch(std::path::PathBuf);

    impl Scratch {
        fn new(name: &str) -> (Self, Root) {
            let path = std::env::temp_dir().join(format!("minke-rooted-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&path);
            std::fs::create_dir_all(path.join("root")).unwrap();
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let root = rustix::fs::open(path.join("root"), flags, Mode::empty()).unwrap();
            (Self(path), Root::new(root))
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn links_and_dots_stay_inside_the_root() {
        let (scratch, root) = Scratch::new("inside");
        let inside = scratch.0.join("root");
        symlink("/../../../outside", inside.join("absolute")).unwrap();
        symlink("../../outside", inside.join("relative")).unwrap();
        symlink("/proc/self/root", inside.join("magic")).unwrap();
        for (path, made) in [("/absolute/x", "outside/x"), ("/relative/y", "outside/y"), ("/../../z", "z")] {
            root.make_directories(path, 0o755).unwrap();
            assert!(inside.join(made).is_dir(), "{path}");
        }
        assert!(!scratch.0.join("outside").exists() && !scratch.0.join("z").exists());
        root.make_directories("/magic/w", 0o755).unwrap();
        assert!(inside.join("proc/self/root/w").is_dir());
    }

    /// What becomes of one who takes the path by its name: these traps are traps.
    #[test]
    fn by_its_name_alone_the_same_path_leads_out() {
        let (scratch, root) = Scratch::new("name");
        let (inside, outside) = (scratch.0.join("root"), scratch.0.join("outside"));
        std::fs::create_dir(&outside).unwrap();
        symlink("../outside", inside.join("link")).unwrap();
        std::fs::create_dir_all(inside.join("link/by-name")).unwrap();
        root.make_directories("/link/by-root", 0o755).unwrap();
        assert!(outside.join("by-name").is_dir() && !outside.join("by-root").exists());
        assert!(inside.join("outside/by-root").is_dir());
    }

    #[test]
    fn a_file_is_made_where_a_dangling_link_points_inside_the_root() {
        let (scratch, root) = Scratch::new("dangling");
        let inside = scratch.0.join("root");
        symlink("/run/resolv.conf", inside.join("link")).unwrap();
        root.make_file("/link", 0o644).unwrap();
        assert!(inside.join("run/resolv.conf").is_file());
        assert!(root.make_file("/a/b/c", 0o644).is_ok() && inside.join("a/b/c").is_file());
    }

    #[test]
    fn only_a_regular_file_is_opened_for_reading() {
        let (scratch, root) = Scratch::new("regular");
        let inside = scratch.0.join("root");
        std::fs::write(inside.join("file"), "x").unwrap();
        symlink("/file", inside.join("link")).unwrap();
        // A pipe that nobody writes to would block whoever opens it.
        rustix::fs::mknodat(rustix::fs::CWD, inside.join("pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        assert!(
            root.open_regular("/file").unwrap().is_some() && root.open_regular("/link").unwrap().is_some()
        );
        assert!(root.open_regular("/pipe").unwrap().is_none() && root.open_regular("/").unwrap().is_none());
        assert_eq!(root.open_regular("/absent").unwrap_err(), Errno::NOENT);
    }

    #[test]
    fn a_circle_of_links_is_an_error() {
        let (scratch, root) = Scratch::new("circle");
        symlink("b", scratch.0.join("root/a")).unwrap();
        symlink("a", scratch.0.join("root/b")).unwrap();
        assert_eq!(root.make_directories("/a/x", 0o755).unwrap_err(), Errno::LOOP);
    }

    #[test]
    fn a_file_in_the_way_of_a_directory_is_an_error() {
        let (scratch, root) = Scratch::new("file");
        std::fs::write(scratch.0.join("root/file"), "").unwrap();
        assert_eq!(root.make_directories("/file/x", 0o755).unwrap_err(), Errno::NOTDIR);
        assert_eq!(root.find_without_links("/file").map(|_| ()), Ok(()));
    }
}
