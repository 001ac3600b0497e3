//! Reading what a shim has written: the json-file format, rotated files, following.

pub mod entry;
pub mod follow;
pub mod tail;

pub use follow::{LogOptions, LogStream, read};
