//! Many lookups under one pin.

use std::fmt;
use std::hash::{BuildHasher, Hash};

use super::Cache;
use crate::base::equivalent::Equivalent;
use crate::reclaim::Guard;

/// Access to a cache for a pinned thread, made by [`Cache::pin`], which says what a pin costs other threads.
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
    /// The value of `key`. The call counts as a use of the entry, and as a hit or a miss.
    ///
    /// The reference stays valid, and the value the same, while `self` lives, even if the entry leaves the
    /// cache meanwhile. Lock-free.
    ///
    /// # Complexity
    /// O(1) expected.
    #[inline]
    pub fn get<Q>(&self, key: &Q) -> Option<&V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let hash = self.cache.hash(key);
        self.cache.lookup(key, hash, &self.guard).map(|entry| &entry.value)
    }

    /// The value of `key`. The call leaves no trace: it counts as neither a use nor a hit or a miss.
    #[inline]
    pub fn peek<Q>(&self, key: &Q) -> Option<&V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let hash = self.cache.hash(key);
        self.cache.find(key, hash, &self.guard).map(|(_, entry)| &entry.value)
    }

    /// Whether `key` is present. The call leaves no trace, like [`peek`](Self::peek).
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
