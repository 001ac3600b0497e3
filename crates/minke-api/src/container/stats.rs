//! What a container uses: the answer of `GET /containers/{id}/stats`, whose null, empty and absent fields are Docker's for each
//! version of control groups; and that of `top`.
#![allow(missing_docs, reason = "fields carry the names and meanings of the specification")]

use std::collections::BTreeMap;

use minke_model::Result;
use serde::{Deserialize, Serialize};

use crate::omit::zero;
use crate::{FromQuery, Query, QueryWriter, Time, ToQuery};

/// The query of `GET /containers/{id}/stats`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatsQuery {
    /// One sample each second, until the client goes away.
    pub stream: bool,
    /// Without a sample before it.
    pub one_shot: bool,
}

impl FromQuery for StatsQuery {
    fn from_query(query: &Query) -> Result<Self> {
        Ok(Self { stream: query.flag_or("stream", true), one_shot: query.flag("one-shot") })
    }
}

impl ToQuery for StatsQuery {
    fn to_query(&self, out: &mut QueryWriter) {
        out.text("stream", if self.stream { "1" } else { "0" }).flag("one-shot", self.one_shot);
    }
}

/// The query of `GET /containers/{id}/top`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopQuery {
    /// Options of `ps`; empty: `-ef`.
    pub ps_args: String,
}

impl FromQuery for TopQuery {
    fn from_query(query: &Query) -> Result<Self> {
        Ok(Self { ps_args: query.text("ps_args") })
    }
}

impl ToQuery for TopQuery {
    fn to_query(&self, out: &mut QueryWriter) {
        out.text("ps_args", &self.ps_args);
    }
}

/// The answer of `GET /containers/{id}/top`: a table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ContainerTop {
    pub processes: Vec<Vec<String>>,
    pub titles: Vec<String>,
}

/// One sample.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerStats {
    pub name: String,
    pub id: String,
    /// Since 1.52: see [`crate::adapt`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os_type: Option<String>,
    pub read: Time,
    pub preread: Time,
    pub pids_stats: PidsStats,
    pub blkio_stats: BlkioStats,
    pub num_procs: u32,
    pub storage_stats: crate::Empty,
    pub cpu_stats: CpuStats,
    pub precpu_stats: CpuStats,
    pub memory_stats: MemoryStats,
    #[serde(skip_serializing_if = "zero")]
    pub networks: BTreeMap<String, NetworkStats>,
}

/// Processes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PidsStats {
    #[serde(skip_serializing_if = "zero")]
    pub current: u64,
    #[serde(skip_serializing_if = "zero")]
    pub limit: u64,
}

/// Disks. Version 1 of control groups gives lists, version 2 only the first; what isn't known is null.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BlkioStats {
    pub io_service_bytes_recursive: Option<Vec<BlkioEntry>>,
    pub io_serviced_recursive: Option<Vec<BlkioEntry>>,
    pub io_queue_recursive: Option<Vec<BlkioEntry>>,
    pub io_service_time_recursive: Option<Vec<BlkioEntry>>,
    pub io_wait_time_recursive: Option<Vec<BlkioEntry>>,
    pub io_merged_recursive: Option<Vec<BlkioEntry>>,
    pub io_time_recursive: Option<Vec<BlkioEntry>>,
    pub sectors_recursive: Option<Vec<BlkioEntry>>,
}

/// One counter of one disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BlkioEntry {
    pub major: u64,
    pub minor: u64,
    pub op: String,
    pub value: u64,
}

/// Processors.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CpuStats {
    pub cpu_usage: CpuUsage,
    /// Nanoseconds of all processors since the boot, idle ones too.
    #[serde(skip_serializing_if = "zero")]
    pub system_cpu_usage: u64,
    #[serde(skip_serializing_if = "zero")]
    pub online_cpus: u32,
    pub throttling_data: ThrottlingData,
}

/// Nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CpuUsage {
    pub total_usage: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percpu_usage: Option<Vec<u64>>,
    pub usage_in_kernelmode: u64,
    pub usage_in_usermode: u64,
}

/// How often the limit has held the container back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ThrottlingData {
    pub periods: u64,
    pub throttled_periods: u64,
    /// Nanoseconds.
    pub throttled_time: u64,
}

/// Memory, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MemoryStats {
    #[serde(skip_serializing_if = "zero")]
    pub usage: u64,
    #[serde(skip_serializing_if = "zero")]
    pub max_usage: u64,
    #[serde(skip_serializing_if = "zero")]
    pub stats: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "zero")]
    pub failcnt: u64,
    #[serde(skip_serializing_if = "zero")]
    pub limit: u64,
}

/// One network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkStats {
    pub rx_bytes: u64,
    pub rx_packets: u64,
    pub rx_errors: u64,
    pub rx_dropped: u64,
    pub tx_bytes: u64,
    pub tx_packets: u64,
    pub tx_errors: u64,
    pub tx_dropped: u64,
}
