//! The order that the policy keeps, entry by entry: going through it, taking from its ends, and
//! changing an entry's place.
#![forbid(unsafe_code)]

use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::vec;

use super::Cache;
use crate::base::equivalent::Equivalent;
use crate::engine::evict::Rank;
use crate::reclaim;

/// Pairs of a cache in the order of its policy; made by [`Cache::hottest_first`] and
/// [`Cache::coldest_first`].
pub struct Ranked<'c, K, V, S> {
    cache: &'c Cache<K, V, S>,
    keys: vec::IntoIter<K>,
}

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// Every key and value, cloned, the one most worth keeping first.
    ///
    /// The order is that of the call, as [`hottest`](Self::hottest) gives it; an entry that leaves
    /// before it is its turn is left out, one whose value is replaced comes with the new one.
    /// Unevictable entries have no place in the order and are left out. It is no use of an entry, and
    /// neither a hit nor a miss.
    ///
    /// # Complexity
    /// As `hottest`, with a clone of each key, and O(1) for each pair.
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

    /// Every key and value, cloned, the one that would leave next first; otherwise as
    /// [`hottest_first`](Self::hottest_first).
    #[must_use = "iterators do nothing unless they are consumed"]
    pub fn coldest_first(&self) -> Ranked<'_, K, V, S>
    where
        K: Clone,
        V: Clone,
    {
        Ranked { cache: self, keys: self.coldest(usize::MAX).into_iter() }
    }

    /// Removes the entry that the policy would evict next and returns its key and value, cloned;
    /// `None` if there is none but unevictable ones.
    ///
    /// Each entry is returned by one call alone. The order is exact with one partition, as
    /// [`hottest`](Self::hottest) says; other threads may change it meanwhile. The entry counts as
    /// removed, not as evicted: in [`Stats`](crate::Stats), for listeners
    /// ([`Explicit`](crate::RemovalCause::Explicit)), and for the policy, which remembers nothing of
    /// it.
    ///
    /// # Panics
    /// If a `Clone` does; the entry stays.
    ///
    /// # Complexity
    /// O(partitions) where the policy keeps an order; O(n) for `s3_fifo` and policies that do not
    /// [name the coldest](crate::policy::Hints::coldest). Waits for maintenance.
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
    /// O(partitions) with `lru`, `fifo` and the default policy, else O(n).
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
        // Entries that maintenance has not seen have no place in the order.
        self.run_pending();
        let mut count = 1;
        loop {
            let (keys, named) = self.ranked_keys(rank, count);
            let taken = keys.into_iter().find_map(|key| self.remove_entry(&key));
            // Fewer are named only if that was all. Else those that were named have left meanwhile,
            // or are not valid.
            if taken.is_some() || named < count {
                return taken;
            }
            count = count.saturating_mul(2);
        }
    }

    /// Counts a use of `key` without reading its value, as [`get`](Self::get) does: for the policy,
    /// for the time to idle, and as a hit or a miss. Says whether the key is there.
    ///
    /// What a use is worth is up to the policy: `lru` moves the entry to the hot end of its order at
    /// once, others mark or count it, and to `fifo` it is nothing.
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

    /// Makes the entry of `key` the next that its [partition](crate::Builder::partitions) evicts,
    /// after those that were demoted before; demoted again, it keeps its place. False if the key is
    /// not there or its entry is unevictable.
    ///
    /// The entry stays until room is needed, and is found as before. A use that the policy hears of
    /// takes the demotion back, and so does a new value; to `fifo`, which hears of no use, it stands.
    /// The policy is not asked: this works alike with every one. A snapshot does not keep it.
    ///
    /// For what will not be needed any more but costs nothing as long as there is room, the pages of
    /// a scan, say. Neither a use nor a hit or a miss.
    ///
    /// # Complexity
    /// O(1) expected. Waits for maintenance of the partition that is under way.
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
