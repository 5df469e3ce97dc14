//! What a snapshot saves of the entries of a cache, and how it restores them.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, Hash};
use std::time::Duration;

use super::options::Traits;
use super::{Cache, EntryInfo};
use crate::base::error::{Inserted, Rejection};
use crate::base::hash::KeyHash;
use crate::base::prefetch::prefetch_pointees;
use crate::engine::Standings;
use crate::entry::{Entry, EntryPtr, Owned};
use crate::expiry::EntryTtl;
use crate::reclaim;
use crate::table::Cursor;
use crate::tags::TagSet;

/// What a snapshot restores of an entry besides key and value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Restored {
    /// Its remaining lifetime; `None` means for ever.
    pub(crate) ttl: Option<Duration>,
    /// Its counter of accesses.
    pub(crate) frequency: u8,
    /// The word by which the policy restores it; `None` if another policy saved it.
    pub(crate) word: Option<u32>,
}

/// What a snapshot saves of an entry besides key and value.
pub(crate) struct SavedMeta<'e> {
    /// When it expires, counted from the beginning of the save; `None` if never.
    pub(crate) expires_in: Option<Duration>,
    pub(crate) weight: u32,
    pub(crate) frequency: u8,
    /// How warm it is, and the word by which the policy restores it.
    pub(crate) warmth: u32,
    pub(crate) word: u32,
    pub(crate) tags: Option<&'e TagSet>,
    /// The namespace of the entry as a tag, if it has to be saved.
    pub(crate) namespace: Option<String>,
    pub(crate) is_unevictable: bool,
}

/// How many entries a snapshot leaves out, and why.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LeftOut {
    pub(crate) expired: u64,
    pub(crate) invalidated: u64,
}

/// A walk over the entries of a cache for a save, a bounded number of them at a time.
pub(crate) struct Saving<'c, K, V, S> {
    cache: &'c Cache<K, V, S>,
    standings: Standings,
    cursor: Cursor,
    begun_ns: u64,
    pub(crate) left_out: LeftOut,
}

impl<'c, K, V, S> Saving<'c, K, V, S> {
    /// Begins a save: asks the policies for the standings of all entries, which take 8 bytes for each.
    pub(crate) fn new(cache: &'c Cache<K, V, S>) -> Self {
        cache.run_pending();
        let engine = &cache.shared.engine;
        let (standings, begun_ns) = (engine.standings(), engine.timing.time.now_ns());
        let left_out = LeftOut::default();
        Self { cache, standings, cursor: Cursor::Start, begun_ns, left_out }
    }

    /// Calls `show`, pinned, for about a hundred more entries. Then calls `withdraw` with the index, among
    /// these, of each entry that is not valid any more; `show` may have caused that. Returns false once all
    /// entries were shown. An entry that is in the cache during the whole save is shown once.
    pub(crate) fn step(
        &mut self,
        mut show: impl FnMut(&K, &V, SavedMeta<'_>),
        mut withdraw: impl FnMut(usize),
    ) -> bool {
        if self.cursor == Cursor::End {
            return false;
        }
        let guard = reclaim::pin();
        let Self { cache, standings, left_out, .. } = self;
        let (cache, begun_ns) = (*cache, self.begun_ns);
        let preview = |pointer: EntryPtr, entry: &Entry<K, V>| {
            standings.prefetch(pointer);
            prefetch_pointees(&entry.key);
            prefetch_pointees(&entry.value);
        };
        let mut shown = Vec::new();
        let visit = |pointer: EntryPtr, entry: &Entry<K, V>| {
            if !left_out.takes(cache, pointer) {
                shown.push(pointer);
                show(&entry.key, &entry.value, cache.saved_meta(&pointer, standings, begun_ns));
            }
        };
        let table = &cache.shared.engine.table;
        self.cursor = table.step_with_preview(self.cursor, &guard, preview, visit);
        for (index, pointer) in shown.into_iter().enumerate() {
            if left_out.takes(cache, pointer) {
                withdraw(index);
            }
        }
        true
    }
}

impl LeftOut {
    /// Whether the entry is not valid and so is left out; counts it then.
    fn takes<K, V, S>(&mut self, cache: &Cache<K, V, S>, pointer: EntryPtr) -> bool {
        if cache.is_valid(pointer) {
            return false;
        }
        match pointer.is_invalidated() {
            true => self.invalidated += 1,
            false => self.expired += 1,
        }
        true
    }
}

impl<K, V, S> Cache<K, V, S> {
    /// What a save that began at `begun_ns` stores of an entry.
    fn saved_meta<'e>(
        &self,
        pointer: &'e EntryPtr,
        standings: &Standings,
        begun_ns: u64,
    ) -> SavedMeta<'e> {
        // An entry that was inserted after the save began has no standing, and is saved as the warmest.
        let standing = standings.of(*pointer);
        let (warmth, word) = standing.map_or((0, 0), |it| (it.warmth, it.word));
        let EntryInfo { expires_in, weight, frequency, .. } = self.info(*pointer);
        let passed_ns = self.shared.engine.timing.time.now_ns().saturating_sub(begun_ns);
        SavedMeta {
            expires_in: expires_in.map(|left| left + Duration::from_nanos(passed_ns)),
            weight,
            frequency,
            warmth: if warmth == 0 { u32::MAX } else { warmth },
            word,
            tags: pointer.tags(),
            namespace: self.saved_namespace(pointer.tags()),
            is_unevictable: pointer.meta().is_unevictable(),
        }
    }
}

/// An entry from a snapshot that is not in the cache yet.
pub(crate) struct Arrival<K, V> {
    entry: Owned<K, V>,
    /// Arrivals are inserted in this order: the warmth, and the number in the snapshot.
    place: (u32, u32),
    weight: u32,
}

impl<K, V> Arrival<K, V> {
    /// Arrivals are inserted in this order: the warmth, and the number in the snapshot.
    pub(crate) fn place(&self) -> (u32, u32) {
        self.place
    }

    pub(crate) fn weight(&self) -> u32 {
        self.weight
    }
}

/// How many arrivals were inserted, and what became of them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Arrived {
    pub(crate) entries: u64,
    /// Arrivals that replaced an entry of the same key.
    pub(crate) replaced: u64,
    /// Arrivals that have been evicted since.
    pub(crate) evicted: u64,
}

/// How many arrivals ahead memory is prefetched: the entry itself, then the head of its bucket, then the
/// entry behind that head.
const ENTRIES_AHEAD: usize = 24;
const BUCKETS_AHEAD: usize = 16;
const NEIGHBOURS_AHEAD: usize = 8;

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// Makes an entry from what a snapshot has of it, for [`restore`](Self::restore). The cache does not
    /// change. An entry that is refused, because it is too heavy for instance, is returned as its hash and
    /// the reason.
    ///
    /// If one of its tags is invalidated from now on, the entry is invalid too.
    pub(crate) fn arrival<'t>(
        &self,
        key: K,
        value: V,
        restored: Restored,
        tags: impl IntoIterator<Item = &'t str>,
        place: (u32, u32),
    ) -> Result<Arrival<K, V>, (Rejection, KeyHash)> {
        let hash = self.hash(&key);
        if self.is_within_removal() {
            return Err((Rejection::WithinListener, hash));
        }
        let weight = self.weigh(&key, &value, hash).map_err(|rejection| (rejection, hash))?;
        let lifetime = restored.ttl.map_or(EntryTtl::Default, EntryTtl::For);
        let (namespace, tags) = self.split_saved_tags(tags);
        let tags = self.hold_tags(tags).map_err(|rejection| (rejection, hash))?;
        let traits = Traits { lifetime, tags, namespace, ..Traits::default() };
        let entry = self.make(hash, weight.units, key, value, traits);
        if let Some(word) = restored.word {
            entry.set_restored(restored.frequency, word);
        }
        Ok(Arrival { entry, place, weight: weight.units })
    }

    /// Inserts all arrivals, in the order of their places.
    pub(crate) fn restore(&self, mut arrivals: Vec<Arrival<K, V>>) -> Arrived {
        if arrivals.is_empty() {
            return Arrived::default();
        }
        arrivals.sort_unstable_by_key(|arrival| arrival.place);
        let mut arrived = Arrived { entries: arrivals.len() as u64, ..Arrived::default() };
        let hashes: Vec<KeyHash> = arrivals.iter().map(|it| it.entry.as_ptr().hash()).collect();
        let evictions = || self.stats().evictions;
        let evictions_before = evictions();
        let table = &self.shared.engine.table;
        let mut arrivals = arrivals.into_iter();
        while let Some(arrival) = arrivals.next() {
            let next = arrivals.as_slice();
            let ahead = |count: usize| next.get(count).map(|arrival| arrival.entry.as_ptr());
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
            let _loan = self.borrow_for_arrival(&arrival.entry, hash);
            let stored = self.store_entry(arrival.entry, hash, None, |_| ());
            arrived.replaced += u64::from(stored == Inserted::Replaced);
        }
        self.run_pending();
        let evicted = evictions() - evictions_before;
        if evicted > 0 {
            // Other entries may have been evicted instead of arrivals, and by other threads.
            let is_gone = |hash: &&KeyHash| table.get(**hash, |_| true, &reclaim::pin()).is_none();
            let gone = hashes.iter().filter(is_gone).count() as u64;
            arrived.evicted = gone.min(evicted);
        }
        arrived
    }

    /// Counts and remembers the refusal of an entry of a snapshot.
    pub(crate) fn refuse_arrival(&self, (rejection, hash): (Rejection, KeyHash)) {
        self.reject_and_note(rejection, hash);
    }
}
