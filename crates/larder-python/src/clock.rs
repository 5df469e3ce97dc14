//! A clock for tests.

use larder::test::FakeClock;
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
        self.clock.advance(arguments::span(seconds, "seconds")?);
        Ok(())
    }

    /// The seconds that the clock has been advanced by.
    fn time(&self) -> f64 {
        self.clock.time().as_secs_f64()
    }
}
