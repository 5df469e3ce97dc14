//! What waits for a listener that takes long, and what does not.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use larder::test::FakeClock;
use larder::{Builder, Cache, Inserted, Maintenance, Policy, Removal, RemovalCause};

use crate::support::stop_point;

use super::{inline, noting};

#[test]
fn maintenance_skips_a_victim_whose_gate_is_taken() {
    let (stop, has_entered, go_on) = stop_point();
    let cache = inline(10)
        .policy(Policy::fifo())
        .atomic_listener(move |removal: &Removal<'_, u32, u32>| {
            if *removal.key == 0 {
                stop(());
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
        // The next victim is 0, which is being removed. Nothing is inserted here, because a key may
        // share the gate of 0.
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
    let (stop, has_entered, go_on) = stop_point();
    let cache = inline(10)
        .policy(Policy::lru())
        .atomic_listener(move |removal: &Removal<'_, u32, u32>| {
            if removal.new_value == Some(&77) {
                stop(());
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
fn evictions_under_a_pin_are_deferred() {
    let (cache, notified) = noting(inline(10));
    let pinned = cache.pin();
    for key in 0..20 {
        cache.insert(key, key);
    }
    assert_eq!((cache.len(), notified.lock().unwrap().len()), (20, 0));
    drop(pinned);
    cache.run_pending();
    assert_eq!((cache.len(), notified.lock().unwrap().len()), (10, 10));
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
            // It lives until the process ends, because the listener owns the cache that owns it.
            slot.set(cache.clone()).unwrap();
            for key in 0..100 {
                cache.insert(key, key);
            }
            cache.run_pending();
            within(&cache, Box::new(|| cache.set_capacity(10).unwrap()));
            assert_eq!(cache.capacity(), Some(10), "{what}");
            // In background mode the maintenance thread does it by itself.
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

/// A cache with both kinds of listeners, which record causes. The atomic one advances the clock by
/// ten seconds.
fn slow(clock: &FakeClock) -> (Builder<u32, u32>, Arc<Mutex<Vec<RemovalCause>>>) {
    let causes: Arc<Mutex<Vec<RemovalCause>>> = Arc::default();
    let (first, second, moved) = (Arc::clone(&causes), Arc::clone(&causes), clock.clone());
    let builder = inline(100)
        .clock(clock.clone())
        .atomic_listener(move |removal: &Removal<'_, u32, u32>| {
            first.lock().unwrap().push(removal.cause);
            moved.advance(Duration::from_secs(10));
        })
        .listener(larder::Listener::new(move |removal: &Removal<'_, u32, u32>| {
            second.lock().unwrap().push(removal.cause);
        }));
    (builder, causes)
}

#[test]
fn an_entry_that_expires_while_the_listener_runs_leaves_for_the_notified_cause() {
    use RemovalCause::{Explicit, Replaced};
    let clock = FakeClock::new();
    let (builder, causes) = slow(&clock);
    let cache = builder.time_to_live(Duration::from_secs(5)).build().unwrap();
    let take = || std::mem::take(&mut *causes.lock().unwrap());
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
fn only_changes_of_the_same_key_wait_for_the_listener() {
    let (stop, has_entered, go_on) = stop_point();
    let is_blocking = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let blocks = Arc::clone(&is_blocking);
    let cache = Cache::builder()
        .capacity(10_000)
        .atomic_listener(move |removal: &Removal<'_, u32, u32>| {
            if blocks.swap(false, Ordering::SeqCst) {
                stop(*removal.key);
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
            let entered = has_entered.recv().unwrap();
            // Only this one key is being changed, whatever the call does to other keys later.
            for key in (0..20_000).filter(|key| *key != entered) {
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
