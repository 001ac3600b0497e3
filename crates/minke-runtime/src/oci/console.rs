//! Handing the terminal's controlling side to whoever asked for it (`--console-socket`).

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::{Failure, failed};

/// Connects before anything is started, so that a wrong path starts nothing.
pub fn connect(path: &Path) -> Result<UnixStream, Failure> {
    UnixStream::connect(path).map_err(failed(format!("console socket {}", path.display())))
}

/// Sends the descriptor; the text beside it is the name that the field's readers expect.
pub fn send(socket: &UnixStream, controller: &OwnedFd) -> Result<(), Failure> {
    let limits = minke_sys::channel::Limits { inline: 4096, message: 4096, large_mark: 0xff };
    minke_sys::channel::send(socket.as_fd(), b"/dev/ptmx", &[controller.as_fd()], limits)
        .map_err(failed("sending the terminal"))
}
