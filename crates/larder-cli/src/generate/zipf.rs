//! Zipf-distributed ranks by rejection-inversion: W. Hörmann and G. Derflinger,
//! "Rejection-inversion to generate variates from monotone discrete distributions", ACM TOMACS
//! 6(3), 1996. There is no table, so a billion keys need as little memory as ten.
//!
//! The density `h(x) = x^-s` is inverted through its integral `H`; a uniform number between the
//! ends of `H` is mapped back to a point `x` and rounded to the rank `k`. The area by which `H`
//! exceeds the probability of `k` between `k - 1/2` and `k + 1/2` is rejected.

use rand_pcg::Pcg64;

use crate::error::GenerateError;
use crate::generate::random::unit_interval;

/// Draws ranks from 0 up, rank `r` in proportion to `1 / (r + 1)^exponent`.
#[derive(Debug)]
pub(super) struct Zipf {
    ranks: f64,
    exponent: f64,
    /// `H` at the left end, where the whole first rank fits: `H(3/2) - h(1)`.
    integral_low: f64,
    /// `H` at the right end, half a step after the last rank.
    integral_high: f64,
    /// A point that is at most this far to the left of its rank is accepted without a check.
    accept_within: f64,
}

impl Zipf {
    pub(super) fn new(ranks: u32, exponent: f64) -> Result<Self, GenerateError> {
        if ranks == 0 {
            let (option, given) = ("--keys", 0.0);
            return Err(GenerateError::OutOfRange { option, given, allowed: "at least 1" });
        }
        if !(0.0..=MAX_EXPONENT).contains(&exponent) {
            let (option, given) = ("--exponent", exponent);
            return Err(GenerateError::OutOfRange {
                option,
                given,
                allowed: "a number from 0 to 20",
            });
        }
        let mut zipf = Zipf {
            ranks: ranks.into(),
            exponent,
            integral_low: 0.0,
            integral_high: 0.0,
            accept_within: 0.0,
        };
        zipf.integral_low = zipf.integral(1.5) - 1.0;
        zipf.integral_high = zipf.integral(zipf.ranks + 0.5);
        zipf.accept_within = 2.0 - zipf.inverse(zipf.integral(2.5) - zipf.density(2.0));
        Ok(zipf)
    }

    pub(super) fn rank(&self, random: &mut Pcg64) -> u32 {
        loop {
            let height = self.integral_high
                + unit_interval(random) * (self.integral_low - self.integral_high);
            let place = self.inverse(height);
            let rank = libm::round(place).clamp(1.0, self.ranks);
            if rank - place <= self.accept_within
                || height >= self.integral(rank + 0.5) - self.density(rank)
            {
                // From 1 to `ranks`, so the cast is exact.
                return rank as u32 - 1;
            }
        }
    }

    fn density(&self, x: f64) -> f64 {
        libm::exp(-self.exponent * libm::log(x))
    }

    /// `H(x) = (x^(1-s) - 1) / (1-s)`, and `ln x` for `s = 1`.
    fn integral(&self, x: f64) -> f64 {
        let log = libm::log(x);
        log * expm1_ratio((1.0 - self.exponent) * log)
    }

    fn inverse(&self, height: f64) -> f64 {
        // Rounding may push it below the pole of the logarithm, where `H` ends.
        let scaled = ((1.0 - self.exponent) * height).max(-1.0);
        libm::exp(log1p_ratio(scaled) * height)
    }
}

/// Beyond this, nearly every request would be for the first key.
const MAX_EXPONENT: f64 = 20.0;

/// `(e^t - 1) / t`, continued to 1 at `t = 0`.
fn expm1_ratio(t: f64) -> f64 {
    if t.abs() < NEAR_ZERO { 1.0 + t / 2.0 } else { libm::expm1(t) / t }
}

/// `ln(1 + t) / t`, continued to 1 at `t = 0`.
fn log1p_ratio(t: f64) -> f64 {
    if t.abs() < NEAR_ZERO { 1.0 - t / 2.0 } else { libm::log1p(t) / t }
}

/// Below this, the next term of the series is less than the precision of a float.
const NEAR_ZERO: f64 = 1e-8;

#[cfg(test)]
mod tests {
    use super::*;

    fn random() -> Pcg64 {
        Pcg64::new(42, crate::generate::random::STREAM)
    }

    #[test]
    fn ranks_come_as_often_as_the_formula_says() {
        const DRAWS: u32 = 200_000;
        for exponent in [0.0, 0.5, 0.9, 1.0, 1.0 + 1e-9, 1.2, 3.0] {
            let zipf = Zipf::new(50, exponent).unwrap();
            let mut random = random();
            let mut counts = [0_u32; 50];
            for _ in 0..DRAWS {
                counts[zipf.rank(&mut random) as usize] += 1;
            }
            let weights: Vec<f64> = (1..=50).map(|k| f64::from(k).powf(-exponent)).collect();
            let sum: f64 = weights.iter().sum();
            for (rank, (&count, weight)) in counts.iter().zip(&weights).enumerate() {
                let expected = f64::from(DRAWS) * weight / sum;
                // Five standard deviations, plus one count for the rarest ranks.
                let slack = 5.0 * expected.sqrt() + 1.0;
                let off = (f64::from(count) - expected).abs();
                assert!(off <= slack, "s {exponent} rank {rank}: {count}, not {expected}");
            }
        }
    }

    #[test]
    fn the_ends_of_the_range_work() {
        for exponent in [0.0, 1.0, MAX_EXPONENT] {
            let mut random = random();
            let single = Zipf::new(1, exponent).unwrap();
            assert!((0..100).all(|_| single.rank(&mut random) == 0));
            let all = Zipf::new(u32::MAX, exponent).unwrap();
            assert!((0..1000).all(|_| all.rank(&mut random) < u32::MAX));
        }
    }

    #[test]
    fn parameters_out_of_range_are_refused() {
        for exponent in [-0.1, 20.1, f64::NAN, f64::INFINITY] {
            assert!(Zipf::new(10, exponent).is_err(), "{exponent}");
        }
        assert!(Zipf::new(0, 1.0).is_err());
    }
}
