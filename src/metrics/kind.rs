//! The kinds of metrics.
#![forbid(unsafe_code)]

use std::fmt;

/// The kind of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FamilyKind {
    /// A number that only grows, until the process or the cache ends.
    Counter,
    /// A number that rises and falls.
    Gauge,
    /// Counts of values by size.
    Histogram,
    /// Texts that do not change, as labels.
    Info,
}

impl fmt::Display for FamilyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Info => "info",
        })
    }
}
