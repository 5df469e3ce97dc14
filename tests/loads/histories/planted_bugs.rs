//! The checker finds bugs that were planted in a model of a cache, and accepts the model without them.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex};

use super::checker::{Ended, Licence, Verb, check};
use super::{World, yield_now};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    None,
    /// A leader ends its flight before it stores the value.
    PublishAfterRelease,
    /// A leader stores its value though the key was changed.
    StaleStore,
    /// A leader wakes the waiters without having given them the value.
    WokenWithNothing,
    /// A caller does not look for a flight of its key.
    TwoLeaders,
    /// A caller joins a flight that is stale.
    JoinsStale,
    /// A leader that finds a value gives it to callers that come after the change of the key.
    FoundBeforeChange,
    /// A value is published while its loader runs.
    HalfLoaded,
}

/// A cache with one lock.
struct Model {
    bug: Bug,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    values: HashMap<u64, u64>,
    flights: Vec<Flight>,
    waiters: usize,
}

struct Flight {
    key: u64,
    is_stale: bool,
    is_open: bool,
    outcome: Option<u64>,
}

impl Model {
    fn new(bug: Bug) -> Self {
        Self { bug, state: Mutex::default(), changed: Condvar::new() }
    }

    fn waiters(&self) -> usize {
        self.state.lock().unwrap().waiters
    }

    fn get(&self, key: u64) -> Option<u64> {
        self.state.lock().unwrap().values.get(&key).copied()
    }

    /// `gap` is run where the bug has released the lock.
    fn get_or_load(&self, key: u64, load: impl FnOnce() -> u64, gap: impl FnOnce()) -> Option<u64> {
        let mut state = self.state.lock().unwrap();
        if let Some(value) = state.values.get(&key) {
            return Some(*value);
        }
        let is_joined = |flight: &Flight| {
            flight.key == key
                && flight.is_open
                && (!flight.is_stale || self.bug == Bug::JoinsStale)
                && self.bug != Bug::TwoLeaders
        };
        if let Some(at) = state.flights.iter().position(is_joined) {
            state.waiters += 1;
            let state = self.changed.wait_while(state, |state| state.flights[at].is_open).unwrap();
            return state.flights[at].outcome;
        }
        let at = state.flights.len();
        state.flights.push(Flight { key, is_stale: false, is_open: true, outcome: None });
        drop(state);
        if self.bug == Bug::HalfLoaded {
            self.state.lock().unwrap().values.insert(key, 77);
            gap();
            self.state.lock().unwrap().values.remove(&key);
            return Some(self.complete(at, key, load(), || ()));
        }
        Some(self.complete(at, key, load(), gap))
    }

    fn complete(&self, at: usize, key: u64, value: u64, gap: impl FnOnce()) -> u64 {
        let store = |state: &mut State| {
            if !state.flights[at].is_stale || self.bug == Bug::StaleStore {
                state.values.insert(key, value);
            }
        };
        let mut state = self.state.lock().unwrap();
        if self.bug != Bug::PublishAfterRelease {
            store(&mut state);
        }
        state.flights[at].is_open = false;
        state.flights[at].outcome = (self.bug != Bug::WokenWithNothing).then_some(value);
        self.changed.notify_all();
        drop(state);
        if self.bug == Bug::PublishAfterRelease {
            gap();
            store(&mut self.state.lock().unwrap());
        }
        value
    }

    /// A load by a caller that has missed before another stored the value, which is removed in `gap`.
    fn find_late(&self, key: u64, gap: impl FnOnce()) -> Option<u64> {
        let at = {
            let mut state = self.state.lock().unwrap();
            state.flights.push(Flight { key, is_stale: false, is_open: true, outcome: None });
            state.flights.len() - 1
        };
        let found = self.get(key);
        gap();
        let mut state = self.state.lock().unwrap();
        state.flights[at].is_open = false;
        state.flights[at].outcome = found;
        self.changed.notify_all();
        found
    }

    fn mark(&self, key: u64) {
        let mut state = self.state.lock().unwrap();
        state.flights.iter_mut().filter(|it| it.key == key).for_each(|it| it.is_stale = true);
    }

    fn change(&self, key: u64, value: Option<u64>) {
        self.mark(key);
        let mut state = self.state.lock().unwrap();
        match value {
            Some(value) => drop(state.values.insert(key, value)),
            None => drop(state.values.remove(&key)),
        }
    }
}

/// Runs the calls that show the bug, and checks their history. Thread 0 leads; thread 1 comes meanwhile.
fn find(bug: Bug, script: Bug) -> Result<(), String> {
    let (world, model) = (World::new(), Model::new(bug));
    let (world, model) = (&world, &model);
    let load = |thread, during: &dyn Fn(), gap: &dyn Fn()| {
        world.call(thread, 0, Verb::Load, |began| {
            let load = || {
                let loading = world.load(thread, 0, began);
                let value = loading.read();
                during();
                loading.end(Ended::Value(value));
                value
            };
            model.get_or_load(0, load, gap).map_or(Ended::Nothing, Ended::Value)
        });
    };
    let get = |thread| {
        world.call(thread, 0, Verb::Get, |_| model.get(0).map_or(Ended::Nothing, Ended::Value));
    };
    let insert = |thread| {
        world.change(thread, 0, "insert", |version| model.change(0, Some(version)));
    };
    let remove = |thread| world.change(thread, 0, "remove", |_| model.change(0, None));
    let nothing = || ();
    std::thread::scope(|scope| {
        let other = || {
            scope.spawn(move || load(1, &nothing, &nothing));
            // Until the other caller waits, or its loader has run.
            while model.waiters() == 0 && world.history.lock().unwrap().runs.is_empty() {
                yield_now();
            }
        };
        match script {
            Bug::None => {}
            Bug::PublishAfterRelease => load(0, &nothing, &|| load(1, &nothing, &nothing)),
            Bug::StaleStore => load(0, &|| insert(1), &nothing),
            Bug::WokenWithNothing | Bug::TwoLeaders => load(0, &other, &nothing),
            Bug::JoinsStale => load(
                0,
                &|| {
                    remove(1);
                    other();
                },
                &nothing,
            ),
            Bug::FoundBeforeChange => {
                insert(1);
                world.call(0, 0, Verb::Load, |_| {
                    let gap = || {
                        if bug == Bug::FoundBeforeChange {
                            world.change(1, 0, "remove", |_| {
                                model.state.lock().unwrap().values.remove(&0);
                            });
                        } else {
                            remove(1);
                        }
                        other();
                    };
                    model.find_late(0, gap).map_or(Ended::Nothing, Ended::Value)
                });
            }
            Bug::HalfLoaded => load(0, &nothing, &|| get(1)),
        }
    });
    get(0);
    let history = world.history.lock().unwrap();
    check(&history, Licence::None).map_err(|violation| violation.to_string())
}

#[test]
fn planted_bugs_are_found() {
    let bugs = [
        (Bug::PublishAfterRelease, "a loader that ran though"),
        (Bug::StaleStore, "a value from before a change"),
        (Bug::WokenWithNothing, "a load of nothing"),
        (Bug::TwoLeaders, "a loader that ran though"),
        (Bug::JoinsStale, "a value from before a change"),
        (Bug::FoundBeforeChange, "a value from before a change"),
        (Bug::HalfLoaded, "a value that no finished loader has loaded"),
    ];
    for (bug, rule) in bugs {
        let violation = find(bug, bug).expect_err("a planted bug was not found");
        assert!(violation.starts_with(rule), "{bug:?}: {violation}");
        if let Err(violation) = find(Bug::None, bug) {
            panic!("the same calls on a correct model, {bug:?}: {violation}");
        }
    }
}
