//! The default policy, and the verbs that inspect its order: robustness, and bounds that change.

use larder::policy::{Policy, PolicyConfig, Simulator};
use larder::{Cache, Inserted, Maintenance, ResizeError};

use crate::support::configs::{POLICIES, for_each_config};
use crate::support::hashers::Identity;
use crate::support::inline_cache;
use crate::support::rng::{Rng, seeds};

/// Reads through the cache and returns whether it was a hit.
fn request<S: std::hash::BuildHasher>(cache: &Cache<u64, u64, S>, key: u64) -> bool {
    let is_hit = cache.get(&key).is_some();
    if !is_hit {
        cache.insert(key, key);
    }
    is_hit
}

#[test]
fn the_default_is_window_tiny_lfu() {
    assert_eq!(Policy::default().name(), "window_tiny_lfu");
    assert_eq!(Cache::<u64, u64>::new(10).policy_name(), "window_tiny_lfu");
}

#[test]
fn a_shift_of_popularity_is_followed_within_one_capacity_of_misses() {
    for capacity in [64_u64, 1_000, 5_000] {
        let cache = inline_cache(Policy::default(), capacity as usize);
        let mut rng = Rng::new(capacity);
        // For a long time half of the capacity is hot, and the policy has learned so.
        for _ in 0..capacity * 100 {
            request(&cache, rng.below(capacity / 2));
        }
        // Then other keys become hot, all at once.
        let mut misses = 0;
        while misses < capacity {
            misses += u64::from(!request(&cache, 1 << 32 | rng.below(capacity / 2)));
            if (0..capacity / 2).all(|key| cache.contains_key(&(1 << 32 | key))) {
                break;
            }
        }
        let present = (0..capacity / 2).filter(|key| cache.contains_key(&(1 << 32 | key))).count();
        assert_eq!(present as u64, capacity / 2, "capacity {capacity}, after {misses} misses");
        assert!(misses <= capacity);
    }
}

#[test]
fn a_rotation_of_the_key_space_does_not_lock_out_new_keys() {
    // Each generation of keys is as large as the cache and used often, then never used again.
    const CAPACITY: u64 = 500;
    let cache = inline_cache(Policy::default(), CAPACITY as usize);
    let mut rng = Rng::new(1);
    for generation in 0..20_u64 {
        let mut late_hits = 0;
        for step in 0..CAPACITY * 30 {
            let is_hit = request(&cache, generation << 32 | rng.below(CAPACITY * 9 / 10));
            late_hits += u64::from(is_hit && step >= CAPACITY * 15);
        }
        let ratio = late_hits as f64 / (CAPACITY * 15) as f64;
        assert!(ratio > 0.9, "generation {generation}: {ratio}");
    }
}

#[test]
fn keys_that_share_counters_with_hot_ones_are_still_admitted() {
    // An attacker who knows the hashes makes hot a set of keys whose hashes agree with each other
    // in all bits except a few high ones. New keys must still get in and be hit.
    const CAPACITY: u64 = 256;
    let cache: Cache<u64, u64, Identity> = Cache::<u64, u64>::builder()
        .capacity(CAPACITY as usize)
        .maintenance(Maintenance::Inline)
        .hasher(Identity)
        .build()
        .unwrap();
    for round in 0..200_u64 {
        for key in 0..CAPACITY {
            request(&cache, (round % 4) << 56 | key << 48);
        }
    }
    let mut rng = Rng::new(7);
    let mut hits = 0;
    for _ in 0..CAPACITY * 40 {
        hits += u64::from(request(&cache, rng.below(CAPACITY / 2) << 8 | 1));
    }
    let ratio = hits as f64 / (CAPACITY * 40) as f64;
    assert!(ratio > 0.9, "{ratio}");
}

#[test]
fn a_loop_just_above_the_capacity_keeps_most_of_its_hits() {
    let cache = inline_cache(Policy::default(), 1_000);
    let mut hits = 0;
    for step in 0..200_000_u64 {
        let is_hit = request(&cache, step % 1_100);
        hits += u64::from(is_hit && step >= 100_000);
    }
    // The optimum is 0.9, and LRU has 0.
    assert!(hits > 80_000, "{hits} of 100000");
}

#[test]
fn a_loop_of_entries_that_differ_in_weight_keeps_a_part_of_them() {
    // From 1 to 20, and one entry in fifty is a tenth of the bound.
    let weight = |key: u64| if key.is_multiple_of(50) { 1_000 } else { 1 + key % 20 };
    let all: u64 = (0..2_000).map(weight).sum();
    let cache = Cache::<u64, u64>::builder()
        .max_weight(10_000)
        .weigher(|_, weight| *weight as u32)
        .maintenance(Maintenance::Inline)
        .partitions(1)
        .build()
        .unwrap();
    let (mut hits, mut rounds) = (0, 0);
    for round in 0..60 {
        for key in 0..2_000 {
            let is_hit = cache.get(&key).is_some();
            if !is_hit {
                cache.insert(key, weight(key));
            }
            if round >= 30 {
                hits += if is_hit { weight(key) } else { 0 };
            }
        }
        rounds += u64::from(round >= 30);
    }
    // The best that is possible is the bound, and LRU has nothing.
    let ratio = hits as f64 / (all * rounds) as f64;
    let bound = 10_000.0 / all as f64;
    assert!(ratio > 0.4 * bound, "{ratio:.3} of the bytes are hits, of {bound:.3} that fit");
}

#[test]
fn one_entry_may_be_most_of_the_budget() {
    let cache = Cache::<u64, u64>::builder()
        .max_weight(100)
        .weigher(|_, weight| *weight as u32)
        .maintenance(Maintenance::Inline)
        .build()
        .unwrap();
    let mut rng = Rng::new(3);
    for step in 0..20_000_u64 {
        let weight = [1, 1, 2, 60, 100, 0][rng.below(6) as usize];
        let key = rng.below(300);
        if cache.insert(key, weight) == Inserted::Added {
            assert_eq!(cache.get(&key), Some(weight), "step {step}: the insertion was rejected");
        }
        assert!(cache.weight() <= 100);
        if step % 1_000 == 0 {
            cache.validate();
            let segments = cache.segments();
            let cost: u64 = segments.iter().map(|segment| segment.cost).sum();
            assert_eq!(cost, cache.weight());
            let entries: usize = segments.iter().map(|segment| segment.entries).sum();
            assert_eq!(entries, cache.len());
        }
    }
}

#[test]
fn its_counts_agree_with_its_contents_under_any_operations() {
    for seed in seeds(0x3157, 4) {
        let mut rng = Rng::new(seed);
        for bounds in [(Some(1), None), (Some(97), None), (None, Some(500)), (Some(40), Some(500))]
        {
            let (capacity, max_weight) = bounds;
            let mut builder = Cache::<u64, u64>::builder().maintenance(Maintenance::Inline);
            if let Some(capacity) = capacity {
                builder = builder.capacity(capacity);
            }
            if let Some(max_weight) = max_weight {
                builder = builder.max_weight(max_weight).weigher(|_, weight| *weight as u32);
            }
            let cache = builder.build().unwrap();
            for step in 0..5_000 {
                let key = rng.skewed_below(300);
                match rng.below(10) {
                    0..4 => drop(cache.get(&key)),
                    4..8 => drop(cache.insert(key, rng.below(40))),
                    8 => drop(cache.remove(&key)),
                    _ => match (capacity, max_weight) {
                        (Some(_), _) if rng.below(50) == 0 => {
                            cache.set_capacity(1 + rng.below(100) as usize).unwrap();
                        }
                        (_, Some(_)) if rng.below(50) == 0 => {
                            cache.set_max_weight(1 + rng.below(800)).unwrap();
                        }
                        _ => drop(cache.replace(key, rng.below(40))),
                    },
                }
                let entries: usize = cache.segments().iter().map(|part| part.entries).sum();
                assert_eq!(entries, cache.len(), "seed {seed}, {bounds:?}, step {step}");
                if let Some(capacity) = cache.capacity() {
                    assert!(cache.len() <= capacity, "seed {seed}, {bounds:?}, step {step}");
                }
                if let Some(max_weight) = cache.max_weight() {
                    assert!(cache.weight() <= max_weight, "seed {seed}, {bounds:?}, step {step}");
                }
            }
            cache.validate();
            assert_eq!(cache.stats().maintenance_panics, 0, "seed {seed}, {bounds:?}");
        }
    }
}

#[test]
fn capacity_changes_at_run_time_in_every_configuration() {
    for_each_config(|config| {
        if config.bound != crate::support::configs::Bound::Entries {
            return;
        }
        let cache: Cache<u64, u64> = config.cache(4_000);
        for key in 0..8_000 {
            cache.insert(key, key);
        }
        cache.set_capacity(100).unwrap();
        assert_eq!(cache.capacity(), Some(100));
        cache.run_pending();
        assert!(cache.len() <= 100, "{}: {}", config.policy.name, cache.len());
        cache.validate();
        cache.set_capacity(3_000).unwrap();
        for key in 0..8_000 {
            cache.insert(key, key);
        }
        cache.run_pending();
        let len = cache.len();
        assert!((2_000..=3_000).contains(&len), "{}: {len}", config.policy.name);
        cache.validate();
        assert_eq!(cache.stats().maintenance_panics, 0, "{}", config.policy.name);
        let fewest = cache.partitions() as u64 - 1;
        // A capacity of 0 switches the cache off.
        if fewest > 0 {
            let error = cache.set_capacity(fewest as usize).unwrap_err();
            let partitions = cache.partitions();
            assert_eq!(error, ResizeError::TooFew { given: fewest, partitions });
        }
        assert_eq!(cache.set_max_weight(5), Err(ResizeError::Unbounded));
    });
}

#[test]
fn a_capacity_that_changes_under_load_holds_in_the_end() {
    let cache = Cache::<u64, u64>::new(20_000);
    std::thread::scope(|scope| {
        for thread in 0..crate::support::stress_threads() as u64 {
            let cache = &cache;
            scope.spawn(move || {
                let mut rng = Rng::new(thread);
                for _ in 0..30_000 {
                    request(cache, rng.below(30_000));
                }
            });
        }
        for round in 0..20 {
            cache.set_capacity([200, 20_000, 5_000][round % 3]).unwrap();
        }
        cache.set_capacity(700).unwrap();
    });
    cache.run_pending();
    assert!(cache.len() <= 700, "{}", cache.len());
    assert_eq!(cache.stats().maintenance_panics, 0);
    cache.validate();
}

#[test]
fn hottest_and_coldest_name_the_ends_of_the_order() {
    for named in POLICIES {
        let cache = inline_cache((named.make)(), 100);
        for key in 0..100 {
            cache.insert(key, key);
        }
        for _ in 0..20 {
            for key in 90..100 {
                cache.get(&key);
            }
        }
        for key in 1_000..1_050 {
            request(&cache, key);
        }
        let (hottest, coldest) = (cache.hottest(5), cache.coldest(5));
        assert_eq!((hottest.len(), coldest.len()), (5, 5), "{}", named.name);
        for key in hottest.iter().chain(&coldest) {
            assert!(cache.contains_key(key), "{}: {key}", named.name);
        }
        if ["lru", "lfu", "fifo"].contains(&named.name) {
            let next = coldest[0];
            cache.insert(5_000, 0);
            assert!(!cache.contains_key(&next), "{}: {next} should have left next", named.name);
        }
        assert!(cache.hottest(1_000).len() <= 100);
        assert_eq!(cache.hottest(0), Vec::<u64>::new());
    }
}

#[test]
fn frequency_is_the_count_of_the_policy() {
    let lfu = inline_cache(Policy::lfu(), 10);
    lfu.insert(1, 1);
    for _ in 0..300 {
        lfu.get(&1);
    }
    lfu.run_pending();
    assert_eq!(lfu.frequency(&1), Some(301));
    assert_eq!(lfu.frequency(&2), None);
    let default = inline_cache(Policy::default(), 10);
    default.insert(1, 1);
    assert_eq!(default.frequency(&1), Some(1));
    default.get(&1);
    assert_eq!(default.frequency(&1), Some(2), "a mark counts");
}

#[test]
fn the_simulator_agrees_with_a_cache_about_the_default() {
    let simulated = |seed: u64| {
        let mut simulator =
            Simulator::new(&Policy::default(), PolicyConfig::new(Some(300), None)).unwrap();
        let mut rng = Rng::new(seed);
        let mut spread = Rng::new(5);
        let hashes: Vec<u64> = (0..1_000).map(|_| spread.next_u64()).collect();
        (0..50_000)
            .filter(|_| simulator.request(hashes[rng.skewed_below(1_000) as usize], 1))
            .count()
    };
    assert_eq!(simulated(1), simulated(1), "deterministic");
    assert!(simulated(1) > 20_000);
}
