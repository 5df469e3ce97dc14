//! The ages of the entries that were evicted.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How many buckets there are: bucket `n` counts ages below 2^n milliseconds, the last one all others.
pub(crate) const AGE_BUCKETS: usize = 36;

/// A histogram of ages, written by all threads.
#[derive(Debug)]
pub(crate) struct EvictionAges {
    counts: [AtomicU64; AGE_BUCKETS],
    sum_ms: AtomicU64,
}

impl Default for EvictionAges {
    fn default() -> Self {
        Self { counts: [const { AtomicU64::new(0) }; AGE_BUCKETS], sum_ms: AtomicU64::new(0) }
    }
}

impl EvictionAges {
    /// Counts an evicted entry.
    pub(crate) fn record(&self, age: Duration) {
        let ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        let bucket = (u64::BITS - ms.leading_zeros()) as usize;
        self.counts[bucket.min(AGE_BUCKETS - 1)].fetch_add(1, Ordering::Relaxed);
        self.sum_ms.fetch_add(ms, Ordering::Relaxed);
    }

    /// How many entries are in each bucket.
    pub(crate) fn counts(&self) -> [u64; AGE_BUCKETS] {
        std::array::from_fn(|bucket| self.counts[bucket].load(Ordering::Relaxed))
    }

    /// The sum of all ages, in milliseconds.
    pub(crate) fn sum_ms(&self) -> u64 {
        self.sum_ms.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_counts_in_the_first_bucket_whose_bound_it_is_below() {
        let ages = EvictionAges::default();
        for ms in [0, 1, 2, 3, 4, 1000] {
            ages.record(Duration::from_millis(ms));
        }
        ages.record(Duration::MAX);
        let counts = ages.counts();
        assert_eq!(counts[..4], [1, 1, 2, 1]);
        assert_eq!((counts[10], counts[AGE_BUCKETS - 1]), (1, 1));
        assert_eq!(counts.iter().sum::<u64>(), 7);
    }
}
