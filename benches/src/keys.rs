//! Sequences of keys, made before the clock starts.
//!
//! Owns the mapping from numbers to keys and the frequency of each key. Everything follows from
//! fixed seeds: two runs, and two contenders in one run, see the same requests.

use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand_distr::{Distribution, Zipf};

/// The exponent of every Zipf sequence.
pub const ZIPF_EXPONENT: f64 = 0.99;

/// Odd, so that multiplication by it is a bijection; without a pattern, so that neighbours spread.
const SCRAMBLE: u64 = 0x9E37_79B9_7F4A_7C15;

/// Turns the number `n` of a key into the key.
///
/// A bijection under which neighbouring numbers are far apart: otherwise the hottest keys, which
/// have the smallest numbers, would be adjacent in any structure with a weak hash.
#[inline]
#[must_use]
pub fn scramble(n: u64) -> u64 {
    n.wrapping_mul(SCRAMBLE)
}

/// Draws `len` keys out of `distinct` ones with Zipf's law; `scramble(0)` is the hottest.
///
/// # Panics
/// If `distinct` is 0.
#[must_use]
pub fn zipf(distinct: u64, len: usize, seed: u64) -> Vec<u64> {
    let zipf = Zipf::new(distinct as f64, ZIPF_EXPONENT).expect("at least one key");
    let mut rng = SmallRng::seed_from_u64(seed);
    // The ranks of `Zipf` start at 1.
    (0..len).map(|_| scramble(zipf.sample(&mut rng) as u64 - 1)).collect()
}

/// Fills `keys` with draws out of `distinct` ones, all equally likely.
///
/// For sequences that must not repeat: a short repeated sequence would turn a large cache into a
/// small one, and a long one would compete with it for the processor's caches.
#[inline]
pub fn fill_uniform(keys: &mut [u64], distinct: u64, random: &mut SplitMix64) {
    for key in keys {
        // The upper half of the product is uniform in `0..distinct` except for a bias of at most
        // `distinct` / 2^64.
        let number = (u128::from(random.next_u64()) * u128::from(distinct)) >> 64;
        *key = scramble(number as u64);
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014): the generator that defines the synthetic traces.
#[derive(Debug)]
pub struct SplitMix64 {
    state: u64,
}

impl SplitMix64 {
    /// Starts the sequence of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next 64 bits.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// The next number in `0.0..1.0`, of 53 random bits.
    pub fn next_unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn scrambled_numbers_stay_distinct_and_far_apart() {
        let keys: HashSet<u64> = (0..10_000).map(scramble).collect();
        assert_eq!(keys.len(), 10_000);
        assert!((0..10_000).all(|n| scramble(n).abs_diff(scramble(n + 1)) > 1 << 60));
    }

    #[test]
    fn zipf_draws_only_the_keys_asked_for_and_the_first_one_most() {
        let draws = zipf(100, 10_000, 1);
        let known: HashSet<u64> = (0..100).map(scramble).collect();
        assert!(draws.iter().all(|key| known.contains(key)));
        let count = |n| draws.iter().filter(|&&key| key == scramble(n)).count();
        assert!(count(0) > count(9) && count(9) > count(90));
    }

    #[test]
    fn uniform_draws_reach_the_first_key_and_the_last() {
        let mut draws = [0; 1_000];
        fill_uniform(&mut draws, 10, &mut SplitMix64::new(1));
        let drawn: HashSet<u64> = draws.into_iter().collect();
        assert_eq!(drawn, (0..10).map(scramble).collect());
    }

    #[test]
    fn split_mix_yields_its_published_sequence() {
        let mut random = SplitMix64::new(1_234_567);
        let first = [random.next_u64(), random.next_u64(), random.next_u64()];
        assert_eq!(
            first,
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
    }
}
