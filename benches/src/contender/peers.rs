//! Caches that defer the bookkeeping of a hit, or do without a lock for it; each at its defaults.

use std::hint::black_box;
use std::sync::Arc;

use foyer_memory::CacheBuilder;
use mini_moka::sync::ConcurrentCacheExt;

use crate::contender::interface::{CacheKey, Contender, Seed, Value};

/// moka: W-TinyLFU; writes and sampled reads go through channels that a caller drains.
pub struct Moka<K: CacheKey, V: Value, S: Seed>(moka::sync::Cache<K, V, S>);

impl<K: CacheKey, V: Value, S: Seed> Moka<K, V, S> {
    /// Builds it for `capacity_entries`.
    pub fn new(capacity_entries: usize, hasher: S) -> Self {
        let builder = moka::sync::Cache::builder().max_capacity(capacity_entries as u64);
        Self(builder.build_with_hasher(hasher))
    }
}

impl<K: CacheKey, V: Value, S: Seed> Contender for Moka<K, V, S> {
    type Key = K;
    type Value = V;

    #[inline]
    fn get(&self, key: &K) -> Option<V> {
        self.0.get(key)
    }

    #[inline]
    fn get_or_load(&self, key: &K, load: impl FnOnce() -> V) -> V {
        self.0.get_with(key.clone(), load)
    }

    #[inline]
    fn insert(&self, key: K, value: V) {
        self.0.insert(key, value);
    }

    #[inline]
    fn remove(&self, key: &K) {
        self.0.invalidate(key);
    }

    fn iterate(&self) -> Option<usize> {
        Some(self.0.iter().map(black_box).count())
    }

    fn run_pending(&self) {
        self.0.run_pending_tasks();
    }

    fn entries(&self) -> Option<usize> {
        Some(self.0.iter().count())
    }
}

/// foyer in memory: shards behind locks, LRU with a pool for high priority by default.
pub struct Foyer<K: CacheKey, V: Value, S: Seed>(foyer_memory::Cache<K, V, S>);

impl<K: CacheKey, V: Value, S: Seed> Foyer<K, V, S> {
    /// Builds it; `builder` supplies the capacity and the hasher.
    pub fn new(builder: CacheBuilder<K, V, S>) -> Self {
        Self(builder.build())
    }
}

impl<K: CacheKey, V: Value, S: Seed> Contender for Foyer<K, V, S> {
    type Key = K;
    type Value = V;

    #[inline]
    fn get(&self, key: &K) -> Option<V> {
        self.0.get(key).map(|entry| entry.value().clone())
    }

    #[inline]
    fn read(&self, key: &K) -> Option<u64> {
        self.0.get(key).map(|entry| entry.value().number())
    }

    #[inline]
    fn insert(&self, key: K, value: V) {
        black_box(self.0.insert(key, value));
    }

    #[inline]
    fn remove(&self, key: &K) {
        black_box(self.0.remove(key));
    }

    fn entries(&self) -> Option<usize> {
        Some(self.0.entries())
    }
}

/// TinyUFO: lock-free; it keeps the hash of a key, not the key, so two keys may share a value.
pub struct TinyUfo<K: CacheKey, V: Value>(tinyufo::TinyUfo<K, V>);

impl<K: CacheKey, V: Value> TinyUfo<K, V> {
    /// Builds it for `capacity_entries`.
    #[must_use]
    pub fn new(capacity_entries: usize) -> Self {
        Self(tinyufo::TinyUfo::new(capacity_entries, capacity_entries))
    }
}

impl<K: CacheKey, V: Value> Contender for TinyUfo<K, V> {
    type Key = K;
    type Value = V;

    #[inline]
    fn get(&self, key: &K) -> Option<V> {
        self.0.get(key)
    }

    #[inline]
    fn insert(&self, key: K, value: V) {
        black_box(self.0.put(key, value, 1));
    }

    #[inline]
    fn remove(&self, key: &K) {
        black_box(self.0.remove(key));
    }

    fn entries(&self) -> Option<usize> {
        None
    }
}

/// mini-moka: W-TinyLFU over a dashmap; writes and reads go through channels that a caller drains.
pub struct MiniMoka<K: CacheKey, V: Value, S: Seed>(mini_moka::sync::Cache<K, V, S>);

impl<K: CacheKey, V: Value, S: Seed> MiniMoka<K, V, S> {
    /// Builds it for `capacity_entries`.
    pub fn new(capacity_entries: usize, hasher: S) -> Self {
        let builder = mini_moka::sync::Cache::builder().max_capacity(capacity_entries as u64);
        Self(builder.build_with_hasher(hasher))
    }
}

impl<K: CacheKey, V: Value, S: Seed> Contender for MiniMoka<K, V, S> {
    type Key = K;
    type Value = V;

    #[inline]
    fn get(&self, key: &K) -> Option<V> {
        self.0.get(key)
    }

    #[inline]
    fn insert(&self, key: K, value: V) {
        self.0.insert(key, value);
    }

    #[inline]
    fn remove(&self, key: &K) {
        self.0.invalidate(key);
    }

    fn iterate(&self) -> Option<usize> {
        Some(self.0.iter().map(black_box).count())
    }

    fn run_pending(&self) {
        self.0.sync();
    }

    fn entries(&self) -> Option<usize> {
        Some(self.0.iter().count())
    }
}

/// stretto: sampled LFU with TinyLFU admission, by a thread of the cache that learns of changes
/// through channels. It keeps two hashes of a key, not the key, so two keys may share a value.
pub struct Stretto<K: CacheKey, V: Value>(stretto::Cache<K, V>);

impl<K: CacheKey, V: Value> Stretto<K, V> {
    /// Counters for each entry; both arguments are required, and its documentation recommends ten.
    const COUNTERS: usize = 10;

    /// Builds it for `capacity_entries`, all of which cost 1.
    ///
    /// # Panics
    /// If `capacity_entries` is 0.
    #[must_use]
    pub fn new(capacity_entries: usize) -> Self {
        let cache = stretto::Cache::new(Self::COUNTERS * capacity_entries, capacity_entries as i64);
        Self(cache.expect("capacity of at least 1"))
    }
}

impl<K: CacheKey, V: Value> Contender for Stretto<K, V> {
    type Key = K;
    type Value = V;

    #[inline]
    fn get(&self, key: &K) -> Option<V> {
        self.0.get(key).map(|value| value.value().clone())
    }

    #[inline]
    fn read(&self, key: &K) -> Option<u64> {
        self.0.get(key).map(|value| value.value().number())
    }

    #[inline]
    fn insert(&self, key: K, value: V) {
        // Whether it was admitted is not known yet, unless it was refused at once.
        black_box(self.0.insert(key, value, 1));
    }

    #[inline]
    fn remove(&self, key: &K) {
        self.0.remove(key);
    }

    fn run_pending(&self) {
        self.0.wait().expect("the cache's thread runs as long as the cache");
    }

    fn entries(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

/// fibre_cache: S3-FIFO in shards behind read-write locks, values in an `Arc`; hits are recorded in
/// a ring of the shard.
pub struct FibreCache<K: CacheKey, V: Value, S: Seed>(fibre_cache::Cache<K, V, S>);

impl<K: CacheKey, V: Value, S: Seed> FibreCache<K, V, S> {
    /// Builds it; `builder` supplies the hasher.
    ///
    /// # Panics
    /// If `capacity_entries` is 0.
    pub fn new(capacity_entries: usize, builder: fibre_cache::CacheBuilder<K, V, S>) -> Self {
        let builder = builder.capacity(capacity_entries as u64);
        Self(builder.build().expect("capacity of at least 1"))
    }
}

impl<K: CacheKey, V: Value, S: Seed> Contender for FibreCache<K, V, S> {
    type Key = K;
    type Value = V;

    #[inline]
    fn get(&self, key: &K) -> Option<V> {
        self.0.get(key, V::clone)
    }

    #[inline]
    fn read(&self, key: &K) -> Option<u64> {
        self.0.get(key, V::number)
    }

    #[inline]
    fn insert(&self, key: K, value: V) {
        self.0.insert(key, value, 1);
    }

    #[inline]
    fn remove(&self, key: &K) {
        black_box(self.0.invalidate(key));
    }

    fn iterate(&self) -> Option<usize> {
        Some(self.0.iter().map(black_box::<(K, Arc<V>)>).count())
    }

    fn run_pending(&self) {
        self.0.run_maintenance();
    }

    fn entries(&self) -> Option<usize> {
        Some(self.0.iter().count())
    }
}
