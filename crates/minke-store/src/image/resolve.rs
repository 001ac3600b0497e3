//! What a name, an ID or the beginning of an ID means; and giving names.

use super::catalog::{Edit, record_of};
use crate::image::{Image, ImageEvent, ImageEventKind};
use crate::record::TagRecord;
use crate::store::Store;
use minke_model::digest::is_lower_hex;
use minke_model::image::{Descriptor, media_type};
use minke_model::{AnyReference, Digest, Error, Reference, Result};
use std::sync::{Arc, MutexGuard, PoisonError};

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
        let parsed = AnyReference::parse(name)?;
        let found = match &parsed {
            AnyReference::Digest(digest) => self.image_by_id(digest),
            AnyReference::Named(reference) => {
                self.resolve_reference(reference).or_else(|| self.image_by_prefix(name))
            }
        };
        found.ok_or_else(|| no_such_image(&parsed))
    }

    /// The only image whose ID begins with `prefix` (digits, after `sha256:` or not).
    pub(crate) fn image_by_prefix(&self, prefix: &str) -> Option<Arc<Image>> {
        let prefix = prefix.strip_prefix("sha256:").unwrap_or(prefix);
        if prefix.is_empty() || !is_lower_hex(prefix) {
            return None;
        }
        let mut found = self.inner.catalog.by_prefix(prefix);
        (found.len() == 1).then(|| found.remove(0))
    }

    /// Gives the image `source` the name `target` (`latest` where it has no tag), taking it from
    /// whatever had it.
    pub fn tag(&self, source: &str, target: &Reference) -> Result<Vec<ImageEvent>> {
        if target.digest().is_some() {
            return Err(Error::invalid("refusing to create a tag with a digest reference"));
        }
        let _change = self.change();
        let image = self.image(source)?;
        let target = target.clone().with_default_tag();
        // A name of the same image keeps the index that it stands for.
        let named = match AnyReference::parse(source)? {
            AnyReference::Named(reference) => self.inner.catalog.tag(&reference.with_default_tag()),
            AnyReference::Digest(_) => None,
        };
        let descriptor =
            named.filter(|tag| tag.image == image.id).map_or_else(|| target_of(&image), |tag| tag.target);
        let mut record = record_of(&image);
        record.last_tagged = Some(now());
        self.inner.catalog.apply(&[
            Edit::PutImage(record, Arc::new(image.config_bytes.clone())),
            Edit::PutTag(target.clone(), TagRecord { target: descriptor, image: image.id.clone() }),
        ])?;
        Ok(vec![ImageEvent { kind: ImageEventKind::Tag, id: image.id.clone(), name: target.familiar() }])
    }

    /// Whoever holds this is the only one to change images and tags.
    pub(crate) fn change(&self) -> MutexGuard<'_, ()> {
        self.inner.change.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a new name of an image stands for: its manifest, or its configuration where it came without one.
pub(crate) fn target_of(image: &Image) -> Descriptor {
    match &image.manifest {
        Some(manifest) => manifest.clone(),
        None => Descriptor::new(media_type::OCI_CONFIG, image.id.clone(), image.config_bytes.len() as u64),
    }
}

/// Docker's words for a name that nothing has.
pub(crate) fn no_such_image(name: &AnyReference) -> Error {
    let shown = match name {
        AnyReference::Named(reference) => reference.clone().with_default_tag().familiar(),
        AnyReference::Digest(digest) => digest.to_string(),
    };
    Error::not_found(format!("No such image: {shown}"))
}

/// The time as image records and configurations have it.
pub(crate) fn now() -> String {
    format!("{:.9}", jiff::Timestamp::now())
}
