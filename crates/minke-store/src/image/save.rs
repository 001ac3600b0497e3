//! `save`: images as an OCI layout that is a docker archive as well, as Docker 29 writes it. Layers and
//! configurations are the bytes that were received; every time in the archive is 0.

use crate::archive::writer::TarWriter;
use crate::image::{Image, ImageEvent, ImageEventKind};
use crate::store::Store;
use minke_model::image::{
    ANNOTATION_IMAGE_NAME, ANNOTATION_REF_NAME, Descriptor, Index, Manifest, media_type,
};
use minke_model::{AnyReference, Context, Digest, Error, Platform, Reference, Result};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

const LAYOUT: &[u8] = br#"{"imageLayoutVersion": "1.0.0"}"#;

/// An image to write, with the names to write.
struct Saved {
    image: Arc<Image>,
    names: Vec<Reference>,
    manifest: Descriptor,
    /// The manifest's bytes, if it is made here.
    made: Option<Vec<u8>>,
    layers: Vec<Descriptor>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ArchiveEntry {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
    layer_sources: BTreeMap<Digest, Descriptor>,
}

impl Store {
    /// Writes the images `names` as one tar. A name without a tag takes every tag of the repository.
    /// Fails before the first byte where a name is not known.
    pub fn save(
        &self,
        names: &[String],
        platform: Option<&Platform>,
        writer: &mut dyn Write,
    ) -> Result<Vec<ImageEvent>> {
        let _lease = self.lease();
        let images = self.plan_save(names, platform)?;
        self.write_archive(&images, writer)?;
        let event = |saved: &Saved| ImageEvent {
            kind: ImageEventKind::Save,
            id: saved.image.id.clone(),
            name: saved.image.id.to_string(),
        };
        Ok(images.iter().map(event).collect())
    }

    /// Checks that every name stands for something, for the platform too.
    ///
    /// # Errors
    /// As [`Store::save`], before its first byte.
    pub fn check_save(&self, names: &[String], platform: Option<&Platform>) -> Result<()> {
        self.chosen(names, platform).map(drop)
    }

    fn plan_save(&self, names: &[String], platform: Option<&Platform>) -> Result<Vec<Saved>> {
        let images = self.chosen(names, platform)?;
        images.into_iter().map(|(image, names)| self.plan_saved(image, names)).collect()
    }

    /// The images that are meant, with the names that each is to have.
    fn chosen(
        &self,
        names: &[String],
        platform: Option<&Platform>,
    ) -> Result<Vec<(Arc<Image>, Vec<Reference>)>> {
        let mut images: Vec<(Arc<Image>, Vec<Reference>)> = Vec::new();
        for name in names {
            for (image, reference) in self.named_by(name)? {
                let image = match platform {
                    None => image,
                    // Another one of the name's index may be for it.
                    Some(platform) => {
                        let known = reference.as_ref().map_or_else(|| name.clone(), Reference::canonical);
                        self.image_for(&known, Some(platform)).map_err(|error| {
                            let words = format!("image {name} does not provide the platform {platform}");
                            Error::not_found(words).with_source(error)
                        })?
                    }
                };
                let names = match images.iter_mut().find(|(other, _)| other.id == image.id) {
                    Some((_, names)) => names,
                    None => {
                        images.push((image, Vec::new()));
                        &mut images.last_mut().expect("an image was pushed").1
                    }
                };
                names.extend(reference.filter(|reference| !names.contains(reference)));
            }
        }
        Ok(images)
    }

    /// The images that one argument of `save` stands for, with the name that each is to have.
    fn named_by(&self, name: &str) -> Result<Vec<(Arc<Image>, Option<Reference>)>> {
        let parsed = AnyReference::parse(name)?;
        let AnyReference::Named(reference) = &parsed else {
            return Ok(vec![(self.image(name)?, None)]);
        };
        if reference.tag().is_none() && reference.digest().is_none() {
            let tags = self.inner.catalog.tags().into_iter();
            let of_repository: Vec<_> = tags
                .filter(|(tag, _)| tag.digest().is_none() && tag.name() == reference.name())
                .filter_map(|(tag, record)| Some((self.image_by_id(&record.image)?, Some(tag))))
                .collect();
            if !of_repository.is_empty() {
                return Ok(of_repository);
            }
        }
        if let Some(image) = self.inner.catalog.by_reference(reference) {
            let tag = reference.digest().is_none().then(|| reference.clone());
            return Ok(vec![(image, tag)]);
        }
        let by_id =
            self.image_by_prefix(name).ok_or_else(|| Error::not_found(format!("No such image: {name}")))?;
        Ok(vec![(by_id, None)])
    }

    fn plan_saved(&self, image: Arc<Image>, names: Vec<Reference>) -> Result<Saved> {
        let received = image.manifest.as_ref().and_then(|descriptor| {
            let bytes = self.inner.content.read(&descriptor.digest, self.inner.limits.document_bytes).ok()?;
            let manifest: Manifest = serde_json::from_slice(&bytes).ok()?;
            let complete = manifest.layers.iter().all(|layer| self.inner.content.contains(&layer.digest));
            complete.then(|| (descriptor.clone(), manifest.layers))
        });
        if let Some((manifest, layers)) = received {
            return Ok(Saved { image, names, manifest, made: None, layers });
        }
        let mut layers = Vec::new();
        for layer in &image.layers {
            let record = self.inner.layers.record(layer);
            layers.push(record.ok_or_else(|| Error::not_found(format!("layer {layer} is not here")))?.blob);
        }
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(media_type::OCI_MANIFEST.to_owned()),
            config: Descriptor::new(
                media_type::OCI_CONFIG,
                image.id.clone(),
                image.config_bytes.len() as u64,
            ),
            layers: layers.clone(),
            annotations: BTreeMap::new(),
        };
        let bytes = to_json(&manifest)?;
        let manifest = Descriptor::new(media_type::OCI_MANIFEST, digest_of(&bytes), bytes.len() as u64);
        Ok(Saved { image, names, manifest, made: Some(bytes), layers })
    }

    fn write_archive(&self, images: &[Saved], writer: &mut dyn Write) -> Result<()> {
        let failed = "cannot write the archive";
        let mut documents: BTreeMap<Digest, &[u8]> = BTreeMap::new();
        let mut blobs: BTreeMap<Digest, u64> = BTreeMap::new();
        for saved in images {
            documents.insert(saved.image.id.clone(), &saved.image.config_bytes);
            match &saved.made {
                Some(bytes) => drop(documents.insert(saved.manifest.digest.clone(), bytes)),
                None => drop(blobs.insert(saved.manifest.digest.clone(), saved.manifest.size)),
            }
            for layer in &saved.layers {
                let size = self.inner.content.size(&layer.digest);
                let size =
                    size.ok_or_else(|| Error::not_found(format!("content {} is not here", layer.digest)))?;
                blobs.insert(layer.digest.clone(), size);
            }
        }
        let mut tar = TarWriter::new(std::io::BufWriter::with_capacity(128 << 10, writer));
        tar.directory("blobs").context(failed)?;
        tar.directory("blobs/sha256").context(failed)?;
        let mut all: Vec<&Digest> = documents.keys().chain(blobs.keys()).collect();
        all.sort();
        all.dedup();
        for digest in all {
            let path = blob_path(digest);
            match documents.get(digest) {
                Some(bytes) => tar.file(&path, bytes.len() as u64, &mut &bytes[..]).context(failed)?,
                None => {
                    let mut reader = self.inner.content.reader(digest)?;
                    tar.file(&path, blobs[digest], &mut reader).context(failed)?;
                }
            }
        }
        let (index, entries) = (to_json(&index_of(images))?, to_json(&self.entries_of(images))?);
        let repositories = repositories_of(images);
        tar.file("index.json", index.len() as u64, &mut &index[..]).context(failed)?;
        tar.file("manifest.json", entries.len() as u64, &mut &entries[..]).context(failed)?;
        tar.file("oci-layout", LAYOUT.len() as u64, &mut &LAYOUT[..]).context(failed)?;
        if !repositories.is_empty() {
            let bytes = to_json(&repositories)?;
            tar.file("repositories", bytes.len() as u64, &mut &bytes[..]).context(failed)?;
        }
        tar.finish().context(failed)
    }

    fn entries_of(&self, images: &[Saved]) -> Vec<ArchiveEntry> {
        let entry = |saved: &Saved| ArchiveEntry {
            config: blob_path(&saved.image.id),
            repo_tags: (!saved.names.is_empty())
                .then(|| saved.names.iter().map(Reference::familiar).collect()),
            layers: saved.layers.iter().map(|layer| blob_path(&layer.digest)).collect(),
            layer_sources: saved.image.layers.iter().cloned().zip(saved.layers.iter().cloned()).collect(),
        };
        images.iter().map(entry).collect()
    }
}

fn index_of(images: &[Saved]) -> Index {
    let mut manifests = Vec::new();
    for saved in images {
        let platform = Some(saved.image.config.platform());
        if saved.names.is_empty() {
            manifests.push(Descriptor { platform: platform.clone(), ..saved.manifest.clone() });
        }
        for name in &saved.names {
            let mut annotations = BTreeMap::from([(ANNOTATION_IMAGE_NAME.to_owned(), name.canonical())]);
            annotations.extend(name.tag().map(|tag| (ANNOTATION_REF_NAME.to_owned(), tag.to_owned())));
            manifests.push(Descriptor { annotations, platform: platform.clone(), ..saved.manifest.clone() });
        }
    }
    let media_type = Some(media_type::OCI_INDEX.to_owned());
    Index { schema_version: 2, media_type, manifests, annotations: BTreeMap::new() }
}

fn repositories_of(images: &[Saved]) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut repositories: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for saved in images {
        for name in &saved.names {
            let top = saved.layers.last().map_or_else(String::new, |layer| layer.digest.hex().to_owned());
            let tag = name.tag().unwrap_or_default().to_owned();
            repositories.entry(name.familiar_name()).or_default().insert(tag, top);
        }
    }
    repositories
}

fn to_json<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value).context("cannot write a document")
}

fn digest_of(bytes: &[u8]) -> Digest {
    use sha2::{Digest as _, Sha256};
    Digest::sha256(&Sha256::digest(bytes))
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}
