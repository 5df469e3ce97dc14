//! User code that panics within a bulk verb: the keys before were handled, nothing is lost or dropped
//! twice, and the cache goes on.

use std::sync::Arc;

use larder::{Cache, Maintenance};

use super::LARGE;
use crate::support::counted::{Counted, Ledger, Place};
use crate::support::{flush, panic_message};

const CAPACITIES: [usize; 2] = [1_000, LARGE];

fn cache(capacity: usize) -> Cache<Counted, Counted> {
    let builder = Cache::builder().capacity(capacity).initial_capacity(capacity).count_lookups();
    builder.maintenance(Maintenance::Inline).build().unwrap()
}

/// Checks that only what is in the cache lives, that no pin is left, and that the cache can be used.
fn assert_sound(cache: &Cache<Counted, Counted>, ledger: &Arc<Ledger>, what: &str) {
    ledger.disarm();
    flush(cache);
    ledger.assert_living(2 * cache.len(), what);
    cache.insert(ledger.make(9_999), ledger.make(1));
    assert_eq!(cache.get(&9_999).map(|value| value.id()), Some(1), "{what}");
    cache.remove_many(&[9_999_u64]);
    cache.validate();
}

fn pairs(ledger: &Arc<Ledger>, count: u64) -> Vec<(Counted, Counted)> {
    (0..count).map(|id| (ledger.make(id), ledger.make(id))).collect()
}

#[test]
fn pairs_before_a_hash_that_panics_are_inserted() {
    for capacity in CAPACITIES {
        for bomb in [0, 1, 63, 64, 100, 199] {
            let ledger = Ledger::new();
            let cache = cache(capacity);
            let pairs = pairs(&ledger, 200);
            ledger.only_for(bomb);
            ledger.panic_at(Place::Hash, 1);
            panic_message("a hash panics", || assert!(cache.insert_many(pairs).added > 0));
            assert_eq!(cache.len() as u64, bomb);
            assert_sound(&cache, &ledger, "a hash panicked");
        }
    }
}

#[test]
fn pairs_before_an_iterator_that_panics_are_inserted() {
    for capacity in CAPACITIES {
        for bomb in [0, 1, 63, 64, 100, 199] {
            let ledger = Ledger::new();
            let cache = cache(capacity);
            let pairs = pairs(&ledger, 200).into_iter();
            let pairs = pairs.inspect(|(key, _)| assert_ne!(key.id(), bomb, "a bomb"));
            let message =
                panic_message("an iterator panics", || assert!(cache.insert_many(pairs).added > 0));
            assert!(message.contains("a bomb"), "{message}");
            assert_eq!(cache.len() as u64, bomb);
            assert_sound(&cache, &ledger, "an iterator panicked");
        }
    }
}

#[test]
fn pairs_before_an_insertion_that_panics_stay() {
    for capacity in CAPACITIES {
        for bomb in [0, 1, 63, 64, 100, 199] {
            let ledger = Ledger::new();
            let builder = Cache::builder().max_weight(capacity as u64).initial_capacity(capacity);
            let weigher = move |key: &Counted, _: &Counted| {
                assert_ne!(key.id(), bomb, "a bomb");
                1
            };
            let builder = builder.weigher(weigher).maintenance(Maintenance::Inline);
            let cache = builder.build().unwrap();
            let pairs = pairs(&ledger, 200);
            panic_message("a weigher panics", || assert!(cache.insert_many(pairs).added > 0));
            assert_eq!(cache.len() as u64, bomb);
            assert_sound(&cache, &ledger, "a weigher panicked");
        }
    }
}

#[test]
fn lookups_before_a_panic_have_taken_place() {
    for capacity in CAPACITIES {
        for place in [Place::Hash, Place::Eq, Place::Clone] {
            for bomb in [0, 1, 63, 64, 100, 199] {
                let ledger = Ledger::new();
                let cache = cache(capacity);
                cache.insert_many(pairs(&ledger, 200));
                let keys: Vec<Counted> = (0..200).map(|id| ledger.make(id)).collect();
                ledger.only_for(bomb);
                ledger.panic_at(place, 1);
                panic_message("user code panics", || drop(cache.get_many(&keys)));
                drop(keys);
                let stats = cache.stats();
                // The clone of a value is made once the lookup is counted.
                let hits = bomb + u64::from(place == Place::Clone);
                assert_eq!((stats.hits, stats.misses), (Some(hits), Some(0)), "{place:?}");
                assert_eq!(cache.len(), 200);
                assert_sound(&cache, &ledger, "user code panicked in a lookup");
            }
        }
    }
}

#[test]
fn removals_before_a_panic_have_taken_place() {
    for capacity in CAPACITIES {
        for place in [Place::Hash, Place::Eq, Place::Clone] {
            for bomb in [0, 1, 63, 64, 100, 199] {
                let ledger = Ledger::new();
                let cache = cache(capacity);
                cache.insert_many(pairs(&ledger, 200));
                let keys: Vec<Counted> = (0..200).map(|id| ledger.make(id)).collect();
                ledger.only_for(bomb);
                ledger.panic_at(place, 1);
                panic_message("user code panics", || drop(cache.extract_many(&keys)));
                drop(keys);
                // A value is cloned when its entry has left.
                let removed = bomb + u64::from(place == Place::Clone);
                assert_eq!(cache.len() as u64, 200 - removed, "{place:?}");
                assert_sound(&cache, &ledger, "user code panicked in a removal");
            }
        }
    }
}

#[test]
fn a_closure_that_panics_leaves_no_pin() {
    for capacity in CAPACITIES {
        let ledger = Ledger::new();
        let cache = cache(capacity);
        cache.insert_many(pairs(&ledger, 200));
        let keys: Vec<u64> = (0..200).collect();
        for bomb in [0, 1, 63, 64, 199] {
            panic_message("a closure panics", || {
                cache.read_many(&keys, |index, _| assert_ne!(index, bomb, "a bomb"));
            });
        }
        assert_sound(&cache, &ledger, "a closure panicked");
    }
}

#[test]
fn a_second_panic_while_the_keys_before_the_first_are_handled_is_the_one_that_arrives() {
    let ledger = Ledger::new();
    let cache = cache(LARGE);
    cache.insert_many(pairs(&ledger, 64));
    let keys: Vec<u64> = (0..64).collect();
    let keys = keys.iter().inspect(|key| assert_ne!(**key, 50, "the first"));
    let message = panic_message("two panics", || {
        cache.read_many(keys, |index, _| assert_ne!(index, 20, "the second"));
    });
    assert!(message.contains("the second"), "{message}");
    assert_sound(&cache, &ledger, "two panics");
}
