//! Why a key is there, or is not.
#![forbid(unsafe_code)]

use std::fmt;
use std::hash::{BuildHasher, Hash};

use super::{Cache, EntryInfo};
use crate::base::equivalent::Equivalent;
use crate::engine::history::Absence;
use crate::reclaim;

/// What [`Cache::explain`] says of a key. There is no third case; what is said of either may grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum Explanation {
    /// It is there.
    Present(Presence),
    /// It is not.
    Missing(Absence),
}

/// What is known of an entry that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Presence {
    /// Its age, the rest of its life, its weight, its counter.
    pub info: EntryInfo,
    /// How often it was used lately, as [`Cache::frequency`] says.
    pub uses: Option<u64>,
    /// The part of the policy that it is in, by the name in [`Cache::segments`]; `None` if the
    /// policy has no parts, or maintenance has not seen the entry yet.
    pub segment: Option<&'static str>,
    /// How many tags it carries.
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
    /// Says what there is to know of `key`: how its entry stands, or why there is none. For people
    /// who ask themselves why a lookup has missed; without a trace, like [`peek`](Self::peek).
    ///
    /// Why a key has left is remembered of as many recent removals as
    /// [`explain_misses`](crate::Builder::explain_misses) says, by hash: with n of them, a key that
    /// was never there is taken for one that was in n cases out of 2^48. While other threads remove
    /// and insert the same key, the answer may be the one before.
    ///
    /// # Complexity
    /// O(1) if the key is there, else O(remembered removals / 16). Waits for maintenance that is
    /// under way.
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
    pub fn explain<Q>(&self, key: &Q) -> Explanation
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let hash = self.hash(key);
        let engine = &self.shared.engine;
        let (presence, node) = {
            let guard = reclaim::pin();
            let found = engine.table.get(hash, move |held| key.equivalent(held), &guard);
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
