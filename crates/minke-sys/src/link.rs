//! The one thing about network devices that a container without a network needs: a namespace with `lo` up.

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::{Result, interface, process};

/// Makes a network namespace with `lo` up and moves the calling thread into it; the namespace lasts as long as somebody is in it
/// or holds its descriptor.
pub fn enter_new_network() -> Result<OwnedFd> {
    process::unshare(u64::from(process::CLONE_NEWNET))?;
    loopback_up()?;
    rustix::fs::open("/proc/thread-self/ns/net", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

/// Brings `lo` up in the caller's network namespace.
pub fn loopback_up() -> Result<()> {
    let socket =
        rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    interface::bring_up(socket.as_fd(), "lo")
}
