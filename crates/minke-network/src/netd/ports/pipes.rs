//! Pipes that bytes go through from one socket to another without being copied. A connection has one only while bytes are on
//! their way, so that thousands of idle ones hold none.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;

use rustix::pipe::PipeFlags;

/// How many wait for use.
const SPARE: usize = 16;
/// The bytes that one takes, if the kernel allows it.
const SIZE: usize = 256 * 1024;

/// An empty pipe.
#[derive(Debug)]
pub struct Pipe {
    /// Bytes come out here.
    pub reader: OwnedFd,
    /// Bytes go in here.
    pub writer: OwnedFd,
}

/// Pipes that nobody uses.
#[derive(Debug, Default)]
pub struct Pipes {
    spare: RefCell<Vec<Pipe>>,
}

impl Pipes {
    /// Takes one, or makes one.
    pub fn take(&self) -> io::Result<Pipe> {
        if let Some(pipe) = self.spare.borrow_mut().pop() {
            return Ok(pipe);
        }
        let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let _ = rustix::pipe::fcntl_setpipe_size(&writer, SIZE);
        Ok(Pipe { reader, writer })
    }

    /// Gives back one that is empty.
    pub fn give_back(&self, pipe: Pipe) {
        let mut spare = self.spare.borrow_mut();
        if spare.len() < SPARE {
            spare.push(pipe);
        }
    }
}
