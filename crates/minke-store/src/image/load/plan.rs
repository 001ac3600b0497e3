//! Which images an archive holds: by docker's manifest.json where it has one, else by an OCI layout's
//! index.json. Reads documents, brings in layers, unpacks nothing.

use super::intake::Files;
use crate::layer::limits::Limits;
use minke_model::image::{
    ANNOTATION_IMAGE_NAME, ANNOTATION_REF_NAME, ANNOTATION_REFERENCE_TYPE, Descriptor, ImageConfig, Index,
    Manifest, media_type,
};
use minke_model::{Digest, Error, Platform, Reference, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Indexes that may stand within indexes.
const MAX_NESTING: usize = 4;

/// One image, its documents read and its layers here as content.
pub(super) struct PlannedImage {
    pub id: Digest,
    pub config: ImageConfig,
    pub config_bytes: Vec<u8>,
    /// Names with tags.
    pub names: Vec<Reference>,
    /// What the names stand for, if not the configuration.
    pub target: Option<Descriptor>,
    pub manifest: Option<Descriptor>,
    /// The content of each layer, bottom first.
    pub layers: Vec<Descriptor>,
    /// Documents to keep.
    pub stored: Vec<Vec<u8>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ArchiveEntry {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

pub(super) fn plan_images(
    files: &Files<'_>,
    platform: &Platform,
    limits: &Limits,
) -> Result<Vec<PlannedImage>> {
    if files.contains("manifest.json") {
        return plan_docker_archive(files, limits);
    }
    if !files.contains("index.json") {
        return Err(Error::invalid("invalid archive: it has neither manifest.json nor index.json"));
    }
    let index: Index = parse("index.json", &files.document("index.json", limits)?)?;
    let mut images: Vec<PlannedImage> = Vec::new();
    for descriptor in &index.manifests {
        if descriptor.annotations.contains_key(ANNOTATION_REFERENCE_TYPE) {
            continue;
        }
        let Some(mut image) = plan_oci_image(files, descriptor, platform, limits)? else { continue };
        image.names.extend(oci_name(descriptor)?);
        match images.iter_mut().find(|other| other.id == image.id && other.target == image.target) {
            Some(other) => other.names.extend(image.names),
            None => images.push(image),
        }
    }
    match images.is_empty() {
        true => Err(Error::not_found(format!("the archive has no image for platform {platform}"))),
        false => Ok(images),
    }
}

fn parse<T: DeserializeOwned>(name: &str, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes)
        .map_err(|error| Error::invalid(format!("invalid archive: {name} cannot be read")).with_source(error))
}

fn plan_docker_archive(files: &Files<'_>, limits: &Limits) -> Result<Vec<PlannedImage>> {
    let entries: Vec<ArchiveEntry> = parse("manifest.json", &files.document("manifest.json", limits)?)?;
    let manifests = listed_manifests(files, limits);
    let mut images = Vec::new();
    for entry in entries {
        let config_bytes = files.document(&clean(&entry.config), limits)?;
        let paths: Vec<String> = entry.layers.unwrap_or_default().iter().map(|path| clean(path)).collect();
        let mut names = Vec::new();
        for name in entry.repo_tags.unwrap_or_default() {
            let reference = Reference::parse(&name)?;
            if reference.tag().is_none() {
                return Err(Error::invalid(format!("invalid tag {name:?}")));
            }
            names.push(reference);
        }
        let mut image = plan_image(config_bytes, limits, paths.len())?;
        image.names = names;
        for path in &paths {
            let (digest, size) = files.blob(path)?;
            image.layers.push(Descriptor::new(media_type::OCI_LAYER, digest, size));
        }
        // The manifest of a layout that is in the archive as well says what the bytes were when pulled.
        let manifest = manifests.iter().find(|(_, manifest, _)| {
            manifest.config.digest == image.id
                && manifest
                    .layers
                    .iter()
                    .map(|layer| &layer.digest)
                    .eq(image.layers.iter().map(|layer| &layer.digest))
        });
        if let Some((descriptor, _, bytes)) = manifest {
            image.manifest = Some(descriptor.clone());
            image.target = Some(descriptor.clone());
            image.stored.push(bytes.clone());
        }
        images.push(image);
    }
    Ok(images)
}

/// The manifests that an index.json beside manifest.json lists; what cannot be read is left out.
fn listed_manifests(files: &Files<'_>, limits: &Limits) -> Vec<(Descriptor, Manifest, Vec<u8>)> {
    let index =
        files.document("index.json", limits).ok().and_then(|bytes| parse::<Index>("index.json", &bytes).ok());
    let listed = index.map(|index| index.manifests).unwrap_or_default().into_iter().take(limits.layers);
    let read = |descriptor: Descriptor| {
        let bytes = files.document(&blob_path(&descriptor.digest), limits).ok()?;
        let manifest: Manifest = serde_json::from_slice(&bytes).ok()?;
        Some((plain(&descriptor, media_type::OCI_MANIFEST), manifest, bytes))
    };
    listed.filter_map(read).collect()
}

/// A descriptor without what one index says of it.
fn plain(descriptor: &Descriptor, default_type: &str) -> Descriptor {
    let media_type = if descriptor.media_type.is_empty() { default_type } else { &descriptor.media_type };
    Descriptor::new(media_type, descriptor.digest.clone(), descriptor.size)
}

fn plan_image(config_bytes: Vec<u8>, limits: &Limits, layers: usize) -> Result<PlannedImage> {
    use sha2::{Digest as _, Sha256};
    let id = Digest::sha256(&Sha256::digest(&config_bytes));
    let config: ImageConfig = parse("the image configuration", &config_bytes)?;
    if config.os != "linux" && !config.os.is_empty() {
        return Err(Error::invalid(format!("cannot load {} image on linux", config.os)));
    }
    let expected = config.rootfs.diff_ids.len();
    if expected != layers {
        return Err(Error::invalid(format!(
            "invalid manifest, layers length mismatch: expected {expected}, got {layers}"
        )));
    }
    if expected > limits.layers {
        return Err(Error::invalid(format!("the image has more than {} layers", limits.layers)));
    }
    let stored = vec![config_bytes.clone()];
    let (names, target, manifest, layers) = (Vec::new(), None, None, Vec::new());
    Ok(PlannedImage { id, config, config_bytes, names, target, manifest, layers, stored })
}

/// The image of `platform` that a descriptor of index.json leads to.
fn plan_oci_image(
    files: &Files<'_>,
    descriptor: &Descriptor,
    platform: &Platform,
    limits: &Limits,
) -> Result<Option<PlannedImage>> {
    let target = plain(descriptor, media_type::OCI_MANIFEST);
    let mut stored = Vec::new();
    let mut here = target.clone();
    for _ in 0..MAX_NESTING {
        let bytes = files.document(&blob_path(&here.digest), limits)?;
        if !media_type::is_index(&here.media_type) {
            return plan_manifest(files, &here, bytes, limits).map(|mut image| {
                image.stored.extend(stored);
                image.target = Some(target);
                Some(image)
            });
        }
        let index: Index = parse("an index", &bytes)?;
        stored.push(bytes);
        let present = |child: &&Descriptor| files.path_of(&child.digest).is_some();
        let best =
            index.manifests.iter().filter(present).filter_map(|child| Some((rank(child, platform)?, child)));
        let Some((_, child)) = best.max_by_key(|(rank, _)| *rank) else { return Ok(None) };
        here = plain(child, media_type::OCI_MANIFEST);
    }
    Err(Error::invalid("invalid archive: its indexes are nested too deeply"))
}

/// How well an index's entry fits; attestations never do, and one without a platform least.
fn rank(child: &Descriptor, platform: &Platform) -> Option<u32> {
    if child.annotations.contains_key(ANNOTATION_REFERENCE_TYPE) {
        return None;
    }
    child.platform.as_ref().map_or(Some(0), |candidate| platform.rank(candidate))
}

fn plan_manifest(
    files: &Files<'_>,
    descriptor: &Descriptor,
    bytes: Vec<u8>,
    limits: &Limits,
) -> Result<PlannedImage> {
    let manifest: Manifest = parse("a manifest", &bytes)?;
    let config_bytes = files.document(&blob_path(&manifest.config.digest), limits)?;
    let mut image = plan_image(config_bytes, limits, manifest.layers.len())?;
    for layer in &manifest.layers {
        if !layer.media_type.contains(".tar") {
            return Err(Error::invalid(format!("unsupported layer media type {:?}", layer.media_type)));
        }
        let (digest, size) = files.blob(&blob_path(&layer.digest))?;
        image.layers.push(Descriptor::new(&layer.media_type, digest, size));
    }
    image.manifest = Some(descriptor.clone());
    image.stored.push(bytes);
    Ok(image)
}

/// The name that a layout gives an image: containerd's annotation, or a whole name in OCI's own.
fn oci_name(descriptor: &Descriptor) -> Result<Option<Reference>> {
    if let Some(name) = descriptor.annotations.get(ANNOTATION_IMAGE_NAME) {
        return Reference::parse(name).map(Reference::with_default_tag).map(Some);
    }
    let name = descriptor.annotations.get(ANNOTATION_REF_NAME).filter(|name| name.contains([':', '/']));
    Ok(name.and_then(|name| Reference::parse(name).ok()).map(Reference::with_default_tag))
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.hex())
}

/// A path of manifest.json as the archive's entries are kept: without `./` and doubled slashes.
fn clean(path: &str) -> String {
    path.split('/').filter(|part| !part.is_empty() && *part != ".").collect::<Vec<_>>().join("/")
}
