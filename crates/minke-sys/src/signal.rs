//! Signals without handlers: masks, signal descriptors, waiting.

use core::mem::size_of;

use linux_raw_sys::general as k;
use rustix::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use crate::raw::call;
use crate::{Errno, Result};

/// A set of signals: bit n - 1 for signal n.
pub type Set = u64;

/// Every signal.
pub const ALL: Set = u64::MAX;

/// The set of one signal.
pub const fn only(signal: i32) -> Set {
    1 << (signal - 1)
}

/// `SIGHUP`.
pub const HUP: i32 = 1;
/// `SIGKILL`.
pub const KILL: i32 = 9;
/// `SIGTERM`.
pub const TERM: i32 = 15;
/// `SIGCHLD`.
pub const CHILD: i32 = 17;
/// `SIGTTIN`.
pub const TTY_IN: i32 = 21;
/// `SIGTTOU`.
pub const TTY_OUT: i32 = 22;

/// Blocks exactly `set`; returns what was blocked before.
pub fn block_exactly(set: Set) -> Result<Set> {
    const SIG_SETMASK: usize = 2;
    let mut old: Set = 0;
    // SAFETY: both sets have the size that is passed.
    unsafe { call!(k::__NR_rt_sigprocmask, SIG_SETMASK, &raw const set, &raw mut old, size_of::<Set>()) }?;
    Ok(old)
}

/// Makes a non-blocking descriptor that is readable when a signal of `set` (which must be blocked) is pending.
pub fn descriptor(set: Set) -> Result<OwnedFd> {
    const NONBLOCK_CLOEXEC: usize = 0o2000000 | 0o4000;
    // SAFETY: the set has the size that is passed; the result is a new descriptor.
    unsafe {
        let fd = call!(k::__NR_signalfd4, -1isize, &raw const set, size_of::<Set>(), NONBLOCK_CLOEXEC)?;
        Ok(OwnedFd::from_raw_fd(fd as i32))
    }
}

/// Takes all pending signals from a signal descriptor, without telling which.
pub fn drain_descriptor(fd: impl AsFd) {
    let mut records = [0u8; 512];
    while matches!(rustix::io::read(fd.as_fd(), &mut records), Ok(n) if n > 0) {}
}

/// Waits until a (blocked) signal of `set` arrives and takes it.
pub fn wait(set: Set) -> i32 {
    loop {
        // SAFETY: the set has the size that is passed; info and timeout may be null.
        match unsafe { call!(k::__NR_rt_sigtimedwait, &raw const set, 0, 0, size_of::<Set>()) } {
            Ok(signal) => return signal as i32,
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(_) => return 0,
        }
    }
}

/// Ignores a signal.
pub fn ignore(signal: i32) -> Result<()> {
    set_disposition(signal, 1)
}

/// Gives a signal its default action again.
pub fn default(signal: i32) -> Result<()> {
    set_disposition(signal, 0)
}

/// Blocks nothing and gives every signal its default action: what an ignored signal's child would otherwise go on ignoring.
pub fn reset() -> Result<()> {
    for signal in 1..=64 {
        match default(signal) {
            // Those that nobody can change.
            Err(Errno::INVAL) => {}
            result => result?,
        }
    }
    block_exactly(0).map(|_| ())
}

fn set_disposition(signal: i32, disposition: usize) -> Result<()> {
    // The kernel's sigaction: handler, flags, restorer, mask.
    let action = [disposition, 0, 0, 0];
    // SAFETY: 0 and 1 are SIG_DFL and SIG_IGN, so no code is ever called; the structure has the kernel's four words.
    unsafe { call!(k::__NR_rt_sigaction, signal, action.as_ptr(), 0, size_of::<Set>()) }.map(|_| ())
}

/// Waits until `fd` is readable or its peer is gone.
pub fn wait_readable(fd: impl AsFd) -> Result<()> {
    const POLLIN: u64 = 1;
    let mut poll = (fd.as_fd().as_raw_fd() as u32 as u64) | (POLLIN << 32);
    // SAFETY: a pollfd is eight bytes (fd, events, returned events); timeout and mask may be null.
    unsafe { call!(k::__NR_ppoll, &raw mut poll, 1, 0, 0, 0) }.map(|_| ())
}

/// As [`wait_readable`], for at most `time`; whether it is.
pub fn wait_readable_for(fd: impl AsFd, time: core::time::Duration) -> Result<bool> {
    const POLLIN: u64 = 1;
    let mut poll = (fd.as_fd().as_raw_fd() as u32 as u64) | (POLLIN << 32);
    let timeout = [time.as_secs(), u64::from(time.subsec_nanos())];
    // SAFETY: a pollfd is eight bytes, a timespec two 64-bit words; the mask may be null.
    match unsafe { call!(k::__NR_ppoll, &raw mut poll, 1, timeout.as_ptr(), 0, 0) } {
        Err(Errno::INTR) => Ok(false),
        result => result.map(|count| count > 0),
    }
}
