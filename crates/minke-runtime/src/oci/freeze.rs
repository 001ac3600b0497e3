//! `pause` and `resume`.

use super::arguments::{Given, Global};
use super::state::{Directory, State, Status};
use super::{Failure, failed};

/// Freezes a container.
pub fn pause(global: &Global, given: &Given) -> Result<(), Failure> {
    let directory = Directory::open(global, given.id()?)?;
    let state = directory.read()?;
    if !matches!(directory.status(&state), Status::Running | Status::Created) {
        return Err(Failure::new("container not running or created: paused or stopped"));
    }
    state.group().freeze().map_err(failed("unable to freeze"))
}

/// Lets it go on.
pub fn resume(global: &Global, given: &Given) -> Result<(), Failure> {
    let directory = Directory::open(global, given.id()?)?;
    let state = directory.read()?;
    if directory.status(&state) != Status::Paused {
        return Err(Failure::new("container not paused"));
    }
    state.group().thaw().map_err(failed("unable to thaw"))
}

/// Thaws the init where it is, should somebody have put it into another version 1 group: it couldn't end there.
pub fn thaw_wherever(state: &State) {
    let Some(own) = state.v1.iter().find(|path| path.join("freezer.state").exists()) else { return };
    let Ok(groups) = std::fs::read_to_string(format!("/proc/{}/cgroup", state.pid)) else { return };
    let found = groups.lines().find_map(|line| line.split_once(":freezer:"));
    let Ok(found_mounts) = minke_sys::host::probe() else { return };
    let mount = found_mounts.cgroup1.into_iter().find(|hierarchy| own.starts_with(&hierarchy.mount));
    if let (Some((_, path)), Some(mount)) = (found, mount) {
        let place = mount.mount.join(path.trim_start_matches('/'));
        if place != *own && state.is_alive() {
            let _ = minke_sys::cgroup::write_value(&place.join("freezer.state"), "THAWED");
        }
    }
}
