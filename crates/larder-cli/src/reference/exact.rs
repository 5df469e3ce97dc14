//! LRU, FIFO and LFU by definition: LRU and LFU on sorted sets, FIFO on a queue.

use std::collections::{BTreeSet, VecDeque};

use crate::reference::occupancy::Occupancy;
use crate::reference::policy::ReferencePolicy;

/// Least recently used.
pub(super) struct Lru(Ranked);

/// Least frequently used; of those, the least recently used.
pub(super) struct Lfu(Ranked);

/// First in, first out.
pub(super) struct Fifo {
    queue: VecDeque<u32>,
    held: Occupancy,
}

/// Keys by rank: the number of counted uses, then the time of the last one. The lowest is evicted.
struct Ranked {
    ranks: BTreeSet<(u64, u64, u32)>,
    rank_of: Vec<(u64, u64)>,
    now: u64,
    held: Occupancy,
}

impl Ranked {
    fn new(keys: usize, capacity: u64) -> Self {
        let held = Occupancy::new(keys, capacity);
        Ranked { ranks: BTreeSet::new(), rank_of: vec![(0, 0); keys], now: 0, held }
    }

    fn rank(&mut self, key: u32, uses: u64) {
        self.rank_of[key as usize] = (uses, self.now);
        self.ranks.insert((uses, self.now, key));
    }

    /// `uses` maps the number of uses counted so far to the new one.
    fn request(&mut self, key: u32, weight: u32, uses: impl Fn(u64) -> u64) -> bool {
        self.now += 1;
        if self.held.contains(key) {
            let (used, at) = self.rank_of[key as usize];
            self.ranks.remove(&(used, at, key));
            self.rank(key, uses(used));
            return true;
        }
        if self.held.is_too_small_for(weight) {
            return false;
        }
        while self.held.is_full_for(weight)
            && let Some((_, _, victim)) = self.ranks.pop_first()
        {
            self.held.remove(victim);
        }
        self.held.insert(key, weight);
        self.rank(key, uses(0));
        false
    }
}

impl Lru {
    pub(super) fn new(keys: usize, capacity: u64) -> Self {
        Lru(Ranked::new(keys, capacity))
    }
}

impl ReferencePolicy for Lru {
    fn request(&mut self, key: u32, weight: u32) -> bool {
        self.0.request(key, weight, |_| 0)
    }
}

impl Lfu {
    pub(super) fn new(keys: usize, capacity: u64) -> Self {
        Lfu(Ranked::new(keys, capacity))
    }
}

impl ReferencePolicy for Lfu {
    fn request(&mut self, key: u32, weight: u32) -> bool {
        self.0.request(key, weight, |used| used + 1)
    }
}

impl Fifo {
    pub(super) fn new(keys: usize, capacity: u64) -> Self {
        Fifo { queue: VecDeque::new(), held: Occupancy::new(keys, capacity) }
    }
}

impl ReferencePolicy for Fifo {
    fn request(&mut self, key: u32, weight: u32) -> bool {
        if self.held.contains(key) {
            return true;
        }
        if self.held.is_too_small_for(weight) {
            return false;
        }
        while self.held.is_full_for(weight)
            && let Some(victim) = self.queue.pop_front()
        {
            self.held.remove(victim);
        }
        self.held.insert(key, weight);
        self.queue.push_back(key);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::super::Published;
    use super::super::tests::outcomes;
    use super::*;

    #[test]
    fn small_cases_go_as_by_hand() {
        // When 2 is inserted, 1 is the least recently used and 0 the oldest entry.
        let requests = [0, 1, 0, 2, 0, 1, 2];
        assert_eq!(outcomes(Published::Lru, &requests, 2), "..h.h..");
        assert_eq!(outcomes(Published::Fifo, &[0, 1, 0, 2, 1, 0, 2], 2), "..h.h.h");
        // 0 has two uses; 2 evicts 1, and then 1 evicts 2.
        assert_eq!(outcomes(Published::Lfu, &[0, 0, 1, 2, 1, 0, 2], 2), ".h...h.");
    }

    #[test]
    fn weights_make_room_for_themselves_and_never_more_than_all() {
        let hits = |cache: &mut dyn ReferencePolicy| {
            let requests = [(0, 4), (1, 4), (0, 4), (2, 6), (0, 4), (1, 4), (3, 11), (0, 4)];
            requests.map(|(key, weight)| u8::from(cache.request(key, weight)))
        };
        assert_eq!(hits(&mut Lru::new(4, 10)), [0, 0, 1, 0, 1, 0, 0, 1]);
        assert_eq!(hits(&mut Fifo::new(4, 10)), [0, 0, 1, 0, 0, 0, 0, 1]);
        assert_eq!(hits(&mut Lfu::new(4, 10)), [0, 0, 1, 0, 1, 0, 0, 1]);
    }
}
