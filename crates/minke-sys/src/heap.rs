//! How the C library hands out memory to threads.

/// Lets all threads that begin from now on allocate from one heap. By itself the C library gives each a heap of its own, and what one
/// thread has freed is of no use to the others: for a program whose threads mostly wait that is memory for nothing.
pub fn share_between_threads() {
    #[cfg(target_env = "gnu")]
    {
        const M_ARENA_MAX: libc::c_int = -8;
        // SAFETY: changes a number of the allocator's own, under its lock; a refusal changes nothing.
        let _ = unsafe { libc::mallopt(M_ARENA_MAX, 1) };
    }
}
