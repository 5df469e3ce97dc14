//! Short histories of racing calls on a few keys, each searched for an order that explains it.
//!
//! `LARDER_HISTORIES` says how many histories each test of the cache records.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::{Barrier, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use larder::test::FakeClock;
use larder::{Cache, Inserted, Maintenance, Rejection};

use crate::support::configs::{POLICIES, for_each_config};
use crate::support::hashers::Constant;
use crate::support::linear::{Call, Event, Licence, Outcome, Recorder, Restless, Verbs, check};
use crate::support::rng::{Rng, seeds};
use crate::support::rounds::in_rounds_of;

const ADDED: Outcome = Outcome::Written(Inserted::Added);
const REPLACED: Outcome = Outcome::Written(Inserted::Replaced);
const PRESENT: Outcome = Outcome::Written(Inserted::Rejected(Rejection::Present));
const ABSENT: Outcome = Outcome::Written(Inserted::Rejected(Rejection::Absent));

/// The number of histories that a test records in all.
fn histories() -> u64 {
    match std::env::var("LARDER_HISTORIES") {
        Ok(text) => text.parse().expect("LARDER_HISTORIES holds a number"),
        Err(_) => 8_000,
    }
}

// ---------------------------------------------------------------- the checker

/// A call on key 0, written by hand.
fn event(began: u64, ended: u64, call: Call, outcome: Outcome) -> Event {
    Event { thread: began, key: 0, began, ended, call, outcome }
}

fn got(value: u64) -> Outcome {
    Outcome::Value(Some(value))
}

const NOTHING: Outcome = Outcome::Value(None);

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

// ---------------------------------------------------------------- planted bugs

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
    use Call::{Get, Insert, InsertIfAbsent, Remove, RemoveIfEven, Replace};
    type Steps = &'static [(u64, Call)];
    /// The bug; the calls before, at once and after; and whether the bug could pass for an
    /// eviction.
    type Planted = (Bug, Steps, [(u64, Call); 2], Steps, bool);
    let planted: [Planted; 6] = [
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

// ---------------------------------------------------------------- the cache

/// A racing test holds this lock: two such tests at once would leave less than one core for each
/// thread.
static RACING: Mutex<()> = Mutex::new(());

/// How many histories were recorded, and in how many of them threads really overlapped.
#[derive(Default)]
struct Tally {
    histories: u64,
    /// Two calls on one key, by different threads, at least one of them not a `get`, overlapped.
    with_overlap: u64,
}

impl Tally {
    fn add(&mut self, events: &[Event]) {
        let overlap = |a: &Event, b: &Event| {
            a.key == b.key
                && a.thread < b.thread
                && (a.call, b.call) != (Call::Get, Call::Get)
                && a.began.max(b.began) < a.ended.min(b.ended)
        };
        self.histories += 1;
        let has_overlap = events.iter().any(|a| events.iter().any(|b| overlap(a, b)));
        self.with_overlap += u64::from(has_overlap);
    }

    /// Prints how fast histories were recorded and checked, which `--nocapture` shows.
    fn report(&self, what: &str, since: Instant) {
        let Self { histories, with_overlap } = self;
        let rate = *histories as f64 / since.elapsed().as_secs_f64();
        eprintln!("{what}: {histories} histories, {with_overlap} with overlap, {rate:.0} a second");
        assert!(*with_overlap > 0, "{what}: no calls ever overlapped");
    }
}

/// Advances the time beyond the end of every entry.
type Expire<'a> = Option<&'a (dyn Fn() + Sync)>;

/// Races 2 to 4 threads of 4 to 8 calls each on 3 keys, `rounds` times.
fn check_histories<S: BuildHasher + Send + Sync + 'static>(
    cache: &Cache<Restless, u64, S>,
    threads: usize,
    rounds: u64,
    seed: u64,
    licence: Licence,
    expire: Expire<'_>,
    tally: &mut Tally,
) {
    const KEYS: u64 = 3;
    let recorder = Recorder::default();
    let events = Mutex::new(Vec::new());
    in_rounds_of(
        threads,
        rounds,
        |round, thread| {
            let mut rng = Rng::new(seed ^ round << 16 ^ thread);
            let mut own = Vec::with_capacity(9);
            let calls = 4 + rng.below(5);
            let expires_at = rng.below(calls);
            for step in 0..calls {
                // Each value is unique, and randomly even or odd.
                let value = (round << 16 | thread << 8 | step) << 1 | rng.below(2);
                let (key, call) = (rng.below(KEYS), Call::random(&mut rng, value));
                own.push(recorder.call(cache, thread, key, call));
                if let (Some(expire), 0) = (expire, thread)
                    && step == expires_at
                {
                    own.push(recorder.note(thread, 0, Call::Expire, || {
                        expire();
                        Outcome::Passed
                    }));
                }
            }
            events.lock().unwrap().extend(own);
        },
        |round| {
            let mut events = events.lock().unwrap();
            tally.add(&events);
            // The last calls begin after all others have ended: they fix the final state, and
            // prepare the keys for the next history.
            for key in 0..KEYS {
                events.push(recorder.call(cache, threads as u64, key, Call::Remove));
            }
            if let Err(violation) = check(&events, licence) {
                panic!("seed {seed}, round {round}, {threads} threads: {violation}");
            }
            events.clear();
        },
    );
    cache.run_pending();
    cache.validate();
}

/// Waits until no other test races. A failure of another test does not make this one fail.
fn alone() -> MutexGuard<'static, ()> {
    RACING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// 2, 3, 4, 2, ...: `for_each_config` varies the bound first, so each combination of the other
/// settings meets every number of threads.
fn next_threads(threads: usize) -> usize {
    if threads == 4 { 2 } else { threads + 1 }
}

/// Runs through every configuration, with `capacity` entries for each partition.
fn check_configs(what: &str, capacity: usize, licence: Licence, base: u64) {
    let mut configs = 0;
    for_each_config(|_| configs += 1);
    let rounds = histories().div_ceil(configs);
    let _alone = alone();
    for seed in seeds(base, 1) {
        let (mut threads, mut tally, since) = (2, Tally::default(), Instant::now());
        for_each_config(|config| {
            let cache = config.cache(capacity * config.partitions);
            check_histories(&cache, threads, rounds, seed, licence, None, &mut tally);
            let evictions = cache.stats().evictions;
            match licence {
                Licence::None => {
                    assert_eq!(evictions, 0, "an entry was evicted although there was room")
                }
                // With several partitions, each key may have one to itself, and then nothing is
                // evicted.
                Licence::Vanish => assert!(evictions > 0 || config.partitions > 1 || rounds < 10),
            }
            threads = next_threads(threads);
        });
        tally.report(what, since);
    }
}

#[test]
fn cache_that_is_never_full_is_a_linearizable_map() {
    check_configs("never full", 1_000, Licence::None, 0x11ea);
}

#[test]
fn cache_that_evicts_is_a_linearizable_map_whose_entries_may_vanish() {
    check_configs("evicting", 1, Licence::Vanish, 0xe71c);
}

#[test]
fn cache_of_colliding_keys_is_a_linearizable_map() {
    let rounds = histories().div_ceil(6);
    let _alone = alone();
    for seed in seeds(0xc0111, 1) {
        let (mut tally, since) = (Tally::default(), Instant::now());
        for maintenance in [Maintenance::Inline, Maintenance::Background] {
            for threads in 2..=4 {
                let cache = Cache::<Restless, u64>::builder()
                    .capacity(1_000)
                    .maintenance(maintenance)
                    .hasher(Constant(3))
                    .build()
                    .unwrap();
                check_histories(&cache, threads, rounds, seed, Licence::None, None, &mut tally);
            }
        }
        tally.report("colliding", since);
    }
}

#[test]
fn cache_whose_entries_expire_never_shows_them_afterwards() {
    let time_to_live = Duration::from_secs(1);
    let rounds = histories().div_ceil(POLICIES.len() as u64 * 2);
    let _alone = alone();
    for seed in seeds(0xdead, 1) {
        let (mut threads, mut tally, since) = (2, Tally::default(), Instant::now());
        for policy in POLICIES {
            for maintenance in [Maintenance::Inline, Maintenance::Background] {
                let clock = FakeClock::new();
                let cache = Cache::<Restless, u64>::builder()
                    .capacity(1_000)
                    .policy((policy.make)())
                    .maintenance(maintenance)
                    .time_to_live(time_to_live)
                    .clock(clock.clone())
                    .build()
                    .unwrap();
                let expire = || clock.advance(2 * time_to_live);
                // A call may take an entry for expired, by its own reading of the clock, before
                // other calls do. The only certainty is that the entry is not seen after it has
                // expired.
                let (licence, expire) = (Licence::Vanish, Some(&expire as _));
                check_histories(&cache, threads, rounds, seed, licence, expire, &mut tally);
                threads = next_threads(threads);
            }
        }
        tally.report("expiring", since);
    }
}
