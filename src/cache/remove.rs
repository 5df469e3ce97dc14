//! Removing one key.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, Hash};

use super::Cache;
use crate::base::cause::RemovalCause;
use crate::base::equivalent::Equivalent;
use crate::base::hash::KeyHash;
use crate::buffer::write_buffer::{ChangeKind, Event};
use crate::engine::history::Absence;
use crate::engine::{Attempt, Change, Incoming};
use crate::entry::{Entry, EntryPtr};
use crate::reclaim::Guard;
use crate::table::AttemptStage;

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// Removes `key` and returns its value; `None` if the key is absent. The value is cloned, because other
    /// threads may still be reading it.
    ///
    /// [`remove_if`](Self::remove_if) and [`remove_and_read`](Self::remove_and_read) remove without cloning;
    /// [`remove_entry`](Self::remove_entry) returns the key too.
    ///
    /// # Panics
    /// In a cache with an [atomic listener](crate::Builder::atomic_listener), if the call comes from within that
    /// listener, or from a closure or an [`Expiry`](crate::Expiry) that another change of the cache calls. Also, if it
    /// comes from within a listener, an executor or the `Drop` of a key or value of any cache, while another thread
    /// changes the same key, for which the call must not wait. Nothing has changed in that case. If the value's `Clone`
    /// panics, so does the call, and the entry has left.
    #[doc(alias = "invalidate")]
    pub fn remove<Q>(&self, key: &Q) -> Option<V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        V: Clone,
    {
        let hash = self.hash(key);
        self.remove_reading(key, hash, |_, value| value.clone())
    }

    /// Removes `key` if `condition` holds for its entry, and says whether it did.
    ///
    /// Only a judged value is removed: if another thread replaces the value meanwhile, `condition` is asked
    /// about the new one too. It runs pinned, like the closure of [`read`](Self::read).
    ///
    /// # Panics
    /// If `condition` does, and within listeners as [`remove`](Self::remove); the entry stays.
    pub fn remove_if<Q>(&self, key: &Q, mut condition: impl FnMut(&K, &V) -> bool) -> bool
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let hash = self.hash(key);
        let engine = &self.shared.engine;
        let mut found = None;
        let removed = engine.attempt(hash, &mut Incoming::none(), |change, _, guard| {
            // An entry that the listener was notified of has been judged, and no other thread can have
            // removed it, because this one is within the gate.
            if change.notified().is_none() {
                let Some((pointer, entry)) = self.find(key, hash, guard) else {
                    return Attempt::Done(false);
                };
                if !condition(&entry.key, &entry.value) {
                    return Attempt::Done(false);
                }
                found = Some(pointer);
            }
            let Some(pointer) = found else { return Attempt::Done(false) };
            if change.must_notify(pointer, || RemovalCause::Explicit) {
                return Attempt::Retry;
            }
            // Reserved under the guard: after it, the condition would have to be asked once more.
            change.reserve_pinned(ChangeKind::Remove);
            if !engine.table.remove_entry(pointer, guard) {
                return Attempt::Retry;
            }
            let cause = self.note_removed(change, pointer, Absence::Removed, guard);
            Attempt::Done(cause == RemovalCause::Explicit)
        });
        removed.unwrap_or_else(|refused| refused.panic())
    }

    /// Removes `key`, and returns what `read` returns for the stored key and its value.
    pub(super) fn remove_reading<Q, R>(
        &self,
        key: &Q,
        hash: KeyHash,
        read: impl FnOnce(&K, &V) -> R,
    ) -> Option<R>
    where
        Q: Equivalent<K> + ?Sized,
    {
        let engine = &self.shared.engine;
        let mut read = Some(read);
        let removed = engine.attempt(hash, &mut Incoming::none(), |change, _, guard| {
            let on_attempt = |stage: AttemptStage<(EntryPtr, &Entry<K, V>)>| {
                change.on_attempt(stage, |change, old| match old {
                    Some((old, _))
                        if change
                            .must_notify(old, || self.cause_now(old, RemovalCause::Explicit)) =>
                    {
                        None
                    }
                    _ => Some(ChangeKind::Remove),
                })
            };
            let is_match = move |stored: &K| key.equivalent(stored);
            let Some((pointer, entry)) = engine.table.remove(hash, is_match, on_attempt, guard)
            else {
                return if change.is_unprepared() { Attempt::Retry } else { Attempt::Done(None) };
            };
            let cause = self.note_removed(change, pointer, Absence::Removed, guard);
            let read = read.take().filter(|_| cause == RemovalCause::Explicit);
            // User code, such as the value's `clone`. If it panics, the change is still reported.
            Attempt::Done(read.map(|read| read(&entry.key, &entry.value)))
        });
        removed.unwrap_or_else(|refused| refused.panic())
    }

    /// Notes and counts an entry that `change` has taken out; returns why it left. The history remembers
    /// `explicit` as the reason if the user removed it.
    #[inline]
    pub(super) fn note_removed(
        &self,
        change: &mut Change<'_, K, V>,
        pointer: EntryPtr,
        explicit: Absence,
        guard: &Guard,
    ) -> RemovalCause {
        let cause = change.cause_of(pointer, || self.cause_of(pointer, RemovalCause::Explicit));
        change.commit_as(Event::Removed(pointer), cause, explicit);
        self.count_removal(pointer, cause, guard);
        cause
    }
}
