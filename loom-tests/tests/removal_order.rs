//! The order of removals: slots that are claimed ahead come out in the order of the table's
//! changes.
//!
//! Each value of a key is greater than the one before. Claiming the slot after the removal, instead
//! of before, makes `the_first_removal_is_notified_first` fail; reading the position after the
//! eviction, instead of before, makes `an_eviction_is_notified_in_its_place` fail.
#![cfg(larder_loom)]

use larder::model::Ordered;
use loom::sync::Arc;
use loom::thread;

/// The values in the order in which their removals are notified.
fn notified(removed: &[(u32, u64)]) -> Vec<u64> {
    removed.iter().map(|(_, value)| *value).collect()
}

/// A map in which key 1 has its first value, and the removals so far, of which there are none.
fn with_first_value() -> (Arc<Ordered>, Vec<(u32, u64)>) {
    let (map, mut removed) = (Arc::new(Ordered::default()), Vec::new());
    assert!(map.upsert(1, 1));
    map.drain(&mut removed);
    (map, removed)
}

#[test]
fn the_first_removal_is_notified_first() {
    loom_tests::model(|| {
        let (map, mut removed) = with_first_value();
        let other = Arc::clone(&map);
        let remover = thread::spawn(move || other.remove(1));
        // This replaces the first value, or inserts after its removal.
        if map.upsert(1, 2) {
            map.drain(&mut removed);
            map.remove(1);
            map.drain(&mut removed);
        }
        remover.join().expect("the model's thread panicked");
        map.drain(&mut removed);
        let notified = notified(&removed);
        assert!(notified.is_sorted(), "{notified:?}");
        let live = map.live();
        assert!(
            notified.len() + live == 2 || notified.len() + live == 1,
            "{notified:?} and {live}"
        );
    });
}

#[test]
fn a_failed_attempt_cancels_its_claim() {
    loom_tests::model(|| {
        let (map, mut removed) = with_first_value();
        let (one, other) = (Arc::clone(&map), Arc::clone(&map));
        let one = thread::spawn(move || one.remove(1));
        let other = thread::spawn(move || other.remove(1));
        let a = one.join().expect("the model's thread panicked");
        let b = other.join().expect("the model's thread panicked");
        assert!(a != b, "both or neither removed it");
        map.drain(&mut removed);
        assert_eq!(notified(&removed), [1]);
        assert_eq!(map.live(), 0);
    });
}

#[test]
fn an_eviction_is_notified_in_its_place() {
    loom_tests::model(|| {
        let (map, mut removed) = with_first_value();
        let other = Arc::clone(&map);
        let writer = thread::spawn(move || other.upsert(1, 2) && other.remove(1));
        let evicted = map.evict(1);
        writer.join().expect("the model's thread panicked");
        map.drain(&mut removed);
        // It is notified once everything before its position was popped, and before the event
        // there.
        if let Some((position, value)) = evicted {
            let at = removed.partition_point(|(popped, _)| *popped < position);
            removed.insert(at, (position, value));
        }
        let notified = notified(&removed);
        assert!(notified.is_sorted(), "{notified:?}");
    });
}
