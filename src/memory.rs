//! The memory of entries, buckets and removal histories: where it comes from, and where it goes when
//! it is no longer used.
//!
//! Entries come from a thread's own free lists (`magazine`), which take slots from the process's
//! slabs (`slab`) or memory from the allocator. Large arrays come zeroed from the system
//! (`zeroed`), in `huge_pages` where that helps. The layers above decide what the memory holds, and
//! when no thread can see it any more.

use std::alloc::{self, Layout};
use std::ptr::NonNull;

#[cfg(larder_loom)]
mod loom_stub;
#[cfg(not(larder_loom))]
mod magazine;
#[cfg(not(larder_loom))]
mod slab;
mod paired;
pub(crate) mod zeroed;
mod huge_pages;

pub(crate) use huge_pages::advise as advise_huge_pages;
#[cfg(larder_loom)]
pub(crate) use loom_stub::{allocate, allocate_paired, recycle, recycle_all, trim};
#[cfg(not(larder_loom))]
pub(crate) use magazine::{allocate, allocate_paired, recycle, recycle_all, trim};
pub(crate) use paired::{BESIDE_BYTES, PAIRED, UNPAIRED, beside, has_slots, is_paired};
#[cfg(all(unix, not(larder_loom)))]
pub(crate) use slab::{PoolLocks, hold};

/// Memory from the allocator itself.
fn allocate_fresh(layout: Layout) -> NonNull<u8> {
    // SAFETY: an entry has at least its header, so the layout is not empty.
    let pointer = unsafe { alloc::alloc(layout) };
    NonNull::new(pointer).unwrap_or_else(|| alloc::handle_alloc_error(layout))
}

/// # Safety
/// `memory` is from [`allocate_fresh`] with this layout and is not used any more.
unsafe fn free(layout: Layout, memory: NonNull<u8>) {
    // SAFETY: passed on to the caller.
    unsafe { alloc::dealloc(memory.as_ptr(), layout) };
}
