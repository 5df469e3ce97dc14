//! Each thread's own free lists of entry memory.
//!
//! A cache at its capacity frees an entry for each one it allocates, of the same size and mostly
//! on the same thread. Keeping a few at hand makes both ends a push and a pop without a shared
//! word. What exceeds a magazine goes back to the allocator, as does all of it when the thread
//! ends. The idea is Bonwick and Adams' ("Magazines and Vmem", USENIX ATC 2001), without a depot:
//! the allocator is the depot.

use std::alloc::Layout;
use std::cell::RefCell;
use std::ptr::NonNull;

use super::epoch::with_local;
use super::{allocate_fresh, free};
use crate::table::prefetch_for_write;

/// Bytes and entries that one magazine keeps at most.
const MAX_BYTES: usize = 32 * 1024;
const MAX_ENTRIES: usize = 256;
/// Entry layouts that a thread keeps magazines for.
const MAX_LAYOUTS: usize = 8;

#[derive(Default)]
pub(super) struct Magazines(RefCell<Vec<Magazine>>);

struct Magazine {
    layout: Layout,
    free: Vec<NonNull<u8>>,
}

impl Magazine {
    fn pop(&mut self) -> Option<NonNull<u8>> {
        let memory = self.free.pop();
        if let Some(next) = self.free.last() {
            // For the entry after this one.
            prefetch_for_write(next.as_ptr());
        }
        memory
    }

    #[inline]
    fn has_room(&self) -> bool {
        self.free.len() < MAX_ENTRIES
            && (self.free.len() + 1).saturating_mul(self.layout.size()) <= MAX_BYTES
    }
}

impl Drop for Magazine {
    fn drop(&mut self) {
        for memory in self.free.drain(..) {
            // SAFETY: `recycle` took it with this layout, as its last owner.
            unsafe { free(self.layout, memory) };
        }
    }
}

impl Magazines {
    #[inline]
    fn with<R>(&self, layout: Layout, with: impl FnOnce(&mut Magazine) -> R) -> Option<R> {
        let mut magazines = self.0.borrow_mut();
        let at = magazines.iter().position(|magazine| magazine.layout == layout);
        let at = match at {
            Some(at) => at,
            None if magazines.len() < MAX_LAYOUTS => {
                magazines.push(Magazine { layout, free: Vec::new() });
                magazines.len() - 1
            }
            None => return None,
        };
        Some(with(&mut magazines[at]))
    }
}

/// Memory for one entry.
#[inline]
pub(crate) fn allocate(layout: Layout) -> NonNull<u8> {
    let recycled = with_local(|local| local.magazines.with(layout, Magazine::pop)).flatten();
    recycled.flatten().unwrap_or_else(|| allocate_fresh(layout))
}

/// Takes back the memory of one entry, which the caller uses no more.
pub(crate) fn recycle(layout: Layout, memory: NonNull<u8>) {
    recycle_all(layout, std::iter::once(memory));
}

/// Takes back the memory of entries, which the caller uses no more.
pub(crate) fn recycle_all(layout: Layout, memory: impl Iterator<Item = NonNull<u8>>) {
    let mut memory = memory;
    with_local(|local| {
        local.magazines.with(layout, |magazine| {
            while magazine.has_room() {
                let Some(memory) = memory.next() else { break };
                magazine.free.push(memory);
            }
        })
    });
    for memory in memory {
        // SAFETY: from `allocate` with this layout, and the caller was its last owner.
        unsafe { free(layout, memory) };
    }
}
