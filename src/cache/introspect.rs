//! Inspecting the order of the policy, and changing the bounds.
#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::hash::{BuildHasher, Hash};

use super::Cache;
use crate::base::equivalent::Equivalent;
use crate::base::error::ResizeError;
use crate::base::sync::{self, MutexGuard};
use crate::engine::evict::Rank;
use crate::policy::Segment;
use crate::policy::bounds::Bounds;
use crate::reclaim;

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// Up to `count` keys that the policy finds most worth keeping, the best first. The call does not count
    /// as a use of any entry.
    ///
    /// Each partition ranks its own keys, and the rankings are merged. The order is exact with one partition,
    /// as far as the [policy](crate::policy::Hints::hottest) has an order. In background mode, keys
    /// that maintenance has not seen yet (see [`run_pending`](Self::run_pending)) are missing, and so are keys
    /// that leave during the call. Waits for maintenance that is under way.
    ///
    /// # Complexity
    /// O(count × partitions) if the policy [names its hottest
    /// entries](crate::policy::Hints::hottest), as the default does; otherwise O(n log n).
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::builder()
    ///     .capacity(100)
    ///     .policy(larder::Policy::lfu())
    ///     .maintenance(larder::Maintenance::Inline)
    ///     .build()?;
    /// for key in 0..10 {
    ///     cache.insert(key, ());
    ///     for _ in 0..key {
    ///         cache.get(&key);
    ///     }
    /// }
    /// assert_eq!(cache.hottest(2), [9, 8]);
    /// assert_eq!(cache.coldest(2), [0, 1]);
    /// assert_eq!(cache.frequency(&9), Some(10));
    /// # Ok::<(), larder::BuildError>(())
    /// ```
    #[must_use]
    pub fn hottest(&self, count: usize) -> Vec<K>
    where
        K: Clone,
    {
        self.ranked_keys(Rank::Hottest, count).0
    }

    /// Up to `count` keys that the policy would evict next, the very next first; otherwise as
    /// [`hottest`](Self::hottest).
    #[must_use]
    pub fn coldest(&self, count: usize) -> Vec<K>
    where
        K: Clone,
    {
        self.ranked_keys(Rank::Coldest, count).0
    }

    /// The keys of up to `count` entries that the policies name, except for entries that are not valid; and
    /// how many entries the policies have named.
    pub(super) fn ranked_keys(&self, rank: Rank, count: usize) -> (Vec<K>, usize)
    where
        K: Clone,
    {
        let engine = &self.shared.engine;
        // The policies name hashes: keys are cloned, which runs user code, when no lock is held.
        let hashes = engine.ranked(rank, count);
        let named = hashes.len();
        let guard = reclaim::pin();
        // Keys with equal hashes are told apart by their addresses, which are stable under the pin.
        let address = |key: &K| std::ptr::from_ref(key).cast::<()>();
        let mut seen = HashSet::with_capacity(named);
        let key_of = |hash| {
            let is_next = |key: &K| !seen.contains(&address(key));
            let (pointer, entry) = engine.table.get(hash, is_next, &guard)?;
            seen.insert(address(&entry.key));
            self.is_valid(pointer).then(|| (pointer, entry.key.clone()))
        };
        let keys: Vec<_> = hashes.into_iter().filter_map(key_of).collect();
        // Checked again, because the first entries may have expired while the others were cloned.
        let is_valid = |(pointer, key)| self.is_valid(pointer).then_some(key);
        (keys.into_iter().filter_map(is_valid).collect(), named)
    }

    /// The recent uses of `key`, in the policy's own measure: the estimate of the frequency sketch with the
    /// default policy, the exact count with `lfu`, and the entry's [counter of accesses](crate::EntryInfo::frequency)
    /// or 0 with the others. `None` if the key is absent or maintenance has not seen it yet. The call does not
    /// count as a use.
    #[must_use]
    pub fn frequency<Q>(&self, key: &Q) -> Option<u64>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let hash = self.hash(key);
        let node = {
            let guard = reclaim::pin();
            self.find(key, hash, &guard).and_then(|(pointer, _)| pointer.meta().node())
        }?;
        self.shared.engine.frequency(node, hash)
    }
}

impl<K, V, S> Cache<K, V, S> {
    /// The segments into which the policy divides its entries, summed over all partitions. For the default
    /// policy these are window, probation and protected, each with its content and its target. Empty if the
    /// policy has no segments.
    ///
    /// # Examples
    /// ```
    /// let cache: larder::Cache<u32, ()> = (0..100).map(|key| (key, ())).collect();
    /// cache.run_pending();
    /// let segments = cache.segments();
    /// assert_eq!(segments[0].name, "window");
    /// assert_eq!(segments.iter().map(|segment| segment.entries).sum::<usize>(), 100);
    /// ```
    #[must_use]
    pub fn segments(&self) -> Vec<Segment> {
        self.shared.engine.segments()
    }

    /// Changes the bound on the number of entries, up or down, at run time.
    ///
    /// On return a lower bound holds as far as [bounds hold](Self#bounds). This call evicts the excess,
    /// partition by partition and 256 entries at a time. Other threads go on meanwhile and pay nothing for
    /// it, but may find more entries than the new bound allows. If several threads change the bound, the last
    /// call decides.
    ///
    /// The number of partitions does not change, and the policy keeps its memory for evicted keys. With 0 the
    /// cache stores nothing until the capacity is raised again; see
    /// [`Builder::capacity`](crate::Builder::capacity). [Unevictable](Self::insert_unevictable) entries stay.
    ///
    /// # Errors
    /// [`ResizeError`] if the cache was built without a capacity, if `entries` is not 0 and less than one
    /// for each partition, or if it is less than the minimums of all namespaces. Nothing has changed in that case.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(1_000);
    /// cache.insert_many((0..1_000).map(|key| (key, key)));
    /// cache.set_capacity(10)?;
    /// assert_eq!(cache.len(), 10);
    /// # Ok::<(), larder::ResizeError>(())
    /// ```
    #[doc(alias = "setMaximum")]
    pub fn set_capacity(&self, entries: usize) -> Result<(), ResizeError> {
        let mut bounds = sync::lock(&self.shared.settings.bounds);
        bounds.capacity.ok_or(ResizeError::Unbounded)?;
        self.check_bound(entries as u64)?;
        bounds.capacity = Some(entries);
        self.resize(bounds);
        Ok(())
    }

    /// Changes the bound on the sum of weights; otherwise as [`set_capacity`](Self::set_capacity).
    ///
    /// # Errors
    /// [`ResizeError`] if the cache was built without a bound on weight, or if `weight` is not 0 and less than
    /// one for each partition. Nothing has changed in that case.
    pub fn set_max_weight(&self, weight: u64) -> Result<(), ResizeError> {
        let mut bounds = sync::lock(&self.shared.settings.bounds);
        bounds.max_weight.ok_or(ResizeError::Unbounded)?;
        self.check_bound(weight)?;
        bounds.max_weight = Some(weight);
        self.resize(bounds);
        Ok(())
    }

    fn resize(&self, bounds: MutexGuard<'_, Bounds>) {
        self.shared.engine.set_bounds(*bounds);
        // Unlocked first: values are dropped below, and their `Drop` may ask for the bounds.
        drop(bounds);
        self.shared.engine.lower_bounds();
    }

    fn check_bound(&self, bound: u64) -> Result<(), ResizeError> {
        if let Some(minimums) = self.shared.engine.quotas.as_ref().map(|quotas| quotas.minimums())
            && bound < minimums
        {
            return Err(ResizeError::BelowMinimums { given: bound, minimums });
        }
        let partitions = self.partitions();
        if bound != 0 && bound < partitions as u64 {
            return Err(ResizeError::TooFew { given: bound, partitions });
        }
        Ok(())
    }
}
