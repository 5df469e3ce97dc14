//! From a key to the one hash that every other module works on.
//!
//! A hash has 48 bits, which leaves two bytes of its word in the entry for what a hit looks at
//! besides. The table takes buckets from the low bits of the hash and partitions from the high
//! bits, and the table's order is that of the whole hash. So a hasher's output is mixed once more
//! here: one that is poor in some bits (identity on integers, say) must not put all keys into one
//! partition. The default hasher needs no mixing.
#![forbid(unsafe_code)]

use std::any::TypeId;
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};

/// An odd constant without pattern: the fractional part of the golden ratio.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// Bits of a hash; those above are zero.
pub(crate) const HASH_BITS: u32 = 48;

/// The default hasher of keys: fast on short keys, and seeded anew by each call of
/// [`new`](Self::new), so that an attacker cannot choose keys that collide.
///
/// The same key has another hash in another process, on another machine and in another version of
/// the library.
///
/// # Examples
/// ```
/// use larder::{Cache, RandomState};
///
/// // The same hashes in every run on this machine, for a test.
/// let hasher = RandomState::with_seeds(1, 2, 3, 4);
/// let cache = Cache::builder().capacity(100).hasher(hasher).build()?;
/// cache.insert("key", 1);
/// # Ok::<(), larder::BuildError>(())
/// ```
#[derive(Clone)]
pub struct RandomState(ahash::RandomState);

impl RandomState {
    /// A hasher with random seeds of its own.
    #[inline]
    #[must_use]
    pub fn new() -> Self {
        Self(ahash::RandomState::new())
    }

    /// A hasher with these seeds. Anyone who knows them can choose keys that collide.
    ///
    /// It takes the processor's instructions where there are such, so hashes differ between
    /// machines all the same.
    #[inline]
    #[must_use]
    pub const fn with_seeds(first: u64, second: u64, third: u64, fourth: u64) -> Self {
        Self(ahash::RandomState::with_seeds(first, second, third, fourth))
    }
}

impl Default for RandomState {
    #[inline]
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for RandomState {
    /// Without the seeds, which are to stay secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RandomState").finish_non_exhaustive()
    }
}

impl BuildHasher for RandomState {
    type Hasher = KeyHasher;

    #[inline]
    fn build_hasher(&self) -> KeyHasher {
        KeyHasher(self.0.build_hasher())
    }
}

/// The [`Hasher`] of [`RandomState`].
#[derive(Clone)]
pub struct KeyHasher(ahash::AHasher);

impl fmt::Debug for KeyHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyHasher").finish_non_exhaustive()
    }
}

/// Every method that ahash has its own way for; the others come to one of these.
impl Hasher for KeyHasher {
    #[inline]
    fn finish(&self) -> u64 {
        self.0.finish()
    }

    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }

    #[inline]
    fn write_u8(&mut self, number: u8) {
        self.0.write_u8(number);
    }

    #[inline]
    fn write_u16(&mut self, number: u16) {
        self.0.write_u16(number);
    }

    #[inline]
    fn write_u32(&mut self, number: u32) {
        self.0.write_u32(number);
    }

    #[inline]
    fn write_u64(&mut self, number: u64) {
        self.0.write_u64(number);
    }

    #[inline]
    fn write_u128(&mut self, number: u128) {
        self.0.write_u128(number);
    }

    #[inline]
    fn write_usize(&mut self, number: usize) {
        self.0.write_usize(number);
    }
}

/// A cache's hasher.
pub(crate) struct Hashing<S> {
    hasher: S,
    is_mixed: bool,
}

impl<S: BuildHasher + 'static> Hashing<S> {
    pub(crate) fn new(hasher: S) -> Self {
        let hashers = [TypeId::of::<RandomState>(), TypeId::of::<ahash::RandomState>()];
        Self { hasher, is_mixed: hashers.contains(&TypeId::of::<S>()) }
    }
}

impl<S: BuildHasher> Hashing<S> {
    /// Hashes `key`; all [`HASH_BITS`] of the result are as good as each other.
    #[inline]
    #[expect(clippy::manual_hash_one, reason = "see the comment in it")]
    pub(crate) fn hash<Q: Hash + ?Sized>(&self, key: &Q) -> u64 {
        // Not `hash_one`, which a hasher (ahash, say) may specialize by type: a key and
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
    fn default_hasher_hashes_as_the_one_within_and_shows_no_seed() {
        let (own, within) =
            (RandomState::with_seeds(1, 2, 3, 4), ahash::RandomState::with_seeds(1, 2, 3, 4));
        let keys = (1_u8, -2_i16, 3_u32, 4_u64, -5_i128, 6_usize, "seven", [8_u8; 40], 'n');
        let (own_hashing, within_hashing) = (Hashing::new(own.clone()), Hashing::new(within));
        assert!(own_hashing.is_mixed && within_hashing.is_mixed);
        assert_eq!(own_hashing.hash(&keys), within_hashing.hash(&keys));
        assert_ne!(Hashing::new(RandomState::new()).hash(&keys), own_hashing.hash(&keys));
        assert_eq!(format!("{own:?}"), "RandomState { .. }");
    }

    #[test]
    fn one_partition_takes_every_hash() {
        let highest = (1 << HASH_BITS) - 1;
        assert_eq!(partition_of(highest, 0), 0);
        assert_eq!(partition_of(highest, 12), 4095);
    }
}
