//! The cleaner, clones and the end of a cache.

use std::sync::Arc;
use std::time::Duration;

use larder::quick::{QuickCache, QuickCacheConfig};

use super::{Fixture, code};

cases! {
    stop_is_idempotent_and_leaves_the_cache_usable {
        let it = Fixture::with(|config| config.cleanup_interval = Some(1.0));
        it.cache.stop();
        it.cache.stop();
        it.cache.set("k", 1, 1).unwrap();
        it.pass(2);
        assert_eq!(code(it.cache.get("k")), "KEY_EXPIRED");
    }
    cleanup_runs_in_the_background {
        let it = Fixture::with(|config| config.cleanup_interval = Some(5.0));
        it.cache.set("k", 1, 1).unwrap();
        it.pass(6);
        while it.cache.size() > 0 {
            std::thread::yield_now();
        }
        assert_eq!(it.counts()[6], 1);
        assert_eq!(code(it.cache.get("k")), "KEY_NOT_FOUND");
    }
    cleanup_interval_may_be_a_fraction {
        let config = QuickCacheConfig::builder().cleanup_interval(0.001).build().unwrap();
        let cache: QuickCache<i64> = QuickCache::new(config).unwrap();
        cache.set("k", 1, Duration::from_nanos(1)).unwrap();
        while cache.size() > 0 {
            std::thread::yield_now();
        }
    }
    no_cleanup_runs_after_stop {
        let it = Fixture::with(|config| config.cleanup_interval = Some(5.0));
        it.cache.stop();
        it.cache.set("k", 1, 1).unwrap();
        it.pass(100);
        // The same thread has finished a cleanup of another cache.
        let other = Fixture::with(|config| config.cleanup_interval = Some(5.0));
        other.cache.set("k", 1, 1).unwrap();
        other.pass(100);
        while other.cache.size() > 0 {
            std::thread::yield_now();
        }
        assert_eq!(it.cache.size(), 1);
    }
    dropping_the_cache_frees_its_values {
        let value = Arc::new(());
        let config = QuickCacheConfig::builder().cleanup_interval(0.001).build().unwrap();
        let cache: QuickCache<Arc<()>> = QuickCache::new(config).unwrap();
        cache.set_many((0..50).map(|n| (format!("k{n}"), Arc::clone(&value))), None).unwrap();
        drop(cache);
        assert_eq!(Arc::strong_count(&value), 1);
    }
    clones_are_one_cache {
        let it = Fixture::valid();
        let clone = it.cache.clone();
        clone.set("l", 2, None).unwrap();
        assert_eq!(it.cache.get("l").unwrap(), 2);
    }
    a_value_may_use_the_cache_when_it_is_dropped {
        struct Reentrant(Option<QuickCache<Reentrant>>);
        impl Drop for Reentrant {
            fn drop(&mut self) {
                if let Some(cache) = &self.0 {
                    let _ = cache.size();
                    let _ = cache.delete("other");
                    cache.cleanup();
                }
            }
        }
        let config = QuickCacheConfig::builder().max_size(2_usize).cleanup_interval(None).build().unwrap();
        let cache: QuickCache<Reentrant> = QuickCache::new(config).unwrap();
        for n in 0..500 {
            cache.set(format!("k{n}"), Reentrant(Some(cache.clone())), None).unwrap();
        }
        cache.clear();
        cache.validate();
    }
}
