//! Loads in the background: executors that lose tasks, timeouts, and loaders that use the cache.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use larder::test::FakeClock;
use larder::{AsyncLoadingCache, Cache, LoadError, LoadTask, Loaded, LoadingCache};

use super::stale::{SECOND, builder, loading, manual};

type Loading = LoadingCache<u64, u64, String>;

/// A call of a cache with a loader that is a future.
type Call<'c> = Pin<Box<dyn Future<Output = Result<u64, LoadError<String>>> + Send + 'c>>;

fn poll(future: &mut Call<'_>) -> Poll<Result<u64, LoadError<String>>> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

/// Runs a task whose loader panics.
fn run_panicking(task: LoadTask) {
    assert!(catch_unwind(AssertUnwindSafe(|| task.run())).is_err());
}

/// Waits for what other threads do.
pub(super) fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < end, "not after 30 seconds: {what}");
        std::thread::yield_now();
    }
}

#[test]
fn a_refresh_that_never_runs_frees_its_key_after_the_load_timeout() {
    for expires in [false, true] {
        let (executor, tasks) = manual();
        let clock = FakeClock::new();
        let builder = builder(&clock).load_timeout(5 * SECOND).load_executor(executor);
        let (builder, after) = match expires {
            false => (builder.refresh_after_write(10 * SECOND), 11 * SECOND),
            true => (builder.stale_while_revalidate(60 * SECOND), 101 * SECOND),
        };
        let (cache, source) = loading(builder);
        assert_eq!(cache.get(&1), Ok(1));
        clock.advance(after);
        assert_eq!(cache.get(&1), Ok(1));
        let stuck = tasks.try_recv().unwrap();
        clock.advance(4 * SECOND);
        assert_eq!((cache.get(&1), cache.refresh(&1)), (Ok(1), false));
        assert!(tasks.try_recv().is_err());
        clock.advance(2 * SECOND);
        assert_eq!(cache.get(&1), Ok(1));
        let second = tasks.try_recv().expect("the first refresh was not given up");
        assert!(tasks.try_recv().is_err() && !cache.refresh(&1));
        clock.advance(6 * SECOND);
        assert!(cache.refresh(&1));
        source.lock().unwrap().0 = Ok(Loaded::Store(3));
        tasks.try_recv().unwrap().run();
        assert_eq!(cache.get(&1), Ok(3));
        source.lock().unwrap().0 = Ok(Loaded::Store(2));
        stuck.run();
        second.run();
        assert_eq!((cache.get(&1), cache.stats().loads_discarded), (Ok(3), 2), "a late value won");
    }
}

/// The load timeout is below the hard one, and no task is ever run: the call must not run the loader itself.
#[test]
fn a_call_whose_load_was_given_up_still_ends_at_its_hard_timeout() {
    let (executor, tasks) = manual();
    let clock = FakeClock::new();
    let builder =
        builder(&clock).load_timeout(3 * SECOND).hard_timeout(10 * SECOND).load_executor(executor);
    let (cache, source) = loading(builder);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| cache.get(&1));
        let _first = tasks.recv().unwrap();
        clock.advance(4 * SECOND);
        let _second = tasks.recv().unwrap();
        clock.advance(7 * SECOND);
        assert_eq!(waiting.join().unwrap(), Err(LoadError::TimedOut));
    });
    assert_eq!(source.lock().unwrap().1, 0);
}

#[test]
fn an_old_value_is_served_if_the_background_fails_without_an_error() {
    let clock = FakeClock::new();
    let timed = || {
        builder(&clock).stale_if_error(500 * SECOND).soft_timeout(SECOND).hard_timeout(5 * SECOND)
    };
    // The executor drops the task.
    let (cache, source) = loading(timed().load_executor(drop::<LoadTask>));
    cache.insert(1, 1);
    clock.advance(101 * SECOND);
    assert_eq!((cache.get(&1), source.lock().unwrap().1), (Ok(1), 0));
    // The loader panics, while several callers wait.
    let (executor, tasks) = manual();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let cache: Loading = timed()
        .load_executor(executor)
        .build_with_loader(move |_, _| {
            counted.fetch_add(1, Ordering::SeqCst);
            panic!("a loader")
        })
        .unwrap();
    cache.insert(1, 1);
    clock.advance(101 * SECOND);
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..3).map(|_| scope.spawn(|| cache.get(&1))).collect();
        let task = tasks.recv().unwrap();
        wait_until("the others wait", || cache.stats().load_waits == 2);
        run_panicking(task);
        for call in waiting {
            assert_eq!(call.join().unwrap(), Ok(1));
        }
    });
    assert_eq!((cache.get(&1), calls.load(Ordering::SeqCst)), (Ok(1), 1), "it is throttled");
    assert_eq!((tasks.try_recv().is_err(), cache.stats().stale_hits), (true, 4));
}

#[test]
fn after_the_soft_timeout_all_who_wait_get_the_old_value() {
    let (executor, tasks) = manual();
    let clock = FakeClock::new();
    let builder = builder(&clock)
        .stale_if_error(500 * SECOND)
        .soft_timeout(SECOND)
        .hard_timeout(5 * SECOND)
        .load_executor(executor);
    let (cache, source) = loading(builder);
    cache.insert(1, 1);
    clock.advance(101 * SECOND);
    source.lock().unwrap().0 = Ok(Loaded::Store(2));
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..3).map(|_| scope.spawn(|| cache.get(&1))).collect();
        let task = tasks.recv().unwrap();
        wait_until("the others wait", || cache.stats().load_waits == 2);
        clock.advance(2 * SECOND);
        for call in waiting {
            assert_eq!(call.join().unwrap(), Ok(1));
        }
        assert!(tasks.try_recv().is_err(), "two loads at once");
        assert_eq!(cache.stats().stale_hits, 3);
        task.run();
        assert_eq!(cache.peek(&1), Some(2));
        // Without an old value, the soft timeout has no meaning, and the hard one ends the wait.
        let waiting = scope.spawn(|| cache.get(&2));
        let _kept = tasks.recv().unwrap();
        clock.advance(4 * SECOND);
        let other = scope.spawn(|| cache.get(&2));
        wait_until("the other waits", || cache.stats().load_waits == 3);
        clock.advance(2 * SECOND);
        assert_eq!(waiting.join().unwrap(), Err(LoadError::TimedOut));
        clock.advance(4 * SECOND);
        assert_eq!(other.join().unwrap(), Err(LoadError::TimedOut));
    });
}

#[test]
fn the_timeouts_of_futures() {
    let (executor, tasks) = manual();
    let clock = FakeClock::new();
    let cache: AsyncLoadingCache<u64, u64, String> = builder(&clock)
        .stale_if_error(500 * SECOND)
        .soft_timeout(SECOND)
        .hard_timeout(5 * SECOND)
        .load_executor(executor)
        .build_with_async_loader(|_, load| async move {
            Ok(Loaded::Store(load.stale().map_or(1, |old| old + 1)))
        })
        .unwrap();
    {
        let mut waiting: Call<'_> = Box::pin(cache.get(&1));
        assert!(poll(&mut waiting).is_pending());
        clock.advance(6 * SECOND);
        assert_eq!(poll(&mut waiting), Poll::Ready(Err(LoadError::TimedOut)));
    }
    tasks.try_recv().unwrap().run();
    assert_eq!(cache.peek(&1), Some(1));
    clock.advance(101 * SECOND);
    let mut waiting: Vec<Call<'_>> = (0..3).map(|_| Box::pin(cache.get(&1)) as _).collect();
    assert!(waiting.iter_mut().all(|call| poll(call).is_pending()));
    // The one that has begun the load is dropped; the load goes on.
    drop(waiting.remove(0));
    clock.advance(2 * SECOND);
    assert!(waiting.iter_mut().all(|call| poll(call) == Poll::Ready(Ok(1))));
    let task = tasks.try_recv().unwrap();
    assert!(tasks.try_recv().is_err() && !task.is_blocking());
    task.run();
    assert_eq!(cache.peek(&1), Some(2));
    // Given up, and begun again by the one that waits.
    clock.advance(601 * SECOND);
    let mut waiting: Call<'_> = Box::pin(cache.get(&1));
    assert!(poll(&mut waiting).is_pending());
    drop(tasks.try_recv().unwrap());
    assert_eq!(poll(&mut waiting), Poll::Ready(Ok(1)), "the call polls the loader itself");
}

#[test]
fn futures_of_bound_loaders_are_small_and_may_be_dropped_at_each_poll() {
    let clock = FakeClock::new();
    let dropped = Arc::new(AtomicUsize::new(0));
    struct Counted(Arc<AtomicUsize>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let counter = Arc::clone(&dropped);
    let cache: AsyncLoadingCache<u64, u64, String> = builder(&clock)
        .build_with_async_loader(move |_, _| {
            let counted = Counted(Arc::clone(&counter));
            let mut polls = 0;
            async move {
                std::future::poll_fn(|_| {
                    polls += 1;
                    if polls > 5 { Poll::Ready(()) } else { Poll::Pending }
                })
                .await;
                drop(counted);
                Ok(Loaded::Store(7))
            }
        })
        .unwrap();
    let size = size_of_val(&cache.get(&1));
    assert!(size <= 1024, "{size} bytes");
    for polls in 0..6 {
        let mut leading: Call<'_> = Box::pin(cache.get(&1));
        let mut waiting: Call<'_> = Box::pin(cache.get(&1));
        for _ in 0..polls {
            assert!(poll(&mut leading).is_pending() && poll(&mut waiting).is_pending());
        }
        drop(leading);
        assert_eq!(dropped.load(Ordering::SeqCst), usize::from(polls > 0), "after {polls} polls");
        if polls % 2 == 0 {
            let value = (0..10).find_map(|_| match poll(&mut waiting) {
                Poll::Ready(value) => Some(value),
                Poll::Pending => None,
            });
            assert_eq!(value, Some(Ok(7)), "after {polls} polls");
            cache.remove(&1);
        }
        drop(waiting);
        dropped.store(0, Ordering::SeqCst);
        assert!(cache.peek(&1).is_none());
    }
}

#[test]
fn a_loader_that_panics_in_the_background_is_throttled_and_the_old_value_stays() {
    let (executor, tasks) = manual();
    let clock = FakeClock::new();
    let cache: Loading = builder(&clock)
        .refresh_after_write(10 * SECOND)
        .load_executor(executor)
        .build_with_loader(|_, _| panic!("a loader"))
        .unwrap();
    cache.insert(1, 1);
    clock.advance(11 * SECOND);
    for _ in 0..3 {
        assert_eq!(cache.get(&1), Ok(1));
        run_panicking(tasks.try_recv().unwrap());
        assert_eq!(cache.get(&1), Ok(1));
        assert!(tasks.try_recv().is_err());
        clock.advance(SECOND);
    }
    assert_eq!(cache.stats().refreshes, 3);
    assert!(cache.refresh(&1), "an explicit refresh is not throttled");
    run_panicking(tasks.try_recv().unwrap());
    assert!(cache.refresh(&1));
    drop(tasks.try_recv().unwrap());
    let stats = cache.stats();
    assert_eq!((stats.loads, stats.refreshes, stats.load_failures), (5, 5, 5));
}

/// Stands for the work of a loader that needs its runtime.
#[cfg(feature = "tokio")]
fn is_within_tokio() -> bool {
    tokio::runtime::Handle::try_current().is_ok()
}

#[cfg(feature = "tokio")]
#[test]
fn a_future_is_refreshed_in_the_runtime_in_which_its_cache_was_built() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let own = |task: LoadTask| drop(std::thread::spawn(move || task.run()));
    for (is_within, has_own, expected) in
        [(true, false, true), (false, false, false), (true, true, false)]
    {
        let (sender, refreshed) = std::sync::mpsc::channel();
        let within = is_within.then(|| runtime.enter());
        let builder = Cache::<u64, u64>::builder().capacity(10);
        let builder = if has_own { builder.load_executor(own) } else { builder };
        let cache = builder
            .build_with_async_loader(move |key, _| {
                let sender = sender.clone();
                async move {
                    sender.send(is_within_tokio()).unwrap();
                    Ok::<_, String>(Loaded::Store(key))
                }
            })
            .unwrap();
        drop(within);
        assert!(cache.refresh(&1));
        assert_eq!(refreshed.recv(), Ok(expected));
    }
}

#[test]
fn a_loader_may_use_its_own_cache() {
    type Shared = Arc<Mutex<Option<Loading>>>;
    type Step = fn(&Loading) -> u64;
    let steps: [(Step, Result<u64, LoadError<String>>); 6] = [
        // Of a key that has a value, the old one is there.
        (|cache| cache.get(&1).unwrap() + 1, Ok(2)),
        (|cache| cache.get(&5).unwrap(), Ok(50)),
        (|cache| u64::from(cache.refresh(&1)), Ok(0)),
        (
            |cache| {
                cache.insert(1, 9);
                3
            },
            Ok(9),
        ),
        (
            |cache| {
                cache.clear();
                3
            },
            // Loaded anew, by the call itself, in which the loader finds no value.
            Ok(3),
        ),
        (
            |cache| {
                cache.remove(&1);
                u64::from(matches!(cache.get(&1), Ok(1)))
            },
            Err(LoadError::NotLoaded),
        ),
    ];
    for (index, (step, expected)) in steps.into_iter().enumerate() {
        let shared: Shared = Shared::default();
        let own = Arc::downgrade(&shared);
        let (executor, tasks) = manual();
        let clock = FakeClock::new();
        let cache: Loading = builder(&clock)
            .load_executor(executor)
            .build_with_loader(move |key, load| match (key, load.stale()) {
                (1, Some(_)) => {
                    let shared = Weak::upgrade(&own).unwrap();
                    let cache = shared.lock().unwrap().clone().unwrap();
                    Ok(Loaded::Store(step(&cache)))
                }
                (1, None) if index == 4 => Ok(Loaded::Store(3)),
                (1, None) => Ok(Loaded::Missing),
                (key, _) => Ok(Loaded::Store(key * 10)),
            })
            .unwrap();
        *shared.lock().unwrap() = Some(cache.clone());
        cache.insert(1, 1);
        assert!(cache.refresh(&1));
        tasks.try_recv().unwrap().run();
        assert_eq!(cache.get(&1), expected, "step {index}");
        cache.validate();
        *shared.lock().unwrap() = None;
    }
}

#[test]
fn a_bound_loader_that_asks_for_its_own_missing_key_gets_an_error() {
    let shared: Arc<Mutex<Option<Loading>>> = Arc::default();
    let own = Arc::downgrade(&shared);
    let (executor, tasks) = manual();
    let cache: Loading = builder(&FakeClock::new())
        .load_executor(executor)
        .build_with_loader(move |_, _| {
            let cache = own.upgrade().unwrap().lock().unwrap().clone().unwrap();
            match cache.get(&1) {
                Err(LoadError::Reentrant) => Err("a circle".to_owned()),
                other => panic!("{other:?}"),
            }
        })
        .unwrap();
    *shared.lock().unwrap() = Some(cache.clone());
    assert_eq!(cache.get(&1).unwrap_err().loader_error(), Some(&"a circle".to_owned()));
    assert!(cache.refresh(&1));
    tasks.try_recv().unwrap().run();
    assert_eq!(cache.stats().load_failures, 2);
    *shared.lock().unwrap() = None;
}

/// With hard timeouts all loads run in the pool, whose threads must not wait for each other.
#[test]
fn loaders_in_the_pool_may_load_other_keys() {
    let shared: Arc<Mutex<Option<Loading>>> = Arc::default();
    let own = Arc::downgrade(&shared);
    let cache: Loading = builder(&FakeClock::new())
        .hard_timeout(5 * SECOND)
        .build_with_loader(move |key, _| {
            if *key == 0 {
                return Ok(Loaded::Store(0));
            }
            let cache = own.upgrade().unwrap().lock().unwrap().clone().unwrap();
            match cache.get(&(key - 1)) {
                Ok(value) => Ok(Loaded::Store(value + 1)),
                Err(error) => Err(format!("{error}")),
            }
        })
        .unwrap();
    *shared.lock().unwrap() = Some(cache.clone());
    assert_eq!((cache.get(&20), cache.len()), (Ok(20), 21));
    *shared.lock().unwrap() = None;
}

#[test]
fn a_cache_may_be_dropped_by_its_own_loader() {
    let shared: Arc<Mutex<Option<Loading>>> = Arc::default();
    let own = Arc::clone(&shared);
    let (executor, tasks) = manual();
    let cache: Loading = builder(&FakeClock::new())
        .load_executor(executor)
        .build_with_loader(move |key, _| {
            drop(own.lock().unwrap().take());
            Ok(Loaded::Store(*key))
        })
        .unwrap();
    *shared.lock().unwrap() = Some(cache.clone());
    assert!(cache.refresh(&1) && cache.refresh(&2));
    drop(cache);
    tasks.try_iter().for_each(LoadTask::run);
    assert_eq!(Arc::strong_count(&shared), 1, "the loader is still there");
}

#[test]
fn loading_caches_may_be_values_of_a_cache() {
    let tenants: Cache<u64, Loading> = Cache::new(10);
    for round in 0..3 {
        for tenant in 0..40_u64 {
            let own = tenants.get_or_insert_with(&tenant, || {
                Cache::builder()
                    .capacity(10)
                    .build_with_loader(move |key: &u64, _| Ok(Loaded::Store(tenant * 100 + key)))
                    .unwrap()
            });
            assert_eq!(own.get(&round), Ok(tenant * 100 + round));
            own.refresh(&round);
        }
    }
    tenants.clear();
}

/// More loads than the pool has threads, each of which waits for one that was begun after it.
#[test]
fn loaders_in_the_pool_may_wait_for_loads_behind_them() {
    let shared: Arc<Mutex<Option<Loading>>> = Arc::default();
    let own = Arc::downgrade(&shared);
    let cache: Loading = builder(&FakeClock::new())
        .build_with_loader(move |key, _| {
            if *key == 10 {
                return Ok(Loaded::Store(0));
            }
            let cache = own.upgrade().unwrap().lock().unwrap().clone().unwrap();
            // Its load is in the queue by then.
            wait_until("all have begun", || cache.stats().refreshes == 11);
            match cache.get(&(key + 1)) {
                Ok(value) => Ok(Loaded::Store(value + 1)),
                Err(error) => Err(format!("{error}")),
            }
        })
        .unwrap();
    *shared.lock().unwrap() = Some(cache.clone());
    assert_eq!(cache.refresh_many(&Vec::from_iter(0..=10_u64)), 11);
    wait_until("all are loaded", || cache.len() == 11);
    assert_eq!((cache.get(&0), cache.stats().loads), (Ok(10), 11));
    *shared.lock().unwrap() = None;
}
