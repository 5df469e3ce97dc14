//! Entries that have left the table and are read once more, while their removal is notified.

use std::marker::PhantomData;

use crate::entry::{Entry, EntryPtr};

/// An entry that is not retired while this exists, so it can be read without a guard.
pub(crate) struct KeepAlive<K, V>(EntryPtr, PhantomData<fn() -> Entry<K, V>>);

impl<K, V> KeepAlive<K, V> {
    /// `entry` is of a `Table<K, V>`. Two callers may use this: the maintenance of the entry's
    /// partition, which must not retire `entry` before this was given back (`EntryMeta::hold`); and
    /// a thread within the gate of the entry's key that has found it linked there, until that
    /// thread takes it out (`listener::gates`).
    pub(crate) fn new(entry: EntryPtr) -> Self {
        Self(entry, PhantomData)
    }

    pub(crate) fn pointer(&self) -> EntryPtr {
        self.0
    }

    pub(crate) fn entry(&self) -> &Entry<K, V> {
        // SAFETY:
        // 1. Only `Owned<K, V>`s are in a `Table<K, V>`, so the types are right.
        // 2. Not retired while `self` exists, by the promise of `new`, and so alive while `self` is
        //    borrowed.
        unsafe { self.0.as_entry() }
    }
}
