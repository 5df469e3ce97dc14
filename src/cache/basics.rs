//! What most users call, and nothing else: lookups and insertions. (`new` and `builder` are in `config`.)
//!
//! Rustdoc lists `impl` blocks by modules, children first: this one is the first child, so that the
//! page of [`Cache`] begins with it.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, Hash};

use super::options::Traits;
use super::{Cache, Pinned};
use crate::base::equivalent::Equivalent;
use crate::base::error::Inserted;
use crate::base::hash::KeyHash;
use crate::reclaim;
use crate::table::BucketProbe;

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// The value of `key`, cloned.
    ///
    /// Lock-free. Counts as a use of the entry, and as a hit or a miss.
    ///
    /// # Complexity
    /// O(1) expected.
    #[doc(alias("getIfPresent", "get_if_present"))]
    #[inline]
    pub fn get<Q>(&self, key: &Q) -> Option<V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        V: Clone,
    {
        self.read(key, V::clone)
    }

    /// Stores `value` under `key`, and replaces the value that is there, if any.
    ///
    /// Once it has returned, every thread sees the value until it is replaced, removed, evicted or
    /// expired. If the key was present, the stored key is replaced too; the policy decides whether the
    /// entry keeps its place in the order of eviction. A value that is rejected because it is too heavy,
    /// or because the cache stores nothing, removes the old value of the key.
    ///
    /// The result may be ignored; rejections are counted in
    /// [`Stats::rejections`](crate::Stats::rejections).
    ///
    /// # Panics
    /// If the weigher, or the key's `Hash` or `Eq`, panics. The cache is then unchanged.
    ///
    /// # Complexity
    /// O(1) expected; in background mode, a call that finds 8 changes waiting (fewer in a small cache) applies up to 16
    /// of them to the policy. O([partitions](Self::partitions)), and what it evicts, for a value heavier than a
    /// partition's share of the bound on weight.
    #[doc(alias = "put")]
    #[inline]
    pub fn insert(&self, key: K, value: V) -> Inserted {
        let hash = self.hash(&key);
        self.store_plain(key, value, hash)
    }

    /// Stores `value` under `key` unless the key is present; then the call returns
    /// [`Present`](crate::Rejection::Present). Of several threads that try at once, one adds its value.
    ///
    /// # Panics
    /// As [`insert`](Self::insert).
    #[doc(alias("putIfAbsent", "put_if_absent"))]
    pub fn insert_if_absent(&self, key: K, value: V) -> Inserted {
        self.store_if_absent(key, value, Traits::default(), None)
    }

    /// Stores `value` under `key` if the key is there; else [`Absent`](crate::Rejection::Absent). A key
    /// that expires while the call runs may still count as there.
    ///
    /// # Panics
    /// As [`insert`](Self::insert).
    pub fn replace(&self, key: K, value: V) -> Inserted {
        self.store_if_present(key, value, Traits::default())
    }

    /// What `reader` returns for the value of `key`, which is not cloned.
    ///
    /// `reader` runs pinned: see [`pin`](Self::pin) for what that holds back, and keep it short.
    /// It may use the cache. Otherwise as [`get`](Self::get).
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(100);
    /// cache.insert("a", vec![1, 2, 3]);
    /// assert_eq!(cache.read("a", |numbers| numbers.len()), Some(3));
    /// ```
    #[inline(always)]
    pub fn read<Q, R>(&self, key: &Q, reader: impl FnOnce(&V) -> R) -> Option<R>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.read_hashed(key, self.hash(key), reader)
    }

    /// As [`read`](Self::read), for a key whose hash is known.
    #[inline(always)]
    pub(super) fn read_hashed<Q, R>(
        &self,
        key: &Q,
        hash: KeyHash,
        reader: impl FnOnce(&V) -> R,
    ) -> Option<R>
    where
        Q: Equivalent<K> + ?Sized,
    {
        let Some(guard) = reclaim::pin_fast() else {
            return self.read_slow(reclaim::pin(), BucketProbe::Inconclusive, key, hash, reader);
        };
        match self.lookup_fast(key, hash, &guard) {
            Ok((_, entry)) => Some(reader(&entry.value)),
            Err(probe) => self.read_slow(guard.into(), probe, key, hash, reader),
        }
    }

    /// The key that is stored and its value, both cloned; otherwise as [`get`](Self::get).
    ///
    /// For keys that are equal and yet differ: the one that is stored came with the value.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(100);
    /// cache.insert("key".to_owned(), 1);
    /// assert_eq!(cache.get_key_value("key"), Some(("key".to_owned(), 1)));
    /// ```
    pub fn get_key_value<Q>(&self, key: &Q) -> Option<(K, V)>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        K: Clone,
        V: Clone,
    {
        let hash = self.hash(key);
        let guard = reclaim::pin();
        let (_, entry) = self.lookup(key, hash, &guard)?;
        Some((entry.key.clone(), entry.value.clone()))
    }

    /// The value of `key`, cloned. The call counts as neither a use of the entry nor a hit or a miss.
    #[must_use]
    #[doc(alias = "getIfPresentQuietly")]
    pub fn peek<Q>(&self, key: &Q) -> Option<V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        V: Clone,
    {
        let hash = self.hash(key);
        let guard = reclaim::pin();
        self.find(key, hash, &guard).map(|(_, entry)| entry.value.clone())
    }

    /// Whether `key` is there. The call does not count as a use, a hit or a miss, like [`peek`](Self::peek).
    #[must_use]
    #[doc(alias = "containsKey")]
    pub fn contains_key<Q>(&self, key: &Q) -> bool
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let hash = self.hash(key);
        self.find(key, hash, &reclaim::pin()).is_some()
    }

    /// Pins the calling thread for several lookups, which then cost no pin of their own and
    /// return references.
    ///
    /// A pin costs about as much as the rest of a lookup, so this pays off after a few lookups. While it lives, nothing
    /// that any larder cache of the process removes, replaces or evicts from now on is freed: memory grows with the
    /// writes of all threads. Hold it for microseconds, not across anything that waits.
    /// [`Stats::reclamation_lag`](crate::Stats::reclamation_lag) shows a pin that is held for long.
    ///
    /// # Examples
    /// ```
    /// let cache: larder::Cache<u32, String> = (0..10).map(|n| (n, n.to_string())).collect();
    /// let pinned = cache.pin();
    /// let total: usize = (0..10).filter_map(|n| pinned.get(&n)).map(|text| text.len()).sum();
    /// assert_eq!(total, 10);
    /// ```
    pub fn pin(&self) -> Pinned<'_, K, V, S> {
        Pinned::new(self, reclaim::pin())
    }
}
