//! Loaders, keys and values that misbehave.

use std::future::{pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::Poll;

use larder::test::FakeClock;
use larder::{Cache, LoadError, LoadOptions, Loaded};

use crate::Task;

/// A value whose clone panics when a countdown reaches zero.
#[derive(Debug)]
struct Fragile(u64, Arc<AtomicI64>);

impl Clone for Fragile {
    fn clone(&self) -> Self {
        assert_ne!(self.1.fetch_sub(1, Ordering::SeqCst), 1, "the clone panics");
        Self(self.0, Arc::clone(&self.1))
    }
}

/// A future that is pending at its first poll, and ready with `output` at the second.
fn second<T>(mut output: impl FnMut() -> T) -> impl Future<Output = T> {
    let mut has_waited = false;
    poll_fn(move |_| {
        if std::mem::replace(&mut has_waited, true) { Poll::Ready(output()) } else { Poll::Pending }
    })
}

#[test]
fn a_value_whose_clone_panics_leaves_no_waiter_asleep() {
    for panics_at in 1..=6 {
        let cache: Cache<u64, Fragile> = Cache::new(100);
        let countdown = Arc::new(AtomicI64::new(panics_at));
        let make = |value| Fragile(value, Arc::clone(&countdown));
        let mut leader = Task::new(cache.get_or_insert_with_async(&1, second(|| make(1))));
        assert!(leader.poll().is_pending());
        let mut waiter = Task::new(cache.get_or_insert_with_async(&1, async { make(2) }));
        assert!(waiter.poll().is_pending());
        let led = catch_unwind(AssertUnwindSafe(|| leader.poll()));
        assert_eq!(waiter.wakings(), 1, "the waiter sleeps, with a panic at clone {panics_at}");
        drop(leader);
        let waited = catch_unwind(AssertUnwindSafe(|| waiter.poll()));
        let panics = usize::from(led.is_err()) + usize::from(waited.is_err());
        assert_eq!(panics, usize::from(countdown.load(Ordering::SeqCst) <= 0));
        for polled in [led, waited].into_iter().flatten() {
            assert!(matches!(polled, Poll::Ready(Fragile(1 | 2, _))));
        }
        countdown.store(0, Ordering::SeqCst);
        assert!(matches!(cache.get_or_insert_with(&1, || make(3)), Fragile(1..=3, _)));
    }
}

/// The loader's own drop, and all else that runs before the flight ends, counts as being within the loader.
#[test]
fn a_loader_that_loads_its_own_key_when_it_is_dropped_gets_an_error() {
    struct LoadsAtDrop<'c>(&'c Cache<u64, u64>, &'c AtomicI64);
    impl Drop for LoadsAtDrop<'_> {
        fn drop(&mut self) {
            let loaded = self.0.try_get_or_insert_with(&1, || Ok::<_, ()>(7));
            assert_eq!(loaded, Err(LoadError::Reentrant));
            self.1.fetch_add(1, Ordering::SeqCst);
        }
    }
    // Time does not pass, so a call that waits for itself would not return.
    let cache: Cache<u64, u64> =
        Cache::builder().capacity(100).clock(FakeClock::new()).build().unwrap();
    let drops = AtomicI64::new(0);
    let held = || LoadsAtDrop(&cache, &drops);
    let deadline = LoadOptions::new().load_deadline(std::time::Duration::ZERO);

    let own = held();
    assert_eq!(cache.try_get_or_insert_with(&1, move || drop_and_fail(own)), Err(failed()));
    let own = held();
    let mut dropped = Task::new(cache.get_or_insert_with_async(&1, async move {
        let _own = own;
        pending().await
    }));
    assert!(dropped.poll().is_pending());
    drop(dropped);
    let own = held();
    let mut panics = Task::new(cache.get_or_insert_with_async(&1, async move {
        let _own = own;
        second(|| panic!("the loader panics")).await
    }));
    assert!(panics.poll().is_pending());
    assert!(catch_unwind(AssertUnwindSafe(|| panics.poll())).is_err());
    let own = held();
    let mut late = Task::new(cache.get_or_load_async(&1, deadline, |_| async move {
        let _own = own;
        pending::<Result<Loaded<u64>, ()>>().await
    }));
    assert_eq!(late.poll(), Poll::Ready(Err(LoadError::DeadlineExceeded)));
    let own = held();
    let mut ready =
        Task::new(cache.try_get_or_insert_with_async(&1, async move { drop_and_fail(own) }));
    assert_eq!(ready.poll(), Poll::Ready(Err(failed())));
    assert_eq!(drops.load(Ordering::SeqCst), 5);
    assert_eq!(cache.get_or_insert_with(&1, || 8), 8);
}

fn drop_and_fail<T>(own: T) -> Result<u64, ()> {
    drop(own);
    Err(())
}

fn failed() -> LoadError<()> {
    LoadError::Failed(Arc::new(()))
}
