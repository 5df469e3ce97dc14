//! The ends of the ranges: capacities, weights, hashes, sizes of keys and values, and user code
//! that calls the cache back.

use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use larder::{Cache, InsertOptions, Inserted, Maintenance, Policy, Rejection};

use crate::support::configs::{POLICIES, for_each_config};
use crate::support::flush;
use crate::support::hashers::{Constant, Identity};
use crate::support::rng::{Rng, seeds};
use crate::support::stress_threads;

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
    // The cache is shared also where values cannot be cloned.
    struct Solid;
    shared::<Cache<u64, Solid>>();
}

#[derive(Clone, PartialEq, Eq, Hash)]
#[repr(align(32))]
struct Aligned32;

#[derive(Clone, PartialEq, Eq, Hash)]
#[repr(align(4096))]
struct Aligned4096<const N: usize>([u8; N]);

/// Inserts `count` keys, and looks whether each key and value that is there is aligned.
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
    // Several at once, so that they contend for memory.
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let work = || {
                // Before the first use of a cache, and so dropped after what that keeps.
                AT_EXIT.with(|_| ());
                assert_all_aligned();
            };
            std::thread::Builder::new().stack_size(16 << 20).spawn(work).unwrap()
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn a_cache_of_one_holds_the_last_inserted() {
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

#[test]
fn entries_without_weight_count_as_entries_only() {
    for named in POLICIES {
        let cache = Cache::<u64, u64>::builder()
            .max_weight(1)
            .capacity(500)
            .weigher(|_, _| 0)
            .policy((named.make)())
            .maintenance(Maintenance::Inline)
            .partitions(1)
            .build()
            .unwrap();
        for key in 0..2_000 {
            assert_eq!(cache.insert(key, key), Inserted::Added);
        }
        assert_eq!((cache.len(), cache.weight()), (500, 0), "{}", named.name);
        cache.validate();

        // With a weight for its only bound nothing ever has to leave.
        let unbounded = Cache::<u64, u64>::builder()
            .max_weight(1)
            .weigher(|key, _| u32::from(*key == 0))
            .policy((named.make)())
            .maintenance(Maintenance::Inline)
            .partitions(1)
            .build()
            .unwrap();
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
        let cache = Cache::<u64, u64>::builder()
            .max_weight(limit)
            .weigher(|_, _| u32::MAX)
            .policy((named.make)())
            .maintenance(Maintenance::Inline)
            .partitions(1)
            .build()
            .unwrap();
        for key in 0..100 {
            assert_eq!(cache.insert(key, key), Inserted::Added);
        }
        assert_eq!((cache.len(), cache.weight()), (5, limit), "{}", named.name);
        assert_eq!(cache.stats().evicted_weight, 95 * u64::from(u32::MAX));
        cache.validate();
    }
}

#[test]
fn an_entry_of_exactly_the_bound_fits_and_one_more_does_not() {
    for named in POLICIES {
        let cache = Cache::<u64, u64>::builder()
            .max_weight(100)
            .weigher(|_, value| *value as u32)
            .policy((named.make)())
            .maintenance(Maintenance::Inline)
            .partitions(1)
            .build()
            .unwrap();
        for key in 0..10 {
            cache.insert(key, 10);
        }
        assert_eq!(cache.insert(50, 100), Inserted::Added);
        assert_eq!((cache.len(), cache.weight()), (1, 100), "{}", named.name);
        let too_heavy = Inserted::Rejected(Rejection::TooHeavy { weight: 101, limit: 100 });
        assert_eq!(cache.insert(51, 101), too_heavy);
        assert_eq!((cache.len(), cache.get(&50)), (1, Some(100)), "nothing else left for it");
        // The old value would be stale, so it goes.
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
fn keys_whose_hashes_all_collide_are_told_apart() {
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
    assert_eq!(keys.iter().collect::<HashSet<_>>().len(), keys.len(), "a key stands twice");
    cache.validate();
}

#[test]
fn hashes_that_differ_in_one_bit_only_are_told_apart() {
    // The same with all low or all high bits in common: long chains and empty buckets.
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
fn growing_from_nothing_loses_nothing() {
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
            // One that was there from the beginning, and the newest.
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
            // Refusing to build it would be as good.
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

/// A key whose hash and comparison use the cache that it is a key of.
#[derive(Clone)]
struct Recursive {
    id: u64,
    cache: Arc<OnceLock<Cache<u64, u64>>>,
}

impl Recursive {
    fn call_back(&self) {
        if let Some(cache) = self.cache.get() {
            cache.insert(self.id, self.id);
            cache.get(&self.id);
            cache.remove(&self.id);
        }
    }
}

impl Hash for Recursive {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.call_back();
        self.id.hash(state);
    }
}

impl PartialEq for Recursive {
    fn eq(&self, other: &Self) -> bool {
        self.call_back();
        self.id == other.id
    }
}

impl Eq for Recursive {}

#[test]
fn hash_and_eq_of_a_key_may_use_another_cache() {
    for_each_config(|config| {
        let inner = Arc::new(OnceLock::new());
        assert!(inner.set(config.cache::<u64, u64>(4)).is_ok());
        let cache = config.cache::<Recursive, u64>(16);
        for id in 0..100 {
            let key = Recursive { id: id % 40, cache: Arc::clone(&inner) };
            cache.insert(key.clone(), id);
            cache.get(&key);
            if id % 5 == 0 {
                cache.remove(&key);
            }
        }
        cache.run_pending();
        assert!(cache.len() <= 16);
        cache.validate();
        inner.get().unwrap().validate();
    });
}

#[test]
fn closures_may_call_the_same_cache_back() {
    for_each_config(|config| {
        let cache = config.cache::<u64, u64>(64);
        for key in 0..10 {
            cache.insert(key, key);
        }
        let read = cache.read(&1, |&value| {
            cache.insert(1, 100);
            cache.remove(&2);
            cache.run_pending();
            // It must not wait for the very guard that this closure runs under.
            let _held = cache.flush();
            cache.clear();
            cache.insert(3, 3);
            value
        });
        assert_eq!(read, Some(1));
        assert_eq!(cache.keys().collect::<Vec<_>>(), [3]);
        cache.insert(4, 4);
        cache.retain(|&key, _| {
            cache.insert(key + 100, 0);
            cache.get(&key);
            cache.run_pending();
            key != 3
        });
        assert!(cache.contains_key(&4) && !cache.contains_key(&3));
        let removed = cache.remove_if(&4, |key, _| {
            cache.get(key);
            cache.insert(5, 5);
            true
        });
        assert!(removed && cache.contains_key(&5));
        for (key, value) in cache.iter() {
            cache.insert(key, value + 1);
            cache.remove(&key);
        }
        assert!(!cache.contains_key(&5));
        cache.run_pending();
        cache.validate();
    });
}

#[test]
fn a_weigher_may_use_the_same_cache() {
    let slot: Arc<Mutex<Option<Cache<u64, u64>>>> = Arc::default();
    let inside = Arc::clone(&slot);
    let cache = Cache::<u64, u64>::builder()
        .max_weight(100)
        .weigher(move |key, value| {
            // The lock is given back at once: the insertion below calls this closure again.
            let cache = inside.lock().unwrap().clone();
            if let Some(cache) = cache.filter(|_| *key < 1_000) {
                cache.get(key);
                cache.insert(key + 1_000, 1);
            }
            *value as u32
        })
        .maintenance(Maintenance::Inline)
        .build()
        .unwrap();
    *slot.lock().unwrap() = Some(cache.clone());
    for key in 0..200 {
        cache.insert(key, 2);
        assert!(cache.weight() <= 100);
    }
    assert_eq!(cache.get(&199), Some(2));
    cache.validate();
    // Break the circle of cache and weigher.
    *slot.lock().unwrap() = None;
}

/// Bounded by weight alone: an entry weighs what its value says.
fn weighed(
    policy: Policy,
    max_weight: u64,
    partitions: usize,
    maintenance: Maintenance,
) -> Cache<u64, u64> {
    Cache::<u64, u64>::builder()
        .max_weight(max_weight)
        .weigher(|_, value| u32::try_from(*value).unwrap_or(u32::MAX))
        .policy(policy)
        .maintenance(maintenance)
        .partitions(partitions)
        .build()
        .unwrap()
}

const BOTH_MODES: [Maintenance; 2] = [Maintenance::Inline, Maintenance::Background];

#[test]
fn an_entry_heavier_than_a_share_is_stored_up_to_the_whole_bound() {
    for named in POLICIES {
        for maintenance in BOTH_MODES {
            for partitions in [1, 4, 64] {
                let cache = weighed((named.make)(), 64, partitions, maintenance);
                let place = format!("{}, {maintenance:?}, {partitions}", named.name);
                for (key, weight) in [(0, 20), (1, 64), (2, 63), (3, 1), (4, 33)] {
                    assert_eq!(cache.insert(key, weight), Inserted::Added, "{place}");
                    cache.run_pending();
                    assert_eq!(cache.get(&key), Some(weight), "{place}: left at once");
                    assert!(cache.weight() <= 64, "{place}: {}", cache.weight());
                    cache.validate();
                }
                // Alone in the cache, each fits for certain.
                for weight in [2, 17, 32, 64] {
                    cache.clear();
                    cache.run_pending();
                    cache.insert(5, weight);
                    cache.run_pending();
                    assert_eq!(cache.get(&5), Some(weight), "{place}");
                    assert_eq!(cache.insert(5, weight), Inserted::Replaced, "{place}");
                    cache.run_pending();
                    assert_eq!(cache.get(&5), Some(weight), "{place}");
                    cache.validate();
                }
                let too_heavy = Inserted::Rejected(Rejection::TooHeavy { weight: 65, limit: 64 });
                assert_eq!(cache.insert(6, 65), too_heavy, "{place}");
                assert_eq!(cache.insert(5, 65), too_heavy, "{place}");
                assert_eq!(cache.get(&5), None, "{place}");
                assert_eq!(cache.stats().maintenance_panics, 0, "{place}");
                cache.validate();
            }
        }
    }
}

/// Stores 60 under 1.
type Way = fn(&Cache<u64, u64>) -> Inserted;

#[test]
fn every_way_to_store_takes_what_is_heavier_than_a_share() {
    for maintenance in BOTH_MODES {
        let build = || weighed(Policy::lru(), 80, 8, maintenance);
        let ways: [Way; 13] = [
            |cache| cache.insert(1, 60),
            |cache| cache.insert_with_ttl(1, 60, Duration::from_secs(3600)),
            |cache| cache.insert_if_absent(1, 60),
            |cache| cache.insert_with_tags(1, 60, ["tag"]),
            |cache| cache.insert_unevictable(1, 60),
            |cache| {
                cache.insert(1, 2);
                cache.insert(1, 60)
            },
            |cache| {
                cache.insert(1, 2);
                cache.replace(1, 60)
            },
            |cache| cache.insert_with(1, 60, InsertOptions::new().tags(&["tag"])),
            |cache| cache.insert_if_absent_with(1, 60, InsertOptions::new().tags(&["tag"])),
            |cache| {
                cache.insert(1, 2);
                cache.replace_with(1, 60, InsertOptions::new().unevictable())
            },
            |cache| cache.swap(1, 60).map_or_else(Inserted::Rejected, |_| Inserted::Added),
            |cache| {
                cache.insert(1, 2);
                let options = InsertOptions::new().tags(&["tag"]);
                let old = cache.insert_and_read(1, 60, options, |_, old| *old);
                assert_eq!(old, Ok(Some(2)));
                Inserted::Replaced
            },
            |cache| cache.complete_fill(cache.begin_fill(&1), 60),
        ];
        for (at, way) in ways.iter().enumerate() {
            let cache = build();
            assert!(way(&cache).is_stored(), "way {at}, {maintenance:?}");
            cache.run_pending();
            assert_eq!(cache.get(&1), Some(60), "way {at}, {maintenance:?}");
            cache.validate();
            // What was not stored leaves no loan behind.
            assert_eq!(cache.insert_if_absent(1, 50), Inserted::Rejected(Rejection::Present));
            assert_eq!(cache.replace(2, 50), Inserted::Rejected(Rejection::Absent));
            cache.validate();
            cache.remove(&1);
            cache.validate();
            assert_eq!(cache.weight(), 0);
        }
    }
}

#[test]
fn the_room_of_a_heavy_entry_goes_back_to_all_partitions_when_it_leaves() {
    for named in POLICIES {
        let cache = weighed((named.make)(), 8_000, 8, Maintenance::Inline);
        let fill = |from: u64| {
            for key in from..from + 30_000 {
                cache.insert(key, 1);
            }
            cache.weight()
        };
        assert_eq!(fill(0), 8_000, "{}", named.name);
        cache.insert(1 << 40, 5_000);
        cache.validate();
        // It is alone of its kind, so whether it stays is for the policy to say.
        cache.remove(&(1 << 40));
        cache.validate();
        assert!(cache.weight() <= 3_001, "{}: {}", named.name, cache.weight());
        assert_eq!(fill(1 << 20), 8_000, "{}", named.name);
        cache.validate();
    }
}

#[test]
fn a_heavy_value_that_is_replaced_by_a_heavy_one_is_never_absent() {
    for named in POLICIES {
        for maintenance in BOTH_MODES {
            let cache = weighed((named.make)(), 64, 4, maintenance);
            assert_eq!(cache.insert(1, 40), Inserted::Added);
            for weight in [40, 64, 30, 50, 64, 64, 17, 33] {
                assert_eq!(cache.insert(1, weight), Inserted::Replaced, "{}", named.name);
                assert_eq!(cache.get(&1), Some(weight), "{}", named.name);
            }
            let stats = cache.stats();
            assert_eq!((stats.evictions, stats.replacements), (0, 8), "{}", named.name);
            cache.validate();
        }
    }
}

#[test]
fn weight_stays_within_the_bound_whatever_is_lent() {
    for named in POLICIES {
        for (partitions, with_capacity) in [(2, false), (8, false), (8, true), (64, false)] {
            let mut builder = Cache::<u64, u64>::builder()
                .max_weight(640)
                .weigher(|_, value| *value as u32)
                .policy((named.make)())
                .maintenance(Maintenance::Inline)
                .partitions(partitions);
            if with_capacity {
                builder = builder.capacity(40);
            }
            let cache = builder.build().unwrap();
            for seed in seeds(0xb4, 2) {
                let mut rng = Rng::new(seed);
                for step in 0..6_000 {
                    let place = || format!("{}, {partitions}, seed {seed}, {step}", named.name);
                    let key = rng.below(200);
                    // Up to the bound and a little above it, mostly light.
                    let most = [3, 12, 120, 700][rng.below(4) as usize];
                    let weight = rng.below(most);
                    match rng.below(14) {
                        0..3 => drop(cache.get(&key)),
                        3 => drop(cache.remove(&key)),
                        4 => drop(cache.replace(key, weight)),
                        5 => drop(cache.insert_if_absent(key, weight)),
                        6 if rng.below(20) == 0 => {
                            let bound = partitions as u64 + rng.below(900);
                            cache.set_max_weight(bound).unwrap();
                        }
                        7 if rng.below(50) == 0 => cache.clear(),
                        _ => {
                            let bound = cache.max_weight().unwrap();
                            let stored = cache.insert(key, weight).is_stored();
                            assert_eq!(stored, weight <= bound, "{}", place());
                        }
                    }
                    assert!(cache.weight() <= cache.max_weight().unwrap(), "{}", place());
                    if with_capacity {
                        assert!(cache.len() <= 40, "{}", place());
                    }
                    if step % 500 == 0 {
                        cache.validate();
                    }
                }
                cache.validate();
                assert_eq!(cache.stats().maintenance_panics, 0, "{}", named.name);
            }
        }
    }
}

#[test]
fn weight_stays_within_the_bound_while_threads_borrow_from_each_other() {
    for maintenance in BOTH_MODES {
        for named in POLICIES {
            let cache = weighed((named.make)(), 1_000, 8, maintenance);
            std::thread::scope(|scope| {
                for thread in 0..stress_threads() as u64 {
                    let cache = &cache;
                    scope.spawn(move || {
                        let mut rng = Rng::new(thread);
                        for _ in 0..2_000 {
                            let key = rng.below(60);
                            let most = [10, 10, 400, 1_001][rng.below(4) as usize];
                            match rng.below(20) {
                                0 => drop(cache.remove(&key)),
                                // Bounds that are never above the one that is looked at.
                                1 if thread == 0 => {
                                    cache.set_max_weight(400 + rng.below(600)).unwrap();
                                }
                                _ => drop(cache.insert(key, rng.below(most))),
                            }
                            if maintenance == Maintenance::Inline {
                                assert!(cache.weight() <= 1_000, "{}", named.name);
                            }
                        }
                    });
                }
            });
            cache.run_pending();
            assert!(cache.weight() <= cache.max_weight().unwrap(), "{}", named.name);
            cache.validate();
            assert_eq!(cache.stats().maintenance_panics, 0, "{}", named.name);
        }
    }
}

#[test]
fn a_listener_that_stores_heavy_values_itself_waits_for_nobody() {
    for maintenance in BOTH_MODES {
        let own: Arc<OnceLock<Cache<u64, u64>>> = Arc::default();
        let inner = Arc::clone(&own);
        let listener = larder::Listener::new(move |removal: &larder::Removal<'_, u64, u64>| {
            if let Some(cache) = inner.get()
                && *removal.key < 100
            {
                cache.insert(removal.key + 100, 30);
            }
        });
        let builder = Cache::<u64, u64>::builder()
            .max_weight(80)
            .weigher(|_, value| *value as u32)
            .partitions(8)
            .maintenance(maintenance)
            .listener(listener);
        let cache = own.get_or_init(|| builder.build().unwrap());
        std::thread::scope(|scope| {
            for thread in 0..4 {
                scope.spawn(move || {
                    for step in 0..200 {
                        cache.insert((thread * 200 + step) % 100, 1 + step % 40);
                    }
                });
            }
        });
        cache.run_pending();
        flush(&cache);
        cache.run_pending();
        assert!(cache.weight() <= 80);
        cache.validate();
        cache.clear();
    }
}

#[test]
fn a_heavy_entry_that_is_never_evicted_borrows_nothing() {
    let cache = weighed(Policy::lru(), 80, 8, Maintenance::Inline);
    assert_eq!(cache.insert_unevictable(1_000, 70), Inserted::Added);
    for key in 0..1_000 {
        cache.insert(key, 1);
    }
    assert_eq!((cache.weight(), cache.get(&1_000)), (150, Some(70)));
    // As one like any other, it needs room.
    assert_eq!(cache.insert(1_000, 70), Inserted::Replaced);
    assert!(cache.weight() <= 80 && cache.get(&1_000) == Some(70));
    cache.validate();
    assert_eq!(cache.insert_unevictable(1_000, 75), Inserted::Replaced);
    for key in 0..1_000 {
        cache.insert(key, 1);
    }
    assert_eq!(cache.weight(), 155);
    cache.validate();
}

#[test]
fn a_key_that_panics_while_its_heavy_value_is_stored_leaves_no_loan() {
    use std::sync::atomic::{AtomicBool, Ordering};
    static PANICS: AtomicBool = AtomicBool::new(false);
    struct Key(u64);
    impl Hash for Key {
        fn hash<H: Hasher>(&self, state: &mut H) {
            self.0.hash(state);
        }
    }
    impl PartialEq for Key {
        fn eq(&self, other: &Self) -> bool {
            assert!(!PANICS.load(Ordering::Relaxed), "as planned");
            self.0 == other.0
        }
    }
    impl Eq for Key {}
    let cache = Cache::<Key, u64>::builder()
        .max_weight(80)
        .weigher(|_, value| {
            assert!(*value != 99, "as planned");
            *value as u32
        })
        .partitions(8)
        .maintenance(Maintenance::Inline)
        .build()
        .unwrap();
    for first in [1, 30] {
        cache.insert(Key(1), first);
        PANICS.store(true, Ordering::Relaxed);
        crate::support::panic_message("the key", || {
            cache.insert(Key(1), 40);
        });
        PANICS.store(false, Ordering::Relaxed);
        crate::support::panic_message("the weigher", || {
            cache.insert(Key(1), 99);
        });
        assert_eq!(cache.get(&Key(1)), Some(first));
        cache.validate();
    }
}

#[test]
fn a_heavy_fill_that_becomes_stale_while_it_is_stored_leaves_no_loan() {
    for maintenance in BOTH_MODES {
        for is_atomic in [false, true] {
            let own: Arc<OnceLock<Cache<u64, u64>>> = Arc::default();
            let inner = Arc::clone(&own);
            let weigh = move |key: &u64, value: &u64| {
                if *value == 60
                    && let Some(cache) = inner.get()
                {
                    // News of the key, after the fill was found to be fresh.
                    cache.remove(key);
                }
                *value as u32
            };
            let builder = Cache::<u64, u64>::builder().max_weight(80).weigher(weigh);
            let builder = builder.partitions(8).maintenance(maintenance);
            let builder = if is_atomic { builder.atomic_listener(|_| {}) } else { builder };
            let cache = own.get_or_init(|| builder.build().unwrap());
            let fill = cache.begin_fill(&1);
            assert_eq!(cache.complete_fill(fill, 60), Inserted::Rejected(Rejection::Stale));
            assert_eq!(cache.get(&1), None);
            cache.validate();
            assert_eq!(cache.weight(), 0);
            assert_eq!(cache.insert(2, 80), Inserted::Added);
            assert_eq!(cache.get(&2), Some(80));
            cache.validate();
        }
    }
}

#[test]
fn weight_is_lent_and_given_back_with_an_atomic_listener() {
    for named in POLICIES {
        for partitions in [1, 8] {
            let cache = Cache::<u64, u64>::builder()
                .max_weight(80)
                .weigher(|_, value| *value as u32)
                .policy((named.make)())
                .partitions(partitions)
                .maintenance(Maintenance::Inline)
                .atomic_listener(|_| {})
                .build()
                .unwrap();
            let mut rng = Rng::new(0xa7);
            for step in 0..4_000 {
                let place = || format!("{}, {partitions}, step {step}", named.name);
                let key = rng.below(60);
                let most = [3, 12, 81][rng.below(3) as usize];
                let weight = rng.below(most);
                match rng.below(16) {
                    0 => drop(cache.remove(&key)),
                    1 => drop(cache.insert_if_absent(key, weight)),
                    _ => {
                        let inserted = cache.insert(key, weight);
                        assert!(inserted.is_stored(), "{}", place());
                        // Others leave for an update, each by a run of its own.
                        let is_spared = inserted == Inserted::Replaced && partitions == 1;
                        assert!(!is_spared || cache.contains_key(&key), "{}", place());
                    }
                }
                assert!(cache.weight() <= 80, "{}: {}", place(), cache.weight());
                if step % 500 == 0 {
                    cache.validate();
                }
            }
            cache.validate();
            cache.clear();
            cache.insert(1, 80);
            assert_eq!(cache.get(&1), Some(80), "{}", named.name);
            cache.validate();
        }
    }
}

#[test]
fn what_is_demoted_leaves_first_for_an_update_and_the_updated_entry_stays() {
    for is_atomic in [false, true] {
        let builder = Cache::<u64, u64>::builder()
            .max_weight(10)
            .weigher(|_, value| *value as u32)
            .policy(Policy::fifo())
            .maintenance(Maintenance::Inline);
        let builder = if is_atomic { builder.atomic_listener(|_| {}) } else { builder };
        let cache = builder.build().unwrap();
        for key in 1..=5 {
            cache.insert(key, 2);
        }
        assert!(cache.demote(&1) && cache.demote(&4));
        // Demoted before, and the oldest: but it is what was just stored.
        assert_eq!(cache.insert(1, 6), Inserted::Replaced);
        let held = |cache: &Cache<u64, u64>| {
            (1..=5).filter(|key| cache.contains_key(key)).collect::<Vec<_>>()
        };
        assert_eq!(held(&cache), [1, 3, 5], "{is_atomic}");
        assert_eq!(cache.insert(1, 10), Inserted::Replaced);
        assert_eq!(held(&cache), [1], "{is_atomic}");
        cache.validate();
    }
}

#[test]
fn a_bound_that_nothing_can_leave_for_now_is_lowered_all_the_same() {
    let cache = Cache::<u64, u64>::builder()
        .capacity(100)
        .maintenance(Maintenance::Inline)
        .atomic_listener(|_| {})
        .build()
        .unwrap();
    for key in 0..100 {
        cache.insert(key, key);
    }
    let pinned = cache.pin();
    // The listener cannot be called while the caller holds a pin, so all stay for now.
    cache.set_capacity(10).unwrap();
    drop(pinned);
    cache.run_pending();
    assert_eq!((cache.capacity(), cache.len()), (Some(10), 10));
    cache.validate();
}
