//! What is visible while the listener runs, and in which order it is notified of removals.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use crate::support::counted::{Counted, Ledger};
use crate::support::rng::Rng;
use crate::support::{flush, stop_point};
use larder::test::FakeClock;
use larder::{Builder, Cache, Inserted, Maintenance, Policy, Rejection, Removal, RemovalCause};

use super::{inline, noting};

#[test]
fn each_removal_is_notified_once_before_it_takes_effect() {
    let clock = FakeClock::new();
    let second = Duration::from_secs(1);
    let builder = inline(3).policy(Policy::fifo()).clock(clock.clone());
    let builder = builder.max_weight(1_000).weigher(|_, weight| *weight);
    let (cache, notified) = noting(builder);
    let take = || std::mem::take(&mut *notified.lock().unwrap());
    use RemovalCause::{Evicted, Expired, Explicit, Invalidated, Replaced};

    assert_eq!(cache.insert(1, 10), Inserted::Added);
    assert_eq!(take(), []);
    assert_eq!(cache.insert(1, 11), Inserted::Replaced);
    assert_eq!(take(), [(1, 10, Some(11), Replaced)]);
    assert_eq!(cache.replace(1, 12), Inserted::Replaced);
    assert_eq!(take(), [(1, 11, Some(12), Replaced)]);
    assert_eq!(cache.replace(2, 20), Inserted::Rejected(Rejection::Absent));
    assert_eq!(cache.insert_if_absent(1, 13), Inserted::Rejected(Rejection::Present));
    assert_eq!(take(), []);
    assert_eq!(cache.remove(&1), Some(12));
    assert_eq!(take(), [(1, 12, None, Explicit)]);
    assert_eq!(cache.remove(&1), None);
    assert_eq!(cache.insert_if_absent(1, 14), Inserted::Added);
    let mut judged = 0;
    assert!(cache.remove_if(&1, |_, value| {
        judged += 1;
        *value == 14
    }));
    assert_eq!((judged, take()), (1, vec![(1, 14, None, Explicit)]));
    cache.insert(1, 15);
    assert!(!cache.remove_if(&1, |_, _| false));
    assert_eq!(take(), []);
    cache.insert(1, 2_000);
    assert_eq!(take(), [(1, 15, None, Explicit)], "the new value was too heavy to replace it");

    for key in 1..=5 {
        cache.insert(key, key);
    }
    assert_eq!(take(), [(1, 1, None, Evicted), (2, 2, None, Evicted)]);
    assert_eq!(cache.len(), 3);
    assert_eq!(cache.invalidate_if(|key, _| *key == 4), 1);
    assert_eq!(take(), [(4, 4, None, Explicit)]);
    cache.clear();
    let mut cleared = take();
    cleared.sort_unstable_by_key(|it| it.0);
    assert_eq!(cleared, [(3, 3, None, Explicit), (5, 5, None, Explicit)]);

    cache.insert_with_ttl(1, 1, second);
    cache.insert_with_ttl(2, 2, second);
    clock.advance(2 * second);
    assert_eq!(cache.insert(2, 3), Inserted::Added);
    assert_eq!(take().iter().filter(|it| it.3 == Expired && it.0 == 2).count(), 1);
    cache.run_pending();
    assert_eq!(cache.len(), 1);
    cache.insert_with_tags(3, 3, ["t"]);
    cache.invalidate_tag("t");
    take();
    assert_eq!(cache.insert_if_absent(3, 4), Inserted::Added);
    assert_eq!(take(), [(3, 3, None, Invalidated)]);
    let stats = cache.stats();
    assert_eq!((stats.evictions, stats.expirations, stats.invalidations), (2, 2, 1));
    assert_eq!(stats.listener_panics, 0);
    cache.validate();
}

#[test]
fn expired_entries_are_notified_once_with_and_without_traffic() {
    for mode in [Maintenance::Inline, Maintenance::Background] {
        let clock = FakeClock::new();
        let builder = Cache::builder().capacity(1_000).partitions(2).maintenance(mode);
        let (cache, notified) =
            noting(builder.clock(clock.clone()).time_to_live(Duration::from_secs(1)));
        for key in 0..500 {
            cache.insert(key, key);
        }
        clock.advance(Duration::from_secs(2));
        // The clock stands still now, and the maintenance thread may be within some gates.
        cache.run_pending();
        assert_eq!(cache.len(), 0, "{mode:?}");
        let notified = notified.lock().unwrap();
        let keys: HashSet<_> = notified.iter().map(|it| it.0).collect();
        assert_eq!((notified.len(), keys.len()), (500, 500), "{mode:?}");
        assert!(notified.iter().all(|it| it.3 == RemovalCause::Expired));
        cache.validate();
    }
}

#[test]
fn a_lowered_capacity_holds_and_each_victim_is_notified() {
    let (cache, notified) = noting(inline(1_000).policy(Policy::lru()));
    for key in 0..1_500 {
        cache.insert(key, key);
        assert!(cache.len() <= 1_000);
    }
    cache.set_capacity(10).unwrap();
    assert_eq!(cache.len(), 10);
    let notified = std::mem::take(&mut *notified.lock().unwrap());
    let evicted: Vec<_> = notified.iter().map(|it| it.0).collect();
    assert_eq!(evicted[..500], (0..500).collect::<Vec<_>>(), "in the policy's order");
    assert_eq!(evicted.iter().collect::<HashSet<_>>().len(), 1_490);
    assert!((1_490..1_500).all(|key| cache.contains_key(&key)), "the newest stay");
    assert_eq!(cache.stats().evictions, 1_490);
    cache.validate();
}

#[test]
fn an_insertion_waits_for_the_listener_and_lookups_do_not() {
    let (stop, has_entered, go_on) = stop_point();
    let order = Arc::new(Mutex::new(Vec::new()));
    let note = Arc::clone(&order);
    let cache = Cache::builder()
        .capacity(100)
        .atomic_listener(move |removal: &Removal<'_, u32, u32>| {
            note.lock().unwrap().push((*removal.value, removal.new_value.copied()));
            stop(());
        })
        .build()
        .unwrap();
    cache.insert(1, 10);
    thread::scope(|scope| {
        let first = scope.spawn(|| cache.insert(1, 11));
        has_entered.recv().unwrap();
        let second = scope.spawn(|| cache.insert(1, 12));
        // Whatever the second insertion does meanwhile, its value is neither visible nor notified.
        for _ in 0..1_000 {
            assert_eq!(cache.get(&1), Some(10));
            thread::yield_now();
        }
        assert!(has_entered.try_recv().is_err());
        assert!(!first.is_finished() && !second.is_finished());
        go_on.send(()).unwrap();
        has_entered.recv().unwrap();
        assert_eq!(cache.get(&1), Some(11));
        go_on.send(()).unwrap();
        assert_eq!(first.join().unwrap(), Inserted::Replaced);
        assert_eq!(second.join().unwrap(), Inserted::Replaced);
    });
    assert_eq!(cache.get(&1), Some(12));
    assert_eq!(*order.lock().unwrap(), [(10, Some(11)), (11, Some(12))]);
}

#[test]
fn keys_and_values_are_dropped_once() {
    let ledger = Ledger::new();
    let notified = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&notified);
    let cache: Cache<u64, Counted> = Cache::builder()
        .capacity(20)
        .partitions(1)
        .atomic_listener(move |removal: &Removal<'_, u64, Counted>| {
            assert!(removal.value.id() < 1_000);
            count.fetch_add(1, Ordering::SeqCst);
        })
        .build()
        .unwrap();
    for id in 0..1_000 {
        cache.insert(id % 50, ledger.make(id));
    }
    cache.run_pending();
    let left = cache.len();
    drop(cache);
    ledger.assert_living(0, "notified values");
    assert_eq!(
        notified.load(Ordering::SeqCst),
        1_000 - left,
        "values that are left are not notified"
    );
}

/// For one key: the values that left, and the values that replaced them.
type Log = Mutex<Vec<(u64, Option<u64>)>>;

/// Threads call all verbs on few keys. Each value is notified exactly once, while it is visible; a
/// value that replaced another is the next of its key to be notified.
fn stress(builder: Builder<u32, u64>, rounds: u64) {
    const KEYS: u32 = 24;
    let log: Arc<Vec<Log>> = Arc::new((0..KEYS).map(|_| Mutex::default()).collect());
    let note = Arc::clone(&log);
    let slot: Arc<OnceLock<Cache<u32, u64>>> = Arc::default();
    let own = Arc::clone(&slot);
    let cache = builder
        .atomic_listener(move |removal: &Removal<'_, u32, u64>| {
            let seen = own.get().unwrap().peek(removal.key);
            assert_eq!(seen, Some(*removal.value), "{}", removal.cause);
            let notified = (*removal.value, removal.new_value.copied());
            note[*removal.key as usize].lock().unwrap().push(notified);
        })
        .build()
        .unwrap();
    slot.set(cache.clone()).unwrap();
    let (next, start) = (AtomicU64::new(1), Barrier::new(4));
    let stored = Mutex::new(HashSet::new());
    thread::scope(|scope| {
        for thread in 0..4 {
            let (cache, next, start, stored) = (&cache, &next, &start, &stored);
            scope.spawn(move || {
                let mut rng = Rng::new(thread);
                let mut own = HashSet::new();
                start.wait();
                for _ in 0..rounds {
                    let key = u32::try_from(rng.below(u64::from(KEYS))).unwrap();
                    let value = next.fetch_add(1, Ordering::Relaxed);
                    let inserted = match rng.below(16) {
                        0..7 => cache.insert(key, value),
                        7 | 8 => cache.insert_if_absent(key, value),
                        9 | 10 => cache.replace(key, value),
                        11 | 12 => {
                            cache.remove(&key);
                            continue;
                        }
                        13 => {
                            cache.remove_if(&key, |_, value| value % 2 == 0);
                            continue;
                        }
                        14 => {
                            cache.get(&key);
                            continue;
                        }
                        _ => {
                            match rng.below(8) {
                                0 => cache.clear(),
                                1 => cache.retain(|_, value| value % 3 != 0),
                                _ => cache.run_pending(),
                            }
                            continue;
                        }
                    };
                    if !matches!(inserted, Inserted::Rejected(_)) {
                        own.insert(value);
                    }
                }
                stored.lock().unwrap().extend(own);
            });
        }
    });
    cache.run_pending();
    cache.validate();
    cache.clear();
    assert_eq!(cache.stats().listener_panics, 0);
    let mut notified = HashMap::new();
    for (key, log) in log.iter().enumerate() {
        let mut expected = None;
        for (old, new) in log.lock().unwrap().iter() {
            assert!(expected.is_none_or(|it| it == *old), "{key}: {old} instead of {expected:?}");
            assert_eq!(notified.insert(*old, key), None, "{old} was notified twice");
            expected = *new;
        }
        assert_eq!(expected, None, "{key}: a value that replaced another was not notified");
    }
    let notified: HashSet<u64> = notified.into_keys().collect();
    assert_eq!(
        notified,
        stored.into_inner().unwrap(),
        "every stored value was notified, and no other"
    );
}

#[test]
fn changes_by_racing_threads_are_notified_in_order_inline() {
    for policy in [Policy::lru(), Policy::default()] {
        let builder = Cache::builder().capacity(16).partitions(1).policy(policy);
        stress(builder.maintenance(Maintenance::Inline), 3_000);
    }
}

#[test]
fn changes_by_racing_threads_are_notified_in_order_in_background() {
    for partitions in [1, 4] {
        stress(Cache::builder().capacity(16).partitions(partitions), 5_000);
    }
}

#[test]
fn both_listeners_are_notified_of_the_same_removals() {
    let atomic = Arc::new(AtomicUsize::new(0));
    let queued = Arc::new(AtomicUsize::new(0));
    let (count_atomic, count_queued) = (Arc::clone(&atomic), Arc::clone(&queued));
    let cache: Cache<u32, u32> = Cache::builder()
        .capacity(50)
        .atomic_listener(move |_: &Removal<'_, u32, u32>| {
            count_atomic.fetch_add(1, Ordering::SeqCst);
        })
        .listener(larder::Listener::new(move |_: &Removal<'_, u32, u32>| {
            count_queued.fetch_add(1, Ordering::SeqCst);
        }))
        .build()
        .unwrap();
    thread::scope(|scope| {
        for thread in 0..3 {
            let cache = &cache;
            scope.spawn(move || {
                for round in 0..2_000 {
                    cache.insert(round * 3 + thread, round);
                    cache.remove(&(round * 2));
                }
            });
        }
    });
    cache.clear();
    flush(&cache);
    assert_eq!(atomic.load(Ordering::SeqCst), 6_000);
    assert_eq!(queued.load(Ordering::SeqCst), 6_000);
}

#[test]
fn bulk_removals_remove_all_entries_however_many() {
    for mode in [Maintenance::Inline, Maintenance::Background] {
        for count in [50, 129, 500, 5_000_u32] {
            let notified = Arc::new(AtomicUsize::new(0));
            let note = Arc::clone(&notified);
            let cache: Cache<u32, u32> = Cache::builder()
                .capacity(100_000)
                .maintenance(mode)
                .atomic_listener(move |_: &Removal<'_, u32, u32>| {
                    note.fetch_add(1, Ordering::SeqCst);
                })
                .build()
                .unwrap();
            let fill = || {
                for key in 0..count {
                    cache.insert(key, key);
                }
            };
            fill();
            cache.clear();
            assert_eq!((cache.len(), cache.iter().count()), (0, 0), "{mode:?}, {count}");
            fill();
            let mut judged = HashMap::new();
            cache.retain(|key, _| {
                *judged.entry(*key).or_insert(0) += 1;
                key.is_multiple_of(3)
            });
            assert!(judged.len() == count as usize && judged.values().all(|times| *times == 1));
            assert_eq!(cache.len(), count.div_ceil(3) as usize);
            let left = u64::from(count.div_ceil(3));
            assert_eq!(cache.invalidate_if(|_, _| true), left);
            assert_eq!(notified.load(Ordering::SeqCst), 2 * count as usize);
            cache.validate();
        }
    }
}

#[test]
fn the_statistics_count_every_eviction_and_expiry() {
    for mode in [Maintenance::Inline, Maintenance::Background] {
        let notified: Arc<[AtomicU64; 2]> = Arc::default();
        let note = Arc::clone(&notified);
        let clock = FakeClock::new();
        let cache: Cache<u64, u64> = Cache::builder()
            .capacity(300)
            .max_weight(1_000_000)
            .weigher(|_, _| 7)
            .policy(Policy::lru())
            .partitions(1)
            .maintenance(mode)
            .clock(clock.clone())
            .time_to_live(Duration::from_secs(1))
            .atomic_listener(move |removal: &Removal<'_, u64, u64>| match removal.cause {
                RemovalCause::Evicted => drop(note[0].fetch_add(1, Ordering::SeqCst)),
                RemovalCause::Expired => drop(note[1].fetch_add(1, Ordering::SeqCst)),
                _ => {}
            })
            .build()
            .unwrap();
        thread::scope(|scope| {
            for thread in 0..4_u64 {
                let (cache, clock) = (&cache, &clock);
                scope.spawn(move || {
                    for round in 0..5_000 {
                        cache.insert((thread << 32) | round, round);
                        if round % 1_000 == 0 {
                            clock.advance(Duration::from_millis(700));
                        }
                    }
                });
            }
        });
        cache.run_pending();
        let stats = cache.stats();
        let [evicted, expired] = [0, 1].map(|at| notified[at].load(Ordering::SeqCst));
        assert_eq!((stats.evictions, stats.evicted_weight), (evicted, 7 * evicted), "{mode:?}");
        assert_eq!((stats.expirations, stats.expired_weight), (expired, 7 * expired), "{mode:?}");
        cache.validate();
    }
}
