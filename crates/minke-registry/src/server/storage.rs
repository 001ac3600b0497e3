//! What a registry holds: the bytes of blobs and manifests by digest, in memory or in a content store, and what each repository
//! has of them, in memory and, with a folder, in a file per repository.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use minke_content::{ContentStore, Ingest};
use minke_model::{Context as _, Digest, Error, Result};
use serde::{Deserialize, Serialize};

use crate::hash::Hasher;

/// The longest blob in bytes.
const MAX_BLOB_BYTES: u64 = 1 << 40;

/// A registry's bytes and names. Cheap to clone.
#[derive(Clone)]
pub struct Storage {
    bytes: Stored,
    folder: Option<Arc<PathBuf>>,
    repositories: Arc<Mutex<BTreeMap<String, Holding>>>,
}

#[derive(Clone)]
enum Stored {
    Memory(Arc<Mutex<HashMap<Digest, Bytes>>>),
    Disk(ContentStore),
}

/// What a repository has.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Holding {
    pub(crate) blobs: BTreeSet<Digest>,
    pub(crate) manifests: BTreeMap<Digest, Entry>,
    pub(crate) tags: BTreeMap<String, Digest>,
}

/// A manifest of a repository.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) media_type: String,
    pub(crate) size: u64,
    /// The manifest that this one is about.
    #[serde(default)]
    pub(crate) subject: Option<Digest>,
    #[serde(default)]
    pub(crate) artifact_type: Option<String>,
    #[serde(default)]
    pub(crate) annotations: BTreeMap<String, String>,
}

/// A blob on its way in.
pub(crate) enum Arrival {
    Memory(Vec<u8>),
    Disk(Box<Ingest>),
}

impl Storage {
    /// One that ends with the process.
    pub fn in_memory() -> Self {
        Self { bytes: Stored::Memory(Arc::default()), folder: None, repositories: Arc::default() }
    }

    /// One in a folder, which is made, or gone on with.
    pub fn on_disk(folder: &Path) -> Result<Self> {
        let names = folder.join("repositories");
        std::fs::create_dir_all(&names).with_context(|| format!("cannot make {}", names.display()))?;
        let bytes = Stored::Disk(ContentStore::open(folder)?);
        let mut repositories = BTreeMap::new();
        for entry in std::fs::read_dir(&names).context("cannot list repositories")? {
            let path = entry.context("cannot list repositories")?.path();
            let name =
                path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".json"));
            let Some(name) = name else { continue };
            let text = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let holding =
                serde_json::from_slice(&text).with_context(|| format!("cannot read {}", path.display()))?;
            repositories.insert(name.replace('%', "/"), holding);
        }
        let repositories = Arc::new(Mutex::new(repositories));
        Ok(Self { bytes, folder: Some(Arc::new(names)), repositories })
    }

    fn repositories(&self) -> MutexGuard<'_, BTreeMap<String, Holding>> {
        self.repositories.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The names of all repositories, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        self.repositories().keys().cloned().collect()
    }

    /// Looks at what a repository has; `None` where it has nothing.
    pub(crate) fn look<T>(&self, name: &str, read: impl FnOnce(&Holding) -> T) -> Option<T> {
        self.repositories().get(name).map(read)
    }

    /// Changes what a repository has, and writes that down.
    pub(crate) fn change<T>(&self, name: &str, change: impl FnOnce(&mut Holding) -> T) -> Result<T> {
        let mut repositories = self.repositories();
        let holding = repositories.entry(name.to_owned()).or_default();
        let changed = change(holding);
        if let Some(folder) = &self.folder {
            // No name of a repository has a percent sign.
            let path = folder.join(format!("{}.json", name.replace('/', "%")));
            let draft = path.with_extension("new");
            let text = serde_json::to_vec(holding).context("a repository")?;
            let mut file = std::fs::File::create(&draft).context("cannot write a repository")?;
            file.write_all(&text).and_then(|()| file.sync_data()).context("cannot write a repository")?;
            std::fs::rename(&draft, &path).context("cannot write a repository")?;
        }
        Ok(changed)
    }

    /// Whether a repository has a blob.
    pub(crate) fn has_blob(&self, name: &str, digest: &Digest) -> bool {
        self.look(name, |holding| holding.blobs.contains(digest)).unwrap_or(false)
    }

    /// The length of stored bytes.
    pub(crate) fn size(&self, digest: &Digest) -> Option<u64> {
        match &self.bytes {
            Stored::Memory(bytes) => locked(bytes).get(digest).map(|bytes| bytes.len() as u64),
            Stored::Disk(store) => store.size(digest),
        }
    }

    /// A part of stored bytes; may block.
    pub(crate) fn read(&self, digest: &Digest, from: u64, length: usize) -> Result<Bytes> {
        match &self.bytes {
            Stored::Memory(bytes) => {
                let bytes = locked(bytes).get(digest).cloned();
                let bytes = bytes.ok_or_else(|| Error::not_found(format!("content {digest} is not here")))?;
                let from = (from as usize).min(bytes.len());
                Ok(bytes.slice(from..(from + length).min(bytes.len())))
            }
            Stored::Disk(store) => store.read_range(digest, from, length).map(Bytes::from),
        }
    }

    /// Begins to take in a blob.
    pub(crate) fn arrive(&self) -> Result<Arrival> {
        Ok(match &self.bytes {
            Stored::Memory(_) => Arrival::Memory(Vec::new()),
            Stored::Disk(store) => Arrival::Disk(Box::new(store.ingest(MAX_BLOB_BYTES)?)),
        })
    }

    /// Stores what has arrived, if it has the digest `expected`; may block.
    pub(crate) fn keep(&self, arrival: Arrival, expected: &Digest) -> Result<()> {
        if expected.algorithm() != "sha256" {
            return Err(Error::invalid(format!("unsupported digest algorithm: {}", expected.algorithm())));
        }
        match (arrival, &self.bytes) {
            (Arrival::Memory(bytes), Stored::Memory(stored)) => {
                if Hasher::digest_of(&bytes) != *expected {
                    return Err(Error::invalid("provided digest did not match uploaded content"));
                }
                locked(stored).insert(expected.clone(), bytes.into());
                Ok(())
            }
            (Arrival::Disk(ingest), _) => ingest.commit(Some(expected)).map(drop),
            (Arrival::Memory(_), Stored::Disk(_)) => unreachable!("an arrival is of its storage's kind"),
        }
    }

    /// Removes bytes that no repository has any more; may block.
    pub(crate) fn collect(&self, digest: &Digest) -> Result<()> {
        // Held meanwhile: nobody takes up what is being removed.
        let repositories = self.repositories();
        let is_held =
            |holding: &Holding| holding.blobs.contains(digest) || holding.manifests.contains_key(digest);
        if repositories.values().any(is_held) {
            return Ok(());
        }
        match &self.bytes {
            Stored::Memory(bytes) => drop(locked(bytes).remove(digest)),
            Stored::Disk(store) => drop(store.remove(digest)?),
        }
        Ok(())
    }
}

impl Arrival {
    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::Disk(ingest) => ingest.size(),
        }
    }

    /// Takes in more; may block.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        match self {
            Self::Memory(held) => held.extend_from_slice(bytes),
            Self::Disk(ingest) => ingest.write_all(bytes).context("cannot take in content")?,
        }
        Ok(())
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Storage({})", if self.folder.is_some() { "disk" } else { "memory" })
    }
}
