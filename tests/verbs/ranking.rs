//! The ranking of entries: iterated over, popped from at both ends, changed by demotion.

use std::collections::HashSet;

use larder::policy::Accesses;
use larder::{Cache, Maintenance, Policy};

use super::ROOMY;
use crate::support::configs::{POLICIES, for_each_config};
use crate::support::hashers::Constant;
use crate::support::inline_cache;
use crate::support::newest_first::NewestFirst;
use crate::support::rng::{Rng, seeds};

fn all_policies() -> Vec<Policy> {
    let own = Policy::custom("newest first", |_| {
        Box::new(NewestFirst::new(Accesses::Counter { max: 9 }))
    });
    POLICIES.iter().map(|named| (named.make)()).chain([own]).collect()
}

#[test]
fn both_orders_have_every_entry_once() {
    for_each_config(|config| {
        let cache = config.cache::<u64, u64>(ROOMY);
        let mut rng = Rng::new(seeds(41, 1)[0]);
        for _ in 0..2_000 {
            let key = rng.below(300);
            match rng.below(4) {
                0 => {
                    cache.insert(key, key + 1);
                }
                1 => drop(cache.remove(&key)),
                _ => drop(cache.get(&key)),
            }
        }
        cache.insert_unevictable(1_000, 1_001);
        cache.run_pending();
        let mut expected: Vec<_> = cache.iter().filter(|(key, _)| *key != 1_000).collect();
        expected.sort_unstable();
        for ranked in [cache.coldest_first(), cache.hottest_first()] {
            let mut ranked: Vec<_> = ranked.collect();
            ranked.sort_unstable();
            assert_eq!(ranked, expected);
        }
        assert_eq!(cache.coldest(usize::MAX).len(), expected.len());
        assert_eq!(cache.hottest(7).len(), 7.min(expected.len()));
    });
}

#[test]
fn keys_of_one_hash_are_ranked_each_once() {
    let cache = Cache::builder()
        .capacity(20)
        .hasher(Constant(7))
        .policy(Policy::lru())
        .maintenance(Maintenance::Inline)
        .build()
        .unwrap();
    for key in 0..20_u64 {
        cache.insert(key, key);
    }
    for keys in [cache.hottest(20), cache.coldest(20)] {
        assert_eq!(keys.iter().collect::<HashSet<_>>().len(), 20);
    }
    let popped: HashSet<_> = std::iter::from_fn(|| cache.pop_coldest()).collect();
    assert_eq!((popped.len(), cache.len()), (20, 0));
}

#[test]
fn the_coldest_leaves_next() {
    for policy in ["lru", "lfu", "fifo", "sieve", "s3_fifo"] {
        for seed in seeds(300, 20) {
            let mut rng = Rng::new(seed);
            let cache = inline_cache(Policy::named(policy), 20);
            for _ in 0..500 {
                let key = rng.below(60);
                if cache.get(&key).is_none() {
                    let next = cache.coldest(1);
                    let was_full = cache.len() == 20;
                    cache.insert(key, key);
                    let is_left = next.first().is_some_and(|next| cache.contains_key(next));
                    assert_eq!(was_full, !is_left && !next.is_empty(), "{policy}, seed {seed}");
                }
            }
        }
    }
}

#[test]
fn popping_follows_the_order_until_nothing_is_left() {
    for policy in all_policies() {
        for is_coldest in [true, false] {
            let cache = inline_cache(policy.clone(), 100);
            for key in 0..50 {
                cache.insert(key, key);
            }
            (0..50).step_by(7).for_each(|key| assert!(cache.touch(&key)));
            for _ in 0..50 {
                let ranked = if is_coldest { cache.coldest(1) } else { cache.hottest(1) };
                let popped = if is_coldest { cache.pop_coldest() } else { cache.pop_hottest() };
                assert_eq!(popped.map(|(key, _)| key), ranked.first().copied());
            }
            cache.insert_unevictable(1, 1);
            assert_eq!((cache.pop_coldest(), cache.pop_hottest()), (None, None));
            assert_eq!((cache.stats().removals, cache.stats().evictions), (50, 0));
            cache.validate();
        }
    }
}

#[test]
fn popping_skips_entries_that_are_not_valid() {
    let cache = inline_cache(Policy::fifo(), 100);
    for key in 0..10 {
        cache.insert_with_tags(key, key, ["old"]);
    }
    cache.insert(10, 10);
    cache.invalidate_tag("old");
    assert_eq!(cache.pop_coldest(), Some((10, 10)));
    assert_eq!(cache.pop_coldest(), None);
    assert_eq!(cache.pop_hottest(), None);
}

#[test]
fn a_demoted_entry_leaves_next_whatever_the_policy() {
    for policy in all_policies() {
        let cache = inline_cache(policy.clone(), 10);
        for key in 0..10 {
            cache.insert(key, key);
        }
        for _ in 0..5 {
            assert!((0..10).all(|key| cache.touch(&key)));
        }
        assert!(cache.demote(&3) && cache.demote(&7) && cache.demote(&3));
        assert!(!cache.demote(&99));
        assert_eq!(cache.coldest(2), [3, 7], "{policy:?}");
        assert!(!cache.hottest(8).iter().any(|key| [3, 7].contains(key)), "{policy:?}");
        assert_eq!(cache.hottest(10)[8..], [7, 3], "{policy:?}");
        cache.insert(10, 10);
        assert!(!cache.contains_key(&3) && cache.contains_key(&7), "{policy:?}");
        cache.insert(11, 11);
        assert!(!cache.contains_key(&7), "{policy:?}");
        assert_eq!((cache.len(), cache.stats().evictions), (10, 2));
        assert_eq!(cache.stats().maintenance_panics, 0);
        cache.validate();
    }
}

#[test]
fn a_use_or_a_new_value_cancels_a_demotion() {
    for policy in all_policies().into_iter().filter(|policy| policy.name() != "fifo") {
        for is_use in [true, false] {
            let cache = inline_cache(policy.clone(), 10);
            for key in 0..10 {
                cache.insert(key, key);
            }
            for _ in 0..5 {
                assert!((0..10).all(|key| cache.touch(&key)));
            }
            assert!(cache.demote(&9) && cache.demote(&5));
            match is_use {
                true => assert!(cache.touch(&9)),
                false => {
                    cache.insert(9, 90);
                }
            }
            assert_eq!(cache.coldest(1), [5], "{policy:?}");
            cache.insert(10, 10);
            assert!(cache.contains_key(&9) && !cache.contains_key(&5), "{policy:?}");
            cache.validate();
        }
    }
}

#[test]
fn demotions_of_entries_that_leave_otherwise_leave_no_trace() {
    let cache = inline_cache(Policy::lru(), 10);
    for round in 0..1_000 {
        cache.insert(round, round);
        assert!(cache.demote(&round));
        match round % 3 {
            0 => assert_eq!(cache.remove(&round), Some(round)),
            1 => {
                cache.insert_unevictable(round, round);
            }
            _ => {
                cache.insert(round, round);
            }
        }
        cache.remove(&round);
    }
    for key in 0..10 {
        cache.insert(key, key);
    }
    cache.insert(10, 10);
    assert!(!cache.contains_key(&0), "the oldest left, not the entry that replaced a demoted one");
    cache.insert_unevictable(11, 11);
    assert!(!cache.demote(&11), "never evicted");
    cache.validate();
}

#[test]
fn an_entry_that_maintenance_has_not_seen_is_demoted_too() {
    let cache: Cache<u64, u64> = Cache::builder().capacity(1_000).partitions(1).build().unwrap();
    for key in 0..1_000 {
        cache.insert(key, key);
        assert!(cache.demote(&key), "{key}");
    }
    assert_eq!(cache.coldest(3), [0, 1, 2]);
}
