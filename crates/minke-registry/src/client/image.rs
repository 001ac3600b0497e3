//! From a name to the manifest of one image: through indexes, by platform. What fits best is decided by a pure function.

use minke_model::image::{
    ANNOTATION_REFERENCE_TYPE, Descriptor, Index, Manifest as ImageManifest, media_type as kinds,
};
use minke_model::{Digest, Platform};

use super::Result;
use super::error::{Error, ErrorKind};
use super::repository::{Manifest, Repository, TagOrDigest};

/// How many indexes may stand within each other.
const MAX_DEPTH: usize = 4;
/// The most entries of an index, and layers of an image.
const MAX_ENTRIES: usize = 4096;
const MAX_LAYERS: usize = 1024;

/// An image of one platform, as a registry has it.
#[derive(Clone, Debug)]
pub struct Image {
    /// The indexes that led to it, outermost first.
    pub indexes: Vec<Manifest>,
    /// Its manifest's bytes.
    pub manifest: Manifest,
    /// Its manifest, read.
    pub document: ImageManifest,
}

impl Repository {
    /// The image for a platform that a tag or digest stands for.
    ///
    /// # Errors
    /// `no matching manifest for linux/arm64 in the manifest list entries`; an index that is too deep, or in a circle.
    pub async fn image(&self, reference: &TagOrDigest, platform: &Platform) -> Result<Image> {
        let mut indexes: Vec<Manifest> = Vec::new();
        let mut manifest = self.manifest(reference).await?;
        while kinds::is_index(&manifest.media_type) {
            if indexes.len() == MAX_DEPTH || indexes.iter().any(|index| index.digest == manifest.digest) {
                return Err(Error::invalid(format!("the index {} is too deep", manifest.digest)));
            }
            let index = read_index(&manifest.bytes)?;
            let chosen = choose(&index, platform).ok_or_else(|| {
                Error::new(
                    ErrorKind::NotFound,
                    format!("no matching manifest for {platform} in the manifest list entries"),
                )
            })?;
            let (digest, size) = (chosen.digest.clone(), chosen.size);
            indexes.push(manifest);
            manifest = self.manifest(&TagOrDigest::Digest(digest)).await?;
            check_size(&manifest.digest, size, manifest.bytes.len() as u64)?;
        }
        let document = read_image(&manifest.bytes)?;
        Ok(Image { indexes, manifest, document })
    }
}

fn check_size(digest: &Digest, said: u64, is: u64) -> Result<()> {
    match said == is || said == 0 {
        true => Ok(()),
        false => Err(Error::invalid(format!("manifest {digest} has {is} bytes, not {said}"))),
    }
}

fn read_index(bytes: &[u8]) -> Result<Index> {
    let index: Index = serde_json::from_slice(bytes).map_err(not_read)?;
    match index.manifests.len() {
        0..=MAX_ENTRIES => Ok(index),
        many => Err(Error::new(ErrorKind::TooLarge, format!("an index has {many} entries"))),
    }
}

fn read_image(bytes: &[u8]) -> Result<ImageManifest> {
    let image: ImageManifest = serde_json::from_slice(bytes).map_err(not_read)?;
    match image.layers.len() {
        0..=MAX_LAYERS => Ok(image),
        many => Err(Error::new(ErrorKind::TooLarge, format!("an image has {many} layers"))),
    }
}

fn not_read(error: serde_json::Error) -> Error {
    Error::invalid(format!("invalid manifest: {error}")).with_source(error)
}

/// The entry of an index that runs best on a platform, the first of equals; what has no platform comes last, what isn't an
/// image never.
pub fn choose<'a>(index: &'a Index, platform: &Platform) -> Option<&'a Descriptor> {
    let is_image = |entry: &&Descriptor| {
        let known = entry.media_type.is_empty()
            || kinds::is_manifest(&entry.media_type)
            || kinds::is_index(&entry.media_type);
        known && !entry.annotations.contains_key(ANNOTATION_REFERENCE_TYPE)
    };
    let mut best: Option<(u32, &Descriptor)> = None;
    for entry in index.manifests.iter().filter(is_image) {
        let rank = match &entry.platform {
            Some(found) => platform.rank(found),
            None => Some(0),
        };
        if let Some(rank) = rank
            && best.is_none_or(|(other, _)| rank > other)
        {
            best = Some((rank, entry));
        }
    }
    best.map(|(_, entry)| entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(platforms: &[&str]) -> Index {
        let entry = |(number, name): (usize, &&str)| {
            let digest = Digest::sha256(&[number as u8; 32]);
            let mut entry = Descriptor::new(kinds::OCI_MANIFEST, digest, 1);
            match *name {
                "none" => {}
                "attestation" => {
                    entry.annotations.insert(ANNOTATION_REFERENCE_TYPE.into(), "attestation-manifest".into());
                    entry.platform = Some(Platform::new("unknown", "unknown", ""));
                }
                name => entry.platform = Some(Platform::parse(name).unwrap()),
            }
            entry
        };
        let manifests = platforms.iter().enumerate().map(entry).collect();
        Index { schema_version: 2, media_type: None, manifests, annotations: Default::default() }
    }

    fn chosen(platforms: &[&str], wanted: &str) -> Option<String> {
        let index = index(platforms);
        let found = choose(&index, &Platform::parse(wanted).unwrap())?;
        Some(found.platform.as_ref().map_or("none".to_owned(), Platform::to_string))
    }

    #[test]
    fn the_best_variant_that_runs_is_chosen() {
        let all =
            ["attestation", "linux/amd64", "linux/arm/v6", "linux/arm/v7", "linux/arm64/v8", "windows/amd64"];
        assert_eq!(chosen(&all, "linux/arm/v7").as_deref(), Some("linux/arm/v7"));
        assert_eq!(chosen(&all[..3], "linux/arm/v7").as_deref(), Some("linux/arm/v6"));
        assert_eq!(chosen(&all, "linux/amd64").as_deref(), Some("linux/amd64"));
        assert_eq!(chosen(&all, "linux/arm/v5"), None);
        assert_eq!(chosen(&all, "linux/s390x"), None);
        assert_eq!(chosen(&["none", "linux/s390x"], "linux/s390x").as_deref(), Some("linux/s390x"));
        assert_eq!(chosen(&["none"], "linux/s390x").as_deref(), Some("none"));
    }
}
