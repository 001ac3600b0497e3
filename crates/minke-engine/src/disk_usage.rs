//! `GET /system/df`: how much space images, containers and volumes take. The sizes of layers were kept when they came in; what
//! containers and volumes hold is measured by walking it, which is what this is asked for.

use std::collections::HashMap;

use minke_api::container::ContainerListQuery;
use minke_api::disk_usage::{DiskUsage, DiskUsageQuery, Usage};
use minke_api::image::{ImageListQuery, ImageSummary};
use minke_model::{Context as _, Digest, Result};

use crate::Engine;
use crate::engine::Shared;

impl Engine {
    /// `GET /system/df`, in the newest form with every item.
    pub async fn disk_usage(&self, query: &DiskUsageQuery) -> Result<DiskUsage> {
        let wants = |kind: &str| query.kinds.is_empty() || query.kinds.iter().any(|wanted| wanted == kind);
        let mut usage = DiskUsage::default();
        if wants("image") {
            let list = ImageListQuery { shared_size: true, ..ImageListQuery::default() };
            let images = self.image_list(&list).await?;
            let layers = self.shared.store.layers().into_iter().map(|(_, size)| size).sum::<u64>();
            usage.image_usage = Some(Usage::of_images(images, i64::try_from(layers).unwrap_or(i64::MAX)));
        }
        if wants("container") {
            let list = ContainerListQuery { all: true, size: true, ..ContainerListQuery::default() };
            usage.container_usage = Some(Usage::of_containers(self.container_list(&list).await?));
        }
        if wants("volume") {
            let shared = self.shared.clone();
            let measured = tokio::task::spawn_blocking(move || shared.measured_volumes());
            usage.volume_usage = Some(Usage::of_volumes(measured.await.context("measuring volumes")?));
        }
        if wants("build-cache") {
            usage.build_cache_usage = Some(Usage { items: Some(Vec::new()), ..Usage::default() });
        }
        Ok(usage)
    }
}

impl Shared {
    /// Fills in how much of each image others have too.
    pub fn share_sizes(&self, images: &mut [ImageSummary]) {
        let sizes: HashMap<Digest, u64> = self.store.layers().into_iter().collect();
        let all = self.store.images();
        let mut holders: HashMap<&Digest, usize> = HashMap::new();
        for image in &all {
            let mut own: Vec<&Digest> = image.layers.iter().collect();
            own.sort();
            own.dedup();
            own.into_iter().for_each(|layer| *holders.entry(layer).or_default() += 1);
        }
        for summary in images {
            let Some(image) = all.iter().find(|image| image.id.to_string() == summary.id) else { continue };
            let shared =
                image.layers.iter().filter(|layer| holders.get(layer).is_some_and(|count| *count > 1));
            let shared: u64 = shared.filter_map(|layer| sizes.get(layer)).sum();
            summary.shared_size = i64::try_from(shared).unwrap_or(i64::MAX);
        }
    }
}
