//! Layers: unpacked alone, keyed by diff ID, committed in two states (staged, then durable).
//! Must never change a layer once it is committed, nor remove one that anything stands on.

pub(crate) mod chain;
pub(crate) mod intake;
pub(crate) mod limits;
pub(crate) mod meta;
pub(crate) mod name;
pub(crate) mod room;
pub(crate) mod root;
pub(crate) mod unpack;

#[cfg(test)]
mod unpack_tests;

use crate::db::{Database, Table, Write};
use crate::record::{ChainRecord, LayerRecord, decode, encode};
use crate::snapshot::SnapshotKind;
use crate::trash::Trash;
use limits::Limits;
use meta::LayerMeta;
use minke_content::ContentStore;
use minke_model::image::Descriptor;
use minke_model::{Context, Digest, Error, Result};
use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use unpack::Form;

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

/// The layers of one data root.
pub(crate) struct Layers {
    paths: Paths,
    form: Form,
    limits: Limits,
    boot: String,
    db: Arc<Database>,
    content: ContentStore,
    trash: Arc<Trash>,
    next: AtomicU64,
    records: RwLock<HashMap<Digest, LayerRecord>>,
    chains: RwLock<HashMap<Digest, ChainRecord>>,
    /// Held while a layer is committed or a sync is recorded.
    committing: Mutex<()>,
    /// Held by who brings layers to disk.
    syncing: Mutex<()>,
    /// Layers and chains that were forgotten since the sync under way began; changed with `committing` held.
    forgotten: Mutex<HashSet<Digest>>,
}

/// Where things are in a data root.
struct Paths {
    layers: PathBuf,
    chains: PathBuf,
    staging: PathBuf,
    empty: PathBuf,
}

impl Layers {
    pub(crate) fn open(
        data_root: &Path,
        kind: SnapshotKind,
        limits: Limits,
        db: Arc<Database>,
        content: ContentStore,
        trash: &Arc<Trash>,
    ) -> Result<Self> {
        let paths = Paths {
            layers: data_root.join("layers"),
            chains: data_root.join("chains"),
            staging: data_root.join("staging"),
            empty: data_root.join("layers/empty"),
        };
        trash.take(&paths.staging)?;
        for directory in [&paths.layers, &paths.chains, &paths.staging, &paths.empty] {
            fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        }
        let form = if kind == SnapshotKind::Overlay { Form::Overlay } else { Form::Plain };
        let layers = Self {
            paths,
            form,
            limits,
            boot: db.boot_id.clone(),
            records: RwLock::new(read_table(&db, Table::Layers, "layer")?),
            chains: RwLock::new(read_table(&db, Table::Chains, "chain")?),
            db,
            content,
            trash: Arc::clone(trash),
            next: AtomicU64::new(0),
            committing: Mutex::new(()),
            syncing: Mutex::new(()),
            forgotten: Mutex::default(),
        };
        layers.recover()?;
        Ok(layers)
    }

    /// The record of a layer that is here.
    pub(crate) fn record(&self, diff_id: &Digest) -> Option<LayerRecord> {
        read(&self.records).get(diff_id).cloned()
    }

    /// The size of a layer, 0 if it is not here.
    pub(crate) fn size(&self, diff_id: &Digest) -> u64 {
        read(&self.records).get(diff_id).map_or(0, |record| record.size)
    }

    /// The directory of a layer's files.
    pub(crate) fn directory(&self, diff_id: &Digest) -> PathBuf {
        self.paths.layers.join(diff_id.hex()).join("fs")
    }

    /// A directory with nothing in it, to stand under an image without layers.
    pub(crate) fn empty_directory(&self) -> &Path {
        &self.paths.empty
    }

    /// What a layer's directory does not say of itself.
    pub(crate) fn meta(&self, diff_id: &Digest) -> Result<LayerMeta> {
        let path = self.paths.layers.join(diff_id.hex()).join("meta");
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        LayerMeta::decode(&bytes)
    }

    /// An empty directory below `staging`, of a name never used in this process.
    fn staging(&self) -> Result<PathBuf> {
        let path = self.paths.staging.join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
        fs::create_dir_all(path.join("fs")).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(path)
    }

    /// Moves a staged directory to its place and records it as staged. One that is there already is kept.
    fn commit(&self, staging: &Path, diff_id: &Digest, record: LayerRecord) -> Result<()> {
        let _one_at_a_time = lock(&self.committing);
        if read(&self.records).contains_key(diff_id) {
            return self.trash.take(staging);
        }
        let place = self.paths.layers.join(diff_id.hex());
        // Without a record it is a leftover, never a layer.
        self.trash.take(&place)?;
        fs::rename(staging, &place).with_context(|| format!("cannot commit the layer {diff_id}"))?;
        let record = LayerRecord { staged: Some(self.boot.clone()), ..record };
        self.db.write(&[Write::Put(Table::Layers, diff_id.as_str(), &encode(&record))])?;
        write(&self.records).insert(diff_id.clone(), record);
        Ok(())
    }

    /// Brings what is staged to disk and records it as durable: one sync for all.
    pub(crate) fn make_durable(&self) -> Result<()> {
        let _one_at_a_time = lock(&self.syncing);
        let (mut layers, mut chains) = {
            let _changing = lock(&self.committing);
            lock(&self.forgotten).clear();
            let layers: Vec<_> = staged(&self.records, |record| record.staged.take());
            let chains: Vec<_> = staged(&self.chains, |record| record.staged.take());
            (layers, chains)
        };
        if layers.is_empty() && chains.is_empty() {
            return Ok(());
        }
        let root = fs::File::open(&self.paths.layers).context("cannot open the layers")?;
        rustix::fs::syncfs(&root).context("cannot bring layers to disk")?;
        let _changing = lock(&self.committing);
        // What was forgotten meanwhile stays forgotten; what has come again waits for the next sync.
        let forgotten = std::mem::take(&mut *lock(&self.forgotten));
        layers.retain(|(id, _)| !forgotten.contains(id));
        for (id, record) in &mut layers {
            // What was learned of it meanwhile.
            record.compressed = read(&self.records).get(id).and_then(|now| now.compressed.clone());
        }
        chains.retain(|(id, _)| !forgotten.contains(id));
        let encoded: Vec<_> = (layers.iter())
            .map(|(id, record)| (Table::Layers, id, encode(record)))
            .chain(chains.iter().map(|(id, record)| (Table::Chains, id, encode(record))))
            .collect();
        let writes: Vec<_> =
            encoded.iter().map(|(table, id, bytes)| Write::Put(*table, id.as_str(), bytes)).collect();
        self.db.write(&writes)?;
        write(&self.records).extend(layers);
        write(&self.chains).extend(chains);
        Ok(())
    }

    /// Drops what an earlier process left without a record, and unpacks again what a power cut may have torn.
    fn recover(&self) -> Result<()> {
        self.drop_unknown(&self.paths.layers, |digest| read(&self.records).contains_key(digest))?;
        self.drop_unknown(&self.paths.chains, |digest| read(&self.chains).contains_key(digest))?;
        let torn: Vec<Digest> = read(&self.records)
            .iter()
            .filter(|(_, record)| record.staged.as_ref().is_some_and(|boot| *boot != self.boot))
            .map(|(diff_id, _)| diff_id.clone())
            .collect();
        for diff_id in &torn {
            if let Err(error) = self.unpack_again(diff_id) {
                tracing::error!(%diff_id, %error, "a layer is lost: it was not on disk when the host went down");
                self.forget(diff_id)?;
            }
        }
        let torn: Vec<Digest> = read(&self.chains)
            .iter()
            .filter(|(_, record)| record.staged.as_ref().is_some_and(|boot| *boot != self.boot))
            .map(|(chain_id, _)| chain_id.clone())
            .collect();
        for chain_id in torn {
            let record = read(&self.chains).get(&chain_id).cloned();
            self.forget_chain(&chain_id)?;
            if let Some(record) = record
                && record.layers.iter().all(|layer| self.record(layer).is_some())
            {
                self.complete_chain(&record.layers)?;
            }
        }
        self.make_durable()
    }

    fn drop_unknown(&self, directory: &Path, known: impl Fn(&Digest) -> bool) -> Result<()> {
        let failed = || format!("cannot list {}", directory.display());
        for entry in fs::read_dir(directory).with_context(failed)? {
            let entry = entry.with_context(failed)?;
            let name = entry.file_name();
            let digest = name.to_str().and_then(|name| Digest::from_hex(name).ok());
            if name != "empty" && !digest.is_some_and(|digest| known(&digest)) {
                self.trash.take(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Every layer and every chain that is here.
    pub(crate) fn all(&self) -> (Vec<Digest>, Vec<Digest>) {
        (read(&self.records).keys().cloned().collect(), read(&self.chains).keys().cloned().collect())
    }

    /// Remembers as what a layer goes out compressed; nothing where the layer is gone.
    pub(crate) fn set_compressed(&self, diff_id: &Digest, blob: &Descriptor) -> Result<()> {
        let _changing = lock(&self.committing);
        let Some(record) = self.record(diff_id) else { return Ok(()) };
        let record = LayerRecord { compressed: Some(blob.clone()), ..record };
        self.db.write(&[Write::Put(Table::Layers, diff_id.as_str(), &encode(&record))])?;
        write(&self.records).insert(diff_id.clone(), record);
        Ok(())
    }

    /// Takes a chain's top layer away.
    pub(crate) fn forget_chain(&self, chain_id: &Digest) -> Result<()> {
        let _changing = lock(&self.committing);
        lock(&self.forgotten).insert(chain_id.clone());
        self.db.write(&[Write::Delete(Table::Chains, chain_id.as_str())])?;
        write(&self.chains).remove(chain_id);
        self.trash.take(&self.paths.chains.join(chain_id.hex()))
    }

    /// Takes a layer away: the record first, then the directory by a rename.
    pub(crate) fn forget(&self, diff_id: &Digest) -> Result<()> {
        let _changing = lock(&self.committing);
        lock(&self.forgotten).insert(diff_id.clone());
        self.db.write(&[Write::Delete(Table::Layers, diff_id.as_str())])?;
        write(&self.records).remove(diff_id);
        self.trash.take(&self.paths.layers.join(diff_id.hex()))
    }
}

/// The chain ID of layers, bottom first (image-spec `config.md`, "Layer ChainID"); `None` for no layers.
pub(crate) fn chain_id(layers: &[Digest]) -> Option<Digest> {
    use sha2::{Digest as _, Sha256};
    let (first, rest) = layers.split_first()?;
    Some(rest.iter().fold(first.clone(), |chain, layer| {
        Digest::sha256(&Sha256::digest(format!("{chain} {layer}").as_bytes()))
    }))
}

fn read_table<T: serde::de::DeserializeOwned>(
    db: &Database,
    table: Table,
    what: &str,
) -> Result<HashMap<Digest, T>> {
    let rows = db.list(table)?.into_iter();
    rows.map(|(id, bytes)| Ok((Digest::parse(&id)?, decode(what, &id, &bytes)?))).collect()
}

/// Copies of the records from which `take` takes a staged mark.
fn staged<T: Clone>(
    records: &RwLock<HashMap<Digest, T>>,
    take: impl Fn(&mut T) -> Option<String>,
) -> Vec<(Digest, T)> {
    let copies = read(records).iter().map(|(id, record)| (id.clone(), record.clone())).collect::<Vec<_>>();
    copies.into_iter().filter_map(|(id, mut record)| take(&mut record).map(|_| (id, record))).collect()
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The error for a layer that an image names and the store does not have.
fn missing(diff_id: &Digest) -> Error {
    Error::not_found(format!("layer {diff_id} is not here"))
}
