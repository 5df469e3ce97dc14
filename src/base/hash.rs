//! From a key to the one hash that every other module works on.
//!
//! A hash has 48 bits, which leaves two bytes of its word in an entry's header for other uses. [`KeyHash`]
//! says which part of the cache takes which bits. The output of a hasher is mixed once more here, because a
//! hasher that is poor in some bits (identity on integers, for example) must not put all keys into one
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
    /// It uses special instructions of the processor if there are any, so hashes still differ between machines.
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
    /// Without the seeds, which must stay secret.
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

/// The methods that ahash implements itself; the others call one of these.
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
    /// Hashes `key`; all [`HASH_BITS`] of the result are equally good.
    #[inline]
    #[expect(clippy::manual_hash_one, reason = "see the comment in it")]
    pub(crate) fn hash<Q: Hash + ?Sized>(&self, key: &Q) -> KeyHash {
        // Not `hash_one`, which a hasher (ahash, say) may specialize by type: a key and
        // its borrowed form, equal in `Hash`, would then get different hashes.
        let mut state = self.hasher.build_hasher();
        key.hash(&mut state);
        let hash = state.finish();
        let hash = if self.is_mixed { hash } else { mix(hash) };
        KeyHash(hash & ((1 << HASH_BITS) - 1))
    }
}

/// Multiplies into 128 bits and folds: every input bit reaches low and high output bits.
#[inline]
fn mix(hash: u64) -> u64 {
    let product = u128::from(hash ^ MULTIPLIER.rotate_left(32)) * u128::from(MULTIPLIER);
    (product as u64) ^ ((product >> 64) as u64)
}

/// The finalizer of SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number
/// Generators", OOPSLA 2014): every bit of the input reaches every bit of the output.
#[inline]
pub(crate) fn split_mix(value: u64) -> u64 {
    let value = value.wrapping_add(MULTIPLIER);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// The hash of a key. The parts of the cache take different bits of it, so that keys which share a bucket,
/// say, do not all share a gate as well.
///
/// ```text
///  bit 47                         16     12          0
///      ├ partition ▶               │      │          │   the highest bits, 12 at most
///      │                           │      │ ◀ bucket ┤   the lowest bits, as many as the table needs
///      ├─────────── tag ───────────┤      │          │   of a record in a read buffer: 32 bits
///      │                  ◀ ring ──┤      │          │   of the removal history: from bit 16 up
///      │                     ◀ gate ──────┤          │   of a change, and shard of a fill: from bit 12 up
///      ├────────────────── sample ───────────────────┤   of the shadows: a product of all bits
/// ```
///
/// Policies get the [raw](Self::raw) hash, and mix it themselves for their sketches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyHash(u64);

impl KeyHash {
    /// The hash with this number, which has at most [`HASH_BITS`] bits.
    #[inline(always)]
    pub(crate) const fn from_raw(raw: u64) -> Self {
        debug_assert!(raw >> HASH_BITS == 0, "a hash has 48 bits");
        Self(raw)
    }

    #[inline(always)]
    pub(crate) const fn raw(self) -> u64 {
        self.0
    }

    /// The bucket, in a table of `mask + 1` buckets.
    #[inline(always)]
    pub(crate) fn bucket(self, mask: usize) -> usize {
        #[expect(clippy::cast_possible_truncation, reason = "the mask keeps at most 32 bits")]
        {
            self.0 as usize & mask
        }
    }

    /// The partition, of `1 << partition_bits`, that keeps the key.
    #[inline(always)]
    pub(crate) fn partition(self, partition_bits: u32) -> usize {
        (self.0 >> (HASH_BITS - partition_bits)) as usize
    }

    /// The gate, of that many, that changes of the key pass; also the shard of its fills.
    #[inline]
    pub(crate) fn gate(self, gates: usize) -> usize {
        (self.0 >> 12) as usize % gates
    }

    /// The ring of the removal history, of that many, that remembers the key.
    #[inline]
    pub(crate) fn ring(self, rings: usize) -> usize {
        (self.0 >> 16) as usize % rings
    }

    /// Distinguishes the records of two keys that had the same node one after the other.
    #[inline(always)]
    pub(crate) fn tag(self) -> u32 {
        #[expect(clippy::cast_possible_truncation, reason = "a part is wanted")]
        {
            (self.0 >> 16) as u32
        }
    }

    /// The number, below `1 << bits`, by which shadows choose the keys of their samples. It is the high part
    /// of a product, so it depends on all bits of the hash, and a sample is spread over buckets, partitions
    /// and gates as the set of all keys is.
    #[inline]
    pub(crate) fn sample(self, bits: u32) -> u64 {
        /// Odd and without pattern: bits of the square root of 3.
        const MULTIPLIER: u64 = 0xbb67_ae85_84ca_a73b;
        self.0.wrapping_mul(MULTIPLIER) >> (u64::BITS - bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_hashes_spread_over_buckets_and_partitions() {
        let mut partitions = [0_u32; 64];
        let mut buckets = [0_u32; 64];
        for key in 0..64_000_u64 {
            let hash = KeyHash(mix(key) & ((1 << HASH_BITS) - 1));
            partitions[hash.partition(6)] += 1;
            buckets[hash.bucket(63)] += 1;
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
        let highest = KeyHash((1 << HASH_BITS) - 1);
        assert_eq!(highest.partition(0), 0);
        assert_eq!(highest.partition(12), 4095);
    }
}
