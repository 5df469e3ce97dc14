//! Each verb by itself, and all of them mixed against a plain map, in every configuration.
//!
//! This is a program of its own because CI also runs it under AddressSanitizer, where building all
//! of `it` would take long.

// Most insertions only prepare a test, which ignores what they return.
#![allow(clippy::unwrap_used, unused_must_use)]

#[path = "../support/mod.rs"]
mod support;

mod bulk;
mod collecting;
mod mixed;
mod queries;
mod ranking;
mod storing;
mod taking;

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use larder::{Cache, Inserted, Maintenance, Rejection};

use crate::support::configs::for_each_config;

/// Far more than a test inserts that must not evict.
const ROOMY: usize = 4096;

#[test]
fn an_inserted_value_is_found_by_every_verb_at_once() {
    for_each_config(|config| {
        let cache = config.cache::<u64, String>(ROOMY);
        for key in 0..100 {
            assert_eq!(cache.insert(key, format!("value {key}")), Inserted::Added);
            let expected = format!("value {key}");
            assert_eq!(cache.get(&key).as_ref(), Some(&expected));
            assert_eq!(cache.peek(&key).as_ref(), Some(&expected));
            assert_eq!(cache.read(&key, String::len), Some(expected.len()));
            assert!(cache.contains_key(&key));
            let pinned = cache.pin();
            assert_eq!(pinned.get(&key), Some(&expected));
            assert_eq!(pinned.peek(&key), Some(&expected));
            assert!(pinned.contains_key(&key));
        }
        assert_eq!(cache.len(), 100);
        cache.validate();
    });
}

#[test]
fn an_absent_key_is_found_by_no_verb() {
    for_each_config(|config| {
        let cache = config.cache::<u64, u64>(ROOMY);
        cache.insert(1, 1);
        assert_eq!(cache.get(&2), None);
        assert_eq!(cache.peek(&2), None);
        assert_eq!(cache.read(&2, |_| panic!("nothing to read")), None::<()>);
        assert!(!cache.contains_key(&2));
        assert_eq!(cache.remove(&2), None);
        assert!(!cache.remove_if(&2, |_, _| panic!("nothing to ask about")));
        let pinned = cache.pin();
        assert_eq!(pinned.get(&2), None);
        assert_eq!(pinned.peek(&2), None);
        assert!(!pinned.contains_key(&2));
    });
}

#[test]
fn insert_of_a_present_key_replaces_the_value() {
    for_each_config(|config| {
        let cache = config.cache::<u64, u64>(ROOMY);
        assert_eq!(cache.insert(7, 1), Inserted::Added);
        for value in 2..50 {
            assert_eq!(cache.insert(7, value), Inserted::Replaced);
            assert_eq!(cache.get(&7), Some(value));
            assert_eq!(cache.len(), 1);
        }
        cache.run_pending();
        assert_eq!(cache.weight(), config.entry_weight());
        cache.validate();
    });
}

#[test]
fn insert_if_absent_keeps_the_present_value() {
    for_each_config(|config| {
        let cache = config.cache::<u64, u64>(ROOMY);
        assert_eq!(cache.insert_if_absent(1, 10), Inserted::Added);
        assert_eq!(cache.insert_if_absent(1, 11), Inserted::Rejected(Rejection::Present));
        assert_eq!(cache.get(&1), Some(10));
        assert_eq!(cache.remove(&1), Some(10));
        assert_eq!(cache.insert_if_absent(1, 12), Inserted::Added);
        assert_eq!(cache.get(&1), Some(12));
        cache.validate();
    });
}

#[test]
fn replace_adds_no_key() {
    for_each_config(|config| {
        let cache = config.cache::<u64, u64>(ROOMY);
        assert_eq!(cache.replace(1, 10), Inserted::Rejected(Rejection::Absent));
        assert_eq!(cache.get(&1), None);
        assert!(cache.is_empty());
        cache.insert(1, 11);
        assert_eq!(cache.replace(1, 12), Inserted::Replaced);
        assert_eq!(cache.get(&1), Some(12));
        cache.remove(&1);
        assert_eq!(cache.replace(1, 13), Inserted::Rejected(Rejection::Absent));
        assert!(!cache.contains_key(&1));
        cache.validate();
    });
}

#[test]
fn remove_gives_the_value_back_once() {
    for_each_config(|config| {
        let cache = config.cache::<u64, u64>(ROOMY);
        for round in 0..50 {
            cache.insert(5, round);
            assert_eq!(cache.remove(&5), Some(round));
            assert_eq!(cache.remove(&5), None);
            assert_eq!(cache.get(&5), None);
            assert_eq!(cache.len(), 0);
        }
        cache.run_pending();
        assert!(cache.is_empty());
        assert_eq!(cache.weight(), 0);
        cache.validate();
    });
}

#[test]
fn remove_if_checks_the_present_value() {
    for_each_config(|config| {
        let cache = config.cache::<u64, u64>(ROOMY);
        cache.insert(1, 10);
        let mut asked = Vec::new();
        assert!(!cache.remove_if(&1, |&key, &value| {
            asked.push((key, value));
            false
        }));
        assert_eq!(cache.get(&1), Some(10));
        cache.insert(1, 11);
        assert!(cache.remove_if(&1, |&key, &value| {
            asked.push((key, value));
            true
        }));
        assert_eq!(asked, [(1, 10), (1, 11)]);
        assert_eq!(cache.get(&1), None);
        cache.validate();
    });
}

#[test]
fn retain_checks_each_entry_once_and_keeps_the_matching_ones() {
    for_each_config(|config| {
        let cache = config.cache::<u64, u64>(ROOMY);
        for key in 0..300 {
            cache.insert(key, key * 2);
        }
        let mut asked = BTreeMap::new();
        cache.retain(|&key, &value| {
            assert_eq!(value, key * 2);
            *asked.entry(key).or_insert(0) += 1;
            key % 3 == 0
        });
        assert_eq!(asked.len(), 300);
        assert!(asked.values().all(|&times| times == 1));
        for key in 0..300 {
            assert_eq!(cache.contains_key(&key), key % 3 == 0, "key {key}");
        }
        assert_eq!(cache.len(), 100);
        cache.validate();
    });
}

#[test]
fn clear_leaves_nothing_and_the_cache_usable() {
    for_each_config(|config| {
        let cache = config.cache::<u64, u64>(ROOMY);
        for round in 0..3 {
            for key in 0..200 {
                assert_eq!(cache.insert(key, round), Inserted::Added);
            }
            cache.clear();
            assert_eq!(cache.len(), 0);
            assert_eq!(cache.iter().count(), 0);
            assert!((0..200).all(|key| !cache.contains_key(&key)));
        }
        cache.run_pending();
        assert_eq!(cache.weight(), 0);
        cache.validate();
    });
}

#[test]
fn iter_keys_and_values_show_each_entry_once() {
    for_each_config(|config| {
        let cache = config.cache::<u64, u64>(ROOMY);
        let expected: BTreeMap<u64, u64> = (0..500).map(|key| (key, key * key)).collect();
        for (&key, &value) in &expected {
            cache.insert(key, value);
        }
        let pairs: Vec<(u64, u64)> = cache.iter().collect();
        assert_eq!(pairs.len(), expected.len());
        assert_eq!(pairs.into_iter().collect::<BTreeMap<_, _>>(), expected);
        let mut keys: Vec<u64> = cache.keys().collect();
        keys.sort_unstable();
        assert!(keys.iter().eq(expected.keys()));
        let mut values: Vec<u64> = cache.values().collect();
        values.sort_unstable();
        assert!(values.iter().eq(expected.values()));
    });
}

#[test]
fn peek_and_contains_key_count_neither_hits_nor_misses() {
    for_each_config(|config| {
        let cache = config.cache::<u64, u64>(ROOMY);
        cache.insert(1, 1);
        let before = cache.stats();
        for key in [1, 2] {
            let _ = cache.peek(&key);
            let _ = cache.contains_key(&key);
            let pinned = cache.pin();
            let _ = pinned.peek(&key);
            let _ = pinned.contains_key(&key);
        }
        cache.iter().count();
        let after = cache.stats();
        assert_eq!((after.hits, after.misses), (before.hits, before.misses));
    });
}

#[test]
fn stats_count_each_verb() {
    for_each_config(|config| {
        let cache = config.cache::<u64, u64>(ROOMY);
        assert_eq!(cache.stats().hit_ratio(), None, "nothing asked yet");
        for key in 0..10 {
            cache.insert(key, key);
        }
        cache.insert(0, 1);
        cache.replace(1, 1);
        cache.replace(100, 1);
        cache.insert_if_absent(2, 1);
        cache.get(&0);
        cache.read(&1, |_| ());
        cache.pin().get(&2);
        cache.get(&100);
        cache.read(&100, |_| ());
        cache.pin().get(&100);
        cache.remove(&0);
        cache.remove(&0);
        cache.remove_if(&1, |_, _| true);
        cache.remove_if(&2, |_, _| false);
        cache.retain(|&key, _| key != 3);
        cache.run_pending();
        let stats = cache.stats();
        assert_eq!((stats.hits, stats.misses), (Some(3), Some(3)));
        assert_eq!(stats.hit_ratio(), Some(0.5));
        assert_eq!((stats.inserts, stats.replacements), (10, 2));
        assert_eq!((stats.removals, stats.evictions, stats.evicted_weight), (3, 0, 0));
        assert_eq!(stats.maintenance_panics, 0);
        assert_eq!(cache.len(), 7);
        cache.clear();
        cache.run_pending();
        assert_eq!(cache.stats().removals, 10);
        cache.validate();
    });
}

#[test]
fn a_borrowed_form_of_the_key_finds_the_entry() {
    for_each_config(|config| {
        let cache = config.cache::<String, u64>(ROOMY);
        cache.insert("one".to_owned(), 1);
        assert_eq!(cache.get("one"), Some(1));
        assert_eq!(cache.peek("one"), Some(1));
        assert_eq!(cache.read("one", |&value| value), Some(1));
        assert!(cache.contains_key("one"));
        assert_eq!(cache.pin().get("one"), Some(&1));
        assert_eq!(cache.pin().peek("one"), Some(&1));
        assert!(cache.pin().contains_key("one"));
        assert!(!cache.remove_if("one", |key, _| key != "one"));
        assert_eq!(cache.remove("one"), Some(1));
        assert_eq!(cache.get("one"), None);

        let bytes = config.cache::<Vec<u8>, u64>(ROOMY);
        bytes.insert(vec![1, 2, 3], 6);
        assert_eq!(bytes.get([1, 2, 3].as_slice()), Some(6));
        let shared = config.cache::<Arc<str>, u64>(ROOMY);
        shared.insert("two".into(), 2);
        assert_eq!(shared.get("two"), Some(2));
    });
}

/// Hashes like the number in it, as `Borrow` requires.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Id(u64);

impl Borrow<u64> for Id {
    fn borrow(&self) -> &u64 {
        &self.0
    }
}

/// Hashes like the text in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Name(String);

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[test]
fn a_borrowed_form_of_a_users_own_key_finds_the_entry() {
    for_each_config(|config| {
        // A hasher may treat numbers and strings in its own way, but it must treat their wrappers
        // in the same way.
        let cache = config.cache::<Id, u64>(ROOMY);
        let names = config.cache::<Name, u64>(ROOMY);
        for id in 0..50 {
            cache.insert(Id(id), id);
            assert_eq!(cache.get(&id), Some(id));
            assert_eq!(cache.get(&Id(id)), Some(id));
            names.insert(Name(id.to_string()), id);
            assert_eq!(names.get(id.to_string().as_str()), Some(id));
        }
        for id in 0..50 {
            assert_eq!(cache.remove(&id), Some(id));
            assert_eq!(names.remove(id.to_string().as_str()), Some(id));
        }
    });
}

#[test]
fn a_value_that_cannot_be_cloned_is_read_in_place() {
    #[derive(Debug, PartialEq)]
    struct Solid(u64);
    for_each_config(|config| {
        let cache = config.cache::<u64, Solid>(ROOMY);
        cache.insert(1, Solid(10));
        assert_eq!(cache.read(&1, |solid| solid.0), Some(10));
        assert_eq!(cache.pin().get(&1), Some(&Solid(10)));
        assert!(cache.contains_key(&1));
        assert!(cache.remove_if(&1, |_, solid| solid.0 == 10));
        assert!(cache.is_empty());
    });
}

#[test]
fn read_runs_its_closure_once() {
    for_each_config(|config| {
        let cache = config.cache::<u64, u64>(ROOMY);
        cache.insert(1, 41);
        let mut runs = 0;
        let result = cache.read(&1, |value| {
            runs += 1;
            value + 1
        });
        assert_eq!((result, runs), (Some(42), 1));
    });
}

#[test]
fn a_clone_is_the_same_cache() {
    for_each_config(|config| {
        let cache = config.cache::<u64, u64>(ROOMY);
        let other = cache.clone();
        cache.insert(1, 1);
        assert_eq!(other.get(&1), Some(1));
        other.remove(&1);
        assert_eq!(cache.get(&1), None);
        drop(cache);
        other.insert(2, 2);
        assert_eq!(other.get(&2), Some(2));
        other.validate();
    });
}

#[test]
fn a_cache_reports_how_it_was_built() {
    for_each_config(|config| {
        let cache = config.cache::<u64, u64>(64);
        assert_eq!(cache.partitions(), config.partitions);
        let name = cache.policy_name().to_lowercase().replace(['-', '_'], "");
        assert_eq!(name, config.policy.name.replace('_', ""));
        assert!(cache.capacity().is_none_or(|capacity| capacity == 64));
        assert!(cache.max_weight().is_none_or(|weight| weight == 64 * 3));
        assert!(cache.capacity().is_some() || cache.max_weight().is_some());
        assert!(!format!("{cache:?}").is_empty());
    });
}

#[test]
fn pairs_are_collected_and_extended() {
    let cache: Cache<u64, u64> = (0..100).map(|key| (key, key + 1)).collect();
    cache.run_pending();
    assert!(!cache.is_empty());
    assert!(cache.iter().all(|(key, value)| value == key + 1));
    let mut cache = Cache::<u64, u64>::new(1000);
    cache.extend((0..100).map(|key| (key, key)));
    assert_eq!(cache.len(), 100);
    assert_eq!(cache.get(&99), Some(99));
}

#[test]
fn lookups_never_call_the_weigher() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let cache = Cache::<u64, u64>::builder()
        .max_weight(1_000)
        .weigher(move |_, _| {
            counter.fetch_add(1, Ordering::Relaxed);
            1
        })
        .maintenance(Maintenance::Inline)
        .build()
        .unwrap();
    cache.insert(1, 1);
    let weighed = calls.load(Ordering::Relaxed);
    assert_eq!(weighed, 1, "each value is weighed once");
    cache.get(&1);
    let _ = cache.peek(&1);
    cache.read(&1, |_| ());
    cache.remove(&1);
    cache.run_pending();
    assert_eq!(calls.load(Ordering::Relaxed), weighed);
}
