//! larder in the three benchmarks of TinyUFO: a module for its folder `benches/`.
//!
//! README.md beside this file says how to add it there. Every number is a parameter, so that the harness
//! remains the one that decides what is measured.

#![allow(dead_code)] // Each of the three programs uses a part.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use ::larder::Cache;
use rand_distr::{Distribution, Zipf};

/// What `bench_hit_ratio` wants: a cache that is given the same requests as the others, and counts its hits.
pub(crate) struct HitRatio {
    cache: Cache<u64, ()>,
    hits: u64,
    requests: u64,
}

impl HitRatio {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { cache: Cache::new(capacity), hits: 0, requests: 0 }
    }

    /// Looks the key up, and inserts it if it is absent.
    pub(crate) fn request(&mut self, key: u64) {
        self.requests += 1;
        self.hits += u64::from(read_through(&self.cache, key));
    }

    pub(crate) fn percent(&self) -> f64 {
        100.0 * self.hits as f64 / self.requests as f64
    }
}

/// What `bench_memory` wants: a cache for `share` of the items, after `requests` requests for them.
pub(crate) fn fill(exponent: f64, items: usize, share: f32, requests: usize) {
    let cache = Cache::new((share * items as f32).round() as usize);
    let zipf = zipf(items, exponent);
    let mut random = rand::rng();
    for _ in 0..requests {
        read_through(&cache, zipf.sample(&mut random) as u64);
    }
}

/// What `bench_perf` does first: lookups of keys that are all present, by one thread, then by `threads`.
/// Returns the number of misses.
pub(crate) fn read(items: usize, exponent: f64, requests: usize, threads: usize) -> u64 {
    let cache = Cache::new(items + 10);
    for key in 0..=items as u64 {
        cache.insert(key, ());
    }
    let lookup = |key| cache.get(&key).is_some();
    let mut misses = 0;
    for threads in [1, threads] {
        misses += measure("read", threads, requests, zipf(items, exponent), lookup);
    }
    misses
}

/// What `bench_perf` does last: lookups of more keys than there is room for, and insertions after misses.
/// Returns the number of misses.
pub(crate) fn mixed(
    capacity: usize,
    items: usize,
    exponent: f64,
    requests: usize,
    threads: usize,
) -> u64 {
    let cache = Cache::new(capacity);
    let request = |key| read_through(&cache, key);
    measure("mixed read/write", threads, requests, zipf(items, exponent), request)
}

/// Keys from 1 to `items`, the first ones most often.
fn zipf(items: usize, exponent: f64) -> Zipf<f64> {
    Zipf::new(items as f64, exponent).expect("items to draw, by a positive exponent")
}

/// Whether the key was present. If not, it is inserted.
fn read_through(cache: &Cache<u64, ()>, key: u64) -> bool {
    let is_hit = cache.get(&key).is_some();
    if !is_hit {
        cache.insert(key, ());
    }
    is_hit
}

/// Lets each thread draw and make `requests` requests, and prints the mean time of one and the rate of all.
/// As in the harness, the time to draw a key counts. Returns the number of misses.
fn measure(
    kind: &str,
    threads: usize,
    requests: usize,
    zipf: Zipf<f64>,
    request: impl Fn(u64) -> bool + Sync,
) -> u64 {
    let barrier = Barrier::new(threads);
    let run = || -> (u64, Duration) {
        let mut random = rand::rng();
        let mut misses = 0;
        barrier.wait();
        let start = Instant::now();
        for _ in 0..requests {
            misses += u64::from(!request(zipf.sample(&mut random) as u64));
        }
        (misses, start.elapsed())
    };
    let start = Instant::now();
    let results: Vec<(u64, Duration)> = thread::scope(|scope| {
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        handles.into_iter().map(|handle| handle.join().expect("a run does not panic")).collect()
    });
    let seconds = start.elapsed().as_secs_f64();
    let misses = results.iter().map(|(misses, _)| misses).sum();
    let mean = results.iter().map(|(_, time)| *time).sum::<Duration>() / threads as u32;
    println!(
        "larder {kind} by {threads} threads: {:?} for an operation; in all {:.0} operations a second, {misses} misses",
        mean / requests as u32,
        (threads * requests) as f64 / seconds,
    );
    misses
}
