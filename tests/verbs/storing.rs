//! The options of an insertion, the values that an insertion returns, and fills that are stored
//! only if nothing has changed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use larder::test::FakeClock;
use larder::{
    Cache, InsertOptions, Inserted, Listener, Maintenance, Rejection, Removal, RemovalCause,
};

use super::ROOMY;
use crate::support::configs::for_each_config;

const STALE: Inserted = Inserted::Rejected(Rejection::Stale);
const PRESENT: Inserted = Inserted::Rejected(Rejection::Present);

#[test]
fn every_verb_that_stores_takes_all_options() {
    type Verb = fn(&Cache<u64, u64>, u64, InsertOptions<'_>) -> Inserted;
    let verbs: [(Verb, bool); 3] = [
        (|cache, value, options| cache.insert_with(1, value, options), false),
        (|cache, value, options| cache.insert_if_absent_with(1, value, options), false),
        (|cache, value, options| cache.replace_with(1, value, options), true),
    ];
    let second = Duration::from_secs(1);
    let all = InsertOptions::new().ttl(second).tags(&["a", "b"]).unevictable();
    for (store, needs_one) in verbs {
        let clock = FakeClock::new();
        let cache = Cache::builder()
            .capacity(4)
            .partitions(1)
            .maintenance(Maintenance::Inline)
            .clock(clock.clone())
            .build()
            .unwrap();
        let ready = || {
            cache.clear();
            if needs_one {
                cache.insert(1, 0);
            }
        };
        ready();
        assert!(store(&cache, 5, all).is_stored());
        assert_eq!(cache.tags_of(&1).unwrap(), ["a", "b"]);
        assert_eq!(cache.is_unevictable(&1), Some(true));
        (10..30).for_each(|key| assert!(cache.insert(key, key).is_stored()));
        assert_eq!(cache.get(&1), Some(5));
        clock.advance(2 * second);
        assert_eq!(cache.get(&1), None);
        ready();
        assert!(store(&cache, 6, all).is_stored());
        assert!(cache.invalidate_tag("b"));
        assert_eq!(cache.get(&1), None);
        ready();
        let many = InsertOptions::new().tags(&["a", "b", "c", "d", "e"]);
        let limit = Inserted::Rejected(Rejection::TooManyTags { limit: 4 });
        assert_eq!(store(&cache, 7, many), limit);
        assert_eq!(cache.get(&1), needs_one.then_some(0), "nothing has changed");
        cache.validate();
    }
}

#[test]
fn each_swap_returns_the_value_of_the_one_before() {
    for_each_config(|config| {
        let cache = config.cache::<u64, u64>(ROOMY);
        assert_eq!(cache.swap(1, 0), Ok(None));
        let sum = AtomicU64::new(0);
        let barrier = Barrier::new(4);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (cache, sum, barrier) = (&cache, &sum, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    for round in 1..=100 {
                        let old = cache.swap(1, thread * 100 + round).unwrap().unwrap();
                        sum.fetch_add(old, Ordering::Relaxed);
                    }
                });
            }
        });
        sum.fetch_add(cache.remove(&1).unwrap(), Ordering::Relaxed);
        assert_eq!(sum.load(Ordering::Relaxed), (1..=400).sum::<u64>(), "each value once");
        let read = cache.insert_and_read(2, 1, InsertOptions::new(), |_, _| unreachable!());
        assert_eq!(read, Ok(None::<u64>));
        let read = cache.insert_and_read(2, 2, InsertOptions::new(), |key, value| key * 10 + value);
        assert_eq!(read, Ok(Some(21)));
        cache.validate();
    });
    let cache = Cache::builder().max_weight(10).weigher(|_, weight| *weight).build().unwrap();
    let rejected = Rejection::TooHeavy { weight: 11, limit: 10 };
    assert_eq!(cache.swap(1, 11), Err(rejected));
}

#[test]
fn a_fill_is_refused_after_every_kind_of_change_and_only_then() {
    type Change = fn(&Cache<u64, u64>);
    let changes: [Change; 14] = [
        |cache| assert_eq!(cache.remove(&1), None),
        |cache| assert!(!cache.remove_if(&1, |_, _| true)),
        |cache| assert!(cache.remove_entry(&1).is_none()),
        |cache| assert!(cache.insert(1, 5).is_stored()),
        |cache| assert!(cache.insert_if_absent(1, 5).is_stored()),
        |cache| assert!(!cache.replace(1, 5).is_stored()),
        |cache| assert!(cache.insert_with_ttl(1, 5, Duration::ZERO).is_stored()),
        |cache| assert!(cache.insert_with_tags(1, 5, ["tag"]).is_stored()),
        |cache| assert_eq!(cache.swap(1, 5), Ok(None)),
        Cache::clear,
        |cache| cache.retain(|_, _| true),
        |cache| assert_eq!(cache.invalidate_if(|_, _| false), 0),
        |cache| assert!(!cache.invalidate_tag("other")),
        |cache| drop(cache.drain()),
    ];
    for_each_config(|config| {
        let cache = config.cache::<u64, u64>(ROOMY);
        for change in changes {
            cache.clear();
            let fill = cache.begin_fill(&1);
            change(&cache);
            let before = cache.get(&1);
            assert_eq!(cache.complete_fill(fill, 9), STALE);
            assert_eq!(cache.get(&1), before);
        }
        cache.clear();
        let (first, second) = (cache.begin_fill(&1), cache.begin_fill(&1));
        let given_up = cache.begin_fill(&1);
        // Neither lookups, nor changes of other keys, nor other fills make it stale.
        cache.get(&1);
        cache.insert(2, 2);
        cache.remove(&2);
        drop(given_up);
        assert_eq!(cache.complete_fill(second, 7), Inserted::Added);
        assert_eq!(cache.complete_fill(first, 8), PRESENT);
        assert_eq!(cache.get(&1), Some(7));
        let other = config.cache::<u64, u64>(ROOMY);
        assert_eq!(cache.complete_fill(other.begin_fill(&3), 3), STALE, "another cache's");
        let options = InsertOptions::new().tags(&["tag"]);
        assert_eq!(cache.complete_fill_with(cache.begin_fill(&4), 4, options), Inserted::Added);
        assert!(cache.invalidate_tag("tag"));
        assert_eq!(cache.get(&4), None);
        cache.validate();
    });
}

#[test]
fn no_read_after_an_update_returns_a_value_fetched_before_it() {
    for mode in [Maintenance::Inline, Maintenance::Background] {
        for is_atomic in [false, true] {
            let removals = Arc::new(AtomicU64::new(0));
            let count = Arc::clone(&removals);
            let listen = move |removal: &Removal<'_, u64, u64>| {
                assert_ne!(removal.cause, RemovalCause::Expired);
                count.fetch_add(1, Ordering::Relaxed);
            };
            let builder = Cache::builder().capacity(8).partitions(1).maintenance(mode);
            let cache = match is_atomic {
                true => builder.atomic_listener(listen),
                false => builder.listener(Listener::new(listen)),
            }
            .build()
            .unwrap();
            // The database: the versions of three rows, which only grow.
            let rows: [Mutex<u64>; 3] = Default::default();
            std::thread::scope(|scope| {
                for thread in 0..4_usize {
                    let (cache, rows) = (&cache, &rows);
                    scope.spawn(move || {
                        for round in 0..4_000 {
                            let key = (round * 7 + thread) % 3;
                            if thread == 0 {
                                *rows[key].lock().unwrap() += 1;
                                let now = *rows[key].lock().unwrap();
                                cache.remove(&(key as u64));
                                let seen = cache.get(&(key as u64));
                                assert!(seen.is_none_or(|seen| seen >= now), "{seen:?} < {now}");
                            } else if cache.get(&(key as u64)).is_none() {
                                let fill = cache.begin_fill(&(key as u64));
                                let row = *rows[key].lock().unwrap();
                                std::thread::yield_now();
                                cache.complete_fill(fill, row);
                            }
                        }
                    });
                }
            });
            cache.run_pending();
            for (key, row) in (0..).zip(&rows) {
                let now = *row.lock().unwrap();
                assert!(cache.get(&key).is_none_or(|seen| seen == now), "an old row stayed");
            }
            cache.validate();
        }
    }
}

#[test]
fn an_insertion_returns_the_entries_that_it_evicted() {
    // 0: no listener, 1: a listener, 2: an atomic one.
    for kind in 0..3 {
        let notified = Arc::new(Mutex::new(Vec::new()));
        let note = Arc::clone(&notified);
        let listen = move |removal: &Removal<'_, u64, u64>| {
            if removal.cause == RemovalCause::Evicted {
                note.lock().unwrap().push((*removal.key, *removal.value));
            }
        };
        let builder = Cache::builder()
            .max_weight(100)
            .weigher(|_, value: &u64| u32::try_from(*value).unwrap())
            .policy(larder::Policy::fifo())
            .partitions(1)
            .maintenance(Maintenance::Inline);
        let cache = match kind {
            0 => builder,
            1 => builder.listener(Listener::new(listen)),
            _ => builder.atomic_listener(listen),
        }
        .build()
        .unwrap();
        let displace = |key, value| {
            let displaced = cache.insert_displacing(key, value, InsertOptions::new()).unwrap();
            (displaced.replaced, displaced.evicted)
        };
        for key in 0..4 {
            assert_eq!(displace(key, 25), (None, vec![]));
        }
        assert_eq!(displace(3, 20), (Some(25), vec![]));
        assert_eq!(displace(4, 60), (None, vec![(0, 25), (1, 25), (2, 25)]));
        assert_eq!(displace(4, 90), (Some(60), vec![(3, 20)]));
        let heavy = cache.insert_displacing(5, 101, InsertOptions::new());
        assert!(matches!(heavy, Err(Rejection::TooHeavy { .. })));
        let all = [(0, 25), (1, 25), (2, 25), (3, 20)];
        if kind > 0 {
            assert_eq!(*notified.lock().unwrap(), all);
        }
        cache.validate();
    }
}

#[test]
fn every_evicted_entry_is_returned_at_most_once() {
    for_each_config(|config| {
        let cache = config.cache::<u64, u64>(64);
        let given = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for thread in 0..3_u64 {
                let (cache, given) = (&cache, &given);
                scope.spawn(move || {
                    for round in 0..500 {
                        let key = (thread << 32) | round;
                        let options = InsertOptions::new();
                        let displaced = cache.insert_displacing(key, key, options).unwrap();
                        assert_eq!(displaced.replaced, None);
                        given.lock().unwrap().extend(displaced.evicted);
                    }
                });
            }
        });
        cache.run_pending();
        let mut given = given.into_inner().unwrap();
        let count = given.len() as u64;
        given.sort_unstable();
        given.dedup();
        assert_eq!(given.len() as u64, count, "each once");
        assert!(given.iter().all(|(key, value)| key == value && cache.peek(key).is_none()));
        assert!(count <= cache.stats().evictions);
        if config.maintenance == Maintenance::Inline {
            assert_eq!(count, cache.stats().evictions);
        }
        cache.validate();
    });
}
