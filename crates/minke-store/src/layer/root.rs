//! A directory being filled from an archive: every path is resolved below its descriptor by openat2, and
//! only ever as parent directory and last component. Must never follow a name out of the root.

use super::name::{join, split};
use minke_model::{Context, Error, Result};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;

/// Symbolic links that one path may lead through, as in the kernel.
const MAX_LINKS: usize = 40;
/// Components that one path may lead through, those of links included, and all paths of one archive together.
const MAX_STEPS: u64 = 4096;
const MAX_STEPS_TOGETHER: u64 = 50_000_000;
/// Open parent directories that are kept.
const MAX_CACHED: usize = 128;
/// What an entry of a set or map weighs beside its name, in bytes.
pub(super) const ENTRY_WEIGHT: usize = 64;

/// A parent directory, open, with its path after all symbolic links.
#[derive(Clone)]
pub(crate) struct Parent {
    pub fd: Rc<OwnedFd>,
    pub path: Vec<u8>,
}

/// The root, and the parents that were used last.
pub(crate) struct Root {
    fd: Rc<OwnedFd>,
    cache: HashMap<Vec<u8>, Parent>,
    /// Directories that were made because something stood in them.
    pub implicit: BTreeSet<Vec<u8>>,
    /// How many such were ever made, and what remembering them takes.
    made: u64,
    made_bytes: usize,
    steps: u64,
}

/// Opens the directory `path` below `root`, following no link.
pub(crate) fn open_directory(root: impl AsFd, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let path = if path.is_empty() { &b"."[..] } else { path };
    let flags = flags | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(root, path, flags, Mode::empty(), resolve)
}

/// What stands at `path` below `root`, following no link; `None` if nothing does.
pub(crate) fn stat_at(root: impl AsFd, path: &[u8]) -> Result<Option<rustix::fs::Stat>> {
    let (parent, base) = split(path);
    let failed = || format!("cannot look at {}", String::from_utf8_lossy(path));
    let opened = match open_directory(root, parent, OFlags::PATH) {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
        opened => opened.with_context(failed)?,
    };
    let base = if base.is_empty() { &b"."[..] } else { base };
    match rustix::fs::statat(&opened, base, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Ok(None),
        stat => stat.map(Some).with_context(failed),
    }
}

impl Root {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty());
        let fd = fd.with_context(|| format!("cannot open {}", path.display()))?;
        Ok(Self {
            fd: Rc::new(fd),
            cache: HashMap::new(),
            implicit: BTreeSet::new(),
            made: 0,
            made_bytes: 0,
            steps: 0,
        })
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// How many directories were made because something stood in them, and what remembering them takes in bytes.
    pub(super) fn made(&self) -> (u64, usize) {
        (self.made, self.made_bytes)
    }

    /// Forgets open parents; called when a directory or a symbolic link is replaced.
    pub(crate) fn forget(&mut self) {
        self.cache.clear();
    }

    /// Opens the directory that `path` names in the root, through links that stay in it. Missing directories
    /// are made where `make` says so, else give `None`; so does a path through something else.
    pub(crate) fn parent(&mut self, path: &[u8], make: bool) -> Result<Option<Parent>> {
        if path.is_empty() {
            return Ok(Some(Parent { fd: Rc::clone(&self.fd), path: Vec::new() }));
        }
        if let Some(parent) = self.cache.get(path) {
            return Ok(Some(parent.clone()));
        }
        let parent = match open_directory(&self.fd, path, OFlags::PATH) {
            Ok(fd) => Some(Parent { fd: Rc::new(fd), path: path.to_vec() }),
            Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => self.walk(path, make)?,
            Err(error) => {
                return Err(error).with_context(|| format!("cannot open {}", String::from_utf8_lossy(path)));
            }
        };
        if let Some(parent) = &parent {
            if self.cache.len() >= MAX_CACHED {
                self.cache.clear();
            }
            self.cache.insert(path.to_vec(), parent.clone());
        }
        Ok(parent)
    }

    /// Resolves `path` one component at a time, reading links itself, as openat2 with RESOLVE_IN_ROOT would,
    /// but making what is missing and learning the true path.
    fn walk(&mut self, path: &[u8], make: bool) -> Result<Option<Parent>> {
        let failed = || format!("cannot open {}", String::from_utf8_lossy(path));
        let mut pending: VecDeque<Vec<u8>> = path.split(|byte| *byte == b'/').map(<[u8]>::to_vec).collect();
        let mut here = Parent { fd: Rc::clone(&self.fd), path: Vec::new() };
        let mut links = 0;
        let mut steps = 0;
        while let Some(part) = pending.pop_front() {
            steps += 1;
            self.steps += 1;
            if steps > MAX_STEPS || self.steps > MAX_STEPS_TOGETHER {
                let path = String::from_utf8_lossy(path);
                return Err(Error::invalid(format!(
                    "{path}: it leads through too many directories and links"
                )));
            }
            match part.as_slice() {
                b"" | b"." => continue,
                b".." => {
                    let parent = split(&here.path).0.to_vec();
                    let fd = open_directory(&self.fd, &parent, OFlags::PATH).with_context(failed)?;
                    here = Parent { fd: Rc::new(fd), path: parent };
                    continue;
                }
                _ => {}
            }
            let child = join(&here.path, &part);
            match rustix::fs::statat(&here.fd, &*part, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Error::invalid(format!(
                            "{}: too many symbolic links",
                            String::from_utf8_lossy(path)
                        )));
                    }
                    let target = rustix::fs::readlinkat(&here.fd, &*part, Vec::new()).with_context(failed)?;
                    let target = target.to_bytes();
                    if target.starts_with(b"/") {
                        here = Parent { fd: Rc::clone(&self.fd), path: Vec::new() };
                    }
                    for part in target.split(|byte| *byte == b'/').rev() {
                        pending.push_front(part.to_vec());
                    }
                    continue;
                }
                Ok(stat) if FileType::from_raw_mode(stat.st_mode) != FileType::Directory => return Ok(None),
                Ok(_) => {}
                Err(Errno::NOENT) if make => {
                    // Not by mkdir alone, whose mode the process's umask narrows.
                    let mode = Mode::from_raw_mode(0o755);
                    rustix::fs::mkdirat(&here.fd, &*part, mode).with_context(failed)?;
                    rustix::fs::chmodat(&here.fd, &*part, mode, AtFlags::empty()).with_context(failed)?;
                    self.implicit.insert(child.clone());
                    self.made += 1;
                    self.made_bytes += child.len() + ENTRY_WEIGHT;
                }
                Err(Errno::NOENT) => return Ok(None),
                Err(error) => return Err(error).with_context(failed),
            }
            let fd = open_directory(&here.fd, &part, OFlags::PATH).with_context(failed)?;
            here = Parent { fd: Rc::new(fd), path: child };
        }
        Ok(Some(here))
    }
}

/// A path for calls that take no descriptor and a name: the descriptor's own link, then one component
/// that the call must not follow.
pub(crate) fn proc_path(parent: BorrowedFd<'_>, base: &[u8]) -> std::path::PathBuf {
    use std::os::fd::AsRawFd;
    Path::new("/proc/self/fd").join(parent.as_raw_fd().to_string()).join(OsStr::from_bytes(base))
}
