//! Capacities, weights and hashes at the ends of their ranges, and sizes and alignments of keys and
//! values.

use std::collections::HashSet;
use std::hash::Hash;
use std::time::Duration;

use larder::{Builder, Cache, Inserted, Maintenance, Policy, Rejection};

use crate::support::configs::{POLICIES, for_each_config};
use crate::support::hashers::{Constant, Identity};
use crate::support::rng::Rng;

#[test]
fn a_cache_is_send_sync_and_clone_and_its_parts_cross_threads() {
    fn shared<T: Send + Sync + Clone + 'static>() {}
    fn sent<T: Send + Sync + 'static>() {}
    shared::<Cache<u64, u64>>();
    shared::<Cache<String, Vec<u8>, Constant>>();
    sent::<larder::Stats>();
    sent::<larder::BuildError>();
    sent::<larder::FlushError>();
    sent::<Inserted>();
    // The cache is shared between threads even if its values cannot be cloned.
    struct Solid;
    shared::<Cache<u64, Solid>>();
}

#[derive(Clone, PartialEq, Eq, Hash)]
#[repr(align(32))]
struct Aligned32;

#[derive(Clone, PartialEq, Eq, Hash)]
#[repr(align(4096))]
struct Aligned4096<const N: usize>([u8; N]);

/// Inserts `count` keys, and checks that each key and value that is present is aligned.
fn assert_aligned<K, V>(count: u8, make: impl Fn(u8) -> (K, V))
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    for lifetime in [None, Some(Duration::from_secs(60))] {
        let cache: Cache<K, V> = Cache::new(1_000);
        for at in 0..count {
            let (key, value) = make(at);
            match lifetime {
                None => cache.insert(key, value),
                Some(lifetime) => cache.insert_with_ttl(key, value, lifetime),
            };
        }
        let pin = cache.pin();
        for at in 0..count {
            let value: *const V = pin.get(&make(at).0).unwrap();
            assert!(value.is_aligned(), "{} at {value:?}", std::any::type_name::<V>());
        }
        drop(pin);
        cache.validate();
        cache.clear();
        let _is_all_freed = cache.flush();
    }
}

#[test]
fn keys_and_values_are_aligned_in_every_thread_and_at_its_end() {
    fn assert_all_aligned() {
        assert_aligned(1, |_| ((), Aligned32));
        assert_aligned(1, |_| (Aligned32, ()));
        assert_aligned(200, |key| (key, Aligned32));
        assert_aligned(200, |key| (u128::from(key), Aligned4096([])));
        assert_aligned(20, |key| (key, Aligned4096([key; 5_000])));
        assert_aligned(20, |key| (Aligned4096([key; 1]), [key; 300_000]));
        assert_aligned(200, |key| (u64::from(key), u64::from(key)));
    }
    struct AtExit;
    impl Drop for AtExit {
        fn drop(&mut self) {
            assert_all_aligned();
        }
    }
    thread_local! {
        static AT_EXIT: AtExit = const { AtExit };
    }
    // Several threads at once, so that they contend for memory.
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let work = || {
                // Made before the first use of a cache, so it is dropped after the library's own
                // thread-locals.
                AT_EXIT.with(|_| ());
                assert_all_aligned();
            };
            std::thread::Builder::new().stack_size(16 << 20).spawn(work).unwrap()
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn a_cache_of_one_entry_holds_the_last_inserted() {
    for named in POLICIES {
        for maintenance in [Maintenance::Inline, Maintenance::Background] {
            let cache = Cache::<u64, u64>::builder()
                .capacity(1)
                .policy((named.make)())
                .maintenance(maintenance)
                .build()
                .unwrap();
            for key in 0..1_000 {
                assert_eq!(cache.insert(key, key), Inserted::Added);
                if maintenance == Maintenance::Inline {
                    assert_eq!(cache.len(), 1, "{}", named.name);
                    assert_eq!(cache.get(&key), Some(key), "{}", named.name);
                }
            }
            cache.run_pending();
            assert_eq!(cache.len(), 1, "{}", named.name);
            assert_eq!(cache.iter().count(), 1, "{}", named.name);
            cache.validate();
        }
    }
}

#[test]
fn the_largest_bounds_cost_nothing_up_front() {
    for named in POLICIES {
        for maintenance in [Maintenance::Inline, Maintenance::Background] {
            let cache = Cache::<u64, u64>::builder()
                .capacity(usize::MAX)
                .max_weight(u64::MAX)
                .weigher(|_, _| u32::MAX)
                .policy((named.make)())
                .maintenance(maintenance)
                .build()
                .unwrap();
            for key in 0..3_000 {
                cache.insert(key, key);
            }
            cache.run_pending();
            assert_eq!(cache.len(), 3_000, "{}", named.name);
            assert_eq!(cache.weight(), 3_000 * u64::from(u32::MAX));
            assert_eq!(cache.stats().evictions, 0);
            cache.validate();
        }
    }
}

/// A builder of inline caches that are bounded by weight.
fn weighed(policy: Policy, max_weight: u64, weigher: fn(&u64, &u64) -> u32) -> Builder<u64, u64> {
    Cache::builder()
        .max_weight(max_weight)
        .weigher(weigher)
        .policy(policy)
        .maintenance(Maintenance::Inline)
        .partitions(1)
}

#[test]
fn entries_without_weight_count_as_entries_only() {
    for named in POLICIES {
        let cache = weighed((named.make)(), 1, |_, _| 0).capacity(500).build().unwrap();
        for key in 0..2_000 {
            assert_eq!(cache.insert(key, key), Inserted::Added);
        }
        assert_eq!((cache.len(), cache.weight()), (500, 0), "{}", named.name);
        cache.validate();

        // With a bound on weight alone, nothing ever has to leave.
        let unbounded = weighed((named.make)(), 1, |key, _| u32::from(*key == 0)).build().unwrap();
        for key in 0..2_000 {
            assert_eq!(unbounded.insert(key, key), Inserted::Added);
        }
        assert_eq!((unbounded.len(), unbounded.weight()), (2_000, 1), "{}", named.name);
        unbounded.validate();
    }
}

#[test]
fn weights_that_overflow_u32_together_are_summed_in_u64() {
    for named in POLICIES {
        let limit = 5 * u64::from(u32::MAX);
        let cache = weighed((named.make)(), limit, |_, _| u32::MAX).build().unwrap();
        for key in 0..100 {
            assert_eq!(cache.insert(key, key), Inserted::Added);
        }
        assert_eq!((cache.len(), cache.weight()), (5, limit), "{}", named.name);
        assert_eq!(cache.stats().evicted_weight, 95 * u64::from(u32::MAX));
        cache.validate();
    }
}

#[test]
fn an_entry_of_exactly_the_bound_fits_and_a_heavier_one_does_not() {
    for named in POLICIES {
        let cache = weighed((named.make)(), 100, |_, value| *value as u32).build().unwrap();
        for key in 0..10 {
            cache.insert(key, 10);
        }
        assert_eq!(cache.insert(50, 100), Inserted::Added);
        assert_eq!((cache.len(), cache.weight()), (1, 100), "{}", named.name);
        let too_heavy = Inserted::Rejected(Rejection::TooHeavy { weight: 101, limit: 100 });
        assert_eq!(cache.insert(51, 101), too_heavy);
        assert_eq!((cache.len(), cache.get(&50)), (1, Some(100)), "no other entry left for it");
        // The old value would be stale, so it is removed.
        assert_eq!(cache.insert(50, 101), too_heavy);
        assert_eq!((cache.len(), cache.weight(), cache.get(&50)), (0, 0, None));
        cache.insert(50, 1);
        assert_eq!(cache.replace(50, 101), too_heavy);
        assert_eq!(cache.get(&50), None);
        assert_eq!(cache.insert_if_absent(50, 101), too_heavy);
        assert!(cache.is_empty());
        let stats = cache.stats();
        assert_eq!((stats.rejections, stats.removals), (4, 2), "{}", named.name);
        cache.validate();
    }
}

#[test]
fn keys_whose_hashes_all_collide_are_distinguished() {
    for hash in [0, 1, u64::MAX, 1 << 63, 0x5555_5555_5555_5555] {
        for maintenance in [Maintenance::Inline, Maintenance::Background] {
            let cache = Cache::<u64, u64>::builder()
                .capacity(1_500)
                .maintenance(maintenance)
                .partitions(1)
                .hasher(Constant(hash))
                .build()
                .unwrap();
            for key in 0..1_200 {
                assert_eq!(cache.insert(key, key * 3), Inserted::Added);
            }
            for key in (0..1_200).step_by(2) {
                assert_eq!(cache.insert(key, key * 5), Inserted::Replaced);
            }
            for key in (0..1_200).step_by(3) {
                assert!(cache.remove(&key).is_some());
            }
            for key in 0..1_300 {
                let expected = (key < 1_200 && key % 3 != 0).then_some(if key % 2 == 0 {
                    key * 5
                } else {
                    key * 3
                });
                assert_eq!(cache.get(&key), expected, "hash {hash:#x}, key {key}");
            }
            assert_eq!(cache.iter().count(), cache.len());
            assert_eq!(cache.keys().collect::<HashSet<_>>().len(), 800);
            cache.validate();
        }
    }
}

#[test]
fn colliding_keys_are_evicted_and_raced_for_like_others() {
    let cache = Cache::<u64, u64>::builder().capacity(64).hasher(Constant(77)).build().unwrap();
    let threads = crate::support::stress_threads();
    std::thread::scope(|scope| {
        for thread in 0..threads as u64 {
            let cache = &cache;
            scope.spawn(move || {
                let mut rng = Rng::new(thread);
                for _ in 0..3_000 {
                    let key = rng.below(100);
                    match rng.below(4) {
                        0 => drop(cache.remove(&key)),
                        1 => drop(cache.insert(key, key)),
                        2 => drop(cache.insert_if_absent(key, key)),
                        _ => assert!(cache.get(&key).is_none_or(|value| value == key)),
                    }
                }
            });
        }
    });
    cache.run_pending();
    assert!(cache.len() <= 64);
    let keys: Vec<u64> = cache.keys().collect();
    assert_eq!(keys.iter().collect::<HashSet<_>>().len(), keys.len(), "a key is there twice");
    cache.validate();
}

#[test]
fn hashes_that_differ_in_one_bit_only_are_distinguished() {
    // All low or all high bits in common mean long chains and empty buckets.
    let mut keys: Vec<u64> = (0..64).flat_map(|bit| [1 << bit, !(1 << bit)]).collect();
    keys.extend([0, u64::MAX]);
    keys.extend((0..500).map(|step| step << 48));
    keys.extend((0..500).map(|step| step << 20));
    let keys: HashSet<u64> = keys.into_iter().collect();
    let cache = Cache::<u64, u64>::builder().capacity(100_000).hasher(Identity).build().unwrap();
    for &key in &keys {
        assert_eq!(cache.insert(key, !key), Inserted::Added, "key {key:#x}");
    }
    for &key in &keys {
        assert_eq!(cache.get(&key), Some(!key), "key {key:#x}");
    }
    assert_eq!(cache.keys().collect::<HashSet<_>>(), keys);
    for &key in &keys {
        assert_eq!(cache.remove(&key), Some(!key), "key {key:#x}");
    }
    assert!(cache.is_empty());
    cache.validate();
}

#[test]
fn keys_and_values_without_size_work() {
    for_each_config(|config| {
        let units = config.cache::<(), ()>(8);
        assert_eq!(units.insert((), ()), Inserted::Added);
        assert_eq!(units.insert((), ()), Inserted::Replaced);
        assert_eq!((units.get(&()), units.len()), (Some(()), 1));
        assert_eq!(units.remove(&()), Some(()));
        let set = config.cache::<u64, ()>(8);
        for key in 0..100 {
            set.insert(key, ());
        }
        set.run_pending();
        assert!(set.len() <= 8);
        set.validate();
    });
}

#[test]
fn large_and_aligned_values_come_back_whole() {
    #[derive(Clone, PartialEq, Debug)]
    #[repr(align(128))]
    struct Aligned([u64; 33]);
    for_each_config(|config| {
        let cache = config.cache::<u8, Aligned>(4);
        for key in 0..40 {
            cache.insert(key, Aligned([u64::from(key); 33]));
            if let Some(value) = cache.get(&key) {
                assert_eq!(value, Aligned([u64::from(key); 33]));
            }
            let pinned = cache.pin();
            if let Some(value) = pinned.get(&key) {
                assert_eq!(std::ptr::from_ref(value).addr() % 128, 0, "misaligned");
            }
        }
    });
    let big = Cache::<u8, [u8; 100_000]>::new(3);
    for key in 0..10 {
        big.insert(key, [key; 100_000]);
    }
    big.run_pending();
    assert!(big.iter().all(|(key, value)| value.iter().all(|&byte| byte == key)));
}

#[test]
fn growing_from_an_empty_table_loses_nothing() {
    for partitions in [1, 4] {
        let cache = Cache::<u64, u64>::builder()
            .capacity(1 << 20)
            .partitions(partitions)
            .maintenance(Maintenance::Inline)
            .policy(Policy::lru())
            .build()
            .unwrap();
        for key in 0..60_000 {
            cache.insert(key, key);
            // A key that was there from the beginning, and the newest.
            assert!(cache.contains_key(&(key / 2)), "key {key}");
        }
        assert_eq!(cache.len(), 60_000);
        assert!((0..60_000).all(|key| cache.get(&key) == Some(key)));
        cache.clear();
        assert_eq!(cache.iter().count(), 0);
        cache.validate();
    }
}

#[test]
fn fewer_entries_than_partitions_still_hold_the_bound() {
    for capacity in 1..8 {
        for named in POLICIES {
            // It would also be right to refuse to build it.
            let built = Cache::<u64, u64>::builder()
                .capacity(capacity)
                .partitions(4)
                .policy((named.make)())
                .maintenance(Maintenance::Inline)
                .build();
            let Ok(cache) = built else { continue };
            for key in 0..500 {
                cache.insert(key, key);
                assert!(cache.len() <= capacity, "{}, capacity {capacity}", named.name);
            }
            assert!(!cache.is_empty());
            cache.validate();
        }
    }
}
