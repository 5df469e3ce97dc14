//! Caches that lock what they look up, each at its defaults.

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard};

use cached::{ShardHasher, ShardedLruCache};
use lru::LruCache;
use sieve_cache::ShardedSieveCache;

use crate::contender::interface::{CacheKey, Contender, Seed, Value};

/// The shards of those that take their number from the caller.
const SHARDS: usize = 64;

/// One exact LRU list behind one lock.
pub struct LruMutex<K: CacheKey, V: Value, S: Seed>(Mutex<LruCache<K, V, S>>);

impl<K: CacheKey, V: Value, S: Seed> LruMutex<K, V, S> {
    /// Builds it for `capacity_entries`.
    ///
    /// # Panics
    /// If `capacity_entries` is 0.
    pub fn new(capacity_entries: usize, hasher: S) -> Self {
        let capacity = NonZeroUsize::new(capacity_entries).expect("capacity of at least 1");
        Self(Mutex::new(LruCache::with_hasher(capacity, hasher)))
    }

    fn lock(&self) -> MutexGuard<'_, LruCache<K, V, S>> {
        self.0.lock().expect("no call under the lock panics")
    }
}

impl<K: CacheKey, V: Value, S: Seed> Contender for LruMutex<K, V, S> {
    type Key = K;
    type Value = V;

    #[inline]
    fn get(&self, key: &K) -> Option<V> {
        self.lock().get(key).cloned()
    }

    #[inline]
    fn read(&self, key: &K) -> Option<u64> {
        self.lock().get(key).map(V::number)
    }

    #[inline]
    fn insert(&self, key: K, value: V) {
        // The old value is returned and dropped after the lock.
        let old = self.lock().push(key, value);
        drop(old);
    }

    #[inline]
    fn remove(&self, key: &K) {
        let old = self.lock().pop(key);
        drop(old);
    }

    fn iterate(&self) -> Option<usize> {
        Some(self.lock().iter().map(black_box).count())
    }

    fn entries(&self) -> Option<usize> {
        Some(self.lock().len())
    }
}

/// One exact LRU list in each of 64 shards, each behind a lock: what services build for themselves.
pub struct LruSharded<K: CacheKey, V: Value, S: Seed> {
    shards: Box<[LruMutex<K, V, S>]>,
    hasher: S,
}

impl<K: CacheKey, V: Value, S: Seed> LruSharded<K, V, S> {
    /// Builds it for `capacity_entries`, equally divided.
    ///
    /// # Panics
    /// If `capacity_entries` is 0.
    pub fn new(capacity_entries: usize, hasher: S) -> Self {
        let capacity = capacity_entries.div_ceil(SHARDS);
        let shards = (0..SHARDS).map(|_| LruMutex::new(capacity, hasher.clone())).collect();
        Self { shards, hasher }
    }

    #[inline]
    fn shard(&self, key: &K) -> &LruMutex<K, V, S> {
        // The tables of the shards hash with the same seed. They take the low bits of a hash for
        // the bucket and the highest seven for the tag, so the shard takes bits from between.
        let bits = self.hasher.hash_one(key) >> 40;
        &self.shards[bits as usize % SHARDS]
    }
}

impl<K: CacheKey, V: Value, S: Seed> Contender for LruSharded<K, V, S> {
    type Key = K;
    type Value = V;

    #[inline]
    fn get(&self, key: &K) -> Option<V> {
        self.shard(key).get(key)
    }

    #[inline]
    fn read(&self, key: &K) -> Option<u64> {
        self.shard(key).read(key)
    }

    #[inline]
    fn insert(&self, key: K, value: V) {
        self.shard(&key).insert(key, value);
    }

    #[inline]
    fn remove(&self, key: &K) {
        self.shard(key).remove(key);
    }

    fn iterate(&self) -> Option<usize> {
        self.shards.iter().map(LruMutex::iterate).sum()
    }

    fn entries(&self) -> Option<usize> {
        self.shards.iter().map(LruMutex::entries).sum()
    }
}

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
