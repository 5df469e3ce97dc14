//! With inline maintenance, a fake clock and a hasher without a random seed, the same calls give
//! the same answers, evictions, expirations and notifications: in every run, in any thread, on
//! every machine.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use larder::test::FakeClock;
use larder::{Cache, Inserted, Listener, Maintenance, Removal, RemovalCause, Stats};

use crate::support::configs::POLICIES;
use crate::support::hashers::Identity;
use crate::support::rng::Rng;

const STEPS: usize = 4000;
const KEYS: u64 = 400;
const CAPACITY: usize = 40;

/// A call of a trace.
#[derive(Clone, Copy, Debug)]
enum Call {
    Get(u64),
    Insert(u64),
    InsertIfAbsent(u64),
    InsertWithTtl(u64, Duration),
    ExpireAfter(u64, Duration),
    Remove(u64),
    RunPending,
    Advance(Duration),
}

/// The observable effects of one call.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Event {
    found: Option<u64>,
    inserted: Option<Inserted>,
    was_there: bool,
    left: Vec<u64>,
    came: Vec<u64>,
    deadlines: u64,
    /// Key, value, the value that replaced it, cause, age.
    notified: Vec<Notified>,
}

type Notified = (u64, u64, Option<u64>, RemovalCause, Duration);

/// Which listeners are notified of removals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listeners {
    None,
    /// A listener.
    Queued,
    /// An atomic listener.
    Atomic,
}

fn trace(seed: u64) -> Vec<Call> {
    let mut rng = Rng::new(seed);
    let mut call = move || {
        // Some keys are far more frequent than others.
        let key = rng.below(KEYS).min(rng.below(KEYS)).min(rng.below(KEYS));
        let time = Duration::from_millis(rng.below(20_000));
        match rng.below(100) {
            0..45 => Call::Get(key),
            45..65 => Call::Insert(key),
            65..70 => Call::InsertIfAbsent(key),
            70..80 => Call::InsertWithTtl(key, time),
            80..84 => Call::ExpireAfter(key, time),
            84..88 => Call::Remove(key),
            88..90 => Call::RunPending,
            _ => Call::Advance(time / 20),
        }
    };
    (0..STEPS).map(|_| call()).collect()
}

/// Runs a trace and returns the effects of every call and the final statistics.
fn replay(policy: &larder::Policy, trace: &[Call], listeners: Listeners) -> (Vec<Event>, Stats) {
    let clock = FakeClock::new();
    let notified = Arc::new(Mutex::new(Vec::new()));
    let note = Arc::clone(&notified);
    let record = move |removal: &Removal<'_, u64, u64>| {
        let Removal { key, value, new_value, cause, age, .. } = *removal;
        note.lock().expect("no panic while locked").push((
            *key,
            *value,
            new_value.copied(),
            cause,
            age,
        ));
    };
    let builder = Cache::builder();
    let builder = match listeners {
        Listeners::None => builder,
        Listeners::Queued => builder.listener(Listener::new(record)),
        Listeners::Atomic => builder.atomic_listener(record),
    };
    let cache: Cache<u64, u64, _> = builder
        .capacity(CAPACITY)
        .policy(policy.clone())
        .maintenance(Maintenance::Inline)
        .hasher(Identity)
        .clock(clock.clone())
        .time_to_live(Duration::from_secs(30))
        .time_to_idle(Duration::from_secs(10))
        .jitter(0.25)
        .count_lookups()
        .build()
        .expect("a valid configuration");
    let mut before = BTreeSet::new();
    let mut events = Vec::with_capacity(trace.len());
    for (number, call) in trace.iter().enumerate() {
        let value = number as u64;
        let (mut found, mut inserted, mut was_there) = (None, None, false);
        match *call {
            Call::Get(key) => found = cache.get(&key),
            Call::Insert(key) => inserted = Some(cache.insert(key, value)),
            Call::InsertIfAbsent(key) => inserted = Some(cache.insert_if_absent(key, value)),
            Call::InsertWithTtl(key, ttl) => {
                inserted = Some(cache.insert_with_ttl(key, value, ttl));
            }
            Call::ExpireAfter(key, ttl) => was_there = cache.expire_after(&key, Some(ttl)),
            Call::Remove(key) => found = cache.remove(&key),
            Call::RunPending => cache.run_pending(),
            Call::Advance(time) => clock.advance(time),
        }
        let mut deadlines = 0_u64;
        let mut now = BTreeSet::new();
        for entry in cache.entries() {
            now.insert(entry.key);
            let left = entry.info.expires_in.map_or(u64::MAX, |left| left.as_nanos() as u64);
            deadlines = deadlines.wrapping_add(left.wrapping_mul(entry.key | 1));
        }
        events.push(Event {
            found,
            inserted,
            was_there,
            left: before.difference(&now).copied().collect(),
            came: now.difference(&before).copied().collect(),
            deadlines,
            notified: std::mem::take(&mut *notified.lock().expect("no panic while locked")),
        });
        before = now;
    }
    cache.validate();
    let mut stats = cache.stats();
    // When memory is freed depends on the process's other threads.
    (stats.freed_bytes, stats.reclamation_lag) = (0, Duration::ZERO);
    (events, stats)
}

#[test]
fn same_calls_give_the_same_events_in_every_thread_and_run() {
    for policy in POLICIES {
        for seed in 1..=2 {
            let trace = &trace(seed)[..STEPS / 2];
            let policy_of = policy.make;
            let all = [Listeners::None, Listeners::Queued, Listeners::Atomic];
            for listeners in all.into_iter().take(if seed == 1 { 3 } else { 1 }) {
                let (events, stats) = replay(&policy_of(), trace, listeners);
                let notified = events.iter().map(|event| event.notified.len() as u64).sum::<u64>();
                let left =
                    stats.evictions + stats.expirations + stats.replacements + stats.removals;
                assert_eq!(
                    notified,
                    if listeners == Listeners::None { 0 } else { left },
                    "{}",
                    policy.name
                );
                assert!(
                    stats.hits > Some(100) && stats.evictions > 100 && stats.expirations > 100,
                    "{stats:?}"
                );
                let other = std::thread::scope(|scope| {
                    let again = scope.spawn(|| replay(&policy_of(), trace, listeners));
                    again.join().expect("the first run did not panic")
                });
                for (step, (first, second)) in events.iter().zip(&other.0).enumerate() {
                    assert_eq!(
                        first, second,
                        "{}, {listeners:?}, seed {seed}, {step}: {:?}",
                        policy.name, trace[step]
                    );
                }
                assert_eq!(stats, other.1, "{}, seed {seed}", policy.name);
            }
        }
    }
}

/// The order of LRU is defined, and so is everything else here: other numbers mean that something
/// depends on the machine or the compiler.
#[test]
fn same_calls_give_the_same_events_on_every_machine() {
    let (events, stats) = replay(&larder::Policy::lru(), &trace(1), Listeners::None);
    let mut digest = 0xcbf2_9ce4_8422_2325_u64;
    let mut add = |number: u64| digest = (digest ^ number).wrapping_mul(0x0100_0000_01b3);
    for event in &events {
        add(event.found.map_or(u64::MAX, |value| value));
        add(event.deadlines);
        event.left.iter().chain(&event.came).for_each(|key| add(*key));
    }
    assert_eq!(
        (digest, stats.hits.unwrap(), stats.evictions, stats.expirations),
        (17_954_269_593_946_951_699, 301, 1002, 131),
        "the golden run has changed"
    );
}
