//! Synthetic traces: endless streams of keys, each given by its parameters and a seed.
//!
//! A seed gives the same trace on every platform and in every release: the generator is
//! PCG-XSL-RR-128/64, numbers are reduced to a range by multiplication, and the Zipf ranks use the
//! `libm` crate instead of the platform's functions.

// Keys in a file: text or raw, packed or not.
mod output;
// Ranks by Zipf's law.
mod zipf;
// Random numbers that are the same everywhere.
mod random;

use rand_pcg::Pcg64;

use crate::error::GenerateError;

use self::random::{STREAM, uniform_below};
use self::zipf::Zipf;

pub(crate) use self::output::{Existing, KeyFormat, write_keys};

/// Keys are `u32`s, so that the `u32` format holds every trace.
const MAX_KEYS: u64 = 1 << 32;

/// The pattern of a trace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pattern {
    /// Key `k` is requested in proportion to `1 / (k + 1)^exponent`.
    Zipf { keys: u32, exponent: f64 },
    /// Every key is requested equally often.
    Uniform { keys: u32 },
    /// Zipf, but after each `every_requests` requests follow `scan_keys` keys that are never
    /// requested again.
    Scan { keys: u32, exponent: f64, every_requests: u64, scan_keys: u64 },
    /// All keys in turn, over and over.
    Loop { keys: u32 },
    /// Zipf, but after each `every_requests` requests the popularity moves on by `step_keys` keys.
    Shift { keys: u32, exponent: f64, every_requests: u64, step_keys: u32 },
}

/// The keys of a trace.
#[derive(Debug)]
pub(crate) struct Keys {
    random: Pcg64,
    sampler: Sampler,
    /// The number of the next request.
    number: u64,
    requests: u64,
}

#[derive(Debug)]
enum Sampler {
    Zipf(Zipf),
    Uniform { keys: u32 },
    Scan { popular: Zipf, every_requests: u64, scan_keys: u64, next_fresh: u64 },
    Loop { keys: u32 },
    Shift { popular: Zipf, keys: u32, every_requests: u64, step_keys: u32 },
}

impl Keys {
    /// The first `requests` keys of `pattern` for this seed.
    pub(crate) fn new(pattern: Pattern, requests: u64, seed: u64) -> Result<Self, GenerateError> {
        let sampler = match pattern {
            Pattern::Zipf { keys, exponent } => Sampler::Zipf(Zipf::new(keys, exponent)?),
            Pattern::Uniform { keys } => Sampler::Uniform { keys },
            Pattern::Loop { keys } => Sampler::Loop { keys },
            Pattern::Scan { keys, exponent, every_requests, scan_keys } => {
                let given =
                    fresh_keys(requests, every_requests, scan_keys).saturating_add(keys.into());
                if given > MAX_KEYS {
                    return Err(GenerateError::TooManyKeys { given, max: MAX_KEYS });
                }
                let popular = Zipf::new(keys, exponent)?;
                Sampler::Scan { popular, every_requests, scan_keys, next_fresh: keys.into() }
            }
            Pattern::Shift { keys, exponent, every_requests, step_keys } => Sampler::Shift {
                popular: Zipf::new(keys, exponent)?,
                keys,
                every_requests,
                step_keys,
            },
        };
        let random = Pcg64::new(seed.into(), STREAM);
        Ok(Keys { random, sampler, number: 0, requests })
    }
}

/// An upper bound on the number of keys in scans.
fn fresh_keys(requests: u64, every_requests: u64, scan_keys: u64) -> u64 {
    let round = every_requests.saturating_add(scan_keys).max(1);
    (requests / round).saturating_add(1).saturating_mul(scan_keys).min(requests)
}

impl Iterator for Keys {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        if self.number == self.requests {
            return None;
        }
        let number = self.number;
        self.number += 1;
        let random = &mut self.random;
        Some(match &mut self.sampler {
            Sampler::Zipf(popular) => popular.rank(random),
            Sampler::Uniform { keys } => uniform_below(*keys, random),
            // The remainder is less than `keys`, a `u32`; the two casts below are lossless too.
            Sampler::Loop { keys } => (number % u64::from(*keys)) as u32,
            Sampler::Scan { popular, every_requests, scan_keys, next_fresh } => {
                if number % every_requests.saturating_add(*scan_keys) < *every_requests {
                    popular.rank(random)
                } else {
                    *next_fresh += 1;
                    (*next_fresh - 1) as u32
                }
            }
            Sampler::Shift { popular, keys, every_requests, step_keys } => {
                let moved = u128::from(number / *every_requests) * u128::from(*step_keys);
                ((u128::from(popular.rank(random)) + moved) % u128::from(*keys)) as u32
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZIPF: Pattern = Pattern::Zipf { keys: 1000, exponent: 0.9 };

    fn generated(pattern: Pattern, requests: u64, seed: u64) -> Vec<u32> {
        Keys::new(pattern, requests, seed).unwrap().collect()
    }

    fn counts(keys: &[u32], distinct: usize) -> Vec<u64> {
        let mut counts = vec![0; distinct];
        keys.iter().for_each(|&key| counts[key as usize] += 1);
        counts
    }

    /// Fixed numbers: changing them breaks every seed that somebody has written down.
    #[test]
    fn a_seed_stands_for_the_same_trace_for_good() {
        let (keys, exponent, every_requests) = (1000, 0.9, 4);
        for (pattern, first) in [
            (
                Pattern::Zipf { keys, exponent },
                [102, 34, 906, 155, 920, 84, 29, 228, 204, 1, 0, 608],
            ),
            (Pattern::Uniform { keys }, [385, 541, 18, 321, 15, 413, 560, 259, 277, 867, 922, 91]),
            (
                Pattern::Scan { keys, exponent, every_requests, scan_keys: 2 },
                [102, 34, 906, 155, 1000, 1001, 920, 84, 29, 228, 1002, 1003],
            ),
            (
                Pattern::Shift { keys, exponent, every_requests, step_keys: 100 },
                [102, 34, 906, 155, 20, 184, 129, 328, 404, 201, 200, 808],
            ),
        ] {
            assert_eq!(generated(pattern, 12, 7), first, "{pattern:?}");
        }
    }

    #[test]
    fn seeds_give_different_traces() {
        assert_eq!(generated(ZIPF, 100, 1), generated(ZIPF, 100, 1));
        assert_ne!(generated(ZIPF, 100, 1), generated(ZIPF, 100, 2));
    }

    #[test]
    fn uniform_asks_for_all_keys_equally_often() {
        let counts = counts(&generated(Pattern::Uniform { keys: 100 }, 100_000, 5), 100);
        // Five standard deviations of a binomial count around 1,000.
        assert!(counts.iter().all(|count| (842..1158).contains(count)), "{counts:?}");
    }

    #[test]
    fn loop_asks_for_all_keys_in_turn() {
        assert_eq!(generated(Pattern::Loop { keys: 3 }, 7, 1), [0, 1, 2, 0, 1, 2, 0]);
    }

    #[test]
    fn scans_ask_for_each_fresh_key_once() {
        let pattern = Pattern::Scan { keys: 10, exponent: 1.0, every_requests: 4, scan_keys: 3 };
        let all = generated(pattern, 20, 1);
        let fresh: Vec<u32> = all.iter().copied().filter(|&key| key >= 10).collect();
        assert_eq!(fresh, (10..18).collect::<Vec<u32>>());
        assert!(all.iter().enumerate().all(|(i, &key)| (key >= 10) == (i % 7 >= 4)), "{all:?}");
    }

    #[test]
    fn shift_moves_the_most_popular_key() {
        let pattern =
            Pattern::Shift { keys: 100, exponent: 1.2, every_requests: 5000, step_keys: 30 };
        let all = generated(pattern, 20_000, 1);
        for (part, top) in all.chunks(5000).zip([0, 30, 60, 90]) {
            let counts = counts(part, 100);
            let most = (0..100).max_by_key(|&key| counts[key]);
            assert_eq!(most, Some(top));
        }
    }

    #[test]
    fn more_fresh_keys_than_a_u32_counts_are_refused() {
        let pattern =
            Pattern::Scan { keys: 10, exponent: 1.0, every_requests: 1, scan_keys: 1 << 40 };
        let failure = Keys::new(pattern, 1 << 40, 1).unwrap_err();
        assert!(matches!(failure, GenerateError::TooManyKeys { .. }), "{failure}");
        assert!(Keys::new(pattern, 1000, 1).is_ok());
    }
}
