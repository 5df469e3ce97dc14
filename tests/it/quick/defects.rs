//! The defects of PyQuickCache 0.1.0, by number: each is fixed here.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::time::Duration;

use larder::quick::{QuickCache, QuickCacheConfig, Target};
use larder::test::FakeClock;
use serde::{Deserialize, Serialize};

use super::isolated;

fn lfu() -> (QuickCache<u32>, FakeClock, tempfile::TempDir) {
    isolated(|config| {
        config.eviction_policy = "lfu".to_owned();
        config.max_size = 3;
    })
}

#[test]
fn defect_01_metrics_can_be_disabled() {
    let (cache, ..) = isolated::<u32>(|config| config.enable_metrics = false);
    cache.set("a", 1, None).unwrap();
    cache.delete("a").unwrap();
    cache.clear();
    assert_eq!(cache.get_metrics_snapshot(), Default::default());
    cache.save_metrics_to_disk(None).unwrap();
}

#[test]
fn defect_02_lfu_survives_clear() {
    let (cache, ..) = lfu();
    for _ in 0..2 {
        cache.set_many((0..10).map(|n| (format!("k{n}"), n)), None).unwrap();
        cache.clear();
        cache.validate();
    }
    assert_eq!(cache.size(), 0);
}

#[test]
fn defect_03_lfu_works_on_loaded_entries() {
    let (cache, clock, _folder) = lfu();
    cache.set_many((0..3).map(|n| (format!("k{n}"), n)), 10).unwrap();
    cache.save_to_disk(None).unwrap();
    cache.load_from_disk(None).unwrap();
    assert_eq!(cache.get("k0").unwrap(), 0);
    cache.set("k1", 7, 10).unwrap();
    cache.delete("k2").unwrap();
    cache.set_many((5..9).map(|n| (format!("k{n}"), n)), 10).unwrap();
    clock.advance(Duration::from_secs(11));
    cache.cleanup();
    cache.validate();
    assert_eq!(cache.size(), 0);
}

#[test]
fn defect_04_senseless_settings_are_refused_at_once() {
    for text in [
        r#"{"max_size": 0}"#,
        r#"{"default_ttl": 0}"#,
        r#"{"default_ttl": -5}"#,
        r#"{"cleanup_interval": 0}"#,
    ] {
        let config: QuickCacheConfig = serde_json::from_str(text).unwrap();
        assert!(QuickCache::<u32>::new(config).is_err(), "{text}");
    }
    for text in [r#"{"max_size": -1}"#, r#"{"default_ttl": null}"#, r#"{"default_ttl": "x"}"#] {
        assert!(serde_json::from_str::<QuickCacheConfig>(text).is_err(), "{text}");
    }
}

#[test]
fn defect_05_a_time_to_live_that_overflows_is_invalid() {
    let (cache, ..) = isolated(|_| ());
    for ttl in [f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 1e18, f64::MAX] {
        assert_eq!(cache.set("a", 1, ttl).unwrap_err().code(), "INVALID_TTL");
    }
    for ttl in [i128::MAX, i128::MIN, 1_000_000_000_001] {
        assert_eq!(cache.set("a", 1, ttl).unwrap_err().code(), "INVALID_TTL");
    }
    cache.set("a", 1, 1_000_000_000_000_u64).unwrap();
    assert_eq!(cache.get("a").unwrap(), 1);
}

#[test]
fn defect_06_a_file_of_another_shape_is_an_error_and_not_installed() {
    let (numbers, ..) = isolated::<u32>(|_| ());
    let (texts, _, folder) = isolated::<String>(|config| config.serializer = "json".to_owned());
    texts.set("a", "text".to_owned(), None).unwrap();
    let path = texts.save_to_disk(None).unwrap();
    numbers.set("own", 1, None).unwrap();
    // A file of other types, and a file whose extension names another serializer.
    let copy = folder.path().join("copy.bincode");
    fs::copy(&path, &copy).unwrap();
    for other in [&b"[1, 2, 3]"[..], b"{}", b"1"] {
        fs::write(folder.path().join("other.bincode"), other).unwrap();
        let error = numbers.load_from_disk(folder.path().join("other")).unwrap_err();
        assert_eq!(error.code(), "CACHE_LOAD_ERROR");
    }
    assert_eq!(numbers.load_from_disk(copy).unwrap_err().code(), "CACHE_LOAD_ERROR");
    assert_eq!(numbers.get("own").unwrap(), 1);
}

/// Fails to be serialized while its flag is set.
#[derive(Clone, Debug, Deserialize)]
struct Reluctant(u32);

static REFUSES: AtomicBool = AtomicBool::new(false);

impl Serialize for Reluctant {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if REFUSES.load(Ordering::Relaxed) {
            return Err(serde::ser::Error::custom("not now"));
        }
        serializer.serialize_newtype_struct("Reluctant", &self.0)
    }
}

/// The program `faults` also kills the process and fills the disk during saves.
#[test]
fn defect_07_a_failed_save_leaves_the_old_file() {
    let (cache, ..) = isolated::<Reluctant>(|_| ());
    cache.set("a", Reluctant(1), None).unwrap();
    let path = cache.save_to_disk(None).unwrap();
    let before = fs::read(&path).unwrap();
    cache.set("b", Reluctant(2), None).unwrap();
    REFUSES.store(true, Ordering::Relaxed);
    assert_eq!(cache.save_to_disk(None).unwrap_err().code(), "CACHE_SAVE_ERROR");
    REFUSES.store(false, Ordering::Relaxed);
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
}

#[test]
fn defect_08_a_failed_load_loses_nothing() {
    let (cache, _, folder) = isolated(|_| ());
    cache.set("a", 1, None).unwrap();
    cache.get("a").unwrap();
    let before = cache.get_metrics_snapshot();
    let path = cache.save_to_disk(None).unwrap();
    let bytes = fs::read(&path).unwrap();
    fs::write(folder.path().join("half.bincode"), &bytes[..bytes.len() / 2]).unwrap();
    for target in [folder.path().join("none"), folder.path().join("half")] {
        assert_eq!(cache.load_from_disk(target).unwrap_err().code(), "CACHE_LOAD_ERROR");
    }
    assert_eq!(cache.get_metrics_snapshot(), before);
    assert_eq!(cache.get("a").unwrap(), 1);
}

#[test]
fn defect_09_a_save_while_others_write_is_whole() {
    let (cache, _, folder) = isolated::<u32>(|config| config.max_size = 5000);
    let (stable, stop) = (2000, AtomicBool::new(false));
    cache.set_many((0..stable).map(|n| (format!("stable {n}"), n)), None).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut n = 0;
            while !stop.load(Ordering::Relaxed) {
                cache.set(format!("new {}", n % 2500), n, None).unwrap();
                let _ = cache.delete(&format!("new {}", (n + 1250) % 2500));
                n += 1;
            }
        });
        for n in 0..10 {
            let path = cache.save_to_disk(folder.path().join(format!("s{n}"))).unwrap();
            let (other, ..) = isolated::<u32>(|config| config.max_size = 10_000);
            let loaded = other.load_from_disk(path).unwrap();
            // Each key appears at most once: there are as many entries as keys.
            assert_eq!(loaded.entries as usize, other.size());
            for n in 0..stable {
                assert_eq!(other.get(&format!("stable {n}")).unwrap(), n);
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn defect_10_versions_and_timestamps_never_overwrite_each_other() {
    let (cache, ..) = isolated::<u32>(|_| ());
    let first = cache.save_to_disk("v1.2").unwrap();
    let second = cache.save_to_disk("v1.3").unwrap();
    assert_ne!(first, second);
    let stamped = || cache.save_to_disk(Target::from("v1.2").with_timestamp()).unwrap();
    assert_ne!(stamped(), stamped());
}

#[test]
fn defect_11_a_load_keeps_the_bound_counts_correctly_and_makes_no_folder() {
    let (big, _, _folder) = isolated::<u32>(|_| ());
    big.set_many((0..50).map(|n| (format!("k{n}"), n)), None).unwrap();
    let path = big.save_to_disk(None).unwrap();
    let (small, _, folder) = isolated::<u32>(|config| config.max_size = 5);
    small.load_from_disk(&path).unwrap();
    let metrics = small.get_metrics_snapshot();
    assert_eq!((small.size(), metrics.current_total_keys, metrics.current_valid_keys), (5, 5, 5));
    let error = small.load_from_disk(None).unwrap_err();
    assert_eq!(error.filepath(), Some(folder.path().join("storage/cache_data.bincode").as_path()));
    assert!(!folder.path().join("storage").exists());
}

#[cfg(unix)]
#[test]
fn defect_12_files_are_private_to_their_owner_and_a_pickle_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let (cache, _, folder) = isolated::<u32>(|_| ());
    let path = cache.save_to_disk(None).unwrap();
    assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o077, 0);
    let pickle = b"\x80\x04\x95\x20\0\0\0\0\0\0\0\x8c\x05posix\x94\x8c\x06system\x94\x93\x94.";
    fs::write(folder.path().join("x.bincode"), pickle).unwrap();
    let error = cache.load_from_disk(folder.path().join("x")).unwrap_err();
    assert!(error.to_string().ends_with("not a snapshot of larder"), "{error}");
}

/// Counts how often keys are compared or hashed, which a search through all entries would do for
/// each of them.
#[test]
fn defect_13_an_insertion_into_a_full_cache_visits_no_other_entry() {
    static USES: AtomicU32 = AtomicU32::new(0);
    #[derive(Clone, Debug, PartialOrd, Ord, Serialize, Deserialize)]
    struct Key(u32);
    impl PartialEq for Key {
        fn eq(&self, other: &Self) -> bool {
            USES.fetch_add(1, Ordering::Relaxed);
            self.0 == other.0
        }
    }
    impl Eq for Key {}
    impl std::hash::Hash for Key {
        fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
            USES.fetch_add(1, Ordering::Relaxed);
            self.0.hash(state);
        }
    }
    impl std::fmt::Display for Key {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            self.0.fmt(f)
        }
    }
    let config = QuickCacheConfig::builder().max_size(20_000_usize).build().unwrap();
    let cache: QuickCache<u32, Key> = QuickCache::new(config).unwrap();
    cache.set_many((0..20_000).map(|n| (Key(n), n)), None).unwrap();
    USES.store(0, Ordering::Relaxed);
    for n in 0..1000 {
        cache.set(Key(100_000 + n), n, None).unwrap();
    }
    let uses = USES.load(Ordering::Relaxed);
    assert!(uses < 10 * 1000, "{uses} uses of keys for 1000 insertions");
}

#[test]
fn defect_14_a_get_never_waits_for_a_writer() {
    let (cache, ..) = isolated::<u32>(|_| ());
    cache.set("a", 1, None).unwrap();
    let (within, is_within) = mpsc::channel();
    let (leave, may_leave) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let reader = &cache;
        // A reader that stays inside a read holds up no other thread.
        scope.spawn(move || {
            reader.read("a", |_| {
                within.send(()).unwrap();
                may_leave.recv().unwrap();
            })
        });
        is_within.recv().unwrap();
        cache.set("a", 2, None).unwrap();
        cache.cleanup();
        assert_eq!(cache.get("a").unwrap(), 2);
        leave.send(()).unwrap();
    });
}

#[test]
fn defect_15_nothing_is_logged() {
    // The library has no logger at all: it returns what was skipped.
    let (cache, ..) = isolated::<u32>(|_| ());
    assert_eq!(cache.delete_many(["a", "b"]), ["a", "b"]);
}

#[test]
fn defect_16_ratios_never_exceed_one_and_gauges_stay_correct() {
    let (cache, ..) = isolated::<u32>(|_| ());
    cache.set_many((0..10).map(|n| (format!("k{n}"), n)), None).unwrap();
    cache.get_many(["k0", "k1", "k2"]);
    for _ in 0..10 {
        let _ = cache.delete("none");
    }
    let metrics = cache.get_metrics_snapshot();
    for ratio in [metrics.hit_ratio, metrics.miss_ratio, metrics.eviction_rate] {
        assert!((0.0..=1.0).contains(&ratio), "{metrics:?}");
    }
    cache.reset_metrics();
    let metrics = cache.get_metrics_snapshot();
    assert_eq!((metrics.current_total_keys, metrics.current_valid_keys, metrics.gets), (10, 10, 0));
}

#[test]
fn defect_17_a_dropped_cache_is_gone_and_an_interval_of_zero_is_refused() {
    let value = Arc::new(());
    let (cache, ..) = isolated(|config| config.cleanup_interval = Some(0.001));
    cache.set("a", Arc::clone(&value), None).unwrap();
    drop(cache);
    assert_eq!(Arc::strong_count(&value), 1);
    let mut config = QuickCacheConfig::default();
    config.cleanup_interval = Some(0.0);
    assert!(QuickCache::<u32>::new(config).is_err());
}

#[test]
fn defect_18_a_clock_set_back_revives_nothing() {
    let (cache, clock, _folder) = isolated::<u32>(|_| ());
    clock.set(Duration::from_secs(1000));
    cache.set("a", 1, 10).unwrap();
    cache.set("b", 1, 10).unwrap();
    clock.set(Duration::from_secs(1011));
    assert_eq!(cache.get("a").unwrap_err().code(), "KEY_EXPIRED");
    clock.set(Duration::from_secs(900));
    assert_eq!(cache.get("a").unwrap_err().code(), "KEY_NOT_FOUND");
}

#[test]
fn defect_19_timestamps_follow_the_configuration_and_errors_keep_their_cause() {
    let (cache, ..) = isolated::<u32>(|config| config.cache_timestamps = true);
    let path = cache.save_to_disk(None).unwrap();
    assert!(path.to_str().unwrap().contains("_srr"), "{}", path.display());
    let error = QuickCacheConfig::builder().serializer("").build().unwrap_err();
    assert!(error.to_string().starts_with("serializer: unknown serializer ``"), "{error}");
    let (postcard, ..) = isolated::<u32>(|config| config.serializer = "Postcard".to_owned());
    assert!(postcard.save_to_disk(None).unwrap().ends_with("storage/cache_data.postcard"));
}

#[test]
fn defect_20_one_of_several_simultaneous_misses_adds() {
    let (cache, ..) = isolated::<u32>(|_| ());
    let (barrier, added) = (Barrier::new(4), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for n in 0..4 {
            let (cache, barrier, added) = (&cache, &barrier, &added);
            scope.spawn(move || {
                barrier.wait();
                if cache.add("a", n, None).is_ok() {
                    added.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(added.into_inner(), 1);
    // A batch with an invalid time to live changes nothing.
    assert!(cache.set_many([("x", 1), ("y", 2)], -1).is_err());
    assert_eq!(cache.size(), 1);
}

#[cfg(unix)]
#[test]
fn a_fifo_in_place_of_a_file_is_neither_replaced_nor_waited_for() {
    use std::os::unix::fs::FileTypeExt;
    let (cache, ..) = isolated::<u32>(|_| ());
    cache.set("a", 1, None).unwrap();
    let files = [cache.save_to_disk(None).unwrap(), cache.save_metrics_to_disk(None).unwrap()];
    for path in &files {
        fs::remove_file(path).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
    }
    assert_eq!(cache.save_to_disk(None).unwrap_err().code(), "CACHE_SAVE_ERROR");
    assert_eq!(cache.save_metrics_to_disk(None).unwrap_err().code(), "CACHE_METRICS_SAVE_ERROR");
    let error = cache.load_from_disk(None).unwrap_err();
    assert!(error.to_string().contains("FIFO"), "{error}");
    assert_eq!(cache.get("a").unwrap(), 1);
    for path in &files {
        assert!(fs::symlink_metadata(path).unwrap().file_type().is_fifo());
    }
}
