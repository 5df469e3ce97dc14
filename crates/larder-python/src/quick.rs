//! The quick forms of `get` and `set`.

use pyo3::sync::PyOnceLock;
use pyo3::types::PyBool;
use pyo3::{Borrowed, IntoPyObject, Py, PyAny, PyResult, Python};

use crate::core::Core;
use crate::fast::{self, Quick, QuickMethod};
use crate::store::Verb;

struct Get;

impl QuickMethod for Get {
    const NAME: &'static str = "get";
    const QUICK: Quick = |this, arguments| {
        let (key, default) = match *arguments {
            [key] => (key, None),
            [key, default] => (key, Some(default)),
            _ => return Ok(None),
        };
        // SAFETY: the method is one of this class, which the interpreter has checked.
        let this = unsafe { this.cast_unchecked::<Core>() };
        let py = this.py();
        // SAFETY: the interpreter passes live objects.
        let key = unsafe { Borrowed::from_ptr(py, key) };
        if let Some(found) = this.get().look_up(&key)? {
            return Ok(Some(found.into_bound(py)));
        }
        Ok(Some(match default {
            None => py.None().into_bound(py),
            // SAFETY: as above.
            Some(default) => unsafe { Borrowed::from_ptr(py, default) }.to_owned(),
        }))
    };

    fn original() -> &'static PyOnceLock<Py<PyAny>> {
        static ORIGINAL: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        &ORIGINAL
    }
}

struct Set;

impl QuickMethod for Set {
    const NAME: &'static str = "set";
    const QUICK: Quick = |this, arguments| {
        let &[key, value] = arguments else { return Ok(None) };
        // SAFETY: the method is one of this class, which the interpreter has checked.
        let this = unsafe { this.cast_unchecked::<Core>() };
        let py = this.py();
        // SAFETY: the interpreter passes live objects.
        let key = unsafe { Borrowed::from_ptr(py, key) };
        // SAFETY: as above.
        let value = unsafe { Borrowed::from_ptr(py, value) };
        let is_stored = this.get().insert(&key, &value, Verb::Set, None, None)?;
        let Ok(answer): Result<Borrowed<'_, '_, PyBool>, _> = is_stored.into_pyobject(py);
        Ok(Some(answer.to_owned().into_any()))
    };

    fn original() -> &'static PyOnceLock<Py<PyAny>> {
        static ORIGINAL: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        &ORIGINAL
    }
}

/// Installs the quick forms.
///
/// # Errors
/// As those of attributes of the class.
pub(crate) fn install(py: Python<'_>) -> PyResult<()> {
    let class = py.get_type::<Core>();
    fast::install::<Get>(&class)?;
    fast::install::<Set>(&class)
}
