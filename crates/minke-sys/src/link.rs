//! The one thing about network devices that a container without a network needs: a namespace with `lo` up.

use linux_raw_sys::general as k;
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::raw::call;
use crate::{Result, process};

const SIOCGIFFLAGS: usize = 0x8913;
const SIOCSIFFLAGS: usize = 0x8914;
const IFF_UP: u16 = 1;

/// Makes a network namespace with `lo` up and moves the calling thread into it; the namespace lasts as long as somebody is in it
/// or holds its descriptor.
pub fn enter_new_network() -> Result<OwnedFd> {
    process::unshare(u64::from(process::CLONE_NEWNET))?;
    loopback_up()?;
    rustix::fs::open("/proc/thread-self/ns/net", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

/// Brings `lo` up in the caller's network namespace.
pub fn loopback_up() -> Result<()> {
    #[repr(C)]
    struct Request {
        name: [u8; 16],
        flags: u16,
        rest: [u8; 22],
    }
    let socket =
        rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    let mut request = Request { name: *b"lo\0\0\0\0\0\0\0\0\0\0\0\0\0\0", flags: 0, rest: [0; 22] };
    // SAFETY: an ifreq of 40 bytes, which the kernel reads and writes.
    unsafe { call!(k::__NR_ioctl, socket.as_raw_fd(), SIOCGIFFLAGS, &raw mut request) }?;
    request.flags |= IFF_UP;
    // SAFETY: as above.
    unsafe { call!(k::__NR_ioctl, socket.as_raw_fd(), SIOCSIFFLAGS, &raw mut request) }.map(|_| ())
}
