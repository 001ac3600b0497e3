//! The image: what list, inspect, history, delete, load, import, save and tag take and answer.
#![allow(missing_docs, reason = "fields carry the names and meanings of the specification")]

use minke_model::Result;
use serde::{Deserialize, Deserializer, Serialize};

use crate::container::{ContainerConfig, DriverData, HealthConfig};
use crate::manifest::ManifestSummary;
use crate::omit::{words, zero};
use crate::{Filters, FromQuery, Query, QueryWriter, StringMap, StringSet, Time, ToQuery};

/// An OCI descriptor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Descriptor {
    pub media_type: String,
    pub digest: String,
    pub size: i64,
    #[serde(skip_serializing_if = "zero")]
    pub urls: Vec<String>,
    #[serde(skip_serializing_if = "zero")]
    pub annotations: StringMap,
    #[serde(skip_serializing_if = "zero")]
    pub data: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    #[serde(skip_serializing_if = "zero")]
    pub artifact_type: String,
}

/// An OCI platform.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Platform {
    pub architecture: String,
    pub os: String,
    #[serde(rename = "os.version", skip_serializing_if = "zero")]
    pub os_version: String,
    #[serde(rename = "os.features", skip_serializing_if = "zero")]
    pub os_features: Vec<String>,
    #[serde(skip_serializing_if = "zero")]
    pub variant: String,
}

/// One element of the answer of `GET /images/json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageSummary {
    /// How many containers use it; -1 where that was not counted.
    pub containers: i64,
    /// Seconds since 1970.
    pub created: i64,
    pub id: String,
    pub labels: Option<StringMap>,
    pub parent_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub descriptor: Option<Descriptor>,
    #[serde(skip_serializing_if = "zero")]
    pub manifests: Vec<ManifestSummary>,
    pub repo_digests: Option<Vec<String>>,
    pub repo_tags: Option<Vec<String>>,
    /// -1 where that was not counted.
    pub shared_size: i64,
    pub size: i64,
    /// The size again, of versions up to 1.43: see [`crate::adapt`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub virtual_size: Option<i64>,
}

/// The answer of `GET /images/{name}/json`. The optional fields are left out when empty since version 1.52.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageInspect {
    pub id: String,
    pub repo_tags: Vec<String>,
    pub repo_digests: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<Time>,
    /// Of versions up to 1.44, as the next field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_config: Option<ContainerConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub docker_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    pub config: ImageInspectConfig,
    pub architecture: String,
    #[serde(skip_serializing_if = "zero")]
    pub variant: String,
    pub os: String,
    #[serde(skip_serializing_if = "zero")]
    pub os_version: String,
    pub size: i64,
    /// The size again, of versions up to 1.43.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub virtual_size: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub graph_driver: Option<DriverData>,
    #[serde(rename = "RootFS")]
    pub root_fs: RootFs,
    pub metadata: ImageMetadata,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub descriptor: Option<Descriptor>,
    #[serde(skip_serializing_if = "zero")]
    pub manifests: Vec<serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<serde_json::Value>,
}

/// An image's configuration: its own since version 1.50, dressed as a container's before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
#[allow(clippy::large_enum_variant, reason = "there is one per answer")]
pub enum ImageInspectConfig {
    Image(ImageConfig),
    Container(ContainerConfig),
}

impl ImageInspectConfig {
    /// The image's own configuration, whichever dress it came in.
    pub fn image(&self) -> ImageConfig {
        match self {
            Self::Image(config) => config.clone(),
            Self::Container(config) => ImageConfig::from(config),
        }
    }
}

impl Default for ImageInspectConfig {
    fn default() -> Self {
        Self::Image(ImageConfig::default())
    }
}

impl<'de> Deserialize<'de> for ImageInspectConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        let dressed = value.get("Hostname").is_some();
        let read = if dressed {
            crate::json::decode_value(value).map(Self::Container)
        } else {
            crate::json::decode_value(value).map(Self::Image)
        };
        read.map_err(serde::de::Error::custom)
    }
}

/// What an image says of the containers made from it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageConfig {
    #[serde(skip_serializing_if = "zero")]
    pub user: String,
    #[serde(skip_serializing_if = "zero")]
    pub exposed_ports: StringSet,
    #[serde(skip_serializing_if = "zero")]
    pub env: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "words")]
    pub entrypoint: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "words")]
    pub cmd: Option<Vec<String>>,
    #[serde(skip_serializing_if = "zero")]
    pub volumes: StringSet,
    #[serde(skip_serializing_if = "zero")]
    pub working_dir: String,
    #[serde(skip_serializing_if = "zero")]
    pub labels: StringMap,
    #[serde(skip_serializing_if = "zero")]
    pub stop_signal: String,
    #[serde(skip_serializing_if = "zero")]
    pub args_escaped: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<HealthConfig>,
    #[serde(skip_serializing_if = "zero")]
    pub on_build: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "words")]
    pub shell: Option<Vec<String>>,
}

impl From<&ContainerConfig> for ImageConfig {
    fn from(config: &ContainerConfig) -> Self {
        let config = config.clone();
        Self {
            user: config.user,
            exposed_ports: config.exposed_ports,
            env: config.env.unwrap_or_default(),
            entrypoint: config.entrypoint,
            cmd: config.cmd,
            volumes: config.volumes.unwrap_or_default(),
            working_dir: config.working_dir,
            labels: config.labels.unwrap_or_default(),
            stop_signal: config.stop_signal,
            args_escaped: config.args_escaped,
            healthcheck: config.healthcheck,
            on_build: config.on_build.flatten().unwrap_or_default(),
            shell: config.shell,
        }
    }
}

/// The layers of an image, by diff ID.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RootFs {
    #[serde(rename = "Type")]
    pub kind: String,
    #[serde(skip_serializing_if = "zero")]
    pub layers: Vec<String>,
}

/// What only this engine knows of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageMetadata {
    pub last_tag_time: Time,
}

/// One element of the answer of `GET /images/{name}/history`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageHistoryItem {
    pub comment: String,
    /// Seconds since 1970.
    pub created: i64,
    pub created_by: String,
    pub id: String,
    pub size: i64,
    pub tags: Option<Vec<String>>,
}

/// One element of the answer of `DELETE /images/{name}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageDeleteItem {
    #[serde(skip_serializing_if = "zero")]
    pub deleted: String,
    #[serde(skip_serializing_if = "zero")]
    pub untagged: String,
}

/// The answer of `POST /images/prune`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImagePruneResponse {
    pub images_deleted: Option<Vec<ImageDeleteItem>>,
    /// Bytes.
    pub space_reclaimed: u64,
}

/// The answer of `POST /build/prune`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct BuildPruneResponse {
    pub caches_deleted: Option<Vec<String>>,
    /// Bytes.
    pub space_reclaimed: u64,
}

/// The query of `GET /images/json`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageListQuery {
    pub all: bool,
    pub digests: bool,
    pub shared_size: bool,
    pub manifests: bool,
    pub identity: bool,
    pub filters: Filters,
}

impl FromQuery for ImageListQuery {
    fn from_query(query: &Query) -> Result<Self> {
        let mut filters = query.filters()?;
        let legacy = query.text("filter");
        if !legacy.is_empty() {
            filters.add("reference", legacy);
        }
        Ok(Self {
            all: query.flag("all"),
            digests: query.flag("digests"),
            shared_size: query.flag("shared-size"),
            manifests: query.flag("manifests"),
            identity: query.flag("identity"),
            filters,
        })
    }
}

impl ToQuery for ImageListQuery {
    fn to_query(&self, out: &mut QueryWriter) {
        out.flag("all", self.all).flag("digests", self.digests).flag("shared-size", self.shared_size);
        out.flag("manifests", self.manifests).flag("identity", self.identity).filters(&self.filters);
    }
}

/// The query of `GET /images/{name}/json`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageInspectQuery {
    pub manifests: bool,
    /// A JSON object or `os[/architecture[/variant]]`; empty is the host's.
    pub platform: String,
}

impl FromQuery for ImageInspectQuery {
    fn from_query(query: &Query) -> Result<Self> {
        Ok(Self { manifests: query.flag("manifests"), platform: query.text("platform") })
    }
}

impl ToQuery for ImageInspectQuery {
    fn to_query(&self, out: &mut QueryWriter) {
        out.flag("manifests", self.manifests).text("platform", &self.platform);
    }
}

/// The query of `GET /images/{name}/history`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageHistoryQuery {
    pub platform: String,
}

impl FromQuery for ImageHistoryQuery {
    fn from_query(query: &Query) -> Result<Self> {
        Ok(Self { platform: query.text("platform") })
    }
}

impl ToQuery for ImageHistoryQuery {
    fn to_query(&self, out: &mut QueryWriter) {
        out.text("platform", &self.platform);
    }
}

/// The query of `POST /images/create`: a pull when `from_image` is set, else an import from `from_src` (`-`: the body).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageCreateQuery {
    pub from_image: String,
    pub from_src: String,
    pub repo: String,
    pub tag: String,
    pub message: String,
    /// Instructions of a Dockerfile to apply to the configuration.
    pub changes: Vec<String>,
    pub platform: String,
}

impl FromQuery for ImageCreateQuery {
    fn from_query(query: &Query) -> Result<Self> {
        Ok(Self {
            from_image: query.text("fromImage"),
            from_src: query.text("fromSrc"),
            repo: query.text("repo"),
            tag: query.text("tag"),
            message: query.text("message"),
            changes: query.all("changes"),
            platform: query.text("platform"),
        })
    }
}

impl ToQuery for ImageCreateQuery {
    fn to_query(&self, out: &mut QueryWriter) {
        out.text("fromImage", &self.from_image).text("fromSrc", &self.from_src).text("repo", &self.repo);
        out.text("tag", &self.tag)
            .text("message", &self.message)
            .list("changes", &self.changes)
            .text("platform", &self.platform);
    }
}

/// The query of `POST /images/load`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageLoadQuery {
    pub quiet: bool,
    pub platforms: Vec<String>,
}

impl FromQuery for ImageLoadQuery {
    fn from_query(query: &Query) -> Result<Self> {
        Ok(Self { quiet: query.flag("quiet"), platforms: query.all("platform") })
    }
}

impl ToQuery for ImageLoadQuery {
    fn to_query(&self, out: &mut QueryWriter) {
        out.flag("quiet", self.quiet).list("platform", &self.platforms);
    }
}

/// The query of `GET /images/get` and `GET /images/{name}/get`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageSaveQuery {
    pub names: Vec<String>,
    pub platforms: Vec<String>,
}

impl FromQuery for ImageSaveQuery {
    fn from_query(query: &Query) -> Result<Self> {
        Ok(Self { names: query.all("names"), platforms: query.all("platform") })
    }
}

impl ToQuery for ImageSaveQuery {
    fn to_query(&self, out: &mut QueryWriter) {
        out.list("names", &self.names).list("platform", &self.platforms);
    }
}

/// The query of `POST /images/{name}/tag`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageTagQuery {
    pub repo: String,
    pub tag: String,
}

impl FromQuery for ImageTagQuery {
    fn from_query(query: &Query) -> Result<Self> {
        Ok(Self { repo: query.text("repo"), tag: query.text("tag") })
    }
}

impl ToQuery for ImageTagQuery {
    fn to_query(&self, out: &mut QueryWriter) {
        out.text("repo", &self.repo).text("tag", &self.tag);
    }
}

/// The query of `DELETE /images/{name}`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageDeleteQuery {
    pub force: bool,
    pub no_prune: bool,
    pub platforms: Vec<String>,
}

impl FromQuery for ImageDeleteQuery {
    fn from_query(query: &Query) -> Result<Self> {
        Ok(Self {
            force: query.flag("force"),
            no_prune: query.flag("noprune"),
            platforms: query.all("platforms"),
        })
    }
}

impl ToQuery for ImageDeleteQuery {
    fn to_query(&self, out: &mut QueryWriter) {
        out.flag("force", self.force).flag("noprune", self.no_prune).list("platforms", &self.platforms);
    }
}
