//! Turns a start plan into processes: the start itself ([`enter`]), the program that stays beside each container ([`shim`]), and the
//! OCI command line (`oci`), and the helper that calls another runtime over a bundle (`bundle`); these two with the feature `std` only.
//!
//! The engine must never link this crate's start path: a threaded program must not fork. It reaches the shim as a process.
#![cfg_attr(not(feature = "std"), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

#[cfg(feature = "std")]
pub mod bundle;
pub mod enter;
mod failure;
pub mod greeting;
#[cfg(feature = "std")]
pub mod oci;
pub mod shim;
