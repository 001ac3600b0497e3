//! Memory from the kernel, for the allocator of the freestanding shim.

use linux_raw_sys::general as k;

use crate::raw::call;

/// Maps zeroed memory, page-aligned; null when there is none.
pub fn map(size: usize) -> *mut u8 {
    const READ_WRITE: usize = 3;
    const PRIVATE_ANONYMOUS: usize = 0x22;
    // SAFETY: a new mapping that touches no other memory.
    match unsafe { call!(k::__NR_mmap, 0, size, READ_WRITE, PRIVATE_ANONYMOUS, -1isize, 0) } {
        Ok(address) => address as *mut u8,
        Err(_) => core::ptr::null_mut(),
    }
}

/// Gives back what [`map`] gave.
///
/// # Safety
/// `address` and `size` are of one mapping by [`map`] that nothing uses any more.
pub unsafe fn unmap(address: *mut u8, size: usize) {
    // SAFETY: the caller's promise.
    let _ = unsafe { call!(k::__NR_munmap, address, size) };
}
