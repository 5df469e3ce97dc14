//! Histories of racing calls on a map, and the search for an order that explains them.
//!
//! A history is linearizable if its calls have an order in which each returns what the sequential
//! map would, and in which no call comes before one that had returned when it began: Herlihy, Wing,
//! "Linearizability: A Correctness Condition for Concurrent Objects" (TOPLAS 1990). By their
//! locality theorem a map is linearizable if each key by itself is, so each key is searched alone.
//! The search is that of Wing, Gong, "Testing and Verifying Concurrent Objects" (JPDC 1993), with
//! the cache of Lowe, "Testing for Linearizability" (CCPE 2017): each pair of a set of ordered
//! calls and the state after them is visited once.
//! together with the state that they left is entered once.

use std::cell::Cell;
use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};

use larder::{Cache, Compute, Computed, Inserted, Rejection, UpdateOptions};

use super::block_on;
use super::rng::Rng;

/// One call on one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Get,
    Insert(u64),
    InsertIfAbsent(u64),
    Replace(u64),
    Remove,
    RemoveIfEven,
    /// Replaces a value that is there; returns what the closure was given.
    Update(u64),
    /// Stores the value, or removes an even one that is there; returns what the closure was given.
    Compute(u64),
    /// The same, asynchronously, with a pause in between.
    ComputeAsync(u64),
    /// More time passes than any entry lives. It belongs to the history of every key.
    Expire,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Value(Option<u64>),
    Written(Inserted),
    Removed(bool),
    Passed,
}

/// A call that returned, between two readings of the recorder's counter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event {
    pub(crate) thread: u64,
    pub(crate) key: u64,
    pub(crate) began: u64,
    pub(crate) ended: u64,
    pub(crate) call: Call,
    pub(crate) outcome: Outcome,
}

/// What a cache may do beyond what a map may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Licence {
    /// Nothing: its capacity is never reached and nothing expires.
    None,
    /// Any entry may vanish at any time. It never comes back, and no older one does.
    Vanish,
}

/// The verbs under test.
pub(crate) trait Verbs: Sync {
    fn run(&self, key: u64, call: Call) -> Outcome;
}

/// A key whose comparison sometimes yields to another thread: in the middle of a verb, which
/// otherwise is too short to be interrupted there.
#[derive(Clone, Debug, Eq)]
pub(crate) struct Restless(pub(crate) u64);

impl Hash for Restless {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl PartialEq for Restless {
    fn eq(&self, other: &Self) -> bool {
        maybe_yield();
        self.0 == other.0
    }
}

fn maybe_yield() {
    thread_local! {
        static RNG: Cell<u64> = const { Cell::new(0) };
    }
    let mut rng = Rng::new(RNG.get());
    RNG.set(rng.next_u64());
    if rng.below(4) == 0 {
        std::thread::yield_now();
    }
}

impl<S: BuildHasher + Send + Sync + 'static> Verbs for Cache<Restless, u64, S> {
    fn run(&self, key: u64, call: Call) -> Outcome {
        let key = Restless(key);
        match call {
            Call::Get => Outcome::Value(self.get(&key)),
            Call::Insert(value) => Outcome::Written(self.insert(key, value)),
            Call::InsertIfAbsent(value) => Outcome::Written(self.insert_if_absent(key, value)),
            Call::Replace(value) => Outcome::Written(self.replace(key, value)),
            Call::Remove => Outcome::Value(self.remove(&key)),
            Call::RemoveIfEven => Outcome::Removed(self.remove_if(&key, |_, value| {
                maybe_yield();
                value.is_multiple_of(2)
            })),
            Call::Update(value) => {
                let change = |_: &u64| {
                    maybe_yield();
                    value
                };
                let updated =
                    self.update_and_read(&key, UpdateOptions::new(), change, |old, _| *old);
                Outcome::Value(updated.expect("nothing is rejected"))
            }
            Call::Compute(value) => {
                let mut given = None;
                let computed = self.entry(key).and_compute_with(|old| {
                    given = old.copied();
                    maybe_yield();
                    computed_answer(given, value)
                });
                judged(given, value, computed)
            }
            Call::ComputeAsync(value) => {
                let given = Cell::new(None);
                let computed = block_on(self.entry(key).and_compute_with_async(async |old| {
                    given.set(old);
                    std::thread::yield_now();
                    computed_answer(old, value)
                }));
                judged(given.get(), value, computed)
            }
            Call::Expire => unreachable!("a cache has no such verb: its clock has"),
        }
    }
}

fn computed_answer(given: Option<u64>, value: u64) -> Compute<u64> {
    match given {
        Some(given) if given.is_multiple_of(2) => Compute::Remove,
        _ => Compute::Put(value),
    }
}

/// The outcome of a computation, whose result must be what the closure has answered last.
fn judged(given: Option<u64>, value: u64, computed: Computed<u64>) -> Outcome {
    let expected = match (given, computed_answer(given, value)) {
        (Some(given), Compute::Remove) => Computed::Removed(given),
        (Some(_), _) => Computed::Replaced(value),
        (None, _) => Computed::Inserted(value),
    };
    assert_eq!(computed, expected, "given {given:?}");
    Outcome::Value(given)
}

impl Call {
    /// A call that writes `value`, if it is a kind of call that writes.
    pub(crate) fn random(rng: &mut Rng, value: u64) -> Self {
        match rng.below(16) {
            0..3 => Call::Get,
            3..5 => Call::Insert(value),
            5..7 => Call::InsertIfAbsent(value),
            7..9 => Call::Replace(value),
            9..11 => Call::Remove,
            11 => Call::RemoveIfEven,
            12..14 => Call::Update(value),
            14 => Call::Compute(value),
            _ => Call::ComputeAsync(value),
        }
    }

    /// What the call does to one key of the sequential map.
    pub(crate) fn apply(self, state: Option<u64>) -> (Option<u64>, Outcome) {
        let rejected = |why| (state, Outcome::Written(Inserted::Rejected(why)));
        match (self, state) {
            (Call::Get, _) => (state, Outcome::Value(state)),
            (Call::InsertIfAbsent(_), Some(_)) => rejected(Rejection::Present),
            (Call::Replace(_), None) => rejected(Rejection::Absent),
            (Call::Insert(value) | Call::InsertIfAbsent(value), None) => {
                (Some(value), Outcome::Written(Inserted::Added))
            }
            (Call::Insert(value) | Call::Replace(value), Some(_)) => {
                (Some(value), Outcome::Written(Inserted::Replaced))
            }
            (Call::Remove, _) => (None, Outcome::Value(state)),
            (Call::RemoveIfEven, Some(value)) if value.is_multiple_of(2) => {
                (None, Outcome::Removed(true))
            }
            (Call::RemoveIfEven, _) => (state, Outcome::Removed(false)),
            (Call::Update(_), None) => (None, Outcome::Value(None)),
            (Call::Update(value), Some(_)) => (Some(value), Outcome::Value(state)),
            (Call::Compute(value) | Call::ComputeAsync(value), _) => {
                let next = match computed_answer(state, value) {
                    Compute::Put(value) => Some(value),
                    _ => None,
                };
                (next, Outcome::Value(state))
            }
            (Call::Expire, _) => (None, Outcome::Passed),
        }
    }
}

impl Event {
    /// Whether a history that has an order still has one without this call.
    fn is_dispensable(&self, licence: Licence) -> bool {
        match self.outcome {
            Outcome::Value(None) if matches!(self.call, Call::Update(_)) => true,
            Outcome::Value(_)
                if matches!(
                    self.call,
                    Call::Update(_) | Call::Compute(_) | Call::ComputeAsync(_)
                ) =>
            {
                false
            }
            Outcome::Value(Some(_)) if self.call == Call::Remove => licence == Licence::Vanish,
            Outcome::Removed(true) | Outcome::Passed => licence == Licence::Vanish,
            Outcome::Value(_) | Outcome::Removed(false) => true,
            Outcome::Written(how) => !how.is_stored(),
        }
    }
}

/// Records calls with the order of their beginnings and ends.
///
/// The counter is one word that all threads change, so if one call returned before another began,
/// the recorder knows it. Its instruction is locked and so also orders the calls of a thread as the
/// processor sees them; weaker orderings are left to the loom models.
#[derive(Default)]
pub(crate) struct Recorder {
    counter: AtomicU64,
}

impl Recorder {
    pub(crate) fn call(&self, map: &impl Verbs, thread: u64, key: u64, call: Call) -> Event {
        self.note(thread, key, call, || map.run(key, call))
    }

    pub(crate) fn note(
        &self,
        thread: u64,
        key: u64,
        call: Call,
        run: impl FnOnce() -> Outcome,
    ) -> Event {
        let began = self.counter.fetch_add(1, Ordering::SeqCst);
        let outcome = run();
        let ended = self.counter.fetch_add(1, Ordering::SeqCst);
        Event { thread, key, began, ended, call, outcome }
    }
}

/// The calls on one key that have no order, without those that do not matter.
#[derive(Debug)]
pub(crate) struct Violation {
    pub(crate) events: Vec<Event>,
    licence: Licence,
    /// All calls on the key. A call whose effect contradicts its result is missing in `events`.
    all: Vec<Event>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "no order explains these results (licence: {:?}):", self.licence)?;
        self.events.iter().try_for_each(|event| writeln!(f, "  {event}"))?;
        writeln!(f, "among all on that key:")?;
        self.all.iter().try_for_each(|event| writeln!(f, "  {event}"))
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { thread, key, began, ended, call, outcome } = self;
        write!(f, "{began:>6} ..{ended:>6}  thread {thread}  key {key}  {call:?} -> {outcome:?}")
    }
}

/// Searches for an order for each key, all of which begin absent.
pub(crate) fn check(events: &[Event], licence: Licence) -> Result<(), Violation> {
    let mut keys: Vec<u64> = events.iter().map(|event| event.key).collect();
    keys.sort_unstable();
    keys.dedup();
    for key in keys {
        let is_of_key = |event: &&Event| event.key == key || event.call == Call::Expire;
        let mut own: Vec<Event> = events.iter().filter(is_of_key).copied().collect();
        if !is_linearizable(&own, licence) {
            own.sort_unstable_by_key(|event| event.began);
            return Err(Violation { events: minimized(own.clone(), licence), licence, all: own });
        }
    }
    Ok(())
}

/// Whether the calls, all on one key, have an order.
pub(crate) fn is_linearizable(events: &[Event], licence: Licence) -> bool {
    assert!(events.len() <= 64, "the set of ordered calls is one word");
    let mut search = Search { events, licence, entered: HashSet::new() };
    search.goes_on(0, None)
}

struct Search<'a> {
    events: &'a [Event],
    licence: Licence,
    /// Lowe's cache: the ordered calls, one bit each, and the state after them.
    entered: HashSet<(u64, Option<u64>)>,
}

impl Search<'_> {
    fn goes_on(&mut self, ordered: u64, state: Option<u64>) -> bool {
        let events = self.events;
        let is_open = |at: &usize| ordered & (1 << at) == 0;
        let open = || (0..events.len()).filter(is_open);
        let Some(first_end) = open().map(|at| events[at].ended).min() else {
            return true;
        };
        if !self.entered.insert((ordered, state)) {
            return false;
        }
        // A call that began after another returned must wait for that one if it is not yet ordered.
        for at in open().filter(|at| events[*at].began < first_end) {
            let (next, outcome) = events[at].call.apply(state);
            if outcome == events[at].outcome && self.goes_on(ordered | 1 << at, next) {
                return true;
            }
        }
        self.licence == Licence::Vanish && state.is_some() && self.goes_on(ordered, None)
    }
}

/// Removes from `events`, which are in the order of their beginnings, calls that can surely be left
/// out: calls that change nothing, and the last call if it began after all others had returned. A
/// call stays if the rest would have an order without it. If the whole history had an order, so
/// would the rest.
fn minimized(mut events: Vec<Event>, licence: Licence) -> Vec<Event> {
    let mut at = events.len();
    while at > 0 {
        at -= 1;
        let began = events[at].began;
        let is_last = at + 1 == events.len() && events[..at].iter().all(|one| one.ended < began);
        if is_last || events[at].is_dispensable(licence) {
            let left_out = events.remove(at);
            if is_linearizable(&events, licence) {
                events.insert(at, left_out);
            }
        }
    }
    events
}
