//! How long the benches of this folder measure.

use std::time::Duration;

use criterion::Criterion;

/// Few samples and little time, so that all benches together take a few minutes.
pub(crate) fn config() -> Criterion {
    Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
}
