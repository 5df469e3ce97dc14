//! Loads under a runtime: one flight for its tasks and for threads that block.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use larder::test::FakeClock;
use larder::{Cache, LoadError, LoadOptions, Loaded};
use tokio::runtime::Builder;

use crate::support::rng::{Rng, seeds};

fn rounds() -> u64 {
    if cfg!(larder_malloc) { 50 } else { 500 }
}

/// Tasks that are aborted at random, and threads that block. The others all get the value of one loader that
/// has finished.
#[test]
fn tasks_that_are_aborted_leave_no_other_caller_waiting() {
    for (seed, runtime) in seeds(0x70c10, 2).into_iter().zip([1, 3]) {
        let runtime = Builder::new_multi_thread().worker_threads(runtime).build().unwrap();
        let cache: Arc<Cache<u64, u64>> = Arc::new(Cache::new(100));
        let mut rng = Rng::new(seed);
        for key in 0..rounds() {
            let finished = Arc::new(AtomicU64::new(0));
            let load = {
                let finished = Arc::clone(&finished);
                move |value| {
                    finished.fetch_add(1, Ordering::SeqCst);
                    value
                }
            };
            let tasks: Vec<_> = (0..8)
                .map(|task| {
                    let (cache, load, yields) = (Arc::clone(&cache), load.clone(), rng.below(4));
                    if task < 2 {
                        return runtime.spawn_blocking(move || {
                            cache.get_or_insert_with(&key, || load(key * 10))
                        });
                    }
                    runtime.spawn(async move {
                        let loader = async {
                            for _ in 0..yields {
                                tokio::task::yield_now().await;
                            }
                            load(key * 10)
                        };
                        cache.get_or_insert_with_async(&key, loader).await
                    })
                })
                .collect();
            for task in &tasks {
                if rng.below(3) == 0 {
                    task.abort();
                }
            }
            runtime.block_on(async {
                for task in tasks {
                    match task.await {
                        Ok(value) => assert_eq!(value, key * 10, "seed {seed}"),
                        Err(error) => assert!(error.is_cancelled(), "{error}"),
                    }
                }
            });
            let finished = finished.load(Ordering::SeqCst);
            assert!(finished <= 1, "seed {seed}, key {key}: {finished} loaders have finished");
            assert_eq!(cache.get(&key), (finished == 1).then_some(key * 10));
        }
    }
}

/// Tasks that wait for a future that was polled once and kept are woken at its bound, and at their own
/// deadline, by the cache's clock.
#[test]
fn tasks_are_woken_at_the_bound_of_a_load_that_does_not_go_on() {
    let clock = FakeClock::new();
    let cache: Cache<u64, u64> =
        Cache::builder().capacity(100).clock(clock.clone()).build().unwrap();
    let cache = Arc::new(cache);
    let runtime = Builder::new_current_thread().build().unwrap();
    let mut kept = crate::Task::new(cache.get_or_insert_with_async(&1, std::future::pending()));
    assert!(kept.poll().is_pending());
    let waiters: Vec<_> = (0..4)
        .map(|value| {
            let cache = Arc::clone(&cache);
            runtime.spawn(async move {
                let deadline = if value == 0 { Duration::from_secs(9) } else { Duration::MAX };
                let options = LoadOptions::new().load_deadline(deadline);
                let load = |_| async move { Ok::<_, ()>(Loaded::Store(value)) };
                cache.get_or_load_async(&1, options, load).await
            })
        })
        .collect();
    runtime.block_on(async {
        while cache.stats().load_waits < 4 {
            tokio::task::yield_now().await;
        }
        let mut results = Vec::new();
        for (at, waiter) in waiters.into_iter().enumerate() {
            if at < 2 {
                // The deadline of the first, and then the bound of all.
                clock.advance(Duration::from_secs(if at == 0 { 10 } else { 51 }));
            }
            results.push(waiter.await.unwrap());
        }
        assert_eq!(results[0], Err(LoadError::DeadlineExceeded));
        let value = cache.get(&1);
        assert!(value.is_some() && results[1..].iter().all(|result| *result == Ok(value)));
    });
    assert_eq!(cache.stats().load_handovers, 1);
}

/// The same as the first test, under smol: a task is cancelled when it is dropped.
#[test]
fn smol_tasks_that_are_cancelled_leave_no_other_caller_waiting() {
    let executor: Arc<smol::Executor<'static>> = Arc::new(smol::Executor::new());
    let (stop, stopped) = smol::channel::unbounded::<()>();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let (executor, stopped) = (Arc::clone(&executor), stopped.clone());
            scope.spawn(move || smol::block_on(executor.run(stopped.recv())));
        }
        let cache: Arc<Cache<u64, u64>> = Arc::new(Cache::new(100));
        let mut rng = Rng::new(seeds(0x5301, 1)[0]);
        for key in 0..rounds() {
            let finished = Arc::new(AtomicU64::new(0));
            let mut tasks: Vec<smol::Task<u64>> = (0..8)
                .map(|task| {
                    let (cache, finished) = (Arc::clone(&cache), Arc::clone(&finished));
                    let yields = rng.below(4);
                    let load = move || {
                        finished.fetch_add(1, Ordering::SeqCst);
                        key * 10
                    };
                    if task < 2 {
                        return smol::unblock(move || cache.get_or_insert_with(&key, load));
                    }
                    executor.spawn(async move {
                        let loader = async {
                            for _ in 0..yields {
                                smol::future::yield_now().await;
                            }
                            load()
                        };
                        cache.get_or_insert_with_async(&key, loader).await
                    })
                })
                .collect();
            tasks.retain(|_| rng.below(3) > 0);
            for task in tasks {
                assert_eq!(smol::block_on(task), key * 10);
            }
        }
        drop(stop);
    });
}
