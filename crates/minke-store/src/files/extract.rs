//! A tar is written into a directory of a container's root: over what is there, as Docker's `cp` does.
//!
//! Every name is resolved anew inside the root by openat2, so that neither the archive nor a process in the container that
//! renames things meanwhile can lead it out.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek as _, SeekFrom};
use std::os::fd::{AsFd as _, OwnedFd};

use minke_model::{Context as _, Error, Result};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid, XattrFlags};
use rustix::io::Errno;

use super::{Tree, absolute, kind_of};
use crate::archive::compression::{decompress, sniff};
use crate::archive::reader::{Entry, EntryKind, TarReader};
use crate::layer::limits::Limits;
use crate::layer::name::{self, split};
use crate::layer::root::proc_path;
use crate::layer::unpack::{copy, kept_xattrs, node, timestamps, xattr_result};
use crate::tree;

const COPY_BUFFER: usize = 256 << 10;

/// What to write where.
pub struct Extract<'a> {
    /// The directory, in the root.
    pub path: &'a str,
    /// Neither a directory is replaced by something else nor the other way round.
    pub keep_kind: bool,
    /// Who shall own everything; without one, whom the archive says.
    pub owner: Option<(u32, u32)>,
    /// What the archive may demand.
    pub limits: &'a Limits,
}

/// Why an extraction failed.
#[derive(Debug)]
pub enum ExtractError {
    /// The directory can't be reached.
    Path(Errno),
    /// What the path names is no directory.
    NoDirectory,
    /// Anything later.
    Archive(Error),
}

impl From<Error> for ExtractError {
    fn from(error: Error) -> Self {
        Self::Archive(error)
    }
}

impl Tree {
    /// Writes what `archive` has, compressed or not, into a directory.
    pub fn extract(
        &self,
        extract: &Extract<'_>,
        archive: &mut (dyn Read + Send),
    ) -> Result<(), ExtractError> {
        let place = absolute(extract.path);
        let place = place.trim_end_matches(['.', '/']);
        let found = self
            .open(if place.is_empty() { "/" } else { place }, OFlags::PATH)
            .map_err(ExtractError::Path)?;
        if kind_of(&rustix::fs::fstat(&found).map_err(ExtractError::Path)?) != FileType::Directory {
            return Err(ExtractError::NoDirectory);
        }
        let (compression, reader) = sniff(archive)?;
        let mut tar = TarReader::new(decompress(compression, reader)?, extract.limits);
        let mut writer = Writer {
            tree: self,
            extract,
            place: place.to_owned(),
            parent: None,
            times: BTreeMap::new(),
            buffer: vec![0; COPY_BUFFER],
        };
        while let Some(entry) = tar.next_entry()? {
            writer.entry(&entry, &mut tar)?;
        }
        Ok(writer.finish()?)
    }
}

struct Writer<'a> {
    tree: &'a Tree,
    extract: &'a Extract<'a>,
    /// Where it goes, absolute, without a slash at the end.
    place: String,
    /// The parent that was used last.
    parent: Option<(Vec<u8>, OwnedFd)>,
    /// The times of directories, set when nothing is made in them any more.
    times: BTreeMap<Vec<u8>, (i64, u32)>,
    buffer: Vec<u8>,
}

impl Writer<'_> {
    fn entry(&mut self, entry: &Entry, data: &mut impl Read) -> Result<()> {
        let path = name::clean(&entry.path, self.extract.limits)?;
        let shown = self.shown(&path);
        if path.is_empty() {
            return match entry.kind {
                // The directory itself is there and stays as it is.
                EntryKind::Directory => Ok(()),
                _ => Err(Error::system(format!(
                    "cannot overwrite directory {shown:?} with non-directory {:?}",
                    self.place
                ))),
            };
        }
        let (parent_path, base) = split(&path);
        let parent = self.parent(parent_path)?;
        let exists = self.clear_way(entry, &parent, base, &shown)?;
        self.make(entry, &parent, base, exists, data).with_context(|| format!("cannot write {shown}"))?;
        if entry.kind == EntryKind::Directory {
            self.times.insert(path, entry.mtime);
        }
        Ok(())
    }

    fn shown(&self, path: &[u8]) -> String {
        let name = String::from_utf8_lossy(path);
        if name.is_empty() { self.place.clone() } else { format!("{}/{name}", self.place) }
    }

    /// The directory `path` below the place, made where it is missing.
    fn parent(&mut self, path: &[u8]) -> Result<OwnedFd> {
        if let Some((last, fd)) = &self.parent
            && last == path
        {
            return fd.try_clone().context("opening a directory");
        }
        let failed = |path: &[u8]| format!("mkdir {}", String::from_utf8_lossy(path));
        let mut reached = [self.place.as_bytes(), b"/"].concat();
        let whole = [&reached, path].concat();
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let found = match self.tree.open(&*whole, flags) {
            Err(Errno::NOENT) => {
                let mut here = self.tree.open(&*reached, flags).with_context(|| failed(&reached))?;
                for part in path.split(|byte| *byte == b'/') {
                    match rustix::fs::mkdirat(&here, part, Mode::from_raw_mode(0o755)) {
                        Ok(()) | Err(Errno::EXIST) => {}
                        Err(errno) => return Err(errno).with_context(|| failed(&whole)),
                    }
                    reached.extend(part);
                    here = self.tree.open(&*reached, flags).with_context(|| failed(&reached))?;
                    reached.push(b'/');
                }
                here
            }
            found => found.with_context(|| failed(&whole))?,
        };
        let kept = found.try_clone().context("opening a directory")?;
        self.parent = Some((path.to_vec(), kept));
        Ok(found)
    }

    /// Removes what stands where an entry goes, unless both are directories; says whether a directory stays.
    fn clear_way(&mut self, entry: &Entry, parent: &OwnedFd, base: &[u8], shown: &str) -> Result<bool> {
        let stat = match rustix::fs::statat(parent, base, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(false),
            stat => stat.with_context(|| format!("lstat {shown}"))?,
        };
        let (is, will_be) = (kind_of(&stat) == FileType::Directory, entry.kind == EntryKind::Directory);
        if is && will_be {
            return Ok(true);
        }
        if self.extract.keep_kind && is != will_be {
            let (one, other) =
                if is { ("directory", "non-directory") } else { ("non-directory", "directory") };
            let place = if self.place.is_empty() { "/" } else { &self.place };
            return Err(Error::system(format!("cannot overwrite {one} {shown:?} with {other} {place:?}")));
        }
        self.parent = None;
        tree::remove(parent.as_fd(), base).with_context(|| format!("unlinkat {shown}"))?;
        Ok(false)
    }

    fn make(
        &mut self,
        entry: &Entry,
        parent: &OwnedFd,
        base: &[u8],
        exists: bool,
        data: &mut impl Read,
    ) -> Result<()> {
        match entry.kind {
            EntryKind::Directory => {
                if !exists {
                    rustix::fs::mkdirat(parent, base, Mode::from_raw_mode(0o700)).context("mkdir")?;
                }
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let directory = rustix::fs::openat(parent, base, flags, Mode::empty()).context("open")?;
                self.own(entry, &File::from(directory))
            }
            EntryKind::File => self.file(entry, parent, base, data),
            EntryKind::HardLink => self.hard_link(entry, parent, base),
            EntryKind::Symlink => {
                rustix::fs::symlinkat(&*entry.link, parent, base).context("symlink")?;
                self.own_by_name(entry, parent, base)
            }
            EntryKind::CharDevice | EntryKind::BlockDevice | EntryKind::Fifo => {
                let (kind, device) = node(entry)?;
                rustix::fs::mknodat(parent, base, kind, Mode::from_raw_mode(0o600), device)
                    .context("mknod")?;
                self.own_by_name(entry, parent, base)
            }
        }
    }

    fn file(&mut self, entry: &Entry, parent: &OwnedFd, base: &[u8], data: &mut impl Read) -> Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(parent, base, flags, Mode::from_raw_mode(0o600)).context("open")?;
        let mut file = File::from(file);
        match &entry.sparse {
            None => copy(data, &mut file, entry.size, &mut self.buffer)?,
            Some(map) => {
                file.set_len(map.size).context("truncate")?;
                for (offset, length) in &map.segments {
                    file.seek(SeekFrom::Start(*offset)).context("seek")?;
                    copy(data, &mut file, *length, &mut self.buffer)?;
                }
            }
        }
        self.own(entry, &file)?;
        rustix::fs::futimens(&file, &timestamps(entry.mtime)).context("cannot set times")
    }

    /// The target is a name of the same archive: below the place, whatever links stand in it.
    fn hard_link(&mut self, entry: &Entry, parent: &OwnedFd, base: &[u8]) -> Result<()> {
        let target = name::clean(&entry.link, self.extract.limits)?;
        let (from, from_base) = split(&target);
        let from = self.parent(from)?;
        rustix::fs::linkat(&from, from_base, parent, base, AtFlags::empty())
            .with_context(|| format!("link {}", self.shown(&target)))
    }

    fn owner(&self, entry: &Entry) -> Result<(Uid, Gid)> {
        let owner = self.extract.owner.unwrap_or((entry.uid, entry.gid));
        let (uid, gid) = self.tree.owners().kept(owner)?;
        Ok((Uid::from_raw(uid), Gid::from_raw(gid)))
    }

    /// The extended attributes that an entry gets.
    fn xattrs<'e>(&self, entry: &'e Entry) -> Vec<(&'e [u8], Vec<u8>)> {
        let owners = self.tree.owners();
        let kept = kept_xattrs(entry).map(|(name, value)| match name {
            b"security.capability" => (name, owners.kept_capability(value)),
            _ => (name, value.to_vec()),
        });
        kept.collect()
    }

    fn own(&self, entry: &Entry, file: &File) -> Result<()> {
        let (uid, gid) = self.owner(entry)?;
        rustix::fs::fchown(file, Some(uid), Some(gid)).context("lchown")?;
        for (name, value) in self.xattrs(entry) {
            xattr_result(name, rustix::fs::fsetxattr(file, name, &value, XattrFlags::empty()))?;
        }
        rustix::fs::fchmod(file, Mode::from_raw_mode(entry.mode)).context("chmod")
    }

    /// As [`Self::own`], with times, for what is not opened: links, devices, pipes.
    fn own_by_name(&self, entry: &Entry, parent: &OwnedFd, base: &[u8]) -> Result<()> {
        let (uid, gid) = self.owner(entry)?;
        let nofollow = AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::chownat(parent, base, Some(uid), Some(gid), nofollow).context("lchown")?;
        for (name, value) in self.xattrs(entry) {
            let path = proc_path(parent.as_fd(), base);
            xattr_result(name, rustix::fs::lsetxattr(path, name, &value, XattrFlags::empty()))?;
        }
        if entry.kind != EntryKind::Symlink {
            self.chmod(entry, parent, base)?;
        }
        rustix::fs::utimensat(parent, base, &timestamps(entry.mtime), nofollow).context("cannot set times")
    }

    /// By a descriptor of the thing itself: its name could be a link by now, and lead anywhere.
    fn chmod(&self, entry: &Entry, parent: &OwnedFd, base: &[u8]) -> Result<()> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let node = rustix::fs::openat(parent, base, flags, Mode::empty()).context("open")?;
        if kind_of(&rustix::fs::fstat(&node).context("fstat")?) == FileType::Symlink {
            return Ok(());
        }
        let path = minke_sys::descriptor::magic_path(&node);
        rustix::fs::chmod(path, Mode::from_raw_mode(entry.mode)).context("chmod")
    }

    fn finish(self) -> Result<()> {
        for (path, mtime) in &self.times {
            let whole = [self.place.as_bytes(), b"/", path].concat();
            if let Ok(directory) =
                self.tree.open(&*whole, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW)
            {
                rustix::fs::futimens(&directory, &timestamps(*mtime)).context("cannot set times")?;
            }
        }
        Ok(())
    }
}
