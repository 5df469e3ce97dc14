//! The contract of `QuickCache`, row by row: each call in each state of a key, times to live,
//! eviction, metrics, paths and files, configuration. By inline maintenance and a clock that stands.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use larder::policy::{Accesses, EvictionPolicy, NodeId, Nodes, Policy};
use larder::quick::{
    CacheError, ConfigError, Metric, MetricsSink, QuickCache, QuickCacheConfig, Registry, Target,
    Ttl,
};
use larder::test::FakeClock;

/// A cache, its clock and its folder.
struct Fixture {
    cache: QuickCache<i64>,
    clock: FakeClock,
    folder: tempfile::TempDir,
}

impl Fixture {
    fn new(max_size: usize, policy: &str) -> Self {
        Self::with(|config| {
            config.max_size = max_size;
            config.eviction_policy = policy.to_owned();
        })
    }

    fn with(change: impl FnOnce(&mut QuickCacheConfig)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = QuickCacheConfig::default();
        config.cleanup_interval = None;
        config.storage_dir = folder.path().join("storage");
        config.metrics_storage_dir = folder.path().join("metrics");
        change(&mut config);
        let clock = FakeClock::new();
        let cache = QuickCache::builder(config).clock(clock.clone()).build().unwrap();
        Self { cache, clock, folder }
    }

    fn roomy() -> Self {
        Self::new(50, "lru")
    }

    /// With the key `k` missing.
    fn missing() -> Self {
        Self::roomy()
    }

    /// With the key `k`, whose value is 1, valid.
    fn valid() -> Self {
        let fixture = Self::roomy();
        fixture.cache.set("k", 1, 10).unwrap();
        fixture.cache.reset_metrics();
        fixture
    }

    /// With the key `k` expired, and nobody knows.
    fn expired() -> Self {
        let fixture = Self::valid();
        fixture.pass(10);
        fixture.clock.advance(Duration::from_nanos(1));
        fixture
    }

    fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// hits, misses, sets, gets, failed_ops, evictions, expired_removals, manual_deletions.
    fn counts(&self) -> [u64; 8] {
        let metrics = self.cache.get_metrics_snapshot();
        [
            metrics.hits,
            metrics.misses,
            metrics.sets,
            metrics.gets,
            metrics.failed_ops,
            metrics.evictions,
            metrics.expired_removals,
            metrics.manual_deletions,
        ]
    }

    fn keys(&self) -> Vec<String> {
        let all: Vec<String> = (0..200).map(|n| format!("k{n}")).collect();
        let metrics = self.cache.get_metrics_snapshot();
        assert!(metrics.current_total_keys <= self.cache.config().max_size as u64);
        // `add` of a key that is there changes nothing, but to evict: so a copy is asked.
        let mut there: Vec<String> = Vec::new();
        for (key, _) in self.cache.get_many(all.iter().map(String::as_str)) {
            there.push(key);
        }
        there
    }

    fn fill(&self, keys: &[&str]) {
        for key in keys {
            self.cache.set(*key, 0, None).unwrap();
        }
    }
}

fn code<T: std::fmt::Debug>(result: Result<T, CacheError>) -> &'static str {
    result.unwrap_err().code()
}

macro_rules! cases {
    ($($name:ident $body:block)*) => {$(
        #[test]
        fn $name() $body
    )*};
}

// ------------------------------------------------------------- each call in each state of a key
cases! {
    get_of_a_missing_key_is_not_found {
        assert_eq!(code(Fixture::missing().cache.get("k")), "KEY_NOT_FOUND");
    }
    get_of_an_expired_key_is_expired {
        assert_eq!(code(Fixture::expired().cache.get("k")), "KEY_EXPIRED");
    }
    get_of_an_expired_key_is_expired_once_then_not_found {
        let it = Fixture::expired();
        assert_eq!(code(it.cache.get("k")), "KEY_EXPIRED");
        assert_eq!(code(it.cache.get("k")), "KEY_NOT_FOUND");
    }
    get_of_an_expired_key_removes_it {
        let it = Fixture::expired();
        assert_eq!(it.cache.size(), 1);
        let _ = it.cache.get("k");
        assert_eq!(it.cache.size(), 0);
    }
    get_of_a_valid_key_is_its_value { assert_eq!(Fixture::valid().cache.get("k").unwrap(), 1); }
    get_of_a_missing_key_counts_a_get_and_a_miss {
        let it = Fixture::missing();
        let _ = it.cache.get("k");
        assert_eq!(it.counts(), [0, 1, 0, 1, 0, 0, 0, 0]);
    }
    get_of_an_expired_key_counts_a_get_a_miss_and_an_expired_removal {
        let it = Fixture::expired();
        let _ = it.cache.get("k");
        assert_eq!(it.counts(), [0, 1, 0, 1, 0, 0, 1, 0]);
    }
    get_of_a_valid_key_counts_a_get_and_a_hit {
        let it = Fixture::valid();
        it.cache.get("k").unwrap();
        assert_eq!(it.counts(), [1, 0, 0, 1, 0, 0, 0, 0]);
    }
    set_of_a_missing_key_inserts {
        let it = Fixture::missing();
        it.cache.set("k", 2, None).unwrap();
        assert_eq!(it.cache.get("k").unwrap(), 2);
    }
    set_of_an_expired_key_inserts {
        let it = Fixture::expired();
        it.cache.set("k", 2, None).unwrap();
        assert_eq!((it.cache.get("k").unwrap(), it.cache.size()), (2, 1));
    }
    set_of_a_valid_key_replaces {
        let it = Fixture::valid();
        it.cache.set("k", 2, None).unwrap();
        assert_eq!((it.cache.get("k").unwrap(), it.cache.size()), (2, 1));
    }
    set_of_a_valid_key_replaces_its_time_to_live {
        let it = Fixture::valid();
        it.cache.set("k", 2, 100).unwrap();
        it.pass(100);
        assert_eq!(it.cache.get("k").unwrap(), 2);
    }
    set_of_a_missing_key_counts_a_set {
        let it = Fixture::missing();
        it.cache.set("k", 2, None).unwrap();
        assert_eq!(it.counts(), [0, 0, 1, 0, 0, 0, 0, 0]);
    }
    set_of_an_expired_key_counts_a_set_and_an_expired_removal {
        let it = Fixture::expired();
        it.cache.set("k", 2, None).unwrap();
        assert_eq!(it.counts(), [0, 0, 1, 0, 0, 0, 1, 0]);
    }
    set_of_a_valid_key_counts_a_set {
        let it = Fixture::valid();
        it.cache.set("k", 2, None).unwrap();
        assert_eq!(it.counts(), [0, 0, 1, 0, 0, 0, 0, 0]);
    }
    add_of_a_missing_key_inserts {
        let it = Fixture::missing();
        it.cache.add("k", 2, None).unwrap();
        assert_eq!(it.cache.get("k").unwrap(), 2);
    }
    add_of_an_expired_key_inserts {
        let it = Fixture::expired();
        it.cache.add("k", 2, None).unwrap();
        assert_eq!((it.cache.get("k").unwrap(), it.cache.size()), (2, 1));
    }
    add_of_a_valid_key_is_refused {
        assert_eq!(code(Fixture::valid().cache.add("k", 2, None)), "KEY_ALREADY_EXISTS");
    }
    add_of_a_valid_key_changes_nothing {
        let it = Fixture::valid();
        let _ = it.cache.add("k", 2, 1000);
        assert_eq!(it.cache.get("k").unwrap(), 1);
        it.pass(11);
        assert_eq!(code(it.cache.get("k")), "KEY_EXPIRED");
    }
    add_of_a_missing_key_counts_a_set {
        let it = Fixture::missing();
        it.cache.add("k", 2, None).unwrap();
        assert_eq!(it.counts(), [0, 0, 1, 0, 0, 0, 0, 0]);
    }
    add_of_an_expired_key_counts_a_set_and_an_expired_removal {
        let it = Fixture::expired();
        it.cache.add("k", 2, None).unwrap();
        assert_eq!(it.counts(), [0, 0, 1, 0, 0, 0, 1, 0]);
    }
    add_of_a_valid_key_counts_a_failed_operation {
        let it = Fixture::valid();
        let _ = it.cache.add("k", 2, None);
        assert_eq!(it.counts(), [0, 0, 0, 0, 1, 0, 0, 0]);
    }
    update_of_a_missing_key_is_not_found {
        assert_eq!(code(Fixture::missing().cache.update("k", 2, None)), "KEY_NOT_FOUND");
    }
    update_of_an_expired_key_is_expired {
        assert_eq!(code(Fixture::expired().cache.update("k", 2, None)), "KEY_EXPIRED");
    }
    update_of_an_expired_key_is_expired_once_then_not_found {
        let it = Fixture::expired();
        assert_eq!(code(it.cache.update("k", 2, None)), "KEY_EXPIRED");
        assert_eq!(code(it.cache.update("k", 2, None)), "KEY_NOT_FOUND");
        assert_eq!(it.cache.size(), 0);
    }
    update_of_a_valid_key_replaces {
        let it = Fixture::valid();
        it.cache.update("k", 2, None).unwrap();
        assert_eq!(it.cache.get("k").unwrap(), 2);
    }
    update_without_a_time_to_live_goes_back_to_the_default {
        let it = Fixture::valid();
        it.cache.update("k", 2, None).unwrap();
        it.pass(500);
        assert_eq!(it.cache.get("k").unwrap(), 2);
        it.clock.advance(Duration::from_nanos(1));
        assert_eq!(code(it.cache.get("k")), "KEY_EXPIRED");
    }
    update_of_a_missing_key_counts_a_failed_operation {
        let it = Fixture::missing();
        let _ = it.cache.update("k", 2, None);
        assert_eq!(it.counts(), [0, 0, 0, 0, 1, 0, 0, 0]);
    }
    update_of_an_expired_key_counts_a_failed_operation_and_an_expired_removal {
        let it = Fixture::expired();
        let _ = it.cache.update("k", 2, None);
        assert_eq!(it.counts(), [0, 0, 0, 0, 1, 0, 1, 0]);
    }
    update_of_a_valid_key_counts_a_set {
        let it = Fixture::valid();
        it.cache.update("k", 2, None).unwrap();
        assert_eq!(it.counts(), [0, 0, 1, 0, 0, 0, 0, 0]);
    }
    delete_of_a_missing_key_is_not_found {
        assert_eq!(code(Fixture::missing().cache.delete("k")), "KEY_NOT_FOUND");
    }
    delete_of_an_expired_key_is_expired {
        assert_eq!(code(Fixture::expired().cache.delete("k")), "KEY_EXPIRED");
    }
    delete_of_an_expired_key_is_expired_once_then_not_found {
        let it = Fixture::expired();
        assert_eq!(code(it.cache.delete("k")), "KEY_EXPIRED");
        assert_eq!(code(it.cache.delete("k")), "KEY_NOT_FOUND");
    }
    delete_of_a_valid_key_removes_it {
        let it = Fixture::valid();
        it.cache.delete("k").unwrap();
        assert_eq!((it.cache.size(), code(it.cache.get("k"))), (0, "KEY_NOT_FOUND"));
    }
    delete_of_a_missing_key_counts_a_miss {
        let it = Fixture::missing();
        let _ = it.cache.delete("k");
        assert_eq!(it.counts(), [0, 1, 0, 0, 0, 0, 0, 0]);
    }
    delete_of_an_expired_key_counts_a_miss_and_an_expired_removal {
        let it = Fixture::expired();
        let _ = it.cache.delete("k");
        assert_eq!(it.counts(), [0, 1, 0, 0, 0, 0, 1, 0]);
    }
    delete_of_a_valid_key_counts_a_manual_deletion {
        let it = Fixture::valid();
        it.cache.delete("k").unwrap();
        assert_eq!(it.counts(), [0, 0, 0, 0, 0, 0, 0, 1]);
    }
    set_many_inserts_and_replaces {
        let it = Fixture::valid();
        it.cache.set_many([("k", 2), ("l", 3)], None).unwrap();
        assert_eq!((it.cache.get("k").unwrap(), it.cache.get("l").unwrap()), (2, 3));
    }
    set_many_over_an_expired_key_inserts {
        let it = Fixture::expired();
        it.cache.set_many([("k", 2)], None).unwrap();
        assert_eq!(it.cache.get("k").unwrap(), 2);
    }
    set_many_gives_all_the_same_time_to_live {
        let it = Fixture::missing();
        it.cache.set_many([("a", 1), ("b", 2)], 5).unwrap();
        it.pass(6);
        assert_eq!((code(it.cache.get("a")), code(it.cache.get("b"))), ("KEY_EXPIRED", "KEY_EXPIRED"));
    }
    set_many_counts_a_set_for_each_key {
        let it = Fixture::missing();
        it.cache.set_many([("a", 1), ("b", 2), ("c", 3)], None).unwrap();
        assert_eq!(it.counts(), [0, 0, 3, 0, 0, 0, 0, 0]);
    }
    set_many_with_an_invalid_time_to_live_changes_nothing {
        let it = Fixture::valid();
        assert_eq!(code(it.cache.set_many([("k", 2), ("l", 3)], 0)), "INVALID_TTL");
        assert_eq!((it.cache.get("k").unwrap(), it.cache.size()), (1, 1));
    }
    set_many_of_nothing_does_nothing {
        let it = Fixture::missing();
        it.cache.set_many(Vec::<(&str, i64)>::new(), None).unwrap();
        assert_eq!((it.cache.size(), it.counts()), (0, [0; 8]));
    }
    set_many_takes_a_map {
        let it = Fixture::missing();
        it.cache.set_many(HashMap::from([("a", 1), ("b", 2)]), None).unwrap();
        assert_eq!(it.cache.size(), 2);
    }
    get_many_skips_missing_and_expired_keys {
        let it = Fixture::expired();
        it.cache.set("l", 2, None).unwrap();
        assert_eq!(it.cache.get_many(["k", "l", "m"]), [("l".to_owned(), 2)]);
    }
    get_many_keeps_the_order_of_the_request {
        let it = Fixture::missing();
        it.cache.set_many([("a", 1), ("b", 2), ("c", 3)], None).unwrap();
        let keys: Vec<_> = it.cache.get_many(["c", "a", "b"]).into_iter().map(|it| it.0).collect();
        assert_eq!(keys, ["c", "a", "b"]);
    }
    get_many_names_a_repeated_key_once {
        assert_eq!(Fixture::valid().cache.get_many(["k", "k"]), [("k".to_owned(), 1)]);
    }
    get_many_counts_one_get_and_hits_and_misses_for_each_key {
        let it = Fixture::valid();
        it.cache.get_many(["k", "x", "k", "y"]);
        assert_eq!(it.counts(), [2, 2, 0, 1, 0, 0, 0, 0]);
    }
    get_many_removes_an_expired_key {
        let it = Fixture::expired();
        assert!(it.cache.get_many(["k"]).is_empty());
        assert_eq!((it.cache.size(), it.counts()[6]), (0, 1));
    }
    get_many_of_nothing_is_a_get {
        let it = Fixture::missing();
        assert!(it.cache.get_many(Vec::<&str>::new()).is_empty());
        assert_eq!(it.counts(), [0, 0, 0, 1, 0, 0, 0, 0]);
    }
    delete_many_removes_what_is_there {
        let it = Fixture::valid();
        it.cache.set("l", 2, None).unwrap();
        assert_eq!(it.cache.delete_many(["k", "x", "l"]), ["x"]);
        assert_eq!(it.cache.size(), 0);
    }
    delete_many_skips_an_expired_key {
        let it = Fixture::expired();
        assert_eq!(it.cache.delete_many(["k"]), ["k"]);
        assert_eq!(it.cache.size(), 0);
    }
    delete_many_counts_a_deletion_or_a_miss_for_each_key {
        let it = Fixture::valid();
        it.cache.delete_many(["k", "x", "y"]);
        assert_eq!(it.counts(), [0, 2, 0, 0, 0, 0, 0, 1]);
    }
    delete_many_of_a_repeated_key_deletes_once {
        let it = Fixture::valid();
        assert_eq!(it.cache.delete_many(["k", "k"]), ["k"]);
        assert_eq!(it.counts(), [0, 1, 0, 0, 0, 0, 0, 1]);
    }
    size_counts_expired_entries { assert_eq!(Fixture::expired().cache.size(), 1); }
    size_of_an_empty_cache_is_zero { assert_eq!(Fixture::missing().cache.size(), 0); }
    size_is_no_inspection {
        let it = Fixture::expired();
        let _ = it.cache.size();
        assert_eq!(code(it.cache.get("k")), "KEY_EXPIRED");
    }
    valid_size_sweeps_first {
        let it = Fixture::expired();
        it.cache.set("l", 2, None).unwrap();
        assert_eq!((it.cache.valid_size(), it.cache.size()), (1, 1));
        assert_eq!(it.counts()[6], 1);
        assert_eq!(code(it.cache.get("k")), "KEY_NOT_FOUND");
    }
    cleanup_sweeps_expired_entries {
        let it = Fixture::expired();
        it.cache.cleanup();
        assert_eq!((it.cache.size(), code(it.cache.get("k"))), (0, "KEY_NOT_FOUND"));
    }
    cleanup_counts_expired_removals {
        let it = Fixture::expired();
        it.cache.set("l", 2, 1).unwrap();
        it.pass(2);
        it.cache.cleanup();
        assert_eq!(it.counts()[6], 2);
    }
    cleanup_leaves_valid_entries {
        let it = Fixture::valid();
        it.cache.cleanup();
        assert_eq!(it.cache.get("k").unwrap(), 1);
    }
    clear_removes_all {
        let it = Fixture::expired();
        it.cache.set("l", 2, None).unwrap();
        it.cache.clear();
        assert_eq!((it.cache.size(), code(it.cache.get("k"))), (0, "KEY_NOT_FOUND"));
    }
    clear_counts_manual_deletions_of_expired_entries_too {
        let it = Fixture::expired();
        it.cache.set("l", 2, None).unwrap();
        it.cache.clear();
        assert_eq!(it.counts(), [0, 0, 1, 0, 0, 0, 0, 2]);
    }
    clear_keeps_the_counters_and_empties_the_gauges {
        let it = Fixture::valid();
        it.cache.get("k").unwrap();
        it.cache.clear();
        let metrics = it.cache.get_metrics_snapshot();
        assert_eq!((metrics.hits, metrics.current_total_keys, metrics.current_valid_keys), (1, 0, 0));
    }
    an_entry_is_valid_until_its_deadline_and_at_it {
        let it = Fixture::valid();
        it.pass(10);
        assert_eq!(it.cache.get("k").unwrap(), 1);
        it.clock.advance(Duration::from_nanos(1));
        assert_eq!(code(it.cache.get("k")), "KEY_EXPIRED");
    }
    an_access_does_not_prolong_a_life {
        let it = Fixture::valid();
        it.pass(9);
        it.cache.get("k").unwrap();
        it.pass(2);
        assert_eq!(code(it.cache.get("k")), "KEY_EXPIRED");
    }
    read_sees_the_value_without_a_clone {
        assert_eq!(Fixture::valid().cache.read("k", |value| value + 1).unwrap(), 2);
    }
    read_of_an_expired_key_is_expired {
        assert_eq!(code(Fixture::expired().cache.read("k", |value| *value)), "KEY_EXPIRED");
    }
}

// ----------------------------------------------------------------------------- times to live
fn accepts(ttl: impl Into<Ttl>, seconds: u64) {
    let it = Fixture::missing();
    it.cache.set("k", 1, ttl).unwrap();
    it.clock.set(Duration::from_secs(seconds));
    assert_eq!(it.cache.get("k").unwrap(), 1, "too short");
    it.clock.advance(Duration::from_nanos(1));
    assert_eq!(code(it.cache.get("k")), "KEY_EXPIRED", "too long");
}

fn refuses(ttl: impl Into<Ttl>, shown: &str) {
    let ttl = ttl.into();
    let it = Fixture::valid();
    for result in [
        it.cache.set("k", 2, ttl.clone()),
        it.cache.add("new", 2, ttl.clone()),
        it.cache.update("k", 2, ttl.clone()),
        it.cache.update("new", 2, ttl.clone()),
        it.cache.set_many([("k", 2)], ttl.clone()),
    ] {
        let error = result.unwrap_err();
        assert_eq!(error.code(), "INVALID_TTL");
        assert_eq!(error.to_string(), format!("Invalid TTL value: {shown}"));
    }
    assert_eq!((it.cache.peek_value("k"), it.cache.size()), (Some(1), 1));
    assert_eq!(it.counts()[2..5], [0, 1, 0], "an invalid time to live counts nowhere");
}

trait PeekValue {
    fn peek_value(&self, key: &str) -> Option<i64>;
}

impl PeekValue for QuickCache<i64> {
    fn peek_value(&self, key: &str) -> Option<i64> {
        self.get(key).ok()
    }
}

cases! {
    ttl_none_is_the_default { accepts(None, 500); }
    ttl_some_is_seconds { accepts(Some(7), 7); }
    ttl_whole_is_seconds { accepts(7, 7); }
    ttl_large_is_seconds { accepts(1_000_000_000_u64, 1_000_000_000); }
    ttl_float_is_cut { accepts(1.9, 1); }
    ttl_text_is_read { accepts("5", 5); }
    ttl_text_with_blanks_is_read { accepts(" +5 ", 5); }
    ttl_text_with_underscores_is_read { accepts("1_0", 10); }
    ttl_bytes_are_read { accepts(b"7", 7); }
    ttl_true_is_a_second { accepts(true, 1); }
    ttl_duration_is_exact { accepts(Duration::from_secs(3), 3); }
    ttl_zero_is_invalid { refuses(0, "0"); }
    ttl_negative_is_invalid { refuses(-1, "-1"); }
    ttl_false_is_invalid { refuses(false, "0"); }
    ttl_empty_text_is_invalid { refuses("", ""); }
    ttl_word_is_invalid { refuses("abc", "abc"); }
    ttl_fractional_text_is_invalid { refuses("1.5", "1.5"); }
    ttl_doubled_underscore_is_invalid { refuses("1__0", "1__0"); }
    ttl_less_than_a_second_is_invalid { refuses(0.5, "0.5"); }
    ttl_negative_fraction_is_invalid { refuses(-0.5, "-0.5"); }
    ttl_nan_is_invalid { refuses(f64::NAN, "NaN"); }
    ttl_infinite_is_invalid { refuses(f64::INFINITY, "inf"); }
    ttl_huge_is_invalid { refuses(1_000_000_000_001_u64, "1000000000001"); }
    ttl_huge_float_is_invalid { refuses(1e300, "1e300"); }
    ttl_huge_text_is_invalid { refuses("99999999999999999999999999999999999999999999", "99999999999999999999999999999999999999999999"); }
    ttl_zero_duration_is_invalid { refuses(Duration::ZERO, "0ns"); }
    ttl_is_looked_at_before_the_key {
        assert_eq!(code(Fixture::missing().cache.update("missing", 1, 0)), "INVALID_TTL");
    }
    ttl_default_may_be_a_fraction {
        let it = Fixture::with(|config| config.default_ttl = 0.25);
        it.cache.set("k", 1, None).unwrap();
        it.clock.advance(Duration::from_millis(250));
        assert_eq!(it.cache.get("k").unwrap(), 1);
        it.clock.advance(Duration::from_nanos(1));
        assert_eq!(code(it.cache.get("k")), "KEY_EXPIRED");
    }
    ttl_default_can_be_changed_later {
        let it = Fixture::missing();
        it.cache.set_default_ttl(2.0).unwrap();
        it.cache.set("k", 1, None).unwrap();
        it.pass(3);
        assert_eq!(code(it.cache.get("k")), "KEY_EXPIRED");
        assert!(it.cache.set_default_ttl(0.0).is_err() && it.cache.set_default_ttl(f64::NAN).is_err());
    }
}

// ----------------------------------------------------------------------------------- errors
cases! {
    key_not_found_has_message_and_key {
        let error = Fixture::missing().cache.get("k").unwrap_err();
        assert_eq!((error.to_string().as_str(), error.key()), ("Key 'k' not found", Some("k")));
    }
    key_expired_has_message_and_key {
        let error = Fixture::expired().cache.get("k").unwrap_err();
        assert_eq!((error.to_string().as_str(), error.key()), ("Key 'k' has expired", Some("k")));
    }
    key_already_exists_has_message_and_key {
        let error = Fixture::valid().cache.add("k", 1, None).unwrap_err();
        assert_eq!((error.to_string().as_str(), error.key()), ("Key 'k' already exists", Some("k")));
    }
    cache_load_error_has_message_path_and_cause {
        let it = Fixture::missing();
        let error = it.cache.load_from_disk(Target::default()).unwrap_err();
        let path = it.folder.path().join("storage/cache_data.bincode");
        assert_eq!((error.code(), error.filepath()), ("CACHE_LOAD_ERROR", Some(path.as_path())));
        let start = format!("Failed to load cache from disk: {} | ", path.display());
        assert!(error.to_string().starts_with(&start), "{error}");
        assert!(std::error::Error::source(&error).is_some());
    }
    cache_save_error_has_message_path_and_cause {
        let it = Fixture::missing();
        let path = it.folder.path().join("file");
        std::fs::write(&path, "").unwrap();
        let error = it.cache.save_to_disk(path.join("below/x")).unwrap_err();
        assert_eq!(error.code(), "CACHE_SAVE_ERROR");
        assert_eq!(error.filepath(), Some(path.join("below/x.bincode").as_path()));
        assert!(error.to_string().starts_with("Failed to save cache to disk: "), "{error}");
    }
    cache_metrics_save_error_has_message_path_and_cause {
        let it = Fixture::missing();
        let path = it.folder.path().join("file");
        std::fs::write(&path, "").unwrap();
        let error = it.cache.save_metrics_to_disk(path.join("below/x")).unwrap_err();
        let shown = path.join("below/x.json");
        assert_eq!(error.code(), "CACHE_METRICS_SAVE_ERROR");
        assert_eq!(
            error.to_string(),
            format!("Failed to save cache metrics to disk: {}", shown.display())
        );
        assert!(std::error::Error::source(&error).is_some());
    }
    the_display_names_size_bound_and_policy {
        let it = Fixture::valid();
        assert_eq!(it.cache.to_string(), "<QuickCache(size=1, max_size=50, policy='lru')>");
    }
}

// --------------------------------------------------------------------------------- eviction
fn survivors(policy: &str, uses: impl FnOnce(&Fixture)) -> Vec<String> {
    let it = Fixture::new(3, policy);
    it.fill(&["k0", "k1", "k2"]);
    uses(&it);
    it.cache.set("k3", 0, None).unwrap();
    it.cache.validate();
    it.keys()
}

cases! {
    lru_evicts_the_oldest_of_the_unused { assert_eq!(survivors("lru", |_| ()), ["k1", "k2", "k3"]); }
    lru_get_promotes {
        assert_eq!(survivors("lru", |it| drop(it.cache.get("k0"))), ["k0", "k2", "k3"]);
    }
    lru_get_many_promotes {
        assert_eq!(survivors("lru", |it| drop(it.cache.get_many(["k0"]))), ["k0", "k2", "k3"]);
    }
    lru_overwriting_promotes {
        assert_eq!(survivors("lru", |it| it.fill(&["k0"])), ["k0", "k2", "k3"]);
    }
    lru_set_many_promotes {
        let uses = |it: &Fixture| it.cache.set_many([("k0", 1)], None).unwrap();
        assert_eq!(survivors("lru", uses), ["k0", "k2", "k3"]);
    }
    lru_update_promotes {
        let uses = |it: &Fixture| it.cache.update("k0", 1, None).unwrap();
        assert_eq!(survivors("lru", uses), ["k0", "k2", "k3"]);
    }
    lru_failed_add_does_not_promote {
        let uses = |it: &Fixture| drop(it.cache.add("k0", 1, None));
        assert_eq!(survivors("lru", uses), ["k1", "k2", "k3"]);
    }
    lru_size_does_not_promote {
        let uses = |it: &Fixture| assert!(it.cache.size() > 0 && it.cache.get_metrics_snapshot().gets == 0);
        assert_eq!(survivors("lru", uses), ["k1", "k2", "k3"]);
    }
    lru_deletion_of_another_does_not_promote {
        let uses = |it: &Fixture| {
            it.cache.delete("k2").unwrap();
            it.fill(&["k4"]);
        };
        assert_eq!(survivors("lru", uses), ["k1", "k3", "k4"]);
    }
    fifo_evicts_the_oldest { assert_eq!(survivors("fifo", |_| ()), ["k1", "k2", "k3"]); }
    fifo_get_does_not_move {
        assert_eq!(survivors("fifo", |it| drop(it.cache.get("k0"))), ["k1", "k2", "k3"]);
    }
    fifo_overwriting_does_not_move {
        assert_eq!(survivors("fifo", |it| it.fill(&["k0"])), ["k1", "k2", "k3"]);
    }
    fifo_update_does_not_move {
        let uses = |it: &Fixture| it.cache.update("k0", 1, None).unwrap();
        assert_eq!(survivors("fifo", uses), ["k1", "k2", "k3"]);
    }
    fifo_setting_an_expired_key_is_a_new_insertion {
        let it = Fixture::new(3, "fifo");
        it.cache.set("k0", 0, 1).unwrap();
        it.fill(&["k1", "k2"]);
        it.pass(2);
        it.fill(&["k0", "k3"]);
        assert_eq!(it.keys(), ["k0", "k2", "k3"]);
    }
    lfu_evicts_the_least_used {
        let uses = |it: &Fixture| drop((it.cache.get("k0"), it.cache.get("k2")));
        assert_eq!(survivors("lfu", uses), ["k0", "k2", "k3"]);
    }
    lfu_evicts_the_first_to_come_to_its_count { assert_eq!(survivors("lfu", |_| ()), ["k1", "k2", "k3"]); }
    lfu_counts_get_many {
        let uses = |it: &Fixture| drop(it.cache.get_many(["k0", "k1"]));
        assert_eq!(survivors("lfu", uses), ["k0", "k1", "k3"]);
    }
    lfu_counts_overwriting {
        assert_eq!(survivors("lfu", |it| it.fill(&["k0", "k1"])), ["k0", "k1", "k3"]);
    }
    lfu_counts_update {
        let uses = |it: &Fixture| it.cache.update("k0", 1, None).unwrap();
        assert_eq!(survivors("lfu", uses), ["k0", "k2", "k3"]);
    }
    lfu_among_equals_the_one_that_came_to_the_count_first_leaves {
        let uses = |it: &Fixture| {
            for key in ["k2", "k0", "k1"] {
                it.cache.get(key).unwrap();
            }
        };
        assert_eq!(survivors("lfu", uses), ["k0", "k1", "k3"]);
    }
    lfu_does_not_age {
        let it = Fixture::new(2, "lfu");
        it.fill(&["k0"]);
        for _ in 0..5 {
            it.cache.get("k0").unwrap();
        }
        for n in 1..100 {
            it.cache.set(format!("k{n}"), 0, None).unwrap();
        }
        assert_eq!(it.keys(), ["k0", "k99"]);
    }
    lfu_deletion_forgets_the_count {
        let uses = |it: &Fixture| {
            it.cache.get("k0").unwrap();
            it.cache.delete("k0").unwrap();
            it.cache.get("k1").unwrap();
            it.cache.get("k2").unwrap();
            it.fill(&["k0"]);
        };
        assert_eq!(survivors("lfu", uses), ["k1", "k2", "k3"]);
    }
    lfu_expiry_forgets_the_count {
        let it = Fixture::new(3, "lfu");
        it.cache.set("k0", 0, 1).unwrap();
        for _ in 0..5 {
            it.cache.get("k0").unwrap();
        }
        it.fill(&["k1", "k2"]);
        it.cache.get("k1").unwrap();
        it.cache.get("k2").unwrap();
        it.pass(2);
        it.fill(&["k0", "k3"]);
        assert_eq!(it.keys(), ["k1", "k2", "k3"]);
    }
    overwriting_never_evicts {
        for policy in ["lru", "lfu", "fifo"] {
            let it = Fixture::new(3, policy);
            it.fill(&["k0", "k1", "k2", "k0", "k1", "k2"]);
            assert_eq!((it.cache.size(), it.counts()[5]), (3, 0), "{policy}");
        }
    }
    what_has_expired_goes_before_anything_valid_is_evicted {
        for policy in ["lru", "lfu", "fifo"] {
            let it = Fixture::new(3, policy);
            it.fill(&["k0", "k1"]);
            it.cache.set("k2", 0, 1).unwrap();
            it.pass(2);
            it.fill(&["k3"]);
            assert_eq!(it.keys(), ["k0", "k1", "k3"], "{policy}");
            assert_eq!(it.counts()[5..7], [0, 1], "{policy}");
        }
    }
    an_insertion_into_a_full_cache_sweeps_all_that_has_expired {
        let it = Fixture::new(100, "lru");
        for n in 0..100 {
            it.cache.set(format!("k{n}"), 0, 1).unwrap();
        }
        it.pass(2);
        it.cache.set("new", 0, None).unwrap();
        assert_eq!((it.cache.size(), it.counts()[6]), (1, 100));
    }
    an_insertion_into_a_cache_with_room_sweeps_nothing {
        let it = Fixture::expired();
        it.cache.set("l", 0, None).unwrap();
        assert_eq!(code(it.cache.get("k")), "KEY_EXPIRED");
    }
    set_many_of_too_many_keeps_the_last {
        for policy in ["lru", "lfu", "fifo"] {
            let it = Fixture::new(3, policy);
            it.cache.set_many((0..10).map(|n| (format!("k{n}"), n)), None).unwrap();
            assert_eq!(it.keys(), ["k7", "k8", "k9"], "{policy}");
        }
    }
    each_eviction_is_counted {
        let it = Fixture::new(3, "lru");
        it.cache.set_many((0..10).map(|n| (format!("k{n}"), n)), None).unwrap();
        assert_eq!(it.counts()[5], 7);
    }
    the_bound_holds_whenever_a_call_returns {
        for policy in Policy::names() {
            let it = Fixture::new(7, &policy);
            for n in 0..500_i64 {
                it.cache.set(format!("k{}", n * n % 97), n, None).unwrap();
                assert!(it.cache.size() <= 7, "{policy}");
            }
            it.cache.validate();
        }
    }
    the_bound_holds_with_one_entry {
        let it = Fixture::new(1, "lru");
        it.fill(&["k0", "k1"]);
        assert_eq!(it.keys(), ["k1"]);
    }
    the_bound_holds_under_many_threads {
        let it = Fixture::new(64, "lru");
        let barrier = Barrier::new(4);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (cache, barrier) = (&it.cache, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    for n in 0..2000 {
                        cache.set(format!("k{}", (n * 7 + thread) % 300), n, None).unwrap();
                        // Each of the others may be within an insertion.
                        assert!(cache.size() <= 64 + 4);
                    }
                });
            }
        });
        assert_eq!(it.cache.size(), 64);
        it.cache.validate();
    }
    a_custom_policy_is_chosen_by_name {
        #[derive(Default)]
        struct Lifo(Vec<NodeId>);
        impl EvictionPolicy for Lifo {
            fn accesses(&self) -> Accesses { Accesses::None }
            fn on_insert(&mut self, id: NodeId, _: &dyn Nodes) { self.0.push(id); }
            fn on_access(&mut self, _: NodeId, _: &dyn Nodes) {}
            fn on_update(&mut self, _: NodeId, _: u32, _: &dyn Nodes) {}
            fn on_remove(&mut self, id: NodeId, _: &dyn Nodes) { self.0.retain(|held| *held != id); }
            fn evict(&mut self, _: &dyn Nodes) -> Option<NodeId> { self.0.pop() }
        }
        let mut registry = Registry::standard();
        registry.register_policy(Policy::custom("Lifo", |_| Box::new(Lifo::default()))).unwrap();
        let config = QuickCacheConfig::builder().max_size(2_usize).eviction_policy("LIFO");
        let config = config.build_with(&registry).unwrap();
        let cache: QuickCache<i64> = QuickCache::builder(config).registry(registry).build().unwrap();
        cache.set_many((0..3).map(|n| (format!("k{n}"), n)), None).unwrap();
        assert_eq!(cache.get_many(["k0", "k1", "k2"]).len(), 2);
        assert_eq!(code(cache.get("k1")), "KEY_NOT_FOUND");
    }
    policy_names_are_taken_in_any_case {
        assert!(QuickCacheConfig::builder().eviction_policy("LrU").build().is_ok());
    }
    a_policy_registered_twice_is_refused {
        let mut registry = Registry::standard();
        let error = registry.register_policy(Policy::custom("LRU", |_| unreachable!())).unwrap_err();
        assert!(error.to_string().contains("`lru` is already registered"), "{error}");
    }
    an_unknown_policy_lists_those_there_are {
        let error = QuickCacheConfig::builder().eviction_policy("x").build().unwrap_err();
        assert!(error.to_string().contains("unknown eviction policy `x`; available: lru"), "{error}");
    }
    an_unknown_serializer_lists_those_there_are {
        let error = QuickCacheConfig::builder().serializer("pickle").build().unwrap_err();
        assert!(error.to_string().contains("unknown serializer `pickle`; available: bincode, json"), "{error}");
    }
}

// ---------------------------------------------------------------------------------- metrics
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
    metrics_bloat_is_what_has_expired_unnoticed {
        let it = Fixture::expired();
        it.cache.set("l", 0, None).unwrap();
        let metrics = it.cache.get_metrics_snapshot();
        assert_eq!((metrics.current_total_keys, metrics.current_valid_keys), (2, 1));
        assert_eq!((metrics.expired_bloat, metrics.waste_percentage), (1, 50.0));
    }
    metrics_snapshot_is_no_inspection {
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
    metrics_reset_zeroes_the_counts_and_keeps_the_gauges_true {
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
    metrics_sink_hears_of_everything {
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
        let heard: Vec<_> = sink.0.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        // Hit, Miss, Set, Get, FailedOp, Eviction, ExpiredRemoval, ManualDeletion.
        assert_eq!(heard, [1, 2, 3, 3, 1, 1, 1, 1]);
    }
    metrics_count_right_under_many_threads {
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

// ------------------------------------------------------------------------------------ paths
fn is_stamped(path: &Path, stem: &str, extension: &str) -> bool {
    let name = path.file_name().unwrap().to_str().unwrap();
    let Some(rest) = name.strip_prefix(&format!("{stem}_")) else { return false };
    let Some(stamp) = rest.strip_suffix(&format!(".{extension}")) else { return false };
    let bytes = stamp.as_bytes();
    let is_digits = |bytes: &[u8]| bytes.iter().all(u8::is_ascii_digit);
    bytes.len() >= 19
        && is_digits(&bytes[..8])
        && bytes[8] == b'_'
        && is_digits(&bytes[9..15])
        && &bytes[15..19] == b"_srr"
}

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
    path_extension_gives_way {
        assert_eq!(saved_as(|_| Target::from("x.dat")), "storage/x.bincode");
    }
    path_extension_of_the_serializer_stays {
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
    load_never_looks_for_timestamps {
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

// ------------------------------------------------------------------------------ persistence
cases! {
    load_replaces_what_is_there {
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
    load_keeps_what_is_left_of_a_life {
        let it = Fixture::valid();
        it.pass(4);
        it.cache.save_to_disk(None).unwrap();
        it.cache.load_from_disk(None).unwrap();
        it.pass(5);
        assert_eq!(it.cache.get("k").unwrap(), 1);
        it.pass(2);
        assert_eq!(code(it.cache.get("k")), "KEY_EXPIRED");
    }
    load_skips_what_has_expired {
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
    load_by_json_is_the_same {
        let it = Fixture::with(|config| config.serializer = "json".to_owned());
        it.cache.set_many([("ä", 1), ("\n", -2), ("", i64::MIN)], None).unwrap();
        let path = it.cache.save_to_disk(None).unwrap();
        assert!(std::str::from_utf8(&std::fs::read(path).unwrap()).is_ok());
        it.cache.load_from_disk(None).unwrap();
        assert_eq!(it.cache.get_many(["ä", "\n", ""]).len(), 3);
        assert_eq!(it.cache.get("").unwrap(), i64::MIN);
    }
    failed_load_leaves_entries_and_metrics {
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

/// The smallest executor there is.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut std::task::Context::from_waker(&waker)) {
            std::task::Poll::Ready(output) => return output,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}

// ---------------------------------------------------------------------------- configuration
fn refused(change: impl FnOnce(&mut QuickCacheConfig)) -> String {
    let mut config = QuickCacheConfig::default();
    change(&mut config);
    let error = QuickCache::<i64>::new(config).unwrap_err();
    assert!(matches!(error, ConfigError::BadValue { .. } | ConfigError::Name { .. }));
    error.to_string()
}

cases! {
    config_defaults_are_those_of_the_contract {
        let json = serde_json::to_value(QuickCacheConfig::default()).unwrap();
        assert_eq!(json, serde_json::json!({
            "max_size": 50, "default_ttl": 500.0, "cleanup_interval": 50.0,
            "eviction_policy": "lru", "serializer": "bincode", "storage_dir": "cache_storage",
            "filename": "cache_data", "cache_timestamps": false, "enable_metrics": true,
            "metrics_serializer": "json", "metrics_storage_dir": "cache_metrics",
            "metrics_filename": "metrics", "cache_metrics_timestamps": false,
        }));
    }
    config_is_read_from_toml {
        let text = "max_size = 7\ndefault_ttl = 1.5\neviction_policy = \"LFU\"\n";
        let config: QuickCacheConfig = toml::from_str(text).unwrap();
        assert_eq!((config.max_size, config.default_ttl), (7, 1.5));
        let cache: QuickCache<i64> = QuickCache::new(config).unwrap();
        assert_eq!(cache.to_string(), "<QuickCache(size=0, max_size=7, policy='lfu')>");
    }
    config_is_read_from_json_without_cleanup {
        let config: QuickCacheConfig = serde_json::from_str(r#"{"cleanup_interval": null}"#).unwrap();
        assert_eq!(config.cleanup_interval, None);
    }
    config_refuses_a_field_that_there_is_not {
        assert!(serde_json::from_str::<QuickCacheConfig>(r#"{"maximum": 1}"#).is_err());
    }
    config_refuses_max_size_zero {
        assert_eq!(refused(|it| it.max_size = 0), "max_size is 0; use a whole number from 1 up to 2147482623");
    }
    config_refuses_default_ttl_zero { assert!(refused(|it| it.default_ttl = 0.0).starts_with("default_ttl is 0; ")); }
    config_refuses_default_ttl_negative { assert!(refused(|it| it.default_ttl = -1.0).starts_with("default_ttl is -1; ")); }
    config_refuses_default_ttl_nan { assert!(refused(|it| it.default_ttl = f64::NAN).starts_with("default_ttl is NaN; ")); }
    config_refuses_default_ttl_infinite { assert!(refused(|it| it.default_ttl = f64::INFINITY).starts_with("default_ttl is inf; ")); }
    config_refuses_cleanup_interval_zero {
        assert!(refused(|it| it.cleanup_interval = Some(0.0)).starts_with("cleanup_interval is 0; "));
    }
    config_refuses_cleanup_interval_negative {
        assert!(refused(|it| it.cleanup_interval = Some(-1.0)).starts_with("cleanup_interval is -1; "));
    }
    config_refuses_an_unknown_metrics_serializer {
        let error = refused(|it| it.metrics_serializer = "x".to_owned());
        assert!(error.starts_with("metrics_serializer: unknown serializer `x`"), "{error}");
    }
    config_refuses_a_filename_with_a_folder {
        assert!(refused(|it| it.filename = "a/b".to_owned()).starts_with("filename is `a/b`; "));
    }
    config_refuses_an_empty_metrics_filename {
        assert!(refused(|it| it.metrics_filename = String::new()).starts_with("metrics_filename is ``; "));
    }
    config_refuses_an_empty_storage_dir {
        assert!(refused(|it| it.storage_dir = PathBuf::new()).starts_with("storage_dir is ``; "));
    }
    config_stays_readable_from_the_cache {
        assert_eq!(Fixture::new(9, "fifo").cache.config().max_size, 9);
    }
}

// -------------------------------------------------------------------------------- lifecycle
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
        // Another cache's cleanup, by the same thread, has come and gone.
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

// -------------------------------------------------------------------------------- atomicity
cases! {
    of_many_adds_one_succeeds {
        for _ in 0..50 {
            let it = Fixture::missing();
            let barrier = Barrier::new(4);
            let added: usize = std::thread::scope(|scope| {
                let adders: Vec<_> = (0..4)
                    .map(|n| {
                        let (cache, barrier) = (&it.cache, &barrier);
                        scope.spawn(move || {
                            barrier.wait();
                            usize::from(cache.add("k", n, None).is_ok())
                        })
                    })
                    .collect();
                adders.into_iter().map(|adder| adder.join().unwrap()).sum()
            });
            assert_eq!((added, it.counts()[4]), (1, 3));
        }
    }
    of_many_deletes_one_succeeds {
        for _ in 0..50 {
            let it = Fixture::valid();
            let barrier = Barrier::new(4);
            let deleted: usize = std::thread::scope(|scope| {
                let deleters: Vec<_> = (0..4)
                    .map(|_| {
                        let (cache, barrier) = (&it.cache, &barrier);
                        scope.spawn(move || {
                            barrier.wait();
                            usize::from(cache.delete("k").is_ok())
                        })
                    })
                    .collect();
                deleters.into_iter().map(|deleter| deleter.join().unwrap()).sum()
            });
            assert_eq!(deleted, 1);
        }
    }
    of_many_gets_one_is_told_of_the_expiry {
        for _ in 0..50 {
            let it = Fixture::expired();
            let barrier = Barrier::new(4);
            let told: usize = std::thread::scope(|scope| {
                let getters: Vec<_> = (0..4)
                    .map(|_| {
                        let (cache, barrier) = (&it.cache, &barrier);
                        scope.spawn(move || {
                            barrier.wait();
                            usize::from(code(cache.get("k")) == "KEY_EXPIRED")
                        })
                    })
                    .collect();
                getters.into_iter().map(|getter| getter.join().unwrap()).sum()
            });
            assert_eq!((told, it.counts()[6]), (1, 1));
        }
    }
    an_update_never_revives_a_deleted_key {
        for _ in 0..50 {
            let it = Fixture::valid();
            let barrier = Barrier::new(2);
            let is_updated = std::thread::scope(|scope| {
                let updater = scope.spawn(|| {
                    barrier.wait();
                    it.cache.update("k", 2, None).is_ok()
                });
                barrier.wait();
                // The key is valid until this deletes it, whatever the update does.
                it.cache.delete("k").unwrap();
                updater.join().unwrap()
            });
            assert_eq!(code(it.cache.get("k")), "KEY_NOT_FOUND", "updated: {is_updated}");
        }
    }
}
