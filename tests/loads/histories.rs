//! Recorded histories of loads and changes of a few keys, each checked against what a load promises.
//!
//! Behind the cache is a database, one row for each key. A change writes a newer version to the row and then
//! changes the cache, by one of the verbs that users have for that. A loader reads the row. So a value is
//! its version, and one value is older than another if it is smaller.
//!
//! `LARDER_HISTORIES` says how many histories the test of the cache records.

mod checker;
mod planted_bugs;

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::thread::yield_now;

use larder::{
    Cache, InsertOptions, Listener, LoadError, LoadOptions, Loaded, Maintenance, Removal,
};

use crate::Task;
use crate::support::hashers::Constant;
use crate::support::linear::Restless;
use crate::support::rng::{Rng, seeds};
use crate::support::rounds::in_rounds_of;

use checker::{Call, Change, Ended, History, Licence, Run, Verb, check};

const KEYS: u64 = 2;
/// The tag of every entry.
const TAG: &str = "rows";

/// The rows, and the order of everything that happens.
struct World {
    clock: AtomicU64,
    rows: Vec<AtomicU64>,
    /// Held from the write of a row to the end of the change of the cache, as the lock of the row in a
    /// database is.
    writers: Vec<Mutex<()>>,
    versions: AtomicU64,
    history: Mutex<History>,
}

impl World {
    fn new() -> Self {
        Self {
            clock: AtomicU64::new(0),
            rows: (0..KEYS).map(|_| AtomicU64::new(0)).collect(),
            writers: (0..KEYS).map(|_| Mutex::new(())).collect(),
            versions: AtomicU64::new(0),
            history: Mutex::default(),
        }
    }

    fn now(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    fn add(&self, add: impl FnOnce(&mut History)) {
        add(&mut self.history.lock().unwrap());
    }

    /// Notes a call that returns what `run` returns.
    fn call(&self, thread: u64, key: u64, verb: Verb, run: impl FnOnce(u64) -> Ended) {
        let began = self.now();
        let result = run(began);
        let ended = self.now();
        self.add(|history| history.calls.push(Call { thread, key, verb, began, ended, result }));
    }

    /// Writes a new version to the row, and makes `change` of the cache.
    fn change(&self, thread: u64, key: u64, verb: &'static str, change: impl FnOnce(u64)) {
        let _writer = self.writers[key as usize].lock().unwrap();
        let began = self.now();
        let version = self.versions.fetch_add(1, Ordering::SeqCst) + 1;
        self.rows[key as usize].store(version, Ordering::SeqCst);
        change(version);
        let ended = self.now();
        self.add(|history| {
            history.changes.push(Change { thread, key, verb, version, began, ended });
        });
    }

    /// Begins a run of a loader, within a call that began at `call_began`.
    fn load(&self, thread: u64, key: u64, call_began: u64) -> Loading<'_> {
        let run = Run { thread, key, call_began, began: self.now(), ended: 0, result: None };
        Loading { world: self, run }
    }
}

/// A run of a loader, which is noted when this is dropped: abandoned, unless it has ended before.
struct Loading<'w> {
    world: &'w World,
    run: Run,
}

impl Loading<'_> {
    fn read(&self) -> u64 {
        self.world.rows[self.run.key as usize].load(Ordering::SeqCst)
    }

    fn end(mut self, result: Ended) {
        self.run.result = Some(result);
    }
}

impl Drop for Loading<'_> {
    fn drop(&mut self) {
        self.run.ended = self.world.now();
        let run = self.run;
        self.world.add(|history| history.runs.push(run));
    }
}

/// What a loader does once it has read the row.
#[derive(Clone, Copy)]
enum Mood {
    Returns,
    Fails,
    Panics,
}

impl Mood {
    fn random(rng: &mut Rng) -> Self {
        match rng.below(8) {
            0 => Self::Fails,
            1 => Self::Panics,
            _ => Self::Returns,
        }
    }

    fn end(self, loading: Loading<'_>, value: u64) -> Result<Loaded<u64>, u64> {
        match self {
            Self::Returns => {
                loading.end(Ended::Value(value));
                Ok(Loaded::Store(value))
            }
            Self::Fails => {
                // Its beginning, which no other run has.
                let error = loading.run.began;
                loading.end(Ended::Failed(error));
                Err(error)
            }
            // Without the message that the hook would print.
            Self::Panics => resume_unwind(Box::new("a planned panic")),
        }
    }
}

fn ended(result: Result<Option<u64>, LoadError<u64>>) -> Ended {
    match result {
        Ok(Some(value)) => Ended::Value(value),
        Ok(None) => Ended::Nothing,
        Err(LoadError::Failed(error)) => Ended::Failed(*error),
        Err(error) => panic!("{error}"),
    }
}

fn yield_sometimes(rng: &mut Rng) {
    (0..rng.below(3)).for_each(|_| yield_now());
}

struct Caller<'w, S> {
    world: &'w World,
    cache: &'w Cache<Restless, u64, S>,
    thread: u64,
    rng: Rng,
}

impl<S: BuildHasher + Send + Sync + 'static> Caller<'_, S> {
    fn step(&mut self) {
        let key = self.rng.below(KEYS);
        match self.rng.below(10) {
            0..4 => self.load(key),
            4..6 => self.load_async(key),
            6 => self.world.call(self.thread, key, Verb::Get, |_| {
                self.cache.get(&Restless(key)).map_or(Ended::Nothing, Ended::Value)
            }),
            _ => self.change(key),
        }
    }

    fn load(&mut self, key: u64) {
        let Self { world, cache, thread, rng } = self;
        let mood = Mood::random(rng);
        world.call(*thread, key, Verb::Load, |began| {
            let load = |_: &larder::Load<Restless, u64>| {
                let loading = world.load(*thread, key, began);
                yield_sometimes(rng);
                let value = loading.read();
                yield_sometimes(rng);
                mood.end(loading, value)
            };
            let options = LoadOptions::new().tags(&[TAG]);
            let call = || ended(cache.get_or_load(&Restless(key), options, load));
            catch_unwind(AssertUnwindSafe(call)).unwrap_or(Ended::Abandoned)
        });
    }

    /// The same by a future, which may be dropped before it is done.
    fn load_async(&mut self, key: u64) {
        let Self { world, cache, thread, rng } = self;
        let mood = Mood::random(rng);
        let (before, after) = (rng.below(3), rng.below(3));
        let polls = if rng.below(3) == 0 { rng.below(4) } else { u64::MAX };
        world.call(*thread, key, Verb::Load, |began| {
            let owned = Restless(key);
            let load = |_: larder::Load<Restless, u64>| async move {
                let loading = world.load(*thread, key, began);
                wait(before).await;
                let value = loading.read();
                wait(after).await;
                mood.end(loading, value)
            };
            let options = LoadOptions::new().tags(&[TAG]);
            let mut task = Task::new(cache.get_or_load_async(&owned, options, load));
            let mut polled = 0;
            while polled < polls {
                polled += 1;
                match catch_unwind(AssertUnwindSafe(|| task.poll())) {
                    Ok(Poll::Ready(result)) => return ended(result),
                    Ok(Poll::Pending) => yield_now(),
                    Err(_) => return Ended::Abandoned,
                }
            }
            Ended::Abandoned
        });
    }

    fn change(&mut self, key: u64) {
        let Self { world, cache, thread, rng } = self;
        let options = InsertOptions::new().tags(&[TAG]);
        let owned = Restless(key);
        match rng.below(8) {
            0 | 1 => world.change(*thread, key, "insert", |version| {
                assert!(cache.insert_with(owned, version, options).is_stored());
            }),
            2 => world.change(*thread, key, "replace", |version| {
                cache.replace_with(owned, version, options);
            }),
            3 | 4 => world.change(*thread, key, "remove", |_| {
                cache.remove(&owned);
            }),
            5 => world.change(*thread, key, "invalidate_tag", |_| {
                cache.invalidate_tag(TAG);
            }),
            6 => world.change(*thread, key, "invalidate_if", |_| {
                cache.invalidate_if(move |other, _| other.0 == key);
            }),
            _ => world.change(*thread, key, "clear", |_| cache.clear()),
        }
    }
}

/// A future that is ready once it was polled so many times.
async fn wait(polls: u64) {
    let mut left = polls;
    std::future::poll_fn(move |context| {
        if left == 0 {
            return Poll::Ready(());
        }
        left -= 1;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

fn record<S: BuildHasher + Send + Sync + 'static>(
    what: &str,
    cache: &Cache<Restless, u64, S>,
    rounds: u64,
    seed: u64,
    licence: Licence,
) {
    let world = World::new();
    let threads = 2 + (seed % 3) as usize;
    let mut overlaps = 0;
    in_rounds_of(
        threads,
        rounds,
        |round, thread| {
            let rng = Rng::new(seed ^ round << 16 ^ thread);
            let mut caller = Caller { world: &world, cache, thread, rng };
            (0..4 + caller.rng.below(3)).for_each(|_| caller.step());
        },
        |round| {
            // The last reads begin after all else has ended.
            for key in 0..KEYS {
                world.call(threads as u64, key, Verb::Get, |_| {
                    cache.get(&Restless(key)).map_or(Ended::Nothing, Ended::Value)
                });
            }
            let mut history = std::mem::take(&mut *world.history.lock().unwrap());
            history.is_colliding = what == "colliding";
            overlaps += history.shared_loads();
            if let Err(violation) = check(&history, licence) {
                panic!("{what}, seed {seed}, round {round}: {violation}");
            }
            // The next history knows nothing of the values and loads of this one.
            cache.clear();
        },
    );
    assert!(overlaps > 0 || rounds < 50, "{what}: no call ever waited for the load of another");
    cache.run_pending();
    cache.validate();
    let stats = cache.stats();
    assert!(stats.loads >= stats.load_failures + stats.loads_discarded);
}

/// The number of histories in all.
fn histories() -> u64 {
    match std::env::var("LARDER_HISTORIES") {
        Ok(text) => text.parse().expect("LARDER_HISTORIES holds a number"),
        Err(_) => 4_000,
    }
}

#[test]
fn a_load_returns_what_a_loader_has_loaded_after_all_earlier_changes() {
    let configurations = HashMap::from([
        ("plain", 0),
        ("inline", 1),
        ("colliding", 2),
        ("with a listener", 3),
        ("with an atomic listener", 4),
        ("of one entry", 5),
    ]);
    let rounds = histories().div_ceil(configurations.len() as u64 * 3);
    for seed in seeds(0x10ad, 3) {
        for (what, configuration) in &configurations {
            let builder = Cache::<Restless, u64>::builder().capacity(1_000);
            let inline = Maintenance::Inline;
            let cache = match configuration {
                0 => builder.build(),
                1 => builder.maintenance(inline).build(),
                2 => {
                    let cache = builder.hasher(Constant(3)).build().unwrap();
                    record(what, &cache, rounds, seed, Licence::None);
                    continue;
                }
                3 => builder.listener(Listener::new(|_: &Removal<'_, _, _>| ())).build(),
                4 => builder.atomic_listener(|_: &Removal<'_, _, _>| ()).build(),
                _ => builder.capacity(1).partitions(1).maintenance(inline).build(),
            };
            let licence = if *configuration == 5 { Licence::Vanish } else { Licence::None };
            record(what, &cache.unwrap(), rounds, seed, licence);
        }
    }
}
