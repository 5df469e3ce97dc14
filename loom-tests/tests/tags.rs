//! Tags: invalidation against insertion, against lookup, and against the drop of a generation.
//!
//! Changes that were tried one by one: all models fail if `Tags::invalidate` does not mark the
//! generation dead; three of them, `an_entry_tagged_before_the_invalidation_is_never_seen_again`
//! among them, if it leaves the generation in the map;
//! `an_entry_inserted_beside_a_valid_older_one_is_invalidated_with_it` if it marks the generation
//! only after it has released the lock; `an_ending_generation_does_not_remove_a_newer_one` if the
//! drop of a `Tag` removes whatever has its name;
//! `no_miss_is_reported_for_a_key_that_was_replaced_while_valid` with a load, or a relaxed step, in
//! `TagSet::read_ordered`, and with a store, relaxed or releasing, for the swap in
//! `Tags::invalidate`; `a_reader_that_sees_the_mark_sees_what_came_before_it` with those too, with
//! a relaxed load in `TagSet::is_dead`, and without the check of the link in `Table::retry_get`. No
//! model fails with a relaxed swap, because it is still a read-modify-write.
#![cfg(larder_loom)]

use larder::model::Tagged;
use loom::sync::Arc;
use loom::thread;
use loom_tests::two;

#[test]
fn an_entry_tagged_before_the_invalidation_is_never_seen_again() {
    two::<Tagged, _, _>(
        |_| (),
        |map| map.insert(1, 10, "t"),
        |map| {
            let was_held = map.invalidate("t");
            (was_held, map.get(1))
        },
        |map, (), (was_held, seen)| {
            // If it was held before, the insertion came first; otherwise it came after and is
            // valid.
            let after = map.get(1);
            assert_eq!(after, (!was_held).then_some(10));
            assert!(seen.is_none() || after.is_some(), "it was valid, and then it was not");
            assert_eq!(map.tag_count(), usize::from(!was_held));
        },
    );
}

#[test]
fn a_lookup_after_invalidation_sees_nothing() {
    two::<Tagged, _, _>(
        |map| map.insert(1, 10, "t"),
        |map| (map.get(1), map.get(1)),
        |map| {
            assert!(map.invalidate("t"));
            map.get(1)
        },
        |map, (first, second), own| {
            assert_eq!(own, None);
            assert!(first.is_some() || second.is_none(), "absent, and then there again");
            assert_eq!(map.get(1), None);
        },
    );
}

#[test]
fn an_insertion_after_invalidation_is_valid() {
    two::<Tagged, _, _>(
        |map| map.insert(1, 10, "t"),
        |map| {
            map.invalidate("t");
            map.insert(2, 20, "t");
        },
        |map| map.get(1).is_some() && map.get(2).is_some(),
        |map, (), both| {
            assert!(!both || map.get(2).is_some());
            assert_eq!((map.get(1), map.get(2)), (None, Some(20)));
        },
    );
}

#[test]
fn an_entry_inserted_beside_a_valid_older_one_is_invalidated_with_it() {
    two::<Tagged, _, _>(
        |map| map.insert(1, 10, "t"),
        |map| {
            map.insert(2, 20, "t");
            map.get(1)
        },
        |map| map.invalidate("t"),
        |map, older, _| {
            // It was valid after the insertion, so the invalidation came after both.
            assert!(older.is_none() || map.get(2).is_none());
        },
    );
}

#[test]
fn two_invalidations_agree_on_which_was_first() {
    two::<Tagged, _, _>(
        |map| map.insert(1, 10, "t"),
        |map| map.invalidate("t"),
        |map| map.invalidate("t"),
        |map, one, other| {
            assert!(one ^ other);
            assert_eq!(map.get(1), None);
        },
    );
}

#[test]
fn an_ending_generation_does_not_remove_a_newer_one() {
    two::<Tagged, _, _>(
        |_| (),
        |map| map.hold_unused("t"),
        |map| map.insert(1, 10, "t"),
        |map, (), ()| {
            assert_eq!(map.tag_count(), 1);
            assert!(map.invalidate("t"), "the map has lost a tag that an entry holds");
            assert_eq!(map.get(1), None);
        },
    );
}

#[test]
fn no_miss_is_reported_for_a_key_that_was_replaced_while_valid() {
    two::<Tagged, _, _>(
        |map| map.insert(1, 10, "t"),
        |map| {
            assert!(map.invalidate("t"));
            map.get(1)
        },
        |map| map.upsert(1, 20, "u"),
        |map, seen, was_invalidated| {
            match seen {
                None => assert_eq!(was_invalidated, Some(true), "absent between two valid values"),
                Some(value) => assert_eq!(value, 20),
            }
            assert_eq!(map.get(1), Some(20));
        },
    );
}

#[test]
fn a_reader_that_sees_the_mark_sees_what_came_before_it() {
    loom_tests::model(|| {
        let map = Arc::new(Tagged::default());
        map.insert(1, 10, "t");
        let (one, two, three) = (Arc::clone(&map), Arc::clone(&map), Arc::clone(&map));
        let reader = thread::spawn(move || one.get(1));
        let writer = thread::spawn(move || two.upsert(1, 20, "u"));
        let killer = thread::spawn(move || three.invalidate("t"));
        let seen = reader.join().expect("the model's thread panicked");
        let was_invalidated = writer.join().expect("the model's thread panicked");
        killer.join().expect("the model's thread panicked");
        if seen.is_none() {
            assert_eq!(was_invalidated, Some(true), "absent between two valid values");
        }
        assert_eq!(map.get(1), Some(20));
    });
}
