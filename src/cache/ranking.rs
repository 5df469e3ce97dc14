//! The order of the policy, entry by entry: iterating in it, removing entries from its ends, and changing
//! the place of an entry.
#![forbid(unsafe_code)]

use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::vec;

use super::Cache;
use crate::base::equivalent::Equivalent;
use crate::engine::evict::Rank;
use crate::reclaim;

/// An iterator over the keys and values of a cache, cloned, in the order of its policy; made by
/// [`Cache::hottest_first`] and [`Cache::coldest_first`].
pub struct Ranked<'c, K, V, S> {
    cache: &'c Cache<K, V, S>,
    keys: vec::IntoIter<K>,
}

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// Every key and value, cloned, the entry most worth keeping first.
    ///
    /// The order is that of [`hottest`](Self::hottest) at the time of the call. An entry that leaves before
    /// its turn is left out; an entry whose value is replaced before its turn comes with the new value.
    /// Unevictable entries have no place in the order and are left out. Iteration counts as neither a use of
    /// an entry nor a hit or a miss.
    ///
    /// # Complexity
    /// As `hottest` of all entries, with a clone of each key; then O(1) for each pair.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, Maintenance, Policy};
    ///
    /// let cache = Cache::builder()
    ///     .capacity(10)
    ///     .policy(Policy::lru())
    ///     .maintenance(Maintenance::Inline)
    ///     .build()?;
    /// for (key, value) in [(1, "a"), (2, "b"), (3, "c")] {
    ///     cache.insert(key, value);
    /// }
    /// cache.get(&1);
    /// assert!(cache.hottest_first().eq([(1, "a"), (3, "c"), (2, "b")]));
    /// assert!(cache.coldest_first().eq([(2, "b"), (3, "c"), (1, "a")]));
    /// # Ok::<(), larder::BuildError>(())
    /// ```
    #[must_use = "iterators do nothing unless they are consumed"]
    pub fn hottest_first(&self) -> Ranked<'_, K, V, S>
    where
        K: Clone,
        V: Clone,
    {
        Ranked { cache: self, keys: self.hottest(usize::MAX).into_iter() }
    }

    /// Every key and value, cloned, the entry that would be evicted next first; otherwise as
    /// [`hottest_first`](Self::hottest_first).
    #[must_use = "iterators do nothing unless they are consumed"]
    pub fn coldest_first(&self) -> Ranked<'_, K, V, S>
    where
        K: Clone,
        V: Clone,
    {
        Ranked { cache: self, keys: self.coldest(usize::MAX).into_iter() }
    }

    /// Removes the entry that the policy would evict next and returns its key and value, cloned; `None` if
    /// the cache has no evictable entry.
    ///
    /// Each entry is returned by only one call. The order is exact with one partition, as
    /// [`hottest`](Self::hottest) says; other threads may change it meanwhile. The entry counts as removed,
    /// not as evicted: in [`Stats`](crate::Stats), for listeners
    /// ([`Explicit`](crate::RemovalCause::Explicit)), and for the policy, which does not remember the key.
    ///
    /// # Panics
    /// If a `Clone` does; the entry stays.
    ///
    /// # Complexity
    /// O(partitions) with `lru`, `fifo`, `lfu`, `cost_aware` and the default policy; up to O(n) with `sieve` and
    /// `s3_fifo`; O(n log n) with a policy that does not [name its coldest
    /// entries](crate::policy::Hints::coldest). Waits for maintenance.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, Maintenance, Policy};
    ///
    /// let cache = Cache::builder()
    ///     .capacity(10)
    ///     .policy(Policy::lru())
    ///     .maintenance(Maintenance::Inline)
    ///     .build()?;
    /// for key in 0..3 {
    ///     cache.insert(key, key * 10);
    /// }
    /// cache.get(&0);
    /// assert_eq!(cache.pop_coldest(), Some((1, 10)));
    /// assert_eq!(cache.pop_hottest(), Some((0, 0)));
    /// # Ok::<(), larder::BuildError>(())
    /// ```
    pub fn pop_coldest(&self) -> Option<(K, V)>
    where
        K: Clone,
        V: Clone,
    {
        self.pop(Rank::Coldest)
    }

    /// Removes the entry that the policy finds most worth keeping; otherwise as
    /// [`pop_coldest`](Self::pop_coldest).
    ///
    /// # Complexity
    /// O(partitions) with `lru`, `fifo` and the default policy; O(n) with the other policies of the library;
    /// O(n log n) with a policy that names neither its hottest nor its coldest entries.
    pub fn pop_hottest(&self) -> Option<(K, V)>
    where
        K: Clone,
        V: Clone,
    {
        self.pop(Rank::Hottest)
    }

    fn pop(&self, rank: Rank) -> Option<(K, V)>
    where
        K: Clone,
        V: Clone,
    {
        // Entries that maintenance has not seen yet have no place in the order.
        self.run_pending();
        let mut count = 1;
        loop {
            let (keys, named) = self.ranked_keys(rank, count);
            let taken = keys.into_iter().find_map(|key| self.remove_entry(&key));
            // Fewer are named only if there are no more. Otherwise all that were named have left meanwhile
            // or are not valid.
            if taken.is_some() || named < count {
                return taken;
            }
            count = count.saturating_mul(2);
        }
    }

    /// Counts a use of `key` without reading its value: for the policy, for the time to idle, and as a hit or
    /// a miss, as [`get`](Self::get) does. Says whether the key is present.
    ///
    /// The policy decides what a use is worth: `lru` moves the entry to the hot end of its order at
    /// once, others mark or count it, and `fifo` ignores it.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(100);
    /// cache.insert("session", 1);
    /// assert!(cache.touch("session"));
    /// assert!(!cache.touch("other"));
    /// ```
    pub fn touch<Q>(&self, key: &Q) -> bool
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.read(key, |_| ()).is_some()
    }

    /// Makes the entry of `key` the next that its [partition](crate::Builder::partitions) evicts, after those
    /// that were demoted before. False if the key is absent, if its entry is unevictable, or if the
    /// [minimum](crate::Namespaces::guarantee) of its namespace protects it.
    ///
    /// It serves entries that are probably not needed any more, such as the pages of a scan, but cost nothing
    /// as long as there is room.
    ///
    /// The entry stays until room is needed, and lookups find it as before. A use that is recorded for the
    /// policy ends the demotion, and so does a new value; with `fifo`, which records no uses, only a new value
    /// does. A second demotion changes nothing. Demotion works with every policy, which does not see it.
    /// Snapshots do not keep it. The call counts as neither a use nor a hit or a miss.
    ///
    /// # Complexity
    /// O(1) expected. Waits for maintenance of the partition that is under way, and runs all maintenance that
    /// is left if it has not seen the entry yet.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, Maintenance};
    ///
    /// let cache = Cache::builder().capacity(3).maintenance(Maintenance::Inline).build()?;
    /// for key in 0..3 {
    ///     cache.insert(key, ());
    /// }
    /// assert!(cache.demote(&1));
    /// cache.insert(3, ());
    /// assert!(!cache.contains_key(&1));
    /// # Ok::<(), larder::BuildError>(())
    /// ```
    pub fn demote<Q>(&self, key: &Q) -> bool
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let hash = self.hash(key);
        let node = || {
            let guard = reclaim::pin();
            let (pointer, _) = self.find(key, hash, &guard)?;
            Some(pointer.meta().node())
        };
        let mut found = node();
        if found == Some(None) {
            // Maintenance has not seen the entry yet.
            self.run_pending();
            found = node();
        }
        found.flatten().is_some_and(|node| self.shared.engine.demote(node, hash))
    }
}

impl<K, V, S> Iterator for Ranked<'_, K, V, S>
where
    K: Hash + Eq,
    V: Clone,
    S: BuildHasher,
{
    type Item = (K, V);

    fn next(&mut self) -> Option<(K, V)> {
        self.keys.find_map(|key| {
            let value = self.cache.peek(&key)?;
            Some((key, value))
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.keys.len()))
    }
}

impl<K, V, S> fmt::Debug for Ranked<'_, K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ranked").field("keys_left", &self.keys.len()).finish_non_exhaustive()
    }
}
