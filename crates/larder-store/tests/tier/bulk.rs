//! Reading and writing several keys at once.

use std::sync::Arc;

use larder_store::{StoredCache, TierError};

use crate::faulty::{Fault, Faulty, StoreFailed, behind, cache, settings};

#[test]
fn what_the_cache_misses_is_read_by_one_call() {
    let store = Faulty::new();
    for key in 0..6 {
        store.put(key, key * 10);
    }
    let tier = StoredCache::write_through(cache(100), Arc::clone(&store));
    tier.get(&1).unwrap();
    let found = tier.get_many(&[0, 1, 2, 99, 2]).unwrap();
    assert_eq!(found, [Some(0), Some(10), Some(20), None, Some(20)]);
    let mut asked = store.bulk_reads().pop().unwrap();
    asked.sort_unstable();
    assert_eq!(asked, [0, 2, 99]);
    assert_eq!(tier.get_many(&[0, 1, 2]).unwrap(), [Some(0), Some(10), Some(20)]);
    assert_eq!(tier.get_many(&[]).unwrap(), []);
    assert_eq!(store.bulk_reads().len(), 1);
}

#[test]
fn foreign_records_are_ignored_and_counted() {
    let store = Faulty::new();
    for key in 0..3 {
        store.put(key, key * 10);
    }
    store.return_foreign(&[2]);
    let tier = StoredCache::write_through(cache(100), Arc::clone(&store));
    assert_eq!(tier.get_many(&[0, 1]).unwrap(), [Some(0), Some(10)]);
    assert_eq!(tier.stats().foreign, 1);
    assert_eq!(tier.cache().peek(&2), None);
}

#[test]
fn a_failure_is_the_callers_and_leaves_nothing() {
    let store = Faulty::new();
    store.put(1, 10);
    store.fail_reads(&[Fault::Transient]);
    let tier = StoredCache::write_through(cache(100), Arc::clone(&store));
    match tier.get_many(&[1, 2]) {
        Err(TierError::Store(error)) => assert_eq!(*error, StoreFailed(Fault::Transient)),
        other => panic!("{other:?}"),
    }
    assert_eq!(tier.cache().peek(&1), None);
    assert_eq!(tier.get_many(&[1, 2]).unwrap(), [Some(10), None]);
}

#[test]
fn one_corrupt_record_hides_no_other() {
    let store = Faulty::new();
    for key in 0..3 {
        store.put(key, key * 10);
    }
    store.corrupt(1);
    let tier = StoredCache::write_through(cache(100), Arc::clone(&store));
    assert_eq!(tier.get_many(&[0, 1, 2]).unwrap(), [Some(0), None, Some(20)]);
    assert_eq!(tier.stats().corrupt, 1);
}

#[test]
fn queued_writes_are_found_without_the_store() {
    let store = Faulty::new();
    store.put(1, 10);
    store.put(2, 20);
    store.put(3, 30);
    store.block_writes();
    let tier = behind(&store, settings());
    tier.insert(1, 11).unwrap();
    tier.remove(&2).unwrap();
    tier.cache().clear();
    assert_eq!(tier.get_many(&[1, 2, 3]).unwrap(), [Some(11), None, Some(30)]);
    assert_eq!(store.bulk_reads(), [vec![3]]);
    store.release();
}

#[test]
fn several_writes_are_one_batch_and_the_last_of_a_key_counts() {
    let store = Faulty::new();
    let tier = StoredCache::write_through(cache(100), Arc::clone(&store));
    tier.insert_many([(1, 10), (2, 20), (1, 11)]).unwrap();
    assert_eq!(store.attempts().len(), 1);
    assert_eq!(store.rows().into_iter().collect::<Vec<_>>(), [(1, 11), (2, 20)]);
    assert_eq!(tier.get_many(&[1, 2]).unwrap(), [Some(11), Some(20)]);
    tier.remove_many([1, 2, 3]).unwrap();
    assert_eq!(store.attempts().len(), 2);
    assert!(store.rows().is_empty());
    assert_eq!(tier.get_many(&[1, 2]).unwrap(), [None, None]);
    tier.insert_many(Vec::<(u64, u64)>::new()).unwrap();
    assert_eq!(store.attempts().len(), 2, "an empty batch is not written");
}

#[test]
fn a_batch_that_fails_half_way_leaves_no_old_value_in_the_cache() {
    let store = Faulty::new();
    let tier = StoredCache::write_through(cache(100), Arc::clone(&store));
    let old: Vec<_> = (0..10).map(|key| (key, key)).collect();
    tier.insert_many(old).unwrap();
    store.fail_writes(&[Fault::Half]);
    let new: Vec<_> = (0..10).map(|key| (key, key + 100)).collect();
    assert!(matches!(tier.insert_many(new), Err(TierError::Store(_))));
    let keys: Vec<_> = (0..10).collect();
    let found = tier.get_many(&keys).unwrap();
    let rows = store.rows();
    for (key, value) in keys.iter().zip(found) {
        assert_eq!(value, rows.get(key).copied());
    }
}
