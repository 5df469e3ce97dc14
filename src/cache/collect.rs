//! The cache as a collection: its traits, and methods for many entries at once.
#![forbid(unsafe_code)]

use std::fmt;
use std::hash::{BuildHasher, Hash};

use super::{Cache, MAX_RESERVED};

impl<K, V, S> Cache<K, V, S> {
    /// Every key and value, cloned, in an unspecified order: what [`iter`](Self::iter) returns, and as weakly
    /// consistent.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(100);
    /// cache.insert("a", 1);
    /// assert_eq!(cache.to_vec(), [("a", 1)]);
    /// ```
    #[must_use]
    pub fn to_vec(&self) -> Vec<(K, V)>
    where
        K: Clone,
        V: Clone,
    {
        self.iter().collect()
    }

    /// Opens buckets for `additional` more entries, as far as the [capacity](Self::capacity) allows, so that
    /// their insertions and lookups save the extra steps that the first use of a bucket takes.
    ///
    /// No cache needs this: the table grows with its entries, never moves an entry, and makes no caller
    /// wait. `reserve` opens at once, in the calling thread, the buckets that maintenance would open as the
    /// table grows: at least two of 8 bytes for each entry. It reserves no memory for the entries
    /// themselves, and evicts nothing. It reserves for at most 2^28 entries, and for fewer if there is no
    /// memory for the buckets. Other threads can use the cache meanwhile. The table never shrinks.
    ///
    /// # Complexity
    /// O(buckets that are not open yet).
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(100_000);
    /// cache.reserve(50_000);
    /// for key in 0..50_000 {
    ///     cache.insert(key, ());
    /// }
    /// ```
    pub fn reserve(&self, additional: usize) {
        let most = self.capacity().unwrap_or(usize::MAX).min(MAX_RESERVED);
        self.shared.engine.reserve(self.len().saturating_add(additional).min(most));
    }
}

impl<K, V, S> fmt::Debug for Cache<K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Cache");
        if let Some(name) = self.name() {
            debug.field("name", &name);
        }
        debug
            .field("len", &self.len())
            .field("weight", &self.weight())
            .field("capacity", &self.capacity())
            .field("max_weight", &self.max_weight())
            .field("policy", &self.policy_name())
            .field("partitions", &self.partitions())
            .finish_non_exhaustive()
    }
}

impl<K, V, S> FromIterator<(K, V)> for Cache<K, V, S>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher + Default + Send + Sync + 'static,
{
    /// Makes a cache with room for all pairs and no more: its capacity is their number, or 1 if there are
    /// none. The last of several pairs with equal keys stays.
    ///
    /// The cache has one partition, so no pair is evicted, and no weigher, so none is rejected; all
    /// other settings are the defaults. Later insertions of other keys evict entries, until the bound is
    /// [raised](Cache::set_capacity).
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let pairs: Vec<_> = pairs.into_iter().collect();
        let builder = Cache::builder().capacity(pairs.len().max(1)).partitions(1);
        let cache = match builder.hasher(S::default()).build() {
            Ok(cache) => cache,
            Err(error) => unreachable!("a capacity of at least 1 in one partition: {error}"),
        };
        cache.insert_many(pairs);
        cache
    }
}

impl<K, V, S> Extend<(K, V)> for Cache<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// Inserts every pair. Pairs that are rejected are counted in
    /// [`Stats::rejections`](crate::Stats::rejections); [`Cache::insert_many`] returns how many there were.
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, pairs: I) {
        self.insert_many(pairs);
    }
}

impl<K, V, S> Extend<(K, V)> for &Cache<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// Inserts every pair, as for a `Cache`: a shared reference is enough.
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, pairs: I) {
        self.insert_many(pairs);
    }
}

#[cfg(all(test, not(larder_loom)))]
mod tests {
    use crate::{Cache, Maintenance};

    fn buckets(cache: &Cache<u64, u64>) -> usize {
        let engine = &cache.shared.engine;
        let buckets = engine.table.buckets();
        let is_new = buckets <= 16;
        assert!(is_new || !engine.has_closed_buckets(), "the reserved buckets are open");
        buckets
    }

    #[test]
    fn a_reservation_goes_up_to_the_bound_and_evicts_nothing() {
        let builder = || Cache::<u64, u64>::builder().maintenance(Maintenance::Inline);
        let cache = builder().capacity(1_000).build().expect("a valid configuration");
        assert_eq!(buckets(&cache), 1, "it has no array of buckets yet");
        cache.insert(1, 1);
        cache.reserve(0);
        assert_eq!(buckets(&cache), 16);
        cache.reserve(99);
        assert_eq!(buckets(&cache), 256);
        cache.reserve(10);
        assert_eq!(buckets(&cache), 256, "there is room already");
        cache.reserve(usize::MAX);
        assert_eq!(buckets(&cache), 2048, "no more than for a thousand entries");
        assert_eq!((cache.get(&1), cache.len()), (Some(1), 1));
        let cache = builder().capacity(1_000).initial_capacity(500).build();
        assert_eq!(buckets(&cache.expect("a valid configuration")), 1024);
        let cache = builder().max_weight(64).initial_capacity(64).build();
        let cache = cache.expect("a valid configuration");
        assert_eq!(buckets(&cache), 128);
        cache.insert_many((0..100).map(|key| (key, key)));
        cache.validate();
    }
}
