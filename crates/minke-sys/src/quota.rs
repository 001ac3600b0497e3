//! Project quotas: how much of a file system a directory and all below it may take (quotactl(2), ioctl_xfs_fsgetxattr(2)). For xfs with
//! the mount option `pquota`, and ext4 with `prjquota`.

use linux_raw_sys::general as k;
use rustix::fd::{AsFd, AsRawFd};

use crate::raw::call;
use crate::{Errno, Result};

const GET_ATTRIBUTES: usize = 0x801c_581f;
const SET_ATTRIBUTES: usize = 0x401c_5820;
/// What is made below gets the same project.
const INHERIT: u32 = 0x200;

const PROJECT: usize = 2;
const SET_LIMIT: usize = 0x5804;
const GET_STATE: usize = 0x5805;
/// In the state: usage is counted, and limits are held.
const ENFORCED: u16 = 1 << 5;
const SOFT_BLOCKS: u16 = 1 << 2;
const HARD_BLOCKS: u16 = 1 << 3;
/// Limits count blocks of so many bytes.
const BLOCK_BYTES: u64 = 512;

#[repr(C)]
#[derive(Default)]
struct Attributes {
    flags: u32,
    extent_size: u32,
    extents: u32,
    project: u32,
    copied_extent_size: u32,
    padding: [u8; 8],
}

#[repr(C)]
#[derive(Default)]
struct Limits {
    version: i8,
    kind: i8,
    fields: u16,
    id: u32,
    hard_blocks: u64,
    soft_blocks: u64,
    rest: [u64; 11],
}

#[repr(C, align(8))]
struct State {
    version: i8,
    flags: u16,
    rest: [u8; 252],
}

/// Whether the file system that a directory is on holds projects to limits.
pub fn is_enforced(directory: impl AsFd) -> bool {
    let mut state = State { version: 1, flags: 0, rest: [0; 252] };
    let command = (GET_STATE << 8) | PROJECT;
    // SAFETY: the kernel writes less than the structure has room for.
    let asked =
        unsafe { call!(k::__NR_quotactl_fd, directory.as_fd().as_raw_fd(), command, 0, &raw mut state) };
    asked.is_ok() && state.flags & ENFORCED != 0
}

/// The project that a directory belongs to; 0: none.
pub fn project(directory: impl AsFd) -> Result<u32> {
    Ok(attributes(&directory)?.project)
}

/// Puts a directory, and what will be made below it, into a project.
pub fn set_project(directory: impl AsFd, project: u32) -> Result<()> {
    let mut attributes = attributes(&directory)?;
    attributes.project = project;
    attributes.flags |= INHERIT;
    let fd = directory.as_fd().as_raw_fd();
    // SAFETY: the kernel reads one structure of the size that is part of the number.
    unsafe { call!(k::__NR_ioctl, fd, SET_ATTRIBUTES, &raw const attributes) }.map(|_| ())
}

/// Limits what a project takes of the file system that a directory is on; 0 takes the limit away.
pub fn set_limit(directory: impl AsFd, project: u32, bytes: u64) -> Result<()> {
    let blocks = bytes.div_ceil(BLOCK_BYTES);
    let limits = Limits {
        version: 1,
        kind: PROJECT as i8,
        fields: SOFT_BLOCKS | HARD_BLOCKS,
        id: project,
        hard_blocks: blocks,
        soft_blocks: blocks,
        ..Limits::default()
    };
    let (fd, command) = (directory.as_fd().as_raw_fd(), (SET_LIMIT << 8) | PROJECT);
    // SAFETY: the kernel reads one structure of this layout.
    unsafe { call!(k::__NR_quotactl_fd, fd, command, project, &raw const limits) }.map(|_| ())
}

fn attributes(directory: &impl AsFd) -> Result<Attributes> {
    let mut attributes = Attributes::default();
    let fd = directory.as_fd().as_raw_fd();
    // SAFETY: the kernel writes one structure of the size that is part of the number.
    match unsafe { call!(k::__NR_ioctl, fd, GET_ATTRIBUTES, &raw mut attributes) } {
        Ok(_) => Ok(attributes),
        Err(Errno::NOTTY) => Err(Errno::OPNOTSUPP),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_are_as_long_as_the_kernels() {
        assert_eq!((size_of::<Attributes>(), size_of::<Limits>()), (28, 112));
    }
}
