//! From a key to the one hash that every other module works on.
//!
//! A hash has 48 bits, which leaves two bytes of its word in the entry for what a hit looks at
//! besides. The table takes buckets from the low bits of the hash and partitions from the high
//! bits, and the table's order is that of the whole hash. So a hasher's output is mixed once more
//! here: one that is poor in some bits (identity on integers, say) must not put all keys into one
//! partition. The default hasher needs no mixing.
#![forbid(unsafe_code)]

use std::any::TypeId;
use std::hash::{BuildHasher, Hash, Hasher};

/// An odd constant without pattern: the fractional part of the golden ratio.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// Bits of a hash; those above are zero.
pub(crate) const HASH_BITS: u32 = 48;

/// A cache's hasher.
pub(crate) struct Hashing<S> {
    hasher: S,
    is_mixed: bool,
}

impl<S: BuildHasher + 'static> Hashing<S> {
    pub(crate) fn new(hasher: S) -> Self {
        Self { hasher, is_mixed: TypeId::of::<S>() == TypeId::of::<crate::RandomState>() }
    }
}

impl<S: BuildHasher> Hashing<S> {
    /// Hashes `key`; all [`HASH_BITS`] of the result are as good as each other.
    #[inline]
    #[expect(clippy::manual_hash_one, reason = "see the comment in it")]
    pub(crate) fn hash<Q: Hash + ?Sized>(&self, key: &Q) -> u64 {
        // Not `hash_one`, which ahash specializes by type where the compiler lets it: a key and
        // its borrowed form, equal in `Hash`, would then get different hashes.
        let mut state = self.hasher.build_hasher();
        key.hash(&mut state);
        let hash = state.finish();
        let hash = if self.is_mixed { hash } else { mix(hash) };
        hash & ((1 << HASH_BITS) - 1)
    }
}

/// Multiplies into 128 bits and folds: every input bit reaches low and high output bits.
#[inline]
fn mix(hash: u64) -> u64 {
    let product = u128::from(hash ^ MULTIPLIER.rotate_left(32)) * u128::from(MULTIPLIER);
    (product as u64) ^ ((product >> 64) as u64)
}

/// The partition, out of `1 << partition_bits`, that keeps the entries of `hash`.
#[inline]
pub(crate) fn partition_of(hash: u64, partition_bits: u32) -> usize {
    (hash >> (HASH_BITS - partition_bits)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_hashes_spread_over_buckets_and_partitions() {
        let mut partitions = [0_u32; 64];
        let mut buckets = [0_u32; 64];
        for key in 0..64_000_u64 {
            let hash = mix(key) & ((1 << HASH_BITS) - 1);
            partitions[partition_of(hash, 6)] += 1;
            buckets[(hash & 63) as usize] += 1;
        }
        for count in partitions.iter().chain(&buckets) {
            assert!((800..1200).contains(count), "uneven: {partitions:?} {buckets:?}");
        }
    }

    #[test]
    fn one_partition_takes_every_hash() {
        let highest = (1 << HASH_BITS) - 1;
        assert_eq!(partition_of(highest, 0), 0);
        assert_eq!(partition_of(highest, 12), 4095);
    }
}
