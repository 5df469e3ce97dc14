//! Policies to compare with the library's: the optimum and published ones.
//!
//! LRU, FIFO and LFU are written as plainly as their definitions, on other data structures than the
//! library's, so that the two check each other; the others follow their papers. None of them is
//! part of a cache: they take a trace's keys as dense ids.

// The optimum, and a bound on it for entries of several sizes.
mod optimum;
// LRU, FIFO and LFU by definition.
mod exact;
// Published policies.
mod arc;
mod lirs;
mod two_queue;
mod caffeine;
// Published policies for entries of different sizes.
mod adapt_size;
mod gdsf;
// The keys in a cache, and its room.
mod occupancy;
// Doubly linked lists of keys.
mod queue;
// What all policies here can do.
mod policy;

use crate::capacity::Weights;
use crate::trace::Trace;

use self::adapt_size::AdaptSize;
use self::arc::Arc;
use self::caffeine::Caffeine;
use self::exact::{Fifo, Lfu, Lru};
use self::gdsf::Gdsf;
use self::lirs::Lirs;
use self::two_queue::TwoQueue;

pub(crate) use self::optimum::{Optimum, hits_at_most};
pub(crate) use self::policy::ReferencePolicy;

/// The prefix of the names of published policies.
const PREFIX: &str = "ref-";

/// The name of the optimum.
pub(crate) const OPTIMUM: &str = "opt";

/// A published policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Published {
    Lru,
    Fifo,
    Lfu,
    Arc,
    Lirs,
    TwoQueue,
    Gdsf,
    AdaptSize,
    Caffeine,
}

impl Published {
    const ALL: [(Self, &'static str); 9] = [
        (Self::Lru, "ref-lru"),
        (Self::Fifo, "ref-fifo"),
        (Self::Lfu, "ref-lfu"),
        (Self::Arc, "ref-arc"),
        (Self::Lirs, "ref-lirs"),
        (Self::TwoQueue, "ref-2q"),
        (Self::Gdsf, "ref-gdsf"),
        (Self::AdaptSize, "ref-adaptsize"),
        (Self::Caffeine, "ref-caffeine"),
    ];

    /// The policy of that name, which includes `ref-`; case does not matter.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let known = Self::ALL.into_iter().find(|(_, known)| known.eq_ignore_ascii_case(name));
        known.map(|(policy, _)| policy)
    }

    pub(crate) fn names() -> impl Iterator<Item = &'static str> {
        Self::ALL.into_iter().map(|(_, name)| name)
    }

    pub(crate) fn name(self) -> &'static str {
        let own = Self::ALL.into_iter().find(|(policy, _)| *policy == self);
        own.map_or(PREFIX, |(_, name)| name)
    }

    /// Whether the policy is defined for entries of these weights.
    pub(crate) fn supports(self, weights: Weights) -> bool {
        weights == Weights::Entries || !matches!(self, Self::Arc | Self::Lirs | Self::TwoQueue)
    }

    /// A cache of `capacity` for the keys of `trace`.
    pub(crate) fn build(self, trace: &Trace, capacity: u64) -> Box<dyn ReferencePolicy> {
        let keys = trace.distinct_keys as usize;
        // A cache that holds all keys and a larger one behave alike.
        let entries = usize::try_from(capacity).unwrap_or(usize::MAX).min(keys.max(1));
        match self {
            Self::Lru => Box::new(Lru::new(keys, capacity)),
            Self::Fifo => Box::new(Fifo::new(keys, capacity)),
            Self::Lfu => Box::new(Lfu::new(keys, capacity)),
            Self::Arc => Box::new(Arc::new(keys, entries)),
            Self::Lirs => Box::new(Lirs::new(keys, entries)),
            Self::TwoQueue => Box::new(TwoQueue::new(keys, entries)),
            Self::Gdsf => Box::new(Gdsf::new(keys, capacity)),
            Self::AdaptSize => Box::new(AdaptSize::new(keys, capacity)),
            Self::Caffeine => Box::new(Caffeine::new(keys, capacity)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shows which requests hit as a string of `h` and `.`.
    pub(super) fn outcomes(policy: Published, requests: &[u32], capacity: u64) -> String {
        let mut cache = policy.build(&Trace::of_ids(requests, None), capacity);
        requests.iter().map(|&key| if cache.request(key, 1) { 'h' } else { '.' }).collect()
    }

    #[test]
    fn names_lead_to_policies_and_back() {
        for name in Published::names() {
            assert_eq!(Published::named(&name.to_uppercase()).map(Published::name), Some(name));
        }
        assert_eq!(Published::named("lru"), None);
    }

    #[test]
    fn no_policy_beats_the_optimum() {
        for seed in 1..40 {
            let trace = Trace::random(seed, 4 + seed % 30, 400);
            let optimum = Optimum::of(&trace);
            for capacity in 1..20 {
                let best = optimum.hits(&trace, capacity);
                for policy in Published::ALL.map(|(policy, _)| policy) {
                    let hits =
                        outcomes(policy, &trace.requests, capacity).matches('h').count() as u64;
                    assert!(hits <= best, "{policy:?} at {capacity}: {hits} > {best}, seed {seed}");
                }
            }
        }
    }

    #[test]
    fn the_optimum_is_that_of_a_search_through_all_choices() {
        for seed in 1..200 {
            let trace = Trace::random(seed, 5, 14);
            let optimum = Optimum::of(&trace);
            for capacity in 1..4 {
                let best = best_by_search(&trace.requests, &mut Vec::new(), capacity);
                assert_eq!(optimum.hits(&trace, capacity as u64), best, "seed {seed}");
            }
        }
    }

    /// The most hits that any sequence of evictions allows.
    fn best_by_search(requests: &[u32], held: &mut Vec<u32>, capacity: usize) -> u64 {
        let Some((first, rest)) = requests.split_first() else { return 0 };
        if held.contains(first) {
            return 1 + best_by_search(rest, held, capacity);
        }
        let mut best = best_by_search(rest, held, capacity);
        if held.len() < capacity {
            held.push(*first);
            best = best.max(best_by_search(rest, held, capacity));
            held.pop();
            return best;
        }
        for at in 0..held.len() {
            let victim = std::mem::replace(&mut held[at], *first);
            best = best.max(best_by_search(rest, held, capacity));
            held[at] = victim;
        }
        best
    }

    #[test]
    fn all_policies_hit_all_but_first_requests_if_all_keys_fit() {
        let trace = Trace::random(5, 40, 1000);
        let firsts = trace.requests.iter().collect::<std::collections::HashSet<_>>().len();
        for policy in Published::ALL.map(|(policy, _)| policy) {
            // LIRS has only a hundredth of the cache for keys that it has not seen twice.
            for capacity in [trace.distinct_keys.into(), 1000, u64::MAX] {
                let hits = outcomes(policy, &trace.requests, capacity).matches('h').count();
                assert_eq!(hits, 1000 - firsts, "{policy:?} at {capacity}");
            }
        }
        assert_eq!(Optimum::of(&trace).hits(&trace, 40), 1000 - firsts as u64);
    }

    #[test]
    fn a_cache_of_one_entry_hits_only_repetitions() {
        let requests = [0, 0, 1, 1, 1, 0, 2, 2, 0, 0];
        for policy in Published::ALL.map(|(policy, _)| policy) {
            assert_eq!(outcomes(policy, &requests, 1), ".h.hh..h.h", "{policy:?}");
        }
    }
}
