//! Who a process is and what it may do: user, groups, capabilities, `no_new_privs`, system call filter.

use linux_raw_sys::general as k;
use rustix::fd::FromRawFd;

use crate::raw::call;
use crate::{Errno, OwnedFd, Result};

const PR_SET_KEEPCAPS: usize = 8;
const PR_CAPBSET_READ: usize = 23;
const PR_CAPBSET_DROP: usize = 24;
const PR_SET_NO_NEW_PRIVS: usize = 38;
const PR_CAP_AMBIENT: usize = 47;
const PR_CAP_AMBIENT_RAISE: usize = 2;
const PR_CAP_AMBIENT_CLEAR_ALL: usize = 4;

fn prctl(option: usize, a: usize, b: usize) -> Result<usize> {
    // SAFETY: none of the options used here takes a pointer.
    unsafe { call!(k::__NR_prctl, option, a, b, 0, 0) }
}

/// Sets the supplementary groups.
pub fn set_groups(groups: &[u32]) -> Result<()> {
    // SAFETY: pointer and count are of one slice.
    unsafe { call!(k::__NR_setgroups, groups.len(), groups.as_ptr()) }.map(|_| ())
}

/// Sets the real, effective and saved group.
pub fn set_gid(gid: u32) -> Result<()> {
    // SAFETY: no memory arguments.
    unsafe { call!(k::__NR_setresgid, gid, gid, gid) }.map(|_| ())
}

/// Sets the real, effective and saved user.
pub fn set_uid(uid: u32) -> Result<()> {
    // SAFETY: no memory arguments.
    unsafe { call!(k::__NR_setresuid, uid, uid, uid) }.map(|_| ())
}

/// Lets the calling thread alone make files as this user and group, with all the capabilities that it had.
///
/// A file system whose ids are mapped takes new files only from who is mapped.
pub fn make_files_as(uid: u32, gid: u32) -> Result<()> {
    let (effective, permitted, inheritable) = capabilities()?;
    for (number, id) in [(k::__NR_setfsgid, gid), (k::__NR_setfsuid, uid)] {
        // SAFETY: no memory arguments. The calls tell only who it was before; a second one tells whether the first has worked.
        let now = unsafe { call!(number, id).and_then(|_| call!(number, -1isize)) }?;
        if now as u32 != id {
            return Err(Errno::PERM);
        }
    }
    // Root's rights over files have gone with root.
    set_capabilities(effective, permitted, inheritable)
}

/// Keeps the permitted capabilities over the next change from root to another user.
pub fn keep_capabilities(keep: bool) -> Result<()> {
    prctl(PR_SET_KEEPCAPS, usize::from(keep), 0).map(|_| ())
}

/// Drops every capability from the bounding set that isn't in `keep`.
pub fn bound_capabilities(keep: u64) -> Result<()> {
    for capability in (0..64).filter(|capability| keep >> capability & 1 == 0) {
        match prctl(PR_CAPBSET_DROP, capability, 0) {
            Ok(_) => {}
            // Beyond the last one that the kernel knows.
            Err(Errno::INVAL) => break,
            // Who may not drop may still have nothing to drop.
            Err(errno) if prctl(PR_CAPBSET_READ, capability, 0) != Ok(0) => return Err(errno),
            Err(_) => {}
        }
    }
    Ok(())
}

/// The capabilities that are in the calling thread's bounding set.
pub fn bounding_capabilities() -> u64 {
    (0..64)
        .map_while(|capability| {
            prctl(PR_CAPBSET_READ, capability, 0).ok().map(|there| (there as u64) << capability)
        })
        .fold(0, |set, bit| set | bit)
}

const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

/// Sets the effective, permitted and inheritable sets.
pub fn set_capabilities(effective: u64, permitted: u64, inheritable: u64) -> Result<()> {
    let header = [CAPABILITY_VERSION_3, 0];
    let (low, high) = (|set: u64| set as u32, |set: u64| (set >> 32) as u32);
    let data = [
        low(effective),
        low(permitted),
        low(inheritable),
        high(effective),
        high(permitted),
        high(inheritable),
    ];
    // SAFETY: version 3 reads two records of three u32 each.
    unsafe { call!(k::__NR_capset, header.as_ptr(), data.as_ptr()) }.map(|_| ())
}

/// The calling thread's effective, permitted and inheritable sets.
pub fn capabilities() -> Result<(u64, u64, u64)> {
    let header = [CAPABILITY_VERSION_3, 0];
    let mut data = [0u32; 6];
    // SAFETY: version 3 writes two records of three u32 each.
    unsafe { call!(k::__NR_capget, header.as_ptr(), data.as_mut_ptr()) }?;
    let set = |n: usize| u64::from(data[n]) | u64::from(data[n + 3]) << 32;
    Ok((set(0), set(1), set(2)))
}

/// Makes the ambient set equal to `set`; its members must be permitted and inheritable.
pub fn set_ambient_capabilities(set: u64) -> Result<()> {
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0)?;
    for capability in (0..64).filter(|capability| set >> capability & 1 == 1) {
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability)?;
    }
    Ok(())
}

/// Forbids the calling thread and its children to gain privileges by executing a program.
pub fn set_no_new_privileges() -> Result<()> {
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0).map(|_| ())
}

/// Loads a system call filter: classic BPF instructions, each a little-endian `struct sock_filter` as one number.
///
/// Needs `no_new_privs` or `CAP_SYS_ADMIN`. With the flag for one (8), the filter's listener is returned.
pub fn load_filter(program: &[u64], flags: u32) -> Result<Option<OwnedFd>> {
    const SECCOMP_SET_MODE_FILTER: usize = 1;
    const NEW_LISTENER: u32 = 8;
    #[repr(C)]
    struct Program {
        length: u16,
        instructions: *const u64,
    }
    let length = u16::try_from(program.len()).map_err(|_| Errno::INVAL)?;
    let program = Program { length, instructions: program.as_ptr() };
    // SAFETY: a u64 has a sock_filter's size and layout on little-endian machines; length and pointer are of one slice.
    let result = unsafe { call!(k::__NR_seccomp, SECCOMP_SET_MODE_FILTER, flags, &raw const program) }?;
    // SAFETY: with that flag the result is a new descriptor, which nobody else owns.
    Ok((flags & NEW_LISTENER != 0).then(|| unsafe { OwnedFd::from_raw_fd(result as i32) }))
}
