//! The verbs that tell an expired key from a missing one, and caches that leave it to callers to remove
//! what has expired.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use larder::test::FakeClock;
use larder::{
    Builder, Cache, InsertOptions, Inserted, KeyState, Listener, Maintenance, Rejection, Removal,
    RemovalCause,
};

use super::{NANOSECOND, SECOND, TICK, wait_until};
use crate::support::configs::for_each_config;

type Causes = Arc<Mutex<Vec<(u32, RemovalCause)>>>;

/// Which listeners a cache has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listening {
    No,
    Queued,
    Atomic,
    Both,
}

/// Runs `check` on a lazily expiring cache of every configuration, without a listener and with each kind.
fn for_each_lazy_cache(mut check: impl FnMut(&Cache<u32, u32>, &FakeClock)) {
    for_each_config(|config| {
        for listening in [Listening::No, Listening::Queued, Listening::Atomic, Listening::Both] {
            let (queued, atomic) = (Causes::default(), Causes::default());
            let clock = FakeClock::new();
            let mut builder = config.builder::<u32, u32>(4096).expire_lazily().clock(clock.clone());
            if matches!(listening, Listening::Queued | Listening::Both) {
                builder = builder.listener(Listener::new(record_in(&queued)));
            }
            if matches!(listening, Listening::Atomic | Listening::Both) {
                builder = builder.atomic_listener(record_in(&atomic));
            }
            let cache = builder.build().unwrap();
            check(&cache, &clock);
            cache.run_pending();
            cache.validate();
            let sorted = |causes: &Causes| {
                let mut causes = causes.lock().unwrap().clone();
                causes.sort_by_key(|(key, cause)| (*key, format!("{cause:?}")));
                causes
            };
            if listening == Listening::No {
                continue;
            }
            let expired = |causes: &Causes| {
                let all = sorted(causes);
                all.iter().filter(|(_, cause)| *cause == RemovalCause::Expired).count() as u64
            };
            let expirations = cache.stats().expirations;
            if listening != Listening::Atomic {
                wait_until("all was delivered", || expired(&queued) == expirations);
            }
            if listening != Listening::Queued {
                assert_eq!(expired(&atomic), expirations, "{listening:?}");
            }
            if listening == Listening::Both {
                wait_until("both listeners know the same", || sorted(&queued) == sorted(&atomic));
            }
        }
    });
}

fn record_in(causes: &Causes) -> impl Fn(&Removal<'_, u32, u32>) + Send + Sync + 'static {
    let causes = Arc::clone(causes);
    move |removal| causes.lock().unwrap().push((*removal.key, removal.cause))
}

fn lazy() -> (Builder<u32, u32>, FakeClock) {
    let (builder, clock) = super::timed();
    (builder.expire_lazily(), clock)
}

#[test]
fn a_key_is_removed_in_the_state_that_the_call_returns() {
    for_each_lazy_cache(|cache, clock| {
        for key in 0..4 {
            cache.insert_with_ttl(key, key, SECOND);
        }
        cache.insert(4, 4);
        cache.insert_with_tags(5, 5, ["tag"]);
        cache.invalidate_tag("tag");
        clock.advance(SECOND);
        assert_eq!(cache.remove_if_expired(&0), KeyState::Valid, "valid up to its deadline");
        clock.advance(NANOSECOND);
        cache.run_pending();
        assert_eq!((cache.len(), cache.census().expired_len), (6, 4), "a timer removed an entry");
        assert!(cache.has_expired(&0));
        for (key, first) in [(0, KeyState::Expired), (9, KeyState::Missing)] {
            assert_eq!(cache.remove_if_expired(&key), first);
            assert_eq!(cache.remove_if_expired(&key), KeyState::Missing);
        }
        assert_eq!(cache.remove_if_expired(&4), KeyState::Valid);
        assert_eq!(cache.remove_if_expired(&5), KeyState::Invalidated);
        assert_eq!(cache.len(), 5, "a key that has not expired was removed");
        for (key, first) in
            [(1, KeyState::Expired), (4, KeyState::Valid), (5, KeyState::Invalidated)]
        {
            assert_eq!(cache.remove_key(&key), first);
            assert_eq!(cache.remove_key(&key), KeyState::Missing);
        }
        assert_eq!(cache.remove(&2), None);
        assert_eq!(cache.insert_if_absent(3, 33), Inserted::Added);
        cache.run_pending();
        assert_eq!((cache.len(), cache.get(&3)), (1, Some(33)));
        let stats = cache.stats();
        assert_eq!((stats.expirations, stats.removals, stats.invalidations), (4, 1, 1));
    });
}

#[test]
fn remove_expired_removes_all_that_has_expired_and_nothing_else() {
    for_each_lazy_cache(|cache, clock| {
        for key in 0..300 {
            cache.insert_with_ttl(key, key, if key % 3 == 0 { 100 * SECOND } else { SECOND });
        }
        // Brought forward, so that its timer is to be set anew.
        cache.expire_after(&0, Some(SECOND));
        cache.remove_expired();
        assert_eq!(cache.len(), 300);
        clock.advance(SECOND + TICK);
        cache.remove_expired();
        assert_eq!((cache.len(), cache.census().valid_len), (99, 99));
        assert_eq!(cache.stats().expirations, 201);
        clock.advance(100 * SECOND);
        assert_eq!((cache.len(), cache.get(&3)), (99, None));
        cache.remove_expired();
        assert!(cache.is_empty());
    });
}

#[test]
fn clear_and_count_counts_what_it_removes_by_state() {
    for_each_lazy_cache(|cache, clock| {
        for key in 0..10 {
            let tags: &[&str] = if key < 3 { &["tag"] } else { &[] };
            let ttl = SECOND * if key < 5 { 100 } else { 1 };
            cache.insert_with(key, key, InsertOptions::new().tags(tags).ttl(ttl));
        }
        cache.invalidate_tag("tag");
        clock.advance(2 * SECOND);
        let before = cache.census();
        assert_eq!((before.valid_len, before.expired_len, before.invalidated_len), (2, 5, 3));
        assert_eq!(cache.clear_and_count(), before);
        assert!(cache.is_empty());
        assert_eq!(cache.clear_and_count(), larder::Census::default());
    });
}

#[test]
fn timers_do_the_same_in_a_cache_without_lazy_expiry() {
    for maintenance in [Maintenance::Inline, Maintenance::Background] {
        let (builder, clock) = super::timed();
        let cache = builder.maintenance(maintenance).timer_tick(100 * SECOND).build().unwrap();
        cache.insert_with_ttl(1, 1, SECOND);
        cache.insert_with_ttl(2, 2, SECOND);
        clock.advance(2 * SECOND);
        assert_eq!(cache.remove_if_expired(&1), KeyState::Expired);
        assert_eq!(cache.remove_if_expired(&1), KeyState::Missing);
        cache.remove_expired();
        assert_eq!(cache.census().expired_len, 1, "the tick has not passed");
        clock.advance(200 * SECOND);
        cache.remove_expired();
        assert!(cache.is_empty());
        assert_eq!(cache.stats().expirations, 2);
        cache.validate();
    }
}

#[test]
fn one_of_several_threads_learns_that_a_key_has_expired() {
    const THREADS: usize = 4;
    for maintenance in [Maintenance::Inline, Maintenance::Background] {
        for is_atomic in [false, true] {
            let (builder, clock) = lazy();
            let builder = builder.maintenance(maintenance);
            let notified = Arc::new(AtomicUsize::new(0));
            let counter = Arc::clone(&notified);
            let builder = match is_atomic {
                false => builder,
                true => builder.atomic_listener(move |removal: &Removal<'_, u32, u32>| {
                    assert_eq!(removal.cause, RemovalCause::Expired);
                    counter.fetch_add(1, Ordering::Relaxed);
                }),
            };
            let cache = builder.build().unwrap();
            for key in 0..50 {
                cache.insert_with_ttl(key, key, SECOND);
            }
            clock.advance(2 * SECOND);
            let informed = AtomicUsize::new(0);
            thread::scope(|scope| {
                for thread in 0..THREADS {
                    let (cache, informed) = (&cache, &informed);
                    scope.spawn(move || {
                        for key in 0..50 {
                            let state = match thread % 2 {
                                0 => cache.remove_if_expired(&key),
                                _ => cache.remove_key(&key),
                            };
                            let is_informed = state == KeyState::Expired;
                            assert!(is_informed || state == KeyState::Missing);
                            informed.fetch_add(usize::from(is_informed), Ordering::Relaxed);
                        }
                    });
                }
            });
            assert_eq!(informed.into_inner(), 50);
            assert_eq!(notified.load(Ordering::Relaxed), if is_atomic { 50 } else { 0 });
            assert!(cache.is_empty());
            cache.validate();
        }
    }
}

#[test]
fn an_atomic_listener_cannot_remove_but_everything_goes_afterwards() {
    for maintenance in [Maintenance::Inline, Maintenance::Background] {
        let (builder, clock) = lazy();
        let inner: Arc<Mutex<Option<Cache<u32, u32>>>> = Arc::default();
        let (within, refused) = (Arc::clone(&inner), Arc::new(AtomicUsize::new(0)));
        let counter = Arc::clone(&refused);
        let cache = builder
            .maintenance(maintenance)
            .atomic_listener(move |removal: &Removal<'_, u32, u32>| {
                let cache = within.lock().unwrap().clone();
                let Some(cache) = cache.filter(|_| *removal.key == 0) else { return };
                let removals: [&dyn Fn(); 3] = [
                    &|| {
                        cache.remove_if_expired(&1);
                    },
                    &|| {
                        cache.remove_key(&1);
                    },
                    &|| {
                        cache.clear_and_count();
                    },
                ];
                for remove in removals {
                    let is_refused = catch_unwind(AssertUnwindSafe(remove)).is_err();
                    counter.fetch_add(usize::from(is_refused), Ordering::Relaxed);
                }
                cache.remove_expired();
                assert_eq!(cache.insert(1, 1), Inserted::Rejected(Rejection::WithinListener));
            })
            .build()
            .unwrap();
        *inner.lock().unwrap() = Some(cache.clone());
        for key in 0..3 {
            cache.insert_with_ttl(key, key, SECOND);
        }
        clock.advance(2 * SECOND);
        assert_eq!(cache.remove_if_expired(&0), KeyState::Expired);
        assert_eq!(refused.load(Ordering::Relaxed), 3, "a removal within the listener");
        assert_eq!(cache.stats().listener_panics, 0);
        assert_eq!(cache.len(), 2);
        cache.remove_expired();
        assert!(cache.is_empty());
        cache.validate();
        inner.lock().unwrap().take();
    }
}

#[test]
fn a_full_cache_evicts_though_expired_entries_remain() {
    let (builder, clock) = lazy();
    let cache = builder.capacity(10).policy(larder::Policy::fifo()).build().unwrap();
    cache.insert(0, 0);
    for key in 1..10 {
        cache.insert_with_ttl(key, key, SECOND);
    }
    clock.advance(2 * SECOND);
    cache.insert(10, 10);
    assert_eq!((cache.len(), cache.get(&0)), (10, None));
    cache.remove_expired();
    assert_eq!((cache.len(), cache.get(&10)), (1, Some(10)));
    cache.validate();
}

#[test]
fn an_entry_that_has_expired_and_was_invalidated_is_in_the_state_of_the_census() {
    for is_invalidated_first in [false, true] {
        for_each_lazy_cache(|cache, clock| {
            for key in 0..3 {
                cache.insert_with(key, key, InsertOptions::new().tags(&["tag"]).ttl(SECOND));
            }
            if is_invalidated_first {
                cache.invalidate_tag("tag");
            }
            clock.advance(2 * SECOND);
            assert_eq!(cache.get(&0), None);
            cache.invalidate_tag("tag");
            assert_eq!(cache.census().invalidated_len, 3);
            assert_eq!(cache.remove_if_expired(&0), KeyState::Invalidated);
            assert_eq!(cache.remove_key(&0), KeyState::Invalidated);
            let before = cache.census();
            assert_eq!((before.invalidated_len, cache.clear_and_count()), (2, before));
        });
    }
}

#[test]
fn an_entry_leaves_once_its_expiry_was_notified_though_its_tag_is_invalidated_meanwhile() {
    let (builder, clock) = lazy();
    let inner: Arc<Mutex<Option<Cache<u32, u32>>>> = Arc::default();
    let causes = Causes::default();
    let (within, record) = (Arc::clone(&inner), record_in(&causes));
    let cache = builder
        .atomic_listener(move |removal: &Removal<'_, u32, u32>| {
            record(removal);
            let cache = within.lock().unwrap().clone().unwrap();
            thread::spawn(move || cache.invalidate_tag("tag")).join().unwrap();
        })
        .build()
        .unwrap();
    *inner.lock().unwrap() = Some(cache.clone());
    cache.insert_with(1, 1, InsertOptions::new().tags(&["tag"]).ttl(SECOND));
    clock.advance(2 * SECOND);
    assert_eq!(cache.remove_if_expired(&1), KeyState::Expired);
    assert_eq!((cache.len(), cache.stats().expirations), (0, 1));
    assert_eq!(*causes.lock().unwrap(), [(1, RemovalCause::Expired)]);
    inner.lock().unwrap().take();
}

#[test]
fn remove_expired_ends_though_a_listener_keeps_inserting_what_expires_soon() {
    let (builder, clock) = lazy();
    let inner: Arc<Mutex<Option<Cache<u32, u32>>>> = Arc::default();
    let (within, slow) = (Arc::clone(&inner), clock.clone());
    let cache = builder
        .listener(Listener::new(move |removal: &Removal<'_, u32, u32>| {
            assert!(*removal.value < 100, "one call has removed them all");
            let cache = within.lock().unwrap().clone().unwrap();
            cache.insert_with_ttl(*removal.key, removal.value + 1, NANOSECOND);
            // The listener is slow.
            slow.advance(SECOND);
        }))
        .build()
        .unwrap();
    *inner.lock().unwrap() = Some(cache.clone());
    for key in 0..3 {
        cache.insert_with_ttl(key, 0, SECOND);
    }
    clock.advance(2 * SECOND);
    cache.remove_expired();
    let stats = cache.stats();
    assert_eq!((stats.expirations, stats.listener_panics, cache.len()), (3, 0, 3));
    inner.lock().unwrap().take();
}

#[test]
fn a_fill_is_stored_though_others_look_for_its_expired_key() {
    let (builder, clock) = lazy();
    let cache = builder.build().unwrap();
    cache.insert_with_ttl(1, 1, SECOND);
    clock.advance(2 * SECOND);
    let fill = cache.begin_fill(&1);
    assert_eq!(cache.remove_if_expired(&1), KeyState::Expired);
    assert_eq!(cache.remove_if_expired(&1), KeyState::Missing);
    assert_eq!(cache.complete_fill(fill, 2), Inserted::Added);
    let fill = cache.begin_fill(&2);
    assert_eq!(cache.remove_key(&2), KeyState::Missing);
    assert_eq!(cache.complete_fill(fill, 2), Inserted::Rejected(Rejection::Stale));
}
