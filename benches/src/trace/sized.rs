//! Sizes for traces that have none, from published distributions.
//!
//! A key has the same size in all of its requests, given by its number and the seed. The distributions are
//! those of `larder simulate --sizes`, but the sizes of single keys are others.

use std::fmt::Write;
use std::fs;
use std::io;
use std::path::Path;

use clap::ValueEnum;

use crate::keys::SplitMix64;
use crate::trace::recorded::Trace;

/// How the sizes of keys are distributed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Sizes {
    /// Files of web servers: lognormal, and Pareto with shape 1.1 from 133 KB to 100 MB for 7 % of the keys
    Web,
    /// Values of a key-value store: generalized Pareto, 360 bytes in the mean, up to 1 MB
    Values,
    /// Transfers: Pareto with shape 1.06, from 1 KB to 100 MB
    Pareto,
}

const MAX_FILE_BYTES: f64 = 100e6;
const MAX_VALUE_BYTES: f64 = 1e6;

/// A trace, and the bytes of each of its keys.
#[derive(Clone, Debug)]
pub struct SizedTrace<'t> {
    /// Its requests.
    pub trace: &'t Trace,
    /// The size of each key, by its number.
    pub bytes_of_key: Vec<u32>,
}

impl Sizes {
    /// Gives the keys of `trace` sizes.
    #[must_use]
    pub fn sized(self, trace: &Trace, seed: u64) -> SizedTrace<'_> {
        let keys = trace.keys.iter().max().map_or(0, |last| *last as usize + 1);
        let mut random = SplitMix64::new(seed);
        // Drawn in the order of the numbers, so the seed and the number of a key give its size.
        let bytes_of_key = (0..keys).map(|_| self.draw(&mut random)).collect();
        SizedTrace { trace, bytes_of_key }
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "below 2^27")]
    fn draw(self, random: &mut SplitMix64) -> u32 {
        let bytes = match self {
            Self::Web => {
                const CUT: f64 = 133e3;
                if unit(random) < 0.93 { body(random, CUT) } else { pareto(random, CUT, 1.1) }
            }
            Self::Values => {
                const SCALE: f64 = 214.476;
                const SHAPE: f64 = 0.348_238;
                const KEY_BYTES: f64 = 31.0;
                let value = SCALE / SHAPE * ((1.0 - unit(random)).powf(-SHAPE) - 1.0);
                KEY_BYTES + value.min(MAX_VALUE_BYTES)
            }
            Self::Pareto => pareto(random, 1e3, 1.06),
        };
        bytes.ceil().max(1.0) as u32
    }
}

impl SizedTrace<'_> {
    /// The bytes of all keys together.
    #[must_use]
    pub fn footprint_bytes(&self) -> u64 {
        self.bytes_of_key.iter().map(|bytes| u64::from(*bytes)).sum()
    }

    /// Writes a line `key,size` for each request.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write_csv(&self, path: &Path) -> io::Result<()> {
        let mut text = String::from("key,size\n");
        for key in &self.trace.keys {
            // Writing to a `String` cannot fail.
            let _ = writeln!(text, "{key},{}", self.bytes_of_key[*key as usize]);
        }
        fs::write(path, text)
    }
}

/// A number from 0 to less than 1.
#[expect(clippy::cast_precision_loss, reason = "53 bits")]
fn unit(random: &mut SplitMix64) -> f64 {
    (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

/// The Pareto distribution from `least` bytes to `MAX_FILE_BYTES`.
fn pareto(random: &mut SplitMix64, least: f64, shape: f64) -> f64 {
    let tail = (least / MAX_FILE_BYTES).powf(shape);
    least * (1.0 - unit(random) * (1.0 - tail)).powf(-1.0 / shape)
}

/// The lognormal distribution of web files, as far as it is below `cut`.
fn body(random: &mut SplitMix64, cut: f64) -> f64 {
    const MU: f64 = 9.357;
    const SIGMA: f64 = 1.318;
    loop {
        let radius = (-2.0 * (1.0 - unit(random)).ln()).sqrt();
        let normal = radius * (std::f64::consts::TAU * unit(random)).cos();
        let bytes = (MU + SIGMA * normal).exp();
        if bytes < cut {
            return bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_the_distributions_that_their_help_names() {
        let keys: Vec<u32> = (0..100_000).collect();
        let (name, class) = ("t".to_owned(), "c".to_owned());
        let trace = Trace { name, class, capacities_entries: Vec::new(), keys };
        let sorted = |sizes: Sizes, seed| {
            let mut bytes = sizes.sized(&trace, seed).bytes_of_key;
            bytes.sort_unstable();
            bytes
        };
        let values = sorted(Sizes::Values, 1);
        let mean = values.iter().map(|bytes| f64::from(*bytes)).sum::<f64>() / 1e5;
        assert!((340.0..380.0).contains(&mean), "{mean}");
        assert!((195..205).contains(&values[50_000]), "{}", values[50_000]);
        let web = sorted(Sizes::Web, 1);
        assert!((12_000..12_800).contains(&web[50_000]), "{}", web[50_000]);
        let tail = web.iter().filter(|bytes| **bytes >= 133_000).count();
        assert!((6_700..7_300).contains(&tail), "{tail}");
        let pareto = sorted(Sizes::Pareto, 1);
        assert!((1_880..1_970).contains(&pareto[50_000]), "{}", pareto[50_000]);
        assert!(web[99_999] <= 100_000_000 && pareto[99_999] <= 100_000_000);
        assert_eq!(sorted(Sizes::Web, 1), web);
        assert_ne!(sorted(Sizes::Web, 2), web);
    }
}
