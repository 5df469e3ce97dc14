//! Looking at entries without using them.
#![forbid(unsafe_code)]

use std::borrow::Borrow;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::time::Duration;

use super::Cache;
use crate::entry::EntryPtr;
use crate::reclaim;

/// What a cache knows of an entry besides its key and value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct EntryInfo {
    /// How long ago the value was inserted. `None` where nobody knows: unless the cache is told to
    /// [keep ages](crate::Builder::keep_ages), of an entry that cannot expire, and of one that was
    /// inserted with the cache's own lifetime and then [given another](crate::Cache::expire_after).
    pub age: Option<Duration>,
    /// How long the entry may yet live; `None` for ever.
    pub expires_in: Option<Duration>,
    /// What the weigher said.
    pub weight: u32,
    /// The counter of accesses, where the policy keeps one ([`Accesses::Counter`]); else 0.
    ///
    /// [`Accesses::Counter`]: crate::policy::Accesses::Counter
    pub frequency: u8,
}

impl fmt::Display for EntryInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(age) = self.age {
            write!(f, "age {age:?}, ")?;
        }
        match self.expires_in {
            Some(left) => write!(f, "expires in {left:?}")?,
            None => f.write_str("never expires")?,
        }
        write!(f, ", weight {}, counter {}", self.weight, self.frequency)
    }
}

/// An entry as an iteration has seen it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EntryView<K, V> {
    /// The key, cloned.
    pub key: K,
    /// The value, cloned.
    pub value: V,
    /// The rest.
    pub info: EntryInfo,
}

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// What the cache knows of the entry of `key`; without a trace, like [`peek`](Self::peek).
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    ///
    /// let cache = larder::Cache::new(100);
    /// cache.insert("stays", 1);
    /// cache.insert_with_ttl("goes", 2, Duration::from_secs(60));
    /// assert_eq!(cache.inspect("stays").and_then(|info| info.expires_in), None);
    /// assert!(cache.inspect("goes").and_then(|info| info.expires_in).is_some());
    /// ```
    pub fn inspect<Q>(&self, key: &Q) -> Option<EntryInfo>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let hash = self.hash(key);
        let guard = reclaim::pin();
        self.find(key, hash, &guard).map(|(pointer, _)| self.info(pointer))
    }

    /// Whether the entry of `key` has expired and was not removed yet.
    ///
    /// To every other call such a key is absent. It is removed within a
    /// [tick](crate::Builder::timer_tick), so this tells an expired key from an unknown one only for
    /// so long.
    pub fn has_expired<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let hash = self.hash(key);
        let guard = reclaim::pin();
        let found = self.shared.engine.table.get(hash, move |held| held.borrow() == key, &guard);
        let timing = &self.shared.engine.timing;
        let is_past = |(pointer, _): (EntryPtr, _)| {
            pointer.extension().is_some_and(|extension| !timing.is_valid(extension))
        };
        found.is_some_and(is_past)
    }
}

impl<K, V, S> Cache<K, V, S> {
    pub(super) fn info(&self, pointer: EntryPtr) -> EntryInfo {
        let timing = &self.shared.engine.timing;
        EntryInfo {
            age: timing.age(pointer),
            expires_in: pointer.extension().and_then(|extension| timing.remaining(extension)),
            weight: pointer.upkeep().weight(),
            frequency: pointer.frequency(),
        }
    }
}
