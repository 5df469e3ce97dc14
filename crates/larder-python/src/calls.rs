//! The class `Call`: what a decorated function does for a hit.

use std::sync::OnceLock;

use pyo3::types::{PyAnyMethods, PyDict, PyDictMethods, PyTuple, PyTupleMethods};
use pyo3::{
    Borrowed, Bound, Py, PyAny, PyResult, PyTraverseError, PyVisit, ffi, pyclass, pymethods,
};

use crate::core::Core;

/// The base of decorated functions. A call finds its result in the core by the plain key of its positional
/// arguments; `_load` is called if there is none, and `_call_with_key` for calls that have another key.
#[pyclass(subclass, weakref, frozen, module = "larder._native")]
#[derive(Default)]
pub(crate) struct Call {
    core: OnceLock<Py<Core>>,
}

#[pymethods]
impl Call {
    #[new]
    #[pyo3(signature = (*_arguments, **_keywords))]
    fn new(_arguments: &Bound<'_, PyAny>, _keywords: Option<&Bound<'_, PyAny>>) -> Self {
        Self::default()
    }

    /// The core in which results are found by plain keys, as they are.
    #[pyo3(signature = (core, /))]
    fn _look_up_in(&self, core: Py<Core>) {
        // A second call changes nothing.
        let _ = self.core.set(core);
    }

    #[pyo3(signature = (*arguments, **keywords))]
    fn __call__<'py>(
        slf: &Bound<'py, Self>,
        arguments: &Bound<'py, PyTuple>,
        keywords: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        match slf.get().core.get() {
            Some(core) if keywords.is_none_or(|keywords| keywords.is_empty()) => {
                let (single, mut tuple) = (single_key(arguments), None);
                let key = match &single {
                    Some(key) => &**key,
                    None => &*tuple.insert(PyTuple::new(py, [arguments])?.into_any()),
                };
                if let Some(found) = core.get().look_up(key)? {
                    return Ok(found.into_bound(py));
                }
                slf.call_method1("_load", (key, arguments, PyDict::new(py)))
            }
            _ => slf.call_method("_call_with_key", arguments, keywords),
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(self.core.get())
    }
}

/// A single argument that is its own key, a `str` or an `int`; the key of others is a tuple of the arguments, as
/// `_make_key` of the decorators says.
#[inline]
fn single_key<'a, 'py>(arguments: &'a Bound<'py, PyTuple>) -> Option<Borrowed<'a, 'py, PyAny>> {
    if arguments.len() != 1 {
        return None;
    }
    let first = arguments.get_borrowed_item(0).ok()?;
    // SAFETY: the tuple keeps it alive.
    let class = unsafe { ffi::Py_TYPE(first.as_ptr()) };
    (class == &raw mut ffi::PyUnicode_Type || class == &raw mut ffi::PyLong_Type).then_some(first)
}
