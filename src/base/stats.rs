//! Statistics, and the striped counters behind them.
//!
//! Each thread with a small number owns a stripe, and counts by a plain load and store. All other threads
//! share the last stripe, and count by atomic addition. The next owner of a stripe sees the counts of the
//! previous one, because threads pass their numbers on under a lock. A stripe takes no memory before
//! something is counted in it.
#![forbid(unsafe_code)]

use std::fmt;
use std::ops::Sub;
use std::time::Duration;

use crossbeam_utils::CachePadded;

use crate::base::lazy_box::LazyBox;
use crate::base::sync::{AtomicU64, Ordering};

/// What threads count as it happens. Maintenance counts the rest, such as evictions.
#[derive(Clone, Copy)]
pub(crate) enum Counter {
    Hits,
    Misses,
    Inserts,
    Replacements,
    Removals,
    Rejections,
    Expirations,
    ExpiredWeight,
    Invalidations,
    DroppedAccesses,
    Loads,
    LoadFailures,
    /// In nanoseconds.
    LoadTime,
    LoadWaits,
    LoadHandovers,
    LoadsDiscarded,
    NegativeHits,
    StaleHits,
    Refreshes,
}

impl Counter {
    /// All of them, each at the index that it counts at.
    const ALL: [Self; 19] = [
        Self::Hits,
        Self::Misses,
        Self::Inserts,
        Self::Replacements,
        Self::Removals,
        Self::Rejections,
        Self::Expirations,
        Self::ExpiredWeight,
        Self::Invalidations,
        Self::DroppedAccesses,
        Self::Loads,
        Self::LoadFailures,
        Self::LoadTime,
        Self::LoadWaits,
        Self::LoadHandovers,
        Self::LoadsDiscarded,
        Self::NegativeHits,
        Self::StaleHits,
        Self::Refreshes,
    ];
}

const COUNTERS: usize = Counter::ALL.len();
const _: () = {
    let mut index = 0;
    while index < COUNTERS {
        assert!(Counter::ALL[index] as usize == index);
        index += 1;
    }
};

type Stripe = CachePadded<[AtomicU64; COUNTERS]>;

/// The number of stripes whose places exist from the start.
const FEW: usize = 4;

pub(crate) struct Stripes {
    /// Those of the threads with the lowest numbers.
    few: [LazyBox<Stripe>; FEW],
    /// All others. The last one is shared by all threads without a stripe of their own.
    more: LazyBox<Box<[LazyBox<Stripe>]>>,
    /// The threads with numbers below this have a stripe of their own.
    threads: usize,
}

impl Stripes {
    /// Stripes for the threads with numbers below `threads`, and the shared one.
    pub(crate) fn new(threads: usize) -> Self {
        let threads = threads.max(FEW);
        Self {
            few: std::array::from_fn(|_| new_stripe()),
            more: LazyBox::new_unless_loom(|| new_stripes(threads + 1 - FEW)),
            threads,
        }
    }

    /// Adds to `counter` for the thread of that number.
    #[inline]
    pub(crate) fn add(&self, thread: usize, counter: Counter, amount: u64) {
        let stripe = match self.few.get(thread) {
            Some(stripe) => stripe,
            None => self.later_stripe(thread),
        };
        let count = &stripe.get_or_make(Stripe::default)[counter as usize];
        if thread < self.threads {
            // A load and a store suffice, because only this thread writes the stripe.
            count.store(count.load(Ordering::Relaxed) + amount, Ordering::Relaxed);
        } else {
            count.fetch_add(amount, Ordering::Relaxed);
        }
    }

    /// The stripe of a thread that is not one of the first.
    fn later_stripe(&self, thread: usize) -> &LazyBox<Stripe> {
        let more = self.more.get_or_make(|| new_stripes(self.threads + 1 - FEW));
        &more[thread.min(self.threads) - FEW]
    }

    pub(crate) fn sum(&self, counter: Counter) -> u64 {
        let more = self.more.get().into_iter().flatten();
        let used = self.few.iter().chain(more).filter_map(LazyBox::get);
        used.map(|stripe| stripe[counter as usize].load(Ordering::Relaxed)).sum()
    }

    /// Adds each counter to its field, except for hits and misses: the cache adds those if it counts them.
    pub(crate) fn add_to(&self, stats: &mut Stats) {
        for counter in Counter::ALL {
            let field = match counter {
                Counter::Hits | Counter::Misses => continue,
                Counter::Inserts => &mut stats.inserts,
                Counter::Replacements => &mut stats.replacements,
                Counter::Removals => &mut stats.removals,
                Counter::Rejections => &mut stats.rejections,
                Counter::Expirations => &mut stats.expirations,
                Counter::ExpiredWeight => &mut stats.expired_weight,
                Counter::Invalidations => &mut stats.invalidations,
                Counter::DroppedAccesses => &mut stats.dropped_accesses,
                Counter::Loads => &mut stats.loads,
                Counter::LoadFailures => &mut stats.load_failures,
                Counter::LoadTime => {
                    stats.load_time += Duration::from_nanos(self.sum(counter));
                    continue;
                }
                Counter::LoadWaits => &mut stats.load_waits,
                Counter::LoadHandovers => &mut stats.load_handovers,
                Counter::LoadsDiscarded => &mut stats.loads_discarded,
                Counter::NegativeHits => &mut stats.negative_hits,
                Counter::StaleHits => &mut stats.stale_hits,
                Counter::Refreshes => &mut stats.refreshes,
            };
            *field += self.sum(counter);
        }
    }
}

fn new_stripe() -> LazyBox<Stripe> {
    LazyBox::new_unless_loom(Stripe::default)
}

fn new_stripes(count: usize) -> Box<[LazyBox<Stripe>]> {
    std::iter::repeat_with(new_stripe).take(count).collect()
}

/// What a cache has done since it was built. All counts only grow.
///
/// If other threads use the cache meanwhile, each count is right for some moment during the call, though
/// not all for the same moment. The counts between two readings are
/// [`later.since(&earlier)`](Self::since), or `later - earlier`.
///
/// `Display` writes `name=value` pairs on one line, without unknown ones. With the feature `serde` the
/// statistics can be serialized.
///
/// # Examples
/// ```
/// let cache = larder::Cache::builder().capacity(100).count_lookups().build()?;
/// cache.insert("a", 1);
/// cache.get("a");
/// let before = cache.stats();
/// cache.get("a");
/// cache.get("b");
/// let since = cache.stats() - before;
/// assert_eq!((since.hits, since.misses), (Some(1), Some(1)));
/// assert_eq!((since.hit_ratio(), since.inserts), (Some(0.5), 0));
/// assert!(since.to_string().starts_with("hits=1 misses=1 hit_ratio=0.5000 inserts=0"));
/// # Ok::<(), larder::BuildError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Stats {
    /// Lookups that found their key: by `get`, `get_in`, `get_key_value`, `read`, `touch`, `get_many`, `read_many`, a
    /// pin's `get` and `get_many`, `entry`, and the methods that load. `None` unless
    /// [`Builder::count_lookups`](crate::Builder::count_lookups) was called.
    pub hits: Option<u64>,
    /// The same lookups that did not find their key; also `None` unless they are counted.
    pub misses: Option<u64>,
    /// Keys added. This includes entries of fills and loads that became stale while they were stored: no lookup has
    /// found them, and they also count as invalidated.
    pub inserts: u64,
    /// Values replaced.
    pub replacements: u64,
    /// Entries that left because a bound was reached.
    pub evictions: u64,
    /// The weight of these entries.
    pub evicted_weight: u64,
    /// Entries removed by calls such as `remove`, `remove_if`, `retain` and `clear`, and old values that
    /// left because the new value was too heavy.
    pub removals: u64,
    /// Entries that left because their deadline had passed. An expired entry counts once it leaves the
    /// table, by maintenance or because its key is inserted again; no lookup finds it before that.
    pub expirations: u64,
    /// The weight of these entries.
    pub expired_weight: u64,
    /// Entries that left after one of their tags was
    /// [invalidated](crate::Cache::invalidate_tag), or their
    /// [namespace](crate::Cache::invalidate_namespace). They count once they leave the table, like expired
    /// ones. Also entries of fills and loads that became stale while they were stored.
    pub invalidations: u64,
    /// Insertions that were rejected, for any reason.
    pub rejections: u64,
    /// Accesses that were not recorded for the policy, because their buffer was full.
    pub dropped_accesses: u64,
    /// Runs of loaders, whatever became of them: successes, failures, and loads that were abandoned.
    pub loads: u64,
    /// Loads that ended in an error, and loads in the background that panicked or were dropped by their executor. A
    /// panic within a call is the caller's, and does not count.
    pub load_failures: u64,
    /// The sum of the times that loads took, by the cache's clock; a single short load may count as none or as a few
    /// milliseconds.
    pub load_time: Duration,
    /// Calls that waited for the load of another caller instead of running their own loader.
    pub load_waits: u64,
    /// Loads whose loader panicked, was dropped, or took longer than a load may take, so that a waiter ran its own
    /// loader instead.
    pub load_handovers: u64,
    /// Loads whose value the cache did not keep, because the key was changed during the load. The callers got
    /// the value.
    pub loads_discarded: u64,
    /// Calls that were answered without a load, because the key is known to have no value.
    pub negative_hits: u64,
    /// Calls that returned an expired value, because a refresh was under way or had failed.
    pub stale_hits: u64,
    /// Loads that ran in order to renew a value that the cache still had. They are also counted in
    /// [`loads`](Self::loads).
    pub refreshes: u64,
    /// Bytes of entries that left the table: keys, values and the cache's data for each, without memory
    /// that keys and values own elsewhere. Also those of keys that are no longer known to have no value.
    pub retired_bytes: u64,
    /// Bytes of retired entries whose keys and values were dropped since, and whose memory was freed.
    pub freed_bytes: u64,
    /// Runs of maintenance over a partition.
    pub maintenance_runs: u64,
    /// Panics of user code that maintenance caught: `Drop` of a key or value, a policy.
    pub maintenance_panics: u64,
    /// Removals of which the [listener](crate::Listener) was notified.
    pub notifications: u64,
    /// Removals of which the listener was not notified, because its queue was full.
    pub notifications_dropped: u64,
    /// A gauge: notifications that wait in the listener's queues.
    pub notifications_waiting: u64,
    /// Panics of the listener and its executor.
    pub listener_panics: u64,
    /// A gauge, the same for all caches of the process: for how long the oldest grace period has waited.
    /// It grows while a thread keeps a pin, and retired entries of all caches wait meanwhile.
    pub reclamation_lag: Duration,
    /// Whether reclamation is blocked, in all caches of the process: the operating system has allowed the
    /// call that reclamation needs (`membarrier`, on Linux) and refuses it now, for example in a sandbox
    /// that the process has entered since. Meanwhile no entry that leaves a cache is freed, and memory
    /// grows without bound. This is also reported once on standard error. Allow the call, or build with
    /// `--cfg larder_epochs`.
    pub is_reclamation_refused: bool,
}

impl Stats {
    /// Hits per lookup, from 0 to 1; `None` if lookups are not counted, or there was none.
    #[must_use]
    pub fn hit_ratio(&self) -> Option<f64> {
        let (hits, misses) = (self.hits?, self.misses?);
        let lookups = hits.saturating_add(misses);
        #[expect(clippy::cast_precision_loss, reason = "a ratio needs no more than 52 bits")]
        (lookups > 0).then(|| hits as f64 / lookups as f64)
    }

    /// Bytes of entries that have left the table and have not been freed yet.
    #[must_use]
    pub fn waiting_bytes(&self) -> u64 {
        self.retired_bytes.saturating_sub(self.freed_bytes)
    }

    /// The counts since `earlier` was read from the same cache. Gauges are those of `self`.
    ///
    /// A count that is less than before, which never happens with one cache, gives 0. Hits and misses are
    /// known if both readings have them.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let difference = |of: fn(&Self) -> u64| of(self).saturating_sub(of(earlier));
        let known = |of: fn(&Self) -> Option<u64>| Some(of(self)?.saturating_sub(of(earlier)?));
        Self {
            hits: known(|stats| stats.hits),
            misses: known(|stats| stats.misses),
            inserts: difference(|stats| stats.inserts),
            replacements: difference(|stats| stats.replacements),
            evictions: difference(|stats| stats.evictions),
            evicted_weight: difference(|stats| stats.evicted_weight),
            removals: difference(|stats| stats.removals),
            expirations: difference(|stats| stats.expirations),
            expired_weight: difference(|stats| stats.expired_weight),
            invalidations: difference(|stats| stats.invalidations),
            rejections: difference(|stats| stats.rejections),
            dropped_accesses: difference(|stats| stats.dropped_accesses),
            loads: difference(|stats| stats.loads),
            load_failures: difference(|stats| stats.load_failures),
            load_time: self.load_time.saturating_sub(earlier.load_time),
            load_waits: difference(|stats| stats.load_waits),
            load_handovers: difference(|stats| stats.load_handovers),
            loads_discarded: difference(|stats| stats.loads_discarded),
            negative_hits: difference(|stats| stats.negative_hits),
            stale_hits: difference(|stats| stats.stale_hits),
            refreshes: difference(|stats| stats.refreshes),
            retired_bytes: difference(|stats| stats.retired_bytes),
            freed_bytes: difference(|stats| stats.freed_bytes),
            maintenance_runs: difference(|stats| stats.maintenance_runs),
            maintenance_panics: difference(|stats| stats.maintenance_panics),
            notifications: difference(|stats| stats.notifications),
            notifications_dropped: difference(|stats| stats.notifications_dropped),
            notifications_waiting: self.notifications_waiting,
            listener_panics: difference(|stats| stats.listener_panics),
            reclamation_lag: self.reclamation_lag,
            is_reclamation_refused: self.is_reclamation_refused,
        }
    }
}

impl Sub for Stats {
    type Output = Self;

    /// The same as [`since`](Stats::since).
    fn sub(self, earlier: Self) -> Self {
        self.since(&earlier)
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // By name, so that a new field cannot be forgotten here.
        let Self {
            hits,
            misses,
            inserts,
            replacements,
            evictions,
            evicted_weight,
            removals,
            expirations,
            expired_weight,
            invalidations,
            rejections,
            dropped_accesses,
            loads,
            load_failures,
            load_time,
            load_waits,
            load_handovers,
            loads_discarded,
            negative_hits,
            stale_hits,
            refreshes,
            retired_bytes,
            freed_bytes,
            maintenance_runs,
            maintenance_panics,
            notifications,
            notifications_dropped,
            notifications_waiting,
            listener_panics,
            reclamation_lag,
            is_reclamation_refused,
        } = self;
        if let (Some(hits), Some(misses)) = (hits, misses) {
            write!(f, "hits={hits} misses={misses} ")?;
        }
        if let Some(ratio) = self.hit_ratio() {
            write!(f, "hit_ratio={ratio:.4} ")?;
        }
        write!(
            f,
            "inserts={inserts} replacements={replacements} evictions={evictions} \
             evicted_weight={evicted_weight} removals={removals} expirations={expirations} \
             expired_weight={expired_weight} invalidations={invalidations} \
             rejections={rejections} dropped_accesses={dropped_accesses} \
             loads={loads} load_failures={load_failures} load_time={load_time:?} \
             load_waits={load_waits} load_handovers={load_handovers} \
             loads_discarded={loads_discarded} negative_hits={negative_hits} \
             stale_hits={stale_hits} refreshes={refreshes} \
             retired_bytes={retired_bytes} freed_bytes={freed_bytes} \
             maintenance_runs={maintenance_runs} maintenance_panics={maintenance_panics} \
             notifications={notifications} notifications_dropped={notifications_dropped} \
             notifications_waiting={notifications_waiting} listener_panics={listener_panics} \
             reclamation_lag={reclamation_lag:?} is_reclamation_refused={is_reclamation_refused}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_with_and_without_a_stripe_are_all_counted() {
        let stripes = Stripes::new(2);
        for thread in [0, 1, 2, 3, usize::MAX] {
            stripes.add(thread, Counter::Hits, 2);
            stripes.add(thread, Counter::DroppedAccesses, 1);
        }
        assert_eq!(stripes.sum(Counter::Hits), 10);
        assert_eq!(stripes.sum(Counter::DroppedAccesses), 5);
        assert_eq!(stripes.sum(Counter::Misses), 0);
    }

    #[test]
    fn time_of_loads_is_summed_in_nanoseconds() {
        let stripes = Stripes::new(1);
        for (thread, counter, amount) in [
            (0, Counter::LoadTime, 1_500_000_000),
            (7, Counter::LoadTime, 500_000_001),
            (0, Counter::Loads, 2),
            (7, Counter::Refreshes, 1),
        ] {
            stripes.add(thread, counter, amount);
        }
        let mut stats = Stats::default();
        stripes.add_to(&mut stats);
        assert_eq!(stats.load_time, Duration::new(2, 1));
        assert_eq!((stats.loads, stats.refreshes, stats.stale_hits), (2, 1, 0));
        assert!(stats.to_string().contains("loads=2 load_failures=0 load_time=2.000000001s"));
    }

    #[test]
    fn hit_ratio_without_lookups_is_unknown() {
        assert_eq!(Stats::default().hit_ratio(), None, "lookups were not counted");
        let of =
            |hits, misses| Stats { hits: Some(hits), misses: Some(misses), ..Stats::default() };
        assert_eq!(of(0, 0).hit_ratio(), None, "there was no lookup");
        assert_eq!(of(3, 1).hit_ratio(), Some(0.75));
        assert_eq!(of(0, 1).hit_ratio(), Some(0.0));
    }

    #[test]
    fn difference_covers_every_count_and_no_gauge() {
        let all = |count: u64| Stats {
            hits: Some(count),
            misses: Some(count),
            inserts: count,
            replacements: count,
            evictions: count,
            evicted_weight: count,
            removals: count,
            expirations: count,
            expired_weight: count,
            invalidations: count,
            rejections: count,
            dropped_accesses: count,
            loads: count,
            load_failures: count,
            load_time: Duration::from_secs(count),
            load_waits: count,
            load_handovers: count,
            loads_discarded: count,
            negative_hits: count,
            stale_hits: count,
            refreshes: count,
            retired_bytes: count,
            freed_bytes: count,
            maintenance_runs: count,
            maintenance_panics: count,
            notifications: count,
            notifications_dropped: count,
            notifications_waiting: 5,
            listener_panics: count,
            reclamation_lag: Duration::from_secs(5),
            is_reclamation_refused: false,
        };
        assert_eq!(all(7) - all(3), all(4));
        assert_eq!(all(3) - all(7), all(0), "a reading of another cache");
        let uncounted = Stats { hits: None, misses: None, ..all(3) };
        assert_eq!((all(7) - uncounted).hit_ratio(), None);
        let text = uncounted.to_string();
        assert!(text.starts_with("inserts=") && !text.contains("hit_ratio"), "{text}");
        assert!(all(3).to_string().starts_with("hits=3 misses=3 hit_ratio=0.5000 inserts=3 "));
    }
}
