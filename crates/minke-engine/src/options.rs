//! What an engine is started with.

use std::collections::BTreeMap;
use std::path::PathBuf;

use minke_model::idmap::IdMap;
use minke_model::ulimit::Ulimit;

use crate::place::CgroupDriver;
use crate::realtime::Realtime;

/// An engine's settings. Nothing is read from anywhere else.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Where durable things are.
    pub data_root: PathBuf,
    /// Where the state of what runs is.
    pub exec_root: PathBuf,
    /// The shim's program.
    pub shim: &'static [u8],
    /// What this program was built from.
    pub build: Build,
    /// `Debug` in info.
    pub debug: bool,
    /// The log driver of containers that choose none.
    pub log_driver: String,
    /// Its options.
    pub log_opts: BTreeMap<String, String>,
    /// Labels in info.
    pub labels: Vec<String>,
    /// The control group above containers; by default one named after the exec root. With systemd's driver, a slice.
    pub cgroup_parent: Option<String>,
    /// Who makes the control groups of containers.
    pub cgroup_driver: CgroupDriver,
    /// Containers get a reaper unless they say otherwise.
    pub init: bool,
    /// Containers can't gain privileges unless they say otherwise.
    pub no_new_privileges: bool,
    /// Limits of each process of containers that don't set them themselves.
    pub ulimits: Vec<Ulimit>,
    /// The size of /dev/shm where a container doesn't say, in bytes.
    pub shm_size: i64,
    /// Real-time processor time for all containers together.
    pub realtime: Realtime,
    /// Where vendors describe their devices; the last folder's word counts.
    pub cdi_spec_dirs: Vec<PathBuf>,
    /// The filter of containers that choose none: `builtin` (also empty), `unconfined` or a profile's text.
    pub seccomp_profile: String,
    /// The IPC mode of containers that choose none.
    pub default_ipc_mode: String,
    /// The cgroup namespace of containers that choose none; empty: as the host's control groups are.
    pub default_cgroupns_mode: String,
    /// Containers get user namespaces with this map; what is kept for them is in a folder of its own below the data root.
    pub userns_remap: Option<IdMap>,
    /// Containers get SELinux labels, where the host has SELinux.
    pub selinux_enabled: bool,
    /// How registries are spoken to.
    pub registry: crate::RegistryOptions,
    /// Networks.
    pub network: crate::NetworkOptions,
    /// Other OCI runtimes that containers may ask for, by their names.
    pub runtimes: BTreeMap<String, RuntimeSettings>,
    /// The runtime of containers that choose none.
    pub default_runtime: String,
    /// `overlay2` or `copy`; by default what a probe finds to work.
    pub storage_driver: Option<String>,
}

/// What a program was built from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Build {
    /// The revision; empty where it isn't known.
    pub commit: &'static str,
    /// When, RFC 3339.
    pub time: &'static str,
}

/// How another OCI runtime is called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuntimeSettings {
    /// Its program: an absolute path, or a name to be looked for in `PATH`.
    pub path: String,
    /// What stands before each of its commands.
    pub arguments: Vec<String>,
}
