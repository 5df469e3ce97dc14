//! Bare concurrent maps: the cost of a lookup if nothing has to be recorded or evicted.

use std::hint::black_box;

use crate::contender::interface::{Contender, Seed, Value};

/// papaya: lock-free, values behind a guard.
pub struct Papaya<V: Value, S: Seed>(papaya::HashMap<u64, V, S>);

impl<V: Value, S: Seed> Papaya<V, S> {
    /// Builds it; it grows as it is filled.
    pub fn new(hasher: S) -> Self {
        Self(papaya::HashMap::with_hasher(hasher))
    }
}

impl<V: Value, S: Seed> Contender for Papaya<V, S> {
    type Value = V;

    #[inline]
    fn get(&self, key: &u64) -> Option<V> {
        self.0.pin().get(key).cloned()
    }

    #[inline]
    fn read(&self, key: &u64) -> Option<u64> {
        self.0.pin().get(key).map(V::number)
    }

    #[inline]
    fn get_all(&self, keys: &[u64]) -> u64 {
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
    fn insert(&self, key: u64, value: V) {
        self.0.pin().insert(key, value);
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
pub struct DashMap<V: Value, S: Seed>(dashmap::DashMap<u64, V, S>);

impl<V: Value, S: Seed> DashMap<V, S> {
    /// Builds it; it grows as it is filled.
    pub fn new(hasher: S) -> Self {
        Self(dashmap::DashMap::with_hasher(hasher))
    }
}

impl<V: Value, S: Seed> Contender for DashMap<V, S> {
    type Value = V;

    #[inline]
    fn get(&self, key: &u64) -> Option<V> {
        self.0.get(key).map(|value| value.clone())
    }

    #[inline]
    fn read(&self, key: &u64) -> Option<u64> {
        self.0.get(key).map(|value| value.number())
    }

    #[inline]
    fn insert(&self, key: u64, value: V) {
        self.0.insert(key, value);
    }

    fn entries(&self) -> Option<usize> {
        Some(self.0.len())
    }
}
