//! Bulk verbs on several threads.

use std::sync::Barrier;
use std::thread;

use larder::Cache;

use crate::support::rng::Rng;
use crate::support::stress_threads;

/// All threads insert, look up and remove in bulk while the table grows from its first buckets to so many
/// that keys are read ahead. Each value is twice its key or more by a multiple of 2^32.
#[test]
fn threads_see_only_whole_pairs_while_the_table_grows() {
    const KEYS: u64 = 60_000;
    let cache: Cache<u64, Box<u64>> = Cache::new(40_000);
    let threads = stress_threads();
    let start = Barrier::new(threads);
    thread::scope(|scope| {
        for thread in 0..threads as u64 {
            let (cache, start) = (&cache, &start);
            scope.spawn(move || {
                let mut rng = Rng::new(thread);
                start.wait();
                for round in 0..KEYS / 100 {
                    let keys: Vec<u64> = (0..100).map(|at| (round * 100 + at) % KEYS).collect();
                    let value = |key: u64| Box::new(2 * key + (round << 32));
                    cache.insert_many(keys.iter().map(|&key| (key, value(key))));
                    let keys: Vec<u64> = (0..100).map(|_| rng.below((round + 1) * 100)).collect();
                    for (key, value) in keys.iter().zip(cache.get_many(&keys)) {
                        assert!(value.is_none_or(|value| *value as u32 == 2 * *key as u32));
                    }
                    cache.read_many(&keys, |index, value| {
                        let key = keys[index];
                        assert!(value.is_none_or(|value| **value as u32 == 2 * key as u32));
                    });
                    if round % 3 == 0 {
                        cache.remove_many(&keys[..20]);
                        for (key, value) in
                            keys[20..40].iter().zip(cache.extract_many(&keys[20..40]))
                        {
                            assert!(value.is_none_or(|value| *value as u32 == 2 * *key as u32));
                        }
                    }
                }
            });
        }
    });
    cache.run_pending();
    cache.validate();
}

#[test]
fn each_value_is_extracted_by_one_call() {
    const KEYS: u64 = 16_000;
    let builder = Cache::<u64, u64>::builder().capacity(4 * KEYS as usize);
    let cache = builder.initial_capacity(KEYS as usize + 1_000).build().unwrap();
    cache.insert_many((0..KEYS).map(|key| (key, key)));
    let keys: Vec<u64> = (0..KEYS).collect();
    let start = Barrier::new(stress_threads());
    let extracted: Vec<u64> = thread::scope(|scope| {
        let extract = || {
            start.wait();
            let values = keys.chunks(100).flat_map(|keys| cache.extract_many(keys));
            values.flatten().collect::<Vec<u64>>()
        };
        let threads: Vec<_> = (0..stress_threads()).map(|_| scope.spawn(extract)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(extracted.len() as u64, KEYS);
    assert_eq!(extracted.iter().sum::<u64>(), KEYS * (KEYS - 1) / 2);
    assert!(cache.is_empty());
    cache.validate();
}
