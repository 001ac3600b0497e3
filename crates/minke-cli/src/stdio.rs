//! Writing a container's output to this program's, without ever stopping signals and input from being served.

use std::io::{self, Write as _};
use std::os::fd::AsFd;

use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::Timespec;

/// What a pipe takes at once when it says that it is ready.
const READY_BYTES: usize = 4096;

/// One of the two outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sink {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Sink {
    /// Writes all of `bytes`: at once where that cannot block, else on another thread.
    ///
    /// # Errors
    /// The reader is gone, or the disk is full.
    pub async fn write(self, bytes: Bytes) -> io::Result<()> {
        if bytes.len() <= READY_BYTES && self.is_ready() {
            return self.write_now(&bytes);
        }
        tokio::task::spawn_blocking(move || self.write_now(&bytes)).await.map_err(io::Error::other)?
    }

    fn is_ready(self) -> bool {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let check = |fd: rustix::fd::BorrowedFd<'_>| {
            let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::OUT)];
            poll(&mut fds, Some(&now)).is_ok_and(|count| count == 1)
        };
        match self {
            Self::Stdout => check(io::stdout().as_fd()),
            Self::Stderr => check(io::stderr().as_fd()),
        }
    }

    fn write_now(self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let written = match self {
                Self::Stdout => rustix::io::write(io::stdout(), bytes),
                Self::Stderr => rustix::io::write(io::stderr(), bytes),
            };
            match written {
                Ok(count) => bytes = &bytes[count..],
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => self.wait_ready()?,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn wait_ready(self) -> io::Result<()> {
        let wait = |fd: rustix::fd::BorrowedFd<'_>| {
            poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::OUT)], None).map(drop)
        };
        match self {
            Self::Stdout => wait(io::stdout().as_fd())?,
            Self::Stderr => wait(io::stderr().as_fd())?,
        }
        Ok(())
    }
}

/// Flushes what the standard library still holds, before bytes are written past it.
pub fn flush() {
    let _ = io::stdout().flush();
}
