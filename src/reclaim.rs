//! When may memory that readers could still see be freed? Guards, grace periods, the governor,
//! and the threads' free lists.
//!
//! Readers pin a [`Guard`]. Maintenance unlinks entries, collects them in batches ([`Retired`])
//! and stamps each batch with a [`Ticket`]; once that ticket is [`completed`], no guard from
//! before is left and the batch may be freed. Freeing itself, which drops user data, is done by
//! maintenance without a guard or a lock (`entry::dispose`), never inside the epoch machinery.
//!
//! Epochs are crossbeam-epoch's (Fraser, "Practical Lock-Freedom", 2004), on a collector of our
//! own: another crate's long guard does not hold back our garbage, nor ours theirs. On it stands
//!
//! **the governor**: one participant that is always pinned, so that the epoch moves only when
//! [`advance`] repins it. crossbeam-epoch lets each 128th pin of a thread look at all other
//! participants to try to move the epoch, which makes their epoch words bounce between cores.
//! That look ends at the first participant it finds pinned in an older epoch, and participants
//! registered last come first; so with the governor registered last and pinned, it ends at once.
//! `advance` registers the governor anew when threads have come since.
//!
//! **A ticket** is a number that the governor defers as a function: it runs, and so the ticket is
//! completed, two moves of the epoch later, when everyone pinned at the time has unpinned.
//! Who may do what: anyone takes a ticket for what was unlinked before; `advance`, under the
//! governor's lock, closes the current ticket and opens the next.
//!
//! # Orderings
//! - `NEXT`: a ticket is taken with an acquire-release RMW. The governor's own RMW, which closes
//!   the ticket, comes later in its modification order, so it synchronizes with it: all that was
//!   unlinked before the ticket was taken is unlinked before the function is deferred.
//! - `COMPLETED`: the deferred function's release pairs with the acquire in [`completed`]: all
//!   that guards read before they were unpinned happens before what was retired is freed.

use std::alloc::{self, Layout};
use std::collections::VecDeque;
use std::marker::PhantomData;
use std::ptr::NonNull;

use crate::entry::{self, Entry, EntryPtr};

#[cfg(not(larder_loom))]
mod epoch;
#[cfg(not(larder_loom))]
mod magazine;
#[cfg(larder_loom)]
mod stand_in;

#[cfg(not(larder_loom))]
pub(crate) use epoch::{Guard, Ticket, advance, completed, is_pinned_here, lag, pin, ticket};
#[cfg(not(larder_loom))]
pub(crate) use magazine::{allocate, recycle, recycle_all};
#[cfg(larder_loom)]
pub(crate) use stand_in::*;

/// Entries that share a ticket, and so one read-modify-write of a shared word.
pub(crate) const BATCH: usize = 64;

/// The retired entries of one partition that wait for readers to leave. Guarded by its lock.
pub(crate) struct Retired<K, V> {
    /// Not stamped yet.
    open: Vec<EntryPtr>,
    /// Stamped, oldest first.
    sealed: VecDeque<(Ticket, Vec<EntryPtr>)>,
    entries: PhantomData<Entry<K, V>>,
}

/// Entries that nobody can see any more: only [`Retired`] makes this of them.
pub(crate) struct Freeable<K, V>(Vec<EntryPtr>, PhantomData<Entry<K, V>>);

impl<K, V> Freeable<K, V> {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Drops keys and values and frees the memory; returns how many drops panicked. Runs user
    /// code: no lock and no guard may be held.
    pub(crate) fn dispose(self) -> u64 {
        // SAFETY: `Retired` holds entries of a `Table<K, V>` that were unlinked before they came
        // to it, each once, and has let them go after the last guard from before was dropped.
        unsafe { entry::dispose::<K, V>(self.0) }
    }
}

impl<K, V> Default for Retired<K, V> {
    fn default() -> Self {
        Self { open: Vec::new(), sealed: VecDeque::new(), entries: PhantomData }
    }
}

impl<K, V> Retired<K, V> {
    /// Takes an entry that the table no longer reaches and that no event will name again. Once
    /// for each entry: it is freed through this.
    #[inline]
    pub(crate) fn retire(&mut self, entry: EntryPtr) {
        if self.open.capacity() == 0 {
            self.open.reserve_exact(BATCH);
        }
        self.open.push(entry);
        if self.open.len() >= BATCH {
            self.seal();
        }
    }

    /// Stamps what was retired so far.
    pub(crate) fn seal(&mut self) {
        if !self.open.is_empty() {
            self.sealed.push_back((ticket(), std::mem::take(&mut self.open)));
        }
    }

    /// The oldest batch, if no reader can see its entries any more.
    pub(crate) fn pop_ready(&mut self, completed: Ticket) -> Option<Freeable<K, V>> {
        let is_ready = self.sealed.front().is_some_and(|(ticket, _)| *ticket <= completed);
        let (_, batch) = if is_ready {
            self.sealed.pop_front()?
        } else {
            return None;
        };
        Some(Freeable(batch, PhantomData))
    }

    /// Everything that waits, and `linked` besides: for the end of a cache, when nobody is left
    /// who could hold a guard for it or will look into its table again.
    pub(crate) fn take_all(&mut self, linked: Vec<EntryPtr>) -> Freeable<K, V> {
        let mut all = linked;
        all.append(&mut self.open);
        for (_, mut batch) in self.sealed.drain(..) {
            all.append(&mut batch);
        }
        Freeable(all, PhantomData)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.sealed.is_empty()
    }

    /// The ticket that everything retired so far waits for, after `seal`.
    pub(crate) fn last_ticket(&self) -> Option<Ticket> {
        self.sealed.back().map(|(ticket, _)| *ticket)
    }
}

/// Memory from the allocator itself.
fn allocate_fresh(layout: Layout) -> NonNull<u8> {
    // SAFETY: an entry has at least its header, so the layout is not empty.
    let pointer = unsafe { alloc::alloc(layout) };
    NonNull::new(pointer).unwrap_or_else(|| alloc::handle_alloc_error(layout))
}

/// # Safety
/// `memory` is from [`allocate_fresh`] with this layout and used no more.
unsafe fn free(layout: Layout, memory: NonNull<u8>) {
    // SAFETY: passed on to the caller.
    unsafe { alloc::dealloc(memory.as_ptr(), layout) };
}
