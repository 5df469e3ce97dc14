//! Hashers that should not be used otherwise: they produce long chains and deep buckets.

use std::hash::{BuildHasher, Hasher};

/// Gives everything the same hash.
#[derive(Clone, Default)]
pub(crate) struct Constant(pub(crate) u64);

pub(crate) struct ConstantHasher(u64);

impl BuildHasher for Constant {
    type Hasher = ConstantHasher;

    fn build_hasher(&self) -> ConstantHasher {
        ConstantHasher(self.0)
    }
}

impl Hasher for ConstantHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {}
}

/// Uses the key, a `u64`, as its hash.
#[derive(Clone, Default)]
pub(crate) struct Identity;

pub(crate) struct IdentityHasher(u64);

impl BuildHasher for Identity {
    type Hasher = IdentityHasher;

    fn build_hasher(&self) -> IdentityHasher {
        IdentityHasher(0)
    }
}

impl Hasher for IdentityHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0 ^= u64::from_ne_bytes(word);
        }
    }
}
