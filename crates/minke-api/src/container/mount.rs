//! Mounts: what a request asks for ([`Mount`]) and what a container has ([`MountPoint`]).
#![allow(missing_docs, reason = "fields carry the names and meanings of the specification")]

use serde::{Deserialize, Serialize};

use crate::StringMap;
use crate::omit::zero;

/// A mount asked for by `HostConfig.Mounts`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Mount {
    /// `bind`, `volume`, `tmpfs`, `image`, `npipe` or `cluster`.
    #[serde(rename = "Type", skip_serializing_if = "zero")]
    pub kind: String,
    #[serde(skip_serializing_if = "zero")]
    pub source: String,
    #[serde(skip_serializing_if = "zero")]
    pub target: String,
    #[serde(skip_serializing_if = "zero")]
    pub read_only: bool,
    #[serde(skip_serializing_if = "zero")]
    pub consistency: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bind_options: Option<BindOptions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_options: Option<VolumeOptions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_options: Option<ImageOptions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tmpfs_options: Option<TmpfsOptions>,
}

/// Options of a bind mount.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct BindOptions {
    #[serde(skip_serializing_if = "zero")]
    pub propagation: String,
    #[serde(skip_serializing_if = "zero")]
    pub non_recursive: bool,
    #[serde(skip_serializing_if = "zero")]
    pub create_mountpoint: bool,
    #[serde(skip_serializing_if = "zero")]
    pub read_only_non_recursive: bool,
    #[serde(skip_serializing_if = "zero")]
    pub read_only_force_recursive: bool,
}

/// Options of a volume mount.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct VolumeOptions {
    #[serde(skip_serializing_if = "zero")]
    pub no_copy: bool,
    #[serde(skip_serializing_if = "zero")]
    pub labels: StringMap,
    #[serde(skip_serializing_if = "zero")]
    pub subpath: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver_config: Option<VolumeDriverConfig>,
}

/// The driver that makes a volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct VolumeDriverConfig {
    #[serde(skip_serializing_if = "zero")]
    pub name: String,
    #[serde(skip_serializing_if = "zero")]
    pub options: StringMap,
}

/// Options of an image mount.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageOptions {
    #[serde(skip_serializing_if = "zero")]
    pub subpath: String,
}

/// Options of a tmpfs mount; the mode is the file mode in decimal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TmpfsOptions {
    #[serde(skip_serializing_if = "zero")]
    pub size_bytes: i64,
    #[serde(skip_serializing_if = "zero")]
    pub mode: u32,
    #[serde(skip_serializing_if = "zero")]
    pub options: Vec<Vec<String>>,
}

/// A mount that a container has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct MountPoint {
    #[serde(rename = "Type", skip_serializing_if = "zero")]
    pub kind: String,
    #[serde(skip_serializing_if = "zero")]
    pub name: String,
    pub source: String,
    pub destination: String,
    #[serde(skip_serializing_if = "zero")]
    pub driver: String,
    pub mode: String,
    #[serde(rename = "RW")]
    pub rw: bool,
    pub propagation: String,
}
