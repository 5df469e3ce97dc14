//! The allocator of this program counts the bytes that each thread holds, and fails on request.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ptr;

thread_local! {
    /// How many allocations of this thread are left until one fails; `u64::MAX` if none fails.
    pub(crate) static FAIL_AFTER: Cell<u64> = const { Cell::new(u64::MAX) };
    /// Allocations of this thread fail from this size in bytes on.
    pub(crate) static FAIL_FROM: Cell<usize> = const { Cell::new(usize::MAX) };
    /// Bytes that this thread has allocated and not freed.
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

#[global_allocator]
static ALLOCATOR: Unreliable = Unreliable;

struct Unreliable;

fn fails(layout: Layout) -> bool {
    let is_next = FAIL_AFTER.try_with(|countdown| {
        let left = countdown.get();
        if left != u64::MAX {
            countdown.set(left.saturating_sub(1));
        }
        left == 0
    });
    let is_large = FAIL_FROM.try_with(|largest| layout.size() >= largest.get());
    let fails = is_next.unwrap_or(false) || is_large.unwrap_or(false);
    if fails {
        // The report of the failure may allocate.
        let _ = FAIL_AFTER.try_with(|countdown| countdown.set(u64::MAX));
    }
    fails
}

fn count(bytes: isize) {
    let _ = HELD.try_with(|held| {
        held.set(held.get() + bytes);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(held.get())));
    });
}

// SAFETY: every call is passed on to the system's allocator, or returns null.
unsafe impl GlobalAlloc for Unreliable {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if fails(layout) {
            return ptr::null_mut();
        }
        count(layout.size().cast_signed());
        // SAFETY: the caller keeps the contract of `alloc`, which is the same here.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed());
        // SAFETY: the caller keeps the contract of `dealloc`, which is the same here.
        unsafe { System.dealloc(pointer, layout) };
    }
}

/// The most bytes that `work` held at any time.
#[cfg(feature = "zstd")]
pub(crate) fn peak_of<R>(work: impl FnOnce() -> R) -> (usize, R) {
    let before = HELD.get();
    PEAK.set(before);
    let result = work();
    (usize::try_from(PEAK.get() - before).unwrap(), result)
}
