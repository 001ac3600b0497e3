//! Where a container's files are.

use std::path::{Path, PathBuf};

/// The files of one container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerPaths {
    /// `<data-root>/containers/<id>`.
    pub data: PathBuf,
    /// `<exec-root>/containers/<id>`: the shim's socket and records.
    pub runtime: PathBuf,
    /// The log in Docker's json-file format.
    pub log: PathBuf,
    /// The log in Docker's `local` format.
    pub local_log: PathBuf,
    /// What is bound to /etc/hostname; written at every start, like the next two, so it needs no disk.
    pub hostname: PathBuf,
    /// What is bound to /etc/hosts.
    pub hosts: PathBuf,
    /// What is bound to /etc/resolv.conf.
    pub resolv_conf: PathBuf,
    /// Which process the shim is.
    pub shim_note: PathBuf,
    /// What a client has asked for that is not done yet.
    pub wish: PathBuf,
    /// There while the container stands still for a commit, and for nothing else.
    pub held: PathBuf,
    /// The settings that an update is about to give a running container.
    pub updating: PathBuf,
    /// What the run has of networks.
    pub networks: PathBuf,
    /// There while a running container is connected or disconnected, and for nothing else.
    pub reconnecting: PathBuf,
    /// Where the shim listens.
    pub socket: PathBuf,
    /// What the shim writes when the container's process is there.
    pub state: PathBuf,
    /// What the shim writes when the container has ended.
    pub exit: PathBuf,
}

impl ContainerPaths {
    /// The files of the container `id` below an engine's roots.
    pub fn new(data_root: &Path, exec_root: &Path, id: &str) -> Self {
        let data = data_root.join("containers").join(id);
        let runtime = exec_root.join("containers").join(id);
        Self {
            log: data.join(format!("{id}-json.log")),
            local_log: data.join(crate::log::follow::LOCAL_FOLDER).join("container.log"),
            hostname: runtime.join("hostname"),
            hosts: runtime.join("hosts"),
            resolv_conf: runtime.join("resolv.conf"),
            shim_note: runtime.join("shim"),
            wish: runtime.join("wish"),
            held: runtime.join("held"),
            updating: runtime.join("updating"),
            networks: runtime.join("networks"),
            reconnecting: runtime.join("reconnecting"),
            socket: runtime.join("shim.sock"),
            state: runtime.join("state"),
            exit: runtime.join("exit"),
            data,
            runtime,
        }
    }

    /// The log of a container with this log driver.
    pub fn log_of(&self, driver: &str) -> &Path {
        if driver == "local" { &self.local_log } else { &self.log }
    }
}
