//! Network namespaces that this thread steps into for a moment, to make sockets there. For a process of one thread alone.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::OnceLock;

use minke_sys::process::{CLONE_NEWNET, join_namespaces};
use minke_sys::procfs::Procfs;
use rustix::fs::{Mode, OFlags};

use super::Process;

/// A namespace.
#[derive(Debug)]
pub struct Namespace {
    inside: OwnedFd,
}

/// The one to come back to.
static HOME: OnceLock<OwnedFd> = OnceLock::new();

impl Namespace {
    /// Takes a namespace.
    pub fn new(inside: OwnedFd) -> io::Result<Self> {
        if HOME.get().is_none() {
            let _ = HOME.set(own()?);
        }
        Ok(Self { inside })
    }

    /// That of a process, if it is still the same one.
    pub fn of(process: Process) -> io::Result<Self> {
        let procfs = Procfs::host()?;
        let same =
            || Ok::<_, io::Error>(procfs.start_time_ticks(process.pid).ok() == Some(process.start_ticks));
        if !same()? {
            return Err(io::ErrorKind::NotFound.into());
        }
        let path = format!("/proc/{}/ns/net", process.pid);
        let inside = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        // While it was opened, the pid was still this process's.
        if same()? { Self::new(inside) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    /// Does something inside. It must not wait.
    pub fn enter<T>(&self, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let home = HOME.get().ok_or(io::ErrorKind::NotFound)?;
        join_namespaces(&self.inside, u64::from(CLONE_NEWNET))?;
        let result = act();
        if join_namespaces(home, u64::from(CLONE_NEWNET)).is_err() {
            // Whatever came next would be done in the wrong place. The engine starts another.
            std::process::abort();
        }
        result
    }
}

/// The calling thread's own.
fn own() -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(rustix::fs::open("/proc/thread-self/ns/net", flags, Mode::empty())?)
}
