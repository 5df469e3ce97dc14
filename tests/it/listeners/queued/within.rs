//! What a listener may do, also to other caches, and a listener that panics.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;

use larder::{Cache, FlushError, Listener, Maintenance, Removal, RemovalCause};

use crate::support::configs::for_each_config;
use crate::support::flush;

use super::{Notified, inline, notified, record, recorder};

#[test]
fn a_listener_may_use_the_cache() {
    let cache: Arc<OnceLock<Cache<u64, u64>>> = Arc::default();
    let notified: Arc<Mutex<Vec<Notified>>> = Arc::default();
    let (inner, listened) = (Arc::clone(&cache), Arc::clone(&notified));
    let listener = Listener::new(move |removal: &Removal<'_, u64, u64>| {
        listened.lock().unwrap().push(record(removal));
        let cache = inner.get().unwrap();
        assert_eq!(cache.flush(), Err(FlushError::WithinListener));
        assert_eq!(cache.get(removal.key), removal.new_value.copied());
        if *removal.value < 3 {
            // It uses its own key again, and other keys.
            cache.insert(*removal.key, removal.value + 1);
            cache.insert(100 + *removal.value, 1000);
            cache.remove(&(100 + *removal.value));
            cache.run_pending();
        }
    });
    cache.set(inline(1000, listener)).unwrap();
    let cache = cache.get().unwrap();
    cache.insert(1, 0);
    cache.remove(&1);
    assert_eq!(cache.peek(&1), Some(1));
    cache.remove(&1);
    cache.remove(&1);
    cache.remove(&1);
    let causes = |key| -> Vec<_> {
        let all = notified.lock().unwrap();
        all.iter()
            .filter(|notified| notified.key == key)
            .map(|notified| (notified.value, notified.cause))
            .collect()
    };
    assert_eq!(causes(1), [0, 1, 2, 3].map(|value| (value, RemovalCause::Explicit)));
    for key in 100..103 {
        assert_eq!(causes(key), [(1000, RemovalCause::Explicit)]);
    }
    cache.validate();
}

#[test]
fn removals_by_a_listener_are_notified_before_the_call_returns_in_any_partition() {
    let cache: Arc<OnceLock<Cache<u64, u64>>> = Arc::default();
    let notified: Arc<Mutex<Vec<u64>>> = Arc::default();
    let (inner, listened) = (Arc::clone(&cache), Arc::clone(&notified));
    let listener = Listener::new(move |removal: &Removal<'_, u64, u64>| {
        listened.lock().unwrap().push(*removal.key);
        inner.get().unwrap().remove(&(removal.key + 1));
    });
    let builder = Cache::<u64, u64>::builder().maintenance(Maintenance::Inline).partitions(8);
    cache.set(builder.capacity(1_000).listener(listener).build().unwrap()).unwrap();
    let cache = cache.get().unwrap();
    for key in 0..50 {
        cache.insert(key, key);
    }
    cache.remove(&0);
    assert_eq!(*notified.lock().unwrap(), (0..50).collect::<Vec<u64>>());
}

#[test]
fn a_listener_of_one_cache_may_fill_another_with_a_listener() {
    let (listener, receiver) = recorder();
    let second = inline(1, listener);
    let filled = second.clone();
    let first = inline(
        1,
        Listener::new(move |removal: &Removal<'_, u64, u64>| {
            filled.insert(*removal.key, *removal.value);
        }),
    );
    for key in 0..4 {
        first.insert(key, key);
    }
    let all: Vec<_> = receiver.try_iter().collect();
    assert_eq!(all, [0, 1].map(|key| notified(key, key, RemovalCause::Evicted)));
}

#[test]
fn a_panicking_listener_is_counted_and_stays() {
    for_each_config(|config| {
        let calls = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&calls);
        let listener = Listener::new(move |_: &Removal<'_, u64, u64>| {
            if counted.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) {
                std::panic::panic_any(crate::support::counted::REQUESTED);
            }
        });
        let cache = config.builder(10).listener(listener).build().unwrap();
        for step in 0..200 {
            cache.insert(step % 20, step);
        }
        flush(&cache);
        let stats = cache.stats();
        assert_eq!(stats.notifications, stats.evictions + stats.replacements);
        assert_eq!(stats.notifications, calls.load(Ordering::SeqCst));
        assert_eq!(stats.listener_panics, stats.notifications.div_ceil(2));
        cache.validate();
    });
}

#[test]
fn notifications_under_a_pin_are_deferred_and_not_lost() {
    for maintenance in [Maintenance::Inline, Maintenance::Background] {
        let here = thread::current().id();
        let was_told_here = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&was_told_here);
        let listener = Listener::new(move |_: &Removal<'_, u64, u64>| {
            seen.fetch_or(thread::current().id() == here, Ordering::SeqCst);
        });
        let cache = Cache::builder()
            .capacity(10)
            .maintenance(maintenance)
            .listener(listener)
            .build()
            .unwrap();
        {
            let pinned = cache.pin();
            for key in 0..100 {
                cache.insert(key, key);
            }
            assert!(pinned.get(&1_000).is_none());
            assert!(!was_told_here.load(Ordering::SeqCst), "delivered while pinned");
        }
        flush(&cache);
        assert_eq!(cache.stats().notifications, cache.stats().evictions);
        assert_eq!(cache.stats().notifications_waiting, 0);
    }
}

#[test]
fn flush_reports_that_its_own_threads_pin_defers_notifications() {
    let (listener, _receiver) = recorder();
    let cache = inline(10, listener);
    cache.insert(1, 1);
    let pinned = cache.pin();
    cache.remove(&1);
    assert_eq!(cache.flush(), Err(FlushError::PinnedHere));
    drop(pinned);
    flush(&cache);
}
