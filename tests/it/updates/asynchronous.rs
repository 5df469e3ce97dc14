//! Asynchronous computations: cancelled, forgotten, sent to other threads, polled by hand.

use std::cell::Cell;
use std::future::poll_fn;
use std::hash::{Hash, Hasher};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Barrier, Mutex};
use std::task::{Context, Poll, Waker};

use larder::{Cache, Compute, Computed, Inserted, Maintenance, Rejection, Removal};

use crate::support::rng::{Rng, seeds};
use crate::support::{block_on, flush};

/// Waits for so many polls.
async fn yields(mut times: u32) {
    poll_fn(|context| {
        context.waker().wake_by_ref();
        match times {
            0 => Poll::Ready(()),
            _ => {
                times -= 1;
                Poll::Pending
            }
        }
    })
    .await;
}

fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

type Adding<'c> = Pin<Box<dyn Future<Output = Computed<u64>> + Send + 'c>>;

async fn add_slowly(cache: &Cache<u32, u64>, key: u32, polls: u32) -> Computed<u64> {
    let add = |n: Option<u64>| async move {
        yields(polls).await;
        Compute::Put(n.unwrap_or(0) + 1)
    };
    cache.entry(key).and_compute_with_async(add).await
}

#[test]
fn a_future_is_small_and_can_be_sent() {
    fn check<F: Future + Send>(future: &F, limit: usize) {
        assert!(size_of_val(future) <= limit, "{} bytes", size_of_val(future));
    }
    let cache = Cache::<u64, u64>::new(100);
    let answer = |_| async { Compute::Put(1) };
    check(&cache.entry(1).and_compute_with_async(answer), 512);
    let answer = |_| async { Ok::<_, String>(Compute::Put(1)) };
    check(&cache.entry(1).try_and_compute_with_async(answer), 512);
    assert_eq!(cache.len(), 0, "a future that is not polled does nothing");
}

#[test]
fn a_future_that_is_dropped_at_any_point_leaves_the_key_as_it_was() {
    let cache = Cache::<u32, u64>::new(100);
    for is_present in [false, true] {
        if is_present {
            cache.insert(1, 10);
        }
        let before = (cache.get(&1), cache.stats().inserts, cache.stats().replacements);
        for polls in 0..=5 {
            let mut future = Box::pin(add_slowly(&cache, 1, 5));
            for _ in 0..polls {
                assert!(poll(future.as_mut()).is_pending());
            }
            drop(future);
            let after = (cache.get(&1), cache.stats().inserts, cache.stats().replacements);
            assert_eq!(after, before, "dropped after {polls} polls");
        }
        assert_eq!(
            block_on(add_slowly(&cache, 1, 5)).into_value(),
            Some(before.0.unwrap_or(0) + 1)
        );
        cache.remove(&1);
    }
    flush(&cache);
    cache.validate();
}

#[test]
fn a_future_that_is_forgotten_after_one_poll_holds_nobody_up() {
    let builders = [
        Cache::<u32, u64>::builder().capacity(1),
        Cache::<u32, u64>::builder().capacity(1).atomic_listener(|_: &Removal<'_, u32, u64>| ()),
    ];
    for builder in builders {
        let cache = builder.maintenance(Maintenance::Inline).build().unwrap();
        cache.insert(1, 10);
        let mut forgotten = Box::pin(add_slowly(&cache, 1, 1));
        assert!(poll(forgotten.as_mut()).is_pending());
        // It holds no pin, so memory is freed, and no lock.
        assert_eq!(cache.update(&1, |n| n + 1), Some(11));
        assert_eq!(block_on(add_slowly(&cache, 1, 3)), Computed::Replaced(12));
        assert_eq!(cache.fetch_add(&1, 1), 12);
        flush(&cache);
        assert_eq!(cache.remove(&1), Some(13));
        assert_eq!(cache.insert(1, 20), Inserted::Added);
        (2..10).for_each(|key| _ = cache.insert(key, 0));
        cache.run_pending();
        assert_eq!(cache.len(), 1);
        cache.insert(1, 30);
        // Polled again after all, it answers about what there is now.
        assert!(poll(forgotten.as_mut()).is_pending());
        assert_eq!(poll(forgotten.as_mut()), Poll::Ready(Computed::Replaced(31)));
        cache.validate();
    }
}

#[test]
fn a_computation_that_is_overtaken_is_asked_again() {
    let cache = Cache::<u32, u64>::new(100);
    let calls = Cell::new(0);
    let mut computing = pin!(cache.entry(1).and_compute_with_async(|n| {
        calls.set(calls.get() + 1);
        async move {
            yields(1).await;
            Compute::Put(n.unwrap_or(0) + 1)
        }
    }));
    let mut step = |expected_calls| {
        let poll = poll(computing.as_mut());
        assert_eq!(calls.get(), expected_calls);
        poll
    };
    assert!(step(1).is_pending());
    cache.insert(1, 10);
    assert!(step(2).is_pending());
    assert!(cache.complete_fill_replacing(cache.begin_fill(&1), 20).is_stored());
    assert!(step(3).is_pending());
    assert_eq!(block_on(add_slowly(&cache, 1, 2)), Computed::Replaced(21));
    assert!(step(4).is_pending());
    cache.clear();
    assert!(step(5).is_pending());
    cache.insert(2, 5);
    assert_eq!(step(5), Poll::Ready(Computed::Inserted(1)));
}

/// An insertion that has announced itself before the computation began, and takes effect after it has
/// read the value, is noticed by the entry that it leaves.
#[test]
fn a_change_that_was_under_way_when_the_value_was_read_is_not_undone() {
    thread_local! {
        static PAUSES: Cell<bool> = const { Cell::new(false) };
    }
    static MEETING: Barrier = Barrier::new(2);

    #[derive(Clone, Debug, Eq)]
    struct Pausing;
    impl Hash for Pausing {
        fn hash<H: Hasher>(&self, state: &mut H) {
            0.hash(state);
        }
    }
    impl PartialEq for Pausing {
        fn eq(&self, _: &Self) -> bool {
            if PAUSES.replace(false) {
                MEETING.wait();
                MEETING.wait();
            }
            true
        }
    }

    let cache = Cache::<Pausing, u64>::new(100);
    cache.insert(Pausing, 10);
    let calls = Cell::new(0);
    let mut computing = pin!(cache.entry(Pausing).and_compute_with_async(async |n| {
        calls.set(calls.get() + 1);
        yields(1).await;
        Compute::Put(n.unwrap_or(0) + 1)
    }));
    std::thread::scope(|scope| {
        let inserting = scope.spawn(|| {
            PAUSES.set(true);
            assert_eq!(cache.insert(Pausing, 20), Inserted::Replaced);
        });
        MEETING.wait();
        assert!(poll(computing.as_mut()).is_pending());
        MEETING.wait();
        inserting.join().unwrap();
    });
    assert_eq!(cache.get(&Pausing), Some(20));
    assert!(poll(computing.as_mut()).is_pending(), "the insertion was not noticed");
    assert_eq!(poll(computing.as_mut()), Poll::Ready(Computed::Replaced(21)));
    assert_eq!(calls.get(), 2);
}

#[test]
fn a_future_that_changes_its_own_key_each_time_is_given_up() {
    let cache = Cache::<u32, u64>::new(100);
    let calls = Cell::new(0);
    let computed = block_on(cache.entry(1).and_compute_with_async(async |_| {
        calls.set(calls.get() + 1);
        assert!(calls.get() < 1_000, "without end");
        yields(1).await;
        cache.insert(1, calls.get());
        yields(1).await;
        Compute::Put(0)
    }));
    assert_eq!(computed, Computed::Rejected(Rejection::Stale));
    assert_eq!(cache.get(&1), Some(calls.get()));
}

#[test]
fn a_panic_at_any_point_of_a_future_leaves_the_key_as_it_was() {
    let cache = Cache::<u32, u64>::new(100);
    cache.insert(1, 10);
    for polls in 0..3 {
        let message = crate::support::panic_message("a future", || {
            block_on(cache.entry(1).and_compute_with_async(async |_| {
                yields(polls).await;
                panic!("the future's own")
            }));
        });
        assert_eq!(message, "the future's own");
    }
    assert_eq!(cache.get(&1), Some(10));
    let fill = cache.begin_fill(&2);
    assert!(cache.complete_fill(fill, 1).is_stored());
    flush(&cache);
    cache.validate();
}

/// Polls many computations by hand, in a random order, cancels some at random, and changes their keys
/// in between; nothing that was completed is lost.
#[test]
fn no_completed_increment_is_lost_whatever_is_cancelled() {
    const KEYS: u32 = 3;
    for seed in seeds(0xa5c, 4) {
        let mut rng = Rng::new(seed);
        let cache = Cache::<u32, u64>::new(100);
        let mut expected = [0; KEYS as usize];
        let mut futures: Vec<(u32, Adding<'_>)> = Vec::new();
        for _ in 0..20_000 {
            match rng.below(10) {
                0..2 => {
                    let (key, polls) = (rng.below(KEYS.into()) as u32, rng.below(5) as u32);
                    futures.push((key, Box::pin(add_slowly(&cache, key, polls))));
                }
                2 => {
                    let key = rng.below(KEYS.into()) as u32;
                    cache.fetch_add(&key, 1);
                    expected[key as usize] += 1;
                }
                3 if !futures.is_empty() => {
                    let index = rng.below(futures.len() as u64) as usize;
                    drop(futures.swap_remove(index));
                }
                _ if !futures.is_empty() => {
                    let index = rng.below(futures.len() as u64) as usize;
                    if let Poll::Ready(computed) = poll(futures[index].1.as_mut()) {
                        let (key, _) = futures.swap_remove(index);
                        expected[key as usize] += 1;
                        assert_eq!(
                            computed.into_value(),
                            Some(expected[key as usize]),
                            "seed {seed}"
                        );
                    }
                }
                _ => {}
            }
        }
        drop(futures);
        for key in 0..KEYS {
            assert_eq!(cache.get(&key), Some(expected[key as usize]), "seed {seed}, key {key}");
        }
        cache.validate();
    }
}

/// The same on several threads, which hand futures to each other.
#[test]
fn no_completed_increment_is_lost_between_threads() {
    let rounds = if cfg!(debug_assertions) { 5_000 } else { 50_000 };
    let cache = Cache::<u32, u64>::new(100);
    let completed = AtomicU64::new(0);
    let shared: Mutex<Vec<Adding<'_>>> = Mutex::default();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (cache, completed, shared) = (&cache, &completed, &shared);
            scope.spawn(move || {
                let mut rng = Rng::new(thread);
                for _ in 0..rounds {
                    let taken = match rng.below(3) {
                        0 => None,
                        _ => shared.lock().unwrap().pop(),
                    };
                    let mut future = taken
                        .unwrap_or_else(|| Box::pin(add_slowly(cache, 1, rng.below(3) as u32)));
                    match poll(future.as_mut()) {
                        Poll::Ready(computed) => {
                            assert!(computed.is_stored());
                            completed.fetch_add(1, Ordering::Relaxed);
                        }
                        Poll::Pending if rng.below(8) == 0 => drop(future),
                        Poll::Pending => {
                            let mut shared = shared.lock().unwrap();
                            let at = rng.below(shared.len() as u64 + 1) as usize;
                            shared.insert(at, future);
                        }
                    }
                }
            });
        }
    });
    drop(shared);
    assert_eq!(cache.get(&1), Some(completed.into_inner()));
    flush(&cache);
    cache.validate();
}
