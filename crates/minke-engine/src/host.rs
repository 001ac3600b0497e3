//! The host as the engine sees it: probed once, given to the pure parts as plain values.

use std::path::{Path, PathBuf};

use minke_model::{Context as _, Error, Result};
use minke_spec::host::{Architecture, CgroupHierarchy, CgroupMode, HostFacts};
use minke_sys::cgroup::Group;

/// What was found, in both forms.
pub struct Host {
    /// As the kernel interface gives it.
    pub found: minke_sys::host::Host,
    /// As the plan wants it.
    pub facts: HostFacts,
    /// The host's name.
    pub hostname: String,
}

impl Host {
    /// Finds out.
    pub fn probe() -> Result<Self> {
        let found = minke_sys::host::probe().context("reading what the host offers")?;
        let facts = facts(&found)?;
        let hostname =
            std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned();
        Ok(Self { found, facts, hostname })
    }

    /// Whether control groups are version 2 alone.
    pub fn cgroup2(&self) -> bool {
        matches!(self.facts.cgroups, CgroupMode::V2 { .. })
    }

    /// The directories of the group `path` (from the mount points) in every hierarchy that containers use.
    pub fn group(&self, path: &str) -> Group {
        let below = |mount: &str| PathBuf::from(format!("{}{path}", mount.trim_end_matches('/')));
        match &self.facts.cgroups {
            CgroupMode::V1 { hierarchies } => Group {
                v2: None,
                v1: hierarchies.iter().map(|hierarchy| below(&hierarchy.mountpoint)).collect(),
            },
            CgroupMode::V2 { mountpoint, .. } => Group { v2: Some(below(mountpoint)), v1: Vec::new() },
        }
    }
}

fn facts(found: &minke_sys::host::Host) -> Result<HostFacts> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let limits = |controllers: &[String]| controllers.iter().any(|name| name == "memory" || name == "cpu");
    let cgroups = match &found.cgroup2 {
        Some(unified) if !found.cgroup1.iter().any(|hierarchy| limits(&hierarchy.controllers)) => {
            CgroupMode::V2 {
                mountpoint: text(&unified.mount),
                controllers: unified.controllers.clone(),
                own: unified.own.clone(),
            }
        }
        _ => CgroupMode::V1 {
            hierarchies: found
                .cgroup1
                .iter()
                .map(|hierarchy| CgroupHierarchy {
                    mountpoint: text(&hierarchy.mount),
                    controllers: hierarchy.controllers.clone(),
                    own: hierarchy.own.clone(),
                })
                .collect(),
        },
    };
    let mut numbers = found.kernel_release.split(['.', '-']).map(|part| part.parse().unwrap_or(0));
    let kernel = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let architecture = Architecture::native().ok_or_else(|| {
        Error::system(format!("minke does not know the processor architecture {}", found.machine))
    })?;
    let actions = std::fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail").unwrap_or_default();
    Ok(HostFacts {
        swap_accounting: swap_accounting(&cgroups),
        cgroups,
        kernel,
        architecture,
        last_capability: found.last_capability,
        capabilities: found.bounding_capabilities,
        seccomp_actions: actions.split_whitespace().map(str::to_owned).collect(),
        apparmor: found.apparmor,
        in_user_namespace: in_user_namespace(),
        thermal_throttle_paths: thermal_throttle_paths(),
    })
}

fn swap_accounting(cgroups: &CgroupMode) -> bool {
    match cgroups {
        CgroupMode::V1 { hierarchies } => hierarchies
            .iter()
            .filter(|hierarchy| hierarchy.controllers.iter().any(|name| name == "memory"))
            .any(|hierarchy| Path::new(&hierarchy.mountpoint).join("memory.memsw.limit_in_bytes").exists()),
        CgroupMode::V2 { mountpoint, own, .. } => {
            let own = PathBuf::from(format!("{mountpoint}{own}"));
            own.join("memory.swap.max").exists() || Path::new("/proc/swaps").exists()
        }
    }
}

/// Only the first user namespace maps all ids onto themselves.
fn in_user_namespace() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().ne(["0", "0", "4294967295"])
}

fn thermal_throttle_paths() -> Vec<String> {
    let Ok(entries) = std::fs::read_dir("/sys/devices/system/cpu") else { return Vec::new() };
    let mut paths: Vec<String> = entries
        .flatten()
        .map(|entry| entry.path().join("thermal_throttle"))
        .filter(|path| path.is_dir())
        .map(|path| path.to_string_lossy().into_owned())
        .collect();
    paths.sort();
    paths
}
