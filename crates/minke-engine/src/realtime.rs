//! Real-time processor time of all containers together (`--cpu-rt-period`, `--cpu-rt-runtime` of the daemon): given to the groups
//! above containers' own, from which theirs is taken. Version 1 only.

use std::path::PathBuf;

use minke_model::{Context as _, Error, Result};
use minke_spec::host::CgroupMode;

use crate::host::Host;

/// How much there is to give, in microseconds; 0: as the kernel has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Realtime {
    /// The length of a period.
    pub period_us: i64,
    /// The time in each.
    pub runtime_us: i64,
}

/// Gives it to the group `parent` and those above it; does nothing where nothing was asked for.
///
/// # Errors
/// A kernel without real-time groups.
pub fn give(host: &Host, parent: &str, realtime: &Realtime) -> Result<()> {
    if *realtime == Realtime::default() {
        return Ok(());
    }
    let lacking = || Error::invalid("Your kernel does not support CPU real-time scheduler");
    let CgroupMode::V1 { hierarchies } = &host.facts.cgroups else { return Err(lacking()) };
    let hierarchy = hierarchies
        .iter()
        .find(|hierarchy| hierarchy.controllers.iter().any(|name| name == "cpu"))
        .ok_or_else(lacking)?;
    let mut directory = PathBuf::from(&hierarchy.mountpoint);
    for part in parent.split('/').filter(|part| !part.is_empty()) {
        directory.push(part);
        minke_sys::cgroup::make_v1(&directory).context("giving real-time processor time")?;
        for (file, value) in
            [("cpu.rt_period_us", realtime.period_us), ("cpu.rt_runtime_us", realtime.runtime_us)]
        {
            let path = directory.join(file);
            if value == 0 {
                continue;
            }
            if !path.exists() {
                return Err(lacking());
            }
            minke_sys::cgroup::write_value(&path, &value.to_string())
                .with_context(|| format!("giving real-time processor time: {}", path.display()))?;
        }
    }
    Ok(())
}
