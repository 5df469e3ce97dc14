//! The other caches, each at its defaults.

use std::convert::Infallible;
use std::hint::black_box;
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard};

use foyer_memory::CacheBuilder;
use lru::LruCache;
use quick_cache::UnitWeighter;
use quick_cache::sync::DefaultLifecycle;

use crate::contender::interface::{Contender, Seed, Value};

/// moka: W-TinyLFU; writes and sampled reads go through channels that a caller drains.
pub struct Moka<V: Value, S: Seed>(moka::sync::Cache<u64, V, S>);

impl<V: Value, S: Seed> Moka<V, S> {
    /// Builds it for `capacity_entries`.
    pub fn new(capacity_entries: usize, hasher: S) -> Self {
        let builder = moka::sync::Cache::builder().max_capacity(capacity_entries as u64);
        Self(builder.build_with_hasher(hasher))
    }
}

impl<V: Value, S: Seed> Contender for Moka<V, S> {
    type Value = V;

    #[inline]
    fn get(&self, key: &u64) -> Option<V> {
        self.0.get(key)
    }

    #[inline]
    fn get_or_load(&self, key: &u64, load: impl FnOnce() -> V) -> V {
        self.0.get_with(*key, load)
    }

    #[inline]
    fn insert(&self, key: u64, value: V) {
        self.0.insert(key, value);
    }

    fn run_pending(&self) {
        self.0.run_pending_tasks();
    }

    fn entries(&self) -> Option<usize> {
        Some(self.0.iter().count())
    }
}

/// quick_cache: shards behind read-write locks, a variant of S3-FIFO.
pub struct QuickCache<V: Value, S: Seed>(quick_cache::sync::Cache<u64, V, UnitWeighter, S>);

impl<V: Value, S: Seed> QuickCache<V, S> {
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

impl<V: Value, S: Seed> Contender for QuickCache<V, S> {
    type Value = V;

    #[inline]
    fn get(&self, key: &u64) -> Option<V> {
        self.0.get(key)
    }

    #[inline]
    fn get_or_load(&self, key: &u64, load: impl FnOnce() -> V) -> V {
        match self.0.get_or_insert_with(key, || Ok::<_, Infallible>(load())) {
            Ok(value) => value,
            Err(never) => match never {},
        }
    }

    #[inline]
    fn insert(&self, key: u64, value: V) {
        self.0.insert(key, value);
    }

    fn entries(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

/// foyer in memory: shards behind locks, LRU with a pool for high priority by default.
pub struct Foyer<V: Value, S: Seed>(foyer_memory::Cache<u64, V, S>);

impl<V: Value, S: Seed> Foyer<V, S> {
    /// Builds it; `builder` supplies the capacity and the hasher.
    pub fn new(builder: CacheBuilder<u64, V, S>) -> Self {
        Self(builder.build())
    }
}

impl<V: Value, S: Seed> Contender for Foyer<V, S> {
    type Value = V;

    #[inline]
    fn get(&self, key: &u64) -> Option<V> {
        self.0.get(key).map(|entry| entry.value().clone())
    }

    #[inline]
    fn read(&self, key: &u64) -> Option<u64> {
        self.0.get(key).map(|entry| entry.value().number())
    }

    #[inline]
    fn insert(&self, key: u64, value: V) {
        black_box(self.0.insert(key, value));
    }

    fn entries(&self) -> Option<usize> {
        Some(self.0.entries())
    }
}

/// TinyUFO: lock-free; it keeps the hash of a key, not the key, so two keys may share a value.
pub struct TinyUfo<V: Value>(tinyufo::TinyUfo<u64, V>);

impl<V: Value> TinyUfo<V> {
    /// Builds it for `capacity_entries`.
    #[must_use]
    pub fn new(capacity_entries: usize) -> Self {
        Self(tinyufo::TinyUfo::new(capacity_entries, capacity_entries))
    }
}

impl<V: Value> Contender for TinyUfo<V> {
    type Value = V;

    #[inline]
    fn get(&self, key: &u64) -> Option<V> {
        self.0.get(key)
    }

    #[inline]
    fn insert(&self, key: u64, value: V) {
        black_box(self.0.put(key, value, 1));
    }

    fn entries(&self) -> Option<usize> {
        None
    }
}

/// One exact LRU list behind one lock.
pub struct LruMutex<V: Value, S: Seed>(Mutex<LruCache<u64, V, S>>);

impl<V: Value, S: Seed> LruMutex<V, S> {
    /// Builds it for `capacity_entries`.
    ///
    /// # Panics
    /// If `capacity_entries` is 0.
    pub fn new(capacity_entries: usize, hasher: S) -> Self {
        let capacity = NonZeroUsize::new(capacity_entries).expect("capacity of at least 1");
        Self(Mutex::new(LruCache::with_hasher(capacity, hasher)))
    }

    fn lock(&self) -> MutexGuard<'_, LruCache<u64, V, S>> {
        self.0.lock().expect("no call under the lock panics")
    }
}

impl<V: Value, S: Seed> Contender for LruMutex<V, S> {
    type Value = V;

    #[inline]
    fn get(&self, key: &u64) -> Option<V> {
        self.lock().get(key).cloned()
    }

    #[inline]
    fn read(&self, key: &u64) -> Option<u64> {
        self.lock().get(key).map(V::number)
    }

    #[inline]
    fn insert(&self, key: u64, value: V) {
        // The old value is returned and dropped after the lock.
        let old = self.lock().push(key, value);
        drop(old);
    }

    fn entries(&self) -> Option<usize> {
        Some(self.lock().len())
    }
}
