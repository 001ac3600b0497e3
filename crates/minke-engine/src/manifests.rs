//! The manifests of an image, for lists that ask for them (`manifests=1`): one for each platform of its index, here or not.

use minke_api::image::{Descriptor, Platform};
use minke_api::manifest::{Attestation, ManifestImage, ManifestSize, ManifestSummary, Unpacked};
use minke_model::image::{self, ANNOTATION_REFERENCE_DIGEST, ANNOTATION_REFERENCE_TYPE};
use minke_store::{ContainerUse, Image};

use crate::engine::Shared;

impl Shared {
    /// What a list says of an image: its descriptor, and its manifests. Reads their documents, so only who asks pays for it.
    pub(crate) fn manifests_of(
        &self,
        image: &Image,
        used: &[ContainerUse],
    ) -> (Option<Descriptor>, Vec<ManifestSummary>) {
        let of_index = image.tags.iter().find_map(|tag| self.store.target_of(tag));
        let Some(target) = of_index.or_else(|| image.manifest.clone()) else { return (None, Vec::new()) };
        let children = self.store.manifests_below(&target);
        let summaries = children.iter().map(|child| self.manifest(child, used)).collect();
        (Some(shown(&target)), summaries)
    }

    fn manifest(&self, descriptor: &image::Descriptor, used: &[ContainerUse]) -> ManifestSummary {
        let content = number(self.store.content_size(descriptor));
        let about = descriptor.annotations.get(ANNOTATION_REFERENCE_DIGEST);
        let is_attestation = descriptor.annotations.contains_key(ANNOTATION_REFERENCE_TYPE);
        let here = self.store.images_of(descriptor).into_iter().next();
        let unpacked = here.as_ref().map_or(0, |image| number(image.size));
        let platform = here.as_ref().map(|image| image.config.platform()).or(descriptor.platform.clone());
        let containers = here.as_ref().map(|image| {
            let of_it = used.iter().filter(|used| used.image == image.id);
            of_it.map(|used| used.id.clone()).collect()
        });
        let image = ManifestImage {
            platform: platform.map(platform_shown).unwrap_or_default(),
            size: Unpacked { unpacked },
            containers: containers.unwrap_or_default(),
        };
        ManifestSummary {
            id: descriptor.digest.to_string(),
            descriptor: shown(descriptor),
            available: here.is_some(),
            size: ManifestSize { total: content + unpacked, content },
            kind: if is_attestation { "attestation" } else { "image" }.to_owned(),
            image_data: (!is_attestation).then_some(image),
            attestation_data: is_attestation
                .then(|| Attestation { about: about.cloned().unwrap_or_default() }),
        }
    }
}

fn number(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn shown(descriptor: &image::Descriptor) -> Descriptor {
    Descriptor {
        media_type: descriptor.media_type.clone(),
        digest: descriptor.digest.to_string(),
        size: number(descriptor.size),
        urls: descriptor.urls.clone(),
        annotations: descriptor.annotations.clone(),
        platform: descriptor.platform.clone().map(platform_shown),
        ..Descriptor::default()
    }
}

fn platform_shown(platform: minke_model::Platform) -> Platform {
    Platform {
        architecture: platform.architecture,
        os: platform.os,
        os_version: platform.os_version,
        os_features: platform.os_features,
        variant: platform.variant,
    }
}
