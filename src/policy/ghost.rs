//! What has left: a small table of hashes of evicted keys, forgetting the oldest.
//!
//! Four-way sets of a 16-bit fingerprint and a 16-bit time stamp, so four bytes a slot and no
//! links. It stands for a queue of the last evicted keys; it may forget one early when its set is
//! full of younger ones, and takes a stranger for a member with a chance of about 2^-14.

/// Slots of a set.
const WAYS: usize = 4;
/// Ages are told apart to one part in this many of the capacity.
const RESOLUTION: u64 = 4096;

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    /// 0: empty.
    fingerprint: u16,
    /// The tick at which it was remembered, modulo 2^16.
    tick: u16,
}

#[derive(Debug)]
pub(super) struct Ghost {
    /// A power of two of sets, or none yet.
    sets: Vec<[Slot; WAYS]>,
    /// Moves when `inserted` passes a multiple of `tick_mask + 1`, a power of two.
    tick: u16,
    tick_mask: u64,
    inserted: u64,
    /// The age in ticks from which a slot counts as forgotten.
    max_age: u16,
    max_slots: usize,
    /// Entries from which on there have to be more sets.
    enough_for: usize,
}

impl Ghost {
    /// Remembers the last `capacity` evictions. Its memory grows with [`Self::reserve_for`], up to
    /// the power of two at or above `capacity` and never above 2^28 slots.
    pub(super) fn new(capacity: u64) -> Self {
        let capacity = capacity.clamp(1, 1 << 28);
        let tick_length = capacity.div_ceil(RESOLUTION).next_power_of_two();
        let max_age = u16::try_from(capacity.div_ceil(tick_length)).expect("at most RESOLUTION");
        let max_slots = usize::try_from(capacity.next_power_of_two()).unwrap_or(1 << 28).max(WAYS);
        Self {
            sets: Vec::new(),
            tick: 0,
            tick_mask: tick_length - 1,
            inserted: 0,
            max_age,
            max_slots,
            enough_for: 0,
        }
    }

    /// Grows to serve `held` entries: at least as many slots, up to the next power of two.
    #[inline]
    pub(super) fn reserve_for(&mut self, held: usize) {
        if held <= self.enough_for {
            return;
        }
        let slots = held.clamp(WAYS, self.max_slots).next_power_of_two();
        self.enough_for = if slots >= self.max_slots { usize::MAX } else { slots };
        // What was remembered is lost; that happens while the cache fills, before the ghost has
        // had a say.
        self.sets = vec![[Slot::default(); WAYS]; slots / WAYS];
    }

    fn set(&mut self, hash: u64) -> Option<(&mut [Slot; WAYS], u16)> {
        // The middle of the hash: the partition took the high bits, the buckets the low ones.
        let (at, fingerprint) = ((hash >> 16) as usize, (hash as u16).max(1));
        let sets = self.sets.len();
        Some((self.sets.get_mut(at & sets.wrapping_sub(1))?, fingerprint))
    }

    /// Remembers `hash`, in the place of the oldest of its set.
    pub(super) fn insert(&mut self, hash: u64) {
        self.inserted += 1;
        if self.inserted & self.tick_mask == 0 {
            self.tick = self.tick.wrapping_add(1);
        }
        let now = self.tick;
        let Some((set, fingerprint)) = self.set(hash) else {
            return;
        };
        let mut oldest = (0, 0);
        for (at, slot) in set.iter().enumerate() {
            if slot.fingerprint == 0 || slot.fingerprint == fingerprint {
                oldest.1 = at;
                break;
            }
            let age = now.wrapping_sub(slot.tick);
            if age >= oldest.0 {
                oldest = (age, at);
            }
        }
        set[oldest.1] = Slot { fingerprint, tick: now };
    }

    /// Whether `hash` is remembered; forgets it.
    pub(super) fn take(&mut self, hash: u64) -> bool {
        let (now, max_age) = (self.tick, self.max_age);
        let Some((set, fingerprint)) = self.set(hash) else {
            return false;
        };
        for slot in set {
            if slot.fingerprint == fingerprint {
                let age = now.wrapping_sub(slot.tick);
                *slot = Slot::default();
                return age <= max_age;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(key: u64) -> u64 {
        (key + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
    }

    #[test]
    fn remembers_most_of_the_last_evictions_and_none_far_older() {
        let mut ghost = Ghost::new(1000);
        ghost.reserve_for(1000);
        for key in 0..10_000 {
            ghost.insert(hash(key));
        }
        let recent = (9_500..10_000).filter(|key| ghost.take(hash(*key))).count();
        let old = (0..8_500).filter(|key| ghost.take(hash(*key))).count();
        assert!(recent > 400, "{recent} of 500");
        assert!(old < 20, "{old} of 8500");
    }

    #[test]
    fn takes_a_hash_once() {
        let mut ghost = Ghost::new(10);
        ghost.reserve_for(10);
        ghost.insert(hash(1));
        assert!(ghost.take(hash(1)));
        assert!(!ghost.take(hash(1)));
    }
}
