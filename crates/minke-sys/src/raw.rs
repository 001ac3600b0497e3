//! System calls by number, for those that rustix doesn't offer, on x86_64 and aarch64.

use crate::{Errno, Result};

/// Makes a system call with up to six arguments.
///
/// # Safety
/// The arguments must be what the kernel expects of call `number`: pointers valid for the accesses that it makes.
#[cfg(target_arch = "x86_64")]
pub unsafe fn syscall(number: u32, a: [usize; 6]) -> Result<usize> {
    let ret: isize;
    // SAFETY: the caller vouches for the arguments; rcx and r11 are declared clobbered as the instruction does.
    unsafe {
        core::arch::asm!(
            "syscall",
            inlateout("rax") number as isize => ret,
            in("rdi") a[0], in("rsi") a[1], in("rdx") a[2], in("r10") a[3], in("r8") a[4], in("r9") a[5],
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    check(ret)
}

/// Makes a system call with up to six arguments.
///
/// # Safety
/// The arguments must be what the kernel expects of call `number`: pointers valid for the accesses that it makes.
#[cfg(target_arch = "aarch64")]
pub unsafe fn syscall(number: u32, a: [usize; 6]) -> Result<usize> {
    let ret: isize;
    // SAFETY: the caller vouches for the arguments.
    unsafe {
        core::arch::asm!(
            "svc 0",
            in("x8") number as usize,
            inlateout("x0") a[0] as isize => ret,
            in("x1") a[1], in("x2") a[2], in("x3") a[3], in("x4") a[4], in("x5") a[5],
            options(nostack),
        );
    }
    check(ret)
}

fn check(ret: isize) -> Result<usize> {
    if (-4095..0).contains(&ret) { Err(Errno::from_raw_os_error(-ret as i32)) } else { Ok(ret as usize) }
}

/// Makes a system call: `call!(NUMBER, argument, ...)`.
macro_rules! call {
    ($number:expr $(, $argument:expr)* $(,)?) => {{
        #[allow(unused_mut)]
        let mut arguments = [0usize; 6];
        let mut _count = 0;
        $( arguments[_count] = $argument as usize; _count += 1; )*
        $crate::raw::syscall($number, arguments)
    }};
}
pub(crate) use call;
