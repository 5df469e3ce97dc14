//! Why an entry has left a cache.
#![forbid(unsafe_code)]

use std::fmt;

/// Why an entry has left a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
#[repr(u8)]
pub enum RemovalCause {
    /// The cache evicted it, because a bound was reached.
    Evicted,
    /// Its deadline had passed.
    Expired,
    /// The user removed it by `remove`, `remove_if`, `retain`, `invalidate_if` or `clear`, or inserted a
    /// value for its key that was too heavy to be stored.
    Explicit,
    /// Another value took its place.
    Replaced,
    /// The user invalidated one of its tags ([`invalidate_tag`](crate::Cache::invalidate_tag)).
    Invalidated,
}

impl RemovalCause {
    const ALL: [Self; 5] =
        [Self::Evicted, Self::Expired, Self::Explicit, Self::Replaced, Self::Invalidated];

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
    fn every_cause_comes_back_from_its_number() {
        for cause in RemovalCause::ALL {
            assert_eq!(RemovalCause::from_raw(cause as u8), cause);
        }
    }
}
