//! The synthetic traces, generated as the README of the traces folder defines them.
//!
//! A change here invalidates all reference ratios of these traces; the tests check the ratios of
//! exact LRU and FIFO.

use std::collections::{HashMap, VecDeque};

use crate::keys::SplitMix64;
use crate::trace::recorded::Trace;

/// Requests of each trace.
const REQUESTS: usize = 500_000;
/// The first of the keys outside of the Zipf part; all keys are renumbered at the end.
const FRESH: u64 = 1 << 40;

/// All synthetic traces.
#[must_use]
pub fn all() -> Vec<Trace> {
    let mut traces = Vec::new();
    for (seed, exponent) in [(1, 0.7), (2, 0.9), (3, 0.99), (4, 1.2)] {
        let name = format!("zipf-{exponent}");
        let keys = zipf(seed, exponent);
        traces.push(trace(&name, "synthetic-zipf", &[100, 1_000, 5_000, 20_000], &keys));
    }
    let some = [500, 2_000, 5_000, 10_000];
    traces.push(trace("scanmix", "synthetic-scan", &some, &scan_mix()));
    let more = [1_000, 5_000, 10_000, 20_000];
    traces.push(trace("loopmix", "synthetic-loop", &more, &loop_mix()));
    traces.push(trace("shift", "synthetic-shift", &some, &shift()));
    let powers = [512, 2_048, 8_192, 16_384];
    traces.push(trace("twice", "synthetic-recency", &powers, &twice()));
    traces
}

fn trace(name: &str, class: &str, capacities_entries: &[usize], keys: &[u64]) -> Trace {
    Trace {
        name: name.to_owned(),
        class: class.to_owned(),
        capacities_entries: capacities_entries.to_vec(),
        keys: renumber(keys),
    }
}

/// Numbers keys by first appearance.
fn renumber(keys: &[u64]) -> Vec<u32> {
    let mut numbers = HashMap::new();
    let mut number = |key| {
        let next = numbers.len() as u32;
        *numbers.entry(key).or_insert(next)
    };
    keys.iter().map(|&key| number(key)).collect()
}

/// Zipf ranks from 0 by inverse CDF.
struct Ranks {
    cumulated: Vec<f64>,
}

impl Ranks {
    fn new(ranks: usize, exponent: f64) -> Self {
        let mut sum = 0.0;
        let mut cumulated = Vec::with_capacity(ranks);
        for rank in 1..=ranks {
            sum += (rank as f64).powf(exponent).recip();
            cumulated.push(sum);
        }
        for weight in &mut cumulated {
            *weight /= sum;
        }
        Self { cumulated }
    }

    fn next(&self, random: &mut SplitMix64) -> u64 {
        let unit = random.next_unit();
        let rank = self.cumulated.partition_point(|&weight| weight <= unit);
        rank.min(self.cumulated.len() - 1) as u64
    }
}

fn zipf(seed: u64, exponent: f64) -> Vec<u64> {
    let mut random = SplitMix64::new(seed);
    let ranks = Ranks::new(100_000, exponent);
    (0..REQUESTS).map(|_| ranks.next(&mut random)).collect()
}

/// Alternates 20,000 Zipf requests with 10,000 new keys.
fn scan_mix() -> Vec<u64> {
    let mut random = SplitMix64::new(5);
    let ranks = Ranks::new(50_000, 0.9);
    let mut fresh = FRESH..;
    let mut keys = Vec::new();
    while keys.len() < REQUESTS {
        keys.extend((0..20_000).map(|_| ranks.next(&mut random)));
        keys.extend(fresh.by_ref().take(10_000));
    }
    keys.truncate(REQUESTS);
    keys
}

/// On average every second request is the next key of a loop over 15,000.
fn loop_mix() -> Vec<u64> {
    let mut random = SplitMix64::new(6);
    let ranks = Ranks::new(50_000, 0.9);
    let mut looping = (FRESH..FRESH + 15_000).cycle();
    let mut next = || {
        if random.next_unit() < 0.5 {
            looping.next().expect("a cycle does not end")
        } else {
            ranks.next(&mut random)
        }
    };
    (0..REQUESTS).map(|_| next()).collect()
}

/// The popularity moves to other keys every 50,000 requests.
fn shift() -> Vec<u64> {
    let mut random = SplitMix64::new(7);
    let ranks = Ranks::new(100_000, 0.99);
    let key =
        |request: u64| (ranks.next(&mut random) * 7_919 + 10_007 * (request / 50_000)) % 100_000;
    (0..REQUESTS as u64).map(key).collect()
}

/// Three of ten draws yield a new key, which is requested once more 3,000 requests later.
fn twice() -> Vec<u64> {
    let mut random = SplitMix64::new(8);
    let ranks = Ranks::new(20_000, 0.9);
    let mut fresh = FRESH..;
    let mut due: VecDeque<(usize, u64)> = VecDeque::new();
    let next = |request: usize| {
        if let Some(&(at, key)) = due.front()
            && at == request
        {
            due.pop_front();
            return key;
        }
        if random.next_unit() < 0.3 {
            let key = fresh.next().expect("2^64 keys are enough");
            due.push_back((request + 3_000, key));
            key
        } else {
            ranks.next(&mut random)
        }
    };
    (0..REQUESTS).map(next).collect()
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use lru::LruCache;

    use super::*;

    /// The hit ratio in percent of exact LRU, or of FIFO if hits do not promote.
    fn hit_ratio(trace: &Trace, capacity: usize, hits_promote: bool) -> f64 {
        let capacity = NonZeroUsize::new(capacity).expect("above 0");
        let mut cache = LruCache::new(capacity);
        let mut hits = 0;
        for key in &trace.keys {
            let is_hit =
                if hits_promote { cache.get(key).is_some() } else { cache.peek(key).is_some() };
            if is_hit {
                hits += 1;
            } else {
                cache.put(*key, ());
            }
        }
        100.0 * f64::from(hits) / trace.keys.len() as f64
    }

    #[test]
    fn traces_are_those_of_the_reference_table() {
        // The second capacity of each trace, LRU and FIFO, from `reference.tsv`.
        let expected = [
            ("zipf-0.7", 10.77, 9.40),
            ("zipf-0.9", 34.12, 30.57),
            ("zipf-0.99", 48.84, 44.77),
            ("zipf-1.2", 79.53, 76.27),
            ("scanmix", 31.11, 28.70),
            ("loopmix", 23.43, 21.11),
            ("shift", 55.10, 51.34),
            ("twice", 24.60, 21.98),
        ];
        let traces = all();
        assert_eq!(traces.len(), expected.len());
        for (trace, (name, lru, fifo)) in traces.iter().zip(expected) {
            assert_eq!(trace.name, name);
            assert_eq!(trace.keys.len(), REQUESTS);
            let capacity = trace.capacities_entries[1];
            assert!((hit_ratio(trace, capacity, true) - lru).abs() < 0.01, "{name} lru");
            assert!((hit_ratio(trace, capacity, false) - fifo).abs() < 0.01, "{name} fifo");
        }
    }
}
