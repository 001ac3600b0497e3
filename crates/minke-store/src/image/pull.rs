//! What a pull asks of the store: which of an image's parts are here, a layer unpacked while its bytes still come, and the
//! image recorded once all of it is here. Whoever fetches holds [`Store::lease`] from the first question to the last.

use super::catalog::Edit;
use super::resolve::no_such_image;
use crate::image::Image;
use crate::record::{ImageRecord, TagRecord};
use crate::store::Store;
use minke_content::Follower;
use minke_model::image::{Descriptor, ImageConfig, Index, media_type};
use minke_model::{AnyReference, Digest, Error, Platform, Reference, Result};
use std::collections::HashSet;
use std::sync::Arc;

/// An image that has come in: its documents, and what names it.
#[derive(Clone, Debug)]
pub struct PulledImage {
    /// The configuration's bytes.
    pub config: Vec<u8>,
    /// The manifest that leads to it.
    pub manifest: Descriptor,
    /// What the names stand for: an index, or the manifest again.
    pub target: Descriptor,
    /// The bytes of the manifest, and of the indexes above it.
    pub documents: Vec<Vec<u8>>,
    /// The repository with the tag that was asked for, or with the digest.
    pub name: Reference,
}

/// What of a layer is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerPresence {
    /// Its content, as the manifest names it.
    pub blob: bool,
    /// Its files.
    pub unpacked: bool,
}

impl Store {
    /// The platform whose images run here.
    pub fn platform(&self) -> &Platform {
        &self.inner.platform
    }

    /// What of a layer is here.
    pub fn layer_presence(&self, diff_id: &Digest, blob: &Digest) -> LayerPresence {
        LayerPresence {
            blob: self.inner.content.contains(blob),
            unpacked: self.inner.layers.record(diff_id).is_some(),
        }
    }

    /// Unpacks a layer while its content comes in, read by `follower`: decompressed, verified, staged. `progress` is told how
    /// many of the content's bytes have been read. Nothing of it stays where the content turns out to be wrong.
    pub fn unpack_coming(
        &self,
        follower: Follower,
        blob: &Descriptor,
        diff_id: &Digest,
        progress: &mut (dyn FnMut(u64) + Send),
    ) -> Result<()> {
        self.inner
            .layers
            .unpack_reader(follower, &blob.digest, blob.size, Some(diff_id), progress)
            .map(|_| ())
    }

    /// Unpacks a layer whose content is here.
    pub fn unpack_present(
        &self,
        blob: &Digest,
        diff_id: &Digest,
        progress: &mut (dyn FnMut(u64) + Send),
    ) -> Result<()> {
        self.inner.layers.unpack_blob(blob, Some(diff_id), progress).map(|_| ())
    }

    /// Reads a configuration that came for an image of `layers` layers.
    ///
    /// # Errors
    /// It is no image's, or not one that could run here, or its number of layers is another.
    pub fn read_pulled_config(&self, bytes: &[u8], layers: usize) -> Result<ImageConfig> {
        let config: ImageConfig = serde_json::from_slice(bytes)
            .map_err(|error| Error::invalid("the image configuration cannot be read").with_source(error))?;
        if config.os != "linux" && !config.os.is_empty() {
            return Err(Error::invalid(format!(
                "image operating system {:?} cannot be used on this platform: operating system is not supported",
                config.os
            )));
        }
        if config.rootfs.diff_ids.len() != layers {
            return Err(Error::invalid("layers from manifest don't match image configuration"));
        }
        if layers > self.inner.limits.layers {
            return Err(Error::invalid(format!(
                "the image has more than {} layers",
                self.inner.limits.layers
            )));
        }
        Ok(config)
    }

    /// Records an image whose layers are all here, with its names, in one transaction. Durable on return but for the layers'
    /// files, which follow in the background. Tells whether the name stood for another image, or for none, before.
    pub fn record_pulled(&self, pulled: &PulledImage) -> Result<(Digest, bool)> {
        let config = self.inner.content.ingest_bytes(&pulled.config)?;
        for document in &pulled.documents {
            self.inner.content.ingest_bytes(document)?;
        }
        let parsed: ImageConfig = serde_json::from_slice(&pulled.config)
            .map_err(|error| Error::invalid("the image configuration cannot be read").with_source(error))?;
        let layers = parsed.rootfs.diff_ids.clone();
        self.inner.layers.complete_chain(&layers)?;
        let _change = self.change();
        let known = self.image_by_id(&config.digest);
        let record = ImageRecord {
            id: config.digest.clone(),
            manifest: Some(pulled.manifest.clone()),
            size: layers.iter().map(|layer| self.inner.layers.size(layer)).sum(),
            layers,
            parent: known.as_ref().and_then(|known| known.parent.clone()),
            last_tagged: known.and_then(|known| known.last_tagged.clone()),
        };
        let named = self.image_to_name(pulled, &config.digest, &parsed.platform());
        let name = &pulled.name;
        let earlier = self.inner.catalog.tag(name).map(|tag| tag.image);
        let mut edits = vec![Edit::PutImage(record, Arc::new(pulled.config.clone()))];
        let mut put = |name: Reference, target: &Descriptor, image: &Digest| {
            edits.push(Edit::PutTag(name, TagRecord { target: target.clone(), image: image.clone() }));
        };
        if name.digest().is_none() {
            put(name.clone(), &pulled.target, &named);
        }
        put(name.with_digest(pulled.target.digest.clone()), &pulled.target, &named);
        if named != config.digest {
            // Another platform's, kept beside the one that the name stands for.
            put(name.with_digest(pulled.manifest.digest.clone()), &pulled.manifest, &config.digest);
        }
        self.inner.catalog.apply(&edits)?;
        self.make_durable_later();
        Ok((config.digest, earlier != Some(named)))
    }

    /// The image that a name of an index stands for: this host's platform's where it is here, else the one that has come.
    fn image_to_name(&self, pulled: &PulledImage, id: &Digest, platform: &Platform) -> Digest {
        let host = &self.inner.platform;
        let others = self
            .images_of(&pulled.target)
            .into_iter()
            .map(|image| (image.id.clone(), image.config.platform()));
        let all = others.chain([(id.clone(), platform.clone())]);
        let best = all.filter_map(|(id, platform)| Some((host.rank(&platform)?, id)));
        best.max_by_key(|(rank, _)| *rank).map_or_else(|| id.clone(), |(_, id)| id)
    }

    /// The images here that a descriptor leads to: those of an index, or the manifest's.
    pub fn images_of(&self, target: &Descriptor) -> Vec<Arc<Image>> {
        let mut manifests = HashSet::new();
        self.collect_manifests(target, &mut manifests, 0);
        let images = self.images().into_iter();
        images
            .filter(|image| {
                image.manifest.as_ref().is_some_and(|manifest| manifests.contains(&manifest.digest))
            })
            .collect()
    }

    fn collect_manifests(&self, target: &Descriptor, manifests: &mut HashSet<Digest>, depth: usize) {
        if !media_type::is_index(&target.media_type) {
            manifests.insert(target.digest.clone());
            return;
        }
        let read = self.inner.content.read(&target.digest, self.inner.limits.document_bytes).ok();
        let index = read.and_then(|bytes| serde_json::from_slice::<Index>(&bytes).ok());
        for child in index.map(|index| index.manifests).unwrap_or_default() {
            if depth < 4 {
                self.collect_manifests(&child, manifests, depth + 1);
            }
        }
    }

    /// The images that only an index holds which has a name: other platforms' beside the host's.
    pub fn images_beside(&self) -> HashSet<Digest> {
        let tags = self.inner.catalog.tags().into_iter();
        let indexes = tags
            .filter(|(name, tag)| name.digest().is_none() && media_type::is_index(&tag.target.media_type));
        indexes.flat_map(|(_, tag)| self.images_of(&tag.target)).map(|image| image.id.clone()).collect()
    }

    /// What exactly a reference stands for, and the image that runs under it.
    pub fn target_of(&self, reference: &Reference) -> Option<Descriptor> {
        self.inner.catalog.tag(&reference.clone().with_default_tag()).map(|tag| tag.target)
    }

    /// As [`Self::image`], for a platform: the image itself where it fits, else another one of the name's index.
    ///
    /// # Errors
    /// Not found in Docker's words, also where the name has no image for the platform here.
    pub fn image_for(&self, name: &str, platform: Option<&Platform>) -> Result<Arc<Image>> {
        let image = self.image(name)?;
        let Some(platform) = platform else { return Ok(image) };
        let parsed = AnyReference::parse(name)?;
        let target = match &parsed {
            AnyReference::Named(reference) => self.target_of(reference),
            AnyReference::Digest(_) => None,
        };
        let mut found = target.map(|target| self.images_of(&target)).unwrap_or_default();
        found.push(image.clone());
        let best =
            found.into_iter().filter_map(|image| Some((platform.rank(&image.config.platform())?, image)));
        if let Some((_, image)) = best.max_by_key(|(rank, _)| *rank) {
            return Ok(image);
        }
        Err(Error::not_found(format!(
            "image with reference {name} was found but its platform ({}) does not match the specified platform ({platform})",
            image.config.platform()
        ))
        .with_source(no_such_image(&parsed)))
    }
}
