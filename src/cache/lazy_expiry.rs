//! The verbs of a cache with lazy expiry: they tell an expired key from a missing one, and remove
//! it when they find it.
//!
//! Each is one atomic step of the table, so the states of a key change one after the other however
//! many threads are at it:
//!
//! | from | to | who, when |
//! |---|---|---|
//! | missing | valid | an insertion |
//! | valid | valid | an insertion, a replacement |
//! | valid | missing | a removal, an eviction |
//! | valid | expired | time |
//! | expired | missing | `take_expired`, `remove_stating`, `sweep`: exactly one of those that compete |
//! | expired | valid | an insertion |
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, Hash};

use super::Cache;
use crate::base::cause::RemovalCause;
use crate::base::equivalent::Equivalent;
use crate::buffer::write_buffer::ChangeKind;
use crate::engine::history::Absence;
use crate::engine::{Attempt, Incoming};
use crate::reclaim;
use crate::table::Cursor;

/// What a key is to its cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyState {
    /// Not there.
    Missing,
    /// There, though its deadline has passed.
    Expired,
    /// There.
    Valid,
}

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// Removes `key` if it has expired. Says what it was; only one caller learns of an expiry.
    pub(crate) fn take_expired<Q>(&self, key: &Q) -> KeyState
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.take(key, |state| state == KeyState::Expired)
    }

    /// Removes `key`. Says what it was.
    pub(crate) fn remove_stating<Q>(&self, key: &Q) -> KeyState
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.take(key, |_| true)
    }

    fn take<Q>(&self, key: &Q, is_taken: impl Fn(KeyState) -> bool) -> KeyState
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let hash = self.hash(key);
        let engine = &self.shared.engine;
        let found = engine.attempt(hash, &mut Incoming::none(), |change, _, guard| {
            let found = engine.table.get(hash, move |held| key.equivalent(held), guard);
            let Some((pointer, _)) = found else { return Attempt::Done(KeyState::Missing) };
            let state = if self.is_valid(pointer) { KeyState::Valid } else { KeyState::Expired };
            if !is_taken(state) {
                return Attempt::Done(state);
            }
            let cause = || self.cause_now(pointer, RemovalCause::Explicit);
            if change.must_notify(pointer, cause)
                || !change.reserve(ChangeKind::Remove)
                || !engine.table.remove_entry(pointer, guard)
            {
                return Attempt::Retry;
            }
            // It may have expired since.
            let cause = self.note_removed(change, pointer, Absence::Removed, guard);
            let had_expired = cause == RemovalCause::Expired;
            Attempt::Done(if had_expired { KeyState::Expired } else { KeyState::Valid })
        });
        found.unwrap_or_else(|refused| refused.panic())
    }

    /// Removes everything that is there when the call begins; returns how many entries that were,
    /// and how many of them had expired.
    pub(crate) fn clear_counting(&self) -> (u64, u64) {
        let (mut all, mut expired) = (0, 0);
        let engine = &self.shared.engine;
        let mut cursor = Cursor::Start;
        while cursor != Cursor::End {
            // Before the guard, so that they are dropped, and maintenance runs, after it.
            let mut changes = Vec::new();
            let guard = reclaim::pin();
            cursor = engine.table.step(cursor, &guard, |pointer, _| {
                let mut change = engine.change_within(pointer.hash());
                change.reserve_pinned(ChangeKind::Remove);
                if engine.table.remove_entry(pointer, &guard) {
                    let cause = self.note_removed(&mut change, pointer, Absence::Removed, &guard);
                    all += 1;
                    expired += u64::from(cause == RemovalCause::Expired);
                    changes.push(change);
                }
            });
        }
        (all, expired)
    }

    /// How many entries have not expired. As weakly consistent as an iteration.
    pub(crate) fn count_valid(&self) -> usize {
        self.census().valid_len
    }

    /// Removes all that has expired.
    ///
    /// # Complexity
    /// O(entries that have expired): nothing is looked at that has not.
    pub(crate) fn sweep(&self) {
        self.shared.engine.sweep();
    }
}
