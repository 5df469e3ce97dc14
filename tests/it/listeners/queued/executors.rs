//! Executors that run, drop, refuse or keep the jobs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use larder::{Cache, Listener, Maintenance, Removal, RemovalCause};

use crate::support::counted::{Counted, Ledger};
use crate::support::flush;

use super::{Jobs, inline, notified, recorder, run_all};

#[test]
fn an_executor_is_given_the_deliveries() {
    let jobs: Jobs = Arc::default();
    let queue = Arc::clone(&jobs);
    let (listener, receiver) = recorder();
    let cache = inline(2, listener.executor(move |job| queue.lock().unwrap().push(job)));
    for key in 0..5 {
        cache.insert(key, key);
    }
    assert_eq!(receiver.try_iter().count(), 0, "delivered without the executor");
    assert_eq!(run_all(&jobs), 1, "one job at a time is waiting");
    let all: Vec<_> = receiver.try_iter().collect();
    assert_eq!(all, [0, 1, 2].map(|key| notified(key, key, RemovalCause::Evicted)));
    cache.insert(5, 5);
    // Nothing is lost if a job is never run.
    jobs.lock().unwrap().clear();
    flush(&cache);
    assert_eq!(receiver.try_iter().count(), 1);
    // Waiting notifications are delivered before the last handle's drop returns; the job finds
    // nothing.
    cache.insert(6, 6);
    drop(cache);
    assert_eq!(receiver.try_iter().count(), 1);
    run_all(&jobs);
    assert_eq!(receiver.try_iter().count(), 0);
}

#[test]
fn a_condition_is_checked_once_for_a_value_even_if_the_write_buffer_is_full() {
    let (listener, receiver) = recorder();
    let cache = inline(2, listener);
    cache.insert(1, 1);
    cache.insert(2, 2);
    let mut asked = 0;
    // In so small a cache the event of key 1 fills the buffer until the reader has returned.
    let is_removed = cache.remove_and_read(&1, |_, _| {
        cache.remove_if(&2, |_, _| {
            asked += 1;
            true
        })
    });
    assert_eq!((is_removed, asked), (Some(true), 1));
    flush(&cache);
    assert_eq!(receiver.try_iter().count(), 2);
}

#[test]
fn an_executor_that_drops_a_job_is_asked_again() {
    let (listener, receiver) = recorder();
    let is_broken = Arc::new(AtomicBool::new(true));
    let broken = Arc::clone(&is_broken);
    let cache = inline(
        10,
        listener.executor(move |job| {
            if !broken.load(Ordering::SeqCst) {
                job();
            }
        }),
    );
    cache.insert(1, 1);
    cache.remove(&1);
    assert_eq!(receiver.try_iter().count(), 0);
    is_broken.store(false, Ordering::SeqCst);
    cache.insert(2, 2);
    assert_eq!(receiver.try_iter().count(), 1);
}

#[test]
fn no_writer_waits_for_ever_for_an_executor_that_runs_nothing() {
    for panics in [false, true] {
        for mode in [Maintenance::Inline, Maintenance::Background] {
            let (listener, receiver) = recorder();
            let listener = listener.queue(4).executor(move |_job| {
                if panics {
                    std::panic::panic_any(crate::support::counted::REQUESTED);
                }
            });
            let builder = Cache::builder().capacity(100).partitions(1).maintenance(mode);
            let cache = builder.listener(listener).build().unwrap();
            for key in 0..200 {
                cache.insert(key, key);
                cache.remove(&key);
            }
            flush(&cache);
            assert_eq!(receiver.try_iter().count(), 200, "{mode:?}");
        }
    }
}

#[test]
fn an_executor_that_panics_is_counted_and_asked_again() {
    let (listener, receiver) = recorder();
    let is_broken = Arc::new(AtomicBool::new(true));
    let broken = Arc::clone(&is_broken);
    let cache = inline(
        10,
        listener.executor(move |job| {
            if broken.load(Ordering::SeqCst) {
                std::panic::panic_any(crate::support::counted::REQUESTED);
            }
            job();
        }),
    );
    cache.insert(1, 1);
    cache.remove(&1);
    assert!(cache.stats().listener_panics > 0);
    assert_eq!(receiver.try_iter().count(), 0);
    is_broken.store(false, Ordering::SeqCst);
    cache.insert(2, 2);
    assert_eq!(receiver.try_iter().count(), 1);
}

#[test]
fn the_last_handle_may_be_dropped_in_a_job_of_the_executor() {
    let ledger = Ledger::new();
    let slot: Arc<Mutex<Option<Cache<u64, Counted>>>> = Arc::default();
    let taken = Arc::clone(&slot);
    let jobs: Jobs = Arc::default();
    let queue = Arc::clone(&jobs);
    let listener = Listener::new(move |removal: &Removal<'_, u64, Counted>| {
        drop(taken.lock().unwrap().take());
        // The job is still there, though the cache is gone.
        assert_eq!(removal.value.id(), 1);
    })
    .executor(move |job| queue.lock().unwrap().push(job));
    let cache: Cache<u64, Counted> = Cache::builder()
        .capacity(10)
        .maintenance(Maintenance::Inline)
        .listener(listener)
        .build()
        .unwrap();
    for id in 1..6 {
        cache.insert(id, ledger.make(id));
    }
    cache.remove_if(&1, |_, _| true);
    *slot.lock().unwrap() = Some(cache);
    run_all(&jobs);
    assert!(slot.lock().unwrap().is_none());
    ledger.assert_living(0, "after the job");
}
