//! What the host offers, as minke-spec wants it: read once per command.

use std::path::Path;

use minke_spec::host::{Architecture, CgroupHierarchy, CgroupMode, HostFacts};

use super::{Failure, failed};

/// Reads the facts.
pub fn facts() -> Result<HostFacts, Failure> {
    let found = minke_sys::host::probe().map_err(failed("reading what the host offers"))?;
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let limits = |names: &[String]| names.iter().any(|name| name == "memory" || name == "cpu");
    let cgroups = match found.cgroup2 {
        Some(unified) if !found.cgroup1.iter().any(|hierarchy| limits(&hierarchy.controllers)) => {
            CgroupMode::V2 {
                mountpoint: text(&unified.mount),
                controllers: unified.controllers,
                own: unified.own,
            }
        }
        _ => CgroupMode::V1 {
            hierarchies: found
                .cgroup1
                .into_iter()
                .map(|hierarchy| CgroupHierarchy {
                    mountpoint: text(&hierarchy.mount),
                    controllers: hierarchy.controllers,
                    own: hierarchy.own,
                })
                .collect(),
        },
    };
    let mut numbers = found.kernel_release.split(['.', '-']).map(|part| part.parse().unwrap_or(0));
    let actions = std::fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail").unwrap_or_default();
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    Ok(HostFacts {
        swap_accounting: swap_accounting(&cgroups),
        cgroups,
        kernel: (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)),
        architecture: Architecture::native().ok_or_else(|| Failure::new("unknown processor architecture"))?,
        last_capability: found.last_capability,
        capabilities: found.bounding_capabilities,
        seccomp_actions: actions.split_whitespace().map(str::to_owned).collect(),
        apparmor: found.apparmor,
        in_user_namespace: map.split_whitespace().ne(["0", "0", "4294967295"]),
        // A bundle names what it wants masked itself.
        thermal_throttle_paths: Vec::new(),
    })
}

fn swap_accounting(cgroups: &CgroupMode) -> bool {
    match cgroups {
        CgroupMode::V1 { hierarchies } => hierarchies
            .iter()
            .filter(|hierarchy| hierarchy.controllers.iter().any(|name| name == "memory"))
            .any(|hierarchy| Path::new(&hierarchy.mountpoint).join("memory.memsw.limit_in_bytes").exists()),
        CgroupMode::V2 { mountpoint, own, .. } => {
            Path::new(&format!("{mountpoint}{own}/memory.swap.max")).exists()
                || Path::new("/proc/swaps").exists()
        }
    }
}
