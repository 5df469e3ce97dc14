//! How long after they were written entries were evicted.
#![forbid(unsafe_code)]

use std::time::Duration;

use larder::TimeHistogram;

/// Each bound is twice the one before, from a millisecond to a year.
static BOUNDS: [Duration; 36] = {
    let mut bounds = [Duration::ZERO; 36];
    let mut index = 0;
    while index < bounds.len() {
        bounds[index] = Duration::from_millis(1 << index);
        index += 1;
    }
    bounds
};

/// A histogram of ages, to which all threads add.
#[derive(Debug)]
pub(crate) struct EvictionAges(TimeHistogram);

impl Default for EvictionAges {
    fn default() -> Self {
        Self(TimeHistogram::new(&BOUNDS))
    }
}

impl EvictionAges {
    /// Counts an entry.
    pub(crate) fn record(&self, age: Duration) {
        self.0.record(age);
    }

    /// What was counted so far.
    #[cfg(feature = "http")]
    pub(crate) fn read(&self) -> larder::TimeCounts {
        self.0.read()
    }
}
