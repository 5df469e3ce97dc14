//! Reading through the cache.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use larder::test::FakeClock;
use larder::{Cache, LoadOptions, Maintenance};
use larder_store::{Durability, Record, Store, StoredCache, TierError, Write};

use crate::faulty::{Fault, Faulty, StoreFailed, TestTier, cache, settings, within_a_minute};

fn through(store: &Arc<Faulty>) -> TestTier {
    StoredCache::write_through(cache(1_000), Arc::clone(store))
}

#[test]
fn a_miss_asks_the_store_and_a_hit_does_not() {
    let store = Faulty::new();
    store.put(1, 10);
    let tier = through(&store);
    for _ in 0..3 {
        assert_eq!(tier.get(&1).unwrap(), Some(10));
    }
    assert_eq!(store.reads(), 1);
    assert_eq!(tier.get(&2).unwrap(), None);
    assert_eq!(tier.get(&2).unwrap(), None);
    assert_eq!(store.reads(), 3, "that there is none is not stored without a lifetime for it");
}

#[test]
fn many_readers_of_a_missing_key_ask_the_store_once() {
    within_a_minute(|| {
        let store = Faulty::new();
        store.put(1, 10);
        store.block_reads();
        let tier = through(&store);
        thread::scope(|scope| {
            let readers: Vec<_> = (0..8).map(|_| scope.spawn(|| tier.get(&1).unwrap())).collect();
            store.wait_for_blocked(1);
            store.release();
            for reader in readers {
                assert_eq!(reader.join().unwrap(), Some(10));
            }
        });
        assert_eq!(store.reads(), 1);
    });
}

#[test]
fn that_a_key_is_missing_is_remembered_until_it_is_written() {
    for mode in 0..3 {
        let store = Faulty::new();
        let cache = Cache::builder()
            .capacity(100)
            .negative_time_to_live(Duration::from_secs(60))
            .maintenance(Maintenance::Inline)
            .build()
            .unwrap();
        let tier = match mode {
            0 => StoredCache::write_through(cache, Arc::clone(&store)),
            1 => StoredCache::write_around(cache, Arc::clone(&store)),
            _ => StoredCache::write_behind(cache, Arc::clone(&store), settings()).unwrap(),
        };
        assert_eq!(tier.get(&1).unwrap(), None);
        assert_eq!(tier.get(&1).unwrap(), None);
        assert_eq!(store.reads(), 1, "mode {mode}");
        tier.insert(1, 10).unwrap();
        assert_eq!(tier.get(&1).unwrap(), Some(10), "mode {mode}");
        tier.flush().unwrap();
        tier.cache().clear();
        assert_eq!(tier.get(&1).unwrap(), Some(10), "mode {mode}");
        tier.remove(&1).unwrap();
        assert_eq!(tier.get(&1).unwrap(), None, "mode {mode}");
    }
}

#[test]
fn an_error_of_the_store_is_not_cached() {
    let store = Faulty::new();
    store.put(1, 10);
    store.fail_reads(&[Fault::Transient]);
    let tier = through(&store);
    match tier.get(&1) {
        Err(TierError::Store(error)) => assert_eq!(*error, StoreFailed(Fault::Transient)),
        other => panic!("{other:?}"),
    }
    assert_eq!(tier.get(&1).unwrap(), Some(10));
}

#[test]
fn after_a_panic_of_the_store_another_reader_asks_it() {
    within_a_minute(|| {
        let store = Faulty::new();
        store.put(1, 10);
        store.fail_reads(&[Fault::Panic]);
        store.block_reads();
        let tier = through(&store);
        thread::scope(|scope| {
            let first = scope.spawn(|| catch_unwind(AssertUnwindSafe(|| tier.get(&1))));
            store.wait_for_blocked(1);
            let second = scope.spawn(|| tier.get(&1).unwrap());
            store.release();
            assert!(first.join().unwrap().is_err());
            assert_eq!(second.join().unwrap(), Some(10));
        });
    });
}

#[test]
fn a_corrupt_record_is_a_miss_and_counted() {
    let store = Faulty::new();
    store.put(1, 10);
    store.corrupt(1);
    let tier = through(&store);
    assert_eq!(tier.get(&1).unwrap(), None);
    assert_eq!(tier.stats().corrupt, 1);
    tier.insert(1, 11).unwrap();
    assert_eq!(tier.cache().peek(&1).or(Some(11)), Some(11));
}

#[test]
fn a_reader_does_not_cache_what_a_writer_has_made_old() {
    within_a_minute(|| {
        let store = Faulty::new();
        store.put(1, 10);
        store.block_reads();
        let tier = through(&store);
        thread::scope(|scope| {
            let reader = scope.spawn(|| tier.get(&1).unwrap());
            // The reader has read 10 and not returned.
            store.wait_for_blocked(1);
            tier.insert(1, 11).unwrap();
            store.release();
            assert_eq!(reader.join().unwrap(), Some(10), "it called before the write returned");
        });
        assert_eq!(tier.get(&1).unwrap(), Some(11));
        tier.remove(&1).unwrap();
        assert_eq!(tier.get(&1).unwrap(), None);
    });
}

#[test]
fn the_deadline_of_a_call_ends_its_wait_and_not_the_load() {
    within_a_minute(|| {
        let store = Faulty::new();
        store.put(1, 10);
        store.block_reads();
        let tier = through(&store);
        thread::scope(|scope| {
            let first = scope.spawn(|| tier.get(&1).unwrap());
            store.wait_for_blocked(1);
            let hurried = LoadOptions::new().load_deadline(Duration::ZERO);
            assert!(matches!(tier.get_with(&1, hurried), Err(TierError::DeadlineExceeded)));
            store.release();
            assert_eq!(first.join().unwrap(), Some(10));
        });
    });
}

#[test]
fn lifetimes_and_tags_of_records_are_those_of_the_entries() {
    let (store, clock) = (Faulty::new(), FakeClock::new());
    store.put(1, Record::new(10).ttl(Duration::from_secs(5)));
    store.put(2, Record::new(20).tags(["even", "small"]));
    let cache = Cache::builder()
        .capacity(100)
        .clock(clock.clone())
        .maintenance(Maintenance::Inline)
        .build()
        .unwrap();
    let tier = StoredCache::write_through(cache, Arc::clone(&store));
    assert_eq!(tier.get(&1).unwrap(), Some(10));
    assert_eq!(tier.get(&2).unwrap(), Some(20));
    clock.advance(Duration::from_secs(6));
    assert_eq!(tier.cache().peek(&1), None);
    assert_eq!(tier.cache().peek(&2), Some(20));
    assert!(tier.cache().invalidate_tag("even"));
    assert_eq!(tier.cache().peek(&2), None);
    let read_before = store.reads();
    assert_eq!(tier.get(&2).unwrap(), Some(20), "the store still has it");
    assert_eq!(store.reads(), read_before + 1);
    // In bulk too.
    tier.cache().clear();
    assert_eq!(tier.get_many(&[1, 2]).unwrap(), [Some(10), Some(20)]);
    assert_eq!(tier.cache().tags_of(&2).unwrap().len(), 2);
}

/// Asks the tier in front of it for the key that it is asked for.
#[derive(Default)]
struct Circular(OnceLock<StoredCache<u64, u64, Arc<Circular>>>);

impl Store<u64, u64> for Circular {
    type Error = StoreFailed;

    fn get(&self, key: &u64) -> Result<Option<Record<u64>>, StoreFailed> {
        match self.0.get().unwrap().get(key) {
            Err(TierError::Reentrant) => Ok(Some(Record::new(7))),
            other => panic!("{other:?}"),
        }
    }

    fn write(&self, _: &[Write<'_, u64, u64>], _: Durability) -> Result<(), StoreFailed> {
        Ok(())
    }
}

#[test]
fn a_store_that_asks_for_its_own_key_gets_an_error() {
    within_a_minute(|| {
        let store = Arc::new(Circular::default());
        let tier = StoredCache::write_through(cache(10), Arc::clone(&store));
        assert!(store.0.set(tier.clone()).is_ok());
        assert_eq!(tier.get(&1).unwrap(), Some(7));
    });
}
