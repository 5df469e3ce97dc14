//! The listener that is called within each removal.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use super::Removal;
use super::gates::{Entered, Gates};
use super::setting::Listen;
use crate::base::cause::RemovalCause;
use crate::base::panics::contain;
use crate::base::reentrancy::{self, Inside, Scope};
use crate::base::sync::{AtomicU64, Ordering};
use crate::entry::EntryPtr;
use crate::reclaim::KeepAlive;

/// The atomic listener of a cache, with the gates in which it is called.
pub(crate) struct AtomicListening<K, V> {
    listen: Arc<Listen<K, V>>,
    pub(crate) gates: Gates,
    pub(crate) panics: AtomicU64,
}

/// An entry that maintenance is about to take out. No other thread can change its key, because
/// maintenance is within its gate.
pub(crate) struct PendingRemoval<'g> {
    pub(crate) gate: Entered<'g>,
    pub(crate) entry: EntryPtr,
    pub(crate) cause: RemovalCause,
}

impl<K, V> AtomicListening<K, V> {
    pub(crate) fn new(listen: Arc<Listen<K, V>>) -> Self {
        Self { listen, gates: Gates::new(), panics: AtomicU64::new(0) }
    }

    /// Calls the listener. The thread must have found `entry` linked within its gate and still be within
    /// it, must not be pinned, and must hold no lock.
    pub(crate) fn notify(
        &self,
        entry: EntryPtr,
        cause: RemovalCause,
        new_value: Option<&V>,
        age: Duration,
    ) {
        let old = KeepAlive::<K, V>::new(entry);
        let removal = Removal {
            key: &old.entry().key,
            value: &old.entry().value,
            new_value: new_value.filter(|_| cause == RemovalCause::Replaced),
            weight: entry.meta().weight(),
            age,
            cause,
        };
        let _inside = reentrancy::enter(Scope::AtomicListener, self);
        if contain(|| (self.listen)(&removal)).is_none() {
            self.panics.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether this thread must not change the cache: it is inside the listener, or within a gate, in a user's closure
    /// that a change calls.
    #[inline(never)]
    pub(crate) fn refuses_changes(&self) -> bool {
        reentrancy::is_inside(Scope::AtomicListener, self) || self.gates.is_within_any()
    }

    /// Whether this thread is taking out an entry that a run of maintenance chose. Then a nested run
    /// must choose none.
    pub(crate) fn is_evicting(&self) -> bool {
        reentrancy::is_inside(Scope::Evicting, self)
    }

    /// Notes that this thread takes out an entry that maintenance chose, until the result is dropped.
    pub(crate) fn enter_eviction(&self) -> Inside {
        reentrancy::enter(Scope::Evicting, self)
    }
}
