//! Entries that are never evicted.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, Hash};

use super::Cache;
use super::options::Traits;
use crate::base::equivalent::Equivalent;
use crate::base::error::Inserted;
use crate::reclaim;

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// As [`insert`](Self::insert), but the entry is never evicted: it stays until it expires, is removed, or
    /// its key is stored anew.
    ///
    /// The entry is outside of the bounds: [`len`](Self::len) and [`weight`](Self::weight) count it, but
    /// [`capacity`](Self::capacity) and [`max_weight`](Self::max_weight) bound only the other entries, also
    /// when they are changed. So memory is bounded only if you bound the number of such entries. The policy
    /// does not know them, so they do not slow down the search for a victim, however many there are.
    /// [`hottest`](Self::hottest) and [`coldest`](Self::coldest) leave them out.
    ///
    /// Each insertion and replacement decides anew: after [`insert`](Self::insert) or
    /// [`replace`](Self::replace) of the same key, the entry is evictable and new to the policy. If several
    /// calls race on one key, the last one decides, as it does about the value. A weight of 0 does not make
    /// an entry unevictable: such an entry counts in `capacity` and is evicted.
    ///
    /// Snapshots keep the entry as an evictable one, the warmest of its partition.
    ///
    /// # Panics
    /// As [`insert`](Self::insert).
    ///
    /// # Complexity
    /// As `insert`.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(100);
    /// cache.insert_unevictable(0, "configuration");
    /// for key in 1..10_000 {
    ///     cache.insert(key, "page");
    /// }
    /// assert_eq!(cache.get(&0), Some("configuration"));
    /// ```
    pub fn insert_unevictable(&self, key: K, value: V) -> Inserted {
        let hash = self.hash(&key);
        self.store(key, value, Traits { is_unevictable: true, ..Traits::default() }, hash)
    }

    /// Whether the entry of `key` is unevictable; `None` if the key is absent. The call does not count as a use, like
    /// [`peek`](Self::peek).
    #[must_use]
    pub fn is_unevictable<Q>(&self, key: &Q) -> Option<bool>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let hash = self.hash(key);
        let guard = reclaim::pin();
        let (pointer, _) = self.find(key, hash, &guard)?;
        Some(pointer.meta().is_unevictable())
    }
}
