//! The last evicted keys, exactly: a first-in-first-out queue of fingerprints that can be looked
//! up, for policies whose paper asks for one.
//!
//! About 20 bytes a remembered key, where `ghost` takes 4 and forgets some before their time. A
//! fingerprint is 32 bits of a hash: among a million remembered keys, one stranger in 4,000 is
//! taken for one of them.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

use super::sketch::spread;

#[derive(Debug, Default)]
pub(super) struct GhostQueue {
    /// The oldest at the front; what was taken out since is still in it.
    queue: VecDeque<u32>,
    /// The place of each remembered fingerprint, counted from the first that ever was.
    places: HashMap<u32, u32, BuildHasherDefault<Same>>,
    /// The place of the front of `queue`; wraps around.
    front: u32,
}

/// Fingerprints are hashes already.
#[derive(Default)]
struct Same(u64);

impl Hasher for Same {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _bytes: &[u8]) {
        unreachable!("fingerprints are words")
    }

    fn write_u32(&mut self, fingerprint: u32) {
        // The table looks at both ends.
        self.0 = u64::from(fingerprint) << 32 | u64::from(fingerprint);
    }
}

fn fingerprint(hash: u64) -> u32 {
    (spread(hash) >> 32) as u32
}

impl GhostQueue {
    /// Remembers `hash` as the newest, and no more than the last `capacity`.
    pub(super) fn push(&mut self, hash: u64, capacity: usize) {
        let fingerprint = fingerprint(hash);
        self.places.insert(fingerprint, self.place(self.queue.len()));
        self.queue.push_back(fingerprint);
        while self.places.len() > capacity {
            self.pop();
        }
        // Gaps cost memory: at most half of the queue are some.
        if self.queue.len() > 2 * self.places.len() + 16 {
            self.close_gaps();
        }
    }

    /// Whether `hash` is remembered; forgets it.
    pub(super) fn take(&mut self, hash: u64) -> bool {
        self.places.remove(&fingerprint(hash)).is_some()
    }

    fn place(&self, at: usize) -> u32 {
        #[expect(clippy::cast_possible_truncation, reason = "wraps around")]
        self.front.wrapping_add(at as u32)
    }

    fn pop(&mut self) {
        let Some(oldest) = self.queue.pop_front() else { return };
        if self.places.get(&oldest) == Some(&self.front) {
            self.places.remove(&oldest);
        }
        self.front = self.front.wrapping_add(1);
    }

    fn close_gaps(&mut self) {
        let queue = std::mem::take(&mut self.queue);
        let front = self.front;
        for (at, fingerprint) in (0_u32..).zip(queue) {
            let next = self.place(self.queue.len());
            match self.places.get_mut(&fingerprint) {
                Some(place) if *place == front.wrapping_add(at) => {
                    *place = next;
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
    fn remembers_the_last_and_only_those() {
        let mut ghost = GhostQueue::default();
        for key in 0..1_000_u64 {
            ghost.push(spread(key + 1), 100);
        }
        let held: Vec<u64> = (0..1_000).filter(|key| ghost.take(spread(key + 1))).collect();
        assert_eq!(held, (900..1_000).collect::<Vec<u64>>());
        assert!(!ghost.take(spread(1_000)), "taken once");
    }

    #[test]
    fn what_was_taken_out_makes_room_for_older_ones() {
        let mut ghost = GhostQueue::default();
        for key in 0..100_u64 {
            ghost.push(spread(key + 1), 100);
        }
        // Comes and goes many times its capacity: the others stay all the while.
        for _ in 0..1_000 {
            assert!(ghost.take(spread(50)));
            ghost.push(spread(50), 100);
            assert!(ghost.queue.len() <= 2 * 100 + 16);
        }
        assert!((0..100).all(|key| ghost.take(spread(key + 1))));
    }
}
