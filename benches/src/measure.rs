//! Runs batches of operations on threads against the clock.
//!
//! Threads start together at a barrier and check the stop flag once per batch. Each measures its
//! own time from its first operation to its last, and the rates are summed, so a thread that the
//! system starts late or stops early does not count as idle. If there are more threads than
//! processors, that would count the time of a processor twice: then all threads share one time, from
//! the end of the warm-up to the last operation of all.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::stopwatch::{Observer, Unobserved};

/// Operations between two checks of the stop flag.
pub const BATCH: usize = 1_024;

/// What a batch has done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Done {
    /// All operations.
    pub operations: u64,
    /// Those of them that look up a key.
    pub lookups: u64,
    /// The lookups that found their key.
    pub hits: u64,
}

impl Done {
    /// A batch of lookups alone, of which so many hit.
    #[inline]
    #[must_use]
    pub fn lookups(hits: u64) -> Self {
        Self { operations: BATCH as u64, lookups: BATCH as u64, hits }
    }

    /// So many operations, none of which looks up a key.
    #[inline]
    #[must_use]
    pub fn others(operations: u64) -> Self {
        Self { operations, lookups: 0, hits: 0 }
    }
}

/// What the threads of one measurement did together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rate {
    /// The sum over all threads of operations divided by the thread's time.
    pub operations_per_second: f64,
    /// Operations of all threads.
    pub operations: u64,
    /// The operations that look up a key.
    pub lookups: u64,
    /// The lookups that found their key.
    pub hits: u64,
}

impl Rate {
    /// Hits divided by lookups, from 0 to 1; `NaN` if there was no lookup.
    #[must_use]
    pub fn hit_ratio(&self) -> f64 {
        self.hits as f64 / self.lookups as f64
    }

    fn add(&mut self, done: Done) {
        self.operations += done.operations;
        self.lookups += done.lookups;
        self.hits += done.hits;
    }
}

impl<'a> std::iter::Sum<&'a Self> for Rate {
    fn sum<I: Iterator<Item = &'a Self>>(rates: I) -> Self {
        rates.fold(Self::default(), |mut sum, rate| {
            sum.operations_per_second += rate.operations_per_second;
            sum.operations += rate.operations;
            sum.lookups += rate.lookups;
            sum.hits += rate.hits;
            sum
        })
    }
}

/// Runs batches on `threads` threads: uncounted for `warm_up`, then counted for `duration`.
///
/// The warm-up brings code, tables and the contender's shared state into their steady state.
/// `worker` is called on each thread with its index and returns the batch: a closure that does
/// `BATCH` operations and returns how many of them were hits.
///
/// # Panics
/// If a batch panics.
pub fn measure<B: FnMut() -> u64>(
    threads: usize,
    warm_up: Duration,
    duration: Duration,
    worker: impl Fn(usize) -> B + Sync,
) -> Rate {
    let measured = measure_each(threads, warm_up, duration, |index| {
        let mut batch = worker(index);
        move |_: &mut Unobserved| Done::lookups(batch())
    });
    measured.iter().map(|(rate, _)| rate).sum()
}

/// The same with batches of any size, each of which is handed the observer of its thread; returns
/// the rate and the observer of each thread. What is observed during the warm-up is discarded.
///
/// # Panics
/// If a batch panics.
pub fn measure_each<O: Observer, B: FnMut(&mut O) -> Done>(
    threads: usize,
    warm_up: Duration,
    duration: Duration,
    worker: impl Fn(usize) -> B + Sync,
) -> Vec<(Rate, O)> {
    let start = Barrier::new(threads + 1);
    let is_warm = AtomicBool::new(false);
    let stop = AtomicBool::new(false);
    let run = |index| {
        let mut batch = worker(index);
        let mut observer = O::default();
        start.wait();
        // Relaxed: a flag only, here and below; the joins publish the results.
        while !is_warm.load(Ordering::Relaxed) {
            batch(&mut observer);
        }
        observer.clear();
        let started = Instant::now();
        let mut rate = Rate::default();
        // At least one batch, however late this thread is scheduled.
        loop {
            rate.add(batch(&mut observer));
            if stop.load(Ordering::Relaxed) {
                break;
            }
        }
        rate.operations_per_second = rate.operations as f64 / started.elapsed().as_secs_f64();
        (rate, observer)
    };
    let is_crowded = thread::available_parallelism().is_ok_and(|cores| threads > cores.get());
    thread::scope(|scope| {
        let run = &run;
        let running: Vec<_> = (0..threads).map(|index| scope.spawn(move || run(index))).collect();
        start.wait();
        thread::sleep(warm_up);
        let begin = Instant::now();
        is_warm.store(true, Ordering::Relaxed);
        thread::sleep(duration);
        stop.store(true, Ordering::Relaxed);
        let join = |thread: thread::ScopedJoinHandle<'_, _>| {
            thread.join().expect("a batch does not panic")
        };
        let mut measured: Vec<(Rate, O)> = running.into_iter().map(join).collect();
        if is_crowded {
            let seconds = begin.elapsed().as_secs_f64();
            for (rate, _) in &mut measured {
                rate.operations_per_second = rate.operations as f64 / seconds;
            }
        }
        measured
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_thread_counts_its_batches() {
        let short = Duration::from_millis(5);
        let rate = measure(3, short, short, |index| move || index as u64);
        assert!(rate.operations_per_second > 0.0);
        assert_eq!(rate.operations % BATCH as u64, 0);
        assert!(rate.hit_ratio() <= 2.0 / BATCH as f64);
    }
}
