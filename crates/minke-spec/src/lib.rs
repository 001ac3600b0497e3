//! Decides everything about a container's start before anything happens: an OCI runtime configuration and the facts of
//! the host become a [`plan::StartPlan`], which the runtime applies. No I/O happens here.
//!
//! Without the feature `std` only the plan and the shim's protocol are here: that is what the shim links.
#![cfg_attr(not(feature = "std"), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod plan;
pub mod shim;

#[cfg(feature = "std")]
pub mod capabilities;
#[cfg(feature = "std")]
pub mod cgroup;
#[cfg(feature = "std")]
pub mod compile;
#[cfg(feature = "std")]
pub mod config;
#[cfg(feature = "std")]
pub mod devices;
#[cfg(feature = "std")]
pub mod docker;
#[cfg(feature = "std")]
pub mod etc;
#[cfg(feature = "std")]
pub mod foreign;
#[cfg(feature = "std")]
pub mod host;
#[cfg(feature = "std")]
mod mounts;
#[cfg(feature = "std")]
mod net_devices;
#[cfg(feature = "std")]
pub mod process;
#[cfg(feature = "std")]
mod render;
#[cfg(feature = "std")]
pub mod seccomp;
#[cfg(feature = "std")]
pub mod selinux;
#[cfg(feature = "std")]
pub mod user;

#[cfg(feature = "std")]
pub use compile::compile;
#[cfg(feature = "std")]
pub use docker::{ContainerSettings, plan_exec, plan_start};
#[cfg(feature = "std")]
pub use host::HostFacts;
#[cfg(feature = "std")]
pub use render::render;
