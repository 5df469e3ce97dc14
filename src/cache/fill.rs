//! Storing what was fetched for a key, unless the key was changed meanwhile.
#![forbid(unsafe_code)]

use std::fmt;
use std::hash::{BuildHasher, Hash};

use super::Cache;
use super::options::InsertOptions;
use crate::base::error::{Inserted, Rejection};
use crate::engine::fills::OpenFill;
use crate::engine::history::Absence;
use crate::entry::EntryPtr;

/// A fill that [`Cache::begin_fill`] has begun. Dropping it gives it up.
#[must_use = "a fill that is dropped is given up"]
pub struct Fill<K> {
    key: K,
    open: OpenFill,
}

impl<K> Fill<K> {
    /// The key that is to be filled.
    pub fn key(&self) -> &K {
        &self.key
    }
}

impl<K: fmt::Debug> fmt::Debug for Fill<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fill").field("key", &self.key).finish_non_exhaustive()
    }
}

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// Notes that a value for `key` is about to be fetched, for [`complete_fill`](Self::complete_fill).
    ///
    /// A program that misses, reads its database and inserts what it has read can store a value that
    /// another thread has just updated there: that one's removal of the key comes before the insertion,
    /// and the old value stays. Begin the fill before the database is read, and write to the database
    /// before the key is removed or stored anew; then a fill whose value may be old is refused.
    ///
    /// Fills of one key do not exclude each other, and nobody waits. While one is open, each change of
    /// the cache takes a lock for a moment. It may be completed by another thread, and across `await`.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, Inserted, Rejection};
    ///
    /// let (cache, database) = (Cache::new(100), std::sync::Mutex::new(1));
    /// let fill = cache.begin_fill(&"row");
    /// let row = *database.lock().unwrap();
    /// // Another thread updates the row, and removes what is in the cache: nothing yet.
    /// *database.lock().unwrap() = 2;
    /// cache.remove("row");
    /// assert_eq!(cache.complete_fill(fill, row), Inserted::Rejected(Rejection::Stale));
    /// assert_eq!(cache.get("row"), None);
    /// ```
    pub fn begin_fill(&self, key: &K) -> Fill<K>
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
    /// Every call that may change the key counts as a change, whether the key was there or not:
    /// insertions, replacements and removals of it, [`clear`](Self::clear), [`retain`](Self::retain),
    /// [`invalidate_if`](Self::invalidate_if), [`invalidate_tag`](Self::invalidate_tag). Eviction and
    /// expiry do not, nor do other fills: one that comes when another has stored its value is rejected as
    /// [`Present`](Rejection::Present); of several that complete at the same moment, each may be
    /// `Added`, and one value stays. A value whose fill is refused was visible to nobody;
    /// a listener is notified of it as of one that was
    /// [invalidated](crate::RemovalCause::Invalidated).
    ///
    /// [`Stale`](Rejection::Stale) also if `fill` was begun with another cache.
    ///
    /// # Panics
    /// As [`insert`](Self::insert).
    ///
    /// # Complexity
    /// As `insert`, and O(open fills / 32) under a lock.
    pub fn complete_fill(&self, fill: Fill<K>, value: V) -> Inserted {
        self.complete_fill_with(fill, value, InsertOptions::new())
    }

    /// As [`complete_fill`](Self::complete_fill), with `options` as in
    /// [`insert_with`](Self::insert_with).
    pub fn complete_fill_with(
        &self,
        fill: Fill<K>,
        value: V,
        options: InsertOptions<'_>,
    ) -> Inserted {
        let Fill { key, open } = fill;
        if !open.is_of(&self.shared.engine.fills) || !open.confirm(|| ()) {
            return self.reject(Rejection::Stale);
        }
        match self.traits(options) {
            Ok(traits) => self.store_if_absent(key, value, traits, Some(&open)),
            Err(rejection) => self.reject_stored(rejection, open.hash),
        }
    }

    /// Takes out an entry that no lookup was to see, unless it has left.
    #[cold]
    pub(super) fn reject_stale(&self, unconfirmed: EntryPtr, hash: u64) -> Inserted {
        // What is valid is another entry, which has come to stand in the same memory. Where another thread
        // changes the key and this one must not wait, the entry stays until it is replaced or evicted.
        let _ = self.remove_notifying(unconfirmed, hash, &mut |_, _| false, Absence::Removed);
        self.reject(Rejection::Stale)
    }
}
