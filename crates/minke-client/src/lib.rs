//! The Engine API from the caller's side: one method per endpoint over a connection by unix socket, TCP or TLS.
//! Owns how an engine is found (host, context, configuration file), how it is spoken to (negotiation, streams, hijacked
//! connections, frames) and how its answers become errors with a kind. Must never print, and never decide what a user meant.

pub mod config;
pub mod context;
pub mod credentials;
pub mod frame;
pub mod host;

mod call;
mod client;
mod connection;
mod containers;
mod execs;
mod files;
mod images;
mod networks;
mod registries;
mod stream;
mod system;
mod tls;
mod volumes;

pub use call::{ChunkReader, Chunks, JsonLines, Upload};
pub use client::{Client, Introduction};
pub use config::Config;
pub use connection::is_absent;
pub use containers::PendingExit;
pub use host::{Endpoint, Host, HostRequest, TlsFiles};
pub use stream::{Hijacked, HijackedReader, HijackedWriter, Stream};
