//! Caches that lock what they look up, each at its defaults. They take little to compile.

use std::convert::Infallible;
use std::hint::black_box;
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard};

use lru::LruCache;
use quick_cache::UnitWeighter;
use quick_cache::sync::DefaultLifecycle;

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

/// quick_cache: shards behind read-write locks, a variant of S3-FIFO.
pub struct QuickCache<K: CacheKey, V: Value, S: Seed>(
    quick_cache::sync::Cache<K, V, UnitWeighter, S>,
);

impl<K: CacheKey, V: Value, S: Seed> QuickCache<K, V, S> {
    /// Builds it for `capacity_entries`.
    pub fn new(capacity_entries: usize, hasher: S) -> Self {
        Self(quick_cache::sync::Cache::with(
            capacity_entries,
            capacity_entries as u64,
            UnitWeighter,
            hasher,
            DefaultLifecycle::default(),
        ))
    }
}

impl<K: CacheKey, V: Value, S: Seed> Contender for QuickCache<K, V, S> {
    type Key = K;
    type Value = V;

    #[inline]
    fn get(&self, key: &K) -> Option<V> {
        self.0.get(key)
    }

    #[inline]
    fn get_or_load(&self, key: &K, load: impl FnOnce() -> V) -> V {
        match self.0.get_or_insert_with(key, || Ok::<_, Infallible>(load())) {
            Ok(value) => value,
            Err(never) => match never {},
        }
    }

    #[inline]
    fn insert(&self, key: K, value: V) {
        self.0.insert(key, value);
    }

    #[inline]
    fn remove(&self, key: &K) {
        black_box(self.0.remove(key));
    }

    fn iterate(&self) -> Option<usize> {
        Some(self.0.iter().map(black_box).count())
    }

    fn entries(&self) -> Option<usize> {
        Some(self.0.len())
    }
}
