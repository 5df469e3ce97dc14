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

    /// Reports that `new` has taken the place of `old`. If `old` was not valid any more, `new` counts as added.
    ///
    /// Whether it was valid is asked now, unless `was_valid` says it.
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
        self.count_removal(old, cause, guard);
        if cause == RemovalCause::Replaced {
            return Inserted::Replaced;
        }
        self.count(Counter::Inserts, guard);
        Inserted::Added
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
