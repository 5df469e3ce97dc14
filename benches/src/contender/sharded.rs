//! Further caches that lock what they look up, a shard or a bucket of it, each at its defaults.

use std::hint::black_box;

use cached::{ShardHasher, ShardedLruCache};
use sieve_cache::ShardedSieveCache;

use crate::contender::interface::{CacheKey, Contender, Seed, Value};

/// The shards of sieve-cache, which takes their number from the caller: as many as `LruSharded` has.
const SHARDS: usize = 64;

/// sieve-cache: SIEVE in shards, each behind a mutex; the order is exact within a shard.
pub struct Sieve<K: CacheKey, V: Value, S: Seed>(ShardedSieveCache<K, V, S>);

impl<K: CacheKey, V: Value, S: Seed> Sieve<K, V, S> {
    /// Builds it for `capacity_entries`, equally divided.
    ///
    /// # Panics
    /// If `capacity_entries` is less than the number of shards.
    pub fn new(capacity_entries: usize, hasher: S) -> Self {
        let cache = ShardedSieveCache::with_shards_and_hasher(capacity_entries, SHARDS, hasher);
        Self(cache.expect("as many entries as shards"))
    }
}

impl<K: CacheKey, V: Value, S: Seed> Contender for Sieve<K, V, S> {
    type Key = K;
    type Value = V;

    #[inline]
    fn get(&self, key: &K) -> Option<V> {
        self.0.get(key)
    }

    #[inline]
    fn insert(&self, key: K, value: V) {
        black_box(self.0.insert(key, value));
    }

    #[inline]
    fn remove(&self, key: &K) {
        black_box(self.0.remove(key));
    }

    fn iterate(&self) -> Option<usize> {
        // There is an iteration by reference, but it writes back what it has read, and would undo
        // the writes that this is to run beside.
        Some(black_box(self.0.entries()).len())
    }

    fn entries(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

/// cached: LRU lists in shards, each behind a read-write lock that every hit takes for writing.
pub struct Cached<K: CacheKey, V: Value, H: ShardHasher<K>>(ShardedLruCache<K, V, H>);

impl<K: CacheKey, V: Value, H: ShardHasher<K>> Cached<K, V, H> {
    /// Builds it; the hasher chooses the shard, and the shards have one of their own.
    ///
    /// # Panics
    /// If `capacity_entries` is 0.
    pub fn new(capacity_entries: usize, hasher: H) -> Self {
        let builder = ShardedLruCache::<K, V>::builder().max_size(capacity_entries);
        Self(builder.hasher(hasher).build().expect("capacity of at least 1"))
    }
}

impl<K: CacheKey, V: Value, H: ShardHasher<K>> Contender for Cached<K, V, H> {
    type Key = K;
    type Value = V;

    #[inline]
    fn get(&self, key: &K) -> Option<V> {
        self.0.get(key)
    }

    #[inline]
    fn insert(&self, key: K, value: V) {
        black_box(self.0.set(key, value));
    }

    #[inline]
    fn remove(&self, key: &K) {
        black_box(self.0.delete(key));
    }

    fn entries(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

/// scc's `HashCache`: a hash table with buckets of 32 places, in each of which it evicts the least
/// recently used entry. A hit locks its bucket alone. The verb that shares the bucket with other
/// readers, `read_sync`, does not count as a use, so it is not what a cache is looked up with. The
/// capacity is rounded up to a power of two.
pub struct SccCache<K: CacheKey, V: Value, S: Seed>(scc::HashCache<K, V, S>);

impl<K: CacheKey, V: Value, S: Seed> SccCache<K, V, S> {
    /// Builds it for at least `capacity_entries`.
    pub fn new(capacity_entries: usize, hasher: S) -> Self {
        // All of it from the beginning: a table that grows evicts from buckets that are full, long
        // before it has reached its greatest size.
        let (least, most) = (capacity_entries, capacity_entries);
        Self(scc::HashCache::with_capacity_and_hasher(least, most, hasher))
    }
}

impl<K: CacheKey, V: Value, S: Seed> Contender for SccCache<K, V, S> {
    type Key = K;
    type Value = V;

    #[inline]
    fn get(&self, key: &K) -> Option<V> {
        self.0.get_sync(key).map(|entry| entry.get().clone())
    }

    #[inline]
    fn insert(&self, key: K, value: V) {
        match self.0.entry_sync(key) {
            scc::hash_cache::Entry::Occupied(mut entry) => {
                black_box(entry.put(value));
            }
            scc::hash_cache::Entry::Vacant(entry) => {
                black_box(entry.put_entry(value).0);
            }
        }
    }

    #[inline]
    fn remove(&self, key: &K) {
        black_box(self.0.remove_sync(key));
    }

    fn iterate(&self) -> Option<usize> {
        let mut entries = 0;
        self.0.iter_sync(|key, value| {
            black_box((key, value));
            entries += 1;
            true
        });
        Some(entries)
    }

    fn entries(&self) -> Option<usize> {
        Some(self.0.len())
    }
}
