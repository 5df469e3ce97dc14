//! The latencies of single operations, by verb.
//!
//! Workloads hand each operation to an observer. The one of the passes that measure throughput does
//! nothing, so they run the same code as the passes that measure latency.
//!
//! The clock is the processor's counter of time stamps where there is one. A latency contains about
//! one reading of it, from the middle of the first to the middle of the second: `clock_cost_ns`.
//! What a thread does between operations, such as to record the last one, is in none of them.

use std::fmt;
use std::hint::black_box;
use std::sync::LazyLock;

use hdrhistogram::Histogram;
use quanta::Clock;

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Looks up a key.
    Get,
    /// Inserts a key, or gives it another value.
    Insert,
    /// Removes a key.
    Remove,
    /// Looks up a key and loads it if it is missing, in one call.
    Load,
    /// Visits all entries.
    Walk,
}

impl Verb {
    /// All verbs, in the order of reports.
    pub const ALL: [Self; 5] = [Self::Get, Self::Insert, Self::Remove, Self::Load, Self::Walk];
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Get => "get",
            Self::Insert => "insert",
            Self::Remove => "remove",
            Self::Load => "load",
            Self::Walk => "walk",
        })
    }
}

/// Watches the operations of one thread.
pub trait Observer: Default + Send {
    /// Does `operation` and returns its result.
    fn watch<R>(&mut self, verb: Verb, operation: impl FnOnce() -> R) -> R;

    /// Forgets what it has observed.
    fn clear(&mut self);
}

/// Observes nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unobserved;

impl Observer for Unobserved {
    #[inline(always)]
    fn watch<R>(&mut self, _: Verb, operation: impl FnOnce() -> R) -> R {
        operation()
    }

    fn clear(&mut self) {}
}

/// Records how long each operation takes.
#[derive(Debug)]
pub struct Stopwatch {
    clock: Clock,
    latencies: Latencies,
}

impl Stopwatch {
    /// What it has recorded.
    #[must_use]
    pub fn into_latencies(self) -> Latencies {
        self.latencies
    }
}

/// The first clock of a process measures the counter's frequency, so there is only one.
static CLOCK: LazyLock<Clock> = LazyLock::new(Clock::new);

impl Default for Stopwatch {
    fn default() -> Self {
        Self { clock: CLOCK.clone(), latencies: Latencies::default() }
    }
}

impl Observer for Stopwatch {
    #[inline]
    fn watch<R>(&mut self, verb: Verb, operation: impl FnOnce() -> R) -> R {
        let begin = self.clock.raw();
        let result = black_box(operation());
        let end = self.clock.raw();
        self.latencies.record(verb, self.clock.delta_as_nanos(begin, end));
        result
    }

    fn clear(&mut self) {
        self.latencies = Latencies::default();
    }
}

/// What one reading of the clock costs, in nanoseconds.
#[must_use]
pub fn clock_cost_ns() -> f64 {
    const READINGS: u32 = 1_000_000;
    let begin = CLOCK.raw();
    for _ in 0..READINGS {
        black_box(CLOCK.raw());
    }
    CLOCK.delta_as_nanos(begin, CLOCK.raw()) as f64 / f64::from(READINGS)
}

/// A histogram of latencies for each verb of operation, in nanoseconds.
#[derive(Clone, Debug)]
pub struct Latencies {
    histograms: [Histogram<u64>; Verb::ALL.len()],
}

impl Latencies {
    /// Values differ from what was recorded by at most 1 %. More digits need more memory, which
    /// competes with the contender for the processor's caches.
    const DIGITS: u8 = 2;
    /// Longer ones count as this long.
    const LONGEST_NS: u64 = 100_000_000_000;

    #[inline]
    fn record(&mut self, verb: Verb, latency_ns: u64) {
        self.histograms[verb as usize].saturating_record(latency_ns);
    }

    /// Adds what another thread recorded.
    pub fn add(&mut self, other: &Self) {
        for (own, other) in self.histograms.iter_mut().zip(&other.histograms) {
            *own += other;
        }
    }

    /// The percentiles of an operation, unless there was none.
    #[must_use]
    pub fn percentiles(&self, verb: Verb) -> Option<Percentiles> {
        let histogram = &self.histograms[verb as usize];
        (!histogram.is_empty()).then(|| Percentiles {
            count: histogram.len(),
            p50_ns: histogram.value_at_quantile(0.5),
            p99_ns: histogram.value_at_quantile(0.99),
            p999_ns: histogram.value_at_quantile(0.999),
            max_ns: histogram.max(),
        })
    }
}

impl Default for Latencies {
    fn default() -> Self {
        let empty = || {
            Histogram::new_with_bounds(1, Self::LONGEST_NS, Self::DIGITS)
                .expect("the bounds and digits are constants that it accepts")
        };
        Self { histograms: std::array::from_fn(|_| empty()) }
    }
}

/// How long an operation took, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percentiles {
    /// How many were recorded.
    pub count: u64,
    /// The median.
    pub p50_ns: u64,
    /// 99 of 100 took at most as long.
    pub p99_ns: u64,
    /// 999 of 1000 took at most as long.
    pub p999_ns: u64,
    /// The longest.
    pub max_ns: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_kept_by_kind_and_added_up() {
        let mut first = Latencies::default();
        let mut second = Latencies::default();
        for latency_ns in 1..=500 {
            first.record(Verb::Insert, latency_ns);
            second.record(Verb::Insert, 500 + latency_ns);
        }
        first.add(&second);
        let found = first.percentiles(Verb::Insert).expect("some were recorded");
        let is_near = |value: u64, wanted: u64| value.abs_diff(wanted) * 100 <= wanted;
        assert_eq!(found.count, 1_000);
        assert!(is_near(found.p50_ns, 500) && is_near(found.p99_ns, 990));
        assert!(is_near(found.p999_ns, 999) && is_near(found.max_ns, 1_000));
        assert_eq!(first.percentiles(Verb::Get), None);
    }

    #[test]
    fn a_stopwatch_records_each_operation_once() {
        let mut stopwatch = Stopwatch::default();
        assert_eq!(stopwatch.watch(Verb::Get, || 7), 7);
        stopwatch.clear();
        for _ in 0..10 {
            stopwatch.watch(Verb::Get, || ());
        }
        let latencies = stopwatch.into_latencies();
        let count = latencies.percentiles(Verb::Get).map(|percentiles| percentiles.count);
        assert_eq!(count, Some(10));
        assert!(clock_cost_ns() > 0.0);
    }
}
