//! Write-behind: what is read, what is written, and in which order.

use std::thread;
use std::time::Duration;

use larder_store::{Durability, StoredCache, TierBuildError};

use crate::faulty::{Fault, Faulty, behind, cache, settings, within_a_minute};

#[test]
fn a_queued_write_is_read_though_it_was_evicted() {
    within_a_minute(|| {
        let store = Faulty::new();
        store.put(1, 10);
        store.block_writes();
        let tier = behind(&store, settings());
        tier.insert(1, 11).unwrap();
        store.wait_for_blocked(1);
        for _ in 0..2 {
            assert_eq!(tier.get(&1).unwrap(), Some(11));
            tier.cache().remove(&1);
        }
        // Written again while the store has the older write.
        tier.insert(1, 12).unwrap();
        tier.cache().clear();
        assert_eq!(tier.get(&1).unwrap(), Some(12));
        tier.cache().clear();
        tier.remove(&1).unwrap();
        assert_eq!(tier.get(&1).unwrap(), None);
        assert_eq!(store.reads(), 0);
        store.release();
        tier.flush().unwrap();
        assert_eq!(store.row(1), None);
        assert_eq!(tier.get(&1).unwrap(), None);
        assert_eq!(store.reads(), 1);
    });
}

#[test]
fn writes_that_wait_are_replaced_by_newer_ones() {
    within_a_minute(|| {
        let store = Faulty::new();
        let tier = behind(&store, settings().delay(Duration::MAX));
        for step in 0..100 {
            tier.insert(step % 2, step).unwrap();
        }
        tier.remove(&1).unwrap();
        assert_eq!(tier.stats().queued, 2);
        tier.flush().unwrap();
        assert_eq!(store.attempts(), [vec![(0, Some(98)), (1, None)]]);
        let stats = tier.stats();
        assert_eq!((stats.coalesced, stats.written, stats.batches), (99, 2, 1));
        assert_eq!((stats.queued, stats.in_flight, stats.weight), (0, 0, 0));
    });
}

#[test]
fn writes_of_a_key_reach_the_store_in_their_order() {
    within_a_minute(|| {
        let store = Faulty::new();
        store.block_writes();
        let tier = behind(&store, settings());
        tier.insert(1, 10).unwrap();
        store.wait_for_blocked(1);
        tier.insert(1, 11).unwrap();
        tier.insert(1, 12).unwrap();
        assert_eq!((tier.stats().in_flight, tier.stats().queued), (1, 1));
        store.release();
        tier.flush().unwrap();
        assert_eq!(store.attempts(), [[(1, Some(10))], [(1, Some(12))]]);
    });
}

#[test]
fn a_failed_write_does_not_come_after_a_newer_one() {
    within_a_minute(|| {
        let store = Faulty::new();
        store.block_writes();
        store.fail_writes(&[Fault::Transient]);
        let tier = behind(&store, settings());
        tier.insert(1, 10).unwrap();
        store.wait_for_blocked(1);
        tier.insert(1, 11).unwrap();
        store.release();
        tier.flush().unwrap();
        assert_eq!(store.attempts(), [[(1, Some(10))], [(1, Some(11))]]);
        assert_eq!(store.row(1), Some(11));
    });
}

#[test]
fn batches_are_no_larger_than_they_may_be() {
    within_a_minute(|| {
        let store = Faulty::new();
        let tier =
            behind(&store, settings().delay(Duration::MAX).batch_entries(4).max_entries(1_000));
        for key in 0..10 {
            tier.insert(key, key).unwrap();
        }
        tier.flush().unwrap();
        let attempts = store.attempts();
        assert!(attempts.iter().all(|batch| batch.len() <= 4), "{attempts:?}");
        assert_eq!(store.rows().len(), 10);
    });
}

#[test]
fn a_full_batch_and_a_half_full_queue_end_the_delay() {
    within_a_minute(|| {
        let store = Faulty::new();
        let tier = behind(&store, settings().delay(Duration::MAX).batch_entries(4));
        for key in 0..4 {
            tier.insert(key, key).unwrap();
        }
        store.wait_for_attempts(1);
        let store = Faulty::new();
        let tier = behind(&store, settings().delay(Duration::MAX).max_entries(6));
        for key in 0..3 {
            tier.insert(key, key).unwrap();
        }
        store.wait_for_attempts(1);
    });
}

#[test]
fn a_delay_that_has_passed_is_no_obstacle() {
    within_a_minute(|| {
        let store = Faulty::new();
        let tier = behind(&store, settings().delay(Duration::from_nanos(1)));
        tier.insert(1, 10).unwrap();
        store.wait_for_attempts(1);
    });
}

#[test]
fn memory_mode_flushes_the_store_and_durable_mode_asks_for_commits() {
    within_a_minute(|| {
        for durability in [Durability::Memory, Durability::Durable] {
            let store = Faulty::new();
            let tier = behind(&store, settings().durability(durability));
            tier.insert(1, 10).unwrap();
            tier.flush().unwrap();
            assert_eq!(store.durabilities(), [durability]);
            assert_eq!(store.flushes(), 1);
        }
    });
}

#[test]
fn settings_that_let_nothing_through_are_errors() {
    let zero = |settings| match StoredCache::write_behind(cache(10), Faulty::new(), settings) {
        Err(TierBuildError::Zero { setting }) => setting,
        other => panic!("{other:?}"),
    };
    assert_eq!(zero(settings().max_entries(0)), "max_entries");
    assert_eq!(zero(settings().max_weight(0, |_, _| 1)), "max_weight");
    assert_eq!(zero(settings().batch_entries(0)), "batch_entries");
    assert_eq!(zero(settings().give_up_after(0)), "give_up_after");
}

#[test]
fn writers_of_one_key_leave_cache_queue_and_store_at_the_same_value() {
    within_a_minute(|| {
        for round in 0..200 {
            let store = Faulty::new();
            let tier = behind(&store, settings());
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
            let found = [tier.get(&0).unwrap(), tier.get(&1).unwrap()];
            tier.flush().unwrap();
            assert_eq!(found, [store.row(0), store.row(1)], "round {round}");
        }
    });
}
