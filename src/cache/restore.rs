//! What a snapshot takes from a cache and brings back into one.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, Hash};
use std::time::Duration;

use super::{Cache, EntryInfo};
use crate::entry::{Entry, EntryPtr, Owned};
use crate::error::Rejection;
use crate::expiry::Lifetime;
use crate::maintenance::Standings;
use crate::reclaim;
use crate::table::{Cursor, prefetch_pointees};

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
        let look = |pointer: EntryPtr, entry: &Entry<K, V>| {
            self.standings.prefetch(pointer);
            prefetch_pointees(&entry.key);
            prefetch_pointees(&entry.value);
        };
        let visit = |pointer: EntryPtr, entry: &Entry<K, V>| {
            // What invalidates tags may come while they are away.
            if cache.is_valid(pointer) && !pointer.is_tagged() {
                // One that came since stands where newcomers do.
                let standing = self.standings.of(pointer);
                let (warmth, word) = standing.map_or((0, 0), |it| (it.warmth, it.word));
                let warmth = if warmth == 0 { u32::MAX } else { warmth };
                show(&entry.key, &entry.value, &cache.info(pointer), warmth, word);
            }
        };
        let table = &cache.shared.engine.table;
        self.cursor = table.step_looking_ahead(self.cursor, &guard, look, visit);
        true
    }
}

/// An entry from a snapshot that no cache has yet.
pub(crate) struct Arrival<K, V> {
    entry: Owned<K, V>,
    /// What to put in first, and in which order of those that are alike.
    place: (u32, u32),
}

/// How many arrivals ahead memory is asked for: the entry itself, then the head of its bucket,
/// then what that leads to.
const ENTRIES_AHEAD: usize = 24;
const BUCKETS_AHEAD: usize = 16;
const NEIGHBOURS_AHEAD: usize = 8;

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// Makes the entry of an [`insert`](Self::insert) from what a snapshot knows of it, while its
    /// key is at hand. Nothing of the cache changes. What is too heavy is refused, with its hash.
    pub(crate) fn arrival(
        &self,
        key: K,
        value: V,
        restored: Restored,
        place: (u32, u32),
    ) -> Result<Arrival<K, V>, (Rejection, u64)> {
        let hash = self.hash(&key);
        if self.is_within_removal() {
            return Err((Rejection::WithinListener, hash));
        }
        let weight = self.weigh(&key, &value, hash).map_err(|rejection| (rejection, hash))?;
        let lifetime = restored.ttl.map_or(Lifetime::Usual, Lifetime::For);
        let entry = self.entry(hash, weight, key, value, lifetime);
        if let Some(word) = restored.word {
            entry.set_restored(restored.frequency, word);
        }
        Ok(Arrival { entry, place })
    }

    /// Puts all arrivals in, by their places. Returns how many that are.
    pub(crate) fn restore(&self, mut arrivals: Vec<Arrival<K, V>>) -> u64 {
        let count = arrivals.len() as u64;
        arrivals.sort_unstable_by_key(|arrival| arrival.place);
        let table = &self.shared.engine.table;
        let mut arrivals = arrivals.into_iter();
        while let Some(arrival) = arrivals.next() {
            let behind = arrivals.as_slice();
            let ahead = |count: usize| behind.get(count).map(|arrival| arrival.entry.as_ptr());
            if let Some(entry) = ahead(ENTRIES_AHEAD) {
                entry.prefetch();
            }
            if let Some(entry) = ahead(BUCKETS_AHEAD) {
                table.prefetch_bucket(entry.hash());
            }
            if let Some(entry) = ahead(NEIGHBOURS_AHEAD) {
                table.prefetch_entry(entry.hash());
            }
            let hash = arrival.entry.as_ptr().hash();
            self.store_entry(arrival.entry, hash, None, |_| ());
        }
        count
    }

    /// Counts an entry of a snapshot that was refused.
    pub(crate) fn refuse_arrival(&self, (rejection, hash): (Rejection, u64)) {
        self.reject_stored(rejection, hash);
    }
}
