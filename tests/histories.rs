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
/// that had ended when it began. The search is Wing and Gong's ("Testing and Verifying Concurrent
/// Objects", J. Parallel and Distributed Computing 17, 1993) with Lowe's memory of states that led
/// nowhere ("Testing for Linearizability", Concurrency and Computation 29(4), 2017).
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

/// A map of one key with a bug, whose calls take several steps that a test orders as it likes.
#[derive(Default)]
struct Broken {
    value: Option<u64>,
    /// What a stale reader still sees.
    cached: Option<u64>,
}

/// Runs `steps` one after the other on a broken map and notes when each call began and ended, as
/// the recorder of races does.
struct Recorder {
    map: Broken,
    now: u64,
    events: Vec<Event>,
}

impl Recorder {
    fn new() -> Self {
        Self { map: Broken::default(), now: 0, events: Vec::new() }
    }

    fn tick(&mut self) -> u64 {
        self.now += 1;
        self.now
    }

    fn note(&mut self, began: u64, call: Call, result: Outcome) {
        let ended = self.tick();
        self.events.push(Event { began, ended, call, result });
    }

    fn get(&mut self) {
        let began = self.tick();
        let result = Outcome::Value(self.map.value);
        self.note(began, Call::Get, result);
    }

    fn insert(&mut self, value: u64) {
        let began = self.tick();
        let how = if self.map.value.is_some() { Inserted::Replaced } else { Inserted::Added };
        self.map.value = Some(value);
        self.note(began, Call::Insert(value), Outcome::Written(how));
    }
}

#[test]
fn a_lost_update_is_found() {
    let mut recorder = Recorder::new();
    recorder.insert(1);
    // An `insert_if_absent` that finds the key there writes back what it had read.
    let began = recorder.tick();
    let read = recorder.map.value;
    recorder.insert(2);
    recorder.map.value = read;
    let refused = Outcome::Written(Inserted::Rejected(Rejection::Present));
    recorder.note(began, Call::InsertIfAbsent(3), refused);
    assert!(is_linearizable(&recorder.events, None), "nobody has looked yet");
    recorder.get();
    assert!(!is_linearizable(&recorder.events, None), "the insertion of 2 is lost");
}

#[test]
fn a_double_insert_is_found() {
    let mut recorder = Recorder::new();
    // Both look before either writes.
    let (first, second) = (recorder.tick(), recorder.tick());
    assert!(recorder.map.value.is_none());
    recorder.map.value = Some(1);
    recorder.note(first, Call::InsertIfAbsent(1), Outcome::Written(Inserted::Added));
    assert!(is_linearizable(&recorder.events, None));
    recorder.map.value = Some(2);
    recorder.note(second, Call::InsertIfAbsent(2), Outcome::Written(Inserted::Added));
    assert!(!is_linearizable(&recorder.events, None), "both added the key");
}

#[test]
fn a_stale_read_after_a_replacement_is_found() {
    let mut recorder = Recorder::new();
    recorder.insert(1);
    recorder.map.cached = recorder.map.value;
    let reading = recorder.tick();
    recorder.insert(2);
    // One that began before the replacement may still see the old value.
    let stale = Outcome::Value(recorder.map.cached);
    recorder.note(reading, Call::Get, stale);
    assert!(is_linearizable(&recorder.events, None));
    let began = recorder.tick();
    recorder.note(began, Call::Get, stale);
    assert!(!is_linearizable(&recorder.events, None), "the replacement had returned");
}

#[test]
fn a_key_that_is_absent_while_it_is_replaced_is_found() {
    let mut recorder = Recorder::new();
    recorder.insert(1);
    // Takes the old value out, is looked at, and puts the new one in.
    let began = recorder.tick();
    recorder.map.value = None;
    recorder.get();
    recorder.map.value = Some(2);
    recorder.note(began, Call::Replace(2), Outcome::Written(Inserted::Replaced));
    assert!(!is_linearizable(&recorder.events, None), "absent in between");
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
