//! The maintenance thread does what a call leaves to it, even if no further call is made.
//!
//! This is the only test of its program, because another cache's calls would wake the thread. Each
//! wait is for something that happens unless the thread was not notified; then the wait never ends.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use larder::{Builder, Cache, Listener, Removal};

/// Enough rounds that the thread is asleep in some of them.
const ROUNDS: u64 = 30;

fn builder() -> Builder<u64, u64> {
    Cache::builder().capacity(10_000)
}

fn wait_until(is_done: impl Fn() -> bool) {
    while !is_done() {
        thread::yield_now();
    }
}

/// Waits until the thread has nothing to do, and gives it time to fall asleep, which cannot be
/// observed from outside.
fn let_sleep(cache: &Cache<u64, u64>) {
    wait_until(|| {
        let stats = cache.stats();
        stats.retired_bytes == stats.freed_bytes && stats.notifications_waiting == 0
    });
    for _ in 0..2_000 {
        thread::yield_now();
    }
}

fn an_insertion_is_applied() {
    let cache = builder().build().unwrap();
    for key in 0..ROUNDS {
        let_sleep(&cache);
        let runs = cache.stats().maintenance_runs;
        let _ = cache.insert(key, key);
        wait_until(|| cache.stats().maintenance_runs > runs);
    }
}

fn a_removal_is_notified() {
    let notified = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&notified);
    let listener = Listener::new(move |_: &Removal<'_, u64, u64>| {
        count.fetch_add(1, Ordering::Relaxed);
    });
    let cache = builder().listener(listener).build().unwrap();
    let _ = cache.insert(1, 0);
    for value in 1..=ROUNDS {
        let_sleep(&cache);
        let _ = cache.insert(1, value);
        wait_until(|| notified.load(Ordering::Relaxed) == value);
    }
}

/// There are so many replacements that the writer runs maintenance itself and leaves garbage.
fn replaced_values_are_freed() {
    let cache = builder().build().unwrap();
    for round in 0..ROUNDS {
        let_sleep(&cache);
        for key in 0..500 {
            let _ = cache.insert(key, round);
        }
        wait_until(|| {
            let stats = cache.stats();
            stats.replacements == 500 * round && stats.retired_bytes == stats.freed_bytes
        });
    }
}

fn an_expired_entry_is_removed() {
    let cache = builder().build().unwrap();
    for round in 1..=ROUNDS {
        let_sleep(&cache);
        // The writer applies many of the insertions itself, and the thread applies one.
        for key in 0..if round.is_multiple_of(2) { 1 } else { 400 } {
            let _ = cache.insert_with_ttl(key, round, Duration::from_millis(1));
        }
        wait_until(|| cache.is_empty());
    }
}

fn a_deadline_that_is_brought_forward_is_met() {
    let cache = builder().build().unwrap();
    for round in 1..=ROUNDS {
        let _ = cache.insert_with_ttl(1, round, Duration::from_secs(3_600));
        cache.run_pending();
        let_sleep(&cache);
        assert!(cache.expire_after(&1, Some(Duration::from_millis(1))));
        wait_until(|| cache.is_empty());
    }
}

#[test]
fn work_that_calls_leave_to_the_thread_is_done() {
    an_insertion_is_applied();
    a_removal_is_notified();
    replaced_values_are_freed();
    an_expired_entry_is_removed();
    a_deadline_that_is_brought_forward_is_met();
}
