//! Readiness of many descriptors.

use linux_raw_sys::general as k;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::raw::call;
use crate::{Errno, Result};

/// Readable.
pub const IN: u32 = 0x1;
/// Writable.
pub const OUT: u32 = 0x4;
/// An error is pending (always reported).
pub const ERROR: u32 = 0x8;
/// Both directions are closed (always reported).
pub const HANGUP: u32 = 0x10;

/// What happened to a registered descriptor.
#[derive(Clone, Copy, Default)]
#[cfg_attr(target_arch = "x86_64", repr(C, packed))]
#[cfg_attr(not(target_arch = "x86_64"), repr(C))]
pub struct Event {
    events: u32,
    token: u64,
}

impl Event {
    /// Bits of [`IN`], [`OUT`], [`ERROR`], [`HANGUP`].
    pub fn events(&self) -> u32 {
        self.events
    }

    /// What the descriptor was registered with.
    pub fn token(&self) -> u64 {
        self.token
    }
}

/// A set of descriptors to wait for.
pub struct Epoll(OwnedFd);

impl Epoll {
    /// Makes an empty set.
    pub fn new() -> Result<Self> {
        const CLOEXEC: usize = 0o2000000;
        // SAFETY: no memory arguments; the result is a new descriptor.
        unsafe { Ok(Self(OwnedFd::from_raw_fd(call!(k::__NR_epoll_create1, CLOEXEC)? as i32))) }
    }

    /// Adds `fd`; level-triggered.
    pub fn add(&self, fd: impl AsFd, events: u32, token: u64) -> Result<()> {
        self.control(1, fd.as_fd(), Event { events, token })
    }

    /// Changes what is waited for.
    pub fn modify(&self, fd: impl AsFd, events: u32, token: u64) -> Result<()> {
        self.control(3, fd.as_fd(), Event { events, token })
    }

    /// Takes `fd` out.
    pub fn remove(&self, fd: impl AsFd) -> Result<()> {
        self.control(2, fd.as_fd(), Event::default())
    }

    fn control(&self, operation: usize, fd: BorrowedFd<'_>, event: Event) -> Result<()> {
        // SAFETY: the event is valid for the read.
        unsafe {
            call!(k::__NR_epoll_ctl, self.0.as_raw_fd(), operation, fd.as_raw_fd(), &raw const event)
                .map(|_| ())
        }
    }

    /// Waits up to `timeout_ms` (forever without one) and returns the number of events stored.
    pub fn wait(&self, events: &mut [Event], timeout_ms: Option<u32>) -> Result<usize> {
        let timeout = timeout_ms.map_or(-1, |ms| i32::try_from(ms).unwrap_or(i32::MAX));
        // SAFETY: pointer and count are of one slice; the mask may be null.
        let count = unsafe {
            call!(
                k::__NR_epoll_pwait,
                self.0.as_raw_fd(),
                events.as_mut_ptr(),
                events.len(),
                timeout as isize,
                0,
                0
            )
        };
        match count {
            Err(Errno::INTR) => Ok(0),
            other => other,
        }
    }
}
