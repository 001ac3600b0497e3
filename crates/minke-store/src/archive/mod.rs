//! Archives as bytes: compression by magic, tar read with limits, tar written.
//! Must never touch a file system: entries are values and streams.

pub(crate) mod compression;
pub(crate) mod head;
pub(crate) mod header;
pub(crate) mod reader;
pub(crate) mod sparse;
pub(crate) mod writer;
