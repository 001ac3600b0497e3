//! `import`: a flat file system archive becomes an image of one layer.

use super::catalog::Edit;
use super::resolve::{now, target_of};
use crate::change::{Change, apply_changes};
use crate::image::{ImageEvent, ImageEventKind};
use crate::layer::intake::UnpackRequest;
use crate::record::{ImageRecord, TagRecord};
use crate::store::Store;
use minke_model::image::{ContainerConfig, Descriptor, History, ImageConfig, RootFs, media_type};
use minke_model::{Context, Digest, Error, Platform, Reference, Result};
use std::io::Read;
use std::sync::Arc;

/// How to import.
#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
    /// The name to give it.
    pub reference: Option<Reference>,
    /// The history's comment; where empty, Docker's `Imported from -`.
    pub message: String,
    /// From [`crate::parse_changes`].
    pub changes: Vec<Change>,
    /// The platform it is for; `None` is the host's.
    pub platform: Option<Platform>,
}

impl Store {
    /// Makes an image of the archive that `reader` gives, compressed or not. Durable on return.
    pub fn import(
        &self,
        reader: &mut (dyn Read + Send),
        options: &ImportOptions,
    ) -> Result<(Digest, Vec<ImageEvent>)> {
        if options.reference.as_ref().is_some_and(|reference| reference.digest().is_some()) {
            return Err(Error::invalid("cannot import digest reference"));
        }
        let _lease = self.lease();
        let imported = self.import_leased(reader, options);
        if imported.is_err() {
            self.collect_after_leases();
        }
        imported
    }

    fn import_leased(
        &self,
        reader: &mut (dyn Read + Send),
        options: &ImportOptions,
    ) -> Result<(Digest, Vec<ImageEvent>)> {
        let layer = self.inner.layers.take_in(UnpackRequest { reader, blob: None, diff_id: None })?;
        let platform = options.platform.clone().unwrap_or_else(|| self.inner.platform.clone());
        let config = plan_config(options, &platform, &layer.diff_id, &now());
        let bytes = serde_json::to_vec(&config).context("cannot write an image configuration")?;
        let blob = self.inner.content.ingest_bytes(&bytes)?;
        let layers = vec![layer.diff_id];
        self.inner.layers.complete_chain(&layers)?;
        let record = ImageRecord {
            id: blob.digest.clone(),
            manifest: None,
            layers,
            parent: None,
            size: layer.size,
            last_tagged: options.reference.is_some().then(now),
        };
        let mut edits = vec![Edit::PutImage(record, Arc::new(bytes))];
        let mut events = Vec::new();
        if let Some(reference) = &options.reference {
            let reference = reference.clone().with_default_tag();
            let target = Descriptor::new(media_type::OCI_CONFIG, blob.digest.clone(), blob.size);
            events.push(ImageEvent {
                kind: ImageEventKind::Tag,
                id: blob.digest.clone(),
                name: reference.familiar(),
            });
            edits.push(Edit::PutTag(reference, TagRecord { target, image: blob.digest.clone() }));
        }
        let _change = self.change();
        self.inner.catalog.apply(&edits)?;
        self.make_durable_later();
        events.push(ImageEvent {
            kind: ImageEventKind::Import,
            id: blob.digest.clone(),
            name: blob.digest.to_string(),
        });
        debug_assert!(
            self.image_by_id(&blob.digest).is_some_and(|image| target_of(&image).digest == blob.digest)
        );
        Ok((blob.digest, events))
    }
}

fn plan_config(options: &ImportOptions, platform: &Platform, diff_id: &Digest, created: &str) -> ImageConfig {
    let mut container = ContainerConfig::default();
    apply_changes(&options.changes, &mut container);
    let comment = match options.message.as_str() {
        "" => "Imported from -".to_owned(),
        message => message.to_owned(),
    };
    ImageConfig {
        architecture: platform.architecture.clone(),
        variant: platform.variant.clone(),
        config: Some(container),
        comment: comment.clone(),
        created: Some(created.to_owned()),
        history: vec![History { created: Some(created.to_owned()), comment, ..History::default() }],
        os: platform.os.clone(),
        rootfs: RootFs { diff_ids: vec![diff_id.clone()], ..RootFs::default() },
        ..ImageConfig::default()
    }
}
