//! Keys that are known to have no value.

use std::cell::Cell;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use larder::test::FakeClock;
use larder::{Cache, LoadOptions, Loaded, Maintenance};

fn cache(clock: &FakeClock) -> Cache<u64, u64> {
    Cache::builder()
        .capacity(1_000)
        .negative_time_to_live(Duration::from_secs(5))
        .clock(clock.clone())
        .maintenance(Maintenance::Inline)
        .build()
        .unwrap()
}

/// Whether a call for `key` runs a loader that finds nothing.
fn loads(cache: &Cache<u64, u64>, key: u64) -> bool {
    let has_run = Cell::new(false);
    let found = cache.optionally_get_or_insert_with(&key, || {
        has_run.set(true);
        None
    });
    assert_eq!(found, None);
    has_run.get()
}

#[test]
fn that_a_key_has_no_value_is_remembered_for_its_time() {
    let clock = FakeClock::new();
    let cache = cache(&clock);
    assert!(loads(&cache, 1) && !loads(&cache, 1) && loads(&cache, 2));
    assert_eq!((cache.stats().loads, cache.stats().negative_hits), (2, 1));
    assert_eq!((cache.len(), cache.get(&1), cache.contains_key(&1)), (0, None, false));
    clock.advance(Duration::from_secs(6));
    assert!(loads(&cache, 1));
    let own = cache.get_or_load(&3, LoadOptions::new(), |load| {
        load.set_ttl(Duration::from_secs(60));
        Ok::<_, ()>(Loaded::Missing)
    });
    assert_eq!(own, Ok(None));
    clock.advance(Duration::from_secs(6));
    assert!(!loads(&cache, 3), "its own lifetime is longer");
}

#[test]
fn a_verb_that_must_return_a_value_loads_it() {
    let cache = cache(&FakeClock::new());
    assert!(loads(&cache, 1));
    assert_eq!(cache.get_or_insert_with(&1, || 10), 10);
    assert_eq!(cache.optionally_get_or_insert_with(&1, || unreachable!()), Some(10));
    cache.remove(&1);
    assert!(loads(&cache, 1), "the value has taken its place");
}

#[test]
fn a_change_of_the_key_makes_it_forgotten() {
    type Change = fn(&Cache<u64, u64>);
    let one: [Change; 4] = [
        |cache| {
            cache.insert(1, 1);
            cache.remove(&1);
        },
        |cache| {
            cache.remove(&1);
        },
        |cache| {
            cache.replace(1, 1);
        },
        |cache| {
            cache.insert_if_absent(1, 1);
            cache.remove(&1);
        },
    ];
    let all: [Change; 4] = [
        Cache::clear,
        |cache| {
            cache.invalidate_tag("any");
        },
        |cache| {
            cache.invalidate_if(|_, _| false);
        },
        |cache| cache.retain(|_, _| true),
    ];
    for change in one.into_iter().chain(all) {
        let cache = cache(&FakeClock::new());
        assert!(loads(&cache, 1) && !loads(&cache, 1));
        change(&cache);
        assert!(loads(&cache, 1), "it was remembered after a change");
        // During the load.
        let found = cache.optionally_get_or_insert_with(&2, || {
            cache.insert(2, 2);
            None
        });
        assert_eq!((found, cache.get(&2)), (None, Some(2)));
        cache.remove(&2);
        assert!(loads(&cache, 2), "a stale answer was remembered");
    }
}

#[test]
fn at_most_a_part_of_the_capacity_is_remembered() {
    let cache = cache(&FakeClock::new());
    for key in 0..10_000 {
        assert!(loads(&cache, key));
    }
    let remembered = (0..10_000).filter(|key| cache.is_known_missing(key)).count();
    assert!((1..=250).contains(&remembered), "{remembered} are remembered");
}

#[test]
fn a_flush_drops_the_keys_that_were_forgotten() {
    /// A key whose copies are counted.
    #[derive(Clone, PartialEq, Eq, Hash)]
    struct Key(u64, Arc<()>);
    let keys = Arc::new(());
    let make = |number| Key(number, Arc::clone(&keys));
    let waiting = |cache: &Cache<Key, u64>| cache.stats().waiting_bytes();
    for maintenance in [Maintenance::Inline, Maintenance::Background] {
        let cache: Cache<Key, u64> = Cache::builder()
            .capacity(1_000)
            .negative_time_to_live(Duration::from_secs(3_600))
            .maintenance(maintenance)
            .build()
            .unwrap();
        for number in 0..1_000 {
            assert_eq!(cache.optionally_get_or_insert_with(&make(number), || None), None);
        }
        cache.flush().unwrap();
        let remembered = (0..1_000).filter(|number| cache.is_known_missing(&make(*number))).count();
        assert!((1..=250).contains(&remembered), "{remembered} are remembered");
        assert_eq!((Arc::strong_count(&keys) - 1, waiting(&cache)), (remembered, 0));
        assert!(cache.stats().retired_bytes > 0, "what was evicted was retired");
        cache.clear();
        cache.flush().unwrap();
        assert_eq!((Arc::strong_count(&keys) - 1, waiting(&cache)), (0, 0));
    }
}

#[test]
fn without_a_negative_time_to_live_nothing_is_remembered() {
    let cache: Cache<u64, u64> = Cache::new(100);
    assert!(loads(&cache, 1) && loads(&cache, 1));
    assert!(!cache.is_known_missing(&1));
}

/// A load that begins and ends between the two steps of an insertion may find that the key has no value; the
/// insertion comes after it.
#[test]
fn what_was_found_during_an_insertion_is_forgotten_with_it() {
    let slot: Arc<OnceLock<Cache<u64, u64>>> = Arc::new(OnceLock::new());
    let weighed = Arc::clone(&slot);
    let cache = Cache::builder()
        .max_weight(1_000)
        .negative_time_to_live(Duration::from_secs(5))
        .weigher(move |key: &u64, _: &u64| {
            // Between the marking of fills and the step of the table, or before both.
            if let (1, Some(cache)) = (key, weighed.get()) {
                assert_eq!(cache.optionally_get_or_insert_with(key, || None), None);
            }
            1
        })
        .maintenance(Maintenance::Inline)
        .build()
        .unwrap();
    slot.set(cache.clone()).unwrap();
    cache.insert(1, 10);
    assert_eq!(cache.get(&1), Some(10));
    assert!(!cache.is_known_missing(&1), "the key has a value");
    assert!(cache.insert_if_absent(2, 20).is_stored() && !cache.is_known_missing(&2));
}
