//! Entries that are heavier than their partition's share borrow weight from the other partitions.

use std::hash::{Hash, Hasher};
use std::sync::{Arc, OnceLock, RwLock};
use std::time::Duration;

use larder::{Cache, InsertOptions, Inserted, Maintenance, Policy, Rejection};

use crate::support::configs::POLICIES;
use crate::support::flush;
use crate::support::rng::{Rng, seeds};
use crate::support::stress_threads;

/// A cache that is bounded by weight alone. The value of an entry is its weight.
fn weighed(
    policy: Policy,
    max_weight: u64,
    partitions: usize,
    maintenance: Maintenance,
) -> Cache<u64, u64> {
    Cache::<u64, u64>::builder()
        .max_weight(max_weight)
        .weigher(|_, value| u32::try_from(*value).unwrap_or(u32::MAX))
        .policy(policy)
        .maintenance(maintenance)
        .partitions(partitions)
        .build()
        .unwrap()
}

const BOTH_MODES: [Maintenance; 2] = [Maintenance::Inline, Maintenance::Background];

#[test]
fn an_entry_heavier_than_a_share_is_stored_up_to_the_whole_bound() {
    for named in POLICIES {
        for maintenance in BOTH_MODES {
            for partitions in [1, 4, 64] {
                let cache = weighed((named.make)(), 64, partitions, maintenance);
                let place = format!("{}, {maintenance:?}, {partitions}", named.name);
                for (key, weight) in [(0, 20), (1, 64), (2, 63), (3, 1), (4, 33)] {
                    assert_eq!(cache.insert(key, weight), Inserted::Added, "{place}");
                    cache.run_pending();
                    assert_eq!(cache.get(&key), Some(weight), "{place}: it left at once");
                    assert!(cache.weight() <= 64, "{place}: {}", cache.weight());
                    cache.validate();
                }
                // An entry that is alone in the cache certainly fits.
                for weight in [2, 17, 32, 64] {
                    cache.clear();
                    cache.run_pending();
                    cache.insert(5, weight);
                    cache.run_pending();
                    assert_eq!(cache.get(&5), Some(weight), "{place}");
                    assert_eq!(cache.insert(5, weight), Inserted::Replaced, "{place}");
                    cache.run_pending();
                    assert_eq!(cache.get(&5), Some(weight), "{place}");
                    cache.validate();
                }
                let too_heavy = Inserted::Rejected(Rejection::TooHeavy { weight: 65, limit: 64 });
                assert_eq!(cache.insert(6, 65), too_heavy, "{place}");
                assert_eq!(cache.insert(5, 65), too_heavy, "{place}");
                assert_eq!(cache.get(&5), None, "{place}");
                assert_eq!(cache.stats().maintenance_panics, 0, "{place}");
                cache.validate();
            }
        }
    }
}

/// Stores a value of weight 60 under key 1.
type Way = fn(&Cache<u64, u64>) -> Inserted;

#[test]
fn every_way_to_store_accepts_an_entry_heavier_than_a_share() {
    for maintenance in BOTH_MODES {
        let build = || weighed(Policy::lru(), 80, 8, maintenance);
        let ways: [Way; 13] = [
            |cache| cache.insert(1, 60),
            |cache| cache.insert_with_ttl(1, 60, Duration::from_secs(3600)),
            |cache| cache.insert_if_absent(1, 60),
            |cache| cache.insert_with_tags(1, 60, ["tag"]),
            |cache| cache.insert_unevictable(1, 60),
            |cache| {
                cache.insert(1, 2);
                cache.insert(1, 60)
            },
            |cache| {
                cache.insert(1, 2);
                cache.replace(1, 60)
            },
            |cache| cache.insert_with(1, 60, InsertOptions::new().tags(&["tag"])),
            |cache| cache.insert_if_absent_with(1, 60, InsertOptions::new().tags(&["tag"])),
            |cache| {
                cache.insert(1, 2);
                cache.replace_with(1, 60, InsertOptions::new().unevictable())
            },
            |cache| cache.swap(1, 60).map_or_else(Inserted::Rejected, |_| Inserted::Added),
            |cache| {
                cache.insert(1, 2);
                let options = InsertOptions::new().tags(&["tag"]);
                let old = cache.insert_and_read(1, 60, options, |_, old| *old);
                assert_eq!(old, Ok(Some(2)));
                Inserted::Replaced
            },
            |cache| cache.complete_fill(cache.begin_fill(&1), 60),
        ];
        for (at, way) in ways.iter().enumerate() {
            let cache = build();
            assert!(way(&cache).is_stored(), "way {at}, {maintenance:?}");
            cache.run_pending();
            assert_eq!(cache.get(&1), Some(60), "way {at}, {maintenance:?}");
            cache.validate();
            // An entry that was not stored leaves no loan behind.
            assert_eq!(cache.insert_if_absent(1, 50), Inserted::Rejected(Rejection::Present));
            assert_eq!(cache.replace(2, 50), Inserted::Rejected(Rejection::Absent));
            cache.validate();
            cache.remove(&1);
            cache.validate();
            assert_eq!(cache.weight(), 0);
        }
    }
}

#[test]
fn the_weight_of_a_heavy_entry_returns_to_all_partitions_when_it_leaves() {
    for named in POLICIES {
        let cache = weighed((named.make)(), 8_000, 8, Maintenance::Inline);
        let fill = |from: u64| {
            for key in from..from + 30_000 {
                cache.insert(key, 1);
            }
            cache.weight()
        };
        assert_eq!(fill(0), 8_000, "{}", named.name);
        cache.insert(1 << 40, 5_000);
        cache.validate();
        // It is the only heavy entry, so whether it stays is up to the policy.
        cache.remove(&(1 << 40));
        cache.validate();
        assert!(cache.weight() <= 3_001, "{}: {}", named.name, cache.weight());
        assert_eq!(fill(1 << 20), 8_000, "{}", named.name);
        cache.validate();
    }
}

#[test]
fn a_heavy_value_that_is_replaced_by_a_heavy_one_is_never_absent() {
    for named in POLICIES {
        for maintenance in BOTH_MODES {
            let cache = weighed((named.make)(), 64, 4, maintenance);
            assert_eq!(cache.insert(1, 40), Inserted::Added);
            for weight in [40, 64, 30, 50, 64, 64, 17, 33] {
                assert_eq!(cache.insert(1, weight), Inserted::Replaced, "{}", named.name);
                assert_eq!(cache.get(&1), Some(weight), "{}", named.name);
            }
            let stats = cache.stats();
            assert_eq!((stats.evictions, stats.replacements), (0, 8), "{}", named.name);
            cache.validate();
        }
    }
}

#[test]
fn weight_stays_within_the_bound_whatever_is_lent() {
    for named in POLICIES {
        for (partitions, with_capacity) in [(2, false), (8, false), (8, true), (64, false)] {
            let mut builder = Cache::<u64, u64>::builder()
                .max_weight(640)
                .weigher(|_, value| *value as u32)
                .policy((named.make)())
                .maintenance(Maintenance::Inline)
                .partitions(partitions);
            if with_capacity {
                builder = builder.capacity(40);
            }
            let cache = builder.build().unwrap();
            for seed in seeds(0xb4, 2) {
                let mut rng = Rng::new(seed);
                for step in 0..2_000 {
                    let place = || format!("{}, {partitions}, seed {seed}, {step}", named.name);
                    let key = rng.below(200);
                    // Weights up to the bound and a little above it, mostly light ones.
                    let most = [3, 12, 120, 700][rng.below(4) as usize];
                    let weight = rng.below(most);
                    match rng.below(14) {
                        0..3 => drop(cache.get(&key)),
                        3 => drop(cache.remove(&key)),
                        4 => drop(cache.replace(key, weight)),
                        5 => drop(cache.insert_if_absent(key, weight)),
                        6 if rng.below(20) == 0 => {
                            let bound = partitions as u64 + rng.below(900);
                            cache.set_max_weight(bound).unwrap();
                        }
                        7 if rng.below(50) == 0 => cache.clear(),
                        _ => {
                            let bound = cache.max_weight().unwrap();
                            let stored = cache.insert(key, weight).is_stored();
                            assert_eq!(stored, weight <= bound, "{}", place());
                        }
                    }
                    assert!(cache.weight() <= cache.max_weight().unwrap(), "{}", place());
                    if with_capacity {
                        assert!(cache.len() <= 40, "{}", place());
                    }
                    if step % 500 == 0 {
                        cache.validate();
                    }
                }
                cache.validate();
                assert_eq!(cache.stats().maintenance_panics, 0, "{}", named.name);
            }
        }
    }
}

#[test]
fn weight_stays_within_the_bound_while_threads_borrow_from_each_other() {
    for maintenance in BOTH_MODES {
        for named in POLICIES {
            let cache = weighed((named.make)(), 1_000, 8, maintenance);
            // The weight is a sum that is read word by word, so it is exact only while no call is under way.
            let calls = RwLock::new(());
            std::thread::scope(|scope| {
                for thread in 0..stress_threads() as u64 {
                    let (cache, calls) = (&cache, &calls);
                    scope.spawn(move || {
                        let mut rng = Rng::new(thread);
                        for step in 0..2_000 {
                            let key = rng.below(60);
                            let most = [10, 10, 400, 1_001][rng.below(4) as usize];
                            let call = calls.read().unwrap();
                            match rng.below(20) {
                                0 => drop(cache.remove(&key)),
                                // Bounds that never exceed the one that is checked.
                                1 if thread == 0 => {
                                    cache.set_max_weight(400 + rng.below(600)).unwrap();
                                }
                                _ => drop(cache.insert(key, rng.below(most))),
                            }
                            drop(call);
                            if maintenance == Maintenance::Inline && step % 10 == 0 {
                                let _no_call = calls.write().unwrap();
                                assert!(cache.weight() <= 1_000, "{}", named.name);
                            }
                        }
                    });
                }
            });
            cache.run_pending();
            assert!(cache.weight() <= cache.max_weight().unwrap(), "{}", named.name);
            cache.validate();
            assert_eq!(cache.stats().maintenance_panics, 0, "{}", named.name);
        }
    }
}

#[test]
fn a_listener_that_stores_heavy_values_itself_never_waits() {
    for maintenance in BOTH_MODES {
        let own: Arc<OnceLock<Cache<u64, u64>>> = Arc::default();
        let inner = Arc::clone(&own);
        let listener = larder::Listener::new(move |removal: &larder::Removal<'_, u64, u64>| {
            if let Some(cache) = inner.get()
                && *removal.key < 100
            {
                cache.insert(removal.key + 100, 30);
            }
        });
        let builder = Cache::<u64, u64>::builder()
            .max_weight(80)
            .weigher(|_, value| *value as u32)
            .partitions(8)
            .maintenance(maintenance)
            .listener(listener);
        let cache = own.get_or_init(|| builder.build().unwrap());
        std::thread::scope(|scope| {
            for thread in 0..4 {
                scope.spawn(move || {
                    for step in 0..200 {
                        cache.insert((thread * 200 + step) % 100, 1 + step % 40);
                    }
                });
            }
        });
        cache.run_pending();
        flush(cache);
        cache.run_pending();
        assert!(cache.weight() <= 80);
        cache.validate();
        cache.clear();
    }
}

#[test]
fn an_unevictable_heavy_entry_borrows_nothing() {
    let cache = weighed(Policy::lru(), 80, 8, Maintenance::Inline);
    assert_eq!(cache.insert_unevictable(1_000, 70), Inserted::Added);
    for key in 0..1_000 {
        cache.insert(key, 1);
    }
    assert_eq!((cache.weight(), cache.get(&1_000)), (150, Some(70)));
    // Once it is evictable, it needs room.
    assert_eq!(cache.insert(1_000, 70), Inserted::Replaced);
    assert!(cache.weight() <= 80 && cache.get(&1_000) == Some(70));
    cache.validate();
    assert_eq!(cache.insert_unevictable(1_000, 75), Inserted::Replaced);
    for key in 0..1_000 {
        cache.insert(key, 1);
    }
    assert_eq!(cache.weight(), 155);
    cache.validate();
}

#[test]
fn a_key_that_panics_while_its_heavy_value_is_stored_leaves_no_loan() {
    use std::sync::atomic::{AtomicBool, Ordering};
    static PANICS: AtomicBool = AtomicBool::new(false);
    struct Key(u64);
    impl Hash for Key {
        fn hash<H: Hasher>(&self, state: &mut H) {
            self.0.hash(state);
        }
    }
    impl PartialEq for Key {
        fn eq(&self, other: &Self) -> bool {
            assert!(!PANICS.load(Ordering::Relaxed), "as planned");
            self.0 == other.0
        }
    }
    impl Eq for Key {}
    let cache = Cache::<Key, u64>::builder()
        .max_weight(80)
        .weigher(|_, value| {
            assert!(*value != 99, "as planned");
            *value as u32
        })
        .partitions(8)
        .maintenance(Maintenance::Inline)
        .build()
        .unwrap();
    for first in [1, 30] {
        cache.insert(Key(1), first);
        PANICS.store(true, Ordering::Relaxed);
        crate::support::panic_message("the key", || {
            cache.insert(Key(1), 40);
        });
        PANICS.store(false, Ordering::Relaxed);
        crate::support::panic_message("the weigher", || {
            cache.insert(Key(1), 99);
        });
        assert_eq!(cache.get(&Key(1)), Some(first));
        cache.validate();
    }
}

#[test]
fn a_heavy_fill_that_becomes_stale_while_it_is_stored_leaves_no_loan() {
    for maintenance in BOTH_MODES {
        for is_atomic in [false, true] {
            let own: Arc<OnceLock<Cache<u64, u64>>> = Arc::default();
            let inner = Arc::clone(&own);
            let weigh = move |key: &u64, value: &u64| {
                if *value == 60
                    && let Some(cache) = inner.get()
                {
                    // The key is changed after the fill was found to be fresh.
                    cache.remove(key);
                }
                *value as u32
            };
            let builder = Cache::<u64, u64>::builder().max_weight(80).weigher(weigh);
            let builder = builder.partitions(8).maintenance(maintenance);
            let builder = if is_atomic { builder.atomic_listener(|_| {}) } else { builder };
            let cache = own.get_or_init(|| builder.build().unwrap());
            let fill = cache.begin_fill(&1);
            assert_eq!(cache.complete_fill(fill, 60), Inserted::Rejected(Rejection::Stale));
            assert_eq!(cache.get(&1), None);
            cache.validate();
            assert_eq!(cache.weight(), 0);
            assert_eq!(cache.insert(2, 80), Inserted::Added);
            assert_eq!(cache.get(&2), Some(80));
            cache.validate();
        }
    }
}

#[test]
fn weight_is_lent_and_given_back_with_an_atomic_listener() {
    for named in POLICIES {
        for partitions in [1, 8] {
            let cache = Cache::<u64, u64>::builder()
                .max_weight(80)
                .weigher(|_, value| *value as u32)
                .policy((named.make)())
                .partitions(partitions)
                .maintenance(Maintenance::Inline)
                .atomic_listener(|_| {})
                .build()
                .unwrap();
            let mut rng = Rng::new(0xa7);
            for step in 0..4_000 {
                let place = || format!("{}, {partitions}, step {step}", named.name);
                let key = rng.below(60);
                let most = [3, 12, 81][rng.below(3) as usize];
                let weight = rng.below(most);
                match rng.below(16) {
                    0 => drop(cache.remove(&key)),
                    1 => drop(cache.insert_if_absent(key, weight)),
                    _ => {
                        let inserted = cache.insert(key, weight);
                        assert!(inserted.is_stored(), "{}", place());
                        // Other entries leave for an update, each in a run of its own.
                        let is_spared = inserted == Inserted::Replaced && partitions == 1;
                        assert!(!is_spared || cache.contains_key(&key), "{}", place());
                    }
                }
                assert!(cache.weight() <= 80, "{}: {}", place(), cache.weight());
                if step % 500 == 0 {
                    cache.validate();
                }
            }
            cache.validate();
            cache.clear();
            cache.insert(1, 80);
            assert_eq!(cache.get(&1), Some(80), "{}", named.name);
            cache.validate();
        }
    }
}

#[test]
fn a_demoted_entry_leaves_first_for_an_update_and_the_updated_entry_stays() {
    for is_atomic in [false, true] {
        let builder = Cache::<u64, u64>::builder()
            .max_weight(10)
            .weigher(|_, value| *value as u32)
            .policy(Policy::fifo())
            .maintenance(Maintenance::Inline);
        let builder = if is_atomic { builder.atomic_listener(|_| {}) } else { builder };
        let cache = builder.build().unwrap();
        for key in 1..=5 {
            cache.insert(key, 2);
        }
        assert!(cache.demote(&1) && cache.demote(&4));
        // It was demoted before and is the oldest, but it was just stored.
        assert_eq!(cache.insert(1, 6), Inserted::Replaced);
        let present = |cache: &Cache<u64, u64>| {
            (1..=5).filter(|key| cache.contains_key(key)).collect::<Vec<_>>()
        };
        assert_eq!(present(&cache), [1, 3, 5], "{is_atomic}");
        assert_eq!(cache.insert(1, 10), Inserted::Replaced);
        assert_eq!(present(&cache), [1], "{is_atomic}");
        cache.validate();
    }
}

#[test]
fn a_bound_is_lowered_even_if_no_entry_can_leave_now() {
    let cache = Cache::<u64, u64>::builder()
        .capacity(100)
        .maintenance(Maintenance::Inline)
        .atomic_listener(|_| {})
        .build()
        .unwrap();
    for key in 0..100 {
        cache.insert(key, key);
    }
    let pinned = cache.pin();
    // The listener cannot be called while the caller holds a pin, so all entries stay for now.
    cache.set_capacity(10).unwrap();
    drop(pinned);
    cache.run_pending();
    assert_eq!((cache.capacity(), cache.len()), (Some(10), 10));
    cache.validate();
}
