//! The mount API by descriptors, and pivot_root.

use core::mem::size_of;

use linux_raw_sys::general as k;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::CWD;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, UnmountFlags,
};

use crate::raw::call;
use crate::{Errno, Result};

/// `MOUNT_ATTR_RDONLY`.
pub const ATTR_RDONLY: u64 = 0x1;
/// `MOUNT_ATTR_NOSUID`.
pub const ATTR_NOSUID: u64 = 0x2;
/// `MOUNT_ATTR_NODEV`.
pub const ATTR_NODEV: u64 = 0x4;
/// `MOUNT_ATTR_NOEXEC`.
pub const ATTR_NOEXEC: u64 = 0x8;
/// The bits in which the access time's handling is one number.
pub const ATTR_ATIME: u64 = 0x70;
/// `MOUNT_ATTR_IDMAP`.
pub const ATTR_IDMAP: u64 = 0x10_0000;

/// `MS_PRIVATE`.
pub const PRIVATE: u64 = 1 << 18;
/// `MS_SLAVE`.
pub const SLAVE: u64 = 1 << 19;
/// `MS_SHARED`.
pub const SHARED: u64 = 1 << 20;
/// `MS_UNBINDABLE`.
pub const UNBINDABLE: u64 = 1 << 17;
/// `MS_REC`.
pub const RECURSIVE: u64 = 1 << 14;

/// A file system being configured.
pub struct Context(OwnedFd);

impl Context {
    /// Starts a new instance of `fstype`.
    pub fn new(fstype: &str) -> Result<Self> {
        rustix::mount::fsopen(fstype, FsOpenFlags::FSOPEN_CLOEXEC).map(Self)
    }

    /// Sets a parameter: a flag without a value.
    pub fn set(&self, key: &str, value: Option<&str>) -> Result<()> {
        match value {
            Some(value) => rustix::mount::fsconfig_set_string(&self.0, key, value),
            None => rustix::mount::fsconfig_set_flag(&self.0, key),
        }
    }

    /// Sets a parameter to an open file.
    pub fn set_descriptor(&self, key: &str, value: impl AsFd) -> Result<()> {
        rustix::mount::fsconfig_set_fd(&self.0, key, value)
    }

    /// Makes the instance.
    pub fn create(&self) -> Result<()> {
        rustix::mount::fsconfig_create(&self.0)
    }

    /// Makes a detached mount of the instance with `MOUNT_ATTR_*` bits.
    pub fn mount(&self, attributes: u64) -> Result<OwnedFd> {
        let attributes = MountAttrFlags::from_bits_retain(attributes as u32);
        rustix::mount::fsmount(&self.0, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
    }
}

/// Which part of a mount tree is copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// One mount.
    One,
    /// It and all below it.
    Tree,
}

fn tree_flags(extent: Extent) -> OpenTreeFlags {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if extent == Extent::Tree { flags | OpenTreeFlags::AT_RECURSIVE } else { flags }
}

/// Makes a detached copy of what is mounted at a path of the caller's mount namespace.
pub fn copy_path(path: &str, extent: Extent) -> Result<OwnedFd> {
    rustix::mount::open_tree(CWD, path, tree_flags(extent))
}

/// Makes a detached copy of the mount that an open file of the caller's mount namespace is on, rooted at that file.
pub fn copy_fd(fd: impl AsFd, extent: Extent) -> Result<OwnedFd> {
    rustix::mount::open_tree(fd, "", tree_flags(extent) | OpenTreeFlags::AT_EMPTY_PATH)
}

/// Attaches a detached mount over the file that `target` is open on.
pub fn attach(mount: impl AsFd, target: impl AsFd) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(mount, "", target, "", flags)
}

/// Attaches a detached mount at a path of the caller's mount namespace.
pub fn attach_at(mount: impl AsFd, path: &str) -> Result<()> {
    rustix::mount::move_mount(mount, "", CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

/// What [`change`] does to a mount.
#[derive(Clone, Copy, Debug, Default)]
pub struct Change<'a> {
    /// `MOUNT_ATTR_*` bits to set.
    pub set: u64,
    /// `MOUNT_ATTR_*` bits to clear.
    pub clear: u64,
    /// `MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED` or `MS_UNBINDABLE`; 0: unchanged.
    pub propagation: u64,
    /// The user namespace whose map applies to the mount.
    pub idmap: Option<BorrowedFd<'a>>,
    /// The mounts below it too.
    pub recursive: bool,
}

/// Changes the mount that `fd` is the root of.
pub fn change(fd: impl AsFd, change: Change<'_>) -> Result<()> {
    const AT_EMPTY_PATH: usize = 0x1000;
    const AT_RECURSIVE: usize = 0x8000;
    let mut set = change.set;
    if change.idmap.is_some() {
        set |= ATTR_IDMAP;
    }
    // The time attributes are one number, not bits: setting one needs all of them cleared first.
    let clear = if set & ATTR_ATIME != 0 { change.clear | ATTR_ATIME } else { change.clear };
    let attributes = [set, clear, change.propagation, change.idmap.map_or(0, |fd| fd.as_raw_fd() as u64)];
    let flags = AT_EMPTY_PATH | if change.recursive { AT_RECURSIVE } else { 0 };
    let empty = c"";
    // SAFETY: a mount_attr is four u64; the path is an ended text.
    unsafe {
        call!(
            k::__NR_mount_setattr,
            fd.as_fd().as_raw_fd(),
            empty.as_ptr(),
            flags,
            attributes.as_ptr(),
            size_of::<[u64; 4]>()
        )
    }
    .map(|_| ())
}

/// Sets the propagation (`MS_*` bits, with `MS_REC` where wanted) of the mount at a path.
pub fn set_propagation(path: &str, flags: u64) -> Result<()> {
    rustix::mount::mount_change(path, MountPropagationFlags::from_bits_retain(flags as u32))
}

/// Unmounts the root of the old tree that [`pivot`] has left below the current directory.
fn detach_current() -> Result<()> {
    rustix::mount::unmount(".", UnmountFlags::DETACH)
}

/// Makes the mount that `root` is the root of the calling process's root and drops everything else from its mount namespace.
///
/// The mount must be attached in the caller's own mount namespace, in which nothing may be passed on to the host's any more:
/// the old root's going would be.
pub fn pivot(root: impl AsFd) -> Result<()> {
    rustix::process::fchdir(root)?;
    match rustix::process::pivot_root(".", ".") {
        // To unmount "." is to unmount what is stacked over it, the old root. To change it would be to change the new one.
        Ok(()) => detach_current()?,
        // The old root is the kernel's first file system, which can't be moved away: cover it and stay inside.
        Err(Errno::INVAL) => {
            rustix::mount::mount_move(".", "/")?;
            rustix::process::chroot(".")?;
        }
        Err(errno) => return Err(errno),
    }
    rustix::process::chdir("/")
}

/// Unmounts what is at a path of the caller's mount namespace, at once for new users, later for those who have it open.
pub fn detach_path(path: &str) -> Result<()> {
    rustix::mount::unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
}

/// Unmounts what is at a path of the caller's mount namespace (`EBUSY` while it is used).
pub fn unmount_path(path: &str) -> Result<()> {
    rustix::mount::unmount(path, UnmountFlags::NOFOLLOW)
}

/// mount(2): for what has to be a place in the host's own tree, and for file systems that are configured by one text alone.
pub fn mount_at(source: &str, target: &str, fstype: &str, flags: u64, data: &str) -> Result<()> {
    let flags = MountFlags::from_bits_retain(flags as u32);
    let data = c_string(data)?;
    rustix::mount::mount(source, target, fstype, flags, data.as_c_str())
}

fn c_string(text: &str) -> Result<alloc::ffi::CString> {
    alloc::ffi::CString::new(text).map_err(|_| Errno::INVAL)
}
