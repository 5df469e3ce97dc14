//! A global allocator that counts the bytes that are currently allocated.
//!
//! Counts the requested bytes, not those that the system's allocator uses, because rounding differs
//! between allocators and the request does not.
//!
//! # Orderings
//! `LIVE_BYTES` is a plain counter. `live_bytes` is called while no other thread allocates.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

static LIVE_BYTES: AtomicUsize = AtomicUsize::new(0);

/// The requested bytes that are currently allocated.
pub(crate) fn live_bytes() -> usize {
    LIVE_BYTES.load(Ordering::Relaxed)
}

/// The system's allocator, counted.
pub(crate) struct Counting;

// SAFETY: every call is passed to `System` with its arguments, and its result is returned
// unchanged; the counter does not affect either.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise about `layout` is the one that `System` requires.
        let memory = unsafe { System.alloc(layout) };
        count_if_some(memory, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as in `alloc`.
        let memory = unsafe { System.alloc_zeroed(layout) };
        count_if_some(memory, layout.size())
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: `memory` came from `System`, as all this allocator returns, and with `layout`.
        unsafe { System.dealloc(memory, layout) };
        LIVE_BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY:
        // 1. `memory` and `layout`: as in `dealloc`.
        // 2. `new_size`: the caller's promise is the one that `System` requires.
        let moved = unsafe { System.realloc(memory, layout, new_size) };
        if !moved.is_null() {
            // Two steps; the count may wrap in between, but the sum is right.
            LIVE_BYTES.fetch_add(new_size, Ordering::Relaxed);
            LIVE_BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
        }
        moved
    }
}

fn count_if_some(memory: *mut u8, bytes: usize) -> *mut u8 {
    if !memory.is_null() {
        LIVE_BYTES.fetch_add(bytes, Ordering::Relaxed);
    }
    memory
}
