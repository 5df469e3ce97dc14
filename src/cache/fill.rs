//! Storing a value that was fetched for a key, unless the key was changed meanwhile.
#![forbid(unsafe_code)]

use std::fmt;
use std::hash::{BuildHasher, Hash};

use super::Cache;
use super::options::InsertOptions;
use crate::base::error::{Inserted, Rejection};
use crate::base::hash::KeyHash;
use crate::engine::fills::OpenFill;
use crate::engine::flight::Flight;
use crate::engine::history::Absence;
use crate::entry::EntryPtr;

/// A fill that [`Cache::begin_fill`] has begun. Dropping it abandons the fill.
#[must_use = "dropping a fill abandons it"]
pub struct Fill<K, V> {
    key: K,
    open: OpenFill<Flight<K, V>>,
}

impl<K, V> Fill<K, V> {
    /// The key for which a value is fetched.
    pub fn key(&self) -> &K {
        &self.key
    }
}

impl<K: fmt::Debug, V> fmt::Debug for Fill<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fill").field("key", &self.key).finish_non_exhaustive()
    }
}

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// Begins a fill: notes that a value for `key` is about to be fetched, to be stored by
    /// [`complete_fill`](Self::complete_fill).
    ///
    /// A program that misses, reads its database and inserts what it has read can store a stale value:
    /// another thread may update the database after the read and remove the key before the insertion; then
    /// the old value stays in the cache. To prevent this, begin the fill before reading the database, and
    /// write to the database before removing the key or storing it anew. Then a fill whose value may be
    /// stale is refused.
    ///
    /// Fills of the same key do not exclude each other, and no thread waits. While a fill is open, each
    /// change of the cache takes a lock for a moment. Another thread may complete a fill, and it may be held
    /// across an `await`.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, Inserted, Rejection};
    ///
    /// let (cache, database) = (Cache::new(100), std::sync::Mutex::new(1));
    /// let fill = cache.begin_fill(&"row");
    /// let row = *database.lock().unwrap();
    /// // Another thread updates the row and removes its key, which is not in the cache yet.
    /// *database.lock().unwrap() = 2;
    /// cache.remove("row");
    /// assert_eq!(cache.complete_fill(fill, row), Inserted::Rejected(Rejection::Stale));
    /// assert_eq!(cache.get("row"), None);
    /// ```
    pub fn begin_fill(&self, key: &K) -> Fill<K, V>
    where
        K: Clone,
    {
        let key = key.clone();
        let open = self.shared.engine.fills.open(self.hash(&key));
        Fill { key, open }
    }

    /// Stores `value` under the key of `fill`, unless the key was stored, removed or invalidated since
    /// the fill began.
    ///
    /// Every call that may change the key makes the fill stale, whether the key was present or not:
    /// insertions, replacements and removals of the key, [`clear`](Self::clear), [`retain`](Self::retain),
    /// [`invalidate_if`](Self::invalidate_if) and [`invalidate_tag`](Self::invalidate_tag). Eviction, expiry,
    /// [`remove_if_expired`](Self::remove_if_expired), [`remove_expired`](Self::remove_expired) and other
    /// fills do not. A fill that completes after another has stored its value is rejected as
    /// [`Present`](Rejection::Present). If several complete at the same time, each may be `Added`, and one
    /// value stays. A stale fill is rejected as [`Stale`](Rejection::Stale), and its value was never
    /// visible; if it was in the table for a moment, a listener is notified that it was
    /// [invalidated](crate::RemovalCause::Invalidated). A fill that was begun with another cache is also
    /// rejected as `Stale`.
    ///
    /// # Panics
    /// As [`insert`](Self::insert).
    ///
    /// # Complexity
    /// As `insert`, and O(open fills / 32) under a lock.
    pub fn complete_fill(&self, fill: Fill<K, V>, value: V) -> Inserted {
        self.complete_fill_with(fill, value, InsertOptions::new())
    }

    /// As [`complete_fill`](Self::complete_fill), with `options` as in
    /// [`insert_with`](Self::insert_with).
    pub fn complete_fill_with(
        &self,
        fill: Fill<K, V>,
        value: V,
        options: InsertOptions<'_>,
    ) -> Inserted {
        let Fill { key, open } = fill;
        if !open.is_of(&self.shared.engine.fills) || !open.is_fresh() {
            return self.reject(Rejection::Stale);
        }
        match self.traits(options) {
            Ok(traits) => self.store_if_absent(key, value, traits, Some(&open)),
            Err(rejection) => self.reject_and_note(rejection, open.hash),
        }
    }

    /// Removes the entry of a stale fill, which no lookup could see, unless it has left already.
    #[cold]
    pub(super) fn reject_stale(&self, unconfirmed: EntryPtr, hash: KeyHash) -> Inserted {
        // A valid entry at this address is another one in the same memory, and stays. If another thread is
        // changing the key and this one must not wait, the entry stays until it is replaced or evicted.
        let _ = self.remove_notifying(unconfirmed, hash, &mut |_, _| false, Absence::Removed);
        self.reject(Rejection::Stale)
    }
}
