//! Every key and value is dropped exactly once, and in time, even if user code panics.

mod panics;

use std::cell::Cell;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use larder::{Cache, Inserted, Maintenance};

use crate::support;
use crate::support::configs::{Config, for_each_config};
use crate::support::counted::{Counted, Ledger};
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
