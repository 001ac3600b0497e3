//! Archives as bytes: compression by magic, tar read with limits, tar written.

pub(crate) mod compression;
