//! Where uploads that break off are remembered: a small file for each, which the next push of the same thing to the same place
//! looks into, also after the engine was killed. A file is as good as a credential for that upload: only root reads it.

use std::collections::HashSet;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use minke_model::{Digest, Result};
use minke_registry::client::{Bookmark, Marked};
use sha2::{Digest as _, Sha256};

/// How long an upload that broke off may be gone on with.
const AGE: Duration = Duration::from_secs(24 * 60 * 60);
/// The longest file that is read.
const MAX_BYTES: u64 = 32 << 10;

/// The bookmarks of an engine. Its folder is made when the first upload begins.
pub struct Bookmarks {
    folder: PathBuf,
    /// What is being uploaded: nobody else goes on with that.
    taken: Arc<Mutex<HashSet<String>>>,
}

impl Bookmarks {
    /// Of files in `folder`.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, taken: Arc::default() }
    }

    /// The bookmark for what is sent to a repository; none where somebody else sends the same there at the moment.
    pub fn of(&self, repository: &str, what: &Digest) -> Marked {
        let name = Digest::sha256(&Sha256::digest(format!("{repository} {what}"))).hex().to_owned();
        let path = self.folder.join(&name);
        let is_new = lock(&self.taken).insert(name.clone());
        is_new.then(|| Arc::new(File { path, name, taken: self.taken.clone() }) as Arc<dyn Bookmark>)
    }

    /// Forgets all uploads but those that go on at the moment.
    pub fn clear(&self) -> Result<()> {
        let taken = lock(&self.taken);
        let Ok(entries) = std::fs::read_dir(&self.folder) else { return Ok(()) };
        for entry in entries.flatten() {
            if entry.file_name().to_str().is_none_or(|name| !taken.contains(name)) {
                // Gone already, or to be forgotten by its age.
                let _ = std::fs::remove_file(entry.path());
            }
        }
        Ok(())
    }
}

struct File {
    path: PathBuf,
    name: String,
    taken: Arc<Mutex<HashSet<String>>>,
}

impl Drop for File {
    fn drop(&mut self) {
        lock(&self.taken).remove(&self.name);
    }
}

fn lock(taken: &Mutex<HashSet<String>>) -> MutexGuard<'_, HashSet<String>> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

impl File {
    fn write(&self, address: &str) -> std::io::Result<()> {
        if let Some(folder) = self.path.parent() {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        // Written beside and renamed: what is read is whole. It need not survive a power cut.
        let part = self.path.with_extension("part");
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        options.open(&part)?.write_all(address.as_bytes())?;
        std::fs::rename(&part, &self.path)
    }
}

impl Bookmark for File {
    fn address(&self) -> Option<String> {
        let found = std::fs::metadata(&self.path).ok()?;
        let is_young = found.modified().ok()?.elapsed().is_ok_and(|age| age < AGE);
        match is_young && found.len() <= MAX_BYTES {
            true => std::fs::read_to_string(&self.path).ok(),
            false => None,
        }
    }

    fn keep(&self, address: Option<&str>) {
        let kept = match address {
            Some(address) => self.write(address),
            None => std::fs::remove_file(&self.path),
        };
        if let Err(error) = kept
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::debug!(%error, "an upload is not remembered");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upload_is_remembered_until_it_ends_and_is_one_pushs_only() {
        let scratch = tempfile::tempdir().unwrap();
        let bookmarks = Bookmarks::new(scratch.path().join("uploads"));
        let layer = Digest::sha256(&[1; 32]);
        let one = bookmarks.of("host/a", &layer).unwrap();
        assert!(one.address().is_none() && bookmarks.of("host/a", &layer).is_none());
        one.keep(Some("http://host/1"));
        one.keep(Some("http://host/2"));
        bookmarks.clear().unwrap();
        drop(one);
        let again = bookmarks.of("host/a", &layer).unwrap();
        assert_eq!(again.address().as_deref(), Some("http://host/2"));
        assert!(bookmarks.of("host/b", &layer).unwrap().address().is_none());
        again.keep(None);
        assert!(again.address().is_none());
        again.keep(Some("http://host/3"));
        drop(again);
        bookmarks.clear().unwrap();
        assert_eq!(std::fs::read_dir(scratch.path().join("uploads")).unwrap().count(), 0);
    }
}
