//! Entries that have left the table and are read once more, by whoever is notified of it.

use std::marker::PhantomData;

use crate::entry::{Entry, EntryPtr};

/// An entry that is not retired while this exists, and so can be read without a guard.
pub(crate) struct KeepAlive<K, V>(EntryPtr, PhantomData<fn() -> Entry<K, V>>);

impl<K, V> KeepAlive<K, V> {
    /// For the maintenance of the entry's partition, which must not retire `entry`, of a
    /// `Table<K, V>`, before it has got this back (`EntryMeta::hold`); and for whoever is within
    /// the gate of the entry's key and has found it linked there, until he takes it out
    /// (`listener::gates`).
    pub(crate) fn new(entry: EntryPtr) -> Self {
        Self(entry, PhantomData)
    }

    pub(crate) fn pointer(&self) -> EntryPtr {
        self.0
    }

    pub(crate) fn entry(&self) -> &Entry<K, V> {
        // SAFETY:
        // 1. Only `Owned<K, V>`s are in a `Table<K, V>`, so the types are right.
        // 2. Not retired while `self` exists: the promise of `new`, so alive while `self` is
        //    borrowed.
        unsafe { self.0.as_entry() }
    }
}
