//! User code that panics, at each place and in each call: the cache stays valid, and everything is
//! dropped once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use larder::{Cache, Inserted, Maintenance};

use crate::support::configs::{Config, for_each_config};
use crate::support::counted::{Counted, Ledger, Place, REQUESTED};
use crate::support::panic_message;

use super::{CountedCache, assert_clean_and_usable, filled, flush};

/// Calls every verb, with a panic requested in the `nth` call of user code at `place`.
///
/// Returns how many steps panicked.
fn panicking_verbs(config: &Config, place: Place, nth: i64) -> usize {
    type Verb = fn(&CountedCache, Counted, Counted);
    let verbs: [(&str, Verb); 16] = [
        ("get", |cache, key, _| drop(cache.get(&key))),
        ("read", |cache, key, _| {
            cache.read(&key, Counted::id);
        }),
        ("peek", |cache, key, _| drop(cache.peek(&key))),
        ("contains_key", |cache, key, _| {
            let _ = cache.contains_key(&key);
        }),
        ("pinned get", |cache, key, _| {
            cache.pin().get(&key).map(Counted::id);
        }),
        ("insert", |cache, key, value| {
            cache.insert(key, value);
        }),
        ("insert_if_absent", |cache, key, value| {
            cache.insert_if_absent(key, value);
        }),
        ("replace", |cache, key, value| {
            cache.replace(key, value);
        }),
        ("remove", |cache, key, _| drop(cache.remove(&key))),
        ("remove_if", |cache, key, _| {
            cache.remove_if(&key, |_, _| true);
        }),
        ("retain", |cache, _, _| cache.retain(|key, _| key.id() % 2 == 0)),
        ("clear", |cache, _, _| cache.clear()),
        ("iter", |cache, _, _| drop(cache.iter().collect::<Vec<_>>())),
        ("keys and values", |cache, _, _| {
            drop(cache.keys().chain(cache.values()).collect::<Vec<_>>());
        }),
        ("run_pending", |cache, _, _| cache.run_pending()),
        ("flush", |cache, _, _| {
            let _may_panic = cache.flush();
        }),
    ];
    let mut panicked = 0;
    for (name, verb) in verbs {
        // A present key and an absent one.
        for id in [5, 70] {
            let ledger = Ledger::new();
            let cache = filled(config, &ledger, 40, 1_000);
            let (key, value) = (ledger.make(id), ledger.make(id));
            ledger.panic_at(place, nth);
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                verb(&cache, key, value);
            }));
            if let Err(payload) = outcome {
                assert_eq!(payload.downcast_ref::<&str>(), Some(&REQUESTED), "{name}");
                panicked += 1;
            }
            ledger.disarm();
            assert_clean_and_usable(cache, &ledger, &format!("{name} of {id}, {place:?} {nth}"));
        }
    }
    panicked
}

#[test]
fn a_panic_in_hash_leaves_the_cache_valid() {
    for_each_config(|config| assert!(panicking_verbs(config, Place::Hash, 1) >= 20));
}

#[test]
fn a_panic_in_eq_leaves_the_cache_valid() {
    for_each_config(|config| assert!(panicking_verbs(config, Place::Eq, 1) >= 10));
}

#[test]
fn a_panic_in_clone_leaves_the_cache_valid() {
    for_each_config(|config| {
        assert!(panicking_verbs(config, Place::Clone, 1) >= 6);
        panicking_verbs(config, Place::Clone, 17);
    });
}

#[test]
fn a_panic_in_drop_leaves_the_cache_valid() {
    for_each_config(|config| {
        for nth in [1, 2, 3] {
            panicking_verbs(config, Place::Drop, nth);
        }
    });
}

#[test]
fn a_panic_in_drop_does_not_prevent_other_drops() {
    for_each_config(|config| {
        for id in [0, 7, 39] {
            for nth in [1, 2] {
                let ledger = Ledger::new();
                let cache = filled(config, &ledger, 40, 1_000);
                cache.run_pending();
                ledger.only_for(id);
                ledger.panic_at(Place::Drop, nth);
                // The first panic may already happen here, in the caller's own drops.
                let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    cache.clear();
                    flush(&cache);
                }));
                assert!(!ledger.disarm(), "id {id}: it was dropped, so it must have panicked");
                flush(&cache);
                ledger.assert_living(0, &format!("id {id}, call {nth}"));
                assert_eq!(cache.stats().maintenance_panics, 1, "id {id}, call {nth}");
                cache.insert(ledger.make(1), ledger.make(1));
                assert_clean_and_usable(cache, &ledger, "after a panic in drop");
            }
        }
    });
}

#[test]
fn a_cache_in_which_every_drop_panics_still_drops_all() {
    for_each_config(|config| {
        let ledger = Ledger::new();
        let cache = filled(config, &ledger, 40, 20);
        ledger.panic_always(Place::Drop);
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for id in 0..60 {
                // The call may panic in what it drops itself, but not in what it retires.
                cache.insert(ledger.make(id), ledger.make(id));
            }
            cache.clear();
            flush(&cache);
        }));
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| flush(&cache)));
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(cache)));
        ledger.assert_living(0, "every drop panics");
        ledger.disarm();
    });
}

#[test]
fn dropping_a_full_cache_with_values_that_panic_drops_all() {
    for_each_config(|config| {
        for id in [0, 20, 39] {
            let ledger = Ledger::new();
            let cache = filled(config, &ledger, 40, 1_000);
            ledger.only_for(id);
            ledger.panic_at(Place::Drop, 1);
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(cache)));
            ledger.assert_living(0, &format!("id {id}"));
        }
    });
}

#[test]
fn a_panic_in_a_closure_leaves_the_cache_valid() {
    for_each_config(|config| {
        let ledger = Ledger::new();
        let cache = filled(config, &ledger, 40, 1_000);
        let message = panic_message("read", || {
            cache.read(&1, |_| panic!("in read"));
        });
        assert_eq!(message, "in read");
        cache.validate();
        let message = panic_message("remove_if", || {
            cache.remove_if(&1, |_, _| panic!("in remove_if"));
        });
        assert_eq!(message, "in remove_if");
        assert!(cache.contains_key(&1), "not removed");
        cache.validate();
        let mut asked = 0;
        let message = panic_message("retain", || {
            cache.retain(|_, _| {
                asked += 1;
                assert!(asked < 20, "in retain");
                false
            });
        });
        assert_eq!(message, "in retain");
        assert_eq!(cache.len(), 21, "those before the panic are gone, no others");
        assert_clean_and_usable(cache, &ledger, "closures");
    });
}

#[test]
fn a_panic_in_the_weigher_leaves_the_cache_unchanged() {
    for maintenance in [Maintenance::Inline, Maintenance::Background] {
        let ledger = Ledger::new();
        let panics = Arc::new(AtomicBool::new(false));
        let switch = Arc::clone(&panics);
        let cache = CountedCache::builder()
            .max_weight(2_000)
            .weigher(move |_, _| {
                assert!(!switch.load(Ordering::SeqCst), "in the weigher");
                2
            })
            .maintenance(maintenance)
            .partitions(1)
            .build()
            .unwrap();
        for id in 0..10 {
            cache.insert(ledger.make(id), ledger.make(id));
        }
        let value = cache.pin().get(&3).map(std::ptr::from_ref);
        for id in [3, 50] {
            type Verb = fn(&CountedCache, Counted, Counted) -> Inserted;
            let verbs: [Verb; 3] =
                [CountedCache::insert, CountedCache::insert_if_absent, CountedCache::replace];
            for verb in verbs {
                panics.store(true, Ordering::SeqCst);
                let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    verb(&cache, ledger.make(id), ledger.make(id))
                }));
                panics.store(false, Ordering::SeqCst);
                // Without a panic, the insertion was refused before the value was weighed.
                assert!(outcome.is_err() || matches!(outcome, Ok(Inserted::Rejected(_))));
                cache.validate();
                assert_eq!(cache.len(), 10);
                assert_eq!(cache.pin().get(&3).map(std::ptr::from_ref), value);
                assert!(!cache.contains_key(&50));
                ledger.assert_living(20, "a weigher that panics");
            }
        }
        cache.run_pending();
        assert_eq!(cache.weight(), 20);
        assert_clean_and_usable(cache, &ledger, "weigher");
    }
}

#[test]
fn a_panic_in_drop_while_others_evict_is_counted_and_survived() {
    for_each_config(|config| {
        let ledger = Ledger::new();
        let cache = config.cache::<Counted, Counted>(16);
        ledger.only_for(7);
        ledger.panic_always(Place::Drop);
        for _ in 0..3 {
            for id in 0..100 {
                // The call may panic in what belongs to the caller: a key that it brings along.
                let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    cache.insert(ledger.make(id), ledger.make(id));
                }));
            }
        }
        flush(&cache);
        ledger.disarm();
        assert!(cache.stats().maintenance_panics > 0);
        assert_clean_and_usable(cache, &ledger, "evicting");
    });
}

/// Panics when it is dropped, with a payload that shares a count.
struct Bomb {
    payloads: Arc<()>,
    is_nested: bool,
}

struct Payload {
    _counted: Arc<()>,
    is_nested: bool,
}

impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            std::panic::panic_any(Payload {
                _counted: Arc::clone(&self.payloads),
                is_nested: self.is_nested,
            });
        }
    }
}

impl Drop for Payload {
    fn drop(&mut self) {
        assert!(!self.is_nested || std::thread::panicking(), "in the drop of a payload");
    }
}

#[test]
fn the_payload_of_a_panic_in_drop_is_not_leaked() {
    for maintenance in [Maintenance::Inline, Maintenance::Background] {
        // Where the payload's own drop panics, the only claim is that the process does not abort.
        for is_nested in [false, true] {
            let payloads = Arc::new(());
            let cache = Cache::<u64, Bomb>::builder()
                .capacity(10)
                .maintenance(maintenance)
                .build()
                .unwrap();
            for key in 0..30 {
                cache.insert(key, Bomb { payloads: Arc::clone(&payloads), is_nested });
            }
            cache.run_pending();
            cache.flush().unwrap();
            assert_eq!(cache.stats().maintenance_panics, 20);
            drop(cache);
            let left = Arc::strong_count(&payloads) - 1;
            assert!(left == 0 || is_nested, "{left} payloads leaked");
        }
    }
}

/// Panics when it is dropped, unless a panic is under way.
struct PanicsOnDrop;

impl Drop for PanicsOnDrop {
    fn drop(&mut self) {
        assert!(std::thread::panicking(), "in the drop of a weigher");
    }
}

#[test]
fn a_weigher_whose_drop_panics_does_not_stop_maintenance() {
    for round in 0..200 {
        let bomb = PanicsOnDrop;
        let cache = Cache::<u64, u64>::builder()
            .max_weight(1_000)
            .weigher(move |_, _| {
                let _kept = &bomb;
                1
            })
            .build()
            .unwrap();
        for key in 0..round {
            cache.insert(key, key);
        }
        // The weigher may be dropped here, or together with the maintenance thread's handle.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(cache)));
    }
    // So few that no writer runs maintenance itself: only the thread applies them.
    let cache = Cache::<u64, u64>::new(100_000);
    cache.insert(1, 1);
    let mut polls = 0_u64;
    while cache.weight() == 0 {
        polls += 1;
        assert!(polls < 20_000_000, "the maintenance thread does not visit the cache any more");
        std::thread::yield_now();
    }
}
