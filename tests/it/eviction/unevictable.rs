//! Entries that are never evicted, under every policy.

use std::collections::HashSet;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use larder::test::FakeClock;
use larder::{Builder, Cache, InsertOptions, Inserted, Maintenance, Policy};

use crate::support::configs::POLICIES;
use crate::support::rng::{Rng, seeds};

fn inline(policy: Policy) -> Builder<u64, u64> {
    Cache::<u64, u64>::builder().policy(policy).maintenance(Maintenance::Inline).partitions(1)
}

#[test]
fn stay_while_others_come_and_go_and_take_no_room_from_them() {
    for policy in POLICIES {
        for capacity in [1, 2, 10, 100] {
            let cache = inline((policy.make)()).capacity(capacity).build().unwrap();
            // More unevictable entries than the capacity, among other entries.
            for key in 0..500 {
                assert_eq!(cache.insert_unevictable(key, key), Inserted::Added);
                cache.insert(10_000 + key, 0);
            }
            for key in 20_000..25_000 {
                cache.insert(key, key);
                cache.get(&(key % 700));
            }
            cache.validate();
            let name = policy.name;
            assert_eq!(cache.len(), 500 + capacity, "{name} at {capacity}");
            assert!((0..500).all(|key| cache.get(&key) == Some(key)), "{name} at {capacity}");
            assert_eq!(cache.is_unevictable(&7), Some(true), "{name}");
            assert_eq!(cache.is_unevictable(&9_999), None, "{name}");
            for named in [cache.hottest(1_000), cache.coldest(1_000)] {
                assert!(
                    named.iter().all(|entry| *entry >= 500),
                    "{name} ranks an unevictable entry"
                );
            }
        }
    }
}

#[test]
fn each_insertion_decides_anew_whether_the_entry_is_evicted() {
    for policy in POLICIES {
        let cache = inline((policy.make)()).capacity(10).build().unwrap();
        cache.insert(1, 1);
        assert_eq!(cache.is_unevictable(&1), Some(false));
        assert_eq!(cache.insert_unevictable(1, 2), Inserted::Replaced);
        assert_eq!(cache.is_unevictable(&1), Some(true));
        cache.validate();
        (100..1_000).for_each(|key| {
            cache.insert(key, key);
        });
        assert_eq!(cache.get(&1), Some(2), "{}", policy.name);
        assert_eq!(cache.len(), 11);
        // It is evictable again, so one of eleven entries has to leave.
        assert_eq!(cache.insert(1, 3), Inserted::Replaced);
        cache.validate();
        assert_eq!(cache.len(), 10, "{}", policy.name);
        for key in 1_000..20_000 {
            cache.insert(key, key);
            cache.get(&key);
        }
        assert_eq!(cache.peek(&1), None, "{} keeps an entry that is evictable again", policy.name);
        cache.insert_unevictable(2, 2);
        assert_eq!(cache.remove(&2), Some(2));
        cache.validate();
        assert_eq!(cache.len(), 10);
        cache.insert_unevictable(2, 2);
        cache.clear();
        cache.validate();
        assert!(cache.is_empty());
    }
}

#[test]
fn count_in_the_weight_but_not_against_the_bounds_even_when_these_change() {
    for policy in POLICIES {
        let cache = inline((policy.make)())
            .capacity(1_000)
            .max_weight(100)
            .weigher(|_, value| u32::try_from(*value).unwrap())
            .build()
            .unwrap();
        (0..50).for_each(|key| {
            cache.insert_unevictable(key, 10);
        });
        (100..200).for_each(|key| {
            cache.insert(key, 5);
        });
        cache.validate();
        assert_eq!(cache.weight(), 500 + 100, "{}", policy.name);
        cache.set_max_weight(50).unwrap();
        cache.set_capacity(5).unwrap();
        cache.flush();
        cache.validate();
        assert_eq!((cache.len(), cache.weight()), (55, 525), "{}", policy.name);
        assert!((0..50).all(|key| cache.get(&key) == Some(10)));
        // Entries without weight are evicted like all others.
        (300..400).for_each(|key| {
            cache.insert(key, 0);
        });
        cache.validate();
        assert_eq!(cache.len(), 55, "{}", policy.name);
    }
}

#[test]
fn expire_like_all_others() {
    for policy in POLICIES {
        let clock = FakeClock::new();
        let cache = inline((policy.make)()).capacity(4).clock(clock.clone()).build().unwrap();
        cache.insert_with(1, 1, InsertOptions::new().unevictable().ttl(Duration::from_secs(10)));
        cache.insert_unevictable(2, 2);
        (10..100).for_each(|key| {
            cache.insert(key, key);
        });
        assert_eq!(cache.get(&1), Some(1));
        clock.advance(Duration::from_secs(20));
        assert_eq!(cache.get(&1), None);
        cache.flush();
        cache.validate();
        assert_eq!(cache.len(), 5, "{}", policy.name);
        assert_eq!(cache.get(&2), Some(2));
    }
}

#[test]
fn random_calls_never_lose_one() {
    for policy in POLICIES {
        for seed in seeds(0x9_1e7e, 2) {
            let mut rng = Rng::new(seed);
            let cache = inline((policy.make)()).capacity(20).build().unwrap();
            let mut unevictable = HashSet::new();
            for step in 0..10_000 {
                let key = rng.skewed_below(60);
                match rng.below(8) {
                    0 => {
                        cache.insert_unevictable(key, step);
                        unevictable.insert(key);
                    }
                    1 => {
                        cache.insert(key, step);
                        unevictable.remove(&key);
                    }
                    2 => {
                        let was_there = cache.remove(&key).is_some();
                        assert!(
                            was_there || !unevictable.contains(&key),
                            "{} seed {seed}",
                            policy.name
                        );
                        unevictable.remove(&key);
                    }
                    3 if cache.replace(key, step) == Inserted::Replaced => {
                        unevictable.remove(&key);
                    }
                    4 => {
                        cache.insert_if_absent(key, step);
                    }
                    5 => {
                        cache.set_capacity(1 + usize::try_from(rng.below(30)).unwrap()).unwrap();
                    }
                    _ => drop(cache.get(&key)),
                }
                if step % 100 == 0 {
                    cache.flush();
                    cache.validate();
                    let lost =
                        unevictable.iter().find(|key| cache.is_unevictable(*key) != Some(true));
                    assert_eq!(lost, None, "{} seed {seed} step {step}", policy.name);
                    assert!(cache.len() <= unevictable.len() + cache.capacity().unwrap());
                }
            }
        }
    }
}

#[test]
fn counts_stay_right_under_races_with_replacement_removal_and_eviction() {
    const THREADS: u64 = 4;
    const UNEVICTABLE: u64 = 64;
    for policy in POLICIES {
        let cache = Cache::<u64, u64>::builder()
            .policy((policy.make)())
            .capacity(100)
            .partitions(2)
            .build()
            .unwrap();
        // These keys are only read.
        (0..UNEVICTABLE).for_each(|key| {
            cache.insert_unevictable(key, key);
        });
        let barrier = Barrier::new(THREADS as usize);
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let (cache, barrier) = (&cache, &barrier);
                scope.spawn(move || {
                    let mut rng = Rng::new(0xface + thread);
                    barrier.wait();
                    for step in 0..8_000 {
                        // All threads make these keys evictable, make them unevictable or remove
                        // them.
                        let key = UNEVICTABLE + rng.below(200);
                        match rng.below(6) {
                            0 => {
                                cache.insert_unevictable(key, step);
                            }
                            1 | 2 => {
                                cache.insert(key, step);
                            }
                            3 => drop(cache.remove(&key)),
                            4 => {
                                cache.insert(1_000 + rng.below(100_000), step);
                            }
                            _ => {
                                let key = rng.below(UNEVICTABLE);
                                assert_eq!(cache.get(&key), Some(key), "evicted");
                            }
                        }
                    }
                });
            }
        });
        cache.flush();
        cache.validate();
        let contended =
            (UNEVICTABLE..UNEVICTABLE + 200).filter(|key| cache.is_unevictable(key) == Some(true));
        let unevictable = UNEVICTABLE as usize + contended.count();
        assert!(
            cache.len() <= unevictable + 100,
            "{}: {} and {unevictable} unevictable",
            policy.name,
            cache.len()
        );
        assert_eq!(cache.stats().maintenance_panics, 0, "{}", policy.name);
    }
}
