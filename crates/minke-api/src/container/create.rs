//! Bodies of create and wait.
#![allow(missing_docs, reason = "fields carry the names and meanings of the specification")]

use serde::{Deserialize, Deserializer, Serialize};

use super::{ContainerConfig, HostConfig};
use crate::network::NetworkingConfig;
use crate::omit::zero;

/// The body of `POST /containers/create`: the fields of [`ContainerConfig`] with two more beside them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ContainerCreateRequest {
    #[serde(flatten)]
    pub config: ContainerConfig,
    #[serde(rename = "HostConfig", skip_serializing_if = "Option::is_none")]
    pub host_config: Option<HostConfig>,
    #[serde(rename = "NetworkingConfig", skip_serializing_if = "Option::is_none")]
    pub networking_config: Option<NetworkingConfig>,
}

impl<'de> Deserialize<'de> for ContainerCreateRequest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "PascalCase", default)]
        struct CreateRequest {
            host_config: Option<HostConfig>,
            networking_config: Option<NetworkingConfig>,
        }
        let body = serde_json::Value::deserialize(deserializer)?;
        let beside: CreateRequest =
            crate::json::decode_value(body.clone()).map_err(serde::de::Error::custom)?;
        // To the client it is one struct.
        let config = crate::json::decode_value(body).map_err(|error| {
            serde::de::Error::custom(error.to_string().replace("ContainerConfig.", "CreateRequest."))
        })?;
        Ok(Self { config, host_config: beside.host_config, networking_config: beside.networking_config })
    }
}

/// The answer of `POST /containers/create`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ContainerCreateResponse {
    pub id: String,
    pub warnings: Vec<String>,
}

/// The answer of `POST /containers/{id}/update`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ContainerUpdateResponse {
    pub warnings: Option<Vec<String>>,
}

/// The answer of `POST /containers/{id}/wait`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ContainerWaitResponse {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<WaitError>,
    pub status_code: i64,
}

/// Why waiting failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct WaitError {
    #[serde(skip_serializing_if = "zero")]
    pub message: String,
}
