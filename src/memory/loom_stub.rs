//! Under loom: every entry comes from the allocator and goes back to it.

use std::alloc::Layout;
use std::ptr::NonNull;

use super::{allocate_fresh, free};

pub(crate) fn allocate(layout: Layout) -> NonNull<u8> {
    allocate_fresh(layout)
}

pub(crate) fn allocate_paired() -> Option<NonNull<u8>> {
    None
}

pub(crate) fn recycle(layout: Layout, memory: NonNull<u8>) {
    // SAFETY: from `allocate` with this layout, and the caller was its last owner.
    unsafe { free(layout, memory) };
}

pub(crate) fn recycle_all(layout: Layout, memory: impl Iterator<Item = NonNull<u8>>) {
    memory.for_each(|memory| recycle(layout, memory));
}

pub(crate) fn trim() {}
