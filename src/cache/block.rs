//! Blocks of keys that are read ahead, so that the memory for all of them is fetched at the same time.
//!
//! In a large cache a lookup mostly waits for memory: for the bucket, then for its first entry, then
//! perhaps for what the key or the value points to. A block prefetches all its buckets, then all its first
//! entries, then whatever those entries lead to. After that, its keys are handled one after the other,
//! each as if it came alone. The idea is group prefetching (Chen, Ailamaki, Gibbons and Mowry, "Improving
//! Hash Join Performance through Prefetching", ICDE 2004).
//!
//! The iterator and the `Hash` of keys are user code, and run under no guard of the block. If they panic,
//! the keys before are handled first, as in a loop; then the panic resumes.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, Hash};
use std::panic;

use super::Cache;
use crate::base::equivalent::Equivalent;
use crate::base::hash::KeyHash;
use crate::base::panics::{Payload, catch};
use crate::reclaim::{self, Guard};
use crate::table::Table;

/// The most keys of a block. The time in which a block of that many is hashed is longer than the
/// processor waits for memory, so larger ones gain nothing; and its guard is held for that many keys.
const BLOCK: usize = 64;

/// The most keys for which no block is made, because it would cost more than it gains.
const FEW_KEYS: usize = 6;

/// The most buckets of a table for which no block is made, because such a table and its entries are mostly
/// in the processor's caches: half a megabyte of buckets, and at most half as many entries.
const FEW_BUCKETS: usize = 1 << 15;

/// The most bytes of pairs that are read ahead.
const MAX_PAIR_BYTES: usize = 1 << 16;

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// Whether a verb for `count` keys reads them ahead.
    #[inline]
    pub(super) fn reads_ahead(&self, count: usize) -> bool {
        count > FEW_KEYS && self.shared.engine.table.buckets() > FEW_BUCKETS
    }

    /// Looks up the keys of a block, one after the other, and passes each value to `found`.
    #[inline]
    pub(super) fn look_up_block<'g, Q>(
        &self,
        block: &KeyBlock<'_, Q>,
        guard: &'g Guard,
        mut found: impl FnMut(Option<&'g V>),
    ) where
        K: 'g,
        V: 'g,
        Q: Hash + Equivalent<K> + ?Sized,
    {
        block.prefetch_matches(&self.shared.engine.table, Intent::Read, guard);
        for (key, hash) in block.keys() {
            found(self.lookup(key, hash, guard).map(|(_, entry)| &entry.value));
        }
    }
}

/// The most items that an iterator may have; `usize::MAX` if it does not say.
#[inline]
pub(super) fn most_of(items: &impl Iterator) -> usize {
    items.size_hint().1.unwrap_or(usize::MAX)
}

/// What is about to be done with keys whose memory is [prefetched](Cache::prefetch_many).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// They are looked up. Other threads that look them up are not disturbed.
    Read,
    /// They are inserted, replaced or removed.
    Change,
}

/// Why a block ends where it does.
enum BlockEnd {
    /// It is full, and there may be more.
    Full,
    /// There is nothing more.
    Exhausted,
    /// The iterator panicked, or the `Hash` of the key that follows.
    Panicked(Payload),
}

impl BlockEnd {
    /// What ended the reading of `len` items of a block that holds up to `limit`.
    fn of(read: Result<(), Payload>, len: usize, limit: usize) -> Self {
        match read {
            Err(payload) => Self::Panicked(payload),
            Ok(()) if len < limit => Self::Exhausted,
            Ok(()) => Self::Full,
        }
    }

    /// Whether another block follows, once this one is handled. Resumes the panic that ended it, if any.
    fn finish(&mut self) -> bool {
        match std::mem::replace(self, Self::Full) {
            Self::Full => true,
            Self::Exhausted => false,
            Self::Panicked(payload) => panic::resume_unwind(payload),
        }
    }
}

/// Keys that were read ahead, with their hashes.
pub(super) struct KeyBlock<'q, Q: ?Sized> {
    keys: [(Option<&'q Q>, KeyHash); BLOCK],
    len: usize,
    end: BlockEnd,
}

impl<'q, Q: Hash + ?Sized> KeyBlock<'q, Q> {
    #[inline]
    pub(super) fn new() -> Self {
        Self { keys: [(None, KeyHash::from_raw(0)); BLOCK], len: 0, end: BlockEnd::Full }
    }

    /// Reads the next keys and hashes them, and prefetches their buckets and the first entries.
    #[inline]
    pub(super) fn read_ahead<K, V, S: BuildHasher>(
        &mut self,
        cache: &Cache<K, V, S>,
        keys: &mut impl Iterator<Item = &'q Q>,
        intent: Intent,
    ) {
        let table = &cache.shared.engine.table;
        self.len = 0;
        let (slots, len) = (&mut self.keys, &mut self.len);
        let read = catch(|| {
            for slot in slots {
                let Some(key) = keys.next() else { break };
                let hash = cache.shared.settings.hashing.hash(key);
                match intent {
                    Intent::Read => table.prefetch_bucket_for_read(hash),
                    Intent::Change => table.prefetch_bucket(hash),
                }
                *slot = (Some(key), hash);
                *len += 1;
            }
        });
        self.end = BlockEnd::of(read, self.len, BLOCK);
        for (_, hash) in &self.keys[..self.len] {
            table.prefetch_entry(*hash);
        }
    }

    /// Prefetches what the first entries lead to.
    #[inline]
    pub(super) fn prefetch_matches<K, V>(
        &self,
        table: &Table<K, V>,
        intent: Intent,
        guard: &Guard,
    ) {
        for (_, hash) in &self.keys[..self.len] {
            match intent {
                Intent::Read => {
                    table.prefetch_match(*hash, guard);
                }
                Intent::Change => table.prefetch_change(*hash, guard),
            }
        }
    }

    /// The keys in their order.
    #[inline]
    pub(super) fn keys(&self) -> impl Iterator<Item = (&'q Q, KeyHash)> {
        self.keys[..self.len].iter().filter_map(|&(key, hash)| key.map(|key| (key, hash)))
    }

    /// Whether another block follows. Call it once the keys of this one are handled: it resumes the panic that ended
    /// the block, if any.
    #[inline]
    pub(super) fn finish(&mut self) -> bool {
        self.end.finish()
    }
}

/// Pairs that were read ahead, with the hashes of their keys.
pub(super) struct PairBlock<K, V> {
    pairs: Vec<(KeyHash, K, V)>,
    end: BlockEnd,
}

impl<K: Hash, V> PairBlock<K, V> {
    pub(super) fn new() -> Self {
        Self { pairs: Vec::new(), end: BlockEnd::Full }
    }

    /// Reads the next pairs, hashes their keys, and prefetches what their insertion needs. It reads at most
    /// `promised` pairs, of which there must be at least one.
    pub(super) fn read_ahead<S: BuildHasher>(
        &mut self,
        cache: &Cache<K, V, S>,
        pairs: &mut impl Iterator<Item = (K, V)>,
        promised: usize,
    ) {
        let table = &cache.shared.engine.table;
        let most = (MAX_PAIR_BYTES / size_of::<(KeyHash, K, V)>()).clamp(1, BLOCK);
        let limit = promised.min(most);
        self.pairs.reserve(limit);
        let block = &mut self.pairs;
        let read = catch(|| {
            for (key, value) in pairs.take(limit) {
                let hash = cache.shared.settings.hashing.hash(&key);
                table.prefetch_bucket(hash);
                block.push((hash, key, value));
            }
        });
        self.end = BlockEnd::of(read, self.pairs.len(), limit);
        for (hash, ..) in &self.pairs {
            table.prefetch_entry(*hash);
        }
        let guard = reclaim::pin();
        for (hash, ..) in &self.pairs {
            table.prefetch_change(*hash, &guard);
        }
    }

    /// Takes the pairs out, in their order.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = (KeyHash, K, V)> {
        self.pairs.drain(..)
    }

    /// As [`KeyBlock::finish`].
    pub(super) fn finish(&mut self) -> bool {
        self.end.finish()
    }
}
