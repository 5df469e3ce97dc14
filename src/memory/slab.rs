//! The memory of small entries: slabs of slots of one size, side by side.
//!
//! An allocator adds some bytes of its own to each block and rounds its size up. A slab does
//! neither, so more entries share the processor's cache, and large slabs lie in huge pages.
//! `paired` defines where the slots of the smallest entries lie in a slab.
//!
//! One [`Pool`] for each layout serves all threads and caches of the process. Threads use it
//! through their magazines, tens of slots at a time, and never wait for it while they have an
//! alternative: memory that is in no slab comes from the allocator, and a magazine that cannot give
//! slots back at the moment keeps them. Slots are taken from the lowest slab that has free ones, so
//! that other slabs run empty, and empty slabs go back to the allocator. The design follows
//! Bonwick, "The Slab Allocator" (USENIX 1994), with one list of slabs in the order of their
//! addresses instead of a pointer in each slot.

use std::alloc::{self, Layout};
use std::ptr::{self, NonNull};

use super::free;
use super::huge_pages::{HUGE_PAGE, advise};
use super::paired::{self, PAGE_BYTES, PAGE_SLOTS, PAIRED};
use crate::base::sync::{self, Mutex, MutexGuard};

/// Larger entries come from the allocator one by one: what it adds is negligible for them.
const MAX_SLOT_BYTES: usize = 512;
/// The greatest alignment of slots.
const LINE: usize = 64;
const MIN_SLAB_BYTES: usize = 32 * 1024;
const MAX_SLAB_BYTES: usize = 4 * 1024 * 1024;
/// A new slab takes 1/`GROWTH_PART` of the bytes of all slabs of its pool, so little is wasted.
const GROWTH_PART: usize = 32;
/// A new slab fills at least a huge page once the pool has this many bytes: the waste is then a small part of them, and
/// random lookups in smaller slabs would miss the TLB.
const HUGE_FROM_BYTES: usize = 4 * HUGE_PAGE;

// Slabs are aligned at least to pages and slots lie side by side from their start. So each slot has
// the alignment of its layout if that divides both a page and the size (`Pool::of`).
const _: () = assert!(LINE.is_power_of_two() && LINE <= PAGE_BYTES && PAIRED.align() <= LINE);
const _: () =
    assert!(MIN_SLAB_BYTES.is_multiple_of(PAGE_BYTES) && MAX_SLOT_BYTES <= MIN_SLAB_BYTES);
const _: () = assert!(MIN_SLAB_BYTES.is_power_of_two() && HUGE_PAGE.is_multiple_of(PAGE_BYTES));
// A free slot holds the address of the next.
const _: () =
    assert!(PAIRED.size() >= size_of::<*mut u8>() && PAIRED.align() >= align_of::<*mut u8>());

static POOLS: Mutex<Vec<&'static Pool>> = Mutex::new(Vec::new());

/// The slots of one layout.
pub(super) struct Pool {
    layout: Layout,
    slabs: Mutex<Slabs>,
}

/// Slabs by address.
#[derive(Default)]
struct Slabs {
    all: Vec<Slab>,
    bytes: usize,
    /// No slab before this one has a free slot.
    first_free: usize,
    /// The number of slabs without a slot in use: at most one, which is kept so that slabs do not
    /// come and go at every change.
    empty: usize,
}

struct Slab {
    start: NonNull<u8>,
    layout: Layout,
    /// The first of the free slots that were used before; each holds the address of the next.
    free: *mut u8,
    /// How many slots were ever used: the first ones of the slab.
    used: usize,
    in_use: usize,
}

// SAFETY: the slab owns the memory behind the pointers, and it is used under the pool's lock.
unsafe impl Send for Slab {}

impl Pool {
    /// The pool for entries of `layout`, if there are slots of that layout.
    pub(super) fn of(layout: Layout) -> Option<&'static Self> {
        if cfg!(larder_malloc) || !has_slots(layout) {
            return None;
        }
        let mut pools = sync::lock(&POOLS);
        if let Some(pool) = pools.iter().find(|pool| pool.layout == layout) {
            return Some(pool);
        }
        let slabs = Slabs::default();
        // Pools are never freed; there are as many as layouts.
        let pool: &_ = Box::leak(Box::new(Self { layout, slabs: Mutex::new(slabs) }));
        pools.push(pool);
        Some(pool)
    }

    /// Adds up to `count` slots to `slots`, the one to be used first at its end. It adds none if
    /// another thread is using the pool, or memory is short.
    pub(super) fn take(&self, count: usize, slots: &mut Vec<NonNull<u8>>) {
        let Some(mut slabs) = sync::try_lock(&self.slabs) else { return };
        let from = slots.len();
        while slots.len() - from < count {
            let Some(slab) = slabs.with_free(self.layout) else { break };
            while slots.len() - from < count
                && let Some(slot) = slab.take(self.layout)
            {
                slots.push(slot);
            }
        }
        slots[from..].reverse();
    }

    /// Takes back slots, or memory that `allocate_fresh` gave instead. Leaves them where they are
    /// if another thread is using the pool.
    pub(super) fn try_give(&self, memory: &mut Vec<NonNull<u8>>, keep: usize) {
        if let Some(slabs) = sync::try_lock(&self.slabs) {
            self.give_all(slabs, memory.drain(keep..));
        }
    }

    /// The same, but waits for the pool.
    pub(super) fn give(&self, memory: impl Iterator<Item = NonNull<u8>>) {
        self.give_all(sync::lock(&self.slabs), memory);
    }

    fn give_all(
        &self,
        mut slabs: MutexGuard<'_, Slabs>,
        memory: impl Iterator<Item = NonNull<u8>>,
    ) {
        for memory in memory {
            match slabs.find(memory) {
                Some(at) => slabs.give(at, memory),
                // SAFETY: of this layout and not used any more, by the contract of `recycle_all`;
                // in no slab, so from `allocate_fresh`.
                None => unsafe { free(self.layout, memory) },
            }
        }
    }
}

impl Slabs {
    /// The lowest slab with a free slot, which the caller takes now; a new slab if there is none.
    fn with_free(&mut self, slot: Layout) -> Option<&mut Slab> {
        while self.all.get(self.first_free).is_some_and(|slab| !slab.has_free(slot)) {
            self.first_free += 1;
        }
        if self.first_free == self.all.len() {
            let least = if self.bytes < HUGE_FROM_BYTES { MIN_SLAB_BYTES } else { HUGE_PAGE };
            let wanted = (self.bytes / GROWTH_PART).next_power_of_two();
            let slab = Slab::new(wanted.clamp(least, MAX_SLAB_BYTES))?;
            self.bytes += slab.layout.size();
            self.first_free = self.all.partition_point(|other| other.start < slab.start);
            self.all.insert(self.first_free, slab);
            self.empty += 1;
        }
        let slab = self.all.get_mut(self.first_free)?;
        self.empty -= usize::from(slab.in_use == 0);
        Some(slab)
    }

    /// The slab that contains `memory`.
    fn find(&self, memory: NonNull<u8>) -> Option<usize> {
        let at = self.all.partition_point(|slab| slab.start <= memory).checked_sub(1)?;
        let slab = &self.all[at];
        (memory.addr().get() - slab.start.addr().get() < slab.layout.size()).then_some(at)
    }

    fn give(&mut self, at: usize, slot: NonNull<u8>) {
        let slab = &mut self.all[at];
        slab.give(slot);
        let is_empty = slab.in_use == 0;
        if is_empty && self.empty > 0 {
            let slab = self.all.remove(at);
            self.bytes -= slab.layout.size();
            self.first_free = self.first_free.min(self.all.len());
        } else {
            self.empty += usize::from(is_empty);
        }
        self.first_free = self.first_free.min(at);
    }
}

impl Slab {
    fn new(bytes: usize) -> Option<Self> {
        let align = if bytes >= HUGE_PAGE { HUGE_PAGE } else { PAGE_BYTES };
        let layout = Layout::from_size_align(bytes, align).ok()?;
        // SAFETY: the layout is not empty.
        let start = NonNull::new(unsafe { alloc::alloc(layout) })?;
        advise(start.as_ptr(), bytes);
        Some(Self { start, layout, free: ptr::null_mut(), used: 0, in_use: 0 })
    }

    fn has_free(&self, slot: Layout) -> bool {
        !self.free.is_null() || self.used < slots_in(self.layout.size(), slot)
    }

    fn take(&mut self, slot: Layout) -> Option<NonNull<u8>> {
        let taken = if let Some(taken) = NonNull::new(self.free) {
            // SAFETY: a free slot, in which `give` has stored the address of the next.
            self.free = unsafe { taken.cast::<*mut u8>().read() };
            taken
        } else if self.has_free(slot) {
            // SAFETY: within the slab.
            let taken = unsafe { self.start.add(offset_of(self.used, slot)) };
            self.used += 1;
            taken
        } else {
            return None;
        };
        self.in_use += 1;
        Some(taken)
    }

    fn give(&mut self, slot: NonNull<u8>) {
        // SAFETY: a slot of this slab that is not used any more; slots have at least the size and
        // the alignment of a pointer (`has_slots`).
        unsafe { slot.cast::<*mut u8>().write(self.free) };
        self.free = slot.as_ptr();
        self.in_use -= 1;
    }
}

/// Whether memory of that layout can lie side by side in slabs, each piece with its alignment.
const fn has_slots(layout: Layout) -> bool {
    layout.size() <= MAX_SLOT_BYTES
        && layout.align() <= LINE
        && layout.size().is_multiple_of(layout.align())
        && layout.size() >= size_of::<*mut u8>()
        && layout.align() >= align_of::<*mut u8>()
}

/// How many slots a slab has.
fn slots_in(bytes: usize, slot: Layout) -> usize {
    if slot == PAIRED { bytes / PAGE_BYTES * PAGE_SLOTS } else { bytes / slot.size() }
}

fn offset_of(index: usize, slot: Layout) -> usize {
    if slot == PAIRED { paired::offset_of(index) } else { index * slot.size() }
}

impl Drop for Slab {
    fn drop(&mut self) {
        // SAFETY: from `new`, with this layout, and none of its slots is in use.
        unsafe { alloc::dealloc(self.start.as_ptr(), self.layout) };
    }
}

/// The locks of every pool, for the time of a fork.
#[cfg(unix)]
pub(crate) struct PoolLocks {
    _pools: MutexGuard<'static, Vec<&'static Pool>>,
    _slabs: Vec<MutexGuard<'static, Slabs>>,
}

#[cfg(unix)]
pub(crate) fn hold() -> PoolLocks {
    let pools = sync::lock(&POOLS);
    let slabs = pools.iter().map(|pool| sync::lock(&pool.slabs)).collect();
    PoolLocks { _pools: pools, _slabs: slabs }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn pool(bytes: usize) -> Pool {
        pool_of(Layout::from_size_align(bytes, 8).expect("a valid layout"))
    }

    fn pool_of(layout: Layout) -> Pool {
        Pool { layout, slabs: Mutex::new(Slabs::default()) }
    }

    fn take(pool: &Pool, count: usize) -> Vec<NonNull<u8>> {
        let mut slots = Vec::new();
        while slots.len() < count {
            pool.take(64.min(count - slots.len()), &mut slots);
        }
        slots
    }

    fn slabs(pool: &Pool) -> usize {
        sync::lock(&pool.slabs).all.len()
    }

    #[test]
    fn slots_do_not_overlap_and_are_used_again() {
        let pool = pool(48);
        let slots = take(&pool, 10_000);
        let distinct: HashSet<usize> = slots.iter().map(|slot| slot.addr().get()).collect();
        assert_eq!(distinct.len(), slots.len());
        let mut sorted: Vec<usize> = distinct.iter().copied().collect();
        sorted.sort_unstable();
        assert!(sorted.windows(2).all(|pair| pair[1] - pair[0] >= 48));
        let before = slabs(&pool);
        let in_use: HashSet<_> = slots.iter().copied().skip(1).step_by(2).collect();
        pool.give(slots.into_iter().step_by(2));
        // Some may be slots of the last slab that were never used, if it precedes the others.
        let again = take(&pool, 5_000);
        assert!(again.iter().all(|slot| !in_use.contains(slot)), "a slot is in use twice");
        assert_eq!(slabs(&pool), before, "new memory, though slots were free");
        assert!(again.iter().any(|slot| distinct.contains(&slot.addr().get())));
    }

    #[test]
    fn empty_slabs_go_back_to_the_allocator() {
        let pool = pool(40);
        let slots = take(&pool, 200_000);
        let most = slabs(&pool);
        assert!(most > 3, "{most} slabs");
        pool.give(slots.into_iter());
        assert!(slabs(&pool) <= 2, "{} of {most} slabs are left", slabs(&pool));
    }

    #[test]
    fn memory_of_no_slab_goes_back_to_the_allocator() {
        let pool = pool(64);
        let slots = take(&pool, 100);
        pool.give([crate::memory::allocate_fresh(pool.layout)].into_iter());
        assert_eq!(sync::lock(&pool.slabs).all.iter().map(|slab| slab.in_use).sum::<usize>(), 100);
        pool.give(slots.into_iter());
    }

    #[test]
    fn memory_beside_slots_overlaps_no_other() {
        let pool = pool_of(PAIRED);
        let slots = take(&pool, 60_000);
        let mut parts: Vec<(usize, usize)> = Vec::new();
        for slot in &slots {
            let beside = NonNull::new(paired::beside(slot.as_ptr())).expect("not null");
            // SAFETY: a slot of this pool that nothing else uses.
            unsafe { slot.write_bytes(0xaa, PAIRED.size()) };
            // SAFETY: the bytes beside that slot.
            unsafe { beside.write_bytes(0x55, paired::BESIDE_BYTES) };
            parts.extend([(slot.addr().get(), PAIRED.size())]);
            parts.extend([(beside.addr().get(), paired::BESIDE_BYTES)]);
        }
        parts.sort_unstable();
        assert!(parts.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0), "they overlap");
        {
            let slabs = sync::lock(&pool.slabs);
            assert!(slabs.all.iter().any(|slab| slab.layout.size() >= 2 * MIN_SLAB_BYTES));
            let is_within = |at: usize, bytes: usize| {
                slabs.all.iter().any(|slab| {
                    let start = slab.start.addr().get();
                    start <= at && at + bytes <= start + slab.layout.size()
                })
            };
            assert!(parts.iter().all(|(at, bytes)| is_within(*at, *bytes)), "outside of all slabs");
        }
        pool.give(slots.into_iter());
        validate(&pool, 0);
    }

    /// Panics unless the pool's counts agree with its slabs, of which `used` slots are in use.
    fn validate(pool: &Pool, used: usize) {
        let slabs = sync::lock(&pool.slabs);
        let Slabs { all, bytes, first_free, empty } = &*slabs;
        assert!(all.windows(2).all(|pair| pair[0].start < pair[1].start));
        assert_eq!(*bytes, all.iter().map(|slab| slab.layout.size()).sum::<usize>());
        assert_eq!(*empty, all.iter().filter(|slab| slab.in_use == 0).count());
        assert!(*empty <= 1 && *first_free <= all.len());
        assert!(all[..*first_free].iter().all(|slab| !slab.has_free(pool.layout)));
        assert_eq!(all.iter().map(|slab| slab.in_use).sum::<usize>(), used);
        for slab in all {
            let (mut free, mut count) = (slab.free, 0);
            while !free.is_null() {
                assert!((slab.start.addr().get()..).contains(&free.addr()));
                assert!(free.addr() < slab.start.addr().get() + offset_of(slab.used, pool.layout));
                count += 1;
                // SAFETY: a free slot, in which `give` has stored the address of the next.
                free = unsafe { free.cast::<*mut u8>().read() };
            }
            assert_eq!(slab.in_use + count, slab.used);
        }
    }

    #[test]
    fn counts_agree_with_slabs_that_come_and_go() {
        for pool in [pool(32), pool(40), pool(504), pool_of(PAIRED)] {
            let (mut slots, mut fresh) = (Vec::new(), 0);
            let mut random = 0x5eed_u64;
            let mut below = |end: usize| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (random >> 33) as usize % end
            };
            for round in 0..400 {
                if below(2) == 0 || round < 50 {
                    slots.append(&mut take(&pool, 1 + below(2_000)));
                    slots.push(crate::memory::allocate_fresh(pool.layout));
                    fresh += 1;
                } else {
                    // A run of neighbours, or scattered slots, or all.
                    match below(4) {
                        0 => slots.sort_unstable(),
                        1 => (1..slots.len()).for_each(|at| slots.swap(at, below(at + 1))),
                        _ => {}
                    }
                    let keep = if below(20) == 0 { 0 } else { below(slots.len() + 1) };
                    let is_ours =
                        |slot: &NonNull<u8>| sync::lock(&pool.slabs).find(*slot).is_some();
                    fresh -= slots[keep..].iter().filter(|slot| !is_ours(slot)).count();
                    pool.give(slots.drain(keep..));
                }
                validate(&pool, slots.len() - fresh);
            }
            pool.give(slots.into_iter());
            validate(&pool, 0);
        }
    }
}
