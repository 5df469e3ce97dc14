//! Decides when retired entries may be freed: once no reader can still see them. Guards, grace periods
//! and the governor.
//!
//! Readers pin a [`Guard`]. Maintenance unlinks entries, collects them in batches ([`Retired`]) and
//! stamps each batch with a [`Ticket`]. Once that ticket is [`completed`], no guard from before is
//! left and the batch may be freed. Freeing drops user data, so maintenance does it without a guard
//! or a lock (`entry::dispose`), never inside the epoch machinery.
//!
//! There are two kinds of guards, and a ticket waits for both:
//!
//! - **Fast guards** (`readers`): where the system offers asymmetric fences (`barrier`), a guard is
//!   a plain store into a word of the thread's own. It needs no locked instruction and no fence,
//!   which would keep the cache misses of a lookup from overlapping with the work before it.
//! - **Epoch guards**: everywhere else, and in threads whose thread-local state has ended, a guard
//!   is one of crossbeam-epoch's (Fraser, "Practical Lock-Freedom", 2004). They use a collector of
//!   our own, so another crate's long guard does not hold back our garbage, and ours do not hold
//!   back theirs.
//!
//! **The governor** is one participant of the collector that is always pinned, so that the epoch
//! moves only when [`advance`] repins it. In crossbeam-epoch, each 128th pin of a thread checks all
//! other participants to try to move the epoch, which makes their epoch words bounce between cores.
//! The check ends at the first participant that is pinned in an older epoch, and it begins with the
//! participants that were registered last. So if the governor was registered last and is pinned,
//! the check ends at once. `advance` registers the governor anew if participants have joined since.
//!
//! **A ticket** is a number. `advance`, under the governor's lock, closes the current ticket and
//! opens the next. The closed ticket is completed when two things have happened: a function that
//! the governor deferred has run, two moves of the epoch later; and the readers' phase has ended.
//! Any thread may take a ticket for entries that were unlinked before.
//!
//! # Orderings
//! - `Tickets::next`: a ticket is taken with an acquire-release RMW. The governor's own RMW, which
//!   closes the ticket, comes later in the modification order of the word, so it synchronizes with
//!   the first: everything that was unlinked before the ticket was taken is unlinked before the
//!   function is deferred, and before the readers' phase is checked.
//! - `Tickets::epoch_completed`: the release of the deferred function pairs with the acquire in
//!   `note_completed`.
//! - `Tickets::completed`: the release in `note_completed`, after that acquire and those of
//!   `readers`, pairs with the acquire in [`completed`]: everything that guards read before they
//!   were unpinned happens before what was retired is freed.
//!
//! Model tests: `loom-tests/tests/reclaim.rs` for fast guards, `loom-tests/tests/epoch.rs` for
//! tickets and the governor on the real crossbeam-epoch.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::mem::offset_of;

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
    AnyGuard, Guard, Ticket, advance, advances, completed, give_way, is_pinned_here, lag, pin,
    pin_fast, ticket,
};
#[cfg(all(unix, not(larder_loom)))]
pub(crate) use epoch::{EpochLocks, hold};
pub(crate) use keep_alive::KeepAlive;
#[cfg(larder_loom)]
pub(crate) use loom_stub::*;
#[cfg(not(larder_loom))]
pub(crate) use tally::Tally;

/// The most entries that share a ticket, and so share one read-modify-write of a shared word.
/// They are freed together, too: few enough that the call that does so does not take long.
pub(crate) const MAX_BATCH: usize = 16;

/// The retired entries of one partition that wait for readers to leave. The partition's lock guards
/// it.
pub(crate) struct Retired<K, V> {
    list: RetiredList,
    entries: PhantomData<Entry<K, V>>,
}

/// Retired entries without the types of their keys and values.
///
/// What each retirement reads and writes is in one cache line, since the next may be another core's.
#[repr(C, align(64))]
pub(crate) struct RetiredList {
    /// The batch that is not stamped yet.
    open: Batch,
    /// The weight of all entries that wait.
    weight: u64,
    batch_entries: usize,
    batch_weight: u64,
    /// The stamped batches, oldest first.
    sealed: VecDeque<(Ticket, Batch)>,
}

const _: () = assert!(offset_of!(RetiredList, sealed) <= 64);

#[derive(Default)]
struct Batch {
    entries: Vec<EntryPtr>,
    weight: u64,
    /// Whether any of them has an extension.
    has_extended: bool,
}

/// Entries that no thread can see any more.
pub(crate) struct Freeable<K, V> {
    batch: Batch,
    entries: PhantomData<Entry<K, V>>,
}

impl<K, V> Freeable<K, V> {
    /// For the end of a cache: entries that were just taken out of the table, when no thread is
    /// left that could hold a guard for it. All other entries come from [`Retired`].
    pub(crate) fn last(entries: Vec<EntryPtr>) -> Self {
        // Any of them may have an extension.
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
            // SAFETY: entries of a `Table<K, V>` that were unlinked before `Retired` took them,
            // each once. `Retired` released them after the last guard from before was dropped. Or
            // they are the entries that `last` describes.
            unsafe { entry::dispose::<K, V>(entries) }
        } else {
            // SAFETY: as above, and `Retired` has checked each for an extension.
            unsafe { entry::dispose_plain::<K, V>(&entries) }
        }
    }
}

impl<K, V> Retired<K, V> {
    /// An empty collection that seals a batch at `batch_entries` entries or a weight of `batch_weight`.
    pub(crate) fn new(batch_entries: usize, batch_weight: u64) -> Self {
        let (open, sealed) = (Batch::default(), VecDeque::new());
        let list = RetiredList { open, weight: 0, batch_entries, batch_weight, sealed };
        Self { list, entries: PhantomData }
    }

    /// The entries, to add some to them.
    pub(crate) fn list(&mut self) -> &mut RetiredList {
        &mut self.list
    }

    /// Stamps the entries retired so far.
    pub(crate) fn seal(&mut self) {
        self.list.seal();
    }

    /// Whether there is a batch whose entries no reader can see any more.
    pub(crate) fn has_ready(&self, completed: Ticket) -> bool {
        self.list.sealed.front().is_some_and(|(ticket, _)| *ticket <= completed)
    }

    /// The oldest batch, if no reader can see its entries any more and it has at most `max_len`.
    pub(crate) fn pop_ready(&mut self, completed: Ticket, max_len: u64) -> Option<Freeable<K, V>> {
        let (ticket, batch) = self.list.sealed.front()?;
        if *ticket > completed || batch.entries.len() as u64 > max_len {
            return None;
        }
        let (_, batch) = self.list.sealed.pop_front()?;
        self.list.weight -= batch.weight;
        Some(Freeable::of(batch))
    }

    /// All entries, even those that a guard protects: for the end of a cache, when no thread is
    /// left that could hold one.
    pub(crate) fn take_all(&mut self) -> Freeable<K, V> {
        let mut all = std::mem::take(&mut self.list.open);
        for (_, mut batch) in self.list.sealed.drain(..) {
            all.entries.append(&mut batch.entries);
            all.has_extended |= batch.has_extended;
        }
        self.list.weight = 0;
        Freeable::of(all)
    }

    /// Whether it is time to free a batch: each time that one is full, so that freeing keeps up with retiring
    /// and threads free about as much as they allocate; and between two such times while more than `backlog` entries
    /// wait.
    #[inline]
    pub(crate) fn is_time_to_free(&self, backlog: u64) -> bool {
        let RetiredList { open, batch_entries, sealed, .. } = &self.list;
        let len = open.entries.len();
        len == 0 || (2 * len == *batch_entries && (sealed.len() * batch_entries) as u64 > backlog)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.open.entries.is_empty() && self.list.sealed.is_empty()
    }

    /// The weight of all entries that wait.
    pub(crate) fn weight(&self) -> u64 {
        self.list.weight
    }

    /// The ticket that the newest sealed batch waits for, and so the last that any batch waits for.
    pub(crate) fn last_ticket(&self) -> Option<Ticket> {
        self.list.sealed.back().map(|(ticket, _)| *ticket)
    }
}

impl RetiredList {
    /// Takes an entry that the table no longer reaches and that no event will name again. It must
    /// be called only once for each entry, which is then freed through this.
    #[inline]
    pub(crate) fn retire(&mut self, entry: EntryPtr, added_weight: u64) {
        self.open.has_extended |= entry.is_extended();
        let Batch { entries, weight, .. } = &mut self.open;
        if entries.len() == entries.capacity() {
            // No batch has room for more than this.
            entries.reserve_exact(self.batch_entries);
        }
        entries.push(entry);
        *weight += added_weight;
        self.weight += added_weight;
        if entries.len() >= self.batch_entries || *weight >= self.batch_weight {
            self.seal();
        }
    }

    /// Stamps the entries retired so far.
    fn seal(&mut self) {
        if !self.open.entries.is_empty() {
            self.sealed.push_back((ticket(), std::mem::take(&mut self.open)));
        }
    }
}
