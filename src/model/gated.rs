//! Removals that are notified within gates.

use loom::cell::UnsafeCell;

use super::{Keep, Watched, table};
use crate::base::hash::KeyHash;
use crate::entry::EntryPtr;
use crate::listener::Gates;
use crate::reclaim::pin;
use crate::table::Table;

/// A table whose removals are notified within gates, before they take effect.
pub struct Gated {
    table: Table<u64, Watched>,
    gates: Gates,
    /// The notifications in order: the listener's own memory, which only the gate protects.
    notified: UnsafeCell<Vec<(u64, Option<u64>)>>,
    keep: Keep,
}

// SAFETY: loom reports any access to `notified` that is not ordered, which is the purpose.
unsafe impl Send for Gated {}
// SAFETY: as above.
unsafe impl Sync for Gated {}

impl Default for Gated {
    fn default() -> Self {
        Self {
            table: table(),
            gates: Gates::new(),
            notified: UnsafeCell::new(Vec::new()),
            keep: Keep::default(),
        }
    }
}

impl Gated {
    pub fn get(&self, key: u64) -> Option<u64> {
        let guard = pin();
        self.table
            .get(KeyHash::from_raw(key), |other| *other == key, &guard)
            .map(|(_, entry)| entry.value.read())
    }

    pub fn upsert(&self, key: u64, value: u64) {
        let _entered =
            self.gates.enter(KeyHash::from_raw(key)).expect("a thread in no scope may wait");
        let notified = self.find(key).map(|old| self.notify(old, Some(value)));
        let done = self.table.upsert(self.keep.entry(key, value), |_, _| true, &pin());
        let (new, old) = done.ok().expect("nothing declines");
        self.keep.keep(new);
        assert!(old == notified, "an entry left that was not notified");
    }

    pub fn remove(&self, key: u64) -> bool {
        let _entered =
            self.gates.enter(KeyHash::from_raw(key)).expect("a thread in no scope may wait");
        let Some(old) = self.find(key) else { return false };
        self.notify(old, None);
        assert!(self.table.remove_entry(old, &pin()), "another thread took out the notified entry");
        true
    }

    /// As maintenance does: `old` was found earlier, and may have left since.
    pub fn evict(&self, old: Victim) -> bool {
        let Some(_entered) = self.gates.try_enter(old.0.hash()) else { return false };
        if !self.table.is_linked(old.0, &pin()) {
            return false;
        }
        self.notify(old.0, None);
        assert!(
            self.table.remove_entry(old.0, &pin()),
            "another thread took out the notified entry"
        );
        true
    }

    /// A victim for [`evict`](Self::evict).
    pub fn victim(&self, key: u64) -> Option<Victim> {
        self.find(key).map(Victim)
    }

    fn find(&self, key: u64) -> Option<EntryPtr> {
        self.table
            .get(KeyHash::from_raw(key), |other| *other == key, &pin())
            .map(|(entry, _)| entry)
    }

    fn notify(&self, old: EntryPtr, new: Option<u64>) -> EntryPtr {
        // SAFETY: entries live until the model ends.
        let value = unsafe { old.as_entry::<u64, Watched>() }.value.read();
        // SAFETY: the pointer is valid; loom checks that no other thread accesses it.
        self.notified.with_mut(|notified| unsafe { (*notified).push((value, new)) });
        old
    }

    /// The notifications, once all threads have ended.
    pub fn notified(&self) -> Vec<(u64, Option<u64>)> {
        // SAFETY: as in `notify`.
        self.notified.with(|notified| unsafe { (*notified).clone() })
    }
}

/// An entry of a [`Gated`] table.
#[derive(Clone, Copy)]
pub struct Victim(EntryPtr);
