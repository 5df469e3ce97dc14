//! Shadow caches of single namespaces.

use std::collections::hash_map::DefaultHasher;
use std::error::Error;
use std::hash::{BuildHasher, BuildHasherDefault};

use larder::policy::{PolicyConfig, Simulator};
use larder::{
    BuildError, Cache, InsertOptions, Maintenance, NamespaceShadowError, Namespaces, Policy,
    ShadowConfig,
};

/// A small generator of numbers, so that a failure can be repeated.
struct Random(u64);

impl Random {
    /// From 0 to 1.
    fn fraction(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A number below `keys`, the small ones more often: about Zipf's law with the exponent 1.
    fn skewed(&mut self, keys: u64) -> u64 {
        ((keys as f64).powf(self.fraction()) as u64).min(keys - 1)
    }
}

/// The namespace is in the high bits.
fn key(namespace: u64, number: u64) -> u64 {
    namespace << 32 | number
}

const NAMES: [&str; 3] = ["zipf", "loop", "idle"];
const ZIPF: u64 = 0;
const LOOP: u64 = 1;

/// Without a random seed, for a sample depends on the hashes, and so does how far it is off.
type Hasher = BuildHasherDefault<DefaultHasher>;

fn builder(capacity: usize, minimum: u64) -> larder::Builder<u64, u64, Hasher> {
    let mut namespaces = Namespaces::by_number(|key: &u64| (key >> 32) as usize);
    for name in NAMES {
        namespaces = namespaces.guarantee(name, minimum);
    }
    Cache::builder()
        .hasher(Hasher::default())
        .capacity(capacity)
        .policy(Policy::lru())
        .maintenance(Maintenance::Inline)
        .namespaces(namespaces)
}

/// Requests of two namespaces in turn: a skewed one, and a loop.
fn requests(count: u64, zipf_keys: u64, loop_keys: u64) -> impl Iterator<Item = u64> {
    let mut random = Random(7);
    (0..count).flat_map(move |at| [key(ZIPF, random.skewed(zipf_keys)), key(LOOP, at % loop_keys)])
}

fn request<S: BuildHasher>(cache: &Cache<u64, u64, S>, key: u64) {
    if cache.get(&key).is_none() {
        cache.insert(key, key);
    }
}

/// The hit ratio of the requests of one namespace alone.
fn simulate(
    requests: impl Iterator<Item = u64>,
    namespace: u64,
    policy: &Policy,
    config: PolicyConfig,
) -> f64 {
    let mut simulator = Simulator::new(policy, config).unwrap();
    let (mut hits, mut all) = (0_u64, 0_u64);
    for key in requests.filter(|key| key >> 32 == namespace) {
        // The policies rely on random bits.
        let hash = (key + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        all += 1;
        hits += u64::from(simulator.request(hash ^ hash >> 29, (key % 9) as u32 + 1));
    }
    hits as f64 / all as f64
}

#[test]
fn curve_of_a_namespace_is_that_of_its_requests_alone() {
    // So small that all keys are in the sample: the curve is exact.
    let cache = builder(600, 200).build().unwrap();
    for name in NAMES {
        cache.shadow_namespace(name, 200, ShadowConfig::new()).unwrap();
    }
    let all = || requests(30_000, 3_000, 500);
    all().for_each(|key| request(&cache, key));
    for namespace in [ZIPF, LOOP] {
        let report = cache.namespace_shadow_report(NAMES[namespace as usize]).unwrap();
        assert_eq!((report.lookups, report.dropped), (30_000, 0));
        for multiple in [0.5, 1.0, 2.0, 4.0] {
            let capacity = (200.0 * multiple) as usize;
            let config = PolicyConfig::new(Some(capacity), None);
            let alone = simulate(all(), namespace, &Policy::lru(), config);
            let shown = report.hit_ratio("lru", multiple).unwrap();
            assert!((shown - alone).abs() < 1e-9, "{namespace} at {multiple}: {shown}, {alone}");
        }
    }
    // The loop fits only the largest of its shadows, whatever the other namespace does.
    let of_loop = cache.namespace_shadow_report("loop").unwrap();
    assert_eq!((of_loop.hit_ratio("lru", 2.0), of_loop.lookups), (Some(0.0), 30_000));
    assert!(of_loop.hit_ratio("lru", 4.0) > Some(0.98));
    cache.validate();
}

#[test]
fn curve_from_a_sample_is_within_two_points_for_lru_and_four_for_the_default_policy() {
    for (policy, error) in [(Policy::lru(), 0.02), (Policy::default(), 0.04)] {
        let builder = builder(30_000, 10_000).policy(policy.clone()).partitions(4);
        let cache = builder.build().unwrap();
        for name in NAMES {
            cache.shadow_namespace(name, 10_000, ShadowConfig::new()).unwrap();
        }
        let all = || requests(150_000, 100_000, 15_000);
        all().for_each(|key| request(&cache, key));
        for namespace in [ZIPF, LOOP] {
            let report = cache.namespace_shadow_report(NAMES[namespace as usize]).unwrap();
            assert_eq!((report.lookups, report.dropped), (150_000, 0));
            for multiple in [0.5, 1.0, 2.0, 4.0] {
                let capacity = (10_000.0 * multiple) as usize;
                let config = PolicyConfig::new(Some(capacity), None);
                let alone = simulate(all(), namespace, &policy, config);
                let shown = report.hit_ratio(policy.name(), multiple).unwrap();
                let name = policy.name();
                assert!(
                    (shown - alone).abs() < error,
                    "{name}, {namespace} at {multiple}: {shown:.4} instead of {alone:.4}"
                );
            }
            assert!(report.points.iter().all(|point| point.sample_rate < 0.3), "{report}");
            // Four shadows of about 1,024 entries each, however many the namespace holds.
            assert!((100_000..600_000).contains(&report.bytes), "{report}");
        }
        cache.validate();
    }
}

#[test]
fn curve_by_weight_is_within_two_points() {
    let mut namespaces = Namespaces::by_number(|key: &u64| (key >> 32) as usize);
    for name in NAMES {
        namespaces = namespaces.guarantee(name, 10_000);
    }
    let cache: Cache<u64, u64, Hasher> = Cache::builder()
        .hasher(Hasher::default())
        .max_weight(30_000)
        .weigher(|key: &u64, _: &u64| (key % 9) as u32 + 1)
        .policy(Policy::lru())
        .maintenance(Maintenance::Inline)
        .namespaces(namespaces)
        .build()
        .unwrap();
    for name in NAMES {
        cache.shadow_namespace(name, 10_000, ShadowConfig::new()).unwrap();
    }
    let all = || requests(200_000, 50_000, 3_000);
    all().for_each(|key| request(&cache, key));
    for namespace in [ZIPF, LOOP] {
        let report = cache.namespace_shadow_report(NAMES[namespace as usize]).unwrap();
        for multiple in [0.5, 1.0, 2.0, 4.0] {
            let config = PolicyConfig::new(None, Some((10_000.0 * multiple) as u64));
            let alone = simulate(all(), namespace, &Policy::lru(), config);
            let shown = report.hit_ratio("lru", multiple).unwrap();
            assert!((shown - alone).abs() < 0.02, "{namespace} at {multiple}: {shown}, {alone}");
        }
    }
}

#[test]
fn wrong_questions_are_refused() {
    let cache = builder(600, 200).build().unwrap();
    let begin = |name: &str, bound, config| cache.shadow_namespace(name, bound, config);
    assert_eq!(
        begin("unknown", 10, ShadowConfig::new()),
        Err(NamespaceShadowError::NoSuchNamespace { given: "unknown".into() })
    );
    assert_eq!(begin("idle", 0, ShadowConfig::new()), Err(NamespaceShadowError::ZeroBound));
    let wrong = begin("idle", 10, ShadowConfig::new().sample_entries(3)).unwrap_err();
    let cause = BuildError::FewSampleEntries { given: 3, least: 16 };
    assert_eq!(wrong, NamespaceShadowError::Config(cause.clone()));
    assert_eq!(wrong.source().unwrap().to_string(), cause.to_string());
    assert_eq!(cache.namespace_shadow_report("unknown"), None);
    assert_eq!(cache.namespace_shadow_report("idle"), None, "nobody has asked");
    assert!(!cache.end_namespace_shadow("idle"));
    let plain: Cache<u64, u64> = Cache::new(10);
    assert!(plain.shadow_namespace("", 10, ShadowConfig::new()).is_err());
    assert_eq!(plain.namespace_shadow_report(""), None);
}

#[test]
fn namespace_without_accesses_has_no_hit_ratio() {
    let cache = builder(600, 200).build().unwrap();
    cache.shadow_namespace("idle", 200, ShadowConfig::new()).unwrap();
    requests(100, 10, 10).for_each(|key| request(&cache, key));
    let report = cache.namespace_shadow_report("idle").unwrap();
    assert_eq!((report.lookups, report.records), (0, 0));
    assert!(report.points.iter().all(|point| point.hit_ratio.is_none()));
    assert_eq!(report.points.iter().filter_map(|point| point.capacity).sum::<usize>(), 1_500);
}

#[test]
fn at_most_64_namespaces_have_shadows_at_a_time() {
    let mut namespaces = Namespaces::at_insertion();
    for number in 0..1_000 {
        namespaces = namespaces.guarantee(&number.to_string(), 1);
    }
    let builder = Cache::builder().capacity(1_000).maintenance(Maintenance::Inline);
    let cache: Cache<u64, u64> = builder.namespaces(namespaces).build().unwrap();
    let begin = |number: u64| {
        let config = ShadowConfig::new().policy(Policy::lru()).sample_entries(64);
        cache.shadow_namespace(&number.to_string(), 10, config)
    };
    // As often as that, each slot has been taken by many namespaces.
    for number in 0..1_000 {
        let name = number.to_string();
        if number >= 64 {
            assert_eq!(begin(number), Err(NamespaceShadowError::TooMany { limit: 64 }));
            assert!(cache.end_namespace_shadow(&(number - 64).to_string()));
        }
        assert_eq!(begin(number), Ok(()));
        for round in 0..3 {
            if cache.get(&number).is_none() {
                assert_eq!(round, 0);
                cache.insert_with(number, 0, InsertOptions::new().namespace(&name));
            }
        }
        let report = cache.namespace_shadow_report(&name).unwrap();
        assert_eq!((report.lookups, report.records), (3, 3), "{number}");
        assert_eq!(report.hit_ratio("lru", 1.0), Some(1.0 - 1.0 / 3.0));
    }
    cache.validate();
}

#[test]
fn shadows_that_begin_late_know_what_the_namespace_holds() {
    let cache = builder(600, 200).build().unwrap();
    (0..100).for_each(|number| request(&cache, key(ZIPF, number)));
    (0..100).for_each(|number| request(&cache, key(LOOP, number)));
    cache.shadow_namespace("zipf", 100, ShadowConfig::new()).unwrap();
    let report = cache.namespace_shadow_report("zipf").unwrap();
    let held: Vec<usize> = report.points.iter().map(|point| point.entries).collect();
    assert_eq!(held, [50, 100, 100, 100]);
    assert_eq!(report.lookups, 0, "they were no accesses");
    (0..100).for_each(|number| request(&cache, key(ZIPF, number)));
    let report = cache.namespace_shadow_report("zipf").unwrap();
    assert_eq!((report.lookups, report.hit_ratio("lru", 1.0)), (100, Some(1.0)));
    cache.reset_shadow_counts();
    assert_eq!(cache.namespace_shadow_report("zipf").unwrap().lookups, 0);
    // New shadows of the same namespace take the place of these.
    cache.shadow_namespace("zipf", 10, ShadowConfig::new().multiples([2.0])).unwrap();
    let report = cache.namespace_shadow_report("zipf").unwrap();
    assert_eq!((report.points.len(), report.points[0].entries), (1, 20));
}

#[test]
fn what_leaves_the_namespace_leaves_its_shadows() {
    let cache = builder(600, 200).build().unwrap();
    cache.shadow_namespace("zipf", 100, ShadowConfig::new().multiples([1.0])).unwrap();
    let entries = || {
        let report = cache.namespace_shadow_report("zipf").unwrap();
        (report.points[0].entries, report.lookups)
    };
    (0..50).for_each(|number| request(&cache, key(ZIPF, number)));
    assert_eq!(entries(), (50, 50));
    // A replacement is a use, and no access that has missed.
    cache.insert(key(ZIPF, 1), 7);
    assert_eq!(entries(), (50, 50));
    cache.remove(&key(ZIPF, 1));
    cache.insert_unevictable(key(ZIPF, 2), 7);
    assert_eq!(entries(), (48, 50));
    cache.insert(key(ZIPF, 2), 7);
    assert_eq!(entries(), (49, 50));
    cache.invalidate_namespace("loop");
    assert_eq!(entries(), (49, 50));
    cache.invalidate_namespace("zipf");
    assert_eq!(entries(), (0, 50));
    // The entry is still in the table, but not valid any more: storing the key anew is a miss.
    request(&cache, key(ZIPF, 3));
    assert_eq!(entries(), (1, 51));
    cache.validate();
}

#[test]
fn entry_that_changes_its_namespace_changes_the_shadow() {
    let namespaces = Namespaces::at_insertion().guarantee("a", 2).guarantee("b", 2);
    let builder = Cache::builder().capacity(8).maintenance(Maintenance::Inline);
    let cache: Cache<u64, u64> = builder.namespaces(namespaces).build().unwrap();
    for name in ["a", "b"] {
        cache.shadow_namespace(name, 4, ShadowConfig::new().multiples([1.0])).unwrap();
    }
    let entries = |name| cache.namespace_shadow_report(name).unwrap().points[0].entries;
    cache.insert_with(1, 1, InsertOptions::new().namespace("a"));
    assert_eq!((entries("a"), entries("b")), (1, 0));
    cache.insert_with(1, 1, InsertOptions::new().namespace("b"));
    assert_eq!((entries("a"), entries("b")), (0, 1));
    assert_eq!(cache.namespace_shadow_report("b").unwrap().lookups, 0, "the key was present");
    cache.get(&1);
    assert_eq!(cache.namespace_shadow_report("b").unwrap().hit_ratio("", 1.0), None);
    assert_eq!(cache.namespace_shadow_report("b").unwrap().points[0].hit_ratio, Some(1.0));
}

#[test]
fn shadows_begin_and_end_while_threads_use_the_cache() {
    for maintenance in [Maintenance::Inline, Maintenance::Background] {
        let cache = builder(3_000, 500).maintenance(maintenance).partitions(4).build().unwrap();
        std::thread::scope(|scope| {
            for seed in 1..4 {
                let cache = &cache;
                scope.spawn(move || {
                    let mut random = Random(seed);
                    for at in 0..30_000 {
                        request(cache, key(at % 3, random.skewed(5_000)));
                        if at % 5_000 == 0 {
                            cache.invalidate_namespace("idle");
                        }
                    }
                });
            }
            for round in 0..300_u64 {
                let name = NAMES[(round % 3) as usize];
                cache.shadow_namespace(name, 1 + round, ShadowConfig::new()).unwrap();
                for name in NAMES {
                    let Some(report) = cache.namespace_shadow_report(name) else { continue };
                    for point in report.points {
                        let entries = point.capacity.unwrap() as f64;
                        assert!(!point.has_failed && point.entries as f64 <= entries, "{point}");
                    }
                }
                if round % 7 == 0 {
                    assert!(cache.end_namespace_shadow(name));
                }
            }
        });
        cache.run_pending();
        cache.validate();
    }
}
