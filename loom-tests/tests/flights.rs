//! Of several callers that want a key one loads, and the others get its value or are woken to load it
//! themselves; none gets a value from before a change that had returned.
//!
//! A waking that is lost leaves a thread parked for ever, which loom reports as a deadlock.
#![cfg(larder_loom)]

use larder::model::Flying;
use loom::sync::Arc;
use loom::thread;
use loom_tests::{one_preemption_less, two};

#[test]
fn of_two_callers_that_miss_a_key_one_loads() {
    two(
        |flying: &Flying| flying.write_row(7),
        |flying| flying.get_or_load(1),
        |flying| flying.get_or_load(1),
        |flying, first, second| {
            assert_eq!((first, second, flying.get(1)), (7, 7, Some(7)));
            assert_eq!(flying.loads(), 1, "both callers have loaded");
        },
    );
}

#[test]
fn of_two_callers_that_have_missed_one_finds_what_the_other_has_loaded() {
    two(
        |flying: &Flying| flying.write_row(7),
        |flying| flying.load_missing(1),
        |flying| flying.load_missing(1),
        |flying, first, second| {
            assert_eq!((first, second, flying.loads()), (7, 7, 1));
        },
    );
}

#[test]
fn a_leader_that_is_dropped_leaves_no_waiter_asleep() {
    loom_tests::model(|| {
        let flying = Arc::new(Flying::default());
        flying.write_row(7);
        let led = flying.lead(1);
        let other = {
            let flying = Arc::clone(&flying);
            thread::spawn(move || flying.get_or_load(1))
        };
        drop(led);
        assert_eq!(other.join().expect("the model's thread panicked"), 7);
        assert_eq!((flying.get(1), flying.loads()), (Some(7), 1));
    });
}

#[test]
fn a_leader_that_ends_leaves_no_waiter_asleep() {
    loom_tests::model(|| {
        let flying = Arc::new(Flying::default());
        flying.write_row(7);
        let led = flying.lead(1);
        let other = {
            let flying = Arc::clone(&flying);
            thread::spawn(move || flying.get_or_load(1))
        };
        assert_eq!(flying.complete(led), 7);
        assert_eq!(other.join().expect("the model's thread panicked"), 7);
        assert_eq!(flying.loads(), 1, "the value was not handed over");
    });
}

#[test]
fn a_caller_that_comes_after_a_change_gets_no_older_value() {
    two(
        |flying: &Flying| flying.write_row(1),
        |flying| flying.get_or_load(1),
        |flying| {
            flying.write_row(2);
            flying.remove(1);
            flying.get_or_load(1)
        },
        |flying, first, second| {
            assert!(matches!(first, 1 | 2));
            assert_eq!((second, flying.get_or_load(1)), (2, 2), "a stale value was returned");
        },
    );
}

/// The leader finds the old value in the table while that is being removed.
#[test]
fn what_a_leader_finds_is_not_given_to_a_caller_that_comes_after_its_removal() {
    two(
        |flying: &Flying| flying.insert(1, 1),
        |flying| flying.load_missing(1),
        |flying| {
            flying.write_row(2);
            flying.remove(1);
            flying.get_or_load(1)
        },
        |_, first, second| {
            assert!(matches!(first, 1 | 2));
            assert_eq!(second, 2, "a removed value was returned");
        },
    );
}

#[test]
fn a_stale_load_does_not_replace_what_was_inserted() {
    for has_old in [false, true] {
        loom_tests::model(move || {
            let flying = Arc::new(Flying::default());
            if has_old {
                flying.insert(1, 1);
            }
            let led = flying.lead(1);
            let other = {
                let flying = Arc::clone(&flying);
                thread::spawn(move || flying.insert(1, 2))
            };
            assert_eq!(flying.complete(led), 0);
            other.join().expect("the model's thread panicked");
            assert_eq!(flying.get(1), Some(2), "the insertion was overwritten");
        });
    }
}

/// The leader's loader does not return.
#[test]
fn of_two_waiters_that_give_a_flight_up_one_loads() {
    loom_tests::check(&one_preemption_less(), || {
        let flying = Arc::new(Flying::default());
        flying.write_row(7);
        let led = flying.lead(1);
        let others = [(); 2].map(|()| {
            let flying = Arc::clone(&flying);
            thread::spawn(move || flying.give_up_and_load(1))
        });
        for other in others {
            assert_eq!(other.join().expect("the model's thread panicked"), 7);
        }
        flying.write_row(8);
        assert_eq!(flying.complete(led), 8);
        assert_eq!(flying.get(1), Some(7), "a flight that was given up has stored its value");
    });
}

#[test]
fn a_flight_that_is_given_up_stores_its_value_before_or_not_at_all() {
    loom_tests::check(&one_preemption_less(), || {
        let flying = Arc::new(Flying::default());
        flying.write_row(7);
        let led = flying.lead(1);
        let other = {
            let flying = Arc::clone(&flying);
            thread::spawn(move || {
                let value = flying.give_up_and_load(1);
                assert_eq!(flying.get(1), Some(value));
            })
        };
        flying.complete(led);
        other.join().expect("the model's thread panicked");
        assert!(flying.loads() <= 2);
    });
}
