//! Weakly consistent iteration: what it promises while other threads write.

use std::collections::HashMap;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use larder::test::FakeClock;
use larder::{Builder, Cache, Expiry, InsertOptions, Inserted, Maintenance};

use crate::support::configs::for_each_config;
use crate::support::hashers::Constant;
use crate::support::rng::{Rng, seeds};
use crate::support::{RaiseOnDrop, stress_threads};

/// Keys from this one on come and go; those below stay.
const FIRST_MOVING: u64 = 1 << 32;

/// Inserts, replaces and removes moving keys until `stop` is set, at least `least` times.
fn churn(cache: &Cache<u64, u64>, seed: u64, least: u64, stop: &AtomicBool) {
    let mut rng = Rng::new(seed);
    let mut steps = 0;
    while steps < least || !stop.load(Ordering::Acquire) {
        steps += 1;
        let key = FIRST_MOVING + rng.below(500);
        match rng.below(3) {
            0 => drop(cache.remove(&key)),
            _ => drop(cache.insert(key, steps)),
        }
    }
}

#[test]
fn entries_that_stay_are_seen_exactly_once_while_others_come_and_go() {
    for seed in seeds(0x17e2, 1) {
        for_each_config(|config| {
            const STABLE: u64 = 300;
            let cache = config.cache::<u64, u64>(100_000);
            for key in 0..STABLE {
                cache.insert(key, key);
            }
            let stop = AtomicBool::new(false);
            std::thread::scope(|scope| {
                let _stop = RaiseOnDrop(&stop);
                for thread in 1..stress_threads() as u64 {
                    let (cache, stop) = (&cache, &stop);
                    scope.spawn(move || churn(cache, seed + thread, 500, stop));
                }
                for round in 0..20 {
                    let mut times = vec![0; STABLE as usize];
                    for (key, value) in cache.iter() {
                        if key < STABLE {
                            assert_eq!(key, value);
                            times[key as usize] += 1;
                        }
                    }
                    assert!(times.iter().all(|&times| times == 1), "{round}: {times:?}");
                }
            });
            cache.validate();
        });
    }
}

#[test]
fn entries_that_stay_are_seen_exactly_once_while_the_table_grows() {
    for maintenance in [Maintenance::Inline, Maintenance::Background] {
        const STABLE: u64 = 64;
        let cache = Cache::<u64, u64>::builder()
            .capacity(1 << 20)
            .maintenance(maintenance)
            .build()
            .unwrap();
        for key in 0..STABLE {
            cache.insert(key, key);
        }
        let is_grown = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let _grown = RaiseOnDrop(&is_grown);
                for key in 0..40_000 {
                    cache.insert(FIRST_MOVING + key, 0);
                }
            });
            while !is_grown.load(Ordering::Acquire) {
                let mut times = HashMap::new();
                for key in cache.keys() {
                    *times.entry(key).or_insert(0) += 1;
                }
                // Nothing was removed, so the other keys must not appear twice either.
                assert!(times.values().all(|&times| times == 1));
                assert!((0..STABLE).all(|key| times.contains_key(&key)));
            }
        });
        assert_eq!(cache.iter().count(), cache.len());
        cache.validate();
    }
}

#[test]
fn one_iteration_spans_growth_removal_and_clearing() {
    for_each_config(|config| {
        let cache = config.cache::<u64, u64>(1_000_000);
        for key in 0..200 {
            cache.insert(key, key);
        }
        let mut seen = HashMap::new();
        for (step, key) in cache.keys().enumerate() {
            *seen.entry(key).or_insert(0) += 1;
            if step < 100 {
                // The table grows tenfold under the iterator, and neighbours of its entry leave.
                for fresh in 0..20 {
                    cache.insert(FIRST_MOVING + step as u64 * 20 + fresh, 0);
                }
                cache.remove(&(FIRST_MOVING + step as u64 * 7));
            }
        }
        assert!((0..200).all(|key| seen.get(&key) == Some(&1)));
        // If the entry under the iterator leaves, the iteration goes on from its place.
        let before = cache.len();
        let mut steps = 0;
        for key in cache.keys() {
            cache.remove(&key);
            steps += 1;
        }
        assert_eq!(steps, before);
        assert!(cache.is_empty());
        for key in 0..200 {
            cache.insert(key, key);
        }
        let mut keys = cache.keys();
        assert!(keys.next().is_some());
        cache.clear();
        cache.run_pending();
        assert!(keys.count() <= 199);
        cache.validate();
    });
}

#[test]
fn a_key_that_is_only_replaced_is_seen_exactly_once() {
    for_each_config(|config| {
        const KEYS: u64 = 20;
        let cache = config.cache::<u64, u64>(10_000);
        for key in 0..KEYS {
            cache.insert(key, 0);
        }
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let (cache, stop) = (&cache, &stop);
            let _stop = RaiseOnDrop(stop);
            for _ in 1..stress_threads() {
                scope.spawn(move || {
                    let mut version = 0;
                    while version < 100 || !stop.load(Ordering::Acquire) {
                        version += 1;
                        for key in 0..KEYS {
                            assert_eq!(cache.insert(key, version), Inserted::Replaced);
                        }
                    }
                });
            }
            for round in 0..500 {
                let mut seen: Vec<u64> = cache.keys().collect();
                seen.sort_unstable();
                assert!(seen.iter().copied().eq(0..KEYS), "round {round}: {seen:?}");
            }
        });
    });
}

#[test]
fn iteration_over_colliding_keys_sees_those_that_stay_once() {
    let cache = Cache::<u64, u64>::builder().capacity(100_000).hasher(Constant(9)).build().unwrap();
    for key in 0..100 {
        cache.insert(key, key);
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stop = RaiseOnDrop(&stop);
        scope.spawn(|| {
            let mut rng = Rng::new(5);
            let mut steps = 0;
            while steps < 500 || !stop.load(Ordering::Acquire) {
                steps += 1;
                let key = FIRST_MOVING + rng.below(50);
                if rng.below(2) == 0 {
                    cache.insert(key, 0);
                } else {
                    cache.remove(&key);
                }
            }
        });
        for round in 0..50 {
            let mut stable: Vec<u64> = cache.keys().filter(|&key| key < FIRST_MOVING).collect();
            stable.sort_unstable();
            assert!(stable.into_iter().eq(0..100), "round {round}");
        }
    });
    cache.validate();
}

#[test]
fn an_entry_inserted_after_clear_returned_stays() {
    for_each_config(|config| {
        let cache = config.cache::<u64, u64>(100_000);
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let (cache, stop) = (&cache, &stop);
            let _stop = RaiseOnDrop(stop);
            for thread in 1..stress_threads() as u64 {
                scope.spawn(move || churn(cache, thread, 100, stop));
            }
            for round in 0..60 {
                for key in 0..20 {
                    cache.insert(key, round);
                }
                if round % 2 == 0 {
                    cache.clear();
                } else {
                    cache.retain(|&key, _| key >= FIRST_MOVING);
                }
                // The entries from before are gone.
                assert!((0..20).all(|key| cache.peek(&key) != Some(round)));
                for key in 0..20 {
                    assert_eq!(cache.insert(key, round + 1_000), Inserted::Added);
                }
                cache.run_pending();
                assert!((0..20).all(|key| cache.peek(&key) == Some(round + 1_000)));
                for key in 0..20 {
                    assert_eq!(cache.remove(&key), Some(round + 1_000));
                }
            }
        });
        cache.run_pending();
        cache.validate();
    });
}

#[test]
fn racing_retains_remove_each_entry_once_and_add_up() {
    for_each_config(|config| {
        let cache = config.cache::<u64, u64>(100_000);
        for key in 0..500 {
            cache.insert(key, key);
        }
        let threads = stress_threads();
        let start = Barrier::new(threads);
        std::thread::scope(|scope| {
            for thread in 0..threads as u64 {
                let (cache, start) = (&cache, &start);
                scope.spawn(move || {
                    start.wait();
                    for divisor in [2, 3, 5] {
                        cache.retain(|key, _| (key + thread) % divisor != 0 || key % 7 == 0);
                    }
                });
            }
        });
        // Multiples of seven stay, whatever the number of threads.
        assert!((0..500).filter(|key| key % 7 == 0).all(|key| cache.contains_key(&key)));
        cache.run_pending();
        assert_eq!(cache.stats().removals + cache.len() as u64, 500);
        assert_eq!(cache.iter().count(), cache.len());
        cache.validate();
    });
}

#[test]
fn an_abandoned_iterator_holds_up_nothing() {
    for_each_config(|config| {
        let cache = config.cache::<u64, String>(1_000);
        for key in 0..100 {
            cache.insert(key, key.to_string());
        }
        let mut entries = cache.iter();
        let first: Vec<(u64, String)> = entries.by_ref().take(10).collect();
        assert!(first.iter().all(|(key, value)| *value == key.to_string()));
        drop(entries);
        cache.clear();
        assert_eq!(cache.iter().next(), None);
        cache.insert(1, "one".to_owned());
        assert_eq!(cache.iter().collect::<Vec<_>>(), [(1, "one".to_owned())]);
    });
}

const SECOND: Duration = Duration::from_secs(1);

/// How many items each kind of iteration returns after its first one, if `meanwhile` then changes
/// the cache that `fill` has filled. The first two counts are those of `iter` and `keys`.
fn rest_of_each_iteration(
    fill: impl Fn(&Cache<u32, u32>),
    meanwhile: impl Fn(&Cache<u32, u32>, &FakeClock),
    configure: impl Fn(Builder<u32, u32>) -> Builder<u32, u32>,
) -> Vec<usize> {
    type Kind = fn(&Cache<u32, u32>) -> Box<dyn Iterator<Item = ()> + '_>;
    let kinds: [Kind; 4] = [
        |cache| Box::new(cache.iter().map(drop)),
        |cache| Box::new(cache.keys().map(drop)),
        |cache| Box::new(cache.values().map(drop)),
        |cache| Box::new(cache.entries().map(drop)),
    ];
    let mut counts = Vec::new();
    for maintenance in [Maintenance::Inline, Maintenance::Background] {
        for kind in kinds {
            let clock = FakeClock::new();
            let builder = Cache::builder().capacity(100).clock(clock.clone());
            let cache = configure(builder.maintenance(maintenance)).build().unwrap();
            fill(&cache);
            let mut items = kind(&cache);
            assert_eq!(items.next(), Some(()));
            meanwhile(&cache, &clock);
            counts.push(items.count());
            cache.validate();
        }
    }
    counts
}

#[test]
fn an_item_that_expired_since_it_was_cloned_is_not_returned() {
    let fill = |cache: &Cache<u32, u32>| {
        for key in 0..10 {
            let _ = match key {
                0..5 => cache.insert_with_ttl(key, key, SECOND),
                5..8 => {
                    cache.insert_with(key, key, InsertOptions::new().tags(&["tag"]).ttl(SECOND))
                }
                _ => cache.insert_with_ttl(key, key, SECOND * 9),
            };
        }
    };
    // The first item may be one of the two that live longer.
    for count in rest_of_each_iteration(fill, |_, clock| clock.advance(SECOND * 2), |it| it) {
        assert!((1..=2).contains(&count), "{count}");
    }
    let all = |cache: &Cache<u32, u32>, clock: &FakeClock| {
        clock.advance(SECOND * 10);
        cache.run_pending();
    };
    assert_eq!(rest_of_each_iteration(fill, all, |it| it), [0; 8]);
    // The user or an `Expiry` brings the deadline forward, and it has passed when the item is due.
    let forward = |cache: &Cache<u32, u32>, clock: &FakeClock| {
        for key in 0..10 {
            assert!(cache.expire_after(&key, Some(SECOND / 2)));
        }
        clock.advance(SECOND);
        cache.run_pending();
    };
    assert_eq!(rest_of_each_iteration(fill, forward, |it| it), [0; 8]);
    let reads = |cache: &Cache<u32, u32>, clock: &FakeClock| {
        (0..10).for_each(|key| _ = cache.get(&key));
        clock.advance(SECOND / 2);
    };
    struct Short;
    impl Expiry<u32, u32> for Short {
        fn after_create(&self, _: &u32, _: &u32) -> Option<Duration> {
            None
        }
        fn after_read(&self, _: &u32, _: &u32, _: Option<Duration>) -> Option<Duration> {
            Some(SECOND / 4)
        }
    }
    assert_eq!(rest_of_each_iteration(fill, reads, |it| it.expiry(Short)), [0; 8]);
}

#[test]
fn an_item_whose_tag_was_invalidated_since_it_was_cloned_is_not_returned() {
    let fill = |cache: &Cache<u32, u32>| {
        for key in 0..10 {
            let _ = cache.insert_with_tags(key, key, ["tag", "other"]);
        }
    };
    let invalidate = |cache: &Cache<u32, u32>, _: &FakeClock| {
        assert!(cache.invalidate_tag("other"));
        // This is another entry with the same key.
        cache.insert(3, 4);
    };
    for count in rest_of_each_iteration(fill, invalidate, |it| it) {
        assert!(count <= 1, "{count}");
    }
    let all = |cache: &Cache<u32, u32>, _: &FakeClock| {
        assert!(cache.invalidate_tag("tag"));
        cache.retain(|_, _| true);
    };
    assert_eq!(rest_of_each_iteration(fill, all, |it| it), [0; 8]);
}

#[test]
fn an_item_whose_lifetime_was_prolonged_since_it_was_cloned_is_returned() {
    let fill = |cache: &Cache<u32, u32>| (0..10).for_each(|key| _ = cache.insert(key, key));
    let uses = |cache: &Cache<u32, u32>, clock: &FakeClock| {
        for second in 0..10 {
            clock.advance(SECOND);
            for key in 0..10 {
                assert_eq!(cache.get(&key), Some(key), "after {second} s");
            }
        }
        // The deadline of one other entry is brought forward.
        let _ = cache.insert_with_ttl(99, 99, SECOND);
        assert!(cache.expire_after(&99, Some(SECOND / 2)));
    };
    let counts = rest_of_each_iteration(fill, uses, |it| it.time_to_idle(SECOND * 2));
    assert!(counts.iter().all(|count| (9..=10).contains(count)), "{counts:?}");
}

/// A key that advances the clock when it is cloned, once it is in a cache.
struct Late(u32, FakeClock);

impl Clone for Late {
    fn clone(&self) -> Self {
        self.1.advance(SECOND);
        Self(self.0, self.1.clone())
    }
}

impl PartialEq for Late {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Late {}

impl std::hash::Hash for Late {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

#[test]
fn a_key_that_expires_while_others_are_cloned_is_not_among_the_hottest() {
    let clock = FakeClock::new();
    let cache = Cache::builder()
        .capacity(100)
        .clock(clock.clone())
        .maintenance(Maintenance::Inline)
        .build()
        .unwrap();
    let fill = || {
        for key in 0..4 {
            let ttl = SECOND * if key == 3 { 100 } else { 2 };
            let _ = cache.insert_with_ttl(Late(key, clock.clone()), key, ttl);
        }
    };
    fill();
    let keys = |keys: Vec<Late>| keys.iter().map(|key| key.0).collect::<Vec<_>>();
    assert_eq!(keys(cache.hottest(4)), [3]);
    fill();
    assert_eq!(keys(cache.coldest(4)), [3]);
    fill();
    assert_eq!(cache.keys().map(|key| key.0).collect::<Vec<_>>(), [3]);
}

#[test]
fn a_scan_visits_what_stays_exactly_once_while_the_table_grows() {
    for seed in seeds(0x5ca9, 1) {
        for_each_config(|config| {
            const STABLE: u64 = 300;
            let cache = config.cache::<u64, u64>(100_000);
            for key in 0..STABLE {
                cache.insert(key, key);
            }
            let stop = AtomicBool::new(false);
            std::thread::scope(|scope| {
                let _stop = RaiseOnDrop(&stop);
                scope.spawn(|| churn(&cache, seed, 100, &stop));
                for count in [0, 1, 7, 1000] {
                    let mut seen = HashMap::new();
                    let mut cursor = 0;
                    loop {
                        cursor = cache.scan(cursor, count, |key, value, _| {
                            if *key < STABLE {
                                assert_eq!(key, value);
                                *seen.entry(*key).or_insert(0) += 1;
                            }
                        });
                        if cursor == 0 {
                            break;
                        }
                    }
                    assert_eq!(seen.len() as u64, STABLE, "seed {seed}");
                    assert!(seen.values().all(|times| *times == 1), "seed {seed}");
                }
            });
        });
    }
}

#[test]
fn a_scan_takes_any_cursor_and_leaves_out_what_has_expired() {
    let clock = FakeClock::new();
    let cache = Cache::builder().capacity(1000).clock(clock.clone()).build().unwrap();
    for key in 0..100_u64 {
        let options = InsertOptions::new();
        let options = if key % 2 == 0 { options.ttl(Duration::from_secs(1)) } else { options };
        cache.insert_with(key, key, options);
    }
    clock.advance(Duration::from_secs(2));
    let mut rng = Rng::new(7);
    for cursor in (0..100).map(|_| rng.below(u64::MAX)).chain([1, u64::MAX]) {
        let mut last = cursor;
        while last != 0 {
            last = cache.scan(last, 10, |key, _, info| {
                assert!(key % 2 == 1 && info.expires_in.is_none());
            });
        }
    }
}
