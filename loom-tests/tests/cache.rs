//! Whole caches as users have them: the table, the write buffer, a partition's maintenance and its
//! policy together. But nothing is freed before the model ends, and there is no maintenance thread.
//! Whatever two threads do, once maintenance has run, the counts of the partition are those of the
//! table, and no event is left over.
//!
//! ORDERINGS.md lists the changes that make a model fail.
#![cfg(larder_loom)]

use std::hash::{BuildHasherDefault, Hasher};

use larder::{Inserted, Maintenance, Policy};
use loom::cell::UnsafeCell;
use loom::model::Builder;
use loom::sync::Arc;
use loom::thread;

/// Keys are their own hashes.
#[derive(Default)]
struct Itself(u64);

impl Hasher for Itself {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("keys are numbers");
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

type Of<V> = larder::Cache<u64, V, BuildHasherDefault<Itself>>;
type Cache = Of<u64>;

fn cache<V: Send + Sync + 'static>(capacity: usize) -> Of<V> {
    let builder = larder::Cache::builder().capacity(capacity).partitions(1);
    let builder = builder.policy(Policy::lru()).maintenance(Maintenance::Background);
    builder.hasher(BuildHasherDefault::default()).build().expect("a valid configuration")
}

/// A value whose drop counts as a write under loom, so that a concurrent read is a race.
struct Watched(UnsafeCell<u64>);

// SAFETY: loom reports any access that is not ordered; that is the point.
unsafe impl Send for Watched {}
// SAFETY: as above.
unsafe impl Sync for Watched {}

impl Watched {
    fn read(&self) -> u64 {
        // SAFETY: the pointer is valid; loom checks that no thread writes.
        self.0.with(|pointer| unsafe { *pointer })
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // SAFETY: the pointer is valid; loom checks that no other thread accesses it.
        self.0.with_mut(|pointer| unsafe { *pointer = u64::MAX });
    }
}

/// What each thread of a model does.
type Action = fn(&Cache);

fn one_linked(cache: &Cache) {
    cache.insert(1, 10);
    cache.run_pending();
}

fn insert_two(cache: &Cache) {
    cache.insert(2, 20);
}

/// A run of maintenance takes many steps, so a thread is preempted only once, unless the
/// environment allows more; and it visits everything in a cache, so an execution has many branches.
fn limits() -> Builder {
    let wanted = std::env::var("LARDER_LOOM_CACHE_PREEMPTIONS").ok();
    let mut limits = Builder::new();
    limits.preemption_bound = Some(wanted.map_or(1, |it| it.parse().expect("a number")));
    limits.max_branches = 100_000;
    limits
}

/// Runs both `actions` at once on what `prepare` has stored, then maintenance, and checks the
/// counts.
fn at_once(capacity: usize, prepare: Action, actions: [Action; 2], check: Action) {
    loom_tests::check(&limits(), move || {
        let cache = Arc::new(cache(capacity));
        prepare(&cache);
        let threads = actions.map(|action| {
            let cache = Arc::clone(&cache);
            thread::spawn(move || action(&cache))
        });
        for thread in threads {
            thread.join().expect("the model's thread panicked");
        }
        cache.run_pending();
        cache.validate();
        assert!(cache.len() <= capacity);
        let stats = cache.stats();
        let gone = stats.removals + stats.evictions;
        assert_eq!(stats.inserts - gone, cache.len() as u64, "each entry is counted once");
        check(&cache);
    });
}

#[test]
fn events_of_an_insertion_and_a_removal_are_applied_in_either_order() {
    at_once(
        2,
        |_| (),
        [
            |cache| {
                assert_eq!(cache.insert(1, 10), Inserted::Added);
            },
            |cache| {
                cache.remove(&1);
            },
        ],
        |_| (),
    );
}

#[test]
fn each_replacement_passes_the_node_on_once() {
    at_once(
        2,
        |cache| {
            cache.insert(1, 10);
        },
        [
            |cache| {
                assert_eq!(cache.insert(1, 11), Inserted::Replaced);
            },
            |cache| {
                assert_eq!(cache.insert(1, 12), Inserted::Replaced);
            },
        ],
        |cache| assert!(matches!(cache.get(&1), Some(11 | 12))),
    );
}

#[test]
fn a_replacement_that_is_removed_at_once_leaves_no_node() {
    at_once(
        2,
        one_linked,
        [
            |cache| {
                cache.insert(1, 11);
            },
            |cache| {
                assert!(cache.remove(&1).is_some());
            },
        ],
        |_| (),
    );
}

#[test]
fn two_insertions_for_one_free_place_evict_one_entry() {
    at_once(
        1,
        // The table has its first segment, so that the threads do not make one too.
        |cache| {
            one_linked(cache);
            cache.remove(&1);
            cache.run_pending();
        },
        [
            |cache| {
                cache.insert(1, 10);
            },
            insert_two,
        ],
        |cache| assert_eq!(cache.stats().evictions, 1),
    );
}

#[test]
fn an_event_that_comes_while_another_thread_runs_maintenance_is_applied() {
    at_once(
        2,
        |cache| {
            cache.insert(1, 10);
        },
        [Cache::run_pending, insert_two],
        |cache| assert_eq!(cache.len(), 2),
    );
}

#[test]
fn eviction_and_replacement_of_one_entry_leave_one_node() {
    at_once(
        1,
        one_linked,
        [insert_two, |cache| {
            cache.insert(1, 11);
        }],
        |cache| assert_eq!(cache.len(), 1),
    );
}

#[test]
fn eviction_and_removal_of_one_entry_remove_it_once() {
    at_once(
        1,
        one_linked,
        [
            |cache| {
                cache.insert(2, 20);
                cache.run_pending();
            },
            |cache| {
                cache.remove(&1);
            },
        ],
        |cache| assert_eq!(cache.get(&2), Some(20)),
    );
}

/// It also fails, with a reported race, if a relaxed subtraction counts the handles down.
#[test]
fn the_last_handle_frees_only_values_that_are_no_longer_read() {
    loom_tests::check(&limits(), || {
        let cache = cache(2);
        cache.insert(1, Watched(UnsafeCell::new(10)));
        let readers = [0, 1].map(|_| {
            let cache = cache.clone();
            thread::spawn(move || cache.read(&1, Watched::read))
        });
        drop(cache);
        for reader in readers {
            let read = reader.join().expect("the model's thread panicked");
            assert_eq!(read, Some(10));
        }
    });
}

/// The row of a database that loaders read.
#[derive(Default)]
struct Row {
    value: loom::sync::Mutex<u64>,
    reads: std::sync::atomic::AtomicUsize,
}

impl Row {
    fn read(&self) -> u64 {
        self.reads.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        *self.value.lock().expect("a panic ends the model")
    }

    fn write(&self, value: u64) {
        *self.value.lock().expect("a panic ends the model") = value;
    }
}

#[test]
fn of_two_callers_that_miss_a_key_one_loads_and_both_get_the_value() {
    loom_tests::check(&limits(), || {
        let shared = Arc::new((cache(4), Row::default()));
        shared.1.write(7);
        let callers = [(); 2].map(|()| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.0.get_or_insert_with(&1, || shared.1.read()))
        });
        for caller in callers {
            assert_eq!(caller.join().expect("the model's thread panicked"), 7);
        }
        let (cache, row) = &*shared;
        assert_eq!(row.reads.load(std::sync::atomic::Ordering::Relaxed), 1, "both have loaded");
        assert_eq!((cache.get(&1), cache.stats().loads), (Some(7), 1));
        cache.run_pending();
        cache.validate();
    });
}

#[test]
fn a_load_that_races_a_removal_leaves_no_older_value() {
    loom_tests::check(&limits(), || {
        let shared = Arc::new((cache(4), Row::default()));
        shared.1.write(1);
        let caller = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.0.get_or_insert_with(&1, || shared.1.read()))
        };
        let remover = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let (cache, row) = &*shared;
                row.write(2);
                cache.remove(&1);
                assert_eq!(cache.get_or_insert_with(&1, || row.read()), 2, "a stale value");
            })
        };
        assert!(matches!(caller.join().expect("the model's thread panicked"), 1 | 2));
        remover.join().expect("the model's thread panicked");
        assert_eq!(shared.0.get(&1), Some(2), "a stale value stays, or none was stored");
        shared.0.run_pending();
        shared.0.validate();
    });
}
