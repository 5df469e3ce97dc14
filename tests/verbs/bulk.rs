//! The bulk verbs: what they return and count, in tables in which keys are read ahead, and in small ones.
//! `it::bulk` compares them with loops.

use std::sync::Arc;

use larder::{Cache, InsertOptions, Maintenance};

use super::ROOMY;
use crate::support::configs::for_each_config;

/// Caches with few buckets and with so many that keys are read ahead.
fn caches<V: Send + Sync + 'static>() -> [Cache<String, V>; 2] {
    [1_000, 16_500].map(|capacity| {
        let builder = Cache::builder().capacity(capacity).initial_capacity(capacity);
        builder.count_lookups().maintenance(Maintenance::Inline).build().unwrap()
    })
}

fn names(numbers: std::ops::Range<u64>) -> Vec<String> {
    numbers.map(|number| format!("the name of {number}")).collect()
}

#[test]
fn values_come_in_the_order_of_the_keys() {
    for_each_config(|config| {
        let cache = config.cache::<u64, u64>(ROOMY);
        let counts = cache.insert_many((0..100).map(|key| (key, key * 2)));
        assert_eq!((counts.added, counts.replaced, counts.rejected), (100, 0, 0));
        let keys: Vec<u64> = (0..200).rev().collect();
        let expected: Vec<_> = keys.iter().map(|key| (*key < 100).then_some(key * 2)).collect();
        assert_eq!(cache.get_many(&keys), expected);
        assert_eq!(cache.get_many(&[7, 300, 7]), [Some(14), None, Some(14)]);
        assert_eq!(cache.get_many(&keys[..0]), []);
        assert_eq!(cache.pin().get_many(&[7, 300]), [Some(&14), None]);
        let mut read = Vec::new();
        cache.read_many(&[9, 300], |index, value| read.push((index, value.copied())));
        assert_eq!(read, [(0, Some(18)), (1, None)]);
        let stats = cache.stats();
        assert_eq!((stats.hits, stats.misses), (Some(104), Some(103)));
        cache.validate();
    });
}

#[test]
fn keys_are_removed_once_and_counted() {
    for_each_config(|config| {
        let cache = config.cache::<u64, u64>(ROOMY);
        cache.insert_many((0..100).map(|key| (key, key)));
        assert_eq!(cache.remove_many(&[1, 2, 3, 2, 300]), 3);
        assert_eq!(cache.extract_many(&[2, 4, 4, 5]), [None, Some(4), None, Some(5)]);
        assert_eq!((cache.remove_many(&[0_u64; 0]), cache.len()), (0, 95));
        let all: Vec<u64> = (0..100).collect();
        assert_eq!(cache.remove_many(&all), 95);
        assert_eq!(cache.stats().removals, 100);
        assert!(cache.is_empty());
        cache.validate();
    });
}

#[test]
fn many_keys_are_looked_up_by_a_borrowed_form() {
    for cache in caches::<String>() {
        let pairs = names(0..300).into_iter().zip(names(1_000..1_300));
        assert_eq!(cache.insert_many(pairs).added, 300);
        let keys = names(200..400);
        let values = cache.get_many(&keys);
        assert_eq!(values, cache.get_many(keys.iter().map(String::as_str)));
        let expected: Vec<_> = names(1_200..1_300).into_iter().map(Some).collect();
        assert_eq!(values[..100], expected);
        assert!(values[100..].iter().all(Option::is_none));
        let pinned = cache.pin();
        let borrowed = pinned.get_many(keys.iter().map(String::as_str));
        assert!(borrowed.iter().zip(&values).all(|(one, other)| *one == other.as_ref()));
        drop(pinned);
        assert_eq!(cache.extract_many(keys.iter().map(String::as_str)), values);
        assert_eq!(cache.remove_many(["the name of 1", "the name of 250", "none"]), 1);
        assert_eq!(cache.len(), 199);
        cache.validate();
    }
}

#[test]
fn values_of_every_shape_are_read_ahead() {
    /// Neither a pointer nor a size that fits a cache line.
    #[derive(Clone, Debug, PartialEq)]
    struct Wide([u8; 200], Option<Arc<u64>>);
    for cache in caches::<Wide>() {
        let wide = |number: u64| {
            Wide([number as u8; 200], number.is_multiple_of(2).then(|| Arc::new(number)))
        };
        cache.insert_many(names(0..200).into_iter().zip((0..200).map(wide)));
        cache.insert_many(names(0..100).into_iter().zip((0..100).map(wide)));
        let found = cache.get_many(&names(0..200));
        assert!(found.into_iter().zip(0..200).all(|(value, number)| value == Some(wide(number))));
        assert_eq!(cache.remove_many(&names(0..300)), 200);
        cache.validate();
    }
}

#[test]
fn pairs_that_are_inserted_together_share_their_options() {
    for cache in caches::<u64>() {
        let options = InsertOptions::new().tags(&["even"]).unevictable();
        let counts = cache.insert_many_with(names(0..100).into_iter().zip(0..), options);
        assert_eq!(counts.added, 100);
        cache.insert_many(names(50..150).into_iter().zip(0..));
        assert_eq!(cache.is_unevictable("the name of 49"), Some(true));
        assert_eq!(cache.is_unevictable("the name of 50"), Some(false));
        assert!(cache.invalidate_tag("even"));
        let found = cache.get_many(&names(0..150));
        assert!(found[..50].iter().all(Option::is_none));
        assert!(found[50..].iter().all(Option::is_some));
        assert_eq!(cache.remove_many(&names(0..150)), 100, "what is invalid is not counted");
        assert!(cache.is_empty());
        cache.validate();
    }
}
