//! Counting what happens, in stripes that threads do not share.
//!
//! A thread whose number is below the number of stripes owns a stripe alone, and counts by a
//! plain load and store; the others share the last one and count by atomic addition. A stripe's
//! next owner sees the counts of the one before: the thread's number is handed on under a lock.
#![forbid(unsafe_code)]

use std::fmt;
use std::ops::Sub;
use std::time::Duration;

use crossbeam_utils::CachePadded;

use crate::base::sync::{AtomicU64, Ordering};

/// What threads count where it happens. Evictions and the like are counted by maintenance.
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
}

const COUNTERS: usize = Counter::DroppedAccesses as usize + 1;

pub(crate) struct Stripes {
    /// The last one is shared by all threads that have none of their own.
    stripes: Box<[CachePadded<[AtomicU64; COUNTERS]>]>,
}

impl Stripes {
    /// Stripes of their own for threads with numbers below `threads`.
    pub(crate) fn new(threads: usize) -> Self {
        Self { stripes: std::iter::repeat_with(Default::default).take(threads + 1).collect() }
    }

    /// Adds to `counter` for the thread of that number.
    #[inline]
    pub(crate) fn add(&self, thread: usize, counter: Counter, amount: u64) {
        let shared = self.stripes.len() - 1;
        if thread < shared {
            let count = &self.stripes[thread][counter as usize];
            // Not one atomic step: only this thread writes the stripe.
            count.store(count.load(Ordering::Relaxed) + amount, Ordering::Relaxed);
        } else {
            self.stripes[shared][counter as usize].fetch_add(amount, Ordering::Relaxed);
        }
    }

    pub(crate) fn sum(&self, counter: Counter) -> u64 {
        self.stripes.iter().map(|stripe| stripe[counter as usize].load(Ordering::Relaxed)).sum()
    }
}

/// What a cache has done since it was built. All counts only grow.
///
/// Read while other threads work, each count is right for some moment during the call, though not
/// all for the same one. What happened between two readings is [`later.since(&earlier)`](Self::since),
/// or `later - earlier`.
///
/// Displayed as `name=value` pairs on one line, without those that are not known. With the feature
/// `serde` it can be serialized.
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
    /// Lookups by `get`, `read` and a pin's `get` that found their key. `None` unless
    /// [`Builder::count_lookups`](crate::Builder::count_lookups) was called.
    pub hits: Option<u64>,
    /// Lookups that did not find their key; `None` as with hits.
    pub misses: Option<u64>,
    /// Keys added.
    pub inserts: u64,
    /// Values replaced.
    pub replacements: u64,
    /// Entries that left because a bound was reached.
    pub evictions: u64,
    /// Their weight.
    pub evicted_weight: u64,
    /// Entries removed by `remove`, `remove_if`, `retain` and `clear`, and old values that left
    /// because what was to replace them was too heavy.
    pub removals: u64,
    /// Entries that left because their deadline had passed. One that maintenance, or whoever
    /// inserts its key anew, has not come by yet is not counted, though nobody sees it any more.
    pub expirations: u64,
    /// Their weight.
    pub expired_weight: u64,
    /// Entries that left after one of their tags was
    /// [invalidated](crate::Cache::invalidate_tag). As with expirations, one that nobody has come by
    /// yet is not counted.
    pub invalidations: u64,
    /// Insertions that were rejected, for whatever reason.
    pub rejections: u64,
    /// Accesses that the policy was not told of, since their buffer was full.
    pub dropped_accesses: u64,
    /// Bytes of entries (key, value and what is kept of each, not what they own) that left the table.
    pub retired_bytes: u64,
    /// Bytes of those that were freed since, key and value dropped.
    pub freed_bytes: u64,
    /// Runs of maintenance over a partition.
    pub maintenance_runs: u64,
    /// Panics of user code that maintenance caught: `Drop` of a key or value, a policy.
    pub maintenance_panics: u64,
    /// Removals that the [listener](crate::Listener) was told of.
    pub notifications: u64,
    /// Removals that it was not told of, since its queue was full.
    pub notifications_dropped: u64,
    /// A gauge: removals that it is still to be told of, as far as maintenance knows of them.
    pub notifications_waiting: u64,
    /// Panics of the listener and its executor.
    pub listener_panics: u64,
    /// A gauge, not a count, and the same for all caches of the process: for how long the oldest
    /// grace period has waited. It grows while some thread keeps a pin, and retired entries of
    /// all caches wait with it.
    pub reclamation_lag: Duration,
    /// The same for all caches of the process: the operating system has allowed the call that
    /// reclamation rests on (`membarrier`, on Linux) and refuses it now, as in a sandbox that the
    /// process has entered since. While that is so, nothing that leaves a cache is freed, and memory
    /// grows without bound; it is said once on standard error, too. Allow the call, or build with
    /// `--cfg larder_epochs`.
    pub is_reclamation_refused: bool,
}

impl Stats {
    /// Hits in proportion to lookups, from 0 to 1; `None` if lookups are not counted, or there was
    /// none.
    #[must_use]
    pub fn hit_ratio(&self) -> Option<f64> {
        let (hits, misses) = (self.hits?, self.misses?);
        let lookups = hits.saturating_add(misses);
        #[expect(clippy::cast_precision_loss, reason = "a ratio needs no more than 52 bits")]
        (lookups > 0).then(|| hits as f64 / lookups as f64)
    }

    /// Bytes of entries that have left the table and are not freed yet.
    #[must_use]
    pub fn waiting_bytes(&self) -> u64 {
        self.retired_bytes.saturating_sub(self.freed_bytes)
    }

    /// What happened since `earlier` was read from the same cache. Gauges, which are no counts, are
    /// those of `self`.
    ///
    /// A count that is less than before, which those of one cache never are, gives 0; hits and misses
    /// are known if both readings have them.
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

    /// As [`since`](Stats::since).
    fn sub(self, earlier: Self) -> Self {
        self.since(&earlier)
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // All of them, so that a new one is not forgotten here.
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
    fn hit_ratio_of_nothing_is_not_known() {
        assert_eq!(Stats::default().hit_ratio(), None, "nobody has counted");
        let of =
            |hits, misses| Stats { hits: Some(hits), misses: Some(misses), ..Stats::default() };
        assert_eq!(of(0, 0).hit_ratio(), None, "there was no lookup");
        assert_eq!(of(3, 1).hit_ratio(), Some(0.75));
        assert_eq!(of(0, 1).hit_ratio(), Some(0.0));
    }

    #[test]
    fn difference_is_of_every_count_and_of_no_gauge() {
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
        assert_eq!(all(3) - all(7), all(0), "of another cache");
        let uncounted = Stats { hits: None, misses: None, ..all(3) };
        assert_eq!((all(7) - uncounted).hit_ratio(), None);
        assert!(!uncounted.to_string().contains("hit"), "{uncounted}");
        assert!(all(3).to_string().starts_with("hits=3 misses=3 hit_ratio=0.5000 inserts=3 "));
    }
}
