//! Deadlines: readers, writers, hits and timers compete for one entry, with clocks that disagree.
//!
//! Changes that were tried one by one:
//! `no_miss_is_reported_for_a_key_that_was_replaced_while_valid` fails with a load, or a relaxed
//! step, in `Deadline::read_ordered`, with relaxed steps in `Deadline::expire_if_past`, and without
//! the check of the link in `Table::retry_get`; `hit_and_expiry_agree` fails with an exchange that
//! does not compare in `Deadline::move_from`; `timer_and_replacement_remove_an_entry_once` and
//! `timers_of_one_entry_remove_it_once` fail if `Table::remove_entry` ignores which thread was
//! first; `an_omitted_report_is_not_needed` fails with `set_moved` or `take_moved` relaxed;
//! `limit_is_not_mistaken_for_the_time_of_writing` fails with the store of the limit or its load in
//! `EntryPtr::written_at_ns` relaxed; `hit_respects_the_limit_that_belongs_to_the_deadline` fails
//! if a hit does not check whether the time of writing has become a limit;
//! `computed_deadline_respects_a_limit_that_equals_the_old_deadline` fails if `move_within_limit`
//! does not read the limit again; `a_renewed_entry_leaves_as_a_valid_one` fails if a thread that has
//! taken an expired entry out leaves its deadline as it is, and `renewal_and_timer_agree` if a timer
//! does not compare it; and `deadline_is_not_too_late_if_none_was_brought_forward` fails
//! with either side of `BroughtForward` relaxed.
#![cfg(larder_loom)]

use larder::model::Timed;
use loom::sync::Arc;
use loom::thread;

const NEVER: u64 = u64::MAX;
const DEADLINE: u64 = 100;
const BEFORE: u64 = 90;
const AFTER: u64 = 110;
const LATER_DEADLINE: u64 = 120;

/// Two threads over a map with one entry of key 1, value 10 and `DEADLINE`; then `check`.
fn two<A: Send + 'static, B: Send + 'static>(
    first: fn(&Timed) -> A,
    second: fn(&Timed) -> B,
    check: fn(&Timed, A, B),
) {
    let prepare = |map: &Timed| {
        map.upsert(1, 10, DEADLINE, 1);
    };
    loom_tests::two(prepare, first, second, check);
}

#[test]
fn no_miss_is_reported_for_a_key_that_was_replaced_while_valid() {
    two(
        |map| map.get(1, AFTER),
        |map| map.upsert(1, 20, NEVER, BEFORE),
        |map, seen, replaced| {
            let (old, had_expired) = replaced.expect("the old entry was there");
            assert_eq!(old, 10);
            match seen {
                None => assert!(had_expired, "absent between two valid values"),
                Some(value) => assert_eq!(value, 20, "an expired value was returned"),
            }
            assert_eq!(map.get(1, BEFORE), Some(20));
        },
    );
}

#[test]
fn timer_and_replacement_remove_an_entry_once() {
    two(
        |map| map.fire(1, AFTER),
        |map| map.upsert(1, 20, NEVER, BEFORE),
        |map, was_fired, replaced| {
            assert!(was_fired != replaced.is_some(), "removed twice, or not at all");
            assert_eq!(map.get(1, AFTER), Some(20), "the timer removed the new entry");
        },
    );
}

/// The default time to live; `two` makes its entries at time 1.
const TTL: u64 = 119;

#[test]
fn hit_respects_the_limit_that_belongs_to_the_deadline() {
    two(
        |map| map.idle(1, BEFORE, 1000, TTL),
        |map| map.set_remaining(1, 105, 102),
        |map, (), ()| {
            let (deadline, _) = map.inspect(1, TTL);
            // `set_remaining` came last, or the hit moved the deadline after it.
            assert!([102, 105].contains(&deadline), "moved to {deadline}");
            map.idle(1, BEFORE, 1000, TTL);
            assert_eq!(map.inspect(1, TTL), (105, None));
        },
    );
}

#[test]
fn limit_is_not_mistaken_for_the_time_of_writing() {
    two(
        |map| map.inspect(1, TTL).1,
        |map| map.set_remaining(1, 105, 102),
        |map, written_at, ()| {
            assert!([None, Some(1)].contains(&written_at), "made at {written_at:?}");
            assert_eq!(map.inspect(1, TTL), (102, None));
        },
    );
}

#[test]
fn computed_deadline_respects_a_limit_that_equals_the_old_deadline() {
    loom_tests::two(
        |map: &Timed| map.insert_limited(1, 10, DEADLINE, LATER_DEADLINE),
        |map| map.compute(1, 1000),
        |map| map.set_remaining(1, DEADLINE, DEADLINE),
        |map, (), ()| assert_eq!(map.inspect(1, TTL).0, DEADLINE),
    );
}

#[test]
fn deadline_is_not_too_late_if_none_was_brought_forward() {
    two(
        |map| map.keep(1),
        |map| map.bring_forward(1, BEFORE),
        |map, (times, deadline), _| {
            let (times_now, deadline_now) = map.keep(1);
            assert!(times != times_now || deadline <= deadline_now);
        },
    );
}

#[test]
fn timers_of_one_entry_remove_it_once() {
    two(
        |map| map.fire(1, AFTER),
        |map| map.fire(1, AFTER),
        |map, a, b| {
            assert!(a != b);
            assert_eq!(map.get(1, BEFORE), None);
        },
    );
}

#[test]
fn hit_and_expiry_agree() {
    two(
        |map| map.touch(1, BEFORE, LATER_DEADLINE),
        |map| map.get(1, AFTER),
        |map, was_moved, seen| {
            // Either the hit has moved the deadline, or the entry has expired for ever.
            assert_eq!(was_moved == Some(true), seen == Some(10) || map.get(1, BEFORE).is_some());
            if seen.is_none() {
                assert_eq!(map.get(1, BEFORE), None, "an expired entry is valid again");
                assert_ne!(was_moved, Some(true));
            }
        },
    );
}

#[test]
fn hit_and_timer_agree() {
    two(
        |map| map.touch(1, BEFORE, LATER_DEADLINE),
        |map| map.fire(1, AFTER),
        |map, was_moved, was_fired| {
            assert_ne!(was_moved == Some(true), was_fired);
            assert_eq!(map.get(1, AFTER).is_some(), !was_fired);
        },
    );
}

#[test]
fn an_entry_found_expired_stays_expired_for_clocks_that_are_behind() {
    two(
        |map| {
            let first = map.get(1, AFTER);
            (first, map.get(1, BEFORE))
        },
        |map| map.get(1, BEFORE),
        |map, (late, then), early| {
            assert_eq!((late, then), (None, None));
            assert!(early.is_none_or(|value| value == 10));
            assert_eq!(map.get(1, BEFORE), None);
        },
    );
}

/// Odd, as all deadlines of a map with a grace.
const ODD_DEADLINE: u64 = DEADLINE + 1;
const GRACE: u64 = 1000;
const AFTER_GRACE: u64 = 2000;
const RENEWED: u64 = 3001;

/// As [`two`], over a map whose entries stay for `GRACE` after their deadlines.
fn two_graced<A: Send + 'static, B: Send + 'static>(
    first: fn(&Timed) -> A,
    second: fn(&Timed) -> B,
    check: fn(&Timed, A, B),
) {
    loom_tests::model(move || {
        let map = Arc::new(Timed::with_grace(GRACE));
        map.upsert(1, 10, ODD_DEADLINE, 1);
        let (one, other) = (Arc::clone(&map), Arc::clone(&map));
        let one = thread::spawn(move || first(&one));
        let other = thread::spawn(move || second(&other));
        let a = one.join().expect("the model's thread panicked");
        let b = other.join().expect("the model's thread panicked");
        check(&map, a, b);
    });
}

#[test]
fn with_a_grace_too_no_miss_is_reported_for_a_key_that_was_replaced_while_valid() {
    two_graced(
        |map| map.get(1, AFTER),
        |map| map.upsert(1, 20, NEVER, BEFORE),
        |map, seen, replaced| {
            let (old, had_expired) = replaced.expect("the old entry was there");
            assert_eq!(old, 10);
            match seen {
                None => assert!(had_expired, "absent between two valid values"),
                Some(value) => assert_eq!(value, 20, "an expired value was returned"),
            }
            assert_eq!(map.get(1, BEFORE), Some(20));
        },
    );
}

#[test]
fn a_renewed_entry_leaves_as_a_valid_one() {
    two_graced(
        |map| (map.get(1, AFTER), map.renew(1, RENEWED)),
        |map| map.upsert(1, 20, NEVER, AFTER),
        |map, (seen, renewed), replaced| {
            let (old, had_expired) = replaced.expect("the old entry was there");
            assert_eq!(old, 10);
            assert!(seen.is_none_or(|value| value == 20), "an expired value was returned");
            assert_eq!(renewed == Some(10), !had_expired);
            assert_eq!(map.get(1, AFTER), Some(20));
        },
    );
}

#[test]
fn renewal_and_timer_agree() {
    two_graced(
        |map| map.renew(1, RENEWED),
        |map| map.fire(1, AFTER_GRACE),
        |map, renewed, was_fired| {
            assert_ne!(renewed.is_some(), was_fired);
            assert_eq!(map.get(1, AFTER_GRACE), renewed);
        },
    );
}

#[test]
fn a_stale_entry_stays_expired_for_clocks_that_are_behind() {
    two_graced(
        |map| {
            let first = map.get(1, AFTER);
            (first, map.get(1, BEFORE))
        },
        |map| map.get(1, BEFORE),
        |map, (late, then), early| {
            assert_eq!((late, then), (None, None));
            assert!(early.is_none_or(|value| value == 10));
            assert_eq!(map.get(1, BEFORE), None);
            assert!(!map.fire(1, AFTER), "it left before the end of the grace");
        },
    );
}

#[test]
fn an_omitted_report_is_not_needed() {
    loom_tests::model(|| {
        let map = Arc::new(Timed::default());
        map.upsert(1, 10, DEADLINE, 1);
        // A report is already pending.
        assert!(map.bring_forward(1, DEADLINE - 1));
        let (one, other) = (Arc::clone(&map), Arc::clone(&map));
        let mover = thread::spawn(move || one.bring_forward(1, DEADLINE - 2));
        let partition = thread::spawn(move || other.take_moved(1));
        let is_reported = mover.join().expect("the model's thread panicked");
        let seen = partition.join().expect("the model's thread panicked");
        assert!(is_reported || seen == Some(DEADLINE - 2), "no timer knows the deadline");
    });
}
