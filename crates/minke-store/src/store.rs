//! [`Store`]: what is open, and the order in which it opens.

use crate::collect::Gate;
use crate::db::{Database, Keep, Table, Write};
use crate::image::catalog::Catalog;
use crate::layer::Layers;
use crate::layer::limits::Limits;
use crate::snapshot::{SnapshotKind, Snapshots};
use crate::trash::Trash;
use minke_content::ContentStore;
use minke_model::{Context, Platform, Result};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// How to open a store.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where records are kept that end with the boot, usually on tmpfs.
    pub exec_root: PathBuf,
    /// The snapshots to use; `None` probes whether overlay can stack on the data root.
    pub snapshot: Option<SnapshotKind>,
    /// The platform whose image is chosen from an index.
    pub platform: Platform,
    /// What an archive may demand.
    pub limits: Limits,
}

impl Options {
    /// Everything as usual, records of this boot below `exec_root`.
    pub fn new(exec_root: impl Into<PathBuf>) -> Self {
        Self {
            exec_root: exec_root.into(),
            snapshot: None,
            platform: Platform::host(),
            limits: Limits::default(),
        }
    }
}

/// An open data root; clones share it. One process at a time may have it open.
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) data_root: PathBuf,
    pub(crate) platform: Platform,
    pub(crate) limits: Limits,
    pub(crate) db: Arc<Database>,
    pub(crate) content: ContentStore,
    pub(crate) layers: Arc<Layers>,
    pub(crate) snapshots: Snapshots,
    pub(crate) catalog: Catalog,
    pub(crate) trash: Arc<Trash>,
    /// Held by whatever changes images, tags or layer roots: decisions and their transaction are one step.
    pub(crate) change: Mutex<()>,
    pub(crate) gate: Gate,
    sync: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        let thread = self.sync.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        // It has told of its failure itself.
        let _ = thread.map(JoinHandle::join);
    }
}

impl Store {
    /// Opens `data_root`, making it where it is not there. Drops what an earlier process left half done,
    /// unpacks layers again that a power cut may have torn, and refuses a database of a newer version.
    pub fn open(data_root: &Path, options: Options) -> Result<Self> {
        std::fs::create_dir_all(data_root)
            .with_context(|| format!("cannot make the data root {}", data_root.display()))?;
        let data_root = std::fs::canonicalize(data_root)
            .with_context(|| format!("cannot open the data root {}", data_root.display()))?;
        // Programs in layers may be setuid: no other user may reach them.
        std::fs::set_permissions(&data_root, std::fs::Permissions::from_mode(0o710))
            .with_context(|| format!("cannot set the mode of {}", data_root.display()))?;
        let fresh = !data_root.join("minke.db").exists();
        let db = Arc::new(Database::open(&data_root, &options.exec_root)?);
        let content = ContentStore::open(&data_root)?;
        let trash = Arc::new(Trash::open(&data_root.join("trash"))?);
        let kind = match options.snapshot {
            Some(kind) => kind,
            None => SnapshotKind::probe(&data_root)?,
        };
        let limits = options.limits.clone();
        let layers = Layers::open(&data_root, kind, limits, Arc::clone(&db), content.clone(), &trash)?;
        let snapshots = Snapshots::open(&data_root, kind, Arc::clone(&db), Arc::clone(&trash))?;
        let catalog = Catalog::load(Arc::clone(&db), &content, &layers)?;
        let inner = Inner {
            data_root,
            platform: options.platform,
            limits: options.limits,
            db,
            content,
            layers: Arc::new(layers),
            snapshots,
            catalog,
            trash,
            change: Mutex::new(()),
            gate: Gate::default(),
            sync: Mutex::new(None),
        };
        let store = Self { inner: Arc::new(inner) };
        store.collect()?;
        if fresh {
            // The directories made just now must be there for whatever is acknowledged in them later.
            let root = std::fs::File::open(store.data_root()).context("cannot open the data root")?;
            rustix::fs::syncfs(&root).context("cannot bring the data root to disk")?;
        }
        Ok(store)
    }

    /// The directory that this store owns.
    pub fn data_root(&self) -> &Path {
        &self.inner.data_root
    }

    /// How containers' file systems are made here.
    pub fn snapshot_kind(&self) -> SnapshotKind {
        self.inner.snapshots.kind()
    }

    /// The blobs that this store owns.
    pub fn content(&self) -> &ContentStore {
        &self.inner.content
    }

    /// Writes a record, replacing one of the same id; on return it is as safe as `keep` says.
    pub fn put(&self, table: Table, id: &str, bytes: &[u8], keep: Keep) -> Result<()> {
        self.inner.db.put(table, id, bytes, keep)
    }

    /// Deletes a record; one that is not there is no error.
    pub fn delete(&self, table: Table, id: &str) -> Result<()> {
        self.inner.db.delete(table, id)
    }

    /// Every record of a table, by id.
    pub fn list(&self, table: Table) -> Result<Vec<(String, Vec<u8>)>> {
        self.inner.db.list(table)
    }

    /// Writes a container's record and, with [`Keep::Durable`], which layers its own layer stands on,
    /// in one transaction.
    pub fn put_container(&self, id: &str, bytes: &[u8], keep: Keep) -> Result<()> {
        let rw = self.inner.snapshots.unrecorded(id);
        self.inner.db.put_with(
            Table::Containers,
            id,
            bytes,
            keep,
            rw.as_deref().map(|rw| (Table::Rw, rw)),
        )?;
        if keep == Keep::Durable {
            self.inner.snapshots.set_recorded(id, true);
        }
        Ok(())
    }

    /// Deletes a container's record. Its own layer is removed by [`Self::remove_rw`].
    pub fn delete_container(&self, id: &str) -> Result<()> {
        if self.inner.snapshots.set_recorded(id, false) {
            return self
                .inner
                .db
                .write(&[Write::Delete(Table::Containers, id), Write::Delete(Table::Rw, id)]);
        }
        self.inner.db.delete(Table::Containers, id)
    }

    /// Every container's record, by id.
    pub fn containers(&self) -> Result<Vec<(String, Vec<u8>)>> {
        self.inner.db.list(Table::Containers)
    }

    /// Brings what is staged to disk in the background; an earlier such thread is waited for.
    pub(crate) fn make_durable_later(&self) {
        let mut running = self.inner.sync.lock().unwrap_or_else(PoisonError::into_inner);
        let earlier = running.take();
        let layers = Arc::clone(&self.inner.layers);
        let thread = std::thread::Builder::new().name("minke-sync".to_owned());
        let spawned = thread.spawn(move || {
            let _ = earlier.map(JoinHandle::join);
            if let Err(error) = layers.make_durable() {
                tracing::warn!(%error, "layers stay staged");
            }
        });
        *running = spawned.ok();
    }

    /// Waits until what is staged is durable and the trash is empty.
    pub fn settle(&self) -> Result<()> {
        self.inner.layers.make_durable()?;
        self.inner.trash.wait();
        Ok(())
    }
}
