//! What a container has changed in its file system: `diff`, and what `commit` makes a layer of.
//!
//! With overlay that is what stands in the upper directory, with plain copies what differs from the layers. What a start
//! itself puts into every root (places to mount at) is nobody's change; Docker keeps it in a layer of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use minke_model::{Context as _, Digest, Error, Result};
use rustix::fs::{AtFlags, Dir, FileType, OFlags, Stat};
use rustix::io::Errno;

use super::RootFs;
use crate::files::pack::Packer;
use crate::layer::Layers;
use crate::layer::chain::{DiskLayer, Found, LayerView as _, merged};
use crate::layer::name::{ancestors, join, split};
use crate::layer::root::{open_directory, stat_at};
use crate::layer::unpack::OPAQUE_XATTR;
use crate::store::Store;

/// Directories below one another.
const MAX_DEPTH: usize = 512;

/// What a start makes in every root.
const MADE_BY_START: [&str; 13] = [
    ".dockerenv",
    "dev",
    "dev/console",
    "dev/mqueue",
    "dev/pts",
    "dev/shm",
    "etc",
    "etc/hostname",
    "etc/hosts",
    "etc/mtab",
    "etc/resolv.conf",
    "proc",
    "sys",
];

/// How something has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It is another one than in the image.
    Modified,
    /// The image has nothing there.
    Added,
    /// It is in the image only.
    Deleted,
}

/// Changes by path, which has no slash at its beginning.
pub type FileChanges = BTreeMap<Vec<u8>, ChangeKind>;

impl Store {
    /// What container `id` has changed, by walking its own layer.
    pub fn file_changes(&self, id: &str) -> Result<FileChanges> {
        let layout = self.rootfs_layout(id)?;
        let layers = self.inner.snapshots.own_of(id)?.record.layers;
        let _lease = self.lease();
        plan_changes(&layout, &self.inner.layers, &layers)
    }
}

fn plan_changes(layout: &RootFs, layers: &Layers, chain: &[Digest]) -> Result<FileChanges> {
    let lower = Lower(layers.visible(chain)?.into_iter().map(|(_, layer)| layer).collect());
    let (top, whole) = top_of(layout);
    let mut walk = Walk { lower, whole, found: BTreeMap::new() };
    walk.directory(open_top(top)?, b"", 0)?;
    Ok(walk.found)
}

/// The container's own directory, and whether it is the whole root.
pub(crate) fn top_of(layout: &RootFs) -> (&Path, bool) {
    match layout {
        RootFs::Overlay { upper, .. } => (upper, false),
        RootFs::Directory(path) => (path, true),
    }
}

pub(crate) fn open_top(path: &Path) -> Result<OwnedFd> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    Ok(file.into())
}

/// The layers below, as one tree.
struct Lower(Vec<DiskLayer>);

impl Lower {
    /// What stands at `path`.
    fn find(&self, path: &[u8]) -> Result<Option<Stat>> {
        for layer in &self.0 {
            if let Some(stat) = stat_at(layer.root(), path)? {
                return Ok((!is_whiteout(&stat)).then_some(stat));
            }
            if layer.look(path)? == Found::Other || layer.meta().hides(path) {
                return Ok(None);
            }
        }
        Ok(None)
    }

    /// The names in directory `path`.
    fn names(&self, path: &[u8]) -> Result<BTreeSet<Vec<u8>>> {
        let mut names = BTreeSet::new();
        for index in merged(&self.0, path)? {
            let directory =
                open_directory(self.0[index].root(), path, OFlags::RDONLY).context("cannot open a layer")?;
            names.extend(list(&directory)?);
        }
        let mut seen = BTreeSet::new();
        for name in names {
            if self.find(&join(path, &name))?.is_some() {
                seen.insert(name);
            }
        }
        Ok(seen)
    }
}

struct Walk {
    lower: Lower,
    /// What is walked is the whole root, not only what differs.
    whole: bool,
    found: FileChanges,
}

/// What a directory had in it.
#[derive(Clone, Copy, Default)]
struct Inside {
    /// A change.
    changed: bool,
    /// Something that the start has made.
    made: bool,
}

impl Walk {
    fn directory(&mut self, directory: OwnedFd, path: &[u8], depth: usize) -> Result<Inside> {
        if depth > MAX_DEPTH {
            return Err(Error::system("too many directories below one another"));
        }
        let names = list(&directory)?;
        let mut inside = Inside::default();
        if self.whole || is_opaque(&directory) {
            for gone in self.lower.names(path)?.difference(&names) {
                self.found.insert(join(path, gone), ChangeKind::Deleted);
                inside.changed = true;
            }
        }
        for name in &names {
            let stat = match rustix::fs::statat(&directory, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => continue,
                stat => stat.context("cannot look at a change")?,
            };
            let child = join(path, name);
            let below = self.lower.find(&child)?;
            let changed = if kind_of(&stat) == FileType::Directory {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let Ok(opened) =
                    rustix::fs::openat(&directory, name.as_slice(), flags, rustix::fs::Mode::empty())
                else {
                    continue;
                };
                let within = self.directory(opened, &child, depth + 1)?;
                inside.changed |= within.changed;
                self.of_directory(&child, &stat, below.as_ref(), within)
            } else {
                self.of_file(&child, &stat, below.as_ref())
            };
            match changed {
                Some(kind) => {
                    self.found.insert(child, kind);
                    inside.changed = true;
                }
                None => inside.made |= below.is_none() && is_made_by_start(&child),
            }
        }
        Ok(inside)
    }

    fn of_directory(
        &self,
        path: &[u8],
        stat: &Stat,
        below: Option<&Stat>,
        within: Inside,
    ) -> Option<ChangeKind> {
        let Some(below) = below else {
            return match (is_made_by_start(path), within.changed) {
                (true, false) => None,
                (true, true) => Some(ChangeKind::Modified),
                (false, _) => Some(ChangeKind::Added),
            };
        };
        let same = facts(stat) == facts(below) && (within.made || times(stat) == times(below));
        (within.changed || !same).then_some(ChangeKind::Modified)
    }

    fn of_file(&self, path: &[u8], stat: &Stat, below: Option<&Stat>) -> Option<ChangeKind> {
        match below {
            None if is_whiteout(stat) && !self.whole => None,
            Some(_) if is_whiteout(stat) && !self.whole => Some(ChangeKind::Deleted),
            None if is_made_by_start(path) && is_as_made(path, stat) => None,
            None => Some(ChangeKind::Added),
            Some(below) if self.whole => {
                let same = facts(stat) == facts(below)
                    && (stat.st_size, stat.st_rdev, times(stat))
                        == (below.st_size, below.st_rdev, times(below));
                (!same).then_some(ChangeKind::Modified)
            }
            Some(_) => Some(ChangeKind::Modified),
        }
    }
}

/// Packs changes as a layer: what is gone as whiteouts, directories that hide what is below with their mark.
pub(crate) fn pack(layout: &RootFs, changes: &FileChanges, sink: &mut crate::ChunkSink<'_>) -> Result<()> {
    let (top, whole) = top_of(layout);
    let top = open_top(top)?;
    let mut paths: BTreeMap<&[u8], ChangeKind> =
        changes.iter().map(|(path, kind)| (path.as_slice(), *kind)).collect();
    for path in changes.keys() {
        for above in ancestors(path).filter(|above| !above.is_empty()) {
            paths.entry(above).or_insert(ChangeKind::Modified);
        }
    }
    let mut packer = Packer::new(sink);
    for (path, kind) in paths {
        let (parent, base) = split(path);
        if kind == ChangeKind::Deleted {
            packer.mark(&join(parent, &[b".wh.", base].concat()))?;
            continue;
        }
        let Some(stat) = stat_at(&top, path)? else { continue };
        if kind_of(&stat) != FileType::Directory {
            let parent =
                open_directory(&top, parent, OFlags::PATH).context("cannot open a changed directory")?;
            packer.leaf(parent.as_fd(), base, path, &stat)?;
            continue;
        }
        packer.directory_head(&[path, b"/"].concat(), &stat)?;
        let opened = open_directory(&top, path, OFlags::RDONLY).context("cannot open a changed directory")?;
        if !whole && is_opaque(&opened) {
            packer.mark(&join(path, b".wh..wh..opq"))?;
        }
    }
    packer.finish()
}

fn is_made_by_start(path: &[u8]) -> bool {
    MADE_BY_START.iter().any(|made| made.as_bytes() == path)
}

/// Empty, or for `/etc/mtab` a link as long as `/proc/mounts`.
fn is_as_made(path: &[u8], stat: &Stat) -> bool {
    match path {
        b"etc/mtab" => kind_of(stat) == FileType::Symlink && stat.st_size == 12,
        _ => stat.st_size == 0,
    }
}

fn is_whiteout(stat: &Stat) -> bool {
    kind_of(stat) == FileType::CharacterDevice && stat.st_rdev == 0
}

fn is_opaque(directory: &OwnedFd) -> bool {
    let mut value = [0; 2];
    rustix::fs::fgetxattr(directory, OPAQUE_XATTR, &mut value[..])
        .is_ok_and(|length| value[..length] == *b"y")
}

fn kind_of(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

fn facts(stat: &Stat) -> (u32, u32, u32) {
    (stat.st_mode, stat.st_uid, stat.st_gid)
}

fn times(stat: &Stat) -> i64 {
    stat.st_mtime
}

fn list(directory: &OwnedFd) -> Result<BTreeSet<Vec<u8>>> {
    let mut names = BTreeSet::new();
    for entry in Dir::read_from(directory).context("cannot list a directory")? {
        let entry = entry.context("cannot list a directory")?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.insert(name.to_vec());
        }
    }
    Ok(names)
}
