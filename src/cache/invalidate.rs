//! Removing many entries at once: by a predicate, or all.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, Hash};

use super::{Cache, Census, KeyState};
use crate::base::cause::RemovalCause;
use crate::base::hash::KeyHash;
use crate::buffer::write_buffer::ChangeKind;
use crate::engine::history::Absence;
use crate::engine::{Attempt, Change, Incoming};
use crate::entry::EntryPtr;
use crate::listener::MustNotWait;
use crate::reclaim::{self, Guard};
use crate::table::Cursor;

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// Removes every entry for which `condition` does not hold.
    ///
    /// An entry that is in the cache during the whole call is judged once; one that is inserted or removed
    /// meanwhile may be judged or not. `condition` runs pinned, like the closure of [`read`](Self::read). If
    /// it panics, entries that were removed before stay removed.
    ///
    /// # Panics
    /// If `condition` does, and within listeners as [`remove`](Self::remove), unless the cache is empty.
    pub fn retain(&self, mut condition: impl FnMut(&K, &V) -> bool) {
        self.remove_where(|key, value| !condition(key, value), Absence::RemovedByPredicate);
    }

    /// Removes every entry for which `predicate` holds, and returns how many it removed.
    ///
    /// An entry that is in the cache during the whole call is judged exactly once. One that is inserted, or
    /// whose value is replaced, while the call runs may be judged or not. Only a judged value is removed: a
    /// value that replaces it stays. The call never removes a value that is inserted after it has returned.
    /// `predicate` runs pinned, like the closure of [`read`](Self::read); it may use the cache. If it panics,
    /// the call panics, and entries that were removed before stay removed.
    ///
    /// # Panics
    /// If `predicate` does, and within listeners as [`remove`](Self::remove), unless the cache is empty.
    ///
    /// # Complexity
    /// O(n).
    ///
    /// # Examples
    /// ```
    /// let cache: larder::Cache<u32, u32> = (0..10).map(|n| (n, n * n)).collect();
    /// assert_eq!(cache.invalidate_if(|_, square| *square > 50), 2);
    /// assert_eq!(cache.get(&8), None);
    /// ```
    #[doc(alias("invalidate_entries_if", "removeIf"))]
    pub fn invalidate_if(&self, predicate: impl FnMut(&K, &V) -> bool) -> u64 {
        self.remove_where(predicate, Absence::RemovedByPredicate)
    }

    /// Removes every entry that is in the cache when the call begins, and none that is inserted after the
    /// call has returned. An entry that is inserted meanwhile may stay or not.
    ///
    /// # Panics
    /// Within listeners as [`remove`](Self::remove), unless the cache is empty. Entries that were removed before
    /// stay removed.
    ///
    /// # Complexity
    /// O(n).
    #[doc(alias("invalidate_all", "invalidateAll"))]
    pub fn clear(&self) {
        self.remove_where(|_, _| true, Absence::Cleared);
    }

    /// Clears the cache like [`clear`](Self::clear), and counts and weighs the entries that this call
    /// removed, each in the state in which it left.
    ///
    /// Entries that another thread removes at the same time are not counted, so concurrent calls count each
    /// entry once between them.
    ///
    /// # Complexity
    /// O(n).
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(100);
    /// cache.insert("a", 1);
    /// cache.insert_with_tags("b", 2, ["tag"]);
    /// cache.invalidate_tag("tag");
    /// let removed = cache.clear_and_count();
    /// assert_eq!((removed.valid_len, removed.invalidated_len), (1, 1));
    /// assert!(cache.is_empty());
    /// ```
    pub fn clear_and_count(&self) -> Census {
        let mut removed = Census::default();
        self.remove_each(
            |_, _| true,
            Absence::Cleared,
            |entry| {
                removed.add(entry.state, entry.weight);
            },
        );
        removed
    }

    /// Removes every entry for which `condition` holds, and returns how many of them were valid; `absence`
    /// is what the history remembers of them.
    fn remove_where(&self, condition: impl FnMut(&K, &V) -> bool, absence: Absence) -> u64 {
        let mut removed = 0;
        self.remove_each(condition, absence, |entry| removed += u64::from(entry.was_valid()));
        removed
    }

    /// As [`remove_where`](Self::remove_where), and passes each entry that was removed to `note`.
    fn remove_each(
        &self,
        mut condition: impl FnMut(&K, &V) -> bool,
        absence: Absence,
        mut note: impl FnMut(RemovedEntry),
    ) {
        let engine = &self.shared.engine;
        engine.mark_all_changed();
        if engine.atomic.is_some() {
            return self.remove_each_notifying(condition, absence, note);
        }
        let mut cursor = Cursor::Start;
        while cursor != Cursor::End {
            // Declared before the guard, so that the changes are dropped after it, even if `condition` panics.
            let mut changes = Vec::new();
            let guard = reclaim::pin();
            cursor = engine.table.step(cursor, &guard, |pointer, entry| {
                // An entry that is not valid any more is removed without being judged.
                let state = self.state_of(pointer);
                if state == KeyState::Valid && !condition(&entry.key, &entry.value) {
                    return;
                }
                let mut change = engine.change_within(pointer.hash());
                change.reserve_pinned(ChangeKind::Remove);
                if engine.table.remove_entry(pointer, &guard) {
                    note(self.note_removed_entry(&mut change, pointer, state, absence, &guard));
                    changes.push(change);
                }
            });
        }
    }

    /// As [`remove_each`](Self::remove_each), in a cache with an atomic listener: what a step sees is
    /// judged, notified and removed one entry after another, each within its gate, which is held for no
    /// longer than that takes.
    fn remove_each_notifying(
        &self,
        mut condition: impl FnMut(&K, &V) -> bool,
        absence: Absence,
        mut note: impl FnMut(RemovedEntry),
    ) {
        let engine = &self.shared.engine;
        let mut cursor = Cursor::Start;
        while cursor != Cursor::End {
            // These are only compared, not dereferenced, until they are found linked again.
            let mut seen: Vec<(EntryPtr, KeyHash)> = Vec::new();
            let guard = reclaim::pin();
            cursor = engine.table.step(cursor, &guard, |pointer, _| {
                seen.push((pointer, pointer.hash()));
            });
            drop(guard);
            for (pointer, hash) in seen {
                let removed = self.remove_notifying(pointer, hash, &mut condition, absence);
                if let Some(entry) = removed.unwrap_or_else(|refused| refused.panic()) {
                    note(entry);
                }
            }
        }
    }

    /// Judges an entry that was seen, if it is still in the table, and removes it; `None` if it stays or was gone. The
    /// caller has marked the fills of its key, if it has to.
    ///
    /// # Errors
    /// If another thread is within the entry's gate and this one must not wait.
    pub(super) fn remove_notifying(
        &self,
        pointer: EntryPtr,
        hash: KeyHash,
        condition: &mut impl FnMut(&K, &V) -> bool,
        absence: Absence,
    ) -> Result<Option<RemovedEntry>, MustNotWait> {
        let engine = &self.shared.engine;
        engine.attempt_unmarked(hash, &mut Incoming::none(), |change, _, guard| {
            // An entry that the listener was notified of has been judged, and no other thread can have
            // removed it, because this one is within the gate.
            if change.notified().is_none() {
                let Some(entry) = engine.table.find_entry(hash, pointer, guard) else {
                    return Attempt::Done(None);
                };
                // An entry that is not valid any more is removed without being judged.
                if self.is_valid(pointer) && !condition(&entry.key, &entry.value) {
                    return Attempt::Done(None);
                }
            }
            let cause = || self.cause_now(pointer, RemovalCause::Explicit);
            if change.must_notify(pointer, cause) || !change.reserve(ChangeKind::Remove) {
                return Attempt::Retry;
            }
            if !engine.table.remove_entry(pointer, guard) {
                return Attempt::Done(None);
            }
            // The cause of the removal tells the state.
            let state = KeyState::Valid;
            Attempt::Done(Some(self.note_removed_entry(change, pointer, state, absence, guard)))
        })
    }

    /// Notes that an entry that was found in `state` was removed.
    fn note_removed_entry(
        &self,
        change: &mut Change<'_, K, V>,
        pointer: EntryPtr,
        state: KeyState,
        absence: Absence,
        guard: &Guard,
    ) -> RemovedEntry {
        let cause = self.note_removed(change, pointer, absence, guard);
        RemovedEntry { state: state.removed_for(cause), weight: pointer.meta().weight() }
    }
}

/// An entry that a walk has removed.
#[derive(Clone, Copy)]
pub(super) struct RemovedEntry {
    /// The state in which it left.
    state: KeyState,
    weight: u32,
}

impl RemovedEntry {
    fn was_valid(self) -> bool {
        self.state == KeyState::Valid
    }
}
