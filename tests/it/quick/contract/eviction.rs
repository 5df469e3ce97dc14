//! Which key is evicted, by each policy, and policies of users.

use std::sync::Barrier;

use larder::policy::{Accesses, Policy};
use larder::quick::{QuickCache, QuickCacheConfig, Registry};

use crate::support::newest_first::NewestFirst;

use super::{Fixture, code};

fn survivors(policy: &str, uses: impl FnOnce(&Fixture)) -> Vec<String> {
    let it = Fixture::new(3, policy);
    it.fill(&["k0", "k1", "k2"]);
    uses(&it);
    it.cache.set("k3", 0, None).unwrap();
    it.cache.validate();
    it.keys()
}

cases! {
    lru_evicts_the_oldest_of_the_unused { assert_eq!(survivors("lru", |_| ()), ["k1", "k2", "k3"]); }
    lru_get_promotes {
        assert_eq!(survivors("lru", |it| drop(it.cache.get("k0"))), ["k0", "k2", "k3"]);
    }
    lru_get_many_promotes {
        assert_eq!(survivors("lru", |it| drop(it.cache.get_many(["k0"]))), ["k0", "k2", "k3"]);
    }
    lru_overwriting_promotes {
        assert_eq!(survivors("lru", |it| it.fill(&["k0"])), ["k0", "k2", "k3"]);
    }
    lru_set_many_promotes {
        let uses = |it: &Fixture| it.cache.set_many([("k0", 1)], None).unwrap();
        assert_eq!(survivors("lru", uses), ["k0", "k2", "k3"]);
    }
    lru_update_promotes {
        let uses = |it: &Fixture| it.cache.update("k0", 1, None).unwrap();
        assert_eq!(survivors("lru", uses), ["k0", "k2", "k3"]);
    }
    lru_failed_add_does_not_promote {
        let uses = |it: &Fixture| drop(it.cache.add("k0", 1, None));
        assert_eq!(survivors("lru", uses), ["k1", "k2", "k3"]);
    }
    lru_size_does_not_promote {
        let uses = |it: &Fixture| assert!(it.cache.size() > 0 && it.cache.get_metrics_snapshot().gets == 0);
        assert_eq!(survivors("lru", uses), ["k1", "k2", "k3"]);
    }
    lru_deletion_of_another_does_not_promote {
        let uses = |it: &Fixture| {
            it.cache.delete("k2").unwrap();
            it.fill(&["k4"]);
        };
        assert_eq!(survivors("lru", uses), ["k1", "k3", "k4"]);
    }
    fifo_evicts_the_oldest { assert_eq!(survivors("fifo", |_| ()), ["k1", "k2", "k3"]); }
    fifo_get_does_not_move {
        assert_eq!(survivors("fifo", |it| drop(it.cache.get("k0"))), ["k1", "k2", "k3"]);
    }
    fifo_overwriting_does_not_move {
        assert_eq!(survivors("fifo", |it| it.fill(&["k0"])), ["k1", "k2", "k3"]);
    }
    fifo_update_does_not_move {
        let uses = |it: &Fixture| it.cache.update("k0", 1, None).unwrap();
        assert_eq!(survivors("fifo", uses), ["k1", "k2", "k3"]);
    }
    fifo_setting_an_expired_key_is_a_new_insertion {
        let it = Fixture::new(3, "fifo");
        it.cache.set("k0", 0, 1).unwrap();
        it.fill(&["k1", "k2"]);
        it.pass(2);
        it.fill(&["k0", "k3"]);
        assert_eq!(it.keys(), ["k0", "k2", "k3"]);
    }
    lfu_evicts_the_least_used {
        let uses = |it: &Fixture| drop((it.cache.get("k0"), it.cache.get("k2")));
        assert_eq!(survivors("lfu", uses), ["k0", "k2", "k3"]);
    }
    lfu_evicts_the_first_to_come_to_its_count { assert_eq!(survivors("lfu", |_| ()), ["k1", "k2", "k3"]); }
    lfu_counts_get_many {
        let uses = |it: &Fixture| drop(it.cache.get_many(["k0", "k1"]));
        assert_eq!(survivors("lfu", uses), ["k0", "k1", "k3"]);
    }
    lfu_counts_overwriting {
        assert_eq!(survivors("lfu", |it| it.fill(&["k0", "k1"])), ["k0", "k1", "k3"]);
    }
    lfu_counts_update {
        let uses = |it: &Fixture| it.cache.update("k0", 1, None).unwrap();
        assert_eq!(survivors("lfu", uses), ["k0", "k2", "k3"]);
    }
    lfu_evicts_the_first_key_to_reach_the_count_among_equals {
        let uses = |it: &Fixture| {
            for key in ["k2", "k0", "k1"] {
                it.cache.get(key).unwrap();
            }
        };
        assert_eq!(survivors("lfu", uses), ["k0", "k1", "k3"]);
    }
    lfu_does_not_age {
        let it = Fixture::new(2, "lfu");
        it.fill(&["k0"]);
        for _ in 0..5 {
            it.cache.get("k0").unwrap();
        }
        for n in 1..100 {
            it.cache.set(format!("k{n}"), 0, None).unwrap();
        }
        assert_eq!(it.keys(), ["k0", "k99"]);
    }
    lfu_deletion_forgets_the_count {
        let uses = |it: &Fixture| {
            it.cache.get("k0").unwrap();
            it.cache.delete("k0").unwrap();
            it.cache.get("k1").unwrap();
            it.cache.get("k2").unwrap();
            it.fill(&["k0"]);
        };
        assert_eq!(survivors("lfu", uses), ["k1", "k2", "k3"]);
    }
    lfu_expiry_forgets_the_count {
        let it = Fixture::new(3, "lfu");
        it.cache.set("k0", 0, 1).unwrap();
        for _ in 0..5 {
            it.cache.get("k0").unwrap();
        }
        it.fill(&["k1", "k2"]);
        it.cache.get("k1").unwrap();
        it.cache.get("k2").unwrap();
        it.pass(2);
        it.fill(&["k0", "k3"]);
        assert_eq!(it.keys(), ["k1", "k2", "k3"]);
    }
    overwriting_never_evicts {
        for policy in ["lru", "lfu", "fifo"] {
            let it = Fixture::new(3, policy);
            it.fill(&["k0", "k1", "k2", "k0", "k1", "k2"]);
            assert_eq!((it.cache.size(), it.counts()[5]), (3, 0), "{policy}");
        }
    }
    expired_entries_leave_before_any_valid_one_is_evicted {
        for policy in ["lru", "lfu", "fifo"] {
            let it = Fixture::new(3, policy);
            it.fill(&["k0", "k1"]);
            it.cache.set("k2", 0, 1).unwrap();
            it.pass(2);
            it.fill(&["k3"]);
            assert_eq!(it.keys(), ["k0", "k1", "k3"], "{policy}");
            assert_eq!(it.counts()[5..7], [0, 1], "{policy}");
        }
    }
    an_insertion_into_a_full_cache_sweeps_all_expired_entries {
        let it = Fixture::new(100, "lru");
        for n in 0..100 {
            it.cache.set(format!("k{n}"), 0, 1).unwrap();
        }
        it.pass(2);
        it.cache.set("new", 0, None).unwrap();
        assert_eq!((it.cache.size(), it.counts()[6]), (1, 100));
    }
    an_insertion_into_a_cache_with_room_sweeps_nothing {
        let it = Fixture::expired();
        it.cache.set("l", 0, None).unwrap();
        assert_eq!(code(it.cache.get("k")), "KEY_EXPIRED");
    }
    set_many_of_too_many_keeps_the_last {
        for policy in ["lru", "lfu", "fifo"] {
            let it = Fixture::new(3, policy);
            it.cache.set_many((0..10).map(|n| (format!("k{n}"), n)), None).unwrap();
            assert_eq!(it.keys(), ["k7", "k8", "k9"], "{policy}");
        }
    }
    each_eviction_is_counted {
        let it = Fixture::new(3, "lru");
        it.cache.set_many((0..10).map(|n| (format!("k{n}"), n)), None).unwrap();
        assert_eq!(it.counts()[5], 7);
    }
    the_bound_holds_whenever_a_call_returns {
        for policy in Policy::names() {
            let it = Fixture::new(7, &policy);
            for n in 0..500_i64 {
                it.cache.set(format!("k{}", n * n % 97), n, None).unwrap();
                assert!(it.cache.size() <= 7, "{policy}");
            }
            it.cache.validate();
        }
    }
    the_bound_holds_with_one_entry {
        let it = Fixture::new(1, "lru");
        it.fill(&["k0", "k1"]);
        assert_eq!(it.keys(), ["k1"]);
    }
    the_bound_holds_under_many_threads {
        let it = Fixture::new(64, "lru");
        let barrier = Barrier::new(4);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (cache, barrier) = (&it.cache, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    for n in 0..2000 {
                        cache.set(format!("k{}", (n * 7 + thread) % 300), n, None).unwrap();
                        // Each of the other threads may be within an insertion.
                        assert!(cache.size() <= 64 + 4);
                    }
                });
            }
        });
        assert_eq!(it.cache.size(), 64);
        it.cache.validate();
    }
    a_custom_policy_is_chosen_by_name {
        let mut registry = Registry::standard();
        registry.register_policy(Policy::custom("Lifo", |_| Box::new(NewestFirst::new(Accesses::None)))).unwrap();
        let config = QuickCacheConfig::builder().max_size(2_usize).eviction_policy("LIFO");
        let config = config.build_with(&registry).unwrap();
        let cache: QuickCache<i64> = QuickCache::builder(config).registry(registry).build().unwrap();
        cache.set_many((0..3).map(|n| (format!("k{n}"), n)), None).unwrap();
        assert_eq!(cache.get_many(["k0", "k1", "k2"]).len(), 2);
        assert_eq!(code(cache.get("k1")), "KEY_NOT_FOUND");
    }
    policy_names_are_accepted_in_any_case {
        assert!(QuickCacheConfig::builder().eviction_policy("LrU").build().is_ok());
    }
    a_policy_registered_twice_is_refused {
        let mut registry = Registry::standard();
        let error = registry.register_policy(Policy::custom("LRU", |_| unreachable!())).unwrap_err();
        assert!(error.to_string().contains("`lru` is already registered"), "{error}");
    }
    an_unknown_policy_error_lists_the_known_ones {
        let error = QuickCacheConfig::builder().eviction_policy("x").build().unwrap_err();
        assert!(error.to_string().contains("unknown eviction policy `x`; available: lru"), "{error}");
    }
    an_unknown_serializer_error_lists_the_known_ones {
        let error = QuickCacheConfig::builder().serializer("pickle").build().unwrap_err();
        assert!(error.to_string().contains("unknown serializer `pickle`; available: bincode, json"), "{error}");
    }
}
