//! Handing the terminal's controlling side to whoever asked for it (`--console-socket`).

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::arguments::Given;
use super::{Failure, failed};

/// The socket that the command line names, if it names one: refused where the terminal and the socket don't belong
/// together. Connects before anything is started, so that a wrong path starts nothing.
pub fn asked_for(given: &Given, wants_terminal: bool, detached: bool) -> Result<Option<UnixStream>, Failure> {
    let path = given.path("console-socket");
    match (wants_terminal, &path) {
        (true, None) if detached => {
            return Err(Failure::new(
                "cannot allocate tty if runc will detach without setting console socket",
            ));
        }
        (false, Some(_)) => {
            return Err(Failure::new("cannot use console socket if runc will not detach or allocate tty"));
        }
        _ => {}
    }
    path.as_deref().map(connect).transpose()
}

fn connect(path: &Path) -> Result<UnixStream, Failure> {
    UnixStream::connect(path).map_err(failed(format!("console socket {}", path.display())))
}

/// Sends the descriptor; the text beside it is the name that the field's readers expect.
pub fn send(socket: &UnixStream, controller: &OwnedFd) -> Result<(), Failure> {
    let limits = minke_sys::channel::Limits { inline: 4096, message: 4096, large_mark: 0xff };
    minke_sys::channel::send(socket.as_fd(), b"/dev/ptmx", &[controller.as_fd()], limits)
        .map_err(failed("sending the terminal"))
}
