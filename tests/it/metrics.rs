//! Metrics: what the text of a scrape says of caches, and of what others add to it.

mod names;
mod counts;
mod histograms;
mod text;
#[cfg(feature = "metrics_prometheus_client")]
mod prometheus_client;
#[cfg(feature = "metrics_facade")]
mod facade;
#[cfg(feature = "metrics_opentelemetry")]
mod opentelemetry;

use std::collections::BTreeMap;
use std::time::Duration;

use larder::metrics::{Collector, Exposition};
use larder::test::FakeClock;
use larder::{Builder, Cache, Listener, Maintenance, Policy, Removal, ShadowConfig};

/// A cache of which every metric exists.
fn full_builder(clock: &FakeClock) -> Builder<u32, u32> {
    Cache::builder()
        .name("full")
        .capacity(4)
        .max_weight(100)
        .weigher(|_, _| 2)
        .policy(Policy::lru())
        .maintenance(Maintenance::Inline)
        .clock(clock.clone())
        .count_lookups()
        .load_time_histogram()
        .eviction_age_histogram()
        .listener(Listener::new(|_: &Removal<'_, u32, u32>| {}))
        .shadow(ShadowConfig::new().multiples([0.5, 2.0]))
}

/// A collector with one cache.
fn collector_of(cache: &Cache<u32, u32>) -> Collector {
    let collector = Collector::new();
    collector.register(cache).unwrap();
    collector
}

/// The values of a text by name and labels, as they are written.
fn values(text: &str) -> BTreeMap<String, f64> {
    let mut values = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let value = value.replace("Inf", "inf").parse().unwrap();
        assert_eq!(values.insert(series.to_owned(), value), None, "{series} is there twice");
    }
    values
}

/// The same without what the memory of all caches of the process decides, with the labels in the order of their names,
/// and with bounds written in one way.
#[cfg(any(
    feature = "metrics_prometheus_client",
    feature = "metrics_facade",
    feature = "metrics_opentelemetry"
))]
fn comparable(values: BTreeMap<String, f64>) -> BTreeMap<String, f64> {
    let is_shared = |series: &str| {
        ["larder_reclamation", "larder_freed", "larder_garbage"]
            .iter()
            .any(|name| series.starts_with(name))
    };
    let normal = |(series, value): (String, f64)| {
        let Some((name, labels)) = series.split_once('{') else { return (series, value) };
        let labels = labels.trim_end_matches('}').split(',').map(|label| {
            let bound = label.strip_prefix("le=\"").map(|bound| bound.trim_end_matches('"'));
            let bound = bound.map(|bound| bound.replace("Inf", "inf").parse::<f64>().unwrap());
            bound.map_or(label.to_owned(), |bound| format!("le={bound}"))
        });
        let mut labels: Vec<String> = labels.collect();
        labels.sort();
        (format!("{name}{{{}}}", labels.join(",")), value)
    };
    values.into_iter().filter(|(series, _)| !is_shared(series)).map(normal).collect()
}

/// The values that the collector has now.
fn scrape(collector: &Collector) -> BTreeMap<String, f64> {
    values(&collector.encode(Exposition::Prometheus).unwrap())
}

/// Uses every part of the cache a little.
fn use_all(cache: &Cache<u32, u32>, clock: &FakeClock, round: u32) {
    for key in 0..10 {
        cache.insert(key, round);
        clock.advance(Duration::from_secs(7));
        cache.get(&key);
        cache.get(&(key + 1_000));
    }
    cache.insert_with_ttl(20, 1, Duration::from_secs(1));
    cache.insert_with_tags(21, 1, ["tag"]);
    cache.insert(22, 1);
    cache.insert(22, 2);
    clock.advance(Duration::from_secs(2));
    cache.run_pending();
    cache.invalidate_tag("tag");
    cache.retain(|_, _| true);
    cache.remove(&22);
    cache.get_or_insert_with(&(100 + round), || {
        clock.advance(Duration::from_millis(30));
        1
    });
    cache.try_get_or_insert_with(&(1_000 + round), || Err("no")).unwrap_err();
}
