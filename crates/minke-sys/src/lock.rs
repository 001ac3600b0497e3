//! Files that one process at a time holds.

use std::io;
use std::time::{Duration, Instant};

use rustix::fd::AsFd;
use rustix::fs::FlockOperation;

use crate::Errno;

const PAUSE: Duration = Duration::from_millis(20);

/// Locks the open file for as long as its descriptor lives; false if another process holds it throughout `patience`. A killed
/// process's descriptors may outlive it by the moment that a child of its needs to execute its program.
pub fn hold(file: impl AsFd, patience: Duration) -> io::Result<bool> {
    let deadline = Instant::now() + patience;
    loop {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(true),
            Err(Errno::WOULDBLOCK) if Instant::now() < deadline => std::thread::sleep(PAUSE),
            Err(Errno::WOULDBLOCK) => return Ok(false),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}
