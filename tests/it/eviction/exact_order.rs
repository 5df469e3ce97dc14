//! The eviction policies in exact order, with inline maintenance and one partition.

use larder::{Cache, Inserted, Maintenance, Policy};

use crate::support::configs::{POLICIES, policy_of};
use crate::support::driver::{Bounds, Op, Pair};
use crate::support::hashers::Identity;
use crate::support::inline_cache;
use crate::support::model::{Model, Order, Outcome};
use crate::support::rng::{Rng, seeds};
use crate::support::s3_fifo::S3Fifo;
use crate::support::sieve::Sieve;

const STEPS: u64 = 20_000;
const CAPACITIES: [usize; 6] = [1, 2, 3, 10, 100, 1_000];

/// The hash decides which keys a ghost remembers, so the hasher has no seed where two runs are
/// compared.
fn unseeded_cache(policy: Policy, capacity: usize) -> Cache<u64, u64, Identity> {
    Cache::<u64, u64>::builder()
        .policy(policy)
        .capacity(capacity)
        .maintenance(Maintenance::Inline)
        .partitions(1)
        .hasher(Identity)
        .build()
        .unwrap()
}

fn sorted_keys<S>(cache: &Cache<u64, u64, S>) -> Vec<u64> {
    let mut keys: Vec<u64> = cache.keys().collect();
    keys.sort_unstable();
    keys
}

fn agrees_with_the_model(order: Order, bounds: Bounds, keys: u64, heaviest: u64, seed: u64) {
    let mut pair = Pair::new(order, bounds, format!("seed {seed}"));
    let mut rng = Rng::new(seed);
    let interval = keys.max(64);
    for step in 0..STEPS {
        pair.apply(Op::random(&mut rng, keys, heaviest));
        if step % interval == 0 {
            pair.check_all();
        }
    }
    pair.check_all();
    pair.check_order_by_evicting_all();
    pair.cache.validate();
}

fn agrees_when_bound_by_entries(order: Order) {
    for seed in seeds(0xe47, 1) {
        for capacity in CAPACITIES {
            let bounds = Bounds { capacity: Some(capacity), max_weight: None };
            agrees_with_the_model(order, bounds, capacity as u64 * 2 + 3, 3, seed);
        }
    }
}

fn agrees_when_bound_by_weight(order: Order) {
    for seed in seeds(0x3e1, 1) {
        for capacity in [1, 10, 300_u64] {
            // On average a third of the keys fit, and in the smallest caches some keys never fit.
            let bounds = Bounds { capacity: None, max_weight: Some(capacity * 4) };
            agrees_with_the_model(order, bounds, capacity * 3 + 3, 8, seed);
        }
    }
}

fn agrees_when_bound_by_both(order: Order) {
    for seed in seeds(0xb07, 1) {
        for capacity in [2, 50_usize] {
            let bounds = Bounds { capacity: Some(capacity), max_weight: Some(capacity as u64 * 4) };
            agrees_with_the_model(order, bounds, capacity as u64 * 3, 9, seed);
        }
    }
}

#[test]
fn lru_bound_by_entries_agrees_with_the_model() {
    agrees_when_bound_by_entries(Order::Lru);
}

#[test]
fn lfu_bound_by_entries_agrees_with_the_model() {
    agrees_when_bound_by_entries(Order::Lfu);
}

#[test]
fn fifo_bound_by_entries_agrees_with_the_model() {
    agrees_when_bound_by_entries(Order::Fifo);
}

#[test]
fn lru_bound_by_weight_agrees_with_the_model() {
    agrees_when_bound_by_weight(Order::Lru);
}

#[test]
fn lfu_bound_by_weight_agrees_with_the_model() {
    agrees_when_bound_by_weight(Order::Lfu);
}

#[test]
fn fifo_bound_by_weight_agrees_with_the_model() {
    agrees_when_bound_by_weight(Order::Fifo);
}

#[test]
fn exact_policies_bound_by_both_agree_with_the_model() {
    for order in Order::ALL {
        agrees_when_bound_by_both(order);
    }
}

#[test]
fn lru_evicts_the_least_recently_used() {
    let cache = inline_cache(Policy::lru(), 3);
    for key in 1..=3 {
        cache.insert(key, key);
    }
    cache.get(&1);
    cache.insert(4, 4);
    assert_eq!(sorted_keys(&cache), [1, 3, 4]);
    cache.read(&3, |_| ());
    cache.insert(5, 5);
    assert_eq!(sorted_keys(&cache), [3, 4, 5]);
    cache.pin().get(&4);
    cache.insert(6, 6);
    assert_eq!(sorted_keys(&cache), [4, 5, 6]);
    cache.insert(4, 40);
    cache.replace(5, 50);
    cache.insert(7, 7);
    assert_eq!(sorted_keys(&cache), [4, 5, 7]);
}

#[test]
fn fifo_evicts_the_oldest_insertion_even_if_it_was_used() {
    let cache = inline_cache(Policy::fifo(), 3);
    for key in 1..=3 {
        cache.insert(key, key);
    }
    for _ in 0..10 {
        cache.get(&1);
    }
    cache.insert(1, 10);
    cache.replace(1, 100);
    cache.insert(4, 4);
    assert_eq!(sorted_keys(&cache), [2, 3, 4]);
    // A key that is removed and inserted again is new.
    cache.remove(&2);
    cache.insert(2, 2);
    cache.insert(5, 5);
    assert_eq!(sorted_keys(&cache), [2, 4, 5]);
}

#[test]
fn lfu_evicts_the_lowest_count_and_among_equals_the_least_recently_used() {
    let cache = inline_cache(Policy::lfu(), 3);
    for key in 1..=3 {
        cache.insert(key, key);
    }
    cache.get(&2);
    cache.get(&1);
    cache.get(&3);
    cache.get(&3);
    // 1 and 2 were used twice, 2 first.
    cache.insert(4, 4);
    assert_eq!(sorted_keys(&cache), [1, 3, 4]);
    // The new entry has the lowest count.
    cache.insert(5, 5);
    assert_eq!(sorted_keys(&cache), [1, 3, 5]);
    // An update counts as a use; a removal forgets the count.
    for value in 0..5 {
        cache.insert(5, value);
    }
    cache.remove(&3);
    cache.insert(3, 3);
    cache.insert(6, 6);
    assert_eq!(sorted_keys(&cache), [1, 5, 6]);
}

#[test]
fn lfu_counts_do_not_saturate() {
    for uses in [14, 15, 16, 127, 128, 255, 256, 32_768, 65_536_u64] {
        let cache = inline_cache(Policy::lfu(), 2);
        cache.insert(1, 1);
        cache.insert(2, 2);
        for _ in 0..=uses {
            cache.get(&1);
        }
        for _ in 0..uses {
            cache.get(&2);
        }
        cache.insert(3, 3);
        assert_eq!(sorted_keys(&cache), [1, 3], "used {uses} times and once more");
    }
}

#[test]
fn peeking_does_not_change_the_order() {
    for order in Order::ALL {
        let cache = inline_cache(policy_of(order), 2);
        cache.insert(1, 1);
        cache.insert(2, 2);
        for _ in 0..10 {
            let _ = cache.peek(&1);
            let _ = cache.contains_key(&1);
            let _ = cache.pin().peek(&1);
            let _ = cache.pin().contains_key(&1);
            assert_ne!(cache.insert_if_absent(1, 5), Inserted::Added);
            cache.remove_if(&1, |_, _| false);
            cache.retain(|_, _| true);
            cache.iter().count();
        }
        cache.insert(3, 3);
        assert_eq!(sorted_keys(&cache), [2, 3], "{order:?}");
    }
}

#[test]
fn a_long_series_of_hits_is_not_lost() {
    // More hits than any buffer holds, without a write that would drain them.
    for is_pinned in [false, true] {
        let cache = inline_cache(Policy::lru(), 5_000);
        for key in 0..5_000 {
            cache.insert(key, key);
        }
        let pinned = is_pinned.then(|| cache.pin());
        for key in (0..5_000).rev() {
            match &pinned {
                Some(pinned) => assert!(pinned.get(&key).is_some()),
                None => assert!(cache.get(&key).is_some()),
            }
        }
        drop(pinned);
        for fresh in 0..2_500 {
            cache.insert(10_000 + fresh, 0);
        }
        let expected: Vec<u64> = (0..2_500).chain(10_000..12_500).collect();
        assert_eq!(sorted_keys(&cache), expected, "pinned: {is_pinned}");
        assert_eq!(cache.stats().dropped_accesses, 0);
    }
}

#[test]
fn a_heavier_value_evicts_others_before_itself() {
    let build = |order| {
        Cache::<u64, u64>::builder()
            .policy(policy_of(order))
            .max_weight(10)
            .weigher(|_, value| *value as u32)
            .maintenance(Maintenance::Inline)
            .partitions(1)
            .build()
            .unwrap()
    };
    let lru = build(Order::Lru);
    for key in 1..=3 {
        lru.insert(key, 3);
    }
    assert_eq!(lru.insert(1, 6), Inserted::Replaced);
    assert_eq!((sorted_keys(&lru), lru.weight()), (vec![1, 3], 9));
    // FIFO does not move the updated entry, which would be the next to leave.
    let fifo = build(Order::Fifo);
    for key in 1..=3 {
        fifo.insert(key, 3);
    }
    assert_eq!(fifo.insert(1, 6), Inserted::Replaced);
    assert_eq!((sorted_keys(&fifo), fifo.weight()), (vec![1, 3], 9));
    fifo.insert(4, 3);
    assert_eq!(sorted_keys(&fifo), [3, 4], "it kept its place");
}

#[test]
fn named_policies_are_the_same_policies_in_any_case() {
    for named in POLICIES {
        for name in [named.name.to_lowercase(), named.name.to_uppercase()] {
            let cache = unseeded_cache(Policy::named(&name), 10);
            let same = unseeded_cache((named.make)(), 10);
            assert_eq!(cache.policy_name(), same.policy_name(), "{name}");
            let mut rng = Rng::new(1);
            for step in 0..1_000 {
                let key = rng.skewed_below(30);
                assert_eq!(cache.get(&key), same.get(&key), "{name}, step {step}");
                assert_eq!(cache.insert(key, step), same.insert(key, step), "{name}, step {step}");
            }
            assert_eq!(sorted_keys(&cache), sorted_keys(&same), "{name}");
        }
    }
}

#[test]
fn inline_maintenance_is_deterministic() {
    for named in POLICIES {
        let run = || {
            let cache = unseeded_cache((named.make)(), 50);
            let mut rng = Rng::new(9);
            let mut hits = Vec::new();
            for step in 0..5_000 {
                let key = rng.skewed_below(200);
                hits.push(cache.get(&key).is_some());
                if rng.below(3) == 0 {
                    cache.insert(key, step);
                }
            }
            (hits, sorted_keys(&cache))
        };
        assert!(run() == run(), "{} differs from run to run", named.name);
    }
}

#[test]
fn sieve_and_s3_fifo_keep_used_entries_through_a_scan() {
    for policy in [Policy::sieve, Policy::s3_fifo] {
        let cache = inline_cache(policy(), 100);
        for key in 0..50 {
            cache.insert(key, key);
        }
        for _ in 0..2 {
            for key in 0..50 {
                cache.get(&key);
            }
        }
        // The scan is shorter than the time after which a used entry would be visited twice.
        for key in 1_000..1_090 {
            cache.insert(key, key);
        }
        let present = (0..50).filter(|key| cache.contains_key(key)).count();
        assert_eq!(present, 50, "{}", cache.policy_name());
    }
}

/// Checks step by step that a cache with `policy` holds what a model of it holds. The same lookups,
/// insertions and removals are applied to `model`.
macro_rules! agrees_with_its_paper {
    ($policy:expr, $model:ty, $seed:expr) => {
        for seed in seeds($seed, 2) {
            for capacity in [1, 2, 3, 10, 25, 100] {
                let cache = inline_cache($policy, capacity);
                let mut model = <$model>::new(capacity);
                let mut rng = Rng::new(seed);
                for step in 0..20_000_u64 {
                    let key = rng.skewed_below(capacity as u64 * 3);
                    let at = || format!("seed {seed}, capacity {capacity}, step {step}, key {key}");
                    match rng.below(20) {
                        0..10 => assert_eq!(cache.get(&key).is_some(), model.get(key), "{}", at()),
                        10..19 => {
                            cache.insert(key, step);
                            model.insert(key);
                        }
                        _ => {
                            cache.remove(&key);
                            model.remove(key);
                        }
                    }
                    if step % 50 == 0 {
                        assert_eq!(sorted_keys(&cache), model.keys(), "{}", at());
                    }
                }
                cache.validate();
            }
        }
    };
}

#[test]
fn sieve_agrees_with_its_paper() {
    agrees_with_its_paper!(Policy::sieve(), Sieve, 0x51e);
}

#[test]
fn s3_fifo_agrees_with_its_paper() {
    agrees_with_its_paper!(Policy::s3_fifo(), S3Fifo, 0x53f);
}

/// The same as [`Model`], even simpler: one list, searched from end to end.
struct DullModel {
    order: Order,
    capacity: Option<usize>,
    max_weight: Option<u64>,
    now: u64,
    entries: Vec<DullEntry>,
}

struct DullEntry {
    key: u64,
    weight: u64,
    inserted: u64,
    used: u64,
    uses: u64,
}

impl DullModel {
    fn use_key(&mut self, key: u64) -> bool {
        self.now += 1;
        let now = self.now;
        let found = self.entries.iter_mut().find(|entry| entry.key == key);
        found.is_some_and(|entry| {
            entry.used = now;
            entry.uses += 1;
            true
        })
    }

    fn insert(&mut self, key: u64, weight: u64) -> Outcome {
        if self.max_weight.is_some_and(|limit| weight > limit) {
            self.entries.retain(|entry| entry.key != key);
            return Outcome::TooHeavy;
        }
        if self.use_key(key) {
            let entry = self.entries.iter_mut().find(|entry| entry.key == key).unwrap();
            entry.weight = weight;
            self.evict_until_fits(0, 0, Some(key));
            return Outcome::Replaced;
        }
        self.evict_until_fits(1, weight, None);
        let now = self.now;
        self.entries.push(DullEntry { key, weight, inserted: now, used: now, uses: 1 });
        Outcome::Added
    }

    fn evict_until_fits(&mut self, entries: usize, weight: u64, updated: Option<u64>) {
        loop {
            let total: u64 = self.entries.iter().map(|entry| entry.weight).sum();
            let fits = self.capacity.is_none_or(|limit| self.entries.len() + entries <= limit)
                && self.max_weight.is_none_or(|limit| total + weight <= limit);
            if fits {
                return;
            }
            let order = self.order;
            let victim = (0..self.entries.len())
                .min_by_key(|&at| {
                    let entry = &self.entries[at];
                    let rank = match order {
                        Order::Lru => (0, entry.used),
                        Order::Lfu => (entry.uses, entry.used),
                        Order::Fifo => (0, entry.inserted),
                    };
                    (Some(entry.key) == updated, rank)
                })
                .unwrap();
            self.entries.remove(victim);
        }
    }
}

#[test]
fn the_model_agrees_with_a_simpler_one() {
    for seed in seeds(0xd011, 1) {
        for order in Order::ALL {
            for (capacity, max_weight) in
                [(Some(1), None), (Some(20), None), (None, Some(40)), (Some(12), Some(50))]
            {
                let mut model = Model::new(order, capacity, max_weight);
                let mut dull =
                    DullModel { order, capacity, max_weight, now: 0, entries: Vec::new() };
                let mut rng = Rng::new(seed);
                for step in 0..10_000_u64 {
                    let key = rng.skewed_below(50);
                    let weight = if max_weight.is_some() { rng.below(9) } else { 1 };
                    match rng.below(20) {
                        0..8 => assert_eq!(model.get(key).is_some(), dull.use_key(key)),
                        8..18 => {
                            let outcome = model.insert(key, step, weight);
                            assert_eq!(outcome, dull.insert(key, weight), "seed {seed}");
                        }
                        _ => {
                            model.remove(key);
                            dull.entries.retain(|entry| entry.key != key);
                        }
                    }
                    let mut keys: Vec<u64> = dull.entries.iter().map(|entry| entry.key).collect();
                    keys.sort_unstable();
                    assert_eq!(model.keys(), keys, "seed {seed}, {order:?}, step {step}");
                    assert_eq!(model.keys_in_order().len(), keys.len());
                }
            }
        }
    }
}

#[test]
fn an_updated_entry_stays_whatever_its_new_weight() {
    for named in POLICIES {
        for max_weight in [10, 30, 300] {
            let cache = Cache::<u64, u64>::builder()
                .policy((named.make)())
                .max_weight(max_weight)
                .weigher(|_, value| *value as u32)
                .maintenance(Maintenance::Inline)
                .partitions(1)
                .build()
                .unwrap();
            for seed in seeds(0xb7, 3) {
                let mut rng = Rng::new(seed);
                for step in 0..3_000 {
                    let key = rng.skewed_below(20);
                    match rng.below(8) {
                        0..4 => drop(cache.get(&key)),
                        4 => drop(cache.remove(&key)),
                        5 if rng.below(10) == 0 => {
                            cache.insert_unevictable(key, rng.below(max_weight));
                        }
                        _ => {
                            let weight = 1 + rng.below(max_weight);
                            let outcome = cache.insert(key, weight);
                            if outcome == Inserted::Replaced {
                                let seen = cache.peek(&key);
                                let place = || format!("{}, {max_weight}", named.name);
                                assert_eq!(seen, Some(weight), "{}, step {step}", place());
                            }
                        }
                    }
                    let bounded = cache.entries().map(|entry| entry.key);
                    let bounded = bounded.filter(|key| cache.is_unevictable(key) == Some(false));
                    let weight: u64 = bounded.filter_map(|key| cache.peek(&key)).sum();
                    assert!(weight <= max_weight, "{}", named.name);
                }
                cache.validate();
                assert_eq!(cache.stats().maintenance_panics, 0, "{}", named.name);
            }
        }
    }
}
