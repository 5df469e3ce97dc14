//! Removing entries and returning their keys and values.
//!
//! Each entry is returned by only one call, the one that took it out of the table. All methods but
//! [`Cache::remove_and_read`] use [`Cache::remove_if`], which removes only what its condition has judged:
//! key and value are cloned before the entry leaves, so if a `Clone` panics, the entry stays.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, Hash};

use super::Cache;
use crate::base::equivalent::Equivalent;

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// Removes `key` and returns the stored key and its value; `None` if the key is absent. Both are cloned,
    /// because other threads may still be reading them.
    ///
    /// [`remove_and_read`](Self::remove_and_read) reads them without cloning.
    ///
    /// # Panics
    /// As [`remove`](Self::remove); if a `Clone` panics, the entry stays.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(100);
    /// cache.insert("key".to_owned(), 1);
    /// assert_eq!(cache.remove_entry("key"), Some(("key".to_owned(), 1)));
    /// assert_eq!(cache.remove_entry("key"), None);
    /// ```
    pub fn remove_entry<Q>(&self, key: &Q) -> Option<(K, V)>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        K: Clone,
        V: Clone,
    {
        self.remove_entry_if(key, |_, _| true)
    }

    /// Removes `key` if `condition` holds for its entry, and returns the stored key and its value, cloned.
    /// Otherwise as [`remove_if`](Self::remove_if): only a judged value is removed and returned.
    ///
    /// # Panics
    /// As [`remove_if`](Self::remove_if); if a `Clone` panics, the entry stays.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(100);
    /// cache.insert("job", 3);
    /// assert_eq!(cache.remove_entry_if("job", |_, tries| *tries > 5), None);
    /// assert_eq!(cache.remove_entry_if("job", |_, tries| *tries > 2), Some(("job", 3)));
    /// ```
    pub fn remove_entry_if<Q>(
        &self,
        key: &Q,
        mut condition: impl FnMut(&K, &V) -> bool,
    ) -> Option<(K, V)>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        K: Clone,
        V: Clone,
    {
        let mut judged = None;
        let is_removed = self.remove_if(key, |key, value| {
            judged = None;
            let is_leaving = condition(key, value);
            if is_leaving {
                judged = Some((key.clone(), value.clone()));
            }
            is_leaving
        });
        judged.filter(|_| is_removed)
    }

    /// Removes `key` and returns what `reader` returns for the stored key and its value, neither of which is cloned;
    /// `None` if the key is absent. It serves values that are large or not `Clone`.
    ///
    /// `reader` is called once, by the call that removes the entry, when the entry has left: other threads do
    /// not find it any more, but some may still be reading it. It runs pinned, like the closure of
    /// [`read`](Self::read).
    ///
    /// # Panics
    /// If `reader` does; the entry has left nevertheless. Within listeners as [`remove`](Self::remove).
    ///
    /// # Examples
    /// ```
    /// struct Document(Vec<u8>);
    ///
    /// let cache = larder::Cache::new(100);
    /// cache.insert("page", Document(vec![1, 2, 3]));
    /// assert_eq!(cache.remove_and_read("page", |_, document| document.0.len()), Some(3));
    /// assert!(!cache.contains_key("page"));
    /// ```
    pub fn remove_and_read<Q, R>(&self, key: &Q, reader: impl FnOnce(&K, &V) -> R) -> Option<R>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let hash = self.hash(key);
        self.remove_reading(key, hash, reader)
    }

    /// Removes every entry for which `predicate` holds and returns the keys and values, cloned, in an
    /// unspecified order.
    ///
    /// An entry that is in the cache during the whole call is judged once, and again if its value is replaced
    /// meanwhile; one that is inserted or removed meanwhile may be judged or not. Only a judged value is
    /// removed and returned, and if several calls run at the same time, only one of them returns it.
    /// [`invalidate_if`](Self::invalidate_if) removes without cloning.
    ///
    /// # Panics
    /// If `predicate` or a `Clone` does. Entries that were removed before stay removed, and are lost.
    ///
    /// # Complexity
    /// O(n), with a clone of each key.
    ///
    /// # Examples
    /// ```
    /// let cache: larder::Cache<u32, u32> = (0..10).map(|n| (n, n * n)).collect();
    /// let mut large = cache.extract_if(|_, square| *square > 50);
    /// large.sort();
    /// assert_eq!(large, [(8, 64), (9, 81)]);
    /// assert_eq!(cache.len(), 8);
    /// ```
    #[must_use = "`invalidate_if` removes without cloning"]
    pub fn extract_if(&self, mut predicate: impl FnMut(&K, &V) -> bool) -> Vec<(K, V)>
    where
        K: Clone,
        V: Clone,
    {
        self.keys().filter_map(|key| self.remove_entry_if(&key, &mut predicate)).collect()
    }

    /// Removes every entry that is in the cache when the call begins and returns the keys and values,
    /// cloned, in an unspecified order.
    ///
    /// Each entry is returned by only one call, even if several threads drain the cache at the same time. An
    /// entry that is inserted meanwhile may be removed or not; if it is removed, it is returned. An entry that
    /// has expired, or whose tag was invalidated, is removed and not returned. [`clear`](Self::clear) removes
    /// without cloning.
    ///
    /// # Panics
    /// If a `Clone` does. Entries that were removed before stay removed, and are lost.
    ///
    /// # Complexity
    /// O(n), with two clones of each key.
    ///
    /// # Examples
    /// ```
    /// let cache: larder::Cache<u32, u32> = (0..10).map(|n| (n, n * n)).collect();
    /// assert_eq!(cache.drain().iter().map(|(_, square)| square).sum::<u32>(), 285);
    /// assert!(cache.is_empty());
    /// ```
    #[must_use = "`clear` removes without cloning"]
    pub fn drain(&self) -> Vec<(K, V)>
    where
        K: Clone,
        V: Clone,
    {
        let all = self.extract_if(|_, _| true);
        // Also removes entries that have expired or are invalid.
        self.retain(|_, _| true);
        all
    }
}
