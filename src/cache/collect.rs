//! The cache as a collection: its traits, and what goes into it or comes out of it as a whole.
#![forbid(unsafe_code)]

use std::fmt;
use std::hash::{BuildHasher, Hash};

use super::{Cache, MAX_RESERVED};
use crate::base::error::Inserted;

/// What became of pairs that were inserted together, by [`Cache::insert_all`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct InsertCounts {
    /// Pairs whose key was not there.
    pub added: u64,
    /// Pairs whose value took the place of another, also of one of a pair before them.
    pub replaced: u64,
    /// Pairs that were not stored: too heavy, say. [`Rejection`](crate::Rejection) has the reasons.
    pub rejected: u64,
}

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// Inserts every pair, one after the other, and says what became of them.
    ///
    /// Each insertion is one of its own, as with [`insert`](Self::insert): other threads see some of
    /// the pairs before the others. What is evicted for a later pair still counts as added.
    ///
    /// # Panics
    /// As `insert`, and if the iterator does; what was inserted before stays.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::builder()
    ///     .max_weight(100)
    ///     .weigher(|_: &u32, text: &&str| text.len() as u32 * 10)
    ///     .build()?;
    /// let counts = cache.insert_all([(1, "one"), (2, "two"), (1, "uno"), (3, "a long text")]);
    /// assert_eq!((counts.added, counts.replaced, counts.rejected), (2, 1, 1));
    /// # Ok::<(), larder::BuildError>(())
    /// ```
    pub fn insert_all(&self, pairs: impl IntoIterator<Item = (K, V)>) -> InsertCounts {
        let mut counts = InsertCounts::default();
        for (key, value) in pairs {
            match self.insert(key, value) {
                Inserted::Added => counts.added += 1,
                Inserted::Replaced => counts.replaced += 1,
                Inserted::Rejected(_) => counts.rejected += 1,
            }
        }
        counts
    }
}

impl<K, V, S> Cache<K, V, S> {
    /// Every key and value, cloned, in no order that means anything; as weakly consistent as
    /// [`iter`](Self::iter), of which it is the short form.
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

    /// Opens the table for `additional` entries more than there are, as far as the
    /// [capacity](Self::capacity) goes, so that they are inserted and found without the detour that
    /// the first use of a bucket takes.
    ///
    /// A cache needs no reservation: its table grows with its entries, never moves one and makes no
    /// caller wait. This opens at once, in the calling thread, what maintenance would open as the
    /// table grows: two buckets of 8 bytes or more for an entry. It reserves no memory for entries
    /// themselves, and evicts nothing. Beyond 2^28 entries, or if there is no memory for the buckets,
    /// it does less than was asked for. Other threads go on meanwhile. The table never shrinks.
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
    /// A cache with room for all pairs and no more: its capacity is their number, or 1 for none. Of
    /// pairs with equal keys, the last one counts.
    ///
    /// Everything else is at its default, except that there is a single partition, so that none of the
    /// pairs is evicted; and without a weigher none can be rejected. Later insertions of other keys
    /// evict, until the bound is [changed](Cache::set_capacity).
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let pairs: Vec<_> = pairs.into_iter().collect();
        let builder = Cache::builder().capacity(pairs.len().max(1)).partitions(1);
        let cache = match builder.hasher(S::default()).build() {
            Ok(cache) => cache,
            Err(error) => unreachable!("a capacity of at least 1 in one partition: {error}"),
        };
        cache.insert_all(pairs);
        cache
    }
}

impl<K, V, S> Extend<(K, V)> for Cache<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// Inserts every pair. What is rejected is left out and counted in
    /// [`Stats::rejections`](crate::Stats::rejections); [`Cache::insert_all`] does the same and says
    /// how many that were.
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, pairs: I) {
        self.insert_all(pairs);
    }
}

impl<K, V, S> Extend<(K, V)> for &Cache<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// As for a cache of one's own: a shared one needs no more.
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, pairs: I) {
        self.insert_all(pairs);
    }
}

#[cfg(all(test, not(larder_loom)))]
mod tests {
    use crate::{Cache, Maintenance};

    fn buckets(cache: &Cache<u64, u64>) -> usize {
        let engine = &cache.shared.engine;
        let buckets = engine.table.buckets();
        let is_new = buckets == 16;
        assert!(is_new || !engine.has_closed_buckets(), "what is made room for is open");
        buckets
    }

    #[test]
    fn room_is_made_as_far_as_the_bound_goes_and_evicts_nothing() {
        let builder = || Cache::<u64, u64>::builder().maintenance(Maintenance::Inline);
        let cache = builder().capacity(1_000).build().expect("a valid configuration");
        assert_eq!(buckets(&cache), 16);
        cache.insert(1, 1);
        cache.reserve(0);
        assert_eq!(buckets(&cache), 16);
        cache.reserve(99);
        assert_eq!(buckets(&cache), 256);
        cache.reserve(10);
        assert_eq!(buckets(&cache), 256, "there is room");
        cache.reserve(usize::MAX);
        assert_eq!(buckets(&cache), 2048, "no more than for a thousand");
        assert_eq!((cache.get(&1), cache.len()), (Some(1), 1));
        let cache = builder().capacity(1_000).initial_capacity(500).build();
        assert_eq!(buckets(&cache.expect("a valid configuration")), 1024);
        let cache = builder().max_weight(64).initial_capacity(64).build();
        let cache = cache.expect("a valid configuration");
        assert_eq!(buckets(&cache), 128);
        cache.insert_all((0..100).map(|key| (key, key)));
        cache.validate();
    }
}
