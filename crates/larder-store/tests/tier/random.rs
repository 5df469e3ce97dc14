//! Random operations and faults, compared with a plain model.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::thread;

use larder_store::{AsyncStoredCache, Durability, StoredCache};

use crate::faulty::{
    AsyncFaulty, Fault, Faulty, TestTier, cache, poll_once, settings, sleep, within_a_minute,
};

/// SplitMix64.
struct Rng(u64);

impl Rng {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

/// Each writer has keys of its own, so it knows what it has to read.
fn writer(tier: &TestTier, number: u64, seed: u64) -> BTreeMap<u64, u64> {
    let (mut rng, mut model) = (Rng(seed), BTreeMap::new());
    for step in 0..300 {
        let key = number * 100 + rng.below(8);
        match rng.below(10) {
            0..5 => {
                tier.insert(key, step).unwrap();
                model.insert(key, step);
            }
            5 => {
                tier.remove(&key).unwrap();
                model.remove(&key);
            }
            6 => {
                let keys: Vec<_> = (0..8).map(|key| number * 100 + key).collect();
                let wanted: Vec<_> = keys.iter().map(|key| model.get(key).copied()).collect();
                assert_eq!(tier.get_many(&keys).unwrap(), wanted, "seed {seed}, step {step}");
            }
            7 => {
                tier.cache().remove(&key);
            }
            8 => {
                let many: Vec<_> = (0..4).map(|key| (number * 100 + key, step)).collect();
                model.extend(many.iter().copied());
                tier.insert_many(many).unwrap();
            }
            _ => {}
        }
        let key = number * 100 + rng.below(8);
        assert_eq!(tier.get(&key).unwrap(), model.get(&key).copied(), "seed {seed}, step {step}");
    }
    model
}

fn run(seed: u64, durability: Durability) {
    let store = Faulty::new();
    // So small that most entries are evicted before they are read.
    let settings = settings().durability(durability).max_entries(16).batch_entries(8);
    let tier = StoredCache::write_behind(cache(6), store.clone(), settings).unwrap();
    let is_over = AtomicBool::new(false);
    let model = thread::scope(|scope| {
        let writers: Vec<_> = (0..3)
            .map(|number| {
                let tier = &tier;
                scope.spawn(move || writer(tier, number, seed * 10 + number))
            })
            .collect();
        scope.spawn(|| {
            let mut rng = Rng(seed);
            while !is_over.load(Ordering::Relaxed) {
                let faults = [Fault::Transient, Fault::Half, Fault::Panic, Fault::Corrupt];
                store.fail_writes(&[faults[rng.below(4) as usize]]);
                let attempts = store.attempts().len();
                while store.attempts().len() == attempts && !is_over.load(Ordering::Relaxed) {
                    thread::yield_now();
                }
            }
        });
        let mut model = BTreeMap::new();
        let results: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
        is_over.store(true, Ordering::Relaxed);
        for result in results {
            model.extend(result.unwrap());
        }
        model
    });
    store.fail_writes(&[]);
    tier.flush().unwrap();
    assert_eq!(store.rows(), model, "seed {seed}");
    let stats = tier.stats();
    assert_eq!((stats.queued, stats.in_flight, stats.dead_letters), (0, 0, 0));
}

#[test]
fn every_writer_reads_its_writes_and_the_store_gets_them_all() {
    within_a_minute(|| (0..10).for_each(|seed| run(seed, Durability::Memory)));
}

#[test]
fn the_same_in_durable_mode() {
    within_a_minute(|| (10..15).for_each(|seed| run(seed, Durability::Durable)));
}

/// A tier of futures whose calls are dropped after a random number of polls.
fn cancel(seed: u64, durability: Durability) {
    let store = Faulty::new();
    let settings = settings().durability(durability).max_entries(3);
    let source = AsyncFaulty(store.clone());
    let (tier, writer) = AsyncStoredCache::write_behind(cache(3), source, settings, sleep).unwrap();
    let mut writer = Box::pin(writer);
    let mut rng = Rng(seed);
    // What a key may hold: one value for certain, or also that of a write that was dropped.
    let mut allowed: BTreeMap<u64, Vec<Option<u64>>> = BTreeMap::new();
    for step in 0..2_000 {
        let key = rng.below(5);
        let states = allowed.entry(key).or_insert_with(|| vec![None]);
        let value = (rng.below(4) > 0).then_some(step);
        if rng.below(3) == 0 {
            store.fail_writes(&[Fault::Transient, Fault::Half]);
        }
        {
            let write = async {
                match value {
                    Some(value) => tier.insert(key, value).await.unwrap(),
                    None => tier.remove(&key).await.unwrap(),
                }
            };
            let mut write = pin!(write);
            let mut is_done = false;
            for _ in 0..rng.below(4) {
                is_done = poll_once(write.as_mut()).is_ready();
                if is_done {
                    break;
                }
                if rng.below(2) == 0 {
                    assert!(poll_once(writer.as_mut()).is_pending());
                }
            }
            match is_done {
                true => *states = vec![value],
                false => states.push(value),
            }
        }
        if rng.below(4) == 0 {
            tier.cache().remove(&key);
        }
        if rng.below(2) == 0 {
            let mut read = pin!(tier.get(&key));
            if let Poll::Ready(found) = poll_once(read.as_mut()) {
                let found = found.unwrap();
                assert!(
                    states.contains(&found),
                    "seed {seed}, step {step}: {found:?} of {states:?}"
                );
                *states = vec![found];
            }
        }
    }
    store.fail_writes(&[]);
    let mut flush = pin!(tier.flush());
    while poll_once(flush.as_mut()).is_pending() {
        assert!(poll_once(writer.as_mut()).is_pending());
    }
    for (key, states) in allowed {
        assert!(states.contains(&store.row(key)), "seed {seed}, key {key}");
    }
}

#[test]
fn calls_that_are_dropped_leave_the_old_value_or_the_new_one() {
    within_a_minute(|| {
        for seed in 0..6 {
            cancel(seed, Durability::Memory);
            cancel(seed, Durability::Durable);
        }
    });
}
