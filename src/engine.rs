//! The engine of a cache: its table, and the maintenance that applies changes to the policies,
//! evicts, retires and frees.
//!
//! There is one table. Evictors, limits and garbage are split by hash into partitions. A partition's
//! maintenance is run by the thread that gets its lock: a writer whose event completes a batch, a
//! reader whose record finds the read buffer full, or the maintenance thread. Lookups never wait for
//! that lock. In background mode a change waits only if the write buffer or a blocking listener's
//! queue is full, if it has to borrow weight, or if its caller wants to see what it evicts. With inline maintenance
//! every change waits, so that it has taken full effect when the call returns.
//!
//! # The life of an entry, as maintenance sees it
//! The table decides first, by one CAS for each change. Events only report, and those of different
//! threads may arrive in any order. Each entry is *born* once, by its `Inserted` event or as the new
//! entry of a `Replaced`. It is *gone* once, by a `Removed`, as the old entry of a `Replaced`, or
//! because maintenance itself took it out:
//!
//! | seen | linked in the policy | next |
//! |---|---|---|
//! | nothing | no | born, or gone |
//! | born | yes | gone; or unlinked as a victim that another thread has just taken out of the table |
//! | born, but unlinked again as a victim | no | gone |
//! | gone | no: its insertion event is still to come, and does not link it | born |
//! | born and gone | no | retired once; if there is a listener, after it was notified |
//!
//! # Locks and user code
//! The policy runs under the partition's lock. `Freeable::dispose` drops keys and values after the
//! lock and the guard were released.
//!
//! # Where to find what
//! This file has what is common to all partitions, and `partition` what is under one partition's lock.
//! A change of the table passes through `change`, `report`, `run` and `finish`, in this order.
//!
//! # Orderings
//! A thread that leaves garbage, closed buckets, an earlier timer or an earlier deadline notifies the
//! maintenance thread. That thread executes a `SeqCst` fence after changing its counts and before
//! checking whether the cache is idle; the maintenance thread executes another after declaring the
//! cache idle and before its last check of the counts. So the maintenance thread sees the counts, or the
//! other thread sees that the cache is idle, or both.
//!
//! A direct run has no fence. The last check takes the lock of each partition instead (`maintainer::is_left`).
#![forbid(unsafe_code)]

use std::marker::PhantomData;
use std::sync::Arc;

use crossbeam_utils::{Backoff, CachePadded};

use crate::base::hash::KeyHash;
use crate::base::histogram::TimeHistogram;
use crate::base::mode::Maintenance;
use crate::base::reentrancy;
use crate::base::stats::Stripes;
use crate::base::sync::{self, AtomicBool, AtomicUsize, Mutex, Ordering};
use crate::buffer::write_buffer;
use crate::engine::evict::{Evictor, Loans};
use crate::engine::fills::Fills;
use crate::engine::flight::Flight;
use crate::engine::history::RemovalHistory;
use crate::engine::known::KnownKeys;
use crate::entry::{BroughtForward, Entry};
use crate::expiry::Timing;
use crate::listener::{AtomicListening, Channel, Listening};
use crate::maintainer::{Attendance, is_left};
use crate::namespaces::Quotas;
use crate::policy::Accesses;
use crate::reclaim;
use crate::shadow::{NamespaceShadows, Shadow};
use crate::table::Table;

// A change of the table, from its reservation to its report.
mod change;
// How a change is reported to its partition, and which thread then runs maintenance.
mod report;
// How hits reach the policy.
mod hits;
// The sums of all counts, and checks for tests.
mod stats;
// What the maintenance thread does, and when its next timer is due.
mod background;
// What a run of maintenance leaves to be done without the lock.
mod finish;
// Which thread notifies the listener, and when.
mod delivery;
// Loans of weight between partitions, for heavy entries.
mod lending;
// Room in other partitions, where all share one bound.
mod room;
// Waiting until everything is freed, and the end of a cache.
mod ending;
// Questions to the policies of all partitions, and changes of their bounds.
mod ranking;
// Where entries stand in the eyes of their policies, for snapshots.
#[cfg(feature = "snapshot")]
mod standings;
// What is reported to the shadow caches.
mod shadowing;
// One part of the key space: its buffers and, under a lock, its evictor.
mod partition;
// One run over the events of a partition.
mod run;
// What maintenance of a partition counts.
mod counts;
// The policy of a partition, and the entries that it may evict.
pub(crate) mod evict;
// One run of a loader, and the callers that wait for it.
pub(crate) mod flight;
// Values that callers are fetching for keys.
pub(crate) mod fills;
// What is known of keys beside their entries.
pub(crate) mod known;
// Why keys have left lately.
pub(crate) mod history;

pub(crate) use change::{Attempt, Change, Incoming};
pub(crate) use delivery::Deliveries;
pub(crate) use finish::Show;
pub(crate) use lending::Loan;
use partition::{Partition, PartitionConfig};
#[cfg(feature = "snapshot")]
pub(crate) use standings::Standings;

/// A writer runs maintenance once this many events of a partition wait, or `1/BATCH_PART` of the entries that the
/// smallest partition may hold, if that is less, so that no partition exceeds its limits by a large part. The fixed
/// cost of a run is a small part of one with eight events, which takes half a microsecond.
const MAX_BATCH: u32 = 8;
const BATCH_PART: usize = 32;
/// Once the waiting events are `1/ROOM_PART` of those entries, writers wait for the thread that runs
/// maintenance: it is slow, or it was taken off its processor.
const ROOM_PART: usize = 8;
/// Buckets that an insertion opens after the table has grown, with inline maintenance. A growing
/// table gets two new buckets for each insertion on average.
const BUCKETS_OPENED_INLINE: usize = 8;
/// The epoch is advanced once this many bytes were retired (of entries themselves, not of what they own). Each
/// partition counts its share, since a count that all writers change would cost each of them a cache miss.
const PACE_BYTES: usize = 256 * 1024;
/// The same in entries, and as a part of the cache's bounds.
const MAX_PACE: usize = 2048;
const PACE_PART: usize = 16;
/// That part is at least this many entries, or half the capacity if that is less, since each advance of the
/// epoch costs the same: a fence in every running thread.
const SMALL_PACE: usize = 256;
/// Writers slow down once the garbage exceeds this many times what is retired between two advances of the
/// epoch, divided among the partitions. Three times as much is usual.
const BACKLOG_PACES: usize = 8;
const MIN_BACKLOG: usize = 256;

/// The most stripes of a read buffer, for a policy that wants every access, and for one that wants
/// first marks of sampled keys.
const ORDER_STRIPES: usize = 16;
const SAMPLE_STRIPES: usize = 4;

/// Everything of a cache except its hasher and settings.
pub(crate) struct Engine<K, V> {
    pub(crate) table: Table<K, V>,
    partitions: Box<[Partition<K, V>]>,
    partition_bits: u32,
    /// What the partitions have lent each other of the bound on weight.
    loans: Mutex<Loans>,
    /// If the cache has namespaces.
    pub(crate) quotas: Option<Arc<Quotas>>,
    mode: Maintenance,
    /// Whether plain and direct runs can apply events, as far as that depends on the settings (`evict::plain`).
    takes_direct_runs: bool,
    /// The same, and there is no listener.
    is_plain: bool,
    has_weigher: bool,
    accesses: Accesses,
    /// Hits are recorded on entries whose counter is below this; no other hit leaves a trace.
    record_hits_below: u8,
    /// Waiting events of a partition after which a writer runs maintenance in background mode.
    batch: u32,
    /// Retired entries, and retired weight, of one partition after which the epoch is advanced.
    pace_entries: usize,
    pace_weight: u64,
    /// Freeing speeds up once more entries of a partition than this wait; writers give way at a multiple of it.
    backlog: u64,
    pub(crate) counters: Stripes,
    /// How long loads took, if that was asked for.
    pub(crate) load_times: Option<Box<TimeHistogram>>,
    /// Entries linked in the policies of all partitions. The table must have buckets for these.
    linked: CachePadded<AtomicUsize>,
    /// Whether a bound is 0.
    stores_nothing: AtomicBool,
    /// The first bucket that may not be open yet.
    opened: AtomicUsize,
    pub(crate) brought_forward: BroughtForward,
    pub(crate) timing: Timing,
    /// For explanations of misses, if they were asked for.
    pub(crate) history: Option<Box<RemovalHistory>>,
    pub(crate) shadow: Option<Box<Shadow>>,
    /// If the cache has namespaces.
    pub(crate) namespace_shadows: Option<Arc<NamespaceShadows>>,
    pub(crate) atomic: Option<Box<AtomicListening<K, V>>>,
    /// For the listener, if there is one.
    pub(crate) deliveries: Option<Deliveries<K, V>>,
    pub(crate) fills: Arc<Fills<Flight<K, V>>>,
    /// Keys that are known to have no value, if the cache remembers them.
    known: Option<Arc<dyn KnownKeys>>,
    pub(crate) attendance: Attendance,
    /// Whether the cache is being torn down: then nothing expires any more, and executors get no more jobs.
    is_ending: AtomicBool,
    entries: PhantomData<Entry<K, V>>,
}

/// `1/part` of `entries`, as a number of events from 1 to `limit`.
fn events_in(entries: usize, part: usize, limit: u32) -> u32 {
    u32::try_from(entries / part).unwrap_or(limit).clamp(1, limit)
}

/// What an engine is built from.
pub(crate) struct EngineConfig<K, V> {
    pub(crate) mode: Maintenance,
    pub(crate) accesses: Accesses,
    /// The evictor of each partition; their number is a power of two.
    pub(crate) evictors: Vec<Evictor>,
    /// Threads that the machine runs at once.
    pub(crate) cores: usize,
    pub(crate) timing: Timing,
    pub(crate) history: Option<Box<RemovalHistory>>,
    pub(crate) shadow: Option<Box<Shadow>>,
    pub(crate) atomic: Option<Box<AtomicListening<K, V>>>,
    pub(crate) listening: Option<Arc<Listening<K, V>>>,
    pub(crate) attendance: Attendance,
    pub(crate) known: Option<Arc<dyn KnownKeys>>,
    pub(crate) histograms: Histograms,
    pub(crate) has_weigher: bool,
}

/// Which histograms a cache keeps.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Histograms {
    /// Of the times that loads take.
    pub(crate) load_times: bool,
    /// Of the ages of evicted entries.
    pub(crate) ages: bool,
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
            known,
            histograms,
            has_weigher,
        } = config;
        let limits = || evictors.iter().map(Evictor::limits);
        let smallest = limits().map(|limits| limits.entries).min().unwrap_or(0);
        let capacity = limits().fold(0_usize, |sum, limits| sum.saturating_add(limits.entries));
        let max_weight = limits().fold(0_u64, |sum, limits| sum.saturating_add(limits.weight));
        let quotas = evictors.first().and_then(Evictor::quotas).cloned();
        let namespace_shadows = evictors.first().and_then(Evictor::namespace_shadows).cloned();
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
                // A model in which writers wait for room never ends.
                true => write_buffer::SLOTS,
            },
            backlog: (BACKLOG_PACES * pace_entries / evictors.len().max(1)).max(MIN_BACKLOG) as u64,
            counts_ages: histograms.ages,
        };
        let channel = || listening.as_ref().map(|listening| Channel::new(Arc::clone(listening)));
        let partitions: Box<[_]> = (0..)
            .zip(evictors)
            .map(|(index, evictor)| Partition::new(index, evictor, partition_config, channel()))
            .collect();
        let takes_direct_runs = quotas.is_none() && atomic.is_none();
        let is_plain = takes_direct_runs && listening.is_none();
        Self {
            table: Table::new(capacity),
            partition_bits: partitions.len().trailing_zeros(),
            loans: Mutex::new(loans),
            quotas,
            mode,
            is_plain,
            takes_direct_runs,
            has_weigher,
            accesses,
            record_hits_below: match accesses {
                Accesses::None => 0,
                Accesses::Counter { max } => max,
                Accesses::Mark { .. } => 1,
                // Their counters stay at 0.
                Accesses::Order => u8::MAX,
            },
            batch: events_in(smallest, BATCH_PART, MAX_BATCH),
            pace_entries: (pace_entries / partitions.len()).max(1),
            pace_weight: (max_weight / PACE_PART as u64 / partitions.len() as u64).max(1),
            backlog: partition_config.backlog,
            partitions,
            counters: Stripes::new((cores * 4).max(8)),
            load_times: histograms.load_times.then(|| Box::new(TimeHistogram::of_load_times())),
            linked: CachePadded::default(),
            stores_nothing: AtomicBool::new(capacity == 0),
            opened: AtomicUsize::new(1),
            brought_forward: BroughtForward::new(),
            timing,
            history,
            shadow,
            namespace_shadows,
            atomic,
            deliveries: listening.map(Deliveries::new),
            // Changes then always look further, so those of other caches do not have to.
            fills: if known.is_some() { Fills::always_open() } else { Fills::new() },
            known,
            attendance,
            is_ending: AtomicBool::new(false),
            entries: PhantomData,
        }
    }

    fn partition(&self, hash: KeyHash) -> &Partition<K, V> {
        &self.partitions[hash.partition(self.partition_bits)]
    }

    /// Whether a bound is 0, so that every insertion is rejected. An insertion that has asked before
    /// the bound was lowered may still take effect: the run that links its entry then evicts it.
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

    /// Whether insertions without options need neither weights, lifetimes, explanations nor shadow caches.
    pub(crate) fn takes_plain_insertions(&self) -> bool {
        self.is_plain
            && !self.has_weigher
            && self.history.is_none()
            && self.shadow.is_none()
            && !self.timing.applies_to_all()
    }

    /// Prefetches what a report about `hash` will write.
    #[inline]
    pub(crate) fn prefetch_report(&self, hash: KeyHash) {
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
        if let Some(known) = &self.known {
            known.run_pending();
        }
        self.open_buckets(usize::MAX);
    }

    /// Waits for evictions of which other threads are notifying the atomic listener, if this thread may
    /// wait. Returns whether there were some.
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
        // SeqCst: between the maintenance thread's declaration that the cache is idle and the counts;
        // pairs with the fences before `attendance.notify` (module head).
        sync::fence(Ordering::SeqCst);
        let is_waiting = |partition: &Partition<K, V>| {
            partition.writes.waiting() > 0 || is_left(&partition.core, || partition.wants_visit())
        };
        self.has_closed_buckets()
            || self.partitions.iter().any(is_waiting)
            || self.shadow.as_ref().is_some_and(|shadow| shadow.is_due())
            || self.namespace_shadows.as_ref().is_some_and(|shadows| shadows.is_due())
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
