//! What a program without the standard library and without libc has to bring: its entry, its heap, its memory functions, its end.
//!
//! The only unsafe code outside minke-sys. Single-threaded: there is never more than one thread in this program.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr;

use linked_list_allocator::Heap;

#[cfg(target_arch = "x86_64")]
core::arch::global_asm!(
    ".globl _start",
    ".type _start, @function",
    "_start:",
    "xor ebp, ebp",
    "and rsp, -16",
    "call {entry}",
    "ud2",
    entry = sym entry,
);

#[cfg(target_arch = "aarch64")]
core::arch::global_asm!(
    ".globl _start",
    ".type _start, @function",
    "_start:",
    "mov x29, xzr",
    "mov x30, xzr",
    "bl {entry}",
    "brk 1",
    entry = sym entry,
);

extern "C" fn entry() -> ! {
    minke_sys::process::exit(crate::shim())
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    minke_sys::process::exit(134)
}

/// Small things live in a heap inside the program, large ones in mappings of their own, which are given back at once.
struct Allocator(UnsafeCell<Small>);

struct Small {
    heap: Heap,
    ready: bool,
}

const HEAP_BYTES: usize = 128 * 1024;
const LARGE_BYTES: usize = 32 * 1024;

#[repr(align(4096))]
struct Arena(UnsafeCell<[u8; HEAP_BYTES]>);

// SAFETY: there is only one thread.
unsafe impl Sync for Arena {}
// SAFETY: there is only one thread.
unsafe impl Sync for Allocator {}

static ARENA: Arena = Arena(UnsafeCell::new([0; HEAP_BYTES]));

#[global_allocator]
static ALLOCATOR: Allocator = Allocator(UnsafeCell::new(Small { heap: Heap::empty(), ready: false }));

// SAFETY: blocks come from the heap or from mappings of their own, told apart by their size alone, which layout and reallocation keep.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() >= LARGE_BYTES {
            return minke_sys::memory::map(layout.size());
        }
        // SAFETY: one thread, and no call below comes back here.
        let small = unsafe { &mut *self.0.get() };
        if !small.ready {
            small.ready = true;
            // SAFETY: the arena is used for nothing else and lives for ever.
            unsafe { small.heap.init(ARENA.0.get().cast(), HEAP_BYTES) };
        }
        match small.heap.allocate_first_fit(layout) {
            Ok(block) => block.as_ptr(),
            Err(()) => minke_sys::memory::map(layout.size()),
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let start = ARENA.0.get() as usize;
        if !(start..start + HEAP_BYTES).contains(&(block as usize)) {
            // SAFETY: what isn't in the arena was mapped by `alloc` with this size.
            unsafe { minke_sys::memory::unmap(block, layout.size()) };
            return;
        }
        if let Some(block) = ptr::NonNull::new(block) {
            // SAFETY: one thread; the block is of this heap.
            unsafe { (*self.0.get()).heap.deallocate(block, layout) };
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's layout with another size, which is the caller's promise.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        // SAFETY: as above.
        let moved = unsafe { self.alloc(wanted) };
        if !moved.is_null() {
            // SAFETY: both blocks have at least the smaller size and are distinct.
            unsafe {
                ptr::copy_nonoverlapping(block, moved, layout.size().min(size));
                self.dealloc(block, layout);
            }
        }
        moved
    }
}

/// Copies memory.
///
/// # Safety
/// As C's function.
#[cfg(target_arch = "x86_64")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    // SAFETY: the caller's promise; the direction flag is clear by the calling convention.
    unsafe {
        if count < 32 {
            small_copy(to, from, count);
        } else if count <= MEDIUM_BYTES {
            medium_copy(to, from, count);
        } else {
            core::arch::asm!("rep movsb", inout("rcx") count => _, inout("rdi") to => _, inout("rsi") from => _,
                options(nostack, preserves_flags));
        }
    }
    to
}

/// Up to here single moves are faster than the processor's own loop, which takes its time to begin.
#[cfg(target_arch = "x86_64")]
const MEDIUM_BYTES: usize = 512;

/// Copies at least 16 bytes in blocks of 16, the last of which may overlap the one before it.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn medium_copy(to: *mut u8, from: *const u8, count: usize) {
    use core::arch::x86_64::{__m128i, _mm_loadu_si128, _mm_storeu_si128};
    // SAFETY: every access is within the caller's `count` bytes, which don't overlap.
    unsafe {
        let copy = |at: usize| {
            _mm_storeu_si128(to.add(at).cast::<__m128i>(), _mm_loadu_si128(from.add(at).cast::<__m128i>()));
        };
        let mut done = 0;
        while done + 16 < count {
            copy(done);
            done += 16;
        }
        copy(count - 16);
    }
}

/// Copies at most 32 bytes by overlapping words.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn small_copy(to: *mut u8, from: *const u8, count: usize) {
    // SAFETY: every access is within the caller's `count` bytes; all are read before any is written.
    unsafe {
        match count {
            16.. => {
                let (a, b) =
                    (from.cast::<u64>().read_unaligned(), from.add(8).cast::<u64>().read_unaligned());
                let (c, d) = (
                    from.add(count - 16).cast::<u64>().read_unaligned(),
                    from.add(count - 8).cast::<u64>().read_unaligned(),
                );
                to.cast::<u64>().write_unaligned(a);
                to.add(8).cast::<u64>().write_unaligned(b);
                to.add(count - 16).cast::<u64>().write_unaligned(c);
                to.add(count - 8).cast::<u64>().write_unaligned(d);
            }
            8.. => {
                let (a, b) =
                    (from.cast::<u64>().read_unaligned(), from.add(count - 8).cast::<u64>().read_unaligned());
                to.cast::<u64>().write_unaligned(a);
                to.add(count - 8).cast::<u64>().write_unaligned(b);
            }
            4.. => {
                let (a, b) =
                    (from.cast::<u32>().read_unaligned(), from.add(count - 4).cast::<u32>().read_unaligned());
                to.cast::<u32>().write_unaligned(a);
                to.add(count - 4).cast::<u32>().write_unaligned(b);
            }
            1.. => {
                let (a, b, c) = (from.read(), from.add(count / 2).read(), from.add(count - 1).read());
                to.write(a);
                to.add(count / 2).write(b);
                to.add(count - 1).write(c);
            }
            0 => {}
        }
    }
}

/// Copies memory.
///
/// # Safety
/// As C's function.
#[cfg(not(target_arch = "x86_64"))]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    // SAFETY: the caller's promise.
    unsafe { copy_up(to, from, count) };
    to
}

/// Copies memory that may overlap.
///
/// # Safety
/// As C's function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    // SAFETY: the caller's promise; the direction is chosen so that nothing is overwritten before it is read.
    unsafe {
        if (to as usize).wrapping_sub(from as usize) >= count {
            copy_up(to, from, count);
        } else {
            copy_down(to, from, count);
        }
    }
    to
}

unsafe fn copy_up(to: *mut u8, from: *const u8, count: usize) {
    let mut done = 0;
    // SAFETY: within `count`; a word is read before a lower or equal address is written.
    unsafe {
        while done + 8 <= count {
            ptr::write_volatile(
                to.add(done).cast::<[u8; 8]>(),
                ptr::read_volatile(from.add(done).cast::<[u8; 8]>()),
            );
            done += 8;
        }
        while done < count {
            ptr::write_volatile(to.add(done), ptr::read_volatile(from.add(done)));
            done += 1;
        }
    }
}

unsafe fn copy_down(to: *mut u8, from: *const u8, count: usize) {
    let mut left = count;
    // SAFETY: within `count`; a word is read before a higher or equal address is written.
    unsafe {
        while left >= 8 {
            left -= 8;
            ptr::write_volatile(
                to.add(left).cast::<[u8; 8]>(),
                ptr::read_volatile(from.add(left).cast::<[u8; 8]>()),
            );
        }
        while left > 0 {
            left -= 1;
            ptr::write_volatile(to.add(left), ptr::read_volatile(from.add(left)));
        }
    }
}

/// Fills memory.
///
/// # Safety
/// As C's function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memset(to: *mut u8, byte: i32, count: usize) -> *mut u8 {
    let mut done = 0;
    // SAFETY: within `count`.
    unsafe {
        while done + 8 <= count {
            ptr::write_volatile(to.add(done).cast::<[u8; 8]>(), [byte as u8; 8]);
            done += 8;
        }
        while done < count {
            ptr::write_volatile(to.add(done), byte as u8);
            done += 1;
        }
    }
    to
}

/// Compares memory.
///
/// # Safety
/// As C's function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, count: usize) -> i32 {
    for place in 0..count {
        // SAFETY: within `count`.
        let (x, y) = unsafe { (ptr::read_volatile(a.add(place)), ptr::read_volatile(b.add(place))) };
        if x != y {
            return i32::from(x) - i32::from(y);
        }
    }
    0
}

/// Compares memory for equality only.
///
/// # Safety
/// As C's function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, count: usize) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { memcmp(a, b, count) }
}

/// The length of a text ended by a zero byte.
///
/// # Safety
/// As C's function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn strlen(text: *const u8) -> usize {
    let mut length = 0;
    // SAFETY: the text is ended by the caller's promise.
    while unsafe { ptr::read_volatile(text.add(length)) } != 0 {
        length += 1;
    }
    length
}

/// Named by precompiled parts of the core library, never called: a panic ends the program.
#[unsafe(no_mangle)]
pub extern "C" fn rust_eh_personality() {}

/// As [`rust_eh_personality`].
#[unsafe(no_mangle)]
pub extern "C" fn _Unwind_Resume() -> ! {
    minke_sys::process::exit(134)
}
