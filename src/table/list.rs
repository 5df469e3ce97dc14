//! The lock-free list in split order, and the bucket heads that are shortcuts into it.
//!
//! Split order sorts by the bits of the hash read from the lowest up. So the entries of bucket `b`
//! of `n` are one run of the list, and doubling `n` cuts each run in two without moving an entry.
//! Bucket head `b` stands right before the first entry whose hash does not precede `b`. The design
//! is Shalev and Shavit's ("Split-Ordered Lists: Lock-Free Extensible Hash Tables", J. ACM 53(3),
//! 2006) over Michael's list ("High Performance Dynamic Lock-Free Hash Tables and List-Based Sets",
//! SPAA 2002). It differs in two ways: the bucket word itself is the dummy node, which saves a
//! dependent cache miss on each lookup; and a head is added as follows:
//!
//! | word of the head | meaning | next state, by which thread |
//! |---|---|---|
//! | unclaimed (zero) | walks start from an ancestor | claimed: by one thread, with a CAS |
//! | pending | claimed by one thread, and linked or about to be | open; set by the claimer after linking, or by any thread that reaches the head through the list |
//! | open | linked; walks start here | none |
//!
//! The ancestor of a head is the bucket of its index without the highest set bit; bucket 0 is open
//! from the start. Before the first insertion it is the only one, and belongs to no list (`buckets`). No thread waits
//! for the claimer of a head: while the head is pending, walks start from the nearest open ancestor, which is slower
//! but equally correct.
//!
//! # Linearization
//! - hit: the load of the entry's `next`, if it lacks the deleted tag.
//! - miss: the load of the link that ends the walk.
//! - insert: the successful CAS of the predecessor's link at the end of the run of equal hashes.
//! - replace: the successful CAS of the old entry's `next`.
//! - remove: the successful CAS of the entry's `next`.
//!
//! Two inserts of one key compete for the same word, and an insert behind a removed entry fails
//! because of its deleted tag, so a key stands in the list at most once.
//!
//! # Orderings
//! All are in [`Link`]: links are read with acquire and changed with acquire-release, so a thread
//! that reaches an entry or a head sees it initialized. Model tests: `loom-tests/tests/table.rs`.

use std::ptr::{self, NonNull};

use super::buckets::Buckets;
use crate::base::hash::KeyHash;
use crate::base::link::{Link, LinkWord};
use crate::base::prefetch::prefetch_for_read;
use crate::entry::Header;

mod ahead;
mod direct;
mod walk;

pub(crate) use direct::BucketPlace;

pub(super) struct SplitList {
    buckets: Buckets,
}

/// Where a search ended.
struct Position<'a> {
    /// The last link before the position, and the word that it held.
    previous: &'a Link,
    word: LinkWord,
    /// The live entry that was searched for, to which `word` points, and its `next`.
    found: Option<(NonNull<Header>, LinkWord)>,
}

/// The result of a probe of one bucket.
pub(crate) enum BucketProbe<E> {
    Found(E),
    Absent,
    /// Neither is known: the list has to be searched.
    Inconclusive,
}

/// A stage of an attempt to change the table: before it is made, or after it has failed.
pub(crate) enum AttemptStage<E> {
    /// Before: the live entry of the key, if there is one. The change is tried next if the answer
    /// is true; if it is false, nothing has changed.
    Found(Option<E>),
    /// After: another thread was first, and the key is searched again. The answer is ignored.
    Failed,
}

/// The caller's `on_attempt` has declined the change.
pub(crate) struct Declined;

/// What a search is for.
#[derive(Clone, Copy)]
enum SearchTarget {
    /// The entry of this hash that the comparison accepts, or the end of the run of this hash.
    Hash(u64),
    /// The deleted entry of this hash, until it has been unlinked.
    Deleted(u64, LinkWord),
    /// The position of the bucket head of this index.
    Head(u64),
}

impl SplitList {
    pub(super) fn new(expected_buckets: usize) -> Self {
        Self { buckets: Buckets::new(expected_buckets) }
    }

    /// Looks in the bucket of `hash` for the live entry that `is_match` accepts.
    ///
    /// Lock-free apart from `is_match`: it neither waits nor starts over, but entries that are
    /// inserted ahead of it prolong the walk.
    ///
    /// # Safety
    /// Every entry that was ever inserted and could still be reached when the caller's guard was
    /// pinned must be allocated. All other functions of this type require the same.
    #[inline(always)]
    pub(super) unsafe fn probe_bucket(
        &self,
        hash: KeyHash,
        is_match: impl Fn(NonNull<Header>) -> bool,
    ) -> BucketProbe<NonNull<Header>> {
        let mask = self.buckets.mask();
        let word = self.buckets.word(hash.bucket(mask));
        let end = 'walk: {
            // The word of a bucket has no tags if the bucket is open and its first item is an
            // entry.
            if word.has_tags() {
                break 'walk word;
            }
            let Some(first) = NonNull::new(word.pointer()) else { break 'walk LinkWord::UNCLAIMED };
            let mut entry: NonNull<Header> = first.cast();
            loop {
                // SAFETY: an entry, since it is not a head, and allocated by the caller's promise.
                let header = unsafe { entry.as_ref() };
                // Half of the hash rules out most other keys; the key itself decides.
                let next = if header.may_match(hash) && is_match(entry) {
                    let next = header.next.load();
                    if !next.is_deleted() {
                        return BucketProbe::Found(entry);
                    }
                    step_over_deleted(next)
                } else {
                    header.next.load()
                };
                if next.is_head() {
                    break 'walk next;
                }
                // SAFETY: as above.
                entry = unsafe { entry_of(next) };
            }
        };
        // The next head ends this bucket, unless the array was doubled since `mask` was read: then
        // the head may stand in the middle of the bucket. The thread that linked that head had seen
        // the larger mask, and we acquired its link, so we see that mask here.
        match end.is_usable() && self.buckets.mask() == mask {
            true => BucketProbe::Absent,
            false => BucketProbe::Inconclusive,
        }
    }

    /// The live entry of `hash` that `is_match` accepts. Use this if a probe of the bucket is
    /// inconclusive: the bucket was never used, or was just split. Lock-free.
    pub(super) unsafe fn search_list(
        &self,
        hash: KeyHash,
        mut is_match: impl FnMut(NonNull<Header>) -> bool,
    ) -> Option<NonNull<Header>> {
        // SAFETY: passed on.
        let position = unsafe { self.find(SearchTarget::Hash(hash.raw()), &mut is_match) };
        position.found.map(|(entry, _)| entry)
    }

    /// Links `new` unless a live entry matches; returns that entry. `on_attempt` is asked before
    /// each attempt.
    pub(super) unsafe fn insert_if_absent(
        &self,
        new: NonNull<Header>,
        mut is_match: impl FnMut(NonNull<Header>) -> bool,
        mut on_attempt: impl FnMut(AttemptStage<NonNull<Header>>) -> bool,
    ) -> Result<Option<NonNull<Header>>, Declined> {
        self.buckets.prepare();
        // SAFETY: the caller owns `new`.
        let header = unsafe { new.as_ref() };
        loop {
            // SAFETY: passed on.
            let position =
                unsafe { self.find(SearchTarget::Hash(header.hash().raw()), &mut is_match) };
            if let Some((entry, _)) = position.found {
                return Ok(Some(entry));
            }
            if !on_attempt(AttemptStage::Found(None)) {
                return Err(Declined);
            }
            header.next.set(position.word);
            if position.previous.replace(position.word, LinkWord::entry(new.cast())).is_ok() {
                return Ok(None);
            }
            on_attempt(AttemptStage::Failed);
        }
    }

    /// Links `new` and replaces the live entry that matches, if there is one, which is returned
    /// unlinked. `on_attempt` is asked before each attempt, with the entry that would be replaced;
    /// `Err` if it declines.
    pub(super) unsafe fn upsert(
        &self,
        new: NonNull<Header>,
        mut is_match: impl FnMut(NonNull<Header>) -> bool,
        mut on_attempt: impl FnMut(AttemptStage<NonNull<Header>>) -> bool,
    ) -> Result<Option<NonNull<Header>>, Declined> {
        self.buckets.prepare();
        // SAFETY: the caller owns `new`.
        let header = unsafe { new.as_ref() };
        loop {
            // SAFETY: passed on.
            let position =
                unsafe { self.find(SearchTarget::Hash(header.hash().raw()), &mut is_match) };
            if !on_attempt(AttemptStage::Found(position.found.map(|(old, _)| old))) {
                return Err(Declined);
            }
            let is_done = match position.found {
                None => {
                    header.next.set(position.word);
                    position.previous.replace(position.word, LinkWord::entry(new.cast())).is_ok()
                }
                // SAFETY: passed on; `old` was found in this call.
                Some((old, next)) => unsafe { self.swap(&position, old, next, new) },
            };
            if is_done {
                return Ok(position.found.map(|(old, _)| old));
            }
            on_attempt(AttemptStage::Failed);
        }
    }

    /// Replaces the live entry that matches by `new` and returns it unlinked. `on_attempt` is asked
    /// before each attempt, with that entry.
    pub(super) unsafe fn replace(
        &self,
        new: NonNull<Header>,
        mut is_match: impl FnMut(NonNull<Header>) -> bool,
        mut on_attempt: impl FnMut(AttemptStage<NonNull<Header>>) -> bool,
    ) -> Option<NonNull<Header>> {
        // SAFETY: the caller owns `new`.
        let hash = unsafe { new.as_ref() }.hash();
        loop {
            // SAFETY: passed on.
            let position = unsafe { self.find(SearchTarget::Hash(hash.raw()), &mut is_match) };
            let (old, next) = position.found?;
            if !on_attempt(AttemptStage::Found(Some(old))) {
                return None;
            }
            // SAFETY: passed on; `old` was found in this call.
            if unsafe { self.swap(&position, old, next, new) } {
                return Some(old);
            }
            on_attempt(AttemptStage::Failed);
        }
    }

    /// One CAS publishes `new` and deletes `old`, so the key is never absent.
    unsafe fn swap(
        &self,
        position: &Position<'_>,
        old: NonNull<Header>,
        next: LinkWord,
        new: NonNull<Header>,
    ) -> bool {
        // SAFETY: the caller owns `new`.
        let new_header = unsafe { new.as_ref() };
        // SAFETY: found by the caller under its guard.
        let old_header = unsafe { old.as_ref() };
        new_header.next.set(next);
        if old_header.next.replace(next, LinkWord::entry(new.cast()).deleted()).is_err() {
            return false;
        }
        // SAFETY: passed on.
        unsafe { self.unlink(position, LinkWord::entry(new.cast()), old) };
        true
    }

    /// Deletes the live entry that matches and returns it unlinked. `on_attempt` is asked before
    /// each attempt.
    pub(super) unsafe fn remove(
        &self,
        hash: KeyHash,
        mut is_match: impl FnMut(NonNull<Header>) -> bool,
        mut on_attempt: impl FnMut(AttemptStage<NonNull<Header>>) -> bool,
    ) -> Option<NonNull<Header>> {
        loop {
            // SAFETY: passed on.
            let position = unsafe { self.find(SearchTarget::Hash(hash.raw()), &mut is_match) };
            let (entry, next) = position.found?;
            if !on_attempt(AttemptStage::Found(Some(entry))) {
                return None;
            }
            // SAFETY: found in this call.
            let header = unsafe { entry.as_ref() };
            if header.next.replace(next, next.deleted()).is_ok() {
                // SAFETY: passed on.
                unsafe { self.unlink(&position, next, entry) };
                return Some(entry);
            }
            on_attempt(AttemptStage::Failed);
        }
    }

    /// Whether this very entry is not deleted.
    pub(super) unsafe fn is_linked(&self, entry: NonNull<Header>) -> bool {
        // SAFETY: the caller found the entry under its guard.
        !unsafe { entry.as_ref() }.next.load().is_deleted()
    }

    /// Deletes and unlinks this very entry, unless another thread removed or replaced it before.
    #[inline]
    pub(super) unsafe fn remove_entry(&self, entry: NonNull<Header>) -> bool {
        // SAFETY: passed on; the caller names an entry of this list that is not retired.
        let header = unsafe { entry.as_ref() };
        let mut next = header.next.load();
        loop {
            if next.is_deleted() {
                return false;
            }
            match header.next.replace(next, next.deleted()) {
                Ok(()) => break,
                Err(now) => next = now,
            }
        }
        // Most entries are the first of their bucket. Then the head alone leads to the entry, whose own
        // link does not change any more.
        let head = self.buckets.head(header.hash().bucket(self.buckets.mask()));
        if head.replace(LinkWord::entry(entry.cast()), next).is_err() {
            // SAFETY: passed on.
            unsafe { self.unlink_deleted(entry) };
        }
        true
    }

    /// Replaces this very entry by `new`, which has its hash and its key, unless another thread
    /// removed or replaced it before. It compares no keys, so it calls no user code.
    pub(super) unsafe fn replace_entry(&self, old: NonNull<Header>, new: NonNull<Header>) -> bool {
        // SAFETY: passed on; the caller names an entry of this list that is not retired.
        let old_header = unsafe { old.as_ref() };
        // SAFETY: the caller owns `new`.
        let new_header = unsafe { new.as_ref() };
        debug_assert!(old_header.hash() == new_header.hash(), "the position is that of one hash");
        let mut next = old_header.next.load();
        loop {
            if next.is_deleted() {
                return false;
            }
            new_header.next.set(next);
            // One CAS publishes `new` and deletes `old`, as in `swap`.
            match old_header.next.replace(next, LinkWord::entry(new.cast()).deleted()) {
                Ok(()) => break,
                // Only what follows `old` has changed, or the next round sees that `old` is deleted.
                Err(now) => next = now,
            }
        }
        // SAFETY: passed on.
        unsafe { self.unlink_deleted(old) };
        true
    }

    /// Takes a deleted entry out of the list. Once this has returned, no walk that starts later
    /// meets the entry, so it may be retired.
    #[inline]
    unsafe fn unlink(&self, position: &Position<'_>, next: LinkWord, entry: NonNull<Header>) {
        // The position may have changed since it was found; in that case search once more.
        if position.previous.replace(position.word, next).is_err() {
            // SAFETY: passed on.
            unsafe { self.unlink_deleted(entry) };
        }
    }

    /// Unlinks a deleted entry like [`unlink`](Self::unlink), but from the start. A search for the
    /// entry unlinks all deleted entries on its way. If the search reaches the end of the run of
    /// equal hashes without having met the entry, another thread has unlinked it.
    unsafe fn unlink_deleted(&self, entry: NonNull<Header>) {
        // SAFETY: passed on.
        let hash = unsafe { entry.as_ref() }.hash();
        // SAFETY: passed on.
        unsafe {
            self.find(SearchTarget::Deleted(hash.raw(), LinkWord::entry(entry.cast())), &mut |_| {
                false
            })
        };
    }

    /// Walks in split order to the position of `target`, unlinking deleted entries on the way.
    unsafe fn find(
        &self,
        target: SearchTarget,
        is_match: &mut impl FnMut(NonNull<Header>) -> bool,
    ) -> Position<'_> {
        'again: loop {
            let mask = self.buckets.mask();
            let index = match target {
                SearchTarget::Hash(hash) | SearchTarget::Deleted(hash, _) => bucket(hash, mask),
                SearchTarget::Head(index) => parent(index),
            };
            let own = self.buckets.head(index);
            // SAFETY: passed on.
            let mut previous = unsafe { self.start(index) };
            // The next head ends the bucket of this hash, and nothing has to be compared, unless
            // the walk starts from an ancestor or the array is doubled meanwhile (see
            // `probe_bucket`).
            let is_own = !matches!(target, SearchTarget::Head(_)) && ptr::eq(previous, own);
            let mut word = previous.load();
            loop {
                if word.is_head() {
                    let Some(head) = NonNull::new(word.pointer().cast::<Link>()) else {
                        return Position { previous, word, found: None };
                    };
                    if is_own && self.buckets.mask() == mask {
                        return Position { previous, word, found: None };
                    }
                    if target.comes_before_head(self.buckets.index_of(head.as_ptr()) as u64) {
                        return Position { previous, word, found: None };
                    }
                    // SAFETY: heads live as long as the list.
                    previous = unsafe { head.as_ref() };
                    // The walk met this head in the list, so it is linked: open it if it is still
                    // pending.
                    word = previous.clear_pending();
                    continue;
                }
                // SAFETY: not a head, so an entry, allocated by the caller's promise.
                let entry = unsafe { entry_of(word) };
                // SAFETY: as above.
                let header = unsafe { entry.as_ref() };
                let next = header.next.load();
                if next.is_deleted() {
                    let next = next.not_deleted();
                    if previous.replace(word, next).is_err() {
                        continue 'again;
                    }
                    if matches!(target, SearchTarget::Deleted(_, wanted) if wanted == word) {
                        return Position { previous, word: next, found: None };
                    }
                    word = next;
                    continue;
                }
                let is_same_hash =
                    matches!(target, SearchTarget::Hash(hash) if hash == header.hash().raw());
                if is_same_hash && is_match(entry) {
                    return Position { previous, word, found: Some((entry, next)) };
                }
                // Another key of the same hash does not end the search: the run goes on.
                if !is_same_hash && target.comes_before_entry(header.hash()) {
                    return Position { previous, word, found: None };
                }
                previous = &header.next;
                word = next;
            }
        }
    }

    /// An open head at or before bucket `index`, after opening those that can be opened without
    /// waiting.
    #[inline]
    unsafe fn start(&self, index: usize) -> &Link {
        let head = self.buckets.head(index);
        if head.load().is_usable() {
            return head;
        }
        // SAFETY: passed on.
        unsafe { self.start_closed(index, head) }
    }

    #[cold]
    unsafe fn start_closed<'a>(&'a self, index: usize, head: &'a Link) -> &'a Link {
        // Opening the ancestors too keeps later walks short. It is O(1) amortized, since each is
        // opened once. The recursion is as deep as an index has set bits, so at most 32.
        if index == 0 {
            return head;
        }
        // SAFETY: passed on.
        let ancestor = unsafe { self.start(parent(index as u64)) };
        // SAFETY: passed on.
        if unsafe { self.open(index, head) } { head } else { ancestor }
    }

    /// Claims the head of bucket `index`, links it and opens it. False if another thread is doing
    /// so.
    unsafe fn open(&self, index: usize, head: &Link) -> bool {
        if let Err(word) = head.replace(LinkWord::UNCLAIMED, LinkWord::end().pending()) {
            return word.is_usable();
        }
        loop {
            // SAFETY: passed on.
            let position = unsafe { self.find(SearchTarget::Head(index as u64), &mut |_| false) };
            head.set(position.word.pending());
            if position.previous.replace(position.word, LinkWord::head(head)).is_ok() {
                break;
            }
        }
        head.clear_pending();
        true
    }

    /// Opens at most `count` buckets from `from` on; returns the index to continue at.
    pub(super) unsafe fn open_from(&self, from: usize, count: usize) -> usize {
        /// How many buckets ahead it prefetches the entry with which a head has to be compared.
        const AHEAD: usize = 8;
        let to = self.buckets().min(from.saturating_add(count));
        for index in from..to {
            if index + AHEAD < to {
                let ancestor = self.buckets.head(parent((index + AHEAD) as u64));
                prefetch_for_read(ancestor.load().pointer());
            }
            // SAFETY: passed on.
            unsafe { self.start(index) };
        }
        to
    }

    /// The number of buckets; 1 as long as nothing was inserted.
    pub(super) fn buckets(&self) -> usize {
        self.buckets.mask() + 1
    }

    /// Doubles the number of buckets while it is below `buckets`.
    pub(super) fn grow_to(&self, buckets: usize) {
        self.buckets.prepare();
        loop {
            let mask = self.buckets.mask();
            if mask + 1 >= buckets {
                return;
            }
            self.buckets.double(mask);
            if self.buckets.mask() == mask {
                return; // at its largest, or out of memory
            }
        }
    }
}

impl SearchTarget {
    fn comes_before_entry(self, hash: KeyHash) -> bool {
        match self {
            Self::Hash(target) | Self::Deleted(target, _) => precedes(target, hash.raw()),
            // A head stands before the entries whose hash equals its index.
            Self::Head(index) => index == hash.raw() || precedes(index, hash.raw()),
        }
    }

    fn comes_before_head(self, head: u64) -> bool {
        match self {
            Self::Hash(target) | Self::Deleted(target, _) | Self::Head(target) => {
                precedes(target, head)
            }
        }
    }
}

/// The entry that a word of the list points to.
///
/// # Safety
/// `word` was read from a link of the list and is not a head.
#[inline]
unsafe fn entry_of(word: LinkWord) -> NonNull<Header> {
    // SAFETY: only the end of the list has no pointee, and it is tagged as a head.
    unsafe { NonNull::new_unchecked(word.pointer().cast()) }
}

/// Continues the walk after a deleted entry of the key that is searched for: its link still leads
/// to its successor, or to the entry that replaced it. Out of line: inlined, the compiler hoists
/// work for this rare case into every hit.
#[cold]
#[inline(never)]
fn step_over_deleted(next: LinkWord) -> LinkWord {
    next
}

/// Whether `a` stands before `b` in split order: at the lowest bit in which they differ, it has 0.
#[inline]
fn precedes(a: u64, b: u64) -> bool {
    let difference = a ^ b;
    let lowest = difference & difference.wrapping_neg();
    a & lowest == 0 && lowest != 0
}

#[inline]
fn bucket(index: u64, mask: usize) -> usize {
    #[expect(clippy::cast_possible_truncation, reason = "the mask keeps at most 32 bits")]
    {
        index as usize & mask
    }
}

/// The bucket that `index` was split from: without its highest set bit.
fn parent(index: u64) -> usize {
    debug_assert_ne!(index, 0, "bucket 0 is open from the start");
    #[expect(clippy::cast_possible_truncation, reason = "bucket indices have at most 32 bits")]
    {
        (index & !(1 << (63 - index.leading_zeros()))) as usize
    }
}

#[cfg(all(test, not(larder_loom)))]
mod tests {
    use super::*;

    #[test]
    fn split_order_is_the_order_of_reversed_bits() {
        let values = [0, 1, 2, 3, 4, 5, 7, 8, 1 << 31, 1 << 63, u64::MAX, 0xdead_beef];
        for a in values {
            for b in values {
                assert_eq!(precedes(a, b), a.reverse_bits() < b.reverse_bits(), "{a:x} {b:x}");
            }
        }
    }

    #[test]
    fn a_search_ends_where_what_it_is_for_would_stand() {
        let deleted = LinkWord::UNCLAIMED;
        for (target, other) in [(4, 2), (2, 4), (5, 5), (1 << 40, 1)] {
            let is_before = precedes(target, other);
            for search in [SearchTarget::Hash(target), SearchTarget::Deleted(target, deleted)] {
                assert_eq!(
                    search.comes_before_entry(KeyHash::from_raw(other)),
                    is_before,
                    "{target:x} {other:x}"
                );
                assert_eq!(search.comes_before_head(other), is_before, "{target:x} {other:x}");
            }
            // A head comes before the entries of its own hash.
            let is_first = is_before || target == other;
            assert_eq!(
                SearchTarget::Head(target).comes_before_entry(KeyHash::from_raw(other)),
                is_first
            );
            assert_eq!(SearchTarget::Head(target).comes_before_head(other), is_before);
        }
    }

    #[test]
    fn the_low_bits_of_a_hash_choose_the_bucket() {
        assert_eq!(bucket(0xdead_beef_0000_1234, 0xff), 0x34);
        assert_eq!(bucket(u64::MAX, 0), 0);
    }

    #[test]
    fn a_bucket_splits_from_the_one_without_its_highest_bit() {
        assert_eq!(parent(1), 0);
        assert_eq!(parent(0b1101), 0b101);
        assert_eq!(parent(1 << 31), 0);
    }

    #[test]
    fn buckets_double_until_they_are_enough_and_no_further() {
        let list = SplitList::new(0);
        assert_eq!(list.buckets(), 1, "nothing was inserted");
        list.grow_to(1);
        let first = list.buckets();
        assert!(first.is_power_of_two() && first > 1);
        for (wanted, expected) in
            [(1, 1), (first, 1), (first + 1, 2), (2 * first, 2), (9 * first, 16)]
        {
            list.grow_to(wanted);
            assert_eq!(list.buckets(), expected * first, "for {wanted}");
        }
        list.grow_to(first);
        assert_eq!(list.buckets(), 16 * first, "they never become fewer");
    }
}
