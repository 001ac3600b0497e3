//! The unit of a container, with systemd's driver: made before the container, ended by systemd with its last process. With the
//! other driver nothing here does anything.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use minke_model::Result;
use minke_spec::docker::ContainerSettings;
use minke_systemd::{Property, Scope, SetError};
use oci_spec::runtime::LinuxResources;

use super::record::Record;
use crate::engine::Shared;
use crate::place::start_holder;
use crate::readiness;

/// Makes the unit with the container's limits. A unit needs a process from its first moment: a shim that is never told
/// anything, which goes when the descriptor returned is closed.
///
/// # Errors
/// In the service manager's words.
pub fn make(
    shared: &Shared,
    record: &Record,
    generation: u64,
    settings: &ContainerSettings,
) -> Result<Option<OwnedFd>> {
    let Some(unit) = shared.place.unit(record, generation) else { return Ok(None) };
    let properties = properties(shared, settings)?;
    let (hold, pid) = start_holder(&shared.shim, None)?;
    let description = format!("minke container {}", record.id);
    minke_systemd::start(&Scope {
        name: &unit.name,
        slice: &unit.slice,
        description: &description,
        pid,
        properties,
    })?;
    Ok(Some(hold))
}

fn properties(shared: &Shared, settings: &ContainerSettings) -> Result<Vec<Property>> {
    let facts = &shared.host.facts;
    let resources = minke_spec::docker::resources(&settings.resources, facts)?;
    minke_systemd::container_properties(&resources, &minke_spec::docker::device_rules(settings)?)
}

/// Gives the unit of a running container other limits, so that systemd writes the same ones as the engine.
///
/// # Errors
/// In the service manager's words.
pub fn change(shared: &Shared, record: &Record, generation: u64, limits: &LinuxResources) -> Result<()> {
    let path = shared.cgroup_path(record, generation);
    // A run that an engine with the other driver has started has none.
    let Some(unit) = unit_at(&path) else { return Ok(()) };
    let properties = minke_systemd::limit_properties(limits)?;
    match tokio::task::block_in_place(|| minke_systemd::set_properties(unit, &properties)) {
        Ok(()) | Err(SetError::NoUnit) => Ok(()),
        Err(SetError::Refused(error)) => Err(error),
    }
}

/// The unit that a group belongs to, by its path; none: the group is no unit's.
fn unit_at(path: &str) -> Option<&str> {
    path.rsplit('/').next().filter(|name| name.ends_with(".scope"))
}

/// Ends the unit of a run that has ended, by its group's path. systemd does so by itself when it sees the group empty, which it
/// never does where the group was removed before: so this comes first.
pub fn end(path: &str) {
    if let Some(unit) = unit_at(path)
        && let Err(error) = minke_systemd::stop(unit)
    {
        tracing::warn!(%error, unit, "a container's unit is left");
    }
}

/// Watches for the kernel to kill a process of the unit for want of memory: systemd may have removed the group by the time that
/// its end is looked at. Must be called inside the runtime.
pub fn watch(shared: &Arc<Shared>, record: &Record, generation: u64) {
    if shared.place.unit(record, generation).is_none() {
        return;
    }
    let Some(file) = shared.group(record, generation).v2.map(|path| path.join("memory.events")) else {
        return;
    };
    let (shared, run) = (shared.clone(), (record.id.clone(), generation));
    tokio::spawn(async move {
        if killed(file).await {
            shared.oom_kills.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).insert(run);
        }
    });
}

/// Waits until the file counts a kill; false when the group is gone.
async fn killed(path: PathBuf) -> bool {
    let Ok(file) = std::fs::File::open(path) else { return false };
    let Ok(descriptor) = file.try_clone() else { return false };
    let Ok(watched) = readiness::watch_priority(descriptor.into()) else { return false };
    let mut text = String::new();
    loop {
        text.clear();
        let mut from_start = &file;
        let read = std::io::Seek::rewind(&mut from_start)
            .and_then(|()| std::io::Read::read_to_string(&mut from_start, &mut text));
        if read.is_err() {
            return false;
        }
        if minke_sys::cgroup::oom_kills_of(&text) > 0 {
            return true;
        }
        match watched.ready(tokio::io::Interest::PRIORITY).await {
            Ok(mut ready) => ready.clear_ready(),
            Err(_) => return false,
        }
    }
}

/// Whether the kernel has killed a process of the run for want of memory.
pub fn oom_killed(shared: &Shared, record: &Record, generation: u64) -> bool {
    if shared.group(record, generation).oom_kills() > 0 {
        return true;
    }
    let run = (record.id.clone(), generation);
    shared.oom_kills.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).remove(&run)
}
