//! Removing many entries at once: by a predicate, or all.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, Hash};

use super::Cache;
use crate::base::cause::RemovalCause;
use crate::buffer::write_buffer::ChangeKind;
use crate::engine::history::Absence;
use crate::engine::{Attempt, Incoming};
use crate::entry::EntryPtr;
use crate::listener::MustNotWait;
use crate::reclaim;
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
    /// # Complexity
    /// O(n).
    ///
    /// # Examples
    /// ```
    /// let cache: larder::Cache<u32, u32> = (0..10).map(|n| (n, n * n)).collect();
    /// assert_eq!(cache.invalidate_if(|_, square| *square > 50), 2);
    /// assert_eq!(cache.get(&8), None);
    /// ```
    pub fn invalidate_if(&self, predicate: impl FnMut(&K, &V) -> bool) -> u64 {
        self.remove_where(predicate, Absence::RemovedByPredicate)
    }

    /// Removes every entry that is in the cache when the call begins, and none that is inserted after the
    /// call has returned. An entry that is inserted meanwhile may stay or not.
    ///
    /// # Complexity
    /// O(n).
    pub fn clear(&self) {
        self.remove_where(|_, _| true, Absence::Cleared);
    }

    /// Removes every entry for which `condition` holds, and returns their number. The history remembers
    /// `absence` as the reason.
    fn remove_where(&self, mut condition: impl FnMut(&K, &V) -> bool, absence: Absence) -> u64 {
        let engine = &self.shared.engine;
        engine.fills.mark_all();
        if engine.atomic.is_some() {
            return self.remove_notifying_where(condition, absence);
        }
        let mut removed = 0;
        let mut cursor = Cursor::Start;
        while cursor != Cursor::End {
            // Declared before the guard, so that the changes are dropped after it, even if `condition` panics.
            let mut changes = Vec::new();
            let guard = reclaim::pin();
            cursor = engine.table.step(cursor, &guard, |pointer, entry| {
                // An entry that is not valid any more is removed without being judged.
                if self.is_valid(pointer) && !condition(&entry.key, &entry.value) {
                    return;
                }
                let mut change = engine.change_within(pointer.hash());
                change.reserve_pinned(ChangeKind::Remove);
                if engine.table.remove_entry(pointer, &guard) {
                    let cause = self.note_removed(&mut change, pointer, absence, &guard);
                    removed += u64::from(cause == RemovalCause::Explicit);
                    changes.push(change);
                }
            });
        }
        removed
    }

    /// As [`remove_where`](Self::remove_where), for a cache with an atomic listener: the entries of a step
    /// are judged, notified and removed one after the other, each within its gate, which is left before the
    /// next is entered.
    fn remove_notifying_where(
        &self,
        mut condition: impl FnMut(&K, &V) -> bool,
        absence: Absence,
    ) -> u64 {
        let engine = &self.shared.engine;
        let mut removed = 0;
        let mut cursor = Cursor::Start;
        while cursor != Cursor::End {
            // These are only compared, not dereferenced, until they are found linked again.
            let mut seen: Vec<EntryPtr> = Vec::new();
            let mut hashes = Vec::new();
            let guard = reclaim::pin();
            cursor = engine.table.step(cursor, &guard, |pointer, _| {
                seen.push(pointer);
                hashes.push(pointer.hash());
            });
            drop(guard);
            for (pointer, hash) in seen.into_iter().zip(hashes) {
                let is_removed = self.remove_notifying(pointer, hash, &mut condition, absence);
                removed += u64::from(is_removed.unwrap_or_else(|refused| refused.panic()));
            }
        }
        removed
    }

    /// Judges and removes an entry that a walk has seen, if it is still linked. Says whether it removed a
    /// valid one.
    ///
    /// # Errors
    /// If another thread is within the entry's gate and this one must not wait.
    pub(super) fn remove_notifying(
        &self,
        pointer: EntryPtr,
        hash: u64,
        condition: &mut impl FnMut(&K, &V) -> bool,
        absence: Absence,
    ) -> Result<bool, MustNotWait> {
        let engine = &self.shared.engine;
        // Fills were marked before the walk.
        engine.attempt_unmarked(hash, &mut Incoming::none(), |change, _, guard| {
            // An entry that the listener was notified of has been judged, and no other thread can have
            // removed it, because this one is within the gate.
            if change.notified().is_none() {
                let Some(entry) = engine.table.find_entry(hash, pointer, guard) else {
                    return Attempt::Done(false);
                };
                // An entry that is not valid any more is removed without being judged.
                if self.is_valid(pointer) && !condition(&entry.key, &entry.value) {
                    return Attempt::Done(false);
                }
            }
            let cause = || self.cause_now(pointer, RemovalCause::Explicit);
            if change.must_notify(pointer, cause) || !change.reserve(ChangeKind::Remove) {
                return Attempt::Retry;
            }
            if !engine.table.remove_entry(pointer, guard) {
                return Attempt::Done(false);
            }
            let cause = self.note_removed(change, pointer, absence, guard);
            Attempt::Done(cause == RemovalCause::Explicit)
        })
    }
}
