//! Why a key is present or missing.
#![forbid(unsafe_code)]

use std::fmt;
use std::hash::{BuildHasher, Hash};

use super::{Cache, EntryInfo};
use crate::base::equivalent::Equivalent;
use crate::engine::history::Absence;
use crate::reclaim;

/// The answer of [`Cache::explain`] about a key. There will be no third case; the content of both may grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum Explanation {
    /// The key is in the cache.
    Present(Presence),
    /// The key is not in the cache.
    Missing(Absence),
}

/// What is known of an entry that is in the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Presence {
    /// Its age, its remaining lifetime, its weight, and its [counter of accesses](EntryInfo::frequency).
    pub info: EntryInfo,
    /// Its recent uses in the policy's own measure, as [`Cache::frequency`] returns them.
    pub uses: Option<u64>,
    /// The name of the policy's segment that holds it, one of those in [`Cache::segments`]; `None` if the
    /// policy has no segments, or if maintenance has not seen the entry yet.
    pub segment: Option<&'static str>,
    /// The number of its tags.
    pub tags: usize,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Present(presence) => write!(f, "present: {presence}"),
            Self::Missing(absence) => write!(f, "missing: {absence}"),
        }
    }
}

impl fmt::Display for Presence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.info)?;
        if let Some(uses) = self.uses {
            write!(f, ", recent uses {uses}")?;
        }
        if let Some(segment) = self.segment {
            write!(f, ", segment {segment}")?;
        }
        if self.tags > 0 { write!(f, ", tags {}", self.tags) } else { Ok(()) }
    }
}

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// Explains the state of `key`: what is known of its entry, or why it has none. It answers why a lookup
    /// missed. It does not count as a use, like [`peek`](Self::peek).
    ///
    /// The cache remembers the reasons of as many recent removals as
    /// [`explain_misses`](crate::Builder::explain_misses) says, by hash. With n of them, a key that was never
    /// inserted is mistaken for a removed one with a probability of n in 2^48. While other threads remove and
    /// insert the same key, the answer may be out of date.
    ///
    /// # Complexity
    /// O(1) if the key is present, otherwise O(remembered removals / 16). If it is present, the call waits
    /// for maintenance of its partition that is under way.
    ///
    /// # Examples
    /// ```
    /// use larder::{Absence, Cache, Explanation};
    ///
    /// let cache = Cache::builder().capacity(100).explain_misses(1_000).build()?;
    /// cache.insert("here", 1);
    /// cache.insert("gone", 2);
    /// cache.remove("gone");
    /// assert!(matches!(cache.explain("here"), Explanation::Present(_)));
    /// assert_eq!(cache.explain("gone"), Explanation::Missing(Absence::Removed));
    /// assert_eq!(cache.explain("gone").to_string(), "missing: removed");
    /// assert_eq!(cache.explain("never"), Explanation::Missing(Absence::NeverSeen));
    /// # Ok::<(), larder::BuildError>(())
    /// ```
    #[must_use]
    pub fn explain<Q>(&self, key: &Q) -> Explanation
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let hash = self.hash(key);
        let engine = &self.shared.engine;
        let (presence, node) = {
            let guard = reclaim::pin();
            let found = engine.table.get(hash, move |stored| key.equivalent(stored), &guard);
            let Some((pointer, _)) = found else {
                let history = engine.history.as_ref();
                return Explanation::Missing(history.map_or(Absence::Unknown, |it| it.of(hash)));
            };
            if pointer.is_invalidated() {
                return Explanation::Missing(Absence::Invalidated);
            }
            if !self.is_valid(pointer) {
                return Explanation::Missing(Absence::Expired);
            }
            let tags = pointer.tags().map_or(0, |tags| tags.names().count());
            let info = self.info(pointer);
            (Presence { info, uses: None, segment: None, tags }, pointer.meta().node())
        };
        let Some(node) = node else { return Explanation::Present(presence) };
        Explanation::Present(Presence {
            uses: engine.frequency(node, hash),
            segment: engine.segment_of(node, hash),
            ..presence
        })
    }
}
