//! Asking for huge pages.

pub(crate) const HUGE_PAGE: usize = 2 * 1024 * 1024;

/// Asks for memory that nobody has used yet to lie in huge pages, as far as it fills some.
///
/// Each lookup in a large table goes to a random place in its buckets and to a random entry, and
/// would mostly miss the processor's cache of page addresses, twice. A hint.
#[cfg(all(target_os = "linux", not(larder_loom)))]
pub(crate) fn advise(start: *mut u8, bytes: usize) {
    use std::ffi::{c_int, c_void};

    const MADV_HUGEPAGE: c_int = 14;
    // The standard library links the C library anyway.
    unsafe extern "C" {
        fn madvise(address: *mut c_void, length: usize, advice: c_int) -> c_int;
    }

    let end = (start.addr() + bytes) / HUGE_PAGE * HUGE_PAGE;
    let from = start.addr().next_multiple_of(HUGE_PAGE);
    if let Some(length) = end.checked_sub(from).filter(|length| *length > 0) {
        // SAFETY: the range lies within the caller's allocation, and the advice changes no content.
        // An error leaves the pages as they are.
        let _ = unsafe { madvise(start.with_addr(from).cast(), length, MADV_HUGEPAGE) };
    }
}

#[cfg(not(all(target_os = "linux", not(larder_loom))))]
pub(crate) fn advise(_start: *mut u8, _bytes: usize) {}
