//! What the cache knows of entries, read without using them.
#![forbid(unsafe_code)]

use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::time::Duration;

use super::Cache;
use crate::base::cause::RemovalCause;
use crate::base::equivalent::Equivalent;
use crate::entry::EntryPtr;
use crate::reclaim;
use crate::table::Cursor;

/// What a cache knows of an entry besides its key and value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct EntryInfo {
    /// How long ago the value was inserted. `None` if that is unknown: unless the cache [keeps
    /// ages](crate::Builder::keep_ages), for an entry that cannot expire, and for one that was inserted with the
    /// cache's lifetime and then [given another](crate::Cache::expire_after).
    pub age: Option<Duration>,
    /// How long until the entry expires; `None` if it never does.
    pub expires_in: Option<Duration>,
    /// The weight of the entry.
    pub weight: u32,
    /// The entry's counter of accesses, if the policy uses one ([`Accesses::Counter`]); otherwise 0. The recent uses
    /// in the policy's own measure are another number: see [`Cache::frequency`].
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

/// The state of a key in a cache, as [`Cache::remove_key`] and [`Cache::remove_if_expired`] found it.
///
/// Lookups find a key that is valid, and no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum KeyState {
    /// The cache has no entry of the key.
    Missing,
    /// The cache has an entry that lookups find.
    Valid,
    /// The cache has an entry whose deadline has passed, and which was not removed yet.
    Expired,
    /// The cache has an entry with an [invalidated](Cache::invalidate_tag) tag, which was not removed yet. It may have
    /// expired too.
    Invalidated,
}

impl KeyState {
    /// The state in which an entry left, if it was found in this state and a call has removed it for `cause`.
    pub(super) fn removed_for(self, cause: RemovalCause) -> Self {
        match (self, cause) {
            // An entry may have both expired and been invalidated.
            (Self::Invalidated, RemovalCause::Expired | RemovalCause::Invalidated) => {
                Self::Invalidated
            }
            (_, RemovalCause::Expired) => Self::Expired,
            (_, RemovalCause::Invalidated) => Self::Invalidated,
            _ => Self::Valid,
        }
    }
}

/// The number and the weight of entries by state, as counted by [`Cache::census`] or
/// [`Cache::clear_and_count`].
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
    /// The number of entries with an invalidated tag that are not removed yet.
    pub invalidated_len: usize,
    /// The sum of their weights.
    pub invalidated_weight: u64,
}

impl Census {
    /// Counts one entry.
    pub(super) fn add(&mut self, state: KeyState, weight: u32) {
        let (len, sum) = match state {
            KeyState::Missing => return,
            KeyState::Valid => (&mut self.valid_len, &mut self.valid_weight),
            KeyState::Expired => (&mut self.expired_len, &mut self.expired_weight),
            KeyState::Invalidated => (&mut self.invalidated_len, &mut self.invalidated_weight),
        };
        *len += 1;
        *sum += u64::from(weight);
    }
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
    /// What the cache knows of the entry of `key`, besides the value. The call does not count as a use, like
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
    #[must_use]
    #[doc(alias = "item_stats")]
    pub fn inspect<Q>(&self, key: &Q) -> Option<EntryInfo>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let hash = self.hash(key);
        let guard = reclaim::pin();
        self.find(key, hash, &guard).map(|(pointer, _)| self.info(pointer))
    }

    /// Whether the entry of `key` has expired and is not removed yet, whether a tag of it was invalidated or
    /// not.
    ///
    /// Lookups do not find such a key. Its entry is removed within a
    /// [tick](crate::Builder::timer_tick), unless expiry is [lazy](crate::Builder::expire_lazily) or loads
    /// [may use](crate::Builder::stale_if_error) its value; until then this call tells an expired key from an unknown
    /// one. [`remove_if_expired`](Self::remove_if_expired) tells them apart in the step that removes the entry.
    #[must_use]
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
    /// [`len`](Self::len) and [`weight`](Self::weight) are cheaper, but include all entries that take room, even those
    /// that have expired less than a [tick](crate::Builder::timer_tick) ago, and those with an
    /// [invalidated](Self::invalidate_tag) tag, which may stay for long. Only a visit to each entry can tell them
    /// apart: an entry may carry several tags, so counts for each tag would not add up. This call visits every entry.
    /// Use it for gauges that are read every few seconds.
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
                census.add(self.state_of(pointer), pointer.meta().weight());
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

    /// The state of an entry that is in the table, now.
    pub(super) fn state_of(&self, pointer: EntryPtr) -> KeyState {
        match () {
            () if self.is_valid(pointer) => KeyState::Valid,
            () if pointer.is_invalidated() => KeyState::Invalidated,
            () => KeyState::Expired,
        }
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
