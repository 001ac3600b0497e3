//! The engine's side of a shim: starting it, talking to it, finding it again.

pub mod connection;
pub mod note;
pub mod socket;
