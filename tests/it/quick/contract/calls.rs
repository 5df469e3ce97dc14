//! Each call in each state of a key.

use std::collections::HashMap;
use std::time::Duration;

use super::{Fixture, code};

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
    set_many_gives_all_keys_the_same_time_to_live {
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
    set_many_without_pairs_does_nothing {
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
    get_many_without_keys_is_a_get {
        let it = Fixture::missing();
        assert!(it.cache.get_many(Vec::<&str>::new()).is_empty());
        assert_eq!(it.counts(), [0, 0, 0, 1, 0, 0, 0, 0]);
    }
    delete_many_removes_the_present_keys {
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
    size_does_not_inspect_entries {
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
    an_access_does_not_prolong_the_time_to_live {
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
