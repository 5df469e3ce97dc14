//! Keys of any length as 128 bits.

use std::hash::{BuildHasher, RandomState};

/// Stands for keys of any length, so that long keys cost no more memory than short ones.
///
/// Two keys of a billion share a digest of 128 bits with a probability below 2^-68, and would then
/// count as one. It is seeded at random, so that nobody can write a file in which they do.
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
