//! The container: its configuration, and what create, inspect, list, wait and the other verbs take and answer.

mod config;
mod create;
mod files;
mod host_config;
mod inspect;
mod mount;
mod prune;
mod queries;
mod resources;
mod state;
mod stats;
mod summary;

pub use config::{ContainerConfig, HealthConfig};
pub use create::{
    ContainerCreateRequest, ContainerCreateResponse, ContainerUpdateResponse, ContainerWaitResponse,
    FlatContainerCreateRequest, WaitError,
};
pub use files::{
    ArchivePutQuery, ArchiveQuery, CommitQuery, FilesystemChange, GO_DEVICE, GO_DIRECTORY, GO_SYMLINK,
    PATH_STAT_HEADER, PathStat, go_mode,
};
pub use host_config::{HostConfig, LogConfig, RestartPolicy};
pub use inspect::{ContainerInspect, DriverData};
pub use mount::{
    BindOptions, ImageOptions, Mount, MountPoint, TmpfsOptions, VolumeDriverConfig, VolumeOptions,
};
pub use prune::ContainerPruneResponse;
pub use queries::{
    AttachQuery, ContainerCreateQuery, ContainerInspectQuery, ContainerListQuery, ContainerRemoveQuery,
    ContainerRenameQuery, ContainerStartQuery, ContainerStopQuery, KillQuery, LogsQuery, ResizeQuery,
    WaitQuery,
};
pub use resources::{DeviceMapping, DeviceRequest, ThrottleDevice, Ulimit, WeightDevice};
pub use state::{ContainerState, Health, HealthResult, HealthSummary};
pub use stats::{
    BlkioEntry, BlkioStats, ContainerStats, ContainerTop, CpuStats, CpuUsage, MemoryStats, NetworkStats,
    PidsStats, StatsQuery, ThrottlingData, TopQuery,
};
pub use summary::{ContainerSummary, HostConfigSummary, NetworkSettingsSummary, PortSummary};
