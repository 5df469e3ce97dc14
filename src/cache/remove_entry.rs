//! The verbs that remove entries and hand out what they removed.
//!
//! Each entry is handed out by one call alone, the one that took it out of the table. All of them
//! are made of [`Cache::remove_if`], which removes what its condition has judged: so key and value
//! are cloned before the entry leaves, and a `Clone` that panics leaves it where it is.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, Hash};

use super::Cache;
use crate::base::equivalent::Equivalent;

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// Removes `key` and returns the key that was stored and its value, cloned: another thread may
    /// still be reading them.
    ///
    /// [`remove_and_read`](Self::remove_and_read) hands them out without cloning.
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

    /// Removes `key` if `condition` holds for its entry, and returns the key that was stored and its
    /// value, cloned. Otherwise as [`remove_if`](Self::remove_if): what was judged is what is removed
    /// and returned.
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

    /// Removes `key` and returns what `reader` makes of the key that was stored and its value, without
    /// cloning either; `None` if the key is not there.
    ///
    /// `reader` is called once, by the one call that removes the entry, when the entry has left:
    /// other threads no longer find it, though some may still be reading it. It runs pinned, like the
    /// closure of [`read`](Self::read). For values that are not `Clone`, and for large ones.
    ///
    /// # Panics
    /// If `reader` does; the entry has left then all the same.
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

    /// Removes every entry for which `predicate` holds and returns the keys and values, cloned, in no
    /// order that means anything.
    ///
    /// An entry that is there during the whole call is judged once, or again if its value is replaced
    /// meanwhile; one that comes or goes meanwhile may be judged or not. What was judged is what is
    /// removed and returned. Of calls that run at the same time, one returns it.
    /// [`invalidate_if`](Self::invalidate_if) removes without cloning.
    ///
    /// # Panics
    /// If `predicate` or a `Clone` does. What was removed before stays removed, and is not returned.
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

    /// Removes every entry that is there when the call begins and returns the keys and values,
    /// cloned, in no order that means anything.
    ///
    /// Each entry is returned by one call alone, however many drain the cache at the same time. What
    /// is inserted meanwhile may or may not be removed; if it is, it is returned. What has expired, or
    /// whose tag was invalidated, is removed and not returned. [`clear`](Self::clear) removes without
    /// cloning.
    ///
    /// # Panics
    /// If a `Clone` does. What was removed before stays removed, and is not returned.
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
