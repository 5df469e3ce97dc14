//! Random bits that depend on a key and a seed alone.

/// A hash without collisions: the finalizer of SplitMix64, each step of which is invertible.
#[inline]
pub(crate) fn mixed(key: u32, seed: u64) -> u64 {
    let mut bits = u64::from(key) ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// A number from 0, included, to 1.
pub(crate) fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_differ_for_all_keys_and_by_seed() {
        let hashes: std::collections::HashSet<u64> =
            (0..100_000).map(|key| mixed(key, 1)).collect();
        assert_eq!(hashes.len(), 100_000);
        assert_ne!(mixed(1, 1), mixed(1, 2));
    }
}
