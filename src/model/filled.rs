//! Fills of a key that is changed meanwhile.
#![forbid(unsafe_code)]

use std::sync::Arc;

use super::{Keep, Watched, table};
use crate::base::hash::KeyHash;
use crate::engine::fills::{Fills, OpenFill};
use crate::reclaim::pin;
use crate::table::Table;

/// A table with fills.
pub struct Filled {
    table: Table<u64, Watched>,
    fills: Arc<Fills<()>>,
    keep: Keep,
}

/// A fill that has begun.
pub struct Begun(OpenFill<()>);

impl Default for Filled {
    fn default() -> Self {
        Self { table: table(), fills: Fills::new(), keep: Keep::default() }
    }
}

impl Filled {
    pub fn begin(&self, key: u64) -> Begun {
        Begun(self.fills.open(KeyHash::from_raw(key)))
    }

    /// As `complete_fill`, if the key is absent. Returns whether the value was stored.
    pub fn complete(&self, fill: &Begun, value: u64) -> bool {
        let new = self.keep.entry(fill.0.hash.raw(), value);
        new.as_ptr().set_unconfirmed();
        let Ok(new) = self.table.insert_if_absent(new, |_| true, &pin()) else { return false };
        self.keep.keep(new);
        let confirm = || {
            new.confirm();
            true
        };
        let is_stored = fill.0.confirm(confirm).is_some();
        if !is_stored {
            self.table.remove_entry(new, &pin());
        }
        is_stored
    }

    /// As `complete_fill_replacing`. `None` if the value was not stored; otherwise whether it replaced
    /// one that lookups could see.
    pub fn complete_replacing(&self, fill: &Begun, value: u64) -> Option<bool> {
        let key = fill.0.hash.raw();
        let mut new = self.keep.entry(key, value);
        loop {
            let guard = pin();
            let found = self.table.get(fill.0.hash, |other| *other == key, &guard);
            let fresh = fill.0.lock_fresh()?;
            let was_visible = found.is_some_and(|(old, _)| !old.is_unconfirmed());
            let stored = match found {
                Some((old, _)) => self.table.replace_entry(old, new, &guard),
                None => {
                    let added = self.table.insert_if_absent(new, |_| true, &guard);
                    added.map_err(|(unused, _)| unused)
                }
            };
            match stored {
                Ok(stored) => {
                    fresh.note_changed();
                    self.keep.keep(stored);
                    return Some(was_visible);
                }
                Err(unused) => new = unused,
            }
        }
    }

    /// As `insert`.
    pub fn insert(&self, key: u64, value: u64) {
        let new = self.keep.entry(key, value);
        self.fills.mark(KeyHash::from_raw(key));
        let (new, _) = self.table.upsert(new, |_, _| true, &pin()).ok().expect("nothing declines");
        self.keep.keep(new);
    }

    /// Whether lookups could see the removed entry.
    pub fn remove(&self, key: u64) -> bool {
        self.fills.mark(KeyHash::from_raw(key));
        let guard = pin();
        let found =
            self.table.remove(KeyHash::from_raw(key), |other| *other == key, |_| true, &guard);
        found.is_some_and(|(entry, _)| !entry.is_unconfirmed())
    }

    pub fn get(&self, key: u64) -> Option<u64> {
        let guard = pin();
        let (entry, found) =
            self.table.get(KeyHash::from_raw(key), |other| *other == key, &guard)?;
        (!entry.is_unconfirmed()).then(|| found.value.read())
    }
}
