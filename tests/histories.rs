//! Short histories of racing calls on one key, each searched for an order that explains it.

// Most insertions here are made for what comes after them.
#![allow(clippy::unwrap_used, unused_must_use)]

mod support;

use std::collections::HashSet;
use std::hash::BuildHasher;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use larder::{Cache, Inserted, Maintenance, Rejection};

use support::hashers::Constant;
use support::rng::{Rng, seeds};
use support::rounds::in_rounds;

/// One call on the one key of a history, and what it returned.
#[derive(Clone, Copy, Debug)]
struct Event {
    began: u64,
    ended: u64,
    call: Call,
    result: Outcome,
}

#[derive(Clone, Copy, Debug)]
enum Call {
    Get,
    Insert(u64),
    InsertIfAbsent(u64),
    Replace(u64),
    Remove,
    RemoveIfEven,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Value(Option<u64>),
    Written(Inserted),
    Removed(bool),
}

impl Call {
    fn random(rng: &mut Rng, value: u64) -> Self {
        match rng.below(10) {
            0..3 => Call::Get,
            3..5 => Call::Insert(value),
            5 => Call::InsertIfAbsent(value),
            6 => Call::Replace(value),
            7..9 => Call::Remove,
            _ => Call::RemoveIfEven,
        }
    }

    fn run<S: BuildHasher + Send + Sync + 'static>(self, cache: &Cache<u64, u64, S>) -> Outcome {
        match self {
            Call::Get => Outcome::Value(cache.get(&0)),
            Call::Insert(value) => Outcome::Written(cache.insert(0, value)),
            Call::InsertIfAbsent(value) => Outcome::Written(cache.insert_if_absent(0, value)),
            Call::Replace(value) => Outcome::Written(cache.replace(0, value)),
            Call::Remove => Outcome::Value(cache.remove(&0)),
            Call::RemoveIfEven => {
                Outcome::Removed(cache.remove_if(&0, |_, value| value.is_multiple_of(2)))
            }
        }
    }

    /// What the call does to a register that may be empty.
    fn apply(self, state: Option<u64>) -> (Option<u64>, Outcome) {
        let written = |done: bool, value, refusal| {
            if done {
                let how = if state.is_some() { Inserted::Replaced } else { Inserted::Added };
                (Some(value), Outcome::Written(how))
            } else {
                (state, Outcome::Written(Inserted::Rejected(refusal)))
            }
        };
        match self {
            Call::Get => (state, Outcome::Value(state)),
            Call::Insert(value) => written(true, value, Rejection::Absent),
            Call::InsertIfAbsent(value) => written(state.is_none(), value, Rejection::Present),
            Call::Replace(value) => written(state.is_some(), value, Rejection::Absent),
            Call::Remove => (None, Outcome::Value(state)),
            Call::RemoveIfEven => {
                let is_even = state.is_some_and(|value| value.is_multiple_of(2));
                (if is_even { None } else { state }, Outcome::Removed(is_even))
            }
        }
    }
}

/// Whether the events have an order in which each returns what it did, and none comes before one
/// that had ended when it began.
fn is_linearizable(events: &[Event], state: Option<u64>) -> bool {
    fn search(
        events: &[Event],
        done: u32,
        state: Option<u64>,
        failed: &mut HashSet<(u32, Option<u64>)>,
    ) -> bool {
        let is_open = |at: &usize| done & (1 << at) == 0;
        let Some(first_end) = (0..events.len()).filter(is_open).map(|at| events[at].ended).min()
        else {
            return true;
        };
        if failed.contains(&(done, state)) {
            return false;
        }
        for at in (0..events.len()).filter(is_open) {
            let event = &events[at];
            let (next, result) = event.call.apply(state);
            if event.began < first_end
                && result == event.result
                && search(events, done | 1 << at, next, failed)
            {
                return true;
            }
        }
        failed.insert((done, state));
        false
    }
    search(events, 0, state, &mut HashSet::new())
}

#[test]
fn the_checker_of_histories_tells_good_from_bad() {
    let event = |began, ended, call, result| Event { began, ended, call, result };
    let insert = event(0, 3, Call::Insert(1), Outcome::Written(Inserted::Added));
    let overlapping = event(1, 2, Call::Get, Outcome::Value(None));
    assert!(is_linearizable(&[insert, overlapping], None));
    let late = event(4, 5, Call::Get, Outcome::Value(None));
    assert!(!is_linearizable(&[insert, late], None), "insert had returned");
    let twice = event(1, 5, Call::InsertIfAbsent(2), Outcome::Written(Inserted::Added));
    assert!(!is_linearizable(&[insert, twice], None), "both added");
}

/// Races a few calls on one key, `rounds` times, among neighbours that come and go.
fn check_histories<S: BuildHasher + Send + Sync + 'static>(
    cache: &Cache<u64, u64, S>,
    rounds: u64,
    seed: u64,
) {
    const CALLS: u64 = 4;
    let clock = AtomicU64::new(0);
    let events = Mutex::new(Vec::new());
    in_rounds(
        rounds,
        |round, thread| {
            let mut rng = Rng::new(seed ^ round << 16 ^ thread);
            let mut own = Vec::new();
            for step in 0..CALLS {
                let call = Call::random(&mut rng, round << 16 | thread << 8 | step);
                let began = clock.fetch_add(1, Ordering::SeqCst);
                let result = call.run(cache);
                let ended = clock.fetch_add(1, Ordering::SeqCst);
                own.push(Event { began, ended, call, result });
                // Neighbours, which share the chain where hashes collide.
                let neighbour = 1 + rng.below(3);
                if rng.below(2) == 0 {
                    cache.insert(neighbour, 0);
                } else {
                    cache.remove(&neighbour);
                }
            }
            events.lock().unwrap().extend(own);
        },
        |round| {
            let mut events = events.lock().unwrap();
            // The last call of all is after every other: it fixes the end state.
            let end = cache.remove(&0);
            events.push(Event {
                began: u64::MAX - 1,
                ended: u64::MAX,
                call: Call::Remove,
                result: Outcome::Value(end),
            });
            assert!(
                is_linearizable(&events, None),
                "no order explains these results, seed {seed}, round {round}: {events:#?}"
            );
            events.clear();
        },
    );
    cache.run_pending();
    cache.validate();
}

#[test]
fn histories_of_one_key_are_linearizable() {
    for seed in seeds(0x11ea, 1) {
        for maintenance in [Maintenance::Inline, Maintenance::Background] {
            let cache = Cache::<u64, u64>::builder()
                .capacity(1_000)
                .maintenance(maintenance)
                .build()
                .unwrap();
            check_histories(&cache, 10_000, seed);
        }
    }
}

#[test]
fn histories_of_one_key_among_colliding_ones_are_linearizable() {
    for seed in seeds(0xc0111, 1) {
        for maintenance in [Maintenance::Inline, Maintenance::Background] {
            let cache = Cache::<u64, u64>::builder()
                .capacity(1_000)
                .maintenance(maintenance)
                .hasher(Constant(3))
                .build()
                .unwrap();
            check_histories(&cache, 10_000, seed);
        }
    }
}
