//! What is kept of a container between commands: its state and its configuration, each a file written beside and renamed.

use std::collections::BTreeMap;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use minke_sys::cgroup::Group;
use minke_sys::procfs::Procfs;
use oci_spec::runtime::Spec;
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
    /// The root file system on the host.
    #[serde(default)]
    pub rootfs: PathBuf,
    /// When it was made, as the API writes times.
    #[serde(default)]
    pub created: String,
    /// `CLONE_NEW*` bits of its namespaces.
    #[serde(default)]
    pub namespaces: u64,
    /// Its pid namespace is its own: with the init, every process of it ends.
    #[serde(default)]
    pub own_pids: bool,
    /// The configuration's `cgroupsPath` as it was planned with.
    #[serde(default)]
    pub cgroups_path: String,
    /// The unit that it is in, with `--systemd-cgroup`.
    #[serde(default)]
    pub unit: String,
    /// Its program may be executed only by `start` (else it was `run`).
    #[serde(default)]
    pub has_gate: bool,
}

/// Where a container is, in the specification's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Being set up.
    Creating,
    /// Set up, waiting for `start`.
    Created,
    /// Running.
    Running,
    /// Frozen.
    Paused,
    /// Ended.
    Stopped,
}

impl Status {
    /// The specification's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

/// A container as commands print it, in the order that the field's readers expect.
#[derive(Serialize)]
pub struct Shown<'a> {
    #[serde(rename = "ociVersion")]
    oci_version: &'static str,
    id: &'a str,
    pid: i32,
    status: &'static str,
    bundle: &'a Path,
    rootfs: &'a Path,
    created: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
    owner: &'a str,
}

/// The state that hooks and listeners read.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Told<'a> {
    oci_version: &'static str,
    id: &'a str,
    status: &'static str,
    #[serde(skip_serializing_if = "is_zero")]
    pid: i32,
    bundle: &'a Path,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
}

fn is_zero(pid: &i32) -> bool {
    *pid == 0
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
                Err(Failure::new("container with given ID already exists"))
            }
            Err(error) => Err(failed(path.display().to_string())(error)),
            Ok(()) => Ok(Self { path }),
        }
    }

    /// Finds it.
    pub fn open(global: &Global, id: &str) -> Result<Self, Failure> {
        let path = global.root.join(id);
        if path.is_dir() { Ok(Self { path }) } else { Err(Failure::new("container does not exist")) }
    }

    /// Finds all, in the order of their ids.
    pub fn all(global: &Global) -> Vec<Self> {
        let entries = std::fs::read_dir(&global.root).into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> =
            entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
        paths.sort();
        paths.into_iter().map(|path| Self { path }).collect()
    }

    /// The named pipe at which a created container waits.
    pub fn gate(&self) -> PathBuf {
        self.path.join("start")
    }

    /// The named pipe by which it tells what kept it from its program; it ends when the program is executed.
    pub fn outcome(&self) -> PathBuf {
        self.path.join("outcome")
    }

    /// Writes the state.
    pub fn write(&self, state: &State) -> Result<(), Failure> {
        let text = serde_json::to_vec(state).map_err(failed("writing the state"))?;
        self.write_file("state.json", &text)
    }

    /// Writes the configuration.
    pub fn write_spec(&self, spec: &Spec) -> Result<(), Failure> {
        let text = serde_json::to_vec(spec).map_err(failed("writing the configuration"))?;
        self.write_file("config.json", &text)
    }

    fn write_file(&self, name: &str, text: &[u8]) -> Result<(), Failure> {
        let beside = self.path.join(format!("{name}.new"));
        std::fs::write(&beside, text).map_err(failed(beside.display().to_string()))?;
        std::fs::rename(&beside, self.path.join(name)).map_err(failed(format!("writing {name}")))
    }

    /// Reads the state.
    pub fn read(&self) -> Result<State, Failure> {
        let path = self.path.join("state.json");
        serde_json::from_slice(&read_limited(&path, LIMIT_BYTES)?).map_err(failed(path.display().to_string()))
    }

    /// Reads the configuration with which the container was made.
    pub fn read_spec(&self) -> Result<Spec, Failure> {
        let text = read_limited(&self.path.join("config.json"), minke_spec::config::CONFIG_LIMIT as u64)?;
        Ok(minke_spec::config::parse(&text)?)
    }

    /// Tells where the container is.
    pub fn status(&self, state: &State) -> Status {
        if state.pid == 0 {
            Status::Creating
        } else if !state.is_alive() {
            Status::Stopped
        } else if state.group().is_frozen() {
            Status::Paused
        } else if state.has_gate && self.gate().exists() {
            Status::Created
        } else {
            Status::Running
        }
    }

    /// Whose it is: the user's name, or number.
    pub fn owner(&self) -> String {
        let uid = std::fs::metadata(&self.path).map_or(0, |data| data.uid());
        let passwd = std::fs::read("/etc/passwd").unwrap_or_default();
        minke_spec::user::name_of(uid, &passwd).unwrap_or_else(|| uid.to_string())
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
    pub fn new(id: &str, bundle: &Path) -> Self {
        Self {
            version: VERSION,
            id: id.to_owned(),
            pid: 0,
            pid_start_ticks: 0,
            bundle: bundle.to_owned(),
            annotations: BTreeMap::new(),
            v2: None,
            v1: Vec::new(),
            rootfs: PathBuf::new(),
            created: crate::shim::render_time(minke_sys::process::now_ns()),
            namespaces: 0,
            own_pids: false,
            cgroups_path: String::new(),
            unit: String::new(),
            has_gate: false,
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

    /// Its state as commands print it.
    pub fn shown<'a>(&'a self, status: Status, owner: &'a str) -> Shown<'a> {
        Shown {
            oci_version: OCI_VERSION,
            id: &self.id,
            pid: if status == Status::Stopped { 0 } else { self.pid },
            status: status.word(),
            bundle: &self.bundle,
            rootfs: &self.rootfs,
            created: &self.created,
            annotations: &self.annotations,
            owner,
        }
    }

    /// Its state as hooks and listeners read it; `pid` 0 leaves the process out.
    pub fn told(&self, status: Status, pid: i32) -> String {
        let told = Told {
            oci_version: OCI_VERSION,
            id: &self.id,
            status: status.word(),
            pid,
            bundle: &self.bundle,
            annotations: &self.annotations,
        };
        serde_json::to_string(&told).unwrap_or_default()
    }
}

fn start_ticks(pid: i32) -> Option<u64> {
    Procfs::host().ok()?.start_time_ticks(pid).ok()
}

fn is_zombie(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']))
}
