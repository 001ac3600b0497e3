//! Device rules of a cgroup2 directory: an eBPF program, loaded and attached.

use std::ffi::{CStr, c_char};
use std::mem::size_of_val;

use linux_raw_sys::general as k;
use rustix::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use crate::Result;
use crate::raw::call;

const BPF_PROG_LOAD: usize = 5;
const BPF_PROG_ATTACH: usize = 8;
const PROGRAM_TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_TYPE_CGROUP_DEVICE: u32 = 6;
const ALLOW_MULTI: u32 = 2;

/// Loads a device program of 8-byte instructions and attaches it to a cgroup2 directory, beside those that are there.
pub fn attach_device_program(cgroup: impl AsFd, program: &[u64]) -> Result<()> {
    const LICENSE: &CStr = c"Apache-2.0";
    #[repr(C)]
    struct Load {
        program_type: u32,
        instruction_count: u32,
        instructions: *const u64,
        license: *const c_char,
        log: [u64; 2],
    }
    let load = Load {
        program_type: PROGRAM_TYPE_CGROUP_DEVICE,
        instruction_count: program.len() as u32,
        instructions: program.as_ptr(),
        license: LICENSE.as_ptr(),
        log: [0; 2],
    };
    // SAFETY: a prefix of the kernel's attribute union, with its size; both pointers live through the call; the result is a new descriptor.
    let loaded = unsafe {
        let fd = call!(k::__NR_bpf, BPF_PROG_LOAD, &raw const load, size_of_val(&load))?;
        OwnedFd::from_raw_fd(fd as i32)
    };
    let attach = [
        cgroup.as_fd().as_raw_fd() as u32,
        loaded.as_raw_fd() as u32,
        ATTACH_TYPE_CGROUP_DEVICE,
        ALLOW_MULTI,
    ];
    // SAFETY: as above; the attach record is four u32.
    unsafe { call!(k::__NR_bpf, BPF_PROG_ATTACH, attach.as_ptr(), size_of_val(&attach)) }.map(|_| ())
}
