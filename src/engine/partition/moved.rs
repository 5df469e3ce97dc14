//! Entries whose deadlines were moved to an earlier time, so that their timers have to be set again.
#![forbid(unsafe_code)]

use super::Partition;
use crate::base::sync::{self, Ordering};
use crate::engine::evict::Evictor;
use crate::entry::EntryPtr;

impl<K, V> Partition<K, V> {
    /// Reports an entry whose deadline the caller has moved to an earlier time.
    pub(in crate::engine) fn note_moved(&self, entry: EntryPtr) {
        // SeqCst: between the caller's change of the deadline and the check for a node; pairs with the fence
        // in `Timers::watch_deadline`.
        sync::fence(Ordering::SeqCst);
        // If there is no node, the insertion is still to be applied, and will find the new deadline.
        let meta = entry.meta();
        let Some(node) = meta.node() else { return };
        if meta.set_moved() {
            let tag = entry.hash().tag();
            let mut moved = sync::lock(&self.moved);
            moved.push((node, tag));
            self.has_moved.store(true, Ordering::Relaxed);
        }
    }

    /// Whether the timer of an entry whose deadline was moved still has to be set.
    pub(in crate::engine) fn has_moved(&self) -> bool {
        // Relaxed: a caller that must not miss it has a fence before (`Engine::has_work`).
        self.has_moved.load(Ordering::Relaxed)
    }

    pub(super) fn set_moved_timers(&self, evictor: &mut Evictor) {
        if !self.has_moved() {
            return;
        }
        let moved = {
            let mut moved = sync::lock(&self.moved);
            self.has_moved.store(false, Ordering::Relaxed);
            std::mem::take(&mut *moved)
        };
        for (node, tag) in moved {
            evictor.watch(node, tag);
        }
    }

    /// Has the timers of expired entries fire again in the next run, because other threads are changing
    /// their keys now.
    #[cold]
    pub(super) fn postpone(&self, postponed: &[EntryPtr]) {
        let mut moved = sync::lock(&self.moved);
        for entry in postponed {
            let meta = entry.meta();
            if let Some(node) = meta.node()
                && meta.set_moved()
            {
                moved.push((node, entry.hash().tag()));
            }
        }
        self.has_moved.store(!moved.is_empty(), Ordering::Relaxed);
    }
}
