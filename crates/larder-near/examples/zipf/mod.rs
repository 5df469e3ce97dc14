//! Keys by a Zipf distribution.

/// The sums of the probabilities of the keys.
pub(crate) struct Ranks(Vec<f64>);

impl Ranks {
    pub(crate) fn new(keys: usize, exponent: f64) -> Self {
        let mut sum = 0.0;
        let weights = (1..=keys).map(|rank| (rank as f64).powf(-exponent));
        let sums: Vec<f64> = weights
            .map(|weight| {
                sum += weight;
                sum
            })
            .collect();
        Self(sums.iter().map(|it| it / sum).collect())
    }

    /// The key of a number from 0 to 1.
    pub(crate) fn of(&self, uniform: f64) -> usize {
        self.0.partition_point(|sum| *sum < uniform).min(self.0.len() - 1)
    }
}
