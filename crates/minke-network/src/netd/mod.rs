//! `minke netd`: one process per engine with the names of all containers and the ports that the kernel can't carry. It goes on
//! while the engine is down, and its whole state is one [`Snapshot`]. Decides nothing: what is to be served, the engine says.
//!
//! ```text
//!   engine  --- Change, descriptors --->  netd  --- 127.0.0.11 in each container's namespace
//!           <-- Done, Trouble -----------        '-- published ports of the host
//! ```

mod dns;
pub mod message;
mod namespace;
pub mod packets;
mod ports;
mod process;
mod redirect;
pub mod reserve;
pub mod resolver;
mod sandbox;
pub mod snapshot;
mod task;
mod world;

pub use message::Given;
pub use process::main;
pub use reserve::Reservations;
pub use resolver::Sockets;
pub use snapshot::{Change, Named, Network, Port, Process, Resolver, Sandbox, Snapshot, Upstream};

/// The socket in netd's folder.
pub const SOCKET: &str = "socket";
/// The file there that the one who serves holds locked.
pub const LOCK: &str = "lock";
/// The file there that the state is kept in.
pub const STATE: &str = "state";
