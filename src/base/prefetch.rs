//! Prefetching: asks the processor for memory in advance.

#[cfg(target_arch = "x86_64")]
use std::ptr;

/// The bytes of a cache line; on some processors a line is longer.
pub(crate) const CACHE_LINE: usize = 64;

/// Asks the processor for exclusive ownership of a cache line that is about to be written. A hint: nothing
/// is accessed.
#[inline]
pub(crate) fn prefetch_for_write<T>(pointer: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch accesses no memory, whatever the address. Every x86-64 processor executes the
    // instruction; old ones that lack it treat it as a no-op.
    unsafe {
        // The compiler's intrinsic becomes a prefetch for reading unless the target processor is known.
        std::arch::asm!(
            "prefetchw [{pointer}]",
            pointer = in(reg) pointer,
            options(nostack, preserves_flags, readonly),
        );
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = pointer;
}

/// Asks the processor for a cache line that is about to be read. A hint: nothing is accessed.
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

/// Asks for the memory that `value` points to, if its type owns anything. Treats each word of the value as
/// an address: many are, and the others do no harm. Asks for two lines at each address, because a
/// clone or a serializer reads all of it.
#[inline]
pub(crate) fn prefetch_pointees<T>(value: &T) {
    /// Further words are left out: few of them are pointers.
    const MAX_WORDS: usize = 8;
    #[cfg(target_arch = "x86_64")]
    if std::mem::needs_drop::<T>() {
        for at in 0..(size_of::<T>() / size_of::<usize>()).min(MAX_WORDS) {
            let word = ptr::from_ref(value).cast::<usize>().wrapping_add(at);
            // SAFETY: the word is within the value, which lives as long as the reference. It is only
            // loaded into a register, so it may be padding, or another thread may be changing it. A
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
