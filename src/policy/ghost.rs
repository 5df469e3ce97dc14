//! A small table that remembers the hashes of evicted keys, each with a stamp, and forgets the oldest.
//!
//! It has sets of five slots, each with a fingerprint and a stamp of 12 bits; a set takes 16 bytes. A set is
//! a queue: a key that is remembered pushes the others on, and the oldest out. So the table approximates a
//! queue of the last evicted keys: it may forget a key early if its set has got many younger ones, and takes
//! one in 800 unknown keys for a remembered one.
//!
//! ```text
//!   63         52 51         40        16 15          4 3      0
//!   | newest     |             | ...     | oldest      | unused |    fingerprints; likewise stamps
//! ```
//!
//! The owner decides what a stamp means and how old it is.
#![forbid(unsafe_code)]

use super::growth::{doubled, final_len, first_len};
use super::sketch::KeyBits;

/// Slots of a set.
const WAYS: usize = 5;
/// The bits of a fingerprint and of a stamp.
pub(super) const STAMP_BITS: u32 = 12;
/// The lowest bit of the oldest slot.
const OLDEST: u32 = u64::BITS - WAYS as u32 * STAMP_BITS;
/// The lowest bit of the newest slot.
const NEWEST: u32 = u64::BITS - STAMP_BITS;
/// The lowest bit of each slot.
const LOWEST: u64 = 0x0010_0100_1001_0010;
/// The most slots that a ghost has beyond its capacity, and at most half of that. Few keys spread less evenly over the
/// sets.
const MAX_SURPLUS: u64 = 1 << 13;
/// The most sets.
const MAX_SETS: u64 = 1 << 26;

const _: () = assert!(LOWEST.count_ones() as usize == WAYS && LOWEST >> NEWEST == 1);
const _: () = assert!(LOWEST.trailing_zeros() == OLDEST);

/// The slots of a set, in two words. A slot that was never used looks like one of the fingerprint 0.
#[derive(Clone, Copy, Debug, Default)]
struct GhostSet {
    fingerprints: u64,
    stamps: u64,
}

impl GhostSet {
    /// The lowest bit of a slot with that fingerprint.
    #[inline]
    fn find(self, fingerprint: u64) -> Option<u32> {
        let differing = self.fingerprints ^ (fingerprint * LOWEST);
        // The highest bit of each slot that is all zeros; of slots above such a one, perhaps, too.
        let zero = differing.wrapping_sub(LOWEST) & !differing & (LOWEST << (STAMP_BITS - 1));
        (zero != 0).then(|| zero.trailing_zeros() - (STAMP_BITS - 1))
    }

    /// Empties the slot at that bit and returns its stamp.
    #[inline(never)]
    fn take(&mut self, slot: u32) -> u16 {
        let stamp = self.stamps >> slot & ((1 << STAMP_BITS) - 1);
        self.fingerprints = without(self.fingerprints, slot);
        self.stamps = without(self.stamps, slot);
        u16::try_from(stamp).expect("12 bits")
    }
}

/// Takes the slot at that bit out of a word, and moves those that are older up.
fn without(word: u64, at: u32) -> u64 {
    let newer = word >> at >> STAMP_BITS << STAMP_BITS << at;
    let older = word & ((1 << at) - 1) & (u64::MAX << OLDEST);
    newer | older << STAMP_BITS
}

#[derive(Debug)]
pub(super) struct Ghost {
    sets: Vec<GhostSet>,
    max_sets: usize,
    /// The number of entries that the sets suffice for.
    sized_for: usize,
}

impl Ghost {
    /// A ghost of about the last `capacity` evictions. Its memory grows with [`Self::reserve_for`].
    pub(super) fn new(capacity: u64) -> Self {
        let slots = capacity.saturating_add((capacity / 2).min(MAX_SURPLUS));
        let sets = slots.div_ceil(WAYS as u64).clamp(1, MAX_SETS);
        let max_sets = final_len(usize::try_from(sets).expect("at most 2^26"));
        Self { sets: Vec::new(), max_sets, sized_for: 0 }
    }

    /// Changes the capacity. It frees no memory.
    pub(super) fn resize(&mut self, capacity: u64) {
        self.max_sets = Self::new(capacity).max_sets.max(self.sets.len());
        self.sized_for = self.sized_for.min(self.sets.len() * WAYS);
    }

    /// The number of entries that it is sized for. [`reserve_for`](Self::reserve_for) has to be called
    /// before there are more.
    pub(super) fn sized_for(&self) -> usize {
        self.sized_for
    }

    /// Grows to at least as many slots as there are `entries`.
    #[cold]
    pub(super) fn reserve_for(&mut self, entries: usize) {
        if entries <= self.sized_for {
            return;
        }
        if self.sets.is_empty() {
            self.sets = vec![GhostSet::default(); first_len(self.max_sets)];
        }
        while self.sets.len() < self.max_sets && self.sets.len() * WAYS < entries {
            self.sets = doubled(&self.sets);
        }
        let is_full = self.sets.len() >= self.max_sets;
        self.sized_for = if is_full { usize::MAX } else { self.sets.len() * WAYS };
    }

    /// Remembers a key with the lowest bits of a stamp.
    #[inline]
    pub(super) fn remember(&mut self, key: KeyBits, stamp: u16) {
        let at = key.index(self.sets.len());
        let Some(set) = self.sets.get_mut(at) else { return };
        set.fingerprints = set.fingerprints >> STAMP_BITS | key.fingerprint() << NEWEST;
        set.stamps = set.stamps >> STAMP_BITS | u64::from(stamp) << NEWEST;
    }

    /// The stamp with which a key was remembered, and forgets the key.
    #[inline]
    pub(super) fn take(&mut self, key: KeyBits) -> Option<u16> {
        let at = key.index(self.sets.len());
        let set = self.sets.get_mut(at)?;
        set.find(key.fingerprint()).map(|slot| set.take(slot))
    }

    /// All sets.
    #[inline]
    pub(super) fn sets(&self) -> &[impl Sized + use<>] {
        &self.sets
    }

    /// Prefetches the set of a key.
    #[inline]
    pub(super) fn prefetch(&self, key: KeyBits) {
        let set = self.sets.as_ptr().wrapping_add(key.index(self.sets.len()));
        crate::base::prefetch::prefetch_for_write(set);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(key: u64) -> KeyBits {
        KeyBits::of((key + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29))
    }

    #[test]
    fn remembers_most_of_the_last_evictions_and_none_far_older() {
        let mut ghost = Ghost::new(400);
        ghost.reserve_for(400);
        for key in 0..4_000_u16 {
            ghost.remember(hash(u64::from(key)), key);
        }
        let mut is_remembered = |key: u16| ghost.take(hash(u64::from(key))) == Some(key);
        let recent = (3_700..4_000).filter(|key| is_remembered(*key)).count();
        let old = (0..1_500).filter(|key| is_remembered(*key)).count();
        assert!(recent > 250, "{recent} of 300");
        assert!(old < 20, "{old} of 1500");
    }

    #[test]
    fn a_key_is_found_once_and_those_around_it_stay() {
        let mut ghost = Ghost::new(1);
        assert_eq!(ghost.take(hash(1)), None);
        ghost.reserve_for(1);
        for left in 0..WAYS as u64 {
            (0..WAYS as u64).for_each(|key| ghost.remember(hash(key), 7 + key as u16));
            assert_eq!(ghost.take(hash(left)), Some(7 + left as u16));
            assert_eq!(ghost.take(hash(left)), None);
            for key in (0..WAYS as u64).filter(|key| *key != left) {
                assert_eq!(ghost.take(hash(key)), Some(7 + key as u16), "without {left}");
            }
            assert_eq!((ghost.sets[0].fingerprints, ghost.sets[0].stamps), (0, 0));
        }
    }

    #[test]
    fn growing_forgets_nothing() {
        let mut ghost = Ghost::new(1 << 12);
        ghost.reserve_for(64);
        (0..16).for_each(|key| ghost.remember(hash(key), 5));
        for entries in [65, 500, 5_000] {
            ghost.reserve_for(entries);
        }
        let known = (0..16).filter(|key| ghost.take(hash(*key)) == Some(5)).count();
        assert!(known > 12, "{known}");
        assert_eq!(ghost.sized_for(), usize::MAX);
    }
}
