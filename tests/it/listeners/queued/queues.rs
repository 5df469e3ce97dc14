//! Queues that are full, and the end of a cache.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, OnceLock, Weak};
use std::thread;

use larder::{BuildError, Cache, FlushError, Listener, Maintenance, Overflow, Removal};

use crate::support::counted::{Counted, Ledger};
use crate::support::{flush, stop_point};

use super::{Jobs, inline, recorder, replaced, run_all};

type Listen = Box<dyn Fn(&Removal<'_, u64, u64>) + Send + Sync>;

/// A listener that waits in its first notification until the test releases it.
fn stuck() -> (Listen, Receiver<()>, mpsc::Sender<()>) {
    let (stop, has_entered, go_on) = stop_point();
    let is_first = AtomicBool::new(true);
    let listen = move |_: &Removal<'_, u64, u64>| {
        if is_first.swap(false, Ordering::SeqCst) {
            stop(());
        }
    };
    (Box::new(listen), has_entered, go_on)
}

#[test]
fn a_full_queue_that_drops_notifications_counts_them_and_stays_small() {
    let (listen, has_entered, go_on) = stuck();
    let ledger = Ledger::new();
    let listener = Listener::new(listen).queue(8).overflow(Overflow::Drop);
    let cache = inline(1000, listener);
    thread::scope(|scope| {
        scope.spawn(|| {
            cache.insert(0, 0);
            cache.remove(&0);
        });
        has_entered.recv().unwrap();
        for step in 0..500 {
            cache.insert(1, step);
            assert!(cache.stats().notifications_waiting <= 8);
        }
        let stats = cache.stats();
        assert_eq!(stats.notifications_waiting, 8);
        assert_eq!(stats.notifications_dropped, 499 - 8);
        go_on.send(()).unwrap();
    });
    flush(&cache);
    let stats = cache.stats();
    assert_eq!(stats.notifications + stats.notifications_dropped, 1 + 499);
    assert_eq!(stats.waiting_bytes(), 0, "dropped notifications are freed");
    ledger.assert_living(0, "no value is left");
    cache.validate();
}

#[test]
fn a_full_queue_that_blocks_holds_writers_back_and_loses_nothing() {
    for maintenance in [Maintenance::Inline, Maintenance::Background] {
        let (listen, has_entered, go_on) = stuck();
        let listener = Listener::new(listen).queue(8);
        let cache: Cache<u64, u64> = Cache::builder()
            .capacity(1000)
            .partitions(1)
            .maintenance(maintenance)
            .listener(listener)
            .build()
            .unwrap();
        let written = AtomicU64::new(0);
        thread::scope(|scope| {
            scope.spawn(|| {
                cache.insert(0, 0);
                cache.remove(&0);
                cache.run_pending();
            });
            has_entered.recv().unwrap();
            let writer = scope.spawn(|| {
                for step in 0..2_000 {
                    cache.insert(1, step);
                    written.fetch_add(1, Ordering::SeqCst);
                }
            });
            // Until the writer is held back, because the queue is over its bound.
            while cache.stats().notifications_waiting <= 8 {
                thread::yield_now();
            }
            // The notifications in the queue, the events that are not yet applied, and the call
            // that waits.
            assert!(written.load(Ordering::SeqCst) <= 8 + 64 + 2);
            assert!(!writer.is_finished());
            go_on.send(()).unwrap();
        });
        flush(&cache);
        let stats = cache.stats();
        assert_eq!((stats.notifications, stats.notifications_dropped), (1 + 1_999, 0));
        cache.validate();
    }
}

#[test]
fn a_listener_that_causes_more_removals_than_it_handles_neither_hangs_nor_grows_without_bound() {
    let cache: Arc<OnceLock<Cache<u64, u64>>> = Arc::default();
    let inner = Arc::clone(&cache);
    let budget = AtomicUsize::new(3_000);
    let most = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&most);
    let listener = Listener::new(move |removal: &Removal<'_, u64, u64>| {
        let cache = inner.get().unwrap();
        for _ in 0..3 {
            if budget
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
                .is_ok()
            {
                cache.insert(*removal.key, 0);
            }
        }
        seen.fetch_max(cache.stats().notifications_waiting, Ordering::SeqCst);
    })
    .queue(16);
    cache.set(inline(10, listener)).unwrap();
    let cache = cache.get().unwrap();
    cache.insert(1, 1);
    cache.insert(1, 2);
    let stats = cache.stats();
    assert!(most.load(Ordering::SeqCst) <= 2 * 64 + 64 + 10, "bounded as documented");
    assert!(stats.notifications_dropped > 0);
    assert_eq!(stats.notifications + stats.notifications_dropped, stats.replacements);
    cache.validate();
}

#[test]
fn flush_reports_that_the_listener_is_busy() {
    let (listen, has_entered, go_on) = stuck();
    let cache = inline(10, Listener::new(listen));
    thread::scope(|scope| {
        scope.spawn(|| {
            cache.insert(0, 0);
            cache.remove(&0);
        });
        has_entered.recv().unwrap();
        assert!(matches!(cache.flush(), Err(FlushError::ListenerBusy { .. })));
        go_on.send(()).unwrap();
    });
    flush(&cache);
}

#[test]
fn removals_are_notified_before_the_last_drop_returns() {
    let (listener, receiver) = recorder();
    let cache: Cache<u64, u64> =
        Cache::builder().capacity(1000).partitions(1).listener(listener).build().unwrap();
    for key in 0..100 {
        cache.insert(key, key);
        cache.remove(&key);
    }
    cache.insert(100, 100);
    drop(cache);
    assert_eq!(receiver.try_iter().count(), 100);
}

#[test]
fn entries_live_until_they_were_notified_and_no_longer() {
    let ledger = Ledger::new();
    let jobs: Jobs = Arc::default();
    let queue = Arc::clone(&jobs);
    let listener = Listener::new(|removal: &Removal<'_, u64, Counted>| {
        // `id` notices a use after the drop.
        assert_eq!(*removal.key, removal.value.id() / 10);
        assert!(removal.new_value.is_none_or(|new| new.id() == removal.value.id() + 1));
    })
    .executor(move |job| queue.lock().unwrap().push(job));
    let cache: Cache<u64, Counted> = Cache::builder()
        .capacity(100)
        .maintenance(Maintenance::Inline)
        .listener(listener)
        .build()
        .unwrap();
    for key in 0..10 {
        for version in 0..5 {
            cache.insert(key, ledger.make(key * 10 + version));
        }
        cache.remove_if(&key, |_, _| true);
    }
    ledger.assert_living(50, "before they were notified");
    run_all(&jobs);
    flush(&cache);
    ledger.assert_living(0, "after they were notified");
    assert_eq!(cache.stats().listener_panics, 0);
    cache.validate();
}

#[test]
fn a_listener_holding_the_cache_weakly_does_not_keep_it() {
    let (listener, receiver) = recorder();
    let cache = Arc::new(inline(10, listener));
    let weak: Weak<Cache<u64, u64>> = Arc::downgrade(&cache);
    cache.insert(1, 1);
    cache.insert(1, 2);
    drop(cache);
    assert!(weak.upgrade().is_none());
    assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [replaced(1, 1, 2)]);
}

#[test]
fn a_queue_of_length_zero_is_refused() {
    let (listener, _receiver) = recorder();
    let built = Cache::builder().capacity(1).listener(listener.queue(0)).build();
    assert!(matches!(built, Err(BuildError::ZeroListenerQueue)));
}
