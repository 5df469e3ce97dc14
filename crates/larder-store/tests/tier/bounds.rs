//! The bounds of the queue.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

use larder_store::{Record, TierError, WhenFull};

use crate::faulty::{Faulty, behind, settings, within_a_minute};

#[test]
fn a_full_queue_refuses_writes_if_it_is_to() {
    within_a_minute(|| {
        let store = Faulty::new();
        store.put(9, 90);
        store.block_writes();
        let tier = behind(&store, settings().max_entries(3).when_full(WhenFull::Fail));
        tier.insert(0, 0).unwrap();
        store.wait_for_blocked(1);
        tier.insert(1, 1).unwrap();
        tier.insert(2, 2).unwrap();
        assert_eq!(tier.get(&9).unwrap(), Some(90));
        match tier.insert(9, 91) {
            Err(TierError::QueueFull { entries: 3, weight: 0, .. }) => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(tier.get(&9).unwrap(), Some(90), "nothing has changed");
        tier.insert(1, 11).unwrap();
        tier.remove(&2).unwrap();
        assert!(matches!(tier.remove(&9), Err(TierError::QueueFull { .. })));
        // The key in flight needs a place of its own for its newer write.
        assert!(matches!(tier.insert(0, 5), Err(TierError::QueueFull { .. })));
        store.release();
        tier.flush().unwrap();
        tier.insert(9, 91).unwrap();
        tier.flush().unwrap();
        assert_eq!(store.rows().into_iter().collect::<Vec<_>>(), [(0, 0), (1, 11), (9, 91)]);
    });
}

#[test]
fn a_full_queue_makes_writers_wait_for_room() {
    within_a_minute(|| {
        let store = Faulty::new();
        store.block_writes();
        let tier = behind(&store, settings().max_entries(1));
        tier.insert(0, 0).unwrap();
        store.wait_for_blocked(1);
        thread::scope(|scope| {
            let writers: Vec<_> = (1..5)
                .map(|key| {
                    scope.spawn({
                        let tier = &tier;
                        move || tier.insert(key, key)
                    })
                })
                .collect();
            store.release();
            for writer in writers {
                writer.join().unwrap().unwrap();
            }
        });
        tier.flush().unwrap();
        assert_eq!(store.rows().len(), 5);
    });
}

#[test]
fn patience_bounds_the_wait_for_room() {
    within_a_minute(|| {
        let store = Faulty::new();
        store.block_writes();
        let tier = behind(&store, settings().max_entries(1).patience(Duration::ZERO));
        tier.insert(0, 0).unwrap();
        store.wait_for_blocked(1);
        assert!(matches!(tier.insert(1, 1), Err(TierError::QueueFull { .. })));
        store.release();
    });
}

#[test]
fn weight_is_bounded_and_given_back() {
    within_a_minute(|| {
        let store = Faulty::new();
        store.block_writes();
        let weigher = |_: &u64, record: &Record<u64>| record.value;
        let tier = behind(&store, settings().max_weight(100, weigher).when_full(WhenFull::Fail));
        assert!(matches!(
            tier.insert(1, 101),
            Err(TierError::TooHeavy { weight: 101, limit: 100 })
        ));
        tier.insert(1, 60).unwrap();
        store.wait_for_blocked(1);
        tier.insert(2, 40).unwrap();
        assert!(matches!(
            tier.insert(3, 1),
            Err(TierError::QueueFull { entries: 2, weight: 100, .. })
        ));
        tier.insert(2, 30).unwrap();
        tier.insert(3, 10).unwrap();
        tier.remove(&4).unwrap();
        assert_eq!(tier.stats().weight, 100);
        store.release();
        tier.flush().unwrap();
        assert_eq!(tier.stats().weight, 0);
        tier.insert(1, u64::MAX).unwrap_err();
        tier.insert(5, 100).unwrap();
    });
}

#[test]
fn a_weigher_that_panics_changes_nothing() {
    within_a_minute(|| {
        let store = Faulty::new();
        let weigher = |_: &u64, record: &Record<u64>| match record.value {
            0 => panic!("no weight"),
            value => value,
        };
        let tier = behind(&store, settings().max_weight(100, weigher));
        tier.insert(1, 1).unwrap();
        assert!(catch_unwind(AssertUnwindSafe(|| tier.insert(1, 0))).is_err());
        assert_eq!(tier.get(&1).unwrap(), Some(1));
        tier.flush().unwrap();
        assert_eq!(store.row(1), Some(1));
    });
}
