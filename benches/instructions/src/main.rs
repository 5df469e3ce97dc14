//! Runs one operation many times on a cache with one policy, for `.ci/checks/instructions.py`, which
//! counts the instructions of [`measured`] under callgrind.
//!
//! Every run executes the same instructions: the hasher has fixed seeds, one thread uses the cache, and the
//! maintenance thread is occupied with something else. All work is then done by the calls that are counted,
//! as it is mostly done where a thread changes the cache all the time: the maintenance thread pauses for a
//! millisecond after each visit, in which callers run the maintenance of thousands of changes. Under
//! valgrind the same pause would be much shorter in calls, and differ between runs.

#![forbid(unsafe_code)]

use std::hint::black_box;
use std::process::ExitCode;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use larder::{BuildError, Cache, Policy, RandomState};

const CAPACITY: u64 = 4_096;
/// Entries in a cache that is not to become full: each partition has the same share of the capacity, but
/// not quite the same share of the keys.
const RESIDENT: u64 = CAPACITY / 2;
/// Keys that are inserted, or removed, before the cache is brought back to what it was.
const ROUND: u64 = CAPACITY / 4;

const USAGE: &str = "usage: larder-instructions OPERATION POLICY COUNT
OPERATION is hit, miss, insert, evict, replace or remove; POLICY is default or the name of a built-in policy.
COUNT, the number of operations, is rounded up to a multiple of 1024";

/// A cache whose hashes are the same in every run.
type Fixed = Cache<u64, u64, RandomState>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [operation, policy, count] = arguments.as_slice() else { return usage() };
    let Ok(count) = count.parse::<u64>() else { return usage() };
    let policy = if policy == "default" { Policy::default() } else { Policy::named(policy) };
    let cache = match occupy_maintenance().and_then(|()| build(policy)) {
        Ok(cache) => cache,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let rounds = count.div_ceil(ROUND);
    match operation.as_str() {
        "hit" => hit(&cache, rounds),
        "miss" => miss(&cache, rounds),
        "insert" => insert(&cache, rounds),
        "evict" => evict(&cache, rounds),
        "replace" => replace(&cache, rounds),
        "remove" => remove(&cache, rounds),
        _ => return usage(),
    }
    // Without dropping the cache, whose end waits for the maintenance thread.
    std::process::exit(0)
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}

fn build(policy: Policy) -> Result<Fixed, BuildError> {
    let hasher = RandomState::with_seeds(1, 2, 3, 4);
    Cache::builder().capacity(CAPACITY as usize).policy(policy).hasher(hasher).build()
}

/// Makes the maintenance thread of the process drop a value that never lets it go.
fn occupy_maintenance() -> Result<(), BuildError> {
    struct Occupant(Sender<()>);

    impl Drop for Occupant {
        fn drop(&mut self) {
            // The receiver waits for this.
            let _ = self.0.send(());
            loop {
                thread::park();
            }
        }
    }

    let (sender, occupied) = channel();
    let cache = Cache::new(1);
    cache.insert((), Occupant(sender));
    // This thread makes no further call that could free the entry, so the other thread does.
    cache.remove_if(&(), |(), _| true);
    occupied.recv().expect("the occupant sends before its sender is dropped");
    // Its end would wait for the thread.
    std::mem::forget(cache);
    Ok(())
}

/// The only function whose instructions are counted, with those of what it calls.
#[inline(never)]
fn measured(keys: &[u64], mut operation: impl FnMut(u64)) {
    for key in keys {
        operation(*key);
    }
}

/// The key with that number; neighbours are far apart.
fn key(number: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// The keys of `count` numbers from `first` on.
fn keys(first: u64, count: u64) -> Vec<u64> {
    (first..first + count).map(key).collect()
}

/// Inserts the keys with the first numbers, and brings the cache into the state that it has after much
/// use: every key was read, and every event was applied.
fn fill(cache: &Fixed) -> Vec<u64> {
    let present = keys(0, RESIDENT);
    for _ in 0..2 {
        for key in &present {
            cache.insert(*key, *key);
        }
    }
    for _ in 0..8 {
        for key in &present {
            assert_eq!(cache.get(key), Some(*key), "evicted from a cache that is not full");
        }
    }
    cache.run_pending();
    present
}

fn hit(cache: &Fixed, rounds: u64) {
    let present = fill(cache);
    for round in present.chunks(ROUND as usize).cycle().take(rounds as usize) {
        measured(round, |key| {
            black_box(cache.get(&key));
        });
    }
}

fn miss(cache: &Fixed, rounds: u64) {
    fill(cache);
    for round in 1..=rounds {
        measured(&keys(RESIDENT * round, ROUND), |key| {
            black_box(cache.get(&key));
        });
    }
}

fn insert(cache: &Fixed, rounds: u64) {
    fill(cache);
    for round in 0..rounds {
        let new = keys(RESIDENT + ROUND * round, ROUND);
        measured(&new, |key| {
            black_box(cache.insert(key, key));
        });
        remove_all(cache, &new);
    }
}

fn remove(cache: &Fixed, rounds: u64) {
    fill(cache);
    for round in 0..rounds {
        let new = keys(RESIDENT + ROUND * round, ROUND);
        insert_all(cache, &new);
        measured(&new, |key| {
            black_box(cache.remove(&key));
        });
    }
}

fn replace(cache: &Fixed, rounds: u64) {
    let present = fill(cache);
    for round in present.chunks(ROUND as usize).cycle().take(rounds as usize) {
        measured(round, |key| {
            black_box(cache.insert(key, key + 1));
        });
    }
}

fn evict(cache: &Fixed, rounds: u64) {
    // Every partition is full, and has evicted as many as it holds.
    let filling = CAPACITY * 3;
    insert_all(cache, &keys(0, filling));
    for round in 0..rounds {
        measured(&keys(filling + ROUND * round, ROUND), |key| {
            black_box(cache.insert(key, key));
        });
    }
}

fn insert_all(cache: &Fixed, keys: &[u64]) {
    for key in keys {
        cache.insert(*key, *key);
    }
    cache.run_pending();
}

fn remove_all(cache: &Fixed, keys: &[u64]) {
    for key in keys {
        cache.remove(key);
    }
    cache.run_pending();
}
