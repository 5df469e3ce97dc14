//! What the builder refuses, and with which message.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use larder::{
    Absence, BuildError, Builder, Cache, Explanation, Inserted, Listener, Load, LoadExecutor,
    LoadTask, Loaded, Maintenance, Policy, RandomState, Rejection, Removal, ResizeError,
    ShadowConfig, ThreadPerTask,
};

use crate::support::rng::Rng;

fn builder() -> Builder<u64, u64> {
    Cache::<u64, u64>::builder()
}

/// Asserts that the message is in lower case, has no full stop, and names what was given.
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
    assert!(error.source().is_none(), "it has no source");
}

#[test]
fn a_cache_without_bounds_is_refused() {
    let parts = ["capacity", "max_weight"];
    assert_refused(builder(), &BuildError::Unbounded, &parts);
    assert_refused(builder().weigher(|_, _| 1), &BuildError::Unbounded, &parts);
    assert_refused(builder().maintenance(Maintenance::Inline), &BuildError::Unbounded, &parts);
}

/// A loader whose values are the keys.
fn echo(key: &u64, _: &Load<u64, u64>) -> Result<Loaded<u64>, String> {
    Ok(Loaded::Store(*key))
}

#[test]
fn senseless_settings_of_loading_are_refused_and_huge_ones_are_not() {
    let base = || builder().capacity(10);
    let (zero, second) = (Duration::ZERO, Duration::from_secs(1));
    type Set = fn(Builder<u64, u64>, Duration) -> Builder<u64, u64>;
    let durations: [(&'static str, Set); 7] = [
        ("refresh_after_write", |it, given| it.refresh_after_write(given)),
        ("stale_while_revalidate", |it, given| it.stale_while_revalidate(given)),
        ("stale_if_error", |it, given| it.stale_if_error(given)),
        ("load_timeout", |it, given| it.load_timeout(given)),
        ("soft_timeout", |it, given| it.stale_if_error(Duration::MAX).soft_timeout(given)),
        ("hard_timeout", |it, given| it.hard_timeout(given)),
        ("negative_time_to_live", |it, given| it.negative_time_to_live(given)),
    ];
    for (setting, set) in durations {
        let parts = [setting, "more than zero"];
        assert_refused(set(base(), zero), &BuildError::ZeroDuration { setting }, &parts);
        for given in [Duration::from_nanos(1), second, Duration::MAX] {
            let cache = set(base(), given).build_with_loader(echo);
            let cache = cache.expect("every other duration is allowed");
            cache.insert(1, 10);
            assert_eq!(cache.get(&1), Ok(10));
        }
    }
    for given in [zero, second, Duration::MAX] {
        assert!(base().refresh_throttle(given).build().is_ok());
    }
    for given in [0.0, -1.0, f64::INFINITY, f64::NEG_INFINITY] {
        let error = BuildError::BadEarlyRefresh { given };
        assert_refused(base().early_refresh(given), &error, &["early_refresh", "above 0"]);
    }
    for given in [0.0, 1.0, -0.5, 1.5, f64::INFINITY] {
        let error = BuildError::BadEagerRefresh { given };
        assert_refused(base().eager_refresh(given), &error, &["eager_refresh", "below 1"]);
    }
    let nan = f64::NAN;
    let error = base().early_refresh(nan).build().map(drop).unwrap_err();
    assert!(matches!(error, BuildError::BadEarlyRefresh { given } if given.is_nan()));
    let error = base().eager_refresh(nan).build().map(drop).unwrap_err();
    assert!(matches!(error, BuildError::BadEagerRefresh { given } if given.is_nan()));
    assert!(base().early_refresh(f64::MAX).eager_refresh(f64::MIN_POSITIVE).build().is_ok());
    assert_refused(
        base().time_to_live(second).refresh_after_write(second),
        &BuildError::NotShorter {
            setting: "refresh_after_write",
            given: second,
            than: "time_to_live",
            limit: second,
        },
        &["refresh_after_write 1s", "time_to_live"],
    );
    let stale = || base().stale_while_revalidate(second);
    assert_refused(
        stale().soft_timeout(2 * second).hard_timeout(second),
        &BuildError::NotShorter {
            setting: "soft_timeout",
            given: 2 * second,
            than: "hard_timeout",
            limit: second,
        },
        &["soft_timeout 2s", "hard_timeout"],
    );
    assert_refused(
        base().soft_timeout(second),
        &BuildError::NeedsStaleValues { setting: "soft_timeout" },
        &["soft_timeout", "stale_while_revalidate"],
    );
    let both = || stale().soft_timeout(second).hard_timeout(2 * second);
    assert!(both().build_with_loader(echo).is_ok());
    assert!(both().build_with_async_loader(async |key, load| echo(&key, &load)).is_ok());
    for (builder, setting) in
        [(both(), "soft_timeout"), (base().hard_timeout(second), "hard_timeout")]
    {
        let error = BuildError::NeedsLoader { setting };
        assert_refused(builder, &error, &[setting, "build_with_loader"]);
    }
}

/// Asserts that every way to insert is rejected and counted, whatever the entry.
fn assert_stores_nothing(cache: &Cache<u64, u64>, what: &str) {
    let nothing = Inserted::Rejected(Rejection::StoresNothing);
    let before = cache.stats().rejections;
    let outcomes = [
        cache.insert(1, 0),
        cache.insert(2, 20),
        cache.insert_if_absent(3, 30),
        cache.replace(4, 40),
        cache.insert_unevictable(5, 50),
        cache.insert_with_tags(6, 60, ["tag"]),
        cache.insert_with_ttl(7, 70, Duration::from_secs(9)),
    ];
    let mut expected = [nothing; 7];
    // There is no entry that a value could replace.
    expected[3] = Inserted::Rejected(Rejection::Absent);
    assert_eq!(outcomes, expected, "{what}");
    cache.run_pending();
    assert_eq!((cache.len(), cache.weight(), cache.iter().count()), (0, 0, 0), "{what}");
    assert!((1..8).all(|key| cache.get(&key).is_none() && cache.remove(&key).is_none()), "{what}");
    assert_eq!(cache.stats().rejections - before, 7, "{what}");
    cache.validate();
}

#[test]
fn a_cache_with_a_bound_of_zero_rejects_every_insertion() {
    for policy in crate::support::configs::POLICIES {
        for mode in [Maintenance::Inline, Maintenance::Background] {
            let zero = || builder().maintenance(mode).policy(Policy::named(policy.name));
            let weighed = |builder: Builder<u64, u64>| builder.weigher(|_, value| *value as u32);
            let shadows = || ShadowConfig::new().policy(Policy::lru()).policy(Policy::default());
            for (what, builder) in [
                ("capacity", zero().capacity(0)),
                ("capacity below a weight", weighed(zero().capacity(0).max_weight(1_000))),
                ("weight", weighed(zero().max_weight(0))),
                ("weight below a capacity", weighed(zero().max_weight(0).capacity(1_000))),
                ("both", weighed(zero().max_weight(0).capacity(0))),
                ("partitions", zero().capacity(0).partitions(8)),
                ("shadows", zero().capacity(0).shadow(shadows()).explain_misses(100)),
            ] {
                let what = format!("{what}, {}, {mode:?}", policy.name);
                let cache = builder.build().unwrap();
                assert_stores_nothing(&cache, &what);
                let is_explained = cache.explain(&1) == Explanation::Missing(Absence::Rejected);
                assert_eq!(is_explained, what.starts_with("shadows"), "{what}");
                assert_eq!(cache.stats().maintenance_panics, 0, "{what}");
            }
        }
    }
}

#[test]
fn a_cache_can_be_switched_off_and_on_again() {
    for policy in crate::support::configs::POLICIES {
        for mode in [Maintenance::Inline, Maintenance::Background] {
            let cache = builder()
                .capacity(100)
                .max_weight(1_000)
                .weigher(|key, _| (key % 3) as u32)
                .partitions(4)
                .policy(Policy::named(policy.name))
                .maintenance(mode)
                .shadow(ShadowConfig::new())
                .build()
                .unwrap();
            for round in 0..4 {
                for key in 0..50 {
                    assert!(cache.insert(key, key).is_stored(), "{}", policy.name);
                }
                // Zero in either bound, which also applies to entries without weight.
                if round % 2 == 0 {
                    cache.set_capacity(0).unwrap();
                } else {
                    cache.set_max_weight(0).unwrap();
                }
                assert_eq!((cache.len(), cache.weight()), (0, 0), "{}", policy.name);
                assert_stores_nothing(&cache, policy.name);
                assert_eq!(
                    cache.set_capacity(3),
                    Err(ResizeError::TooFew { given: 3, partitions: 4 })
                );
                cache.set_capacity(100).unwrap();
                cache.set_max_weight(1_000).unwrap();
            }
            assert_eq!(cache.stats().maintenance_panics, 0, "{}", policy.name);
        }
    }
}

#[test]
fn unevictable_entries_stay_when_a_cache_is_switched_off() {
    let cache = builder().capacity(10).maintenance(Maintenance::Inline).build().unwrap();
    cache.insert_unevictable(1, 1);
    cache.set_capacity(0).unwrap();
    assert_eq!((cache.len(), cache.get(&1)), (1, Some(1)));
    // The rejected insertion removes the old value, which would otherwise be stale.
    assert_eq!(cache.insert(1, 2), Inserted::Rejected(Rejection::StoresNothing));
    assert_eq!((cache.len(), cache.get(&1)), (0, None));
}

/// The resident memory of this process, in MiB.
#[cfg(target_os = "linux")]
fn resident_mib() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
    // Pages have at least 4 KiB.
    pages / 256
}

#[cfg(not(target_os = "linux"))]
fn resident_mib() -> u64 {
    0
}

/// Within the process of all tests, this runs `test` of this file again in a process of its own,
/// where only that test takes memory, and returns `false`. Within that process it returns `true`.
fn is_alone(test: &str) -> bool {
    const VARIABLE: &str = "LARDER_ALONE";
    if std::env::var_os(VARIABLE).is_some() {
        return true;
    }
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", &format!("building::settings::{test}")]).env(VARIABLE, "1");
    let output = child.output().unwrap();
    let has_run = String::from_utf8_lossy(&output.stdout).contains("1 passed");
    assert!(output.status.success() && has_run, "{output:?}");
    false
}

#[test]
fn nearly_empty_caches_of_a_large_capacity_take_little_memory() {
    if !is_alone("nearly_empty_caches_of_a_large_capacity_take_little_memory") {
        return;
    }
    // Several rounds, because an allocator keeps the next large blocks after some were given back.
    for round in 0..3 {
        let before = resident_mib();
        let caches: Vec<Cache<u64, u64>> = (0..100)
            .map(|_| {
                let inline = builder().capacity(1_000_000).maintenance(Maintenance::Inline);
                let cache = inline.explain_misses(1_000_000).build().unwrap();
                cache.insert(1, 1);
                cache
            })
            .collect();
        let taken = resident_mib().saturating_sub(before);
        assert!(taken < 120, "{taken} MiB for 100 caches of one entry, in round {round}");
        assert!(caches.iter().all(|cache| cache.get(&1) == Some(1)));
    }
}

#[test]
fn extreme_settings_make_a_cache_or_an_error_and_take_little_memory() {
    if !is_alone("extreme_settings_make_a_cache_or_an_error_and_take_little_memory") {
        return;
    }
    let counts = [0, 1, 2, 1 << 10, 1 << 31, 1 << 32, 1 << 44, usize::MAX / 2, usize::MAX];
    let weights = [0, 1, 1 << 20, 1 << 44, i64::MAX as u64, u64::MAX];
    let times = [Duration::ZERO, Duration::from_nanos(1), Duration::MAX];
    let mut rng = Rng::new(0x5eed);
    let before = resident_mib();
    let (mut built, mut refused) = (0, 0);
    for _ in 0..1_500 {
        let mut pick = |end: usize| rng.below(end as u64) as usize;
        let mut builder = builder().policy(Policy::named(
            crate::support::configs::POLICIES[pick(crate::support::configs::POLICIES.len())].name,
        ));
        if pick(2) == 0 {
            builder = builder.maintenance(Maintenance::Inline);
        }
        if pick(4) > 0 {
            builder = builder.capacity(counts[pick(counts.len())]);
        }
        if pick(2) == 0 {
            builder = builder.max_weight(weights[pick(weights.len())]);
        }
        if pick(4) == 0 {
            builder = builder.partitions(counts[pick(counts.len())]);
        }
        if pick(4) == 0 {
            builder = builder.explain_misses(counts[pick(counts.len())]);
        }
        if pick(4) == 0 {
            builder = builder.time_to_live(times[pick(times.len())]);
        }
        if pick(4) == 0 {
            builder = builder.time_to_idle(times[pick(times.len())]);
        }
        if pick(4) == 0 {
            builder = builder.timer_tick(times[pick(times.len())]);
        }
        if pick(4) == 0 {
            let jitters = [0.0, 1.0, f64::NAN, f64::INFINITY, f64::MIN_POSITIVE];
            builder = builder.jitter(jitters[pick(jitters.len())]);
        }
        if pick(4) == 0 {
            let queue = counts[pick(counts.len())];
            builder = builder.listener(Listener::new(|_: &Removal<'_, u64, u64>| {}).queue(queue));
        }
        if pick(4) == 0 {
            let multiples = [0.0, f64::MIN_POSITIVE, 1.0, f64::MAX, f64::NAN, f64::INFINITY];
            let multiples = [multiples[pick(multiples.len())]; 3];
            let entries = counts[pick(counts.len())];
            let shadow = ShadowConfig::new().multiples(multiples).sample_entries(entries);
            builder = builder.shadow(shadow);
        }
        let shown = format!("{builder:?}");
        match builder.build() {
            Ok(cache) => {
                built += 1;
                for key in 0..20 {
                    cache.insert(key, key);
                    cache.get(&key);
                }
                for bound in [usize::MAX, 1 << 44, 0, 1] {
                    let _ = cache.set_capacity(bound);
                    let _ = cache.set_max_weight(bound as u64);
                    cache.insert(1, 1);
                }
                cache.run_pending();
                assert_eq!(cache.stats().maintenance_panics, 0, "{shown}");
            }
            Err(error) => {
                refused += 1;
                assert!(!error.to_string().is_empty());
            }
        }
        let taken = resident_mib().saturating_sub(before);
        assert!(taken < 400, "{taken} MiB after {shown}");
    }
    assert!(built > 200 && refused > 200, "{built} built, {refused} refused");
}

#[test]
fn a_history_larger_than_memory_is_refused() {
    let limit = 1 << 32;
    for given in [limit + 1, 1 << 44, u64::MAX] {
        assert_refused(
            builder().capacity(10).explain_misses(usize::try_from(given).unwrap_or(usize::MAX)),
            &BuildError::TooLarge { setting: "explain_misses", given, limit },
            &["explain_misses", &given.to_string(), "4294967296"],
        );
    }
    let endless = std::iter::repeat(1.0);
    let shadows = builder().capacity(10).shadow(ShadowConfig::new().multiples(endless));
    assert!(matches!(shadows.build(), Err(BuildError::BadShadows { .. })));
}

#[test]
fn an_initial_capacity_above_the_bound_is_refused() {
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
fn a_cache_reports_its_name() {
    let cache = builder().capacity(10).name("pages").build().unwrap();
    assert_eq!(cache.name(), Some("pages"));
    assert_eq!(cache.clone().name(), Some("pages"));
    assert!(format!("{cache:?}").starts_with("Cache { name: \"pages\", len: 0"));
    let unnamed = builder().capacity(10).build().unwrap();
    assert_eq!(unnamed.name(), None);
    assert!(format!("{unnamed:?}").starts_with("Cache { len: 0"));
}

#[test]
fn a_number_of_partitions_that_is_not_a_power_of_two_is_refused() {
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
fn an_unknown_policy_is_refused_with_a_list_of_the_known_ones() {
    for given in ["", "lruu", "Least Recently Used", "lru ", "ленивый", "\0"] {
        let error =
            builder().capacity(10).policy(Policy::named(given)).build().map(drop).unwrap_err();
        let BuildError::UnknownPolicy { given: named, known } = &error else {
            panic!("{given:?}: {error:?}")
        };
        assert_eq!(named, given);
        let message = error.to_string();
        for policy in crate::support::configs::POLICIES {
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
fn a_builder_and_its_clones_keep_the_executor_of_loads() {
    let shared: Arc<dyn LoadExecutor> = Arc::new(ThreadPerTask);
    let kept = Arc::downgrade(&shared);
    let configured = builder().capacity(10).load_executor(shared);
    assert!(format!("{configured:?}").contains("load_executor: User"));
    assert!(format!("{:?}", builder()).contains("load_executor: Pool"));
    let cache = configured.clone().hasher(RandomState::new()).build().unwrap();
    drop(configured);
    assert!(kept.upgrade().is_some(), "the cache has lost its executor");
    drop(cache);
    assert!(kept.upgrade().is_none(), "the executor outlives the cache");
    let last = builder().capacity(10).load_executor(|task: LoadTask| task.run());
    assert!(last.load_executor(drop::<LoadTask>).build().is_ok());
}

#[test]
fn defaults_fit_small_caches() {
    for capacity in [1, 2, 3, 10] {
        let cache = builder().capacity(capacity).build().unwrap();
        assert_eq!(cache.partitions(), 1, "capacity {capacity}");
        assert_eq!((cache.capacity(), cache.max_weight()), (Some(capacity), None));
    }
    // Many units of weight in all, but few entries: each partition must still hold some.
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
fn new_with_capacity_zero_stores_nothing() {
    assert_stores_nothing(&Cache::new(0), "new");
}

#[test]
fn rejections_name_the_given_and_the_allowed_value() {
    let message = Rejection::TooHeavy { weight: 12, limit: 7 }.to_string();
    assert!(message.contains("12") && message.contains('7'), "{message}");
    for rejection in [Rejection::Present, Rejection::Absent] {
        assert!(!rejection.to_string().is_empty());
    }
}

#[test]
fn uncounted_lookups_are_not_reported_as_zero() {
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
    // More caches than the process has fast counters for.
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
    // The next cache that uses a counter begins at 0.
    drop(caches);
    let cache = Cache::<u32, u32>::builder().capacity(100).count_lookups().build().unwrap();
    assert_eq!((cache.stats().hits, cache.stats().misses), (Some(0), Some(0)));
}
