//! The removal of entries: times to live, tags, unevictable entries, changes of capacity, and the
//! notifications of both kinds of listeners, in a cache of any policy.
//!
//! A model records the value last written under each key and its deadline. The cache may have
//! evicted it, but it must not return any other value, must keep unevictable entries, and must
//! notify the removal of each value exactly once.
//!
//! Bugs that were planted one at a time and found: the mark of unevictable entries is not set
//! (after 17,841 executions), a deadline that has passed is taken for none (after 13,332), an
//! entry's third tag is not checked (after 62,037).

#![no_main]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arbitrary::Arbitrary;
use larder::test::FakeClock;
use larder::{Cache, Explanation, Listener, Maintenance, Policy, Removal, RemovalCause};
use libfuzzer_sys::fuzz_target;

const POLICIES: [fn() -> Policy; 7] = [
    Policy::lru,
    Policy::lfu,
    Policy::fifo,
    Policy::sieve,
    Policy::s3_fifo,
    Policy::window_tiny_lfu,
    Policy::cost_aware,
];
const TAGS: [&str; 3] = ["a", "b", "c"];
/// Few, so that they collide.
const KEYS: u8 = 10;

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Action {
    Get(u8),
    Insert(u8),
    InsertFor(u8, u8),
    /// The low three bits of the second field choose the tags.
    InsertTagged(u8, u8),
    InsertUnevictable(u8),
    InvalidateTag(u8),
    Remove(u8),
    SetCapacity(u8),
    Advance(u8),
    Explain(u8),
    RunPending,
    Clear,
}

#[derive(Arbitrary, Debug)]
struct Input {
    policy: u8,
    /// 1: the listener is atomic; 2: a time to idle; 4: two partitions; 8: entries stay for a while after
    /// their deadlines.
    options: u8,
    capacity: u8,
    actions: Vec<Action>,
}

/// The value last written under a key.
struct Written {
    value: u64,
    ends_at: Option<u64>,
    tags: u8,
    is_unevictable: bool,
}

/// The cause of each value's removal, as the listener received it.
type Ends = Arc<Mutex<HashMap<u64, RemovalCause>>>;

fn note(ends: &Ends, value: u64, cause: RemovalCause) {
    let before = ends.lock().expect("nothing panics in here").insert(value, cause);
    assert_eq!(before, None, "the end of {value} was notified twice");
}

fuzz_target!(|input: Input| {
    let clock = FakeClock::new();
    let ends = Ends::default();
    let partitions = if input.options & 4 != 0 { 2 } else { 1 };
    let mut builder = Cache::<u64, u64>::builder()
        .capacity(usize::from(input.capacity % 12) + partitions)
        .policy(POLICIES[usize::from(input.policy) % POLICIES.len()]())
        .partitions(partitions)
        .maintenance(Maintenance::Inline)
        .explain_misses(8)
        .clock(clock.clone());
    let notified = Arc::clone(&ends);
    builder = if input.options & 1 != 0 {
        builder.atomic_listener(move |removal| note(&notified, *removal.value, removal.cause))
    } else {
        let listener = Listener::new(move |removal: &Removal<'_, u64, u64>| {
            note(&notified, *removal.value, removal.cause);
        });
        builder.listener(listener)
    };
    // Long enough that an entry's own time to live may be shorter.
    let idle = (input.options & 2 != 0).then(|| Duration::from_secs(200));
    if let Some(idle) = idle {
        builder = builder.time_to_idle(idle);
    }
    if input.options & 8 != 0 {
        builder = builder.stale_if_error(Duration::from_secs(100));
    }
    let cache = builder.build().expect("a valid configuration");
    let mut written: HashMap<u64, Written> = HashMap::new();
    let (mut stored, mut now) = (0, 0_u64);

    for action in &input.actions {
        let mut write = |key: u8, ends_at, tags: u8, is_unevictable| {
            let (key, value) = (u64::from(key % KEYS), stored);
            let entry = Written { value, ends_at, tags, is_unevictable };
            let outcome = match (ends_at, tags, is_unevictable) {
                (_, _, true) => cache.insert_unevictable(key, value),
                (Some(end), _, _) => {
                    cache.insert_with_ttl(key, value, Duration::from_secs(end - now))
                }
                (None, 0, _) => cache.insert(key, value),
                (None, tags, _) => {
                    let given = (0..3).filter(|at| tags & 1 << at != 0).map(|at| TAGS[at]);
                    cache.insert_with_tags(key, value, given)
                }
            };
            assert!(outcome.is_stored(), "{outcome:?}");
            stored += 1;
            written.insert(key, entry);
        };
        match *action {
            Action::Insert(key) => write(key, None, 0, false),
            Action::InsertFor(key, seconds) => {
                write(key, Some(now + u64::from(seconds) + 1), 0, false);
            }
            Action::InsertTagged(key, tags) => write(key, None, tags & 7, false),
            Action::InsertUnevictable(key) => write(key, None, 0, true),
            Action::Get(key) => {
                let key = u64::from(key % KEYS);
                let seen = cache.get(&key);
                let entry = written.get(&key);
                let is_due = |entry: &Written| entry.ends_at.is_some_and(|end| now > end);
                if let Some(value) = seen {
                    let entry = entry.expect("a key that was never written, or removed");
                    assert_eq!(value, entry.value, "not what was written last");
                    assert!(!is_due(entry), "{key} has expired");
                } else if let Some(entry) = entry.filter(|entry| entry.is_unevictable) {
                    assert!(idle.is_some(), "an unevictable entry is gone: {}", entry.value);
                }
            }
            Action::InvalidateTag(tag) => {
                let at = usize::from(tag) % TAGS.len();
                cache.invalidate_tag(TAGS[at]);
                written.retain(|_, entry| entry.tags & 1 << at == 0);
            }
            Action::Remove(key) => {
                let key = u64::from(key % KEYS);
                let removed = cache.remove(&key);
                let known = written.remove(&key);
                assert!(removed.is_none() || removed == known.map(|entry| entry.value));
            }
            Action::SetCapacity(entries) => {
                let entries = usize::from(entries % 12) + partitions;
                cache.set_capacity(entries).expect("one for each partition at least");
            }
            Action::Advance(seconds) => {
                now += u64::from(seconds);
                clock.advance(Duration::from_secs(u64::from(seconds)));
            }
            Action::Explain(key) => {
                let key = u64::from(key % KEYS);
                let is_there = cache.contains_key(&key);
                let explained = cache.explain(&key);
                assert_eq!(matches!(explained, Explanation::Present(_)), is_there);
            }
            Action::RunPending => cache.run_pending(),
            Action::Clear => {
                cache.clear();
                written.clear();
                assert!(cache.is_empty());
            }
        }
        let bounded = written.values().filter(|entry| entry.is_unevictable).count();
        let limit = cache.capacity().expect("it was given") + bounded;
        assert!(cache.len() <= limit, "{} entries of {limit}", cache.len());
    }

    cache.validate();
    let values: Vec<u64> = cache.values().collect();
    cache.run_pending();
    let notified = ends.lock().expect("nothing panics in here");
    for value in values {
        assert!(!notified.contains_key(&value), "{value} is there, and its end was notified");
    }
    assert!(notified.keys().all(|value| *value < stored));
    let gone = stored - cache.len() as u64;
    assert_eq!(notified.len() as u64, gone, "each value that is gone was notified");
});
