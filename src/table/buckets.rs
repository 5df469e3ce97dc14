//! The array of bucket heads: made for the first entry, grows by doubling, never moves.
//!
//! Segment 0 holds the first `n` buckets, segment `s` the buckets `n << (s - 1) .. n << s`, so
//! adding a segment doubles the array. The operating system commits a large segment page by page
//! (`memory::zeroed`), so it takes memory as its buckets are opened, not when it is added. Segment
//! 0 is therefore made for all entries that the cache may need, which spares lookups the directory
//! of segments; the buckets in use still grow from 16. If the number is unknown or very large,
//! segment 0 has 32 MiB.
//!
//! Before the first entry is inserted, there is no segment. The array then has one bucket, which is that
//! of all empty arrays of the process ([`with_nothing`]); nothing is ever linked there, since an insertion
//! adds segment 0 first ([`Buckets::prepare`]):
//!
//! | `root` | `first` | `mask` | state |
//! |---|---|---|---|
//! | null | the empty bucket | 0 | nothing was inserted |
//! | set | either | 0 | threads are adding segment 0: each that comes by takes the same steps from `root` on |
//! | set | segment 0 | at least `INITIAL_BITS` ones | from then on |
//!
//! # Orderings
//! - `root`: set by a compare-and-swap with acquire-release, and read with acquire by the other threads that
//!   add segment 0. It publishes the zeroed heads to them.
//! - `first`: stored with release once `root` is set, and loaded with acquire by each lookup, which may have
//!   read a mask of 0 and so has acquired nothing by that. Model: `table::the_first_entry_is_found_whole`.
//! - `mask`: raised with acquire-release, loaded with acquire.

use std::alloc::{self, Layout};
use std::ptr::{self, NonNull};

use crate::base::link::{Link, LinkWord};
use crate::base::sync::{AtomicPtr, AtomicU32, AtomicUsize, Ordering};
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

/// The alignment of segment 0, which leaves low bits free for its exponent.
const ROOT_ALIGN: usize = 64;

const _: () =
    assert!((MAX_FIRST_BITS as usize) < ROOT_ALIGN && (INITIAL_BITS as usize) < ROOT_ALIGN);

pub(super) struct Buckets {
    /// Number of buckets in use minus one; a power of two minus one.
    mask: AtomicUsize,
    /// The start of segment 0, or the one bucket of an empty array.
    first: AtomicPtr<Link>,
    /// The number of buckets at `first`, and of segment 0 its exponent as a power of two.
    first_len: AtomicUsize,
    first_bits: AtomicU32,
    /// Each segment's start, moved back by the index of its first bucket: bucket `i` of segment
    /// `s` is `segments[s] + i`.
    segments: [AtomicPtr<Link>; SEGMENTS],
    /// The start of segment 0 with its exponent in the low bits, which its alignment leaves free; null
    /// while there is no segment. All that follows from it is stored by each thread that needs it.
    root: AtomicPtr<Link>,
}

impl Buckets {
    /// An array in which `expected` buckets lie in segment 0, if there is memory for them.
    pub(super) fn new(expected: usize) -> Self {
        let first_bits = expected
            .checked_next_power_of_two()
            .map(usize::trailing_zeros)
            .filter(|bits| *bits <= MAX_FIRST_BITS)
            .unwrap_or(USUAL_FIRST_BITS)
            .max(INITIAL_BITS);
        Self {
            mask: AtomicUsize::new(0),
            first: AtomicPtr::new(with_nothing(|link| ptr::from_ref(link).cast_mut())),
            first_len: AtomicUsize::new(1),
            first_bits: AtomicU32::new(first_bits),
            segments: std::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())),
            root: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// Adds segment 0 unless it is there. Required before anything is linked. Lock-free.
    #[inline]
    pub(super) fn prepare(&self) {
        if self.mask() == 0 {
            self.add_first();
        }
    }

    #[cold]
    fn add_first(&self) {
        // Acquire: pairs with the compare-and-swap below, in another thread.
        let mut root = self.root.load(Ordering::Acquire);
        if root.is_null() {
            // Relaxed: another thread stores it only together with `root`, and then its own number counts.
            let mut bits = self.first_bits.load(Ordering::Relaxed);
            let start = loop {
                match allocate(bits, 0) {
                    Some(start) => break start,
                    // A smaller segment works too: the other buckets are found by the directory.
                    None if bits > INITIAL_BITS => bits -= 1,
                    None => alloc::handle_alloc_error(layout(bits, 0)),
                }
            };
            // SAFETY: bucket 0 of the segment that was just allocated.
            unsafe { &*start }.set(LinkWord::end());
            let made = start.map_addr(|address| address | bits as usize);
            // AcqRel: publishes the heads; pairs with the acquire above, and with itself if another thread
            // was first.
            let added = self.root.compare_exchange(
                ptr::null_mut(),
                made,
                Ordering::AcqRel,
                Ordering::Acquire,
            );
            root = match added {
                Ok(_) => made,
                Err(other) => {
                    free(bits, 0, start);
                    other
                }
            };
        }
        let (start, bits) = parts_of_root(root);
        // Relaxed: published by `mask`. Other threads store the same, perhaps later.
        self.first_bits.store(bits, Ordering::Relaxed);
        self.first_len.store(1 << bits, Ordering::Relaxed);
        self.segments[0].store(start, Ordering::Relaxed);
        // Release: publishes the heads to a thread that has read a mask of 0; pairs with `first_start`.
        self.first.store(start, Ordering::Release);
        let initial = (1 << INITIAL_BITS) - 1;
        // AcqRel: publishes the rest; pairs with the acquire in `mask`. A failure means that another thread
        // has raised it.
        let _ = self.mask.compare_exchange(0, initial, Ordering::AcqRel, Ordering::Relaxed);
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
        // Relaxed: with an index above 0, the caller's `mask` has acquired the length of segment 0. Index 0
        // is below both lengths.
        if index < self.first_len.load(Ordering::Relaxed) {
            // SAFETY: `first_start` has a bucket of this index.
            return unsafe { &*self.first_start().wrapping_add(index) };
        }
        self.later_head(index)
    }

    /// The word of that head.
    #[inline(always)]
    pub(super) fn word(&self, index: usize) -> LinkWord {
        // Relaxed: as in `head`.
        if index < self.first_len.load(Ordering::Relaxed) {
            // SAFETY: as in `head`.
            return unsafe { &*self.first_start().wrapping_add(index) }.load();
        }
        self.later_head(index).load()
    }

    /// Where the buckets of segment 0 are, or the one bucket of an empty array. A bucket whose index is below
    /// `first_len`, and not above a mask that the caller has read before, is there:
    /// 1. Segment 0 has all of these, and lives as long as `self`.
    /// 2. The bucket of empty arrays lives as long as the process. If it is returned, the mask was 0, and so
    ///    is the index: a greater mask is raised after `first` is stored, and the caller has acquired it.
    #[inline(always)]
    fn first_start(&self) -> *const Link {
        // Acquire: pairs with the release in `add_first`.
        self.first.load(Ordering::Acquire)
    }

    /// The same as `head`, for a bucket outside of segment 0.
    #[cold]
    fn later_head(&self, index: usize) -> &Link {
        let segment = segment_of(self.first_bits(), index);
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
        debug_assert_ne!(mask, 0, "segment 0 is there");
        if mask.count_ones() >= MAX_BITS {
            return;
        }
        let first_bits = self.first_bits();
        let segment = segment_of(first_bits, mask + 1);
        // Acquire: as in `mask`; another thread may have stored the segment that the rest uses.
        if self.segments[segment].load(Ordering::Acquire).is_null() {
            let Some(start) = allocate(first_bits, segment) else {
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
                free(first_bits, segment, start);
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

    /// The exponent of segment 0, which the caller's `mask` has acquired.
    fn first_bits(&self) -> u32 {
        self.first_bits.load(Ordering::Relaxed)
    }

    fn first_index(&self, segment: usize) -> usize {
        first_index(self.first_bits(), segment)
    }
}

impl Drop for Buckets {
    fn drop(&mut self) {
        let first_bits = self.first_bits();
        for (segment, start) in self.segments.iter().enumerate() {
            // Relaxed: every use of the array happens before `&mut self`.
            let start = start.load(Ordering::Relaxed);
            if !start.is_null() {
                free(first_bits, segment, start);
            }
        }
    }
}

/// The start of segment 0 and its exponent.
fn parts_of_root(root: *mut Link) -> (*mut Link, u32) {
    #[expect(clippy::cast_possible_truncation, reason = "less than `ROOT_ALIGN`")]
    let bits = (root.addr() % ROOT_ALIGN) as u32;
    (root.map_addr(|address| address - address % ROOT_ALIGN), bits)
}

/// Calls `with` on the bucket of all empty arrays, to which nothing is ever linked.
fn with_nothing<R>(with: impl FnOnce(&'static Link) -> R) -> R {
    #[cfg(not(larder_loom))]
    {
        static NOTHING: Link = Link::end();
        with(&NOTHING)
    }
    #[cfg(larder_loom)]
    {
        // An atomic of loom belongs to one run of a model.
        loom::lazy_static! {
            static ref NOTHING: Link = Link::end();
        }
        with(&NOTHING)
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
        .and_then(|layout| layout.align_to(if segment == 0 { ROOT_ALIGN } else { 1 }))
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
            assert_eq!(buckets.mask(), 0, "an empty array has one bucket");
            assert!(buckets.word(0) == LinkWord::end());
            buckets.prepare();
            assert_eq!(buckets.mask() + 1, 1 << INITIAL_BITS);
            assert!(buckets.word(0) == LinkWord::end());
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
