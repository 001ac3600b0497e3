//! One thin function per kernel action: processes, namespaces, mounts, control groups, terminals, sockets, paths inside a root.
//!
//! It is the only crate with `unsafe` code (beside the shim's start-up file), and every such block says why it is sound.
//! It must never hold policy: what is done with these functions is decided by minke-spec's plan and by the engine.
//! Without the feature `std` only what the shim needs is here.
#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

pub mod channel;
pub mod credentials;
pub mod descriptor;
pub mod epoll;
pub mod interface;
pub mod link;
pub mod memory;
pub mod mount;
pub mod process;
pub mod procfs;
pub mod pty;
mod raw;
pub mod rooted;
pub mod rotation;
pub mod scan;
pub mod signal;
pub mod text;

#[cfg(feature = "std")]
pub mod bpf;
#[cfg(feature = "std")]
pub mod cgroup;
#[cfg(feature = "std")]
pub mod datagram;
#[cfg(feature = "std")]
mod freezer;
#[cfg(feature = "std")]
pub mod heap;
#[cfg(feature = "std")]
pub mod host;
#[cfg(feature = "std")]
pub mod lock;
#[cfg(feature = "std")]
pub mod mountinfo;
#[cfg(feature = "std")]
pub mod netlink;
#[cfg(feature = "std")]
pub mod overlay;
#[cfg(feature = "std")]
pub mod quota;
#[cfg(feature = "std")]
pub mod spawn;
#[cfg(feature = "std")]
pub mod xtables;

pub use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
pub use rustix::io::Errno;

/// The result of a system call.
pub type Result<T, E = Errno> = core::result::Result<T, E>;
