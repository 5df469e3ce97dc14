//! Bare concurrent maps: the cost of a lookup if nothing has to be recorded or evicted.

use std::hint::black_box;

use crate::contender::interface::{CacheKey, Contender, Seed, Value};

/// papaya: lock-free, values behind a guard.
pub struct Papaya<K: CacheKey, V: Value, S: Seed>(papaya::HashMap<K, V, S>);

impl<K: CacheKey, V: Value, S: Seed> Papaya<K, V, S> {
    /// Builds it; it grows as it is filled.
    pub fn new(hasher: S) -> Self {
        Self(papaya::HashMap::with_hasher(hasher))
    }
}

impl<K: CacheKey, V: Value, S: Seed> Contender for Papaya<K, V, S> {
    type Key = K;
    type Value = V;

    #[inline]
    fn get(&self, key: &K) -> Option<V> {
        self.0.pin().get(key).cloned()
    }

    #[inline]
    fn read(&self, key: &K) -> Option<u64> {
        self.0.pin().get(key).map(V::number)
    }

    #[inline]
    fn get_all(&self, keys: &[K]) -> u64 {
        let map = self.0.pin();
        let mut hits = 0;
        for key in keys {
            if let Some(value) = map.get(key) {
                black_box(value.number());
                hits += 1;
            }
        }
        hits
    }

    #[inline]
    fn insert(&self, key: K, value: V) {
        self.0.pin().insert(key, value);
    }

    #[inline]
    fn remove(&self, key: &K) {
        black_box(self.0.pin().remove(key));
    }

    fn iterate(&self) -> Option<usize> {
        Some(self.0.pin().iter().map(black_box).count())
    }

    fn run_pending(&self) {
        // papaya grows incrementally, only in writers; lookups in a table that is still growing
        // would be slower. An iterator finishes the growth.
        black_box(self.0.pin().iter().next());
    }

    fn entries(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

/// dashmap: shards behind read-write locks.
#[cfg(feature = "peers")]
pub struct DashMap<K: CacheKey, V: Value, S: Seed>(dashmap::DashMap<K, V, S>);

#[cfg(feature = "peers")]
impl<K: CacheKey, V: Value, S: Seed> DashMap<K, V, S> {
    /// Builds it; it grows as it is filled.
    pub fn new(hasher: S) -> Self {
        Self(dashmap::DashMap::with_hasher(hasher))
    }
}

#[cfg(feature = "peers")]
impl<K: CacheKey, V: Value, S: Seed> Contender for DashMap<K, V, S> {
    type Key = K;
    type Value = V;

    #[inline]
    fn get(&self, key: &K) -> Option<V> {
        self.0.get(key).map(|value| value.clone())
    }

    #[inline]
    fn read(&self, key: &K) -> Option<u64> {
        self.0.get(key).map(|value| value.number())
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
