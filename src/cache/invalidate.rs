//! Removing many entries at once.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, Hash};

use crossbeam_utils::Backoff;

use super::Cache;
use crate::entry::EntryPtr;
use crate::listener::RemovalCause;
use crate::maintenance::Change;
use crate::recent::Absence;
use crate::reclaim;
use crate::table::Cursor;
use crate::write_buffer::Event;

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// Removes every entry for which `condition` does not hold.
    ///
    /// Entries that are there during the whole call are judged once; those that come or go
    /// meanwhile may or may not be. `condition` runs pinned, like the closure of
    /// [`read`](Self::read). If it panics, what was removed before stays removed.
    pub fn retain(&self, mut condition: impl FnMut(&K, &V) -> bool) {
        self.remove_where(|key, value| !condition(key, value), Absence::RemovedByPredicate);
    }

    /// Removes every entry for which `predicate` holds, and returns how many it removed.
    ///
    /// An entry that is there during the whole call is judged exactly once. One that is inserted,
    /// or whose value is replaced, while the call runs may be judged or not: what was judged is
    /// what is removed, so a value that replaces a judged one stays. What is inserted after the
    /// call has returned is never removed by it. `predicate` runs pinned, like the closure of
    /// [`read`](Self::read); it may use the cache. If it panics, the panic comes through the call,
    /// and what was removed before stays removed.
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

    /// Removes every entry that is there when the call begins, and none that is inserted after
    /// it has returned. What is inserted meanwhile may or may not stay.
    ///
    /// # Complexity
    /// O(n).
    pub fn clear(&self) {
        self.remove_where(|_, _| true, Absence::Cleared);
    }

    /// Removes every entry for which `condition` holds, and returns how many those were; `absence` is
    /// what is remembered of them.
    fn remove_where(&self, mut condition: impl FnMut(&K, &V) -> bool, absence: Absence) -> u64 {
        let engine = &self.shared.engine;
        if engine.atomic.is_some() {
            return self.remove_told_where(condition, absence);
        }
        let mut removed = 0;
        let mut cursor = Cursor::Start;
        while cursor != Cursor::End {
            // Before the guard, so that they are dropped after it; also if `condition` panics.
            let mut changes = Vec::new();
            let guard = reclaim::pin();
            cursor = engine.table.step(cursor, &guard, |pointer, entry| {
                // What nobody sees any more is nobody's to judge, but taken along.
                if self.is_valid(pointer) && !condition(&entry.key, &entry.value) {
                    return;
                }
                let mut change = engine.change(pointer.hash(), None);
                change.announce_pinned(-1);
                if engine.table.remove_entry(pointer, &guard) {
                    let cause = self.cause_of(pointer, RemovalCause::Explicit);
                    change.made_by(Event::Removed(pointer), cause, absence);
                    self.count_gone(pointer, cause, &guard);
                    removed += u64::from(cause == RemovalCause::Explicit);
                    changes.push(change);
                }
            });
        }
        removed
    }

    /// As [`remove_where`](Self::remove_where), in a cache with an atomic listener: a step's worth of
    /// entries is judged, as far as their gates can be entered, then told and removed without a pin;
    /// and again, until all that the step has seen at first were judged.
    fn remove_told_where(
        &self,
        mut condition: impl FnMut(&K, &V) -> bool,
        absence: Absence,
    ) -> u64 {
        let engine = &self.shared.engine;
        engine.assert_changeable();
        let mut removed = 0;
        let mut cursor = Cursor::Start;
        while cursor != Cursor::End {
            let from = cursor;
            // What was seen and not judged; compared, not followed.
            let mut missed: Option<Vec<EntryPtr>> = None;
            let backoff = Backoff::new();
            loop {
                let (mut leaving, mut missed_again) = (Vec::new(), Vec::new());
                let guard = reclaim::pin();
                cursor = engine.table.step(from, &guard, |pointer, entry| {
                    if missed.as_ref().is_some_and(|missed| !missed.contains(&pointer)) {
                        return;
                    }
                    let Some(change) = engine.try_change(pointer, &guard) else {
                        missed_again.push(pointer);
                        return;
                    };
                    if !self.is_valid(pointer) || condition(&entry.key, &entry.value) {
                        leaving.push((pointer, change));
                    }
                });
                drop(guard);
                let has_judged = !leaving.is_empty();
                for (pointer, change) in leaving {
                    removed += u64::from(self.remove_told(pointer, change, absence));
                }
                if missed_again.is_empty() {
                    break;
                }
                missed = Some(missed_again);
                if !has_judged {
                    backoff.snooze();
                }
            }
        }
        removed
    }

    /// Takes out an entry that was found linked within the gate; says whether anybody saw it until
    /// then.
    fn remove_told<'e>(
        &'e self,
        pointer: EntryPtr,
        mut change: Change<'e, K, V>,
        absence: Absence,
    ) -> bool {
        let engine = &self.shared.engine;
        loop {
            let guard = reclaim::pin();
            let cause = || self.cause_now(pointer, RemovalCause::Explicit);
            if !change.announce_leaving(-1, pointer, cause) {
                drop(guard);
                let prepared = change.prepare(None);
                change = engine.change(pointer.hash(), prepared);
            } else if engine.table.remove_entry(pointer, &guard) {
                let cause = self.cause_of(pointer, RemovalCause::Explicit);
                change.made_by(Event::Removed(pointer), cause, absence);
                self.count_gone(pointer, cause, &guard);
                return cause == RemovalCause::Explicit;
            } else {
                return false;
            }
        }
    }
}
