//! LRU with admission by size, in the manner of AdaptSize: D. Berger, R. Sitaraman,
//! M. Harchol-Balter, "AdaptSize: Orchestrating the Hot Object Memory Cache in a Content Delivery
//! Network", NSDI 2017.
//!
//! An object that is missed is admitted with the probability `exp(-size / c)`. The paper finds the
//! best `c` by a Markov model of the last requests. Here, caches with several values of `c` see all
//! requests, and after each window of them, the one with the most hits in the window and the
//! windows before it, which count half as much each time, gives the `c` of the next. The cache whose
//! hits are reported is one more, which keeps its entries when `c` changes.

use crate::mix::{mixed, unit};
use crate::reference::occupancy::Occupancy;
use crate::reference::policy::ReferencePolicy;
use crate::reference::queue::{Links, Queue};

/// How many values of `c` there are. The largest is the capacity, and each is a quarter of the one before.
const CHOICES: usize = 10;
/// Requests between two choices.
const WINDOW: u64 = 10_000;

pub(super) struct AdaptSize {
    real: FilteredLru,
    choices: Vec<(FilteredLru, f64)>,
    requests: u64,
}

/// An LRU cache that admits by size.
struct FilteredLru {
    /// `None` admits every object.
    admitted_bytes: Option<f64>,
    links: Links,
    queue: Queue,
    held: Occupancy,
}

impl AdaptSize {
    pub(super) fn new(keys: usize, capacity: u64) -> Self {
        let sizes = (0..CHOICES as i32).map(|step| capacity as f64 / libm::pow(4.0, step.into()));
        let sizes = std::iter::once(None).chain(sizes.map(Some));
        let choices = sizes.map(|size| (FilteredLru::new(keys, capacity, size), 0.0)).collect();
        AdaptSize { real: FilteredLru::new(keys, capacity, None), choices, requests: 0 }
    }
}

impl ReferencePolicy for AdaptSize {
    fn request(&mut self, key: u32, weight: u32) -> bool {
        self.requests += 1;
        let chance = chance(key, self.requests);
        for (cache, hits) in &mut self.choices {
            *hits += f64::from(u8::from(cache.request(key, weight, chance)));
        }
        if self.requests.is_multiple_of(WINDOW) {
            let best = self.choices.iter().reduce(|best, other| match other.1 > best.1 {
                true => other,
                false => best,
            });
            self.real.admitted_bytes = best.and_then(|(cache, _)| cache.admitted_bytes);
            self.choices.iter_mut().for_each(|(_, hits)| *hits /= 2.0);
        }
        self.real.request(key, weight, chance)
    }
}

impl FilteredLru {
    fn new(keys: usize, capacity: u64, admitted_bytes: Option<f64>) -> Self {
        let (links, queue) = (Links::new(keys), Queue::new());
        FilteredLru { admitted_bytes, links, queue, held: Occupancy::new(keys, capacity) }
    }

    /// `chance` is a random number from 0 to 1.
    fn request(&mut self, key: u32, weight: u32, chance: f64) -> bool {
        if self.held.contains(key) {
            self.links.remove(&mut self.queue, key);
            self.links.push(&mut self.queue, key);
            return true;
        }
        let admitted = self.admitted_bytes.map_or(1.0, |size| libm::exp(-f64::from(weight) / size));
        if chance >= admitted || self.held.is_too_small_for(weight) {
            return false;
        }
        while self.held.is_full_for(weight)
            && let Some(victim) = self.links.pop(&mut self.queue)
        {
            self.held.remove(victim);
        }
        self.held.insert(key, weight);
        self.links.push(&mut self.queue, key);
        false
    }
}

/// A random number from 0, included, to 1, the same for the same request of a trace.
fn chance(key: u32, request: u64) -> f64 {
    unit(mixed(key, request))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_objects_that_push_small_ones_out_are_soon_refused() {
        // 50 keys of a byte in turn, and after each of them one that is large and never comes back.
        let requests = (0..100_000_u32)
            .map(|at| if at % 2 == 0 { (at / 2 % 50, 1) } else { (50 + at / 2, 60) });
        let (mut lru, mut cache) =
            (FilteredLru::new(60_000, 100, None), AdaptSize::new(60_000, 100));
        let (mut plain, mut filtered) = (0, 0);
        for (key, weight) in requests {
            plain += u32::from(lru.request(key, weight, 0.0));
            filtered += u32::from(cache.request(key, weight));
        }
        assert_eq!(plain, 0);
        assert!(filtered > 30_000, "{filtered} of 50,000");
    }

    #[test]
    fn all_are_admitted_without_a_limit() {
        let mut lru = FilteredLru::new(3, 10, None);
        let hits = [(0, 5), (1, 5), (0, 5), (2, 5), (1, 5), (2, 11), (1, 5)];
        assert_eq!(
            hits.map(|(key, weight)| lru.request(key, weight, 0.999_999)),
            [false, false, true, false, false, true, true]
        );
    }
}
