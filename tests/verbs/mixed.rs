//! All verbs mixed: against a plain map, and within the bounds.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use larder::{Cache, Compute, Computed, Inserted, Maintenance, Rejection};

use crate::ROOMY;
use crate::support::block_on;
use crate::support::configs::for_each_config;
use crate::support::rng::{Rng, seeds};

#[test]
fn bounds_hold_after_each_inline_call_and_after_run_pending() {
    for_each_config(|config| {
        const CAPACITY: usize = 64;
        let cache = config.cache::<u64, u64>(CAPACITY);
        let is_inline = config.maintenance == Maintenance::Inline;
        for key in 0..2_000 {
            cache.insert(key, key);
            if is_inline {
                assert!(cache.len() <= CAPACITY, "{} entries", cache.len());
                assert!(cache.weight() <= CAPACITY as u64 * config.entry_weight());
            }
        }
        cache.run_pending();
        assert!(cache.len() <= CAPACITY, "{} entries", cache.len());
        assert!(cache.weight() <= CAPACITY as u64 * config.entry_weight());
        assert_eq!(cache.weight(), cache.len() as u64 * config.entry_weight());
        assert_eq!(cache.iter().count(), cache.len());
        let stats = cache.stats();
        assert_eq!(stats.inserts - stats.evictions - stats.removals, cache.len() as u64);
        assert_eq!(stats.evicted_weight, stats.evictions * config.entry_weight());
        cache.validate();
    });
}

#[test]
fn a_new_entry_is_never_the_victim_of_its_own_insertion() {
    for_each_config(|config| {
        if config.maintenance == Maintenance::Background {
            return;
        }
        for capacity in [config.partitions, 8, 40] {
            let cache = config.cache::<u64, u64>(capacity);
            let mut rng = Rng::new(0x5eed);
            for step in 0..2_000_u64 {
                let key = rng.skewed_below(100);
                cache.insert(key, step);
                assert_eq!(cache.peek(&key), Some(step), "step {step}, capacity {capacity}");
                // Sometimes every present entry has been used, and used again.
                let rounds = if step % 50 == 0 { 4 } else { 0 };
                for _ in 0..rounds {
                    for key in 0..100 {
                        cache.get(&key);
                    }
                }
            }
        }
    });
}

#[test]
fn random_operations_agree_with_a_plain_map_where_nothing_is_evicted() {
    for seed in seeds(0x0b5e_55ed, 1) {
        for_each_config(|config| {
            let cache = config.cache::<u64, u64>(ROOMY);
            let mut map = HashMap::new();
            let mut rng = Rng::new(seed);
            for step in 0..2_000_u64 {
                random_step(&cache, &mut map, &mut rng, step, seed);
                if step % 64 == 0 {
                    assert_same(&cache, &map, seed);
                }
            }
            cache.run_pending();
            assert_same(&cache, &map, seed);
            assert_eq!(cache.weight(), map.len() as u64 * config.entry_weight());
            cache.validate();
        });
    }
}

/// One random operation on both. The cache must never evict.
fn random_step(
    cache: &Cache<u64, u64>,
    map: &mut HashMap<u64, u64>,
    rng: &mut Rng,
    step: u64,
    seed: u64,
) {
    let key = rng.below(200);
    let at = || format!("seed {seed}, step {step}, key {key}");
    match rng.below(100) {
        0..25 => {
            let expected =
                if map.insert(key, step).is_some() { Inserted::Replaced } else { Inserted::Added };
            assert_eq!(cache.insert(key, step), expected, "{}", at());
        }
        25..35 => {
            let expected = match map.entry(key) {
                Entry::Occupied(_) => Inserted::Rejected(Rejection::Present),
                Entry::Vacant(vacant) => {
                    vacant.insert(step);
                    Inserted::Added
                }
            };
            assert_eq!(cache.insert_if_absent(key, step), expected, "{}", at());
        }
        35..45 => {
            let expected = match map.get_mut(&key) {
                Some(value) => {
                    *value = step;
                    Inserted::Replaced
                }
                None => Inserted::Rejected(Rejection::Absent),
            };
            assert_eq!(cache.replace(key, step), expected, "{}", at());
        }
        45..60 => assert_eq!(cache.remove(&key), map.remove(&key), "{}", at()),
        60..65 => {
            let removes = map.get(&key).is_some_and(|value| value % 2 == 0);
            assert_eq!(cache.remove_if(&key, |_, value| value % 2 == 0), removes, "{}", at());
            if removes {
                map.remove(&key);
            }
        }
        65..70 => {
            let updated = map.get_mut(&key).map(|value| {
                *value += 3;
                *value
            });
            assert_eq!(cache.update(&key, |value| value + 3), updated, "{}", at());
        }
        70..75 => {
            let expected = *map.entry(key).and_modify(|value| *value += 1).or_insert(step);
            let modified = cache.entry(key).and_modify(|value| value + 1).or_insert(step);
            assert_eq!(modified, expected, "{}", at());
        }
        75..80 => {
            let expected = match (map.get(&key).copied(), rng.below(3)) {
                (None, 0) => Computed::Inserted(step),
                (None, _) => Computed::StillAbsent,
                (Some(_), 0) => Computed::Replaced(step),
                (Some(value), 1) => Computed::Unchanged(value),
                (Some(value), _) => Computed::Removed(value),
            };
            let answer = match expected {
                Computed::Inserted(value) | Computed::Replaced(value) => Compute::Put(value),
                Computed::Removed(_) => Compute::Remove,
                _ => Compute::Keep,
            };
            let computed = match rng.below(2) {
                0 => cache.entry(key).and_compute_with(|_| answer),
                _ => block_on(cache.entry(key).and_compute_with_async(async |_| answer)),
            };
            assert_eq!(computed, expected, "{}", at());
            match expected.into_value() {
                Some(value) => map.insert(key, value),
                None => map.remove(&key),
            };
        }
        80..97 => {
            let expected = map.get(&key).copied();
            assert_eq!(cache.get(&key), expected, "{}", at());
            assert_eq!(cache.peek(&key), expected, "{}", at());
            assert_eq!(cache.pin().get(&key).copied(), expected, "{}", at());
            assert_eq!(cache.contains_key(&key), expected.is_some(), "{}", at());
        }
        97..99 => {
            cache.retain(|key, value| (key + value) % 8 != 0);
            map.retain(|key, value| (*key + *value) % 8 != 0);
        }
        _ => {
            if rng.below(4) == 0 {
                cache.clear();
                map.clear();
            }
        }
    }
    assert_eq!(cache.len(), map.len(), "{}", at());
}

fn assert_same(cache: &Cache<u64, u64>, map: &HashMap<u64, u64>, seed: u64) {
    let mut seen: Vec<(u64, u64)> = cache.iter().collect();
    seen.sort_unstable();
    let mut expected: Vec<(u64, u64)> = map.iter().map(|(&key, &value)| (key, value)).collect();
    expected.sort_unstable();
    assert_eq!(seen, expected, "seed {seed}");
}

#[test]
fn a_value_present_under_eviction_was_written_last() {
    for seed in seeds(0x1a57, 1) {
        for_each_config(|config| {
            const CAPACITY: usize = 32;
            let cache = config.cache::<u64, u64>(CAPACITY);
            let mut written = HashMap::new();
            let mut rng = Rng::new(seed);
            for step in 0..4_000_u64 {
                let key = rng.skewed_below(128);
                match rng.below(10) {
                    0..4 => {
                        cache.insert(key, step);
                        written.insert(key, step);
                    }
                    4 => {
                        // A present key stays; the map may also hold keys that the cache has
                        // evicted.
                        if cache.insert_if_absent(key, step) == Inserted::Added {
                            written.insert(key, step);
                        }
                    }
                    5 => {
                        if cache.replace(key, step) == Inserted::Replaced {
                            written.insert(key, step);
                        }
                    }
                    6 => {
                        let removed = cache.remove(&key);
                        let last = written.remove(&key);
                        assert!(removed.is_none() || removed == last, "seed {seed}, step {step}");
                    }
                    _ => {
                        if let Some(value) = cache.get(&key) {
                            assert_eq!(
                                written.get(&key),
                                Some(&value),
                                "seed {seed}, step {step}, key {key}"
                            );
                        }
                    }
                }
            }
            cache.run_pending();
            assert!(cache.len() <= CAPACITY);
            for (key, value) in cache.iter() {
                assert_eq!(written.get(&key), Some(&value), "seed {seed}, key {key}");
            }
            cache.validate();
        });
    }
}
