//! Maintenance: applies what happened to the policies, evicts, retires, frees.
//!
//! There is one table; evictors, bounds and garbage are split by hash into partitions. A
//! partition's maintenance is run by the thread that gets its lock: a writer whose event fills the
//! buffer, a reader whose record does, the maintenance thread. No thread waits for that lock while
//! the buffers have room; with inline maintenance every writer does, so that its call has taken
//! full effect when it returns.
//!
//! # The life of an entry, as maintenance sees it
//! The table has decided already, by one CAS each; events only report, and may arrive in any
//! order between threads. Each entry is *born* once (its `Inserted` event, or as the new entry of
//! a `Replaced`) and *goes* once (`Removed`, as the old entry of a `Replaced`, or evicted here):
//!
//! | seen | linked in the policy | next |
//! |---|---|---|
//! | nothing | no | born, or gone |
//! | born | yes | gone; or unlinked as a victim that another thread has just taken out of the table |
//! | born, but unlinked again as a victim | no | gone |
//! | gone | no: an insert event that comes late never links it | born |
//! | born and gone | no | retired, once |
//!
//! # Locks and user code
//! The policy runs under the partition's lock. Keys and values are dropped by `dispose`, after
//! the lock and the guard were released.
//!
//! What happens under a partition's lock is in `partition`; this file says who runs it and when,
//! and does what is left to be done without the lock.
//!
//! # Orderings
//! - A run that leaves garbage or closed buckets notifies the maintenance thread: a `SeqCst` fence
//!   stands between its counts and its check whether the cache is idle, and another between the
//!   thread's saying so and its last check of the counts. One sees the other.
//! - `freeing`: see `partition`.
#![forbid(unsafe_code)]

use std::marker::PhantomData;
use std::sync::Arc;

use crossbeam_utils::{Backoff, CachePadded};

use crate::base::hash::partition_of;
use crate::base::mode::Maintenance;
use crate::base::reentrancy;
use crate::base::stats::Stripes;
use crate::base::sync::{self, AtomicBool, AtomicU64, AtomicUsize, Mutex, Ordering};
use crate::buffer::write_buffer;
use crate::engine::evict::{Evictor, Loans};
use crate::engine::fills::Fills;
use crate::engine::history::RemovalHistory;
use crate::entry::{BroughtForward, Entry};
use crate::expiry::Timing;
use crate::listener::{AtomicListening, Channel, Listening};
use crate::maintainer::Attendance;
use crate::policy::Accesses;
use crate::reclaim;
use crate::shadow::Shadow;
use crate::table::Table;

mod change;
mod report;
mod hits;
mod stats;
mod background;
mod finish;
mod delivery;
mod lending;
mod ending;
mod ranking;
#[cfg(feature = "snapshot")]
mod standings;
mod shadowing;
mod partition;
mod run;
mod counts;
pub(crate) mod evict;
pub(crate) mod fills;
pub(crate) mod history;

pub(crate) use change::{Attempt, Change, Incoming};
pub(crate) use delivery::Deliveries;
pub(crate) use lending::Loan;
use partition::{Partition, PartitionConfig};
pub(crate) use report::Show;
#[cfg(feature = "snapshot")]
pub(crate) use standings::Standings;

/// Events of one partition that a writer lets gather before it runs maintenance; or `1/BATCH_PART`
/// of the entries that the smallest partition may hold, if that is less, so that no partition
/// exceeds its bound by a large part of it.
const MAX_BATCH: u32 = write_buffer::SLOTS / 2;
const BATCH_PART: usize = 32;
/// The same for events that wait while another thread runs maintenance, or was taken off its
/// processor meanwhile. Writers then wait for it.
const ROOM_PART: usize = 16;
/// With inline maintenance: buckets that an insertion opens after the table has grown. Each
/// insertion into a growing table brings four new buckets in the mean.
const BUCKETS_OPENED_INLINE: usize = 8;
/// Retired bytes (of entries themselves, not of what they own) after which the governor is paced.
const PACE_BYTES: usize = 256 * 1024;
/// The same in entries, and in parts of the cache's bounds.
const MAX_PACE: usize = 1024;
const PACE_PART: usize = 16;
/// In small caches up to that many entries, or half of all, since each move of the epoch costs the
/// same: a fence in every running thread.
const SMALL_PACE: usize = 256;
/// Garbage from which on writers slow down: that many times what is retired between two moves of
/// the epoch, of which three times is usual, shared out over the partitions.
const BACKLOG_PACES: usize = 8;
const MIN_BACKLOG: usize = 256;

/// Stripes of a read buffer, at most: for every access, and for first marks of sampled keys.
const ORDER_STRIPES: usize = 16;
const SAMPLE_STRIPES: usize = 4;

/// Everything of a cache but its hasher and weigher: the table and what is done about it.
pub(crate) struct Engine<K, V> {
    pub(crate) table: Table<K, V>,
    partitions: Box<[Partition<K, V>]>,
    partition_bits: u32,
    /// What the partitions have lent each other of the bound on weight.
    loans: Mutex<Loans>,
    mode: Maintenance,
    accesses: Accesses,
    /// Hits are recorded on entries whose counter is below this; no other hit leaves a trace.
    record_hits_below: u8,
    /// Events after which a writer runs maintenance in background mode.
    batch: u32,
    /// Retired entries, and retired weight, after which the governor is paced.
    pace_entries: usize,
    pace_weight: u64,
    /// Entries of one partition that wait to be freed from which on writers slow down.
    backlog: u64,
    pub(crate) counters: Stripes,
    /// Entries linked in the policies of all partitions: what the table must have buckets for.
    linked: CachePadded<AtomicUsize>,
    /// Whether a bound is 0.
    stores_nothing: AtomicBool,
    /// The first bucket that may not be open yet.
    opened: CachePadded<AtomicUsize>,
    unpaced: CachePadded<Unpaced>,
    pub(crate) brought_forward: BroughtForward,
    pub(crate) timing: Timing,
    /// For explanations, if they were asked for.
    pub(crate) history: Option<Box<RemovalHistory>>,
    pub(crate) shadow: Option<Box<Shadow>>,
    pub(crate) atomic: Option<Box<AtomicListening<K, V>>>,
    /// For the listener, if there is one.
    pub(crate) deliveries: Option<Deliveries<K, V>>,
    pub(crate) fills: Arc<Fills>,
    pub(crate) attendance: Attendance,
    /// The cache is being taken apart: time stands still, and executors are handed no more jobs.
    is_ending: AtomicBool,
    entries: PhantomData<Entry<K, V>>,
}

/// What was retired since the governor was last paced.
#[derive(Default)]
struct Unpaced {
    entries: AtomicUsize,
    weight: AtomicU64,
}

/// A part of so many entries in events: at least one, and at most `limit`.
fn events_in(entries: usize, part: usize, limit: u32) -> u32 {
    u32::try_from(entries / part).unwrap_or(limit).clamp(1, limit)
}

/// How an engine is to be built.
pub(crate) struct EngineConfig<K, V> {
    pub(crate) mode: Maintenance,
    pub(crate) accesses: Accesses,
    /// The evictor of each partition; a power of two of them.
    pub(crate) evictors: Vec<Evictor>,
    /// Threads that the machine runs at once.
    pub(crate) cores: usize,
    pub(crate) timing: Timing,
    pub(crate) history: Option<Box<RemovalHistory>>,
    pub(crate) shadow: Option<Box<Shadow>>,
    pub(crate) atomic: Option<Box<AtomicListening<K, V>>>,
    pub(crate) listening: Option<Arc<Listening<K, V>>>,
    pub(crate) attendance: Attendance,
}

impl<K, V> Engine<K, V> {
    pub(crate) fn new(config: EngineConfig<K, V>) -> Self {
        let EngineConfig {
            mode,
            accesses,
            evictors,
            cores,
            timing,
            history,
            shadow,
            atomic,
            listening,
            attendance,
        } = config;
        let limits = || evictors.iter().map(Evictor::limits);
        let smallest = limits().map(|limits| limits.entries).min().unwrap_or(0);
        let capacity = limits().fold(0_usize, |sum, limits| sum.saturating_add(limits.entries));
        let max_weight = limits().fold(0_u64, |sum, limits| sum.saturating_add(limits.weight));
        let loans = Loans::new(evictors.iter().map(|evictor| evictor.limits().weight));
        let by_entries = (capacity / PACE_PART).max(SMALL_PACE.min(capacity / 2));
        let pace_entries =
            (PACE_BYTES / size_of::<Entry<K, V>>()).min(by_entries).clamp(1, MAX_PACE);
        let partition_config = PartitionConfig {
            read_stripes: match accesses {
                Accesses::None | Accesses::Counter { .. } => None,
                Accesses::Mark { .. } => Some(cores.next_power_of_two().min(SAMPLE_STRIPES)),
                Accesses::Order => Some(cores.next_power_of_two().min(ORDER_STRIPES)),
            },
            batch_entries: pace_entries.min(reclaim::MAX_BATCH),
            room: match cfg!(larder_loom) {
                false => events_in(smallest, ROOM_PART, write_buffer::SLOTS),
                // A model in which writers wait for room goes on for ever.
                true => write_buffer::SLOTS,
            },
            backlog: (BACKLOG_PACES * pace_entries / evictors.len().max(1)).max(MIN_BACKLOG) as u64,
        };
        let channel = || listening.as_ref().map(|listening| Channel::new(Arc::clone(listening)));
        let partitions: Box<[_]> = (0..)
            .zip(evictors)
            .map(|(index, evictor)| Partition::new(index, evictor, partition_config, channel()))
            .collect();
        Self {
            table: Table::new(capacity),
            partition_bits: partitions.len().trailing_zeros(),
            partitions,
            loans: Mutex::new(loans),
            mode,
            accesses,
            record_hits_below: match accesses {
                Accesses::None => 0,
                Accesses::Counter { max } => max,
                Accesses::Mark { .. } => 1,
                // Their counters stay at 0.
                Accesses::Order => u8::MAX,
            },
            batch: events_in(smallest, BATCH_PART, MAX_BATCH),
            pace_entries,
            pace_weight: (max_weight / PACE_PART as u64).max(1),
            backlog: partition_config.backlog,
            counters: Stripes::new((cores * 4).max(8)),
            linked: CachePadded::new(AtomicUsize::new(0)),
            stores_nothing: AtomicBool::new(capacity == 0),
            opened: CachePadded::new(AtomicUsize::new(1)),
            unpaced: CachePadded::default(),
            brought_forward: BroughtForward::new(),
            timing,
            history,
            shadow,
            atomic,
            deliveries: listening.map(Deliveries::new),
            fills: Fills::new(),
            attendance,
            is_ending: AtomicBool::new(false),
            entries: PhantomData,
        }
    }

    fn partition(&self, hash: u64) -> &Partition<K, V> {
        &self.partitions[partition_of(hash, self.partition_bits)]
    }

    /// Whether a bound is 0, so that every insertion is to be rejected. One that has asked before may
    /// come after the bound was lowered: its entry is then evicted by the run that links it.
    #[inline]
    pub(crate) fn stores_nothing(&self) -> bool {
        self.stores_nothing.load(Ordering::Relaxed)
    }

    pub(crate) fn partitions(&self) -> usize {
        self.partitions.len()
    }

    /// Hits are recorded on entries whose counter is below this; no other hit leaves a trace.
    pub(crate) fn record_hits_below(&self) -> u8 {
        self.record_hits_below
    }

    /// Announces that something of `hash` will be reported.
    #[inline]
    pub(crate) fn prefetch_report(&self, hash: u64) {
        self.partition(hash).writes.prefetch();
    }

    pub(crate) fn has_closed_buckets(&self) -> bool {
        self.opened.load(Ordering::Relaxed) < self.table.buckets()
    }

    /// Opens buckets that growth has added, about `count` of them. Two threads may open the same
    /// ones, which is harmless.
    fn open_buckets(&self, count: usize) {
        let from = self.opened.load(Ordering::Relaxed);
        let mut next = from;
        while next < self.table.buckets() && next - from < count {
            next = self.table.open_buckets(next, count, &reclaim::pin());
        }
        self.opened.fetch_max(next, Ordering::Relaxed);
    }

    /// Applies everything that was submitted before the call. Waits for the thread that does so.
    pub(crate) fn run_pending(&self) {
        self.apply_pending();
        if self.atomic.is_some() && self.await_leaving() {
            self.apply_pending();
        }
        self.open_buckets(usize::MAX);
    }

    /// Waits for evictions of which other threads are notifying the atomic listener, if this one may.
    /// Says whether there were some.
    #[cold]
    fn await_leaving(&self) -> bool {
        let mut has_waited = false;
        for partition in &self.partitions {
            let backoff = Backoff::new();
            while partition.is_anything_leaving()
                && reentrancy::may_wait()
                && !reclaim::is_pinned_here()
            {
                has_waited = true;
                if backoff.is_completed() { sync::nap() } else { backoff.snooze() }
            }
        }
        has_waited
    }

    /// Opens buckets for that many entries.
    pub(crate) fn reserve(&self, entries: usize) {
        if entries > 0 {
            self.table.grow_for(entries);
            self.open_buckets(usize::MAX);
        }
    }

    /// Whether something waits to be applied, freed or opened.
    pub(crate) fn has_work(&self) -> bool {
        // SeqCst: between the thread's announcement to sleep and the counts; see the module head.
        sync::fence(Ordering::SeqCst);
        let is_waiting =
            |partition: &Partition<K, V>| partition.writes.waiting() > 0 || partition.wants_visit();
        self.has_closed_buckets()
            || self.partitions.iter().any(is_waiting)
            || self.shadow.as_ref().is_some_and(|shadow| shadow.is_due())
    }

    pub(crate) fn len(&self) -> usize {
        self.partitions.iter().map(|partition| partition.writes.live()).sum()
    }

    pub(crate) fn weight(&self) -> u64 {
        self.partitions.iter().map(Partition::weight).sum()
    }
}

#[cfg(all(test, not(larder_loom)))]
mod tests;
