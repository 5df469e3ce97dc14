//! Runs batches of operations on threads against the clock.
//!
//! Threads start together at a barrier and check the stop flag once per batch. Each measures its
//! own time from its first operation to its last, and the rates are summed, so a thread that the
//! system starts late or stops early does not count as idle.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Operations between two checks of the stop flag.
pub const BATCH: usize = 1_024;

/// What the threads of one measurement did together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rate {
    /// The sum over all threads of operations divided by the thread's own time.
    pub operations_per_second: f64,
    /// Operations of all threads.
    pub operations: u64,
    /// The operations that found their key.
    pub hits: u64,
}

impl Rate {
    /// Hits divided by operations, from 0 to 1.
    #[must_use]
    pub fn hit_ratio(&self) -> f64 {
        self.hits as f64 / self.operations as f64
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
    let start = Barrier::new(threads + 1);
    let is_warm = AtomicBool::new(false);
    let stop = AtomicBool::new(false);
    let run = |index| {
        let mut batch = worker(index);
        start.wait();
        // Relaxed: a flag only, here and below; the joins publish the results.
        while !is_warm.load(Ordering::Relaxed) {
            batch();
        }
        let started = Instant::now();
        let mut rate = Rate::default();
        // At least one batch, however late this thread is scheduled.
        loop {
            rate.hits += batch();
            rate.operations += BATCH as u64;
            if stop.load(Ordering::Relaxed) {
                break;
            }
        }
        rate.operations_per_second = rate.operations as f64 / started.elapsed().as_secs_f64();
        rate
    };
    thread::scope(|scope| {
        let run = &run;
        let running: Vec<_> = (0..threads).map(|index| scope.spawn(move || run(index))).collect();
        start.wait();
        thread::sleep(warm_up);
        is_warm.store(true, Ordering::Relaxed);
        thread::sleep(duration);
        stop.store(true, Ordering::Relaxed);
        let mut sum = Rate::default();
        for thread in running {
            let rate = thread.join().expect("a batch does not panic");
            sum.operations_per_second += rate.operations_per_second;
            sum.operations += rate.operations;
            sum.hits += rate.hits;
        }
        sum
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
