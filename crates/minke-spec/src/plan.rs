//! The start of a container as a value: printable, comparable, testable; applied by minke-runtime in the order of its fields.
//!
//! The engine (or `minke oci`) applies [`CgroupPlan`] before the container's first process is born; everything else is
//! applied by the shim: what names a host path is opened before clone3 in the host's mount namespace, the rest is done by the child inside the
//! new namespaces. Paths in the container are absolute and resolved inside its root, never by name from outside.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

/// A whole start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartPlan {
    /// Namespaces to make or to join.
    pub namespaces: NamespacePlan,
    /// Interfaces of the host that are moved into the container's network namespace, in this order.
    pub net_devices: Vec<NetDevice>,
    /// Control groups.
    pub cgroup: CgroupPlan,
    /// The root file system.
    pub root: RootPlan,
    /// Mounts inside the root, in order.
    pub mounts: Vec<MountStep>,
    /// Device nodes below the root, the usual ones (`/dev/null` and so on) included, made (or bound, in a user
    /// namespace) after the mounts; `/dev/console` of a terminal isn't among them.
    pub devices: Vec<DeviceNode>,
    /// Symbolic links to make below the root (path and target), `/dev/fd`, `/dev/ptmx` and so on; one that is there
    /// with the same target is right.
    pub links: Vec<(String, String)>,
    /// Kernel parameters: path below /proc/sys and value.
    pub sysctls: Vec<(String, String)>,
    /// Paths hidden behind an empty read-only directory or the host's /dev/null; absent ones are skipped.
    pub masked_paths: Vec<String>,
    /// Paths made read-only; absent ones are skipped.
    pub readonly_paths: Vec<String>,
    /// The host name of a new UTS namespace.
    pub hostname: Option<String>,
    /// The domain name of a new UTS namespace.
    pub domainname: Option<String>,
    /// The first process.
    pub process: ProcessPlan,
    /// Run a reaper of ours as pid 1 and the process as its child (`--init`).
    pub init: bool,
    /// Set everything up, then wait for `Continue` before executing the program (OCI create).
    pub wait_for_start: bool,
}

/// Which namespaces the container gets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespacePlan {
    /// `CLONE_NEW*` bits of those to make.
    pub new: u64,
    /// Those to join: their kind as one `CLONE_NEW*` bit and a path such as `/proc/1/ns/net`.
    pub join: Vec<(u64, String)>,
    /// A new user namespace's uid map: (inside, outside, count).
    pub uid_map: Vec<(u32, u32, u32)>,
    /// A new user namespace's gid map.
    pub gid_map: Vec<(u32, u32, u32)>,
    /// Bring up `lo` in a new network namespace.
    pub loopback_up: bool,
    /// A new time namespace's offsets: clock (`monotonic`, `boottime`), seconds, nanoseconds.
    pub time_offsets: Vec<(String, i64, u32)>,
}

/// An interface of the host's that becomes the container's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetDevice {
    /// What it is called on the host.
    pub host_name: String,
    /// What it is called in the container; with `%d` in it, the first number that is free there takes its place.
    pub name: String,
}

/// The control groups of the container: made, limited and removed by whoever prepares the start, entered by the child.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupPlan {
    /// The directory in the unified hierarchy, if one is used: entered by `CLONE_INTO_CGROUP`.
    pub v2: Option<String>,
    /// Directories in v1 hierarchies: entered by writing 0 into each one's `tasks`.
    pub v1: Vec<String>,
    /// Files of v1 `cpuset` directories that must not be empty, outermost first: an empty one gets the content of the
    /// same file in the parent directory, before anything of `writes`.
    pub inherit: Vec<String>,
    /// Files to write before the first process is born, in order; all directories are there by then. Those that turn
    /// a controller on for the directories below (`cgroup.subtree_control`) come first.
    pub writes: Vec<CgroupWrite>,
    /// The eBPF program for device access in `v2`: 8-byte instructions; empty: none.
    pub device_program: Vec<u64>,
}

/// One value of a control group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupWrite {
    /// The file's absolute path.
    pub path: String,
    /// What to write.
    pub value: String,
    /// A kernel that lacks the file is no failure (the caller was warned when the plan was made).
    pub optional: bool,
}

/// The root file system and how it is entered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootPlan {
    /// A directory on the host to bind as root (OCI bundles); without it the root comes as a detached mount's descriptor.
    pub path: Option<String>,
    /// Make it read-only at last.
    pub readonly: bool,
    /// `MS_*` propagation flags (`MS_SLAVE | MS_REC` and so on) of the root once the container is in it (0: private).
    /// The host never sees a mount of the set-up itself, whatever this says.
    pub propagation: u64,
}

/// One mount. `attributes` are `MOUNT_ATTR_*` bits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountStep {
    /// A new file system instance.
    Filesystem {
        /// The kernel's name of its type.
        fstype: String,
        /// The source shown in mountinfo.
        source: String,
        /// Options for the file system: key and value (or a flag).
        options: Vec<(String, Option<String>)>,
        /// `MOUNT_ATTR_*` bits of the mount.
        attributes: u64,
        /// Where, inside the root; missing directories are made.
        target: String,
        /// `MS_*` propagation flags (0: private).
        propagation: u64,
        /// Copy the target directory's content in first (`tmpcopyup`); a read-only mount is made so afterwards.
        copy_up: bool,
    },
    /// A file or directory of the host.
    Bind {
        /// The host's path.
        source: String,
        /// Where, inside the root; a missing file or directory is made according to the source.
        target: String,
        /// With the mounts below it.
        recursive: bool,
        /// `MOUNT_ATTR_*` bits to set on this mount alone; with an access time bit, `clear` has the whole time mask.
        set: u64,
        /// `MOUNT_ATTR_*` bits to clear on this mount alone.
        clear: u64,
        /// Bits to set on it and on the mounts below it, before `set` (`rro` and the like).
        set_recursive: u64,
        /// Bits to clear on it and on the mounts below it, before `clear`.
        clear_recursive: u64,
        /// `MS_*` propagation flags (`MS_PRIVATE | MS_REC` and so on); 0 leaves what the clone of the source has,
        /// which is the source's own peer group.
        propagation: u64,
        /// Shift the owners of the files by these maps; without it, owners show as they are.
        id_map: Option<IdMap>,
    },
    /// The container's own control groups.
    Cgroup {
        /// Where, inside the root.
        target: String,
        /// One mount per v1 hierarchy: directory name below `target`, options (controllers), as with `name=systemd`;
        /// empty: cgroup2 is mounted at `target` itself.
        v1: Vec<(String, String)>,
        /// Links between v1 controllers mounted together: link name and directory name.
        links: Vec<(String, String)>,
        /// Mount read-only.
        readonly: bool,
        /// Without a new cgroup namespace: host directories to bind instead of mounting, in the order of `v1` (one for cgroup2).
        binds: Vec<String>,
    },
}

/// Maps for the owners of a mount's files or of a user namespace: (inside, outside, count).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMap {
    /// Users.
    pub uid: Vec<(u32, u32, u32)>,
    /// Groups.
    pub gid: Vec<(u32, u32, u32)>,
}

/// A device node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceNode {
    /// Where, inside the root.
    pub path: String,
    /// `c`, `b` or `p`.
    pub kind: char,
    /// The major number.
    pub major: u32,
    /// The minor number.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// Owner inside the container.
    pub uid: u32,
    /// Group inside the container.
    pub gid: u32,
    /// Bind this host path instead of making a node.
    pub bind: Option<String>,
}

/// A process: the container's first one or an exec's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessPlan {
    /// The program and its arguments; the program is looked up in `PATH` of `env` inside the root unless it has a slash.
    pub args: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// The working directory, inside the root; made when missing if `create_cwd`.
    pub cwd: String,
    /// Make `cwd` when it isn't there.
    pub create_cwd: bool,
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// Supplementary groups; always set, also when empty.
    pub groups: Vec<u32>,
    /// The file mode mask.
    pub umask: Option<u32>,
    /// Capability sets, bit n for capability n.
    pub capabilities: CapabilitySets,
    /// Set `no_new_privs`.
    pub no_new_privileges: bool,
    /// `RLIMIT_*` number, soft and hard limit.
    pub rlimits: Vec<(u32, u64, u64)>,
    /// `/proc/self/oom_score_adj`.
    pub oom_score_adj: Option<i32>,
    /// The seccomp filter: classic BPF instructions (code, jt, jf, k as one u64, little-endian `struct sock_filter`); empty: none.
    pub seccomp: Vec<u64>,
    /// Flags of the seccomp system call.
    pub seccomp_flags: u32,
    /// AppArmor profile to enter at exec.
    pub apparmor_profile: Option<String>,
    /// SELinux label to enter at exec.
    pub selinux_label: Option<String>,
    /// The persona given to personality(2).
    pub personality: Option<u32>,
    /// The value given to ioprio_set(2): class and level.
    pub io_priority: Option<u32>,
    /// The scheduling policy.
    pub scheduler: Option<Scheduler>,
}

/// What sched_setattr(2) gets; units are the kernel's (nanoseconds).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scheduler {
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*` bits.
    pub flags: u64,
    /// The nice value, for the normal policies.
    pub nice: i32,
    /// The priority, for the real-time policies.
    pub priority: u32,
    /// Run time, for the deadline policy.
    pub runtime: u64,
    /// Deadline.
    pub deadline: u64,
    /// Period.
    pub period: u64,
}

/// The five capability sets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapabilitySets {
    /// Bounding set.
    pub bounding: u64,
    /// Effective set.
    pub effective: u64,
    /// Permitted set.
    pub permitted: u64,
    /// Inheritable set.
    pub inheritable: u64,
    /// Ambient set.
    pub ambient: u64,
}
