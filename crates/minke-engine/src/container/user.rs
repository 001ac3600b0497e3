//! Whom a process runs as: looked up in the container's own passwd and group files, parsed by minke-spec.

use std::os::fd::OwnedFd;

use minke_model::Result;
use minke_spec::docker::ProcessUser;
use minke_spec::user::{self, FILE_LIMIT, UserFiles};

use super::launch::read_inside;

/// The user that `name` means in the container with this root, with the groups of `--group-add`.
///
/// # Errors
/// Docker's words for a user or group that isn't there.
pub fn resolve(name: &str, group_add: &[String], root: &OwnedFd) -> Result<ProcessUser> {
    let passwd = read_inside(root, "/etc/passwd", FILE_LIMIT as u64)?.unwrap_or_default();
    let group = read_inside(root, "/etc/group", FILE_LIMIT as u64)?.unwrap_or_default();
    user::resolve(name, group_add, UserFiles { passwd: &passwd, group: &group })
}
