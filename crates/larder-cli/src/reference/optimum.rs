//! The most hits that any policy can have.
//!
//! Where each key weighs one: L. A. Belady, "A study of replacement algorithms for a
//! virtual-storage computer", IBM Systems Journal 5(2), 1966: keep the keys that are requested
//! again soonest. A key that is missed need not be inserted, because policies that may reject a key
//! have that choice too.
//!
//! With sizes, finding the optimum is NP-hard. [`hits_at_most`] is the bound PFOO-U of D. S.
//! Berger, N. Beckmann, M. Harchol-Balter, "Practical bounds on optimal caching with variable
//! object sizes", SIGMETRICS 2018: a hit costs its size multiplied by the time for which the key
//! has to be held; the budget is the capacity multiplied by the length of the trace, and the
//! cheapest hits are bought. The paper's keys have one size each. Where the size of a key changes, an
//! entry has that of the request which inserted it, any one before the hit, so the smallest of these
//! counts.

use std::collections::BinaryHeap;

use crate::trace::Trace;

/// The key is not requested again.
const NEVER: u32 = u32::MAX;

/// For each request, the position of the next one of the same key.
#[derive(Debug)]
pub(crate) struct Optimum {
    next: Vec<u32>,
}

impl Optimum {
    /// Computes the next requests once for all capacities. A trace has fewer than 2^32 requests.
    pub(crate) fn of(trace: &Trace) -> Self {
        let mut next = vec![NEVER; trace.requests.len()];
        let mut seen = vec![NEVER; trace.distinct_keys as usize];
        for (position, &key) in trace.requests.iter().enumerate().rev() {
            next[position] = seen[key as usize];
            // Positions are below `NEVER`, because there are at most that many requests.
            seen[key as usize] = position as u32;
        }
        Optimum { next }
    }

    /// Hits of the optimal cache of `capacity` entries. O(n log n).
    pub(crate) fn hits(&self, trace: &Trace, capacity: u64) -> u64 {
        let mut is_held = vec![false; trace.distinct_keys as usize];
        let mut held = 0_u64;
        let mut hits = 0;
        // The positions at which the cached keys are requested next, the latest on top. Positions
        // that have passed remain below: that of a cached key is always later.
        let mut nexts = BinaryHeap::new();
        for (position, &key) in trace.requests.iter().enumerate() {
            let is_hit = std::mem::replace(&mut is_held[key as usize], false);
            hits += u64::from(is_hit);
            held -= u64::from(is_hit);
            let next = self.next[position];
            if next == NEVER {
                continue;
            }
            is_held[key as usize] = true;
            held += 1;
            nexts.push(next);
            if held > capacity
                && let Some(last) = nexts.pop()
            {
                is_held[trace.requests[last as usize] as usize] = false;
                held -= 1;
            }
        }
        hits
    }
}

/// A number of hits that no cache of `capacity_bytes` exceeds. O(n log n).
pub(crate) fn hits_at_most(
    optimum: &Optimum,
    trace: &Trace,
    weight_of: impl Fn(usize) -> u32,
    capacity_bytes: u64,
) -> u64 {
    let mut costs: Vec<u128> = Vec::new();
    let mut smallest = vec![u32::MAX; trace.distinct_keys as usize];
    for (position, &next) in optimum.next.iter().enumerate() {
        let smallest = &mut smallest[trace.requests[position] as usize];
        let weight = weight_of(position).min(*smallest);
        *smallest = weight;
        if next != NEVER && u64::from(weight) <= capacity_bytes {
            costs.push(u128::from(weight) * (next as usize - position) as u128);
        }
    }
    costs.sort_unstable();
    let mut budget = u128::from(capacity_bytes) * trace.requests.len() as u128;
    let mut hits = 0;
    for cost in costs {
        let Some(rest) = budget.checked_sub(cost) else { break };
        budget = rest;
        hits += 1;
    }
    hits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beladys_example_has_its_hits() {
        // The example of Belady's anomaly; with three frames the optimum misses seven times.
        let belady = Trace::of_ids(&[0, 1, 2, 3, 0, 1, 4, 0, 1, 2, 3, 4], None);
        let optimum = Optimum::of(&belady);
        let hits: Vec<u64> = (0..6).map(|capacity| optimum.hits(&belady, capacity)).collect();
        assert_eq!(hits, [0, 2, 4, 5, 6, 7]);
    }

    #[test]
    fn a_loop_is_held_as_far_as_it_fits() {
        let requests: Vec<u32> = (0..100).map(|i| i % 10).collect();
        let looped = Trace::of_ids(&requests, None);
        let optimum = Optimum::of(&looped);
        assert_eq!(optimum.hits(&looped, 10), 90);
        // In each round of ten, as many hit as fit.
        assert_eq!(optimum.hits(&looped, 4), 36);
    }

    #[test]
    fn the_bound_for_sizes_is_never_below_the_optimum() {
        let mut state = 9_u64;
        for _ in 0..50 {
            let requests: Vec<u32> = (0..300)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    ((state >> 40) % 20).min((state >> 33) % 20) as u32
                })
                .collect();
            let trace = Trace::of_ids(&requests, None);
            let optimum = Optimum::of(&trace);
            for capacity in 1..20 {
                let bound = hits_at_most(&optimum, &trace, |_| 1, capacity);
                assert!(bound >= optimum.hits(&trace, capacity));
            }
            let firsts = requests.iter().collect::<std::collections::HashSet<_>>().len();
            assert_eq!(hits_at_most(&optimum, &trace, |_| 1, 20), (requests.len() - firsts) as u64);
        }
    }

    #[test]
    fn a_key_larger_than_the_cache_never_hits() {
        let twice = Trace::of_ids(&[0, 0, 1, 1], None);
        let optimum = Optimum::of(&twice);
        let sizes = [50, 50, 2, 2];
        let hits = |capacity| hits_at_most(&optimum, &twice, |at| sizes[at], capacity);
        assert_eq!((hits(1), hits(2), hits(49), hits(50)), (0, 1, 1, 2));
    }

    #[test]
    fn an_entry_may_have_the_smallest_size_that_its_key_had_before() {
        let trace = Trace::of_ids(&[0, 0, 0, 1, 0], None);
        let optimum = Optimum::of(&trace);
        // It is inserted when it is small, and hits whatever size the later requests name.
        let sizes = [9, 1, 9, 1, 9];
        let hits = |capacity| hits_at_most(&optimum, &trace, |at| sizes[at], capacity);
        assert_eq!((hits(1), hits(9)), (2, 3));
    }
}
