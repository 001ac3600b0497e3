//! A container's settings as the engine has them once names are resolved: ids instead of users, host paths instead of
//! volumes, device numbers instead of device paths. Plain values.

use std::collections::BTreeMap;

/// Everything about a container that its start depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerSettings {
    /// The program and its arguments: entrypoint, then command.
    pub args: Vec<String>,
    /// The image's variables with the container's over them, as `NAME=value`; a bare `NAME` removes a default.
    pub env: Vec<String>,
    /// The working directory; empty: `/`.
    pub cwd: String,
    /// Whom the process runs as.
    pub user: ProcessUser,
    /// The host name; also in `HOSTNAME` and, with a UTS namespace of its own, the kernel's.
    pub hostname: String,
    /// The NIS domain name.
    pub domainname: String,
    /// The process has a terminal.
    pub tty: bool,
    /// `--cap-add`.
    pub cap_add: Vec<String>,
    /// `--cap-drop`.
    pub cap_drop: Vec<String>,
    /// `--privileged`.
    pub privileged: bool,
    /// `--read-only`.
    pub readonly_rootfs: bool,
    /// The network namespace.
    pub network: Namespace,
    /// The process namespace.
    pub pid: Namespace,
    /// The IPC namespace.
    pub ipc: IpcMode,
    /// The host name's namespace.
    pub uts: Namespace,
    /// The cgroup namespace; `None`: Docker's default for the host's cgroup version.
    pub cgroup_namespace: Option<Namespace>,
    /// A user namespace; `None`: the host's.
    pub user_namespace: Option<UserNamespace>,
    /// A time namespace of its own, as newest Docker makes one.
    pub time_namespace: bool,
    /// Mounts asked for by the user or the image, and `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf` as binds.
    pub mounts: Vec<MountSettings>,
    /// Limits.
    pub resources: Resources,
    /// `--device`, resolved.
    pub devices: Vec<Device>,
    /// Interfaces of the host that it gets, as vendors describe them.
    pub net_devices: Vec<crate::plan::NetDevice>,
    /// `--device-cgroup-rule`, such as `c 42:* rmw`.
    pub device_rules: Vec<String>,
    /// The devices of the host's /dev: needed with `privileged` only.
    pub host_devices: Vec<Device>,
    /// The size of `/dev/shm` in bytes; 0: Docker's default, 64 MiB.
    pub shm_size: u64,
    /// `--init`.
    pub init: bool,
    /// `--security-opt no-new-privileges`.
    pub no_new_privileges: bool,
    /// The system call filter.
    pub seccomp: Seccomp,
    /// The AppArmor profile, also of a privileged process in a container that isn't; `None`: none.
    pub apparmor_profile: Option<String>,
    /// Its control groups can be written to.
    pub writable_cgroups: bool,
    /// The SELinux label of the process.
    pub selinux_label: Option<String>,
    /// The SELinux label of its files.
    pub mount_label: Option<String>,
    /// `--oom-score-adj`.
    pub oom_score_adj: i32,
    /// `--ulimit`, with the engine's defaults merged in.
    pub ulimits: Vec<Ulimit>,
    /// `--sysctl`.
    pub sysctls: BTreeMap<String, String>,
    /// Paths to hide instead of Docker's; an empty list hides none.
    pub masked_paths: Option<Vec<String>>,
    /// Paths to make read-only instead of Docker's.
    pub readonly_paths: Option<Vec<String>>,
    /// The control group's path from the mount point, such as `/docker/<id>`.
    pub cgroup_path: String,
    /// A host directory as root; empty: the root is handed over as a mount.
    pub root_path: String,
    /// `--annotation`.
    pub annotations: BTreeMap<String, String>,
}

/// A user namespace of a container's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserNamespace {
    /// The one to join, by its path, such as `/proc/123/ns/user`; else it is a new one.
    pub join: Option<String>,
    /// Users: first id inside, first id outside, count.
    pub uids: Vec<(u32, u32, u32)>,
    /// Groups.
    pub gids: Vec<(u32, u32, u32)>,
}

/// A user, resolved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessUser {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// Supplementary groups: Docker's list has the group itself first and those of `--group-add` last.
    pub groups: Vec<u32>,
    /// The home directory, for `HOME` where nothing else sets it; empty: left alone.
    pub home: String,
}

/// Where a container stands to one kind of namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Namespace {
    /// It has its own.
    #[default]
    Private,
    /// It shares the host's.
    Host,
    /// It joins the one at this path, such as `/proc/123/ns/net`.
    Join(String),
}

/// The modes of `--ipc`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum IpcMode {
    /// Its own namespace and `/dev/shm`.
    #[default]
    Private,
    /// Its own namespace, no `/dev/shm`.
    None,
    /// Its own namespace, with a `/dev/shm` directory on the host that others can join.
    Shareable {
        /// The mounted directory.
        shm: String,
    },
    /// The host's.
    Host,
    /// That of another container.
    Join {
        /// The namespace's path.
        path: String,
        /// The other's `/dev/shm` on the host.
        shm: String,
    },
}

/// A mount asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountSettings {
    /// A host path: a bind mount, or a volume's directory.
    Bind(BindMount),
    /// Memory.
    Tmpfs {
        /// Where.
        target: String,
        /// Options as in `--tmpfs`: `size=64m,mode=1777`; they win over Docker's own.
        options: String,
    },
}

/// A bind mount.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BindMount {
    /// The host's path.
    pub source: String,
    /// Where.
    pub target: String,
    /// Whether it can be written to, and how deep that holds.
    pub writability: Writability,
    /// `private`, `rslave` and so on; empty: `rprivate`.
    pub propagation: String,
    /// Without the mounts below the source.
    pub non_recursive: bool,
}

/// How much of a bind mount is read-only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Writability {
    /// Nothing.
    #[default]
    Writable,
    /// Everything, with the mounts below it.
    ReadOnly,
    /// The mount itself, not those below it.
    ReadOnlyNonRecursive,
}

/// Limits, in the API's units; 0 or empty: none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Memory in bytes.
    pub memory: i64,
    /// Memory and swap in bytes; -1: no limit on swap; 0: twice the memory where the host can count it.
    pub memory_swap: i64,
    /// The soft limit in bytes.
    pub memory_reservation: i64,
    /// 0 to 100; version 1 only.
    pub memory_swappiness: Option<i64>,
    /// Version 1 only.
    pub oom_kill_disable: bool,
    /// Billionths of a processor.
    pub nano_cpus: i64,
    /// Relative weight, 1,024 by default.
    pub cpu_shares: i64,
    /// Microseconds.
    pub cpu_period: i64,
    /// Microseconds per period.
    pub cpu_quota: i64,
    /// Microseconds; version 1 only.
    pub cpu_realtime_period: i64,
    /// Microseconds; version 1 only.
    pub cpu_realtime_runtime: i64,
    /// Processors, such as `0-3,7`.
    pub cpuset_cpus: String,
    /// Memory nodes.
    pub cpuset_mems: String,
    /// The number of processes; -1 and 0: no limit.
    pub pids_limit: Option<i64>,
    /// 10 to 1,000.
    pub blkio_weight: u16,
    /// Weights by device: major, minor, weight.
    pub blkio_weight_devices: Vec<(i64, i64, u16)>,
    /// Bytes read per second by device: major, minor, rate.
    pub device_read_bps: Vec<(i64, i64, u64)>,
    /// Bytes written per second by device.
    pub device_write_bps: Vec<(i64, i64, u64)>,
    /// Reads per second by device.
    pub device_read_iops: Vec<(i64, i64, u64)>,
    /// Writes per second by device.
    pub device_write_iops: Vec<(i64, i64, u64)>,
}

/// A device of the host in the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Where, inside the root.
    pub path: String,
    /// `c` or `b`.
    pub kind: char,
    /// The major number.
    pub major: u32,
    /// The minor number.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Rights, such as `rwm`.
    pub access: String,
}

/// The modes of `--security-opt seccomp`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Seccomp {
    /// Docker's own profile, except for a privileged container.
    #[default]
    Default,
    /// No filter.
    Unconfined,
    /// A profile's text, in Docker's format.
    Profile(String),
}

/// A resource limit of the process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ulimit {
    /// Docker's name: `nofile`.
    pub name: String,
    /// The soft limit; -1: none.
    pub soft: i64,
    /// The hard limit; -1: none.
    pub hard: i64,
}

/// One more process in a container: what differs from the container's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecSettings {
    /// The program and its arguments.
    pub args: Vec<String>,
    /// Variables over the container's.
    pub env: Vec<String>,
    /// The working directory; empty: the container's.
    pub cwd: String,
    /// Whom it runs as; `None`: as the container.
    pub user: Option<ProcessUser>,
    /// It has a terminal.
    pub tty: bool,
    /// All capabilities.
    pub privileged: bool,
}
