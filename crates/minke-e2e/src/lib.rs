//! The harness of the end-to-end tests: what only the program itself can show.
//!
//! Owns: a private engine per test (ours, or a real dockerd to prove a test right), the clients that talk to it, the
//! test image, deadlines, and the census that shows that nothing is left behind. The tests are in `tests/`, a file per
//! group of commands. Never: links a crate of the product; it sees what a user sees.
//!
//! ```text
//! case(|rig| ...)        once for each client: our own command line, and the docker client
//! by_docker(|rig| ...)   by the docker client
//! once(|rig| ...)        once, where the client does not matter
//!   rig.ok("run --rm busybox true")      rig.spawn("run -i busybox cat")      rig.terminal("run -it busybox sh")
//!   rig.get("/containers/json")          rig.kill_engine()                    rig.inspect("name")
//! ```
//! `MINKE_E2E_ENGINE=dockerd` takes the reference engine, `MINKE_E2E_CLIENT=minke|docker` one client only, and
//! `MINKE_E2E_PATIENCE=20` stretches every deadline (an emulated machine needs it). Everything here needs root.

pub mod census;
pub mod cli;
pub mod deadline;
pub mod engine;
pub mod hostile;
pub mod http;
pub mod neighbour;
pub mod peers;
pub mod place;
pub mod process;
pub mod registry;
mod rig;
pub mod rootfs;
pub mod session;
pub mod terminal;

pub use cli::{Client, Output};
pub use deadline::{patience, within};
pub use engine::{Dockerd, Engine, EngineKind, Minke};
pub use http::Response;
pub use place::{Neighbour, Place};
pub use rig::{Rig, by_docker, case, clients, escape, networked, once};
pub use session::Session;
pub use terminal::Terminal;
