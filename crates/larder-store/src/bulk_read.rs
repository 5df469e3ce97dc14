//! Reading several keys through the cache, whatever asks the store: a thread or a future.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hash};

use larder::{Fill, RandomState};

use crate::store::Record;
use crate::tier::{Tier, with_options};

/// One reading of several keys. The fills of the keys that the cache misses are open from before the queue
/// and the store are read.
pub(crate) struct BulkRead<K, V> {
    values: Vec<Option<V>>,
    fills: HashMap<K, Fill<K, V>, RandomState>,
    records: HashMap<K, Record<V>, RandomState>,
    wanted: Vec<K>,
}

impl<K, V> BulkRead<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    pub(crate) fn begin<E, S: BuildHasher>(tier: &Tier<K, V, E, S>, keys: &[K]) -> Self {
        let values: Vec<_> = keys.iter().map(|key| tier.cache.get(key)).collect();
        let mut fills = HashMap::with_hasher(RandomState::new());
        for (key, value) in keys.iter().zip(&values) {
            if value.is_none() && !fills.contains_key(key) {
                fills.insert(key.clone(), tier.cache.begin_fill(key));
            }
        }
        let mut records = HashMap::with_hasher(RandomState::new());
        let mut wanted = Vec::new();
        for key in fills.keys() {
            match tier.pending(key) {
                Some(Some(record)) => drop(records.insert(key.clone(), record)),
                Some(None) => {}
                None => wanted.push(key.clone()),
            }
        }
        Self { values, fills, records, wanted }
    }

    /// The keys that the store has to be asked for.
    pub(crate) fn take_wanted(&mut self) -> Vec<K> {
        std::mem::take(&mut self.wanted)
    }

    /// Adds what the store has returned when it was asked for `wanted`.
    pub(crate) fn add<E, S: BuildHasher>(
        &mut self,
        tier: &Tier<K, V, E, S>,
        wanted: &[K],
        found: Vec<(K, Record<V>)>,
    ) {
        let wanted: HashSet<_, RandomState> = wanted.iter().collect();
        for (key, record) in found {
            if wanted.contains(&key) {
                self.records.insert(key, record);
            } else {
                tier.count_foreign();
            }
        }
    }

    /// Adds the record of a key that was wanted.
    pub(crate) fn add_one(&mut self, key: &K, record: Record<V>) {
        self.records.insert(key.clone(), record);
    }

    /// Stores in the cache what was found, and returns the values of `keys`.
    pub(crate) fn end<E, S: BuildHasher>(
        self,
        tier: &Tier<K, V, E, S>,
        keys: &[K],
    ) -> Vec<Option<V>> {
        let Self { mut values, mut fills, records, .. } = self;
        for (key, value) in keys.iter().zip(&mut values) {
            if value.is_none() {
                *value = records.get(key).map(|record| record.value.clone());
            }
        }
        for (key, record) in records {
            if let Some(fill) = fills.remove(&key) {
                with_options(record, |value, options| {
                    tier.cache.complete_fill_with(fill, value, options)
                });
            }
        }
        values
    }
}
