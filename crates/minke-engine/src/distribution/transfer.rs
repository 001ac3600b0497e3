//! One blob or layer on its way, shared by all pulls that want it: each is fetched once. A transfer lives as long as anybody
//! holds it; its state is watched, never queued, so nobody who is slow holds it up.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use minke_model::{Digest, Error, ErrorKind, Result};
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// What is fetched: content, and as which layer it is unpacked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Wanted {
    /// The content.
    pub blob: Digest,
    /// The layer, if it is one that has to be unpacked.
    pub diff_id: Option<Digest>,
}

/// How far a transfer is. The order is that of time; none is left out in what a client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Nothing has been asked for yet, as others are before it.
    Waiting,
    /// Bytes come in.
    Downloading,
    /// All bytes are here; now they have to be the right ones.
    Verifying,
    /// They are, and on disk.
    Downloaded,
    /// Files are being written. They may have been before, while bytes came in.
    Extracting,
    /// All of it is here.
    Complete,
}

/// What is known of a transfer.
#[derive(Clone, Debug)]
pub struct State {
    /// How far it is.
    pub phase: Phase,
    /// Bytes that are here.
    pub downloaded: u64,
    /// Bytes of the content that have been unpacked.
    pub extracted: u64,
    /// Bytes in all.
    pub total: u64,
    /// Why it ended too early.
    pub failure: Option<Failure>,
}

/// An error that several can be told of.
#[derive(Clone, Debug)]
pub struct Failure {
    kind: ErrorKind,
    words: Arc<str>,
    /// There is no more space on the disk.
    pub disk_full: bool,
}

impl Failure {
    /// Of an error, with what its causes say.
    pub fn new(error: &Error) -> Self {
        Self { kind: error.kind(), words: error.to_string().into(), disk_full: is_disk_full(error) }
    }

    /// The error again.
    pub fn error(&self) -> Error {
        Error::new(self.kind, self.words.to_string())
    }
}

/// Whether an error, or what caused it, is a disk without space or a quota at its end.
pub fn is_disk_full(error: &Error) -> bool {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<std::io::Error>()
            && matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
        {
            return true;
        }
        // What a library wraps without telling of its cause.
        if error.to_string().contains("(os error 28)") {
            return true;
        }
        next = error.source();
    }
    false
}

/// A transfer that is held; ends with the last who holds it.
pub struct Transfer {
    state: watch::Receiver<State>,
    task: AbortHandle,
}

impl Drop for Transfer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Transfer {
    /// Watches it from now on.
    pub fn watch(&self) -> watch::Receiver<State> {
        self.state.clone()
    }
}

/// The transfers of an engine.
#[derive(Default)]
pub struct Transfers {
    running: Mutex<HashMap<Wanted, Weak<Transfer>>>,
}

impl Transfers {
    /// The transfer of what is wanted: one that is under way, or a new one that `work` does, and then `true`.
    pub fn join<W>(
        &self,
        wanted: &Wanted,
        total: u64,
        work: impl FnOnce(Arc<watch::Sender<State>>) -> W,
    ) -> (Arc<Transfer>, bool)
    where
        W: Future<Output = Result<()>> + Send + 'static,
    {
        let mut running = self.lock();
        running.retain(|_, transfer| transfer.strong_count() > 0);
        let there = running.get(wanted).and_then(Weak::upgrade);
        // One that has failed is not waited for: whoever asks anew gets another attempt.
        if let Some(transfer) = there.filter(|transfer| transfer.state.borrow().failure.is_none()) {
            return (transfer, false);
        }
        let state = State { phase: Phase::Waiting, downloaded: 0, extracted: 0, total, failure: None };
        let (sender, receiver) = watch::channel(state);
        let sender = Arc::new(sender);
        let work = work(sender.clone());
        let task = tokio::spawn(async move {
            let done = work.await;
            sender.send_modify(|state| match done {
                Ok(()) => state.phase = Phase::Complete,
                Err(error) => state.failure = Some(Failure::new(&error)),
            });
        });
        let transfer = Arc::new(Transfer { state: receiver, task: task.abort_handle() });
        running.insert(wanted.clone(), Arc::downgrade(&transfer));
        (transfer, true)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Wanted, Weak<Transfer>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> Wanted {
        Wanted { blob: Digest::sha256(&[1; 32]), diff_id: None }
    }

    #[tokio::test]
    async fn whoever_wants_the_same_shares_it_and_the_last_ends_it() {
        let transfers = Transfers::default();
        let (ended, mut end) = tokio::sync::mpsc::channel::<()>(1);
        let (one, new) = transfers.join(&wanted(), 1, |_| async move {
            let _ended = ended;
            std::future::pending::<Result<()>>().await
        });
        assert!(new);
        let (two, new) = transfers.join(&wanted(), 1, |_| async { Ok(()) });
        assert!(!new);
        drop(one);
        tokio::task::yield_now().await;
        assert!(end.try_recv() == Err(tokio::sync::mpsc::error::TryRecvError::Empty));
        drop(two);
        assert_eq!(end.recv().await, None);
        let (_, new) = transfers.join(&wanted(), 1, |_| async { Ok(()) });
        assert!(new);
    }

    #[tokio::test]
    async fn a_failure_is_told_to_all_and_the_next_tries_again() {
        let transfers = Transfers::default();
        let full = std::io::Error::from_raw_os_error(28);
        let work = async { Err(Error::system("cannot keep it").with_source(full)) };
        let (one, _) = transfers.join(&wanted(), 1, |_| work);
        let mut state = one.watch();
        let failed = state.wait_for(|state| state.failure.is_some()).await.unwrap().failure.clone().unwrap();
        assert!(failed.disk_full && failed.error().message().contains("cannot keep it"));
        assert!(transfers.join(&wanted(), 1, |_| async { Ok(()) }).1);
    }
}
