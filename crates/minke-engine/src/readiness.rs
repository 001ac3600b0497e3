//! Descriptors whose readiness tokio tells.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Watches `fd` for reading and writing. Must be called inside the runtime.
#[allow(
    deprecated,
    reason = "its replacement is unsafe for types that may close their descriptor behind tokio's back; OwnedFd can't"
)]
pub fn watch(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(fd)
}

/// Watches `fd` for what a file of the kernel has to tell by priority. Must be called inside the runtime.
#[allow(deprecated, reason = "as above")]
pub fn watch_priority(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(fd, Interest::PRIORITY)
}

/// Watches `fd` for reading alone. Must be called inside the runtime.
#[allow(deprecated, reason = "as above")]
pub fn watch_reading(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(fd, Interest::READABLE)
}
