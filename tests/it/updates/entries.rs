//! The two sides of an entry, and what becomes of an action if the key has changed since.

use std::cell::Cell;

use larder::{Cache, CacheEntry, Compute, Computed, Maintenance, Stats, UpdateOptions};

use crate::support::configs::for_each_config;
use crate::support::rounds::in_rounds;

fn occupied(cache: &Cache<u32, u64>) -> larder::OccupiedEntry<'_, u32, u64> {
    match cache.entry(1) {
        CacheEntry::Occupied(entry) => entry,
        CacheEntry::Vacant(_) => panic!("the key is there"),
    }
}

fn vacant(cache: &Cache<u32, u64>) -> larder::VacantEntry<'_, u32, u64> {
    match cache.entry(1) {
        CacheEntry::Occupied(_) => panic!("the key is absent"),
        CacheEntry::Vacant(entry) => entry,
    }
}

#[test]
fn an_entry_says_what_was_there() {
    for_each_config(|config| {
        let cache = config.cache(100);
        assert_eq!(cache.entry(1).value(), None);
        assert_eq!(*cache.entry(1).key(), 1);
        cache.insert(1, 10);
        let (entry, kept) = (cache.entry(1), occupied(&cache));
        cache.insert(1, 11);
        assert_eq!((entry.value(), *entry.key()), (Some(&10), 1));
        assert_eq!((*kept.get(), *kept.key(), kept.into_value()), (10, 1, 10));
        assert_eq!(format!("{entry:?}"), "OccupiedEntry { key: 1, value: 10, .. }");
        cache.remove(&1);
        assert_eq!(format!("{:?}", vacant(&cache)), "VacantEntry { key: 1, .. }");
        assert_eq!(vacant(&cache).into_key(), 1);
        let Stats { hits, misses, .. } = cache.stats();
        assert_eq!((hits, misses), (Some(2), Some(4)), "each is a lookup that counts");
    });
}

#[test]
fn an_action_is_done_on_what_is_there_then() {
    let cache = Cache::<u32, u64>::new(100);
    // A vacant side, after the key was inserted.
    let entries = (vacant(&cache), cache.entry(1), cache.entry(1), cache.entry(1));
    let modified = cache.entry(1).and_modify(|n| n + 1);
    cache.insert(1, 10);
    assert_eq!(entries.0.insert(5), Computed::Unchanged(10));
    assert_eq!(entries.1.or_insert(5), 10);
    assert_eq!(entries.2.or_insert_with(|| 5), 10);
    assert_eq!(modified.or_insert(5), 11);
    assert_eq!(
        entries.3.and_compute_with(|n| Compute::Put(n.unwrap() * 2)),
        Computed::Replaced(22)
    );
    // An occupied side, after the value was replaced.
    let entries = (occupied(&cache), occupied(&cache), cache.entry(1), cache.entry(1));
    cache.insert(1, 30);
    assert_eq!(entries.0.insert(31), Computed::Replaced(31));
    assert_eq!(entries.2.or_insert(5), 22, "what was there when the entry was made");
    assert_eq!(entries.3.and_upsert_with(|n| n.unwrap() + 1), 32);
    assert_eq!(entries.1.remove(), Some(32));
    // An occupied side, after the key was removed.
    cache.insert(1, 40);
    let entries = (occupied(&cache), occupied(&cache), cache.entry(1));
    let modified = cache.entry(1).and_modify(|n| n + 1);
    cache.remove(&1);
    assert_eq!(entries.0.remove(), None);
    assert_eq!(modified.apply(), Computed::StillAbsent);
    assert_eq!(entries.2.and_modify(|n| n + 1).or_insert_with(|| 7), 7);
    cache.remove(&1);
    assert_eq!(entries.1.insert(41), Computed::Inserted(41));
}

#[test]
fn values_are_made_only_where_they_are_needed() {
    let cache = Cache::<u32, u64>::new(100);
    let calls = Cell::new(0);
    let make = || {
        calls.set(calls.get() + 1);
        7
    };
    assert_eq!(cache.entry(1).or_insert_with(make), 7);
    assert_eq!(cache.entry(1).or_insert_with(make), 7);
    assert_eq!(cache.entry(1).and_modify(|n| n + 1).or_insert_with(make), 8);
    assert_eq!((calls.get(), cache.entry(2).or_default()), (1, 0));
    assert_eq!(cache.entry(3).or_insert_with_key(|key| u64::from(*key) * 2), 6);
    assert_eq!(cache.entry(3).or_insert_with_key(|_| 0), 6);
    assert_eq!(cache.entry(4).and_modify(|n| n + 1).or_default(), 0);
    assert_eq!(cache.entry(4).and_modify(|n| n + 1).or_default(), 1);
    assert_eq!(cache.entry(4).and_modify(|n| n + 1).apply(), Computed::Replaced(2));
    assert_eq!(calls.get(), 1);
}

#[test]
fn the_result_says_what_there_is_now() {
    let results = [
        (Computed::Inserted(1), Some(1), true),
        (Computed::Replaced(2), Some(2), true),
        (Computed::Unchanged(3), Some(3), false),
        (Computed::Removed(4), None, false),
        (Computed::StillAbsent, None, false),
        (Computed::Rejected(larder::Rejection::StoresNothing), None, false),
    ];
    for (computed, value, is_stored) in results {
        assert_eq!((computed.is_stored(), computed.into_value()), (is_stored, value));
    }
}

#[test]
fn options_hold_for_what_the_entry_stores() {
    let cache =
        Cache::<u32, u64>::builder().capacity(2).maintenance(Maintenance::Inline).build().unwrap();
    let options = UpdateOptions::new().unevictable().tags(&["t"]);
    cache.entry_with(1, options).or_insert(1);
    (10..20).for_each(|key| _ = cache.insert(key, 0));
    assert_eq!((cache.get(&1), cache.is_unevictable(&1)), (Some(1), Some(true)));
    assert_eq!(cache.entry(1).and_upsert_with(|n| n.unwrap() + 1), 2);
    assert_eq!(cache.is_unevictable(&1), Some(true));
    assert_eq!(cache.tags_of(&1).unwrap(), ["t"]);
    cache.validate();
}

#[test]
fn of_threads_that_insert_at_once_by_one_method_all_get_the_value_of_one() {
    let cache = Cache::<u64, u64>::new(1_000);
    let gotten = std::sync::Mutex::new(Vec::new());
    in_rounds(
        500,
        |round, thread| {
            let value = match round % 2 {
                0 => cache.entry(1).or_insert(round << 8 | thread),
                _ => cache.entry(1).or_insert_with(|| round << 8 | thread),
            };
            gotten.lock().unwrap().push(value);
        },
        |round| {
            let gotten = std::mem::take(&mut *gotten.lock().unwrap());
            assert!(gotten.iter().all(|value| *value == gotten[0]), "{gotten:?}");
            assert_eq!((cache.remove(&1), gotten[0] >> 8), (Some(gotten[0]), round));
        },
    );
}
