//! Histograms of durations with fixed buckets, which many threads add to.
//!
//! # Orderings
//! All accesses are `Relaxed`: the counts are independent of each other. The count of a reading is the sum of its
//! buckets, so the two agree even if other threads record meanwhile; only the sum of the durations may be that of
//! another moment.
#![forbid(unsafe_code)]

use std::ops::AddAssign;
use std::time::Duration;

use crate::base::sync::{AtomicU64, Ordering};

const fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

const fn micros(count: u64) -> Duration {
    Duration::from_micros(count)
}

const fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// From what a loader in memory takes to what a slow service takes.
const LOAD_TIMES: &[Duration] = &[
    micros(10),
    micros(25),
    micros(50),
    micros(100),
    micros(250),
    micros(500),
    millis(1),
    micros(2_500),
    millis(5),
    millis(10),
    millis(25),
    millis(50),
    millis(100),
    millis(250),
    millis(500),
    secs(1),
    millis(2_500),
    secs(5),
    secs(10),
    secs(30),
];

/// From an entry that found no time to be read to one that was kept for a month.
const AGES: &[Duration] = &[
    millis(10),
    millis(100),
    secs(1),
    secs(5),
    secs(15),
    secs(30),
    secs(60),
    secs(2 * 60),
    secs(5 * 60),
    secs(10 * 60),
    secs(30 * 60),
    secs(3_600),
    secs(3 * 3_600),
    secs(6 * 3_600),
    secs(12 * 3_600),
    secs(24 * 3_600),
    secs(3 * 24 * 3_600),
    secs(7 * 24 * 3_600),
    secs(30 * 24 * 3_600),
];

/// A histogram of durations, which many threads add to.
///
/// Recording a duration takes a search among the bounds and two lock-free additions. Threads that record all
/// the time can have a histogram each; `+=` adds up their [readings](Self::read).
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use larder::TimeHistogram;
///
/// static BOUNDS: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(10)];
/// let times = TimeHistogram::new(&BOUNDS);
/// times.record(Duration::from_micros(500));
/// times.record(Duration::from_millis(10));
/// times.record(Duration::from_secs(1));
/// let counts = times.read();
/// assert_eq!(counts.count(), 3);
/// let buckets: Vec<_> = counts.buckets().collect();
/// assert_eq!(buckets, [(Some(BOUNDS[0]), 1), (Some(BOUNDS[1]), 2), (None, 3)]);
/// ```
#[derive(Debug)]
pub struct TimeHistogram {
    bounds: &'static [Duration],
    /// One count for each bound, and one for what is above all of them.
    counts: Box<[AtomicU64]>,
    /// The sum in seconds, as the bits of an `f64`: nanoseconds in an integer would overflow within seconds if a
    /// million entries a second are evicted at the age of a day.
    sum_bits: AtomicU64,
}

impl TimeHistogram {
    /// An empty histogram whose buckets end at `bounds`, the last one inclusive.
    ///
    /// # Panics
    /// If the bounds do not increase.
    #[must_use]
    pub fn new(bounds: &'static [Duration]) -> Self {
        assert!(bounds.is_sorted_by(|one, next| one < next), "the bounds of a histogram increase");
        Self {
            bounds,
            counts: std::iter::repeat_with(|| AtomicU64::new(0)).take(bounds.len() + 1).collect(),
            sum_bits: AtomicU64::new(0.0_f64.to_bits()),
        }
    }

    /// For the times that loads take.
    pub(crate) fn of_load_times() -> Self {
        Self::new(LOAD_TIMES)
    }

    /// For the ages of entries that are evicted.
    pub(crate) fn of_ages() -> Self {
        Self::new(AGES)
    }

    /// Counts `time` in the first bucket whose bound is not below it.
    pub fn record(&self, time: Duration) {
        let index = self.bounds.partition_point(|bound| *bound < time);
        self.counts[index].fetch_add(1, Ordering::Relaxed);
        let seconds = time.as_secs_f64();
        let added = |bits: u64| Some((f64::from_bits(bits) + seconds).to_bits());
        // It never fails, because the closure always has an answer.
        let _ = self.sum_bits.fetch_update(Ordering::Relaxed, Ordering::Relaxed, added);
    }

    /// What was recorded so far.
    #[must_use]
    pub fn read(&self) -> TimeCounts {
        TimeCounts {
            bounds: self.bounds,
            counts: self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect(),
            sum_seconds: f64::from_bits(self.sum_bits.load(Ordering::Relaxed)),
        }
    }
}

/// A reading of a histogram of durations.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct TimeCounts {
    bounds: &'static [Duration],
    counts: Box<[u64]>,
    sum_seconds: f64,
}

impl TimeCounts {
    /// The number of durations.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The sum of the durations, in seconds.
    #[must_use]
    pub fn sum_seconds(&self) -> f64 {
        self.sum_seconds
    }

    /// The bound of each bucket, the last of which has none, and how many durations are not above it. So the last
    /// number is the [count](Self::count).
    pub fn buckets(&self) -> impl Iterator<Item = (Option<Duration>, u64)> + '_ {
        let bounds = self.bounds.iter().copied().map(Some).chain([None]);
        bounds.zip(&self.counts).scan(0, |sum, (bound, count)| {
            *sum += count;
            Some((bound, *sum))
        })
    }

    /// The bound of the bucket in which the `quantile`, from 0 to 1, of the durations lies: they are at most that
    /// long. `None` if there are no durations yet, or it is above all bounds.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> Option<Duration> {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rank needs no more than 52 bits, and casts of floats saturate"
        )]
        let rank = ((self.count() as f64 * quantile).ceil() as u64).max(1);
        self.buckets().find(|(_, count)| *count >= rank)?.0
    }
}

impl AddAssign<&Self> for TimeCounts {
    /// Adds the counts of another histogram.
    ///
    /// # Panics
    /// If the bounds of the two are not the same.
    fn add_assign(&mut self, other: &Self) {
        assert_eq!(self.bounds, other.bounds, "only histograms with the same bounds can be added");
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.sum_seconds += other.sum_seconds;
    }
}

#[cfg(all(test, not(larder_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_in_the_first_bucket_that_holds_it() {
        let times = TimeHistogram::of_load_times();
        for (index, bound) in LOAD_TIMES.iter().enumerate() {
            times.record(*bound);
            times.record(*bound + Duration::from_nanos(1));
            let counts = times.read();
            assert_eq!(counts.counts[index], if index == 0 { 1 } else { 2 }, "{bound:?}");
            assert_eq!(counts.counts[index + 1], 1, "{bound:?}");
        }
        let counts = times.read();
        assert_eq!(counts.count(), 2 * LOAD_TIMES.len() as u64);
        assert_eq!(counts.buckets().last(), Some((None, counts.count())));
        let sum: f64 = LOAD_TIMES.iter().map(|bound| 2.0 * bound.as_secs_f64()).sum();
        assert!((counts.sum_seconds() - sum).abs() < 1e-6);
    }

    #[test]
    fn a_quantile_is_the_bound_below_which_so_many_durations_are() {
        let ages = TimeHistogram::of_ages();
        assert_eq!(ages.read().quantile(0.5), None);
        for _ in 0..99 {
            ages.record(millis(50));
        }
        ages.record(secs(59));
        assert_eq!(ages.read().quantile(0.5), Some(millis(100)));
        assert_eq!(ages.read().quantile(0.99), Some(millis(100)));
        assert_eq!(ages.read().quantile(1.0), Some(secs(60)));
        ages.record(Duration::MAX);
        assert_eq!(ages.read().quantile(1.0), None, "it is above all bounds");
    }

    #[test]
    fn threads_lose_no_duration() {
        let times = TimeHistogram::of_ages();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1_000).for_each(|_| times.record(secs(1))));
            }
        });
        let mut counts = times.read();
        assert_eq!((counts.count(), counts.sum_seconds()), (4_000, 4_000.0));
        counts += &times.read();
        assert_eq!((counts.count(), counts.sum_seconds()), (8_000, 8_000.0));
    }

    #[test]
    #[should_panic(expected = "increase")]
    fn bounds_that_do_not_increase_are_refused() {
        let _ = TimeHistogram::new(const { &[secs(1), secs(1)] });
    }
}
