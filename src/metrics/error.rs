//! What is wrong with a metric, or with the name of a cache.
#![forbid(unsafe_code)]

use std::error::Error;
use std::fmt;

use super::kind::FamilyKind;

/// Why a cache was not registered, or a metric not accepted.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum MetricsError {
    /// The cache has no name, or an empty one.
    Unnamed,
    /// Another cache that still exists was registered with this name.
    NameTaken {
        /// The name.
        name: String,
    },
    /// The name of a metric is not one.
    BadName {
        /// The name that was given.
        given: String,
    },
    /// The name of a metric ends with what the format adds to names.
    ReservedSuffix {
        /// The name that was given.
        given: String,
        /// The end of it.
        suffix: &'static str,
    },
    /// The name of a metric with a unit does not end with the unit.
    BadUnit {
        /// The name of the metric.
        name: String,
        /// The unit that was given.
        unit: String,
    },
    /// The name of a label is not one, is reserved, or occurs twice in a sample.
    BadLabel {
        /// The name of the metric.
        name: String,
        /// The name of the label.
        label: String,
    },
    /// A metric of the same name has another kind or another unit.
    Conflict {
        /// The name of both.
        name: String,
        /// The kind of the one that was there first.
        kind: FamilyKind,
    },
    /// A metric has two samples with the same labels.
    Duplicate {
        /// The name of the metric.
        name: String,
        /// The labels, as they are written.
        labels: String,
    },
    /// A sample has a value that its kind of metric cannot have: a counter is finite and not negative, a histogram
    /// has buckets, and an info has no value.
    BadValue {
        /// The name of the metric.
        name: String,
        /// Its kind.
        kind: FamilyKind,
        /// The value.
        given: String,
    },
    /// The buckets of a histogram do not increase, or its sum is not finite.
    BadBuckets {
        /// What is wrong.
        reason: &'static str,
    },
}

impl fmt::Display for MetricsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unnamed => f.write_str(
                "the cache has no name; name it by `Builder::name`, or register it by `register_as`",
            ),
            Self::NameTaken { name } => {
                write!(f, "a cache is registered as `{name}` already; use another name")
            }
            Self::BadName { given } => write!(
                f,
                "`{given}` is not the name of a metric; use letters, digits and underscores, \
                 and begin with a letter"
            ),
            Self::ReservedSuffix { given, suffix } => write!(
                f,
                "`{given}` ends with `{suffix}`, which the format adds by itself; leave it out"
            ),
            Self::BadUnit { name, unit } => write!(
                f,
                "`{name}` does not end with `_{unit}`; a metric with a unit ends with the unit"
            ),
            Self::BadLabel { name, label } => write!(
                f,
                "`{label}` is not a label for `{name}`; use letters, digits and underscores, begin \
                 with a letter, use no name twice, and `le` in no histogram"
            ),
            Self::Conflict { name, kind } => write!(
                f,
                "`{name}` is a {kind} already, or has another unit; use another name"
            ),
            Self::Duplicate { name, labels } => {
                write!(f, "`{name}` has a sample with the labels `{labels}` already; add each once")
            }
            Self::BadValue { name, kind, given } => {
                write!(f, "`{name}` is a {kind} and cannot have the value {given}")
            }
            Self::BadBuckets { reason } => write!(f, "these are not the buckets of a histogram: {reason}"),
        }
    }
}

impl Error for MetricsError {}
