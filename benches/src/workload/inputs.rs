//! The sequences of keys that the workloads request.
//!
//! Everything is generated on first use, before the clock starts, and shared by all threads and
//! contenders.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::contender::CacheKey;
use crate::keys::{SplitMix64, fill_uniform, zipf};
use crate::measure::BATCH;

/// Keys that are resident in the workloads without misses, and the capacity of `Insert`. Here and
/// below, builds with debug assertions use less, because they test only that the workload runs.
pub const RESIDENT: usize = if cfg!(debug_assertions) { 1 << 14 } else { 131_072 };
/// Keys that the workloads with misses request; their capacity is a tenth of them.
pub const UNIVERSE: usize = if cfg!(debug_assertions) { 1 << 17 } else { 1 << 20 };
/// Draws for the workloads without misses. They may repeat, because nothing is evicted.
const GET_DRAWS: usize = 1 << 18;
/// Draws for the workloads with misses: so many that the sequence repeats long after the cache has
/// forgotten its start.
const READ_THROUGH_DRAWS: usize = if cfg!(debug_assertions) { 1 << 18 } else { 1 << 23 };

/// The sequences of keys, each generated on first use.
#[derive(Debug)]
pub struct Inputs<K> {
    get: OnceLock<Sequence<K>>,
    uniform: OnceLock<Sequence<K>>,
    read_through: OnceLock<Sequence<K>>,
    ranges: AtomicU64,
}

impl<K> Default for Inputs<K> {
    fn default() -> Self {
        Self {
            get: OnceLock::new(),
            uniform: OnceLock::new(),
            read_through: OnceLock::new(),
            ranges: AtomicU64::new(0),
        }
    }
}

impl<K: CacheKey> Inputs<K> {
    /// Resident keys, with Zipf's law.
    pub(super) fn get(&self) -> &Sequence<K> {
        self.get.get_or_init(|| Sequence::of(zipf(RESIDENT as u64, GET_DRAWS, 1)))
    }

    /// Resident keys, all equally likely.
    pub(super) fn uniform(&self) -> &Sequence<K> {
        self.uniform.get_or_init(|| {
            let mut draws = vec![0; GET_DRAWS];
            fill_uniform(&mut draws, RESIDENT as u64, &mut SplitMix64::new(3));
            Sequence::of(draws)
        })
    }

    /// Keys of `UNIVERSE`, with Zipf's law.
    pub(super) fn read_through(&self) -> &Sequence<K> {
        self.read_through
            .get_or_init(|| Sequence::of(zipf(UNIVERSE as u64, READ_THROUGH_DRAWS / K::SHRINK, 2)))
    }

    /// The first of 2^32 numbers that no other caller gets and no fill uses.
    pub(super) fn new_numbers(&self) -> u64 {
        // Relaxed: nothing but the number itself is shared.
        (self.ranges.fetch_add(1, Ordering::Relaxed) + 1) << 32
    }
}

/// Keys that every thread walks through, each from its own start.
#[derive(Debug)]
pub(super) struct Sequence<K> {
    keys: Vec<K>,
    walks: AtomicU64,
}

impl<K: CacheKey> Sequence<K> {
    fn of(numbers: Vec<u64>) -> Self {
        assert_eq!(numbers.len() % BATCH, 0, "batches do not wrap");
        Self { keys: numbers.into_iter().map(K::new).collect(), walks: AtomicU64::new(0) }
    }

    /// Starts a walk away from all others: multiples of the golden ratio stay apart modulo 1, so
    /// neither two threads nor two consecutive measurements request the same stretch.
    pub(super) fn walk(&self) -> Walk<'_, K> {
        const GOLDEN: f64 = 0.618_033_988_749_894_9;
        // Relaxed: nothing but the number itself is shared.
        let walk = self.walks.fetch_add(1, Ordering::Relaxed);
        let batches = self.keys.len() / BATCH;
        let batch = (batches as f64 * (walk as f64 * GOLDEN).fract()) as usize;
        Walk { keys: &self.keys, position: batch * BATCH }
    }
}

/// A position in a sequence.
pub(super) struct Walk<'a, K> {
    keys: &'a [K],
    position: usize,
}

impl<'a, K> Walk<'a, K> {
    #[inline]
    pub(super) fn next_batch(&mut self) -> &'a [K] {
        if self.position == self.keys.len() {
            self.position = 0;
        }
        let batch = &self.keys[self.position..self.position + BATCH];
        self.position += BATCH;
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walks_start_apart_and_wrap() {
        let sequence = Sequence::<u64>::of((0..4 * BATCH as u64).collect());
        let mut first = sequence.walk();
        let second = sequence.walk();
        assert_ne!(first.position, second.position);
        let keys: Vec<u64> = (0..4).flat_map(|_| first.next_batch()).copied().collect();
        assert_eq!(keys, sequence.keys);
        assert_eq!(first.next_batch()[0], 0);
    }
}
