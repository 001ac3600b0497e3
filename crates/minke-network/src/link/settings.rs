//! `/proc/sys/net` of a network namespace, read and written from wherever one is: what lies below `net` is looked up in the
//! namespace of who looks, but a folder that was opened in one stays that one's.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, openat};

/// The settings of a namespace.
#[derive(Debug)]
pub(super) struct Settings {
    ipv4: Option<OwnedFd>,
    ipv6: Option<OwnedFd>,
    bridge: Option<OwnedFd>,
}

impl Settings {
    /// Opens those of the calling thread's namespace; `all`: also what only the host's is asked for.
    pub(super) fn open_here(all: bool) -> Self {
        let open = |name: &str| std::fs::File::open(format!("/proc/sys/net/{name}")).ok().map(OwnedFd::from);
        Self {
            // A kernel may lack any of them.
            ipv6: open("ipv6"),
            ipv4: if all { open("ipv4") } else { None },
            bridge: if all { open("bridge") } else { None },
        }
    }

    /// Writes a setting, by its path below `net`.
    pub(super) fn write(&self, path: &str, value: &str) -> io::Result<()> {
        let file = self.open(path, OFlags::WRONLY)?;
        rustix::io::write(&file, value.as_bytes())?;
        Ok(())
    }

    /// Reads a setting.
    pub(super) fn read(&self, path: &str) -> io::Result<String> {
        let file = self.open(path, OFlags::RDONLY)?;
        let mut bytes = [0; 256];
        let count = rustix::io::read(&file, &mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes[..count]).trim_end().to_string())
    }

    fn open(&self, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
        let (first, rest) = path.split_once('/').unwrap_or((path, ""));
        let folder = match first {
            "ipv4" => &self.ipv4,
            "ipv6" => &self.ipv6,
            "bridge" => &self.bridge,
            _ => return Err(io::ErrorKind::NotFound.into()),
        };
        let folder = folder.as_ref().ok_or(io::ErrorKind::NotFound)?;
        Ok(openat(folder.as_fd(), rest, flags | OFlags::CLOEXEC, Mode::empty())?)
    }
}
