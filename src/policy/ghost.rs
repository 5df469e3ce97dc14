//! A small table that remembers the hashes of evicted keys, each with a stamp, and forgets the oldest.
//!
//! It has sets of four slots, each with a 16-bit fingerprint and a 16-bit stamp, so a slot takes four bytes,
//! and there are no links. It approximates a queue of the last evicted keys: it may forget a key early if
//! its set is full of younger ones, and takes an unknown key for a remembered one with a probability of
//! about 2^-14.
//!
//! The owner decides what a stamp means and how old it is.

use super::sketch::KeyBits;

/// Slots of a set.
const WAYS: usize = 4;
/// The most slots.
const MAX_SLOTS: u64 = 1 << 28;

#[derive(Clone, Copy, Debug, Default)]
struct GhostSlot {
    /// 0 if the slot is empty.
    fingerprint: u16,
    stamp: u16,
}

#[derive(Debug)]
pub(super) struct Ghost {
    /// A power of two of sets, or none yet.
    sets: Vec<[GhostSlot; WAYS]>,
    max_slots: usize,
    /// The number of entries that the sets suffice for.
    sized_for: usize,
}

impl Ghost {
    /// A ghost of about the last `capacity` evictions. Its memory grows with [`Self::reserve_for`],
    /// up to the power of two at or above `capacity`.
    pub(super) fn new(capacity: u64) -> Self {
        let capacity = capacity.clamp(1, MAX_SLOTS);
        let max_slots = usize::try_from(capacity.next_power_of_two()).expect("at most 2^28");
        Self { sets: Vec::new(), max_slots: max_slots.max(WAYS), sized_for: 0 }
    }

    /// Changes the capacity. It frees no memory.
    pub(super) fn resize(&mut self, capacity: u64) {
        self.max_slots = Self::new(capacity).max_slots.max(self.sets.len() * WAYS);
        self.sized_for = self.sized_for.min(self.sets.len() * WAYS);
    }

    /// The number of entries that it is sized for. [`reserve_for`](Self::reserve_for) has to be called
    /// before there are more.
    pub(super) fn sized_for(&self) -> usize {
        self.sized_for
    }

    /// Grows to at least as many slots as there are `entries`, and to a power of two.
    #[cold]
    pub(super) fn reserve_for(&mut self, entries: usize) {
        if entries <= self.sized_for {
            return;
        }
        let slots = entries.clamp(WAYS, self.max_slots).next_power_of_two();
        self.sized_for = if slots >= self.max_slots { usize::MAX } else { slots };
        if self.sets.is_empty() {
            self.sets.push([GhostSlot::default(); WAYS]);
        }
        while self.sets.len() * WAYS < slots {
            // One more bit of the hash chooses the set, so a key belongs to its old set or to the copy.
            self.sets.extend_from_within(..);
        }
    }

    /// The set of a key and its fingerprint, which have no bits of the hash in common.
    #[inline]
    fn place(&self, KeyBits(bits): KeyBits) -> Option<(usize, u16)> {
        let mask = self.sets.len().checked_sub(1)?;
        Some(((bits >> 16) as usize & mask, (bits as u16).max(1)))
    }

    /// Remembers a key. It replaces its own slot, or else an empty one or the oldest of its set.
    #[inline]
    pub(super) fn insert(&mut self, key: KeyBits, stamp: u16, age: impl Fn(u16) -> u16) {
        let Some((at, fingerprint)) = self.place(key) else { return };
        let set = &mut self.sets[at];
        let (mut highest, mut chosen) = (0, 0);
        for (way, slot) in set.iter().enumerate() {
            let rank = match slot.fingerprint {
                own if own == fingerprint => u32::MAX,
                0 => u32::from(u16::MAX),
                _ => u32::from(age(slot.stamp)),
            };
            if rank >= highest {
                (highest, chosen) = (rank, way);
            }
        }
        set[chosen] = GhostSlot { fingerprint, stamp };
    }

    /// The stamp with which a key was last remembered.
    #[inline]
    pub(super) fn stamp(&self, key: KeyBits) -> Option<u16> {
        let (at, fingerprint) = self.place(key)?;
        self.sets[at].iter().find(|slot| slot.fingerprint == fingerprint).map(|slot| slot.stamp)
    }

    /// Prefetches the set of a key.
    #[inline]
    pub(super) fn prefetch(&self, key: KeyBits) {
        if let Some((at, _)) = self.place(key) {
            crate::base::prefetch::prefetch_for_write(&raw const self.sets[at]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(key: u64) -> KeyBits {
        KeyBits::of((key + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29))
    }

    fn filled(count: u16) -> Ghost {
        let mut ghost = Ghost::new(1000);
        ghost.reserve_for(1000);
        for key in 0..count {
            ghost.insert(hash(u64::from(key)), key, |stamp| key.wrapping_sub(stamp));
        }
        ghost
    }

    #[test]
    fn remembers_most_of_the_last_evictions_and_none_far_older() {
        let ghost = filled(10_000);
        let recent = (9_500..10_000_u16)
            .filter(|key| ghost.stamp(hash(u64::from(*key))) == Some(*key))
            .count();
        let old = (0..5_000_u16).filter(|key| ghost.stamp(hash(u64::from(*key))).is_some()).count();
        assert!(recent > 400, "{recent} of 500");
        assert!(old < 20, "{old} of 5000");
    }

    #[test]
    fn remembers_a_hash_once_with_its_last_stamp() {
        let mut ghost = Ghost::new(10);
        assert_eq!(ghost.stamp(hash(1)), None);
        ghost.reserve_for(10);
        ghost.insert(hash(1), 7, |_| 0);
        ghost.insert(hash(1), 8, |_| 0);
        assert_eq!(ghost.stamp(hash(1)), Some(8));
        let slots = ghost.sets.iter().flatten();
        assert_eq!(slots.filter(|slot| slot.fingerprint != 0).count(), 1);
    }

    #[test]
    fn growing_forgets_nothing() {
        let mut ghost = Ghost::new(1 << 12);
        ghost.reserve_for(64);
        for key in 0..16 {
            ghost.insert(hash(key), 5, |_| 0);
        }
        let known: Vec<u64> = (0..16).filter(|key| ghost.stamp(hash(*key)).is_some()).collect();
        assert!(known.len() > 12, "{known:?}");
        for entries in [65, 500, 5_000] {
            ghost.reserve_for(entries);
            assert!(known.iter().all(|key| ghost.stamp(hash(*key)) == Some(5)), "{entries}");
        }
    }
}
