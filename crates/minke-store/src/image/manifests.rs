//! The manifests below what a name stands for, and how much of each is here.

use crate::store::Store;
use minke_model::image::{Descriptor, Index, Manifest, media_type};

/// Indexes that may stand within indexes.
const MAX_NESTING: usize = 4;

impl Store {
    /// The manifests that a descriptor leads to, those of inner indexes too; itself where it is one. Reads documents.
    pub fn manifests_below(&self, target: &Descriptor) -> Vec<Descriptor> {
        let mut found = Vec::new();
        self.go_below(target, &mut found, 0);
        found
    }

    fn go_below(&self, target: &Descriptor, found: &mut Vec<Descriptor>, depth: usize) {
        if !media_type::is_index(&target.media_type) {
            found.push(target.clone());
            return;
        }
        let read = self.inner.content.read(&target.digest, self.inner.limits.document_bytes).ok();
        let index = read.and_then(|bytes| serde_json::from_slice::<Index>(&bytes).ok());
        for child in index.map(|index| index.manifests).unwrap_or_default() {
            if depth < MAX_NESTING {
                self.go_below(&child, found, depth + 1);
            }
        }
    }

    /// The bytes that are here of a manifest, its configuration and its layers, as they were received.
    pub fn content_size(&self, manifest: &Descriptor) -> u64 {
        let content = &self.inner.content;
        let Ok(bytes) = content.read(&manifest.digest, self.inner.limits.document_bytes) else { return 0 };
        let parsed: Option<Manifest> = serde_json::from_slice(&bytes).ok();
        let blobs = parsed.into_iter().flat_map(|parsed| parsed.layers.into_iter().chain([parsed.config]));
        bytes.len() as u64 + blobs.filter_map(|blob| content.size(&blob.digest)).sum::<u64>()
    }
}
