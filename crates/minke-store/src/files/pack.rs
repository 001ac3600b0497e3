//! A tree becomes a tar, in chunks that are handed on without being copied. Walks by descriptors, follows no link, opens
//! nothing but directories and regular files. Names are in the order of their bytes.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use minke_model::{Context as _, Error, Result};
use rustix::buffer::spare_capacity;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::owner::{Owners, archived_capability};
use super::{Tree, absolute, base_name, is_kernels, kind_of, split_at_last};
use crate::archive::head::Head;
use crate::archive::header::BLOCK;

/// The size of a chunk, in bytes.
const CHUNK: usize = 512 << 10;
/// Directories below one another; each is open while what is below it is packed.
const MAX_DEPTH: usize = 512;
const CAPABILITY: &str = "security.capability";
/// The longest value of [`CAPABILITY`].
const CAPABILITY_BYTES: usize = 64;

/// Takes a piece of the archive; an error ends the packing.
pub type ChunkSink<'a> = dyn FnMut(Vec<u8>) -> io::Result<()> + 'a;

/// Packs what one path names.
pub(super) fn path(tree: &Tree, path: &str, sink: &mut ChunkSink<'_>) -> Result<()> {
    let path = absolute(path);
    let failed = || format!("cannot archive {path}");
    let stat = rustix::fs::fstat(tree.find(&path).with_context(failed)?).with_context(failed)?;
    let mut packer = Packer::new(sink).with_owners(tree.owners());
    if kind_of(&stat) == FileType::Directory {
        // `/` itself has no name.
        let name = match base_name(&path) {
            "/" => "",
            name => name,
        };
        let directory = tree.open(path.as_str(), OFlags::RDONLY | OFlags::DIRECTORY).with_context(failed)?;
        packer.directory_head(&[name.as_bytes(), b"/"].concat(), &stat)?;
        packer.below(directory, name.as_bytes())?;
    } else {
        let (parent, base) = split_at_last(&path);
        let parent = tree.open(parent, OFlags::PATH | OFlags::DIRECTORY).with_context(failed)?;
        let stat = rustix::fs::statat(&parent, base, AtFlags::SYMLINK_NOFOLLOW).with_context(failed)?;
        packer.leaf(parent.as_fd(), base.as_bytes(), base.as_bytes(), &stat)?;
    }
    packer.finish()
}

/// Packs everything below a root.
pub(super) fn all(tree: &Tree, sink: &mut ChunkSink<'_>) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::openat(tree.root(), ".", flags, Mode::empty()).context("cannot open the root")?;
    let mut packer = Packer::new(sink).with_owners(tree.owners());
    packer.walk(root, Vec::new())?;
    packer.finish()
}

/// The archive in the making.
pub(crate) struct Packer<'s, 'a> {
    out: Vec<u8>,
    sink: &'s mut ChunkSink<'a>,
    /// The names under which files with several names went, by device and inode.
    links: HashMap<(u64, u64), Vec<u8>>,
    owners: Owners<'s>,
}

/// A directory whose entries are being packed.
struct Level {
    directory: OwnedFd,
    /// What is left, the next one last.
    names: Vec<Vec<u8>>,
    /// The archive's name for it, with a slash at the end unless it is empty.
    prefix: Vec<u8>,
}

impl<'s, 'a> Packer<'s, 'a> {
    pub(crate) fn new(sink: &'s mut ChunkSink<'a>) -> Self {
        Self { out: Vec::with_capacity(CHUNK), sink, links: HashMap::new(), owners: Owners::default() }
    }

    /// The same with owners that are mapped.
    fn with_owners(self, owners: Owners<'s>) -> Self {
        Self { owners, ..self }
    }

    fn of_stat(&self, stat: &Stat) -> Head<'static> {
        let (uid, gid) = self.owners.archived((stat.st_uid, stat.st_gid));
        Head { mode: stat.st_mode & 0o7777, uid, gid, mtime: stat.st_mtime, ..Head::default() }
    }

    /// Packs what is in `directory` under `name`.
    fn below(&mut self, directory: OwnedFd, name: &[u8]) -> Result<()> {
        self.walk(directory, [name, b"/"].concat())
    }

    fn walk(&mut self, directory: OwnedFd, prefix: Vec<u8>) -> Result<()> {
        let names = list(directory.as_fd())?;
        let mut levels = vec![Level { directory, names, prefix }];
        while let Some(level) = levels.last_mut() {
            let Some(base) = level.names.pop() else {
                levels.pop();
                continue;
            };
            let name = [level.prefix.as_slice(), &base].concat();
            let stat = match rustix::fs::statat(&level.directory, &*base, AtFlags::SYMLINK_NOFOLLOW) {
                // It has gone meanwhile.
                Err(Errno::NOENT) => continue,
                stat => stat.with_context(|| shown(&name))?,
            };
            if kind_of(&stat) != FileType::Directory {
                self.leaf(level.directory.as_fd(), &base, &name, &stat)?;
                continue;
            }
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let child = match rustix::fs::openat(&level.directory, &*base, flags, Mode::empty()) {
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
                child => child.with_context(|| shown(&name))?,
            };
            let prefix = [name.as_slice(), b"/"].concat();
            let kernels = is_kernels(child.as_fd()).with_context(|| shown(&name))?;
            self.directory_head(&prefix, &stat)?;
            if kernels {
                continue;
            }
            if levels.len() >= MAX_DEPTH {
                return Err(Error::system(format!(
                    "{}: too many directories below one another",
                    shown(&name)
                )));
            }
            let names = list(child.as_fd())?;
            levels.push(Level { directory: child, names, prefix });
        }
        Ok(())
    }

    /// The header of a directory, whose name ends with a slash.
    pub(crate) fn directory_head(&mut self, name: &[u8], stat: &Stat) -> Result<()> {
        self.head(&Head { path: name, kind: b'5', ..self.of_stat(stat) })
    }

    /// Packs anything but a directory: `base` in `parent`, as `name`.
    pub(crate) fn leaf(
        &mut self,
        parent: BorrowedFd<'_>,
        base: &[u8],
        name: &[u8],
        stat: &Stat,
    ) -> Result<()> {
        let head = Head { path: name, ..self.of_stat(stat) };
        let kind = kind_of(stat);
        if kind == FileType::Socket {
            return Ok(());
        }
        if stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino)) {
                let first = first.clone();
                return self.head(&Head { link: &first, kind: b'1', ..head });
            }
            self.links.insert((stat.st_dev, stat.st_ino), name.to_vec());
        }
        let device = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
        match kind {
            FileType::RegularFile => self.file(parent, base, &head),
            FileType::Symlink => match rustix::fs::readlinkat(parent, base, Vec::new()) {
                Ok(target) => self.head(&Head { link: target.to_bytes(), kind: b'2', ..head }),
                Err(Errno::NOENT | Errno::INVAL) => Ok(()),
                Err(errno) => Err(errno).with_context(|| shown(name)),
            },
            FileType::CharacterDevice => self.head(&Head { kind: b'3', device, ..head }),
            FileType::BlockDevice => self.head(&Head { kind: b'4', device, ..head }),
            _ => self.head(&Head { kind: b'6', ..head }),
        }
    }

    fn file(&mut self, parent: BorrowedFd<'_>, base: &[u8], head: &Head<'_>) -> Result<()> {
        // What has taken its place may be a pipe, whose opening would wait.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(parent, base, flags, Mode::empty()) {
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Ok(()),
            file => file.with_context(|| shown(head.path))?,
        };
        let stat = rustix::fs::fstat(&file).with_context(|| shown(head.path))?;
        if kind_of(&stat) != FileType::RegularFile {
            return Ok(());
        }
        let mut value = [0; CAPABILITY_BYTES];
        let capability = match rustix::fs::fgetxattr(&file, CAPABILITY, &mut value[..]) {
            Ok(length) => Some(archived_capability(&mut value[..length])),
            Err(_) => None,
        };
        let size = stat.st_size.unsigned_abs();
        self.head(&Head { kind: b'0', size, capability, ..*head })?;
        self.data(&File::from(file), size).with_context(|| shown(head.path))
    }

    /// An empty file that stands for something else, as whiteouts do.
    pub(crate) fn mark(&mut self, name: &[u8]) -> Result<()> {
        self.head(&Head { path: name, kind: b'0', mode: 0o600, ..Head::default() })
    }

    fn head(&mut self, head: &Head<'_>) -> Result<()> {
        if CHUNK - self.out.len() < 16 * BLOCK {
            self.flush()?;
        }
        head.render(&mut self.out);
        Ok(())
    }

    /// The bytes of a file; one that has become shorter is filled up, so that the archive stays one.
    fn data(&mut self, file: &File, size: u64) -> Result<()> {
        let mut left = size;
        while left > 0 {
            if self.out.len() >= CHUNK {
                self.flush()?;
            }
            let before = self.out.len();
            let read = match rustix::io::read(file, spare_capacity(&mut self.out)) {
                Err(Errno::INTR) => continue,
                read => read.context("cannot read")? as u64,
            };
            let taken = read.min(left);
            self.out.truncate(before + taken as usize);
            left -= taken;
            if read == 0 {
                break;
            }
        }
        let padding = left + (size.next_multiple_of(BLOCK as u64) - size);
        self.zeros(padding)
    }

    fn zeros(&mut self, mut count: u64) -> Result<()> {
        while count > 0 {
            if self.out.len() >= CHUNK {
                self.flush()?;
            }
            let now = usize::try_from(count).unwrap_or(CHUNK).min(CHUNK - self.out.len());
            self.out.resize(self.out.len() + now, 0);
            count -= now as u64;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::replace(&mut self.out, Vec::with_capacity(CHUNK));
        (self.sink)(chunk).context("the archive's reader is gone")
    }

    /// Ends the archive.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.zeros(2 * BLOCK as u64)?;
        self.flush()
    }
}

/// The names in a directory, the first last.
fn list(directory: BorrowedFd<'_>) -> Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory).context("cannot list a directory")? {
        let entry = entry.context("cannot list a directory")?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    names.sort_unstable_by(|one, other| other.cmp(one));
    Ok(names)
}

fn shown(name: &[u8]) -> String {
    format!("cannot archive {}", String::from_utf8_lossy(name))
}
