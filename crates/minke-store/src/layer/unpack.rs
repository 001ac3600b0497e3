//! One layer's archive becomes one directory, alone, in any order of entries (image-spec `layer.md`).
//! Whiteouts and opaque marks are gathered, and written at the end in overlay's form, because they concern
//! only the layers below and must not depend on where in the archive they stand.
//! Must never trust a name: every path goes through [`Root`].

use super::limits::Limits;
use super::meta::LayerMeta;
use super::name::{self, Name, join, split};
use super::root::{ENTRY_WEIGHT, Parent, Root, open_directory, proc_path, stat_at};
use crate::archive::reader::{Entry, EntryKind, TarReader};
use crate::tree;
use minke_model::{Context, Error, Result};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::path::Path;

/// Names and times that are remembered until the end, in bytes.
const MAX_REMEMBERED: usize = 256 << 20;
const COPY_BUFFER: usize = 128 << 10;
/// The mark of an opaque directory, and those that only overlay may set.
pub(crate) const OPAQUE_XATTR: &str = "trusted.overlay.opaque";
const RESERVED_XATTRS: [&[u8]; 2] = [b"trusted.overlay.", b"user.overlay."];

/// How whiteouts and opaque marks are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// As overlay reads them from the directory.
    Overlay,
    /// In the meta file alone, where the directory is only copied from.
    Plain,
}

/// What unpacking learnt.
#[derive(Debug)]
pub(crate) struct Unpacked {
    pub meta: LayerMeta,
    /// The bytes in its files and links, a hard link counted once.
    pub size: u64,
}

/// Unpacks the tar that `reader` gives into the empty directory `directory`.
pub(crate) fn unpack(reader: impl Read, directory: &Path, form: Form, limits: &Limits) -> Result<Unpacked> {
    let mut root = Root::open(directory)?;
    root.implicit.insert(Vec::new());
    let mut unpacker = Unpacker {
        root,
        limits,
        meta: LayerMeta::default(),
        times: BTreeMap::new(),
        remembered: 0,
        size: 0,
        buffer: vec![0; COPY_BUFFER],
        is_root: rustix::process::geteuid().is_root() && rustix::process::getegid().is_root(),
    };
    let mut tar = TarReader::new(reader, limits);
    while let Some(entry) = tar.next_entry()? {
        let shown = || format!("cannot unpack {}", String::from_utf8_lossy(&entry.path));
        unpacker.entry(&entry, &mut tar).map_err(|error| {
            let kind = error.kind();
            Error::new(kind, shown()).with_source(error)
        })?;
    }
    unpacker.finish(form)
}

struct Unpacker<'l> {
    root: Root,
    limits: &'l Limits,
    meta: LayerMeta,
    /// The times of directories, set when nothing is made in them any more.
    times: BTreeMap<Vec<u8>, (i64, u32)>,
    remembered: usize,
    size: u64,
    buffer: Vec<u8>,
    is_root: bool,
}

impl Unpacker<'_> {
    fn entry(&mut self, entry: &Entry, data: &mut impl Read) -> Result<()> {
        match name::parse_name(&entry.path, self.limits)? {
            Name::Skipped => Ok(()),
            Name::Whiteout(path) => {
                self.remember(path.len())?;
                self.meta.whiteouts.insert(path);
                Ok(())
            }
            Name::Opaque(path) => {
                self.remember(path.len())?;
                self.meta.opaque.insert(path);
                Ok(())
            }
            Name::Entry(path) if path.is_empty() => self.root_entry(entry),
            Name::Entry(path) => {
                let (parent, base) = split(&path);
                let parent = self.root.parent(parent, true)?;
                let parent = parent.ok_or_else(|| Error::invalid("a parent is not a directory"))?;
                self.remember(0)?;
                self.make(entry, &parent, base, data)
            }
        }
    }

    fn remember(&mut self, bytes: usize) -> Result<()> {
        if bytes > 0 {
            self.remembered += bytes + ENTRY_WEIGHT;
        }
        // One entry's name can make hundreds of directories that the archive doesn't have.
        let (made, implicit) = self.root.made();
        if self.remembered + implicit > MAX_REMEMBERED {
            return Err(Error::invalid("archive has too many names to remember"));
        }
        match made > self.limits.entries {
            true => Err(Error::invalid("archive has too many entries")),
            false => Ok(()),
        }
    }

    fn root_entry(&mut self, entry: &Entry) -> Result<()> {
        if entry.kind != EntryKind::Directory {
            return Err(Error::invalid("the root is not a directory"));
        }
        let directory =
            open_directory(self.root.fd(), b"", OFlags::RDONLY).context("cannot open the root")?;
        self.own(entry, &File::from(directory))?;
        self.root.implicit.remove(&b""[..]);
        self.times.insert(Vec::new(), entry.mtime);
        Ok(())
    }

    fn make(&mut self, entry: &Entry, parent: &Parent, base: &[u8], data: &mut impl Read) -> Result<()> {
        let path = join(&parent.path, base);
        if entry.kind == EntryKind::HardLink {
            return self.hard_link(entry, parent, base, &path);
        }
        let exists = self.clear_way(entry.kind, parent, base)?;
        match entry.kind {
            EntryKind::Directory => self.directory(entry, parent, base, &path, exists),
            EntryKind::File => self.file(entry, parent, base, data),
            EntryKind::Symlink => {
                rustix::fs::symlinkat(&*entry.link, &parent.fd, base)
                    .context("cannot make a symbolic link")?;
                self.size = self.size.saturating_add(entry.link.len() as u64);
                self.own_by_name(entry, parent, base)
            }
            EntryKind::CharDevice | EntryKind::BlockDevice | EntryKind::Fifo => {
                let (kind, device) = node(entry)?;
                let made =
                    rustix::fs::mknodat(&parent.fd, base, kind, Mode::from_raw_mode(entry.mode), device);
                made.context("cannot make a device")?;
                self.own_by_name(entry, parent, base)
            }
            EntryKind::HardLink => Ok(()),
        }
    }

    /// Removes what stands where an entry goes, unless both are directories; says whether a directory stays.
    fn clear_way(&mut self, kind: EntryKind, parent: &Parent, base: &[u8]) -> Result<bool> {
        let stat = match rustix::fs::statat(&parent.fd, base, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(false),
            stat => stat.context("cannot look at what is there")?,
        };
        let found = FileType::from_raw_mode(stat.st_mode);
        if found == FileType::Directory && kind == EntryKind::Directory {
            return Ok(true);
        }
        if matches!(found, FileType::Directory | FileType::Symlink) {
            self.root.forget();
        }
        if matches!(found, FileType::RegularFile | FileType::Symlink) && stat.st_nlink == 1 {
            self.size = self.size.saturating_sub(stat.st_size as u64);
        }
        tree::remove(parent.fd.as_fd(), base).context("cannot replace what is there")?;
        Ok(false)
    }

    fn directory(
        &mut self,
        entry: &Entry,
        parent: &Parent,
        base: &[u8],
        path: &[u8],
        exists: bool,
    ) -> Result<()> {
        if !exists {
            rustix::fs::mkdirat(&parent.fd, base, Mode::from_raw_mode(0o700))
                .context("cannot make a directory")?;
        }
        let directory =
            open_directory(&parent.fd, base, OFlags::RDONLY).context("cannot open a directory")?;
        self.own(entry, &File::from(directory))?;
        self.root.implicit.remove(path);
        self.remember(path.len())?;
        self.times.insert(path.to_vec(), entry.mtime);
        Ok(())
    }

    fn file(&mut self, entry: &Entry, parent: &Parent, base: &[u8], data: &mut impl Read) -> Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&parent.fd, base, flags, Mode::from_raw_mode(0o600));
        let mut file = File::from(file.context("cannot make a file")?);
        match &entry.sparse {
            None => {
                copy(data, &mut file, entry.size, &mut self.buffer)?;
                self.size = self.size.saturating_add(entry.size);
            }
            Some(map) => {
                file.set_len(map.size).context("cannot make a sparse file")?;
                for (offset, length) in &map.segments {
                    file.seek(SeekFrom::Start(*offset)).context("cannot write a sparse file")?;
                    copy(data, &mut file, *length, &mut self.buffer)?;
                }
                self.size = self.size.saturating_add(map.size);
            }
        }
        self.own(entry, &file)?;
        rustix::fs::futimens(&file, &timestamps(entry.mtime)).context("cannot set times")
    }

    fn hard_link(&mut self, entry: &Entry, parent: &Parent, base: &[u8], path: &[u8]) -> Result<()> {
        let target = name::parse_link(&entry.link, self.limits)?;
        let (target_parent, target_base) = split(&target);
        let missing = || {
            Error::invalid(format!(
                "hard link to {}, which is not in the same layer",
                String::from_utf8_lossy(&entry.link)
            ))
        };
        let from = self.root.parent(target_parent, false)?.ok_or_else(missing)?;
        if target_base.is_empty()
            || rustix::fs::statat(&from.fd, target_base, AtFlags::SYMLINK_NOFOLLOW).is_err()
        {
            return Err(missing());
        }
        if join(&from.path, target_base) == path {
            return Ok(());
        }
        self.clear_way(EntryKind::HardLink, parent, base)?;
        // Clearing the way may have removed the directory in which the target stood.
        match rustix::fs::linkat(&from.fd, target_base, &parent.fd, base, AtFlags::empty()) {
            Err(Errno::NOENT) => Err(missing()),
            linked => linked.context("cannot make a hard link"),
        }
    }

    /// Sets owner, attributes and mode, in the order in which each keeps the others.
    fn own(&self, entry: &Entry, file: &File) -> Result<()> {
        if !self.is_root || entry.uid != 0 || entry.gid != 0 {
            let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
            rustix::fs::fchown(file, Some(uid), Some(gid)).context("cannot set the owner")?;
        }
        for (name, value) in kept_xattrs(entry) {
            xattr_result(name, rustix::fs::fsetxattr(file, name, value, XattrFlags::empty()))?;
        }
        rustix::fs::fchmod(file, Mode::from_raw_mode(entry.mode)).context("cannot set the mode")
    }

    /// As [`Self::own`], with times, for what is not opened: links, devices, pipes.
    fn own_by_name(&self, entry: &Entry, parent: &Parent, base: &[u8]) -> Result<()> {
        let nofollow = AtFlags::SYMLINK_NOFOLLOW;
        let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
        rustix::fs::chownat(&parent.fd, base, Some(uid), Some(gid), nofollow)
            .context("cannot set the owner")?;
        for (name, value) in kept_xattrs(entry) {
            let path = proc_path(parent.fd.as_fd(), base);
            xattr_result(name, rustix::fs::lsetxattr(path, name, value, XattrFlags::empty()))?;
        }
        if entry.kind != EntryKind::Symlink {
            // The name was made just now as no link, and nobody else writes here.
            let mode = Mode::from_raw_mode(entry.mode);
            rustix::fs::chmodat(&parent.fd, base, mode, AtFlags::empty()).context("cannot set the mode")?;
        }
        let times = timestamps(entry.mtime);
        rustix::fs::utimensat(&parent.fd, base, &times, nofollow).context("cannot set times")
    }

    /// Writes the marks, then the times of directories, which the marks would have changed.
    fn finish(mut self, form: Form) -> Result<Unpacked> {
        let mut meta = std::mem::take(&mut self.meta);
        meta.opaque = self.finish_opaque(&meta, form)?;
        let whiteouts = std::mem::take(&mut meta.whiteouts);
        for path in whiteouts {
            self.finish_whiteout(&path, &mut meta, form)?;
        }
        for path in std::mem::take(&mut self.root.implicit) {
            let stat = stat_at(self.root.fd(), &path)?;
            if stat.is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory) {
                meta.implicit.insert(path);
            }
        }
        for (path, mtime) in &self.times {
            match open_directory(self.root.fd(), path, OFlags::RDONLY) {
                Ok(directory) => {
                    rustix::fs::futimens(&directory, &timestamps(*mtime)).context("cannot set times")?;
                }
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(error) => return Err(error).context("cannot set times"),
            }
        }
        Ok(Unpacked { meta, size: self.size })
    }

    /// The opaque directories by their true paths. The root is one only in the meta file: overlay always
    /// merges roots, so the layers below are left out instead.
    fn finish_opaque(&mut self, meta: &LayerMeta, form: Form) -> Result<std::collections::BTreeSet<Vec<u8>>> {
        let mut opaque = std::collections::BTreeSet::new();
        for path in &meta.opaque {
            let Some(directory) = self.root.parent(path, true)? else { continue };
            if form == Form::Overlay && !directory.path.is_empty() {
                self.mark_opaque(&directory.path)?;
            }
            opaque.insert(directory.path);
        }
        Ok(opaque)
    }

    fn mark_opaque(&self, path: &[u8]) -> Result<()> {
        let directory =
            open_directory(self.root.fd(), path, OFlags::RDONLY).context("cannot open a directory")?;
        let marked = rustix::fs::fsetxattr(&directory, OPAQUE_XATTR, b"y", XattrFlags::empty());
        marked.context("cannot mark a directory as opaque")
    }

    /// A whiteout beside an entry of the same name in one layer hides only what is below.
    fn finish_whiteout(&mut self, path: &[u8], meta: &mut LayerMeta, form: Form) -> Result<()> {
        let (parent, base) = split(path);
        let Some(parent) = self.root.parent(parent, true)? else { return Ok(()) };
        let path = join(&parent.path, base);
        match stat_at(self.root.fd(), &path)? {
            Some(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                if form == Form::Overlay {
                    self.mark_opaque(&path)?;
                }
                meta.replaced.insert(path);
            }
            Some(_) => {}
            // In a directory that is not merged a whiteout would be listed, and hides nothing anyway.
            None if meta.hides(&path) => {}
            None => {
                if form == Form::Overlay {
                    let kind = FileType::CharacterDevice;
                    let made = rustix::fs::mknodat(&parent.fd, base, kind, Mode::empty(), 0);
                    made.context("cannot make a whiteout")?;
                }
                meta.whiteouts.insert(path);
            }
        }
        Ok(())
    }
}

/// What mknod makes of an entry. The device 0:0 is overlay's whiteout and no archive's to make.
pub(crate) fn node(entry: &Entry) -> Result<(FileType, u64)> {
    let (major, minor) = entry.device;
    let device = rustix::fs::makedev(major, minor);
    match entry.kind {
        EntryKind::Fifo => Ok((FileType::Fifo, 0)),
        EntryKind::BlockDevice => Ok((FileType::BlockDevice, device)),
        _ if (major, minor) == (0, 0) => Err(Error::invalid("character device 0:0 would be a whiteout")),
        _ => Ok((FileType::CharacterDevice, device)),
    }
}

pub(crate) fn kept_xattrs(entry: &Entry) -> impl Iterator<Item = (&[u8], &[u8])> {
    let kept = entry
        .xattrs
        .iter()
        .filter(|(name, _)| !RESERVED_XATTRS.iter().any(|prefix| name.starts_with(prefix)));
    kept.map(|(name, value)| (name.as_slice(), value.as_slice()))
}

/// As Docker does, lives without an attribute that the file system cannot hold.
pub(crate) fn xattr_result(name: &[u8], result: Result<(), Errno>) -> Result<()> {
    match result {
        Err(Errno::OPNOTSUPP) => Ok(()),
        Err(Errno::PERM) if name.starts_with(b"user.") => Ok(()),
        result => {
            result.with_context(|| format!("cannot set the attribute {}", String::from_utf8_lossy(name)))
        }
    }
}

pub(crate) fn timestamps((seconds, nanos): (i64, u32)) -> Timestamps {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanos.into() };
    Timestamps { last_access: time, last_modification: time }
}

pub(crate) fn copy(data: &mut impl Read, file: &mut File, mut left: u64, buffer: &mut [u8]) -> Result<()> {
    while left > 0 {
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let read = data.read(&mut buffer[..wanted]).context("cannot read the archive")?;
        if read == 0 {
            return Err(Error::invalid("unexpected EOF"));
        }
        file.write_all(&buffer[..read]).context("cannot write")?;
        left -= read as u64;
    }
    Ok(())
}
