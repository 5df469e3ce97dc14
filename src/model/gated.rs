//! Removals that are told within gates.

use loom::cell::UnsafeCell;

use super::{Keep, Watched};
use crate::entry::EntryPtr;
use crate::listener::Gates;
use crate::reclaim::pin;
use crate::table::Table;

/// The table whose removals are told within gates, before they take effect.
pub struct Gated {
    table: Table<u64, Watched>,
    gates: Gates,
    /// What was told, in order: the listener's own memory, to which the gate is all the protection.
    told: UnsafeCell<Vec<(u64, Option<u64>)>>,
    keep: Keep,
}

// SAFETY: loom reports any access to `told` that is not ordered; that is the point.
unsafe impl Send for Gated {}
// SAFETY: as above.
unsafe impl Sync for Gated {}

impl Default for Gated {
    fn default() -> Self {
        Self {
            table: Table::new(0),
            gates: Gates::new(),
            told: UnsafeCell::new(Vec::new()),
            keep: Keep::default(),
        }
    }
}

impl Gated {
    pub fn get(&self, key: u64) -> Option<u64> {
        let guard = pin();
        self.table.get(key, |held| *held == key, &guard).map(|(_, entry)| entry.value.read())
    }

    pub fn upsert(&self, key: u64, value: u64) {
        let _entered = self.gates.enter(key).expect("a thread that is inside of nothing waits");
        let told = self.find(key).map(|old| self.tell(old, Some(value)));
        let done = self.table.upsert(self.keep.entry(key, value), |_, _| true, &pin());
        let (new, old) = done.ok().expect("nothing declines");
        self.keep.keep(new);
        assert!(old == told, "another one left than was told");
    }

    pub fn remove(&self, key: u64) -> bool {
        let _entered = self.gates.enter(key).expect("a thread that is inside of nothing waits");
        let Some(old) = self.find(key) else { return false };
        self.tell(old, None);
        assert!(self.table.remove_entry(old, &pin()), "told, and taken out by another thread");
        true
    }

    /// What maintenance does: `old` was found earlier, and may have left since.
    pub fn evict(&self, old: Victim) -> bool {
        let Some(_entered) = self.gates.try_enter(old.0.hash()) else { return false };
        if !self.table.is_linked(old.0, &pin()) {
            return false;
        }
        self.tell(old.0, None);
        assert!(self.table.remove_entry(old.0, &pin()), "told, and taken out by another thread");
        true
    }

    /// A victim for [`evict`](Self::evict).
    pub fn victim(&self, key: u64) -> Option<Victim> {
        self.find(key).map(Victim)
    }

    fn find(&self, key: u64) -> Option<EntryPtr> {
        self.table.get(key, |held| *held == key, &pin()).map(|(entry, _)| entry)
    }

    fn tell(&self, old: EntryPtr, new: Option<u64>) -> EntryPtr {
        // SAFETY: entries live until the model ends.
        let value = unsafe { old.as_entry::<u64, Watched>() }.value.read();
        // SAFETY: the pointer is valid; that nobody else is at it is what loom checks.
        self.told.with_mut(|told| unsafe { (*told).push((value, new)) });
        old
    }

    /// What was told, once all threads have ended.
    pub fn told(&self) -> Vec<(u64, Option<u64>)> {
        // SAFETY: as in `tell`.
        self.told.with(|told| unsafe { (*told).clone() })
    }
}

/// An entry of a [`Gated`] table.
#[derive(Clone, Copy)]
pub struct Victim(EntryPtr);
