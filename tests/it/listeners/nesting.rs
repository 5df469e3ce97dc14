//! Caches, listeners, executors and values that are nested in one another: nothing waits for
//! itself, everything is dropped once, and the drop of a last handle has dropped everything before
//! it returns.
//!
//! Most of these tests would fail by hanging.

use std::cell::RefCell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, OnceLock, mpsc};
use std::thread;
use std::time::Duration;

use crate::support::counted::{Counted, Ledger};
use crate::support::flush;
use larder::test::FakeClock;
use larder::{Builder, Cache, FlushError, Listener, Maintenance, Removal};

const MODES: [Maintenance; 2] = [Maintenance::Inline, Maintenance::Background];

type Job = Box<dyn FnOnce() + Send>;
/// What a listener's executor does with a job.
type Executor = fn(Job);

const EXECUTORS: [(&str, Executor); 4] = [
    ("runs jobs at once", |job| job()),
    ("drops jobs", drop),
    ("runs jobs on another thread and waits for it", |job| thread::spawn(job).join().unwrap()),
    ("runs jobs on another thread", |job| drop(thread::spawn(job))),
];

#[test]
fn the_last_drop_has_notified_and_dropped_everything_whatever_an_executor_does() {
    for (what, executor) in EXECUTORS {
        for mode in MODES {
            for capacity in [10, 1_000, 100_000] {
                let ledger = Ledger::new();
                let notified = Arc::new(AtomicUsize::new(0));
                let count = Arc::clone(&notified);
                let listener = Listener::new(move |_: &Removal<'_, u64, Counted>| {
                    count.fetch_add(1, Ordering::SeqCst);
                });
                let cache = Cache::builder()
                    .capacity(capacity)
                    .maintenance(mode)
                    .listener(listener.executor(executor))
                    .build()
                    .unwrap();
                for id in 0..20 {
                    cache.insert(id % 5, ledger.make(id));
                }
                cache.remove(&1);
                drop(cache);
                // 15 were replaced and one was removed, if none was evicted before.
                assert!(notified.load(Ordering::SeqCst) >= 16, "{what}, {mode:?}");
                ledger.assert_living(0, what);
            }
        }
    }
}

/// A cache whose listener stores each removal in another cache, endlessly if nothing stops it.
fn echo(
    builder: Builder<u64, u64>,
    other: &Arc<OnceLock<Cache<u64, u64>>>,
    is_atomic: bool,
) -> Cache<u64, u64> {
    let other = Arc::clone(other);
    let listen = move |removal: &Removal<'_, u64, u64>| {
        if removal.value.is_multiple_of(2)
            && let Some(other) = other.get()
        {
            other.insert(*removal.key, *removal.value + 1);
        }
    };
    match is_atomic {
        true => builder.atomic_listener(listen),
        false => builder.listener(Listener::new(listen).queue(1)),
    }
    .build()
    .unwrap()
}

#[test]
fn two_caches_whose_listeners_write_to_each_other_go_on() {
    for (first_is_atomic, second_is_atomic) in
        [(false, false), (true, true), (true, false), (false, true)]
    {
        for mode in MODES {
            let slots: [Arc<OnceLock<Cache<u64, u64>>>; 2] = Default::default();
            let builder = || Cache::builder().capacity(100_000).partitions(1).maintenance(mode);
            let caches = [
                echo(builder(), &slots[1], first_is_atomic),
                echo(builder(), &slots[0], second_is_atomic),
            ];
            for (slot, cache) in slots.iter().zip(&caches) {
                // They live until the process ends, because each owns the other.
                slot.set(cache.clone()).unwrap();
            }
            thread::scope(|scope| {
                for number in 0..4 {
                    let cache = &caches[number % 2];
                    scope.spawn(move || {
                        for round in 0..3_000 {
                            cache.insert(round % 50, round * 2);
                        }
                    });
                }
            });
            for cache in &caches {
                cache.run_pending();
                assert_eq!(cache.len(), 50);
                cache.validate();
            }
        }
    }
}

#[test]
fn two_threads_that_flush_each_others_caches_from_listeners_get_errors() {
    // Each call holds up the other, so neither may wait.
    let barrier = Arc::new(Barrier::new(2));
    let slots: [Arc<OnceLock<Cache<u64, u64>>>; 2] = Default::default();
    let (sender, results) = mpsc::channel();
    let make = |other: usize| {
        let (barrier, other) = (Arc::clone(&barrier), Arc::clone(&slots[other]));
        let sender = Mutex::new(sender.clone());
        Cache::<u64, u64>::builder()
            .capacity(100)
            .maintenance(Maintenance::Inline)
            .listener(Listener::new(move |_: &Removal<'_, u64, u64>| {
                barrier.wait();
                let result = other.get().unwrap().flush();
                sender.lock().unwrap().send(result).unwrap();
                barrier.wait();
            }))
            .build()
            .unwrap()
    };
    let caches = [make(1), make(0)];
    for (slot, cache) in slots.iter().zip(&caches) {
        slot.set(cache.clone()).unwrap();
        cache.insert(1, 1);
    }
    thread::scope(|scope| {
        for cache in &caches {
            scope.spawn(move || cache.remove(&1));
        }
    });
    for _ in 0..2 {
        assert_eq!(results.recv().unwrap(), Err(FlushError::WithinListener));
    }
    caches.iter().for_each(flush);
}

#[test]
fn a_thread_that_is_ending_can_use_caches_like_any_other() {
    /// Does its work when its thread ends, after all other thread-locals were dropped.
    struct AtExit(Option<Box<dyn FnOnce()>>);
    impl Drop for AtExit {
        fn drop(&mut self) {
            if let Some(work) = self.0.take() {
                work();
            }
        }
    }
    thread_local! {
        static AT_EXIT: RefCell<AtExit> = const { RefCell::new(AtExit(None)) };
    }
    // 0: no listener, 1: a listener, 2: an atomic one, 3: a listener with an executor that runs
    // jobs at once.
    for kind in 0..4 {
        for mode in MODES {
            let ledger = Ledger::new();
            let slot: Arc<OnceLock<Cache<u64, Counted>>> = Arc::default();
            let (own, fresh) = (Arc::clone(&slot), ledger.make(99));
            let listen = move |removal: &Removal<'_, u64, Counted>| {
                // A cache with an atomic listener refuses it; others store it.
                if removal.value.id() != 99 {
                    own.get().unwrap().insert(7, fresh.clone());
                }
            };
            let builder = Cache::builder().capacity(4).partitions(1).maintenance(mode);
            let cache = match kind {
                0 => builder,
                1 => builder.listener(Listener::new(listen)),
                2 => builder.atomic_listener(listen),
                _ => builder.listener(Listener::new(listen).executor(|job| job())),
            }
            .build()
            .unwrap();
            slot.set(cache.clone()).unwrap();
            let values: Vec<_> = (0..12).map(|id| ledger.make(id)).collect();
            thread::spawn(move || {
                AT_EXIT.with(|at_exit| {
                    let cache = cache.clone();
                    at_exit.borrow_mut().0 = Some(Box::new(move || {
                        for value in values {
                            cache.insert(value.id(), value);
                        }
                        cache.remove(&11);
                        cache.get(&10);
                        cache.run_pending();
                        let _may_be_held = cache.flush();
                        drop(cache);
                    }));
                });
                cache.insert(1, ledger.make(50));
                cache.insert(1, ledger.make(51));
                drop(cache);
            })
            .join()
            .unwrap();
            let cache = slot.get().unwrap();
            cache.run_pending();
            assert!(cache.len() <= 4, "{kind}, {mode:?}");
            cache.validate();
        }
    }
}

#[test]
fn the_last_handle_may_be_dropped_as_its_thread_ends() {
    thread_local! {
        static HELD: RefCell<Option<Cache<u64, Counted>>> = const { RefCell::new(None) };
    }
    for mode in MODES {
        for (what, executor) in EXECUTORS {
            let ledger = Ledger::new();
            let values: Vec<_> = (0..200).map(|id| ledger.make(id)).collect();
            thread::spawn(move || {
                let listener = Listener::new(|_: &Removal<'_, u64, Counted>| ());
                let cache = Cache::builder()
                    .capacity(50)
                    .maintenance(mode)
                    .listener(listener.executor(executor))
                    .build()
                    .unwrap();
                // Made before the cache's own thread-locals, which are then dropped earlier.
                HELD.with(|held| *held.borrow_mut() = Some(cache.clone()));
                for value in values {
                    cache.insert(value.id(), value);
                }
            })
            .join()
            .unwrap();
            ledger.assert_living(0, what);
        }
    }
}

#[test]
fn a_listener_may_drop_the_last_handle_of_another_cache_wherever_it_runs() {
    for mode in MODES {
        for is_atomic in [false, true] {
            let ledger = Ledger::new();
            let clock = FakeClock::new();
            // Three levels: the last notifications of one cache drop the next cache.
            let mut next: Option<Cache<u64, Counted>> = None;
            for _ in 0..3 {
                let inner = Mutex::new(next.take());
                let listen = move |_: &Removal<'_, u64, Counted>| {
                    let dropped = inner.lock().unwrap().take();
                    drop(dropped);
                };
                let builder = Cache::builder()
                    .capacity(10)
                    .maintenance(mode)
                    .clock(clock.clone())
                    .time_to_live(Duration::from_secs(1));
                let cache = match is_atomic {
                    false => builder.listener(Listener::new(listen)),
                    true => builder.atomic_listener(listen),
                }
                .build()
                .unwrap();
                for id in 0..5 {
                    cache.insert(id, ledger.make(id));
                }
                next = Some(cache);
            }
            let outermost = next.unwrap();
            // In background mode the maintenance thread may be the one that removes the entries.
            clock.advance(Duration::from_secs(2));
            outermost.run_pending();
            drop(outermost);
            // A cache that another thread was visiting at that moment is dropped by that thread.
            while ledger.living() > 0 {
                assert_eq!(mode, Maintenance::Background);
                thread::yield_now();
            }
            ledger.assert_living(0, "all three");
        }
    }
}

#[test]
fn a_value_may_own_the_last_handle_of_another_cache() {
    #[expect(dead_code, reason = "it is there to be dropped")]
    struct Node(Option<Cache<u64, Node>>, Counted);
    for mode in MODES {
        let ledger = Ledger::new();
        let mut inner: Option<Cache<u64, Node>> = None;
        // Deeper than the nesting of user code that a thread records.
        for id in 0..40 {
            let cache = Cache::builder()
                .capacity(10)
                .maintenance(mode)
                .listener(Listener::new(|_: &Removal<'_, u64, Node>| ()))
                .build()
                .unwrap();
            cache.insert(0, Node(inner.take(), ledger.make(id)));
            cache.insert(1, Node(None, ledger.make(id)));
            cache.insert(1, Node(None, ledger.make(id)));
            inner = Some(cache);
        }
        drop(inner);
        while ledger.living() > 0 {
            assert_eq!(mode, Maintenance::Background);
            thread::yield_now();
        }
        ledger.assert_living(0, "40 caches in one another");
    }
}

#[test]
fn entries_that_expire_during_the_drop_of_the_last_handle_are_dropped_too() {
    for mode in MODES {
        for (what, executor) in EXECUTORS {
            let (ledger, clock) = (Ledger::new(), FakeClock::new());
            let moved = clock.clone();
            let notified = Arc::new(AtomicUsize::new(0));
            let count = Arc::clone(&notified);
            let listener = Listener::new(move |_: &Removal<'_, u64, Counted>| {
                count.fetch_add(1, Ordering::SeqCst);
                moved.advance(Duration::from_secs(10));
            });
            let cache = Cache::builder()
                .capacity(100_000)
                .partitions(2)
                .maintenance(mode)
                .clock(clock.clone())
                .listener(listener.executor(executor))
                .build()
                .unwrap();
            for key in 0..64 {
                let ttl = Duration::from_secs(5 + 10 * key);
                cache.insert_with_ttl(key, ledger.make(key), ttl);
            }
            clock.advance(Duration::from_secs(6));
            cache.remove(&63);
            drop(cache);
            assert!(notified.load(Ordering::SeqCst) >= 1, "{what}");
            ledger.assert_living(0, what);
        }
    }
}

#[test]
fn caches_can_end_while_the_maintenance_thread_and_jobs_are_inside_them() {
    let ledger = Ledger::new();
    let jobs: Arc<Mutex<Vec<Job>>> = Arc::default();
    for round in 0..60 {
        let jobs = Arc::clone(&jobs);
        let queue = Arc::clone(&jobs);
        let listener = Listener::new(|_: &Removal<'_, u64, Counted>| thread::yield_now());
        let cache = Cache::builder()
            .capacity(20)
            .partitions(2)
            .listener(listener.executor(move |job| queue.lock().unwrap().push(job)))
            .build()
            .unwrap();
        for id in 0..60 {
            cache.insert(id, ledger.make(id));
        }
        thread::scope(|scope| {
            scope.spawn(|| {
                while let Some(job) = { jobs.lock().unwrap().pop() } {
                    job();
                }
            });
            if round % 2 == 0 {
                thread::yield_now();
            }
            drop(cache);
            ledger.assert_living(0, "the drop has returned");
        });
        // Jobs of a cache that is gone do nothing.
        let late: Vec<Job> = std::mem::take(&mut *jobs.lock().unwrap());
        late.into_iter().for_each(|job| job());
    }
}
