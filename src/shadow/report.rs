//! The results of shadow caches.
#![forbid(unsafe_code)]

use std::fmt;

/// The results of a cache's shadows since it was built, or since the counts were
/// [reset](crate::Cache::reset_shadow_counts).
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ShadowReport {
    /// The results by policy, then by multiple, each in the order of the configuration.
    pub points: Vec<ShadowPoint>,
    /// Lookups in the cache.
    pub lookups: u64,
    /// Lookups, insertions and removals that were sampled.
    pub records: u64,
    /// Records that were dropped because their buffer was full. They make hit ratios less exact.
    pub dropped: u64,
    /// Bytes that the shadows take, without the memory of their policies.
    pub bytes: usize,
}

/// One policy at one capacity.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ShadowPoint {
    /// The name of the policy.
    pub policy: String,
    /// The factor by which the cache's bounds were multiplied.
    pub multiple: f64,
    /// The resulting bound on entries.
    pub capacity: Option<usize>,
    /// The resulting bound on weight.
    pub max_weight: Option<u64>,
    /// Hits per lookup, from 0 to 1, that a cache with this policy and these bounds would have. `None` before the first
    /// lookup that was sampled.
    pub hit_ratio: Option<f64>,
    /// The sampled lookups on which the hit ratio is based.
    pub samples: u64,
    /// The fraction of all keys that is simulated now.
    pub sample_rate: f64,
    /// Entries that the shadow holds now.
    pub entries: usize,
    /// Whether the policy has panicked. Then the shadow simulates no more lookups.
    pub has_failed: bool,
}

impl ShadowReport {
    /// The hit ratio of the policy of that name at that multiple, if it was configured and lookups
    /// were sampled.
    #[must_use]
    pub fn hit_ratio(&self, policy: &str, multiple: f64) -> Option<f64> {
        let is_wanted = |point: &&ShadowPoint| {
            point.policy.eq_ignore_ascii_case(policy)
                && (point.multiple - multiple).abs() <= f64::EPSILON * multiple
        };
        self.points.iter().find(is_wanted).and_then(|point| point.hit_ratio)
    }

    /// The multiples and their hit ratios for the policy of that name: its hit-ratio curve. Empty before
    /// the first lookup that was sampled.
    pub fn curve<'r>(&'r self, policy: &'r str) -> impl Iterator<Item = (f64, f64)> + 'r {
        let own = self.points.iter().filter(|point| point.policy.eq_ignore_ascii_case(policy));
        own.filter_map(|point| Some((point.multiple, point.hit_ratio?)))
    }
}

/// One line for each point, and one for the totals.
impl fmt::Display for ShadowReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for point in &self.points {
            writeln!(f, "{point}")?;
        }
        let Self { lookups, records, dropped, bytes, .. } = self;
        write!(f, "lookups {lookups}, records {records}, dropped {dropped}, bytes {bytes}")
    }
}

impl fmt::Display for ShadowPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {} times the bounds: ", self.policy, self.multiple)?;
        match self.hit_ratio {
            Some(ratio) => write!(f, "hit ratio {:.2} %", 100.0 * ratio)?,
            None => f.write_str("no sample yet")?,
        }
        if let Some(entries) = self.capacity {
            write!(f, ", capacity {entries}")?;
        }
        if let Some(weight) = self.max_weight {
            write!(f, ", weight {weight}")?;
        }
        write!(f, ", {} samples", self.samples)?;
        if self.has_failed { f.write_str(", policy has failed") } else { Ok(()) }
    }
}
