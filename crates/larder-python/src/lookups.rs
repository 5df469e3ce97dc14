//! The class `Lookups`: the `get` of PyQuickCache's interface for a hit in the native core.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use pyo3::types::PyAnyMethods;
use pyo3::{Bound, Py, PyAny, PyResult, PyTraverseError, PyVisit, ffi, pyclass, pymethods};

use crate::core::Core;
use crate::store;

/// The base of `QuickCache`, whose `get` serves hits in the core, and leaves all else to `_get`.
#[pyclass(subclass, weakref, frozen, module = "larder._native")]
#[derive(Default)]
pub(crate) struct Lookups {
    core: OnceLock<Py<Core>>,
    /// Hits since they were taken.
    hits: AtomicU64,
}

#[pymethods]
impl Lookups {
    #[new]
    #[pyo3(signature = (*_arguments, **_keywords))]
    fn new(_arguments: &Bound<'_, PyAny>, _keywords: Option<&Bound<'_, PyAny>>) -> Self {
        Self::default()
    }

    /// The core whose entries are found from now on: tuples that begin with the value.
    #[pyo3(signature = (core, /))]
    fn _look_up_in(&self, core: Py<Core>) {
        // A second call changes nothing.
        let _ = self.core.set(core);
    }

    /// The hits since the last call.
    fn _take_hits(&self) -> u64 {
        self.hits.swap(0, Ordering::Relaxed)
    }

    /// The value of `key`. Raises KeyNotFound or KeyExpired.
    fn get<'py>(slf: &Bound<'py, Self>, key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        match slf.get().find(key)? {
            Some(value) => Ok(value),
            None => slf.call_method1("_get", (key,)),
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(self.core.get())
    }
}

impl Lookups {
    #[inline]
    fn find<'py>(&self, key: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = key.py();
        let Some(core) = self.core.get() else { return Ok(None) };
        let Some(found) = core.get().look_up(key)? else { return Ok(None) };
        let found = found.into_bound(py);
        store::add(&self.hits, 1);
        // SAFETY: it checks that it is a tuple of at least one item; otherwise the result is null.
        let value = unsafe { ffi::PyTuple_GetItem(found.as_ptr(), 0) };
        // SAFETY: it is null with an error set, or an object that the tuple keeps alive.
        unsafe { Bound::from_borrowed_ptr_or_err(py, value) }.map(Some)
    }
}

#[cfg(not(PyPy))]
struct GetHit;

#[cfg(not(PyPy))]
impl crate::fast::QuickMethod for GetHit {
    const NAME: &'static str = "get";
    const QUICK: crate::fast::Quick = |this, arguments| {
        let &[key] = arguments else { return Ok(None) };
        // SAFETY: the method is one of this class, which the interpreter has checked.
        let this = unsafe { this.cast_unchecked::<Lookups>() };
        // SAFETY: the interpreter passes live objects.
        let key = unsafe { pyo3::Borrowed::from_ptr(this.py(), key) };
        match this.get().find(&key)? {
            Some(value) => Ok(Some(value)),
            None => this.call_method1("_get", (key,)).map(Some),
        }
    };

    fn original() -> &'static pyo3::sync::PyOnceLock<Py<PyAny>> {
        static ORIGINAL: pyo3::sync::PyOnceLock<Py<PyAny>> = pyo3::sync::PyOnceLock::new();
        &ORIGINAL
    }
}

/// Installs the quick form of `get`.
#[cfg(not(PyPy))]
pub(crate) fn hasten(py: pyo3::Python<'_>) -> PyResult<()> {
    crate::fast::install::<GetHit>(&py.get_type::<Lookups>())
}
