//! Twins: one cache is used with bulk verbs, and the other with loops. All that can be asked of them, and
//! all that they call, has to be the same afterwards.

use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use larder::test::FakeClock;
use larder::{
    Builder, Cache, Expiry, InsertOptions, Inserted, Intent, Listener, Maintenance, Policy,
    RandomState, Removal, ShadowConfig,
};

use super::LARGE;
use crate::support::configs::{POLICIES, for_each_config};
use crate::support::rng::{Rng, seeds};

/// How many keys the random steps choose from.
const KEYS: u64 = 400;

/// What closures of one twin were called with.
type Log = Arc<Mutex<Vec<String>>>;

struct Twins {
    bulk: Cache<u64, u64>,
    single: Cache<u64, u64>,
    logs: [Log; 2],
    clock: FakeClock,
}

impl Twins {
    /// Two caches with the same settings, which are `set` for each, and the same hashes.
    fn new(set: impl Fn(Builder<u64, u64>, &Log) -> Builder<u64, u64>) -> Self {
        let clock = FakeClock::new();
        let logs = [Log::default(), Log::default()];
        let build = |log| {
            let builder = set(Cache::builder(), log).hasher(RandomState::with_seeds(1, 2, 3, 4));
            builder.clock(clock.clone()).count_lookups().build().unwrap()
        };
        let (bulk, single) = (build(&logs[0]), build(&logs[1]));
        Self { bulk, single, logs, clock }
    }

    /// A step with random keys.
    fn step(&self, rng: &mut Rng) {
        let Self { bulk, single, clock, .. } = self;
        let count = [0, 1, 4, 5, 63, 64, 65, 200][rng.below(8) as usize];
        let list: Vec<u64> = (0..count).map(|_| rng.below(KEYS)).collect();
        let pairs = || list.iter().map(|key| (*key, key + count));
        // Changes nothing, and counts as no use.
        let intent = [Intent::Read, Intent::Change][rng.below(2) as usize];
        bulk.prefetch_many(&list, intent);
        match rng.below(10) {
            0 => {
                let expected: Vec<_> = list.iter().map(|key| single.get(key)).collect();
                assert_eq!(bulk.get_many(&list), expected);
            }
            1 => {
                let expected: Vec<_> = list.iter().map(|key| single.get(key)).collect();
                let mut read = Vec::new();
                // The number of keys is not known in advance.
                bulk.read_many(list.iter().filter(|_| true), |index, value| {
                    assert_eq!(index, read.len());
                    read.push(value.copied());
                });
                assert_eq!(read, expected);
            }
            2 => {
                let expected: Vec<_> = list.iter().map(|key| single.get(key)).collect();
                let pinned = bulk.pin();
                let found = pinned.get_many(&list);
                assert_eq!(
                    found.into_iter().map(Option::<&u64>::copied).collect::<Vec<_>>(),
                    expected
                );
            }
            3..=5 => {
                let outcomes: Vec<_> =
                    pairs().map(|(key, value)| single.insert(key, value)).collect();
                let counts = bulk.insert_many(pairs());
                assert_eq!([counts.added, counts.replaced, counts.rejected], tally(&outcomes));
            }
            6 => {
                let options = InsertOptions::new().ttl(Duration::from_secs(30)).tags(&["a", "b"]);
                let insert = |(key, value)| single.insert_with(key, value, options);
                let outcomes: Vec<_> = pairs().map(insert).collect();
                let counts = bulk.insert_many_with(pairs(), options);
                assert_eq!([counts.added, counts.replaced, counts.rejected], tally(&outcomes));
            }
            7 => {
                let removed = list.iter().filter(|key| single.remove(*key).is_some()).count();
                assert_eq!(bulk.remove_many(&list), removed as u64);
            }
            8 => {
                let expected: Vec<_> = list.iter().map(|key| single.remove(key)).collect();
                assert_eq!(bulk.extract_many(&list), expected);
            }
            _ => {
                clock.advance(Duration::from_secs(10));
                if rng.below(2) == 0 {
                    bulk.invalidate_tag("a");
                    single.invalidate_tag("a");
                }
            }
        }
    }

    /// Compares whatever can be asked.
    fn assert_same(&self) {
        let Self { bulk, single, logs, .. } = self;
        let ask = |cache: &Cache<u64, u64>| {
            let mut pairs = cache.to_vec();
            pairs.sort_unstable();
            let stats = cache.stats();
            let counts = [
                stats.hits.unwrap(),
                stats.misses.unwrap(),
                stats.inserts,
                stats.replacements,
                stats.evictions,
                stats.removals,
                stats.expirations,
                stats.invalidations,
                stats.rejections,
                stats.notifications,
            ];
            (pairs, counts, cache.len(), cache.weight())
        };
        bulk.run_pending();
        single.run_pending();
        assert_eq!(ask(bulk), ask(single));
        let [bulk_log, single_log] = logs;
        assert_eq!(*bulk_log.lock().unwrap(), *single_log.lock().unwrap());
        bulk.validate();
    }

    /// The same, and compares what a policy knows: in caches with inline maintenance, where it depends on
    /// nothing but the calls.
    fn assert_same_uses(&self, keys: u64) {
        let Self { bulk, single, .. } = self;
        self.assert_same();
        for key in 0..keys {
            assert_same_text(&bulk.explain(&key), &single.explain(&key));
            assert_same_text(&bulk.inspect(&key), &single.inspect(&key));
        }
        assert_same_text(&bulk.shadow_report(), &single.shadow_report());
        if bulk.partitions() == 1 {
            assert_eq!(bulk.coldest(usize::MAX), single.coldest(usize::MAX));
        }
    }

    fn run(&self, seed: u64, steps: usize) {
        let mut rng = Rng::new(seed);
        for _ in 0..steps {
            self.step(&mut rng);
        }
    }
}

fn tally(outcomes: &[Inserted]) -> [u64; 3] {
    let count =
        |is: fn(&Inserted) -> bool| outcomes.iter().filter(|outcome| is(outcome)).count() as u64;
    [
        count(|outcome| *outcome == Inserted::Added),
        count(|outcome| *outcome == Inserted::Replaced),
        count(|outcome| matches!(outcome, Inserted::Rejected(_))),
    ]
}

fn assert_same_text(left: &impl Debug, right: &impl Debug) {
    assert_eq!(format!("{left:?}"), format!("{right:?}"));
}

/// In small tables keys are not read ahead, in large ones they are.
const CAPACITIES: [usize; 2] = [1_000, LARGE];

#[test]
fn bulk_verbs_do_what_loops_do() {
    for seed in seeds(0xb01c, 1) {
        for_each_config(|config| {
            for capacity in CAPACITIES {
                if capacity == LARGE && config.partitions == 1 {
                    continue; // To open so many buckets takes a while.
                }
                let twins = Twins::new(|_, _| config.builder(capacity).initial_capacity(capacity));
                twins.run(seed, 10);
                match config.maintenance {
                    Maintenance::Inline => twins.assert_same_uses(KEYS),
                    _ => twins.assert_same(),
                }
            }
        });
    }
}

#[test]
fn bulk_verbs_evict_what_loops_evict() {
    for policy in POLICIES {
        let twins = Twins::new(|builder, _| {
            let builder = builder.policy((policy.make)()).capacity(LARGE).initial_capacity(LARGE);
            builder.maintenance(Maintenance::Inline)
        });
        let numbers: Vec<u64> = (0..2 * LARGE as u64).collect();
        for block in numbers.chunks(1_000) {
            let pairs = block.iter().map(|key| (*key, *key));
            twins.bulk.insert_many(pairs.clone());
            pairs.for_each(|(key, value)| assert!(twins.single.insert(key, value).is_stored()));
            let again: Vec<u64> = block.iter().map(|key| key / 2).collect();
            let expected: Vec<_> = again.iter().map(|key| twins.single.get(key)).collect();
            assert_eq!(twins.bulk.get_many(&again), expected, "{}", policy.name);
        }
        assert!(twins.bulk.stats().evictions > 1_000, "{}", policy.name);
        twins.assert_same_uses(1_000);
    }
}

#[test]
fn deadlines_tags_and_shadows_see_no_difference() {
    /// Notes what it is asked.
    struct Noting(Log);
    impl Noting {
        fn note(&self, what: &str, key: u64, remaining: Option<Duration>) {
            self.0.lock().unwrap().push(format!("{what} {key} {remaining:?}"));
        }
    }
    impl Expiry<u64, u64> for Noting {
        fn after_create(&self, key: &u64, _: &u64) -> Option<Duration> {
            self.note("created", *key, None);
            Some(Duration::from_secs(20 + key % 50))
        }

        fn after_update(&self, key: &u64, _: &u64, left: Option<Duration>) -> Option<Duration> {
            self.note("updated", *key, left);
            left
        }

        fn after_read(&self, key: &u64, _: &u64, left: Option<Duration>) -> Option<Duration> {
            self.note("read", *key, left);
            left.map(|left| left + Duration::from_secs(1))
        }
    }
    for capacity in CAPACITIES {
        for seed in seeds(0xdead_11e5, 2) {
            let base = |builder: Builder<u64, u64>| {
                let builder = builder.capacity(capacity).initial_capacity(capacity);
                builder.maintenance(Maintenance::Inline).explain_misses(1_000)
            };
            let shadow = || ShadowConfig::new().policy(Policy::lru()).sample_entries(100);
            let both = Twins::new(|builder, _| {
                let builder = base(builder).time_to_live(Duration::from_secs(60));
                builder.time_to_idle(Duration::from_secs(25)).shadow(shadow())
            });
            let computed = Twins::new(|builder, log| base(builder).expiry(Noting(Arc::clone(log))));
            let lazy = Twins::new(|builder, _| {
                base(builder).time_to_live(Duration::from_secs(35)).expire_lazily()
            });
            for twins in [both, computed, lazy] {
                twins.run(seed, 200);
                twins.assert_same_uses(KEYS);
            }
        }
    }
}

#[test]
fn listeners_are_notified_of_the_same_removals_in_the_same_order() {
    let note = |log: &Log| {
        let log = Arc::clone(log);
        move |removal: &Removal<'_, u64, u64>| {
            let Removal { key, value, new_value, cause, .. } = removal;
            log.lock().unwrap().push(format!("{key} {value} {new_value:?} {cause:?}"));
        }
    };
    for capacity in CAPACITIES {
        for seed in seeds(0x1157_e4e4, 2) {
            let base = |builder: Builder<u64, u64>| {
                let builder = builder.capacity(capacity).initial_capacity(capacity);
                builder.maintenance(Maintenance::Inline).partitions(1)
            };
            let queued =
                Twins::new(|builder, log| base(builder).listener(Listener::new(note(log))));
            queued.run(seed, 200);
            queued.assert_same_uses(KEYS);
            assert!(queued.logs[0].lock().unwrap().len() > 1_000, "removals were notified");
            let atomic = Twins::new(|builder, log| base(builder).atomic_listener(note(log)));
            atomic.run(seed, 200);
            atomic.assert_same_uses(KEYS);
            assert!(atomic.logs[0].lock().unwrap().len() > 1_000, "removals were notified");
        }
    }
}

#[test]
fn a_rejected_pair_is_rejected_as_by_an_insertion() {
    for capacity in CAPACITIES {
        let twins = Twins::new(|builder, _| {
            let builder = builder.max_weight(capacity as u64).initial_capacity(capacity);
            builder.weigher(|_, value| *value as u32).maintenance(Maintenance::Inline)
        });
        let pairs: Vec<(u64, u64)> =
            (0..100).map(|key| (key % 70, if key % 7 == 0 { 1 << 20 } else { 1 })).collect();
        let outcomes: Vec<_> =
            pairs.iter().map(|&(key, value)| twins.single.insert(key, value)).collect();
        let counts = twins.bulk.insert_many(pairs);
        assert_eq!([counts.added, counts.replaced, counts.rejected], tally(&outcomes));
        assert!(counts.rejected > 0 && counts.replaced > 0);
        let options = InsertOptions::new().tags(&["a", "b", "c", "d", "e"]);
        let counts = twins.bulk.insert_many_with((0..100).map(|key| (key, 1)), options);
        (0..100).for_each(|key| assert!(!twins.single.insert_with(key, 1, options).is_stored()));
        assert_eq!([counts.added, counts.replaced, counts.rejected], [0, 0, 100]);
        twins.assert_same_uses(100);
    }
}

#[test]
fn a_closure_changes_what_the_keys_after_it_find() {
    for capacity in CAPACITIES {
        let builder = Cache::<u64, u64>::builder().capacity(capacity).initial_capacity(capacity);
        let cache = builder.maintenance(Maintenance::Inline).build().unwrap();
        cache.insert_many((0..100).map(|key| (key, key)));
        let keys: Vec<u64> = (0..100).collect();
        let mut found = Vec::new();
        cache.read_many(&keys, |index, value| {
            found.push(value.copied());
            if index == 0 {
                cache.remove_many(&keys[1..50]);
                cache.insert(50, 500);
            }
        });
        let expected: Vec<_> = (0..100)
            .map(|key| match key {
                1..50 => None,
                50 => Some(500),
                _ => Some(key),
            })
            .collect();
        assert_eq!(found, expected);
        cache.validate();
    }
}

#[test]
fn an_iterator_that_promises_nothing_is_asked_once_all_before_is_inserted() {
    for capacity in CAPACITIES {
        let builder = Cache::<u64, u64>::builder().capacity(capacity).initial_capacity(capacity);
        let cache = builder.maintenance(Maintenance::Inline).build().unwrap();
        let mut next = 0;
        let pairs = std::iter::from_fn(|| {
            assert_eq!(cache.len() as u64, next);
            next += 1;
            (next <= 300).then_some((next, next))
        });
        assert_eq!(cache.insert_many(pairs).added, 300);
    }
}

#[test]
fn promised_pairs_are_read_ahead_in_a_large_table_only() {
    let lens = |capacity: usize| {
        let builder = Cache::<u64, u64>::builder().capacity(capacity).initial_capacity(capacity);
        let cache = builder.maintenance(Maintenance::Inline).build().unwrap();
        let mut lens = Vec::new();
        cache.insert_many((0..130).map(|key| {
            lens.push(cache.len());
            (key, key)
        }));
        [0, 1, 63, 64, 127, 128, 129].map(|at| lens[at])
    };
    assert_eq!(lens(1_000), [0, 1, 63, 64, 127, 128, 129]);
    // The last two are too few to be read ahead.
    assert_eq!(lens(LARGE), [0, 0, 0, 64, 64, 128, 129]);
}

#[test]
fn an_iterator_may_give_less_than_it_promises() {
    struct Boasting(std::ops::Range<u64>);
    impl Iterator for Boasting {
        type Item = (u64, u64);
        fn next(&mut self) -> Option<(u64, u64)> {
            self.0.next().map(|key| (key, key))
        }
        fn size_hint(&self) -> (usize, Option<usize>) {
            (usize::MAX, None)
        }
    }
    for capacity in CAPACITIES {
        let builder = Cache::<u64, u64>::builder().capacity(capacity).initial_capacity(capacity);
        let cache = builder.maintenance(Maintenance::Inline).build().unwrap();
        for (count, added) in [(0, 0), (3, 3), (64, 61), (200, 136)] {
            assert_eq!(cache.insert_many(Boasting(0..count)).added, added);
        }
        cache.validate();
    }
}

#[test]
fn pairs_of_any_size_are_inserted() {
    let builder = Cache::<u64, [u64; 10_000]>::builder().capacity(LARGE).initial_capacity(LARGE);
    let cache = builder.maintenance(Maintenance::Inline).build().unwrap();
    cache.insert_many((0..10).map(|key| (key, [key; 10_000])));
    assert_eq!(cache.read(&9, |value| value[9_999]), Some(9));
    let units: Cache<(), ()> =
        Cache::builder().capacity(LARGE).initial_capacity(LARGE).build().unwrap();
    assert_eq!(units.insert_many([((), ()); 100]).replaced, 99);
    assert_eq!(units.get_many(&[(); 10]), [Some(()); 10]);
}
