//! What runs inside: `ContainerConfig` of the specification, the portable half of a container's configuration.
#![allow(missing_docs, reason = "fields carry the names and meanings of the specification")]

use serde::{Deserialize, Serialize};

use crate::omit::{words, zero};
use crate::{StringMap, StringSet};

/// The part of a container's configuration that does not depend on the host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ContainerConfig {
    pub hostname: String,
    pub domainname: String,
    pub user: String,
    pub attach_stdin: bool,
    pub attach_stdout: bool,
    pub attach_stderr: bool,
    /// Keys are `port/protocol`.
    #[serde(skip_serializing_if = "zero")]
    pub exposed_ports: StringSet,
    pub tty: bool,
    pub open_stdin: bool,
    pub stdin_once: bool,
    pub env: Option<Vec<String>>,
    #[serde(deserialize_with = "words")]
    pub cmd: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<HealthConfig>,
    #[serde(skip_serializing_if = "zero")]
    pub args_escaped: bool,
    pub image: String,
    pub volumes: Option<StringSet>,
    pub working_dir: String,
    #[serde(deserialize_with = "words")]
    pub entrypoint: Option<Vec<String>>,
    #[serde(skip_serializing_if = "zero")]
    pub network_disabled: bool,
    /// Read up to version 1.51 only.
    #[serde(skip_serializing_if = "zero")]
    pub mac_address: String,
    /// Written as `null` when empty up to version 1.51: see [`crate::adapt`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_build: Option<Option<Vec<String>>>,
    pub labels: Option<StringMap>,
    #[serde(skip_serializing_if = "zero")]
    pub stop_signal: String,
    /// Seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "words")]
    pub shell: Option<Vec<String>>,
}

/// How to probe a container; durations in nanoseconds, 0 inherits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HealthConfig {
    #[serde(skip_serializing_if = "zero")]
    pub test: Vec<String>,
    #[serde(skip_serializing_if = "zero")]
    pub interval: i64,
    #[serde(skip_serializing_if = "zero")]
    pub timeout: i64,
    #[serde(skip_serializing_if = "zero")]
    pub start_period: i64,
    #[serde(skip_serializing_if = "zero")]
    pub start_interval: i64,
    #[serde(skip_serializing_if = "zero")]
    pub retries: i64,
}
