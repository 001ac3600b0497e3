//! Reading what a shim has written: the formats json-file and local, rotated files, following.

pub mod entry;
pub mod files;
pub mod follow;
mod local;
pub mod pack;
mod packed;
mod plain;
pub mod tail;

pub use follow::{Join, LogOptions, LogStream, ReplayEnd, read, replay};
