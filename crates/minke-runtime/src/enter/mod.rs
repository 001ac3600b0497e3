//! The start of a container's first process, and of further ones.
//!
//! ```text
//! caller (shim or `minke oci`)             child
//!   Sources::open: binds, namespaces ...
//!   clone3 ------------------------------>  joins its control groups, waits for the user maps
//!   writes the user maps -- go -->          mounts, devices, pivot_root, user, capabilities, filter
//!   <-- Terminal + fd / Ready / Failed --
//!   [Continue] -- go -->                    (wait_for_start)
//!   <-- Executing --                        execve: the socket closes
//! ```
//! Everything that names a host path is opened before clone3 in the caller's mount namespace; the child resolves names only
//! inside the new root (OCI runtime specification, config-linux and lifecycle).

mod attendant;
mod child;
pub mod init;
mod join;
mod lookup;
mod mounts;
mod net_devices;
mod process;
mod sources;

use alloc::format;
use alloc::string::String;

use minke_spec::plan::{NamespacePlan, StartPlan};
use minke_spec::shim::ShimError;
use minke_sys::process::{Clone, Cloned};
use minke_sys::procfs::Procfs;
use minke_sys::{AsFd, OwnedFd, channel, process as kernel, rooted};
use serde::{Deserialize, Serialize};

use crate::failure::{self, Result};
pub use attendant::{Alone, Attendant};
pub use join::{ExecContext, launch_exec};
pub use sources::Sources;

/// What the child is given as its standard streams.
pub enum ChildStreams {
    /// These three.
    Files([OwnedFd; 3]),
    /// A new terminal of the container's own devpts, whose controlling side is reported; its size in rows and columns.
    Terminal(Option<(u16, u16)>),
    /// The caller's own.
    Inherited,
}

/// What a child reports before it executes its program.
#[derive(Debug, Serialize, Deserialize)]
pub enum Report {
    /// It can't go on.
    Failed(ShimError),
    /// The controlling side of its terminal is the report's descriptor.
    Terminal,
    /// The container's process has this pid (the reporting one only helped it into the namespaces).
    Pid(i32),
    /// Its namespaces and mounts are there, and it waits for [`Launched::go`] ([`Attendant::asks_caller`]).
    Created,
    /// The report's descriptor is the listener of its filter.
    Listener,
    /// Everything is set up; it waits for [`Launched::go`].
    Ready,
    /// It executes the program now; the end of the connection says that this has worked.
    Executing,
}

/// The limits of reports.
const LIMITS: channel::Limits = channel::Limits { inline: 16 * 1024, message: 16 * 1024, large_mark: 0xff };

/// A child on its way to its program.
#[derive(Debug)]
pub struct Launched {
    /// Its pid; unknown until [`Report::Pid`] if it is made in two steps.
    pub pid: Option<i32>,
    /// Its pidfd.
    pub pidfd: Option<OwnedFd>,
    /// Where it reports; at the end of the connection it has executed its program or ended.
    pub status: OwnedFd,
}

impl Launched {
    /// Receives one report and its descriptor; `None` at the end. `AGAIN` if the socket is non-blocking and nothing is there.
    pub fn report(&self) -> minke_sys::Result<Option<(Report, Option<OwnedFd>)>> {
        let Some(mut received) = channel::receive(&self.status, LIMITS)? else { return Ok(None) };
        let packet = minke_spec::shim::decode(&received.body).map_err(|_| minke_sys::Errno::INVAL)?;
        Ok(Some((packet.body, received.descriptors.pop())))
    }

    /// Lets a child that is [`Report::Ready`] execute its program.
    pub fn go(&self) -> minke_sys::Result<()> {
        channel::send(&self.status, &[GO], &[], LIMITS)
    }

    /// Learns the pid of a child that is made in two steps.
    pub fn found_pid(&mut self, pid: i32) -> minke_sys::Result<()> {
        self.pidfd = Some(kernel::pidfd_open(pid)?);
        self.pid = Some(pid);
        Ok(())
    }
}

const GO: u8 = 1;

/// The child's side of the connection.
pub(crate) struct Reporter(pub(crate) OwnedFd);

impl Reporter {
    /// By the plainest of calls: a container's filter is in force for the last reports.
    pub(crate) fn send(&self, report: &Report) {
        if let Ok(bytes) = minke_spec::shim::encode(0, report) {
            let _ = minke_sys::descriptor::write(&self.0, &bytes);
        }
    }

    pub(crate) fn send_with(&self, report: &Report, descriptors: &[minke_sys::BorrowedFd<'_>]) {
        if let Ok(bytes) = minke_spec::shim::encode(0, report) {
            let _ = channel::send(&self.0, &bytes, descriptors, LIMITS);
        }
    }

    /// Waits for the caller's word; without it (the caller is gone) the child must not go on.
    fn wait_for_go(&self) -> bool {
        let mut word = [0; 8];
        matches!(minke_sys::descriptor::read(&self.0, &mut word), Ok(Some(1)) if word[0] == GO)
    }

    fn fail(&self, error: ShimError) -> ! {
        self.send(&Report::Failed(error));
        kernel::exit(1)
    }
}

/// Starts the first process of a container as a child of the caller.
///
/// The caller must be single-threaded. The child waits for [`Launched::go`] if the plan or its attendant says so.
pub fn launch(
    plan: &StartPlan,
    sources: Sources,
    streams: ChildStreams,
    attendant: &dyn Attendant,
) -> Result<Launched> {
    let (ours, theirs) = channel::pair().map_err(failure::setup("making a socket pair"))?;
    let reporter = Reporter(theirs);
    // A process is born in a joined pid namespace, and its new namespaces belong to a joined user namespace.
    let joins_first = sources.namespaces.iter().any(|(kind, _)| kind & child::JOINED_FIRST != 0);
    let how = Clone {
        // On v1 the control group namespace is made after the child has joined its groups: its root is where it then is.
        namespaces: if joins_first {
            0
        } else {
            namespaces_of_clone(&plan.namespaces, plan.cgroup.v1.is_empty())
        },
        cgroup: sources.cgroup.as_ref().map(|fd| fd.as_fd()),
        sibling: false,
    };
    match kernel::clone(how).map_err(failure::setup("cloning the container's init"))? {
        Cloned::Child => {
            drop(ours);
            if joins_first {
                child::run_in_joined_namespaces(plan, sources, streams, (reporter, attendant))
            }
            child::run(plan, sources, streams, (reporter, attendant))
        }
        Cloned::Parent(pid, pidfd) => {
            drop(reporter);
            let (pid, pidfd) = if joins_first { (None, None) } else { (Some(pid), Some(pidfd)) };
            let launched = Launched { pid, pidfd, status: ours };
            if plan.namespaces.new & u64::from(kernel::CLONE_NEWUSER) != 0 {
                let child = pid.ok_or_else(|| {
                    failure::plain(
                        minke_spec::shim::ErrorCode::Setup,
                        "a new user namespace in a joined pid namespace is not possible",
                    )
                })?;
                write_user_maps(&sources, &plan.namespaces, child)?;
                if !plan.net_devices.is_empty() {
                    net_devices::give_to_process(&plan.net_devices, child)?;
                }
                // From inside it could not raise the ones nor lower the other.
                process::set_limits(&plan.process, child)?;
                process::set_oom_score(&plan.process, &sources.procfs, &format!("{child}"))?;
                launched.go().map_err(failure::setup("releasing the container's init"))?;
            }
            Ok(launched)
        }
    }
}

fn namespaces_of_clone(plan: &NamespacePlan, cgroup_too: bool) -> u64 {
    // A time namespace is made by the child itself, which then sets its offsets.
    let later =
        u64::from(kernel::CLONE_NEWTIME) | if cgroup_too { 0 } else { u64::from(kernel::CLONE_NEWCGROUP) };
    plan.new & !later
}

fn write_user_maps(sources: &Sources, plan: &NamespacePlan, pid: i32) -> Result<()> {
    write_maps(&sources.procfs, pid, &plan.uid_map, &plan.gid_map)
        .map_err(failure::setup("error writing the user maps"))
}

fn write_maps(
    procfs: &Procfs,
    pid: i32,
    uid_map: &[(u32, u32, u32)],
    gid_map: &[(u32, u32, u32)],
) -> minke_sys::Result<()> {
    let render = |map: &[(u32, u32, u32)]| -> String {
        map.iter().map(|(inside, outside, count)| format!("{inside} {outside} {count}\n")).collect()
    };
    for (name, map) in [("gid_map", gid_map), ("uid_map", uid_map)] {
        if !map.is_empty() {
            procfs.write(&format!("{pid}/{name}"), &render(map))?;
        }
    }
    Ok(())
}

/// The host's owner of what belongs to root in a container with these maps; `None` where there are none.
pub fn root_outside(plan: &NamespacePlan) -> Option<(u32, u32)> {
    let root = |map: &[(u32, u32, u32)]| map.iter().find(|(inside, ..)| *inside == 0).map(|row| row.1);
    Some((root(&plan.uid_map)?, root(&plan.gid_map)?))
}

impl ChildStreams {
    /// Gives files that belong to the caller alone to a container's root on the host, which nobody inside could do.
    pub fn give_to(&self, owner: Option<(u32, u32)>) {
        let (Self::Files(files), Some((uid, gid))) = (self, owner) else { return };
        for file in files.iter().filter(|file| !rooted::is_null_device(file).unwrap_or(true)) {
            let (uid, gid) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
            let _ = rustix::fs::fchown(file, Some(uid), Some(gid));
        }
    }
}

/// Makes a user namespace with these maps that nobody is in, for mounts whose owners are shifted.
fn user_namespace(
    procfs: &Procfs,
    uid_map: &[(u32, u32, u32)],
    gid_map: &[(u32, u32, u32)],
) -> minke_sys::Result<OwnedFd> {
    let (ours, theirs) = channel::pair()?;
    let how = Clone { namespaces: u64::from(kernel::CLONE_NEWUSER), ..Clone::default() };
    match kernel::clone(how)? {
        Cloned::Child => {
            drop(ours);
            Reporter(theirs).wait_for_go();
            kernel::exit(0)
        }
        Cloned::Parent(pid, _pidfd) => {
            drop(theirs);
            let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
            let opened = write_maps(procfs, pid, uid_map, gid_map).and_then(|()| {
                rustix::fs::open(format!("/proc/{pid}/ns/user"), flags, rustix::fs::Mode::empty())
            });
            // The end of the connection lets the child go; nothing else is a child of the caller at this time.
            drop(ours);
            kernel::reap(true)?;
            opened
        }
    }
}

/// The environment variable's value in a list of `NAME=value`, the last one winning.
fn variable<'a>(environment: &'a [String], name: &str) -> Option<&'a str> {
    environment.iter().rev().find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='))
}

/// The kinds of namespaces that a plan makes or joins.
pub fn namespace_kinds(plan: &NamespacePlan) -> u64 {
    plan.join.iter().fold(plan.new, |kinds, (kind, _)| kinds | kind)
}
