//! No namespace at or below its minimum loses an entry to another one, and the bound holds.

use std::collections::HashMap;

use larder::{Cache, InsertOptions, Maintenance, NamespaceStats, Namespaces, Policy};

/// A small generator of numbers, so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % limit
    }
}

/// What a test varies.
#[derive(Clone, Debug)]
struct Case {
    policy: &'static str,
    maintenance: Maintenance,
    partitions: usize,
    bound: u64,
    minimums: Vec<u64>,
    /// Of the first namespaces, each at least the minimum; the others have none.
    maximums: Vec<u64>,
    by_weight: bool,
    keys: u64,
}

const HEAVIEST: u64 = 5;

/// The weight of a value; also of the key, since a key is always stored with the same value.
fn weight_of(key: u64, by_weight: bool) -> u64 {
    if by_weight { key % (HEAVIEST + 1) } else { 1 }
}

/// The namespace is in the high bits.
fn key(namespace: u64, number: u64) -> u64 {
    namespace << 32 | number
}

impl Case {
    fn build(&self) -> Cache<u64, u64> {
        let mut namespaces = Namespaces::by_number(|key: &u64| (key >> 32) as usize);
        for (at, minimum) in self.minimums.iter().enumerate() {
            let name = at.to_string();
            namespaces = match self.maximums.get(at) {
                Some(maximum) => namespaces.guarantee_up_to(&name, *minimum, *maximum),
                None => namespaces.guarantee(&name, *minimum),
            };
        }
        let builder = Cache::builder()
            .policy(Policy::named(self.policy))
            .maintenance(self.maintenance)
            .partitions(self.partitions)
            .namespaces(namespaces);
        let builder = match self.by_weight {
            false => builder.capacity(self.bound as usize),
            true => builder
                .max_weight(self.bound)
                .weigher(|key: &u64, _: &u64| weight_of(*key, true) as u32),
        };
        builder.build().unwrap()
    }

    /// What a namespace holds in the unit of its minimum.
    fn held(&self, stats: &NamespaceStats) -> u64 {
        if self.by_weight { stats.weight } else { stats.entries }
    }

    /// Checks what must hold between two states, between which at most one call was made.
    fn check(&self, cache: &Cache<u64, u64>, before: &[NamespaceStats], after: &[NamespaceStats]) {
        let mut seen: HashMap<u64, (u64, u64)> = HashMap::new();
        for (key, _) in cache {
            let held = seen.entry(key >> 32).or_default();
            held.0 += 1;
            held.1 += weight_of(key, self.by_weight);
        }
        let mut total = 0;
        for (at, (before, after)) in before.iter().zip(after).enumerate() {
            let held = seen.get(&(at as u64)).copied().unwrap_or_default();
            assert_eq!((after.entries, after.weight), held, "{self:?}: namespace {at}");
            total += self.held(after);
            assert_eq!(after.maximum, self.maximums.get(at).copied());
            assert!(
                after.maximum.is_none_or(|most| self.held(after) <= most),
                "{self:?}: {at} has {after:?}"
            );
            if after.evictions == before.evictions {
                continue;
            }
            let (had, has, least) = (self.held(before), self.held(after), before.minimum);
            // The call may have added one entry to it, so it may lose one at its minimum: to itself.
            let added = u64::from(after.insertions > before.insertions);
            let slack = if self.by_weight { HEAVIEST } else { 1 };
            assert!(had + added * slack > least, "{self:?}: {at} had {had} of {least}");
            let crossing = if self.by_weight { HEAVIEST } else { 0 };
            assert!(has + crossing >= least, "{self:?}: {at} has {has} of {least}");
        }
        assert!(total <= self.bound, "{self:?}: {total}");
    }

    fn run(&self, seed: u64, steps: u64) {
        let cache = self.build();
        let mut random = Random(seed);
        let mut before = cache.all_namespace_stats();
        let count = self.minimums.len() as u64 + 1;
        let mut hot = 0;
        for step in 0..steps {
            if step % 97 == 0 {
                hot = random.below(count);
            }
            // Mostly one namespace inserts, so that the others are pressed to their minimums.
            let namespace = if random.below(4) > 0 { hot } else { random.below(count) };
            let key = key(namespace, random.below(self.keys));
            match random.below(20) {
                0 => {
                    cache.remove(&key);
                }
                1..=5 => {
                    cache.get(&key);
                }
                6 => {
                    cache.demote(&key);
                }
                _ => {
                    cache.insert(key, key);
                }
            }
            cache.run_pending();
            let after = cache.all_namespace_stats();
            self.check(&cache, &before, &after);
            before = after;
            if step % 64 == 0 {
                cache.validate();
            }
        }
        cache.validate();
        assert_eq!(cache.stats().evictions, before.iter().map(|it| it.evictions).sum::<u64>());
        assert_eq!(cache.stats().maintenance_panics, 0, "a policy was at fault: {self:?}");
    }
}

const POLICIES: [&str; 6] = ["window_tiny_lfu", "lru", "fifo", "lfu", "sieve", "s3_fifo"];

fn for_each_case(by_weight: bool, steps: u64) {
    let mut seed = 0;
    for (at, policy) in POLICIES.into_iter().enumerate() {
        for partitions in [1, 2, 4, 8] {
            for (bound, minimums) in [
                // All of it is guaranteed.
                (24, vec![8, 8, 8]),
                // Half of it.
                (40, vec![12, 0, 8, 0]),
                // None of it.
                (16, vec![0, 0]),
                // One has nearly all.
                (32, vec![31, 1]),
            ] {
                seed += 1;
                let is_inline = (at + partitions).is_multiple_of(2) || seed % 3 == 0;
                let maintenance =
                    if is_inline { Maintenance::Inline } else { Maintenance::Background };
                let keys = 4 + seed % 60;
                let bound = if by_weight { bound * 3 } else { bound };
                let minimums: Vec<u64> = match by_weight {
                    true => minimums.into_iter().map(|least| least * 3).collect(),
                    false => minimums,
                };
                // At the minimum, a little above it, and so low that one entry may be heavier.
                let maximum = |least: &u64| (least + seed % 4).max(1);
                let maximums = match seed % 3 {
                    0 => Vec::new(),
                    1 => minimums.iter().take(1).map(maximum).collect(),
                    _ => minimums.iter().map(maximum).collect(),
                };
                Case {
                    policy,
                    maintenance,
                    partitions,
                    bound,
                    minimums,
                    maximums,
                    by_weight,
                    keys,
                }
                .run(seed, steps);
            }
        }
    }
}

#[test]
fn no_namespace_at_its_minimum_loses_an_entry_to_another_by_entries() {
    for_each_case(false, 200);
}

#[test]
fn no_namespace_at_its_minimum_loses_an_entry_to_another_by_weight() {
    for_each_case(true, 200);
}

/// A cache of so many entries, in which `a` to `c` are guaranteed `least` each.
fn cache_of_three(bound: usize, least: u64, partitions: usize) -> Cache<u64, u64> {
    let minimums = vec![least; 3];
    Case {
        policy: "window_tiny_lfu",
        maintenance: Maintenance::Inline,
        partitions,
        bound: bound as u64,
        minimums,
        maximums: Vec::new(),
        by_weight: false,
        keys: 0,
    }
    .build()
}

#[test]
fn few_keys_in_one_partition_find_room_although_all_else_is_protected() {
    for partitions in [2, 4, 8] {
        let cache = cache_of_three(48, 16, partitions);
        for namespace in 0..3 {
            (0..16).for_each(|number| {
                cache.insert(key(namespace, number), 0);
            });
        }
        assert_eq!(cache.len(), 48, "the bound is one for all partitions");
        // Each namespace is at its minimum. A new key takes the place of one of its own namespace,
        // wherever that is, and stays although everything beside it is protected.
        for namespace in 0..3 {
            for number in 100..140 {
                let new = key(namespace, number);
                cache.insert(new, 0);
                cache.get(&new);
                assert_eq!(cache.len(), 48);
                let stats = cache.namespace_stats(&namespace.to_string()).unwrap();
                assert_eq!(stats.entries, 16);
            }
        }
        cache.validate();
    }
}

#[test]
fn hot_keys_of_a_namespace_stay_while_others_scan() {
    for partitions in [1, 4, 8] {
        let cache = cache_of_three(400, 100, partitions);
        let hot: Vec<u64> = (0..100).map(|number| key(0, number)).collect();
        for key in &hot {
            cache.insert(*key, 1);
        }
        for number in 0..20_000 {
            cache.insert(key(1 + number % 2, number), 0);
        }
        assert!(hot.iter().all(|key| cache.get(key) == Some(1)), "{partitions} partitions");
        assert_eq!(cache.len(), 400);
        cache.validate();
    }
}

#[test]
fn namespace_takes_its_minimum_back_from_those_above_theirs() {
    let cache = cache_of_three(300, 100, 4);
    (0..1_000).for_each(|number| {
        cache.insert(key(0, number), 0);
    });
    assert_eq!(cache.namespace_stats("0").unwrap().entries, 300);
    // Used, so that the policy admits them.
    for number in 0..100 {
        for namespace in 1..3 {
            cache.insert(key(namespace, number), 0);
        }
    }
    let held = |name| cache.namespace_stats(name).unwrap().entries;
    assert!(held("0") >= 100);
    assert_eq!(held("0") + held("1") + held("2"), 300);
    assert_eq!((held("1"), held("2")), (100, 100), "below a minimum nothing is lost");
}

#[test]
fn guarantee_holds_among_threads() {
    for maintenance in [Maintenance::Inline, Maintenance::Background] {
        let case = Case {
            policy: "window_tiny_lfu",
            maintenance,
            partitions: 8,
            bound: 2_000,
            minimums: vec![500, 500, 500],
            maximums: Vec::new(),
            by_weight: false,
            keys: 0,
        };
        let cache = case.build();
        let protected: Vec<u64> = (0..500).map(|number| key(0, number)).collect();
        protected.iter().for_each(|key| {
            cache.insert(*key, 7);
        });
        cache.run_pending();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let cache = &cache;
                scope.spawn(move || {
                    let mut random = Random(thread);
                    for _ in 0..20_000 {
                        let key = key(1 + random.below(3), random.below(5_000));
                        match random.below(10) {
                            0 => {
                                cache.remove(&key);
                            }
                            1 => {
                                cache.get(&key);
                            }
                            _ => {
                                cache.insert(key, 0);
                            }
                        }
                    }
                });
            }
        });
        cache.run_pending();
        assert!(protected.iter().all(|key| cache.get(key) == Some(7)), "{maintenance:?}");
        assert_eq!(cache.namespace_stats("0").unwrap().evictions, 0);
        assert!(cache.len() <= 2_000, "{maintenance:?}: {}", cache.len());
        cache.validate();
    }
}

#[test]
fn lowered_bound_takes_from_what_is_above_the_minimums() {
    let cache = cache_of_three(4_000, 300, 4);
    for number in 0..300 {
        cache.insert(key(0, number), 1);
    }
    (0..10_000).for_each(|number| {
        cache.insert(key(1, number), 0);
    });
    cache.set_capacity(1_000).unwrap();
    assert_eq!((cache.len(), cache.namespace_stats("0").unwrap().entries), (1_000, 300));
    let refused = cache.set_capacity(899).unwrap_err();
    assert_eq!(refused, larder::ResizeError::BelowMinimums { given: 899, minimums: 900 });
    cache.set_capacity(2_000).unwrap();
    (0..10_000).for_each(|number| {
        cache.insert(key(2, number), 0);
    });
    assert_eq!((cache.len(), cache.namespace_stats("0").unwrap().entries), (2_000, 300));
    cache.validate();
}

#[test]
fn thousands_of_namespaces_share_one_cache() {
    let mut namespaces = Namespaces::at_insertion();
    for number in 0..5_000 {
        namespaces = namespaces.guarantee(&format!("tenant-{number}"), 2);
    }
    let cache: Cache<u64, u64> = Cache::builder()
        .capacity(12_000)
        .maintenance(Maintenance::Inline)
        .partitions(8)
        .namespaces(namespaces)
        .build()
        .unwrap();
    let names: Vec<String> = (0..5_000).map(|number| format!("tenant-{number}")).collect();
    for round in 0..8 {
        for (at, name) in (0..).zip(&names) {
            cache.insert_with(at << 8 | round, round, InsertOptions::new().namespace(name));
        }
    }
    let all = cache.all_namespace_stats();
    assert_eq!((all.len(), cache.len()), (5_001, 12_000));
    assert!(all.iter().take(5_000).all(|stats| stats.entries >= 2));
    cache.validate();
}

#[test]
fn namespace_stays_within_its_maximum_wherever_its_entries_are() {
    for partitions in [1, 4, 8] {
        let namespaces = Namespaces::by_number(|key: &u64| (key >> 32) as usize)
            .guarantee_up_to("few", 0, 3)
            .guarantee("others", 10);
        let builder = Cache::builder().capacity(1_000).partitions(partitions);
        let builder = builder.maintenance(Maintenance::Inline).namespaces(namespaces);
        let cache: Cache<u64, u64> = builder.build().unwrap();
        for number in 0..500 {
            let new = key(0, number);
            cache.insert(new, 0);
            cache.insert(key(1, number), 0);
            assert_eq!(cache.get(&new), Some(0), "the newest entry stays");
            let stats = cache.namespace_stats("few").unwrap();
            assert_eq!((stats.entries, stats.maximum), ((number + 1).min(3), Some(3)));
        }
        assert_eq!(cache.namespace_stats("others").unwrap().evictions, 0, "there is room");
        // A new generation has the same maximum.
        cache.invalidate_namespace("few");
        for number in 0..500 {
            cache.insert(key(0, number), 0);
            assert!(cache.namespace_stats("few").unwrap().entries <= 3);
        }
        cache.validate();
    }
}

/// How often keys are missing that are requested all the time, in a namespace at its maximum into which others are inserted.
fn missing_hot_keys(policy: &str) -> usize {
    let namespaces =
        Namespaces::by_number(|key: &u64| (key >> 32) as usize).guarantee_up_to("a", 0, 100);
    let cache: Cache<u64, u64> = Cache::builder()
        .capacity(1_000)
        .maintenance(Maintenance::Inline)
        .partitions(1)
        .policy(Policy::named(policy))
        .namespaces(namespaces)
        .build()
        .unwrap();
    let mut missing = 0;
    for number in 100..5_000 {
        for hot in (0..20).map(|number| key(0, number)) {
            if cache.get(&hot).is_none() {
                missing += 1;
                cache.insert(hot, 1);
            }
        }
        cache.insert(key(0, number), 0);
    }
    assert_eq!(cache.namespace_stats("a").unwrap().entries, 100);
    cache.validate();
    missing
}

#[test]
fn used_entries_outlive_others_of_a_namespace_at_its_maximum() {
    for policy in ["lru", "lfu", "sieve"] {
        assert_eq!(missing_hot_keys(policy), 20, "{policy}: only before they are stored");
    }
    // These clear the marks of entries that they move. In the order of insertion it would be about 1,200.
    for policy in ["window_tiny_lfu", "s3_fifo"] {
        let missing = missing_hot_keys(policy);
        assert!(missing < 600, "{policy}: {missing}");
    }
}

#[test]
fn entry_heavier_than_the_maximum_leaves_alone() {
    let namespaces =
        Namespaces::by_number(|key: &u64| (key >> 32) as usize).guarantee_up_to("a", 0, 10);
    let cache: Cache<u64, u64> = Cache::builder()
        .max_weight(100)
        .weigher(|_: &u64, value: &u64| *value as u32)
        .maintenance(Maintenance::Inline)
        .namespaces(namespaces)
        .build()
        .unwrap();
    (0..5).for_each(|number| {
        cache.insert(key(0, number), 2);
    });
    cache.insert(key(0, 9), 11);
    let a = || cache.namespace_stats("a").unwrap();
    assert_eq!((cache.get(&key(0, 9)), a().entries, a().weight), (None, 5, 10));
    // An entry that becomes heavier makes others leave.
    cache.insert(key(0, 1), 8);
    assert_eq!((cache.get(&key(0, 1)), a().entries, a().weight), (Some(8), 2, 10));
    cache.validate();
}

#[test]
fn maximum_holds_among_threads() {
    for maintenance in [Maintenance::Inline, Maintenance::Background] {
        let case = Case {
            policy: "window_tiny_lfu",
            maintenance,
            partitions: 8,
            bound: 2_000,
            minimums: vec![500, 10, 0],
            maximums: vec![600, 20, 5],
            by_weight: false,
            keys: 0,
        };
        let cache = case.build();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let cache = &cache;
                scope.spawn(move || {
                    let mut random = Random(thread);
                    for _ in 0..20_000 {
                        let key = key(random.below(4), random.below(3_000));
                        match random.below(10) {
                            0 => {
                                cache.remove(&key);
                            }
                            1 => {
                                cache.get(&key);
                            }
                            _ => {
                                cache.insert(key, 0);
                            }
                        }
                    }
                });
            }
        });
        cache.run_pending();
        for stats in cache.all_namespace_stats() {
            let most = stats.maximum.unwrap_or(2_000);
            assert!(stats.entries <= most, "{maintenance:?}: {stats:?}");
        }
        assert!(cache.len() <= 2_000);
        cache.validate();
    }
}
