//! Every key and value is dropped exactly once, and in time, even if user code panics.

use std::cell::Cell;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use larder::{Cache, Inserted, Maintenance};

use crate::support;
use crate::support::configs::{Config, for_each_config};
use crate::support::counted::{Counted, Ledger, Place, REQUESTED};
use crate::support::panic_message;
use crate::support::rng::{Rng, seeds};

type CountedCache = Cache<Counted, Counted>;

/// Afterwards everything that left the cache has been dropped.
#[track_caller]
fn flush(cache: &CountedCache) {
    cache.run_pending();
    // Tests of `pins` run beside these.
    support::flush(cache);
}

/// Asserts that the cache holds `entries` entries and nothing else is alive, that it works, and
/// that its end drops everything.
#[track_caller]
fn assert_clean_and_usable(cache: CountedCache, ledger: &Arc<Ledger>, what: &str) {
    assert!(!ledger.disarm(), "{what}: the requested panic never came");
    cache.validate();
    flush(&cache);
    ledger.assert_living(cache.len() * 2, what);
    for id in 500..540 {
        cache.insert(ledger.make(id), ledger.make(id));
        assert!(cache.contains_key(&id) || cache.maybe_evicts(), "{what}: {id} is missing");
    }
    cache.remove_if(&510, |_, _| true);
    flush(&cache);
    cache.validate();
    ledger.assert_living(cache.len() * 2, what);
    drop(cache);
    ledger.assert_living(0, what);
}

trait MaybeEvicts {
    fn maybe_evicts(&self) -> bool;
}

impl MaybeEvicts for CountedCache {
    fn maybe_evicts(&self) -> bool {
        self.capacity().is_some_and(|capacity| capacity < 1_000)
            || self.max_weight().is_some_and(|weight| weight < 1_000)
    }
}

fn filled(config: &Config, ledger: &Arc<Ledger>, entries: u64, capacity: usize) -> CountedCache {
    let cache = config.cache::<Counted, Counted>(capacity);
    for id in 0..entries {
        cache.insert(ledger.make(id), ledger.make(id));
    }
    cache
}

#[test]
fn dropping_the_cache_drops_each_key_and_value_once() {
    for_each_config(|config| {
        let ledger = Ledger::new();
        let cache = filled(config, &ledger, 300, 100);
        drop(cache);
        ledger.assert_living(0, "dropped at once");
        let cache = filled(config, &ledger, 50, 100);
        cache.run_pending();
        let other = cache.clone();
        drop(cache);
        ledger.assert_living(100, "a clone is left");
        drop(other);
        ledger.assert_living(0, "the last clone is gone");
    });
}

#[test]
fn random_operations_leak_nothing_and_drop_nothing_twice() {
    for seed in seeds(0xd20b, 1) {
        for_each_config(|config| {
            let ledger = Ledger::new();
            let cache = config.cache::<Counted, Counted>(48);
            let mut rng = Rng::new(seed);
            for step in 0..1_500 {
                let id = rng.skewed_below(120);
                match rng.below(16) {
                    0..5 => drop(cache.insert(ledger.make(id), ledger.make(id))),
                    5 => drop(cache.insert_if_absent(ledger.make(id), ledger.make(id))),
                    6 => drop(cache.replace(ledger.make(id), ledger.make(id))),
                    7 => drop(cache.remove(&id)),
                    8 => drop(cache.remove_if(&id, |_, value| value.id() % 2 == 0)),
                    9..13 => assert!(cache.get(&id).is_none_or(|value| value.id() == id)),
                    13 => assert!(cache.pin().get(&id).is_none_or(|value| value.id() == id)),
                    14 => drop(cache.read(&id, Counted::id)),
                    _ if step % 7 == 0 => cache.retain(|key, _| key.id() % 5 != 0),
                    _ if step % 97 == 0 => cache.clear(),
                    _ => assert!(cache.iter().all(|(key, value)| key.id() == value.id())),
                }
                if step % 300 == 0 {
                    flush(&cache);
                    let what = format!("seed {seed}, step {step}");
                    ledger.assert_living(cache.len() * 2, &what);
                }
            }
            flush(&cache);
            ledger.assert_living(cache.len() * 2, &format!("seed {seed}, flushed"));
            cache.validate();
            drop(cache);
            ledger.assert_living(0, &format!("seed {seed}, dropped"));
        });
    }
}

#[test]
fn flush_drops_replaced_removed_evicted_and_cleared_values() {
    for_each_config(|config| {
        let ledger = Ledger::new();
        let cache = filled(config, &ledger, 40, 1_000);
        for id in 0..40 {
            cache.insert(ledger.make(id), ledger.make(id));
        }
        flush(&cache);
        ledger.assert_living(80, "replaced");
        for id in 0..10 {
            cache.remove(&id);
        }
        flush(&cache);
        ledger.assert_living(60, "removed");
        cache.retain(|key, _| key.id() < 30);
        flush(&cache);
        ledger.assert_living(40, "not retained");
        cache.clear();
        flush(&cache);
        ledger.assert_living(0, "cleared");
        let small = filled(config, &ledger, 500, 20);
        flush(&small);
        assert!(small.len() <= 20);
        ledger.assert_living(small.len() * 2, "evicted");
        assert_eq!(small.stats().waiting_bytes(), 0);
    });
}

#[test]
fn a_rejected_key_and_value_are_dropped_at_once() {
    for_each_config(|config| {
        let ledger = Ledger::new();
        let cache = filled(config, &ledger, 1, 100);
        let rejected = cache.insert_if_absent(ledger.make(0), ledger.make(0));
        assert!(matches!(rejected, Inserted::Rejected(_)));
        ledger.assert_living(2, "present");
        let rejected = cache.replace(ledger.make(1), ledger.make(1));
        assert!(matches!(rejected, Inserted::Rejected(_)));
        ledger.assert_living(2, "absent");
    });
    let ledger = Ledger::new();
    let cache = CountedCache::builder()
        .max_weight(10)
        .weigher(|key, _| key.id() as u32)
        .maintenance(Maintenance::Inline)
        .build()
        .unwrap();
    assert!(matches!(cache.insert(ledger.make(11), ledger.make(11)), Inserted::Rejected(_)));
    ledger.assert_living(0, "too heavy");
}

#[test]
fn many_threads_leak_nothing_and_drop_nothing_twice() {
    for_each_config(|config| {
        let ledger = Ledger::new();
        let cache = config.cache::<Counted, Counted>(32);
        let threads = crate::support::stress_threads() as u64;
        std::thread::scope(|scope| {
            for thread in 0..threads {
                let (cache, ledger) = (&cache, &ledger);
                scope.spawn(move || {
                    let mut rng = Rng::new(thread);
                    for _ in 0..600 {
                        let id = rng.skewed_below(96);
                        match rng.below(8) {
                            0..3 => drop(cache.insert(ledger.make(id), ledger.make(id))),
                            3 => drop(cache.insert_if_absent(ledger.make(id), ledger.make(id))),
                            4 => drop(cache.remove(&id)),
                            5 => drop(cache.get(&id)),
                            6 => drop(cache.read(&id, Counted::id)),
                            _ => drop(cache.replace(ledger.make(id), ledger.make(id))),
                        }
                    }
                });
            }
        });
        flush(&cache);
        ledger.assert_living(cache.len() * 2, "flushed");
        cache.validate();
        drop(cache);
        ledger.assert_living(0, "dropped");
    });
}

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
            cache.contains_key(&key);
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

/// A key that randomly violates the contract of `Hash` and `Eq`.
struct Fickle {
    tracked: Counted,
    chance: Arc<AtomicU64>,
}

impl Fickle {
    fn is_fickle(&self) -> bool {
        // Relaxed: the value may be any number.
        let step = self.chance.fetch_add(1, Ordering::Relaxed);
        Rng::new(step).below(4) == 0
    }
}

impl Hash for Fickle {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.tracked.id() % 8 + u64::from(self.is_fickle())).hash(state);
    }
}

impl PartialEq for Fickle {
    fn eq(&self, other: &Self) -> bool {
        (self.tracked.id() == other.tracked.id()) != self.is_fickle()
    }
}

impl Eq for Fickle {}

#[test]
fn keys_that_violate_the_contract_of_hash_and_eq_break_nothing_else() {
    for_each_config(|config| {
        let ledger = Ledger::new();
        let chance = Arc::new(AtomicU64::new(0));
        let make = |id| Fickle { tracked: ledger.make(id), chance: Arc::clone(&chance) };
        let cache = config.cache::<Fickle, Counted>(24);
        std::thread::scope(|scope| {
            for thread in 0..2 {
                let (cache, ledger, make) = (&cache, &ledger, &make);
                scope.spawn(move || {
                    let mut rng = Rng::new(thread);
                    for _ in 0..300 {
                        let id = rng.below(40);
                        match rng.below(6) {
                            0 | 1 => drop(cache.insert(make(id), ledger.make(id))),
                            2 => drop(cache.insert_if_absent(make(id), ledger.make(id))),
                            3 => drop(cache.replace(make(id), ledger.make(id))),
                            4 => drop(cache.remove(&make(id))),
                            _ => drop(cache.get(&make(id))),
                        }
                    }
                });
            }
        });
        cache.run_pending();
        cache.flush().unwrap();
        assert!(cache.len() <= 24);
        cache.validate();
        ledger.assert_living(cache.len() * 2, "flushed");
        drop(cache);
        ledger.assert_living(0, "dropped");
    });
}

/// Each drop stores another one, a limited number of times.
struct Restless {
    cache: Weak<OnceLock<Cache<u64, Restless>>>,
    left: Arc<AtomicU64>,
    deepest: Arc<AtomicU64>,
}

thread_local! {
    /// How many drops are under way, one within the other.
    static DEPTH: Cell<u64> = const { Cell::new(0) };
}

impl Drop for Restless {
    fn drop(&mut self) {
        let Some(cache) = self.cache.upgrade() else { return };
        DEPTH.set(DEPTH.get() + 1);
        self.deepest.fetch_max(DEPTH.get(), Ordering::Relaxed);
        let left = self.left.load(Ordering::Relaxed);
        if left > 0 {
            self.left.store(left - 1, Ordering::Relaxed);
            let next = Self {
                cache: Weak::clone(&self.cache),
                left: Arc::clone(&self.left),
                deepest: Arc::clone(&self.deepest),
            };
            cache.get().unwrap().insert(left, next);
        }
        DEPTH.set(DEPTH.get() - 1);
    }
}

#[test]
fn drops_that_write_do_not_accumulate_on_the_stack() {
    let shared = Arc::new(OnceLock::new());
    let builder = Cache::<u64, Restless>::builder().capacity(4).partitions(1);
    let _ = shared.set(builder.maintenance(Maintenance::Inline).build().unwrap());
    let cache = shared.get().unwrap();
    let (left, deepest) = (Arc::new(AtomicU64::new(5_000)), Arc::new(AtomicU64::new(0)));
    while left.load(Ordering::Relaxed) > 0 {
        let (left, deepest) = (Arc::clone(&left), Arc::clone(&deepest));
        cache.insert(u64::MAX, Restless { cache: Arc::downgrade(&shared), left, deepest });
    }
    assert_eq!(deepest.load(Ordering::Relaxed), 1);
}
