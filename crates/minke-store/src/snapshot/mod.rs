//! Snapshots: what a container's root is made of. One contract, two kinds: overlay and plain copy.
//! Mounts nothing: the engine does. A snapshot stands on layers that nobody changes.
//!
//! The contract, which `contract_tests` runs against both:
//! what a container sees is what unpacking its image's layers in order would give; what it writes is seen
//! by it alone; after a removal nothing is left; any step may be repeated.

pub(crate) mod changes;
pub(crate) mod copy;
pub(crate) mod overlay;
pub(crate) mod probe;
mod quota;
mod size;

pub(crate) use size::of_tree as size_of_tree;

#[cfg(test)]
mod contract_tests;

use crate::db::{Database, Keep, Table};
use crate::image::Image;
use crate::layer::Layers;
use crate::record::{RwRecord, decode, encode};
use crate::store::Store;
use crate::trash::Trash;
use minke_model::{Context, Digest, Error, Result};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How containers' file systems are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotKind {
    /// Layers are stacked by overlayfs.
    Overlay,
    /// Layers are copied into one directory, sharing blocks where the file system can.
    Copy,
}

impl SnapshotKind {
    /// The name that `info` shows as the storage driver: `overlay2` or `vfs`.
    pub fn driver_name(self) -> &'static str {
        match self {
            Self::Overlay => "overlay2",
            Self::Copy => "vfs",
        }
    }
}

/// What the engine mounts, or binds, as a container's root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RootFs {
    /// An overlay mount.
    Overlay {
        /// Lower directories, the topmost first: overlay's own order.
        lowers: Vec<PathBuf>,
        /// The directory that takes what the container writes.
        upper: PathBuf,
        /// Overlay's work directory, on the same file system.
        work: PathBuf,
        /// Whether to mount with `volatile` (the upper directory is not wanted after a power cut).
        volatile: bool,
    },
    /// A directory that is the root as it is.
    Directory(PathBuf),
}

/// The containers' own layers of one data root.
pub(crate) struct Snapshots {
    kind: SnapshotKind,
    directory: PathBuf,
    trash: Arc<Trash>,
    own: Mutex<BTreeMap<String, Own>>,
    /// The last project that was given to a container, 0 before the first.
    last_project: Mutex<u32>,
}

/// One container's own layer.
#[derive(Clone)]
pub(crate) struct Own {
    pub(crate) record: RwRecord,
    keep: Keep,
    /// Whether the database has the record.
    recorded: bool,
}

impl Snapshots {
    pub(crate) fn open(
        data_root: &Path,
        kind: SnapshotKind,
        db: Arc<Database>,
        trash: Arc<Trash>,
    ) -> Result<Self> {
        let directory = data_root.join("rw");
        fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let mut own = BTreeMap::new();
        for (id, bytes) in db.list(Table::Rw)? {
            let record = decode("the own layer of container", &id, &bytes)?;
            own.insert(id, Own { record, keep: Keep::Durable, recorded: true });
        }
        // Those that were to end with the boot, and those whose container was never recorded.
        for entry in
            fs::read_dir(&directory).with_context(|| format!("cannot list {}", directory.display()))?
        {
            let entry = entry.with_context(|| format!("cannot list {}", directory.display()))?;
            let id = entry.file_name().to_string_lossy().into_owned();
            if own.contains_key(&id) {
                continue;
            }
            match read_note(&entry.path(), &db.boot_id) {
                Some(record) => drop(own.insert(id, Own { record, keep: Keep::Boot, recorded: false })),
                None => trash.take(&entry.path())?,
            }
        }
        Ok(Self { kind, directory, trash, own: Mutex::new(own), last_project: Mutex::default() })
    }

    pub(crate) fn kind(&self) -> SnapshotKind {
        self.kind
    }

    /// The record to write with a container's own, unless the database has it.
    pub(crate) fn unrecorded(&self, id: &str) -> Option<Vec<u8>> {
        self.own().get(id).filter(|own| !own.recorded).map(|own| encode(&own.record))
    }

    /// Notes that the database has the record of a container's own layer, or has it no more; says what was so.
    pub(crate) fn set_recorded(&self, id: &str, recorded: bool) -> bool {
        self.own().get_mut(id).is_some_and(|own| std::mem::replace(&mut own.recorded, recorded))
    }

    /// The layers that containers stand on.
    pub(crate) fn chains_in_use(&self) -> Vec<Vec<Digest>> {
        self.own().values().map(|own| own.record.layers.clone()).collect()
    }

    fn own(&self) -> MutexGuard<'_, BTreeMap<String, Own>> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(&self, id: &str) -> Result<PathBuf> {
        match id.is_empty() || id.starts_with('.') || id.contains('/') {
            true => Err(Error::system(format!("{id:?} cannot name a container's layer"))),
            false => Ok(self.directory.join(id)),
        }
    }

    fn create(&self, id: &str, record: RwRecord, keep: Keep, layers: &Layers, boot_id: &str) -> Result<()> {
        let place = self.place(id)?;
        if self.own().contains_key(id) {
            return Err(Error::conflict(format!("container {id} has a layer of its own already")));
        }
        self.trash.take(&place)?;
        let made = match self.kind {
            SnapshotKind::Overlay => overlay::create(&place),
            SnapshotKind::Copy => copy::create(&place, &record.layers, layers),
        };
        let made = made.and_then(|()| write_note(&place, &record, boot_id));
        if let Err(error) = made {
            self.trash.take(&place)?;
            return Err(error);
        }
        self.own().insert(id.to_owned(), Own { record, keep, recorded: false });
        Ok(())
    }

    pub(crate) fn own_of(&self, id: &str) -> Result<Own> {
        let own = self.own().get(id).cloned();
        own.ok_or_else(|| Error::not_found(format!("container {id} has no layer of its own")))
    }

    fn layout(&self, id: &str, layers: &Layers) -> Result<RootFs> {
        let own = self.own_of(id)?;
        let place = self.place(id)?;
        match self.kind {
            SnapshotKind::Overlay => overlay::layout(&place, &own.record.layers, own.keep, layers),
            SnapshotKind::Copy => Ok(copy::layout(&place)),
        }
    }

    fn prepare(&self, id: &str, layers: &Layers) -> Result<()> {
        let own = self.own_of(id)?;
        let place = self.place(id)?;
        match self.kind {
            SnapshotKind::Overlay => overlay::prepare(&place),
            SnapshotKind::Copy => copy::prepare(&place, &own.record.layers, layers),
        }
    }

    fn remove(&self, id: &str) -> Result<Option<Own>> {
        let place = self.place(id)?;
        self.trash.take(&place)?;
        Ok(self.own().remove(id))
    }
}

/// Gives a container's root the owner and mode that Docker gives it, whatever its image's archives say.
fn set_root_mode(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let set = fs::set_permissions(path, fs::Permissions::from_mode(0o755));
    set.with_context(|| format!("cannot set the mode of {}", path.display()))
}

/// The note beside a container's own layer, for one that no database record tells of: the boot, then the
/// layers. It is believed in the same boot only, in which no write of it can have been lost.
fn write_note(place: &Path, record: &RwRecord, boot_id: &str) -> Result<()> {
    let text = format!("{boot_id}\n{}", String::from_utf8_lossy(&encode(record)));
    fs::write(place.join("note"), text).with_context(|| format!("cannot write {}/note", place.display()))
}

fn read_note(place: &Path, boot_id: &str) -> Option<RwRecord> {
    let text = fs::read_to_string(place.join("note")).ok()?;
    let (boot, record) = text.split_once('\n')?;
    (boot == boot_id).then(|| serde_json::from_str(record).ok()).flatten()
}

impl Store {
    /// Makes a container's own layer on `image`, whose layers stay for as long as it is there, also when
    /// the image is removed. Call it before [`Self::put_container`], which makes it durable.
    /// [`Keep::Boot`] says that nothing of it is wanted after a power cut (`run --rm`).
    pub fn create_rw(&self, id: &str, image: &Image, keep: Keep) -> Result<()> {
        // While this lease lives, no layer below is collected.
        let _lease = self.lease();
        let inner = &self.inner;
        if let Some(gone) = image.layers.iter().find(|layer| inner.layers.record(layer).is_none()) {
            return Err(Error::not_found(format!("layer {gone} of image {} is not here", image.id)));
        }
        let record = RwRecord { layers: image.layers.clone() };
        inner.snapshots.create(id, record, keep, &inner.layers, &inner.db.boot_id)
    }

    /// Limits what container `id` may write into its own layer, in bytes; for one that was just made.
    ///
    /// # Errors
    /// Docker's words where the file system can't: this takes overlay, and xfs or ext4 with project quotas.
    pub fn limit_rw(&self, id: &str, bytes: u64) -> Result<()> {
        self.inner.snapshots.limit(id, bytes)
    }

    /// Whether [`Self::limit_rw`] works.
    pub fn can_limit_rw(&self) -> bool {
        self.inner.snapshots.can_limit()
    }

    /// What to mount as the root of container `id`. Makes directories that a power cut took and clears
    /// overlay's mark of an unclean volatile mount; call it before every mount, and never while mounted.
    pub fn rootfs(&self, id: &str) -> Result<RootFs> {
        self.inner.snapshots.prepare(id, &self.inner.layers)?;
        self.rootfs_layout(id)
    }

    /// Where the parts of container `id`'s root are, as inspect shows them; touches nothing.
    pub fn rootfs_layout(&self, id: &str) -> Result<RootFs> {
        self.inner.snapshots.layout(id, &self.inner.layers)
    }

    /// The bytes of the files in container `id`'s own layer, by walking it: only for who asks for sizes.
    pub fn rw_size(&self, id: &str) -> Result<u64> {
        let (RootFs::Overlay { upper: own, .. } | RootFs::Directory(own)) = self.rootfs_layout(id)?;
        Ok(size::of_tree(&own))
    }

    /// Removes a container's own layer: a rename, the unlinking is done in the background.
    /// One that is not there is no error.
    pub fn remove_rw(&self, id: &str) -> Result<()> {
        let Some(own) = self.inner.snapshots.remove(id)? else { return Ok(()) };
        if own.recorded {
            self.inner.db.delete(Table::Rw, id)?;
        }
        // The layers of an image that is still here stay anyway.
        match self.inner.catalog.any(|image| image.layers == own.record.layers) {
            true => Ok(()),
            false => self.collect(),
        }
    }

    /// The ids of all own layers; those whose container is not known are the engine's to remove.
    pub fn rw_ids(&self) -> Vec<String> {
        self.inner.snapshots.own().keys().cloned().collect()
    }
}
