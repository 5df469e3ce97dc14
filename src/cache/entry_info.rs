//! What the cache knows of entries, read without using them.
#![forbid(unsafe_code)]

use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::time::Duration;

use super::Cache;
use crate::base::equivalent::Equivalent;
use crate::entry::EntryPtr;
use crate::reclaim;
use crate::table::Cursor;

/// What a cache knows of an entry besides its key and value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct EntryInfo {
    /// How long ago the value was inserted. `None` if that is unknown. Unless the cache
    /// [keeps ages](crate::Builder::keep_ages), that is so for an entry that cannot expire, and for one that
    /// was inserted with the cache's lifetime and then [given another](crate::Cache::expire_after).
    pub age: Option<Duration>,
    /// How long until the entry expires; `None` if it never does.
    pub expires_in: Option<Duration>,
    /// The weight of the entry.
    pub weight: u32,
    /// The entry's counter of accesses, if the policy uses one ([`Accesses::Counter`]); otherwise 0.
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

/// An entry as [`Cache::entries`] returns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EntryView<K, V> {
    /// The key, cloned.
    pub key: K,
    /// The value, cloned.
    pub value: V,
    /// What the cache knows of the entry.
    pub info: EntryInfo,
}

/// How many entries of a cache are valid, expired and invalidated, as counted by [`Cache::census`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Census {
    /// The number of entries that a lookup finds.
    pub valid_len: usize,
    /// The sum of their weights.
    pub valid_weight: u64,
    /// The number of entries that have expired and are not removed yet.
    pub expired_len: usize,
    /// The sum of their weights.
    pub expired_weight: u64,
    /// The number of entries of which a tag was invalidated and that are not removed yet.
    pub invalidated_len: usize,
    /// The sum of their weights.
    pub invalidated_weight: u64,
}

impl fmt::Display for Census {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { valid_len, valid_weight, expired_len, expired_weight, .. } = self;
        let Self { invalidated_len, invalidated_weight, .. } = self;
        write!(
            f,
            "valid_len={valid_len} valid_weight={valid_weight} expired_len={expired_len} \
             expired_weight={expired_weight} invalidated_len={invalidated_len} \
             invalidated_weight={invalidated_weight}"
        )
    }
}

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// What the cache knows of the entry of `key`, besides the value. It leaves no trace, like
    /// [`peek`](Self::peek).
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
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let hash = self.hash(key);
        let guard = reclaim::pin();
        self.find(key, hash, &guard).map(|(pointer, _)| self.info(pointer))
    }

    /// Whether the entry of `key` has expired and is not removed yet.
    ///
    /// Other calls treat such a key as absent. The entry is removed within a
    /// [tick](crate::Builder::timer_tick); afterwards only [`explain`](Self::explain) can tell an
    /// expired key from an unknown one.
    pub fn has_expired<Q>(&self, key: &Q) -> bool
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let hash = self.hash(key);
        let guard = reclaim::pin();
        let found =
            self.shared.engine.table.get(hash, move |stored| key.equivalent(stored), &guard);
        let timing = &self.shared.engine.timing;
        let is_expired = |(pointer, _): (EntryPtr, _)| {
            pointer.extension().is_some_and(|extension| !timing.is_valid(extension))
        };
        found.is_some_and(is_expired)
    }
}

impl<K, V, S> Cache<K, V, S> {
    /// Counts the valid, the expired and the invalidated entries, and adds up their weights.
    ///
    /// [`len`](Self::len) and [`weight`](Self::weight) are cheaper, but include all entries that take room:
    /// also those that have expired less than a [tick](crate::Builder::timer_tick) ago, and those of which a
    /// tag was [invalidated](Self::invalidate_tag), which may stay for long. Only a visit to each entry can
    /// tell them apart: an entry may carry several tags, so counts for each tag would not add up. This call
    /// visits every entry. Use it for gauges that are read every few seconds.
    ///
    /// An entry that is in the cache during the whole call is counted exactly once, in the state in which
    /// it was visited; one that is inserted or removed meanwhile may be counted or not. The call leaves no
    /// trace and does not wait for other threads. It pins the thread for about a hundred entries at a time.
    ///
    /// # Complexity
    /// O(n).
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(100);
    /// cache.insert_with_tags("a", 1, ["tag"]);
    /// cache.insert("b", 2);
    /// cache.invalidate_tag("tag");
    /// let census = cache.census();
    /// assert_eq!((cache.len(), census.valid_len, census.invalidated_len), (2, 1, 1));
    /// ```
    #[must_use]
    pub fn census(&self) -> Census {
        let engine = &self.shared.engine;
        let (mut census, mut cursor) = (Census::default(), Cursor::Start);
        while cursor != Cursor::End {
            let guard = reclaim::pin();
            cursor = engine.table.step(cursor, &guard, |pointer, _| {
                let (len, weight) = if self.is_valid(pointer) {
                    (&mut census.valid_len, &mut census.valid_weight)
                } else if pointer.is_invalidated() {
                    (&mut census.invalidated_len, &mut census.invalidated_weight)
                } else {
                    (&mut census.expired_len, &mut census.expired_weight)
                };
                *len += 1;
                *weight += u64::from(pointer.meta().weight());
            });
        }
        census
    }

    /// The [time to live](crate::Builder::time_to_live) of entries without a lifetime of their own; `None` if
    /// none was set.
    #[must_use]
    pub fn time_to_live(&self) -> Option<Duration> {
        self.shared.engine.timing.time_to_live()
    }

    /// The [time to idle](crate::Builder::time_to_idle); `None` if none was set.
    #[must_use]
    pub fn time_to_idle(&self) -> Option<Duration> {
        self.shared.engine.timing.time_to_idle()
    }

    pub(super) fn info(&self, pointer: EntryPtr) -> EntryInfo {
        let timing = &self.shared.engine.timing;
        EntryInfo {
            age: timing.age(pointer),
            expires_in: pointer.extension().and_then(|extension| timing.remaining(extension)),
            weight: pointer.meta().weight(),
            frequency: pointer.frequency(),
        }
    }
}
