//! What a name, an ID or the beginning of an ID means.

use crate::image::{Image, ImageEvent};
use crate::store::Store;
use minke_model::{Digest, Reference, Result};
use std::sync::Arc;

impl Store {
    /// Every image, newest first.
    pub fn images(&self) -> Vec<Arc<Image>> {
        self.inner.catalog.images()
    }

    /// The image with this ID.
    pub fn image_by_id(&self, id: &Digest) -> Option<Arc<Image>> {
        self.inner.catalog.by_id(id)
    }

    /// The image that a reference names, after `latest` is added where it has neither tag nor digest.
    pub fn resolve_reference(&self, reference: &Reference) -> Option<Arc<Image>> {
        self.inner.catalog.by_reference(&reference.clone().with_default_tag())
    }

    /// The image that a user means: an ID, a reference, or the only ID that begins so.
    /// Not found is Docker's `No such image: x:latest`.
    pub fn image(&self, name: &str) -> Result<Arc<Image>> {
        let _ = name;
        unimplemented!()
    }

    /// Gives the image `source` the name `target` (`latest` where it has no tag), taking it from
    /// whatever had it.
    pub fn tag(&self, source: &str, target: &Reference) -> Result<Vec<ImageEvent>> {
        let _ = (source, target);
        unimplemented!()
    }
}
