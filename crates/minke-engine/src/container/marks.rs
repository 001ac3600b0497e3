//! What Docker leaves in every container's root beside mounts: `/.dockerenv`, by which programs tell that they run in a
//! container, and `/etc/mtab`. `diff` and `commit` know them as nobody's changes.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use minke_model::{Context as _, Result};
use minke_sys::rooted::Root;
use rustix::fs::{Mode, OFlags, symlinkat};
use rustix::io::Errno;

/// Makes what is missing; whatever an image has in their places stays.
pub fn leave(root: &OwnedFd) -> Result<()> {
    let root = Root::new(root.as_fd().try_clone_to_owned().context("opening the container's root")?);
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = root.open(".dockerenv", flags, Mode::from_raw_mode(0o755)).map(drop);
    allow(made, &[Errno::EXIST]).context("making /.dockerenv")?;
    let etc = root.open("etc", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let made = etc.and_then(|etc| symlinkat("/proc/mounts", etc, "mtab"));
    allow(made, &[Errno::EXIST, Errno::NOENT, Errno::NOTDIR, Errno::LOOP]).context("making /etc/mtab")
}

fn allow(outcome: rustix::io::Result<()>, reasons: &[Errno]) -> io::Result<()> {
    match outcome {
        Err(reason) if reasons.contains(&reason) => Ok(()),
        other => other.map_err(io::Error::from),
    }
}
