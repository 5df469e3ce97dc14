//! Each thread's own free lists of entry memory.
//!
//! A cache at its capacity frees an entry for each one that it allocates, of the same size and
//! mostly on the same thread. With some memory at hand, freeing is a push and allocating is a pop,
//! without a shared word. The excess of a magazine goes back to its source, as does all of it when
//! the thread ends. The idea is Bonwick and Adams' ("Magazines and Vmem", USENIX ATC 2001).

use std::alloc::Layout;
use std::cell::RefCell;
use std::ptr::NonNull;

use super::paired::{PAIRED, beside};
use super::slab::Pool;
use super::{allocate_fresh, free};
use crate::base::prefetch::prefetch_for_write;

/// The most bytes and entries that one magazine keeps, unless another thread is using the pool.
const MAX_BYTES: usize = 32 * 1024;
const MAX_ENTRIES: usize = 512;
/// The number of entries that come from the pool at once, and the number that go back: each of them may
/// cost a cache miss.
const REFILL: usize = 16;
const GIVEN: usize = 32;
/// The entries that go back are chosen among this many that were freed last, which bounds the time of the call.
const CONSIDERED: usize = 4 * GIVEN;
/// The number of layouts, besides [`PAIRED`], for which a thread keeps magazines.
const MAX_LAYOUTS: usize = 8;

#[derive(Default)]
struct Magazines {
    /// The magazine of the smallest entries, which are the most frequent.
    paired: RefCell<Option<Magazine>>,
    others: RefCell<Vec<Magazine>>,
}

thread_local! {
    static MAGAZINES: Magazines = Magazines::default();
}

/// Calls `with` on this thread's magazines; `None` once the thread's destructors have dropped them.
#[inline]
fn with_local<R>(with: impl FnOnce(&Magazines) -> R) -> Option<R> {
    MAGAZINES.try_with(with).ok()
}

struct Magazine {
    layout: Layout,
    /// Whether `layout` is [`PAIRED`].
    is_paired: bool,
    /// `None` for entries that come from the allocator one by one.
    pool: Option<&'static Pool>,
    free: Vec<NonNull<u8>>,
    max_entries: usize,
}

impl Magazine {
    fn new(layout: Layout) -> Self {
        let max_entries =
            if cfg!(larder_malloc) { 0 } else { (MAX_BYTES / layout.size()).min(MAX_ENTRIES) };
        let is_paired = layout == PAIRED;
        Self { layout, is_paired, pool: Pool::of(layout), free: Vec::new(), max_entries }
    }

    #[inline]
    fn pop(&mut self) -> Option<NonNull<u8>> {
        if self.free.is_empty() {
            self.pool?.take(REFILL, &mut self.free);
        }
        let memory = self.free.pop();
        if let Some(next) = self.free.last() {
            // For the next call.
            prefetch_for_write(next.as_ptr());
            if self.is_paired {
                prefetch_for_write(beside(next.as_ptr()));
            }
        }
        memory
    }

    #[inline]
    fn push(&mut self, memory: NonNull<u8>) {
        self.free.push(memory);
        if self.free.len() > self.max_entries {
            self.shrink();
        }
    }

    /// Gives back a few entries more than it has to: the highest addresses of those that were freed last.
    /// Otherwise scattered entries would keep many slabs from becoming empty.
    #[cold]
    fn shrink(&mut self) {
        let keep = self.max_entries.saturating_sub(GIVEN.min(self.max_entries / 2));
        let from = self.free.len().saturating_sub(CONSIDERED).min(keep);
        self.free[from..].select_nth_unstable(keep - from);
        self.shrink_to(keep);
    }

    fn shrink_to(&mut self, keep: usize) {
        let Some(pool) = self.pool else {
            for memory in self.free.drain(keep..) {
                // SAFETY: `push` took it with this layout, as its last owner.
                unsafe { free(self.layout, memory) };
            }
            return;
        };
        if self.free.len() <= 2 * self.max_entries {
            pool.try_give(&mut self.free, keep);
        } else {
            pool.give(self.free.drain(keep..));
        }
    }
}

impl Drop for Magazine {
    fn drop(&mut self) {
        give_back(self.layout, self.pool, self.free.drain(..));
    }
}

impl Magazines {
    #[inline]
    fn with_paired<R>(&self, with: impl FnOnce(&mut Magazine) -> R) -> R {
        with(self.paired.borrow_mut().get_or_insert_with(|| Magazine::new(PAIRED)))
    }

    #[inline]
    fn with<R>(&self, layout: Layout, with: impl FnOnce(&mut Magazine) -> R) -> Option<R> {
        if layout == PAIRED {
            return Some(self.with_paired(with));
        }
        let mut magazines = self.others.borrow_mut();
        let at = match magazines.iter().position(|magazine| magazine.layout == layout) {
            Some(at) => at,
            None if magazines.len() < MAX_LAYOUTS => {
                magazines.push(Magazine::new(layout));
                magazines.len() - 1
            }
            None => return None,
        };
        Some(with(&mut magazines[at]))
    }
}

/// Gives back the memory that the calling thread keeps at hand. For when a cache has ended or shrunk, and before a
/// thread idles: a slot that is not given back keeps its slab.
pub(crate) fn trim() {
    with_local(|magazines| {
        let Magazines { paired, others } = magazines;
        for magazine in paired.borrow_mut().iter_mut().chain(others.borrow_mut().iter_mut()) {
            magazine.shrink_to(0);
        }
    });
}

/// Memory for one entry.
#[inline]
pub(crate) fn allocate(layout: Layout) -> NonNull<u8> {
    let slot = with_local(|magazines| magazines.with(layout, Magazine::pop));
    slot.flatten().flatten().unwrap_or_else(|| allocate_fresh(layout))
}

/// A slot with memory [`beside`] it, of the layout [`PAIRED`]; `None` if another thread is using
/// the pool, or memory is short.
#[inline]
pub(crate) fn allocate_paired() -> Option<NonNull<u8>> {
    with_local(|magazines| magazines.with_paired(Magazine::pop)).flatten()
}

/// Takes back the memory of one entry, which the caller does not use any more.
pub(crate) fn recycle(layout: Layout, memory: NonNull<u8>) {
    recycle_all(layout, std::iter::once(memory));
}

/// Takes back the memory of entries of one layout, which the caller does not use any more.
pub(crate) fn recycle_all(layout: Layout, memory: impl Iterator<Item = NonNull<u8>>) {
    let mut memory = Some(memory);
    with_local(|magazines| {
        magazines.with(layout, |magazine| {
            memory.take().into_iter().flatten().for_each(|memory| magazine.push(memory));
        })
    });
    // This thread is ending, or has magazines for other layouts.
    if let Some(memory) = memory {
        give_back(layout, Pool::of(layout), memory);
    }
}

fn give_back(
    layout: Layout,
    pool: Option<&'static Pool>,
    memory: impl Iterator<Item = NonNull<u8>>,
) {
    match pool {
        Some(pool) => pool.give(memory),
        // SAFETY: from `allocate` with this layout, and the caller was its last owner.
        None => memory.for_each(|memory| unsafe { free(layout, memory) }),
    }
}
