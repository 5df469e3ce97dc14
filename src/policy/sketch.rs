//! How often keys were used lately: a count-min sketch of 4-bit counters that ages by halving.
//!
//! Cormode, Muthukrishnan: "An Improved Data Stream Summary: The Count-Min Sketch and its
//! Applications", 2005, with conservative update (Estan and Varghese 2002), and ageing as in TinyLFU
//! (Einziger, Friedman, Manes: "TinyLFU: A Highly Efficient Cache Admission Policy", ACM ToS 2017).
//!
//! All counters of a key are in one block of 64 counters, half a cache line. The counters lie across four
//! words: bit `i` of word `k` is bit `k` of counter `i`. So all counters of a key are compared at once, by a
//! mask of their places, and raised at once.
//!
//! ```text
//!   hash:  63 ... 32 31    24 23    18 17    12 11     6 5      0
//!          |  block |        | place 3| place 2| place 1| place 0|
//! ```
//!
//! The counters are not halved all at once, which would take a time in proportion to the capacity: each
//! increment that follows halves a block, and estimates from blocks that are not halved yet are halved when
//! they are read. So keys of different blocks compare at all times.

use super::growth::{doubled, final_len, first_len};

/// Where counters saturate.
pub(super) const MAX_COUNT: u64 = 15;
/// Bits of a counter.
const PLANES: usize = 4;
/// Counters of a key; two of them may be the same.
const PLACES: u32 = 4;
/// Bits of a hash that choose one of a block's counters.
const PLACE_BITS: u32 = 6;
/// Entries for each block: eight bytes for an entry.
const BLOCK_ENTRIES: usize = 4;
const MAX_BLOCKS: usize = 1 << 27;
/// Increments for each entry after which all counters are halved.
const SAMPLE_FACTOR: u64 = 20;

const _: () = assert!(MAX_COUNT == (1 << PLANES) - 1 && u64::BITS == 1 << PLACE_BITS);

/// 64 counters: a word for each of their bits, the lowest first.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(32))]
struct Block([u64; PLANES]);

const _: () = assert!(size_of::<Block>() == 32);

/// Estimates of how often hashes were counted.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Sketch {
    /// Increments, halved together with the counters.
    increments: u64,
    /// The `increments` at which everything is halved.
    sample: u64,
    /// The `increments` from which on `age` is called: `sample`, or 0 while blocks wait to be halved.
    age_from: u64,
    /// The first block that waits to be halved; `usize::MAX` if none does.
    unhalved_from: usize,
    blocks: Vec<Block>,
    max_blocks: usize,
    /// The number of entries that the blocks suffice for.
    sized_for: usize,
    /// How often everything was halved; wraps around.
    halvings: u32,
    /// Whether the capacity is known, so that `sample` does not grow with the blocks.
    is_bounded: bool,
}

/// Mixes the bits of `hash`: those that choose partitions, buckets or samples must not choose sets or
/// counters too.
#[inline]
pub(super) fn spread(hash: u64) -> u64 {
    const MULTIPLIER: u64 = 0xd6e8_feb8_6659_fd93;
    let hash = (hash ^ (hash >> 32)).wrapping_mul(MULTIPLIER);
    hash ^ (hash >> 32)
}

/// A mixed hash, from which several structures choose: the sketch its counters, the ghost its slots.
///
/// The high half chooses a block or a set, the lowest 24 bits the counters, and the 12 bits below the high
/// half are the fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KeyBits(u64);

impl KeyBits {
    #[inline]
    pub(super) fn of(hash: u64) -> Self {
        Self(spread(hash))
    }

    pub(super) fn to_raw(self) -> u64 {
        self.0
    }

    /// The index of this key in an array of `len` elements, fewer than 2^32. In an array of twice the
    /// length, it is one of the two indexes from twice this one on.
    #[inline]
    pub(super) fn index(self, len: usize) -> usize {
        ((self.0 >> 32).wrapping_mul(len as u64) >> 32) as usize
    }

    /// 12 bits that the index does not depend on.
    #[inline]
    pub(super) fn fingerprint(self) -> u64 {
        self.0 >> 20 & 0xfff
    }

    /// The places of this key's counters in their block.
    #[inline]
    fn places(self) -> u64 {
        (0..PLACES).fold(0, |places, at| {
            #[expect(clippy::cast_possible_truncation, reason = "the lowest six bits count")]
            let place = (self.0 >> (PLACE_BITS * at)) as u32;
            places | 1_u64.wrapping_shl(place)
        })
    }
}

impl Block {
    /// The least count at `places`, and where it is.
    #[inline]
    fn least(&self, places: u64) -> (u64, u64) {
        self.0.iter().rev().fold((0, places), |(count, least), plane| {
            let zeros = least & !plane;
            (2 * count + u64::from(zeros == 0), if zeros == 0 { least } else { zeros })
        })
    }

    /// Adds one to the counters at `places`, none of which is saturated.
    #[inline]
    fn raise(&mut self, places: u64) {
        let mut carry = places;
        for plane in &mut self.0 {
            (*plane, carry) = (*plane ^ carry, *plane & carry);
        }
    }

    fn halve(&mut self) {
        self.0.rotate_left(1);
        self.0[PLANES - 1] = 0;
    }
}

impl Sketch {
    /// A sketch for `capacity` entries, if that is known. Its memory grows with [`Self::grow`].
    pub(super) fn new(capacity: Option<u64>) -> Self {
        let blocks = |entries: u64| {
            let blocks = entries.max(1).div_ceil(BLOCK_ENTRIES as u64);
            usize::try_from(blocks).map_or(MAX_BLOCKS, |blocks| final_len(blocks.min(MAX_BLOCKS)))
        };
        let sample = capacity.map_or(0, |entries| entries.max(1).saturating_mul(SAMPLE_FACTOR));
        Self {
            blocks: Vec::new(),
            max_blocks: capacity.map_or(MAX_BLOCKS, blocks),
            sized_for: 0,
            increments: 0,
            sample,
            age_from: sample,
            unhalved_from: usize::MAX,
            halvings: 0,
            is_bounded: capacity.is_some(),
        }
    }

    /// The number of entries that it is sized for. [`grow`](Self::grow) has to be called before there are
    /// more.
    pub(super) fn sized_for(&self) -> usize {
        self.sized_for
    }

    /// How often all counts were halved; wraps around.
    #[inline]
    pub(super) fn halvings(&self) -> u32 {
        self.halvings
    }

    /// Sizes the sketch for `entries` entries. `counted` has the hashes of the entries, or is empty if there
    /// are too many to walk through.
    ///
    /// One more bit of the hash chooses the block then. If `counted` is empty, each block is copied to the two
    /// blocks that take its place, so that every key finds its counters. But half of the counts in a copy
    /// belong to keys of the other one. So if the hashes are known, only their estimates are carried over.
    #[cold]
    pub(super) fn grow(&mut self, entries: usize, counted: impl Iterator<Item = u64>) {
        while self.unhalved_from != usize::MAX {
            self.halve_next();
        }
        let counts: Vec<(KeyBits, u64)> =
            counted.map(KeyBits::of).map(|key| (key, self.estimate(key))).collect();
        let first = if self.is_bounded { first_len(self.max_blocks) } else { 1 };
        let mut blocks = self.blocks.len().max(first);
        while blocks < self.max_blocks && blocks * BLOCK_ENTRIES < entries {
            blocks *= 2;
        }
        self.sized_for =
            if blocks >= self.max_blocks { usize::MAX } else { blocks * BLOCK_ENTRIES };
        if counts.is_empty() && !self.blocks.is_empty() {
            while self.blocks.len() < blocks {
                self.blocks = doubled(&self.blocks);
            }
        } else {
            self.blocks = vec![Block::default(); blocks];
            for (key, count) in counts {
                self.raise(key, count);
            }
        }
        if !self.is_bounded {
            self.sample = (blocks * BLOCK_ENTRIES) as u64 * SAMPLE_FACTOR;
        }
        self.age_from = self.sample;
    }

    /// Changes the capacity. It frees no memory.
    pub(super) fn resize(&mut self, capacity: u64) {
        let Self { max_blocks, sample, .. } = Self::new(Some(capacity));
        self.max_blocks = max_blocks.max(self.blocks.len());
        self.sized_for = self.sized_for.min(self.blocks.len() * BLOCK_ENTRIES);
        self.sample = sample;
        if self.unhalved_from == usize::MAX {
            self.age_from = sample;
        }
        self.is_bounded = true;
    }

    /// Counts a key once more, and returns the new estimate.
    #[inline]
    pub(super) fn count(&mut self, key: KeyBits) -> u64 {
        if self.increments >= self.age_from {
            self.age();
        }
        let at = key.index(self.blocks.len());
        let Some(block) = self.blocks.get_mut(at) else { return 0 };
        let (mut count, least) = block.least(key.places());
        if count < MAX_COUNT {
            // Conservative update: only the least counters are raised. The others count other keys too.
            block.raise(least);
            count += 1;
            self.increments += 1;
        }
        count >> u32::from(at >= self.unhalved_from)
    }

    /// Makes the estimate of a key at least `count`.
    fn raise(&mut self, key: KeyBits, count: u64) {
        let at = key.index(self.blocks.len());
        let Some(block) = self.blocks.get_mut(at) else { return };
        while let (lower, least) = block.least(key.places())
            && lower < count
        {
            block.raise(least);
        }
    }

    /// An estimate of how often a key was counted.
    #[inline]
    pub(super) fn estimate(&self, key: KeyBits) -> u64 {
        let at = key.index(self.blocks.len());
        let Some(block) = self.blocks.get(at) else { return 0 };
        block.least(key.places()).0 >> u32::from(at >= self.unhalved_from)
    }

    /// Halves a block, or begins to halve all of them.
    #[cold]
    fn age(&mut self) {
        if self.unhalved_from == usize::MAX {
            self.unhalved_from = 0;
            self.halvings = self.halvings.wrapping_add(1);
            self.increments /= 2;
            self.age_from = 0;
        }
        self.halve_next();
    }

    fn halve_next(&mut self) {
        if let Some(block) = self.blocks.get_mut(self.unhalved_from) {
            block.halve();
        }
        self.unhalved_from += 1;
        if self.unhalved_from >= self.blocks.len() {
            self.unhalved_from = usize::MAX;
            self.age_from = self.sample;
        }
    }

    /// All counters.
    #[inline]
    pub(super) fn blocks(&self) -> &[impl Sized + use<>] {
        &self.blocks
    }

    /// Prefetches the block of a key.
    #[inline]
    pub(super) fn prefetch(&self, key: KeyBits) {
        let block = self.blocks.as_ptr().wrapping_add(key.index(self.blocks.len()));
        crate::base::prefetch::prefetch_for_write(block);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(key: u64) -> KeyBits {
        KeyBits::of((key + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29))
    }

    #[test]
    fn estimates_are_never_too_low_and_seldom_too_high() {
        let mut sketch = Sketch::new(Some(1_000));
        sketch.grow(1_000, std::iter::empty());
        for key in 0..500 {
            for _ in 0..key % 12 {
                sketch.count(hash(key));
            }
        }
        let mut too_high = 0;
        for key in 0..500 {
            let estimate = sketch.estimate(hash(key));
            assert!(estimate >= key % 12, "key {key}: {estimate}");
            too_high += u32::from(estimate > key % 12);
        }
        assert!(too_high < 25, "{too_high} of 500");
    }

    #[test]
    fn counters_saturate_and_halve() {
        let mut sketch = Sketch::new(Some(8));
        sketch.grow(1, std::iter::empty());
        for step in 0..100 {
            assert_eq!(sketch.count(hash(1)), MAX_COUNT.min(step + 1));
        }
        assert_eq!(sketch.estimate(hash(1)), MAX_COUNT);
        // A saturated counter is not incremented. 160 increments would halve the counters.
        assert_eq!(sketch.increments, MAX_COUNT);
        sketch.age();
        assert_eq!(sketch.estimate(hash(1)), MAX_COUNT / 2);
        assert_eq!(sketch.increments, MAX_COUNT / 2);
    }

    #[test]
    fn ages_after_twenty_increments_an_entry() {
        let mut sketch = Sketch::new(Some(1_000));
        sketch.grow(1_000, std::iter::empty());
        for step in 0..20_000 {
            assert_eq!(sketch.halvings(), 0, "{step}");
            sketch.count(hash(step));
        }
        assert_eq!(sketch.increments, 20_000);
        sketch.count(hash(1 << 40));
        assert_eq!((sketch.increments, sketch.halvings()), (10_001, 1));
    }

    #[test]
    fn all_estimates_are_halved_at_once_though_the_counters_are_not() {
        let mut sketch = Sketch::new(Some(1_000));
        sketch.grow(1_000, std::iter::empty());
        for key in 0..300 {
            for _ in 0..key % 12 {
                sketch.count(hash(key));
            }
        }
        let estimates = |sketch: &Sketch| -> Vec<u64> {
            (0..300).map(|key| sketch.estimate(hash(key))).collect()
        };
        let halved: Vec<u64> = estimates(&sketch).iter().map(|estimate| estimate / 2).collect();
        let mut steps = 0;
        loop {
            sketch.age();
            steps += 1;
            assert_eq!(estimates(&sketch), halved, "after {steps} blocks");
            if sketch.unhalved_from == usize::MAX {
                break;
            }
        }
        assert_eq!(steps, sketch.blocks.len());
    }

    #[test]
    fn a_resized_sketch_ages_by_its_new_capacity() {
        let mut sketch = Sketch::new(Some(100));
        sketch.grow(100, std::iter::empty());
        sketch.resize(1_000);
        assert_eq!(sketch.age_from, 20_000);
        sketch.age();
        sketch.resize(10);
        while sketch.unhalved_from != usize::MAX {
            assert_eq!(sketch.age_from, 0, "some blocks are not halved yet");
            sketch.age();
        }
        assert_eq!(sketch.age_from, 200);
    }

    #[test]
    fn growing_loses_no_count() {
        let mut sketch = Sketch::new(None);
        sketch.grow(1, std::iter::empty());
        for (entries, blocks) in [(1, 1), (5, 2), (100, 32), (2_500, 1_024)] {
            sketch.grow(entries, std::iter::empty());
            assert_eq!(sketch.blocks.len(), blocks, "four entries a block");
            assert_eq!(sketch.sized_for(), 4 * blocks);
            sketch.count(hash(7));
        }
        assert!(sketch.estimate(hash(7)) >= 4);
    }

    #[test]
    fn a_sketch_of_known_capacity_is_hardly_larger_than_it_needs_to_be() {
        for capacity in [1, 4, 5, 1_000, 10_000, 1_000_000, 1_100_000] {
            let mut sketch = Sketch::new(Some(capacity));
            for entries in [1, capacity / 7, capacity / 2, capacity] {
                sketch.grow(usize::try_from(entries).unwrap(), std::iter::empty());
            }
            let needed = usize::try_from(capacity.div_ceil(4)).unwrap();
            assert!((needed..=needed + needed / 16).contains(&sketch.blocks.len()), "{capacity}");
            assert_eq!(sketch.sized_for(), usize::MAX);
        }
    }
}
