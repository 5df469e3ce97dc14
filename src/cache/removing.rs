//! The verbs that remove one key.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, Hash};

use super::Cache;
use crate::base::cause::RemovalCause;
use crate::base::equivalent::Equivalent;
use crate::entry::{Entry, EntryPtr};
use crate::reclaim;
use crate::table::Step;

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
        let (mut prepared, mut found) = (None, None);
        loop {
            let admitted = engine.admit(hash, prepared.take());
            let admitted = admitted.unwrap_or_else(|refused| refused.panic());
            let mut change = engine.change(hash, admitted);
            let guard = reclaim::pin();
            // Judged once, and within the gate no other thread can have taken it out.
            if change.notified().is_none() {
                let Some((pointer, entry)) = self.find(key, hash, &guard) else {
                    return false;
                };
                if !condition(&entry.key, &entry.value) {
                    return false;
                }
                found = Some(pointer);
            }
            let Some(pointer) = found else { return false };
            if change.must_notify(pointer, || RemovalCause::Explicit) {
                drop(guard);
                prepared = change.prepare(None);
                continue;
            }
            // Still under the guard, or the condition would have to be asked once more.
            change.announce_pinned(-1);
            if engine.table.remove_entry(pointer, &guard) {
                let cause = || self.cause_of(pointer, RemovalCause::Explicit);
                let cause = change.cause_of(pointer, cause);
                change.removed(pointer, cause);
                self.count_gone(pointer, cause, &guard);
                return cause == RemovalCause::Explicit;
            }
        }
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
        let mut prepared = None;
        loop {
            // Reported also if `take`, which may be the value's `clone`, panics.
            let admitted = engine.admit(hash, prepared.take());
            let admitted = admitted.unwrap_or_else(|refused| refused.panic());
            let mut change = engine.change(hash, admitted);
            let guard = reclaim::pin();
            let steps = |step: Step<(EntryPtr, &Entry<K, V>)>| match step {
                Step::Found(None) => change.announce(-1),
                Step::Found(Some((old, _))) => {
                    let cause = || self.cause_now(old, RemovalCause::Explicit);
                    !change.must_notify(old, cause) && change.announce(-1)
                }
                Step::Failed => {
                    change.withdraw();
                    true
                }
            };
            let is_match = move |held: &K| key.equivalent(held);
            let Some((pointer, entry)) = engine.table.remove(hash, is_match, steps, &guard) else {
                if !change.is_unprepared() {
                    return None;
                }
                drop(guard);
                prepared = change.prepare(None);
                continue;
            };
            let cause = change.cause_of(pointer, || self.cause_of(pointer, RemovalCause::Explicit));
            change.removed(pointer, cause);
            self.count_gone(pointer, cause, &guard);
            return (cause == RemovalCause::Explicit).then(|| take(&entry.key, &entry.value));
        }
    }
}
