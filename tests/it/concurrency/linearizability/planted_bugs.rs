//! The search finds bugs that were planted in a map.

use std::collections::HashMap;
use std::sync::{Barrier, Mutex};

use crate::support::linear::{Call, Event, Licence, Outcome, Recorder, Verbs, check};

use super::{ABSENT, ADDED, PRESENT, REPLACED, got};

/// The fault of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    None,
    /// `insert` writes back a copy of the whole map.
    LostUpdate,
    /// `insert_if_absent` reads and writes in two steps.
    DoubleInsert,
    /// `get` remembers the value it read for the next `get`, even if it was replaced meanwhile.
    StaleRead,
    /// `remove` reads and removes in two steps.
    DoubleRemove,
    /// `remove_if` removes another value than the one it checked.
    JudgedAnother,
    /// `update` computes a value from one that was replaced meanwhile.
    StaleUpdate,
    /// `replace` removes the old value before it inserts the new one.
    AbsentMeanwhile,
}

/// A map behind a lock that one verb releases in its middle.
struct Broken {
    bug: Bug,
    map: Mutex<HashMap<u64, u64>>,
    /// The values that `get` remembers.
    remembered: Mutex<HashMap<u64, u64>>,
    /// The two threads of a race meet here, in the middle of the verb.
    gate: Barrier,
    is_racing: bool,
}

impl Broken {
    fn new(bug: Bug) -> Self {
        let (map, remembered) = (Mutex::default(), Mutex::default());
        Self { bug, map, remembered, gate: Barrier::new(2), is_racing: false }
    }

    /// Called where the verb of `bug` has released the lock.
    fn gap(&self, bug: Bug) -> bool {
        let is_open = self.bug == bug && self.is_racing;
        if is_open {
            self.gate.wait();
        }
        is_open
    }

    fn whole(&self, key: u64, call: Call) -> Outcome {
        let mut map = self.map.lock().unwrap();
        let (next, outcome) = call.apply(map.get(&key).copied());
        match next {
            Some(value) => map.insert(key, value),
            None => map.remove(&key),
        };
        outcome
    }
}

impl Verbs for Broken {
    fn run(&self, key: u64, call: Call) -> Outcome {
        let read = || self.map.lock().unwrap().get(&key).copied();
        match (self.bug, call) {
            (Bug::LostUpdate, Call::Insert(value)) => {
                let mut copy = self.map.lock().unwrap().clone();
                self.gap(Bug::LostUpdate);
                let old = copy.insert(key, value);
                *self.map.lock().unwrap() = copy;
                if old.is_some() { REPLACED } else { ADDED }
            }
            (Bug::DoubleInsert, Call::InsertIfAbsent(value)) => {
                if read().is_some() {
                    return PRESENT;
                }
                self.gap(Bug::DoubleInsert);
                self.map.lock().unwrap().insert(key, value);
                ADDED
            }
            (Bug::StaleRead, Call::Get) => {
                if let Some(value) = self.remembered.lock().unwrap().get(&key) {
                    return got(*value);
                }
                let value = read();
                // Two meetings: the other thread replaces the value in between.
                if self.gap(Bug::StaleRead) {
                    self.gap(Bug::StaleRead);
                }
                if let Some(value) = value {
                    self.remembered.lock().unwrap().insert(key, value);
                }
                Outcome::Value(value)
            }
            (Bug::StaleRead, Call::Replace(_)) => {
                self.gap(Bug::StaleRead);
                let outcome = self.whole(key, call);
                self.remembered.lock().unwrap().remove(&key);
                self.gap(Bug::StaleRead);
                outcome
            }
            (Bug::StaleUpdate, Call::Update(value)) => {
                let old = read();
                self.gap(Bug::StaleUpdate);
                if old.is_some() {
                    self.map.lock().unwrap().insert(key, value);
                }
                Outcome::Value(old)
            }
            (Bug::DoubleRemove, Call::Remove) => {
                let value = read();
                self.gap(Bug::DoubleRemove);
                self.map.lock().unwrap().remove(&key);
                Outcome::Value(value)
            }
            (Bug::JudgedAnother, Call::RemoveIfEven) => {
                let Some(value) = read() else {
                    return Outcome::Removed(false);
                };
                // Two meetings, as above.
                if self.gap(Bug::JudgedAnother) {
                    self.gap(Bug::JudgedAnother);
                }
                if value.is_multiple_of(2) {
                    self.map.lock().unwrap().remove(&key);
                }
                Outcome::Removed(value.is_multiple_of(2))
            }
            (Bug::JudgedAnother, Call::Replace(_)) => {
                self.gap(Bug::JudgedAnother);
                let outcome = self.whole(key, call);
                self.gap(Bug::JudgedAnother);
                outcome
            }
            (Bug::AbsentMeanwhile, Call::Replace(value)) => {
                if self.map.lock().unwrap().remove(&key).is_none() {
                    return ABSENT;
                }
                // Two meetings: the other thread reads in between.
                if self.gap(Bug::AbsentMeanwhile) {
                    self.gap(Bug::AbsentMeanwhile);
                }
                self.map.lock().unwrap().insert(key, value);
                REPLACED
            }
            (Bug::AbsentMeanwhile, Call::Get) => {
                self.gap(Bug::AbsentMeanwhile);
                let outcome = self.whole(key, call);
                self.gap(Bug::AbsentMeanwhile);
                outcome
            }
            _ => self.whole(key, call),
        }
    }
}

/// Runs `before`, then the calls of `race` on one thread each, then `after`.
fn record(
    map: &mut Broken,
    before: &[(u64, Call)],
    race: [(u64, Call); 2],
    after: &[(u64, Call)],
) -> Vec<Event> {
    let recorder = Recorder::default();
    let one = |map: &Broken, thread, (key, call)| recorder.call(map, thread, key, call);
    let mut events: Vec<Event> = before.iter().map(|step| one(map, 0, *step)).collect();
    map.is_racing = true;
    let racing = &*map;
    std::thread::scope(|scope| {
        let other = scope.spawn(|| one(racing, 1, race[1]));
        events.push(one(racing, 0, race[0]));
        events.push(other.join().unwrap());
    });
    map.is_racing = false;
    events.extend(after.iter().map(|step| one(map, 0, *step)));
    events
}

#[test]
fn planted_bugs_are_found() {
    use Call::{Get, Insert, InsertIfAbsent, Remove, RemoveIfEven, Replace, Update};
    type Steps = &'static [(u64, Call)];
    /// The bug; the calls before, at once and after; and whether the bug could pass for an
    /// eviction.
    type Planted = (Bug, Steps, [(u64, Call); 2], Steps, bool);
    let planted: [Planted; 7] = [
        (Bug::StaleUpdate, &[(0, Insert(1))], [(0, Update(2)), (0, Update(3))], &[], false),
        (Bug::AbsentMeanwhile, &[(0, Insert(1))], [(0, Get), (0, Replace(2))], &[(0, Get)], false),
        (Bug::LostUpdate, &[], [(0, Insert(1)), (1, Insert(2))], &[(0, Get), (1, Get)], true),
        (Bug::DoubleInsert, &[], [(0, InsertIfAbsent(1)), (0, InsertIfAbsent(2))], &[], true),
        (Bug::StaleRead, &[(0, Insert(1))], [(0, Get), (0, Replace(2))], &[(0, Get)], false),
        (Bug::DoubleRemove, &[(0, Insert(1))], [(0, Remove), (0, Remove)], &[], false),
        (
            Bug::JudgedAnother,
            &[(0, Insert(2))],
            [(0, RemoveIfEven), (0, Replace(3))],
            &[(0, Get)],
            false,
        ),
    ];
    for (bug, before, race, after, is_like_eviction) in planted {
        let events = record(&mut Broken::new(bug), before, race, after);
        let violation = check(&events, Licence::None)
            .expect_err(&format!("{bug:?} was not found in {events:#?}"));
        assert!(violation.events.len() >= 2, "{bug:?}: {violation}");
        let is_excused = check(&events, Licence::Vanish).is_ok();
        assert_eq!(is_excused, is_like_eviction, "{bug:?}, with eviction as the licence");

        let sound = record(&mut Broken::new(Bug::None), before, race, after);
        if let Err(violation) = check(&sound, Licence::None) {
            panic!("the same calls on a correct map: {violation}");
        }
    }
}
