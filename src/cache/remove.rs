//! The verbs that remove one key.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, Hash};

use super::Cache;
use crate::base::cause::RemovalCause;
use crate::base::equivalent::Equivalent;
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
    /// Removes `key` and returns its value, cloned: another thread may still be reading it.
    ///
    /// [`remove_if`](Self::remove_if) and [`remove_and_read`](Self::remove_and_read) remove without
    /// cloning, [`remove_entry`](Self::remove_entry) returns the key too.
    pub fn remove<Q>(&self, key: &Q) -> Option<V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        V: Clone,
    {
        let hash = self.hash(key);
        self.remove_with(key, hash, V::clone)
    }

    /// Removes `key` if `condition` holds for its entry, and says whether it did.
    ///
    /// What was judged is what is removed: should another thread replace the value in between,
    /// `condition` is asked again about the new one. It runs pinned, like the closure of
    /// [`read`](Self::read).
    pub fn remove_if<Q>(&self, key: &Q, mut condition: impl FnMut(&K, &V) -> bool) -> bool
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let hash = self.hash(key);
        let engine = &self.shared.engine;
        let mut found = None;
        let removed = engine.attempt(hash, &mut Incoming::none(), |change, _, guard| {
            // Judged once, and within the gate no other thread can have taken it out.
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
            // Still under the guard, or the condition would have to be asked once more.
            change.reserve_pinned(ChangeKind::Remove);
            if !engine.table.remove_entry(pointer, guard) {
                return Attempt::Retry;
            }
            let cause = self.note_removed(change, pointer, Absence::Removed, guard);
            Attempt::Done(cause == RemovalCause::Explicit)
        });
        removed.unwrap_or_else(|refused| refused.panic())
    }

    pub(super) fn remove_with<Q, R>(
        &self,
        key: &Q,
        hash: u64,
        take: impl FnOnce(&V) -> R,
    ) -> Option<R>
    where
        Q: Equivalent<K> + ?Sized,
    {
        self.remove_reading(key, hash, |_, value| take(value))
    }

    /// The same with the key that was stored.
    pub(super) fn remove_reading<Q, R>(
        &self,
        key: &Q,
        hash: u64,
        take: impl FnOnce(&K, &V) -> R,
    ) -> Option<R>
    where
        Q: Equivalent<K> + ?Sized,
    {
        let engine = &self.shared.engine;
        let mut take = Some(take);
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
            let is_match = move |held: &K| key.equivalent(held);
            let Some((pointer, entry)) = engine.table.remove(hash, is_match, on_attempt, guard)
            else {
                return if change.is_unprepared() { Attempt::Retry } else { Attempt::Done(None) };
            };
            let cause = self.note_removed(change, pointer, Absence::Removed, guard);
            let take = take.take().filter(|_| cause == RemovalCause::Explicit);
            // User code, perhaps the value's `clone`. If it panics, the change is reported all the same.
            Attempt::Done(take.map(|take| take(&entry.key, &entry.value)))
        });
        removed.unwrap_or_else(|refused| refused.panic())
    }

    /// Reports an entry that `change` has taken out, and counts it; returns why it has left. `explicit` is
    /// what is remembered of a removal by the user.
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
        self.count_gone(pointer, cause, guard);
        cause
    }
}
