//! The hash table: lock-free, and it grows without moving an entry.
//!
//! This module owns the links of entries and the bucket heads. It knows no policy and frees
//! nothing: an entry that it takes out is returned, and maintenance retires it. The list is in
//! `list`, the array of bucket heads in `buckets`, and the tagged word in `base::link`. This file
//! gives them types, so that no other module follows a raw pointer.
//!
//! What must always hold: an entry that `remove`, `upsert`, `replace`, `replace_entry` or
//! `remove_entry` returned (or reported) is unlinked, so only threads whose guards were pinned before can still reach
//! it.

mod list;
mod buckets;

use std::marker::PhantomData;
use std::ptr::NonNull;

use crate::base::hash::KeyHash;
use crate::base::prefetch::{CACHE_LINE, prefetch_for_read, prefetch_for_write, prefetch_pointees};
use crate::entry::{Entry, EntryPtr, Header, Owned};
use crate::reclaim::{AnyGuard, Guard};

use list::SplitList;
pub(crate) use list::{AttemptStage, BucketPlace, BucketProbe};

/// The number of entries or buckets that are passed under one guard.
#[cfg(not(larder_loom))]
const STEP: usize = 128;
#[cfg(larder_loom)]
const STEP: usize = 1;

/// A lock-free hash table of entries with keys `K` and values `V`.
pub(crate) struct Table<K, V> {
    list: SplitList,
    entries: PhantomData<fn() -> Entry<K, V>>,
}

/// A table without the types of its keys and values, for maintenance, which does not need them.
#[derive(Clone, Copy)]
pub(crate) struct UntypedTable<'t>(&'t SplitList);

impl UntypedTable<'_> {
    /// As [`Table::remove_entry`].
    #[inline]
    pub(crate) fn remove_entry(self, entry: EntryPtr, _guard: &Guard) -> bool {
        // SAFETY: as in `Table::probe_bucket`; maintenance names an entry of this table that it has not
        // retired.
        unsafe { self.0.remove_entry(entry.as_raw()) }
    }

    /// As [`Table::prefetch_bucket`].
    #[inline]
    pub(crate) fn prefetch_bucket(self, hash: KeyHash) {
        self.0.prefetch_bucket(hash);
    }

    /// As [`Table::prefetch_entry`].
    #[inline]
    pub(crate) fn prefetch_entry(self, hash: KeyHash) {
        self.0.prefetch_entry(hash);
    }
}

/// How far an iteration has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cursor {
    Start,
    /// Everything up to and including this hash was visited, in the order of the table.
    After(KeyHash),
    End,
}

impl<K, V> Table<K, V> {
    /// A table in which up to `expected` entries need no directory of segments. It can grow beyond.
    pub(crate) fn new(expected: usize) -> Self {
        Self { list: SplitList::new(expected.saturating_mul(2)), entries: PhantomData }
    }

    /// The same table without its types.
    #[inline]
    pub(crate) fn untyped(&self) -> UntypedTable<'_> {
        UntypedTable(&self.list)
    }

    /// Where `hash` belongs now.
    #[inline(always)]
    pub(crate) fn place(&self, hash: KeyHash) -> BucketPlace<'_> {
        self.list.place(hash)
    }

    /// Prefetches the bucket head of `hash`, which is about to be changed.
    #[inline]
    pub(crate) fn prefetch_bucket(&self, hash: KeyHash) {
        self.list.prefetch_bucket(hash);
    }

    /// Prefetches the first entry of the bucket of `hash`. Call it before pinning: a pin orders
    /// memory, so loads that follow it start only once it is complete, and a cache miss would be
    /// added to its cost.
    #[inline]
    pub(crate) fn prefetch_entry(&self, hash: KeyHash) {
        self.list.prefetch_entry(hash);
    }

    /// Prefetches the bucket head of `hash`, which is about to be read only.
    #[inline]
    pub(crate) fn prefetch_bucket_for_read(&self, hash: KeyHash) {
        self.list.prefetch_bucket_for_read(hash);
    }

    /// Prefetches what a lookup of `hash` needs besides the first entry of its bucket. That entry is read
    /// now, so it should have been [prefetched](Self::prefetch_entry) some time before. If it may be the
    /// one that is looked up, it is returned, and what its key and its value point to is prefetched;
    /// else the next entry is.
    #[inline]
    pub(crate) fn prefetch_match(&self, hash: KeyHash, guard: &Guard) -> Option<EntryPtr> {
        // SAFETY: as in `probe_bucket`.
        let header = unsafe { self.list.prefetch_match(hash) }?;
        let entry = self.entry(header, guard);
        if size_of::<Entry<K, V>>() > CACHE_LINE {
            prefetch_for_read(&entry.key);
            prefetch_for_read(&entry.value);
        }
        prefetch_pointees(&entry.key);
        prefetch_pointees(&entry.value);
        Some(self.pointer(header))
    }

    /// The same for a key that is about to be inserted or removed. Then maintenance needs the metadata of
    /// the entry that leaves, too.
    #[inline]
    pub(crate) fn prefetch_change(&self, hash: KeyHash, guard: &Guard) {
        if let Some(entry) = self.prefetch_match(hash, guard) {
            prefetch_for_write(entry.meta());
        }
    }

    /// The entry at an address that `list` reached under `_guard`.
    fn entry<'g>(&self, header: NonNull<Header>, _guard: &'g impl AnyGuard) -> &'g Entry<K, V> {
        // SAFETY:
        // 1. Only `Owned<K, V>`s are linked, so the types are right.
        // 2. Alive: `list` reached the entry while `_guard` was pinned, and maintenance retires an
        //    entry only after it was unlinked, so it is freed after `_guard` at the earliest.
        unsafe { self.pointer(header).as_entry() }
    }

    fn pointer(&self, header: NonNull<Header>) -> EntryPtr {
        // SAFETY: this table linked the entry and hands it to maintenance, which alone retires it.
        unsafe { EntryPtr::from_raw(header) }
    }

    /// The entry of `pointer`, which was found in this table under `guard`.
    pub(crate) fn at<'g>(&self, pointer: EntryPtr, guard: &'g Guard) -> &'g Entry<K, V> {
        self.entry(pointer.as_raw(), guard)
    }

    /// Looks in the bucket of `hash` for the live entry whose key `is_match` accepts. Lock-free: it
    /// neither waits nor starts over, but entries that are inserted ahead of it prolong the walk.
    /// O(1) expected.
    #[inline(always)]
    pub(crate) fn probe_bucket<'g>(
        &self,
        hash: KeyHash,
        is_match: impl Fn(&K) -> bool,
        guard: &'g impl AnyGuard,
    ) -> BucketProbe<(EntryPtr, &'g Entry<K, V>)> {
        let is_match = |header| is_match(&self.entry(header, guard).key);
        // SAFETY: here and below, `list` requires that all entries it can reach stay allocated.
        // They are retired only once unlinked, and `guard` keeps those retired since it was pinned.
        match unsafe { self.list.probe_bucket(hash, is_match) } {
            BucketProbe::Found(header) => {
                BucketProbe::Found((self.pointer(header), self.entry(header, guard)))
            }
            BucketProbe::Absent => BucketProbe::Absent,
            BucketProbe::Inconclusive => BucketProbe::Inconclusive,
        }
    }

    /// The live entry of `hash` whose key `is_match` accepts. Lock-free; O(1) expected.
    #[inline(always)]
    pub(crate) fn get<'g>(
        &self,
        hash: KeyHash,
        is_match: impl Fn(&K) -> bool,
        guard: &'g Guard,
    ) -> Option<(EntryPtr, &'g Entry<K, V>)> {
        match self.probe_bucket(hash, &is_match, guard) {
            BucketProbe::Found(found) => Some(found),
            BucketProbe::Absent => None,
            BucketProbe::Inconclusive => {
                let is_match = |header| is_match(&self.entry(header, guard).key);
                // SAFETY: as in `probe_bucket`.
                let found = unsafe { self.list.search_list(hash, is_match) };
                found.map(|header| (self.pointer(header), self.entry(header, guard)))
            }
        }
    }

    /// The entry at an address that a walk has met, if an entry of that hash is still linked there.
    /// It may be another entry that was inserted since.
    pub(crate) fn find_entry<'g>(
        &self,
        hash: KeyHash,
        pointer: EntryPtr,
        guard: &'g Guard,
    ) -> Option<&'g Entry<K, V>> {
        let is_match = |header| header == pointer.as_raw();
        // SAFETY: as in `probe_bucket`.
        let found = unsafe { self.list.search_list(hash, is_match) };
        found.map(|header| self.entry(header, guard))
    }

    /// Repeats a [`get`](Self::get) that found `refused`, an invalid entry, and looks for a valid
    /// one. A refused entry must stay refused.
    ///
    /// It returns `None` only if the refused entry is still linked after it was refused, or if the
    /// key is gone. If that entry was replaced before, the new one may have been valid at the time.
    pub(crate) fn retry_get<'g>(
        &self,
        mut refused: EntryPtr,
        hash: KeyHash,
        is_match: impl Fn(&K) -> bool,
        is_valid: impl Fn(EntryPtr) -> bool,
        guard: &'g Guard,
    ) -> Option<(EntryPtr, &'g Entry<K, V>)> {
        loop {
            if self.is_linked(refused, guard) {
                return None;
            }
            let found = self.get(hash, &is_match, guard)?;
            if is_valid(found.0) {
                return Some(found);
            }
            refused = found.0;
        }
    }

    /// Links `new` unless its key is present. Otherwise gives `new` back with the present entry.
    /// Also gives `new` back, alone, if `on_attempt` declines.
    pub(crate) fn insert_if_absent(
        &self,
        new: Owned<K, V>,
        mut on_attempt: impl FnMut(AttemptStage<(EntryPtr, &Entry<K, V>)>) -> bool,
        guard: &Guard,
    ) -> Result<EntryPtr, (Owned<K, V>, Option<EntryPtr>)>
    where
        K: Eq,
    {
        let is_match = |header| self.entry(header, guard).key == *new.key();
        let on_attempt = |stage| on_attempt(self.stage_of(stage, guard));
        // SAFETY: as in `probe_bucket`.
        match unsafe { self.list.insert_if_absent(new.as_ptr().as_raw(), is_match, on_attempt) } {
            Ok(None) => Ok(new.into_shared()),
            Ok(Some(present)) => Err((new, Some(self.pointer(present)))),
            Err(_) => Err((new, None)),
        }
    }

    fn stage_of<'g>(
        &self,
        stage: AttemptStage<NonNull<Header>>,
        guard: &'g Guard,
    ) -> AttemptStage<(EntryPtr, &'g Entry<K, V>)> {
        match stage {
            AttemptStage::Found(found) => AttemptStage::Found(
                found.map(|found| (self.pointer(found), self.entry(found, guard))),
            ),
            AttemptStage::Failed => AttemptStage::Failed,
        }
    }

    /// Links `new` and replaces the entry of its key, if there is one. Returns both.
    ///
    /// `on_attempt` is asked before each attempt, with the entry that `new` is about to replace;
    /// the last call names the entry that was replaced. If it declines, `new` is given back.
    pub(crate) fn upsert(
        &self,
        new: Owned<K, V>,
        mut on_attempt: impl FnMut(&Owned<K, V>, AttemptStage<(EntryPtr, &Entry<K, V>)>) -> bool,
        guard: &Guard,
    ) -> Result<(EntryPtr, Option<EntryPtr>), Owned<K, V>>
    where
        K: Eq,
    {
        let is_match = |header| self.entry(header, guard).key == *new.key();
        let on_attempt = |stage| on_attempt(&new, self.stage_of(stage, guard));
        // SAFETY: as in `probe_bucket`.
        match unsafe { self.list.upsert(new.as_ptr().as_raw(), is_match, on_attempt) } {
            Ok(old) => Ok((new.into_shared(), old.map(|header| self.pointer(header)))),
            Err(_) => Err(new),
        }
    }

    /// As [`upsert`](Self::upsert), for a change that needs no consent. `place` is that of `new`.
    #[inline(always)]
    pub(crate) fn upsert_plain(
        &self,
        new: Owned<K, V>,
        place: BucketPlace<'_>,
        guard: &Guard,
    ) -> (EntryPtr, Option<EntryPtr>)
    where
        K: Eq,
    {
        // SAFETY: as in `probe_bucket`.
        if unsafe { self.list.insert_into_empty(new.as_ptr().as_raw(), place) } {
            return (new.into_shared(), None);
        }
        match self.upsert(new, |_, _| true, guard) {
            Ok(changed) => changed,
            Err(_) => unreachable!("no attempt is declined"),
        }
    }

    /// Replaces the entry of the key of `new` that `is_valid` accepts, and returns both entries;
    /// otherwise gives `new` back. `on_attempt` is asked before each attempt.
    pub(crate) fn replace(
        &self,
        new: Owned<K, V>,
        is_valid: impl Fn(EntryPtr) -> bool,
        mut on_attempt: impl FnMut(&Owned<K, V>, AttemptStage<(EntryPtr, &Entry<K, V>)>) -> bool,
        guard: &Guard,
    ) -> Result<(EntryPtr, EntryPtr), Owned<K, V>>
    where
        K: Eq,
    {
        let is_match =
            |header| self.entry(header, guard).key == *new.key() && is_valid(self.pointer(header));
        let on_attempt = |stage| on_attempt(&new, self.stage_of(stage, guard));
        // SAFETY: as in `probe_bucket`.
        match unsafe { self.list.replace(new.as_ptr().as_raw(), is_match, on_attempt) } {
            Some(old) => Ok((new.into_shared(), self.pointer(old))),
            None => Err(new),
        }
    }

    /// Removes the live entry of `hash` whose key `is_match` accepts. `on_attempt` is asked before
    /// each attempt.
    pub(crate) fn remove<'g>(
        &self,
        hash: KeyHash,
        mut is_match: impl FnMut(&K) -> bool,
        mut on_attempt: impl FnMut(AttemptStage<(EntryPtr, &Entry<K, V>)>) -> bool,
        guard: &'g Guard,
    ) -> Option<(EntryPtr, &'g Entry<K, V>)> {
        let is_match = |header| is_match(&self.entry(header, guard).key);
        let on_attempt = |stage| on_attempt(self.stage_of(stage, guard));
        // SAFETY: as in `probe_bucket`.
        let removed = unsafe { self.list.remove(hash, is_match, on_attempt) };
        removed.map(|header| (self.pointer(header), self.entry(header, guard)))
    }

    /// Whether this very entry has been neither removed nor replaced.
    pub(crate) fn is_linked(&self, entry: EntryPtr, _guard: &Guard) -> bool {
        // SAFETY: as in `probe_bucket`; the caller found `entry` under its guard.
        unsafe { self.list.is_linked(entry.as_raw()) }
    }

    /// Removes this very entry. False if another thread removed or replaced it before.
    #[inline]
    pub(crate) fn remove_entry(&self, entry: EntryPtr, _guard: &Guard) -> bool {
        // SAFETY: as in `probe_bucket`; `entry` is not retired yet (contract of `EntryPtr`).
        unsafe { self.list.remove_entry(entry.as_raw()) }
    }

    /// Replaces the live entry `old`, which the caller has found under `_guard`, by `new`, which
    /// has the same key. Gives `new` back if another thread removed or replaced `old` before.
    /// Lock-free, and it calls no user code: no key is compared, and nothing is dropped.
    pub(crate) fn replace_entry(
        &self,
        old: EntryPtr,
        new: Owned<K, V>,
        _guard: &Guard,
    ) -> Result<EntryPtr, Owned<K, V>> {
        // SAFETY: as in `probe_bucket`; `old` is not retired yet, because the guard is held since it
        // was found.
        match unsafe { self.list.replace_entry(old.as_raw(), new.as_ptr().as_raw()) } {
            true => Ok(new.into_shared()),
            false => Err(new),
        }
    }

    /// Visits a bounded number of the live entries that follow `cursor`.
    ///
    /// An entry that is present from the first step to the last is visited exactly once, even if
    /// the table grows meanwhile: its hash is its position in the order, and a replacement takes
    /// the position of the old entry. A step ends only between two hashes, so entries of one hash
    /// are always in the same step.
    pub(crate) fn step(
        &self,
        cursor: Cursor,
        guard: &Guard,
        visit: impl FnMut(EntryPtr, &Entry<K, V>),
    ) -> Cursor {
        self.step_by(cursor, STEP, guard, visit)
    }

    /// The same as [`step`](Self::step), with a bound of the caller's.
    pub(crate) fn step_by(
        &self,
        cursor: Cursor,
        bound: usize,
        guard: &Guard,
        visit: impl FnMut(EntryPtr, &Entry<K, V>),
    ) -> Cursor {
        self.walk(cursor, bound, guard, None::<fn(EntryPtr, &Entry<K, V>)>, visit)
    }

    /// The same as [`step`](Self::step). It also calls `preview` for most entries some time before
    /// they are visited, and for some that are not visited.
    #[cfg(feature = "snapshot")]
    pub(crate) fn step_with_preview(
        &self,
        cursor: Cursor,
        guard: &Guard,
        preview: impl FnMut(EntryPtr, &Entry<K, V>),
        visit: impl FnMut(EntryPtr, &Entry<K, V>),
    ) -> Cursor {
        self.walk(cursor, STEP, guard, Some(preview), visit)
    }

    fn walk(
        &self,
        cursor: Cursor,
        bound: usize,
        guard: &Guard,
        preview: Option<impl FnMut(EntryPtr, &Entry<K, V>)>,
        mut visit: impl FnMut(EntryPtr, &Entry<K, V>),
    ) -> Cursor {
        let after = match cursor {
            Cursor::Start => None,
            Cursor::After(hash) => Some(hash),
            Cursor::End => return Cursor::End,
        };
        let visit = |header| visit(self.pointer(header), self.entry(header, guard));
        let preview = preview.map(|mut preview| {
            move |header| preview(self.pointer(header), self.entry(header, guard))
        });
        // SAFETY: as in `probe_bucket`.
        let last = unsafe { self.list.walk(after, bound, preview, visit) };
        last.map_or(Cursor::End, Cursor::After)
    }

    /// Passes every entry to `take`, which may free it. The table must not be used afterwards.
    pub(crate) fn drain(&self, mut take: impl FnMut(EntryPtr)) {
        // SAFETY: the last user of the cache calls this (`Engine::tear_down`).
        unsafe { self.list.drain(|header| take(self.pointer(header))) };
    }

    /// Opens buckets that growth has added, a bounded number of them from `from` on, and returns
    /// the index to continue at; `from` must be at least 1. Otherwise the first use of a bucket
    /// opens it, which makes that lookup slow.
    pub(crate) fn open_buckets(&self, from: usize, count: usize, _guard: &Guard) -> usize {
        // SAFETY: as in `probe_bucket`.
        unsafe { self.list.open_from(from, count.min(STEP)) }
    }

    /// The number of buckets in use; 1 as long as nothing was inserted.
    pub(crate) fn buckets(&self) -> usize {
        self.list.buckets()
    }

    /// Makes room for `entries` at a load of at most one entry for every two buckets. Lock-free; it
    /// moves no entry.
    pub(crate) fn grow_for(&self, entries: usize) {
        let wanted = entries.saturating_mul(2);
        if wanted > self.list.buckets() {
            self.list.grow_to(wanted);
        }
    }

    /// Whether a walk over the whole list meets `entry`, deleted or not.
    #[cfg(larder_loom)]
    pub(crate) fn reaches(&self, entry: EntryPtr) -> bool {
        // SAFETY: models free nothing before they end.
        unsafe { self.list.reaches(entry.as_raw()) }
    }
}

#[cfg(all(test, not(larder_loom)))]
mod tests {
    use super::*;
    use crate::entry::dispose;
    use crate::reclaim;

    /// A table of pairs. Dropping it frees them, including the replaced ones.
    struct Pairs {
        table: Table<u64, u64>,
        replaced: Vec<EntryPtr>,
    }

    /// All keys have the same hash, so the table has to compare them.
    const HASH: KeyHash = KeyHash::from_raw(7);

    impl Pairs {
        fn new() -> Self {
            Self { table: Table::new(0), replaced: Vec::new() }
        }

        fn insert(&self, key: u64, value: u64) -> EntryPtr {
            let new = Owned::new(HASH, 1, key, value);
            self.table.insert_if_absent(new, |_| true, &reclaim::pin()).ok().expect("absent")
        }

        /// Whether the key was present and valid.
        fn replace(&mut self, key: u64, value: u64, is_valid: bool) -> bool {
            let new = Owned::new(HASH, 1, key, value);
            let guard = reclaim::pin();
            let replaced = self.table.replace(new, |_| is_valid, |_, _| true, &guard);
            let old = replaced.map(|(_, old)| self.replaced.push(old));
            old.is_ok()
        }

        fn get(&self, key: u64) -> Option<u64> {
            let guard = reclaim::pin();
            self.table.get(HASH, |other| *other == key, &guard).map(|(_, entry)| entry.value)
        }

        fn retry_get(&self, refused: EntryPtr, key: u64, limit: u64) -> Option<u64> {
            let guard = reclaim::pin();
            // SAFETY: an entry of this table, which frees none before it is dropped.
            let is_valid = |it: EntryPtr| unsafe { it.as_entry::<u64, u64>() }.value >= limit;
            let found =
                self.table.retry_get(refused, HASH, |other| *other == key, is_valid, &guard);
            found.map(|(_, entry)| entry.value)
        }
    }

    impl Drop for Pairs {
        fn drop(&mut self) {
            let mut all = std::mem::take(&mut self.replaced);
            self.table.drain(|entry| all.push(entry));
            // SAFETY: `insert` and `replace` made them, and no other thread has the table.
            assert_eq!(unsafe { dispose::<u64, u64>(all) }, 0);
        }
    }

    #[test]
    fn a_key_is_replaced_if_it_is_there_and_valid_whatever_shares_its_hash() {
        let mut pairs = Pairs::new();
        pairs.insert(1, 10);
        pairs.insert(2, 20);
        assert!(!pairs.replace(3, 30, true), "absent");
        assert!(!pairs.replace(2, 21, false), "not valid");
        assert!(pairs.replace(2, 22, true));
        assert_eq!([1, 2, 3].map(|key| pairs.get(key)), [Some(10), Some(22), None]);
    }

    #[test]
    fn a_retry_finds_what_took_the_place_of_what_was_refused() {
        let mut pairs = Pairs::new();
        let first = pairs.insert(1, 10);
        assert_eq!(pairs.retry_get(first, 1, 0), None, "still there");
        assert!(pairs.replace(1, 20, true));
        assert_eq!(pairs.retry_get(first, 1, 20), Some(20));
        assert_eq!(pairs.retry_get(first, 1, 21), None, "refused as well, and still there");
        let second = pairs.table.get(HASH, |other| *other == 1, &reclaim::pin()).expect("there").0;
        assert!(pairs.table.remove_entry(second, &reclaim::pin()));
        pairs.replaced.push(second);
        assert_eq!(pairs.retry_get(first, 1, 0), None, "gone");
    }

    #[test]
    fn only_the_very_entry_that_was_named_is_replaced() {
        let mut pairs = Pairs::new();
        let first = pairs.insert(1, 10);
        pairs.insert(2, 20);
        let guard = reclaim::pin();
        let replace = |pairs: &mut Pairs, old, value| {
            let new = Owned::new(HASH, 1, 1, value);
            let replaced = pairs.table.replace_entry(old, new, &guard);
            replaced.inspect(|_| pairs.replaced.push(old)).map_err(|new| *new.value())
        };
        let second = replace(&mut pairs, first, 11).expect("it is there");
        assert_eq!(replace(&mut pairs, first, 12).err(), Some(12), "it was replaced");
        assert_eq!([1, 2].map(|key| pairs.get(key)), [Some(11), Some(20)]);
        assert!(pairs.table.remove_entry(second, &guard));
        pairs.replaced.push(second);
        assert_eq!(replace(&mut pairs, second, 13).err(), Some(13), "it was removed");
        assert_eq!([1, 2].map(|key| pairs.get(key)), [None, Some(20)]);
    }

    #[test]
    fn buckets_are_twice_the_entries_or_more() {
        let table = Table::<u64, u64>::new(0);
        for (entries, buckets) in [(0, 1), (8, 16), (9, 32), (5, 32), (16, 32), (100, 256)] {
            table.grow_for(entries);
            assert_eq!(table.buckets(), buckets, "for {entries} entries");
        }
    }
}
