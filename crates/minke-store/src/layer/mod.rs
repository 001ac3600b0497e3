//! Layers: unpacked alone, keyed by diff ID, committed in two states.

pub(crate) mod limits;

use crate::db::Database;
use crate::snapshot::SnapshotKind;
use crate::store::Store;
use crate::trash::Trash;
use limits::Limits;
use minke_content::ContentStore;
use minke_model::{Digest, Result};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

/// What is known of a layer that is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerInfo {
    /// The digest of its uncompressed tar.
    pub diff_id: Digest,
    /// The digest of the content it came from.
    pub blob: Digest,
    /// The bytes in its files.
    pub size: u64,
}

/// A layer on its way in.
pub struct UnpackRequest<'a> {
    /// Its tar, compressed or not, from the first byte; read in one pass, kept as it comes.
    pub reader: &'a mut (dyn Read + Send),
    /// The digest that the bytes must have.
    pub blob: Option<&'a Digest>,
    /// The digest that the uncompressed bytes must have.
    pub diff_id: Option<&'a Digest>,
}

pub(crate) struct Layers {}

impl Layers {
    pub(crate) fn open(
        _data_root: &Path,
        _kind: SnapshotKind,
        _limits: Limits,
        _db: Arc<Database>,
        _content: ContentStore,
        _trash: &Arc<Trash>,
    ) -> Result<Self> {
        Ok(Self {})
    }
    pub(crate) fn size(&self, _diff_id: &Digest) -> u64 {
        0
    }
    pub(crate) fn make_durable(&self) -> Result<()> {
        Ok(())
    }
}

impl Store {
    /// Takes in one layer: its bytes are hashed, kept, decompressed and unpacked as they come. Several
    /// threads may unpack at once. The layer is collected unless an image that has it is added
    /// before the next collection.
    pub fn unpack_layer(&self, request: UnpackRequest<'_>) -> Result<LayerInfo> {
        let _ = request.reader;
        unimplemented!()
    }
    pub(crate) fn collect(&self) -> Result<()> {
        Ok(())
    }
}
