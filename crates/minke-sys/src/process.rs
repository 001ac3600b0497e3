//! Processes: making, executing, waiting, signalling, and the attributes that a process sets on itself.

use core::ffi::CStr;
use core::mem::size_of;

use linux_raw_sys::general as k;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::raw::call;
use crate::text::Strings;
use crate::{Errno, Result};

pub use linux_raw_sys::general::{
    CLONE_NEWCGROUP, CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWTIME, CLONE_NEWUSER,
    CLONE_NEWUTS,
};

pub(crate) const CLONE_CLEAR_SIGHAND: u64 = 1 << 32;
pub(crate) const CLONE_INTO_CGROUP: u64 = 1 << 33;

/// How a process is cloned.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clone<'a> {
    /// `CLONE_NEW*` bits.
    pub namespaces: u64,
    /// A cgroup2 directory to be born in.
    pub cgroup: Option<BorrowedFd<'a>>,
    /// Become a child of the caller's parent.
    pub sibling: bool,
}

/// Where execution goes on after [`clone`].
pub enum Cloned {
    /// In the calling process: the new one's pid (as the caller sees it) and pidfd.
    Parent(i32, OwnedFd),
    /// In the new process.
    Child,
}

/// Copies the calling process (no memory is shared), with all signal handlers reset to their defaults.
///
/// Only for single-threaded processes: in the copy of a threaded one every lock that another thread holds stays locked.
pub fn clone(how: Clone<'_>) -> Result<Cloned> {
    let mut pidfd: i32 = -1;
    let mut flags = how.namespaces | u64::from(k::CLONE_PIDFD) | CLONE_CLEAR_SIGHAND;
    if how.cgroup.is_some() {
        flags |= CLONE_INTO_CGROUP;
    }
    if how.sibling {
        flags |= u64::from(k::CLONE_PARENT);
    }
    let arguments = CloneArguments {
        flags,
        pidfd: &raw mut pidfd as u64,
        exit_signal: if how.sibling { 0 } else { u64::from(k::SIGCHLD) },
        cgroup: how.cgroup.map_or(0, |fd| fd.as_raw_fd() as u64),
        ..CloneArguments::default()
    };
    // SAFETY: the arguments live through the call; without CLONE_VM the child runs on a copy of this stack.
    let pid = match unsafe { call!(k::__NR_clone3, &raw const arguments, size_of::<CloneArguments>()) } {
        Err(Errno::NOSYS) if how.cgroup.is_none() => clone_by_registers(how, &raw mut pidfd)?,
        result => result?,
    };
    if pid == 0 {
        return Ok(Cloned::Child);
    }
    // SAFETY: the kernel has stored a new descriptor there, which nobody else owns.
    Ok(Cloned::Parent(pid as i32, unsafe {
        OwnedFd::from_raw_fd(core::ptr::read_volatile(&raw const pidfd))
    }))
}

/// The older call, where a filter takes clone3 for unknown, as Docker's does in a container. Handlers are inherited.
fn clone_by_registers(how: Clone<'_>, pidfd: *mut i32) -> Result<usize> {
    let exit_signal = if how.sibling { u64::from(k::CLONE_PARENT) } else { u64::from(k::SIGCHLD) };
    let flags = how.namespaces | u64::from(k::CLONE_PIDFD) | exit_signal;
    // SAFETY: the pidfd's place lives through the call; without a stack of its own the child runs on a copy of this one. Flags,
    // stack and the place come first on every architecture with a system call table here.
    unsafe { call!(k::__NR_clone, flags, 0, pidfd, 0, 0) }
}

/// `struct clone_args`, version 2 of the kernel's layout (88 bytes).
#[repr(C, align(8))]
#[derive(Default)]
pub(crate) struct CloneArguments {
    pub flags: u64,
    pub pidfd: u64,
    pub child_tid: u64,
    pub parent_tid: u64,
    pub exit_signal: u64,
    pub stack: u64,
    pub stack_size: u64,
    pub tls: u64,
    pub set_tid: u64,
    pub set_tid_size: u64,
    pub cgroup: u64,
}

/// Replaces the calling process; returns only on failure.
pub fn execute(program: &CStr, arguments: &Strings, environment: &Strings) -> Errno {
    // SAFETY: all three are ended as the kernel expects and live through the call.
    let result = unsafe { call!(k::__NR_execve, program.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    result.err().unwrap_or(Errno::INVAL)
}

/// Ends the calling process at once.
pub fn exit(code: i32) -> ! {
    loop {
        // SAFETY: has no memory arguments and doesn't return.
        let _ = unsafe { call!(k::__NR_exit_group, code) };
    }
}

/// The end of a child: its pid and its exit code as a shell counts (128 + n for signal n).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The pid as the caller sees it.
    pub pid: i32,
    /// The exit code.
    pub code: i32,
}

/// Reaps one ended child, if there is one; `block` waits for it. `ECHILD` when there is no child at all.
pub fn reap(block: bool) -> Result<Option<Ended>> {
    const WNOHANG: usize = 1;
    let mut status: i32 = 0;
    // SAFETY: `status` is valid for the write, the usage pointer may be null.
    let pid = unsafe { call!(k::__NR_wait4, -1isize, &raw mut status, if block { 0 } else { WNOHANG }, 0) }?;
    if pid == 0 {
        return Ok(None);
    }
    Ok(Some(Ended { pid: pid as i32, code: shell_code(status) }))
}

/// Turns a wait status into an exit code as a shell counts.
pub fn shell_code(status: i32) -> i32 {
    if status & 0x7f == 0 { (status >> 8) & 0xff } else { 128 + (status & 0x7f) }
}

/// The calling process's pid in its own pid namespace.
pub fn pid() -> i32 {
    // SAFETY: no arguments.
    unsafe { call!(k::__NR_getpid) }.unwrap_or(0) as i32
}

/// Opens a pidfd of a process that can't be reaped by anybody else meanwhile (a child), or that the caller can verify later.
pub fn pidfd_open(pid: i32) -> Result<OwnedFd> {
    // SAFETY: no memory arguments; the result is a new descriptor.
    unsafe { Ok(OwnedFd::from_raw_fd(call!(k::__NR_pidfd_open, pid, 0)? as i32)) }
}

/// Sends a signal to the process behind a pidfd.
pub fn pidfd_signal(pidfd: impl AsFd, signal: i32) -> Result<()> {
    // SAFETY: the info pointer may be null.
    unsafe { call!(k::__NR_pidfd_send_signal, pidfd.as_fd().as_raw_fd(), signal, 0, 0) }.map(|_| ())
}

/// Sends a signal to a pid (0: the own group; -1: every process one may signal).
pub fn kill(pid: i32, signal: i32) -> Result<()> {
    // SAFETY: no memory arguments.
    unsafe { call!(k::__NR_kill, pid as isize, signal) }.map(|_| ())
}

/// The exit code (as a shell counts) of an ended process that somebody else has reaped or will reap, through a pidfd opened
/// before. `None` where the kernel (before 6.15) doesn't tell, or while it still runs.
pub fn pidfd_exit_code(pidfd: impl AsFd) -> Option<i32> {
    let info = pidfd_info(pidfd.as_fd()).ok()?;
    (info.mask & PIDFD_INFO_EXIT != 0).then(|| shell_code(info.exit_code))
}

/// Whether [`pidfd_exit_code`] can tell anything on this kernel, asked about a running process.
pub fn pidfd_knows_exit(pidfd: impl AsFd) -> bool {
    // Since 6.15 the kernel says which answers it has at all; before, it knew fewer.
    matches!(pidfd_info(pidfd.as_fd()), Ok(info) if info.mask & PIDFD_INFO_EXIT == 0) && {
        let release = rustix::system::uname();
        let text = release.release().to_str().unwrap_or("");
        let mut numbers = text.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (6, 15)
    }
}

const PIDFD_INFO_EXIT: u64 = 1 << 3;

/// `struct pidfd_info` as far as its first version goes.
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    cgroup: u64,
    ids: [u32; 11],
    exit_code: i32,
}

fn pidfd_info(pidfd: BorrowedFd<'_>) -> Result<PidfdInfo> {
    const PIDFD_GET_INFO: usize = (3 << 30) | (64 << 16) | (0xff << 8) | 11;
    let mut info = PidfdInfo { mask: PIDFD_INFO_EXIT, ..PidfdInfo::default() };
    // SAFETY: the structure has the 64 bytes that the request number announces.
    unsafe { call!(k::__NR_ioctl, pidfd.as_raw_fd(), PIDFD_GET_INFO, &raw mut info) }?;
    Ok(info)
}

/// Joins the namespace behind a namespace descriptor, or those of a process behind a pidfd; `kinds` are `CLONE_NEW*` bits.
pub fn join_namespaces(fd: impl AsFd, kinds: u64) -> Result<()> {
    // SAFETY: no memory arguments.
    unsafe { call!(k::__NR_setns, fd.as_fd().as_raw_fd(), kinds) }.map(|_| ())
}

/// Leaves namespaces (`CLONE_NEW*` bits) for new ones.
pub fn unshare(kinds: u64) -> Result<()> {
    // SAFETY: no memory arguments.
    unsafe { call!(k::__NR_unshare, kinds) }.map(|_| ())
}

/// Marks every descriptor from `first` on close-on-exec.
pub fn close_on_exec_from(first: u32) -> Result<()> {
    const CLOSE_RANGE_CLOEXEC: u32 = 4;
    // SAFETY: no memory arguments, and no descriptor is closed now.
    unsafe { call!(k::__NR_close_range, first, u32::MAX, CLOSE_RANGE_CLOEXEC) }.map(|_| ())
}

/// Closes every descriptor between the two, both included.
///
/// Whoever owns one of them as a value must not use that value afterwards; meant for a process that leaves all its values behind.
pub fn close_range(first: u32, last: u32) -> Result<()> {
    // SAFETY: no memory arguments.
    unsafe { call!(k::__NR_close_range, first, last, 0) }.map(|_| ())
}

/// Makes the calling process the leader of a new session without a terminal.
pub fn new_session() -> Result<()> {
    // SAFETY: no arguments.
    unsafe { call!(k::__NR_setsid) }.map(|_| ())
}

/// Makes the calling process the leader of a new process group.
pub fn new_group() -> Result<()> {
    // SAFETY: no memory arguments.
    unsafe { call!(k::__NR_setpgid, 0, 0) }.map(|_| ())
}

/// Sets the file mode mask.
pub fn set_umask(mask: u32) {
    // SAFETY: no memory arguments; can't fail.
    let _ = unsafe { call!(k::__NR_umask, mask) };
}

/// Sets one resource limit: `RLIMIT_*` number, soft, hard.
pub fn set_rlimit(resource: u32, soft: u64, hard: u64) -> Result<()> {
    set_rlimit_of(0, resource, soft, hard)
}

/// Sets a limit of another process; 0: the calling one.
pub fn set_rlimit_of(pid: i32, resource: u32, soft: u64, hard: u64) -> Result<()> {
    let limits = [soft, hard];
    // SAFETY: the kernel reads two u64 there; the old limits may be null.
    unsafe { call!(k::__NR_prlimit64, pid, resource, limits.as_ptr(), 0) }.map(|_| ())
}

/// Sets the persona (`PER_*`).
pub fn set_personality(persona: u32) -> Result<()> {
    // SAFETY: no memory arguments.
    unsafe { call!(k::__NR_personality, persona) }.map(|_| ())
}

/// Sets the calling process's input and output priority: class and level as the kernel packs them.
pub fn set_io_priority(priority: u32) -> Result<()> {
    const IOPRIO_WHO_PROCESS: usize = 1;
    // SAFETY: no memory arguments.
    unsafe { call!(k::__NR_ioprio_set, IOPRIO_WHO_PROCESS, 0, priority) }.map(|_| ())
}

/// What [`set_scheduler`] sets; times are nanoseconds.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Scheduling {
    size: u32,
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// Nice value.
    pub nice: i32,
    /// Real-time priority.
    pub priority: u32,
    /// Run time of the deadline policy.
    pub runtime: u64,
    /// Its deadline.
    pub deadline: u64,
    /// Its period.
    pub period: u64,
}

/// Sets the calling process's scheduling policy.
pub fn set_scheduler(mut scheduling: Scheduling) -> Result<()> {
    scheduling.size = size_of::<Scheduling>() as u32;
    // SAFETY: the structure is the first version of sched_attr, with its size in it.
    unsafe { call!(k::__NR_sched_setattr, 0, &raw const scheduling, 0) }.map(|_| ())
}

/// Sets the host name of the own UTS namespace.
pub fn set_hostname(name: &str) -> Result<()> {
    // SAFETY: pointer and length are of one text.
    unsafe { call!(k::__NR_sethostname, name.as_ptr(), name.len()) }.map(|_| ())
}

/// Sets the NIS domain name of the own UTS namespace.
pub fn set_domainname(name: &str) -> Result<()> {
    // SAFETY: pointer and length are of one text.
    unsafe { call!(k::__NR_setdomainname, name.as_ptr(), name.len()) }.map(|_| ())
}

/// Whether other processes of the same user may look into this one (`/proc/self/mem` and so on).
pub fn set_dumpable(allowed: bool) -> Result<()> {
    const PR_SET_DUMPABLE: usize = 4;
    // SAFETY: no memory arguments.
    unsafe { call!(k::__NR_prctl, PR_SET_DUMPABLE, usize::from(allowed), 0, 0, 0) }.map(|_| ())
}

/// Sets the name that `ps` shows (15 bytes at most).
pub fn set_name(name: &CStr) {
    const PR_SET_NAME: usize = 15;
    // SAFETY: the text is ended by a zero byte.
    let _ = unsafe { call!(k::__NR_prctl, PR_SET_NAME, name.as_ptr(), 0, 0, 0) };
}

/// Nanoseconds since 1970.
pub fn now_ns() -> u64 {
    clock(0)
}

/// Nanoseconds of a clock that only goes forward.
pub fn monotonic_ns() -> u64 {
    clock(1)
}

/// Does nothing for `ns` nanoseconds, or less if a signal comes.
pub fn pause(ns: u64) {
    let time = [(ns / 1_000_000_000) as i64, (ns % 1_000_000_000) as i64];
    // SAFETY: the kernel reads a timespec of two 64-bit words; the rest isn't asked for.
    let _ = unsafe { call!(k::__NR_clock_nanosleep, 1, 0, time.as_ptr(), 0) };
}

fn clock(which: usize) -> u64 {
    let mut time = [0i64; 2];
    // SAFETY: the kernel writes a timespec of two 64-bit words.
    let _ = unsafe { call!(k::__NR_clock_gettime, which, time.as_mut_ptr()) };
    (time[0] as u64).wrapping_mul(1_000_000_000).wrapping_add(time[1] as u64)
}
