//! What is kept of a container between commands: one file per container, written beside and renamed.

use std::collections::BTreeMap;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use minke_sys::cgroup::Group;
use minke_sys::procfs::Procfs;
use serde::{Deserialize, Serialize};

use super::arguments::Global;
use super::{Failure, failed};

/// The version of the runtime specification that is implemented.
pub const OCI_VERSION: &str = "1.3.0";

/// The version of the file.
const VERSION: u32 = 1;

/// The longest state file that is read.
const LIMIT_BYTES: u64 = 1 << 20;

/// A container.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct State {
    /// The version of this record.
    pub version: u32,
    /// The container's id.
    pub id: String,
    /// The init's pid; 0 before it is there.
    pub pid: i32,
    /// When it was started, in clock ticks since boot.
    pub pid_start_ticks: u64,
    /// The bundle's absolute path.
    pub bundle: PathBuf,
    /// The configuration's annotations.
    pub annotations: BTreeMap<String, String>,
    /// The cgroup2 directory.
    pub v2: Option<PathBuf>,
    /// The v1 directories.
    pub v1: Vec<PathBuf>,
}

/// Where a container is, in the specification's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Set up, waiting for `start`.
    Created,
    /// Running.
    Running,
    /// Ended.
    Stopped,
}

impl Status {
    /// The specification's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Stopped => "stopped",
        }
    }
}

/// The directory of a container.
pub struct Directory {
    path: PathBuf,
}

impl Directory {
    /// Makes it; a second container of the same id is refused.
    pub fn create(global: &Global, id: &str) -> Result<Self, Failure> {
        let mut builder = std::fs::DirBuilder::new();
        builder
            .mode(0o700)
            .recursive(true)
            .create(&global.root)
            .map_err(failed("creating the root directory"))?;
        let path = global.root.join(id);
        match builder.recursive(false).create(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                Err(Failure::new(format!("container with id {id} already exists")))
            }
            Err(error) => Err(failed(path.display().to_string())(error)),
            Ok(()) => Ok(Self { path }),
        }
    }

    /// Finds it.
    pub fn open(global: &Global, id: &str) -> Result<Self, Failure> {
        let path = global.root.join(id);
        if path.is_dir() {
            Ok(Self { path })
        } else {
            Err(Failure::new(format!("container {id} does not exist")))
        }
    }

    /// The named pipe at which a created container waits.
    pub fn gate(&self) -> PathBuf {
        self.path.join("start")
    }

    /// Writes the state.
    pub fn write(&self, state: &State) -> Result<(), Failure> {
        let text = serde_json::to_vec(state).map_err(failed("writing the state"))?;
        let beside = self.path.join("state.json.new");
        std::fs::write(&beside, text).map_err(failed(beside.display().to_string()))?;
        std::fs::rename(&beside, self.path.join("state.json")).map_err(failed("writing the state"))
    }

    /// Reads the state.
    pub fn read(&self) -> Result<State, Failure> {
        let path = self.path.join("state.json");
        serde_json::from_slice(&read_limited(&path, LIMIT_BYTES)?).map_err(failed(path.display().to_string()))
    }

    /// Tells where the container is.
    pub fn status(&self, state: &State) -> Status {
        if !state.is_alive() {
            Status::Stopped
        } else if self.gate().exists() {
            Status::Created
        } else {
            Status::Running
        }
    }

    /// Removes it.
    pub fn remove(self) -> Result<(), Failure> {
        std::fs::remove_dir_all(&self.path).map_err(failed(self.path.display().to_string()))
    }
}

/// Reads a file that must not be longer than `limit` bytes.
pub fn read_limited(path: &Path, limit: u64) -> Result<Vec<u8>, Failure> {
    use std::io::Read as _;
    let words = || path.display().to_string();
    let file = std::fs::File::open(path).map_err(failed(words()))?;
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(failed(words()))?;
    if bytes.len() as u64 > limit {
        return Err(Failure::new(format!("{} is longer than {limit} bytes", path.display())));
    }
    Ok(bytes)
}

impl State {
    /// A container that has no process yet.
    pub fn new(id: &str, bundle: &Path, annotations: BTreeMap<String, String>, group: &Group) -> Self {
        Self {
            version: VERSION,
            id: id.to_owned(),
            pid: 0,
            pid_start_ticks: 0,
            bundle: bundle.to_owned(),
            annotations,
            v2: group.v2.clone(),
            v1: group.v1.clone(),
        }
    }

    /// Sets the init.
    pub fn set_pid(&mut self, pid: i32) {
        self.pid = pid;
        self.pid_start_ticks = start_ticks(pid).unwrap_or(0);
    }

    /// Its control groups.
    pub fn group(&self) -> Group {
        Group { v2: self.v2.clone(), v1: self.v1.clone() }
    }

    /// Whether its init, and no later process of the same number, is there and no zombie.
    pub fn is_alive(&self) -> bool {
        self.pid > 0 && start_ticks(self.pid) == Some(self.pid_start_ticks) && !is_zombie(self.pid)
    }

    /// Its state as the specification has it.
    pub fn render(&self, status: Status) -> String {
        let pid = if status == Status::Stopped { 0 } else { self.pid };
        let value = serde_json::json!({
            "ociVersion": OCI_VERSION,
            "id": self.id,
            "pid": pid,
            "status": status.word(),
            "bundle": self.bundle,
            "annotations": self.annotations,
        });
        serde_json::to_string_pretty(&value).unwrap_or_default()
    }
}

fn start_ticks(pid: i32) -> Option<u64> {
    Procfs::host().ok()?.start_time_ticks(pid).ok()
}

fn is_zombie(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']))
}
