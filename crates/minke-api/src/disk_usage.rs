//! How much space things take: the answer of `GET /system/df`, in the form of each version, and what its figures are made of.
#![allow(missing_docs, reason = "fields carry the names and meanings of the specification")]

use minke_model::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::container::ContainerSummary;
use crate::image::ImageSummary;
use crate::omit::zero;
use crate::volume::Volume;
use crate::{ApiVersion, FromQuery, Query, QueryWriter, ToQuery};

/// The version that brought sums by kind.
const BY_KIND: ApiVersion = ApiVersion::new(1, 52);
/// The first version with sums alone.
const BY_KIND_ALONE: ApiVersion = ApiVersion::new(1, 53);
/// The first version without `BuilderSize`.
const WITHOUT_BUILDER_SIZE: ApiVersion = ApiVersion::new(1, 42);

/// One kind of thing: how many, how large, and each of them where that was asked for. Sizes are in bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default, bound(deserialize = "T: Deserialize<'de>"))]
pub struct Usage<T> {
    #[serde(skip_serializing_if = "zero")]
    pub active_count: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items: Option<Vec<T>>,
    #[serde(skip_serializing_if = "zero")]
    pub reclaimable: i64,
    #[serde(skip_serializing_if = "zero")]
    pub total_count: i64,
    #[serde(skip_serializing_if = "zero")]
    pub total_size: i64,
}

impl<T> Default for Usage<T> {
    fn default() -> Self {
        Self { active_count: 0, items: None, reclaimable: 0, total_count: 0, total_size: 0 }
    }
}

/// The answer of `GET /system/df`. Up to version 1.51 it has the lists, from 1.53 on the sums, at 1.52 both.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DiskUsage {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_usage: Option<Usage<ImageSummary>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_usage: Option<Usage<ContainerSummary>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_usage: Option<Usage<Volume>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build_cache_usage: Option<Usage<serde_json::Value>>,
    #[serde(flatten)]
    pub lists: Option<DiskLists>,
}

/// The older form.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DiskLists {
    pub layers_size: i64,
    pub images: Option<Vec<ImageSummary>>,
    pub containers: Option<Vec<ContainerSummary>>,
    pub volumes: Option<Vec<Volume>>,
    pub build_cache: Option<Vec<serde_json::Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub builder_size: Option<i64>,
}

impl Usage<ImageSummary> {
    /// The sums over images whose layers take `layers_size` together: what no container's image has alone can be had back.
    pub fn of_images(images: Vec<ImageSummary>, layers_size: i64) -> Self {
        let active = || images.iter().filter(|image| image.containers > 0);
        let own = |image: &ImageSummary| image.size.saturating_sub(image.shared_size.max(0));
        Self {
            active_count: active().count() as i64,
            reclaimable: layers_size.saturating_sub(active().map(own).sum()).max(0),
            total_count: images.len() as i64,
            total_size: layers_size,
            items: Some(images),
        }
    }
}

impl Usage<ContainerSummary> {
    /// The sums over containers: what those that don't run have written can be had back.
    pub fn of_containers(containers: Vec<ContainerSummary>) -> Self {
        let is_active = |container: &&ContainerSummary| {
            ["running", "paused", "restarting"].contains(&container.state.as_str())
        };
        let size = |container: &ContainerSummary| container.size_rw;
        Self {
            active_count: containers.iter().filter(is_active).count() as i64,
            reclaimable: containers.iter().filter(|container| !is_active(container)).map(size).sum(),
            total_count: containers.len() as i64,
            total_size: containers.iter().map(size).sum(),
            items: Some(containers),
        }
    }
}

impl Usage<Volume> {
    /// The sums over volumes: what is in those that no container refers to can be had back.
    pub fn of_volumes(volumes: Vec<Volume>) -> Self {
        let usage = |volume: &Volume| volume.usage_data.clone().unwrap_or_default();
        let size = |volume: &Volume| usage(volume).size.max(0);
        let is_active = |volume: &&Volume| usage(volume).ref_count > 0;
        Self {
            active_count: volumes.iter().filter(is_active).count() as i64,
            reclaimable: volumes.iter().filter(|volume| !is_active(volume)).map(size).sum(),
            total_count: volumes.len() as i64,
            total_size: volumes.iter().map(size).sum(),
            items: Some(volumes),
        }
    }
}

impl DiskUsage {
    /// The newest form of what came in any form.
    pub fn by_kind(mut self) -> Self {
        let Some(lists) = self.lists.take() else { return self };
        if self.image_usage.is_none() && self.container_usage.is_none() {
            self.image_usage = Some(Usage::of_images(lists.images.unwrap_or_default(), lists.layers_size));
            self.container_usage = Some(Usage::of_containers(lists.containers.unwrap_or_default()));
            self.volume_usage = Some(Usage::of_volumes(lists.volumes.unwrap_or_default()));
            let build_cache = lists.build_cache.unwrap_or_default();
            let total_count = build_cache.len() as i64;
            self.build_cache_usage =
                Some(Usage { total_count, items: Some(build_cache), ..Usage::default() });
        }
        self
    }

    /// The form of `version`, from the newest with all items.
    pub fn for_version(mut self, version: ApiVersion, verbose: bool) -> Self {
        if version < BY_KIND_ALONE && !(version >= BY_KIND && verbose) {
            let items = |usage: &Option<Usage<ImageSummary>>| usage.clone().and_then(|usage| usage.items);
            self.lists = Some(DiskLists {
                layers_size: self.image_usage.as_ref().map_or(0, |usage| usage.total_size),
                images: items(&self.image_usage),
                containers: self.container_usage.as_ref().and_then(|usage| usage.items.clone()),
                volumes: self.volume_usage.as_ref().and_then(|usage| usage.items.clone()),
                build_cache: None,
                builder_size: (version < WITHOUT_BUILDER_SIZE).then_some(0),
            });
        }
        if version < BY_KIND {
            return Self { lists: self.lists, ..Self::default() };
        }
        if !verbose {
            self.image_usage.iter_mut().for_each(|usage| usage.items = None);
            self.container_usage.iter_mut().for_each(|usage| usage.items = None);
            self.volume_usage.iter_mut().for_each(|usage| usage.items = None);
            self.build_cache_usage.iter_mut().for_each(|usage| usage.items = None);
        }
        self
    }
}

/// The query of `GET /system/df`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskUsageQuery {
    /// `container`, `image`, `volume`, `build-cache`; none: all.
    pub kinds: Vec<String>,
    /// Each thing too, not only sums; only the sums by kind know the difference.
    pub verbose: bool,
}

impl FromQuery for DiskUsageQuery {
    fn from_query(query: &Query) -> Result<Self> {
        let kinds = query.all("type");
        match kinds
            .iter()
            .find(|kind| !["container", "image", "volume", "build-cache"].contains(&kind.as_str()))
        {
            Some(unknown) => Err(Error::invalid(format!("unknown object type: {unknown}"))),
            None => Ok(Self { kinds, verbose: query.flag("verbose") }),
        }
    }
}

impl ToQuery for DiskUsageQuery {
    fn to_query(&self, out: &mut QueryWriter) {
        for kind in &self.kinds {
            out.pair("type", kind);
        }
        out.flag("verbose", self.verbose);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::VolumeUsage;

    fn usage() -> DiskUsage {
        let image = |containers, size, shared_size| ImageSummary {
            containers,
            size,
            shared_size,
            ..ImageSummary::default()
        };
        let container = |state: &str, size_rw| ContainerSummary {
            state: state.into(),
            size_rw,
            ..ContainerSummary::default()
        };
        let volume = |ref_count, size| Volume {
            usage_data: Some(VolumeUsage { ref_count, size }),
            ..Volume::default()
        };
        DiskUsage {
            image_usage: Some(Usage::of_images(vec![image(1, 100, 60), image(0, 70, 60)], 110)),
            container_usage: Some(Usage::of_containers(vec![
                container("running", 5),
                container("exited", 7),
            ])),
            volume_usage: Some(Usage::of_volumes(vec![volume(1, 20), volume(0, 30)])),
            build_cache_usage: Some(Usage { items: Some(Vec::new()), ..Usage::default() }),
            lists: None,
        }
    }

    #[test]
    fn sums_are_dockers() {
        let all = usage();
        let images = all.image_usage.unwrap();
        assert_eq!((images.active_count, images.total_size, images.reclaimable), (1, 110, 70));
        let containers = all.container_usage.unwrap();
        assert_eq!((containers.active_count, containers.total_size, containers.reclaimable), (1, 12, 7));
        let volumes = all.volume_usage.unwrap();
        assert_eq!((volumes.active_count, volumes.total_size, volumes.reclaimable), (1, 50, 30));
    }

    #[test]
    fn each_version_has_its_form() {
        let form = |minor, verbose| {
            let answer = usage().for_version(ApiVersion::new(1, minor), verbose);
            serde_json::to_value(answer).unwrap()
        };
        let old = form(41, false);
        assert_eq!((&old["LayersSize"], &old["BuilderSize"]), (&110.into(), &0.into()));
        assert!(old.get("ImageUsage").is_none() && old["Images"].as_array().unwrap().len() == 2);
        assert!(form(51, false).get("BuilderSize").is_none());
        let both = form(52, false);
        assert!(both.get("LayersSize").is_some() && both["ImageUsage"].get("Items").is_none());
        let new = form(55, false);
        assert!(new.get("LayersSize").is_none());
        assert_eq!(new["BuildCacheUsage"], serde_json::json!({}));
        assert_eq!(form(55, true)["ImageUsage"]["Items"].as_array().unwrap().len(), 2);
        // What an older engine says comes out the same.
        let read: DiskUsage = serde_json::from_value(old).unwrap();
        assert_eq!(read.by_kind().volume_usage, usage().volume_usage);
        let read: DiskUsage = serde_json::from_value(new).unwrap();
        assert_eq!(read.by_kind().image_usage.unwrap().reclaimable, 70);
    }
}
