//! The socket on which a runtime hands over a terminal's controlling side (`--console-socket`).

use std::os::unix::net::UnixListener;

use minke_sys::{AsFd, OwnedFd, channel};

use crate::failure::{self, Result};

/// Room for the terminal's name, which comes beside it.
const LIMITS: channel::Limits = channel::Limits { inline: 4096, message: 4096, large_mark: 0xff };

/// A socket in the current directory.
pub struct Console {
    path: String,
    listener: UnixListener,
}

impl Console {
    /// Makes it.
    pub fn listen(path: &str) -> Result<Self> {
        let listener = UnixListener::bind(path).map_err(super::failed("making a console socket"))?;
        // The runtime has connected before it ends, or never will.
        listener.set_nonblocking(true).map_err(super::failed("making a console socket"))?;
        Ok(Self { path: path.to_owned(), listener })
    }

    /// Its name.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Takes the terminal, once the runtime has ended.
    pub fn receive(&self) -> Result<OwnedFd> {
        let (stream, _) = self.listener.accept().map_err(super::failed("taking over the terminal"))?;
        let message = channel::receive(stream.as_fd(), LIMITS);
        let message = message.map_err(failure::setup("taking over the terminal"))?;
        message.and_then(|mut message| message.descriptors.pop()).ok_or_else(|| {
            failure::plain(minke_spec::shim::ErrorCode::Setup, "the runtime has sent no terminal")
        })
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
