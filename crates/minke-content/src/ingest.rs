//! Content on its way in: written to a file beside the blobs while it is hashed, named when the digest is right.
//! One that is started for a known digest may break off and go on later; one that is followed is read while it grows.

use crate::grow::{Follower, Growth};
use crate::{Blob, ContentStore};
use minke_model::{Context, Digest, Error, Result};
use sha2::{Digest as _, Sha256};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Content being taken in; dropped without [`Ingest::commit`], it leaves nothing, unless it was started by
/// [`ContentStore::resume`]: then what came so far stays for the next one.
#[derive(Debug)]
pub struct Ingest {
    store: ContentStore,
    path: PathBuf,
    file: File,
    hasher: Sha256,
    size: u64,
    limit: u64,
    /// The digest whose partial content this is, kept when it breaks off.
    partial: Option<Digest>,
    keep: bool,
    growth: Arc<Growth>,
}

impl Ingest {
    pub(crate) fn start(store: ContentStore, path: PathBuf, limit: u64) -> Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).open(&path);
        let file = file.with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self::new(store, path, file, limit))
    }

    fn new(store: ContentStore, path: PathBuf, file: File, limit: u64) -> Self {
        let growth = Arc::new(Growth::default());
        Self { store, path, file, hasher: Sha256::new(), size: 0, limit, partial: None, keep: false, growth }
    }

    /// Goes on with what an earlier one has left at `path`; the claim on `digest` is given back at the end.
    pub(crate) fn resume(store: ContentStore, path: PathBuf, limit: u64, digest: Digest) -> Result<Self> {
        let failed = || format!("cannot open the partial content of {digest}");
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut ingest = Self::new(store, path.clone(), file.with_context(failed)?, limit);
        ingest.partial = Some(digest.clone());
        ingest.keep = true;
        if ingest.file.metadata().with_context(failed)?.len() > limit {
            ingest.file.set_len(0).with_context(failed)?;
        }
        let mut buffer = vec![0; 128 << 10];
        loop {
            match ingest.file.read(&mut buffer).with_context(failed)? {
                0 => break,
                read => {
                    ingest.hasher.update(&buffer[..read]);
                    ingest.size += read as u64;
                }
            }
        }
        ingest.growth.grown(ingest.size);
        Ok(ingest)
    }

    /// The number of bytes written so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Reads from the first byte what is written, waiting for more until the content is committed; fails when this is
    /// dropped before. From the file, so a slow reader holds nobody up and costs no memory.
    pub fn follow(&self) -> Result<Follower> {
        let file = File::open(&self.path).context("cannot read content that comes in")?;
        Ok(Follower::new(file, Arc::clone(&self.growth)))
    }

    /// The digest of what was written so far.
    pub fn digest(&self) -> Digest {
        Digest::sha256(&self.hasher.clone().finalize())
    }

    /// Says to who follows that this is all of it and right, before it is committed; for content whose digest nobody has named.
    pub fn written(&self) {
        self.growth.ended(true);
    }

    /// Throws away what came so far.
    pub fn discard(mut self) {
        self.keep = false;
    }

    /// Verifies the digest, makes the bytes durable and gives them their name. Content that is
    /// here already is kept as it is. Of content that is not committed nothing stays.
    pub fn commit(mut self, expected: Option<&Digest>) -> Result<Blob> {
        self.keep = false;
        let digest = self.digest();
        if let Some(expected) = expected
            && *expected != digest
        {
            return Err(Error::invalid(format!(
                "unexpected digest: content is {digest}, expected {expected}"
            )));
        }
        let blob = Blob { digest, size: self.size };
        let path = self.store.path(&blob.digest)?;
        if self.store.size(&blob.digest) != Some(blob.size) {
            self.place(&path, &blob.digest)?;
        }
        self.growth.ended(true);
        Ok(blob)
    }

    fn place(&self, path: &Path, digest: &Digest) -> Result<()> {
        let failed = || format!("cannot commit content {digest}");
        rustix::fs::fdatasync(&self.file).with_context(failed)?;
        let shard = path.parent().expect("a blob's path has a parent");
        if !shard.exists() {
            fs::create_dir_all(shard).with_context(failed)?;
            sync_directory(shard.parent().expect("a shard's path has a parent")).with_context(failed)?;
        }
        fs::rename(&self.path, path).with_context(failed)?;
        sync_directory(shard).with_context(failed)
    }
}

impl Write for Ingest {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() as u64 > self.limit - self.size {
            self.keep = false;
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("content is longer than {} bytes", self.limit),
            ));
        }
        let written = match self.file.write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                // The space is worth more than what came so far.
                self.keep = false;
                return Err(error);
            }
            written => written?,
        };
        self.hasher.update(&bytes[..written]);
        self.size += written as u64;
        self.growth.grown(self.size);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        let keep = self.keep && self.size > 0;
        let end = |may_stay: bool| {
            if !may_stay || !keep {
                // After a commit the name is gone already; otherwise the next `open` would drop it anyway.
                let _ = fs::remove_file(&self.path);
            }
        };
        match &self.partial {
            Some(digest) => self.store.unclaim(digest, end),
            None => end(false),
        }
        self.growth.ended(false);
    }
}

pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn digest(bytes: &[u8]) -> Digest {
        Digest::sha256(&Sha256::digest(bytes))
    }

    #[test]
    fn what_broke_off_goes_on_where_it_was_also_in_the_next_process() {
        let directory = tempfile::tempdir().unwrap();
        let store = ContentStore::open(directory.path()).unwrap();
        let wanted = digest(b"hello world");
        let mut ingest = store.resume(&wanted, 11).unwrap();
        ingest.write_all(b"hello ").unwrap();
        assert!(store.resume(&wanted, 11).is_err(), "one at a time");
        drop(ingest);
        drop(store);
        let store = ContentStore::open(directory.path()).unwrap();
        let mut ingest = store.resume(&wanted, 11).unwrap();
        assert_eq!(ingest.size(), 6);
        let mut follower = ingest.follow().unwrap();
        ingest.write_all(b"world").unwrap();
        assert_eq!(ingest.commit(Some(&wanted)).unwrap().size, 11);
        let mut text = String::new();
        follower.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello world");
        assert_eq!(store.read(&wanted, 100).unwrap(), b"hello world");
        assert_eq!(fs::read_dir(directory.path().join("ingest")).unwrap().count(), 0);
    }

    #[test]
    fn a_wrong_digest_leaves_no_partial_content_and_fails_who_follows() {
        let directory = tempfile::tempdir().unwrap();
        let store = ContentStore::open(directory.path()).unwrap();
        let mut ingest = store.resume(&digest(b"good"), 4).unwrap();
        ingest.write_all(b"evil").unwrap();
        let mut follower = ingest.follow().unwrap();
        assert!(ingest.commit(Some(&digest(b"good"))).is_err());
        assert!(follower.read_to_end(&mut Vec::new()).is_err());
        assert_eq!(store.resume(&digest(b"good"), 4).unwrap().size(), 0);
    }

    #[test]
    fn who_follows_reads_along_while_it_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let store = ContentStore::open(directory.path()).unwrap();
        let mut ingest = store.ingest(1 << 20).unwrap();
        let mut follower = ingest.follow().unwrap();
        let reader = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            follower.read_to_end(&mut bytes).map(|_| bytes)
        });
        for _ in 0..100 {
            ingest.write_all(&[7; 1000]).unwrap();
        }
        ingest.commit(None).unwrap();
        assert_eq!(reader.join().unwrap().unwrap(), vec![7; 100_000]);
    }

    #[test]
    fn partial_content_that_nobody_goes_on_with_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let store = ContentStore::open(directory.path()).unwrap();
        let mut idle = store.resume(&digest(b"idle"), 4).unwrap();
        idle.write_all(b"id").unwrap();
        drop(idle);
        let mut busy = store.resume(&digest(b"busy"), 4).unwrap();
        busy.write_all(b"bus").unwrap();
        assert_eq!(store.remove_partials().unwrap(), 2);
        busy.write_all(b"y").unwrap();
        busy.commit(Some(&digest(b"busy"))).unwrap();
    }
}
