//! No call that begins after a write has returned finds an older value.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use larder_store::{Durability, StoredCache};

use crate::faulty::{Faulty, TestTier, behind, cache, settings, within_a_minute};

const READERS: u64 = 3;

/// One writer counts up, and readers see no number below the last that was acknowledged.
fn check_one_writer(tier: &TestTier) {
    let (acknowledged, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    tier.insert(1, 0).unwrap();
    thread::scope(|scope| {
        for _ in 0..READERS {
            scope.spawn(|| {
                while !is_over.load(Ordering::SeqCst) {
                    let least = acknowledged.load(Ordering::SeqCst);
                    let found = tier.get(&1).unwrap().expect("it is never removed");
                    assert!(found >= least, "{found} after {least} was acknowledged");
                    let found = tier.get_many(&[1]).unwrap()[0].expect("it is never removed");
                    assert!(found >= least, "{found} after {least} was acknowledged");
                }
            });
        }
        for number in 1..=2_000 {
            tier.insert(1, number).unwrap();
            acknowledged.store(number, Ordering::SeqCst);
            if number % 3 == 0 {
                tier.cache().remove(&1);
            }
        }
        is_over.store(true, Ordering::SeqCst);
    });
}

#[test]
fn readers_are_never_behind_a_writer_through() {
    within_a_minute(|| {
        let tier = StoredCache::write_through(cache(100), Faulty::new());
        check_one_writer(&tier);
        let tier = StoredCache::write_around(cache(100), Faulty::new());
        check_one_writer(&tier);
    });
}

#[test]
fn readers_are_never_behind_a_writer_behind() {
    within_a_minute(|| {
        for durability in [Durability::Memory, Durability::Durable] {
            check_one_writer(&behind(&Faulty::new(), settings().durability(durability)));
        }
    });
}

/// The position at which the store has written a value; each value is written once.
fn position(store: &Faulty, value: u64) -> usize {
    let attempts = store.attempts();
    attempts.iter().position(|batch| batch[0].1 == Some(value)).expect("it was written")
}

#[test]
fn readers_are_never_behind_several_writers_through() {
    within_a_minute(|| {
        for round in 0..20 {
            let store = Faulty::new();
            let tier = StoredCache::write_through(cache(100), Arc::clone(&store));
            tier.insert(1, 0).unwrap();
            let (acknowledged, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
            thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| {
                        while !is_over.load(Ordering::SeqCst) {
                            let least = acknowledged.load(Ordering::SeqCst);
                            let found = tier.get(&1).unwrap().expect("it is never removed");
                            assert!(position(&store, found) as u64 >= least, "round {round}");
                        }
                    });
                }
                let writers: Vec<_> = (1..=3_u64)
                    .map(|writer| {
                        let (tier, store, acknowledged) = (&tier, &store, &acknowledged);
                        scope.spawn(move || {
                            for step in 0..20 {
                                let value = writer * 1_000 + step;
                                tier.insert(1, value).unwrap();
                                let position = position(store, value) as u64;
                                acknowledged.fetch_max(position, Ordering::SeqCst);
                            }
                        })
                    })
                    .collect();
                let results: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
                is_over.store(true, Ordering::SeqCst);
                results.into_iter().for_each(|result| result.unwrap());
            });
        }
    });
}
