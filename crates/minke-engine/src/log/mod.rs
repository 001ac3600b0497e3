//! Reading what a shim has written: the json-file format, rotated files, following.

pub mod entry;
mod files;
pub mod follow;
mod plain;
pub mod tail;

pub use follow::{Join, LogOptions, LogStream, read, replay};
