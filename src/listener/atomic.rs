//! The listener that runs within each removal.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use super::gates::{Entered, Gates};
use super::nest::{Nest, Nested, is_in};
use super::setting::Listen;
use super::{Removal, RemovalCause};
use crate::contain::contain;
use crate::entry::EntryPtr;
use crate::reclaim::Kept;
use crate::sync::{AtomicU64, Ordering};

/// An atomic listener at work.
pub(crate) struct AtomicListening<K, V> {
    listen: Arc<Listen<K, V>>,
    pub(crate) gates: Gates,
    pub(crate) panics: AtomicU64,
}

/// An entry that the listener was told of, and that leaves next: nobody else can change its key.
pub(crate) struct Leaving<'g> {
    /// `None` if another one that was found before, and leaves after it, has it.
    pub(crate) gate: Option<Entered<'g>>,
    pub(crate) entry: EntryPtr,
    pub(crate) cause: RemovalCause,
}

thread_local! {
    /// The atomic listeners that this thread is within, the innermost last.
    static WITHIN: Nest = const { Nest::new(Vec::new()) };
    /// Those for whose caches it is taking out what maintenance has found.
    static TAKING_OUT: Nest = const { Nest::new(Vec::new()) };
}

impl<K, V> AtomicListening<K, V> {
    pub(crate) fn new(listen: Arc<Listen<K, V>>) -> Self {
        Self { listen, gates: Gates::new(), panics: AtomicU64::new(0) }
    }

    /// Calls the listener. The entry must have been found linked within the gate; the thread must
    /// not be pinned and must hold no lock.
    pub(crate) fn tell(&self, leaving: &Leaving<'_>, new_value: Option<&V>, age: Duration) {
        let old = Kept::<K, V>::new(leaving.entry);
        let removal = Removal {
            key: &old.entry().key,
            value: &old.entry().value,
            new_value: new_value.filter(|_| leaving.cause == RemovalCause::Replaced),
            weight: leaving.entry.upkeep().weight(),
            age,
            cause: leaving.cause,
        };
        let _within = Nested::enter(&WITHIN, self);
        if contain(|| (self.listen)(&removal)).is_none() {
            self.panics.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether this thread must not change the cache: it is within the listener, or within a gate,
    /// in a closure of the user's that a change asks.
    #[inline(never)]
    pub(crate) fn refuses_changes(&self) -> bool {
        is_in(&WITHIN, self) || self.gates.is_within_any()
    }

    /// Whether this thread is taking out what a run of maintenance has found: it is within gates,
    /// and another run must find nothing more.
    pub(crate) fn is_taking_out(&self) -> bool {
        is_in(&TAKING_OUT, self)
    }

    /// Notes that it is, until the result is dropped.
    pub(crate) fn take_out(&self) -> Nested {
        Nested::enter(&TAKING_OUT, self)
    }
}
