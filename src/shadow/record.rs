//! One operation on one key, in a word.
//!
//! ```text
//!   63                    16 15  13 12      8 7        0
//!   |       sample:48       | kind | shift:5 | weight:8 |
//! ```
//!
//! The sample value says which samples a key is in, and is all that a shadow knows of the key. It is the
//! high part of a product, so it depends on all bits of the hash. Buckets are chosen by low bits of the
//! hash, partitions by high ones, and policies sample by middle ones; a sample by this value is spread over
//! all of them as the set of all keys is.

use crate::base::hash::KeyHash;

pub(super) const SAMPLE_BITS: u32 = 48;
const KIND_SHIFT: u32 = 13;
const WEIGHT_BITS: u32 = 8;

/// The operation of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShadowKind {
    /// A lookup found the key.
    Hit,
    /// A lookup did not find the key.
    Miss,
    /// A new key was inserted.
    Added,
    /// The value of the key was replaced.
    Replaced,
    /// The key was removed, or found expired.
    Removed,
}

/// An operation on a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ShadowRecord(u64);

/// The sample value of a key's hash, below `2^SAMPLE_BITS`.
#[inline]
pub(super) fn sample_of(hash: KeyHash) -> u64 {
    hash.sample(SAMPLE_BITS)
}

impl ShadowRecord {
    /// The weight is rounded down to 8 binary digits: exact up to 255, and less than 1 % too low above.
    #[inline]
    pub(super) fn new(sample: u64, kind: ShadowKind, weight: u32) -> Self {
        // From 1 on, so that no record is 0, which is an empty slot.
        let kind = kind as u64 + 1;
        let shift = (u32::BITS - weight.leading_zeros()).saturating_sub(WEIGHT_BITS);
        let weight = u64::from(shift << WEIGHT_BITS | weight >> shift);
        Self(sample << (64 - SAMPLE_BITS) | kind << KIND_SHIFT | weight)
    }

    pub(super) fn from_word(word: u64) -> Self {
        Self(word)
    }

    pub(super) fn to_word(self) -> u64 {
        self.0
    }

    #[inline]
    pub(super) fn sample(self) -> u64 {
        self.0 >> (64 - SAMPLE_BITS)
    }

    /// The same operation on a key with another sample value.
    pub(super) fn with_sample(self, sample: u64) -> Self {
        let others = self.0 & ((1 << (64 - SAMPLE_BITS)) - 1);
        Self(sample << (64 - SAMPLE_BITS) | others)
    }

    pub(super) fn kind(self) -> ShadowKind {
        match self.0 >> KIND_SHIFT & 7 {
            1 => ShadowKind::Hit,
            2 => ShadowKind::Miss,
            3 => ShadowKind::Added,
            4 => ShadowKind::Replaced,
            _ => ShadowKind::Removed,
        }
    }

    pub(super) fn weight(self) -> u32 {
        let shift = self.0 >> WEIGHT_BITS & 31;
        #[expect(clippy::cast_possible_truncation, reason = "8 bits, shifted by up to 24")]
        {
            ((self.0 & 0xff) << shift) as u32
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_gives_back_the_values_that_it_was_made_of() {
        for kind in [
            ShadowKind::Hit,
            ShadowKind::Miss,
            ShadowKind::Added,
            ShadowKind::Replaced,
            ShadowKind::Removed,
        ] {
            for sample in [0, 1, (1 << SAMPLE_BITS) - 1] {
                for weight in [0, 1, 200, 255, 256, 1000, 65_537, u32::MAX] {
                    let record =
                        ShadowRecord::from_word(ShadowRecord::new(sample, kind, weight).to_word());
                    assert_ne!(record.to_word(), 0);
                    assert_eq!((record.sample(), record.kind()), (sample, kind));
                    assert_eq!(record.with_sample(7).with_sample(sample), record);
                    let low = f64::from(weight - record.weight()) / f64::from(weight.max(1));
                    assert!(low < 0.01 && (weight > 255 || low == 0.0), "{weight}: {record:?}");
                }
            }
        }
    }

    #[test]
    fn a_sample_is_spread_over_buckets_and_partitions() {
        let mut state = 1_u64;
        let (mut buckets, mut partitions) = ([0_u32; 16], [0_u32; 16]);
        for _ in 0..160_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let hash = (state ^ state >> 31).wrapping_mul(0x94d0_49bb_1331_11eb);
            let hash = hash ^ hash >> 29;
            if sample_of(KeyHash::from_raw(hash >> 16)) < 1 << (SAMPLE_BITS - 4) {
                buckets[(hash >> 16 & 15) as usize] += 1;
                partitions[(hash >> 60) as usize] += 1;
            }
        }
        // The sample is a sixteenth of all keys: 10,000, and 625 in each of sixteen parts.
        for count in buckets.iter().chain(&partitions) {
            assert!((500..750).contains(count), "{buckets:?} {partitions:?}");
        }
    }
}
