//! Histograms of load times and of ages at eviction.

use std::time::Duration;

use larder::metrics::{BucketCounts, MetricsError};
use larder::test::FakeClock;
use larder::{Cache, Maintenance, Policy, Removal};

use super::{collector_of, scrape};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_load_counts_in_the_bucket_of_its_time_whether_it_fails_or_not() {
    let clock = FakeClock::new();
    let cache: Cache<u32, u32> = Cache::builder()
        .name("loads")
        .capacity(100)
        .clock(clock.clone())
        .load_time_histogram()
        .build()
        .unwrap();
    let collector = collector_of(&cache);
    for (key, time) in [(1, Duration::from_millis(30)), (2, 3 * SECOND), (3, 100 * SECOND)] {
        cache.get_or_insert_with(&key, || {
            clock.advance(time);
            key
        });
        // A hit does not load.
        assert_eq!(cache.get_or_insert_with(&key, || unreachable!()), key);
    }
    let failed = cache.try_get_or_insert_with(&4, || {
        clock.advance(Duration::from_micros(40));
        Err("no")
    });
    failed.unwrap_err();
    let times = cache.load_times().unwrap();
    assert_eq!((times.count(), times.quantile(0.75)), (4, Some(5 * SECOND)));
    assert_eq!(times.quantile(1.0), None, "it is above all bounds");

    let found = scrape(&collector);
    let bucket = |bound: &str| {
        found[&format!("larder_load_duration_seconds_bucket{{cache=\"loads\",le=\"{bound}\"}}")]
    };
    assert_eq!([bucket("1e-05"), bucket("2.5e-05"), bucket("5e-05")], [0.0, 0.0, 1.0]);
    assert_eq!([bucket("0.025"), bucket("0.05"), bucket("2.5")], [1.0, 2.0, 2.0]);
    assert_eq!([bucket("5.0"), bucket("30.0"), bucket("+Inf")], [3.0, 3.0, 4.0]);
    assert_eq!(found["larder_load_duration_seconds_count{cache=\"loads\"}"], 4.0);
    let sum = found["larder_load_duration_seconds_sum{cache=\"loads\"}"];
    assert!((sum - 103.03004).abs() < 1e-6, "{sum}");
}

#[test]
fn evicted_entries_count_by_their_ages_and_no_others() {
    let clock = FakeClock::new();
    let builder = || {
        let builder = Cache::builder().name("ages").capacity(2).policy(Policy::lru());
        builder.maintenance(Maintenance::Inline).clock(clock.clone()).eviction_age_histogram()
    };
    let with_atomic = builder().atomic_listener(|_: &Removal<'_, u32, u32>| {});
    let with_deadlines = builder().time_to_live(10_000 * SECOND).time_to_idle(9_000 * SECOND);
    let parted = builder().capacity(4).partitions(2);
    for (what, cache) in [
        ("plain", builder().build().unwrap()),
        ("an atomic listener", with_atomic.build().unwrap()),
        ("deadlines", with_deadlines.build().unwrap()),
        ("partitions", parted.build().unwrap()),
    ] {
        let collector = collector_of(&cache);
        for key in 0..200 {
            cache.insert(key, 0);
            clock.advance(20 * SECOND);
        }
        let evictions = cache.stats().evictions;
        assert!(evictions >= 196, "{what}");
        let ages = cache.eviction_ages().unwrap();
        assert_eq!(ages.count(), evictions, "{what}");
        if what != "partitions" {
            assert_eq!(ages.quantile(1.0), Some(60 * SECOND), "{what}: 40 seconds");
            assert!((ages.sum_seconds() - 40.0 * evictions as f64).abs() < 1e-6, "{what}");
        }
        // None of these is an eviction.
        cache.insert(199, 1);
        cache.remove(&199);
        cache.insert_with_tags(500, 1, ["tag"]);
        cache.invalidate_tag("tag");
        cache.retain(|_, _| true);
        cache.insert_with_ttl(501, 1, SECOND);
        clock.advance(2 * SECOND);
        cache.run_pending();
        cache.clear();
        let (ages, evictions) = (cache.eviction_ages().unwrap(), cache.stats().evictions);
        assert_eq!(ages.count(), evictions, "{what}");
        let found = scrape(&collector);
        assert_eq!(
            found["larder_eviction_age_seconds_count{cache=\"ages\"}"], evictions as f64,
            "{what}"
        );
        assert_eq!(
            found["larder_eviction_age_seconds_bucket{cache=\"ages\",le=\"+Inf\"}"],
            evictions as f64,
            "{what}"
        );
    }
}

#[test]
fn buckets_never_fall_from_one_to_the_next() {
    let clock = FakeClock::new();
    let cache: Cache<u32, u32> = super::full_builder(&clock).build().unwrap();
    let collector = collector_of(&cache);
    for round in 0..5 {
        super::use_all(&cache, &clock, round);
    }
    let families = collector.gather().unwrap();
    for name in ["larder_load_duration_seconds", "larder_eviction_age_seconds"] {
        let sample = &families.get(name).unwrap().samples()[0];
        let larder::metrics::SampleValue::Histogram(counts) = sample.value() else {
            panic!("{name} is a histogram")
        };
        assert!(counts.buckets().is_sorted_by(|one, next| one.0 < next.0 && one.1 <= next.1));
        assert!(counts.buckets().len() > 15 && counts.count() > 0, "{name}");
        assert!(counts.buckets().iter().all(|(_, count)| *count <= counts.count()));
    }
}

#[test]
fn a_cache_that_was_not_asked_has_no_histograms() {
    let cache: Cache<u32, u32> = Cache::builder().capacity(1).keep_ages().build().unwrap();
    cache.get_or_insert_with(&1, || 1);
    assert_eq!((cache.load_times(), cache.eviction_ages()), (None, None));
}

#[test]
fn wrong_buckets_are_refused() {
    for (buckets, count, sum) in [
        (vec![(1.0, 1), (1.0, 2)], 2, 1.0),
        (vec![(2.0, 1), (1.0, 2)], 2, 1.0),
        (vec![(1.0, 2), (2.0, 1)], 2, 1.0),
        (vec![(1.0, 3)], 2, 1.0),
        (vec![(f64::NAN, 1)], 2, 1.0),
        (vec![(f64::INFINITY, 1)], 2, 1.0),
        (vec![(1.0, 1)], 2, f64::NAN),
    ] {
        let error = BucketCounts::new(buckets.clone(), count, sum).unwrap_err();
        assert!(matches!(error, MetricsError::BadBuckets { .. }), "{buckets:?}");
        assert!(error.to_string().starts_with("these are not the buckets of a histogram: "));
    }
    let none = BucketCounts::new(Vec::new(), 0, 0.0).unwrap();
    assert_eq!((none.buckets().len(), none.count(), none.sum()), (0, 0, 0.0));
}
