//! The removal of many entries at once by a predicate, while other threads write.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use larder::Cache;

use crate::support::RaiseOnDrop;
use crate::support::configs::for_each_config;

#[test]
fn invalidate_if_removes_and_counts_the_matching_entries() {
    for_each_config(|config| {
        let cache: Cache<u64, u64> = config.cache(1000);
        for key in 0..100 {
            cache.insert(key, key);
        }
        cache.run_pending();
        let before = cache.len() as u64;
        let even = cache.iter().filter(|(key, _)| key % 2 == 0).count() as u64;
        assert_eq!(cache.invalidate_if(|key, _| key % 2 == 0), even);
        cache.run_pending();
        assert_eq!(cache.len() as u64, before - even);
        assert!(cache.keys().all(|key| key % 2 == 1));
        assert_eq!(cache.stats().removals, even);
        cache.validate();
    });
}

#[test]
fn a_predicate_that_panics_leaves_the_cache_valid_and_removes_nothing_more() {
    for_each_config(|config| {
        let cache: Cache<u64, u64> = config.cache(1000);
        for key in 0..100 {
            cache.insert(key, key);
        }
        cache.run_pending();
        let before = cache.len();
        let mut judged = 0;
        let caught = catch_unwind(AssertUnwindSafe(|| {
            cache.invalidate_if(|_, _| {
                judged += 1;
                if judged == 11 {
                    std::panic::panic_any(crate::support::counted::REQUESTED);
                }
                true
            })
        }));
        assert!(caught.is_err());
        cache.run_pending();
        assert_eq!(cache.len(), before - 10);
        cache.validate();
    });
}

#[test]
fn a_predicate_may_use_the_cache() {
    let cache: Cache<u64, u64> = (0..50).map(|key| (key, key)).collect();
    let removed = cache.invalidate_if(|key, value| {
        assert_eq!(cache.peek(key), Some(*value));
        cache.remove(&(key + 1));
        true
    });
    cache.run_pending();
    assert!(cache.is_empty());
    assert_eq!(cache.stats().removals, 50);
    assert!(removed <= 50);
    cache.validate();
}

/// A writer inserts ever newer versions of its keys. The number of the round says whether a clear
/// is under way, or has begun and ended in between.
#[test]
fn clear_resurrects_nothing_and_spares_later_insertions() {
    const KEYS: u64 = 64;
    const CLEARS: u64 = 60;
    for_each_config(|config| {
        let cache: Cache<u64, u64> = config.cache(100_000);
        let rounds = AtomicU64::new(0);
        let is_over = AtomicBool::new(false);
        let misses: Mutex<Vec<String>> = Mutex::default();
        let clears = if config.policy.name == "fifo" { CLEARS } else { 10 };
        thread::scope(|scope| {
            let (cache, rounds, is_over, misses) = (&cache, &rounds, &is_over, &misses);
            scope.spawn(move || {
                let _over = RaiseOnDrop(is_over);
                for _ in 0..clears {
                    // Odd while a clear is under way.
                    rounds.fetch_add(1, Ordering::SeqCst);
                    cache.clear();
                    rounds.fetch_add(1, Ordering::SeqCst);
                    thread::yield_now();
                }
            });
            scope.spawn(move || {
                let mut version = 0;
                // For each key, the round in which its last version had been inserted.
                let mut rounds_after = [0_u64; KEYS as usize];
                while !is_over.load(Ordering::Acquire) {
                    let key = version % KEYS;
                    // An entry from before a whole clear must not be present after it.
                    let cleared = rounds_after[key as usize].next_multiple_of(2) + 2;
                    let now = rounds.load(Ordering::SeqCst);
                    if now >= cleared && cache.peek(&key).is_some() {
                        misses.lock().unwrap().push(format!("{key} is still there after a clear"));
                    }
                    let before = rounds.load(Ordering::SeqCst);
                    cache.insert(key, version);
                    let seen = cache.peek(&key);
                    let after = rounds.load(Ordering::SeqCst);
                    // No clear was under way from the insertion to the lookup.
                    if before == after && before.is_multiple_of(2) && seen != Some(version) {
                        misses.lock().unwrap().push(format!("{key}: {seen:?} for {version}"));
                    }
                    rounds_after[key as usize] = after;
                    version += 1;
                }
            });
        });
        assert!(misses.into_inner().unwrap().is_empty());
        cache.clear();
        cache.run_pending();
        assert!(cache.is_empty());
        cache.validate();
    });
}
