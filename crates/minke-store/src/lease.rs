//! What a pull has brought and no image has yet: written down, so that a pull that broke off goes on where it was, also after
//! the engine's restart. It ends with the pull, or after a day.

use crate::db::{Keep, Table};
use crate::record::{decode, encode};
use crate::store::Store;
use minke_model::image::Descriptor;
use minke_model::{Digest, Result};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// How long a pull that broke off may be gone on with, in seconds.
const AGE_S: i64 = 24 * 60 * 60;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct LeaseRecord {
    /// Content.
    blobs: Vec<Digest>,
    /// Diff IDs.
    layers: Vec<Digest>,
    /// Seconds since 1970.
    until: i64,
}

impl Store {
    /// Keeps what comes in for an image until [`Self::release`], or for a day.
    pub fn keep(&self, name: &str, blobs: &[Descriptor], layers: &[Digest]) -> Result<()> {
        let blobs = blobs.iter().map(|blob| blob.digest.clone()).collect();
        let record = LeaseRecord { blobs, layers: layers.to_vec(), until: now() + AGE_S };
        self.inner.db.put(Table::Leases, name, &encode(&record), Keep::Durable)
    }

    /// Ends [`Self::keep`]: what no image has is removed by the next collection.
    pub fn release(&self, name: &str) -> Result<()> {
        self.inner.db.delete(Table::Leases, name)
    }

    /// Gives up all that broke off, for its space: gives the bytes of partial content. What is coming in at the moment goes on.
    pub fn release_all(&self) -> Result<u64> {
        for (name, _) in self.inner.db.list(Table::Leases)? {
            self.release(&name)?;
        }
        let partial = self.inner.content.remove_partials()?;
        self.collect()?;
        Ok(partial)
    }

    /// Gives up what came in for an image, partial content too, and has it removed as soon as nothing comes in any more.
    pub fn abandon(&self, name: &str, blobs: &[Descriptor]) -> Result<()> {
        for blob in blobs {
            self.inner.content.discard_partial(&blob.digest)?;
        }
        self.release(name)?;
        self.collect_after_leases();
        Ok(())
    }

    /// The content and the layers that are kept for pulls.
    pub(crate) fn kept(&self) -> Result<(HashSet<Digest>, HashSet<Digest>)> {
        let (mut blobs, mut layers) = (HashSet::new(), HashSet::new());
        for (name, bytes) in self.inner.db.list(Table::Leases)? {
            let record: LeaseRecord = decode("lease", &name, &bytes)?;
            if record.until > now() {
                blobs.extend(record.blobs);
                layers.extend(record.layers);
            } else {
                self.release(&name)?;
            }
        }
        Ok((blobs, layers))
    }
}

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}
