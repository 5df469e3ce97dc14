//! What maintenance of a partition counts.
//!
//! Most counts are written only under the partition's lock, so adding to them is not an atomic step. It
//! is one for `freed`, `freeing`, `panics` and `notified`.
#![forbid(unsafe_code)]

use std::mem::offset_of;

use crate::base::cause::RemovalCause;
use crate::base::stats::Stats;
use crate::base::sync::{AtomicU64, AtomicUsize, Ordering};

#[derive(Default)]
#[repr(C, align(64))]
pub(super) struct Counts {
    pub(super) removals: Removals,
    pub(super) retired: AtomicU64,
    /// Direct runs, and what they have evicted: entries that weigh one each. They are not counted above.
    pub(super) direct_runs: AtomicU64,
    pub(super) direct_evictions: AtomicU64,
    // What follows is written less often, or by other threads.
    pub(super) weight: AtomicU64,
    pub(super) runs: AtomicU64,
    /// Runs that were allowed to free entries.
    pub(super) freeing_runs: AtomicU64,
    /// Those of which the atomic listener was notified. The notifying thread counts them without the
    /// lock.
    pub(super) notified: Removals,
    pub(super) freed: AtomicU64,
    /// Batches taken to be freed that are not freed yet, by phase.
    pub(super) freeing: [AtomicUsize; 2],
    pub(super) faults: AtomicU64,
    pub(super) panics: AtomicU64,
}

/// What maintenance has taken out of the table.
#[derive(Default)]
#[repr(C)]
pub(super) struct Removals {
    pub(super) evictions: AtomicU64,
    pub(super) evicted_weight: AtomicU64,
    pub(super) expirations: AtomicU64,
    pub(super) expired_weight: AtomicU64,
    pub(super) invalidations: AtomicU64,
}

// All that every run counts is in one line, since the next run may be another core's.
const _: () = assert!(offset_of!(Counts, weight) == 64);

impl Counts {
    pub(super) fn add_to(&self, stats: &mut Stats, entry_bytes: u64) {
        let Self { removals, notified, retired, freed, runs, faults, panics, .. } = self;
        let Self { direct_runs, direct_evictions, .. } = self;
        // `freed` is read before `retired`, so that no more seems to be freed than was retired.
        stats.freed_bytes += freed.load(Ordering::Relaxed) * entry_bytes;
        stats.retired_bytes += retired.load(Ordering::Relaxed) * entry_bytes;
        for removals in [removals, notified] {
            stats.evictions += removals.evictions.load(Ordering::Relaxed);
            stats.evicted_weight += removals.evicted_weight.load(Ordering::Relaxed);
            stats.expirations += removals.expirations.load(Ordering::Relaxed);
            stats.expired_weight += removals.expired_weight.load(Ordering::Relaxed);
            stats.invalidations += removals.invalidations.load(Ordering::Relaxed);
        }
        let direct_evictions = direct_evictions.load(Ordering::Relaxed);
        stats.evictions += direct_evictions;
        stats.evicted_weight += direct_evictions;
        stats.maintenance_runs +=
            runs.load(Ordering::Relaxed) + direct_runs.load(Ordering::Relaxed);
        stats.maintenance_panics += faults.load(Ordering::Relaxed) + panics.load(Ordering::Relaxed);
    }
}

impl Removals {
    /// Counts one removal. Any thread may call this.
    pub(super) fn add(&self, cause: RemovalCause, weight: u32) {
        let Self { evictions, evicted_weight, expirations, expired_weight, invalidations } = self;
        let (count, weights) = match cause {
            RemovalCause::Expired => (expirations, Some(expired_weight)),
            RemovalCause::Invalidated => (invalidations, None),
            _ => (evictions, Some(evicted_weight)),
        };
        count.fetch_add(1, Ordering::Relaxed);
        if let Some(weights) = weights {
            weights.fetch_add(u64::from(weight), Ordering::Relaxed);
        }
    }
}

/// Adds to a count that only the holder of the lock writes.
#[inline]
pub(super) fn add(count: &AtomicU64, amount: u64) {
    count.store(count.load(Ordering::Relaxed) + amount, Ordering::Relaxed);
}
