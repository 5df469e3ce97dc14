//! How much a cache and each of its partitions may hold.
#![forbid(unsafe_code)]

use super::PolicyConfig;

/// The most that a partition may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) entries: usize,
    pub(crate) weight: u64,
}

/// The bounds of a whole cache; `None` where there is none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) capacity: Option<usize>,
    pub(crate) max_weight: Option<u64>,
}

impl Bounds {
    /// Whether a bound is 0, so that nothing is stored, not even an entry of weight 0.
    pub(crate) fn is_zero(self) -> bool {
        self.capacity == Some(0) || self.max_weight == Some(0)
    }

    /// The most that all partitions together may weigh, if that is bounded.
    pub(crate) fn sum_of_weights(self) -> Option<u64> {
        if self.is_zero() { Some(0) } else { self.max_weight }
    }

    /// The limits of the partition number `index`.
    pub(crate) fn share(self, index: usize, partitions: usize) -> Limits {
        if self.is_zero() {
            return Limits { entries: 0, weight: 0 };
        }
        let share = |bound| share_of(bound, index, partitions);
        Limits {
            // `len` has 31 bits a partition, node ids 32, and a partition may exceed its limit for a
            // moment.
            entries: usize::try_from(self.capacity.map_or(u64::MAX, |all| share(all as u64)))
                .unwrap_or(usize::MAX)
                .min(i32::MAX as usize - 1024),
            weight: self.max_weight.map_or(u64::MAX, share),
        }
    }

    /// The configuration for the policy of a partition with those limits. Its bounds are at least 1,
    /// because policies divide by them; the policies of a cache that stores nothing never get a node.
    pub(crate) fn policy_config(self, limits: Limits) -> PolicyConfig {
        PolicyConfig::new(
            self.capacity.map(|_| limits.entries.max(1)),
            self.max_weight.map(|_| limits.weight.max(1)),
        )
    }
}

/// One of `partitions` equal parts of `bound`; the first ones share the remainder.
pub(crate) fn share_of(bound: u64, index: usize, partitions: usize) -> u64 {
    let (all, rest) = (bound / partitions as u64, bound % partitions as u64);
    all + u64::from((index as u64) < rest)
}
