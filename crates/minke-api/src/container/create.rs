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

/// The same body as versions up to 1.41 read it: where it has no `HostConfig`, that one's fields may stand beside the others, and
/// a few of them are taken from there also where it has one.
#[derive(Debug)]
pub struct FlatContainerCreateRequest(pub ContainerCreateRequest);

impl<'de> Deserialize<'de> for FlatContainerCreateRequest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Oldest {
            #[serde(rename = "Cpuset")]
            cpuset: String,
        }
        let body = serde_json::Value::deserialize(deserializer)?;
        let mut request =
            ContainerCreateRequest::deserialize(body.clone()).map_err(serde::de::Error::custom)?;
        let flat: HostConfig = crate::json::decode_value(body.clone()).map_err(serde::de::Error::custom)?;
        let oldest: Oldest = crate::json::decode_value(body).map_err(serde::de::Error::custom)?;
        match &mut request.host_config {
            Some(given) => given.fill(flat),
            none if flat != HostConfig::default() => *none = Some(flat),
            _ => {}
        }
        if !oldest.cpuset.is_empty() {
            let host_config = request.host_config.get_or_insert_default();
            if host_config.cpuset_cpus.is_empty() {
                host_config.cpuset_cpus = oldest.cpuset;
            }
        }
        Ok(Self(request))
    }
}

impl HostConfig {
    /// Takes what may stand beside it, where it has none itself.
    fn fill(&mut self, flat: Self) {
        fn take<T: Default + PartialEq>(field: &mut T, other: T) {
            if *field == T::default() {
                *field = other;
            }
        }
        take(&mut self.memory, flat.memory);
        take(&mut self.memory_swap, flat.memory_swap);
        take(&mut self.cpu_shares, flat.cpu_shares);
        take(&mut self.cpuset_cpus, flat.cpuset_cpus);
        take(&mut self.volume_driver, flat.volume_driver);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(body: &str) -> Option<HostConfig> {
        crate::json::decode::<FlatContainerCreateRequest>(body.as_bytes()).unwrap().0.host_config
    }

    #[test]
    fn old_bodies_have_the_hosts_part_beside_the_rest() {
        let alone = flat(r#"{"Image": "a", "Runtime": "runc", "Privileged": true, "Cpuset": "0"}"#).unwrap();
        assert_eq!(
            (alone.runtime.as_str(), alone.privileged, alone.cpuset_cpus.as_str()),
            ("runc", true, "0")
        );
        assert_eq!(flat(r#"{"Image": "a"}"#), None);
    }

    #[test]
    fn of_what_stands_beside_the_hosts_part_a_few_are_taken() {
        let body = r#"{"Image": "a", "Runtime": "runc", "Memory": 5, "CpuShares": 6, "HostConfig": {"CpuShares": 7}}"#;
        let both = flat(body).unwrap();
        assert_eq!((both.runtime.as_str(), both.memory, both.cpu_shares), ("", 5, 7));
    }
}
