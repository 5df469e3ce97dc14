//! Write-through and write-around.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use larder_store::{Durability, StoredCache, TierError};

use crate::faulty::{Fault, Faulty, TestTier, cache, within_a_minute};

fn through(store: &Arc<Faulty>) -> TestTier {
    StoredCache::write_through(cache(1_000), Arc::clone(store))
}

#[test]
fn a_write_is_in_the_store_and_in_the_cache() {
    let store = Faulty::new();
    let tier = through(&store);
    tier.insert(1, 10).unwrap();
    assert_eq!((store.row(1), tier.get(&1).unwrap()), (Some(10), Some(10)));
    assert_eq!(tier.cache().peek(&1), Some(10));
    tier.insert(1, 11).unwrap();
    assert_eq!((store.row(1), tier.cache().peek(&1)), (Some(11), Some(11)));
    assert_eq!(store.reads(), 0);
    tier.remove(&1).unwrap();
    assert_eq!((store.row(1), tier.cache().peek(&1)), (None, None));
    assert!(store.durabilities().iter().all(|durability| *durability == Durability::Durable));
    tier.flush().unwrap();
    tier.close().unwrap();
    assert_eq!(store.flushes(), 2);
}

#[test]
fn a_write_around_leaves_nothing_in_the_cache() {
    let store = Faulty::new();
    store.put(1, 10);
    let tier = StoredCache::write_around(cache(100), Arc::clone(&store));
    assert_eq!(tier.get(&1).unwrap(), Some(10));
    tier.insert(1, 11).unwrap();
    assert_eq!((store.row(1), tier.cache().peek(&1)), (Some(11), None));
    assert_eq!(tier.get(&1).unwrap(), Some(11));
}

#[test]
fn after_a_failed_write_the_store_is_asked() {
    for is_around in [false, true] {
        for fault in [Fault::Transient, Fault::Half, Fault::Panic] {
            let store = Faulty::new();
            let tier = match is_around {
                false => through(&store),
                true => StoredCache::write_around(cache(100), Arc::clone(&store)),
            };
            tier.insert(1, 10).unwrap();
            store.fail_writes(&[fault]);
            // The store has carried it out in spite of the error, for all that the tier knows.
            store.put(1, 11);
            let written = catch_unwind(AssertUnwindSafe(|| tier.insert(1, 12)));
            match written {
                Err(_) => assert_eq!(fault, Fault::Panic),
                Ok(written) => assert!(matches!(written, Err(TierError::Store(_))), "{fault:?}"),
            }
            assert_eq!(tier.get(&1).unwrap(), Some(11));
        }
    }
}

#[test]
fn writers_of_one_key_leave_the_cache_no_older_than_the_store() {
    within_a_minute(|| {
        for round in 0..200 {
            let store = Faulty::new();
            let tier = through(&store);
            thread::scope(|scope| {
                for writer in 0..3_u64 {
                    let tier = &tier;
                    scope.spawn(move || {
                        for step in 0..10 {
                            tier.insert(step % 2, writer * 1_000 + step).unwrap();
                        }
                    });
                }
                scope.spawn(|| {
                    for step in 0..20 {
                        tier.get(&(step % 2)).unwrap();
                    }
                });
            });
            for key in 0..2 {
                let cached = tier.cache().peek(&key);
                assert!(cached.is_none() || cached == store.row(key), "round {round}");
                assert_eq!(tier.get(&key).unwrap(), store.row(key), "round {round}");
            }
        }
    });
}

#[test]
fn a_write_that_is_overtaken_in_the_store_is_not_cached() {
    within_a_minute(|| {
        let store = Faulty::new();
        store.block_writes();
        let tier = through(&store);
        thread::scope(|scope| {
            let slow = scope.spawn(|| tier.insert(1, 10));
            store.wait_for_blocked(1);
            let fast = scope.spawn(|| tier.insert(1, 11));
            store.wait_for_blocked(2);
            store.release();
            slow.join().unwrap().unwrap();
            fast.join().unwrap().unwrap();
        });
        assert_eq!(tier.get(&1).unwrap(), store.row(1));
    });
}
