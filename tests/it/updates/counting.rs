//! Many threads count in a few keys: by `update`, by computations, by `fetch_add` and by futures.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use larder::{
    Cache, Compute, Computed, CounterError, Listener, Maintenance, Policy, Rejection, Removal,
    RemovalCause, UpdateOptions,
};

use crate::support::configs::for_each_config;
use crate::support::{block_on, stress_threads};

const THREADS: u64 = 8;

/// How often each thread counts where `full` would be the number in a program that is not checked.
fn increments(full: u64) -> u64 {
    match std::env::var("LARDER_INCREMENTS") {
        Ok(text) => text.parse().expect("LARDER_INCREMENTS holds a number"),
        Err(_) if cfg!(debug_assertions) => full.div_ceil(10),
        Err(_) => full,
    }
}

type Counting = fn(&Cache<u32, u64>, u32) -> u64;

/// Adds 1 to a key that is present or absent, and returns the new number.
const WAYS: [(&str, Counting); 5] = [
    ("fetch_add", |cache, key| cache.fetch_add(&key, 1) + 1),
    ("and_modify", |cache, key| cache.entry(key).and_modify(|n| n + 1).or_insert(1)),
    ("and_upsert_with", |cache, key| cache.entry(key).and_upsert_with(|n| n.unwrap_or(&0) + 1)),
    ("and_compute_with", |cache, key| {
        let add = |n: Option<&u64>| Compute::Put(n.unwrap_or(&0) + 1);
        cache.entry(key).and_compute_with(add).into_value().unwrap()
    }),
    ("and_compute_with_async", |cache, key| {
        let add = |n: Option<u64>| async move { Compute::Put(n.unwrap_or(0) + 1) };
        block_on(cache.entry(key).and_compute_with_async(add)).into_value().unwrap()
    }),
];

/// Counts `each` times in each thread, in the way of its number.
fn count(cache: &Cache<u32, u64>, each: u64, keys: u32, way: impl Fn(u64) -> Counting + Sync) {
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let way = way(thread);
            scope.spawn(move || {
                for step in 0..each {
                    way(cache, (step % u64::from(keys)) as u32);
                }
            });
        }
    });
}

#[test]
fn no_increment_is_lost() {
    let each = 20_000;
    for maintenance in [Maintenance::Inline, Maintenance::Background] {
        let cache =
            Cache::<u32, u64>::builder().capacity(100).maintenance(maintenance).build().unwrap();
        cache.insert(0, 0);
        let update: Counting = |cache, key| cache.update(&key, |n| n + 1).unwrap();
        count(&cache, each, 1, |_| update);
        assert_eq!(cache.get(&0), Some(THREADS * each), "by `update`, {maintenance:?}");
        let before = cache.stats();
        let add: Counting = WAYS[3].1;
        count(&cache, each, 1, |_| add);
        assert_eq!(cache.get(&0), Some(2 * THREADS * each), "by computations, {maintenance:?}");
        let since = cache.stats() - before;
        assert_eq!((since.inserts, since.replacements), (0, THREADS * each));
        cache.run_pending();
        cache.validate();
    }
}

#[test]
fn no_increment_is_lost_in_any_configuration_whichever_way_it_is_made() {
    let each = increments(1_000);
    for_each_config(|config| {
        let cache = config.cache(400);
        count(&cache, each, 2, |thread| WAYS[thread as usize % WAYS.len()].1);
        assert_eq!(cache.get(&0), Some(THREADS * each / 2), "key 0");
        assert_eq!(cache.get(&1), Some(THREADS * each / 2), "key 1");
        cache.run_pending();
        cache.validate();
        assert_eq!(cache.len(), 2);
    });
}

/// The last values of counters that left for another reason than that they were replaced.
fn lost_counts(cause: RemovalCause, value: u64, sum: &AtomicU64) {
    if cause != RemovalCause::Replaced {
        sum.fetch_add(value, Ordering::Relaxed);
    }
}

/// Counts in more keys than there is room for, with a listener that adds up what left.
fn count_under_eviction(cache: &Cache<u32, u64>, left: &AtomicU64, each: u64, what: &str) {
    count(cache, each, 12, |thread| WAYS[thread as usize % WAYS.len()].1);
    cache.run_pending();
    while cache.flush().is_err() {
        std::thread::yield_now();
    }
    let present: u64 = cache.values().sum();
    let left = left.load(Ordering::Relaxed);
    assert!(cache.stats().evictions > 0, "{what}: nothing was evicted");
    assert_eq!(present + left, THREADS * each, "{what}: {present} present, {left} left");
    cache.validate();
}

#[test]
fn what_evicted_counters_had_counted_is_what_the_listener_was_given() {
    let each = increments(5_000);
    for maintenance in [Maintenance::Inline, Maintenance::Background] {
        for policy in [Policy::lru, Policy::sieve, Policy::window_tiny_lfu] {
            let builder = Cache::<u32, u64>::builder()
                .capacity(5)
                .partitions(1)
                .policy(policy())
                .maintenance(maintenance);
            let left = Arc::new(AtomicU64::new(0));
            let sum = Arc::clone(&left);
            let listener = Listener::new(move |removal: &Removal<'_, u32, u64>| {
                lost_counts(removal.cause, *removal.value, &sum);
            });
            let cache = builder.clone().listener(listener).build().unwrap();
            count_under_eviction(&cache, &left, each, "queued");

            let left = Arc::new(AtomicU64::new(0));
            let sum = Arc::clone(&left);
            let listener = move |removal: &Removal<'_, u32, u64>| {
                lost_counts(removal.cause, *removal.value, &sum);
            };
            let cache = builder.atomic_listener(listener).build().unwrap();
            count_under_eviction(&cache, &left, each, "atomic");
        }
    }
}

#[test]
fn removed_and_invalidated_counters_begin_anew_and_nothing_is_counted_twice() {
    let each = increments(5_000);
    let left = Arc::new(AtomicU64::new(0));
    let sum = Arc::clone(&left);
    let cache = Cache::<u32, u64>::builder()
        .capacity(1_000)
        .time_to_live(Duration::from_secs(3600))
        .listener(Listener::new(move |removal: &Removal<'_, u32, u64>| {
            lost_counts(removal.cause, *removal.value, &sum);
        }))
        .build()
        .unwrap();
    std::thread::scope(|scope| {
        for (_, way) in WAYS.iter().take(4) {
            let cache = &cache;
            scope.spawn(move || (0..each).for_each(|_| _ = way(cache, 1)));
        }
        scope.spawn(|| (0..each).for_each(|_| _ = cache.remove(&1)));
        scope.spawn(|| (0..each).for_each(|_| _ = cache.invalidate_if(|_, n| n % 7 == 0)));
    });
    while cache.flush().is_err() {
        std::thread::yield_now();
    }
    let present: u64 = cache.values().sum();
    assert_eq!(present + left.load(Ordering::Relaxed), 4 * each);
}

#[test]
fn invalidating_the_tag_of_a_counter_is_not_undone_by_an_increment() {
    let rounds = increments(20_000);
    let cache = Cache::<u32, u64>::new(100);
    let options = UpdateOptions::new();
    let is_tagged = options.tags(&["t"]);
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let cache = &cache;
            scope.spawn(move || {
                for round in 0..rounds {
                    let options = if round % 3 == thread { is_tagged } else { options };
                    cache.fetch_add_with(&1, 1, options).unwrap();
                }
            });
        }
        // After each call, this thread alone knows that the number begins anew.
        let mut most = 0;
        for _ in 0..rounds / 10 {
            let was_tagged = cache.invalidate_tag("t");
            most = most.max(u64::from(was_tagged));
        }
        assert!(most <= 1);
    });
    cache.entry_with(1, is_tagged).or_insert(1);
    cache.entry_with(1, is_tagged).and_modify(|n| n + 1).or_insert(1);
    assert!(cache.invalidate_tag("t"));
    assert_eq!(cache.get(&1), None);
    assert_eq!(cache.fetch_add(&1, 1), 0, "an invalidated counter went on");
    cache.validate();
}

#[test]
fn counters_wrap_around_or_refuse_to() {
    let cache = Cache::<String, u8>::new(100);
    assert_eq!(cache.fetch_add("n", 250), 0);
    assert_eq!(cache.fetch_add("n", 10), 250);
    assert_eq!(cache.get("n"), Some(4));
    assert_eq!(cache.fetch_sub("n", 5), 4);
    assert_eq!(cache.get("n"), Some(255));
    assert_eq!(cache.checked_fetch_add("n", 1), Err(CounterError::Overflow));
    assert_eq!(cache.checked_fetch_add("n", 0), Ok(255));
    assert_eq!((cache.fetch_max("n", 7), cache.fetch_min("n", 7)), (Some(255), Some(255)));
    assert_eq!((cache.fetch_max("m", 7), cache.fetch_min("m", 9)), (None, Some(7)));
    assert_eq!((cache.get("n"), cache.get("m")), (Some(7), Some(7)));
    let off = Cache::<String, i64>::new(0);
    assert_eq!(off.fetch_add("n", 5), 0);
    assert_eq!(off.fetch_max("n", 5), None);
    let refused = CounterError::Rejected(Rejection::StoresNothing);
    assert_eq!(off.checked_fetch_add("n", 5), Err(refused));
    assert_eq!(off.fetch_add_with("n", 5, UpdateOptions::new()), Err(Rejection::StoresNothing));
    assert_eq!(off.stats().rejections, 4);
}

#[test]
fn adding_and_subtracting_threads_meet_at_zero() {
    let each = increments(20_000);
    let cache = Cache::<u32, i64>::new(100);
    std::thread::scope(|scope| {
        for thread in 0..stress_threads() as u64 {
            let cache = &cache;
            scope.spawn(move || {
                for _ in 0..each {
                    cache.fetch_add(&1, 3 + thread as i64);
                    cache.fetch_sub(&1, 3 + thread as i64);
                }
            });
        }
    });
    assert_eq!(cache.get(&1), Some(0));
    assert_eq!(
        cache.entry(1).and_compute_with(|_| Compute::Remove),
        Computed::Removed(0),
        "the key"
    );
}
