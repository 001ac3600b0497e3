//! Containers: what is kept of them, what they are doing, who owns them.

pub mod attach;
pub mod exec;
pub mod handle;
pub mod lifecycle;
pub mod names;
pub mod registry;
pub mod record;
mod service;
