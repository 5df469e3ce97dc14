//! Many lookups under one pin.

use std::fmt;
use std::hash::{BuildHasher, Hash};

use super::Cache;
use super::block::{Intent, KeyBlock, most_of};
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
        self.cache.lookup(key, hash, &self.guard).map(|(_, entry)| &entry.value)
    }

    /// The values of `keys`, in their order; `None` for each key that is absent.
    ///
    /// The result and every effect is that of a [`get`](Self::get) for each key, one after the other, but the
    /// memory that the lookups need is fetched for up to 64 keys at the same time, as by
    /// [`Cache::get_many`], which holds no pin for the whole call.
    ///
    /// # Complexity
    /// O(1) expected for each key.
    ///
    /// # Examples
    /// ```
    /// let cache: larder::Cache<u32, String> = (0..10).map(|n| (n, n.to_string())).collect();
    /// let pinned = cache.pin();
    /// let texts = pinned.get_many(&[3, 12, 7]);
    /// assert_eq!(texts.into_iter().flatten().collect::<Vec<_>>(), ["3", "7"]);
    /// ```
    pub fn get_many<'q, Q>(&self, keys: impl IntoIterator<Item = &'q Q>) -> Vec<Option<&V>>
    where
        Q: Hash + Equivalent<K> + ?Sized + 'q,
    {
        let mut keys = keys.into_iter();
        if !self.cache.reads_ahead(most_of(&keys)) {
            return keys.map(|key| self.get(key)).collect();
        }
        let mut values = Vec::with_capacity(keys.size_hint().0);
        let mut block = KeyBlock::new();
        loop {
            block.read_ahead(self.cache, &mut keys, Intent::Read);
            self.cache.look_up_block(&block, &self.guard, |value| values.push(value));
            if !block.finish() {
                return values;
            }
        }
    }

    /// The value of `key`. The call counts as neither a use nor a hit or a miss.
    #[must_use]
    #[inline]
    pub fn peek<Q>(&self, key: &Q) -> Option<&V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let hash = self.cache.hash(key);
        self.cache.find(key, hash, &self.guard).map(|(_, entry)| &entry.value)
    }

    /// Whether `key` is present. The call does not count as a use, like [`peek`](Self::peek).
    #[must_use]
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
