//! Which metrics there are, under which names, and under which names caches are known.

use std::collections::BTreeSet;

use larder::metrics::{Collector, Exposition, FamilyKind, MetricsError};
use larder::test::FakeClock;
use larder::{Cache, Loaded, LoadingCache};

use super::{collector_of, full_builder, scrape, use_all};

/// The rows of the table in the documentation: name, kind, labels, of which caches.
fn documented() -> Vec<[String; 4]> {
    let head = include_str!("../../../src/metrics.rs");
    let rows = head.lines().filter_map(|line| line.strip_prefix("//! | `larder_"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let name = format!("larder_{}", cells[0].trim_end_matches('`'));
        [name, cells[1].to_owned(), cells[2].to_owned(), cells[3].to_owned()]
    })
    .collect()
}

/// The texts in backticks before the first colon.
fn labels_in(cell: &str) -> BTreeSet<String> {
    let names = cell.split(':').next().unwrap();
    names.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn every_metric_of_the_table_exists_and_no_other() {
    let clock = FakeClock::new();
    let cache = full_builder(&clock).build().unwrap();
    let collector = collector_of(&cache);
    use_all(&cache, &clock, 0);
    let families = collector.gather().unwrap();
    let documented = documented();
    let found: Vec<_> =
        families.iter().map(|family| (family.name(), family.kind().to_string())).collect();
    let expected: Vec<_> =
        documented.iter().map(|[name, kind, ..]| (&**name, kind.clone())).collect();
    assert_eq!(found, expected);
    for ([name, _, more, of], family) in documented.iter().zip(families.iter()) {
        assert!(!family.samples().is_empty(), "{name} has no sample");
        assert!(family.help().ends_with('.'), "{name}");
        let mut labels = labels_in(more);
        if of != "none" {
            labels.insert("cache".to_owned());
        }
        for sample in family.samples() {
            let own: BTreeSet<String> =
                sample.labels().iter().map(|(label, _)| label.clone()).collect();
            assert_eq!(own, labels, "{name}");
        }
        let unit = ["seconds", "bytes"].into_iter().find(|unit| name.ends_with(unit));
        assert_eq!(family.unit_name(), unit, "{name}");
    }
    let causes = families.get("larder_removals").unwrap().samples().len();
    assert_eq!(causes, 5);
}

#[test]
fn what_was_not_asked_for_is_absent() {
    let cache: Cache<u32, u32> = Cache::builder().name("plain").max_weight(10).build().unwrap();
    let collector = collector_of(&cache);
    let families = collector.gather().unwrap();
    for [name, _, _, of] in documented() {
        let has_samples = !families.get(&name).unwrap().samples().is_empty();
        let is_expected = of == "each" || of == "none" || of == "with a bound on weight";
        assert_eq!(has_samples, is_expected, "{name}");
    }
    let text = collector.encode(Exposition::Prometheus).unwrap();
    assert!(!text.contains("larder_hits") && !text.contains("histogram"), "{text}");
}

#[test]
fn a_collector_without_caches_has_what_holds_for_the_process() {
    let values = scrape(&Collector::new());
    let names: Vec<_> = values.keys().map(String::as_str).collect();
    let build = format!("larder_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    assert_eq!(names, [&build, "larder_reclamation_lag_seconds", "larder_reclamation_refused"]);
}

#[test]
fn caches_of_any_types_are_in_one_text() {
    let collector = Collector::new();
    let one: Cache<u32, u32> = Cache::builder().name("one").capacity(10).build().unwrap();
    let two: Cache<String, Vec<u8>> = Cache::builder().capacity(10).build().unwrap();
    let three: LoadingCache<u8, u8, String> = Cache::builder()
        .name("three")
        .capacity(10)
        .build_with_loader(|key, _| Ok(Loaded::Store(*key)))
        .unwrap();
    collector.register(&one).unwrap();
    collector.register_as("two", &two).unwrap();
    collector.register(&three).unwrap();
    assert_eq!(collector.names(), ["one", "two", "three"]);
    one.insert(1, 1);
    two.insert("a".to_owned(), Vec::new());
    two.insert("b".to_owned(), Vec::new());
    three.get(&1).unwrap();
    let values = scrape(&collector);
    let inserts = |name: &str| values[&format!("larder_inserts_total{{cache=\"{name}\"}}")];
    assert_eq!([inserts("one"), inserts("two"), inserts("three")], [1.0, 2.0, 1.0]);
    assert_eq!(values["larder_loads_total{cache=\"three\"}"], 1.0);
}

#[test]
fn a_name_is_taken_until_its_cache_ends_or_is_unregistered() {
    let collector = Collector::new();
    let cache: Cache<u32, u32> = Cache::builder().name("pages").capacity(10).build().unwrap();
    let other: Cache<u8, u8> = Cache::builder().name("pages").capacity(10).build().unwrap();
    let taken = || MetricsError::NameTaken { name: "pages".to_owned() };
    collector.register(&cache).unwrap();
    assert_eq!(collector.register(&other).unwrap_err(), taken());
    assert_eq!(collector.register(&cache).unwrap_err(), taken());
    collector.register_as("other pages", &other).unwrap();

    // The collector does not keep the cache alive, and a clone is the same cache.
    let clone = cache.clone();
    drop(cache);
    assert_eq!(collector.register(&other).unwrap_err(), taken());
    drop(clone);
    assert_eq!(collector.names(), ["other pages"]);
    collector.register(&other).unwrap();
    assert_eq!(collector.clone().names(), ["other pages", "pages"]);
    assert!(format!("{collector:?}").contains("other pages"));

    assert!(collector.unregister("pages"));
    assert!(!collector.unregister("pages"));
    assert_eq!(collector.names(), ["other pages"]);
}

#[test]
fn a_cache_without_a_name_has_to_be_given_one() {
    let collector = Collector::new();
    let cache: Cache<u32, u32> = Cache::new(10);
    assert_eq!(collector.register(&cache).unwrap_err(), MetricsError::Unnamed);
    assert_eq!(collector.register_as("", &cache).unwrap_err(), MetricsError::Unnamed);
    let empty: Cache<u32, u32> = Cache::builder().name("").capacity(1).build().unwrap();
    assert_eq!(collector.register(&empty).unwrap_err(), MetricsError::Unnamed);
    assert!(collector.names().is_empty());
}

#[test]
fn the_drop_of_a_cache_during_a_scrape_waits_for_it_and_frees_everything() {
    use std::sync::Arc;
    let value = Arc::new(());
    for _ in 0..50 {
        let cache = Cache::builder().name("short").capacity(100).build().unwrap();
        let collector = Collector::new();
        collector.register(&cache).unwrap();
        for key in 0..100 {
            cache.insert(key, Arc::clone(&value));
        }
        std::thread::scope(|scope| {
            let scraper = scope.spawn(|| collector.gather().unwrap());
            drop(cache);
            assert_eq!(Arc::strong_count(&value), 1, "the last handle's drop has dropped all");
            scraper.join().unwrap();
        });
        assert!(collector.names().is_empty());
    }
}

#[cfg(feature = "quick")]
#[test]
fn a_quick_cache_can_be_registered() {
    use larder::quick::{QuickCache, QuickCacheConfig};

    let collector = Collector::new();
    let config = QuickCacheConfig::builder().max_size(2).build().unwrap();
    let cache: QuickCache<u32> = QuickCache::new(config).unwrap();
    cache.register_in(&collector, "quick").unwrap();
    for key in ["a", "b", "c"] {
        cache.set(key, 1, 60).unwrap();
    }
    cache.reset_metrics();
    let values = scrape(&collector);
    assert_eq!(values["larder_entries{cache=\"quick\"}"], 2.0);
    assert_eq!(values["larder_removals_total{cache=\"quick\",cause=\"evicted\"}"], 1.0);
    drop(cache);
    assert!(collector.names().is_empty());
}

#[test]
fn kinds_are_written_as_in_the_text() {
    let kinds = [
        (FamilyKind::Counter, "counter"),
        (FamilyKind::Gauge, "gauge"),
        (FamilyKind::Histogram, "histogram"),
        (FamilyKind::Info, "info"),
    ];
    for (kind, text) in kinds {
        assert_eq!(kind.to_string(), text);
    }
}
