//! Counting what happens, in stripes that threads do not share.
//!
//! A thread whose number is below the number of stripes owns a stripe alone, and counts by a
//! plain load and store; the others share the last one and count by atomic addition. A stripe's
//! next owner sees the counts of the one before: the thread's number is handed on under a lock.
#![forbid(unsafe_code)]

use std::time::Duration;

use crossbeam_utils::CachePadded;

use crate::sync::{AtomicU64, Ordering};

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
/// all for the same one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Lookups by `get`, `read` and a pin's `get` that found their key. 0 unless
    /// [`Builder::count_lookups`](crate::Builder::count_lookups) was called.
    pub hits: u64,
    /// Those that did not. Likewise.
    pub misses: u64,
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
    /// Hits in proportion to lookups, from 0 to 1; 0 if no lookup was counted.
    #[must_use]
    pub fn hit_ratio(&self) -> f64 {
        let lookups = self.hits.saturating_add(self.misses);
        if lookups == 0 {
            return 0.0;
        }
        #[expect(clippy::cast_precision_loss, reason = "a ratio needs no more than 52 bits")]
        {
            self.hits as f64 / lookups as f64
        }
    }

    /// Bytes of entries that have left the table and are not freed yet.
    #[must_use]
    pub fn waiting_bytes(&self) -> u64 {
        self.retired_bytes.saturating_sub(self.freed_bytes)
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
    fn hit_ratio_of_nothing_is_zero() {
        assert!(Stats::default().hit_ratio().abs() < f64::EPSILON);
        let stats = Stats { hits: 3, misses: 1, ..Stats::default() };
        assert!((stats.hit_ratio() - 0.75).abs() < f64::EPSILON);
    }
}
