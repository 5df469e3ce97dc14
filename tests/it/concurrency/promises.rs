//! Many threads at once: what each key promises, checked while the threads run and afterwards.

use std::collections::{HashMap, HashSet};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use larder::{Cache, Inserted, Maintenance, Policy, Rejection};

use crate::support::configs::for_each_config;
use crate::support::rng::{Rng, seeds};
use crate::support::rounds::in_rounds;
use crate::support::{RaiseOnDrop, stress_threads};

/// A value that holds its key, its writer and its version, with a checksum over them, so that a
/// torn or misplaced value is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamped {
    words: [u64; 4],
}

impl Stamped {
    fn new(key: u64, writer: u64, version: u64) -> Self {
        Self { words: [key, writer, version, !(key ^ writer ^ version)] }
    }

    /// Returns the writer and the version, after checking that the value is whole and belongs to
    /// `key`.
    fn check(&self, key: u64, seed: u64) -> (usize, u64) {
        let [own_key, writer, version, sum] = self.words;
        assert_eq!(sum, !(own_key ^ writer ^ version), "torn value {self:?}, seed {seed}");
        assert_eq!(own_key, key, "another key's value, seed {seed}");
        (writer as usize, version)
    }
}

/// The state of one writer's writes to one key.
#[derive(Default)]
struct Progress {
    /// The version whose write began last: nothing newer can be read.
    begun: AtomicU64,
    /// Every smaller version was replaced or removed: nothing older can be read.
    floor: AtomicU64,
}

/// Mixed operations on keys that have one writer each. Every read checks that the version lies
/// between the last write that ended before it and the last that has begun.
fn stress_with_own_keys(cache: &Cache<u64, Stamped>, keys: u64, steps: u64, seed: u64) {
    let threads = stress_threads() as u64;
    let progress: Vec<Progress> = (0..keys).map(|_| Progress::default()).collect();
    let start = Barrier::new(threads as usize);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (progress, start) = (&progress, &start);
            scope.spawn(move || {
                let mut rng = Rng::new(seed ^ (thread << 32));
                let mut newest_read = vec![0; keys as usize];
                start.wait();
                for _ in 0..steps {
                    let key = rng.skewed_below(keys);
                    if rng.below(10) < 4 {
                        // A key of this thread: the key modulo the number of threads is its writer.
                        let own = key - key % threads + thread;
                        if own < keys {
                            write_own(cache, &progress[own as usize], own, thread, &mut rng);
                        }
                        continue;
                    }
                    let known = &progress[key as usize];
                    // SeqCst: the test's own counters are in one order, whatever the cache orders.
                    let floor = known.floor.load(Ordering::SeqCst);
                    let Some(value) = read_somehow(cache, key, &mut rng) else {
                        continue;
                    };
                    let begun = known.begun.load(Ordering::SeqCst);
                    let (writer, version) = value.check(key, seed);
                    assert_eq!(writer as u64, key % threads, "seed {seed}");
                    assert!(
                        (floor..=begun).contains(&version),
                        "key {key}: read {version}, not in {floor}..={begun}, seed {seed}"
                    );
                    let newest = &mut newest_read[key as usize];
                    assert!(version >= *newest, "key {key}: back from {newest}, seed {seed}");
                    *newest = version;
                }
            });
        }
    });
}

fn write_own(
    cache: &Cache<u64, Stamped>,
    progress: &Progress,
    key: u64,
    thread: u64,
    rng: &mut Rng,
) {
    // Relaxed: only this thread writes it.
    let version = progress.begun.load(Ordering::Relaxed) + 1;
    let value = Stamped::new(key, thread, version);
    let is_done = match rng.below(8) {
        0..4 => {
            progress.begun.store(version, Ordering::SeqCst);
            assert_ne!(cache.insert(key, value), Inserted::Rejected(Rejection::Present));
            true
        }
        4 => {
            progress.begun.store(version, Ordering::SeqCst);
            cache.insert_if_absent(key, value) == Inserted::Added
        }
        5 => {
            progress.begun.store(version, Ordering::SeqCst);
            cache.replace(key, value) == Inserted::Replaced
        }
        6 => {
            cache.remove(&key);
            // Whatever was written before cannot be read any more.
            progress.floor.store(version, Ordering::SeqCst);
            false
        }
        _ => {
            cache.remove_if(&key, |_, value| value.words[2].is_multiple_of(2));
            false
        }
    };
    if is_done {
        progress.floor.store(version, Ordering::SeqCst);
    }
}

fn read_somehow(cache: &Cache<u64, Stamped>, key: u64, rng: &mut Rng) -> Option<Stamped> {
    match rng.below(4) {
        0 => cache.get(&key),
        1 => cache.read(&key, |value| *value),
        2 => cache.pin().get(&key).copied(),
        _ => cache.peek(&key),
    }
}

/// Asserts what must hold once no thread writes any more.
fn assert_settled<V: Clone + PartialEq + std::fmt::Debug + Send + Sync + 'static>(
    cache: &Cache<u64, V>,
    capacity: usize,
) {
    cache.run_pending();
    assert!(cache.len() <= capacity, "{} entries of {capacity}", cache.len());
    let entries: Vec<(u64, V)> = cache.iter().collect();
    assert_eq!(entries.len(), cache.len());
    let distinct: HashSet<u64> = entries.iter().map(|(key, _)| *key).collect();
    assert_eq!(distinct.len(), entries.len(), "a key is there twice");
    for (key, value) in &entries {
        assert_eq!(cache.peek(key).as_ref(), Some(value));
    }
    let stats = cache.stats();
    assert_eq!(
        stats.inserts - stats.evictions - stats.removals,
        cache.len() as u64,
        "the counts do not add up: {stats:?}"
    );
    cache.validate();
}

#[test]
fn reads_never_go_back_and_see_only_written_values() {
    for seed in seeds(0x60bac4, 1) {
        for_each_config(|config| {
            let cache = config.cache::<u64, Stamped>(64);
            stress_with_own_keys(&cache, 200, 2_500, seed);
            assert_settled(&cache, 64);
        });
    }
}

#[test]
fn reads_never_go_back_on_few_hot_keys() {
    for seed in seeds(0x407, 1) {
        for maintenance in [Maintenance::Inline, Maintenance::Background] {
            for capacity in [1, 2, 1_000] {
                let cache = Cache::<u64, Stamped>::builder()
                    .capacity(capacity)
                    .policy(Policy::lru())
                    .maintenance(maintenance)
                    .build()
                    .unwrap();
                stress_with_own_keys(&cache, 4, 20_000, seed);
                assert_settled(&cache, capacity);
            }
        }
    }
}

#[test]
fn writes_of_each_writer_to_shared_keys_are_seen_in_their_order() {
    for seed in seeds(0x5a4e, 1) {
        for maintenance in [Maintenance::Inline, Maintenance::Background] {
            let cache = Cache::<u64, Stamped>::builder()
                .capacity(24)
                .maintenance(maintenance)
                .partitions(2)
                .build()
                .unwrap();
            let threads = stress_threads() as u64;
            let start = Barrier::new(threads as usize);
            std::thread::scope(|scope| {
                for thread in 0..threads {
                    let (cache, start) = (&cache, &start);
                    scope.spawn(move || {
                        let mut rng = Rng::new(seed + thread);
                        let mut newest: HashMap<(u64, usize), u64> = HashMap::new();
                        start.wait();
                        for version in 1..=15_000_u64 {
                            let key = rng.skewed_below(32);
                            if rng.below(2) == 0 {
                                cache.insert(key, Stamped::new(key, thread, version));
                            } else if let Some(value) = read_somehow(cache, key, &mut rng) {
                                let (writer, read) = value.check(key, seed);
                                let newest = newest.entry((key, writer)).or_default();
                                assert!(
                                    read >= *newest,
                                    "key {key}: writer {writer} went back from {newest} to \
                                     {read}, seed {seed}"
                                );
                                *newest = read;
                            }
                        }
                    });
                }
            });
            assert_settled(&cache, 24);
        }
    }
}

#[test]
fn another_thread_sees_an_insertion_that_has_returned() {
    for_each_config(|config| {
        let cache = config.cache::<u64, u64>(4096);
        let published = AtomicU64::new(0);
        let is_done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let _done = RaiseOnDrop(&is_done);
                for version in 1..=2_000 {
                    cache.insert(version % 7, version);
                    published.store(version, Ordering::Release);
                }
            });
            while !is_done.load(Ordering::Acquire) {
                let seen = published.load(Ordering::Acquire);
                if seen > 0 {
                    let value = cache.get(&(seen % 7)).expect("nothing is evicted or removed");
                    assert!(value >= seen, "read {value} after {seen} was inserted");
                }
            }
        });
    });
}

#[test]
fn a_key_that_is_only_replaced_is_never_absent() {
    for_each_config(|config| {
        let cache = config.cache::<u64, u64>(4096);
        for key in 0..4 {
            cache.insert(key, 0);
        }
        let is_done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let _done = RaiseOnDrop(&is_done);
                for version in 1..=2_000 {
                    for key in 0..4 {
                        let written = if version % 2 == 0 {
                            cache.insert(key, version)
                        } else {
                            cache.replace(key, version)
                        };
                        assert_eq!(written, Inserted::Replaced);
                    }
                }
            });
            while !is_done.load(Ordering::Acquire) {
                for key in 0..4 {
                    assert!(cache.contains_key(&key), "key {key}");
                    assert!(cache.get(&key).is_some(), "key {key}");
                    assert_eq!(cache.insert_if_absent(key, 1).added(), None, "key {key}");
                }
                assert!(cache.len() >= 4);
            }
        });
        assert_eq!(cache.len(), 4);
        assert_settled(&cache, 4096);
    });
}

trait Added {
    /// `Some` only if a new key was added.
    fn added(self) -> Option<()>;
}

impl Added for Inserted {
    fn added(self) -> Option<()> {
        (self == Inserted::Added).then_some(())
    }
}

#[test]
fn one_of_racing_insert_if_absent_calls_adds() {
    for maintenance in [Maintenance::Inline, Maintenance::Background] {
        let cache = Cache::<u64, u64>::builder()
            .capacity(1_000_000)
            .maintenance(maintenance)
            .build()
            .unwrap();
        let winners = AtomicUsize::new(0);
        let winner = AtomicU64::new(0);
        in_rounds(
            2_000,
            |round, thread| {
                if cache.insert_if_absent(round, thread) == Inserted::Added {
                    winners.fetch_add(1, Ordering::SeqCst);
                    winner.store(thread, Ordering::SeqCst);
                }
            },
            |round| {
                assert_eq!(winners.swap(0, Ordering::SeqCst), 1, "round {round}");
                assert_eq!(cache.peek(&round), Some(winner.load(Ordering::SeqCst)));
            },
        );
        assert_eq!(cache.len(), 2_000);
        cache.validate();
    }
}

#[test]
fn one_of_racing_inserts_of_a_new_key_adds_and_the_others_replace() {
    let cache = Cache::<u64, u64>::new(1_000_000);
    let added = AtomicUsize::new(0);
    in_rounds(
        2_000,
        |round, thread| match cache.insert(round, thread) {
            Inserted::Added => {
                added.fetch_add(1, Ordering::SeqCst);
            }
            other => assert_eq!(other, Inserted::Replaced),
        },
        |round| assert_eq!(added.swap(0, Ordering::SeqCst), 1, "round {round}"),
    );
    assert_eq!((cache.len(), cache.iter().count()), (2_000, 2_000));
    assert_settled(&cache, 1_000_000);
}

#[test]
fn one_of_racing_removes_gets_the_value() {
    let cache = Cache::<u64, u64>::new(1_000_000);
    for round in 0..2_000 {
        cache.insert(round, round);
    }
    let removed = AtomicUsize::new(0);
    in_rounds(
        2_000,
        |round, thread| {
            let is_mine = if thread % 2 == 0 {
                cache.remove(&round).is_some()
            } else {
                cache.remove_if(&round, |_, _| true)
            };
            removed.fetch_add(usize::from(is_mine), Ordering::SeqCst);
        },
        |round| assert_eq!(removed.swap(0, Ordering::SeqCst), 1, "round {round}"),
    );
    assert!(cache.is_empty());
    assert_settled(&cache, 1_000_000);
}

#[test]
fn counts_stay_right_for_a_key_that_threads_add_and_remove_in_turn() {
    for maintenance in [Maintenance::Inline, Maintenance::Background] {
        // One thread removes at once what another adds, even before the addition was counted.
        let cache = Cache::<u64, u64>::builder()
            .capacity(100_000)
            .maintenance(maintenance)
            .build()
            .unwrap();
        std::thread::scope(|scope| {
            for thread in 0..stress_threads() as u64 {
                let cache = &cache;
                scope.spawn(move || {
                    for _ in 0..60_000 {
                        cache.insert(0, thread);
                        cache.remove(&0);
                    }
                });
            }
        });
        assert!(cache.is_empty());
        assert_settled(&cache, 100_000);
    }
}

#[test]
fn no_two_threads_take_out_the_same_value() {
    for seed in seeds(0x70ce2, 1) {
        const TOKENS: u64 = 50;
        const KEYS: u64 = 80;
        for maintenance in [Maintenance::Inline, Maintenance::Background] {
            let cache = Cache::<u64, u64>::builder()
                .capacity(10_000)
                .maintenance(maintenance)
                .build()
                .unwrap();
            for token in 0..TOKENS {
                cache.insert(token, token);
            }
            std::thread::scope(|scope| {
                for thread in 0..stress_threads() as u64 {
                    let cache = &cache;
                    scope.spawn(move || {
                        let mut rng = Rng::new(seed + thread);
                        for _ in 0..8_000 {
                            let Some(token) = cache.remove(&rng.below(KEYS)) else {
                                continue;
                            };
                            while cache.insert_if_absent(rng.below(KEYS), token) != Inserted::Added
                            {
                            }
                        }
                    });
                }
            });
            let mut tokens: Vec<u64> = cache.values().collect();
            tokens.sort_unstable();
            assert!(tokens.into_iter().eq(0..TOKENS), "lost or doubled, seed {seed}");
            assert_settled(&cache, 10_000);
        }
    }
}

#[test]
fn adds_and_removes_of_each_key_alternate() {
    for seed in seeds(0xa17, 1) {
        const KEYS: u64 = 16;
        let cache = Cache::<u64, u64>::new(10_000);
        let balance: Vec<AtomicU64> = (0..KEYS).map(|_| AtomicU64::new(0)).collect();
        std::thread::scope(|scope| {
            for thread in 0..stress_threads() as u64 {
                let (cache, balance) = (&cache, &balance);
                scope.spawn(move || {
                    let mut rng = Rng::new(seed + thread);
                    for _ in 0..20_000 {
                        let key = rng.below(KEYS);
                        let count = &balance[key as usize];
                        match rng.below(4) {
                            0 => {
                                if cache.insert(key, thread) == Inserted::Added {
                                    count.fetch_add(1, Ordering::Relaxed);
                                }
                            }
                            1 => {
                                if cache.insert_if_absent(key, thread) == Inserted::Added {
                                    count.fetch_add(1, Ordering::Relaxed);
                                }
                            }
                            2 => {
                                if cache.remove(&key).is_some() {
                                    count.fetch_sub(1, Ordering::Relaxed);
                                }
                            }
                            _ => drop(cache.replace(key, thread)),
                        }
                    }
                });
            }
        });
        for key in 0..KEYS {
            let expected = u64::from(cache.contains_key(&key));
            let count = balance[key as usize].load(Ordering::Relaxed);
            assert_eq!(count, expected, "key {key}, seed {seed}");
        }
        assert_settled(&cache, 10_000);
    }
}

#[test]
fn a_table_that_many_threads_grow_keeps_every_key() {
    for maintenance in [Maintenance::Inline, Maintenance::Background] {
        let cache = Cache::<u64, u64>::builder()
            .capacity(1 << 20)
            .maintenance(maintenance)
            .build()
            .unwrap();
        let threads = stress_threads() as u64;
        let start = Barrier::new(threads as usize);
        std::thread::scope(|scope| {
            for thread in 0..threads {
                let (cache, start) = (&cache, &start);
                scope.spawn(move || {
                    start.wait();
                    for step in 0..10_000 {
                        let key = step * threads + thread;
                        assert_eq!(cache.insert(key, key), Inserted::Added);
                        // The newest key, and one from long before.
                        assert_eq!(cache.get(&key), Some(key));
                        let old = step / 2 * threads + thread;
                        assert_eq!(cache.get(&old), Some(old));
                    }
                });
            }
        });
        assert_eq!(cache.len() as u64, 10_000 * threads);
        assert_settled(&cache, 1 << 20);
    }
}

#[test]
fn no_lookup_misses_while_the_table_doubles() {
    for round in 0..150_u64 {
        const STABLE: u64 = 16;
        let cache = Cache::<u64, u64>::builder()
            .capacity(100_000)
            .maintenance(Maintenance::Inline)
            .build()
            .unwrap();
        for key in 0..STABLE {
            cache.insert(key, key);
        }
        let is_done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let _done = RaiseOnDrop(&is_done);
                // From the smallest table through seven doublings.
                for key in STABLE..1_000 {
                    cache.insert(key, key);
                }
            });
            while !is_done.load(Ordering::Acquire) {
                for key in 0..STABLE {
                    assert_eq!(cache.peek(&key), Some(key), "round {round}");
                }
            }
        });
    }
}

#[test]
fn background_overshoot_is_bounded() {
    for partitions in [1, 4] {
        const CAPACITY: usize = 256;
        let cache = Cache::<u64, u64>::builder()
            .capacity(CAPACITY)
            .partitions(partitions)
            .maintenance(Maintenance::Background)
            .build()
            .unwrap();
        let threads = stress_threads() as u64;
        let most = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for thread in 0..threads {
                let (cache, most) = (&cache, &most);
                scope.spawn(move || {
                    for step in 0..30_000 {
                        cache.insert(step * threads + thread, step);
                        most.fetch_max(cache.len(), Ordering::Relaxed);
                    }
                });
            }
        });
        let most = most.into_inner();
        assert!(most <= CAPACITY + OVERSHOOT * partitions, "{most} entries at one time");
        assert_settled(&cache, CAPACITY);
    }
}

/// More than the events that a partition's buffer has room for, plus the evictions that are not
/// counted yet; far less than what is inserted.
const OVERSHOOT: usize = 128;

#[test]
fn maintenance_calls_from_many_threads_do_not_get_in_each_others_way() {
    for_each_config(|config| {
        let cache = config.cache::<u64, u64>(32);
        std::thread::scope(|scope| {
            for thread in 0..stress_threads() as u64 {
                let cache = &cache;
                scope.spawn(move || {
                    let mut rng = Rng::new(thread);
                    for step in 0..400 {
                        cache.insert(rng.below(64), step);
                        match rng.below(16) {
                            0 => cache.run_pending(),
                            // It may refuse while another thread is in the middle of a call.
                            1 => drop(cache.flush()),
                            2 => cache.clear(),
                            3 => cache.retain(|key, _| key % 3 != 0),
                            4 => drop(cache.stats()),
                            5 => drop(cache.iter().count()),
                            6 => drop(cache.clone()),
                            _ => drop(cache.get(&rng.below(64))),
                        }
                    }
                });
            }
        });
        assert_settled(&cache, 32);
    });
}
