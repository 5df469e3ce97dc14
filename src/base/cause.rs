//! Why an entry has left a cache.
#![forbid(unsafe_code)]

use std::fmt;

/// Why an entry has left a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
#[repr(u8)]
pub enum RemovalCause {
    /// The cache evicted it, because a bound or the maximum of its namespace was reached.
    Evicted,
    /// Its deadline had passed.
    Expired,
    /// The user removed it by `remove`, `remove_if`, `retain`, `invalidate_if` or `clear`, or inserted a
    /// value for its key that was too heavy to be stored.
    Explicit,
    /// Another value took its place.
    Replaced,
    /// The user invalidated one of its tags ([`invalidate_tag`](crate::Cache::invalidate_tag)) or its namespace
    /// ([`invalidate_namespace`](crate::Cache::invalidate_namespace)).
    Invalidated,
}

impl RemovalCause {
    const ALL: [Self; 5] =
        [Self::Evicted, Self::Expired, Self::Explicit, Self::Replaced, Self::Invalidated];

    /// Whether the cache let the entry go by itself, because a bound was reached or its deadline had passed, and not
    /// because of what a user did.
    #[must_use]
    pub const fn was_evicted(self) -> bool {
        matches!(self, Self::Evicted | Self::Expired)
    }

    #[inline]
    pub(crate) fn from_raw(raw: u8) -> Self {
        Self::ALL[usize::from(raw)]
    }
}

impl fmt::Display for RemovalCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Evicted => "evicted",
            Self::Expired => "expired",
            Self::Explicit => "removed",
            Self::Replaced => "replaced",
            Self::Invalidated => "invalidated",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_cache_did_itself_was_an_eviction() {
        let evicted = RemovalCause::ALL.into_iter().filter(|cause| cause.was_evicted());
        assert!(evicted.eq([RemovalCause::Evicted, RemovalCause::Expired]));
    }

    #[test]
    fn every_cause_comes_back_from_its_number() {
        for cause in RemovalCause::ALL {
            assert_eq!(RemovalCause::from_raw(cause as u8), cause);
        }
    }
}
