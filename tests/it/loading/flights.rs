//! One flight for each key, by blocking calls and futures.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use larder::test::FakeClock;
use larder::{Cache, Inserted, LoadError, LoadOptions, Loaded, Rejection};

const THREADS: usize = 8;

/// Calls that come while the loader runs wait for it, and calls that come later find the value.
#[test]
fn of_eight_threads_that_miss_a_key_one_loads() {
    let rounds = if cfg!(miri) { 3 } else { 2_000 };
    let cache: Cache<u64, u64> = Cache::new(100);
    let loads: Vec<AtomicU64> = (0..rounds).map(|_| AtomicU64::new(0)).collect();
    let barrier = Barrier::new(THREADS);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for round in 0..rounds {
                    barrier.wait();
                    let value = cache.get_or_insert_with(&round, || {
                        loads[round as usize].fetch_add(1, Ordering::Relaxed);
                        std::thread::yield_now();
                        round * 2
                    });
                    assert_eq!(value, round * 2);
                }
            });
        }
    });
    let counts = loads.iter().map(|loads| loads.load(Ordering::Relaxed));
    assert!(counts.into_iter().all(|count| count == 1), "a loader ran twice, or not at all");
    assert_eq!(cache.stats().loads, rounds);
}

fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn a_future_that_is_polled_once_and_kept_delays_the_others_until_the_bound() {
    let clock = FakeClock::new();
    let cache: Cache<u64, u64> =
        Cache::builder().capacity(100).clock(clock.clone()).build().unwrap();
    let mut forgotten = pin!(cache.get_or_insert_with_async(&1, std::future::pending()));
    assert!(poll_once(&mut forgotten).is_pending());
    let mut follower = pin!(cache.get_or_insert_with_async(&1, async { 2 }));
    assert!(poll_once(&mut follower).is_pending());
    clock.advance(Duration::from_secs(61));
    assert_eq!(poll_once(&mut follower), Poll::Ready(2));
    assert_eq!(cache.get(&1), Some(2));
    assert_eq!(cache.stats().load_handovers, 1);
    // The first one may still be polled.
    assert!(poll_once(&mut forgotten).is_pending());
}

#[test]
fn a_leader_that_is_dropped_hands_over_to_a_waiter() {
    let cache: Cache<u64, u64> = Cache::new(100);
    let mut first = Box::pin(cache.get_or_insert_with_async(&1, std::future::pending()));
    assert!(poll_once(&mut first).is_pending());
    let mut second = Box::pin(cache.get_or_insert_with_async(&1, async { 2 }));
    assert!(poll_once(&mut second).is_pending());
    drop(first);
    assert_eq!(poll_once(&mut second), Poll::Ready(2));
}

#[test]
fn a_change_during_a_load_wins() {
    let cache: Cache<u64, u64> = Cache::new(100);
    let value = cache.get_or_insert_with(&1, || {
        cache.insert(1, 10);
        1
    });
    assert_eq!((value, cache.get(&1)), (1, Some(10)));
    for change in [
        (|cache: &Cache<u64, u64>| {
            cache.remove(&2);
        }) as fn(&Cache<u64, u64>),
        |cache| cache.clear(),
        |cache| {
            cache.invalidate_tag("any");
        },
        |cache| {
            cache.invalidate_if(|_, _| false);
        },
        |cache| assert_eq!(cache.replace(2, 5), Inserted::Rejected(Rejection::Absent)),
    ] {
        let value = cache.get_or_insert_with(&2, || {
            change(&cache);
            2
        });
        assert_eq!((value, cache.get(&2)), (2, None));
    }
    assert_eq!(cache.stats().loads_discarded, 6);
}

#[test]
fn a_call_after_a_change_does_not_wait_for_the_stale_load() {
    let cache: Cache<u64, u64> = Cache::new(100);
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    let has_begun = Barrier::new(2);
    std::thread::scope(|scope| {
        let (cache, has_begun) = (&cache, &has_begun);
        let stale = scope.spawn(move || {
            cache.get_or_insert_with(&1, || {
                has_begun.wait();
                receiver.recv().unwrap();
                1
            })
        });
        has_begun.wait();
        cache.remove(&1);
        assert_eq!(cache.get_or_insert_with(&1, || 2), 2);
        sender.send(()).unwrap();
        assert_eq!(stale.join().unwrap(), 1);
        assert_eq!(cache.get(&1), Some(2));
    });
}

#[test]
fn a_loader_that_asks_for_its_own_key_gets_an_error() {
    let cache: Cache<u64, u64> = Cache::new(100);
    let nested = cache.try_get_or_insert_with(&1, || {
        cache.get_or_insert_with(&2, || 2);
        cache.try_get_or_insert_with(&1, || Ok::<_, ()>(1)).map_err(|error| {
            assert_eq!(error, LoadError::Reentrant);
        })
    });
    assert!(matches!(nested, Err(LoadError::Failed(_))));
    let mut nested = pin!(cache.try_get_or_insert_with_async(&1, async {
        cache.try_get_or_insert_with_async(&1, async { Ok::<_, ()>(1) }).await.map_err(|error| {
            assert_eq!(error, LoadError::Reentrant);
        })
    }));
    assert!(matches!(poll_once(&mut nested), Poll::Ready(Err(LoadError::Failed(_)))));
}

#[test]
fn a_deadline_ends_the_waiting_of_one_caller() {
    let clock = FakeClock::new();
    let cache: Cache<u64, u64> =
        Cache::builder().capacity(100).clock(clock.clone()).build().unwrap();
    let mut is_loaded = false;
    let mut leader = pin!(cache.get_or_insert_with_async(
        &1,
        poll_fn(|_| if std::mem::replace(&mut is_loaded, true) {
            Poll::Ready(1)
        } else {
            Poll::Pending
        }),
    ));
    assert!(poll_once(&mut leader).is_pending());
    let options = LoadOptions::new().load_deadline(Duration::from_secs(1));
    let mut waiter =
        pin!(cache.get_or_load_async(&1, options, |_| async { Ok::<_, ()>(Loaded::Store(2)) }));
    assert!(poll_once(&mut waiter).is_pending());
    clock.advance(Duration::from_secs(1));
    assert_eq!(poll_once(&mut waiter), Poll::Ready(Err(LoadError::DeadlineExceeded)));
    let at_once = LoadOptions::new().load_deadline(Duration::ZERO);
    let blocking = cache.get_or_load(&1, at_once, |_| Ok::<_, ()>(Loaded::Store(3)));
    assert_eq!(blocking, Err(LoadError::DeadlineExceeded));
    assert_eq!(poll_once(&mut leader), Poll::Ready(1));
    assert_eq!(cache.get(&1), Some(1));
}

#[test]
fn futures_are_send_and_small() {
    fn assert_send<F: Send>(future: F) -> usize {
        size_of_val(&future)
    }
    let cache: Cache<u64, u64> = Cache::new(100);
    let loader = async { 1 };
    let loader_bytes = size_of_val(&loader);
    let bytes = assert_send(cache.get_or_insert_with_async(&1, loader));
    assert!(bytes <= loader_bytes + 136, "{bytes} bytes, with a loader of {loader_bytes}");
}

/// A runtime that runs on one thread allows loaders that cannot be sent. Other threads still wait for their values.
#[test]
fn a_loader_that_cannot_be_sent_loads_for_other_threads_too() {
    let cache: Cache<u64, u64> = Cache::new(100);
    let is_loaded = Rc::new(Cell::new(false));
    let seen = Rc::clone(&is_loaded);
    let load = async move {
        let value = Rc::new(7);
        poll_fn(|_| if seen.get() { Poll::Ready(()) } else { Poll::Pending }).await;
        *value
    };
    let mut leader = pin!(cache.get_or_insert_with_async(&1, load));
    assert!(poll_once(&mut leader).is_pending());
    let loaded = std::thread::scope(|scope| {
        let waiter = scope.spawn(|| cache.get_or_insert_with(&1, || 8));
        while cache.stats().load_waits == 0 {
            std::thread::yield_now();
        }
        is_loaded.set(true);
        let loaded = poll_once(&mut leader);
        (loaded, waiter.join().expect("the waiter gets the value"))
    });
    assert_eq!(loaded, (Poll::Ready(7), 7));
    assert_eq!(cache.stats().loads, 1);
}
