//! What a push asks of the store: which blobs and documents make an image, and a layer compressed for the way out. What was
//! pulled goes out as it came. A layer that was never compressed is compressed once, and kept so: its bytes and its digest are
//! the same at every push.

use super::catalog::Edit;
use crate::image::Image;
use crate::layer::intake::Counted;
use crate::layer::limits::Limits;
use crate::record::TagRecord;
use crate::store::Store;
use minke_content::Ingest;
use minke_model::image::{Descriptor, Index, Manifest, media_type};
use minke_model::{Context as _, Digest, Error, Platform, Reference, Result};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

/// The level of gzip that Docker's layers have.
const LEVEL: u32 = 6;
/// Indexes that may stand within indexes.
const MAX_NESTING: usize = 4;

/// One layer of an image that is pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushLayer {
    /// The digest of its uncompressed tar.
    pub diff_id: Digest,
    /// The content that goes out; nothing where it has to be compressed first.
    pub blob: Option<Descriptor>,
    /// It stays where it is: its licence forbids to pass it on.
    pub foreign: bool,
}

/// What makes one image.
#[derive(Clone, Debug)]
pub struct PushImage {
    /// The image.
    pub image: Arc<Image>,
    /// Bottom first.
    pub layers: Vec<PushLayer>,
    /// The manifest as it came, if it came with one and all of it is here.
    pub manifest: Option<(Descriptor, Vec<u8>)>,
}

/// What is pushed under one name.
#[derive(Clone, Debug, Default)]
pub struct PushPlan {
    /// The images, one for each platform.
    pub images: Vec<PushImage>,
    /// The indexes above them, inner ones first; none where one image is pushed alone.
    pub indexes: Vec<(Descriptor, Vec<u8>)>,
    /// What the indexes name and is not here: the registry has to have it.
    pub missing: Vec<Descriptor>,
    /// The index that is not pushed, because only one of its platforms is here.
    pub incomplete: Option<Descriptor>,
}

impl Store {
    /// Decides what a push of `reference` sends: all that is here of an index; one image where it is the only one of an index that
    /// is here, or that of `platform`.
    pub fn plan_push(&self, reference: &Reference, platform: Option<&Platform>) -> Result<PushPlan> {
        let familiar = reference.familiar();
        let target = self
            .target_of(reference)
            .ok_or_else(|| Error::not_found(format!("tag does not exist: {}", reference.familiar())))?;
        let mut incomplete = None;
        if media_type::is_index(&target.media_type) && platform.is_none() {
            let mut plan = PushPlan::default();
            self.plan_index(&target, &mut plan, 0)?;
            if plan.missing.is_empty() || plan.images.len() > 1 {
                return Ok(plan);
            }
            incomplete = Some(target);
        }
        let image = self.image_for(&familiar, platform)?;
        Ok(PushPlan { images: vec![self.plan_image_push(image)?], incomplete, ..PushPlan::default() })
    }

    /// Puts an index and what is here of it into the plan, and names what is not.
    fn plan_index(&self, target: &Descriptor, plan: &mut PushPlan, depth: usize) -> Result<()> {
        let read = self.inner.content.read(&target.digest, self.inner.limits.document_bytes).ok();
        let parsed = read.and_then(|bytes| Some((serde_json::from_slice::<Index>(&bytes).ok()?, bytes)));
        let Some((index, bytes)) = parsed.filter(|_| depth <= MAX_NESTING) else {
            plan.missing.push(target.clone());
            return Ok(());
        };
        for child in &index.manifests {
            if media_type::is_index(&child.media_type) {
                self.plan_index(child, plan, depth + 1)?;
                continue;
            }
            let planned = match self.images_of(child).into_iter().next() {
                Some(image) => Some(self.plan_image_push(image)?),
                None => None,
            };
            let is_it = |planned: &PushImage| {
                planned.manifest.as_ref().is_some_and(|(manifest, _)| manifest.digest == child.digest)
            };
            match planned.filter(is_it) {
                Some(planned) => plan.images.push(planned),
                None => plan.missing.push(child.clone()),
            }
        }
        plan.indexes.push((target.clone(), bytes));
        Ok(())
    }

    fn plan_image_push(&self, image: Arc<Image>) -> Result<PushImage> {
        if let Some(planned) = self.plan_as_received(&image) {
            return Ok(planned);
        }
        let mut layers = Vec::new();
        for diff_id in &image.layers {
            let record = self.inner.layers.record(diff_id);
            let record = record.ok_or_else(|| Error::not_found(format!("layer {diff_id} is not here")))?;
            let compressed = record.blob.media_type != media_type::OCI_LAYER;
            let blob = if compressed { Some(record.blob) } else { record.compressed };
            layers.push(PushLayer { diff_id: diff_id.clone(), blob, foreign: false });
        }
        Ok(PushImage { image, layers, manifest: None })
    }

    fn plan_as_received(&self, image: &Arc<Image>) -> Option<PushImage> {
        let descriptor = image.manifest.as_ref()?;
        let bytes = self.inner.content.read(&descriptor.digest, self.inner.limits.document_bytes).ok()?;
        let manifest: Manifest = serde_json::from_slice(&bytes).ok()?;
        let foreign = |layer: &Descriptor| media_type::is_foreign(&layer.media_type);
        let here = |layer: &Descriptor| foreign(layer) || self.inner.content.contains(&layer.digest);
        if manifest.layers.len() != image.layers.len() || !manifest.layers.iter().all(here) {
            return None;
        }
        let layers = (image.layers.iter().zip(&manifest.layers))
            .map(|(diff_id, blob)| PushLayer {
                diff_id: diff_id.clone(),
                blob: Some(blob.clone()),
                foreign: foreign(blob),
            })
            .collect();
        Some(PushImage { image: image.clone(), layers, manifest: Some((descriptor.clone(), bytes)) })
    }

    /// Starts the content of a compressed layer: follow it, and give it to [`Self::compress_layer`].
    pub fn start_compressed(&self) -> Result<Ingest> {
        self.inner.content.ingest(Limits::default().bytes)
    }

    /// The bytes of a layer's tar.
    pub fn uncompressed_size(&self, diff_id: &Digest) -> u64 {
        self.inner.layers.record(diff_id).map_or(0, |record| record.tar_size)
    }

    /// Compresses a layer into `ingest`, keeps it, and remembers its descriptor; `progress` is told how many bytes of the tar have
    /// been read. Blocks for as long as that takes.
    pub fn compress_layer(
        &self,
        diff_id: &Digest,
        mut ingest: Ingest,
        progress: &mut (dyn FnMut(u64) + Send),
    ) -> Result<Descriptor> {
        let record = self.inner.layers.record(diff_id);
        let record = record.ok_or_else(|| Error::not_found(format!("layer {diff_id} is not here")))?;
        let failed = || format!("cannot compress layer {diff_id}");
        let reader: Box<dyn io::Read + Send> = Box::new(self.inner.content.reader(&record.blob.digest)?);
        let mut reader = Counted { reader, read: 0, progress };
        // No time and no name: the same bytes whenever it is made.
        let mut encoder = flate2::GzBuilder::new().write(&mut ingest, flate2::Compression::new(LEVEL));
        io::copy(&mut reader, &mut encoder).with_context(failed)?;
        encoder.finish().with_context(failed)?;
        let blob = ingest.commit(None)?;
        let descriptor = Descriptor::new(media_type::DOCKER_LAYER_GZIP, blob.digest, blob.size);
        self.inner.layers.set_compressed(diff_id, &descriptor)?;
        Ok(descriptor)
    }

    /// The manifest of an image that came without one, over its layers as they went out.
    pub fn make_manifest(&self, image: &Image, layers: &[Descriptor]) -> Result<(Descriptor, Vec<u8>)> {
        // Docker's own types have no name for zstd.
        let oci = layers.iter().any(|layer| layer.media_type == media_type::OCI_LAYER_ZSTD);
        let (manifest_type, config_type, layer_type) = match oci {
            true => (media_type::OCI_MANIFEST, media_type::OCI_CONFIG, media_type::OCI_LAYER_GZIP),
            false => (media_type::DOCKER_MANIFEST, media_type::DOCKER_CONFIG, media_type::DOCKER_LAYER_GZIP),
        };
        let typed = |layer: &Descriptor| match layer.media_type.as_str() {
            media_type::OCI_LAYER_ZSTD => layer.clone(),
            _ => Descriptor::new(layer_type, layer.digest.clone(), layer.size),
        };
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(manifest_type.to_owned()),
            config: Descriptor::new(config_type, image.id.clone(), image.config_bytes.len() as u64),
            layers: layers.iter().map(typed).collect(),
            annotations: BTreeMap::new(),
        };
        let bytes = serde_json::to_vec(&manifest).context("cannot write a manifest")?;
        let digest = Digest::sha256(&Sha256::digest(&bytes));
        Ok((Descriptor::new(manifest_type, digest, bytes.len() as u64), bytes))
    }

    /// Remembers under which digest an image is in a repository now.
    pub fn record_pushed(
        &self,
        reference: &Reference,
        image: &Digest,
        manifest: &Descriptor,
        bytes: &[u8],
    ) -> Result<()> {
        self.inner.content.ingest_bytes(bytes)?;
        let _change = self.change();
        if self.image_by_id(image).is_none() {
            return Ok(());
        }
        let tag = TagRecord { target: manifest.clone(), image: image.clone() };
        self.inner.catalog.apply(&[Edit::PutTag(reference.with_digest(manifest.digest.clone()), tag)])
    }

    /// The tags of a repository that are here, sorted.
    pub fn tags_in(&self, repository: &Reference) -> Vec<Reference> {
        let tags = self.inner.catalog.tags().into_iter().map(|(name, _)| name);
        tags.filter(|name| {
            name.tag().is_some() && name.digest().is_none() && name.name() == repository.name()
        })
        .collect()
    }

    /// Repositories of a registry that have had this image, for a layer to be mounted from.
    pub fn repositories_with(&self, layer: &Digest, domain: &str) -> Vec<String> {
        let digests = self
            .inner
            .catalog
            .tags()
            .into_iter()
            .filter(|(name, _)| name.digest().is_some() && name.domain() == domain);
        let with = digests.filter(|(_, tag)| {
            self.image_by_id(&tag.image).is_some_and(|image| image.layers.contains(layer))
        });
        let mut paths: Vec<String> = with.map(|(name, _)| name.path().to_owned()).collect();
        paths.sort();
        paths.dedup();
        paths
    }
}
