//! One element of the answer of `GET /containers/json`.
#![allow(missing_docs, reason = "fields carry the names and meanings of the specification")]

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{HealthSummary, MountPoint};
use crate::StringMap;
use crate::image::Descriptor;
use crate::network::EndpointSettings;
use crate::omit::zero;

/// A container as `ps` shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ContainerSummary {
    pub id: String,
    /// With leading slashes.
    pub names: Vec<String>,
    pub image: String,
    #[serde(rename = "ImageID")]
    pub image_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_manifest_descriptor: Option<Descriptor>,
    pub command: String,
    /// Seconds since 1970.
    pub created: i64,
    pub ports: Vec<PortSummary>,
    #[serde(skip_serializing_if = "zero")]
    pub size_rw: i64,
    #[serde(skip_serializing_if = "zero")]
    pub size_root_fs: i64,
    pub labels: StringMap,
    pub state: String,
    pub status: String,
    pub host_config: HostConfigSummary,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthSummary>,
    pub network_settings: NetworkSettingsSummary,
    pub mounts: Vec<MountPoint>,
}

/// A published or exposed port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PortSummary {
    #[serde(rename = "IP", skip_serializing_if = "zero")]
    pub ip: String,
    pub private_port: u16,
    #[serde(skip_serializing_if = "zero")]
    pub public_port: u16,
    #[serde(rename = "Type")]
    pub protocol: String,
}

/// The little that the list shows of the host configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HostConfigSummary {
    #[serde(skip_serializing_if = "zero")]
    pub network_mode: String,
    #[serde(skip_serializing_if = "zero")]
    pub annotations: StringMap,
}

/// The networks of a listed container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NetworkSettingsSummary {
    pub networks: BTreeMap<String, EndpointSettings>,
}
