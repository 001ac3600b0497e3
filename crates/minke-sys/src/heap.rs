//! The memory of a program that mostly waits: how the C library hands it out to threads, and how it is given back.

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

/// Gives back what the caller's process holds without using it: freed memory that the C library has kept, and the pages of the
/// program's own file, which the kernel maps sixteen at a time around the one that was wanted. What is needed again is taken from
/// the page cache, in a microsecond for sixteen pages.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: returns whole free pages to the kernel, under the allocator's lock.
        let _ = unsafe { libc::malloc_trim(0) };
        // SAFETY: the callback has the type that is asked for, and its data is not used.
        let _ = unsafe { libc::dl_iterate_phdr(Some(give_back_program), core::ptr::null_mut()) };
    }
}

/// Is called for the program first, and asks for no more.
#[cfg(target_env = "gnu")]
unsafe extern "C" fn give_back_program(
    info: *mut libc::dl_phdr_info,
    _size: libc::size_t,
    _data: *mut libc::c_void,
) -> libc::c_int {
    const PAGE: usize = 4096;
    // SAFETY: the C library passes a valid description, whose headers stay as long as the program runs.
    let (base, headers) = unsafe {
        let info = &*info;
        let headers = match info.dlpi_phdr.is_null() {
            true => &[],
            false => core::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()),
        };
        (info.dlpi_addr as usize, headers)
    };
    for header in
        headers.iter().filter(|header| header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0)
    {
        // Only whole pages: those at the edges may be another segment's too.
        let start = (base + header.p_vaddr as usize).next_multiple_of(PAGE);
        let end = (base + (header.p_vaddr + header.p_memsz) as usize) / PAGE * PAGE;
        if start < end {
            // SAFETY: the segment is mapped from the program's file and has never been written to, so every page that is let go
            // comes back as it was. Where the kernel refuses, nothing has changed.
            let _ = unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_DONTNEED) };
        }
    }
    1
}

#[cfg(all(test, target_env = "gnu"))]
mod tests {
    use std::fs;

    /// How much of this program's file is mapped by pages, in KiB.
    fn mapped_kib() -> u64 {
        let own = std::env::current_exe().expect("a program").display().to_string();
        let all = fs::read_to_string("/proc/self/smaps").expect("what is mapped");
        let mut is_own = false;
        let mut sum = 0;
        for line in all.lines() {
            match line.strip_prefix("Rss:") {
                Some(rest) if is_own => {
                    sum += rest.trim().trim_end_matches(" kB").parse::<u64>().expect("a number");
                }
                Some(_) => {}
                None if line.contains(" r") && line.contains('-') => is_own = line.ends_with(&own),
                None => {}
            }
        }
        sum
    }

    #[test]
    fn what_is_given_back_is_there_again_when_it_is_wanted() {
        let bytes = fs::read("/proc/self/exe").expect("the program");
        let before = mapped_kib();
        super::give_back();
        let after = mapped_kib();
        assert!(after < before, "{before} KiB, then {after} KiB");
        assert_eq!(bytes, fs::read("/proc/self/exe").expect("the program"));
    }
}
