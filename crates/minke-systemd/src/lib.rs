//! The host's service manager: its bus, the units of containers, and the word that a service is ready.
//!
//! Owns every message between minke and systemd, and those few to firewalld, which is on the same bus. Synchronous and without a
//! thread, since `minke oci` forks after it. Nothing here is called where nobody asked for systemd, but for one unit at the
//! engine's start, and where firewalld runs for the bridges of networks.
//! After the D-Bus specification and systemd's own org.freedesktop.systemd1(5) and CGROUP_DELEGATION.

mod bus;
pub mod firewalld;
mod message;
mod notify;
mod properties;
mod scope;
mod slice;

pub use message::Value;
pub use notify::ready;
pub use properties::{Property, container_properties, limit_properties};
pub use scope::{Scope, SetError, set_properties, start, stop};
pub use slice::{INVALID_PARENT, check_parent, slice_path};

/// What runc says where the service manager is asked for and isn't there.
pub const NOT_RUNNING: &str = "systemd not running on this host, cannot use systemd cgroups manager";

/// Whether systemd is this host's first process: its own test, sd_booted(3).
pub fn is_running() -> bool {
    std::fs::symlink_metadata("/run/systemd/system").is_ok_and(|found| found.is_dir())
}
