//! The sockets at which a container's questions arrive: 127.0.0.11, in its own network namespace.

use std::os::fd::OwnedFd;

/// What listens at 127.0.0.11 in one namespace; bound, non-blocking.
#[derive(Debug)]
pub struct Sockets {
    /// For datagrams.
    pub datagrams: OwnedFd,
    /// For connections; listens.
    pub connections: OwnedFd,
}
