//! When may memory that readers could still see be freed? Guards, grace periods and the governor.
//!
//! Readers pin a [`Guard`]. Maintenance unlinks entries, collects them in batches ([`Retired`])
//! and stamps each batch with a [`Ticket`]; once that ticket is [`completed`], no guard from
//! before is left and the batch may be freed. Freeing itself, which drops user data, is done by
//! maintenance without a guard or a lock (`entry::dispose`), never inside the epoch machinery.
//!
//! There are two kinds of guards, and a ticket waits for both:
//!
//! - **Fast guards** (`readers`): where the system offers asymmetric fences (`barrier`), a guard is
//!   a plain store into a word of the thread's own, without any locked instruction or fence, which
//!   would keep a lookup's cache misses from overlapping with what comes before it.
//! - **Epoch guards**: everywhere else, and in threads whose thread-local state has ended, a guard
//!   is one of crossbeam-epoch's (Fraser, "Practical Lock-Freedom", 2004), on a collector of our
//!   own: another crate's long guard does not hold back our garbage, nor ours theirs.
//!
//! On the collector stands **the governor**: one participant that is always pinned, so that the
//! epoch moves only when [`advance`] repins it. crossbeam-epoch lets each 128th pin of a thread
//! look at all other participants to try to move the epoch, which makes their epoch words bounce
//! between cores. That look ends at the first participant it finds pinned in an older epoch, and
//! participants registered last come first; so with the governor registered last and pinned, it
//! ends at once. `advance` registers the governor anew when participants have come since.
//!
//! **A ticket** is a number. `advance`, under the governor's lock, closes the current ticket and
//! opens the next. The closed one is completed when both are through: a function that the governor
//! deferred has run, two moves of the epoch later; and the readers' phase has ended. Anyone takes
//! a ticket for what was unlinked before.
//!
//! # Orderings
//! - `Tickets::next`: a ticket is taken with an acquire-release RMW. The governor's own RMW, which
//!   closes the ticket, comes later in its modification order, so it synchronizes with it: all that
//!   was unlinked before the ticket was taken is unlinked before the function is deferred, and
//!   before the readers' phase is looked at.
//! - `Tickets::epoch_completed`: the deferred function's release pairs with the acquire in
//!   `note_completed`.
//! - `Tickets::completed`: the release in `note_completed`, after that acquire and those of
//!   `readers`, pairs with the acquire in [`completed`]: all that guards read before they were
//!   unpinned happens before what was retired is freed.
//!
//! Model tests: `loom-tests/tests/reclaim.rs` of fast guards, `loom-tests/tests/epoch.rs` of
//! tickets and governor on the real crossbeam-epoch.

use std::collections::VecDeque;
use std::marker::PhantomData;

use crate::entry::{self, Entry, EntryPtr};

mod keep_alive;
#[cfg(not(larder_loom))]
mod tally;
#[cfg(not(larder_loom))]
mod epoch;
#[cfg(larder_loom)]
mod loom_stub;
pub(crate) mod governor;
pub(crate) mod readers;
pub(crate) mod barrier;

#[cfg(not(larder_loom))]
pub(crate) use epoch::{
    AnyGuard, Guard, Ticket, advance, completed, is_pinned_here, lag, pin, pin_fast, ticket,
};
#[cfg(all(unix, not(larder_loom)))]
pub(crate) use epoch::{EpochLocks, hold};
pub(crate) use keep_alive::KeepAlive;
#[cfg(larder_loom)]
pub(crate) use loom_stub::*;
#[cfg(not(larder_loom))]
pub(crate) use tally::Tally;

/// The most entries that share a ticket, and so one read-modify-write of a shared word.
pub(crate) const MAX_BATCH: usize = 64;

/// The retired entries of one partition that wait for readers to leave. Guarded by its lock.
pub(crate) struct Retired<K, V> {
    /// Not stamped yet.
    open: Batch,
    /// Stamped, oldest first.
    sealed: VecDeque<(Ticket, Batch)>,
    /// Of everything that waits.
    weight: u64,
    batch_entries: usize,
    batch_weight: u64,
    entries: PhantomData<Entry<K, V>>,
}

#[derive(Default)]
struct Batch {
    entries: Vec<EntryPtr>,
    weight: u64,
    /// Whether any of them has an extension.
    has_extended: bool,
}

/// Entries that nobody can see any more.
pub(crate) struct Freeable<K, V> {
    batch: Batch,
    entries: PhantomData<Entry<K, V>>,
}

impl<K, V> Freeable<K, V> {
    /// For the end of a cache: entries that were just taken out of the table, of which nobody is
    /// left who could hold a guard for it. Anything else comes by way of [`Retired`].
    pub(crate) fn last(entries: Vec<EntryPtr>) -> Self {
        // They may have anything.
        Self::of(Batch { entries, weight: 0, has_extended: true })
    }

    fn of(batch: Batch) -> Self {
        Self { batch, entries: PhantomData }
    }

    pub(crate) fn len(&self) -> usize {
        self.batch.entries.len()
    }

    /// Drops keys and values and frees the memory; returns how many drops panicked. Runs user
    /// code: no lock and no guard may be held.
    pub(crate) fn dispose(self) -> u64 {
        let Batch { entries, has_extended, .. } = self.batch;
        if has_extended {
            // SAFETY: entries of a `Table<K, V>` that were unlinked before they came to `Retired`,
            // each once, which has let them go after the last guard from before was dropped; or
            // those that `last` describes.
            unsafe { entry::dispose::<K, V>(entries) }
        } else {
            // SAFETY: as above, and `Retired` has looked at each.
            unsafe { entry::dispose_plain::<K, V>(&entries) }
        }
    }
}

impl<K, V> Retired<K, V> {
    /// Batches are sealed at that many entries or that much weight.
    pub(crate) fn new(batch_entries: usize, batch_weight: u64) -> Self {
        Self {
            open: Batch::default(),
            sealed: VecDeque::new(),
            weight: 0,
            batch_entries,
            batch_weight,
            entries: PhantomData,
        }
    }

    /// Takes an entry that the table no longer reaches and that no event will name again. Once
    /// for each entry: it is freed through this.
    #[inline]
    pub(crate) fn retire(&mut self, entry: EntryPtr, added_weight: u64) {
        let Batch { entries, weight, has_extended } = &mut self.open;
        if entries.capacity() == 0 {
            entries.reserve_exact(self.batch_entries);
        }
        entries.push(entry);
        *has_extended |= entry.is_extended();
        *weight += added_weight;
        self.weight += added_weight;
        if entries.len() >= self.batch_entries || *weight >= self.batch_weight {
            self.seal();
        }
    }

    /// Stamps what was retired so far.
    pub(crate) fn seal(&mut self) {
        if !self.open.entries.is_empty() {
            self.sealed.push_back((ticket(), std::mem::take(&mut self.open)));
        }
    }

    /// Whether there is a batch whose entries no reader can see any more.
    pub(crate) fn has_ready(&self, completed: Ticket) -> bool {
        self.sealed.front().is_some_and(|(ticket, _)| *ticket <= completed)
    }

    /// The oldest batch, if no reader can see its entries any more and it has at most `max_len`.
    pub(crate) fn pop_ready(&mut self, completed: Ticket, max_len: u64) -> Option<Freeable<K, V>> {
        let (ticket, batch) = self.sealed.front()?;
        if *ticket > completed || batch.entries.len() as u64 > max_len {
            return None;
        }
        let (_, batch) = self.sealed.pop_front()?;
        self.weight -= batch.weight;
        Some(Freeable::of(batch))
    }

    /// Everything, whoever may see it: for the end of a cache, when nobody is left who could hold
    /// a guard for it.
    pub(crate) fn take_all(&mut self) -> Freeable<K, V> {
        let mut all = std::mem::take(&mut self.open);
        for (_, mut batch) in self.sealed.drain(..) {
            all.entries.append(&mut batch.entries);
            all.has_extended |= batch.has_extended;
        }
        self.weight = 0;
        Freeable::of(all)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.open.entries.is_empty() && self.sealed.is_empty()
    }

    /// The weight of everything that waits.
    pub(crate) fn weight(&self) -> u64 {
        self.weight
    }

    /// The ticket that everything sealed so far waits for.
    pub(crate) fn last_ticket(&self) -> Option<Ticket> {
        self.sealed.back().map(|(ticket, _)| *ticket)
    }
}
