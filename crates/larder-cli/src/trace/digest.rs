//! Keys of any length as 128 bits.

use std::hash::{BuildHasher, RandomState};

/// Digests of keys, so that long keys need no more memory than short ones.
///
/// Among a billion keys, two share a 128-bit digest with a probability below 2^-68 and would then
/// count as one. The seeds are random, so that nobody can write a file that has such a pair.
#[derive(Default)]
pub(super) struct Digests {
    high: RandomState,
    low: RandomState,
}

impl Digests {
    pub(super) fn of(&self, key: &[u8]) -> (u64, u64) {
        (self.high.hash_one(key), self.low.hash_one(key))
    }
}
