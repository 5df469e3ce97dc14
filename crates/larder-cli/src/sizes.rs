//! Sizes for traces that have none, from published distributions.
//!
//! A key has the same size in all of its requests, given by its number, the seed, and, if sizes are
//! to depend on popularity, by the rank of its number of requests. The functions are those of the
//! `libm` crate, so that a seed gives the same sizes everywhere.

use std::cmp::Reverse;

use clap::ValueEnum;

use crate::mix::{mixed, unit};
use crate::trace::Trace;

/// How the sizes of keys are distributed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sizes {
    /// Files of web servers, 14 KB in the mean: lognormal, and Pareto with shape 1.1 from 133 KB to
    /// 100 MB for 7 % of the keys (Barford, Crovella, SIGMETRICS 1998)
    Web,
    /// Values of a key-value store with keys of 31 bytes, 360 bytes in the mean: generalized
    /// Pareto, up to 1 MB (the pool ETC of Facebook's memcached: Atikoglu et al., SIGMETRICS 2012)
    Values,
    /// Transfers with the heaviest tail: Pareto with shape 1.06, from 1 KB to 100 MB (Crovella,
    /// Bestavros, IEEE/ACM ToN 1997)
    Pareto,
}

/// How the size of a key depends on its popularity. Half of the keys, chosen at random, have the size
/// of their rank, and the others a random one, so that the distribution is the same for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Correlation {
    /// Not at all
    None,
    /// Popular keys are larger
    Positive,
    /// Popular keys are smaller
    Negative,
}

/// The greatest size of a file, and of a value in a store.
const MAX_FILE_BYTES: f64 = 100e6;
const MAX_VALUE_BYTES: f64 = 1e6;

impl Sizes {
    /// The size that the share `unit` of all keys is below.
    fn quantile(self, unit: f64) -> u32 {
        let bytes = match self {
            Self::Web => {
                const BODY: f64 = 0.93;
                const MU: f64 = 9.357;
                const SIGMA: f64 = 1.318;
                const CUT: f64 = 133e3;
                if unit < BODY {
                    let below_cut = normal((libm::log(CUT) - MU) / SIGMA);
                    libm::exp(MU + SIGMA * normal_quantile(unit / BODY * below_cut))
                } else {
                    bounded_pareto((unit - BODY) / (1.0 - BODY), CUT, 1.1)
                }
            }
            Self::Values => {
                const SCALE: f64 = 214.476;
                const SHAPE: f64 = 0.348_238;
                const KEY_BYTES: f64 = 31.0;
                let value = SCALE / SHAPE * (libm::pow(1.0 - unit, -SHAPE) - 1.0);
                KEY_BYTES + value.min(MAX_VALUE_BYTES)
            }
            Self::Pareto => bounded_pareto(unit, 1e3, 1.06),
        };
        // At most `MAX_FILE_BYTES`, or a little more than `MAX_VALUE_BYTES`.
        libm::ceil(bytes).max(1.0) as u32
    }
}

/// The quantile of the Pareto distribution from `least` bytes to `MAX_FILE_BYTES`.
fn bounded_pareto(unit: f64, least: f64, shape: f64) -> f64 {
    let tail = libm::pow(least / MAX_FILE_BYTES, shape);
    least * libm::pow(1.0 - unit * (1.0 - tail), -1.0 / shape)
}

/// The standard normal distribution.
fn normal(x: f64) -> f64 {
    0.5 * libm::erfc(-x / std::f64::consts::SQRT_2)
}

/// The inverse of `normal`, by bisection.
fn normal_quantile(share: f64) -> f64 {
    let (mut low, mut high) = (-9.0, 9.0);
    for _ in 0..40 {
        let middle = (low + high) / 2.0;
        if normal(middle) < share {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}

impl Trace {
    /// Makes up sizes, unless the trace has some.
    pub(crate) fn make_up_sizes(&mut self, sizes: Sizes, correlation: Correlation, seed: u64) {
        if self.sizes_bytes.is_some() {
            return;
        }
        // Apart from the hashes that simulations use.
        let bits = |key: u32, which: u64| mixed(key, !seed.rotate_left(32) ^ which);
        let keys = self.distinct_keys as usize;
        let mut units: Vec<f64> = (0..self.distinct_keys).map(|key| unit(bits(key, 0))).collect();
        if correlation != Correlation::None {
            let mut counts = vec![0_u32; keys];
            self.requests.iter().for_each(|&key| counts[key as usize] += 1);
            let mut ranked: Vec<u32> = (0..self.distinct_keys).collect();
            ranked.sort_by_key(|&key| (Reverse(counts[key as usize]), bits(key, 1)));
            for (rank, key) in ranked.into_iter().enumerate() {
                if bits(key, 2) & 1 == 1 {
                    let unpopular = (rank as f64 + 0.5) / keys as f64;
                    units[key as usize] = match correlation {
                        Correlation::Positive => 1.0 - unpopular,
                        _ => unpopular,
                    };
                }
            }
        }
        let of_key: Vec<u32> = units.into_iter().map(|unit| sizes.quantile(unit)).collect();
        let all = self.requests.iter().map(|&key| of_key[key as usize]).collect();
        self.sizes_bytes = Some(all);
        self.name = format!(
            "{}, {} {}",
            self.name,
            name_of(&sizes),
            match correlation {
                Correlation::None => "sizes",
                Correlation::Positive => "sizes, popular keys larger",
                Correlation::Negative => "sizes, popular keys smaller",
            }
        );
    }
}

fn name_of(sizes: &Sizes) -> String {
    sizes.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: u32 = 100_000;

    fn all(sizes: Sizes) -> impl Iterator<Item = f64> {
        (0..STEPS)
            .map(move |step| f64::from(sizes.quantile((f64::from(step) + 0.5) / f64::from(STEPS))))
    }

    #[test]
    fn sizes_have_the_distributions_that_their_help_names() {
        let mean = |sizes| all(sizes).sum::<f64>() / f64::from(STEPS);
        let median = |sizes: Sizes| sizes.quantile(0.5);
        // The lognormal's quantile at 0.5 / 0.93 of what it has below the cut, which is 0.52.
        assert!((12_300..12_500).contains(&median(Sizes::Web)), "{}", median(Sizes::Web));
        assert!((340.0..380.0).contains(&mean(Sizes::Values)));
        assert_eq!(median(Sizes::Values), 31 + 169);
        assert!((1_900..1_950).contains(&median(Sizes::Pareto)));
        for sizes in [Sizes::Web, Sizes::Values, Sizes::Pareto] {
            assert!(all(sizes).is_sorted(), "{sizes:?}");
            assert!(sizes.quantile(0.0) >= 1 && sizes.quantile(1.0 - 1e-16) <= 100_000_000);
        }
        let tail = all(Sizes::Web).filter(|bytes| *bytes >= 133e3).count();
        assert!(tail.abs_diff(7_000) <= 1, "{tail} of {STEPS}");
    }

    #[test]
    fn correlated_sizes_follow_popularity_and_have_the_same_distribution() {
        let with = |correlation, seed| {
            let mut trace = Trace::random(3, 2_000, 50_000);
            trace.make_up_sizes(Sizes::Values, correlation, seed);
            let bytes: u64 = trace.sizes_bytes.iter().flatten().map(|size| u64::from(*size)).sum();
            (bytes as f64 / 50_000.0, trace.footprint_bytes().unwrap() as f64 / 2_000.0, trace)
        };
        let [none, positive, negative] =
            [Correlation::None, Correlation::Positive, Correlation::Negative].map(|c| with(c, 1));
        assert!(positive.0 > 1.1 * none.0 && negative.0 < 0.9 * none.0);
        for (_, of_keys, trace) in [&none, &positive, &negative] {
            assert!((300.0..420.0).contains(of_keys), "{of_keys} in {}", trace.name);
        }
        assert!(
            positive.2.name.ends_with("values sizes, popular keys larger"),
            "{}",
            positive.2.name
        );
        assert_eq!(with(Correlation::None, 1).2, none.2);
        assert_ne!(with(Correlation::None, 2).2.sizes_bytes, none.2.sizes_bytes);
    }

    #[test]
    fn sizes_of_a_trace_stay() {
        let mut trace = Trace::of_ids(&[0, 1, 0], Some(vec![5, 6, 7]));
        trace.make_up_sizes(Sizes::Web, Correlation::None, 1);
        assert_eq!((trace.sizes_bytes.unwrap(), &*trace.name), (vec![5, 6, 7], "t"));
    }
}
