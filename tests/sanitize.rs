//! A short mixed stress for the sanitizers, which check every access that it makes.
//!
//! It is built with `harness = false`, because ThreadSanitizer reports the harness's own channel:
//! it does not see the ordering inside the standard library. For the same reason the threads here
//! synchronize only by `spawn` and `join`. The program prints `ok` and ends with 0 if it finds no
//! fault.
//!
//! With ThreadSanitizer, from the root of the repository:
//!
//! ```text
//! TSAN_OPTIONS=suppressions=tests/thread-sanitizer.txt \
//! RUSTFLAGS="-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer" \
//!     cargo +nightly test --target x86_64-unknown-linux-gnu --test sanitize
//! ```

// Most insertions only prepare a test, which ignores what they return.
#![allow(clippy::unwrap_used, unused_must_use)]

mod support;

use std::time::Duration;

use larder::test::FakeClock;
use larder::{Cache, Compute, Maintenance};

use support::block_on;
use support::configs::{Config, for_each_config};
use support::rng::Rng;

const THREADS: u64 = 3;
/// Small, so that entries are evicted, threads contend and the table grows within a short time.
const CAPACITY: usize = 24;
const STEPS: u64 = 1_000;
const ROUNDS: u64 = 2;

/// On the heap, so that AddressSanitizer notices a read after the value was freed, and with a
/// checksum, so that a torn value is noticed.
type Value = Box<[u64; 3]>;

fn value(key: u64, step: u64) -> Value {
    Box::new([key, step, key ^ step])
}

fn check(key: u64, value: &Value) {
    assert_eq!(value[0], key);
    assert_eq!(value[0] ^ value[1], value[2]);
}

fn mixed(cache: &Cache<u64, Value>, seed: u64) {
    let mut rng = Rng::new(seed);
    for step in 0..STEPS {
        let key = rng.skewed_below(64);
        match rng.below(28) {
            0..6 => drop(cache.insert(key, value(key, step))),
            6 => drop(cache.insert_if_absent(key, value(key, step))),
            7 | 8 => drop(cache.replace(key, value(key, step))),
            9 => {
                if let Some(removed) = cache.remove(&key) {
                    check(key, &removed);
                }
            }
            10 => drop(cache.remove_if(&key, |_, value| value[1] % 2 == 0)),
            11..16 => {
                if let Some(found) = cache.get(&key) {
                    check(key, &found);
                }
            }
            16 => drop(cache.read(&key, |found| check(key, found))),
            17 => {
                if let Some(found) = cache.peek(&key) {
                    check(key, &found);
                }
            }
            18 => {
                let pinned = cache.pin();
                let values: Vec<(u64, &Value)> =
                    (0..64).filter_map(|key| pinned.get(&key).map(|found| (key, found))).collect();
                cache.insert(key, value(key, step));
                cache.remove(&(key + 1));
                for (key, found) in values {
                    check(key, found);
                }
            }
            19 => {
                for (key, found) in cache.iter() {
                    check(key, &found);
                }
            }
            20 => cache.retain(|key, value| (key ^ value[1]) % 4 != 0),
            21 => cache.run_pending(),
            22 => drop(cache.flush()),
            23 => {
                let change = |old: &Value| {
                    check(key, old);
                    value(key, step)
                };
                if let Some(updated) = cache.update(&key, change) {
                    check(key, &updated);
                }
            }
            24 => {
                let computed = cache.entry(key).and_compute_with(|old| match old {
                    Some(old) if old[1] % 3 == 0 => Compute::Remove,
                    _ => Compute::Put(value(key, step)),
                });
                computed.into_value().inspect(|computed| check(key, computed));
            }
            25 => {
                let answer = async |old: Option<Value>| {
                    old.inspect(|old| check(key, old));
                    std::thread::yield_now();
                    Compute::Put(value(key, step))
                };
                block_on(cache.entry(key).and_compute_with_async(answer));
            }
            26 => {
                let fill = cache.begin_fill(&key);
                cache.complete_fill_replacing(fill, value(key, step));
            }
            _ if step % 8 == 0 => cache.clear(),
            _ => drop(cache.stats()),
        }
    }
}

fn stress(config: &Config) {
    let cache = config.cache::<u64, Value>(CAPACITY);
    // The first fill makes what all of them share, in a `OnceLock`. ThreadSanitizer does not see how that
    // orders its threads, because the standard library is not instrumented; it does see that a thread is
    // spawned later.
    drop(cache.begin_fill(&0));
    for round in 0..ROUNDS {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let cache = cache.clone();
                std::thread::spawn(move || mixed(&cache, round << 8 | thread))
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        cache.run_pending();
        assert!(cache.len() <= CAPACITY);
        cache.validate();
    }
    cache.flush().unwrap();
}

/// A table that grows and shrinks under three threads.
fn growth(maintenance: Maintenance) {
    let cache =
        Cache::<u64, Value>::builder().capacity(100_000).maintenance(maintenance).build().unwrap();
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let cache = cache.clone();
            std::thread::spawn(move || {
                for step in 0..2_000 {
                    let key = step * THREADS + thread;
                    cache.insert(key, value(key, step));
                    if let Some(found) = cache.get(&(key / 2)) {
                        check(key / 2, &found);
                    }
                    if step % 3 == 0 {
                        cache.remove(&(key / 3));
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    cache.run_pending();
    cache.validate();
}

/// Entries that expire while threads read, replace and prolong them.
fn expiring(maintenance: Maintenance) {
    let clock = FakeClock::new();
    let cache = Cache::<u64, Value>::builder()
        .capacity(CAPACITY)
        .maintenance(maintenance)
        .partitions(2)
        .time_to_idle(Duration::from_millis(200))
        .timer_tick(Duration::from_millis(1))
        .clock(clock.clone())
        .build()
        .unwrap();
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let (cache, clock) = (cache.clone(), clock.clone());
            std::thread::spawn(move || {
                let mut rng = Rng::new(thread);
                for step in 0..2 * STEPS {
                    let key = rng.skewed_below(32);
                    let ttl = Duration::from_millis(rng.below(100));
                    match rng.below(12) {
                        0..5 => {
                            if let Some(found) = cache.get(&key) {
                                check(key, &found);
                            }
                        }
                        5..8 => drop(cache.insert_with_ttl(key, value(key, step), ttl)),
                        8 => drop(cache.insert_if_absent(key, value(key, step))),
                        9 => drop(cache.expire_after(&key, Some(ttl))),
                        10 => clock.advance(ttl / 8),
                        _ => cache.entries().for_each(|entry| check(entry.key, &entry.value)),
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    cache.validate();
    clock.advance(Duration::from_secs(1));
    cache.run_pending();
    assert!(cache.is_empty());
}

fn main() {
    // What the library makes once for each process is made here, before there is another thread:
    // ThreadSanitizer does not see that the standard library's `OnceLock` orders the making before
    // its use by other threads.
    let first = Cache::<u64, Value>::builder()
        .capacity(1)
        .maintenance(Maintenance::Inline)
        .build()
        .unwrap();
    first.insert(1, value(1, 1));
    first.remove(&1);
    first.flush().unwrap();
    drop(first);
    for_each_config(stress);
    growth(Maintenance::Inline);
    growth(Maintenance::Background);
    expiring(Maintenance::Inline);
    expiring(Maintenance::Background);
    println!("ok");
}
