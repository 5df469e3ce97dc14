//! GreedyDual-Size-Frequency: L. Cherkasova, "Improving WWW Proxies Performance with
//! Greedy-Dual-Size-Frequency Caching Policy", HP Labs 1998; the variant that counts hits, in which
//! every miss costs the same.
//!
//! An entry's priority is the number of its uses divided by its weight, plus the cache's age, which
//! is the priority of the entry evicted last. Exact: the entries are sorted by priority, and of
//! equal ones the one used least recently leaves first.

use std::collections::BTreeSet;

use crate::reference::occupancy::Occupancy;
use crate::reference::policy::ReferencePolicy;

pub(super) struct Gdsf {
    /// Priority, time of the last use, and key. A priority is not negative, so its bits sort as it
    /// does.
    ranks: BTreeSet<(u64, u64, u32)>,
    rank_of: Vec<(u64, u64)>,
    uses: Vec<u32>,
    age: f64,
    now: u64,
    held: Occupancy,
}

impl Gdsf {
    pub(super) fn new(keys: usize, capacity: u64) -> Self {
        Gdsf {
            ranks: BTreeSet::new(),
            rank_of: vec![(0, 0); keys],
            uses: vec![0; keys],
            age: 0.0,
            now: 0,
            held: Occupancy::new(keys, capacity),
        }
    }

    /// Counts a use of a key in the cache, and sorts it in.
    fn use_key(&mut self, key: u32) {
        let uses = &mut self.uses[key as usize];
        *uses = uses.saturating_add(1);
        let worth = f64::from(*uses) / self.held.weight_of(key).max(1) as f64;
        let rank = ((self.age + worth).to_bits(), self.now);
        self.rank_of[key as usize] = rank;
        self.ranks.insert((rank.0, rank.1, key));
    }
}

impl ReferencePolicy for Gdsf {
    fn request(&mut self, key: u32, weight: u32) -> bool {
        self.now += 1;
        if self.held.contains(key) {
            let (priority, at) = self.rank_of[key as usize];
            self.ranks.remove(&(priority, at, key));
            self.use_key(key);
            return true;
        }
        if self.held.is_too_small_for(weight) {
            return false;
        }
        while self.held.is_full_for(weight)
            && let Some((priority, _, victim)) = self.ranks.pop_first()
        {
            self.age = f64::from_bits(priority);
            self.held.remove(victim);
            // A key that comes back is new.
            self.uses[victim as usize] = 0;
        }
        self.held.insert(key, weight);
        self.use_key(key);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_and_used_entries_stay_until_age_overtakes_them() {
        let mut cache = Gdsf::new(9, 10);
        let mut hit = |key, weight| cache.request(key, weight);
        // 0 is worth 2/4, and 1 is worth 1/5, so 2 evicts 1, and the age is 0.2.
        let hits = [(0, 4), (0, 4), (1, 5), (2, 2)].map(|(key, weight)| hit(key, weight));
        assert_eq!(hits, [false, true, false, false]);
        // 3 has 0.2 + 1/4, less than the others, and fits; then 4 evicts it.
        assert!(!hit(3, 4) && !hit(4, 4));
        assert!(hit(0, 4) && hit(2, 2) && hit(4, 4) && !hit(3, 4));
    }
}
