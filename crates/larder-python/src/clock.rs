//! A clock for tests.

use std::time::Duration;

use larder::test::FakeClock;
use pyo3::types::PyAnyMethods;
use pyo3::{Bound, PyAny, PyResult, pyclass, pymethods};

use crate::arguments;

/// A clock that stands still until it is advanced, for tests of code that uses a cache.
///
/// Pass it to a cache as `clock`: its entries then expire by this clock.
#[pyclass(module = "larder", frozen)]
pub(crate) struct ManualClock {
    pub(crate) clock: FakeClock,
}

#[pymethods]
impl ManualClock {
    #[new]
    fn new() -> Self {
        Self { clock: FakeClock::new() }
    }

    /// Moves the clock on, by seconds or by a timedelta.
    fn advance(&self, seconds: &Bound<'_, PyAny>) -> PyResult<()> {
        let is_zero = seconds.eq(0)?;
        let by =
            if is_zero { Some(Duration::ZERO) } else { arguments::lifetime(seconds, "seconds")? };
        self.clock.advance(by.unwrap_or(Duration::ZERO));
        Ok(())
    }

    /// The seconds that the clock has been advanced by.
    fn time(&self) -> f64 {
        self.clock.time().as_secs_f64()
    }
}
