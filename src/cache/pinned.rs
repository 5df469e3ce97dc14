//! Many lookups under one pin.

use std::fmt;
use std::hash::{BuildHasher, Hash};

use super::Cache;
use crate::base::equivalent::Equivalent;
use crate::reclaim::Guard;

/// A pinned thread's view of a cache, made by [`Cache::pin`]. Read there what it costs others.
#[must_use = "a pin that is dropped at once pins nothing"]
pub struct Pinned<'c, K, V, S> {
    cache: &'c Cache<K, V, S>,
    guard: Guard,
}

impl<'c, K, V, S> Pinned<'c, K, V, S> {
    pub(super) fn new(cache: &'c Cache<K, V, S>, guard: Guard) -> Self {
        Self { cache, guard }
    }
}

impl<K, V, S> Pinned<'_, K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// The value of `key`. Counts as a use of the entry, and as a hit or a miss.
    ///
    /// The reference stays valid, with the same value, while `self` lives, whatever becomes of
    /// the entry meanwhile. Lock-free; O(1) expected.
    #[inline]
    pub fn get<Q>(&self, key: &Q) -> Option<&V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let hash = self.cache.hash(key);
        self.cache.lookup(key, hash, &self.guard).map(|entry| &entry.value)
    }

    /// The value of `key`, without a trace: neither a use, nor a hit or a miss.
    #[inline]
    pub fn peek<Q>(&self, key: &Q) -> Option<&V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let hash = self.cache.hash(key);
        self.cache.find(key, hash, &self.guard).map(|(_, entry)| &entry.value)
    }

    /// Whether `key` is there; without a trace.
    pub fn contains_key<Q>(&self, key: &Q) -> bool
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.peek(key).is_some()
    }
}

impl<K, V, S> fmt::Debug for Pinned<'_, K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pinned").field("cache", &self.cache).finish_non_exhaustive()
    }
}
