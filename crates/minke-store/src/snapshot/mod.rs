//! Snapshots: what a container's root is made of. One contract, two kinds: overlay and plain copy.
//! Mounts nothing: the engine does.

use crate::db::{Database, Keep};
use crate::image::Image;
use crate::store::Store;
use crate::trash::Trash;
use minke_model::Result;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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

    pub(crate) fn probe(_data_root: &Path) -> Result<Self> {
        Ok(Self::Overlay)
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

pub(crate) struct Snapshots {}

impl Snapshots {
    pub(crate) fn open(_data_root: &Path, _kind: SnapshotKind, _db: Arc<Database>, _trash: Arc<Trash>) -> Result<Self> {
        Ok(Self {})
    }
    pub(crate) fn kind(&self) -> SnapshotKind {
        SnapshotKind::Overlay
    }
    pub(crate) fn record(&self, _id: &str) -> Option<Vec<u8>> {
        None
    }
}

impl Store {
    /// Makes a container's own layer on `image`, whose layers stay for as long as it is there, also when
    /// the image is removed. Call it before [`Self::put_container`], which makes it durable.
    /// [`Keep::Boot`] says that nothing of it is wanted after a power cut (`run --rm`).
    pub fn create_rw(&self, id: &str, image: &Image, keep: Keep) -> Result<()> {
        let _ = (id, image, keep);
        unimplemented!()
    }

    /// What to mount as the root of container `id`. Makes directories that a power cut took and clears
    /// overlay's mark of an unclean volatile mount; call it before every mount.
    pub fn rootfs(&self, id: &str) -> Result<RootFs> {
        let _ = id;
        unimplemented!()
    }

    /// Removes a container's own layer: a rename, the unlinking is done in the background.
    /// One that is not there is no error.
    pub fn remove_rw(&self, id: &str) -> Result<()> {
        let _ = id;
        unimplemented!()
    }

    /// The ids of all own layers; those whose container is not known are the engine's to remove.
    pub fn rw_ids(&self) -> Vec<String> {
        unimplemented!()
    }
}
