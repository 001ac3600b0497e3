//! Where the engine's control groups are: those of containers, and of shims, which outlive the engine's service.
//!
//! ```text
//!  no systemd      /minke/ID                                       /minke-shims
//!  under systemd   /system.slice/minke-containers.scope/minke/ID   /system.slice/minke-containers.scope/minke-shims
//!  its driver      /system.slice/minke-ID.scope                    (as above)
//! ```
//! Under systemd (cgroup v2) everything that must outlive the engine is in one delegated unit, made by one call at the engine's
//! start: what is not delegated loses its controllers to the next unit that starts. It is not the engine's own service, since
//! a service can't be started again in a group whose groups below have controllers. A unit ends with its last process, so a
//! shim that is never told anything holds it as long as the engine runs. Why so: docs/design/systemd.md.

use std::collections::HashMap;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::RwLock;
use std::time::Duration;

use minke_model::{Context as _, Error, ErrorKind, Result};
use minke_sys::cgroup::Group;
use minke_sys::spawn::{Image as ShimImage, Start};
use minke_systemd::{Scope, Value};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use sha2::{Digest as _, Sha256};

use crate::EngineOptions;
use crate::container::record::Record;
use crate::container::shims;
use crate::host::Host;
use crate::network::netd::MakeHome;

/// Who makes the control groups of containers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CgroupDriver {
    /// The engine itself.
    #[default]
    Cgroupfs,
    /// The service manager, a unit for each container.
    Systemd,
}

impl CgroupDriver {
    /// The word in info.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cgroupfs => "cgroupfs",
            Self::Systemd => "systemd",
        }
    }
}

/// Seconds that containers have at the host's shutdown, if the engine did not stop them.
const STOP_S: u64 = 15;
/// The slice of units that name none.
const SYSTEM_SLICE: &str = "system.slice";
/// How often a unit's name is tried that is still taken by one that ends.
const TRIES: u32 = 50;

/// The places of one engine.
pub struct Place {
    /// Who makes containers' groups.
    pub driver: CgroupDriver,
    /// What all names of this engine begin with.
    name: String,
    /// The group above containers', from the mount points; with systemd's driver, that of the slice.
    parent: String,
    /// The slice of containers that name none.
    slice: String,
    /// The group of shims.
    shims: String,
    /// Those groups, open.
    pub shim_home: ShimHome,
    /// The other end of what holds the unit; it goes with the engine.
    _hold: Option<OwnedFd>,
    /// Runs that an engine with other settings has started: container, generation and path.
    elsewhere: RwLock<HashMap<String, (u64, String)>>,
}

/// The control groups that shims are born in.
#[derive(Debug, Default)]
pub struct ShimHome {
    /// The directory in the unified hierarchy.
    pub v2: Option<OwnedFd>,
    /// The `tasks` files of v1 hierarchies.
    pub v1: Vec<OwnedFd>,
}

/// The unit of a container.
pub struct Unit {
    /// Its name.
    pub name: String,
    /// Its slice.
    pub slice: String,
}

impl Place {
    /// Decides and makes them. Must be called inside the runtime.
    ///
    /// # Errors
    /// systemd's driver without systemd or cgroup v2, or with a parent that is no slice.
    pub fn make(host: &Host, options: &EngineOptions, shim: &ShimImage) -> Result<Self> {
        let name = own_name(&options.exec_root);
        let driver = options.cgroup_driver;
        let given = options.cgroup_parent.as_deref().filter(|parent| !parent.is_empty());
        let slice = given.unwrap_or(SYSTEM_SLICE).to_owned();
        let running = minke_systemd::is_running();
        if driver == CgroupDriver::Systemd {
            if !running {
                return Err(Error::invalid(minke_systemd::NOT_RUNNING));
            }
            if !host.cgroup2() {
                return Err(Error::invalid(
                    "the systemd cgroup driver needs cgroup v2 alone: leave native.cgroupdriver=systemd out on this host",
                ));
            }
            minke_systemd::check_parent(&slice)?;
        }
        let home = match running && host.cgroup2() && !host.facts.in_user_namespace {
            true => match home(host, &name, shim) {
                Ok(home) => Some(home),
                Err(error) if driver == CgroupDriver::Systemd => return Err(error),
                Err(error) => {
                    tracing::warn!(%error, "no unit for containers: systemd may take controllers from them");
                    None
                }
            },
            false => None,
        };
        let (top, hold) = home.map_or((String::new(), None), |(path, hold)| (path, Some(hold)));
        let (parent, shims) = match (driver, given) {
            (CgroupDriver::Systemd, _) => (minke_systemd::slice_path(&slice)?, format!("{top}/{name}-shims")),
            (_, Some(own)) => {
                let parent = format!("/{}", own.trim_matches('/'));
                let beside = if top.is_empty() { parent.clone() } else { format!("{top}/{name}") };
                (parent, format!("{beside}-shims"))
            }
            (_, None) => (format!("{top}/{name}"), format!("{top}/{name}-shims")),
        };
        let shim_home = ShimHome::make(host, &shims)?;
        Ok(Self { driver, name, parent, slice, shims, shim_home, _hold: hold, elsewhere: RwLock::default() })
    }

    /// The group above containers', from the mount points.
    pub fn parent(&self) -> &str {
        &self.parent
    }

    /// The group of shims, from the mount points.
    pub fn shims(&self) -> &str {
        &self.shims
    }

    /// The group of netd, beside that of shims, from the mount points.
    pub fn netd(&self) -> String {
        format!("{}-netd", self.shims.trim_end_matches("-shims"))
    }

    /// What makes the groups that netd is born in, when there is something for it to do.
    pub fn netd_home(&self, host: &Host) -> MakeHome {
        let group = host.group(&self.netd());
        let mount = host.found.cgroup2.as_ref().map(|unified| unified.mount.clone()).unwrap_or_default();
        Box::new(move || ShimHome::of(&group, &mount, "making the control group of netd"))
    }

    /// The control group of a container's run, from the mount points.
    pub fn cgroup_path(&self, record: &Record, generation: u64) -> String {
        let elsewhere = self.elsewhere.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        match elsewhere.get(&record.id) {
            Some((other, path)) if *other == generation => path.clone(),
            _ => self.planned_path(record, generation),
        }
    }

    fn planned_path(&self, record: &Record, generation: u64) -> String {
        if let Some(unit) = self.unit(record, generation) {
            let slice = minke_systemd::slice_path(&unit.slice).unwrap_or_else(|_| self.parent.clone());
            return format!("{slice}/{}", unit.name);
        }
        let parent = match record.host_config.cgroup_parent.trim_matches('/') {
            "" => self.parent.clone(),
            own => format!("/{own}"),
        };
        format!("{parent}/{}", run_name(&record.id, generation))
    }

    /// The unit that a run is started in, with systemd's driver.
    pub fn unit(&self, record: &Record, generation: u64) -> Option<Unit> {
        if self.driver != CgroupDriver::Systemd {
            return None;
        }
        let own = &record.host_config.cgroup_parent;
        // One that was made for the other driver has a parent that is no slice.
        let slice = if minke_systemd::check_parent(own).is_ok() { own } else { &self.slice };
        let name = format!("{}-{}.scope", self.name, run_name(&record.id, generation));
        Some(Unit { name, slice: slice.clone() })
    }

    /// The container and the generation that a directory in [`Place::parent`] is of, if it is this engine's.
    pub fn parse_name<'a>(&self, directory: &'a str) -> Option<(&'a str, u64)> {
        let run = match self.driver {
            CgroupDriver::Cgroupfs => directory,
            CgroupDriver::Systemd => {
                directory.strip_prefix(&self.name)?.strip_prefix('-')?.strip_suffix(".scope")?
            }
        };
        let (id, generation) = run.split_once('.').unwrap_or((run, "1"));
        let is_id = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        Some((id, generation.parse().ok()?)).filter(|_| is_id)
    }

    /// Takes note of where a run is whose engine had other settings, from what the kernel says of a process in it.
    pub fn take_note(&self, host: &Host, record: &Record, generation: u64, pid: i32) {
        // What the kernel says may begin above the mount points, so the group itself is asked.
        let is_in = |path: &str| host.group(path).pids().contains(&pid);
        if is_in(&self.planned_path(record, generation)) {
            return;
        }
        let Ok(text) = std::fs::read_to_string(format!("/proc/{pid}/cgroup")) else { return };
        if let Some(found) = found_path(&text, &record.id).filter(|path| is_in(path)) {
            let mut elsewhere = self.elsewhere.write().unwrap_or_else(|poisoned| poisoned.into_inner());
            elsewhere.insert(record.id.clone(), (generation, found));
        }
    }
}

/// What a run is called: the first is called as the container.
fn run_name(id: &str, generation: u64) -> String {
    if generation < 2 { id.to_owned() } else { format!("{id}.{generation}") }
}

/// The group named after the container, in the text of `/proc/PID/cgroup`; what it has made below doesn't count.
fn found_path(text: &str, id: &str) -> Option<String> {
    text.lines().filter_map(|line| line.splitn(3, ':').nth(2)).find_map(|path| {
        let from = path.find(id)?;
        let end = path[from..].find('/').map_or(path.len(), |length| from + length);
        Some(path[..end].to_owned())
    })
}

/// Makes the unit, unless something lives in it from an earlier engine; returns its group and what holds it.
fn home(host: &Host, name: &str, shim: &ShimImage) -> Result<(String, OwnedFd)> {
    let unit = format!("{name}-containers.scope");
    let path = format!("/{SYSTEM_SLICE}/{unit}");
    let group = host.group(&format!("{path}/{name}-shims"));
    let directory = group.v2.clone().unwrap_or_default();
    for _ in 0..TRIES {
        if let Ok(Some(inside)) = group.open_v2()
            && let Ok((hold, _)) = start_holder(shim, Some(&inside))
        {
            return Ok((path, hold));
        }
        let (hold, pid) = start_holder(shim, None)?;
        match minke_systemd::start(&scope(&unit, pid)) {
            Ok(()) => {
                let failed = "entering the unit of containers";
                // Its own group has to be without processes before it can pass controllers on.
                std::fs::create_dir_all(&directory).context(failed)?;
                minke_sys::cgroup::write_value(&directory.join("cgroup.procs"), &pid.to_string())
                    .context(failed)?;
                return Ok((path, hold));
            }
            Err(error) if error.kind() == ErrorKind::Conflict => {
                std::thread::sleep(Duration::from_millis(50))
            }
            Err(error) => return Err(error),
        }
    }
    Err(Error::system(format!("the unit {unit} is there but can't be entered")))
}

/// Starts a process that does nothing: a shim that is never told anything. It goes when the descriptor is closed. Must be called
/// inside the runtime.
pub fn start_holder(shim: &ShimImage, cgroup: Option<&OwnedFd>) -> Result<(OwnedFd, i32)> {
    let failed = "starting what holds a unit";
    let (hold, control) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .context(failed)?;
    let cgroup = cgroup.map(|fd| fd.as_fd());
    let arguments: &[&str] = &["minke-shim", "hold"];
    let started = shim
        .start(Start {
            control: control.as_fd(),
            arguments,
            cgroup,
            v1_tasks: &[],
            namespaces: 0,
            users: None,
        })
        .context(failed)?;
    let pid = started.pid;
    shims::adopt(started);
    Ok((hold, pid))
}

fn scope(unit: &str, pid: i32) -> Scope<'_> {
    Scope {
        name: unit,
        slice: SYSTEM_SLICE,
        description: "minke containers and their shims",
        pid,
        properties: vec![
            ("TasksMax".into(), Value::U64(u64::MAX)),
            ("TimeoutStopUSec".into(), Value::U64(STOP_S * 1_000_000)),
        ],
    }
}

impl ShimHome {
    fn make(host: &Host, path: &str) -> Result<Self> {
        let mount = host.found.cgroup2.as_ref().map(|unified| unified.mount.clone()).unwrap_or_default();
        Self::of(&host.group(path), &mount, "making the control group of shims")
    }

    fn of(group: &Group, mount: &Path, failed: &'static str) -> Result<Self> {
        if let Some(v2) = &group.v2 {
            minke_sys::cgroup::make_v2(mount, v2, &[]).context(failed)?;
        }
        for directory in &group.v1 {
            minke_sys::cgroup::make_v1(directory).context(failed)?;
        }
        let directories: Vec<&Path> = group.v1.iter().map(|path| path.as_path()).collect();
        Ok(Self {
            v2: group.open_v2().context(failed)?,
            v1: minke_sys::spawn::open_tasks(&directories).context(failed)?,
        })
    }
}

/// The name that everything in the kernel gets which belongs to the engine with this exec root.
fn own_name(exec_root: &Path) -> String {
    if exec_root == Path::new("/run/minke") {
        return "minke".into();
    }
    let sum = Sha256::digest(exec_root.as_os_str().as_encoded_bytes());
    let digits: String = sum.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("minke-{digits}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(driver: CgroupDriver) -> Place {
        Place {
            driver,
            name: "minke".into(),
            parent: if driver == CgroupDriver::Systemd { "/system.slice" } else { "/minke" }.into(),
            slice: SYSTEM_SLICE.into(),
            shims: String::new(),
            shim_home: ShimHome::default(),
            _hold: None,
            elsewhere: RwLock::default(),
        }
    }

    fn record(parent: &str) -> Record {
        let (mut record, _) = Record::parse(include_bytes!("container/record-v1.json")).unwrap();
        (record.id, record.host_config.cgroup_parent) = ("a".repeat(64), parent.into());
        record
    }

    #[test]
    fn a_run_is_below_the_parent_or_a_unit_of_the_slice() {
        let id = "a".repeat(64);
        let own = place(CgroupDriver::Cgroupfs);
        assert_eq!(own.cgroup_path(&record(""), 1), format!("/minke/{id}"));
        assert_eq!(own.cgroup_path(&record("/x/"), 2), format!("/x/{id}.2"));
        let units = place(CgroupDriver::Systemd);
        assert_eq!(units.cgroup_path(&record(""), 1), format!("/system.slice/minke-{id}.scope"));
        assert_eq!(
            units.cgroup_path(&record("a-b.slice"), 2),
            format!("/a.slice/a-b.slice/minke-{id}.2.scope")
        );
        assert_eq!(units.unit(&record("/x"), 1).unwrap().slice, SYSTEM_SLICE, "made for the other driver");
    }

    #[test]
    fn only_own_names_are_parsed() {
        let id = "a".repeat(64);
        let own = place(CgroupDriver::Cgroupfs);
        assert_eq!(own.parse_name(&id), Some((id.as_str(), 1)));
        assert_eq!(own.parse_name(&format!("{id}.3")), Some((id.as_str(), 3)));
        assert_eq!(own.parse_name("init.scope"), None);
        let units = place(CgroupDriver::Systemd);
        assert_eq!(units.parse_name(&format!("minke-{id}.3.scope")), Some((id.as_str(), 3)));
        assert_eq!(units.parse_name(&format!("minke-0123abcd-{id}.scope")), None, "another engine's");
        assert_eq!(units.parse_name("minke-containers.scope"), None);
        assert_eq!(units.parse_name(&id), None);
    }

    #[test]
    fn a_run_is_found_where_another_engine_has_put_it() {
        let id = "a".repeat(64);
        let text = format!("4:memory:/x/{id}/deeper\n0::/\n");
        assert_eq!(found_path(&text, &id), Some(format!("/x/{id}")));
        let text = format!("0::/system.slice/minke-{id}.2.scope\n");
        assert_eq!(found_path(&text, &id), Some(format!("/system.slice/minke-{id}.2.scope")));
        assert_eq!(found_path("0::/\n", &id), None);
        let place = place(CgroupDriver::Cgroupfs);
        let record = record("");
        place.elsewhere.write().unwrap().insert(record.id.clone(), (2, "/x".into()));
        assert_eq!(place.cgroup_path(&record, 2), "/x");
        assert_eq!(place.cgroup_path(&record, 3), format!("/minke/{id}.3"));
    }
}
