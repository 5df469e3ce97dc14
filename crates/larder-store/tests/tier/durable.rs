//! Durable mode: when a write is acknowledged.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use larder_store::{Durability, TierError};

use crate::faulty::{Fault, Faulty, Settings, behind, settings, within_a_minute};

fn durable() -> Settings {
    settings().durability(Durability::Durable)
}

#[test]
fn a_write_returns_when_the_store_has_committed_it() {
    within_a_minute(|| {
        let store = Faulty::new();
        let tier = behind(&store, durable());
        for step in 0..100 {
            tier.insert(step % 3, step).unwrap();
            assert_eq!(store.row(step % 3), Some(step));
            assert_eq!(tier.get(&(step % 3)).unwrap(), Some(step));
        }
        tier.remove(&1).unwrap();
        assert_eq!(store.row(1), None);
        tier.insert_many((0..50).map(|key| (key, key))).unwrap();
        assert_eq!(store.rows().len(), 50);
        tier.remove_many(0..50).unwrap();
        assert!(store.rows().is_empty());
    });
}

#[test]
fn writes_that_wait_together_are_committed_together() {
    within_a_minute(|| {
        let store = Faulty::new();
        store.block_writes();
        let tier = behind(&store, durable());
        thread::scope(|scope| {
            let (tier, (returned, returns)) = (&tier, mpsc::channel());
            let write = |key: u64| {
                let returned = returned.clone();
                scope.spawn(move || {
                    tier.insert(key, key).unwrap();
                    returned.send(key).unwrap();
                });
            };
            write(0);
            store.wait_for_blocked(1);
            (1..8).for_each(write);
            while tier.stats().queued < 7 {
                thread::yield_now();
            }
            assert!(
                returns.try_recv().is_err(),
                "nothing is acknowledged before the store returns"
            );
            store.release();
            for _ in 0..8 {
                returns.recv().unwrap();
            }
        });
        let sizes: Vec<_> = store.attempts().iter().map(Vec::len).collect();
        assert_eq!(sizes, [1, 7]);
    });
}

#[test]
fn a_write_that_was_replaced_is_acknowledged_with_the_newer_one() {
    within_a_minute(|| {
        let store = Faulty::new();
        store.block_writes();
        let tier = behind(&store, durable());
        thread::scope(|scope| {
            let tier = &tier;
            let first = scope.spawn(move || tier.insert(0, 0));
            store.wait_for_blocked(1);
            let older = scope.spawn(move || tier.insert(1, 10));
            while tier.stats().queued < 1 {
                thread::yield_now();
            }
            let newer = scope.spawn(move || tier.insert(1, 11));
            while tier.stats().coalesced < 1 {
                thread::yield_now();
            }
            store.release();
            for writer in [first, older, newer] {
                writer.join().unwrap().unwrap();
            }
        });
        assert_eq!(store.row(1), Some(11));
        assert_eq!(store.attempts().len(), 2);
        assert_eq!(tier.get(&1).unwrap(), Some(11));
    });
}

#[test]
fn a_write_that_is_not_committed_in_time_stays_queued() {
    within_a_minute(|| {
        let store = Faulty::new();
        store.put(1, 10);
        store.block_writes();
        let tier = behind(&store, durable().patience(Duration::ZERO));
        assert_eq!(tier.get(&1).unwrap(), Some(10));
        assert!(matches!(tier.insert(1, 11), Err(TierError::NotCommitted { .. })));
        assert_eq!(tier.get(&1).unwrap(), Some(11), "it is read from the queue");
        store.release();
        while store.row(1) != Some(11) {
            thread::yield_now();
        }
    });
}

#[test]
fn a_write_that_is_given_up_is_an_error() {
    within_a_minute(|| {
        let store = Faulty::new();
        store.put(1, 10);
        let tier = behind(&store, durable().give_up_after(2));
        assert_eq!(tier.get(&1).unwrap(), Some(10));
        store.go_down(Fault::Transient);
        match tier.insert(1, 11) {
            Err(TierError::GaveUp { attempts: 2, source: Some(error) }) => {
                assert_eq!(error.0, Fault::Transient);
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(tier.get(&1).unwrap(), Some(10));
        store.come_back();
        assert_eq!(tier.retry_dead_letters(), 1);
        tier.flush().unwrap();
        assert_eq!(tier.get(&1).unwrap(), Some(11));
        // If the store fails and comes back, the caller does not notice.
        store.fail_writes(&[Fault::Transient]);
        tier.insert(1, 12).unwrap();
        assert_eq!(store.row(1), Some(12));
    });
}
