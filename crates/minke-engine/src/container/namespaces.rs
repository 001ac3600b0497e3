//! Namespaces that a container shares with another one: named at its creation, joined at each start, while the other runs.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use minke_api::container::{ContainerConfig, HostConfig};
use minke_model::{Context as _, Error, Result};
use minke_sys::mount::{self, ATTR_NODEV, ATTR_NOEXEC, ATTR_NOSUID};

use super::handle::View;
use super::lifecycle::State;
use super::paths::ContainerPaths;
use super::record::Record;
use crate::engine::Shared;

/// What a start joins.
#[derive(Clone, Debug, Default)]
pub struct Joined {
    /// The path of a network namespace.
    pub network: Option<String>,
    /// The files of the container whose network it is: its `/etc/hosts` and so on are shared.
    pub network_files: Option<ContainerPaths>,
    /// The path of a process namespace.
    pub pid: Option<String>,
    /// The path of an IPC namespace, and the other's `/dev/shm` on the host.
    pub ipc: Option<(String, String)>,
    /// The path of the user namespace that what is joined belongs to.
    pub user: Option<String>,
    /// The container's own `/dev/shm` on the host, where others may join it.
    pub shm: Option<String>,
}

/// The container that a mode names.
pub fn target(mode: &str) -> Option<&str> {
    mode.strip_prefix("container:")
}

/// Checks the modes of a request, and names other containers by their ids, which renaming doesn't change.
///
/// # Errors
/// Docker's words for a mode that isn't one, a container that isn't there, and settings that contradict each other.
pub fn settle(shared: &Shared, config: &mut ContainerConfig, host: &mut HostConfig) -> Result<()> {
    let invalid = |words: String| Err(Error::invalid(words));
    let known = |mode: &str, words: &[&str]| {
        words.contains(&mode) || target(mode).is_some_and(|name| !name.is_empty())
    };
    if !known(&host.pid_mode, &["", "host", "private"]) {
        return invalid(format!("invalid PID mode: {}", host.pid_mode));
    }
    if !known(&host.ipc_mode, &["", "none", "host", "private", "shareable"]) {
        return invalid(format!("invalid IPC mode: {}", host.ipc_mode));
    }
    if !matches!(host.uts_mode.as_str(), "" | "host") {
        return invalid(format!("invalid UTS mode: {}", host.uts_mode));
    }
    if !matches!(host.userns_mode.as_str(), "" | "host") {
        return invalid(format!("invalid user namespace mode: {}", host.userns_mode));
    }
    if !matches!(host.cgroupns_mode.as_str(), "" | "private" | "host") {
        return invalid(format!("invalid cgroup namespace mode: {}", host.cgroupns_mode));
    }
    if shared.remap.is_some() {
        check_remapped(host)?;
    }
    if host.uts_mode == "host" && !config.hostname.is_empty() {
        return invalid("conflicting options: hostname and the UTS mode".into());
    }
    if target(&host.network_mode).is_some() {
        check_shared_network(config, host)?;
    }
    for mode in [&mut host.pid_mode, &mut host.ipc_mode, &mut host.network_mode] {
        let Some(name) = target(mode) else { continue };
        // One that is not there may be by the time of the start, which tells otherwise.
        let Ok(other) = shared.containers.resolve(name) else { continue };
        *mode = format!("container:{}", other.id);
    }
    if let Some(id) = target(&host.network_mode)
        && let Ok(other) = shared.containers.resolve(id)
    {
        let other = other.view();
        config.hostname.clone_from(&other.record.config.hostname);
        config.domainname.clone_from(&other.record.config.domainname);
    }
    Ok(())
}

/// What a container with a user namespace can't share with the host.
fn check_remapped(host: &HostConfig) -> Result<()> {
    let conflicts = [
        (
            host.privileged,
            "privileged mode is incompatible with user namespaces.  You must run the container in the host namespace when running privileged mode",
        ),
        (
            host.network_mode == "host",
            "cannot share the host's network namespace when user namespaces are enabled",
        ),
        (host.pid_mode == "host", "cannot share the host PID namespace when user namespaces are enabled"),
    ];
    let found = conflicts.iter().find(|(found, _)| *found && host.userns_mode != "host");
    found.map_or(Ok(()), |(_, words)| Err(Error::invalid(*words)))
}

/// What is the other container's can't be set for this one.
fn check_shared_network(config: &ContainerConfig, host: &HostConfig) -> Result<()> {
    let some = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|list| !list.is_empty());
    let conflicts = [
        (target(&host.network_mode) == Some(""), "invalid container format container:<name|id>"),
        (!config.hostname.is_empty(), "conflicting options: hostname and the network mode"),
        (
            some(&host.links),
            "conflicting options: container type network can't be used with links. This would result in undefined behavior",
        ),
        (some(&host.dns), "conflicting options: dns and the network mode"),
        (some(&host.extra_hosts), "conflicting options: custom host-to-IP mapping and the network mode"),
        (
            host.publish_all_ports || host.port_bindings.as_ref().is_some_and(|ports| !ports.is_empty()),
            "conflicting options: port publishing and the container type network mode",
        ),
        (
            !config.exposed_ports.is_empty(),
            "conflicting options: port exposing and the container type network mode",
        ),
    ];
    match conflicts.iter().find(|(found, _)| *found) {
        Some((_, words)) => Err(Error::invalid(*words)),
        None => Ok(()),
    }
}

/// Finds what a start of the container joins, and makes what others may join.
///
/// # Errors
/// Docker's words for a container that doesn't run or doesn't share.
pub fn join(shared: &Shared, record: &Record) -> Result<Joined> {
    let host = &record.host_config;
    let mut joined = Joined::default();
    if let Some(id) = target(&host.network_mode) {
        let pid = match running(shared, id) {
            _ if id == record.id => return Err(Error::invalid("cannot join own network")),
            Ok((_, pid)) => pid,
            Err(NotRunning::Gone(error)) => return Err(error),
            Err(_) => {
                return Err(Error::conflict(format!("cannot join network of a non running container: {id}")));
            }
        };
        // Who shares namespaces has to share the one that they belong to.
        joined.user = Some(namespace(pid, "user"));
        joined.network = Some(namespace(pid, "net"));
        joined.network_files = Some(shared.paths(id));
    }
    if let Some(id) = target(&host.pid_mode) {
        let failed = |error: NotRunning| error.into_error("failed to join PID namespace", id);
        let (_, pid) = running(shared, id).map_err(failed)?;
        joined.user = Some(namespace(pid, "user"));
        joined.pid = Some(namespace(pid, "pid"));
    }
    if let Some(id) = target(&host.ipc_mode) {
        let failed = |error: NotRunning| error.into_error("failed to join IPC namespace", id);
        let (view, pid) = running(shared, id).map_err(failed)?;
        if view.record.host_config.ipc_mode != "shareable" {
            return Err(Error::invalid(format!(
                "failed to join IPC namespace: container {id}: non-shareable IPC (hint: use IpcMode:shareable for the donor container)"
            )));
        }
        joined.user = Some(namespace(pid, "user"));
        joined.ipc = Some((namespace(pid, "ipc"), shm_of(&shared.paths(id))));
    }
    if host.ipc_mode == "shareable" {
        let owner = shared.remap_of(record).map_or((0, 0), |remap| remap.map().root());
        let label = record.file_label().filter(|_| shared.selinux.is_some());
        joined.shm = Some(make_shm(&shared.paths(&record.id), host.shm_size, owner, label)?);
    }
    Ok(joined)
}

/// Lets go of what [`join`] has made.
pub fn release(shared: &Shared, record: &Record) {
    if record.host_config.ipc_mode == "shareable" {
        let shm = shm_of(&shared.paths(&record.id));
        while is_mounted(Path::new(&shm)) && mount::detach_path(&shm).is_ok() {}
    }
}

enum NotRunning {
    Gone(Error),
    Ended,
    Restarting,
}

impl NotRunning {
    fn into_error(self, action: &str, id: &str) -> Error {
        match self {
            Self::Gone(error) => Error::invalid(format!("{action}: {error}")),
            Self::Ended => Error::invalid(format!("{action}: container {id} is not running")),
            Self::Restarting => Error::invalid(format!("{action}: container {id} is restarting")),
        }
    }
}

fn running(shared: &Shared, id: &str) -> Result<(Arc<View>, i32), NotRunning> {
    let view = shared.containers.resolve(id).map_err(NotRunning::Gone)?.view();
    match (view.lifecycle.run(), &view.lifecycle.state) {
        (Some(run), _) => Ok((view.clone(), run.pid)),
        (None, State::Restarting(_)) => Err(NotRunning::Restarting),
        (None, _) => Err(NotRunning::Ended),
    }
}

fn namespace(pid: i32, kind: &str) -> String {
    format!("/proc/{pid}/ns/{kind}")
}

fn shm_of(paths: &ContainerPaths) -> String {
    paths.runtime.join("shm").to_string_lossy().into_owned()
}

/// Memory that is mounted on the host, as only there can others find it.
fn make_shm(
    paths: &ContainerPaths,
    size: i64,
    (uid, gid): (u32, u32),
    label: Option<String>,
) -> Result<String> {
    let path = shm_of(paths);
    let make = || -> std::io::Result<()> {
        match std::fs::create_dir(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        if is_mounted(Path::new(&path)) {
            mount::detach_path(&path)?;
        }
        let context = mount::Context::new("tmpfs")?;
        let (size, uid, gid) = (size.to_string(), uid.to_string(), gid.to_string());
        let options = [("source", "shm"), ("mode", "1777"), ("size", &*size), ("uid", &*uid), ("gid", &*gid)];
        for (key, value) in options {
            context.set(key, Some(value))?;
        }
        if let Some(label) = &label {
            context.set("context", Some(label))?;
        }
        context.create()?;
        Ok(mount::attach_at(context.mount(ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC)?, &path)?)
    };
    make().context("making the container's shared memory")?;
    Ok(path)
}

fn is_mounted(path: &Path) -> bool {
    let device = |path: &Path| std::fs::symlink_metadata(path).ok().map(|found| found.dev());
    let own = device(path);
    own.is_some() && own != path.parent().and_then(device)
}
