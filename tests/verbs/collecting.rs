//! Many pairs at once: each pair that is not stored is counted.

use std::hash::{BuildHasherDefault, DefaultHasher};

use larder::{Cache, Maintenance};

use super::ROOMY;
use crate::support::configs::for_each_config;

#[test]
fn pairs_that_are_inserted_together_are_counted() {
    for_each_config(|config| {
        let cache = config.cache::<u64, u64>(ROOMY);
        let counts = cache.insert_many((0..100).map(|key| (key % 60, key)));
        assert_eq!((counts.added, counts.replaced, counts.rejected), (60, 40, 0));
        assert_eq!((cache.get(&39), cache.get(&40)), (Some(99), Some(40)));
    });
}

#[test]
fn pairs_that_an_extension_cannot_store_are_counted() {
    let build = || {
        let builder = Cache::builder().max_weight(100).weigher(|_: &u64, value: &u32| *value);
        builder.maintenance(Maintenance::Inline).build().unwrap()
    };
    let pairs = [(1, 10), (2, 101), (3, 20), (1, 500)];
    let counts = build().insert_many(pairs);
    assert_eq!((counts.added, counts.replaced, counts.rejected), (2, 0, 2));
    let mut own = build();
    own.extend(pairs);
    let shared = build();
    std::thread::scope(|scope| {
        scope.spawn(|| (&shared).extend(pairs));
    });
    for cache in [own, shared] {
        assert_eq!(cache.stats().rejections, 2);
        assert_eq!(cache.to_vec(), [(3, 20)], "a value that should have been replaced is gone");
    }
}

#[test]
fn a_collected_cache_has_every_pair_and_the_bound_of_their_number() {
    for count in [0_u64, 1, 2, 100, 5_000] {
        let cache: Cache<u64, u64> = (0..count).map(|key| (key, key)).collect();
        assert_eq!(cache.len() as u64, count);
        assert_eq!(cache.capacity(), Some(count.max(1) as usize));
        assert_eq!((cache.stats().rejections, cache.stats().evictions), (0, 0));
        let mut all = cache.to_vec();
        all.sort_unstable();
        assert!(all.into_iter().eq((0..count).map(|key| (key, key))));
    }
    let hashed: Cache<u64, u64, BuildHasherDefault<DefaultHasher>> = [(1, 2)].into_iter().collect();
    assert_eq!(hashed.get(&1), Some(2));
}

#[test]
fn a_copy_needs_no_comparison() {
    /// Implements `Clone`, and no comparison.
    #[derive(Clone)]
    struct Plain(u64);
    let cache: Cache<u64, Plain> = (0..10).map(|key| (key, Plain(key * 2))).collect();
    let copy = cache.to_vec();
    cache.clear();
    assert_eq!(copy.iter().map(|(key, plain)| key + plain.0).sum::<u64>(), 135);
}
