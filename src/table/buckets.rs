//! The array of bucket heads: grows by doubling, never moves.
//!
//! Segment 0 holds the first `n` buckets, segment `s` the buckets `n << (s - 1) .. n << s`, so
//! adding a segment doubles the array. The operating system commits a large segment page by page
//! (`memory::zeroed`), so it takes memory as its buckets are opened, not when it is added. Segment
//! 0 is therefore made for all entries that the cache may need, which spares lookups the directory
//! of segments; the buckets in use still grow from 16. If the number is unknown or very large,
//! segment 0 has 32 MiB.

use std::alloc::{self, Layout};
use std::ptr::{self, NonNull};

use crate::base::link::{Link, LinkWord};
use crate::base::sync::{AtomicPtr, AtomicUsize, Ordering};
use crate::memory::{self, zeroed};

/// The number of buckets in use at first, as a power of two.
#[cfg(not(larder_loom))]
const INITIAL_BITS: u32 = 4;
#[cfg(larder_loom)]
const INITIAL_BITS: u32 = 1;
/// The size of the first segment if the number of buckets needed is unknown, or above
/// `MAX_FIRST_BITS`.
const USUAL_FIRST_BITS: u32 = 22;
/// The size of the largest first segment: half a gigabyte of addresses, for up to 2^25 entries.
#[cfg(target_pointer_width = "64")]
const MAX_FIRST_BITS: u32 = 26;
#[cfg(not(target_pointer_width = "64"))]
const MAX_FIRST_BITS: u32 = USUAL_FIRST_BITS;

/// At most 2^32 buckets: the low half of a hash.
#[cfg(target_pointer_width = "64")]
const MAX_BITS: u32 = 32;
#[cfg(not(target_pointer_width = "64"))]
const MAX_BITS: u32 = 26;
const SEGMENTS: usize = (MAX_BITS - INITIAL_BITS) as usize + 1;

// The last one ends with the last bucket.
const _: () = assert!((1_u64 << INITIAL_BITS) << (SEGMENTS - 1) == 1 << MAX_BITS);

pub(super) struct Buckets {
    /// Number of buckets in use minus one; a power of two minus one.
    mask: AtomicUsize,
    /// The start of segment 0.
    first: *mut Link,
    /// The number of buckets of segment 0, and its exponent as a power of two.
    first_len: usize,
    first_bits: u32,
    /// Each segment's start, moved back by the index of its first bucket: bucket `i` of segment
    /// `s` is `segments[s] + i`.
    segments: [AtomicPtr<Link>; SEGMENTS],
}

// SAFETY: `first` points to atomics that `self` owns.
unsafe impl Send for Buckets {}
// SAFETY: as above.
unsafe impl Sync for Buckets {}

impl Buckets {
    /// An array in which `expected` buckets lie in segment 0, if there is memory for them.
    pub(super) fn new(expected: usize) -> Self {
        let mut first_bits = expected
            .checked_next_power_of_two()
            .map(usize::trailing_zeros)
            .filter(|bits| *bits <= MAX_FIRST_BITS)
            .unwrap_or(USUAL_FIRST_BITS)
            .max(INITIAL_BITS);
        let first = loop {
            match allocate(first_bits, 0) {
                Some(first) => break first,
                // A smaller segment works too: the other buckets are found by the directory.
                None if first_bits > INITIAL_BITS => first_bits -= 1,
                None => alloc::handle_alloc_error(layout(first_bits, 0)),
            }
        };
        let segments: [_; SEGMENTS] = std::array::from_fn(|_| AtomicPtr::new(ptr::null_mut()));
        // Relaxed: nothing is shared yet.
        segments[0].store(first, Ordering::Relaxed);
        Self {
            mask: AtomicUsize::new((1 << INITIAL_BITS) - 1),
            first,
            first_len: 1 << first_bits,
            first_bits,
            segments,
        }
    }

    /// Number of buckets minus one.
    #[inline]
    pub(super) fn mask(&self) -> usize {
        // Acquire: makes the new segment's pointer visible; pairs with the release in `double`.
        self.mask.load(Ordering::Acquire)
    }

    /// The head of bucket `index`, which must not be above a mask read before.
    #[inline]
    pub(super) fn head(&self, index: usize) -> &Link {
        if index < self.first_len {
            // SAFETY: segment 0 has a bucket of this index, and lives as long as `self`.
            return unsafe { &*self.first.wrapping_add(index) };
        }
        self.later_head(index)
    }

    /// The word of that head.
    #[inline(always)]
    pub(super) fn word(&self, index: usize) -> LinkWord {
        if index < self.first_len {
            // SAFETY: as in `head`.
            return unsafe { &*self.first.wrapping_add(index) }.load();
        }
        self.later_head(index).load()
    }

    /// The same as `head`, for a bucket outside of segment 0.
    #[cold]
    fn later_head(&self, index: usize) -> &Link {
        let segment = segment_of(self.first_bits, index);
        // Relaxed: the caller's `mask` acquired the store that preceded the raising of the mask.
        let start = self.segments[segment].load(Ordering::Relaxed);
        // SAFETY:
        // 1. `index` is at most a mask read before, so its segment was stored before (`double`).
        // 2. The sum lies within that segment, which lives as long as `self`.
        unsafe { &*start.wrapping_add(index) }
    }

    /// The index of a bucket head of this array.
    #[inline]
    pub(super) fn index_of(&self, head: *const Link) -> usize {
        for (segment, start) in self.segments.iter().enumerate().rev() {
            // Relaxed: the thread that linked `head` had acquired its segment, and the caller
            // acquired the link to it.
            let start = start.load(Ordering::Relaxed);
            if start.is_null() {
                continue;
            }
            let index = head.addr().wrapping_sub(start.addr()) / size_of::<Link>();
            let (from, to) = (self.first_index(segment), self.first_index(segment + 1));
            if (from..to).contains(&index) {
                return index;
            }
        }
        unreachable!("a linked head lies in a segment that was added before it was claimed")
    }

    /// Doubles the array, unless another thread has done so since `mask` was read, the array is at
    /// its largest, or memory is short. With fewer buckets, lookups are slower but still correct.
    pub(super) fn double(&self, mask: usize) {
        if mask.count_ones() >= MAX_BITS {
            return;
        }
        let segment = segment_of(self.first_bits, mask + 1);
        // Acquire: as in `mask`; another thread may have stored the segment that the rest uses.
        if self.segments[segment].load(Ordering::Acquire).is_null() {
            let Some(start) = allocate(self.first_bits, segment) else {
                return;
            };
            // Release: publishes the zeroed heads; pairs with the acquire of `mask`, which the
            // first thread to get there raises below.
            let added = self.segments[segment].compare_exchange(
                ptr::null_mut(),
                start,
                Ordering::AcqRel,
                Ordering::Acquire,
            );
            if added.is_err() {
                free(self.first_bits, segment, start);
            }
        }
        // This covers the buckets in use too, whose pages may still become huge pages later.
        let from = self.first_index(segment);
        let start = self.head_pointer(segment, from);
        let bytes = (mask * 2 + 2 - from) * size_of::<Link>();
        memory::advise_huge_pages(start.cast_mut().cast(), bytes);
        // AcqRel: publishes the segment to `mask`. A failure means that another thread raised it.
        let _ = self.mask.compare_exchange(mask, mask * 2 + 1, Ordering::AcqRel, Ordering::Relaxed);
    }

    /// The address of bucket `index` of `segment`, which must have been added.
    fn head_pointer(&self, segment: usize, index: usize) -> *const Link {
        // Relaxed: the caller has acquired or stored it.
        self.segments[segment].load(Ordering::Relaxed).wrapping_add(index)
    }

    fn first_index(&self, segment: usize) -> usize {
        first_index(self.first_bits, segment)
    }
}

impl Drop for Buckets {
    fn drop(&mut self) {
        for (segment, start) in self.segments.iter().enumerate() {
            // Relaxed: every use of the array happens before `&mut self`.
            let start = start.load(Ordering::Relaxed);
            if !start.is_null() {
                free(self.first_bits, segment, start);
            }
        }
    }
}

fn segment_of(first_bits: u32, index: usize) -> usize {
    (usize::BITS - (index >> first_bits).leading_zeros()) as usize
}

/// The first bucket of `segment`, which is also the number of buckets before it.
fn first_index(first_bits: u32, segment: usize) -> usize {
    if segment == 0 { 0 } else { 1 << (first_bits as usize + segment - 1) }
}

fn len(first_bits: u32, segment: usize) -> usize {
    first_index(first_bits, segment + 1) - first_index(first_bits, segment)
}

fn layout(first_bits: u32, segment: usize) -> Layout {
    Layout::array::<Link>(len(first_bits, segment))
        .expect("at most 2^31 words of 8 bytes fit an isize")
}

/// The biased start of a new segment, with every head unclaimed; `None` if memory is short.
fn allocate(first_bits: u32, segment: usize) -> Option<*mut Link> {
    let start = zeroed::allocate(layout(first_bits, segment))?.cast::<Link>().as_ptr();
    #[cfg(larder_loom)]
    for index in 0..len(first_bits, segment) {
        // SAFETY: within the allocation above. A loom atomic has more state than its bytes, so
        // zeroed memory is not a valid one.
        unsafe { start.wrapping_add(index).write(Link::unclaimed()) };
    }
    Some(start.wrapping_sub(first_index(first_bits, segment)))
}

fn free(first_bits: u32, segment: usize, biased: *mut Link) {
    let start = biased.wrapping_add(first_index(first_bits, segment));
    let start = NonNull::new(start.cast()).expect("it was allocated");
    // SAFETY: `allocate` gave it out for this segment, and the caller drops the only pointer.
    unsafe { zeroed::free(layout(first_bits, segment), start) };
}

#[cfg(all(test, not(larder_loom)))]
mod tests {
    use super::*;

    #[test]
    fn segments_tile_the_index_space() {
        for first_bits in [INITIAL_BITS, 10, MAX_FIRST_BITS] {
            let mut next = 0;
            for segment in 0..=(MAX_BITS - first_bits) as usize {
                assert_eq!(first_index(first_bits, segment), next);
                assert_eq!(segment_of(first_bits, next), segment);
                assert_eq!(next + len(first_bits, segment), first_index(first_bits, segment + 1));
                next = first_index(first_bits, segment + 1);
                assert_eq!(segment_of(first_bits, next - 1), segment);
            }
            assert_eq!(next, 1 << MAX_BITS);
        }
    }

    #[test]
    fn every_head_knows_its_index_while_the_array_doubles() {
        for expected in [0, 256, 1 << 14] {
            let buckets = Buckets::new(expected);
            assert_eq!(buckets.mask() + 1, 1 << INITIAL_BITS);
            while buckets.mask() < 4095 {
                buckets.double(buckets.mask());
                let mask = buckets.mask();
                for index in 0..=mask {
                    assert_eq!(buckets.index_of(buckets.head(index)), index);
                }
            }
        }
    }
}
