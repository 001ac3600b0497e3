//! What is removed: renamed here at once, unlinked by a thread in the background. What a crash left here is
//! unlinked after the next open.

use crate::tree;
use minke_model::{Context, Error, Result};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};

/// The trash and its thread, which ends when the trash is dropped.
pub(crate) struct Trash {
    directory: PathBuf,
    next: AtomicU64,
    queue: mpsc::Sender<Vec<u8>>,
    pending: Arc<Pending>,
}

#[derive(Default)]
struct Pending {
    count: Mutex<usize>,
    empty: Condvar,
}

impl Trash {
    pub(crate) fn open(directory: &Path) -> Result<Self> {
        let failed = || format!("cannot open {}", directory.display());
        std::fs::create_dir_all(directory).with_context(failed)?;
        let root = File::open(directory).with_context(failed)?;
        let (queue, names) = mpsc::channel();
        let pending = Arc::new(Pending::default());
        let trash = Self { directory: directory.to_owned(), next: AtomicU64::new(0), queue, pending };
        let mut highest = 0;
        for entry in std::fs::read_dir(directory).with_context(failed)? {
            let name = entry.with_context(failed)?.file_name().into_encoded_bytes();
            let number = std::str::from_utf8(&name).ok().and_then(|name| name.parse::<u64>().ok());
            highest = highest.max(number.map_or(0, |number| number + 1));
            trash.enqueue(name);
        }
        trash.next.store(highest, Ordering::Relaxed);
        let pending = Arc::clone(&trash.pending);
        let thread = std::thread::Builder::new().name("minke-trash".to_owned());
        thread.spawn(move || empty(&root, &names, &pending)).with_context(failed)?;
        Ok(trash)
    }

    /// Takes `path` away by a rename; what is not there is no error.
    pub(crate) fn take(&self, path: &Path) -> Result<()> {
        let name = self.next.fetch_add(1, Ordering::Relaxed).to_string();
        match std::fs::rename(path, self.directory.join(&name)) {
            Ok(()) => self.enqueue(name.into_bytes()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(Error::system(format!("cannot remove {}", path.display())).with_source(error));
            }
        }
        Ok(())
    }

    /// Waits until everything that was taken is unlinked.
    pub(crate) fn wait(&self) {
        let count = self.pending.count.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.pending.empty.wait_while(count, |count| *count > 0);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    fn enqueue(&self, name: Vec<u8>) {
        *self.pending.count.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        // The thread ends only after this sender is gone.
        let _ = self.queue.send(name);
    }
}

fn empty(root: &File, names: &mpsc::Receiver<Vec<u8>>, pending: &Pending) {
    for name in names {
        if let Err(error) = tree::remove(root.as_fd(), &name) {
            tracing::warn!(%error, name = %String::from_utf8_lossy(&name), "cannot unlink what was removed");
        }
        let mut count = pending.count.lock().unwrap_or_else(PoisonError::into_inner);
        *count -= 1;
        if *count == 0 {
            pending.empty.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_gone_at_once_and_unlinked_soon_also_after_a_crash() {
        let directory = tempfile::tempdir().unwrap();
        let trash = Trash::open(&directory.path().join("trash")).unwrap();
        let victim = directory.path().join("victim");
        std::fs::create_dir_all(victim.join("a/b")).unwrap();
        trash.take(&victim).unwrap();
        trash.take(&victim).unwrap();
        assert!(!victim.exists());
        trash.wait();
        assert_eq!(std::fs::read_dir(directory.path().join("trash")).unwrap().count(), 0);
        drop(trash);
        std::fs::create_dir_all(directory.path().join("trash/7/left")).unwrap();
        Trash::open(&directory.path().join("trash")).unwrap().wait();
        assert_eq!(std::fs::read_dir(directory.path().join("trash")).unwrap().count(), 0);
    }
}
