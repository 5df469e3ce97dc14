//! What follows when an entry is in the table: it is reported to the engine, and that of a fill is confirmed.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, Hash};

use super::Cache;
use crate::base::cause::RemovalCause;
use crate::base::error::Inserted;
use crate::base::stats::Counter;
use crate::buffer::write_buffer::Event;
use crate::engine::Change;
use crate::engine::fills::OpenFill;
use crate::engine::flight::Flight;
use crate::entry::EntryPtr;
use crate::reclaim::Guard;

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// Reports that `new` is the first entry of its key.
    #[inline]
    pub(super) fn note_inserted(
        &self,
        change: &mut Change<'_, K, V>,
        new: EntryPtr,
        guard: &Guard,
    ) {
        change.commit(Event::Inserted(new), RemovalCause::Explicit);
        self.count(Counter::Inserts, guard);
    }

    /// Reports that `new` has taken the place of `old`. Whether `old` was valid is asked now, unless `was_valid` says it.
    #[inline]
    pub(super) fn note_replaced(
        &self,
        change: &mut Change<'_, K, V>,
        (old, new): (EntryPtr, EntryPtr),
        was_valid: Option<bool>,
        guard: &Guard,
    ) -> Inserted {
        let cause = change.cause_of(old, || match was_valid {
            Some(true) => RemovalCause::Replaced,
            _ => self.cause_of(old, RemovalCause::Replaced),
        });
        change.commit(Event::Replaced { new, old }, cause);
        match self.count_replaced(old, cause, guard) {
            true => Inserted::Replaced,
            false => Inserted::Added,
        }
    }

    /// Counts that an entry has left for `cause`, and another is in its place. False if `old` was not valid any more: then
    /// the other counts as added.
    #[inline]
    pub(super) fn count_replaced(&self, old: EntryPtr, cause: RemovalCause, guard: &Guard) -> bool {
        self.count_removal(old, cause, guard);
        let is_replacement = cause == RemovalCause::Replaced;
        if !is_replacement {
            self.count(Counter::Inserts, guard);
        }
        is_replacement
    }
}

/// Makes an entry of a fill visible, unless the fill has become stale. Says whether it did.
pub(super) fn try_confirm<K, V>(new: EntryPtr, fill: &OpenFill<Flight<K, V>>) -> bool {
    let confirm = || {
        new.confirm();
        true
    };
    fill.confirm(confirm).is_some()
}
