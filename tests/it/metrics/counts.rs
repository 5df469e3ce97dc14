//! The values: exact, and never falling.

use std::time::Duration;

use larder::metrics::{Exposition, FamilyKind};
use larder::test::FakeClock;
use larder::{Cache, Maintenance, Policy, ShadowConfig};

use super::{collector_of, full_builder, scrape, use_all, values};

#[test]
fn values_are_those_of_the_statistics() {
    let clock = FakeClock::new();
    let cache = full_builder(&clock).build().unwrap();
    let collector = collector_of(&cache);
    use_all(&cache, &clock, 0);
    let (found, stats) = (scrape(&collector), cache.stats());
    let value = |name: &str| found[&format!("larder_{name}{{cache=\"full\"}}")];
    let removals =
        |cause: &str| found[&format!("larder_removals_total{{cache=\"full\",cause=\"{cause}\"}}")];
    for (found, counted) in [
        (value("hits_total"), stats.hits.unwrap()),
        (value("misses_total"), stats.misses.unwrap()),
        (value("inserts_total"), stats.inserts),
        (value("rejections_total"), stats.rejections),
        (value("loads_total"), stats.loads),
        (value("load_failures_total"), stats.load_failures),
        (value("notifications_total"), stats.notifications),
        (value("retired_bytes_total"), stats.retired_bytes),
        (removals("evicted"), stats.evictions),
        (removals("expired"), stats.expirations),
        (removals("removed"), stats.removals),
        (removals("replaced"), stats.replacements),
        (removals("invalidated"), stats.invalidations),
        (value("entries"), cache.len() as u64),
        (value("weight"), cache.weight()),
        (value("capacity_entries"), 4),
        (value("max_weight"), 100),
    ] {
        assert_eq!(found, counted as f64);
    }
    for cause in ["evicted", "expired", "removed", "replaced", "invalidated"] {
        assert!(removals(cause) > 0.0, "{cause}");
    }
    assert!((value("load_seconds_total") - 0.03).abs() < 1e-9);
    assert_eq!(found["larder_cache_info{cache=\"full\",policy=\"lru\"}"], 1.0);
    let left: f64 = stats.evictions as f64 + stats.expirations as f64;
    let weights: f64 = found
        .iter()
        .filter(|(series, _)| series.starts_with("larder_removed_weight_total{"))
        .map(|(_, weight)| weight)
        .sum();
    assert_eq!(weights, 2.0 * left, "each entry weighs 2");
}

#[test]
fn no_counter_falls_whatever_is_cleared_or_reset() {
    let clock = FakeClock::new();
    let cache = full_builder(&clock).build().unwrap();
    let collector = collector_of(&cache);
    let mut before = scrape(&collector);
    for round in 0..20 {
        use_all(&cache, &clock, round);
        match round % 5 {
            0 => cache.clear(),
            1 => cache.reset_shadow_counts(),
            2 => cache.set_capacity(2 + round as usize % 3).unwrap(),
            _ => cache.run_pending(),
        }
        let families = collector.gather().unwrap();
        let now = values(&families.encode(Exposition::Prometheus));
        let has_kind = |name: &str, kind| families.get(name).is_some_and(|it| it.kind() == kind);
        let grows = |series: &str| {
            let name = series.split('{').next().unwrap();
            let is_counter =
                name.strip_suffix("_total").is_some_and(|name| has_kind(name, FamilyKind::Counter));
            is_counter
                || ["_bucket", "_count", "_sum"].into_iter().any(|end| {
                    let name = name.strip_suffix(end);
                    name.is_some_and(|name| has_kind(name, FamilyKind::Histogram))
                })
        };
        let growing: Vec<_> = before.iter().filter(|(series, _)| grows(series)).collect();
        assert!(growing.len() > 70, "{} series", growing.len());
        for (series, value) in growing {
            assert!(now[series] >= *value, "{series} fell from {value} to {}", now[series]);
        }
        before = now;
    }
    assert!(before["larder_removals_total{cache=\"full\",cause=\"removed\"}"] > 0.0);
    assert_eq!(before["larder_entries{cache=\"full\"}"], cache.len() as f64);
}

#[test]
fn shadows_count_misses_at_each_size_and_lookups_for_a_cache_that_counts_none() {
    let cache: Cache<u32, u32> = Cache::builder()
        .name("loop")
        .capacity(100)
        .policy(Policy::lru())
        .maintenance(Maintenance::Inline)
        .shadow(ShadowConfig::new().multiples([0.5, 1.0, 2.0, 2.0]))
        .build()
        .unwrap();
    let collector = collector_of(&cache);
    // A loop over more than the cache holds, but not more than twice as much.
    let run = || {
        for key in (0..150).cycle().take(1_500) {
            if cache.get(&key).is_none() {
                cache.insert(key, 0);
            }
        }
    };
    run();
    cache.reset_shadow_counts();
    run();
    let found = scrape(&collector);
    let at = |what: &str, multiple: &str| {
        let labels = format!("cache=\"loop\",policy=\"lru\",multiple=\"{multiple}\"");
        found[&format!("larder_shadow_{what}{{{labels}}}")]
    };
    assert_eq!(found["larder_hits_total{cache=\"loop\"}"], 0.0);
    assert_eq!(found["larder_misses_total{cache=\"loop\"}"], 3_000.0);
    for multiple in ["0.5", "1"] {
        assert_eq!(at("misses_total", multiple), 3_000.0);
    }
    // Only the first round misses.
    assert_eq!(at("misses_total", "2"), 150.0);
    assert_eq!(at("own_misses_total", "2"), 3_000.0);
    assert_eq!(at("capacity_entries", "2"), 200.0);
    assert_eq!(found["larder_shadow_dropped_records_total{cache=\"loop\"}"], 0.0);
    assert!(!found.keys().any(|series| series.starts_with("larder_shadow_max_weight")));
}

#[test]
fn counters_do_not_fall_while_threads_work() {
    let cache: Cache<u32, u32> = Cache::builder()
        .name("busy")
        .capacity(1_000)
        .shadow(ShadowConfig::new().multiples([1.0, 4.0]))
        .load_time_histogram()
        .eviction_age_histogram()
        .build()
        .unwrap();
    let collector = collector_of(&cache);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..2)
            .map(|worker| {
                let cache = &cache;
                scope.spawn(move || {
                    for step in 0..30_000_u32 {
                        let key = step.wrapping_mul(2_654_435_761) >> 20;
                        cache.get_or_insert_with(&(key + worker), || step);
                    }
                })
            })
            .collect();
        let mut before = scrape(&collector);
        let mut scrapes = 0;
        while !workers.iter().all(|worker| worker.is_finished()) || scrapes < 10 {
            let now = scrape(&collector);
            for (series, value) in before.iter().filter(|(series, _)| {
                series.contains("_total") || series.contains("_bucket") || series.contains("_count")
            }) {
                assert!(now[series] >= *value, "{series} fell from {value} to {}", now[series]);
            }
            before = now;
            scrapes += 1;
        }
    });
    let found = scrape(&collector);
    let hits = found["larder_hits_total{cache=\"busy\"}"];
    let misses = found["larder_misses_total{cache=\"busy\"}"];
    assert!(hits > 0.0 && misses > 0.0, "the shadows count lookups");
    let loads = found["larder_loads_total{cache=\"busy\"}"];
    assert_eq!(found["larder_load_duration_seconds_count{cache=\"busy\"}"], loads);
}

#[test]
fn garbage_is_shown_while_a_pin_keeps_it() {
    let cache: Cache<u32, u32> = Cache::builder()
        .name("pinned")
        .capacity(1_000)
        .maintenance(Maintenance::Inline)
        .build()
        .unwrap();
    let collector = collector_of(&cache);
    cache.insert(1, 1);
    let pinned = cache.pin();
    assert_eq!(pinned.get(&1), Some(&1));
    cache.remove(&1);
    assert!(scrape(&collector)["larder_garbage_bytes{cache=\"pinned\"}"] > 0.0);
    drop(pinned);
    crate::support::flush(&cache);
    let found = scrape(&collector);
    assert_eq!(found["larder_garbage_bytes{cache=\"pinned\"}"], 0.0);
    let retired = found["larder_retired_bytes_total{cache=\"pinned\"}"];
    assert_eq!(found["larder_freed_bytes_total{cache=\"pinned\"}"], retired);
    assert!(retired > 0.0);
    assert_eq!(cache.stats().load_time, Duration::ZERO);
}
