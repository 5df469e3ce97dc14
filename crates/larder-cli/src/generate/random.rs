//! Random numbers that are the same on every platform.

use rand_pcg::Pcg64;
use rand_pcg::rand_core::Rng;

/// The PCG stream of all traces; any constant would do.
pub(super) const STREAM: u128 = 0x6c61_7264_6572;

/// A number below `bound`, nearly uniform: the error is below `bound / 2^64`.
pub(super) fn uniform_below(bound: u32, random: &mut Pcg64) -> u32 {
    // The high half of the product is less than `bound`.
    ((u128::from(random.next_u64()) * u128::from(bound)) >> 64) as u32
}

/// A number from 0 up to but not including 1, of 53 random bits.
pub(super) fn unit_interval(random: &mut Pcg64) -> f64 {
    (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}
