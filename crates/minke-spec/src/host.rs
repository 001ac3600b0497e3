//! What compiling a configuration must know about the host, as a plain value: whoever does I/O fills it in once, tests write
//! it down. Nothing here reads the host.

use serde::{Deserialize, Serialize};

/// The facts of the host that a start plan depends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFacts {
    /// How control groups are mounted.
    pub cgroups: CgroupMode,
    /// The running kernel, major and minor number.
    pub kernel: (u32, u32),
    /// The processor architecture of the kernel.
    pub architecture: Architecture,
    /// The number in `/proc/sys/kernel/cap_last_cap`.
    pub last_capability: u32,
    /// The engine's own bounding set: what `ALL` and `--privileged` can mean here.
    pub capabilities: u64,
    /// The words of `/proc/sys/kernel/seccomp/actions_avail`; empty where the kernel has no filters.
    pub seccomp_actions: Vec<String>,
    /// Whether swap use can be limited (`memory.memsw.limit_in_bytes` or `memory.swap.max` is there).
    pub swap_accounting: bool,
    /// Whether AppArmor profiles can be entered.
    pub apparmor: bool,
    /// Whether the engine is in a user namespace that isn't the host's: device nodes are bound then, not made.
    pub in_user_namespace: bool,
    /// Paths that Docker masks only where they are: `/sys/devices/system/cpu/cpu0/thermal_throttle` and so on.
    pub thermal_throttle_paths: Vec<String>,
}

/// Processor architectures with a system call table here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Architecture {
    /// x86-64, with i386 and x32 programs.
    X86_64,
    /// 64-bit ARM.
    Aarch64,
}

impl Architecture {
    /// The architecture that this program was built for; `None` where there is no table.
    pub fn native() -> Option<Self> {
        if cfg!(target_arch = "x86_64") {
            Some(Self::X86_64)
        } else if cfg!(target_arch = "aarch64") {
            Some(Self::Aarch64)
        } else {
            None
        }
    }
}

/// Which control group version limits processes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CgroupMode {
    /// Version 1, also where a version 2 tree without controllers is mounted beside it.
    V1 {
        /// Every mounted hierarchy, named ones (`name=systemd`) included.
        hierarchies: Vec<CgroupHierarchy>,
    },
    /// Version 2 alone.
    V2 {
        /// Where it is mounted.
        mountpoint: String,
        /// The content of `cgroup.controllers` at the mount point.
        controllers: Vec<String>,
        /// The engine's own group, from the mount point: what relative paths are below.
        own: String,
    },
}

/// One mounted version 1 hierarchy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupHierarchy {
    /// Where it is mounted.
    pub mountpoint: String,
    /// Its controllers, or the one word `name=...`.
    pub controllers: Vec<String>,
    /// The engine's own group, from the mount point: what relative paths are below.
    pub own: String,
}

impl HostFacts {
    /// A host for tests and examples: a recent kernel, everything available, version 2 at `/sys/fs/cgroup`.
    pub fn example_v2() -> Self {
        let controllers = ["cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma", "misc"];
        Self {
            cgroups: CgroupMode::V2 {
                mountpoint: "/sys/fs/cgroup".into(),
                controllers: controllers.map(String::from).to_vec(),
                own: "/system.slice/minke.service".into(),
            },
            kernel: (6, 1),
            architecture: Architecture::X86_64,
            last_capability: 40,
            capabilities: (1 << 41) - 1,
            seccomp_actions: [
                "kill_process",
                "kill_thread",
                "trap",
                "errno",
                "user_notif",
                "trace",
                "log",
                "allow",
            ]
            .map(String::from)
            .to_vec(),
            swap_accounting: true,
            apparmor: false,
            in_user_namespace: false,
            thermal_throttle_paths: Vec::new(),
        }
    }

    /// As [`HostFacts::example_v2`], with version 1: each controller on its own but `cpu,cpuacct`.
    pub fn example_v1() -> Self {
        let groups: [&[&str]; 10] = [
            &["cpuset"],
            &["cpu", "cpuacct"],
            &["blkio"],
            &["memory"],
            &["devices"],
            &["freezer"],
            &["net_cls", "net_prio"],
            &["hugetlb"],
            &["pids"],
            &["name=systemd"],
        ];
        let hierarchies = groups
            .iter()
            .map(|names| {
                let directory = names.join(",");
                let directory = directory.strip_prefix("name=").unwrap_or(&directory).to_owned();
                CgroupHierarchy {
                    mountpoint: format!("/sys/fs/cgroup/{directory}"),
                    controllers: names.iter().map(|name| (*name).to_owned()).collect(),
                    own: "/".into(),
                }
            })
            .collect();
        Self { cgroups: CgroupMode::V1 { hierarchies }, ..Self::example_v2() }
    }
}
