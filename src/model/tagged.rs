//! Entries with tags.
#![forbid(unsafe_code)]

use std::sync::Arc;

use super::{Keep, Watched, table};
use crate::base::hash::KeyHash;
use crate::entry::Deadline;
use crate::entry::{DeadlineSpec, EntryPtr, Owned};
use crate::reclaim::pin;
use crate::table::Table;
use crate::tags::{TagSet, Tags};

/// A table with entries that have a tag.
pub struct Tagged {
    table: Table<u64, Watched>,
    tags: Arc<Tags>,
    keep: Keep,
}

impl Default for Tagged {
    fn default() -> Self {
        Self { table: table(), tags: Tags::new(), keep: Keep::default() }
    }
}

impl Tagged {
    /// The value, if there is a valid one.
    pub fn get(&self, key: u64) -> Option<u64> {
        let guard = pin();
        let is_valid = |entry: EntryPtr| !entry.is_invalidated();
        let is_match = |other: &u64| *other == key;
        let mut found = self.table.get(KeyHash::from_raw(key), is_match, &guard)?;
        if !is_valid(found.0) {
            found = self.table.retry_get(
                found.0,
                KeyHash::from_raw(key),
                is_match,
                is_valid,
                &guard,
            )?;
        }
        Some(found.1.value.read())
    }

    pub fn insert(&self, key: u64, value: u64, tag: &str) {
        self.upsert(key, value, tag);
    }

    /// Whether the replaced entry had been invalidated; `None` if no entry was replaced.
    pub fn upsert(&self, key: u64, value: u64, tag: &str) -> Option<bool> {
        let tags = self.tags.hold([tag]).expect("one tag is allowed");
        let spec = DeadlineSpec {
            written_ns: Some(0),
            deadline_ns: Deadline::NEVER,
            limit_ns: None,
            has_computed: false,
        };
        let new =
            Owned::extended(KeyHash::from_raw(key), 1, key, Watched::new(value), spec, Some(tags));
        let done = self.table.upsert(new, |_, _| true, &pin());
        let (new, old) = done.ok().expect("nothing declines");
        self.keep.keep(new);
        old.map(|old| old.tags().is_some_and(TagSet::read_ordered))
    }

    /// Gives a tag to an entry that is never made.
    pub fn hold_unused(&self, tag: &str) {
        drop(self.tags.hold([tag]));
    }

    /// Whether there was an entry with the tag.
    pub fn invalidate(&self, tag: &str) -> bool {
        self.tags.invalidate(tag)
    }

    pub fn tag_count(&self) -> usize {
        self.tags.len()
    }
}
