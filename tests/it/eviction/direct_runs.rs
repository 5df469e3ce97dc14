//! Where writers apply their own events one by one, the cache is what it is where whole runs apply them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use larder::test::FakeClock;
use larder::{
    Builder, Cache, Explanation, Listener, Maintenance, Policy, RemovalCause, ShadowConfig,
};

use crate::support::hashers::Identity;
use crate::support::rng::Rng;

/// The keys are their own hashes, so they are spread.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

type Removals = Arc<Mutex<Vec<(u64, u64, RemovalCause)>>>;

/// What settings the two caches have in common.
#[derive(Clone, Copy, Debug, Default)]
struct Traits {
    has_weights: bool,
    is_explained: bool,
    has_listener: bool,
    counts_ages: bool,
    has_shadows: bool,
}

/// A key that no step uses. Its value weighs nothing.
const OTHER_KEY: u64 = 1 << 63;
const WEIGHTLESS: u64 = 3;

fn weight_of(value: u64) -> u32 {
    // Some weigh nothing, and some more than a cache may hold.
    [1, 2, 7, 0, 30, 1, 3, 70][value as usize % 8]
}

fn build(
    policy: Policy,
    traits: Traits,
    bound: u64,
    clock: &FakeClock,
) -> (Cache<u64, u64, Identity>, Removals) {
    let removals = Removals::default();
    let mut builder: Builder<u64, u64, Identity> =
        Cache::builder().hasher(Identity).policy(policy).maintenance(Maintenance::Inline);
    builder = builder.clock(clock.clone());
    builder = match traits.has_weights {
        true => builder.max_weight(bound).weigher(|_, value| weight_of(*value)),
        false => builder.capacity(bound as usize / 4),
    };
    if traits.is_explained {
        builder = builder.explain_misses(1_000);
    }
    if traits.has_listener {
        let seen = Arc::clone(&removals);
        builder = builder.listener(Listener::new(move |removal| {
            seen.lock().unwrap().push((*removal.key, *removal.value, removal.cause));
        }));
    }
    if traits.counts_ages {
        builder = builder.eviction_age_histogram();
    }
    if traits.has_shadows {
        builder = builder.shadow(ShadowConfig::new().multiples([0.5, 2.0]));
    }
    (builder.build().unwrap(), removals)
}

fn step(cache: &Cache<u64, u64, Identity>, choice: u64, key: u64, value: u64) {
    match choice {
        0 => _ = cache.remove(&key),
        1 => _ = cache.insert_if_absent(key, value),
        2..5 => _ = cache.get(&key),
        _ => _ = cache.insert(key, value),
    }
}

fn agree(policy: &Policy, traits: Traits, bound: u64, seed: u64) {
    let clock = FakeClock::new();
    let (direct, direct_removals) = build(policy.clone(), traits, bound, &clock);
    let (whole, whole_removals) = build(policy.clone(), traits, bound, &clock);
    // As long as an entry is there that must not be evicted, all runs are whole.
    let other = whole.insert_unevictable(OTHER_KEY, WEIGHTLESS);
    assert!(other.is_stored());
    let others_weight = u64::from(!traits.has_weights);
    let mut rng = Rng::new(seed);
    for count in 0..1_000 {
        clock.advance(Duration::from_millis(rng.below(2_000)));
        let (choice, value) = (rng.below(10), rng.below(64));
        let key = rng.below(bound / 2).wrapping_mul(SPREAD);
        step(&direct, choice, key, value);
        step(&whole, choice, key, value);
        let at = || format!("{policy:?}, {traits:?}, bound {bound}, step {count}");
        assert_eq!(direct.len() + 1, whole.len(), "{}", at());
        assert_eq!(direct.weight() + others_weight, whole.weight(), "{}", at());
        if traits.has_weights {
            assert!(direct.weight() <= bound, "{}", at());
        }
        assert_eq!(direct.contains_key(&key), whole.contains_key(&key), "{}", at());
        if traits.is_explained && !direct.contains_key(&key) {
            assert_eq!(direct.explain(&key), whole.explain(&key), "{}", at());
            assert!(matches!(direct.explain(&key), Explanation::Missing(_)));
        }
    }
    let entries = |cache: &Cache<u64, u64, Identity>| {
        let mut all: Vec<_> = cache.iter().filter(|(key, _)| *key != OTHER_KEY).collect();
        all.sort_unstable();
        all
    };
    assert_eq!(entries(&direct), entries(&whole), "{policy:?}, {traits:?}");
    assert_eq!(*direct_removals.lock().unwrap(), *whole_removals.lock().unwrap());
    let (left, right) = (direct.stats(), whole.stats());
    assert_eq!(left.evictions, right.evictions);
    assert_eq!(left.evicted_weight, right.evicted_weight);
    assert_eq!(left.removals, right.removals);
    assert!(left.evictions > 50, "{left:?}");
    assert_eq!(direct.shadow_report(), whole.shadow_report());
    let (ages, whole_ages) = (direct.eviction_ages(), whole.eviction_ages());
    assert_eq!(
        ages.as_ref().map(|ages| ages.count()),
        traits.counts_ages.then_some(left.evictions)
    );
    assert_eq!(ages, whole_ages);
    direct.validate();
    whole.validate();
}

#[test]
fn with_every_policy_and_setting_they_agree_with_whole_runs() {
    let policies = [
        Policy::default(),
        Policy::lru(),
        Policy::lfu(),
        Policy::fifo(),
        Policy::sieve(),
        Policy::s3_fifo(),
        Policy::cost_aware(),
    ];
    let settings = (0..16).map(|bits| Traits {
        has_weights: bits & 1 != 0,
        is_explained: bits & 2 != 0,
        has_listener: bits & 4 != 0,
        counts_ages: bits & 8 != 0,
        has_shadows: (bits + (bits >> 3)) & 1 != 0,
    });
    for traits in settings {
        for policy in &policies {
            agree(policy, traits, 60, 5);
            agree(policy, traits, 800, 6);
        }
    }
}

#[test]
fn a_bound_of_weight_holds_after_it_was_lowered_and_raised_while_writers_write() {
    for policy in [Policy::lru(), Policy::default()] {
        let traits = Traits { has_weights: true, ..Traits::default() };
        let (cache, _) = build(policy, traits, 800, &FakeClock::new());
        let mut rng = Rng::new(8);
        for bound in [800, 200, 90, 500, 100] {
            cache.set_max_weight(bound);
            for _ in 0..500 {
                let key = rng.below(400).wrapping_mul(SPREAD);
                step(&cache, rng.below(10), key, rng.below(64));
            }
            assert!(cache.weight() <= bound, "{} of {bound}", cache.weight());
            cache.validate();
        }
    }
}

#[test]
fn without_a_weigher_the_bound_of_weight_can_be_lowered_from_infinity() {
    let builder = Cache::builder().capacity(200).max_weight(u64::MAX).policy(Policy::sieve());
    let cache: Cache<u64, u64> = builder.maintenance(Maintenance::Inline).build().unwrap();
    let fill = || {
        for key in 0..1_000 {
            cache.insert(key, key);
        }
    };
    fill();
    assert_eq!((cache.len(), cache.weight()), (200, 200));
    cache.set_max_weight(50);
    fill();
    assert_eq!((cache.len(), cache.weight()), (50, 50));
    cache.set_max_weight(1_000);
    fill();
    assert_eq!((cache.len(), cache.weight()), (200, 200));
    cache.validate();
}
