//! The order of removals: slots claimed ahead come out in the order in which the table saw them.
//!
//! Values are numbers in the order in which a key has them. Claiming the slot after the entry was
//! taken out, instead of before, makes `what_leaves_first_is_told_first` fail; reading the position
//! after the eviction, instead of before, makes `an_eviction_is_notified_in_its_place` fail.
#![cfg(larder_loom)]

use larder::model::Ordered;
use loom::sync::Arc;
use loom::thread;

/// The values in the order in which they are told.
fn told(removed: &[(u32, u64)]) -> Vec<u64> {
    removed.iter().map(|(_, value)| *value).collect()
}

#[test]
fn what_leaves_first_is_told_first() {
    loom_tests::model(|| {
        let map = Arc::new(Ordered::default());
        let mut removed = Vec::new();
        assert!(map.upsert(1, 1));
        map.drain(&mut removed);
        let other = Arc::clone(&map);
        let remover = thread::spawn(move || other.remove(1));
        // Replaces the first value, or comes after its removal.
        if map.upsert(1, 2) {
            map.drain(&mut removed);
            map.remove(1);
            map.drain(&mut removed);
        }
        remover.join().expect("the model's thread panicked");
        map.drain(&mut removed);
        let told = told(&removed);
        assert!(told.is_sorted(), "{told:?}");
        let held = map.live();
        assert!(told.len() + held == 2 || told.len() + held == 1, "{told:?} and {held}");
    });
}

#[test]
fn an_attempt_that_fails_takes_its_claim_back() {
    loom_tests::model(|| {
        let map = Arc::new(Ordered::default());
        let mut removed = Vec::new();
        assert!(map.upsert(1, 1));
        map.drain(&mut removed);
        let (one, other) = (Arc::clone(&map), Arc::clone(&map));
        let one = thread::spawn(move || one.remove(1));
        let other = thread::spawn(move || other.remove(1));
        let a = one.join().expect("the model's thread panicked");
        let b = other.join().expect("the model's thread panicked");
        assert!(a != b, "both or none removed it");
        map.drain(&mut removed);
        assert_eq!(told(&removed), [1]);
        assert_eq!(map.live(), 0);
    });
}

#[test]
fn an_eviction_is_notified_in_its_place() {
    loom_tests::model(|| {
        let map = Arc::new(Ordered::default());
        let mut removed = Vec::new();
        assert!(map.upsert(1, 1));
        map.drain(&mut removed);
        let other = Arc::clone(&map);
        let writer = thread::spawn(move || other.upsert(1, 2) && other.remove(1));
        let evicted = map.evict(1);
        writer.join().expect("the model's thread panicked");
        map.drain(&mut removed);
        // Notified once everything before its position was popped, and before what is at it.
        if let Some((position, value)) = evicted {
            let at = removed.partition_point(|(popped, _)| *popped < position);
            removed.insert(at, (position, value));
        }
        let told = told(&removed);
        assert!(told.is_sorted(), "{told:?}");
    });
}
