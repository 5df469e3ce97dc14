//! Loaders, keys and values that misbehave.

use std::future::{pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier};
use std::task::Poll;
use std::time::Duration;

use larder::test::FakeClock;
use larder::{Cache, LoadError, LoadOptions, Loaded};

use crate::Task;
use crate::support::hashers::Constant;

/// A value whose clone panics when a countdown reaches zero.
#[derive(Debug)]
struct Fragile(u64, Arc<AtomicI64>);

impl Clone for Fragile {
    fn clone(&self) -> Self {
        if self.1.fetch_sub(1, Ordering::SeqCst) == 1 {
            resume_unwind(Box::new("a planned panic"));
        }
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
    let deadline = LoadOptions::new().load_deadline(Duration::ZERO);

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
        second(|| resume_unwind(Box::new("a planned panic"))).await
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

/// Keys and values whose code panics, and wakers.
mod panicking {
    use std::hash::{Hash, Hasher};
    use std::task::{Context, Wake, Waker};

    use super::*;

    /// How many calls of the key's code are still to come before one panics; 0 for none.
    #[derive(Clone, Default)]
    struct Fuse(Arc<AtomicI64>);

    impl Fuse {
        fn burn(&self) {
            if self.0.fetch_sub(1, Ordering::SeqCst) == 1 {
                resume_unwind(Box::new("a planned panic"));
            }
        }
    }

    struct Brittle(u64, Fuse);

    impl PartialEq for Brittle {
        fn eq(&self, other: &Self) -> bool {
            self.1.burn();
            self.0 == other.0
        }
    }

    impl Eq for Brittle {}

    impl Hash for Brittle {
        fn hash<H: Hasher>(&self, state: &mut H) {
            self.1.burn();
            // All keys have the same hash, so they are compared.
            state.write_u64(1);
        }
    }

    impl Clone for Brittle {
        fn clone(&self) -> Self {
            self.1.burn();
            Self(self.0, self.1.clone())
        }
    }

    #[test]
    fn a_key_whose_code_panics_leaves_nothing_open() {
        let fuse = Fuse::default();
        let key = |id| Brittle(id, fuse.clone());
        let mut panics = 0;
        for panics_at in 1..40 {
            // Time does not pass: a load that is left open would hang the test.
            let builder = Cache::builder().capacity(100).clock(FakeClock::new());
            let cache: Cache<Brittle, u64> = builder.build().unwrap();
            cache.insert(key(3), 30);
            let own = key(1);
            let mut other = Task::new(cache.get_or_insert_with_async(&own, second(|| 10)));
            assert!(other.poll().is_pending());
            let second_key = key(2);
            let mut leader = Task::new(cache.get_or_insert_with_async(&second_key, second(|| 20)));
            let mut waiter = Task::new(cache.get_or_insert_with_async(&second_key, async { 21 }));
            fuse.0.store(panics_at, Ordering::SeqCst);
            let mut run = |step: &mut dyn FnMut()| {
                panics += usize::from(catch_unwind(AssertUnwindSafe(step)).is_err());
            };
            run(&mut || assert!(leader.poll().is_pending()));
            run(&mut || assert!(matches!(waiter.poll(), Poll::Pending | Poll::Ready(20 | 21))));
            run(&mut || assert!(matches!(leader.poll(), Poll::Ready(20 | 21) | Poll::Pending)));
            run(&mut || assert_eq!(cache.get_or_insert_with(&key(4), || 40), 40));
            fuse.0.store(0, Ordering::SeqCst);
            drop((leader, waiter));
            for id in 2..5 {
                let value = cache.get_or_insert_with(&key(id), || id * 10);
                assert!(value == id * 10 || value == 21, "{value}, at {panics_at}");
            }
            assert_eq!(other.poll(), Poll::Ready(10));
            cache.validate();
        }
        assert!(panics > 20, "only {panics} panics");
    }

    struct Panics;

    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            resume_unwind(Box::new("a planned panic"));
        }
    }

    #[test]
    fn a_waker_that_panics_keeps_no_other_waiter_asleep() {
        for is_dropped in [false, true] {
            let cache: Cache<u64, u64> = Cache::new(100);
            let mut leader = Task::new(cache.get_or_insert_with_async(&1, second(|| 1)));
            assert!(leader.poll().is_pending());
            let mut panicking: Vec<_> =
                (0..3).map(|_| Box::pin(cache.get_or_insert_with_async(&1, async { 2 }))).collect();
            let mut waiters: Vec<_> = (0..3)
                .map(|_| Task::new(cache.get_or_insert_with_async(&1, async { 2 })))
                .collect();
            for (panicking, waiter) in panicking.iter_mut().zip(&mut waiters) {
                let waker = Waker::from(Arc::new(Panics));
                let mut context = Context::from_waker(&waker);
                assert!(panicking.as_mut().poll(&mut context).is_pending());
                assert!(waiter.poll().is_pending());
            }
            match is_dropped {
                false => assert_eq!(leader.poll(), Poll::Ready(1)),
                true => drop(leader),
            }
            for mut waiter in waiters {
                assert_eq!(waiter.wakings(), 1);
                assert!(matches!(waiter.poll(), Poll::Ready(1 | 2)));
            }
            let value = cache.get(&1);
            for future in panicking {
                assert_eq!(Some(crate::support::block_on(future)), value);
            }
        }
    }
}

#[test]
fn keys_of_one_hash_have_a_flight_each() {
    const KEYS: u64 = 5;
    let cache: Cache<u64, u64, Constant> =
        Cache::builder().capacity(100).hasher(Constant(9)).build().unwrap();
    let all_load = Barrier::new(KEYS as usize);
    std::thread::scope(|scope| {
        for caller in 0..2 * KEYS {
            let (cache, all_load) = (&cache, &all_load);
            scope.spawn(move || {
                let key = caller % KEYS;
                let value = cache.get_or_insert_with(&key, || {
                    // Every key has a loader that runs, and the other callers of it wait.
                    all_load.wait();
                    while cache.stats().load_waits < KEYS {
                        std::thread::yield_now();
                    }
                    key
                });
                assert_eq!(value, key);
            });
        }
    });
    assert_eq!(cache.stats().loads, KEYS);
}

#[test]
fn a_loader_that_blocks_delays_only_the_callers_of_its_key() {
    let clock = FakeClock::new();
    let cache: Cache<u64, u64> =
        Cache::builder().capacity(100).clock(clock.clone()).build().unwrap();
    let (entered, has_entered) = channel();
    let (go_on, may_go_on) = channel::<()>();
    std::thread::scope(|scope| {
        let cache = &cache;
        let blocked = scope.spawn(move || {
            cache.get_or_insert_with(&1, || {
                entered.send(()).unwrap();
                may_go_on.recv().unwrap();
                1
            })
        });
        has_entered.recv().unwrap();
        assert_eq!(cache.get_or_insert_with(&2, || 2), 2);
        cache.insert(3, 3);
        cache.run_pending();
        assert_eq!((cache.get(&1), cache.get(&3)), (None, Some(3)));
        for deadline in [Duration::ZERO, Duration::from_nanos(1)] {
            clock.advance(Duration::from_nanos(1));
            let options = LoadOptions::new().load_deadline(deadline);
            let call = scope
                .spawn(move || cache.get_or_load(&1, options, |_| Ok::<_, ()>(Loaded::Store(5))));
            while !call.is_finished() {
                clock.advance(Duration::from_nanos(1));
                std::thread::yield_now();
            }
            assert_eq!(call.join().unwrap(), Err(LoadError::DeadlineExceeded));
        }
        // Two that wait until the bound: one of them loads.
        let waiters = [4, 5].map(|value| {
            scope.spawn(move || {
                let options = LoadOptions::new().load_deadline(Duration::MAX);
                cache.get_or_load(&1, options, move |_| Ok::<_, ()>(Loaded::Store(value)))
            })
        });
        while cache.stats().load_waits < 4 {
            std::thread::yield_now();
        }
        clock.advance(Duration::from_secs(60));
        let [first, second] = waiters.map(|waiter| waiter.join().unwrap());
        assert_eq!(first, second);
        go_on.send(()).unwrap();
        assert_eq!(blocked.join().unwrap(), 1, "its own caller gets the late value");
        assert_eq!(Ok(cache.get(&1)), first, "and the cache does not");
        let stats = cache.stats();
        assert_eq!((stats.loads, stats.load_handovers, stats.loads_discarded), (3, 1, 1));
    });
}

#[test]
fn a_call_whose_error_is_of_another_type_runs_its_own_loader() {
    let cache: Cache<u64, u64> = Cache::new(100);
    let mut leader =
        Task::new(cache.try_get_or_insert_with_async(&1, second(|| Err::<u64, _>("no row"))));
    assert!(leader.poll().is_pending());
    let mut same = Task::new(cache.try_get_or_insert_with_async(&1, async { Ok::<_, &str>(1) }));
    let mut other = Task::new(cache.try_get_or_insert_with_async(&1, async { Err::<u64, _>(7) }));
    let mut without = Task::new(cache.get_or_insert_with_async(&1, async { 2 }));
    assert!(same.poll().is_pending() && other.poll().is_pending() && without.poll().is_pending());
    let no_row = Err(LoadError::Failed(Arc::new("no row")));
    assert_eq!(leader.poll(), Poll::Ready(no_row.clone()));
    assert_eq!(same.poll(), Poll::Ready(no_row));
    assert_eq!(other.poll(), Poll::Ready(Err(LoadError::Failed(Arc::new(7)))));
    assert_eq!(without.poll(), Poll::Ready(2));
    let stats = cache.stats();
    assert_eq!((stats.loads, stats.load_failures, stats.load_handovers), (3, 2, 0));
}

#[test]
fn a_future_is_polled_by_one_thread_after_another() {
    let cache: Cache<u64, u64> = Cache::new(100);
    let mut polls = 0;
    let load = poll_fn(|_| {
        polls += 1;
        if polls == 5 { Poll::Ready(polls) } else { Poll::Pending }
    });
    let mut task = Task::new(cache.get_or_insert_with_async(&1, load));
    for _ in 0..4 {
        let polled = std::thread::scope(|scope| scope.spawn(|| task.poll()).join().unwrap());
        assert!(polled.is_pending());
        // A thread that may have the memory of the one that polled it is not within the loader.
        let options = LoadOptions::new().load_deadline(Duration::ZERO);
        let load = |_: &_| Ok::<_, ()>(Loaded::Store(0));
        assert_eq!(cache.get_or_load(&1, options, load), Err(LoadError::DeadlineExceeded));
    }
    assert_eq!(task.poll(), Poll::Ready(5));
}
