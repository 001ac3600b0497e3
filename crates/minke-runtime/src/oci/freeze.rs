//! `pause` and `resume`.

use std::path::Path;
use std::time::{Duration, Instant};

use minke_sys::cgroup::Group;

use super::Failure;
use super::arguments::{Given, Global};
use super::state::{Directory, State, Status};

/// How long the kernel may take to freeze what is in the middle of something.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether the processes of a group are frozen.
pub fn is_frozen(group: &Group) -> bool {
    state_of(group).is_some_and(|word| matches!(word.trim(), "FROZEN" | "FREEZING" | "1"))
}

fn state_of(group: &Group) -> Option<String> {
    let read = |path: &Path, name: &str| std::fs::read_to_string(path.join(name)).ok();
    let v1 = group.v1.iter().find_map(|path| read(path, "freezer.state"));
    v1.or_else(|| group.v2.as_deref().and_then(|path| read(path, "cgroup.freeze")))
}

/// Freezes a container.
pub fn pause(global: &Global, given: &Given) -> Result<(), Failure> {
    let directory = Directory::open(global, given.id()?)?;
    let state = directory.read()?;
    if !matches!(directory.status(&state), Status::Running | Status::Created) {
        return Err(Failure::new("container not running or created: paused or stopped"));
    }
    set(&state.group(), true)
}

/// Lets it go on.
pub fn resume(global: &Global, given: &Given) -> Result<(), Failure> {
    let directory = Directory::open(global, given.id()?)?;
    let state = directory.read()?;
    if directory.status(&state) != Status::Paused {
        return Err(Failure::new("container not paused"));
    }
    set(&state.group(), false)
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

/// Freezes or thaws, and waits until it is so.
pub fn set(group: &Group, frozen: bool) -> Result<(), Failure> {
    let end = Instant::now() + PATIENCE;
    while group.set_frozen(frozen) {
        if settled(group, frozen) {
            return Ok(());
        }
        if Instant::now() > end {
            group.set_frozen(false);
            return Err(Failure::new("unable to freeze"));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Err(Failure::new("cannot freeze or thaw: there is no freezer"))
}

fn settled(group: &Group, frozen: bool) -> bool {
    let word = state_of(group).unwrap_or_default();
    match word.trim() {
        "FROZEN" => frozen,
        "THAWED" | "0" => !frozen,
        "1" => {
            let events = group.v2.as_deref().map(|path| path.join("cgroup.events"));
            let text = events.and_then(|file| std::fs::read_to_string(file).ok()).unwrap_or_default();
            frozen && text.lines().any(|line| line == "frozen 1")
        }
        _ => false,
    }
}
