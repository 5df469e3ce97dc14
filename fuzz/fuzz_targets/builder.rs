//! Any configuration is built, or refused with the right error; none panics. A cache that is built
//! keeps to its bounds.

#![no_main]

use arbitrary::Arbitrary;
use larder::{BuildError, Cache, Maintenance, Policy};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input {
    capacity: Option<usize>,
    max_weight: Option<u64>,
    partitions: Option<Partitions>,
    policy: Option<String>,
    /// Background maintenance from 250 on: starting a thread for each input would be slow.
    maintenance: u8,
    weights: Option<Vec<u32>>,
    inserts: u8,
}

#[derive(Arbitrary, Debug)]
enum Partitions {
    PowerOfTwo(u8),
    Any(usize),
}

fuzz_target!(|input: Input| {
    let partitions = input.partitions.as_ref().map(|partitions| match partitions {
        Partitions::PowerOfTwo(log2) => 1 << (log2 % 16),
        Partitions::Any(any) => *any,
    });
    let is_inline = input.maintenance < 250;
    let mut builder = Cache::<u64, u64>::builder().maintenance(if is_inline {
        Maintenance::Inline
    } else {
        Maintenance::Background
    });
    if let Some(capacity) = input.capacity {
        builder = builder.capacity(capacity);
    }
    if let Some(max_weight) = input.max_weight {
        builder = builder.max_weight(max_weight);
    }
    if let Some(partitions) = partitions {
        builder = builder.partitions(partitions);
    }
    if let Some(policy) = &input.policy {
        builder = builder.policy(Policy::named(policy));
    }
    if let Some(weights) = input.weights.clone().filter(|weights| !weights.is_empty()) {
        builder = builder.weigher(move |key, _| weights[*key as usize % weights.len()]);
    }
    let cache = match builder.build() {
        Ok(cache) => cache,
        Err(error) => {
            let is_right = match &error {
                BuildError::Unbounded => input.capacity.is_none() && input.max_weight.is_none(),
                BuildError::BadPartitions { given } => {
                    partitions == Some(*given)
                        && !(given.is_power_of_two() && (1..=4096).contains(given))
                }
                BuildError::TooManyPartitions { given, bound } => {
                    partitions == Some(*given) && *given as u64 > *bound
                }
                BuildError::UnknownPolicy { given, known } => {
                    input.policy.as_ref() == Some(given) && !known.contains(given)
                }
                _ => false,
            };
            assert!(is_right, "{error:?}");
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    assert_eq!(cache.capacity(), input.capacity);
    assert_eq!(cache.max_weight(), input.max_weight);
    assert!(partitions.is_none_or(|partitions| cache.partitions() == partitions));
    for key in 0..u64::from(input.inserts) {
        let stored = cache.insert(key, key).is_stored();
        if is_inline {
            assert_eq!(cache.peek(&key), stored.then_some(key));
            assert!(input.capacity.is_none_or(|capacity| cache.len() <= capacity));
            assert!(input.max_weight.is_none_or(|limit| cache.weight() <= limit));
        }
    }
    cache.run_pending();
    assert!(input.capacity.is_none_or(|capacity| cache.len() <= capacity));
    assert!(input.max_weight.is_none_or(|limit| cache.weight() <= limit));
    cache.validate();
});
