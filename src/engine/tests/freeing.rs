//! Freeing, and the end of an engine.
use crate::base::hash::KeyHash;

use super::*;

#[test]
fn retired_entries_count_towards_the_next_pace_with_their_weight() {
    let mut test = TestEngine::new(Maintenance::Inline, 1_000);
    // As in a cache with a weigher; direct runs count what they retire otherwise.
    test.engine.is_plain = false;
    let all: Vec<_> = (0..3).map(|key| test.insert(key)).collect();
    all.into_iter().for_each(|entry| test.remove(entry));
    let partition::Unpaced { entries, weight, .. } = &test.engine.partitions[0].unpaced;
    assert_eq!((entries.load(Ordering::Relaxed), weight.load(Ordering::Relaxed)), (3, 3));
}

#[test]
fn garbage_is_work_for_the_thread() {
    let test = TestEngine::new(Maintenance::Background, 320);
    let entry = test.insert(1);
    test.engine.run_pending();
    assert!(!test.engine.has_work());
    let guard = reclaim::pin();
    test.remove(entry);
    test.engine.apply_pending();
    assert_eq!(test.waiting(), 0);
    assert!(test.engine.has_work(), "the entry is still to be freed");
    drop(guard);
}

#[test]
fn visits_free_removed_entries() {
    let test = TestEngine::new(Maintenance::Background, 320);
    let all: Vec<_> = (0..40).map(|key| test.insert(key)).collect();
    all.into_iter().for_each(|entry| test.remove(entry));
    // Visit until no other thread can see the entries.
    while test.engine.tick() {}
    let stats = test.engine.stats();
    let entry_bytes = Entry::<u64, u64>::BYTES as u64;
    assert_eq!((stats.retired_bytes, stats.freed_bytes), (40 * entry_bytes, 40 * entry_bytes));
    assert_eq!(test.engine.len(), 0);
}

#[test]
fn the_epoch_is_paced_by_entries_by_bytes_and_by_weight() {
    let paces = |capacity| {
        let engine = lru_engine::<u64>(Maintenance::Inline, entries(capacity), 1);
        (engine.pace_entries, engine.backlog)
    };
    assert_eq!(paces(1), (1, 256), "half of 1 is 0, and 1 is the least");
    assert_eq!(paces(100), (50, 400));
    assert_eq!(paces(1_000), (256, 2_048));
    assert_eq!(paces(10_000), (625, 5_000));
    assert_eq!(paces(1_000_000), (2_048, 16_384));
    let of_large = lru_engine::<[u64; 512]>(Maintenance::Inline, entries(1_000_000), 4);
    let bytes = Entry::<u64, [u64; 512]>::BYTES;
    assert_eq!(of_large.pace_entries, 256 * 1024 / bytes / 4, "the share of a partition");
    assert_eq!(of_large.backlog, (8 * (256 * 1024 / bytes) / 4).max(256) as u64);

    let bounds = Bounds { capacity: Some(1_000), max_weight: Some(1_600) };
    let engine = lru_engine::<u64>(Maintenance::Inline, bounds, 2);
    assert_eq!(engine.pace_weight, 50);
    let first = &engine.partitions[0];
    let unpaced = || {
        let partition::Unpaced { entries, weight, .. } = &first.unpaced;
        (entries.load(Ordering::Relaxed), weight.load(Ordering::Relaxed))
    };
    engine.pace(first, 100, 20);
    engine.pace(first, 27, 29);
    assert_eq!(unpaced(), (127, 49));
    engine.pace(first, 1, 0);
    assert_eq!(unpaced(), (0, 0), "enough entries");
    engine.pace(first, 1, 49);
    engine.pace(first, 1, 1);
    assert_eq!(unpaced(), (0, 0), "enough weight");
}

#[test]
fn a_run_may_free_a_little_more_than_it_retires_and_much_more_when_behind() {
    for (retired, may_free) in [(0, 1), (3, 4), (4, 6), (100, 126)] {
        assert_eq!(partition::credit_for(retired, false), may_free);
    }
    assert_eq!(partition::credit_for(0, true), 0);
    assert_eq!(partition::credit_for(100, true), 500);
}

#[test]
fn flush_is_refused_at_once_while_the_caller_is_pinned_and_something_waits() {
    let test = TestEngine::new(Maintenance::Inline, 320);
    let entry = test.insert(1);
    let guard = reclaim::pin();
    assert_eq!(test.engine.flush(), Ok(()), "nothing waits");
    test.remove(entry);
    assert_eq!(test.engine.flush(), Err(FlushError::PinnedHere));
    drop(guard);
    while test.engine.flush().is_err() {}
    assert_eq!(test.engine.partitions[0].garbage(), 0);
}

/// `flush` relies on this.
#[test]
fn a_batch_that_is_only_taken_is_not_seen_as_freed() {
    let test = TestEngine::new(Maintenance::Inline, 320);
    let partition = &test.engine.partitions[0];
    partition.await_freed();
    test.remove(test.insert(1));
    assert_eq!(partition.garbage(), 1);
    partition.seal();
    // Until no other thread can see the entry.
    let (free, phase) = loop {
        reclaim::advance();
        let (free, phase) = partition.take_ready();
        if !free.is_empty() {
            break (free, phase);
        }
        sync::thread::yield_now();
    };
    let has_seen = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            partition.await_freed();
            has_seen.store(1, Ordering::Relaxed);
        });
        for _ in 0..1_000 {
            assert_eq!(has_seen.load(Ordering::Relaxed), 0, "the batch is still here");
            sync::thread::yield_now();
        }
        test.engine.free(partition, free, phase);
    });
    assert_eq!(has_seen.load(Ordering::Relaxed), 1);
    assert_eq!(partition.garbage(), 0);
    // It works in both phases, more than once.
    (0..4).for_each(|_| partition.await_freed());
}

#[test]
fn the_lag_of_reclamation_is_reported_where_something_waits() {
    let [waits, idle] = [(); 2].map(|()| TestEngine::new(Maintenance::Inline, 320));
    let entry = waits.insert(1);
    let guard = reclaim::pin();
    waits.remove(entry);
    waits.engine.partitions[0].seal();
    while waits.engine.stats().reclamation_lag.is_zero() {
        reclaim::advance();
        sync::thread::yield_now();
    }
    assert_eq!(idle.engine.stats().reclamation_lag, Duration::ZERO);
    drop(guard);
}

#[test]
fn an_engine_that_is_torn_down_has_dropped_everything_once() {
    let value = Arc::new(());
    let limits = Limits { entries: 1_000, weight: u64::MAX };
    let policy = CountingPolicy { accesses: Arc::default(), ids: Vec::new() };
    let evictor = Evictor::new(Box::new(policy), Accesses::Order, limits);
    let engine =
        engine_of::<Arc<()>>(Maintenance::Background, vec![evictor], &ExpiryConfig::default());
    let guard = reclaim::pin();
    for key in 0..600 {
        let new = Owned::new(KeyHash::from_raw(key << 8), 1, key, Arc::clone(&value));
        let entry = engine.table.insert_if_absent(new, |_| true, &guard).ok().expect("absent");
        engine.submit(&Event::Inserted(entry), KeyHash::from_raw(key << 8));
        if key % 3 == 0 {
            assert!(engine.table.remove_entry(entry, &guard));
            engine.submit(&Event::Removed(entry), KeyHash::from_raw(key << 8));
        }
    }
    drop(guard);
    engine.tear_down();
    assert_eq!(Arc::strong_count(&value), 1);
}
