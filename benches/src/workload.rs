//! What the threads of a comparison do: how a contender is filled, and what a batch is.
//!
//! Keys are generated beforehand (`keys`), so a batch costs only the contender's work and
//! sequential loads of keys. Every result goes through `black_box`.

use std::hint::black_box;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::ValueEnum;

use crate::contender::{Contender, Kind, Name, Value};
use crate::keys::{scramble, zipf};
use crate::measure::{BATCH, Rate, measure};

/// Keys that are resident in the workloads without misses, and the capacity of `Insert`.
pub const RESIDENT: usize = 131_072;
/// Keys that `ReadThrough` requests; its capacity is a tenth of them.
pub const UNIVERSE: usize = 1 << 20;
/// Keys that are resident in `Hot` and `HotArc`, which request one of them.
const HOT_RESIDENT: usize = 1_024;
// Scrambling modulo a power of two is a bijection, so a fill in scrambled order misses no key.
const _: () = assert!(RESIDENT.is_power_of_two() && HOT_RESIDENT.is_power_of_two());
/// Draws for the workloads without misses. They may repeat, because nothing is evicted.
const GET_DRAWS: usize = 1 << 18;
/// Draws for `ReadThrough`: so many that the sequence repeats long after the cache has forgotten
/// its start. Here and below, builds with debug assertions use less, because they test only that
/// the workload runs.
const READ_THROUGH_DRAWS: usize = if cfg!(debug_assertions) { 1 << 18 } else { 1 << 23 };
/// Requests before `ReadThrough` is measured: ten times the capacity.
const READ_THROUGH_FILL: usize = if cfg!(debug_assertions) { UNIVERSE / 10 } else { UNIVERSE };

/// The workloads. Keys and values are `u64`, except for the values of `HotArc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Workload {
    /// Gets that all hit: zipf 0.99 over 131,072 resident keys.
    Get,
    /// The same under one pin or guard for 1,024 gets, if the contender has one.
    Pin,
    /// Gets of one key.
    Hot,
    /// Reads of the `Arc` value of one key, by reference if the contender can.
    HotArc,
    /// zipf 0.99 over 2^20 keys at a capacity of 10 %: get, and insert on a miss.
    ReadThrough,
    /// The same as `Get`, by the contender's own verb for loading.
    GetLoad,
    /// The same as `ReadThrough`, by the contender's own verb for loading.
    Load,
    /// Inserts of new keys at a capacity of 131,072.
    Insert,
}

/// What a rate is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Against {
    /// quick_cache.
    QuickCache,
    /// The fastest of the other caches that take part.
    BestPeer,
}

impl Workload {
    /// All workloads, in the order of the report.
    pub const ALL: [Self; 8] = [
        Self::Get,
        Self::Pin,
        Self::Hot,
        Self::HotArc,
        Self::ReadThrough,
        Self::GetLoad,
        Self::Load,
        Self::Insert,
    ];

    /// The capacity that the contenders are built for.
    ///
    /// If nothing may be evicted, it is at least a quarter more than the inserted entries, because
    /// caches that split their capacity over shards fill some shards before others.
    #[must_use]
    pub fn capacity_entries(self) -> usize {
        match self {
            Self::Get | Self::Pin | Self::GetLoad => RESIDENT + RESIDENT / 4,
            Self::Hot | Self::HotArc => 4 * HOT_RESIDENT,
            Self::ReadThrough | Self::Load => UNIVERSE / 10,
            Self::Insert => RESIDENT,
        }
    }

    /// Whether `name` can take part: a map has no bound.
    #[must_use]
    pub fn allows(self, name: Name) -> bool {
        name.kind() != Kind::Map || !matches!(self, Self::ReadThrough | Self::Load | Self::Insert)
    }

    /// The goal on two cores: the least ratio, and what it is relative to.
    #[must_use]
    pub fn goal(self) -> (f64, Against) {
        match self {
            Self::Get | Self::GetLoad | Self::Load => (1.0, Against::QuickCache),
            Self::Pin => (2.0, Against::QuickCache),
            Self::Hot | Self::HotArc => (1.5, Against::BestPeer),
            Self::ReadThrough => (0.9, Against::QuickCache),
            Self::Insert => (0.7, Against::QuickCache),
        }
    }

    /// Whether a hit ratio is meaningful: `Insert` has no lookups.
    #[must_use]
    pub fn has_hits(self) -> bool {
        self != Self::Insert
    }

    /// Fills `contender` with the entries that the workload expects.
    pub fn fill<C: Contender>(self, contender: &C, inputs: &Inputs) {
        let resident = match self {
            Self::Get | Self::Pin | Self::GetLoad | Self::Insert => RESIDENT,
            Self::Hot | Self::HotArc => HOT_RESIDENT,
            Self::ReadThrough | Self::Load => {
                let mut walk = inputs.read_through().walk();
                for _ in 0..READ_THROUGH_FILL / BATCH {
                    read_through(contender, walk.next_batch());
                }
                0
            }
        };
        for step in 0..resident as u64 {
            // Inserted in scrambled order: the hottest keys have the smallest numbers, and would
            // otherwise be adjacent in contenders that store entries in the order of insertion.
            let number = scramble(step) % resident as u64;
            contender.insert(scramble(number), C::Value::new(number));
        }
        contender.run_pending();
    }

    /// Measures the rate of `threads` threads on a filled contender.
    pub fn measure<C: Contender>(
        self,
        contender: &C,
        inputs: &Inputs,
        threads: usize,
        duration: Duration,
    ) -> Rate {
        let warm_up = duration / 5;
        match self {
            Self::Get => measure(threads, warm_up, duration, |_| {
                let mut walk = inputs.get().walk();
                move || get_each(contender, walk.next_batch())
            }),
            Self::Pin => measure(threads, warm_up, duration, |_| {
                let mut walk = inputs.get().walk();
                move || contender.get_all(walk.next_batch())
            }),
            Self::Hot => measure(threads, warm_up, duration, |_| {
                let key = scramble(0);
                move || repeat(|| contender.get(black_box(&key)).map(|value| value.number()))
            }),
            Self::HotArc => measure(threads, warm_up, duration, |_| {
                let key = scramble(0);
                move || repeat(|| contender.read(black_box(&key)))
            }),
            Self::ReadThrough => measure(threads, warm_up, duration, |_| {
                let mut walk = inputs.read_through().walk();
                move || read_through(contender, walk.next_batch())
            }),
            Self::GetLoad => measure(threads, warm_up, duration, |_| {
                let mut walk = inputs.get().walk();
                move || load_each(contender, walk.next_batch())
            }),
            Self::Load => measure(threads, warm_up, duration, |_| {
                let mut walk = inputs.read_through().walk();
                move || load_each(contender, walk.next_batch())
            }),
            Self::Insert => measure(threads, warm_up, duration, |_| {
                let mut numbers = inputs.new_numbers();
                move || {
                    for number in numbers..numbers + BATCH as u64 {
                        contender.insert(scramble(number), C::Value::new(number));
                    }
                    numbers += BATCH as u64;
                    0
                }
            }),
        }
    }
}

/// Looks up each of `keys` by itself and returns how many were found.
#[inline]
pub fn get_each<C: Contender>(contender: &C, keys: &[u64]) -> u64 {
    let mut hits = 0;
    for key in keys {
        if let Some(value) = contender.get(key) {
            black_box(value.number());
            hits += 1;
        }
    }
    hits
}

#[inline]
fn read_through<C: Contender>(contender: &C, keys: &[u64]) -> u64 {
    let mut hits = 0;
    for key in keys {
        if let Some(value) = contender.get(key) {
            black_box(value.number());
            hits += 1;
        } else {
            contender.insert(*key, C::Value::new(*key));
        }
    }
    hits
}

/// Looks up or loads each of `keys`, and returns how many were found.
#[inline]
fn load_each<C: Contender>(contender: &C, keys: &[u64]) -> u64 {
    let mut loads = 0;
    for key in keys {
        let value = contender.get_or_load(key, || {
            loads += 1;
            C::Value::new(*key)
        });
        black_box(value.number());
    }
    keys.len() as u64 - loads
}

#[inline]
fn repeat(mut look: impl FnMut() -> Option<u64>) -> u64 {
    let mut hits = 0;
    for _ in 0..BATCH {
        hits += u64::from(black_box(look()).is_some());
    }
    hits
}

/// The sequences of keys, each generated on first use.
#[derive(Debug, Default)]
pub struct Inputs {
    get: OnceLock<Sequence>,
    read_through: OnceLock<Sequence>,
    ranges: AtomicU64,
}

impl Inputs {
    fn get(&self) -> &Sequence {
        self.get.get_or_init(|| Sequence::new(zipf(RESIDENT as u64, GET_DRAWS, 1)))
    }

    fn read_through(&self) -> &Sequence {
        self.read_through
            .get_or_init(|| Sequence::new(zipf(UNIVERSE as u64, READ_THROUGH_DRAWS, 2)))
    }

    /// The first of 2^32 numbers that no other caller gets and no fill uses.
    fn new_numbers(&self) -> u64 {
        // Relaxed: nothing but the number itself is shared.
        (self.ranges.fetch_add(1, Ordering::Relaxed) + 1) << 32
    }
}

/// Keys that every thread walks through, each from its own start.
#[derive(Debug)]
struct Sequence {
    keys: Vec<u64>,
    walks: AtomicU64,
}

impl Sequence {
    fn new(keys: Vec<u64>) -> Self {
        assert_eq!(keys.len() % BATCH, 0, "batches do not wrap");
        Self { keys, walks: AtomicU64::new(0) }
    }

    /// Starts a walk away from all others: multiples of the golden ratio stay apart modulo 1, so
    /// neither two threads nor two consecutive measurements request the same stretch.
    fn walk(&self) -> Walk<'_> {
        const GOLDEN: f64 = 0.618_033_988_749_894_9;
        // Relaxed: nothing but the number itself is shared.
        let walk = self.walks.fetch_add(1, Ordering::Relaxed);
        let batches = self.keys.len() / BATCH;
        let batch = (batches as f64 * (walk as f64 * GOLDEN).fract()) as usize;
        Walk { keys: &self.keys, position: batch * BATCH }
    }
}

struct Walk<'a> {
    keys: &'a [u64],
    position: usize,
}

impl<'a> Walk<'a> {
    #[inline]
    fn next_batch(&mut self) -> &'a [u64] {
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
    use crate::contender::{QuickCache, SameHasher};

    #[test]
    fn walks_start_apart_and_wrap() {
        let sequence = Sequence::new((0..4 * BATCH as u64).collect());
        let mut first = sequence.walk();
        let second = sequence.walk();
        assert_ne!(first.position, second.position);
        let keys: Vec<u64> = (0..4).flat_map(|_| first.next_batch()).copied().collect();
        assert_eq!(keys, sequence.keys);
        assert_eq!(first.next_batch()[0], 0);
    }

    #[test]
    fn resident_workloads_hit_always() {
        let inputs = Inputs::default();
        for workload in
            [Workload::Get, Workload::Pin, Workload::Hot, Workload::HotArc, Workload::GetLoad]
        {
            let cache = QuickCache::<u64, _>::new(workload.capacity_entries(), SameHasher::new());
            workload.fill(&cache, &inputs);
            let rate = workload.measure(&cache, &inputs, 2, Duration::from_millis(5));
            assert_eq!(rate.hits, rate.operations, "{workload:?}");
        }
    }
}
