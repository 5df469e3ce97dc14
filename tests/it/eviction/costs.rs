//! `cost_aware`: values that took long to load stay longer than others that are used as often.

use std::time::Duration;

use larder::test::FakeClock;
use larder::{Cache, Maintenance, Policy};

use crate::support::rng::Rng;

const CAPACITY: usize = 200;
const KEYS: u64 = 1_000;

/// One key in ten takes a hundred times as long to load as the others.
fn cost(key: u64) -> Duration {
    Duration::from_millis(if key.is_multiple_of(10) { 500 } else { 5 })
}

/// Requests all keys equally often; returns how long the callers have waited, and how many of the costly
/// keys are there at the end.
fn wait_for_all(cache: &Cache<u64, u64>, clock: &FakeClock) -> (Duration, usize) {
    let mut rng = Rng::new(3);
    let mut waited = Duration::ZERO;
    for _ in 0..60_000 {
        let key = rng.below(KEYS);
        let value = cache.get_or_insert_with(&key, || {
            clock.advance(cost(key));
            waited += cost(key);
            key
        });
        assert_eq!(value, key);
    }
    (waited, (0..KEYS).step_by(10).filter(|key| cache.contains_key(key)).count())
}

#[test]
fn keys_that_take_long_to_load_stay() {
    let run = |policy, has_weights: bool| {
        let clock = FakeClock::new();
        let builder = Cache::builder().policy(policy).clock(clock.clone());
        let builder = match has_weights {
            false => builder.capacity(CAPACITY),
            true => builder.max_weight(7 * CAPACITY as u64).weigher(|_, _| 7),
        };
        let cache = builder.maintenance(Maintenance::Inline).build().unwrap();
        let result = wait_for_all(&cache, &clock);
        cache.validate();
        result
    };
    for has_weights in [false, true] {
        let (plain, few) = run(Policy::default(), has_weights);
        let (aware, many) = run(Policy::cost_aware(), has_weights);
        // Twice as many entries fit as there are costly keys.
        assert!(
            many > few,
            "{many} costly keys are there, and {few} by chance; weights {has_weights}"
        );
        assert!(
            aware < plain.mul_f64(0.7),
            "{aware:?} instead of {plain:?}, weights {has_weights}"
        );
    }
}
