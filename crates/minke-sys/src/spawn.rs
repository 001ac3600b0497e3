//! Starting a program that is held as bytes: the shim, from a sealed memory file, without copying the caller's memory.
//!
//! The caller is a threaded program with a large heap, so it must never fork: the child shares its memory and runs, while the
//! calling thread waits, on a stack of its own until it executes.

use std::ffi::CString;
use std::io;
use std::mem::size_of;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use linux_raw_sys::general as k;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};

use crate::Errno;
use crate::process::{CLONE_CLEAR_SIGHAND, CLONE_INTO_CGROUP, CloneArguments};
use crate::raw::call;
use crate::text::Strings;

/// A program that can be started any number of times and that no process can change.
#[derive(Debug)]
pub struct Image {
    file: OwnedFd,
}

/// Where the bytes of an [`Image`] are kept; tests choose one, everybody else takes what [`Image::new`] finds to work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeping {
    /// A sealed memfd.
    Memory,
    /// A file that was unlinked, seen through a read-only mount attached nowhere (where `vm.memfd_noexec` is 2).
    DetachedFile,
}

impl Image {
    /// Keeps a copy of `bytes`; `directory` (not on a `noexec` mount) is used only where memfds may not be executed.
    pub fn new(bytes: &[u8], directory: &Path) -> io::Result<Self> {
        match Self::kept(bytes, directory, Keeping::Memory) {
            Err(error) if matches!(error.raw_os_error(), Some(libc::EACCES | libc::EPERM)) => {
                Self::kept(bytes, directory, Keeping::DetachedFile)
            }
            result => result,
        }
    }

    /// The program at `path` as it is now, also after the path leads to another: `/proc/self/exe` is the caller's own.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { file: rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())? })
    }

    /// Keeps a copy of `bytes` in the given way.
    pub fn kept(bytes: &[u8], directory: &Path, keeping: Keeping) -> io::Result<Self> {
        match keeping {
            Keeping::Memory => Self::in_memory(bytes),
            Keeping::DetachedFile => Self::in_detached_file(bytes, directory),
        }
    }

    fn in_memory(bytes: &[u8]) -> io::Result<Self> {
        const MFD_EXEC: u32 = 0x10;
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let executable = flags | MemfdFlags::from_bits_retain(MFD_EXEC);
        let file = match rustix::fs::memfd_create("minke-shim", executable) {
            Err(Errno::INVAL) => rustix::fs::memfd_create("minke-shim", flags)?,
            result => result?,
        };
        crate::descriptor::write_all(&file, bytes).map_err(|(_, errno)| errno)?;
        let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&file, seals)?;
        Ok(Self { file })
    }

    fn in_detached_file(bytes: &[u8], directory: &Path) -> io::Result<Self> {
        // Two threads that keep one at a time must not take each other's file.
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = directory.join(format!(".shim-{}-{number}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let writer = rustix::fs::open(&path, flags, Mode::from_raw_mode(0o500))?;
        let written = crate::descriptor::write_all(&writer, bytes).map_err(|(_, errno)| errno);
        drop(writer);
        let text = path.to_str().ok_or(io::ErrorKind::InvalidInput)?;
        let mount = written.and_then(|()| crate::mount::copy_path(text, crate::mount::Extent::One));
        std::fs::remove_file(&path)?;
        let file = mount?;
        let set = crate::mount::ATTR_RDONLY | crate::mount::ATTR_NOSUID;
        crate::mount::change(&file, crate::mount::Change { set, ..Default::default() })?;
        Ok(Self { file })
    }

    /// Starts the program: its standard streams are `/dev/null`, descriptor 3 is `control`, everything else is closed.
    pub fn start(&self, start: Start<'_>) -> io::Result<Started> {
        let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        // The child replaces the numbers up to 3: everything that it needs must be above.
        let above = |fd: BorrowedFd<'_>| crate::descriptor::duplicate_above(fd, 4);
        let (program, control, null) =
            (above(self.file.as_fd())?, above(start.control)?, above(null.as_fd())?);
        let owned: Vec<OwnedFd> = start.v1_tasks.iter().map(|fd| above(*fd)).collect::<crate::Result<_>>()?;
        let arguments = Strings::new(start.arguments)?;
        let environment = Strings::new::<&str>(&[])?;
        let tasks: Vec<i32> = owned.iter().map(|fd| fd.as_raw_fd()).collect();
        let job = Job {
            program: program.as_raw_fd(),
            control: control.as_raw_fd(),
            null: null.as_raw_fd(),
            tasks: &tasks,
            arguments: &arguments,
            environment: &environment,
            users: start.users.map(|fd| (fd.as_raw_fd(), start.namespaces)),
            failure: 0,
        };
        // What is to belong to other users is made after those are joined.
        let born_in = if start.users.is_some() { 0 } else { start.namespaces };
        run_vforked(job, start.cgroup, born_in)
    }
}

/// How an [`Image`] is started.
#[derive(Clone, Copy)]
pub struct Start<'a> {
    /// Becomes descriptor 3.
    pub control: BorrowedFd<'a>,
    /// The argument vector, from the program's name on.
    pub arguments: &'a [&'a str],
    /// A cgroup2 directory to be born in.
    pub cgroup: Option<BorrowedFd<'a>>,
    /// `tasks` files of v1 control groups (open for writing) to enter before the program runs.
    pub v1_tasks: &'a [BorrowedFd<'a>],
    /// `CLONE_NEW*` bits of the namespaces to be born in.
    pub namespaces: u64,
    /// A user namespace to join, to which those belong then.
    pub users: Option<BorrowedFd<'a>>,
}

/// A program that was started.
#[derive(Debug)]
pub struct Started {
    /// Its pid; it is a child of the caller until the caller ends.
    pub pid: i32,
    /// Its pidfd.
    pub pidfd: OwnedFd,
}

struct Job<'a> {
    program: i32,
    control: i32,
    null: i32,
    tasks: &'a [i32],
    arguments: &'a Strings,
    environment: &'a Strings,
    /// The user namespace to join, and what is made in it.
    users: Option<(i32, u64)>,
    /// Written by the child: the error number of what failed.
    failure: i32,
}

const STACK_BYTES: usize = 32 * 1024;

fn run_vforked(mut job: Job<'_>, cgroup: Option<BorrowedFd<'_>>, namespaces: u64) -> io::Result<Started> {
    let mut stack: Vec<u128> = vec![0; STACK_BYTES / 16];
    let mut pidfd: i32 = -1;
    let arguments = CloneArguments {
        flags: u64::from(k::CLONE_VM | k::CLONE_VFORK | k::CLONE_PIDFD)
            | CLONE_CLEAR_SIGHAND
            | namespaces
            | if cgroup.is_some() { CLONE_INTO_CGROUP } else { 0 },
        pidfd: &raw mut pidfd as u64,
        exit_signal: u64::from(k::SIGCHLD),
        stack: stack.as_mut_ptr() as u64,
        stack_size: STACK_BYTES as u64,
        cgroup: cgroup.map_or(0, |fd| fd.as_raw_fd() as u64),
        ..CloneArguments::default()
    };
    let old = crate::signal::block_exactly(crate::signal::ALL)?;
    // SAFETY: the arguments, the stack and the job live until this thread goes on, which is after the child has executed or ended;
    // the child only makes system calls.
    let result = unsafe { clone_onto_stack(&arguments, child, &raw mut job) };
    crate::signal::block_exactly(old)?;
    let pid = result?;
    // SAFETY: the kernel has stored a new descriptor there, which nobody else owns.
    let pidfd = unsafe { OwnedFd::from_raw_fd(core::ptr::read_volatile(&raw const pidfd)) };
    // SAFETY: the child, which wrote it, no longer shares this memory.
    let failure = unsafe { core::ptr::read_volatile(&raw const job.failure) };
    drop(stack);
    if failure != 0 {
        let mut status = 0;
        // SAFETY: `status` is valid for the write.
        let _ = unsafe { call!(k::__NR_wait4, pid, &raw mut status, 0, 0) };
        return Err(io::Error::from_raw_os_error(failure));
    }
    Ok(Started { pid, pidfd })
}

/// What the child does: system calls only, no allocation, no locks.
extern "C" fn child(job: *mut Job<'_>) -> ! {
    // SAFETY: the parent's job, untouched by the parent while it waits.
    let job = unsafe { &mut *job };
    if let Err(errno) = prepare(job) {
        job.failure = errno.raw_os_error();
    }
    crate::process::exit(127)
}

fn prepare(job: &Job<'_>) -> crate::Result<()> {
    const AT_EMPTY_PATH: usize = 0x1000;
    crate::process::new_session()?;
    for &file in job.tasks {
        // SAFETY: two bytes of a constant; the number is open in the parent, whose table this is a copy of.
        unsafe { call!(k::__NR_write, file, c"0".as_ptr(), 1) }?;
    }
    if let Some((users, namespaces)) = job.users {
        // SAFETY: no memory arguments; the number is open in the parent, whose table this is a copy of.
        unsafe { call!(k::__NR_setns, users, u64::from(k::CLONE_NEWUSER)) }?;
        crate::process::unshare(namespaces)?;
    }
    for number in 0..3 {
        // SAFETY: no memory arguments; the table is the child's own.
        unsafe { call!(k::__NR_dup3, job.null, number, 0) }?;
    }
    // SAFETY: as above.
    unsafe { call!(k::__NR_dup3, job.control, 3, 0) }?;
    crate::process::close_on_exec_from(4)?;
    crate::signal::block_exactly(0)?;
    // SAFETY: both vectors are ended by null pointers and live in the waiting parent.
    unsafe {
        call!(
            k::__NR_execveat,
            job.program,
            c"".as_ptr(),
            job.arguments.as_ptr(),
            job.environment.as_ptr(),
            AT_EMPTY_PATH
        )
    }
    .map(|_| ())
}

/// clone3 with a stack for the child, which calls `entry(job)` on it. Returns the child's pid, in the parent only.
///
/// # Safety
/// `arguments` names a stack that stays valid, with `CLONE_VM | CLONE_VFORK`; `job` is valid until the child executes or ends.
unsafe fn clone_onto_stack(
    arguments: &CloneArguments,
    entry: extern "C" fn(*mut Job<'_>) -> !,
    job: *mut Job<'_>,
) -> io::Result<i32> {
    let mut result: isize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the child leaves this code by the call, which never returns; the parent finds all registers as declared.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r12",
            "call r13",
            "ud2",
            "2:",
            inlateout("rax") k::__NR_clone3 as isize => result,
            in("rdi") arguments, in("rsi") size_of::<CloneArguments>(),
            in("r12") job, in("r13") entry,
            lateout("rcx") _, lateout("r11") _,
        );
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    unsafe {
        std::arch::asm!(
            "svc 0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x0, x20",
            "blr x21",
            "brk 1",
            "2:",
            in("x8") k::__NR_clone3 as usize,
            inlateout("x0") arguments => result,
            in("x1") size_of::<CloneArguments>(),
            in("x20") job, in("x21") entry,
        );
    }
    if result < 0 { Err(io::Error::from_raw_os_error(-result as i32)) } else { Ok(result as i32) }
}

/// Takes the exit of a child that has ended, so that no zombie stays; `None` while it runs or if it isn't a child.
pub fn reap_child(pid: i32) -> Option<i32> {
    const WNOHANG: usize = 1;
    let mut status = 0i32;
    // SAFETY: `status` is valid for the write.
    match unsafe { call!(k::__NR_wait4, pid, &raw mut status, WNOHANG, 0) } {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(crate::process::shell_code(status)),
    }
}

/// A path as the kernel wants it.
pub fn c_path(path: &Path) -> io::Result<CString> {
    use std::os::unix::ffi::OsStrExt;
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

/// Opens the `tasks` files of v1 control groups for [`Start::v1_tasks`].
pub fn open_tasks(directories: &[&Path]) -> io::Result<Vec<OwnedFd>> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    directories.iter().map(|path| Ok(rustix::fs::open(path.join("tasks"), flags, Mode::empty())?)).collect()
}

/// Opens a control group's directory for [`Start::cgroup`].
pub fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

impl AsFd for Image {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
