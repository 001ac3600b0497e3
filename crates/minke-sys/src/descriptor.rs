//! Reading and writing descriptors, pipes, and moving descriptors to fixed numbers.

use linux_raw_sys::general as k;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use rustix::fs::OFlags;
use rustix::pipe::PipeFlags;

use crate::raw::call;
use crate::{Errno, Result};

/// Reads once; `None` when nothing is there yet, 0 at the end. The error that a terminal gives after its last user counts as the end.
pub fn read(fd: impl AsFd, buffer: &mut [u8]) -> Result<Option<usize>> {
    loop {
        match rustix::io::read(fd.as_fd(), &mut *buffer) {
            Ok(count) => return Ok(Some(count)),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(None),
            Err(Errno::IO) => return Ok(Some(0)),
            Err(errno) => return Err(errno),
        }
    }
}

/// Writes once; `None` when there is no room.
pub fn write(fd: impl AsFd, bytes: &[u8]) -> Result<Option<usize>> {
    loop {
        match rustix::io::write(fd.as_fd(), bytes) {
            Ok(count) => return Ok(Some(count)),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(None),
            Err(errno) => return Err(errno),
        }
    }
}

/// Writes everything to a blocking descriptor; on failure tells how much was written.
pub fn write_all(fd: impl AsFd, bytes: &[u8]) -> Result<(), (usize, Errno)> {
    let mut done = 0;
    while done < bytes.len() {
        match rustix::io::write(fd.as_fd(), &bytes[done..]) {
            Ok(0) => return Err((done, Errno::IO)),
            Ok(count) => done += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err((done, errno)),
        }
    }
    Ok(())
}

/// Makes a pipe (reading end, writing end), both close-on-exec and blocking.
pub fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    rustix::pipe::pipe_with(PipeFlags::CLOEXEC)
}

/// Makes reads and writes of this open file return instead of waiting.
pub fn set_nonblocking(fd: impl AsFd) -> Result<()> {
    let flags = rustix::fs::fcntl_getfl(fd.as_fd())?;
    rustix::fs::fcntl_setfl(fd.as_fd(), flags | OFlags::NONBLOCK)
}

/// Duplicates `fd` to the lowest free number from `least` on, close-on-exec.
pub fn duplicate_above(fd: impl AsFd, least: RawFd) -> Result<OwnedFd> {
    const F_DUPFD_CLOEXEC: usize = 1030;
    // SAFETY: no memory arguments; the result is a new descriptor.
    unsafe {
        Ok(OwnedFd::from_raw_fd(call!(k::__NR_fcntl, fd.as_fd().as_raw_fd(), F_DUPFD_CLOEXEC, least)? as i32))
    }
}

/// Makes `number` (0, 1 or 2) a duplicate of `fd` that survives execution.
pub fn install_standard(fd: impl AsFd, number: RawFd) -> Result<()> {
    if !(0..=2).contains(&number) {
        return Err(Errno::INVAL);
    }
    let from = fd.as_fd().as_raw_fd();
    if from == number {
        // SAFETY: F_SETFD has no memory arguments.
        return unsafe { call!(k::__NR_fcntl, number, 2, 0) }.map(|_| ());
    }
    // SAFETY: no memory arguments; the standard descriptors are owned by nobody as values.
    unsafe { call!(k::__NR_dup3, from, number, 0) }.map(|_| ())
}

/// One of the standard descriptors (0, 1, 2), which stay open as long as the process lives.
pub fn standard(number: RawFd) -> BorrowedFd<'static> {
    assert!((0..=2).contains(&number));
    // SAFETY: never closed by this program; were it closed by whoever started us, using it gives EBADF.
    unsafe { BorrowedFd::borrow_raw(number) }
}

/// Takes over the descriptor `number` that the process was started with; `None` if it isn't open.
///
/// Must be called at most once per number, before anything else opens descriptors.
pub fn inherited(number: RawFd) -> Option<OwnedFd> {
    // SAFETY: F_SETFD has no memory arguments; it fails on a closed number.
    unsafe { call!(k::__NR_fcntl, number, 2, 1) }.ok()?;
    // SAFETY: it is open, and by the contract nobody else in this process owns it.
    Some(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Closes every descriptor from 3 on but those in `kept`.
///
/// Whoever owns one of the closed as a value must not use that value afterwards; meant for a process that leaves all its values behind.
pub fn close_all_but(kept: &mut [RawFd]) -> Result<()> {
    kept.sort_unstable();
    let mut first = 3;
    for number in kept.iter().filter_map(|number| u32::try_from(*number).ok()) {
        if number > first {
            crate::process::close_range(first, number - 1)?;
        }
        first = first.max(number + 1);
    }
    crate::process::close_range(first, u32::MAX)
}

/// How many bytes the other end of a unix stream socket has not read yet, with the kernel's own overhead: zero means all is read.
pub fn unread_bytes(socket: impl AsFd) -> Result<usize> {
    const SIOCOUTQ: usize = 0x5411;
    let mut bytes: i32 = 0;
    // SAFETY: the kernel writes one int.
    unsafe { call!(k::__NR_ioctl, socket.as_fd().as_raw_fd(), SIOCOUTQ, &raw mut bytes) }?;
    Ok(usize::try_from(bytes).unwrap_or(0))
}

/// The path by which this process reaches the file behind `fd`.
pub fn magic_path(fd: impl AsFd) -> alloc::string::String {
    alloc::format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd())
}
