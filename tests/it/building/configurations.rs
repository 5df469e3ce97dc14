//! Configurations from files, builders that are used again, and policies as values.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use larder::test::FakeClock;
use larder::{
    Builder, Cache, CacheConfig, Listener, Maintenance, ParsePolicyError, Policy, Removal,
};

#[test]
fn a_policy_is_read_and_shown_by_name_and_an_unknown_one_is_refused() {
    for name in Policy::names() {
        let policy: Policy = name.to_uppercase().parse().unwrap();
        assert_eq!(policy.to_string(), name);
        assert_eq!(policy, Policy::named(&name));
    }
    assert_eq!(format!("[{:>6}]", Policy::lru()), "[   lru]");
    let error = "lifo".parse::<Policy>().unwrap_err();
    let ParsePolicyError::Unknown { given, known } = &error else { panic!("{error}") };
    assert_eq!(given, "lifo");
    assert!(known.contains(&"lru".to_owned()));
    assert!(error.to_string().starts_with("unknown policy `lifo`; known are lru"));
}

#[test]
fn a_configuration_made_by_hand_equals_a_builder() {
    let mut config = CacheConfig::default();
    assert!(config.clone().into_builder::<u64, u64>().build().is_err(), "it has no bound");
    config.capacity = Some(64);
    config.name = Some("by hand".to_owned());
    config.policy = Policy::sieve();
    config.partitions = Some(4);
    config.count_lookups = true;
    let cache: Cache<u64, u64> = Builder::from(config).build().unwrap();
    assert_eq!((cache.name(), cache.capacity()), (Some("by hand"), Some(64)));
    assert_eq!((cache.policy_name(), cache.partitions()), ("sieve", 4));
    cache.get(&1);
    assert_eq!(cache.stats().misses, Some(1));
}

#[test]
fn a_cloned_builder_builds_equal_and_independent_caches() {
    let (queued, atomic) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let count = |counter: &Arc<AtomicU64>| {
        let counter = Arc::clone(counter);
        move |_: &Removal<'_, u64, u64>| {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    };
    let clock = FakeClock::new();
    let builder = Cache::<u64, u64>::builder()
        .name("twin")
        .max_weight(20)
        .weigher(|_, _| 2)
        .policy(Policy::lru())
        .maintenance(Maintenance::Inline)
        .time_to_live(Duration::from_secs(60))
        .clock(clock.clone())
        .listener(Listener::new(count(&queued)))
        .atomic_listener(count(&atomic));
    let twins = [builder.clone().build().unwrap(), builder.clone().build().unwrap()];
    for cache in &twins {
        assert_eq!(
            (cache.name(), cache.policy_name(), cache.max_weight()),
            (Some("twin"), "lru", Some(20))
        );
        for key in 0..15 {
            cache.insert(key, key);
        }
        assert_eq!((cache.len(), cache.weight()), (10, 20));
    }
    twins[0].clear();
    assert_eq!((twins[0].len(), twins[1].len()), (0, 10));
    assert_eq!((queued.load(Ordering::Relaxed), atomic.load(Ordering::Relaxed)), (20, 20));
    clock.advance(Duration::from_secs(61));
    assert_eq!(twins[1].get(&14), None);
    let shown = format!("{builder:?}");
    for part in ["\"twin\"", "max_weight: Some(20)", "has_atomic_listener: true", "60s"] {
        assert!(shown.contains(part), "no {part} in {shown}");
    }
}

#[test]
fn a_cloned_builder_can_have_its_own_hasher() {
    let builder = Cache::<u64, u64>::builder().capacity(10).hasher(larder::RandomState::new());
    let caches: HashMap<_, _> = (0..3).map(|n| (n, builder.clone().build().unwrap())).collect();
    caches[&0].insert(1, 1);
    assert_eq!((caches[&0].len(), caches[&1].len()), (1, 0));
}

#[cfg(feature = "serde")]
mod files {
    use larder::{Load, Loaded};

    use super::*;

    const FULL: &str = r#"
name = "pages"
capacity = 1000
max_weight = 1048576
initial_capacity = 100
policy = "s3_fifo"
partitions = 2
maintenance = "inline"
time_to_live = "10m"
time_to_idle = "90s"
jitter = 0.25
timer_tick = "250ms"
expire_lazily = true
count_lookups = true
load_time_histogram = true
eviction_age_histogram = true
explain_misses = 64
keep_ages = true
refresh_after_write = "30s"
stale_while_revalidate = "5s"
stale_if_error = "1h"
early_refresh = 1.5
eager_refresh = 0.75
refresh_throttle = "2s"
load_timeout = "20s"
soft_timeout = "100ms"
hard_timeout = "3s"
negative_time_to_live = "10s"
"#;

    #[test]
    fn a_configuration_is_read_from_a_file_and_written_back() {
        let config: CacheConfig = toml::from_str(FULL).unwrap();
        assert_eq!(config.time_to_live, Some(Duration::from_secs(600)));
        assert_eq!(config.time_to_idle, Some(Duration::from_secs(90)));
        assert_eq!(config.timer_tick, Some(Duration::from_millis(250)));
        assert_eq!(config.stale_if_error, Some(Duration::from_secs(3600)));
        assert_eq!((config.early_refresh, config.eager_refresh), (Some(1.5), Some(0.75)));
        assert_eq!((&config.policy, config.maintenance), (&Policy::s3_fifo(), Maintenance::Inline));
        let written = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<CacheConfig>(&written).unwrap(), config);
        let builder: Builder<u64, u64> = config.into_builder();
        let shown = format!("{builder:?}");
        for part in [
            "refresh_after_write: Some(30s)",
            "stale_while_revalidate: Some(5s)",
            "stale_if_error: Some(3600s)",
            "early_refresh: Some(1.5)",
            "eager_refresh: Some(0.75)",
            "refresh_throttle: Some(2s)",
            "load_timeout: Some(20s)",
            "soft_timeout: Some(100ms)",
            "hard_timeout: Some(3s)",
            "negative_time_to_live: Some(10s)",
        ] {
            assert!(shown.contains(part), "no {part} in {shown}");
        }
        let loader = |key: &u64, _: &Load<u64, u64>| Ok::<_, String>(Loaded::Store(*key));
        let cache = builder.build_with_loader(loader).unwrap();
        assert_eq!((cache.name(), cache.partitions()), (Some("pages"), 2));
        assert_eq!((cache.capacity(), cache.max_weight()), (Some(1000), Some(1 << 20)));
        cache.insert(1, 1);
        let info = cache.inspect(&1).unwrap();
        assert!(info.age.is_some() && info.expires_in <= Some(Duration::from_secs(90)));
        assert!(cache.load_times().is_some() && cache.eviction_ages().is_some());
        cache.remove(&1);
        assert_eq!(cache.explain(&1), larder::Explanation::Missing(larder::Absence::Removed));
    }

    #[test]
    fn omitted_fields_are_as_in_a_new_builder() {
        let config: CacheConfig = toml::from_str("").unwrap();
        assert_eq!(config, CacheConfig::default());
        let shown = |builder: Builder<u64, u64>| format!("{builder:?}");
        assert_eq!(shown(config.clone().into_builder()), shown(Builder::default()));
        let written = serde_json::to_string(&config).unwrap();
        assert!(!written.contains("null"), "{written}");
        assert_eq!(serde_json::from_str::<CacheConfig>(&written).unwrap(), config);
    }

    #[test]
    fn senseless_configurations_are_refused_with_a_message() {
        for (text, wanted) in [
            ("policy = \"lifo\"", "unknown policy `lifo`; known are lru"),
            ("time_to_live = \"5 minutes\"", "`5 minutes` is not a duration"),
            ("maintenance = \"sometimes\"", "sometimes"),
            ("capacity = -1", "-1"),
            ("room = 10", "room"),
        ] {
            let error = toml::from_str::<CacheConfig>(text).unwrap_err().to_string();
            assert!(error.contains(wanted), "no `{wanted}` in `{error}`");
        }
    }
}
