//! What the threads of a comparison do: how a contender is filled, and what a batch is.
//!
//! Keys are generated beforehand (`inputs`), so a batch (`steps`) costs only the contender's work and
//! sequential loads of keys.

mod steps;
mod inputs;

use std::hint::black_box;
use std::time::Duration;

use clap::ValueEnum;

pub use self::inputs::{Inputs, RESIDENT, UNIVERSE};
use crate::contender::{CacheKey, Contender, Kind, Name, Types, Value};
use crate::keys::scramble;
use crate::measure::{self, BATCH, Done, Rate};
use crate::stopwatch::{Latencies, Observer, Stopwatch, Unobserved};

/// Keys that are resident in `Hot` and `HotArc`, which request one of them.
const HOT_RESIDENT: usize = 1_024;
// Scrambling modulo a power of two is a bijection, so a fill in scrambled order misses no key.
const _: () = assert!(RESIDENT.is_power_of_two() && HOT_RESIDENT.is_power_of_two());
/// Requests before a workload with misses is measured: ten times the capacity. Builds with debug
/// assertions use less, because they test only that the workload runs.
const READ_THROUGH_FILL: usize = if cfg!(debug_assertions) { UNIVERSE / 10 } else { UNIVERSE };

/// The workloads.
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
    /// The same keys and capacity: three gets, then an insert, whether the key is present or not.
    Mixed,
    /// The same as `Get`, by the contender's own verb for loading.
    GetLoad,
    /// The same as `ReadThrough`, by the contender's own verb for loading.
    Load,
    /// Inserts of new keys at a capacity of 131,072.
    Insert,
    /// Inserts of keys that are present: zipf 0.99 over 131,072 resident keys.
    Update,
    /// Removes a resident key and inserts it again; uniform over 131,072 keys.
    Churn,
    /// One thread visits all entries again and again; the others do `Update`.
    Iterate,
    /// The same as `Get` with `String` keys and `Arc<[u8]>` values of 64 bytes.
    StringGet,
    /// The same as `ReadThrough` with `String` keys and `Arc<[u8]>` values of 64 bytes.
    StringReadThrough,
}

/// What a rate is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Against {
    /// quick_cache.
    QuickCache,
    /// The fastest of the other caches that take part.
    BestPeer,
}

/// What the threads of a workload did.
#[derive(Clone, Copy, Debug)]
pub struct Throughput {
    /// The operations that the workload is about.
    pub rate: Rate,
    /// In `Iterate`, what the threads did that write; in `rate`, an operation is an entry there.
    pub writes: Option<Rate>,
}

impl Workload {
    /// All workloads, in the order of the report.
    pub const ALL: [Self; 14] = [
        Self::Get,
        Self::Pin,
        Self::Hot,
        Self::HotArc,
        Self::ReadThrough,
        Self::Mixed,
        Self::GetLoad,
        Self::Load,
        Self::Insert,
        Self::Update,
        Self::Churn,
        Self::Iterate,
        Self::StringGet,
        Self::StringReadThrough,
    ];

    /// The types of its keys and values.
    #[must_use]
    pub fn types(self) -> Types {
        match self {
            Self::HotArc => Types::Arcs,
            Self::StringGet | Self::StringReadThrough => Types::Strings,
            _ => Types::Numbers,
        }
    }

    /// The capacity that the contenders are built for.
    ///
    /// If nothing may be evicted, it is at least a quarter more than the inserted entries, because
    /// caches that split their capacity over shards fill some shards before others.
    #[must_use]
    pub fn capacity_entries(self) -> usize {
        match self {
            Self::Hot | Self::HotArc => 4 * HOT_RESIDENT,
            Self::Insert => RESIDENT,
            _ if self.evicts() => UNIVERSE / 10,
            _ => RESIDENT + RESIDENT / 4,
        }
    }

    /// Whether there are more keys than the capacity.
    fn evicts(self) -> bool {
        match self {
            Self::ReadThrough
            | Self::Mixed
            | Self::Load
            | Self::Insert
            | Self::StringReadThrough => true,
            Self::Get
            | Self::Pin
            | Self::Hot
            | Self::HotArc
            | Self::GetLoad
            | Self::Update
            | Self::Churn
            | Self::Iterate
            | Self::StringGet => false,
        }
    }

    /// Whether `name` can take part: a map has no bound.
    #[must_use]
    pub fn allows(self, name: Name) -> bool {
        name.kind() != Kind::Map || !self.evicts()
    }

    /// The goal on two cores, if there is one: the least ratio, and what it is relative to.
    #[must_use]
    pub fn goal(self) -> Option<(f64, Against)> {
        match self {
            Self::Get | Self::GetLoad | Self::Load => Some((1.0, Against::QuickCache)),
            Self::Pin => Some((2.0, Against::QuickCache)),
            Self::Hot | Self::HotArc => Some((1.5, Against::BestPeer)),
            Self::ReadThrough => Some((0.9, Against::QuickCache)),
            Self::Insert => Some((0.7, Against::QuickCache)),
            _ => None,
        }
    }

    /// Whether its operations are observed one by one. Those of `Pin` are not, because they share
    /// what a pin costs.
    #[must_use]
    pub fn has_latencies(self) -> bool {
        self != Self::Pin
    }

    /// Fills `contender` with the entries that the workload expects.
    pub fn fill<C: Contender>(self, contender: &C, inputs: &Inputs<C::Key>) {
        let resident = match self {
            Self::Hot | Self::HotArc => HOT_RESIDENT,
            Self::ReadThrough | Self::Mixed | Self::Load | Self::StringReadThrough => {
                let mut walk = inputs.read_through().walk();
                for _ in 0..READ_THROUGH_FILL / BATCH {
                    steps::read_through(contender, walk.next_batch(), &mut Unobserved);
                }
                0
            }
            _ => RESIDENT,
        };
        for step in 0..resident as u64 {
            // Inserted in scrambled order: the hottest keys have the smallest numbers, and would
            // otherwise be adjacent in contenders that store entries in the order of insertion.
            let number = scramble(step) % resident as u64;
            contender.insert(C::Key::new(scramble(number)), C::Value::new(number));
        }
        contender.run_pending();
    }

    /// Measures the rate of `threads` threads on a filled contender; `None` if it cannot take part,
    /// because it cannot iterate.
    pub fn measure<C: Contender>(
        self,
        contender: &C,
        inputs: &Inputs<C::Key>,
        threads: usize,
        duration: Duration,
    ) -> Option<Throughput> {
        if self == Self::Iterate {
            contender.iterate()?;
        }
        let measured = self.run::<C, Unobserved>(contender, inputs, threads, duration);
        let rates: Vec<Rate> = measured.into_iter().map(|(rate, Unobserved)| rate).collect();
        Some(match (self, &*rates) {
            (Self::Iterate, [walk, writes @ ..]) => {
                let writes = (!writes.is_empty()).then(|| writes.iter().sum());
                Throughput { rate: *walk, writes }
            }
            (_, all) => Throughput { rate: all.iter().sum(), writes: None },
        })
    }

    /// Records how long each operation of `threads` threads takes.
    pub fn time<C: Contender>(
        self,
        contender: &C,
        inputs: &Inputs<C::Key>,
        threads: usize,
        duration: Duration,
    ) -> Latencies {
        let mut sum = Latencies::default();
        for (_, stopwatch) in self.run::<C, Stopwatch>(contender, inputs, threads, duration) {
            sum.add(&stopwatch.into_latencies());
        }
        sum
    }

    /// Runs the batches. The types of the contender decide at compile time which workloads there
    /// are for it, because most time of a build goes into their loops.
    fn run<C: Contender, O: Observer>(
        self,
        contender: &C,
        inputs: &Inputs<C::Key>,
        threads: usize,
        duration: Duration,
    ) -> Vec<(Rate, O)> {
        assert_eq!(self.types(), C::Value::TYPES, "{self:?} is for other types");
        if const { matches!(<C::Value as Value>::TYPES, Types::Arcs) } {
            Self::run_hot_arc(contender, threads, duration)
        } else if const { matches!(<C::Value as Value>::TYPES, Types::Strings) } {
            self.run_strings(contender, inputs, threads, duration)
        } else {
            self.run_numbers(contender, inputs, threads, duration)
        }
    }

    fn run_hot_arc<C: Contender, O: Observer>(
        contender: &C,
        threads: usize,
        duration: Duration,
    ) -> Vec<(Rate, O)> {
        measure_each(threads, duration, |_| {
            let key = C::Key::new(scramble(0));
            move |watch: &mut O| steps::repeat(watch, || contender.read(black_box(&key)))
        })
    }

    fn run_strings<C: Contender, O: Observer>(
        self,
        contender: &C,
        inputs: &Inputs<C::Key>,
        threads: usize,
        duration: Duration,
    ) -> Vec<(Rate, O)> {
        match self {
            Self::StringGet => measure_each(threads, duration, |_| {
                let mut walk = inputs.get().walk();
                move |watch: &mut O| steps::get(contender, walk.next_batch(), watch)
            }),
            _ => measure_each(threads, duration, |_| {
                let mut walk = inputs.read_through().walk();
                move |watch: &mut O| steps::read_through(contender, walk.next_batch(), watch)
            }),
        }
    }

    fn run_numbers<C: Contender, O: Observer>(
        self,
        contender: &C,
        inputs: &Inputs<C::Key>,
        threads: usize,
        duration: Duration,
    ) -> Vec<(Rate, O)> {
        match self {
            Self::Get => measure_each(threads, duration, |_| {
                let mut walk = inputs.get().walk();
                move |watch: &mut O| steps::get(contender, walk.next_batch(), watch)
            }),
            Self::Pin => measure_each(threads, duration, |_| {
                let mut walk = inputs.get().walk();
                move |_: &mut O| Done::lookups(contender.get_all(walk.next_batch()))
            }),
            Self::Hot => measure_each(threads, duration, |_| {
                let key = C::Key::new(scramble(0));
                move |watch: &mut O| {
                    let get = || contender.get(black_box(&key)).map(|value| value.number());
                    steps::repeat(watch, get)
                }
            }),
            Self::ReadThrough => measure_each(threads, duration, |_| {
                let mut walk = inputs.read_through().walk();
                move |watch: &mut O| steps::read_through(contender, walk.next_batch(), watch)
            }),
            Self::Mixed => measure_each(threads, duration, |_| {
                let mut walk = inputs.read_through().walk();
                move |watch: &mut O| steps::mixed(contender, walk.next_batch(), watch)
            }),
            Self::GetLoad | Self::Load => measure_each(threads, duration, |_| {
                let keys = if self == Self::Load { inputs.read_through() } else { inputs.get() };
                let mut walk = keys.walk();
                move |watch: &mut O| steps::load(contender, walk.next_batch(), watch)
            }),
            Self::Insert => measure_each(threads, duration, |_| {
                let mut first = inputs.new_numbers();
                move |watch: &mut O| {
                    let done = steps::insert(contender, first, watch);
                    first += BATCH as u64;
                    done
                }
            }),
            Self::Update => measure_each(threads, duration, |_| {
                let mut walk = inputs.get().walk();
                move |watch: &mut O| steps::update(contender, walk.next_batch(), watch)
            }),
            Self::Churn => measure_each(threads, duration, |_| {
                let mut walk = inputs.uniform().walk();
                move |watch: &mut O| steps::churn(contender, walk.next_batch(), watch)
            }),
            Self::Iterate => measure_each(threads, duration, |index| {
                let mut walk = inputs.get().walk();
                move |watch: &mut O| match index {
                    0 => steps::walk(contender, watch),
                    _ => steps::update(contender, walk.next_batch(), watch),
                }
            }),
            Self::HotArc | Self::StringGet | Self::StringReadThrough => {
                unreachable!("{self:?} is for other types, as `run` has checked")
            }
        }
    }
}

/// Measures after a fifth of `duration` as warm-up.
fn measure_each<O: Observer, B: FnMut(&mut O) -> Done>(
    threads: usize,
    duration: Duration,
    worker: impl Fn(usize) -> B + Sync,
) -> Vec<(Rate, O)> {
    measure::measure_each(threads, duration / 5, duration, worker)
}

/// Looks up each of `keys` by itself and returns how many were found.
#[inline]
pub fn get_each<C: Contender>(contender: &C, keys: &[C::Key]) -> u64 {
    steps::get(contender, keys, &mut Unobserved).hits
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::contender::{QuickCache, SameHasher};
    use crate::stopwatch::Verb;

    const SHORT: Duration = Duration::from_millis(5);

    /// A contender that has no verb for iteration and keeps nothing.
    struct Empty;

    impl Contender for Empty {
        type Key = u64;
        type Value = u64;

        fn get(&self, _: &u64) -> Option<u64> {
            None
        }

        fn insert(&self, _: u64, _: u64) {}

        fn remove(&self, _: &u64) {}

        fn entries(&self) -> Option<usize> {
            Some(0)
        }
    }

    fn quick<K: CacheKey, V: Value>(workload: Workload) -> QuickCache<K, V, SameHasher> {
        QuickCache::new(workload.capacity_entries(), SameHasher::new())
    }

    fn hits_always<K: CacheKey, V: Value>(workload: Workload) {
        let inputs = Inputs::default();
        let cache = quick::<K, V>(workload);
        workload.fill(&cache, &inputs);
        let rate = workload.measure(&cache, &inputs, 2, SHORT).expect("it is not `Iterate`").rate;
        assert!(rate.lookups > 0);
        assert_eq!(rate.hits, rate.lookups, "{workload:?}");
    }

    #[test]
    fn resident_workloads_hit_always() {
        for workload in [Workload::Get, Workload::Pin, Workload::Hot, Workload::GetLoad] {
            hits_always::<u64, u64>(workload);
        }
        hits_always::<u64, Arc<u64>>(Workload::HotArc);
        hits_always::<String, Arc<[u8]>>(Workload::StringGet);
    }

    #[test]
    fn workloads_with_misses_hit_sometimes() {
        let inputs = Inputs::default();
        for workload in [Workload::ReadThrough, Workload::Mixed, Workload::Load] {
            let cache = quick::<u64, u64>(workload);
            workload.fill(&cache, &inputs);
            let rate = workload.measure(&cache, &inputs, 2, SHORT).expect("as above").rate;
            assert!(0 < rate.hits && rate.hits < rate.lookups, "{workload:?}");
        }
    }

    #[test]
    fn writes_leave_the_resident_keys_as_many() {
        let inputs = Inputs::default();
        for workload in [Workload::Update, Workload::Churn, Workload::Iterate] {
            let cache = quick::<u64, u64>(workload);
            workload.fill(&cache, &inputs);
            let done = workload.measure(&cache, &inputs, 1, SHORT).expect("it can iterate");
            assert!(done.rate.operations > 0);
            assert_eq!(done.rate.lookups, 0);
            assert_eq!(cache.entries(), Some(RESIDENT), "{workload:?}");
        }
    }

    #[test]
    fn iteration_needs_a_contender_that_can() {
        let inputs = Inputs::default();
        assert!(Workload::Iterate.measure(&Empty, &inputs, 2, SHORT).is_none());
        let cache = quick::<u64, u64>(Workload::Iterate);
        Workload::Iterate.fill(&cache, &inputs);
        let done = Workload::Iterate.measure(&cache, &inputs, 2, SHORT).expect("it can");
        assert!(done.rate.operations >= RESIDENT as u64);
        assert!(done.writes.is_some_and(|writes| writes.operations >= BATCH as u64));
    }

    #[test]
    fn every_operation_is_timed_under_its_kind() {
        let inputs = Inputs::default();
        for (workload, kinds) in [
            (Workload::Get, &[Verb::Get][..]),
            (Workload::Pin, &[]),
            (Workload::ReadThrough, &[Verb::Get, Verb::Insert]),
            (Workload::Mixed, &[Verb::Get, Verb::Insert]),
            (Workload::GetLoad, &[Verb::Load]),
            (Workload::Insert, &[Verb::Insert]),
            (Workload::Churn, &[Verb::Insert, Verb::Remove]),
            (Workload::Iterate, &[Verb::Insert, Verb::Walk]),
        ] {
            let cache = quick::<u64, u64>(workload);
            workload.fill(&cache, &inputs);
            let latencies = workload.time(&cache, &inputs, 2, SHORT);
            let timed = |kind: &Verb| latencies.percentiles(*kind).is_some();
            let found: Vec<Verb> = Verb::ALL.into_iter().filter(timed).collect();
            assert_eq!(found, kinds, "{workload:?}");
        }
    }
}
