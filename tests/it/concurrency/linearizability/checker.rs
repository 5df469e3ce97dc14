//! The search for an order accepts histories that have one, and refuses those that have none.

use crate::support::linear::{Call, Event, Licence, Outcome, check};

use super::{ABSENT, ADDED, NOTHING, PRESENT, REPLACED, got};

/// A call on key 0, written by hand.
fn event(began: u64, ended: u64, call: Call, outcome: Outcome) -> Event {
    Event { thread: began, key: 0, began, ended, call, outcome }
}

#[test]
fn histories_that_have_an_order_are_accepted() {
    use Call::{Expire, Get, Insert, InsertIfAbsent, Remove, RemoveIfEven, Replace};
    let accepted: [(&str, Licence, Vec<Event>); 9] = [
        ("nothing", Licence::None, vec![]),
        (
            "a get that overlaps the insert sees either",
            Licence::None,
            vec![
                event(0, 9, Insert(1), ADDED),
                event(1, 2, Get, NOTHING),
                event(3, 4, Get, got(1)),
                event(10, 11, Get, got(1)),
            ],
        ),
        (
            "the call that began last comes first",
            Licence::None,
            vec![
                event(0, 9, Replace(1), REPLACED),
                event(1, 10, Remove, got(1)),
                event(2, 11, Insert(2), ADDED),
            ],
        ),
        (
            "each has to wait for the one recorded after it",
            Licence::None,
            vec![
                event(0, 20, Get, got(3)),
                event(1, 21, Replace(3), REPLACED),
                event(2, 22, Replace(2), REPLACED),
                event(3, 23, InsertIfAbsent(1), ADDED),
                event(4, 24, RemoveIfEven, Outcome::Removed(false)),
                event(5, 25, Remove, got(3)),
            ],
        ),
        (
            "the first choice that fits leads nowhere",
            Licence::None,
            vec![
                event(0, 10, Insert(1), ADDED),
                event(1, 11, Insert(2), REPLACED),
                event(2, 12, Remove, got(1)),
                event(3, 13, Insert(4), ADDED),
                event(14, 15, Get, got(2)),
            ],
        ),
        (
            "two insertions of an absent key with a removal in between",
            Licence::None,
            vec![
                event(0, 9, InsertIfAbsent(2), ADDED),
                event(1, 8, InsertIfAbsent(4), ADDED),
                event(2, 7, RemoveIfEven, Outcome::Removed(true)),
                event(10, 11, Replace(5), REPLACED),
                event(12, 13, InsertIfAbsent(6), PRESENT),
            ],
        ),
        (
            "an entry vanished before its replacement",
            Licence::Vanish,
            vec![
                event(0, 1, Insert(1), ADDED),
                event(2, 3, Get, got(1)),
                event(4, 5, Replace(2), ABSENT),
                event(6, 7, InsertIfAbsent(3), ADDED),
            ],
        ),
        (
            "an entry vanished while two calls added another",
            Licence::Vanish,
            vec![event(0, 9, InsertIfAbsent(1), ADDED), event(1, 8, InsertIfAbsent(2), ADDED)],
        ),
        (
            "time passed during the get",
            Licence::Vanish,
            vec![
                event(0, 1, Insert(1), ADDED),
                event(2, 9, Expire, Outcome::Passed),
                event(3, 10, Get, got(1)),
                event(4, 5, Get, got(1)),
                event(11, 12, Get, NOTHING),
            ],
        ),
    ];
    for (name, licence, events) in accepted {
        // The order in which calls are recorded does not matter.
        let reversed: Vec<Event> = events.iter().rev().copied().collect();
        for events in [events, reversed] {
            if let Err(violation) = check(&events, licence) {
                panic!("{name}: {violation}");
            }
        }
    }
}

#[test]
fn histories_without_an_order_are_refused() {
    use Call::{Expire, Get, Insert, InsertIfAbsent, Remove, RemoveIfEven, Replace};
    let refused: [(&str, Licence, Vec<Event>); 11] = [
        (
            "an insertion that found the key wrote back what it had read",
            Licence::Vanish,
            vec![
                event(0, 1, Insert(1), ADDED),
                event(2, 9, InsertIfAbsent(3), PRESENT),
                event(3, 4, Insert(2), REPLACED),
                event(10, 11, Get, got(1)),
            ],
        ),
        (
            "insert had returned",
            Licence::None,
            vec![event(0, 1, Insert(1), ADDED), event(2, 3, Get, NOTHING)],
        ),
        (
            "both added",
            Licence::None,
            vec![event(0, 3, Insert(1), ADDED), event(1, 2, InsertIfAbsent(2), ADDED)],
        ),
        (
            "the second get went back",
            Licence::Vanish,
            vec![
                event(0, 1, Insert(1), ADDED),
                event(2, 20, Replace(2), REPLACED),
                event(3, 4, Get, got(2)),
                event(5, 6, Get, got(1)),
            ],
        ),
        (
            "two readers disagree about the order of two writes",
            Licence::Vanish,
            vec![
                event(0, 20, Insert(1), ADDED),
                event(1, 21, Insert(2), REPLACED),
                event(2, 3, Get, got(1)),
                event(4, 5, Get, got(2)),
                event(6, 7, Get, got(1)),
            ],
        ),
        (
            "a value that was never written",
            Licence::Vanish,
            vec![event(0, 1, Insert(1), ADDED), event(2, 3, Get, got(7))],
        ),
        (
            "an entry that vanished came back",
            Licence::Vanish,
            vec![
                event(0, 1, Insert(1), ADDED),
                event(2, 3, Get, NOTHING),
                event(4, 5, Get, got(1)),
            ],
        ),
        (
            "removed twice",
            Licence::Vanish,
            vec![
                event(0, 1, Insert(1), ADDED),
                event(2, 5, Remove, got(1)),
                event(3, 4, Remove, got(1)),
            ],
        ),
        (
            "an odd value was removed as an even one",
            Licence::Vanish,
            vec![event(0, 1, Insert(1), ADDED), event(2, 3, RemoveIfEven, Outcome::Removed(true))],
        ),
        (
            "nothing was there to be replaced",
            Licence::Vanish,
            vec![event(0, 1, Replace(1), REPLACED)],
        ),
        (
            "an entry was seen after its end",
            Licence::Vanish,
            vec![
                event(0, 1, Insert(1), ADDED),
                event(2, 3, Expire, Outcome::Passed),
                event(4, 5, Get, got(1)),
            ],
        ),
    ];
    for (name, licence, events) in refused {
        assert!(check(&events, licence).is_err(), "{name}: {events:#?}");
    }
}

#[test]
fn violation_shows_only_the_calls_that_cause_it() {
    let mut events = vec![event(0, 1, Call::Insert(1), ADDED)];
    for at in 1..20 {
        events.push(event(4 * at, 4 * at + 1, Call::Get, got(1)));
        let other = event(4 * at + 2, 4 * at + 3, Call::Insert(at), ADDED);
        events.push(Event { key: at, ..other });
    }
    events.push(event(100, 103, Call::Remove, got(1)));
    events.push(event(101, 102, Call::Remove, got(1)));
    events.push(event(104, 105, Call::Insert(2), ADDED));
    let violation = check(&events, Licence::None).unwrap_err();
    let began: Vec<u64> = violation.events.iter().map(|event| event.began).collect();
    assert_eq!(began, [0, 100, 101], "{violation}");
}
