//! Whole caches: table, write buffer, a partition's maintenance and its policy together, as users
//! have them, but that nothing is freed before the model ends and that no maintenance thread comes.
//! Whatever two threads do, nothing that they reported is left behind once maintenance has run: the
//! accounts of the partition are those of the table.
//!
//! Dropped, one at a time, and the models that failed: the list is in `docs::orderings`.
#![cfg(larder_loom)]

use std::hash::{BuildHasherDefault, Hasher};

use larder::{Inserted, Maintenance, Policy};
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

type Cache = larder::Cache<u64, u64, BuildHasherDefault<Itself>>;

fn cache(capacity: usize) -> Cache {
    let builder = larder::Cache::builder().capacity(capacity).partitions(1);
    let builder = builder.policy(Policy::lru()).maintenance(Maintenance::Background);
    builder.hasher(BuildHasherDefault::default()).build().expect("a valid configuration")
}

/// What each thread of a model does.
type Deed = fn(&Cache);

/// How often a thread is stopped for another, at most: a run of maintenance is long.
fn preemptions() -> usize {
    let wanted = std::env::var("LARDER_LOOM_CACHE_PREEMPTIONS").ok();
    wanted.map_or(1, |wanted| wanted.parse().expect("a number"))
}

/// Runs `deeds` at once on what `prepare` has left, then maintenance, and looks at the accounts.
fn at_once(capacity: usize, prepare: Deed, deeds: [Deed; 2], check: Deed) {
    let mut limits = Builder::new();
    limits.preemption_bound = Some(preemptions());
    // A run of maintenance looks at everything that there is once a cache.
    limits.max_branches = 100_000;
    loom_tests::check(&limits, move || {
        let cache = Arc::new(cache(capacity));
        prepare(&cache);
        let threads = deeds.map(|deed| {
            let cache = Arc::clone(&cache);
            thread::spawn(move || deed(&cache))
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
fn a_node_changes_hands_once_for_each_replacement() {
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
        |cache| {
            cache.insert(1, 10);
            cache.run_pending();
        },
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
fn two_insertions_into_one_place_evict_one_entry() {
    at_once(
        1,
        |_| (),
        [
            |cache| {
                cache.insert(1, 10);
            },
            |cache| {
                cache.insert(2, 20);
            },
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
        [Cache::run_pending, |cache| {
            cache.insert(2, 20);
        }],
        |cache| assert_eq!(cache.len(), 2),
    );
}

#[test]
fn eviction_and_replacement_of_one_entry_leave_one_node() {
    at_once(
        1,
        |cache| {
            cache.insert(1, 10);
            cache.run_pending();
        },
        [
            |cache| {
                cache.insert(2, 20);
            },
            |cache| {
                cache.insert(1, 11);
            },
        ],
        |cache| assert_eq!(cache.len(), 1),
    );
}

#[test]
fn eviction_and_removal_of_one_entry_take_it_out_once() {
    at_once(
        1,
        |cache| {
            cache.insert(1, 10);
            cache.run_pending();
        },
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
