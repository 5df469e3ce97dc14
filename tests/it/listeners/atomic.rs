//! The listener that runs within removals: what is visible while it runs, in what order it is told,
//! and what becomes of it when it panics, blocks or calls the cache.

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Barrier, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use crate::support::counted::{Counted, Ledger};
use crate::support::flush;
use crate::support::rng::Rng;
use larder::test::FakeClock;
use larder::{Builder, Cache, Inserted, Maintenance, Policy, Rejection, Removal, RemovalCause};

/// Key, old value, new value, cause.
type Told = (u32, u32, Option<u32>, RemovalCause);

fn inline(capacity: usize) -> Builder<u32, u32> {
    Cache::builder().capacity(capacity).partitions(1).maintenance(Maintenance::Inline)
}

/// A cache that notes what is told, and that lookups see what leaves until then.
fn noting(builder: Builder<u32, u32>) -> (Cache<u32, u32>, Arc<Mutex<Vec<Told>>>) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let note = Arc::clone(&told);
    let slot: Arc<OnceLock<Cache<u32, u32>>> = Arc::default();
    let looked_at = Arc::clone(&slot);
    let cache = builder
        .atomic_listener(move |removal: &Removal<'_, u32, u32>| {
            let Removal { key, value, new_value, cause, .. } = *removal;
            let seen = looked_at.get().unwrap().peek(key);
            let is_visible = !matches!(cause, RemovalCause::Expired | RemovalCause::Invalidated);
            assert_eq!(seen, is_visible.then_some(*value), "{cause}");
            note.lock().unwrap().push((*key, *value, new_value.copied(), cause));
        })
        .build()
        .unwrap();
    // Ends with the process: the listener owns the cache that owns it.
    slot.set(cache.clone()).unwrap();
    (cache, told)
}

#[test]
fn each_removal_is_told_once_before_it_takes_effect() {
    let clock = FakeClock::new();
    let second = Duration::from_secs(1);
    let builder = inline(3).policy(Policy::fifo()).clock(clock.clone());
    let builder = builder.max_weight(1_000).weigher(|_, weight| *weight);
    let (cache, told) = noting(builder);
    let take = || std::mem::take(&mut *told.lock().unwrap());
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
    assert_eq!(take(), [(1, 15, None, Explicit)], "too heavy to take its place");

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
fn expired_entries_are_told_once_with_and_without_traffic() {
    for mode in [Maintenance::Inline, Maintenance::Background] {
        let clock = FakeClock::new();
        let builder = Cache::builder().capacity(1_000).partitions(2).maintenance(mode);
        let (cache, told) =
            noting(builder.clock(clock.clone()).time_to_live(Duration::from_secs(1)));
        for key in 0..500 {
            cache.insert(key, key);
        }
        clock.advance(Duration::from_secs(2));
        // Though the clock stands still now, and the maintenance thread may be within some gates.
        cache.run_pending();
        assert_eq!(cache.len(), 0, "{mode:?}");
        let told = told.lock().unwrap();
        let keys: HashSet<_> = told.iter().map(|it| it.0).collect();
        assert_eq!((told.len(), keys.len()), (500, 500), "{mode:?}");
        assert!(told.iter().all(|it| it.3 == RemovalCause::Expired));
        cache.validate();
    }
}

#[test]
fn lower_bounds_and_capacity_are_kept_telling_each_victim() {
    let (cache, told) = noting(inline(1_000).policy(Policy::lru()));
    for key in 0..1_500 {
        cache.insert(key, key);
        assert!(cache.len() <= 1_000);
    }
    cache.set_capacity(10).unwrap();
    assert_eq!(cache.len(), 10);
    let told = std::mem::take(&mut *told.lock().unwrap());
    let evicted: Vec<_> = told.iter().map(|it| it.0).collect();
    assert_eq!(evicted[..500], (0..500).collect::<Vec<_>>(), "in the policy's order");
    assert_eq!(evicted.iter().collect::<HashSet<_>>().len(), 1_490);
    assert!((1_490..1_500).all(|key| cache.contains_key(&key)), "the latest stay");
    assert_eq!(cache.stats().evictions, 1_490);
    cache.validate();
}

#[test]
fn an_insertion_waits_for_the_listener_and_lookups_do_not() {
    let (entered, has_entered) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel::<()>();
    let may_go_on = Mutex::new(may_go_on);
    let order = Arc::new(Mutex::new(Vec::new()));
    let note = Arc::clone(&order);
    let cache = Cache::builder()
        .capacity(100)
        .atomic_listener(move |removal: &Removal<'_, u32, u32>| {
            note.lock().unwrap().push((*removal.value, removal.new_value.copied()));
            entered.send(()).unwrap();
            may_go_on.lock().unwrap().recv().unwrap();
        })
        .build()
        .unwrap();
    cache.insert(1, 10);
    thread::scope(|scope| {
        let first = scope.spawn(|| cache.insert(1, 11));
        has_entered.recv().unwrap();
        let second = scope.spawn(|| cache.insert(1, 12));
        // Whatever the second one does meanwhile, it is not visible, nor told.
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
fn maintenance_passes_by_a_victim_whose_gate_is_taken() {
    let (entered, has_entered) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel::<()>();
    let may_go_on = Mutex::new(may_go_on);
    let cache = inline(10)
        .policy(Policy::fifo())
        .atomic_listener(move |removal: &Removal<'_, u32, u32>| {
            if *removal.key == 0 {
                entered.send(()).unwrap();
                may_go_on.lock().unwrap().recv().unwrap();
            }
        })
        .build()
        .unwrap();
    for key in 0..10 {
        cache.insert(key, key);
    }
    thread::scope(|scope| {
        let blocked = scope.spawn(|| cache.remove(&0));
        has_entered.recv().unwrap();
        // The next victim is 0, which is being removed. Nothing is inserted here: a key may share
        // its gate.
        cache.set_capacity(5).unwrap();
        assert_eq!(cache.get(&0), Some(0));
        assert_eq!(cache.len(), 5);
        go_on.send(()).unwrap();
        assert_eq!(blocked.join().unwrap(), Some(0));
    });
    assert_eq!((cache.len(), cache.get(&0)), (4, None));
    cache.validate();
}

#[test]
fn a_demoted_victim_whose_gate_is_taken_stays_the_next_to_leave() {
    let (entered, has_entered) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel::<()>();
    let may_go_on = Mutex::new(may_go_on);
    let cache = inline(10)
        .policy(Policy::lru())
        .atomic_listener(move |removal: &Removal<'_, u32, u32>| {
            if removal.new_value == Some(&77) {
                entered.send(()).unwrap();
                may_go_on.lock().unwrap().recv().unwrap();
            }
        })
        .build()
        .unwrap();
    for key in 0..10 {
        cache.insert(key, key);
    }
    thread::scope(|scope| {
        let blocked = scope.spawn(|| cache.insert(7, 77));
        has_entered.recv().unwrap();
        assert!(cache.demote(&7));
        // The next victim is 7, which is being replaced.
        cache.insert(100, 100);
        assert_eq!((cache.get(&0), cache.peek(&7)), (None, Some(7)));
        assert_eq!(cache.coldest(1), [7]);
        go_on.send(()).unwrap();
        assert_eq!(blocked.join().unwrap(), Inserted::Replaced);
    });
    cache.validate();
}

#[test]
fn a_listener_that_panics_is_counted_and_the_removal_goes_on() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let cache = inline(2)
        .atomic_listener(move |_: &Removal<'_, u32, u32>| {
            counted.fetch_add(1, Ordering::SeqCst);
            panic!("the listener's own");
        })
        .build()
        .unwrap();
    for key in 0..5 {
        cache.insert(key, key);
    }
    assert_eq!(cache.len(), 2);
    let present = cache.keys().next().unwrap();
    assert_eq!(cache.insert(present, 9), Inserted::Replaced);
    assert_eq!(cache.remove(&present), Some(9));
    cache.clear();
    assert_eq!(cache.len(), 0);
    assert_eq!(calls.load(Ordering::SeqCst), 6);
    assert_eq!(cache.stats().listener_panics, 6);
    cache.validate();
}

#[test]
fn changes_from_within_are_refused_and_lookups_are_not() {
    let slot: Arc<OnceLock<Cache<u32, u32>>> = Arc::default();
    let own = Arc::clone(&slot);
    let cache = inline(100)
        .atomic_listener(move |removal: &Removal<'_, u32, u32>| {
            let cache = own.get().unwrap();
            let refused = Inserted::Rejected(Rejection::WithinListener);
            assert_eq!(cache.get(removal.key), Some(*removal.value));
            assert_eq!(cache.insert(*removal.key, 7), refused);
            assert_eq!(cache.insert(99, 7), refused);
            assert_eq!(cache.insert_if_absent(99, 7), refused);
            assert_eq!(cache.replace(*removal.key, 7), refused);
            assert_eq!(cache.insert_with_tags(99, 7, ["t"]), refused);
            assert_eq!(cache.insert_unevictable(99, 7), refused);
            let panics = |change: &dyn Fn()| {
                assert!(catch_unwind(AssertUnwindSafe(change)).is_err(), "not refused");
            };
            panics(&|| assert_eq!(cache.remove(removal.key), None));
            panics(&|| assert!(cache.remove_if(removal.key, |_, _| true)));
            panics(&|| cache.clear());
            cache.run_pending();
            assert_eq!(cache.iter().count(), 2);
        })
        .build()
        .unwrap();
    slot.set(cache.clone()).unwrap();
    cache.insert(1, 1);
    cache.insert(2, 2);
    assert_eq!(cache.insert(1, 3), Inserted::Replaced);
    assert_eq!(cache.stats().listener_panics, 0);
    assert_eq!((cache.get(&1), cache.get(&99)), (Some(3), None));
    cache.validate();
}

#[test]
fn closures_that_a_change_asks_are_refused_changes_too() {
    struct Meddler(Arc<OnceLock<Cache<u32, u32>>>);
    impl larder::Expiry<u32, u32> for Meddler {
        fn after_create(&self, key: &u32, _: &u32) -> Option<Duration> {
            let refused = self.0.get().unwrap().insert(*key, 0);
            assert_eq!(refused, Inserted::Rejected(Rejection::WithinListener));
            None
        }
    }
    let slot = Arc::new(OnceLock::new());
    let cache = inline(100)
        .expiry(Meddler(Arc::clone(&slot)))
        .atomic_listener(|_: &Removal<'_, u32, u32>| {})
        .build()
        .unwrap();
    slot.set(cache.clone()).unwrap();
    for key in 0..10 {
        assert_eq!(cache.insert(key, key), Inserted::Added);
        assert_eq!(cache.insert(key, key), Inserted::Replaced);
    }
    let refused = || cache.insert(99, 0) == Inserted::Rejected(Rejection::WithinListener);
    assert!(cache.remove_if(&1, |_, _| refused()));
    assert_eq!(cache.invalidate_if(|key, _| *key < 5 && refused()), 4);
    assert_eq!(cache.read(&7, |_| cache.remove(&8)), Some(Some(8)), "a lookup is no change");
    assert_eq!(cache.len(), 4);
    cache.validate();
}

#[test]
fn values_that_change_the_cache_as_they_are_dropped_do_so_outside_of_gates() {
    type Slot = Arc<OnceLock<Cache<u32, Noisy>>>;
    struct Noisy(Option<(Slot, u32)>);
    impl Drop for Noisy {
        fn drop(&mut self) {
            if let Some((slot, key)) = self.0.take() {
                slot.get().unwrap().insert(key % 64, Noisy(None));
            }
        }
    }
    for mode in [Maintenance::Inline, Maintenance::Background] {
        let slot = Slot::default();
        let told = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&told);
        let cache = Cache::builder()
            .capacity(32)
            .partitions(1)
            .maintenance(mode)
            .atomic_listener(move |_: &Removal<'_, u32, Noisy>| {
                count.fetch_add(1, Ordering::SeqCst);
            })
            .build()
            .unwrap();
        let _ = slot.set(cache.clone());
        thread::scope(|scope| {
            for thread in 0..2 {
                let (cache, slot) = (&cache, &slot);
                scope.spawn(move || {
                    for round in 0..2_000 {
                        let key = round * 7 + thread;
                        cache.insert(key % 96, Noisy(Some((Arc::clone(slot), key))));
                        if round % 500 == 0 {
                            cache.clear();
                        }
                    }
                });
            }
        });
        assert!(told.load(Ordering::SeqCst) > 1_000);
        // What a drop inserts evicts nothing at once; what is dropped last inserts nothing.
        let _ = cache.flush();
        while cache.len() > 32 {
            cache.run_pending();
            let _ = cache.flush();
        }
        cache.validate();
    }
}

#[test]
fn listener_of_another_cache_may_be_changed_from_within() {
    let behind: Cache<u32, u32> = inline(1_000).build().unwrap();
    let store = behind.clone();
    let cache = inline(10)
        .atomic_listener(move |removal: &Removal<'_, u32, u32>| {
            store.insert(*removal.key, *removal.value);
        })
        .build()
        .unwrap();
    for key in 0..100 {
        cache.insert(key, key);
    }
    assert_eq!((cache.len(), behind.len()), (10, 90));
    assert!((0..100).all(|key| cache.contains_key(&key) ^ behind.contains_key(&key)));
}

#[test]
fn under_a_pin_nothing_is_evicted_until_later() {
    let (cache, told) = noting(inline(10));
    let pinned = cache.pin();
    for key in 0..20 {
        cache.insert(key, key);
    }
    assert_eq!((cache.len(), told.lock().unwrap().len()), (20, 0));
    drop(pinned);
    cache.run_pending();
    assert_eq!((cache.len(), told.lock().unwrap().len()), (10, 10));
    cache.validate();
}

#[test]
fn lowering_a_bound_where_the_listener_cannot_be_notified_returns_and_later_runs_evict() {
    type Lower<'c> = Box<dyn Fn() + 'c>;
    type Within = fn(&Cache<u32, u32>, Lower<'_>);
    const WITHIN: [(&str, Within); 4] = [
        ("a pin", |cache, lower| {
            let _pinned = cache.pin();
            lower();
        }),
        ("a reader", |cache, lower| {
            cache.read(&1, |_| lower());
        }),
        ("a gate", |cache, lower| {
            cache.remove_if(&1, |_, _| {
                lower();
                false
            });
        }),
        ("the listener", |cache, _| {
            cache.remove(&0);
        }),
    ];
    for (what, within) in WITHIN {
        for mode in [Maintenance::Inline, Maintenance::Background] {
            let slot: Arc<OnceLock<Cache<u32, u32>>> = Arc::default();
            let own = Arc::clone(&slot);
            let cache = inline(100)
                .maintenance(mode)
                .atomic_listener(move |removal: &Removal<'_, u32, u32>| {
                    if removal.cause == RemovalCause::Explicit {
                        own.get().unwrap().set_capacity(10).unwrap();
                    }
                })
                .build()
                .unwrap();
            // Ends with the process: the listener owns the cache that owns it.
            slot.set(cache.clone()).unwrap();
            for key in 0..100 {
                cache.insert(key, key);
            }
            cache.run_pending();
            within(&cache, Box::new(|| cache.set_capacity(10).unwrap()));
            assert_eq!(cache.capacity(), Some(10), "{what}");
            // In background mode the maintenance thread comes by itself.
            while cache.len() > 10 {
                if mode == Maintenance::Inline {
                    cache.run_pending();
                }
                thread::yield_now();
            }
            cache.validate();
        }
    }
}

#[test]
fn values_that_were_not_stored_are_dropped_outside_of_gates() {
    static CACHE: OnceLock<Cache<u32, Rejected>> = OnceLock::new();
    struct Rejected(bool);
    impl Drop for Rejected {
        fn drop(&mut self) {
            if self.0 {
                let cache = CACHE.get().unwrap();
                assert!(cache.remove_if(&2, |_, _| true), "refused within the gate of 1");
                assert_eq!(cache.insert(2, Rejected(false)), Inserted::Added);
            }
        }
    }
    let cache = Cache::builder()
        .max_weight(100)
        .maintenance(Maintenance::Inline)
        // Changes the key between the first look at it and the change.
        .weigher(|key: &u32, value: &Rejected| {
            if *key == 1 && value.0 {
                let cache = CACHE.get().unwrap();
                if !cache.remove_if(&1, |_, _| true) {
                    cache.insert(1, Rejected(false));
                }
            }
            1
        })
        .atomic_listener(|_: &Removal<'_, u32, Rejected>| ())
        .build()
        .unwrap();
    let cache = CACHE.get_or_init(|| cache);
    cache.insert(2, Rejected(false));
    let inserted = cache.insert_if_absent(1, Rejected(true));
    assert_eq!(inserted, Inserted::Rejected(Rejection::Present));
    let replaced = cache.replace(1, Rejected(true));
    assert_eq!(replaced, Inserted::Rejected(Rejection::Absent));
    cache.validate();
}

#[test]
fn keys_and_values_are_dropped_once() {
    let ledger = Ledger::new();
    let told = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&told);
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
    ledger.assert_living(0, "values told of");
    assert_eq!(told.load(Ordering::SeqCst), 1_000 - left, "what is left is not told");
}

/// Of one key: the values that left, and what took their places.
type Log = Mutex<Vec<(u64, Option<u64>)>>;

/// Threads that do everything to few keys. Each value is told exactly once, as the one that is
/// visible; one that replaced another is the next of its key that is told.
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
            let told = (*removal.value, removal.new_value.copied());
            note[*removal.key as usize].lock().unwrap().push(told);
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
    let mut told = HashMap::new();
    for (key, log) in log.iter().enumerate() {
        let mut expected = None;
        for (old, new) in log.lock().unwrap().iter() {
            assert!(expected.is_none_or(|it| it == *old), "{key}: {old} where {expected:?} stood");
            assert_eq!(told.insert(*old, key), None, "{old} was told twice");
            expected = *new;
        }
        assert_eq!(expected, None, "{key}: what took a place was not told");
    }
    let told: HashSet<u64> = told.into_keys().collect();
    assert_eq!(told, stored.into_inner().unwrap(), "told is what was stored");
}

#[test]
fn racing_threads_are_told_of_in_order_inline() {
    for policy in [Policy::lru(), Policy::default()] {
        let builder = Cache::builder().capacity(16).partitions(1).policy(policy);
        stress(builder.maintenance(Maintenance::Inline), 3_000);
    }
}

#[test]
fn racing_threads_are_told_of_in_order_in_background() {
    for partitions in [1, 4] {
        stress(Cache::builder().capacity(16).partitions(partitions), 5_000);
    }
}

#[test]
fn both_listeners_hear_of_the_same_removals() {
    let seen = Arc::new(AtomicUsize::new(0));
    let heard = Arc::new(AtomicUsize::new(0));
    let (see, hear) = (Arc::clone(&seen), Arc::clone(&heard));
    let cache: Cache<u32, u32> = Cache::builder()
        .capacity(50)
        .atomic_listener(move |_: &Removal<'_, u32, u32>| {
            see.fetch_add(1, Ordering::SeqCst);
        })
        .listener(larder::Listener::new(move |_: &Removal<'_, u32, u32>| {
            hear.fetch_add(1, Ordering::SeqCst);
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
    assert_eq!(seen.load(Ordering::SeqCst), 6_000);
    assert_eq!(heard.load(Ordering::SeqCst), 6_000);
}

#[test]
fn what_removes_many_removes_all_of_them_however_many() {
    for mode in [Maintenance::Inline, Maintenance::Background] {
        for count in [50, 129, 500, 5_000_u32] {
            let told = Arc::new(AtomicUsize::new(0));
            let note = Arc::clone(&told);
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
            assert_eq!(told.load(Ordering::SeqCst), 2 * count as usize);
            cache.validate();
        }
    }
}

#[test]
fn no_eviction_or_expiry_is_lost_to_the_statistics() {
    for mode in [Maintenance::Inline, Maintenance::Background] {
        let told: Arc<[AtomicU64; 2]> = Arc::default();
        let note = Arc::clone(&told);
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
        let [evicted, expired] = [0, 1].map(|at| told[at].load(Ordering::SeqCst));
        assert_eq!((stats.evictions, stats.evicted_weight), (evicted, 7 * evicted), "{mode:?}");
        assert_eq!((stats.expirations, stats.expired_weight), (expired, 7 * expired), "{mode:?}");
        cache.validate();
    }
}

/// A cache with both kinds of listeners, which hear causes, and of which the atomic one moves the clock
/// by ten seconds.
fn slow(clock: &FakeClock) -> (Builder<u32, u32>, Arc<Mutex<Vec<RemovalCause>>>) {
    let heard: Arc<Mutex<Vec<RemovalCause>>> = Arc::default();
    let (first, second, moved) = (Arc::clone(&heard), Arc::clone(&heard), clock.clone());
    let builder = inline(100)
        .clock(clock.clone())
        .atomic_listener(move |removal: &Removal<'_, u32, u32>| {
            first.lock().unwrap().push(removal.cause);
            moved.advance(Duration::from_secs(10));
        })
        .listener(larder::Listener::new(move |removal: &Removal<'_, u32, u32>| {
            second.lock().unwrap().push(removal.cause);
        }));
    (builder, heard)
}

#[test]
fn what_expires_while_the_listener_runs_leaves_for_the_cause_that_was_told() {
    use RemovalCause::{Explicit, Replaced};
    let clock = FakeClock::new();
    let (builder, heard) = slow(&clock);
    let cache = builder.time_to_live(Duration::from_secs(5)).build().unwrap();
    let take = || std::mem::take(&mut *heard.lock().unwrap());
    cache.insert(1, 10);
    assert_eq!(cache.insert(1, 11), Inserted::Replaced);
    assert_eq!(take(), [Replaced, Replaced]);
    assert_eq!(cache.replace(1, 12), Inserted::Replaced);
    assert_eq!(take(), [Replaced, Replaced]);
    assert_eq!(cache.remove(&1), Some(12));
    assert_eq!(take(), [Explicit, Explicit]);
    cache.insert(1, 13);
    assert!(cache.remove_if(&1, |_, _| true));
    assert_eq!(take(), [Explicit, Explicit]);
    cache.insert(1, 14);
    assert_eq!(cache.invalidate_if(|_, _| true), 1);
    assert_eq!(take(), [Explicit, Explicit]);
    let stats = cache.stats();
    assert_eq!((stats.replacements, stats.removals, stats.expirations), (2, 3, 0));
    cache.validate();
}

#[test]
fn a_lifetime_begins_when_the_entry_becomes_visible_not_before_the_listener_ran() {
    struct Asked(Arc<AtomicUsize>);
    impl larder::Expiry<u32, u32> for Asked {
        fn after_create(&self, _: &u32, _: &u32) -> Option<Duration> {
            self.0.fetch_add(1, Ordering::SeqCst);
            Some(Duration::from_secs(5))
        }
    }
    let second = Duration::from_secs(1);
    for kind in 0..4 {
        let clock = FakeClock::new();
        let asked = Arc::new(AtomicUsize::new(0));
        let (builder, _) = slow(&clock);
        let builder = match kind {
            0 => builder.time_to_live(5 * second),
            1 => builder.time_to_idle(5 * second),
            2 => builder.time_to_live(5 * second).time_to_idle(8 * second),
            _ => builder.expiry(Asked(Arc::clone(&asked))),
        };
        let cache = builder.build().unwrap();
        let holds = |value: u32| {
            assert_eq!(cache.get(&1), Some(value), "kind {kind}");
            let left = cache.inspect(&1).unwrap().expires_in.unwrap();
            assert_eq!(left, 5 * second, "kind {kind}");
            clock.advance(second);
        };
        let mut insertions = 0;
        let mut check = |insert: &dyn Fn(u32) -> Inserted| {
            for wanted in [Inserted::Replaced, Inserted::Replaced] {
                insertions += 1;
                let value = 100 + insertions;
                assert_eq!(insert(value), wanted);
                holds(value);
            }
        };
        assert_eq!(cache.insert(1, 1), Inserted::Added);
        check(&|value| cache.insert(1, value));
        check(&|value| cache.replace(1, value));
        if kind != 3 {
            check(&|value| cache.insert_with_ttl(1, value, 5 * second));
            check(&|value| cache.insert_with_tags(1, value, ["tag"]));
        } else {
            assert_eq!(asked.load(Ordering::SeqCst), 5, "once for each insertion");
        }
        cache.validate();
    }
}

#[test]
fn nothing_but_changes_of_the_same_key_waits_for_the_listener() {
    let (entered, has_entered) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel::<()>();
    let may_go_on = Mutex::new(may_go_on);
    let is_blocking = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let blocks = Arc::clone(&is_blocking);
    let cache = Cache::builder()
        .capacity(10_000)
        .atomic_listener(move |removal: &Removal<'_, u32, u32>| {
            if blocks.swap(false, Ordering::SeqCst) {
                entered.send(*removal.key).unwrap();
                may_go_on.lock().unwrap().recv().unwrap();
            }
        })
        .build()
        .unwrap();
    let removals: [fn(&Cache<u32, u32>); 4] = [
        Cache::clear,
        |cache| cache.retain(|_, _| false),
        |cache| assert_eq!(cache.insert(17, 0), Inserted::Replaced),
        |cache| cache.set_capacity(4_000).unwrap(),
    ];
    for removal in removals {
        cache.set_capacity(10_000).unwrap();
        for key in 0..5_000 {
            cache.insert(key, key);
        }
        is_blocking.store(true, Ordering::SeqCst);
        thread::scope(|scope| {
            let blocked = scope.spawn(|| removal(&cache));
            let held = has_entered.recv().unwrap();
            // One key alone is being changed, whatever the call does to others later.
            for key in (0..20_000).filter(|key| *key != held) {
                cache.insert(key, key + 1);
                cache.remove(&key);
            }
            go_on.send(()).unwrap();
            blocked.join().unwrap();
        });
        cache.run_pending();
        cache.validate();
    }
}

#[test]
fn a_change_inside_a_listener_is_refused_rather_than_waiting_for_another_thread() {
    // Two caches; each thread is inside one's listener for key 1 and wants to change key 1 of the other.
    type Slots = [Arc<OnceLock<Cache<u32, u32>>>; 2];
    let slots: Slots = Default::default();
    let barrier = Arc::new(Barrier::new(2));
    let (sender, results) = mpsc::channel();
    let make = |other: usize| {
        let (other, barrier) = (Arc::clone(&slots[other]), Arc::clone(&barrier));
        let sender = Mutex::new(sender.clone());
        inline(100)
            .atomic_listener(move |_: &Removal<'_, u32, u32>| {
                let other = other.get().unwrap();
                barrier.wait();
                sender.lock().unwrap().send(other.insert(1, 9)).unwrap();
                let is_refused = catch_unwind(AssertUnwindSafe(|| other.remove(&1))).is_err();
                assert!(is_refused);
                assert_eq!(other.get(&1), Some(1), "lookups never wait");
                assert_eq!(other.insert(2, 2), Inserted::Added, "nor does another key");
                barrier.wait();
            })
            .build()
            .unwrap()
    };
    let caches = [make(1), make(0)];
    for (slot, cache) in slots.iter().zip(&caches) {
        slot.set(cache.clone()).unwrap();
        cache.insert(1, 1);
    }
    thread::scope(|scope| {
        for cache in &caches {
            scope.spawn(move || assert_eq!(cache.remove(&1), Some(1)));
        }
    });
    for _ in 0..2 {
        let refused = Inserted::Rejected(Rejection::WithinListener);
        assert_eq!(results.recv().unwrap(), refused);
    }
    for cache in &caches {
        assert_eq!((cache.len(), cache.stats().listener_panics), (1, 0));
        cache.validate();
    }
}
