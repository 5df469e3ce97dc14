//! Asking the processor for memory in advance.

#[cfg(all(feature = "snapshot", target_arch = "x86_64"))]
use std::ptr;

/// Asks the processor for a cache line that is about to be written, so that no other core has it. A
/// hint: nothing is accessed.
#[inline]
pub(crate) fn prefetch_for_write<T>(pointer: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch accesses no memory, whatever the address. Each x86-64 processor executes the
    // instruction; those without it, which are old, take it for one that does nothing.
    unsafe {
        // The compiler's own hint for it is one for reading where it does not know the processor.
        std::arch::asm!(
            "prefetchw [{pointer}]",
            pointer = in(reg) pointer,
            options(nostack, preserves_flags, readonly),
        );
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = pointer;
}

/// Asks the processor for a cache line that is about to be read. A hint, as above.
#[inline]
pub(crate) fn prefetch_for_read<T>(pointer: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch accesses no memory, whatever the address; SSE is in every x86-64.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(pointer.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = pointer;
}

/// Asks for what `value` points to, where it owns something: takes each of its words for an address,
/// as many of them are, and the others do no harm. Two lines of each, for what is serialized is read
/// to its end.
#[cfg(feature = "snapshot")]
#[inline]
pub(crate) fn prefetch_pointees<T>(value: &T) {
    /// Words of larger values are left out: what points to much else is in few of them.
    const MAX_WORDS: usize = 8;
    #[cfg(target_arch = "x86_64")]
    if std::mem::needs_drop::<T>() {
        for at in 0..(size_of::<T>() / size_of::<usize>()).min(MAX_WORDS) {
            let word = ptr::from_ref(value).cast::<usize>().wrapping_add(at);
            // SAFETY: within the value, which is there as long as the reference. The word goes to a
            // register and no further, so it may be padding, or under change by another thread; a
            // prefetch accesses no memory, whatever the address.
            unsafe {
                std::arch::asm!(
                    "mov {pointee}, qword ptr [{word}]",
                    "prefetcht0 [{pointee}]",
                    "prefetcht0 [{pointee} + 64]",
                    word = in(reg) word,
                    pointee = out(reg) _,
                    options(nostack, preserves_flags, readonly),
                );
            }
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (value, MAX_WORDS);
}
