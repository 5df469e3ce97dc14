//! SIEVE as its paper describes it: Zhang, Yang, Yue, Vigfusson, Rashmi, "SIEVE is Simpler than
//! LRU" (NSDI 2024), Algorithm 1, with a plain list. The fuzz targets include this file too.

/// Keys in the order of insertion, the newest first, and the hand.
pub(crate) struct Sieve {
    capacity: usize,
    /// Each key, and whether it was visited.
    queue: Vec<(u64, bool)>,
    /// Index of the entry that the hand points at; `None` is the tail.
    hand: Option<usize>,
}

impl Sieve {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity, queue: Vec::new(), hand: None }
    }

    pub(crate) fn get(&mut self, key: u64) -> bool {
        let found = self.queue.iter_mut().find(|entry| entry.0 == key);
        found.is_some_and(|entry| {
            entry.1 = true;
            true
        })
    }

    /// An update counts as a visit.
    pub(crate) fn insert(&mut self, key: u64) {
        if self.get(key) {
            return;
        }
        if self.queue.len() == self.capacity {
            self.evict();
        }
        self.queue.insert(0, (key, false));
        self.hand = self.hand.map(|hand| hand + 1);
    }

    pub(crate) fn remove(&mut self, key: u64) {
        let Some(at) = self.queue.iter().position(|entry| entry.0 == key) else {
            return;
        };
        self.queue.remove(at);
        self.hand = match self.hand {
            Some(hand) if hand == at => at.checked_sub(1),
            Some(hand) if hand > at => Some(hand - 1),
            hand => hand,
        };
    }

    /// All keys, ascending.
    pub(crate) fn keys(&self) -> Vec<u64> {
        let mut keys: Vec<u64> = self.queue.iter().map(|entry| entry.0).collect();
        keys.sort_unstable();
        keys
    }

    fn evict(&mut self) {
        let last = self.queue.len() - 1;
        let mut at = self.hand.unwrap_or(last);
        while self.queue[at].1 {
            self.queue[at].1 = false;
            at = at.checked_sub(1).unwrap_or(last);
        }
        self.queue.remove(at);
        self.hand = at.checked_sub(1);
    }
}
