//! Advice to the system to use huge pages, or not to.

pub(crate) const HUGE_PAGE: usize = 2 * 1024 * 1024;

/// Asks the system to put memory that is not in use yet into huge pages, as far as it fills any. It
/// is a hint.
///
/// Each lookup in a large table reads a random bucket and a random entry. Without huge pages, both
/// would mostly miss the TLB.
#[cfg(all(target_os = "linux", not(any(larder_loom, miri))))]
pub(crate) fn advise(start: *mut u8, bytes: usize) {
    const MADV_HUGEPAGE: std::ffi::c_int = 14;
    let end = (start.addr() + bytes) / HUGE_PAGE * HUGE_PAGE;
    let from = start.addr().next_multiple_of(HUGE_PAGE);
    if let Some(length) = end.checked_sub(from).filter(|length| *length > 0) {
        give_advice(start.with_addr(from), length, MADV_HUGEPAGE);
    }
}

/// Asks for pages of the usual size, for memory of which little may ever be used. `start` must be the address
/// of a page. It is a hint.
#[cfg(all(target_os = "linux", not(any(larder_loom, miri))))]
#[allow(dead_code, reason = "only where memory can be mapped")]
pub(crate) fn refuse(start: *mut u8, bytes: usize) {
    const MADV_NOHUGEPAGE: std::ffi::c_int = 15;
    // In less memory no huge page fits, and the call would have no effect.
    if bytes >= HUGE_PAGE {
        give_advice(start, bytes, MADV_NOHUGEPAGE);
    }
}

#[cfg(all(target_os = "linux", not(any(larder_loom, miri))))]
fn give_advice(start: *mut u8, length: usize, advice: std::ffi::c_int) {
    use std::ffi::{c_int, c_void};

    // The standard library already links the C library.
    unsafe extern "C" {
        fn madvise(address: *mut c_void, length: usize, advice: c_int) -> c_int;
    }

    // SAFETY: the range lies within an allocation of the caller's, and the advice changes no
    // content. An error leaves the pages as they are.
    let _ = unsafe { madvise(start.cast(), length, advice) };
}

#[cfg(not(all(target_os = "linux", not(any(larder_loom, miri)))))]
pub(crate) fn advise(_start: *mut u8, _bytes: usize) {}

#[cfg(not(all(target_os = "linux", not(any(larder_loom, miri)))))]
#[allow(dead_code, reason = "only where memory can be mapped")]
pub(crate) fn refuse(_start: *mut u8, _bytes: usize) {}
