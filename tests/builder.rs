//! What the builder refuses, and in which words.

#![allow(clippy::unwrap_used)]

mod support;

#[path = "builder/config.rs"]
mod config;

use std::error::Error;

use larder::{BuildError, Builder, Cache, Maintenance, Policy, Rejection};

fn builder() -> Builder<u64, u64> {
    Cache::<u64, u64>::builder()
}

/// Every message is lower case, without a full stop, and names what was given.
#[track_caller]
fn assert_refused(builder: Builder<u64, u64>, expected: &BuildError, parts: &[&str]) {
    let error = builder.build().map(drop).unwrap_err();
    assert_eq!(error, *expected);
    let message = error.to_string();
    for part in parts {
        assert!(message.contains(part), "no `{part}` in `{message}`");
    }
    assert!(!message.ends_with('.'), "{message}");
    assert!(!message.starts_with(char::is_uppercase), "{message}");
    assert!(error.source().is_none(), "nothing lies below it");
}

#[test]
fn a_cache_without_bounds_is_refused() {
    let parts = ["capacity", "max_weight"];
    assert_refused(builder(), &BuildError::Unbounded, &parts);
    assert_refused(builder().weigher(|_, _| 1), &BuildError::Unbounded, &parts);
    assert_refused(builder().maintenance(Maintenance::Inline), &BuildError::Unbounded, &parts);
}

#[test]
fn bounds_of_zero_are_refused() {
    let parts = ["0", "at least 1"];
    assert_refused(builder().capacity(0), &BuildError::ZeroCapacity, &parts);
    assert_refused(builder().capacity(0).max_weight(10), &BuildError::ZeroCapacity, &parts);
    assert_refused(builder().max_weight(0), &BuildError::ZeroWeight, &parts);
    assert_refused(builder().max_weight(0).capacity(10), &BuildError::ZeroWeight, &parts);
}

#[test]
fn more_room_in_advance_than_the_bound_allows_is_refused() {
    let refused = |builder: Builder<u64, u64>, given: usize, limit: u64| {
        let expected = BuildError::BadInitialCapacity { given, limit };
        let parts = [given.to_string(), limit.to_string()];
        assert_refused(builder.initial_capacity(given), &expected, &[&parts[0], &parts[1]]);
    };
    refused(builder().capacity(100), 101, 100);
    refused(builder().max_weight(50), 51, 50);
    refused(builder().capacity(100).max_weight(50), 100, 50);
    refused(builder().capacity(usize::MAX), usize::MAX, 1 << 28);
    assert!(builder().capacity(100).initial_capacity(100).build().is_ok());
}

#[test]
fn a_cache_says_its_name() {
    let cache = builder().capacity(10).name("pages").build().unwrap();
    assert_eq!(cache.name(), Some("pages"));
    assert_eq!(cache.clone().name(), Some("pages"));
    assert!(format!("{cache:?}").starts_with("Cache { name: \"pages\", len: 0"));
    let unnamed = builder().capacity(10).build().unwrap();
    assert_eq!(unnamed.name(), None);
    assert!(format!("{unnamed:?}").starts_with("Cache { len: 0"));
}

#[test]
fn partitions_that_are_no_power_of_two_are_refused() {
    for given in [0, 3, 5, 6, 7, 12, 4095, 4097, 8192, usize::MAX, 1 << 63] {
        assert_refused(
            builder().capacity(1_000_000).partitions(given),
            &BuildError::BadPartitions { given },
            &[&given.to_string(), "power of two", "1", "4096"],
        );
    }
    for given in [1, 2, 4, 64, 4096] {
        let cache = builder().capacity(1_000_000).partitions(given).build().unwrap();
        assert_eq!(cache.partitions(), given);
    }
}

#[test]
fn more_partitions_than_units_of_a_bound_are_refused() {
    assert_refused(
        builder().capacity(7).partitions(8),
        &BuildError::TooManyPartitions { given: 8, bound: 7 },
        &["8", "7"],
    );
    assert_refused(
        builder().max_weight(3).capacity(100).partitions(4),
        &BuildError::TooManyPartitions { given: 4, bound: 3 },
        &["4", "3"],
    );
    assert_eq!(builder().capacity(8).partitions(8).build().unwrap().partitions(), 8);
}

#[test]
fn a_policy_that_nobody_knows_is_refused_with_those_that_are_known() {
    for given in ["", "lruu", "Least Recently Used", "lru ", "ленивый", "\0"] {
        let error =
            builder().capacity(10).policy(Policy::named(given)).build().map(drop).unwrap_err();
        let BuildError::UnknownPolicy { given: named, known } = &error else {
            panic!("{given:?}: {error:?}")
        };
        assert_eq!(named, given);
        let message = error.to_string();
        for policy in support::configs::POLICIES {
            let is_listed =
                known.iter().any(|name| name.replace('-', "_").eq_ignore_ascii_case(policy.name));
            assert!(is_listed, "{} is not among {known:?}", policy.name);
        }
        assert!(known.iter().all(|name| message.contains(name)), "{message}");
    }
}

#[test]
fn the_last_setting_counts() {
    let cache = builder()
        .capacity(0)
        .capacity(12)
        .policy(Policy::named("no such"))
        .policy(Policy::fifo())
        .partitions(3)
        .partitions(2)
        .build()
        .unwrap();
    assert_eq!((cache.capacity(), cache.partitions()), (Some(12), 2));
    assert_eq!(cache.policy_name().to_lowercase(), "fifo");
}

#[test]
fn defaults_fit_small_caches() {
    for capacity in [1, 2, 3, 10] {
        let cache = builder().capacity(capacity).build().unwrap();
        assert_eq!(cache.partitions(), 1, "capacity {capacity}");
        assert_eq!((cache.capacity(), cache.max_weight()), (Some(capacity), None));
    }
    // Many units in all, few entries: a partition must still hold more than nothing.
    let cache = builder().max_weight(2).capacity(1_000_000).build().unwrap();
    assert!(cache.partitions() <= 2);
}

#[test]
fn a_weight_without_a_weigher_counts_entries() {
    let cache =
        builder().max_weight(10).maintenance(Maintenance::Inline).partitions(1).build().unwrap();
    for key in 0..50 {
        let _ = cache.insert(key, key);
    }
    assert_eq!((cache.len(), cache.weight()), (10, 10));
    assert_eq!((cache.capacity(), cache.max_weight()), (None, Some(10)));
}

#[test]
#[should_panic(expected = "at least 1")]
fn new_with_capacity_zero_panics_and_says_why() {
    drop(Cache::<u64, u64>::new(0));
}

#[test]
fn rejections_say_what_was_given_and_allowed() {
    let message = Rejection::TooHeavy { weight: 12, limit: 7 }.to_string();
    assert!(message.contains("12") && message.contains('7'), "{message}");
    for rejection in [Rejection::Present, Rejection::Absent] {
        assert!(!rejection.to_string().is_empty());
    }
}

#[test]
fn lookups_that_are_not_counted_are_not_said_to_be_none() {
    let quiet = Cache::<u32, u32>::builder().capacity(10).build().unwrap();
    let counting = Cache::<u32, u32>::builder().capacity(10).count_lookups().build().unwrap();
    for cache in [&quiet, &counting] {
        let _ = cache.insert(1, 1);
        assert_eq!((cache.get(&1), cache.get(&2)), (Some(1), None));
    }
    let (quiet, counting) = (quiet.stats(), counting.stats());
    assert_eq!((quiet.hits, quiet.misses, quiet.hit_ratio()), (None, None, None));
    assert_eq!(
        (counting.hits, counting.misses, counting.hit_ratio()),
        (Some(1), Some(1), Some(0.5))
    );
}

#[test]
fn hits_and_misses_are_counted_exactly_by_each_of_many_caches_and_threads() {
    // More than have the cheap way of counting that a process has a few of.
    let caches: Vec<Cache<u32, u32>> =
        (0..7).map(|_| Cache::builder().capacity(100).count_lookups().build().unwrap()).collect();
    for round in 1..=3 {
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let caches = &caches;
                scope.spawn(move || {
                    for cache in caches {
                        let _ = cache.insert(thread, thread);
                        for _ in 0..100 {
                            assert_eq!(cache.get(&thread), Some(thread));
                            assert_eq!(cache.pin().get(&thread), Some(&thread));
                            assert_eq!(cache.get(&50), None);
                        }
                    }
                });
            }
        });
        for cache in &caches {
            let stats = cache.stats();
            assert_eq!((stats.hits, stats.misses), (Some(800 * round), Some(400 * round)));
        }
    }
    // Whoever is counted for next begins at 0.
    drop(caches);
    let cache = Cache::<u32, u32>::builder().capacity(100).count_lookups().build().unwrap();
    assert_eq!((cache.stats().hits, cache.stats().misses), (Some(0), Some(0)));
}
