//! Content-addressed blobs: ingest, verify, commit, read, list, remove. Shared by the store and the registry.
//! Must never know what a blob means, nor delete one on its own account: its owner collects.
//!
//! ```text
//! <root>/blobs/sha256/ab/ab…   committed blobs: whole and on disk, or not there
//! <root>/ingest/…              bytes on their way in; dropped by the next `open`
//! <root>/ingest/ab….part        the beginning of a blob that broke off; kept for a day
//! ```
//!
//! | call | what it does |
//! |---|---|
//! | [`ContentStore::open`] | opens or makes a store, dropping half-finished ingests |
//! | [`ContentStore::ingest`] | starts an [`Ingest`]: `io::Write`, hashing, limited |
//! | [`ContentStore::resume`] | the same for a known digest: what came stays when it breaks off |
//! | [`Ingest::follow`] | reads content while it comes in |
//! | [`Ingest::commit`] | verifies, syncs and names the blob |
//! | [`ContentStore::reader`], [`ContentStore::read`], [`ContentStore::read_range`] | read |
//! | [`ContentStore::verify`] | reads a blob again and compares its digest |
//! | [`ContentStore::lease`] | shields a digest from [`ContentStore::remove`] for as long as the lease lives |

mod grow;
mod ingest;
mod lease;

pub use grow::Follower;
pub use ingest::Ingest;
pub use lease::Lease;

use lease::Leases;
use minke_model::{Context, Digest, Error, Result};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long the beginning of a blob is kept that nobody goes on with.
const PARTIAL_AGE: Duration = Duration::from_secs(24 * 60 * 60);
/// How much is read at once.
const COPY_BYTES: u64 = 256 << 10;
/// What such a file's name ends with.
const PARTIAL: &str = ".part";

/// The digest and length of committed content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// The sha256 digest of the bytes.
    pub digest: Digest,
    /// Their number.
    pub size: u64,
}

/// What is to become of partial content that breaks off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Keep,
    Discard,
}

/// A directory of blobs; cheap to clone, used from many threads.
#[derive(Clone, Debug)]
pub struct ContentStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    blobs: PathBuf,
    ingest: PathBuf,
    next: AtomicU64,
    leases: Leases,
    /// The partial contents that somebody goes on with.
    partials: Mutex<HashMap<Digest, Wish>>,
}

impl ContentStore {
    /// Opens the store below `root`, making its directories and dropping what an earlier process
    /// had not committed, but for what can be gone on with. One process at a time may have a store open.
    pub fn open(root: &Path) -> Result<Self> {
        let (blobs, ingest) = (root.join("blobs/sha256"), root.join("ingest"));
        for directory in [&blobs, &ingest] {
            fs::create_dir_all(directory)
                .with_context(|| format!("cannot make the directory {}", directory.display()))?;
        }
        for entry in fs::read_dir(&ingest).context("cannot list unfinished content")? {
            let path = entry.context("cannot list unfinished content")?.path();
            if is_recent_partial(&path) {
                continue;
            }
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
        let inner = Inner {
            blobs,
            ingest,
            next: AtomicU64::new(0),
            leases: Leases::default(),
            partials: Mutex::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Starts an ingest of at most `limit` bytes.
    pub fn ingest(&self, limit: u64) -> Result<Ingest> {
        let name = self.inner.next.fetch_add(1, Ordering::Relaxed).to_string();
        Ingest::start(self.clone(), self.inner.ingest.join(name), limit)
    }

    /// Starts an ingest of the blob `digest` of at most `limit` bytes, with what an earlier one has left. When it breaks
    /// off, what came stays for the next one; one at a time. What stays may be damaged after a power cut: the
    /// commit finds that out.
    pub fn resume(&self, digest: &Digest, limit: u64) -> Result<Ingest> {
        self.path(digest)?;
        match self.partials().entry(digest.clone()) {
            Entry::Occupied(_) => {
                return Err(Error::conflict(format!("content {digest} is coming in already")));
            }
            Entry::Vacant(entry) => drop(entry.insert(Wish::Keep)),
        }
        let path = self.partial_path(digest);
        let resumed = Ingest::resume(self.clone(), path, limit, digest.clone());
        if resumed.is_err() {
            self.unclaim(digest, |_| ());
        }
        resumed
    }

    /// Removes the beginnings of blobs that nobody goes on with now; gives the number of bytes that they had.
    pub fn remove_partials(&self) -> Result<u64> {
        let busy = self.partials();
        let mut removed = 0;
        for entry in fs::read_dir(&self.inner.ingest).context("cannot list unfinished content")? {
            let entry = entry.context("cannot list unfinished content")?;
            let name = entry.file_name();
            let Some(hex) = name.to_str().and_then(|name| name.strip_suffix(PARTIAL)) else { continue };
            if busy.keys().any(|digest| digest.hex() == hex) {
                continue;
            }
            let size = entry.metadata().map_or(0, |metadata| metadata.len());
            fs::remove_file(entry.path())
                .with_context(|| format!("cannot remove {}", entry.path().display()))?;
            removed += size;
        }
        Ok(removed)
    }

    /// Removes the beginning of a blob; if it is coming in now, then when that breaks off.
    pub fn discard_partial(&self, digest: &Digest) -> Result<()> {
        let mut partials = self.partials();
        if let Some(wish) = partials.get_mut(digest) {
            *wish = Wish::Discard;
            return Ok(());
        }
        match fs::remove_file(self.partial_path(digest)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove the partial content of {digest}"))
            }
            _ => Ok(()),
        }
    }

    fn partial_path(&self, digest: &Digest) -> PathBuf {
        self.inner.ingest.join(format!("{}{PARTIAL}", digest.hex()))
    }

    /// Ends the claim on partial content. `end` is told whether what came so far may stay, while nobody else can claim it.
    pub(crate) fn unclaim(&self, digest: &Digest, end: impl FnOnce(bool)) {
        let mut partials = self.partials();
        end(partials.get(digest) == Some(&Wish::Keep));
        partials.remove(digest);
    }

    fn partials(&self) -> MutexGuard<'_, HashMap<Digest, Wish>> {
        self.inner.partials.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ingests everything that `reader` gives, at most `limit` bytes, and commits it; the content
    /// must have the digest `expected` where one is given.
    pub fn ingest_reader(
        &self,
        reader: &mut dyn Read,
        limit: u64,
        expected: Option<&Digest>,
    ) -> Result<Blob> {
        let mut ingest = self.ingest(limit)?;
        // Small pieces cost more than they carry: each is read, hashed, written and told of.
        let mut buffer = vec![0; usize::try_from(limit.clamp(1, COPY_BYTES)).unwrap_or(1)];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return ingest.commit(expected),
                Ok(read) => ingest.write_all(&buffer[..read]).context("cannot take in content")?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("cannot take in content"),
            }
        }
    }

    /// Ingests a document held in memory.
    pub fn ingest_bytes(&self, bytes: &[u8]) -> Result<Blob> {
        self.ingest_reader(&mut &bytes[..], bytes.len() as u64, None)
    }

    /// The folder in which content is kept, to ask its file system about.
    pub fn folder(&self) -> &Path {
        &self.inner.blobs
    }

    /// Whether the blob is here.
    pub fn contains(&self, digest: &Digest) -> bool {
        self.path(digest).is_ok_and(|path| path.exists())
    }

    /// The length of a blob, or `None` if it is not here.
    pub fn size(&self, digest: &Digest) -> Option<u64> {
        let metadata = fs::metadata(self.path(digest).ok()?).ok()?;
        Some(metadata.len())
    }

    /// Opens a blob for reading and seeking; [`minke_model::ErrorKind::NotFound`] if it is not here.
    pub fn reader(&self, digest: &Digest) -> Result<File> {
        match File::open(self.path(digest)?) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(Error::not_found(format!("content {digest} is not here")))
            }
            opened => opened.with_context(|| format!("cannot open content {digest}")),
        }
    }

    /// Reads a whole blob of at most `limit` bytes.
    pub fn read(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let reader = self.reader(digest)?;
        let read = reader.take(limit + 1).read_to_end(&mut bytes);
        read.with_context(|| format!("cannot read content {digest}"))?;
        if bytes.len() as u64 > limit {
            return Err(Error::invalid(format!("content {digest} is longer than {limit} bytes")));
        }
        Ok(bytes)
    }

    /// Reads `length` bytes from `offset`, fewer where the blob ends before.
    pub fn read_range(&self, digest: &Digest, offset: u64, length: usize) -> Result<Vec<u8>> {
        let mut reader = self.reader(digest)?;
        let mut bytes = Vec::new();
        let read = reader.seek(SeekFrom::Start(offset));
        let read = read.and_then(|_| reader.take(length as u64).read_to_end(&mut bytes));
        read.with_context(|| format!("cannot read content {digest}"))?;
        Ok(bytes)
    }

    /// Reads a blob again and compares its digest: `false` says that its bytes have changed.
    pub fn verify(&self, digest: &Digest) -> Result<bool> {
        let mut reader = self.reader(digest)?;
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match reader.read(&mut buffer).with_context(|| format!("cannot read content {digest}"))? {
                0 => return Ok(Digest::sha256(&hasher.finalize()) == *digest),
                read => hasher.update(&buffer[..read]),
            }
        }
    }

    /// Shields `digest` from [`Self::remove`] until the lease is dropped; the blob need not be here yet.
    pub fn lease(&self, digest: &Digest) -> Lease {
        self.inner.leases.take(digest)
    }

    /// Removes a blob unless somebody holds a lease on it; says whether it is gone.
    pub fn remove(&self, digest: &Digest) -> Result<bool> {
        let path = self.path(digest)?;
        self.inner.leases.unless_held(digest, || match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove content {digest}"))
            }
            _ => Ok(()),
        })
    }

    /// Every blob that is here, in no order.
    pub fn list(&self) -> Result<Vec<Blob>> {
        let mut blobs = Vec::new();
        for shard in fs::read_dir(&self.inner.blobs).context("cannot list content")? {
            for entry in
                fs::read_dir(shard.context("cannot list content")?.path()).context("cannot list content")?
            {
                let entry = entry.context("cannot list content")?;
                let Ok(digest) = Digest::from_hex(&entry.file_name().to_string_lossy()) else { continue };
                blobs.push(Blob { digest, size: entry.metadata().context("cannot list content")?.len() });
            }
        }
        Ok(blobs)
    }

    fn path(&self, digest: &Digest) -> Result<PathBuf> {
        if digest.algorithm() != "sha256" {
            return Err(Error::invalid(format!("unsupported digest algorithm: {}", digest.algorithm())));
        }
        let hex = digest.hex();
        Ok(self.inner.blobs.join(&hex[..2]).join(hex))
    }
}

/// Whether this is the beginning of a blob that came not long ago.
fn is_recent_partial(path: &Path) -> bool {
    let partial = path.to_str().is_some_and(|path| path.ends_with(PARTIAL));
    let age = || fs::metadata(path).ok()?.modified().ok()?.elapsed().ok();
    partial && age().is_none_or(|age| age < PARTIAL_AGE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use minke_model::ErrorKind;

    fn store() -> (tempfile::TempDir, ContentStore) {
        let directory = tempfile::tempdir().unwrap();
        let store = ContentStore::open(directory.path()).unwrap();
        (directory, store)
    }

    #[test]
    fn what_was_committed_is_read_whole_and_in_ranges_and_listed() {
        let (_directory, store) = store();
        let blob = store.ingest_bytes(b"hello world").unwrap();
        assert_eq!(blob.digest.hex(), "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9");
        assert_eq!(store.read(&blob.digest, 100).unwrap(), b"hello world");
        assert_eq!(store.read_range(&blob.digest, 6, 100).unwrap(), b"world");
        assert!(store.list().unwrap().contains(&blob));
        assert!(store.read(&blob.digest, 3).is_err());
        assert!(store.verify(&blob.digest).unwrap());
        assert_eq!(store.ingest_bytes(b"hello world").unwrap(), blob);
    }

    #[test]
    fn content_with_another_digest_or_over_the_limit_leaves_nothing() {
        let (directory, store) = store();
        let other = Digest::sha256(&[1; 32]);
        let error = store.ingest_reader(&mut &b"x"[..], 10, Some(&other)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidParameter);
        assert!(store.ingest_reader(&mut &b"12345"[..], 4, None).is_err());
        assert!(store.list().unwrap().is_empty());
        assert_eq!(fs::read_dir(directory.path().join("ingest")).unwrap().count(), 0);
    }

    #[test]
    fn an_ingest_cut_off_by_a_crash_is_dropped_at_the_next_open() {
        let (directory, store) = store();
        let mut ingest = store.ingest(10).unwrap();
        ingest.write_all(b"half").unwrap();
        std::mem::forget(ingest);
        assert_eq!(fs::read_dir(directory.path().join("ingest")).unwrap().count(), 1);
        ContentStore::open(directory.path()).unwrap();
        assert_eq!(fs::read_dir(directory.path().join("ingest")).unwrap().count(), 0);
    }

    #[test]
    fn changed_bytes_are_noticed_by_verify() {
        let (directory, store) = store();
        let blob = store.ingest_bytes(b"good").unwrap();
        let hex = blob.digest.hex();
        fs::write(directory.path().join("blobs/sha256").join(&hex[..2]).join(hex), b"evil").unwrap();
        assert!(!store.verify(&blob.digest).unwrap());
    }

    #[test]
    fn a_leased_blob_is_not_removed() {
        let (_directory, store) = store();
        let blob = store.ingest_bytes(b"x").unwrap();
        let lease = store.lease(&blob.digest);
        assert!(!store.remove(&blob.digest).unwrap());
        drop(lease);
        assert!(store.remove(&blob.digest).unwrap());
        assert!(!store.contains(&blob.digest));
        assert_eq!(store.reader(&blob.digest).unwrap_err().kind(), ErrorKind::NotFound);
    }
}
