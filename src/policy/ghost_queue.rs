//! The last evicted keys, exactly: a first-in-first-out queue of fingerprints with an index, for policies
//! whose paper asks for one.
//!
//! A remembered key takes 20 to 35 bytes. The module `ghost` takes 3.2, but forgets some keys early. A
//! fingerprint is 32 bits of a hash: while a million keys are remembered, one unknown key in 4,000 is
//! taken for one of them.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

use super::sketch::spread;

#[derive(Debug, Default)]
pub(super) struct GhostQueue {
    /// The oldest fingerprint at the front. Those that were taken out are still in it.
    queue: VecDeque<u32>,
    /// The number of each remembered fingerprint, counted from the first that was ever pushed.
    numbers: HashMap<u32, u32, BuildHasherDefault<IdentityHasher>>,
    /// The number of the front of `queue`; wraps around.
    front: u32,
}

/// Uses a fingerprint, which is part of a hash, as its own hash.
#[derive(Default)]
struct IdentityHasher(u64);

impl Hasher for IdentityHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _bytes: &[u8]) {
        unreachable!("fingerprints are of type u32")
    }

    fn write_u32(&mut self, fingerprint: u32) {
        // The map uses the bits at both ends.
        self.0 = u64::from(fingerprint) << 32 | u64::from(fingerprint);
    }
}

fn fingerprint(hash: u64) -> u32 {
    (spread(hash) >> 32) as u32
}

impl GhostQueue {
    /// Remembers `hash` as the newest, and forgets all but the last `capacity`.
    pub(super) fn push(&mut self, hash: u64, capacity: usize) {
        let fingerprint = fingerprint(hash);
        self.numbers.insert(fingerprint, self.number(self.queue.len()));
        self.queue.push_back(fingerprint);
        while self.numbers.len() > capacity {
            self.pop();
        }
        // At most about half of the queue may be gaps, which take memory.
        if self.queue.len() > 2 * self.numbers.len() + 16 {
            self.close_gaps();
        }
    }

    /// Forgets `hash`. Returns whether it was remembered.
    pub(super) fn take(&mut self, hash: u64) -> bool {
        self.numbers.remove(&fingerprint(hash)).is_some()
    }

    fn number(&self, at: usize) -> u32 {
        #[expect(clippy::cast_possible_truncation, reason = "wraps around")]
        self.front.wrapping_add(at as u32)
    }

    fn pop(&mut self) {
        let Some(oldest) = self.queue.pop_front() else { return };
        if self.numbers.get(&oldest) == Some(&self.front) {
            self.numbers.remove(&oldest);
        }
        self.front = self.front.wrapping_add(1);
    }

    fn close_gaps(&mut self) {
        let queue = std::mem::take(&mut self.queue);
        let front = self.front;
        for (at, fingerprint) in (0_u32..).zip(queue) {
            let next = self.number(self.queue.len());
            match self.numbers.get_mut(&fingerprint) {
                Some(number) if *number == front.wrapping_add(at) => {
                    *number = next;
                    self.queue.push_back(fingerprint);
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_the_last_evictions_only() {
        let mut ghost = GhostQueue::default();
        for key in 0..1_000_u64 {
            ghost.push(spread(key + 1), 100);
        }
        let remembered: Vec<u64> = (0..1_000).filter(|key| ghost.take(spread(key + 1))).collect();
        assert_eq!(remembered, (900..1_000).collect::<Vec<u64>>());
        assert!(!ghost.take(spread(1_000)), "it was taken before");
    }

    #[test]
    fn a_key_that_is_taken_makes_room_for_older_ones() {
        let mut ghost = GhostQueue::default();
        for key in 0..100_u64 {
            ghost.push(spread(key + 1), 100);
        }
        // One key comes and goes many times the capacity. The others stay.
        for _ in 0..1_000 {
            assert!(ghost.take(spread(50)));
            ghost.push(spread(50), 100);
            assert!(ghost.queue.len() <= 2 * 100 + 16);
        }
        assert!((0..100).all(|key| ghost.take(spread(key + 1))));
    }
}
