//! Content that is read while it is still being written: how far it has come, and a reader that waits for more.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// How far content has come; who writes it tells, who follows it waits.
#[derive(Debug, Default)]
pub(crate) struct Growth {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    written: u64,
    /// Whether all of it is here and right; nothing while it still comes.
    whole: Option<bool>,
}

impl Growth {
    pub(crate) fn grown(&self, written: u64) {
        self.lock().written = written;
        self.changed.notify_all();
    }

    /// The first end counts.
    pub(crate) fn ended(&self, whole: bool) {
        self.lock().whole.get_or_insert(whole);
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads content while it is written; blocks where it is ahead. Its end comes when the content is committed, and an
/// error where it never is.
#[derive(Debug)]
pub struct Follower {
    file: File,
    at: u64,
    growth: Arc<Growth>,
}

impl Follower {
    pub(crate) fn new(file: File, growth: Arc<Growth>) -> Self {
        Self { file, at: 0, growth }
    }
}

impl Read for Follower {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.growth.lock();
        while state.written <= self.at && state.whole.is_none() {
            state = self.growth.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.whole == Some(false) {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the content did not come whole"));
        }
        let there = usize::try_from(state.written.saturating_sub(self.at)).unwrap_or(usize::MAX);
        drop(state);
        let wanted = buffer.len().min(there);
        let read = self.file.read_at(&mut buffer[..wanted], self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for Follower {
    /// From the start only: nobody knows the end yet.
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match to {
            SeekFrom::Start(at) => {
                self.at = at;
                Ok(at)
            }
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}
