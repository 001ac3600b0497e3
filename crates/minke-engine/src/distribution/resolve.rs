//! From a name to one image's manifest: through indexes, by platform. Reads documents within limits, fetches nothing else.

use minke_model::image::{ANNOTATION_REFERENCE_TYPE, Descriptor, Index, Manifest, media_type};
use minke_model::{Error, Platform, Reference, Result};
use minke_registry::client::{self, Repository, TagOrDigest};
use serde::de::DeserializeOwned;

/// Indexes that may stand within indexes.
const MAX_NESTING: usize = 4;
/// The most layers of an image.
const MAX_LAYERS: usize = 512;
/// The longest configuration.
pub const MAX_CONFIG_BYTES: u64 = 8 << 20;

/// What a name leads to.
pub struct Resolved {
    /// What the name stands for: an index, or the manifest.
    pub target: Descriptor,
    /// The manifest of the platform.
    pub manifest: Descriptor,
    /// What it says.
    pub parsed: Manifest,
    /// The documents on the way, the manifest last.
    pub documents: Vec<Vec<u8>>,
}

/// What the registry has under a name, before a platform is chosen.
pub async fn top(repository: &Repository, reference: &Reference) -> Result<client::Manifest> {
    Ok(repository.manifest(&TagOrDigest::from(reference)).await?)
}

/// Follows `top` to the manifest for `platform`.
pub async fn descend(
    repository: &Repository,
    reference: &Reference,
    top: client::Manifest,
    platform: &Platform,
) -> Result<Resolved> {
    let target = descriptor(&top);
    let mut documents = Vec::new();
    let mut here = top;
    for _ in 0..MAX_NESTING {
        if media_type::is_manifest(&here.media_type) {
            let manifest = descriptor(&here);
            let parsed: Manifest = parse("manifest", &here.bytes)?;
            check(&parsed)?;
            documents.push(here.bytes.to_vec());
            return Ok(Resolved { target, manifest, parsed, documents });
        }
        if !media_type::is_index(&here.media_type) {
            return Err(refused(reference, &here.media_type));
        }
        let index: Index = parse("index", &here.bytes)?;
        documents.push(here.bytes.to_vec());
        let child = choose(&index, platform).ok_or_else(|| {
            Error::not_found(format!("no matching manifest for {platform} in the manifest list entries"))
        })?;
        here = repository.manifest(&TagOrDigest::Digest(child.digest.clone())).await?;
    }
    Err(Error::invalid("the indexes of the image are nested too deeply"))
}

/// The entry of an index that fits a platform best; the first of those that fit equally well, attestations never.
fn choose<'a>(index: &'a Index, platform: &Platform) -> Option<&'a Descriptor> {
    let mut best: Option<(u32, &Descriptor)> = None;
    for child in &index.manifests {
        if child.annotations.contains_key(ANNOTATION_REFERENCE_TYPE) {
            continue;
        }
        let rank = child.platform.as_ref().map_or(Some(0), |candidate| platform.rank(candidate));
        if let Some(rank) = rank
            && best.is_none_or(|(other, _)| rank > other)
        {
            best = Some((rank, child));
        }
    }
    best.map(|(_, child)| child)
}

fn check(manifest: &Manifest) -> Result<()> {
    if manifest.config.size > MAX_CONFIG_BYTES {
        return Err(Error::invalid(format!(
            "the image configuration is longer than {MAX_CONFIG_BYTES} bytes"
        )));
    }
    if manifest.layers.len() > MAX_LAYERS {
        return Err(Error::invalid(format!("the image has more than {MAX_LAYERS} layers")));
    }
    match manifest.layers.iter().find(|layer| !layer.media_type.contains(".tar")) {
        Some(layer) => Err(Error::invalid(format!("unsupported layer media type {:?}", layer.media_type))),
        None => Ok(()),
    }
}

fn refused(reference: &Reference, found: &str) -> Error {
    if found.starts_with("application/vnd.docker.distribution.manifest.v1+") {
        return Error::invalid(format!(
            "[DEPRECATION NOTICE] Docker Image Format v1 and Docker Image manifest version 2, schema 1 are not supported. Suggest the author of {} to upgrade the image to the OCI Format or Docker Image manifest v2, schema 2.",
            reference.canonical()
        ));
    }
    Error::invalid(format!("unsupported manifest format: {found:?}"))
}

/// The descriptor of a document as it came.
pub fn descriptor(document: &client::Manifest) -> Descriptor {
    Descriptor::new(&document.media_type, document.digest.clone(), document.bytes.len() as u64)
}

/// Reads a document.
pub fn parse<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes)
        .map_err(|error| Error::invalid(format!("the {what} of the image cannot be read")).with_source(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(platforms: &[&str]) -> Index {
        let child = |(number, platform): (usize, &&str)| Descriptor {
            platform: (!platform.is_empty()).then(|| Platform::parse(platform).unwrap()),
            ..Descriptor::new(media_type::OCI_MANIFEST, minke_model::Digest::sha256(&[number as u8; 32]), 1)
        };
        Index {
            schema_version: 2,
            media_type: None,
            manifests: platforms.iter().enumerate().map(child).collect(),
            annotations: Default::default(),
        }
    }

    fn chosen(platforms: &[&str], wanted: &str) -> Option<usize> {
        let index = index(platforms);
        let found = choose(&index, &Platform::parse(wanted).unwrap())?;
        index.manifests.iter().position(|child| child.digest == found.digest)
    }

    #[test]
    fn the_best_variant_of_the_platform_is_chosen() {
        let many = ["linux/amd64", "linux/arm/v6", "linux/arm/v7", "linux/arm64", "windows/amd64"];
        assert_eq!(chosen(&many, "linux/amd64"), Some(0));
        assert_eq!(chosen(&many, "linux/arm/v7"), Some(2));
        assert_eq!(chosen(&many, "linux/arm/v6"), Some(1));
        assert_eq!(chosen(&many, "linux/arm64/v8"), Some(3));
        assert_eq!(chosen(&many, "linux/s390x"), None);
        assert_eq!(chosen(&["linux/amd64", "linux/amd64"], "linux/amd64"), Some(0));
    }

    #[test]
    fn the_first_schema_is_refused_with_a_word() {
        let name = Reference::parse("old:1").unwrap();
        let words = refused(&name, "application/vnd.docker.distribution.manifest.v1+prettyjws").to_string();
        assert!(words.contains("schema 1") && words.contains("docker.io/library/old:1"), "{words}");
    }
}
