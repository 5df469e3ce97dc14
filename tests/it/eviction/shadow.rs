//! Shadow caches: equal to the cache they shadow if all keys are sampled, and close to it if not.

use std::hash::{BuildHasherDefault, DefaultHasher};
use std::sync::Barrier;
use std::time::Duration;

use larder::test::FakeClock;
use larder::{BuildError, Cache, Listener, Maintenance, Policy, ShadowConfig, ShadowReport};

use crate::support::rng::{Rng, seeds};

fn inline_cache(policy: &Policy, capacity: usize, shadow: ShadowConfig) -> Cache<u64, u64> {
    Cache::<u64, u64>::builder()
        .count_lookups()
        .policy(policy.clone())
        .capacity(capacity)
        .maintenance(Maintenance::Inline)
        .shadow(shadow)
        .build()
        .unwrap()
}

fn read_through(cache: &Cache<u64, u64>, key: u64) {
    if cache.get(&key).is_none() {
        cache.insert(key, key);
    }
}

/// The hit ratio of a separate cache.
fn ratio_of(policy: &Policy, capacity: usize, keys: &[u64]) -> f64 {
    let cache = Cache::<u64, u64>::builder()
        .count_lookups()
        .policy(policy.clone())
        .capacity(capacity)
        .maintenance(Maintenance::Inline)
        .build()
        .unwrap();
    keys.iter().for_each(|key| read_through(&cache, *key));
    cache.stats().hit_ratio().unwrap()
}

fn report_of(cache: &Cache<u64, u64>) -> ShadowReport {
    cache.shadow_report().expect("it was built with shadows")
}

fn skewed_keys(seed: u64, keys: u64, length: usize) -> Vec<u64> {
    let mut rng = Rng::new(seed);
    (0..length).map(|_| rng.skewed_below(keys)).collect()
}

#[test]
fn a_cache_without_shadows_has_no_report() {
    let cache: Cache<u64, u64> = Cache::new(10);
    assert_eq!(cache.shadow_report(), None);
    cache.reset_shadow_counts();
}

#[test]
fn a_listener_changes_no_shadow() {
    let keys = skewed_keys(0x115e, 400, 5_000);
    let points = |listener: Option<Listener<u64, u64>>, maintenance: Maintenance| {
        let mut builder = Cache::<u64, u64>::builder()
            .policy(Policy::sieve())
            .capacity(50)
            .maintenance(maintenance)
            .shadow(ShadowConfig::new());
        if let Some(listener) = listener {
            builder = builder.listener(listener);
        }
        let cache = builder.build().unwrap();
        for (number, key) in (0..).zip(&keys) {
            read_through(&cache, *key);
            match number % 50 {
                // A replacement and a removal are played to the shadows, too.
                0 => drop(cache.insert(*key, number)),
                25 => drop(cache.remove(key)),
                _ => {}
            }
            // Which of the keys a cache holds when the next one comes does not depend on a thread.
            cache.run_pending();
        }
        let report = report_of(&cache);
        (report.records, report.points)
    };
    let plain = points(None, Maintenance::Inline);
    assert!(plain.1[3].hit_ratio > plain.1[1].hit_ratio, "more room, more hits: {plain:?}");
    assert_eq!(points(Some(Listener::new(|_| {})), Maintenance::Inline), plain);
    // Records are lost if the buffer is full, but it is emptied after each call.
    let (records, of_background) = points(Some(Listener::new(|_| {})), Maintenance::Background);
    assert_eq!(records, plain.0);
    assert_eq!(of_background.len(), plain.1.len());
}

#[test]
fn small_shadows_equal_separate_caches() {
    for seed in seeds(0x5ad0, 2) {
        let keys = skewed_keys(seed, 400, 5_000);
        for own in [Policy::lru(), Policy::fifo(), Policy::sieve()] {
            let others = [Policy::lru(), Policy::lfu(), Policy::fifo(), Policy::sieve()];
            let mut shadow = ShadowConfig::new().multiples([0.1, 0.5, 1.0, 2.0, 4.0]);
            for policy in &others {
                shadow = shadow.policy(policy.clone());
            }
            let cache = inline_cache(&own, 50, shadow);
            keys.iter().for_each(|key| read_through(&cache, *key));
            let report = report_of(&cache);
            assert_eq!((report.points.len(), report.lookups, report.dropped), (20, 5_000, 0));
            for point in &report.points {
                let policy = Policy::named(&point.policy);
                let alone = ratio_of(&policy, point.capacity.unwrap(), &keys);
                // A miss can insert into the shadow a key that the cache holds, and the other way
                // round.
                let off = (point.hit_ratio.unwrap() - alone).abs();
                assert!(off < 1e-9, "{point:?}, alone {alone}, own {own:?}, seed {seed}");
                assert_eq!((point.samples, point.sample_rate), (5_000, 1.0));
            }
            let own_ratio = report.hit_ratio(own.name(), 1.0).unwrap();
            assert!((own_ratio - cache.stats().hit_ratio().unwrap()).abs() < 1e-9);
            cache.validate();
        }
    }
}

#[test]
fn sampled_shadows_are_close_to_separate_caches() {
    let keys = skewed_keys(3, 20_000, 100_000);
    let policies = [Policy::lru(), Policy::default()];
    let shadow = ShadowConfig::new()
        .policy(policies[0].clone())
        .policy(policies[1].clone())
        .sample_entries(1024);
    let cache = inline_cache(&Policy::lru(), 3_000, shadow);
    keys.iter().for_each(|key| read_through(&cache, *key));
    let report = report_of(&cache);
    for point in &report.points {
        assert!(point.sample_rate < 0.7 && point.samples < 80_000, "{point:?}");
        let alone = ratio_of(&Policy::named(&point.policy), point.capacity.unwrap(), &keys);
        assert!((point.hit_ratio.unwrap() - alone).abs() < 0.05, "{point:?}, alone {alone}");
    }
    let curve: Vec<f64> = report.curve("lru").map(|(_, ratio)| ratio).collect();
    assert!(curve.len() == 4 && curve.is_sorted(), "{curve:?}");
    // 1024 entries for each of 8 shadow caches, and their fixed parts.
    assert!(report.bytes < 3 << 20, "{} bytes", report.bytes);
}

#[test]
fn runs_with_the_same_hasher_give_the_same_report() {
    let run = || {
        let cache = Cache::<u64, u64>::builder()
            .capacity(2_000)
            .maintenance(Maintenance::Inline)
            .hasher(crate::support::hashers::Identity)
            .shadow(ShadowConfig::new().policy(Policy::lru()).policy(Policy::sieve()))
            .build()
            .unwrap();
        for key in skewed_keys(9, 10_000, 10_000) {
            if cache.get(&key).is_none() {
                cache.insert(key, key);
            }
        }
        cache.shadow_report().unwrap()
    };
    assert_eq!(run(), run());
}

#[test]
fn removals_reach_the_shadows_and_misses_without_insertion_add_nothing() {
    let cache = inline_cache(&Policy::lru(), 10, ShadowConfig::new().multiples([1.0, 4.0]));
    for _ in 0..5 {
        cache.get(&1);
    }
    assert_eq!(report_of(&cache).hit_ratio("lru", 4.0), Some(0.0));
    cache.insert(1, 1);
    cache.get(&1);
    cache.remove(&1);
    cache.get(&1);
    let report = report_of(&cache);
    // One hit in seven lookups.
    for multiple in [1.0, 4.0] {
        let ratio = report.hit_ratio("LRU", multiple).unwrap();
        assert!((ratio - 1.0 / 7.0).abs() < 1e-9, "{ratio}");
    }
    assert_eq!(report.points[0].entries, 0);
    assert_eq!(report.hit_ratio("lru", 3.0), None);
    assert_eq!(report.hit_ratio("fifo", 1.0), None);
}

#[test]
fn expired_entries_leave_the_shadows_too() {
    let clock = FakeClock::new();
    let shadow = ShadowConfig::new().policy(Policy::lru()).multiples([0.5, 1.0, 2.0]);
    let cache: Cache<u64, u64> = Cache::builder()
        .capacity(40)
        .policy(Policy::lru())
        .maintenance(Maintenance::Inline)
        .clock(clock.clone())
        .time_to_live(Duration::from_secs(60))
        .shadow(shadow)
        .build()
        .unwrap();
    (0..10).for_each(|key| read_through(&cache, key));
    clock.advance(Duration::from_secs(70));
    // The timers alone remove them, without a lookup.
    cache.run_pending();
    assert_eq!(cache.stats().expirations, 10);
    (0..10).for_each(|key| assert_eq!(cache.get(&key), None));
    for point in report_of(&cache).points {
        assert_eq!(point.hit_ratio, Some(0.0), "{point:?}");
    }
    // New insertions are held again.
    (0..10).for_each(|key| read_through(&cache, key));
    (0..10).for_each(|key| read_through(&cache, key));
    assert!(report_of(&cache).points.iter().all(|point| point.hit_ratio > Some(0.0)));
    cache.validate();
}

#[test]
fn unevictable_entries_are_not_in_shadows() {
    let shadow = ShadowConfig::new().policy(Policy::lru()).multiples([1.0]);
    let cache = inline_cache(&Policy::lru(), 10, shadow);
    let point = || report_of(&cache).points.remove(0);
    (0..10).for_each(|key| read_through(&cache, key));
    for key in 100..150 {
        cache.insert_unevictable(key, key);
    }
    (0..10).chain(100..150).for_each(|key| assert!(cache.get(&key).is_some()));
    assert_eq!((point().entries, point().samples), (10, 20));
    assert!(
        (point().hit_ratio.unwrap() - cache.stats().hit_ratio().unwrap()).abs() < 1e-9,
        "a hit for all"
    );
    // An entry that becomes unevictable leaves the shadows, and returns when it is evictable again.
    cache.insert_unevictable(0, 0);
    assert_eq!(point().entries, 9);
    cache.insert(0, 0);
    assert_eq!(point().entries, 10);
    cache.validate();
}

#[test]
fn a_reset_clears_the_counts_and_keeps_the_contents() {
    let cache = inline_cache(&Policy::lru(), 10, ShadowConfig::new());
    (0..10).for_each(|key| read_through(&cache, key));
    assert_eq!(report_of(&cache).hit_ratio("lru", 1.0), Some(0.0));
    cache.reset_shadow_counts();
    let report = report_of(&cache);
    assert_eq!((report.lookups, report.records, report.points[1].samples), (0, 0, 0));
    (0..10).for_each(|key| read_through(&cache, key));
    assert_eq!(report_of(&cache).hit_ratio("lru", 1.0), Some(1.0));
}

#[test]
fn shadows_follow_a_change_of_capacity() {
    let shadow = ShadowConfig::new().multiples([0.5, 1.0, 4.0]).sample_entries(64);
    let cache = inline_cache(&Policy::lru(), 50, shadow);
    for capacity in [50, 10_000, 40, 1_000] {
        cache.set_capacity(capacity).unwrap();
        skewed_keys(5, 20_000, 5_000).into_iter().for_each(|key| read_through(&cache, key));
        for point in report_of(&cache).points {
            let whole = (capacity as f64 * point.multiple) as usize;
            assert_eq!(point.capacity, Some(whole), "{point:?}");
            // The sample may have more of the keys than its rate says.
            let room = if whole > 64 { 64 * 13 / 10 } else { whole };
            assert!(point.entries <= room && !point.has_failed, "{point:?}");
            assert!((point.sample_rate - (64.0 / whole as f64).min(1.0)).abs() < 1e-9);
        }
    }
    // 40 entries fit without sampling, as if the capacity had never been another one.
    let keys = skewed_keys(8, 200, 3_000);
    cache.set_capacity(40).unwrap();
    keys.iter().for_each(|key| read_through(&cache, *key));
    cache.reset_shadow_counts();
    let before = cache.stats();
    keys.iter().for_each(|key| read_through(&cache, *key));
    let after = cache.stats();
    let own = (after - before).hits.unwrap() as f64 / keys.len() as f64;
    let ratio = report_of(&cache).hit_ratio("lru", 1.0).unwrap();
    assert!((ratio - own).abs() < 1e-9, "{ratio}, own {own}");
}

#[test]
fn a_growing_sample_takes_in_the_entries_of_the_cache() {
    let shadow = ShadowConfig::new().multiples([1.0]).sample_entries(16);
    let cache = inline_cache(&Policy::lru(), 10_000, shadow);
    (0..16).for_each(|key| read_through(&cache, key));
    let sampled = report_of(&cache).records;
    assert!(sampled < 8, "two records for one key of 625: {sampled}");
    cache.set_capacity(16).unwrap();
    (0..16).for_each(|key| assert_eq!(cache.get(&key), Some(key)));
    assert_eq!(report_of(&cache).records, sampled + 16);
    cache.reset_shadow_counts();
    (0..16).for_each(|key| assert_eq!(cache.get(&key), Some(key)));
    assert_eq!(report_of(&cache).hit_ratio("lru", 1.0), Some(1.0));
}

/// By chance a sample has more of a loop's keys than its share, or fewer.
#[test]
fn a_loop_fits_a_sampled_shadow_if_it_would_fit_a_cache() {
    for loops in 0..2_u64 {
        let cache = Cache::builder()
            .hasher(BuildHasherDefault::<DefaultHasher>::default())
            .policy(Policy::lru())
            .capacity(5_000)
            .maintenance(Maintenance::Inline)
            .shadow(ShadowConfig::new().multiples([2.0]).sample_entries(256))
            .build()
            .unwrap();
        let rounds = |keys: u64, rounds: u32| {
            for _ in 0..rounds {
                for key in loops * 1_000_000..loops * 1_000_000 + keys {
                    if cache.get(&key).is_none() {
                        cache.insert(key, ());
                    }
                }
            }
        };
        for (keys, ratio) in [(9_700, 1.0), (10_300, 0.0)] {
            rounds(keys, 12);
            cache.reset_shadow_counts();
            rounds(keys, 2);
            let report = cache.shadow_report().unwrap();
            assert_eq!(report.hit_ratio("lru", 2.0), Some(ratio), "{keys} keys, loop {loops}");
        }
    }
}

#[test]
fn sampled_entries_expire_and_are_evicted_like_others() {
    let clock = FakeClock::new();
    let cache: Cache<u64, u64> = Cache::builder()
        .capacity(40)
        .maintenance(Maintenance::Inline)
        .clock(clock.clone())
        .time_to_idle(Duration::from_secs(10))
        .shadow(ShadowConfig::new())
        .build()
        .unwrap();
    cache.insert(1, 10);
    cache.insert_with_ttl(2, 20, Duration::from_secs(25));
    cache.insert_with_tags(3, 30, ["tag"]);
    for _ in 0..3 {
        clock.advance(Duration::from_secs(8));
        assert_eq!([1, 2, 3].map(|key| cache.get(&key)), [Some(10), Some(20), Some(30)]);
    }
    clock.advance(Duration::from_secs(8));
    assert_eq!([1, 2, 3].map(|key| cache.get(&key)), [Some(10), None, Some(30)]);
    assert!(cache.invalidate_tag("tag"));
    assert_eq!((cache.get(&3), cache.peek(&1)), (None, Some(10)));
    clock.advance(Duration::from_secs(11));
    assert_eq!(cache.get(&1), None);
    let report = report_of(&cache);
    assert_eq!((report.lookups, report.hit_ratio("window_tiny_lfu", 1.0)), (14, Some(11.0 / 14.0)));
    cache.validate();
}

#[test]
fn every_lookup_is_counted_however_many_caches_have_shadows() {
    let caches: Vec<Cache<u64, u64>> =
        (0..9).map(|_| inline_cache(&Policy::lru(), 10, ShadowConfig::new())).collect();
    for (number, cache) in (1..).zip(&caches) {
        std::thread::scope(|scope| {
            scope.spawn(|| (0..number).for_each(|key| assert_eq!(cache.get(&key), None)));
        });
        (0..number).for_each(|key| assert_eq!(cache.get(&key), None));
    }
    for (number, cache) in (1..).zip(&caches) {
        assert_eq!(report_of(cache).lookups, 2 * number);
    }
}

#[test]
fn weights_bound_the_shadows() {
    let cache = Cache::<u64, u64>::builder()
        .max_weight(100)
        .weigher(|_, weight| *weight as u32)
        .policy(Policy::lru())
        .maintenance(Maintenance::Inline)
        .shadow(ShadowConfig::new().multiples([0.5, 1.0, 2.0]))
        .build()
        .unwrap();
    for _ in 0..10 {
        for key in 0..10 {
            // The weights sum to 150: more than the cache holds, less than twice as much.
            if cache.get(&key).is_none() {
                cache.insert(key, 15);
            }
        }
    }
    let report = cache.shadow_report().unwrap();
    let curve: Vec<_> = report.curve("lru").map(|(_, ratio)| (ratio * 10.0).round()).collect();
    assert_eq!(curve, [0.0, 0.0, 9.0]);
    let weights: Vec<_> = report.points.iter().map(|point| point.max_weight).collect();
    assert_eq!(weights, [Some(50), Some(100), Some(200)]);
}

#[test]
fn wrong_configurations_are_refused() {
    let built = |shadow: ShadowConfig| {
        Cache::<u64, u64>::builder().capacity(10).shadow(shadow).build().map(drop)
    };
    for given in [0.0, -1.0, f64::INFINITY] {
        let refused = built(ShadowConfig::new().multiples([1.0, given]));
        assert_eq!(refused, Err(BuildError::BadMultiple { given }));
    }
    assert!(built(ShadowConfig::new().multiples([f64::NAN])).is_err());
    let none = built(ShadowConfig::new().multiples([]));
    assert_eq!(none, Err(BuildError::BadShadows { given: 0, limit: 256 }));
    let many = built(ShadowConfig::new().multiples(vec![1.0; 257]));
    assert_eq!(many, Err(BuildError::BadShadows { given: 257, limit: 256 }));
    let few = built(ShadowConfig::new().sample_entries(15));
    assert_eq!(few, Err(BuildError::FewSampleEntries { given: 15, least: 16 }));
    let unknown = built(ShadowConfig::new().policy(Policy::named("no such")));
    assert!(matches!(unknown, Err(BuildError::UnknownPolicy { .. })));
}

#[test]
fn threads_feed_the_shadows_in_background_mode() {
    const THREADS: u64 = 4;
    const LOOKUPS: usize = 20_000;
    let cache = Cache::<u64, u64>::builder()
        .policy(Policy::lru())
        .capacity(2_000)
        .partitions(1)
        .shadow(ShadowConfig::new().multiples([0.5, 1.0, 8.0]))
        .build()
        .unwrap();
    let start = Barrier::new(THREADS as usize);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (cache, start) = (&cache, &start);
            scope.spawn(move || {
                start.wait();
                for key in skewed_keys(thread, 10_000, LOOKUPS) {
                    read_through(cache, key);
                    if key % 1000 == 7 {
                        cache.remove(&key);
                    }
                    if key % 5000 == 9 {
                        let _ = cache.shadow_report();
                    }
                }
            });
        }
    });
    let report = report_of(&cache);
    assert_eq!(report.lookups, THREADS * LOOKUPS as u64);
    assert!(report.records > 0);
    for point in &report.points {
        assert!((0.0..=1.0).contains(&point.hit_ratio.unwrap()) && !point.has_failed, "{point:?}");
        // The sample may have more of the keys than its rate says.
        let limit = 1.3 * 2_000.0 * point.multiple * point.sample_rate + 1.0;
        assert!(point.entries as f64 <= limit, "{point:?}");
    }
    cache.validate();
}
