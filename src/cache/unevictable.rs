//! Entries that are never evicted.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, Hash};
use std::time::Duration;

use super::Cache;
use crate::equivalent::Equivalent;
use crate::error::{Inserted, Rejection};
use crate::expiry::Lifetime;
use crate::reclaim;

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// As [`insert`](Self::insert), and the entry is never evicted: it stays until it expires, is
    /// removed, or its key is stored anew.
    ///
    /// It stands outside of the bounds: [`len`](Self::len) and [`weight`](Self::weight) count it,
    /// but [`capacity`](Self::capacity) and [`max_weight`](Self::max_weight) bound the other
    /// entries alone, and stay theirs when they are changed. So memory is bounded only if the
    /// number of such entries is. The policy does not know of it, so that a search for a victim
    /// never meets one, however many there are; [`hottest`](Self::hottest) and
    /// [`coldest`](Self::coldest) leave it out.
    ///
    /// Each insertion and replacement decides anew: after [`insert`](Self::insert) or
    /// [`replace`](Self::replace) of the same key the entry is one like any other, and new to the
    /// policy. Of calls that race on one key the last one decides, as it does about the value.
    /// A weight of 0 has nothing to do with it: such an entry counts in `capacity` and is evicted.
    ///
    /// Snapshots keep the entry as an ordinary one, the warmest of its partition.
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
        self.store_unevictable(key, value, Lifetime::Usual)
    }

    /// As [`insert_unevictable`](Self::insert_unevictable), with a lifetime as in
    /// [`insert_with_ttl`](Self::insert_with_ttl).
    pub fn insert_unevictable_with_ttl(&self, key: K, value: V, ttl: Duration) -> Inserted {
        self.store_unevictable(key, value, Lifetime::For(ttl))
    }

    fn store_unevictable(&self, key: K, value: V, lifetime: Lifetime) -> Inserted {
        if self.is_within_removal() {
            return self.reject(Rejection::WithinListener);
        }
        let hash = self.hash(&key);
        let weight = match self.weigh(&key, &value, hash) {
            Ok(weight) => weight,
            Err(rejection) => {
                self.remove_with(&key, hash, |_| ());
                return self.reject_stored(rejection, hash);
            }
        };
        let new = self.entry(hash, weight, key, value, lifetime);
        new.set_unevictable();
        self.store_entry(new, hash, Some(lifetime))
    }

    /// Whether the entry of `key` is never evicted; `None` if the key is not there. Without a
    /// trace, like [`peek`](Self::peek).
    pub fn is_unevictable<Q>(&self, key: &Q) -> Option<bool>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let hash = self.hash(key);
        let guard = reclaim::pin();
        let (pointer, _) = self.find(key, hash, &guard)?;
        Some(pointer.upkeep().is_unevictable())
    }
}
