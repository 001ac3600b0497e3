//! Decides everything about a container's start before anything happens: an OCI runtime configuration and the facts of
//! the host become a [`plan::StartPlan`], which the runtime applies. No I/O happens here.
//!
//! Without the feature `std` only the plan and the shim's protocol are here: that is what the shim links.
#![cfg_attr(not(feature = "std"), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod plan;
pub mod shim;
