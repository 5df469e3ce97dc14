//! Short histories of racing calls on a few keys, each searched for an order that explains it.
//!
//! `LARDER_HISTORIES` says how many histories each test of the cache records.

mod checker;
mod planted_bugs;

use std::hash::BuildHasher;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use larder::test::FakeClock;
use larder::{Cache, Inserted, Listener, Maintenance, Rejection, Removal};

use crate::support::configs::{POLICIES, for_each_config};
use crate::support::hashers::Constant;
use crate::support::linear::{Call, Event, Licence, Outcome, Recorder, Restless, check};
use crate::support::rng::{Rng, seeds};
use crate::support::rounds::in_rounds_of;

const ADDED: Outcome = Outcome::Written(Inserted::Added);
const REPLACED: Outcome = Outcome::Written(Inserted::Replaced);
const PRESENT: Outcome = Outcome::Written(Inserted::Rejected(Rejection::Present));
const ABSENT: Outcome = Outcome::Written(Inserted::Rejected(Rejection::Absent));
const NOTHING: Outcome = Outcome::Value(None);

fn got(value: u64) -> Outcome {
    Outcome::Value(Some(value))
}

/// The number of histories that a test records in all.
fn histories() -> u64 {
    match std::env::var("LARDER_HISTORIES") {
        Ok(text) => text.parse().expect("LARDER_HISTORIES holds a number"),
        Err(_) => 400,
    }
}

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
fn cache_with_a_listener_is_a_linearizable_map() {
    let rounds = histories().div_ceil(12);
    let _alone = alone();
    for seed in seeds(0x115e, 1) {
        let (mut tally, since) = (Tally::default(), Instant::now());
        for maintenance in [Maintenance::Inline, Maintenance::Background] {
            for threads in 2..=4 {
                let builder =
                    Cache::<Restless, u64>::builder().capacity(1_000).maintenance(maintenance);
                let ignore = |_: &Removal<'_, Restless, u64>| ();
                let queued = builder.clone().listener(Listener::new(ignore)).build().unwrap();
                check_histories(&queued, threads, rounds, seed, Licence::None, None, &mut tally);
                let atomic = builder.atomic_listener(ignore).build().unwrap();
                check_histories(&atomic, threads, rounds, seed, Licence::None, None, &mut tally);
            }
        }
        tally.report("listening", since);
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
