//! Pseudo-terminals of a given devpts instance.

use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

use crate::rooted::Root;
use crate::{Errno, Result};

const DEVPTS_MAGIC: u64 = 0x1cd1;

/// The two ends of a terminal: the controlling side and the one that a process uses.
pub struct Terminal {
    /// Read and written by the shim.
    pub controller: OwnedFd,
    /// Standard streams of the process.
    pub user: OwnedFd,
}

/// Opens a terminal in the devpts instance at `/dev/pts` of `root`; anything else found there is `ENODEV`.
pub fn open(root: &Root) -> Result<Terminal> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let controller = root.open("/dev/pts/ptmx", flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&controller)?;
    let right_device = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev)) == (5, 2);
    if !right_device || rustix::fs::fstatfs(&controller)?.f_type as u64 != DEVPTS_MAGIC {
        return Err(Errno::NODEV);
    }
    rustix::pty::unlockpt(&controller)?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let user = rustix::pty::ioctl_tiocgptpeer(&controller, flags)?;
    Ok(Terminal { controller, user })
}

/// Makes the terminal the controlling one of the calling session leader.
pub fn take_control(user: impl AsFd) -> Result<()> {
    rustix::process::ioctl_tiocsctty(user)
}

/// Sets the window size; the foreground process group gets `SIGWINCH`.
pub fn resize(terminal: impl AsFd, rows: u16, columns: u16) -> Result<()> {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(terminal, size)
}

/// Makes the caller's process group the foreground one of its terminal, if `fd` is one.
pub fn become_foreground(fd: impl AsFd) -> Result<()> {
    const TIOCSPGRP: usize = 0x5410;
    let group = crate::process::pid();
    // SAFETY: the kernel reads one pid there.
    unsafe {
        crate::raw::call!(
            linux_raw_sys::general::__NR_ioctl,
            fd.as_fd().as_raw_fd(),
            TIOCSPGRP,
            &raw const group
        )
    }
    .map(|_| ())
}
