//! Tiers of futures: on tokio, and polled by hand.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use larder::LoadOptions;
use larder_store::{
    AsyncStore, AsyncStoredCache, Blocking, BlockingError, Durability, ErrorKind, FlushError,
    Record, StoredCache, TierError, WhenFull, Write,
};

use crate::faulty::{
    AsyncFaulty, Fault, Faulty, Settings, StoreFailed, block_on, cache, poll_once, settings, sleep,
    within_a_minute,
};

type AsyncTier = AsyncStoredCache<u64, u64, AsyncFaulty>;

fn through(store: &Arc<Faulty>) -> AsyncTier {
    AsyncStoredCache::write_through(cache(1_000), AsyncFaulty(Arc::clone(store)))
}

/// A tier, and its writer on a thread of its own. The pauses of the writer end at once, except for its
/// patience, which never ends.
fn behind(store: &Arc<Faulty>, settings: Settings) -> AsyncTier {
    let (tier, writer) = idle_behind(store, settings);
    thread::spawn(move || block_on(writer));
    tier
}

fn idle_behind(
    store: &Arc<Faulty>,
    settings: Settings,
) -> (AsyncTier, impl Future<Output = ()> + Send + use<>) {
    let store = AsyncFaulty(Arc::clone(store));
    AsyncStoredCache::write_behind(cache(1_000), store, settings, sleep).unwrap()
}

fn on_tokio<R>(test: impl Future<Output = R>) -> R {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap()
        .block_on(test)
}

#[test]
fn readers_share_one_load_whether_they_block_or_not() {
    within_a_minute(|| {
        on_tokio(async {
            let store = Faulty::new();
            store.put(1, 10);
            store.block_reads();
            let tier = through(&store);
            let readers: Vec<_> = (0..8)
                .map(|_| {
                    let tier = tier.clone();
                    tokio::spawn(async move { tier.get(&1).await.unwrap() })
                })
                .collect();
            let blocking = tier.cache().clone();
            let thread = thread::spawn(move || {
                let load = || Ok::<_, StoreFailed>(Some(10));
                blocking.try_optionally_get_or_insert_with(&1, load).unwrap()
            });
            tokio::task::yield_now().await;
            store.release();
            for reader in readers {
                assert_eq!(reader.await.unwrap(), Some(10));
            }
            assert_eq!(thread.join().unwrap(), Some(10));
            assert!(store.reads() <= 1);
        });
    });
}

#[test]
fn reads_end_as_those_of_threads() {
    block_on(async {
        let store = Faulty::new();
        store.put(1, 10);
        store.put(2, 20);
        store.fail_reads(&[Fault::Transient]);
        let tier = through(&store);
        assert!(matches!(tier.get(&1).await, Err(TierError::Store(_))));
        assert_eq!(tier.get(&1).await.unwrap(), Some(10));
        assert_eq!(tier.get_with(&3, LoadOptions::new()).await.unwrap(), None);
        store.corrupt(2);
        assert_eq!(tier.get(&2).await.unwrap(), None);
        assert_eq!(tier.get_many(&[1, 2, 3]).await.unwrap(), [Some(10), None, None]);
        assert_eq!(tier.stats().corrupt, 2);
        store.fail_reads(&[Fault::Transient]);
        assert!(matches!(tier.get_many(&[4]).await, Err(TierError::Store(_))));
    });
}

#[test]
fn a_reader_that_is_dropped_leaves_the_load_to_another() {
    within_a_minute(|| {
        let store = Faulty::new();
        store.put(1, 10);
        store.block_reads();
        let tier = through(&store);
        {
            let mut first = pin!(tier.get(&1));
            assert!(poll_once(first.as_mut()).is_pending());
        }
        let mut second = pin!(tier.get(&1));
        assert!(poll_once(second.as_mut()).is_pending());
        store.release();
        assert_eq!(block_on(second).unwrap(), Some(10));
    });
}

#[test]
fn a_deadline_ends_a_load_that_hangs() {
    within_a_minute(|| {
        let store = Faulty::new();
        store.put(1, 10);
        store.block_reads();
        let tier = through(&store);
        let hurried = LoadOptions::new().load_deadline(Duration::ZERO);
        assert!(matches!(block_on(tier.get_with(&1, hurried)), Err(TierError::DeadlineExceeded)));
        store.release();
        assert_eq!(block_on(tier.get(&1)).unwrap(), Some(10));
    });
}

#[test]
fn writes_go_through_and_around() {
    block_on(async {
        let store = Faulty::new();
        let tier = through(&store);
        tier.insert(1, 10).await.unwrap();
        tier.insert_many([(2, 20), (3, 30)]).await.unwrap();
        assert_eq!(tier.get_many(&[1, 2, 3]).await.unwrap(), [Some(10), Some(20), Some(30)]);
        tier.remove(&1).await.unwrap();
        tier.remove_many([2]).await.unwrap();
        assert_eq!(store.rows().into_iter().collect::<Vec<_>>(), [(3, 30)]);
        assert_eq!(tier.get(&1).await.unwrap(), None);
        store.fail_writes(&[Fault::Transient]);
        assert!(matches!(tier.insert(3, 31).await, Err(TierError::Store(_))));
        assert_eq!(tier.get(&3).await.unwrap(), Some(30));
        tier.close().await.unwrap();
        let store = AsyncFaulty(Arc::clone(&store));
        let tier = AsyncStoredCache::write_around(cache(10), store);
        tier.insert(3, 32).await.unwrap();
        assert_eq!(tier.cache().peek(&3), None);
        assert_eq!(tier.get(&3).await.unwrap(), Some(32));
    });
}

#[test]
fn a_write_that_is_dropped_on_its_way_leaves_no_old_value() {
    within_a_minute(|| {
        let store = Faulty::new();
        let tier = through(&store);
        block_on(tier.insert(1, 10)).unwrap();
        store.block_writes();
        {
            let mut write = pin!(tier.insert(1, 11));
            assert!(poll_once(write.as_mut()).is_pending());
        }
        // The server carries it out, although nobody waits for it any more.
        store.put(1, 11);
        assert_eq!(block_on(tier.get(&1)).unwrap(), Some(11));
    });
}

#[test]
fn the_writer_carries_writes_to_the_store() {
    within_a_minute(|| {
        on_tokio(async {
            let store = Faulty::new();
            let settings = settings().durability(Durability::Durable);
            let source = AsyncFaulty(Arc::clone(&store));
            let (tier, writer) =
                AsyncStoredCache::write_behind(cache(100), source, settings, tokio::time::sleep)
                    .unwrap();
            let writer = tokio::spawn(writer);
            let writes: Vec<_> = (0..50)
                .map(|key| {
                    let tier = tier.clone();
                    tokio::spawn(async move {
                        tier.insert(key, key).await.unwrap();
                        tier.get(&key).await.unwrap()
                    })
                })
                .collect();
            for (key, write) in writes.into_iter().enumerate() {
                assert_eq!(write.await.unwrap(), Some(key as u64));
                assert_eq!(store.row(key as u64), Some(key as u64), "it was acknowledged");
            }
            tier.close().await.unwrap();
            writer.await.unwrap();
            assert!(matches!(tier.insert(1, 1).await, Err(TierError::Closed)));
            assert_eq!(store.flushes(), 1);
        });
    });
}

#[test]
fn failures_are_tried_again_and_given_up() {
    within_a_minute(|| {
        let store = Faulty::new();
        store.fail_writes(&[Fault::Transient, Fault::Half, Fault::Panic]);
        let tier = behind(&store, settings().delay(Duration::from_secs(3600)).give_up_after(9));
        block_on(tier.insert_many((0..10).map(|key| (key, key)))).unwrap();
        block_on(tier.flush()).unwrap();
        assert_eq!((store.rows().len(), tier.stats().failed_batches), (10, 3));
        store.poison(1, Fault::Permanent);
        block_on(tier.insert_many((0..10).map(|key| (key, key + 1)))).unwrap();
        match block_on(tier.flush()) {
            Err(FlushError::GaveUp { entries: 1 }) => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(tier.dead_letters().len(), 1);
        assert_eq!(block_on(tier.get(&1)).unwrap(), Some(1));
        store.cure();
        assert_eq!(tier.retry_dead_letters(), 1);
        assert_eq!(block_on(tier.get(&1)).unwrap(), Some(2));
        block_on(tier.flush()).unwrap();
        assert_eq!(store.row(1), Some(2));
        assert!(tier.take_dead_letters().is_empty());
        store.fail_flushes(&[Fault::Transient, Fault::Panic]);
        assert!(matches!(block_on(tier.flush()), Err(FlushError::Store(_))));
        assert!(matches!(block_on(tier.flush()), Err(FlushError::Panicked)));
    });
}

#[test]
fn a_full_queue_waits_or_refuses() {
    within_a_minute(|| {
        let store = Faulty::new();
        let (tier, writer) = idle_behind(&store, settings().max_entries(2));
        block_on(tier.insert_many([(1, 10), (2, 20)])).unwrap();
        {
            let mut dropped = pin!(tier.insert(3, 30));
            assert!(poll_once(dropped.as_mut()).is_pending());
            assert!(poll_once(dropped.as_mut()).is_pending());
        }
        let mut waiting = pin!(tier.insert(4, 40));
        assert!(poll_once(waiting.as_mut()).is_pending());
        let mut writer = Box::pin(writer);
        assert!(poll_once(writer.as_mut()).is_pending());
        block_on(waiting).unwrap();
        assert!(poll_once(writer.as_mut()).is_pending());
        assert_eq!(store.rows().into_iter().collect::<Vec<_>>(), [(1, 10), (2, 20), (4, 40)]);
        let (tier, _writer) =
            idle_behind(&store, settings().max_entries(1).when_full(WhenFull::Fail));
        block_on(tier.insert(1, 11)).unwrap();
        assert!(matches!(block_on(tier.insert(2, 21)), Err(TierError::QueueFull { .. })));
    });
}

#[test]
fn nobody_waits_for_a_writer_that_was_dropped() {
    within_a_minute(|| {
        let store = Faulty::new();
        let lost = Arc::new(Mutex::new(Vec::new()));
        let report = Arc::clone(&lost);
        let settings = settings()
            .durability(Durability::Durable)
            .on_give_up(move |letter| report.lock().unwrap().push(*letter.key));
        let (tier, writer) = idle_behind(&store, settings.clone());
        store.block_writes();
        let mut writer = Box::pin(writer);
        let mut in_flight = pin!(tier.insert(1, 10));
        assert!(poll_once(in_flight.as_mut()).is_pending());
        assert!(poll_once(writer.as_mut()).is_pending());
        assert_eq!(tier.stats().in_flight, 1);
        let mut queued = pin!(tier.insert(2, 20));
        assert!(poll_once(queued.as_mut()).is_pending());
        let mut flush = pin!(tier.flush());
        assert!(poll_once(flush.as_mut()).is_pending());
        drop(writer);
        assert!(matches!(block_on(in_flight), Err(TierError::GaveUp { .. })));
        assert!(matches!(block_on(queued), Err(TierError::GaveUp { attempts: 0, .. })));
        assert!(matches!(block_on(flush), Err(FlushError::GaveUp { entries: 2 })));
        assert!(matches!(block_on(tier.insert(3, 30)), Err(TierError::Closed)));
        block_on(tier.close()).unwrap();
        lost.lock().unwrap().sort_unstable();
        assert_eq!(*lost.lock().unwrap(), [1, 2]);
        assert_eq!(tier.take_dead_letters().len(), 2);
        // It was never polled.
        let (tier, writer) = idle_behind(&store, settings);
        drop(writer);
        assert!(matches!(block_on(tier.insert(3, 30)), Err(TierError::Closed)));
    });
}

#[test]
fn a_write_that_is_given_up_is_forgotten_before_its_caller_learns_of_it() {
    within_a_minute(|| {
        let store = Faulty::new();
        let (send, has_read) = mpsc::channel();
        let has_read = Mutex::new(has_read);
        let settings = settings().durability(Durability::Durable).on_give_up(move |letter| {
            // Holds up the report of the second write until its caller has read.
            if *letter.key == 1 {
                has_read.lock().unwrap().recv().unwrap();
            }
        });
        let (tier, writer) = idle_behind(&store, settings);
        thread::scope(|scope| {
            let (first, second) = (&tier, &tier);
            scope.spawn(move || block_on(first.insert(1, 10)).unwrap_err());
            while tier.stats().queued < 1 {
                thread::yield_now();
            }
            scope.spawn(move || {
                block_on(second.insert(2, 20)).unwrap_err();
                let found = block_on(second.get(&2)).unwrap();
                send.send(()).unwrap();
                assert_eq!(found, None);
            });
            while tier.stats().queued < 2 {
                thread::yield_now();
            }
            drop(writer);
        });
        assert_eq!(tier.take_dead_letters().len(), 2);
    });
}

#[test]
fn the_patience_of_a_closed_tier_ends_its_writer() {
    within_a_minute(|| {
        let store = Faulty::new();
        store.go_down(Fault::Transient);
        // The patience is a pause that ends at once, and that of the back-off never ends.
        let forever = Duration::from_secs(3600);
        let settings = settings()
            .patience(Duration::ZERO)
            .backoff(larder_store::Backoff::custom(move |_| forever));
        let (tier, writer) = idle_behind(&store, settings);
        block_on(tier.insert_many((0..5).map(|key| (key, key)))).unwrap();
        let mut writer = Box::pin(writer);
        assert!(poll_once(writer.as_mut()).is_pending());
        assert_eq!(tier.stats().failed_batches, 1);
        let mut close = pin!(tier.close());
        assert!(poll_once(close.as_mut()).is_pending());
        assert!(poll_once(writer.as_mut()).is_ready());
        assert!(matches!(block_on(close), Err(FlushError::GaveUp { entries: 5 })));
        assert_eq!(tier.take_dead_letters().len(), 5);
    });
}

#[test]
fn the_last_handle_leaves_the_rest_to_the_writer() {
    within_a_minute(|| {
        let store = Faulty::new();
        let (tier, writer) = idle_behind(&store, settings());
        block_on(tier.insert(1, 10)).unwrap();
        drop(tier.clone());
        assert_eq!(block_on(tier.get(&1)).unwrap(), Some(10));
        drop(tier);
        block_on(writer);
        assert_eq!(store.row(1), Some(10));
        assert_eq!(Arc::strong_count(&store), 1);
    });
}

#[test]
fn the_writer_waits_as_long_as_it_is_told() {
    let store = Faulty::new();
    store.fail_writes(&[Fault::Transient]);
    let slept = Arc::new(Mutex::new(Vec::new()));
    let note = Arc::clone(&slept);
    let sleep = move |time: Duration| {
        note.lock().unwrap().push(time);
        std::future::pending()
    };
    let (day, hour) = (Duration::from_secs(86_400), Duration::from_secs(3600));
    let settings = settings().delay(day).backoff(larder_store::Backoff::custom(move |_| hour));
    let source = AsyncFaulty(Arc::clone(&store));
    let (tier, writer) =
        AsyncStoredCache::write_behind(cache(10), source, settings, sleep).unwrap();
    block_on(tier.insert(1, 10)).unwrap();
    let mut writer = Box::pin(writer);
    assert!(poll_once(writer.as_mut()).is_pending());
    let first = slept.lock().unwrap().pop().unwrap();
    assert!(first <= day && first > day - hour, "it has waited for a moment already");
    let mut flush = pin!(tier.flush());
    assert!(poll_once(flush.as_mut()).is_pending());
    assert!(poll_once(writer.as_mut()).is_pending());
    assert_eq!(slept.lock().unwrap().pop(), Some(hour));
}

#[test]
fn futures_can_be_sent() {
    fn is_send<T: Send>(future: T) -> T {
        future
    }

    let store = Faulty::new();
    let (tier, writer) = idle_behind(&store, settings());
    drop(is_send(writer));
    drop(is_send(tier.get(&1)));
    drop(is_send(tier.get_many(&[1])));
    drop(is_send(tier.insert(1, 1)));
    drop(is_send(tier.insert_many([(1, 1)])));
    drop(is_send(tier.remove(&1)));
    drop(is_send(tier.remove_many([1])));
    drop(is_send(tier.flush()));
    drop(is_send(tier.close()));
}

#[test]
fn a_blocking_store_runs_where_it_is_told() {
    within_a_minute(|| {
        on_tokio(async {
            let store = Faulty::new();
            let jobs = Arc::new(AtomicU64::new(0));
            let count = Arc::clone(&jobs);
            let blocking = Blocking::new(Arc::clone(&store), move |job| {
                count.fetch_add(1, Ordering::Relaxed);
                drop(tokio::task::spawn_blocking(job));
            });
            let tier = AsyncStoredCache::write_through(cache(100), blocking);
            tier.insert(1, Record::new(10).tags(["a"])).await.unwrap();
            tier.insert_many([(2, 20), (3, 30)]).await.unwrap();
            tier.cache().clear();
            assert_eq!(tier.get(&1).await.unwrap(), Some(10));
            assert!(tier.cache().invalidate_tag("a"));
            assert_eq!(tier.get_many(&[1, 2, 4]).await.unwrap(), [Some(10), Some(20), None]);
            tier.remove(&1).await.unwrap();
            tier.remove_many([2, 3]).await.unwrap();
            tier.flush().await.unwrap();
            assert!(store.rows().is_empty());
            assert_eq!(jobs.load(Ordering::Relaxed), 7);
            store.fail_writes(&[Fault::Permanent, Fault::Panic]);
            match tier.insert(1, 11).await {
                Err(TierError::Store(error)) => {
                    assert_eq!(*error, BlockingError::Store(StoreFailed(Fault::Permanent)));
                    assert_eq!(tier.store().kind(&error), ErrorKind::Permanent);
                }
                other => panic!("{other:?}"),
            }
            match tier.insert(1, 11).await {
                Err(TierError::Store(error)) => assert_eq!(*error, BlockingError::Panicked),
                other => panic!("{other:?}"),
            }
        });
    });
}

#[test]
fn a_job_that_is_dropped_is_an_error() {
    let blocking = Blocking::new(Faulty::new(), drop);
    let tier = AsyncStoredCache::write_through(cache(100), blocking);
    match block_on(tier.get(&1)) {
        Err(TierError::Store(error)) => assert_eq!(*error, BlockingError::Dropped),
        other => panic!("{other:?}"),
    }
    // The job outlives the future that waits for it.
    let jobs = Arc::new(Mutex::new(Vec::new()));
    let spawned = Arc::clone(&jobs);
    let store = Faulty::new();
    let blocking = Blocking::new(Arc::clone(&store), move |job| spawned.lock().unwrap().push(job));
    {
        let (value, batch) = (10, Durability::Durable);
        let write = [Write::Insert { key: &1, value: &value, meta: Default::default() }];
        let mut write = pin!(AsyncStore::write(&blocking, &write, batch));
        assert!(poll_once(write.as_mut()).is_pending());
    }
    let job = jobs.lock().unwrap().pop().unwrap();
    job();
    assert_eq!(store.row(1), Some(10));
}

#[test]
fn both_kinds_of_tiers_may_share_a_cache_and_a_store() {
    let (store, shared) = (Faulty::new(), cache(100));
    let threads = StoredCache::write_through(shared.clone(), Arc::clone(&store));
    let futures = AsyncStoredCache::write_through(shared, AsyncFaulty(Arc::clone(&store)));
    threads.insert(1, 10).unwrap();
    assert_eq!(block_on(futures.get(&1)).unwrap(), Some(10));
    block_on(futures.insert(1, 11)).unwrap();
    assert_eq!(threads.get(&1).unwrap(), Some(11));
}
