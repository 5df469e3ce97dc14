//! Walks over the whole list: for iteration, and for the end of the table.

use std::ptr::NonNull;

use super::{Link, SplitList, entry_of, precedes};
#[cfg(not(larder_loom))]
use super::{LinkWord, bucket};
use crate::base::hash::KeyHash;
#[cfg(not(larder_loom))]
use crate::base::prefetch::prefetch_for_read;
use crate::entry::Header;

/// How many buckets ahead of a walk heads are prefetched, their first entries are prefetched, and
/// those entries are previewed. Most buckets hold at most one entry, and in split order both heads
/// and entries are scattered over memory.
#[cfg(not(larder_loom))]
const HEADS_AHEAD: u64 = 64;
#[cfg(not(larder_loom))]
const ENTRIES_AHEAD: u64 = 32;
#[cfg(not(larder_loom))]
const PREVIEWS_AHEAD: u64 = 16;

/// Prefetches the heads and entries that a walk is about to meet. Without it, the walk would wait
/// for each of them in turn.
#[cfg(not(larder_loom))]
struct Lookahead<'l> {
    list: &'l SplitList,
    mask: usize,
    /// The first positions in split order at which the head is not prefetched yet, the entry is not
    /// prefetched yet, and the entry is not previewed yet.
    heads: u64,
    entries: u64,
    previews: u64,
}

#[cfg(not(larder_loom))]
impl<'l> Lookahead<'l> {
    fn new(list: &'l SplitList) -> Self {
        Self { list, mask: list.buckets.mask(), heads: 0, entries: 0, previews: 0 }
    }

    /// The position of a bucket in split order, or the bucket at a position. A walk that has met an entry
    /// has acquired its insertion, before which there were several buckets already, and reads the mask after
    /// that; so the shift is less than the width.
    fn reversed(&self, index: u64) -> u64 {
        index.reverse_bits() >> (self.mask as u64).leading_zeros()
    }

    /// The first entry of the bucket at that position, if there is one.
    #[inline]
    fn first(&self, position: u64) -> Option<LinkWord> {
        let word = self.list.buckets.head(bucket(self.reversed(position), self.mask)).load();
        (word.is_usable() && !word.is_head()).then_some(word)
    }

    /// Prefetches ahead of a walk that is at an entry of this hash. Calls `preview`, if there is
    /// one, for entries that the walk reaches soon, deleted or not.
    ///
    /// # Safety
    /// The same as for [`SplitList::walk`].
    #[inline]
    unsafe fn at(&mut self, hash: KeyHash, preview: Option<&mut impl FnMut(NonNull<Header>)>) {
        let position = self.reversed(hash.bucket(self.mask) as u64);
        let end = self.mask as u64 + 1;
        self.heads = self.heads.max(position);
        while self.heads < end.min(position + HEADS_AHEAD) {
            let index = bucket(self.reversed(self.heads), self.mask);
            prefetch_for_read(self.list.buckets.head(index));
            self.heads += 1;
        }
        self.entries = self.entries.max(position);
        while self.entries < end.min(position + ENTRIES_AHEAD) {
            if let Some(word) = self.first(self.entries) {
                // Most entries are longer than a cache line, or lie across two.
                let entry = word.pointer().cast::<u8>().cast_const();
                prefetch_for_read(entry);
                prefetch_for_read(entry.wrapping_add(64));
            }
            self.entries += 1;
        }
        let Some(preview) = preview else { return };
        self.previews = self.previews.max(position + 1);
        while self.previews < end.min(position + PREVIEWS_AHEAD) {
            if let Some(word) = self.first(self.previews) {
                // SAFETY: an entry, which is allocated by the caller's promise.
                preview(unsafe { entry_of(word) });
            }
            self.previews += 1;
        }
    }
}

impl SplitList {
    /// Calls `visit` for live entries in split order, from the first one behind the hash `after`
    /// on. Stops once `budget` entries were passed and the run of equal hashes is over. Returns the
    /// hash after which to continue, or `None` at the end of the list. Calls `preview`, if there is
    /// one, for most entries some time before, so that the memory they refer to can be prefetched.
    pub(in crate::table) unsafe fn walk(
        &self,
        after: Option<KeyHash>,
        budget: usize,
        #[cfg_attr(larder_loom, expect(unused))] mut preview: Option<impl FnMut(NonNull<Header>)>,
        mut visit: impl FnMut(NonNull<Header>),
    ) -> Option<KeyHash> {
        let start = after.map_or(0, |hash| hash.bucket(self.buckets.mask()));
        // SAFETY: passed on.
        let mut word = unsafe { self.start(start) }.load();
        let mut passed = 0;
        let mut last = after;
        // After the first word was read (see `reversed`).
        #[cfg(not(larder_loom))]
        let mut ahead = Lookahead::new(self);
        loop {
            if word.is_head() {
                let head = NonNull::new(word.pointer().cast::<Link>())?;
                // SAFETY: heads live as long as the list.
                word = unsafe { head.as_ref() }.load();
                continue;
            }
            // SAFETY: not a head, so an entry, allocated by the caller's promise.
            let entry = unsafe { entry_of(word) };
            // SAFETY: as above.
            let header = unsafe { entry.as_ref() };
            if passed >= budget && last != Some(header.hash()) {
                return last;
            }
            // One load decides both whether the entry is live and where the walk goes on, so that
            // of an entry and its replacement exactly one is visited.
            let next = header.next.load();
            #[cfg(not(larder_loom))]
            // SAFETY: passed on.
            unsafe {
                ahead.at(header.hash(), preview.as_mut());
            }
            let is_behind = after.is_none_or(|after| precedes(after.raw(), header.hash().raw()));
            if is_behind {
                passed += 1;
                last = Some(header.hash());
                if !next.is_deleted() {
                    visit(entry);
                }
            }
            word = next;
        }
    }

    /// Whether a walk from the start meets `entry`, deleted or not.
    #[cfg(larder_loom)]
    pub(in crate::table) unsafe fn reaches(&self, entry: NonNull<Header>) -> bool {
        let mut word = self.buckets.head(0).load();
        loop {
            if word.is_head() {
                let Some(head) = NonNull::new(word.pointer().cast::<Link>()) else {
                    return false;
                };
                // SAFETY: heads live as long as the list.
                word = unsafe { head.as_ref() }.load();
                continue;
            }
            // SAFETY: not a head, so an entry, allocated by the caller's promise.
            let met = unsafe { entry_of(word) };
            if met == entry {
                return true;
            }
            // SAFETY: as above.
            word = unsafe { met.as_ref() }.next.load();
        }
    }

    /// Calls `take` for every live entry, which may free it: its link is read before.
    ///
    /// # Safety
    /// No other thread uses the list, now or later.
    pub(in crate::table) unsafe fn drain(&self, mut take: impl FnMut(NonNull<Header>)) {
        let mut word = self.buckets.head(0).load();
        loop {
            if word.is_head() {
                let Some(head) = NonNull::new(word.pointer().cast::<Link>()) else { return };
                // SAFETY: heads live as long as the list.
                word = unsafe { head.as_ref() }.load();
                continue;
            }
            // SAFETY: not a head, so an entry; no entry behind this point has been taken yet.
            let entry = unsafe { entry_of(word) };
            // SAFETY: as above.
            word = unsafe { entry.as_ref() }.next.load();
            debug_assert!(!word.is_deleted(), "every removal has ended and unlinked its entry");
            take(entry);
        }
    }
}
