//! A bounded, lossy record of accesses, for policies that need their order.
//!
//! A stripe is a ring of words that its threads fill and the partition's maintenance empties.
//! Recording is a plain store: it needs no read-modify-write and waits for nothing. Two threads
//! that share a stripe may overwrite each other's record, and a full stripe takes none. Both lose
//! an access, which a policy tolerates. A single thread with a stripe of its own loses only records
//! that were refused (`Offer::Full`), and the others come out in the order in which they went in.
//!
//! ```text
//!   slot:  63          32 31           0
//!          |  hash 47..16 | node id + 1 |     0: empty
//! ```
//!
//! The part of the hash identifies a record whose entry has left and whose node id another entry has
//! taken over.
//!
//! A stripe takes no memory before something is recorded in it.
//!
//! # Orderings
//! All of a stripe are relaxed: a record is one word, and it leads only to the partition's own node map,
//! which is under the partition's lock. A stripe itself is published by its [`LazyBox`].
#![forbid(unsafe_code)]

use crossbeam_utils::CachePadded;

use crate::base::hash::KeyHash;
use crate::base::lazy_box::LazyBox;
use crate::base::node_id::NodeId;
use crate::base::sync::{AtomicU64, AtomicUsize, Ordering};

#[cfg(not(larder_loom))]
const SLOTS: usize = 64;
#[cfg(larder_loom)]
const SLOTS: usize = 2;

/// A bounded, lossy ring of non-zero words in stripes, of which a [`ReadBuffer`] is made.
pub(crate) struct StripedRing<const SLOTS: usize> {
    stripes: Box<[LazyBox<CachePadded<RingStripe<SLOTS>>>]>,
}

/// What happened to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offer {
    Stored,
    /// Stored, which made half of the stripe full.
    HalfFull,
    Full,
}

/// The read buffer of one partition.
pub(crate) struct ReadBuffer(StripedRing<SLOTS>);

/// An access to a node, as a word that is not zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReadRecord(u64);

struct RingStripe<const SLOTS: usize> {
    /// The slot of the next record; wraps around.
    tail: AtomicUsize,
    /// The slot of the oldest record; only maintenance moves it.
    head: AtomicUsize,
    slots: [AtomicU64; SLOTS],
}

impl<const SLOTS: usize> StripedRing<SLOTS> {
    /// `stripes` must be a power of two.
    pub(crate) fn new(stripes: usize) -> Self {
        debug_assert!(stripes.is_power_of_two());
        let stripe = || LazyBox::new_unless_loom(RingStripe::new);
        Self { stripes: std::iter::repeat_with(stripe).take(stripes).collect() }
    }

    /// Records a word for the thread with this number. Wait-free, apart from the allocation of a stripe.
    #[inline]
    pub(crate) fn offer(&self, thread: usize, word: u64) -> Offer {
        let stripe = self.stripe(thread);
        let Some(next) = stripe.append(word) else { return Offer::Full };
        let waiting = next.wrapping_sub(stripe.head.load(Ordering::Relaxed));
        if waiting == SLOTS / 2 { Offer::HalfFull } else { Offer::Stored }
    }

    #[inline]
    fn stripe(&self, thread: usize) -> &RingStripe<SLOTS> {
        self.stripes[thread & (self.stripes.len() - 1)].get_or_make(RingStripe::new)
    }

    /// The number of bytes that the stripes take.
    pub(crate) fn bytes(&self) -> usize {
        let used = self.stripes.iter().filter_map(LazyBox::get);
        size_of_val(&*self.stripes) + used.map(size_of_val).sum::<usize>()
    }

    /// Takes every word out, the oldest of each stripe first. Only one caller may do so at a time.
    /// Words that racing offers have left in a stripe that looks empty come out with that stripe's
    /// next word.
    pub(crate) fn drain(&self, mut accept: impl FnMut(u64)) {
        for stripe in self.stripes.iter().filter_map(LazyBox::get) {
            stripe.take_all(&mut accept);
        }
    }

    /// Whether a stripe has a word that would come out first. It may miss words that racing offers have left
    /// behind a gap.
    #[inline]
    fn has_some(&self) -> bool {
        let has_first = |stripe: &CachePadded<RingStripe<SLOTS>>| {
            let head = stripe.head.load(Ordering::Relaxed);
            stripe.slots[head % SLOTS].load(Ordering::Relaxed) != 0
        };
        self.stripes.iter().filter_map(LazyBox::get).any(has_first)
    }

    /// Takes up to `max` words out of each stripe, or all where racing offers have left a gap.
    #[inline]
    pub(crate) fn drain_some(&self, max: usize, mut accept: impl FnMut(u64)) {
        for stripe in self.stripes.iter().filter_map(LazyBox::get) {
            stripe.take_some(max, &mut accept);
        }
    }
}

impl<const SLOTS: usize> RingStripe<SLOTS> {
    /// Takes out up to `max` words, the oldest first. Only one caller may do so at a time.
    #[inline]
    fn take_some(&self, max: usize, accept: &mut impl FnMut(u64)) {
        let mut head = self.head.load(Ordering::Relaxed);
        for _ in 0..max {
            let slot = &self.slots[head % SLOTS];
            let word = slot.load(Ordering::Relaxed);
            if word == 0 {
                if head != self.tail.load(Ordering::Relaxed) {
                    // Racing offers have left a gap, or one is about to fill it.
                    self.take_all(accept);
                }
                return;
            }
            slot.store(0, Ordering::Relaxed);
            accept(word);
            head = head.wrapping_add(1);
            self.head.store(head, Ordering::Relaxed);
        }
    }

    fn take_all(&self, accept: &mut impl FnMut(u64)) {
        let tail = self.tail.load(Ordering::Relaxed);
        let head = self.head.load(Ordering::Relaxed);
        // A word in the slot of the next record would make all further offers fail.
        if tail == head && self.slots[tail % SLOTS].load(Ordering::Relaxed) == 0 {
            return;
        }
        // All slots rather than `head..tail`: racing offers may leave the tail behind a record,
        // which would then never come out.
        for at in 0..SLOTS {
            let slot = &self.slots[head.wrapping_add(at) % SLOTS];
            let word = slot.load(Ordering::Relaxed);
            if word != 0 {
                slot.store(0, Ordering::Relaxed);
                accept(word);
            }
        }
        self.head.store(tail, Ordering::Relaxed);
    }

    fn new() -> CachePadded<Self> {
        CachePadded::new(Self {
            tail: AtomicUsize::new(0),
            head: AtomicUsize::new(0),
            slots: std::array::from_fn(|_| AtomicU64::new(0)),
        })
    }

    /// Puts a word behind the others, and returns the new tail, unless the stripe is full.
    #[inline]
    fn append(&self, word: u64) -> Option<usize> {
        let tail = self.tail.load(Ordering::Relaxed);
        let slot = &self.slots[tail % SLOTS];
        if slot.load(Ordering::Relaxed) != 0 {
            return None;
        }
        slot.store(word, Ordering::Relaxed);
        let next = tail.wrapping_add(1);
        self.tail.store(next, Ordering::Relaxed);
        Some(next)
    }
}

impl ReadBuffer {
    /// `stripes` must be a power of two.
    pub(crate) fn new(stripes: usize) -> Self {
        Self(StripedRing::new(stripes))
    }

    /// Keeps a record of the thread with this number. False if the thread's stripe is full.
    /// Wait-free, apart from the allocation of a stripe.
    #[inline]
    pub(crate) fn offer(&self, thread: usize, record: ReadRecord) -> bool {
        self.0.stripe(thread).append(record.0).is_some()
    }

    /// Takes every record out, the oldest of each stripe first. Only one caller may do so at a time.
    #[inline]
    pub(crate) fn drain(&self, mut accept: impl FnMut(ReadRecord)) {
        self.0.drain(|word| accept(ReadRecord(word)));
    }

    /// Whether there are records. It may miss those that racing offers have left behind a gap.
    #[inline]
    pub(crate) fn has_some(&self) -> bool {
        self.0.has_some()
    }

    /// Takes up to `max` records out of each stripe, the oldest first. Only one caller may do so at a time.
    #[inline]
    pub(crate) fn drain_some(&self, max: usize, mut accept: impl FnMut(ReadRecord)) {
        self.0.drain_some(max, |word| accept(ReadRecord(word)));
    }
}

impl ReadRecord {
    /// An access to `node`, which the entry of that hash has.
    #[inline]
    pub(crate) fn new(node: NodeId, hash: KeyHash) -> Self {
        Self(u64::from(hash.tag()) << 32 | (u64::from(node.to_raw()) + 1))
    }

    #[inline]
    pub(crate) fn node(self) -> NodeId {
        #[expect(clippy::cast_possible_truncation, reason = "the lower half of the word")]
        let raw = self.0 as u32;
        NodeId::from_raw(raw - 1)
    }

    /// The [tag](KeyHash::tag) of the hash.
    #[inline]
    pub(crate) fn tag(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

#[cfg(all(test, not(larder_loom)))]
mod tests {
    use super::*;

    fn drained(buffer: &ReadBuffer) -> Vec<(u32, u32)> {
        let mut records = Vec::new();
        buffer.drain(|record| records.push((record.node().to_raw(), record.tag())));
        records
    }

    fn offer(buffer: &ReadBuffer, thread: usize, node: u32, hash: u64) -> bool {
        let record = ReadRecord::new(NodeId::from_raw(node), KeyHash::from_raw(hash));
        buffer.offer(thread, record)
    }

    #[test]
    fn records_of_one_thread_come_out_in_order_through_many_wraps() {
        let buffer = ReadBuffer::new(1);
        let mut next = 0;
        for round in 1..200 {
            let count = round % (SLOTS as u32) + 1;
            for _ in 0..count {
                assert!(offer(&buffer, 7, next, u64::from(next) << 16 | 0xffff));
                next += 1;
            }
            let expected: Vec<_> = (next - count..next).map(|node| (node, node)).collect();
            assert_eq!(drained(&buffer), expected);
        }
    }

    #[test]
    fn full_stripe_refuses_and_keeps_what_it_has() {
        let buffer = ReadBuffer::new(2);
        for node in 0..SLOTS as u32 {
            assert!(offer(&buffer, 1, node, 0));
        }
        assert!(!offer(&buffer, 1, 999, 0));
        assert!(offer(&buffer, 0, 5, 0), "another stripe");
        assert_eq!(drained(&buffer).len(), SLOTS + 1);
        assert!(offer(&buffer, 1, 999, 0));
    }

    #[test]
    fn half_full_is_reported_once_each_time_a_stripe_fills() {
        let ring: StripedRing<8> = StripedRing::new(1);
        assert_eq!(ring.bytes(), size_of::<usize>(), "nothing is recorded yet");
        for _ in 0..3 {
            let offers: Vec<_> = (1..=9).map(|word| ring.offer(0, word)).collect();
            assert!((64..1024).contains(&ring.bytes()), "{} bytes for 8 words", ring.bytes());
            for (at, offer) in offers.iter().enumerate() {
                let expected = match at {
                    3 => Offer::HalfFull,
                    8 => Offer::Full,
                    _ => Offer::Stored,
                };
                assert_eq!(*offer, expected, "word {at}");
            }
            let mut drained = Vec::new();
            ring.drain(|word| drained.push(word));
            assert_eq!(drained, [1, 2, 3, 4, 5, 6, 7, 8]);
        }
    }

    #[test]
    fn it_has_some_until_all_are_taken() {
        let buffer = ReadBuffer::new(2);
        assert!(!buffer.has_some());
        for thread in [0, 1] {
            assert!(offer(&buffer, thread, 5, 0) && buffer.has_some());
            assert!(offer(&buffer, thread, 6, 0));
            buffer.drain_some(1, |_| ());
            assert!(buffer.has_some());
            buffer.drain_some(1, |_| ());
            assert!(!buffer.has_some());
        }
    }

    #[test]
    fn highest_node_id_fits_a_record() {
        let highest = NodeId::from_raw(u32::MAX - 1);
        let record = ReadRecord::new(highest, KeyHash::from_raw((1 << 48) - 1));
        assert_eq!((record.node(), record.tag()), (highest, u32::MAX));
    }
}
