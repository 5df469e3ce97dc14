//! Gates: removals of one key that are notified before they take effect.
//!
//! Changes that were tried one by one: every model except the first fails if `Gates::try_enter`
//! always succeeds, with a relaxed exchange in it, and with a relaxed store in `Entered::drop`,
//! because threads then race for the listener's own memory.
//! `victim_that_left_before_is_not_notified_again` fails without the check of the link in
//! `Gated::evict`.
#![cfg(larder_loom)]

use larder::model::Gated;

/// Two threads over a map with one entry of key 1 and value 10; then `check`.
fn two<A: Send + 'static, B: Send + 'static>(
    first: fn(&Gated) -> A,
    second: fn(&Gated) -> B,
    check: fn(&Gated, A, B),
) {
    loom_tests::two(|map: &Gated| map.upsert(1, 10), first, second, check);
}

#[test]
fn lookups_see_the_entry_until_the_listener_returns() {
    two(
        |map| map.upsert(1, 20),
        |map| map.get(1),
        |map, (), seen| {
            assert!(matches!(seen, Some(10 | 20)), "absent between two values");
            assert_eq!(map.notified(), [(10, Some(20))]);
        },
    );
}

#[test]
fn replacements_are_notified_in_order() {
    two(
        |map| map.upsert(1, 20),
        |map| map.upsert(1, 30),
        |map, (), ()| {
            let last = map.get(1).expect("no thread removes it");
            let first = 50 - last;
            assert_eq!(map.notified(), [(10, Some(first)), (first, Some(last))]);
        },
    );
}

#[test]
fn removal_and_replacement_are_notified_once_each() {
    two(
        |map| map.remove(1),
        |map| map.upsert(1, 20),
        |map, was_there, ()| {
            assert!(was_there, "it is there before and after the replacement");
            match map.get(1) {
                Some(20) => assert_eq!(map.notified(), [(10, None)]),
                None => assert_eq!(map.notified(), [(10, Some(20)), (20, None)]),
                other => panic!("{other:?}"),
            }
        },
    );
}

#[test]
fn an_insertion_is_not_visible_before_the_removal_was_notified() {
    two(
        |map| {
            map.remove(1);
            map.get(1)
        },
        |map| {
            map.upsert(1, 20);
            map.remove(1)
        },
        |map, seen, _| {
            assert!(seen.is_none_or(|seen| seen == 20));
            assert_eq!(map.get(1), None);
            let notified = map.notified();
            assert_eq!(notified.last().map(|it| it.1), Some(None));
            let olds: Vec<_> = notified.iter().map(|it| it.0).collect();
            assert_eq!(olds, [10, 20], "each once, in the order of their lives");
        },
    );
}

#[test]
fn victim_that_left_before_is_not_notified_again() {
    two(
        |map| {
            let victim = map.victim(1);
            victim.is_some_and(|victim| map.evict(victim))
        },
        |map| map.upsert(1, 20),
        |map, was_evicted, ()| match (was_evicted, map.get(1)) {
            // Only the replacement was notified.
            (false, Some(20)) => assert_eq!(map.notified(), [(10, Some(20))]),
            // The eviction came first.
            (true, Some(20)) => assert_eq!(map.notified(), [(10, None)]),
            (true, None) => assert_eq!(map.notified(), [(10, Some(20)), (20, None)]),
            other => panic!("{other:?}"),
        },
    );
}
