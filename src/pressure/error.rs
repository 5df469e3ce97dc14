//! Errors of following the memory in use.
#![forbid(unsafe_code)]

use std::error::Error;
use std::{fmt, io};

use super::Bound;
use crate::base::error::ResizeError;

/// Why a [`MemoryFollower`](super::MemoryFollower) was not started, or could not adjust the bound.
///
/// The message does not say why memory could not be read, or the bound could not be set: the
/// [`source`](std::error::Error::source) does.
#[derive(Debug)]
#[non_exhaustive]
pub enum FollowError {
    /// The cache was built without the bound that was to follow.
    Unbounded {
        /// The bound.
        bound: Bound,
    },
    /// No target was given, and the source knows no limit.
    NoTarget,
    /// The target was 0.
    ZeroTarget,
    /// The band is not a number from 0 to below 1.
    BadBand {
        /// The band that was given.
        given: f64,
    },
    /// The range is empty, or begins below one for each partition.
    BadRange {
        /// The least bound that was given.
        least: u64,
        /// The greatest bound that was given.
        most: u64,
        /// The number of the cache's partitions.
        partitions: u64,
    },
    /// The interval was zero.
    ZeroInterval,
    /// The memory in use could not be read.
    Unreadable(io::Error),
    /// The source panicked.
    Panicked,
    /// The cache rejected the bound.
    Resize(ResizeError),
}

impl fmt::Display for FollowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unbounded { bound } => {
                let name = match bound {
                    Bound::Entries => "capacity",
                    Bound::Weight => "max_weight",
                };
                write!(f, "the cache was built without `{name}`; set it in the builder")
            }
            Self::NoTarget => {
                f.write_str("there is no limit on memory to derive a target from; set `target`")
            }
            Self::ZeroTarget => f.write_str("a target of 0 bytes; use more"),
            Self::BadBand { given } => {
                write!(f, "band {given}; use a fraction from 0 to below 1")
            }
            Self::BadRange { least, most, partitions } => write!(
                f,
                "range from {least} to {most}; use at least one for each of {partitions} \
                 partitions, and an upper end that is no lower"
            ),
            Self::ZeroInterval => {
                f.write_str("an interval of 0; use more, or `by_hand` for none at all")
            }
            Self::Unreadable(_) => f.write_str("memory in use cannot be read"),
            Self::Panicked => f.write_str("the source of memory in use panicked"),
            Self::Resize(_) => f.write_str("the bound cannot be set"),
        }
    }
}

impl Error for FollowError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Unreadable(error) => Some(error),
            Self::Resize(error) => Some(error),
            _ => None,
        }
    }
}
