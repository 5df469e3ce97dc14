//! A process that has only caches without the maintenance thread forks while its other threads use
//! them. What all caches share stays usable in the child.
//!
//! This program has one test only, because no other test may start the maintenance thread.

#![cfg(unix)]
#![allow(clippy::unwrap_used, unused_must_use)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use larder::{Cache, Maintenance};

// `std` links the C library anyway, so four functions need no dependency.
unsafe extern "C" {
    fn fork() -> i32;
    fn waitpid(pid: i32, status: *mut i32, options: i32) -> i32;
    fn kill(pid: i32, signal: i32) -> i32;
    safe fn _exit(status: i32) -> !;
}

/// `WNOHANG` and `SIGKILL`, which are the same on every Unix that Rust supports.
const NO_HANG: i32 = 1;
const KILL: i32 = 9;

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
                // SAFETY: only this thread goes on in the child. It uses the allocator, which the C
                // library makes usable after a fork, and a cache that no other thread used; it ends
                // by `_exit`.
                let child = unsafe { fork() };
                assert!(child >= 0, "cannot fork");
                if child == 0 {
                    let is_right = quiet.get(&1) == Some(10);
                    churn(&quiet);
                    _exit(i32::from(!(is_right && quiet.is_empty())));
                }
                assert_eq!(wait_for(child), 0, "round {round}: how the child ended (9: it hung)");
            }
        }));
        is_over.store(true, Ordering::Relaxed);
        outcome.unwrap();
    });
}

fn wait_for(child: i32) -> i32 {
    let (mut status, patience) = (0, Instant::now() + PATIENCE);
    loop {
        // SAFETY: `status` is writable, and the child is ours and was not waited for before.
        let waited = unsafe { waitpid(child, &mut status, NO_HANG) };
        if waited == child {
            return status;
        }
        assert_eq!(waited, 0, "cannot wait");
        if Instant::now() > patience {
            // SAFETY: the child is ours, and its id is not reused before it is waited for.
            unsafe { kill(child, KILL) };
        }
        std::thread::park_timeout(Duration::from_millis(1));
    }
}
