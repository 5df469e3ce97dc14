//! SplitMix64: small, seeded, the same on every machine.

/// A generator of 64 random bits a step.
#[derive(Clone, Debug)]
pub(crate) struct Rng {
    state: u64,
}

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    pub(crate) fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number in `0..limit`. The bias of the remainder does not matter to a test.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next_u64() % limit
    }

    /// A number in `0..limit` that is more often small, as popular keys are used more often.
    pub(crate) fn skewed_below(&mut self, limit: u64) -> u64 {
        let bound = self.below(limit) + 1;
        self.below(bound)
    }
}

/// The seeds to run a random test with: `count` seeds from the test's own `base`, or the one in
/// `LARDER_TEST_SEED`, which repeats a failure or explores further.
pub(crate) fn seeds(base: u64, count: u64) -> Vec<u64> {
    match std::env::var("LARDER_TEST_SEED") {
        Ok(text) => vec![text.parse().expect("LARDER_TEST_SEED holds a number")],
        Err(_) => (0..count).map(|step| base + step).collect(),
    }
}
