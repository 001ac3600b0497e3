//! Collection: whatever no root reaches is removed. Roots are images and tags, containers' own layers, and
//! everything while a lease lives. Nothing else in the store deletes content or layers.

use crate::layer::chain_id;
use crate::store::Store;
use minke_model::image::{Descriptor, Index, Manifest, media_type};
use minke_model::{Digest, Result};
use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Who may collect: nobody while something comes in.
#[derive(Default)]
pub(crate) struct Gate {
    state: Mutex<GateState>,
}

#[derive(Default)]
struct GateState {
    leases: usize,
    /// Whether a collection was asked for while a lease lived.
    due: bool,
}

/// Keeps a store from collecting until it is dropped.
pub struct Lease {
    store: Store,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut state = self.store.gate();
        state.leases -= 1;
        if state.leases == 0 && state.due {
            drop(state);
            if let Err(error) = self.store.collect() {
                tracing::warn!(%error, "cannot collect");
            }
        }
    }
}

impl Store {
    /// Keeps everything that is here, or comes in, until the lease is dropped.
    pub fn lease(&self) -> Lease {
        self.gate().leases += 1;
        Lease { store: self.clone() }
    }

    /// Removes layers and content that nothing reaches; later, if a lease lives.
    pub fn collect(&self) -> Result<()> {
        let mut state = self.gate();
        state.due = state.leases > 0;
        if state.due {
            return Ok(());
        }
        let (kept_content, kept_layers) = self.kept()?;
        let (mut layers, chains) = self.reached_layers();
        layers.extend(kept_layers);
        let (all_layers, all_chains) = self.inner.layers.all();
        for chain in all_chains.iter().filter(|chain| !chains.contains(chain)) {
            self.inner.layers.forget_chain(chain)?;
        }
        for layer in all_layers.iter().filter(|layer| !layers.contains(layer)) {
            self.inner.layers.forget(layer)?;
        }
        let mut content = self.reached_content(&layers);
        content.extend(kept_content);
        for blob in self.inner.content.list()?.iter().filter(|blob| !content.contains(&blob.digest)) {
            self.inner.content.remove(&blob.digest)?;
        }
        Ok(())
    }

    /// Asks for a collection when the last lease ends: for what came in and found no owner.
    pub(crate) fn collect_after_leases(&self) {
        self.gate().due = true;
    }

    fn gate(&self) -> MutexGuard<'_, GateState> {
        self.inner.gate.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reached_layers(&self) -> (HashSet<Digest>, HashSet<Digest>) {
        let mut stacks = self.inner.snapshots.chains_in_use();
        stacks.extend(self.images().iter().map(|image| image.layers.clone()));
        let chains = stacks.iter().filter_map(|layers| chain_id(layers)).collect();
        (stacks.into_iter().flatten().collect(), chains)
    }

    fn reached_content(&self, layers: &HashSet<Digest>) -> HashSet<Digest> {
        let records = layers.iter().filter_map(|layer| self.inner.layers.record(layer));
        let blobs = records.flat_map(|record| [Some(record.blob), record.compressed]);
        let mut reached: HashSet<Digest> = blobs.flatten().map(|blob| blob.digest).collect();
        for image in self.images() {
            reached.insert(image.id.clone());
            if let Some(manifest) = &image.manifest {
                self.reach(manifest, &mut reached);
            }
        }
        for (_, tag) in self.inner.catalog.tags() {
            self.reach(&tag.target, &mut reached);
        }
        reached
    }

    /// Adds a document and everything that it points to; what is not here is not missed.
    fn reach(&self, descriptor: &Descriptor, reached: &mut HashSet<Digest>) {
        if !reached.insert(descriptor.digest.clone()) {
            return;
        }
        let read = || self.inner.content.read(&descriptor.digest, self.inner.limits.document_bytes).ok();
        if media_type::is_index(&descriptor.media_type) {
            let index = read().and_then(|bytes| serde_json::from_slice::<Index>(&bytes).ok());
            for child in index.map(|index| index.manifests).unwrap_or_default() {
                self.reach(&child, reached);
            }
        } else if media_type::is_manifest(&descriptor.media_type) {
            let manifest = read().and_then(|bytes| serde_json::from_slice::<Manifest>(&bytes).ok());
            if let Some(manifest) = manifest {
                reached.insert(manifest.config.digest);
                reached.extend(manifest.layers.into_iter().map(|layer| layer.digest));
            }
        }
    }
}
