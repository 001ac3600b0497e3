//! Handing a filter's listener to the program that answers for its calls (runtime specification: config-linux.md "The container
//! process state").

use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;

use minke_sys::OwnedFd;
use oci_spec::runtime::LinuxSeccomp;

use super::state::{OCI_VERSION, State, Status};
use super::{Failure, failed};

/// Connects to the agent that `seccomp` names and sends it the listener of the process `pid`.
pub fn send(
    seccomp: &LinuxSeccomp,
    state: &State,
    status: Status,
    pid: i32,
    listener: &OwnedFd,
) -> Result<(), Failure> {
    let path = seccomp.listener_path().as_deref().unwrap_or(Path::new(""));
    let socket = UnixStream::connect(path).map_err(failed(format!(
        "failed to connect with seccomp agent specified in the seccomp profile {}",
        path.display()
    )))?;
    let told = state.told(status, state.pid);
    let state: serde_json::Value = serde_json::from_str(&told).map_err(failed("writing the state"))?;
    let message = serde_json::json!({
        "ociVersion": OCI_VERSION,
        "fds": ["seccompFd"],
        "pid": pid,
        "metadata": seccomp.listener_metadata().as_deref().unwrap_or_default(),
        "state": state,
    });
    let limits = minke_sys::channel::Limits { inline: 64 * 1024, message: 64 * 1024, large_mark: 0xff };
    minke_sys::channel::send(&socket, message.to_string().as_bytes(), &[listener.as_fd()], limits)
        .map_err(failed("sending the listener to the seccomp agent"))
}
