//! What is counted, and the user's own metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use larder::quick::{Metric, MetricsSink, QuickCache, QuickCacheConfig};
use larder::test::FakeClock;

use super::{Fixture, code, is_stamped};

cases! {
    metrics_have_the_eighteen_keys {
        let it = Fixture::missing();
        let json = serde_json::to_value(it.cache.get_metrics_snapshot()).unwrap();
        let mut keys: Vec<_> = json.as_object().unwrap().keys().cloned().collect();
        keys.sort();
        let mut expected = [
            "hits", "misses", "sets", "gets", "failed_ops", "evictions", "expired_removals",
            "manual_deletions", "current_valid_keys", "peak_valid_keys", "current_total_keys",
            "peak_total_keys", "hit_ratio", "miss_ratio", "get_set_ratio", "eviction_rate",
            "expired_bloat", "waste_percentage",
        ];
        expected.sort_unstable();
        assert_eq!(keys, expected);
    }
    metrics_of_a_new_cache_are_zero {
        assert_eq!(Fixture::missing().cache.get_metrics_snapshot(), Default::default());
    }
    metrics_ratios_are_of_hits_and_misses {
        let it = Fixture::valid();
        let _ = (it.cache.get("k"), it.cache.get("k"), it.cache.get("k"), it.cache.get("x"));
        let metrics = it.cache.get_metrics_snapshot();
        assert_eq!((metrics.hit_ratio, metrics.miss_ratio), (0.75, 0.25));
    }
    metrics_get_set_ratio_is_gets_for_each_set {
        let it = Fixture::missing();
        it.fill(&["a", "b"]);
        let _ = (it.cache.get("a"), it.cache.get("b"), it.cache.get("c"));
        assert_eq!(it.cache.get_metrics_snapshot().get_set_ratio, 1.5);
    }
    metrics_eviction_rate_is_evictions_for_each_set {
        let it = Fixture::new(1, "lru");
        it.fill(&["a", "b"]);
        assert_eq!(it.cache.get_metrics_snapshot().eviction_rate, 0.5);
    }
    metrics_bloat_counts_unnoticed_expired_entries {
        let it = Fixture::expired();
        it.cache.set("l", 0, None).unwrap();
        let metrics = it.cache.get_metrics_snapshot();
        assert_eq!((metrics.current_total_keys, metrics.current_valid_keys), (2, 1));
        assert_eq!((metrics.expired_bloat, metrics.waste_percentage), (1, 50.0));
    }
    metrics_snapshot_does_not_inspect_entries {
        let it = Fixture::expired();
        let _ = it.cache.get_metrics_snapshot();
        assert_eq!(code(it.cache.get("k")), "KEY_EXPIRED");
    }
    metrics_peaks_stay {
        let it = Fixture::missing();
        it.fill(&["a", "b", "c"]);
        it.cache.clear();
        let metrics = it.cache.get_metrics_snapshot();
        assert_eq!((metrics.peak_total_keys, metrics.peak_valid_keys), (3, 3));
        assert_eq!(metrics.current_total_keys, 0);
    }
    metrics_reset_zeroes_the_counts_and_keeps_the_gauges_correct {
        let it = Fixture::new(3, "lru");
        it.cache.set_many((0..10).map(|n| (format!("k{n}"), n)), None).unwrap();
        it.cache.reset_metrics();
        assert_eq!(it.counts(), [0; 8]);
        let metrics = it.cache.get_metrics_snapshot();
        assert_eq!((metrics.current_total_keys, metrics.current_valid_keys), (3, 3));
        assert_eq!((metrics.peak_total_keys, metrics.peak_valid_keys), (3, 3));
    }
    metrics_can_be_disabled {
        let it = Fixture::with(|config| config.enable_metrics = false);
        it.fill(&["a"]);
        let _ = (it.cache.get("a"), it.cache.get("b"), it.cache.delete("a"));
        assert_eq!(it.cache.get_metrics_snapshot(), Default::default());
    }
    metrics_are_saved_as_json {
        let it = Fixture::valid();
        it.cache.get("k").unwrap();
        let path = it.cache.save_metrics_to_disk(None).unwrap();
        assert_eq!(path, it.folder.path().join("metrics/metrics.json"));
        let json: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        assert_eq!((json["hits"].as_u64(), json["hit_ratio"].as_f64()), (Some(1), Some(1.0)));
    }
    metrics_files_take_a_timestamp_by_configuration {
        let it = Fixture::with(|config| config.cache_metrics_timestamps = true);
        let path = it.cache.save_metrics_to_disk(None).unwrap();
        assert!(is_stamped(&path, "metrics", "json"), "{}", path.display());
    }
    metrics_sink_is_notified_of_every_metric {
        #[derive(Clone, Default)]
        struct Sink(Arc<[AtomicU64; 8]>);
        impl MetricsSink for Sink {
            fn count(&self, metric: Metric, times: u64) {
                self.0[metric as usize].fetch_add(times, Ordering::Relaxed);
            }
        }
        let (sink, clock) = (Sink::default(), FakeClock::new());
        let config = QuickCacheConfig::builder().max_size(2_usize).cleanup_interval(None).build().unwrap();
        let builder = QuickCache::builder(config).clock(clock.clone());
        let cache: QuickCache<i64> = builder.metrics_sink(sink.clone()).build().unwrap();
        cache.set_many([("a", 1), ("b", 2), ("c", 3)], 1).unwrap();
        let _ = (cache.get("c"), cache.get("x"), cache.add("c", 1, None), cache.delete("b"));
        clock.advance(Duration::from_secs(2));
        let _ = cache.get("c");
        let counts: Vec<_> = sink.0.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        // Hit, Miss, Set, Get, FailedOp, Eviction, ExpiredRemoval, ManualDeletion.
        assert_eq!(counts, [1, 2, 3, 3, 1, 1, 1, 1]);
    }
    metrics_are_exact_under_many_threads {
        let it = Fixture::roomy();
        it.fill(&["a"]);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|_| drop(it.cache.get("a"))));
            }
        });
        assert_eq!(it.counts()[..4], [4000, 0, 1, 4000]);
    }
}
