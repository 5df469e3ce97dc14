//! Storing a value that was fetched for a key, unless the key was changed meanwhile.
#![forbid(unsafe_code)]

use std::fmt;
use std::hash::{BuildHasher, Hash};

use super::Cache;
use super::compute::Effect;
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
    #[doc(alias("get_value_or_guard", "PlaceholderGuard"))]
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
    /// insertions, replacements, updates and removals of the key, [`clear`](Self::clear), [`retain`](Self::retain),
    /// [`invalidate_if`](Self::invalidate_if), [`invalidate_tag`](Self::invalidate_tag) and
    /// [`invalidate_namespace`](Self::invalidate_namespace). Eviction, expiry,
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

    /// Stores `value` under the key of `fill`, and replaces the value that is there, if any, unless the key was changed
    /// since the fill began: a compare-and-set of the whole key.
    ///
    /// The fill becomes stale as for [`complete_fill`](Self::complete_fill), and also by the completion of any other
    /// fill of the key. Like an insertion, this call is itself a change of the key, which makes all its other fills and
    /// loads stale. So of several fills that were begun at the same time, one is completed by this call, and the others
    /// are rejected as [`Stale`](Rejection::Stale). Eviction and expiry do not count as changes: the value is then
    /// stored as a new one. A lookup finds the old value or the new one, and a value that is rejected as stale was
    /// never visible. If the value is too heavy, the old one is removed, as by [`insert`](Self::insert).
    ///
    /// It serves a write to a database, before which the fill is begun, and a refresh that must not undo a
    /// change. For a value that is computed from the present one,
    /// [`update`](Self::update) and [`entry`](Self::entry) are simpler.
    ///
    /// # Panics
    /// As [`insert`](Self::insert).
    ///
    /// # Complexity
    /// As `insert`, and O(open fills / 32) under a lock.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, Inserted, Rejection};
    ///
    /// let cache = Cache::new(100);
    /// cache.insert("row", 1);
    /// let (first, second) = (cache.begin_fill(&"row"), cache.begin_fill(&"row"));
    /// assert_eq!(cache.complete_fill_replacing(first, 2), Inserted::Replaced);
    /// let outcome = cache.complete_fill_replacing(second, 3);
    /// assert_eq!(outcome, Inserted::Rejected(Rejection::Stale));
    /// assert_eq!(cache.get("row"), Some(2));
    /// ```
    pub fn complete_fill_replacing(&self, fill: Fill<K, V>, value: V) -> Inserted
    where
        K: Clone,
    {
        self.complete_fill_replacing_with(fill, value, InsertOptions::new())
    }

    /// As [`complete_fill_replacing`](Self::complete_fill_replacing), with `options` as in
    /// [`insert_with`](Self::insert_with).
    pub fn complete_fill_replacing_with(
        &self,
        fill: Fill<K, V>,
        value: V,
        options: InsertOptions<'_>,
    ) -> Inserted
    where
        K: Clone,
    {
        let Fill { key, open } = fill;
        if self.is_within_removal() {
            return self.reject(Rejection::WithinListener);
        }
        if !open.is_of(&self.shared.engine.fills) {
            return self.reject(Rejection::Stale);
        }
        let traits = match self.traits(options) {
            Ok(traits) => traits,
            Err(rejection) => return self.reject_and_note(rejection, open.hash),
        };
        let see = &mut |effect: Effect<'_, V>| match effect {
            Effect::Replaced { .. } => Inserted::Replaced,
            _ => Inserted::Added,
        };
        match self.replace_by_fill(&open, key, value, traits, see) {
            Some(Ok(inserted)) => inserted,
            Some(Err(rejection)) => Inserted::Rejected(rejection),
            None => self.reject(Rejection::Stale),
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
