//! The engine's services: the only place where storage, runtime and networks meet.
//!
//! One owner task per container runs around a pure state machine ([`container`]); reads are served from published views
//! and never wait for an operation. Nothing here prints, parses HTTP or makes system calls of its own.
//!
//! [`Engine`] is what the server calls: one method per operation of the Engine API, with the types of `minke-api`.

mod apparmor;
pub mod container;
mod disk_usage;
mod distribution;
mod embedded;
mod enforceable;
mod engine;
mod events;
mod exec;
mod host;
mod image;
mod log;
mod manifests;
pub mod network;
mod options;
mod pattern;
mod place;
mod prune;
mod readiness;
mod realtime;
mod remap;
mod selinux;
mod shim;
mod stream;
mod system;
mod time;
mod volume;

pub use container::foreign::OWN_RUNTIMES;
pub use container::run::RunSession;
pub use distribution::{Mirror, Proxies, RegistryOptions};
pub use engine::Engine;
pub use log::LogStream;
pub use minke_network::ipam::Pool;
pub use network::{DefaultBridge, NetworkOptions};
pub use options::{Build, EngineOptions, RuntimeSettings};
pub use place::{CgroupDriver, ShimHome};
pub use realtime::Realtime;
pub use remap::read as read_remap;
pub use stream::{Attachment, EventStream, ExecSession, ProgressStream, WaitOutcome};
