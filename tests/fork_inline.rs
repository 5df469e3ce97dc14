//! A process that has only caches without the maintenance thread forks while its other threads use
//! them. What all caches share stays usable in the child.
//!
//! This program has one test only, because no other test may start the maintenance thread.

#![cfg(unix)]
#![allow(clippy::unwrap_used, unused_must_use)]

#[path = "../src/fork/child.rs"]
mod child;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use larder::{Cache, Maintenance};

use child::{fork_child, wait_for};

/// A child that hangs is killed after this time.
const PATIENCE: Duration = Duration::from_secs(60);

/// So many forks that some happen while another thread uses what all caches share. With epochs, a
/// child that was forked while a thread was pinned never sees it unpin, and its `flush` gives up
/// only after a while.
const FORKS: usize = if cfg!(larder_epochs) { 40 } else { 200 };

fn cache() -> Cache<u64, u64> {
    Cache::builder().capacity(1_000).maintenance(Maintenance::Inline).build().unwrap()
}

/// Fills and empties a cache again and again, so that memory moves between the cache and the pool.
fn churn(cache: &Cache<u64, u64>) {
    for key in 0..1_000 {
        cache.insert(key, key);
    }
    cache.clear();
    cache.flush();
}

#[test]
fn a_child_can_use_caches_that_its_parent_was_not_using() {
    let is_over = AtomicBool::new(false);
    let (busy, quiet) = (cache(), cache());
    quiet.insert(1, 10);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                // Runs in a thread that ends, which gives back all its memory.
                std::thread::scope(|scope| scope.spawn(|| churn(&busy)).join()).unwrap();
            }
        });
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            for round in 0..FORKS {
                let child = fork_child(|| {
                    let is_right = quiet.get(&1) == Some(10);
                    churn(&quiet);
                    is_right && quiet.is_empty()
                });
                let status = wait_for(child, PATIENCE);
                assert_eq!(status, 0, "round {round}: how the child ended (9: it hung)");
            }
        }));
        is_over.store(true, Ordering::Relaxed);
        outcome.unwrap();
    });
}
