//! The metrics of a [`QuickCache`](super::QuickCache).
//!
//! # Orderings
//! All accesses are `Relaxed`: the counters are independent, and two of them may be read at different times.
#![forbid(unsafe_code)]

use std::sync::Arc;

use serde::Serialize;

use crate::base::sync::{AtomicU64, Ordering};

/// A kind of event that a quick cache counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Metric {
    /// A value was found.
    Hit,
    /// A lookup or deletion found no valid entry.
    Miss,
    /// A value was stored.
    Set,
    /// A call that looks keys up; a `get_many` is one.
    Get,
    /// An `add` or `update` was refused.
    FailedOp,
    /// An entry left because the cache was full.
    Eviction,
    /// An entry left because it had expired.
    ExpiredRemoval,
    /// An entry was deleted or cleared.
    ManualDeletion,
}

const METRICS: usize = Metric::ManualDeletion as usize + 1;

/// A metrics backend of your own, which is notified of everything that the cache counts itself.
///
/// The calls that are counted call it, on their own threads and under no lock, so it must be fast. Its panic
/// passes through the call, which has taken effect all the same.
pub trait MetricsSink: Send + Sync + 'static {
    /// Notes that `metric` happened `times` times.
    fn count(&self, metric: Metric, times: u64);
}

/// The counts and gauges of a [`QuickCache`](super::QuickCache) at one moment. All are 0 if the
/// configuration switches metrics off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct MetricsSnapshot {
    /// Values that were found.
    pub hits: u64,
    /// Lookups and deletions that found no valid entry.
    pub misses: u64,
    /// Values that were stored.
    pub sets: u64,
    /// Calls that look keys up; a `get_many` is one.
    pub gets: u64,
    /// Calls of `add` and `update` that were refused.
    pub failed_ops: u64,
    /// Entries that left because the cache was full.
    pub evictions: u64,
    /// Entries that left because they had expired.
    pub expired_removals: u64,
    /// Entries that were deleted or cleared.
    pub manual_deletions: u64,
    /// Entries that are valid.
    pub current_valid_keys: u64,
    /// The same as [`peak_total_keys`](Self::peak_total_keys): the peak includes expired entries.
    pub peak_valid_keys: u64,
    /// Entries, including those that have expired and were not removed yet.
    pub current_total_keys: u64,
    /// The most entries that there were after an insertion.
    pub peak_total_keys: u64,
    /// Hits as a part of hits and misses, from 0 to 1.
    pub hit_ratio: f64,
    /// Misses as a part of hits and misses, from 0 to 1.
    pub miss_ratio: f64,
    /// Lookup calls for each value stored.
    pub get_set_ratio: f64,
    /// Evictions for each value stored, at most 1.
    pub eviction_rate: f64,
    /// Entries that have expired and were not removed yet.
    pub expired_bloat: u64,
    /// Expired entries as a percentage of all, from 0 to 100.
    pub waste_percentage: f64,
}

/// The counters, and the values of the core's counters when the metrics were last reset.
pub(super) struct Metrics {
    is_enabled: bool,
    sink: Option<Arc<dyn MetricsSink>>,
    counts: [AtomicU64; METRICS],
    peak_total: AtomicU64,
    /// The part of the core's counts that does not count here: it is older than the last reset, or another
    /// metric includes it.
    evictions_before: AtomicU64,
    expirations_before: AtomicU64,
    /// The part of the core's counts that was reported to the sink.
    evictions_reported: AtomicU64,
    expirations_reported: AtomicU64,
}

/// The counts of the cache itself.
#[derive(Clone, Copy)]
pub(super) struct CoreCounts {
    pub(super) evictions: u64,
    pub(super) expirations: u64,
}

impl Metrics {
    pub(super) fn new(is_enabled: bool, sink: Option<Arc<dyn MetricsSink>>) -> Self {
        Self {
            is_enabled,
            sink: sink.filter(|_| is_enabled),
            counts: Default::default(),
            peak_total: AtomicU64::new(0),
            evictions_before: AtomicU64::new(0),
            expirations_before: AtomicU64::new(0),
            evictions_reported: AtomicU64::new(0),
            expirations_reported: AtomicU64::new(0),
        }
    }

    pub(super) fn is_enabled(&self) -> bool {
        self.is_enabled
    }

    pub(super) fn has_sink(&self) -> bool {
        self.sink.is_some()
    }

    pub(super) fn count(&self, metric: Metric, times: u64) {
        if !self.is_enabled || times == 0 {
            return;
        }
        self.counts[metric as usize].fetch_add(times, Ordering::Relaxed);
        if let Some(sink) = &self.sink {
            sink.count(metric, times);
        }
    }

    pub(super) fn note_total(&self, total: usize) {
        if self.is_enabled && self.peak_total.load(Ordering::Relaxed) < total as u64 {
            self.peak_total.fetch_max(total as u64, Ordering::Relaxed);
        }
    }

    /// Leaves out `expirations` that the core has counted: another metric includes them.
    pub(super) fn discount_expirations(&self, expirations: u64) {
        self.expirations_before.fetch_add(expirations, Ordering::Relaxed);
        self.expirations_reported.fetch_add(expirations, Ordering::Relaxed);
    }

    /// Reports to the sink what the core has counted since the last report.
    pub(super) fn report(&self, core: CoreCounts) {
        let Some(sink) = &self.sink else { return };
        for (metric, reported, now) in [
            (Metric::Eviction, &self.evictions_reported, core.evictions),
            (Metric::ExpiredRemoval, &self.expirations_reported, core.expirations),
        ] {
            // If several threads report at the same time, each reports a part.
            let before = reported.fetch_max(now, Ordering::Relaxed);
            if now > before {
                sink.count(metric, now - before);
            }
        }
    }

    pub(super) fn reset(&self, core: CoreCounts, total: usize) {
        for count in &self.counts {
            count.store(0, Ordering::Relaxed);
        }
        self.evictions_before.store(core.evictions, Ordering::Relaxed);
        self.expirations_before.store(core.expirations, Ordering::Relaxed);
        self.peak_total.store(total as u64, Ordering::Relaxed);
    }

    pub(super) fn snapshot(&self, core: CoreCounts, total: usize, valid: usize) -> MetricsSnapshot {
        if !self.is_enabled {
            return MetricsSnapshot::default();
        }
        let count = |metric: Metric| self.counts[metric as usize].load(Ordering::Relaxed);
        let since =
            |now: u64, before: &AtomicU64| now.saturating_sub(before.load(Ordering::Relaxed));
        let (hits, misses) = (count(Metric::Hit), count(Metric::Miss));
        let (sets, gets) = (count(Metric::Set), count(Metric::Get));
        let evictions = since(core.evictions, &self.evictions_before);
        // Entries may have come and gone between the two readings.
        let (total, valid) = (total as u64, valid.min(total) as u64);
        let peak = self.peak_total.load(Ordering::Relaxed).max(total);
        MetricsSnapshot {
            hits,
            misses,
            sets,
            gets,
            failed_ops: count(Metric::FailedOp),
            evictions,
            expired_removals: since(core.expirations, &self.expirations_before),
            manual_deletions: count(Metric::ManualDeletion),
            current_valid_keys: valid,
            peak_valid_keys: peak,
            current_total_keys: total,
            peak_total_keys: peak,
            hit_ratio: ratio(hits, hits + misses),
            miss_ratio: ratio(misses, hits + misses),
            get_set_ratio: ratio(gets, sets),
            eviction_rate: ratio(evictions, sets).min(1.0),
            expired_bloat: total - valid,
            waste_percentage: ratio(total - valid, total) * 100.0,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a ratio needs no higher precision")]
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
