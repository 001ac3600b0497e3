//! One blob on its way in: written, hashed and counted as it comes, then made durable and named.
//! Must never leave a name in `blobs` whose bytes are not on disk.

use crate::{Blob, ContentStore};
use minke_model::{Context, Digest, Error, Result};
use sha2::{Digest as _, Sha256};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Content being taken in; dropped without [`Ingest::commit`], it leaves nothing.
#[derive(Debug)]
pub struct Ingest {
    store: ContentStore,
    path: PathBuf,
    file: File,
    hasher: Sha256,
    size: u64,
    limit: u64,
}

impl Ingest {
    pub(crate) fn start(store: ContentStore, path: PathBuf, limit: u64) -> Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).open(&path);
        let file = file.with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self { store, path, file, hasher: Sha256::new(), size: 0, limit })
    }

    /// The number of bytes written so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Verifies the digest, makes the bytes durable and gives them their name. Content that is
    /// here already is kept as it is.
    pub fn commit(self, expected: Option<&Digest>) -> Result<Blob> {
        let digest = Digest::sha256(&self.hasher.clone().finalize());
        if let Some(expected) = expected
            && *expected != digest
        {
            return Err(Error::invalid(format!(
                "unexpected digest: content is {digest}, expected {expected}"
            )));
        }
        let blob = Blob { digest, size: self.size };
        let path = self.store.path(&blob.digest)?;
        if self.store.size(&blob.digest) == Some(blob.size) {
            return Ok(blob);
        }
        let failed = || format!("cannot commit content {}", blob.digest);
        rustix::fs::fdatasync(&self.file).with_context(failed)?;
        let shard = path.parent().expect("a blob's path has a parent");
        if !shard.exists() {
            fs::create_dir_all(shard).with_context(failed)?;
            sync_directory(shard.parent().expect("a shard's path has a parent")).with_context(failed)?;
        }
        fs::rename(&self.path, &path).with_context(failed)?;
        sync_directory(shard).with_context(failed)?;
        Ok(blob)
    }
}

impl Write for Ingest {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() as u64 > self.limit - self.size {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("content is longer than {} bytes", self.limit),
            ));
        }
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        // After a commit the name is gone already; otherwise the next `open` would drop it anyway.
        let _ = fs::remove_file(&self.path);
    }
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
