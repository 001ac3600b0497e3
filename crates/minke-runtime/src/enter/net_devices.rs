//! Interfaces of the host that a container is given (OCI runtime specification, config-linux.md "Network Devices"): moved into its
//! network namespace before anything is in it, with their lasting addresses, and brought up. They are not taken back: at the end of
//! the namespace the kernel gives the host what is hardware, and what is virtual ends with it.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use minke_spec::plan::{NamespacePlan, NetDevice, StartPlan};
use minke_spec::shim::ErrorCode;
use minke_sys::interface::Interfaces;
use minke_sys::process::{Clone, Cloned};
use minke_sys::{AsFd, BorrowedFd, Errno, OwnedFd, channel, link, process as kernel};
use rustix::fs::{Mode, OFlags};

use super::sources::Sources;
use super::{GO, Reporter};
use crate::failure::{self, Result};

/// The most numbers that are tried for a `%d`.
const NUMBERS: u32 = 4096;
const NETWORK: u64 = kernel::CLONE_NEWNET as u64;
const USER: u64 = kernel::CLONE_NEWUSER as u64;

impl Sources {
    /// Moves the interfaces of the plan, if it has some, where the namespace can be had before the container: it is joined, or made
    /// here to be joined. Only with a new user namespace, whose the network has to be, [`super::launch`] does it.
    pub fn give_net_devices(&mut self, plan: &mut StartPlan) -> Result<()> {
        if plan.net_devices.is_empty() {
            return Ok(());
        }
        if plan.namespaces.new & NETWORK != 0 {
            if plan.namespaces.new & USER != 0 {
                return Ok(());
            }
            let namespace =
                self.new_network(&plan.namespaces).map_err(failure::setup("making a network namespace"))?;
            self.join_network(namespace, &mut plan.namespaces);
        }
        let joined = self.namespaces.iter().find(|(kind, _)| *kind == NETWORK);
        let (_, namespace) = joined.ok_or_else(|| {
            failure::plain(ErrorCode::Setup, "there is no network namespace for the network devices")
        })?;
        give(&core::mem::take(&mut plan.net_devices), namespace.as_fd())
    }

    /// Makes a network namespace that nobody is in; it belongs to the user namespace that the container joins, if it does.
    fn new_network(&self, plan: &NamespacePlan) -> minke_sys::Result<OwnedFd> {
        let (ours, theirs) = channel::pair()?;
        match kernel::clone(Clone::default())? {
            Cloned::Child => {
                drop(ours);
                let reporter = Reporter(theirs);
                let make = || -> minke_sys::Result<()> {
                    if let Some((kind, user)) = self.namespaces.iter().find(|(kind, _)| *kind == USER) {
                        kernel::join_namespaces(user, *kind)?;
                    }
                    kernel::unshare(NETWORK)?;
                    if plan.loopback_up { link::loopback_up() } else { Ok(()) }
                };
                if make().is_ok() {
                    let _ = minke_sys::descriptor::write(&reporter.0, &[GO]);
                    reporter.wait_for_go();
                }
                kernel::exit(0)
            }
            Cloned::Parent(pid, _pidfd) => {
                drop(theirs);
                let opened = match minke_sys::descriptor::read(&ours, &mut [0; 8])? {
                    Some(1) => open_network(&format!("/proc/{pid}/ns/net")),
                    _ => Err(Errno::IO),
                };
                // The end of the connection lets the child go; nothing else is a child of the caller at this time.
                drop(ours);
                kernel::reap(true)?;
                opened
            }
        }
    }
}

/// Moves interfaces into the network namespace of a process.
pub(super) fn give_to_process(devices: &[NetDevice], pid: i32) -> Result<()> {
    let namespace = open_network(&format!("/proc/{pid}/ns/net"))
        .map_err(failure::setup("opening the container's network namespace"))?;
    give(devices, namespace.as_fd())
}

fn open_network(path: &str) -> minke_sys::Result<OwnedFd> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

/// Looks at all of them first, so that nothing is moved where something can't be.
fn give(devices: &[NetDevice], namespace: BorrowedFd<'_>) -> Result<()> {
    let words = "opening a netlink socket";
    let here = Interfaces::open().map_err(failure::setup(words))?;
    let there = open_there(namespace).map_err(failure::setup(words))?;
    let mut taken: Vec<String> = Vec::new();
    for device in devices {
        let NetDevice { host_name, .. } = device;
        here.index(host_name).map_err(failure::setup(format!(
            "link not found for interface {host_name} on runtime namespace"
        )))?;
        let name = name_there(&there, &device.name, &taken).map_err(failure::setup(refused(host_name)))?;
        taken.push(name);
    }
    for (device, name) in devices.iter().zip(&taken) {
        move_one(&here, &there, (&device.host_name, name), namespace)?;
    }
    Ok(())
}

fn refused(host_name: &str) -> String {
    format!("fail to move network device {host_name} to network namespace")
}

fn move_one(
    here: &Interfaces,
    there: &Interfaces,
    (host_name, name): (&str, &str),
    namespace: BorrowedFd<'_>,
) -> Result<()> {
    let index = here.index(host_name).map_err(failure::setup(refused(host_name)))?;
    // Before it is down: the kernel takes some of them away then.
    let addresses = here
        .addresses(index)
        .map_err(failure::setup(format!("fail to get ip addresses of network device {host_name}")))?;
    here.give(index, name, namespace).map_err(failure::setup(refused(host_name)))?;
    let failed = || format!("fail to set up interface {name} on network namespace");
    let index = there.index(name).map_err(failure::setup(failed()))?;
    for address in &addresses {
        there.add(index, address).map_err(failure::setup(failed()))?;
    }
    there.bring_up(name).map_err(failure::setup(failed()))
}

/// Opens a socket in a namespace, which the calling thread, the only one, visits for that.
fn open_there(namespace: BorrowedFd<'_>) -> minke_sys::Result<Interfaces> {
    let own = open_network("/proc/self/ns/net")?;
    kernel::join_namespaces(namespace, NETWORK)?;
    let opened = Interfaces::open();
    kernel::join_namespaces(&own, NETWORK)?;
    opened
}

/// The name that an interface gets; `EXIST` where another has it.
fn name_there(there: &Interfaces, wanted: &str, taken: &[String]) -> minke_sys::Result<String> {
    let is_free = |name: &str| match there.index(name) {
        Err(Errno::NODEV) => Ok(!taken.iter().any(|one| one == name)),
        Ok(_) => Ok(false),
        Err(errno) => Err(errno),
    };
    let Some((before, after)) = wanted.split_once("%d") else {
        return if is_free(wanted)? { Ok(wanted.into()) } else { Err(Errno::EXIST) };
    };
    for number in 0..NUMBERS {
        let name = format!("{before}{number}{after}");
        if is_free(&name)? {
            return Ok(name);
        }
    }
    Err(Errno::EXIST)
}
