//! What a snapshot takes from a cache and brings back into one.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, Hash};
use std::time::Duration;

use super::{Cache, EntryInfo};
use crate::error::{Inserted, Rejection};
use crate::expiry::Lifetime;
use crate::maintenance::Standings;
use crate::reclaim;
use crate::table::Cursor;

/// What is known of an entry from a snapshot, besides key and value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Restored {
    /// How long it may yet live; `None` for ever.
    pub(crate) ttl: Option<Duration>,
    /// Its counter of accesses.
    pub(crate) frequency: u8,
    /// What its policy restores it by; `None` if that was another policy.
    pub(crate) word: Option<u32>,
}

/// A walk over the entries of a cache, a bounded part of them at a time.
pub(crate) struct Saving<'c, K, V, S> {
    cache: &'c Cache<K, V, S>,
    standings: Standings,
    cursor: Cursor,
}

impl<'c, K, V, S> Saving<'c, K, V, S> {
    /// Asks the policies how the entries stand, which takes 8 bytes for each, and begins.
    pub(crate) fn new(cache: &'c Cache<K, V, S>) -> Self {
        cache.run_pending();
        Self { cache, standings: cache.shared.engine.standings(), cursor: Cursor::Start }
    }

    /// Shows the next some hundred entries with their warmth and the policy's word, pinned. False
    /// once all were shown. An entry that is there all the time is shown once.
    pub(crate) fn step(&mut self, mut show: impl FnMut(&K, &V, &EntryInfo, u32, u32)) -> bool {
        if self.cursor == Cursor::End {
            return false;
        }
        let guard = reclaim::pin();
        let cache = self.cache;
        self.cursor = cache.shared.engine.table.step(self.cursor, &guard, |pointer, entry| {
            // What invalidates tags may come while they are away.
            if cache.is_valid(pointer) && !pointer.is_tagged() {
                // One that came since stands where newcomers do.
                let standing = self.standings.of(pointer);
                let (warmth, word) = standing.map_or((0, 0), |it| (it.warmth, it.word));
                let warmth = if warmth == 0 { u32::MAX } else { warmth };
                show(&entry.key, &entry.value, &cache.info(pointer), warmth, word);
            }
        });
        true
    }
}

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// As [`insert`](Self::insert), of an entry that comes from a snapshot.
    pub(crate) fn restore(&self, key: K, value: V, restored: Restored) -> Inserted {
        if self.is_within_removal() {
            return self.reject(Rejection::WithinListener);
        }
        let hash = self.hash(&key);
        let weight = match self.weigh(&key, &value, hash) {
            Ok(weight) => weight,
            Err(rejection) => return self.reject_stored(rejection, hash),
        };
        let lifetime = restored.ttl.map_or(Lifetime::Usual, Lifetime::For);
        let new = self.entry(hash, weight, key, value, lifetime);
        if let Some(word) = restored.word {
            new.set_restored(restored.frequency, word);
        }
        self.store_entry(new, hash, None)
    }
}
