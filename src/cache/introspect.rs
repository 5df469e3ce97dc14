//! The order that the policy keeps: looking into it, and changing the bounds it works within.
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
    /// Up to `count` keys that the policy finds most worth keeping, the best first; without a
    /// trace.
    ///
    /// Each partition ranks its own keys, and ranks are merged: the order is exact with one
    /// partition and as far as the [policy](crate::policy::Hints::hottest) has one. In
    /// background mode keys that maintenance has not seen yet ([`run_pending`](Self::run_pending))
    /// are missing, and so are those that leave during the call. Waits for maintenance that is
    /// under way.
    ///
    /// # Complexity
    /// O(count × partitions) where the policy [names them](crate::policy::Hints::hottest), as
    /// the default does; else O(n log n).
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
        self.ranked(Rank::Hottest, count)
    }

    /// Up to `count` keys that the policy would evict next, the next one first; otherwise as
    /// [`hottest`](Self::hottest).
    #[must_use]
    pub fn coldest(&self, count: usize) -> Vec<K>
    where
        K: Clone,
    {
        self.ranked(Rank::Coldest, count)
    }

    fn ranked(&self, rank: Rank, count: usize) -> Vec<K>
    where
        K: Clone,
    {
        self.ranked_keys(rank, count).0
    }

    /// The same, and how many entries the policies have named: keys that are not valid are left out.
    pub(super) fn ranked_keys(&self, rank: Rank, count: usize) -> (Vec<K>, usize)
    where
        K: Clone,
    {
        let engine = &self.shared.engine;
        // Hashes first: keys are cloned, which is user code, under no lock.
        let hashes = engine.ranked(rank, count);
        let named = hashes.len();
        let guard = reclaim::pin();
        // Keys whose hashes are equal are distinguished by their addresses, as long as the pin holds.
        let place = |key: &K| std::ptr::from_ref(key).cast::<()>();
        let mut seen = HashSet::with_capacity(named);
        let key_of = |hash| {
            let is_next = |key: &K| !seen.contains(&place(key));
            let (pointer, entry) = engine.table.get(hash, is_next, &guard)?;
            seen.insert(place(&entry.key));
            self.is_valid(pointer).then(|| (pointer, entry.key.clone()))
        };
        let keys: Vec<_> = hashes.into_iter().filter_map(key_of).collect();
        // Once more: what was cloned first may have expired meanwhile.
        let is_valid = |(pointer, key)| self.is_valid(pointer).then_some(key);
        (keys.into_iter().filter_map(is_valid).collect(), named)
    }

    /// How often `key` was used lately, in the policy's own measure: what the frequency sketch
    /// says with the default policy, the exact count with `lfu`, a saturating counter or nothing
    /// with others. `None` if the key is not there or maintenance has not seen it yet. Without a
    /// trace.
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
    /// How the policy divides what it holds at the moment, over all partitions: for the default
    /// one, its window, probation and protected parts and what it aims at for each. Empty where
    /// the policy has no parts.
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
    /// A lower bound holds on return, as far as bounds [hold](Self#bounds). The excess is evicted
    /// by this call, 256 entries at a time and a partition after the other: other threads go on
    /// meanwhile and pay nothing for it, but may find more than the new bound until then. Of calls
    /// by several threads, the last one counts.
    ///
    /// The number of partitions stays, and so does memory that the policy has taken for what it
    /// remembers. With 0 the cache stores nothing until the capacity is raised again; see
    /// [`Builder::capacity`](crate::Builder::capacity). [Unevictable](Self::insert_unevictable) entries
    /// that are there stay.
    ///
    /// # Errors
    /// [`ResizeError`] if the cache was built without a capacity, or if `entries` is less than one
    /// for each partition and not 0. Nothing has changed then.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(1_000);
    /// cache.extend_from(0..1_000);
    /// # trait Fill { fn extend_from(&self, keys: std::ops::Range<u32>); }
    /// # impl Fill for larder::Cache<u32, u32> {
    /// #     fn extend_from(&self, keys: std::ops::Range<u32>) {
    /// #         for key in keys { self.insert(key, key); }
    /// #     }
    /// # }
    /// cache.set_capacity(10)?;
    /// assert_eq!(cache.len(), 10);
    /// # Ok::<(), larder::ResizeError>(())
    /// ```
    pub fn set_capacity(&self, entries: usize) -> Result<(), ResizeError> {
        let mut bounds = sync::lock(&self.shared.settings.bounds);
        bounds.capacity.ok_or(ResizeError::Unbounded)?;
        self.check_shared(entries as u64)?;
        bounds.capacity = Some(entries);
        self.resize(bounds);
        Ok(())
    }

    /// Changes the bound on the sum of weights; otherwise as [`set_capacity`](Self::set_capacity).
    ///
    /// # Errors
    /// Likewise.
    pub fn set_max_weight(&self, weight: u64) -> Result<(), ResizeError> {
        let mut bounds = sync::lock(&self.shared.settings.bounds);
        bounds.max_weight.ok_or(ResizeError::Unbounded)?;
        self.check_shared(weight)?;
        bounds.max_weight = Some(weight);
        self.resize(bounds);
        Ok(())
    }

    fn resize(&self, bounds: MutexGuard<'_, Bounds>) {
        self.shared.engine.set_bounds(*bounds);
        // Values are dropped below, and their drop may ask for the bounds.
        drop(bounds);
        self.shared.engine.lower_bounds();
    }

    fn check_shared(&self, bound: u64) -> Result<(), ResizeError> {
        let partitions = self.partitions();
        if bound != 0 && bound < partitions as u64 {
            return Err(ResizeError::TooFew { given: bound, partitions });
        }
        Ok(())
    }
}
