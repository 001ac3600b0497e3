//! Snapshots by plain copy: the layers are written one over the other into the container's own directory,
//! sharing blocks where the file system can. For hosts on which overlay cannot stack.

use super::RootFs;
use crate::layer::Layers;
use crate::layer::chain::DirectoryFacts;
use crate::layer::meta::LayerMeta;
use crate::layer::name::{join, split};
use crate::layer::root::{open_directory, proc_path};
use crate::tree;
use minke_model::{Context, Digest, Error, Result};
use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// The longest list of attribute names, and the longest value, that the kernel gives.
const MAX_XATTR_BYTES: usize = 64 << 10;

/// Writes the layers of a chain into `place`, bottom first.
pub(super) fn create(place: &Path, chain: &[Digest], layers: &Layers) -> Result<()> {
    let partial = place.join("partial");
    fs::create_dir_all(&partial).with_context(|| format!("cannot make {}", partial.display()))?;
    let target = File::open(&partial).context("cannot open a copy")?;
    for diff_id in chain {
        let source = File::open(layers.directory(diff_id)).context("cannot open a layer")?;
        copy_layer(&source, &layers.meta(diff_id)?, &target).map_err(|error| {
            Error::new(error.kind(), format!("cannot copy the layer {diff_id}")).with_source(error)
        })?;
    }
    super::set_root_mode(&partial)?;
    fs::rename(&partial, place.join("root")).context("cannot finish a copy")
}

/// Where it is.
pub(super) fn layout(place: &Path) -> RootFs {
    RootFs::Directory(place.join("root"))
}

/// Makes it ready to be used.
pub(super) fn prepare(place: &Path, chain: &[Digest], layers: &Layers) -> Result<()> {
    if place.join("root").exists() { Ok(()) } else { create(place, chain, layers) }
}

/// Lays one layer over what is in `target`.
fn copy_layer(source: &File, meta: &LayerMeta, target: &File) -> Result<()> {
    for path in meta.opaque.iter().chain(&meta.replaced) {
        clear(target, path)?;
    }
    for path in meta.whiteouts.iter().chain(&meta.replaced).filter(|path| !path.is_empty()) {
        let (parent, base) = split(path);
        match open_directory(target, parent, OFlags::PATH) {
            Ok(parent) => tree::remove(parent.as_fd(), base).context("cannot remove what a layer hides")?,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
            Err(error) => return Err(error).context("cannot remove what a layer hides"),
        }
    }
    let mut copy = LayerCopy { meta, links: HashMap::new(), target };
    copy.directory(source.as_fd().try_clone_to_owned().context("cannot open a layer")?, &[])
}

/// Removes everything in the directory `path` of `target`.
fn clear(target: &File, path: &[u8]) -> Result<()> {
    let directory = match open_directory(target, path, OFlags::RDONLY) {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
        opened => opened.context("cannot open a directory that a layer hides")?,
    };
    for entry in Dir::read_from(&directory).context("cannot list a directory")? {
        let entry = entry.context("cannot list a directory")?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            tree::remove(directory.as_fd(), name).context("cannot remove what a layer hides")?;
        }
    }
    Ok(())
}

struct LayerCopy<'a> {
    meta: &'a LayerMeta,
    /// Where files with several names went, by device and inode.
    links: HashMap<(u64, u64), Vec<u8>>,
    target: &'a File,
}

impl LayerCopy<'_> {
    fn directory(&mut self, source: OwnedFd, path: &[u8]) -> Result<()> {
        let source = File::from(source);
        let failed = || format!("cannot copy {}", String::from_utf8_lossy(path));
        for entry in Dir::read_from(&source).with_context(failed)? {
            let entry = entry.with_context(failed)?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            self.entry(&source, name, &join(path, name))?;
        }
        if !path.is_empty() && !self.meta.implicit.contains(path) {
            let target = open_directory(self.target, path, OFlags::RDONLY).with_context(failed)?;
            DirectoryFacts::read(&source)?.apply(&File::from(target))?;
        }
        Ok(())
    }

    fn entry(&mut self, source: &File, name: &[u8], path: &[u8]) -> Result<()> {
        let failed = || format!("cannot copy {}", String::from_utf8_lossy(path));
        let stat = rustix::fs::statat(source, name, AtFlags::SYMLINK_NOFOLLOW).with_context(failed)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let parent = open_directory(self.target, split(path).0, OFlags::PATH).with_context(failed)?;
        let there = match rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => None,
            found => Some(FileType::from_raw_mode(found.with_context(failed)?.st_mode)),
        };
        if kind == FileType::Directory {
            if there != Some(FileType::Directory) {
                tree::remove(parent.as_fd(), name).with_context(failed)?;
                rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o700)).with_context(failed)?;
                rustix::fs::chmodat(&parent, name, Mode::from_raw_mode(0o755), AtFlags::empty())
                    .with_context(failed)?;
            }
            let directory = open_directory(source, name, OFlags::RDONLY).with_context(failed)?;
            return self.directory(directory, path);
        }
        if there.is_some() {
            tree::remove(parent.as_fd(), name).with_context(failed)?;
        }
        if stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino)) {
                let (first_parent, first_name) = split(first);
                let from = open_directory(self.target, first_parent, OFlags::PATH).with_context(failed)?;
                let linked = rustix::fs::linkat(&from, first_name, &parent, name, AtFlags::empty());
                return linked.with_context(failed);
            }
            self.links.insert((stat.st_dev, stat.st_ino), path.to_vec());
        }
        copy_entry(source, name, &parent, &stat).with_context(failed)
    }
}

/// Copies what is no directory, with its owner, mode, times and attributes; no link is followed.
pub(crate) fn copy_entry(source: &File, name: &[u8], parent: &OwnedFd, stat: &Stat) -> Result<()> {
    let failed = "cannot copy";
    let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => return copy_file(source, name, parent, stat),
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(source, name, Vec::new()).context(failed)?;
            rustix::fs::symlinkat(&target, parent, name).context(failed)?;
        }
        kind => rustix::fs::mknodat(parent, name, kind, mode, stat.st_rdev).context(failed)?,
    }
    let nofollow = AtFlags::SYMLINK_NOFOLLOW;
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    rustix::fs::chownat(parent, name, Some(uid), Some(gid), nofollow).context(failed)?;
    let from = proc_path(source.as_fd(), name);
    for (key, value) in read_xattrs_by(
        |buffer| rustix::fs::llistxattr(&from, buffer),
        |key, buffer| rustix::fs::lgetxattr(&from, key, buffer),
    )? {
        let to = proc_path(parent.as_fd(), name);
        rustix::fs::lsetxattr(to, key.as_slice(), &value, XattrFlags::empty()).context(failed)?;
    }
    if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
        rustix::fs::chmodat(parent, name, mode, AtFlags::empty()).context(failed)?;
    }
    rustix::fs::utimensat(parent, name, &times(stat), nofollow).context(failed)
}

fn copy_file(source: &File, name: &[u8], parent: &OwnedFd, stat: &Stat) -> Result<()> {
    let failed = "cannot copy";
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut from = File::from(rustix::fs::openat(source, name, flags, Mode::empty()).context(failed)?);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut to =
        File::from(rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o600)).context(failed)?);
    if rustix::fs::ioctl_ficlone(&to, &from).is_err() {
        io::copy(&mut from, &mut to).context(failed)?;
    }
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    rustix::fs::fchown(&to, Some(uid), Some(gid)).context(failed)?;
    for (key, value) in read_xattrs(&from)? {
        rustix::fs::fsetxattr(&to, key.as_slice(), &value, XattrFlags::empty()).context(failed)?;
    }
    rustix::fs::fchmod(&to, Mode::from_raw_mode(stat.st_mode & 0o7777)).context(failed)?;
    rustix::fs::futimens(&to, &times(stat)).context(failed)
}

fn times(stat: &Stat) -> Timestamps {
    let time = Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as _ };
    Timestamps { last_access: time, last_modification: time }
}

/// The extended attributes of an open file, without overlay's own.
pub(crate) fn read_xattrs(file: &File) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    read_xattrs_by(
        |buffer| rustix::fs::flistxattr(file, buffer),
        |key, buffer| rustix::fs::fgetxattr(file, key, buffer),
    )
}

fn read_xattrs_by(
    list: impl FnOnce(&mut [u8]) -> rustix::io::Result<usize>,
    get: impl Fn(&[u8], &mut [u8]) -> rustix::io::Result<usize>,
) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut names = vec![0; MAX_XATTR_BYTES];
    let length = match list(&mut names) {
        Err(Errno::OPNOTSUPP) => 0,
        listed => listed.context("cannot list attributes")?,
    };
    let mut xattrs = Vec::new();
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        if name.starts_with(b"trusted.overlay.") {
            continue;
        }
        let mut value = vec![0; MAX_XATTR_BYTES];
        let length = get(name, &mut value).context("cannot read an attribute")?;
        value.truncate(length);
        xattrs.push((name.to_vec(), value));
    }
    Ok(xattrs)
}
