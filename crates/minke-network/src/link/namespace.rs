//! A network namespace that is worked in from outside: its descriptor, a route socket that was opened in it, and its settings.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use minke_model::error::Context;
use minke_model::{Error, Result};
use minke_sys::netlink::{Family, Socket};
use minke_sys::process::{self, CLONE_NEWNET};

use super::settings::Settings;

/// A network namespace. It lasts as long as somebody is in it or holds this.
#[derive(Debug)]
pub struct Namespace {
    descriptor: OwnedFd,
    pub(super) route: Socket,
    pub(super) settings: Settings,
}

impl Namespace {
    /// Holds the calling thread's own namespace: it has just made it.
    ///
    /// # Errors
    /// Where `/proc` or netlink can't be had.
    pub fn new_here() -> Result<Self> {
        let open = |path: &str| {
            std::fs::File::open(path).map(OwnedFd::from).with_context(|| format!("failed to open {path}"))
        };
        Ok(Self {
            descriptor: open("/proc/thread-self/ns/net")?,
            route: Socket::open(Family::Route).context("failed to open a netlink socket")?,
            settings: Settings::open_here(false),
        })
    }

    /// Holds the namespace of a descriptor, which a thread is sent to for a moment.
    ///
    /// # Errors
    /// Where it is no network namespace, or can't be entered.
    pub fn open(descriptor: OwnedFd) -> Result<Self> {
        within(descriptor.as_fd(), Self::new_here)?
    }

    /// Holds a process' namespace.
    ///
    /// # Errors
    /// Where there is no such process.
    pub fn of_pid(pid: u32) -> Result<Self> {
        let path = format!("/proc/{pid}/ns/net");
        let file = std::fs::File::open(&path).with_context(|| format!("failed to open {path}"))?;
        Self::open(file.into())
    }

    /// The namespace itself, to be entered.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }

    /// Runs `work` on a thread that is in the namespace.
    ///
    /// # Errors
    /// Where no thread can be had, or it can't enter.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        within(self.descriptor(), work)
    }

    /// Writes a setting, by its path below `/proc/sys/net`.
    ///
    /// # Errors
    /// Names the path.
    pub fn set(&self, path: &str, value: &str) -> Result<()> {
        let written = match self.settings.write(path, value) {
            // Not one of those that are open: a thread goes there.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.run(|| std::fs::write(format!("/proc/sys/net/{path}"), value))?
            }
            other => other,
        };
        written.with_context(|| format!("failed to write /proc/sys/net/{path}"))
    }
}

/// Runs `work` on a thread of its own in a network namespace.
///
/// # Errors
/// Where no thread can be had, or it can't enter.
pub(crate) fn within<T: Send>(namespace: BorrowedFd<'_>, work: impl FnOnce() -> T + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("namespace".into()).stack_size(256 * 1024);
        let started = thread.spawn_scoped(scope, || {
            process::join_namespaces(namespace, u64::from(CLONE_NEWNET)).map_err(io::Error::from)?;
            Ok(work())
        });
        let started = started.context("failed to start a thread")?;
        match started.join() {
            Ok(done) => done.map_err(|error: io::Error| {
                Error::system("failed to enter a network namespace").with_source(error)
            }),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
