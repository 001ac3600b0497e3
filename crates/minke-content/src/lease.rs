//! Leases: while one lives, its digest is not removed. They end with the process, as the ingests do
//! that they protect; what must outlive it is a root of the blob's owner.

use minke_model::{Digest, Result};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Shields one digest from removal until it is dropped.
#[derive(Debug)]
pub struct Lease {
    digest: Digest,
    held: Arc<Mutex<HashMap<Digest, usize>>>,
}

#[derive(Debug, Default)]
pub(crate) struct Leases {
    held: Arc<Mutex<HashMap<Digest, usize>>>,
}

impl Leases {
    pub(crate) fn take(&self, digest: &Digest) -> Lease {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        *held.entry(digest.clone()).or_default() += 1;
        Lease { digest: digest.clone(), held: Arc::clone(&self.held) }
    }

    /// Runs `remove` with the digest locked, unless it is leased; says whether it ran.
    pub(crate) fn unless_held(&self, digest: &Digest, remove: impl FnOnce() -> Result<()>) -> Result<bool> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.contains_key(digest) {
            return Ok(false);
        }
        remove().map(|()| true)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = held.get_mut(&self.digest) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.digest);
            }
        }
    }
}
