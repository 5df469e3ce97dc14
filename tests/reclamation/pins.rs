//! Memory that waits for pins: how it grows, is reported and is freed. Also caches that are used
//! from unusual places, such as destructors.

use std::cell::RefCell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, MutexGuard, PoisonError};

use larder::{Cache, Maintenance, Policy};

use crate::support::configs::for_each_config;
use crate::support::counted::{Counted, Ledger};
use crate::support::rng::Rng;

/// Lets one test run at a time: all caches of a process share one epoch, so a long pin of one test
/// would delay another.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

type Block = [u64; 64];

fn block(value: u64) -> Block {
    [value; 64]
}

#[test]
fn garbage_grows_during_a_long_pin_and_falls_after_it() {
    let _alone = alone();
    for_each_config(|config| {
        const CHURN: u64 = 2_000;
        let cache = config.cache::<u64, Block>(16);
        for key in 0..16 {
            cache.insert(key, block(key));
        }
        cache.run_pending();
        cache.flush().unwrap();
        let pinned = cache.pin();
        let values: Vec<(u64, &Block)> =
            (0..16).filter_map(|key| pinned.get(&key).map(|value| (key, value))).collect();
        assert!(!values.is_empty());
        std::thread::scope(|scope| {
            for thread in 0..2 {
                let cache = &cache;
                scope.spawn(move || {
                    for key in 0..CHURN {
                        cache.insert(100 + thread * CHURN + key, block(0));
                    }
                    cache.run_pending();
                });
            }
        });
        let waiting = cache.stats().waiting_bytes();
        let churned = 2 * CHURN * size_of::<Block>() as u64;
        assert!(waiting > churned / 2, "only {waiting} of {churned} bytes wait or are reported");
        let refused = cache.flush();
        assert!(refused.is_err(), "flush with the caller's own pin over garbage");
        for (key, value) in &values {
            assert_eq!(**value, block(*key), "a pinned value changed");
        }
        drop(pinned);
        cache.flush().unwrap();
        assert_eq!(cache.stats().waiting_bytes(), 0);
        cache.validate();
    });
}

#[test]
fn a_refusal_of_flush_names_its_reason_and_retains_nothing() {
    let _alone = alone();
    let ledger = Ledger::new();
    let cache = Cache::<u64, Counted>::new(100);
    for key in 0..50 {
        cache.insert(key, ledger.make(key));
    }
    let pinned = cache.pin();
    cache.clear();
    let error = cache.flush().unwrap_err();
    let message = error.to_string();
    assert!(message.contains("pin"), "the message names the pin: {message}");
    assert!(!message.ends_with('.'), "style of messages: {message}");
    ledger.assert_living(50, "held by the pin");
    drop(pinned);
    cache.flush().unwrap();
    ledger.assert_living(0, "flushed");
}

#[test]
fn flush_is_refused_while_another_thread_is_pinned_and_then_works() {
    let _alone = alone();
    // Each refusal waits until its patience ends, so the test does not run through all
    // configurations.
    for maintenance in [Maintenance::Inline, Maintenance::Background] {
        let ledger = Ledger::new();
        let cache = Cache::<u64, Counted>::builder()
            .capacity(1_000)
            .maintenance(maintenance)
            .build()
            .unwrap();
        for key in 0..20 {
            cache.insert(key, ledger.make(key));
        }
        cache.run_pending();
        let (is_pinned, may_end) = (Barrier::new(2), Barrier::new(2));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let pinned = cache.pin();
                let value = pinned.get(&7).unwrap();
                is_pinned.wait();
                may_end.wait();
                assert_eq!(value.id(), 7, "read after it was removed");
            });
            is_pinned.wait();
            for key in 0..20 {
                cache.remove(&key);
            }
            let refused = cache.flush();
            let living = ledger.living();
            // Release the thread first: after a panic here it would wait for ever.
            may_end.wait();
            assert!(refused.is_err(), "the other thread still reads");
            assert!(living >= 1);
        });
        cache.flush().unwrap();
        // `remove` returned clones, which were dropped at once.
        ledger.assert_living(0, "flushed");
        cache.validate();
    }
}

#[test]
fn a_pinned_value_outlives_its_replacement_removal_and_eviction() {
    let _alone = alone();
    for_each_config(|config| {
        let ledger = Ledger::new();
        let cache = config.cache::<u64, Counted>(8);
        for id in 0..4 {
            cache.insert(id, ledger.make(id));
        }
        {
            let pinned = cache.pin();
            let values: Vec<(u64, &Counted)> =
                (0..4).filter_map(|id| pinned.get(&id).map(|value| (id, value))).collect();
            assert!(!values.is_empty());
            cache.insert(0, ledger.make(100));
            cache.remove(&1);
            for id in 200..400 {
                cache.insert(id, ledger.make(id));
            }
            cache.clear();
            cache.run_pending();
            let _refused = cache.flush();
            for (id, value) in values {
                assert_eq!(value.id(), id);
            }
            assert_eq!(pinned.get(&0).map(Counted::id), None);
        }
        cache.flush().unwrap();
        ledger.assert_living(0, "flushed");
    });
}

#[test]
fn pins_nest_and_memory_is_freed_when_the_last_one_ends() {
    let _alone = alone();
    let ledger = Ledger::new();
    let cache = Cache::<u64, Counted>::new(100);
    cache.insert(1, ledger.make(1));
    let outer = cache.pin();
    let value = outer.get(&1).unwrap();
    {
        let inner = cache.pin();
        assert!(inner.contains_key(&1));
        cache.remove_if(&1, |_, _| true);
        assert!(!inner.contains_key(&1));
    }
    assert!(cache.flush().is_err());
    assert_eq!(value.id(), 1);
    drop(outer);
    cache.flush().unwrap();
    ledger.assert_living(0, "flushed");
}

#[test]
fn a_pin_of_one_cache_does_not_delay_the_drop_of_another() {
    let _alone = alone();
    for_each_config(|config| {
        let ledger = Ledger::new();
        let pinned_one = Cache::<u64, u64>::new(10);
        pinned_one.insert(1, 1);
        let pinned = pinned_one.pin();
        assert_eq!(pinned.get(&1), Some(&1));
        let cache = config.cache::<u64, Counted>(16);
        for id in 0..100 {
            cache.insert(id, ledger.make(id));
        }
        cache.clear();
        for id in 0..10 {
            cache.insert(id, ledger.make(id));
        }
        // This cache can no longer be read, so its memory need not wait.
        drop(cache);
        ledger.assert_living(0, "dropped while a thread is pinned for another cache");
        assert_eq!(pinned.get(&1), Some(&1));
    });
}

#[test]
fn writers_at_capacity_go_on_while_their_own_thread_is_pinned() {
    let _alone = alone();
    for_each_config(|config| {
        let ledger = Ledger::new();
        let cache = config.cache::<u64, Counted>(8);
        let pinned = cache.pin();
        for id in 0..1_000 {
            cache.insert(id, ledger.make(id));
            if config.maintenance == Maintenance::Inline {
                assert!(cache.len() <= 8);
            }
        }
        cache.run_pending();
        assert!(cache.len() <= 8);
        drop(pinned);
        cache.flush().unwrap();
        ledger.assert_living(cache.len(), "flushed");
    });
}

#[test]
fn garbage_without_any_pin_stays_bounded() {
    let _alone = alone();
    // If a quarter of all that was ever retired waits, nothing was freed on the way.
    let all = 8_000 * size_of::<Block>() as u64;
    for_each_config(|config| {
        let most_waiting = || {
            let cache = config.cache::<u64, Block>(16);
            let mut most = 0;
            for key in 0..8_000 {
                cache.insert(key, block(key));
                if key % 64 == 0 {
                    most = most.max(cache.stats().waiting_bytes());
                }
            }
            most
        };
        // If the system preempts a thread within a call, such as the maintenance thread, the thread
        // stays pinned, on a busy machine for long. It does not happen five times in a row.
        let is_bounded = (0..5).any(|_| most_waiting() < all / 4);
        assert!(is_bounded, "a quarter of {all} bytes waited, each time");
    });
}

/// A few heavy entries are as much garbage as many light ones, though so few would not be freed soon.
#[test]
fn garbage_is_bounded_by_weight_too() {
    let _alone = alone();
    for mode in [Maintenance::Inline, Maintenance::Background] {
        let most_living = || {
            let ledger = Ledger::new();
            let cache: Cache<u64, Counted> = Cache::builder()
                .max_weight(64_000)
                .weigher(|_, _| 1_000)
                .partitions(1)
                .maintenance(mode)
                .build()
                .unwrap();
            let count = |key| {
                cache.insert(key, ledger.make(key));
                ledger.living()
            };
            (0..5_000).map(count).max()
        };
        // As above. Without regard to weight, some hundred entries would wait besides the 64 in the cache.
        let is_bounded = (0..5).any(|_| most_living() < Some(128));
        assert!(is_bounded, "as much waited as there is, each time; {mode:?}");
    }
}

#[test]
fn threads_come_and_go_by_the_thousand() {
    let _alone = alone();
    for maintenance in [Maintenance::Inline, Maintenance::Background] {
        let ledger = Ledger::new();
        let cache = Cache::<u64, Counted>::builder()
            .capacity(64)
            .maintenance(maintenance)
            .policy(Policy::lru())
            .build()
            .unwrap();
        for thread in 0..500_u64 {
            std::thread::scope(|scope| {
                for half in 0..2 {
                    let (cache, ledger) = (&cache, &ledger);
                    scope.spawn(move || {
                        let id = thread * 2 + half;
                        cache.insert(id, ledger.make(id));
                        cache.pin().get(&(id / 2));
                        if id % 3 == 0 {
                            cache.remove_if(&(id / 3), |_, _| true);
                        }
                    });
                }
            });
        }
        cache.run_pending();
        cache.flush().unwrap();
        ledger.assert_living(cache.len(), "what ended threads left behind is freed");
        assert_eq!(cache.stats().waiting_bytes(), 0);
        cache.validate();
        drop(cache);
        ledger.assert_living(0, "dropped");
    }
}

/// Uses its cache, pins included, when its thread ends.
struct UsesAtExit {
    cache: Cache<u64, Counted>,
    ledger: Arc<Ledger>,
    runs: Arc<AtomicUsize>,
}

impl Drop for UsesAtExit {
    fn drop(&mut self) {
        for id in 0..40 {
            self.cache.insert(id, self.ledger.make(id));
            assert!(self.cache.get(&id).is_none_or(|value| value.id() == id));
        }
        {
            let pinned = self.cache.pin();
            assert!(pinned.get(&39).is_none_or(|value| value.id() == 39));
        }
        self.cache.remove(&39);
        self.cache.run_pending();
        let _may_be_held = self.cache.flush();
        self.runs.fetch_add(1, Ordering::SeqCst);
    }
}

thread_local! {
    static AT_EXIT: RefCell<Option<UsesAtExit>> = const { RefCell::new(None) };
}

#[test]
fn a_cache_works_in_destructors_of_thread_locals() {
    let _alone = alone();
    for_each_config(|config| {
        let ledger = Ledger::new();
        let cache = config.cache::<u64, Counted>(16);
        let runs = Arc::new(AtomicUsize::new(0));
        // In one thread the library's own thread-locals are made before ours, in the other after,
        // so that they are dropped in both orders.
        for uses_first in [true, false] {
            let thread = std::thread::spawn({
                let (cache, ledger, runs) = (cache.clone(), Arc::clone(&ledger), Arc::clone(&runs));
                move || {
                    if uses_first {
                        cache.insert(1, ledger.make(1));
                        cache.get(&1);
                    }
                    let at_exit = UsesAtExit { cache, ledger, runs };
                    AT_EXIT.with(|slot| {
                        let handle = at_exit.cache.clone();
                        *slot.borrow_mut() = Some(at_exit);
                        handle.get(&1);
                    });
                }
            });
            thread.join().unwrap();
        }
        assert_eq!(runs.load(Ordering::SeqCst), 2);
        cache.run_pending();
        cache.flush().unwrap();
        ledger.assert_living(cache.len(), "flushed");
        drop(cache);
        ledger.assert_living(0, "dropped");
    });
}

#[test]
fn the_last_handle_may_be_dropped_in_the_destructor_of_a_thread_local() {
    let _alone = alone();
    for_each_config(|config| {
        let ledger = Ledger::new();
        let runs = Arc::new(AtomicUsize::new(0));
        let cache = config.cache::<u64, Counted>(16);
        let at_exit = UsesAtExit { cache, ledger: Arc::clone(&ledger), runs: Arc::clone(&runs) };
        std::thread::spawn(move || {
            at_exit.cache.insert(1, at_exit.ledger.make(1));
            AT_EXIT.with(|slot| *slot.borrow_mut() = Some(at_exit));
        })
        .join()
        .unwrap();
        assert_eq!(runs.load(Ordering::SeqCst), 1);
        ledger.assert_living(0, "the thread took the cache with it");
    });
}

#[test]
fn a_value_may_own_a_cache() {
    let _alone = alone();
    for_each_config(|config| {
        let ledger = Ledger::new();
        let outer = config.cache::<u64, Cache<u64, Counted>>(8);
        for key in 0..40 {
            let inner = config.cache::<u64, Counted>(8);
            for id in 0..20 {
                inner.insert(id, ledger.make(id));
            }
            outer.insert(key, inner);
        }
        outer.run_pending();
        outer.flush().unwrap();
        let living: usize = outer
            .values()
            .map(|inner| {
                inner.run_pending();
                inner.flush().unwrap();
                inner.len()
            })
            .sum();
        ledger.assert_living(living, "only the inner caches that are left");
        outer.remove(&39);
        drop(outer);
        ledger.assert_living(0, "inner caches die with the outer");
    });
}

/// Uses the cache that it is stored in when it is dropped.
struct Reentrant {
    id: u64,
    cache: Arc<Mutex<Option<Cache<u64, Reentrant>>>>,
    drops: Arc<AtomicUsize>,
}

impl Drop for Reentrant {
    fn drop(&mut self) {
        self.drops.fetch_add(1, Ordering::SeqCst);
        // The lock is released at once, because the code below may drop other values.
        let cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(cache) = cache else { return };
        cache.read(&self.id, |other| other.id);
        let _ = cache.contains_key(&self.id);
        if self.id < 1_000 {
            let (id, cache_slot) = (self.id + 1_000, Arc::clone(&self.cache));
            cache.insert(id, Self { id, cache: cache_slot, drops: Arc::clone(&self.drops) });
        }
        cache.remove_if(&(self.id + 1), |_, _| true);
        cache.iter_count();
        cache.run_pending();
        let _may_be_held = cache.flush();
    }
}

trait IterCount {
    fn iter_count(&self) -> usize;
}

impl IterCount for Cache<u64, Reentrant> {
    /// `iter` needs clones, and `Reentrant` is not `Clone`.
    fn iter_count(&self) -> usize {
        let mut count = 0;
        self.retain(|_, _| {
            count += 1;
            true
        });
        count
    }
}

#[test]
fn a_value_may_use_its_cache_while_it_is_dropped() {
    let _alone = alone();
    for_each_config(|config| {
        let drops = Arc::new(AtomicUsize::new(0));
        let slot = Arc::new(Mutex::new(None));
        let cache = config.cache::<u64, Reentrant>(16);
        *slot.lock().unwrap() = Some(cache.clone());
        let make = |id| Reentrant { id, cache: Arc::clone(&slot), drops: Arc::clone(&drops) };
        for id in 0..100 {
            cache.insert(id, make(id));
        }
        for id in 90..100 {
            cache.insert(id, make(id));
        }
        cache.clear();
        cache.run_pending();
        // Dropping the first ones makes new ones, which the second flush drops.
        for _ in 0..3 {
            cache.clear();
            cache.flush().unwrap();
        }
        cache.validate();
        assert!(drops.load(Ordering::SeqCst) >= 110);
        // Break the circle, so that only this handle holds the cache.
        *slot.lock().unwrap() = None;
        drop(cache);
    });
}

#[test]
fn the_last_other_handle_may_be_dropped_inside_a_drop() {
    let _alone = alone();
    for_each_config(|config| {
        struct Holder(Option<Cache<u64, Holder>>, #[expect(dead_code)] Counted);
        let ledger = Ledger::new();
        let cache = config.cache::<u64, Holder>(4);
        // Each value holds a handle of the cache that it is in.
        for id in 0..50 {
            cache.insert(id, Holder(Some(cache.clone()), ledger.make(id)));
        }
        cache.read(&49, |holder| assert!(holder.0.is_some()));
        // Without this, the circle of handles would be a leak, as documented.
        cache.clear();
        cache.flush().unwrap();
        ledger.assert_living(0, "flushed");
        cache.insert(1, Holder(None, ledger.make(1)));
        drop(cache);
        ledger.assert_living(0, "dropped");
    });
}

#[test]
fn pins_and_churn_from_all_sides_read_only_live_values() {
    let _alone = alone();
    for_each_config(|config| {
        let ledger = Ledger::new();
        let cache = config.cache::<u64, Counted>(16);
        std::thread::scope(|scope| {
            for thread in 0..crate::support::stress_threads() as u64 {
                let (cache, ledger) = (&cache, &ledger);
                scope.spawn(move || {
                    let mut rng = Rng::new(thread);
                    for _ in 0..60 {
                        let pinned = cache.pin();
                        let mut values = Vec::new();
                        for _ in 0..10 {
                            let id = rng.below(40);
                            cache.insert(id, ledger.make(id));
                            let other = rng.below(40);
                            values.extend(pinned.get(&other).map(|value| (other, value)));
                        }
                        for (id, value) in values {
                            assert_eq!(value.id(), id);
                        }
                    }
                });
            }
        });
        cache.run_pending();
        cache.flush().unwrap();
        ledger.assert_living(cache.len(), "flushed");
    });
}

#[test]
fn caches_come_and_go_by_the_hundred() {
    let _alone = alone();
    let ledger = Ledger::new();
    for round in 0..200_u64 {
        let maintenance =
            if round % 2 == 0 { Maintenance::Inline } else { Maintenance::Background };
        let cache =
            Cache::<u64, Counted>::builder().capacity(4).maintenance(maintenance).build().unwrap();
        for id in 0..12 {
            cache.insert(id, ledger.make(id));
        }
        drop(cache);
        ledger.assert_living(0, &format!("round {round}"));
    }
}
