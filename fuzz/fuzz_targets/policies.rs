//! The public policies against their references, in a cache with exact order, at capacities from 1
//! on. Runs are longer than in `ops` and use only the operations that concern a policy.

#![no_main]

use arbitrary::Arbitrary;
use larder::{Cache, Maintenance, Policy};
use libfuzzer_sys::fuzz_target;

// The tests' models and drivers, of which this target uses a part.
#[allow(dead_code)]
#[path = "../../tests/support/rng.rs"]
mod rng;
#[allow(dead_code)]
#[path = "../../tests/support/model.rs"]
mod model;
#[allow(dead_code)]
#[path = "../../tests/support/driver.rs"]
mod driver;
#[path = "../../tests/support/s3_fifo.rs"]
mod s3_fifo;
#[path = "../../tests/support/sieve.rs"]
mod sieve;

use driver::{Bounds, Op, Pair};
use model::Order;
use s3_fifo::S3Fifo;
use sieve::Sieve;

#[derive(Arbitrary, Clone, Copy, Debug)]
enum PolicyKind {
    Lru,
    Lfu,
    Fifo,
    Sieve,
    S3Fifo,
    WindowTinyLfu,
}

#[derive(Arbitrary, Debug)]
struct Input {
    policy: PolicyKind,
    capacity: u8,
    /// Two bits for the operation and six for the key.
    steps: Vec<u8>,
}

fn exact(order: Order, capacity: usize, steps: &[u8]) {
    let bounds = Bounds { capacity: Some(capacity), max_weight: None };
    let mut pair = Pair::new(order, bounds, "fuzz".to_owned());
    for step in steps {
        let key = u64::from(step & 63);
        pair.apply(match step >> 6 {
            0 => Op::Get(key),
            1 => Op::Insert(key, 1),
            2 => Op::InsertIfAbsent(key, 1),
            _ => Op::Remove(key),
        });
    }
    pair.check_all();
    pair.check_order_by_evicting_all();
    pair.cache.validate();
}

fn inline_cache(policy: Policy, capacity: usize) -> Cache<u64, u64> {
    Cache::<u64, u64>::builder()
        .policy(policy)
        .capacity(capacity)
        .maintenance(Maintenance::Inline)
        .partitions(1)
        .build()
        .expect("a valid configuration")
}

/// Compares a cache with a model of its policy after each step.
macro_rules! agrees {
    ($policy:expr, $model:ty, $capacity:expr, $steps:expr) => {
        let cache = inline_cache($policy, $capacity);
        let mut reference = <$model>::new($capacity);
        for step in $steps {
            let key = u64::from(step & 63);
            match step >> 6 {
                0 => assert_eq!(cache.get(&key).is_some(), reference.get(key), "key {key}"),
                1 | 2 => {
                    let _ = cache.insert(key, key);
                    reference.insert(key);
                }
                _ => {
                    cache.remove(&key);
                    reference.remove(key);
                }
            }
            let mut keys: Vec<u64> = cache.keys().collect();
            keys.sort_unstable();
            assert_eq!(keys, reference.keys());
        }
        cache.validate();
    };
}

/// Checks the sizes of the segments too, and changes the capacity now and then.
fn window_tiny_lfu(capacity: usize, steps: &[u8]) {
    let cache = inline_cache(Policy::window_tiny_lfu(), capacity);
    for steps in steps.chunks(100) {
        let bound = usize::from(steps[0] % 64) + 1;
        cache.set_capacity(bound).expect("it has a capacity, and one partition");
        holds_its_newest(&cache, bound, steps);
        let entries: usize = cache.segments().iter().map(|segment| segment.entries).sum();
        assert_eq!(entries, cache.len());
    }
    assert_eq!(cache.stats().maintenance_panics, 0);
}

fn holds_its_newest(cache: &Cache<u64, u64>, capacity: usize, steps: &[u8]) {
    for step in steps {
        let key = u64::from(step & 63);
        match step >> 6 {
            0 => drop(cache.get(&key)),
            1 | 2 => {
                let _ = cache.insert(key, key);
                // A new entry is never evicted to make room for itself.
                assert_eq!(cache.peek(&key), Some(key));
            }
            _ => drop(cache.remove(&key)),
        }
        assert!(cache.len() <= capacity);
    }
    cache.validate();
}

fuzz_target!(|input: Input| {
    let capacity = usize::from(input.capacity % 64) + 1;
    match input.policy {
        PolicyKind::Lru => exact(Order::Lru, capacity, &input.steps),
        PolicyKind::Lfu => exact(Order::Lfu, capacity, &input.steps),
        PolicyKind::Fifo => exact(Order::Fifo, capacity, &input.steps),
        PolicyKind::Sieve => {
            agrees!(Policy::sieve(), Sieve, capacity, &input.steps);
        }
        PolicyKind::S3Fifo => {
            agrees!(Policy::s3_fifo(), S3Fifo, capacity, &input.steps);
        }
        PolicyKind::WindowTinyLfu => window_tiny_lfu(capacity, &input.steps),
    }
});
