//! Where files are written, in which format, and what is loaded from them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use larder::quick::{QuickCache, QuickCacheConfig, Target};

use crate::support::block_on;

use super::{Fixture, code, is_stamped};

fn saved_as(target: impl FnOnce(&Path) -> Target) -> String {
    let it = Fixture::valid();
    let path = it.cache.save_to_disk(target(it.folder.path())).unwrap();
    assert!(path.is_file());
    path.strip_prefix(it.folder.path()).unwrap().to_str().unwrap().to_owned()
}

cases! {
    path_none_is_the_configured_file {
        assert_eq!(saved_as(|_| Target::default()), "storage/cache_data.bincode");
    }
    path_empty_is_the_configured_file {
        assert_eq!(saved_as(|_| Target::from("")), "storage/cache_data.bincode");
    }
    path_of_a_folder_is_the_configured_file_in_it {
        assert_eq!(saved_as(|folder| Target::from(folder)), "cache_data.bincode");
    }
    path_bare_name_is_in_the_storage_folder {
        assert_eq!(saved_as(|_| Target::from("mine")), "storage/mine.bincode");
    }
    path_with_a_folder_is_as_given {
        assert_eq!(saved_as(|folder| Target::from(folder.join("a/b"))), "a/b.bincode");
    }
    path_extension_is_replaced {
        assert_eq!(saved_as(|_| Target::from("x.dat")), "storage/x.bincode");
    }
    path_extension_of_the_serializer_is_kept {
        assert_eq!(saved_as(|_| Target::from("x.bincode")), "storage/x.bincode");
    }
    path_version_keeps_its_name {
        assert_eq!(saved_as(|_| Target::from("v1.2")), "storage/v1.2.bincode");
    }
    path_may_be_a_path_buf {
        assert_eq!(saved_as(|folder| (&PathBuf::from(folder).join("a.b")).into()), "a.bincode");
    }
    path_extension_is_that_of_the_serializer {
        let it = Fixture::with(|config| config.serializer = "JSON".to_owned());
        let path = it.cache.save_to_disk(None).unwrap();
        assert_eq!(path, it.folder.path().join("storage/cache_data.json"));
    }
    path_timestamp_on_request {
        let it = Fixture::valid();
        let path = it.cache.save_to_disk(Target::default().with_timestamp()).unwrap();
        assert!(is_stamped(&path, "cache_data", "bincode"), "{}", path.display());
    }
    path_timestamp_by_configuration {
        let it = Fixture::with(|config| config.cache_timestamps = true);
        let path = it.cache.save_to_disk("mine").unwrap();
        assert!(is_stamped(&path, "mine", "bincode"), "{}", path.display());
    }
    path_timestamp_can_be_left_out_for_once {
        let it = Fixture::with(|config| config.cache_timestamps = true);
        let path = it.cache.save_to_disk(Target::default().without_timestamp()).unwrap();
        assert_eq!(path, it.folder.path().join("storage/cache_data.bincode"));
    }
    path_timestamps_never_overwrite {
        let it = Fixture::valid();
        let save = || it.cache.save_to_disk(Target::default().with_timestamp()).unwrap();
        let paths: std::collections::HashSet<_> = (0..20).map(|_| save()).collect();
        assert_eq!(paths.len(), 20);
    }
    load_never_searches_for_timestamps {
        let it = Fixture::valid();
        it.cache.save_to_disk(Target::default().with_timestamp()).unwrap();
        assert_eq!(code(it.cache.load_from_disk(None)), "CACHE_LOAD_ERROR");
    }
    load_makes_no_folder {
        let it = Fixture::valid();
        let _ = it.cache.load_from_disk(it.folder.path().join("x/y/z"));
        assert!(!it.folder.path().join("x").exists() && !it.folder.path().join("storage").exists());
    }
}

cases! {
    load_replaces_the_present_entries {
        let it = Fixture::valid();
        it.cache.save_to_disk(None).unwrap();
        it.cache.clear();
        it.fill(&["other"]);
        it.cache.load_from_disk(None).unwrap();
        assert_eq!((it.cache.get("k").unwrap(), it.cache.size()), (1, 1));
    }
    load_resets_the_metrics_and_sets_the_gauges {
        let it = Fixture::valid();
        it.cache.get("k").unwrap();
        it.cache.save_to_disk(None).unwrap();
        it.cache.load_from_disk(None).unwrap();
        assert_eq!(it.counts(), [0; 8]);
        let metrics = it.cache.get_metrics_snapshot();
        assert_eq!((metrics.current_total_keys, metrics.current_valid_keys), (1, 1));
    }
    load_keeps_the_remaining_time_to_live {
        let it = Fixture::valid();
        it.pass(4);
        it.cache.save_to_disk(None).unwrap();
        it.cache.load_from_disk(None).unwrap();
        it.pass(5);
        assert_eq!(it.cache.get("k").unwrap(), 1);
        it.pass(2);
        assert_eq!(code(it.cache.get("k")), "KEY_EXPIRED");
    }
    load_skips_expired_entries {
        let it = Fixture::expired();
        it.cache.set("l", 2, None).unwrap();
        it.cache.save_to_disk(None).unwrap();
        it.cache.load_from_disk(None).unwrap();
        assert_eq!((it.cache.size(), code(it.cache.get("k"))), (1, "KEY_NOT_FOUND"));
    }
    load_keeps_the_bound {
        let big = Fixture::new(50, "lru");
        big.cache.set_many((0..50).map(|n| (format!("k{n}"), n)), None).unwrap();
        big.cache.get("k0").unwrap();
        let path = big.cache.save_to_disk(None).unwrap();
        let small = Fixture::new(5, "lru");
        small.cache.load_from_disk(&path).unwrap();
        assert_eq!(small.keys(), ["k0", "k46", "k47", "k48", "k49"]);
    }
    load_keeps_the_order_of_lru {
        let it = Fixture::new(3, "lru");
        it.fill(&["k0", "k1", "k2"]);
        it.cache.get("k0").unwrap();
        it.cache.save_to_disk(None).unwrap();
        it.cache.load_from_disk(None).unwrap();
        it.fill(&["k3"]);
        assert_eq!(it.keys(), ["k0", "k2", "k3"]);
    }
    load_keeps_the_order_of_fifo {
        let it = Fixture::new(3, "fifo");
        it.fill(&["k2", "k0", "k1"]);
        it.cache.save_to_disk(None).unwrap();
        it.cache.load_from_disk(None).unwrap();
        it.fill(&["k3"]);
        assert_eq!(it.keys(), ["k0", "k1", "k3"]);
    }
    load_keeps_the_counts_of_lfu {
        let it = Fixture::new(3, "lfu");
        it.fill(&["k0", "k1", "k2"]);
        for key in ["k0", "k0", "k0", "k1", "k2", "k2"] {
            it.cache.get(key).unwrap();
        }
        it.cache.save_to_disk(None).unwrap();
        it.cache.load_from_disk(None).unwrap();
        it.fill(&["k3"]);
        it.cache.get("k3").unwrap();
        it.fill(&["k4"]);
        assert_eq!(it.cache.get_many(["k0", "k1", "k2", "k3", "k4"]).len(), 3);
        assert!(it.cache.get("k0").is_ok() && it.cache.get("k2").is_ok() && it.cache.get("k4").is_ok());
    }
    load_with_json_is_the_same {
        let it = Fixture::with(|config| config.serializer = "json".to_owned());
        it.cache.set_many([("ä", 1), ("\n", -2), ("", i64::MIN)], None).unwrap();
        let path = it.cache.save_to_disk(None).unwrap();
        assert!(std::str::from_utf8(&std::fs::read(path).unwrap()).is_ok());
        it.cache.load_from_disk(None).unwrap();
        assert_eq!(it.cache.get_many(["ä", "\n", ""]).len(), 3);
        assert_eq!(it.cache.get("").unwrap(), i64::MIN);
    }
    a_failed_load_keeps_entries_and_metrics {
        let it = Fixture::valid();
        it.cache.get("k").unwrap();
        let before = it.cache.get_metrics_snapshot();
        assert_eq!(code(it.cache.load_from_disk("nothing")), "CACHE_LOAD_ERROR");
        assert_eq!(it.cache.get_metrics_snapshot(), before);
        assert_eq!(it.cache.get("k").unwrap(), 1);
    }
    save_of_an_empty_cache_loads_as_empty {
        let it = Fixture::missing();
        it.cache.save_to_disk(None).unwrap();
        it.fill(&["a"]);
        it.cache.load_from_disk(None).unwrap();
        assert_eq!(it.cache.size(), 0);
    }
    keys_may_be_of_other_types {
        let config = QuickCacheConfig::builder().cleanup_interval(None).build().unwrap();
        let cache: QuickCache<String, u64> = QuickCache::new(config).unwrap();
        cache.set(7_u64, "seven".to_owned(), None).unwrap();
        assert_eq!(cache.get(&7).unwrap(), "seven");
        assert_eq!(cache.get(&8).unwrap_err().to_string(), "Key '8' not found");
    }
    values_may_be_shared {
        let config = QuickCacheConfig::default();
        let cache: QuickCache<Arc<str>> = QuickCache::new(config).unwrap();
        let value: Arc<str> = "v".into();
        cache.set("k", Arc::clone(&value), None).unwrap();
        assert!(Arc::ptr_eq(&cache.get("k").unwrap(), &value));
    }
    async_save_and_load_are_the_same {
        let it = Fixture::valid();
        let path = block_on(it.cache.save_to_disk_async(None)).unwrap();
        assert_eq!(path, it.folder.path().join("storage/cache_data.bincode"));
        it.cache.clear();
        assert_eq!(block_on(it.cache.load_from_disk_async(None)).unwrap().entries, 1);
        assert_eq!(it.cache.get("k").unwrap(), 1);
    }
    async_errors_are_the_same {
        let it = Fixture::valid();
        assert_eq!(code(block_on(it.cache.load_from_disk_async("x"))), "CACHE_LOAD_ERROR");
    }
}
