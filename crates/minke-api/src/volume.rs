//! Volumes: what create, inspect, list, remove, prune and update take and answer.
#![allow(missing_docs, reason = "fields carry the names and meanings of the specification")]

use minke_model::Result;
use serde::{Deserialize, Serialize};

use crate::omit::zero;
use crate::{Filters, FromQuery, Query, QueryWriter, StringMap, ToQuery};

/// A volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Volume {
    /// RFC 3339, whole seconds.
    #[serde(skip_serializing_if = "zero")]
    pub created_at: String,
    pub driver: String,
    pub labels: Option<StringMap>,
    pub mountpoint: String,
    pub name: String,
    pub options: Option<StringMap>,
    pub scope: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage_data: Option<VolumeUsage>,
}

/// How much a volume holds, and how many containers refer to it; -1: not known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct VolumeUsage {
    pub ref_count: i64,
    /// Bytes.
    pub size: i64,
}

/// The body of `POST /volumes/create`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct VolumeCreateRequest {
    /// What a cluster volume is to be; nothing but its presence is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_volume_spec: Option<serde_json::Value>,
    #[serde(skip_serializing_if = "zero")]
    pub driver: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver_opts: Option<StringMap>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<StringMap>,
    #[serde(skip_serializing_if = "zero")]
    pub name: String,
}

/// The answer of `GET /volumes`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct VolumeListResponse {
    pub volumes: Option<Vec<Volume>>,
    pub warnings: Option<Vec<String>>,
}

/// The answer of `POST /volumes/prune`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct VolumePruneResponse {
    pub volumes_deleted: Option<Vec<String>>,
    /// Bytes.
    pub space_reclaimed: u64,
}

/// The query of `GET /volumes`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VolumeListQuery {
    pub filters: Filters,
}

impl FromQuery for VolumeListQuery {
    fn from_query(query: &Query) -> Result<Self> {
        Ok(Self { filters: query.filters()? })
    }
}

impl ToQuery for VolumeListQuery {
    fn to_query(&self, out: &mut QueryWriter) {
        out.filters(&self.filters);
    }
}

/// The query of `DELETE /volumes/{name}`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VolumeRemoveQuery {
    /// A volume that is not there is no error.
    pub force: bool,
}

impl FromQuery for VolumeRemoveQuery {
    fn from_query(query: &Query) -> Result<Self> {
        Ok(Self { force: query.flag("force") })
    }
}

impl ToQuery for VolumeRemoveQuery {
    fn to_query(&self, out: &mut QueryWriter) {
        out.flag("force", self.force);
    }
}

/// The query of `PUT /volumes/{name}`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VolumeUpdateQuery {
    /// The version of the swarm's object.
    pub version: Option<i64>,
}

impl FromQuery for VolumeUpdateQuery {
    fn from_query(query: &Query) -> Result<Self> {
        Ok(Self { version: query.number("version") })
    }
}

impl ToQuery for VolumeUpdateQuery {
    fn to_query(&self, out: &mut QueryWriter) {
        out.number("version", self.version);
    }
}

/// The query of every prune.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PruneQuery {
    pub filters: Filters,
}

impl FromQuery for PruneQuery {
    fn from_query(query: &Query) -> Result<Self> {
        Ok(Self { filters: query.filters()? })
    }
}

impl ToQuery for PruneQuery {
    fn to_query(&self, out: &mut QueryWriter) {
        out.filters(&self.filters);
    }
}
