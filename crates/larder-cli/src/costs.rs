//! What the misses of a trace cost: how long each value takes to load, by a published kind of distribution.
//!
//! Traces do not say it, so it is made up: for each key from its number and the seed, so that all policies wait
//! equally long for the same key.

use std::time::Duration;

use crate::error::ReplayError;
use crate::trace::Trace;

/// The mean of uniform costs, and the least of the others.
const MEAN_UNIFORM_NS: f64 = 100e6;
const LEAST_NS: f64 = 1e6;
/// The shape of the Pareto distribution of heavy-tailed costs, and the highest of them.
const SHAPE: f64 = 1.1;
const MOST_NS: f64 = 10e9;
/// What a byte adds to costs by size.
const BYTE_NS: f64 = 1e3;

/// How costs are distributed over the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Costs {
    /// From 50 to 150 ms, each equally likely
    Uniform,
    /// Pareto with shape 1.1, from 1 ms to 10 s: few keys take most of the time, as remote calls do
    Heavy,
    /// 1 ms, and 1 µs for each byte; needs sizes
    BySize,
}

impl Costs {
    /// Refuses a trace that does not have what the costs depend on.
    pub(crate) fn check(self, trace: &Trace) -> Result<(), ReplayError> {
        match (self, &trace.sizes_bytes) {
            (Self::BySize, None) => Err(ReplayError::NoSizesForCosts { file: trace.name.clone() }),
            _ => Ok(()),
        }
    }

    /// What a miss of request `at` costs, if `random` are the bits of its key.
    pub(crate) fn of(self, trace: &Trace, at: usize, random: u64) -> Duration {
        // From 0, not included, to 1.
        let unit = ((random >> 11) + 1) as f64 / (1_u64 << 53) as f64;
        let ns = match self {
            Self::Uniform => MEAN_UNIFORM_NS * (0.5 + unit),
            Self::Heavy => (LEAST_NS * unit.powf(-1.0 / SHAPE)).min(MOST_NS),
            Self::BySize => {
                let size_bytes = trace.sizes_bytes.as_ref().map_or(0, |sizes| sizes[at]);
                LEAST_NS + BYTE_NS * f64::from(size_bytes)
            }
        };
        // At most 10 s, or 2^32 µs and 1 ms.
        Duration::from_nanos(ns as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_have_the_distribution_that_their_help_names() {
        let trace = Trace::of_ids(&[0, 1], Some(vec![0, 1_000_000]));
        let steps = 10_000_u64;
        let all = |costs: Costs| {
            let bits = (0..steps).map(move |step| step * (u64::MAX / steps));
            bits.map(|bits| costs.of(&trace, 0, bits).as_secs_f64()).collect::<Vec<f64>>()
        };
        let uniform = all(Costs::Uniform);
        assert!(uniform.iter().all(|cost| (0.05..0.1501).contains(cost)));
        assert!((uniform.iter().sum::<f64>() / steps as f64 - 0.1).abs() < 0.001);
        let heavy = all(Costs::Heavy);
        assert!(heavy.iter().all(|cost| (0.001..=10.0).contains(cost)));
        let median = heavy.iter().filter(|cost| **cost < 0.001 * 2_f64.powf(1.0 / SHAPE)).count();
        assert!(median.abs_diff(5_000) <= 2, "{median} are below the median");
        let tail: f64 = heavy.iter().filter(|cost| **cost > 0.01).sum();
        assert!(tail > 0.6 * heavy.iter().sum::<f64>(), "few keys take most of the time");
        let by_size = [0, 1].map(|at| Costs::BySize.of(&trace, at, 7));
        assert_eq!(by_size, [Duration::from_millis(1), Duration::from_millis(1_001)]);
    }

    #[test]
    fn costs_by_size_are_refused_without_sizes() {
        let bare = Trace::of_ids(&[0], None);
        let failure = Costs::BySize.check(&bare).unwrap_err().to_string();
        assert!(failure.contains("--costs by-size needs sizes, and t has none"), "{failure}");
        assert!(Costs::Heavy.check(&bare).is_ok());
    }
}
