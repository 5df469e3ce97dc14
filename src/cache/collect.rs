//! The traits of collections.
#![forbid(unsafe_code)]

use std::fmt;
use std::hash::{BuildHasher, Hash};

use super::Cache;

impl<K, V, S> fmt::Debug for Cache<K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("len", &self.len())
            .field("weight", &self.weight())
            .field("capacity", &self.capacity())
            .field("max_weight", &self.max_weight())
            .field("policy", &self.policy_name())
            .field("partitions", &self.partitions())
            .finish_non_exhaustive()
    }
}

impl<K, V> FromIterator<(K, V)> for Cache<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    /// A cache just large enough for all pairs (of pairs with equal keys, the last one counts),
    /// with everything else at its default but a single partition, so that none is evicted.
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let pairs: Vec<_> = pairs.into_iter().collect();
        let builder = Self::builder().capacity(pairs.len().max(1)).partitions(1);
        let cache = match builder.build() {
            Ok(cache) => cache,
            Err(error) => unreachable!("a capacity of at least 1 in one partition: {error}"),
        };
        let mut cache = cache;
        cache.extend(pairs);
        cache
    }
}

impl<K, V, S> Extend<(K, V)> for Cache<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// Inserts every pair. Values that are too heavy are left out; `Stats::rejections` counts
    /// them.
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, pairs: I) {
        for (key, value) in pairs {
            let _ = self.insert(key, value);
        }
    }
}
