//! A procfs that is known to be one: nothing under `/proc` is read or written by name through what a container could have
//! mounted there.

use alloc::format;
use alloc::vec::Vec;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags, ResolveFlags};

use crate::{Errno, Result};

const PROC_MAGIC: u64 = 0x9fa0;
const PROC_ROOT_INODE: u64 = 1;

/// A verified procfs.
pub struct Procfs {
    root: OwnedFd,
}

impl Procfs {
    /// Opens `/proc` of the calling process's mount namespace and verifies that it is the root of a procfs.
    pub fn host() -> Result<Self> {
        let root =
            rustix::fs::open("/proc", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Self::verified(root)
    }

    /// Makes an instance of its own for the caller's pid namespace, attached nowhere.
    pub fn private() -> Result<Self> {
        let context = crate::mount::Context::new("proc")?;
        context.create()?;
        Self::verified(context.mount(0)?)
    }

    fn verified(root: OwnedFd) -> Result<Self> {
        let right = rustix::fs::fstatfs(&root)?.f_type as u64 == PROC_MAGIC
            && rustix::fs::fstat(&root)?.st_ino == PROC_ROOT_INODE;
        if right { Ok(Self { root }) } else { Err(Errno::NODEV) }
    }

    /// Opens a file below; never crosses into something mounted over it, never follows a magic link.
    pub fn open(&self, path: &str, flags: OFlags) -> Result<OwnedFd> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        rustix::fs::openat2(&self.root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
    }

    /// Writes a value in one call.
    pub fn write(&self, path: &str, value: &str) -> Result<()> {
        let file = self.open(path, OFlags::WRONLY)?;
        match rustix::io::write(&file, value.as_bytes())? {
            count if count == value.len() => Ok(()),
            _ => Err(Errno::IO),
        }
    }

    /// Reads up to 64 KiB.
    pub fn read(&self, path: &str) -> Result<Vec<u8>> {
        let file = self.open(path, OFlags::RDONLY)?;
        let mut bytes = Vec::new();
        let mut chunk = [0u8; 1024];
        while bytes.len() < 64 * 1024 {
            match rustix::io::read(&file, &mut chunk)? {
                0 => break,
                count => bytes.extend_from_slice(&chunk[..count]),
            }
        }
        Ok(bytes)
    }

    /// Writes a kernel parameter: `net.core.somaxconn` and `net/core/somaxconn` are the same.
    pub fn write_sysctl(&self, name: &str, value: &str) -> Result<()> {
        let path = if name.contains('/') {
            format!("sys/{name}")
        } else {
            format!("sys/{}", name.replace('.', "/"))
        };
        self.write(&path, value)
    }

    /// When a process was started, in clock ticks since boot: with the pid it names a process for ever.
    pub fn start_time_ticks(&self, pid: i32) -> Result<u64> {
        let stat = self.read(&format!("{pid}/stat"))?;
        parse_start_time(&stat).ok_or(Errno::INVAL)
    }

    /// The descriptor of its root directory.
    pub fn as_fd(&self) -> rustix::fd::BorrowedFd<'_> {
        self.root.as_fd()
    }
}

/// Field 22 of `/proc/<pid>/stat`; the command in field 2 may hold anything, also blanks and parentheses.
fn parse_start_time(stat: &[u8]) -> Option<u64> {
    let after_command = stat.iter().rposition(|&byte| byte == b')')? + 1;
    let text = core::str::from_utf8(&stat[after_command..]).ok()?;
    text.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_time_is_found_behind_a_hostile_command_name() {
        let stat = b"12 (a) b ) (c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 987654 20 21";
        assert_eq!(parse_start_time(stat), Some(987_654));
    }

    #[test]
    fn own_start_time_is_read_from_a_verified_procfs() {
        let procfs = Procfs::host().unwrap();
        assert!(procfs.start_time_ticks(crate::process::pid()).unwrap() > 0);
    }
}
