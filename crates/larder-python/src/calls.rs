//! The class `Call`: what a decorated function does for a hit.

use std::sync::OnceLock;

use pyo3::types::{PyAnyMethods, PyDict, PyDictMethods, PyTuple, PyTupleMethods};
use pyo3::{
    Borrowed, Bound, Py, PyAny, PyResult, PyTraverseError, PyVisit, Python, ffi, pyclass, pymethods,
};

use crate::core::Core;

/// The base of decorated functions. A call finds its result in the core, or loads it; `_call_with_key` is called
/// instead for functions whose results are not in the core as they are.
#[pyclass(subclass, weakref, frozen, module = "larder._native")]
#[derive(Default)]
pub(crate) struct Call {
    results: OnceLock<Results>,
}

/// Where a call finds its result.
struct Results {
    core: Py<Core>,
    /// Whether calls without keywords have plain keys; `cache_key` makes those of all others.
    has_plain_keys: bool,
    /// By the identities of instances: a weak reference, and the number that stands for it in keys.
    instances: Py<PyDict>,
}

#[pymethods]
impl Call {
    #[new]
    #[pyo3(signature = (*_arguments, **_keywords))]
    fn new(_arguments: &Bound<'_, PyAny>, _keywords: Option<&Bound<'_, PyAny>>) -> Self {
        Self::default()
    }

    /// The core in which results are found as they are, whether calls without keywords have plain keys, and the
    /// numbers of instances.
    #[pyo3(signature = (core, has_plain_keys, instances, /))]
    fn _look_up_in(&self, core: Py<Core>, has_plain_keys: bool, instances: Py<PyDict>) {
        // A second call changes nothing.
        let _ = self.results.set(Results { core, has_plain_keys, instances });
    }

    #[pyo3(signature = (*arguments, **keywords))]
    fn __call__<'py>(
        slf: &Bound<'py, Self>,
        arguments: &Bound<'py, PyTuple>,
        keywords: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let Some(Results { core, has_plain_keys, .. }) = slf.get().results.get() else {
            return slf.call_method("_call_with_key", arguments, keywords);
        };
        let is_plain = *has_plain_keys && keywords.is_none_or(|keywords| keywords.is_empty());
        let (single, mut made) = (if is_plain { single_key(arguments) } else { None }, None);
        let key = match &single {
            Some(key) => &**key,
            None if is_plain => &*made.insert(PyTuple::new(py, [arguments])?.into_any()),
            None => &*made.insert(slf.call_method("cache_key", arguments, keywords)?),
        };
        match core.get().look_up(key)? {
            Some(found) => Ok(found.into_bound(py)),
            None => load(slf, key, arguments, keywords),
        }
    }

    /// The result of a call that has another key than its arguments say, such as one of a method.
    #[pyo3(signature = (key, arguments, keywords, /))]
    fn _find_or_load<'py>(
        slf: &Bound<'py, Self>,
        key: &Bound<'py, PyAny>,
        arguments: &Bound<'py, PyTuple>,
        keywords: &Bound<'py, PyDict>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let Some(Results { core, .. }) = slf.get().results.get() else {
            return slf.call_method1("_call", (key, arguments, keywords));
        };
        match core.get().look_up(key)? {
            Some(found) => Ok(found.into_bound(slf.py())),
            None => load(slf, key, arguments, Some(keywords)),
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let results = self.results.get();
        visit.call(results.map(|results| &results.core))?;
        visit.call(results.map(|results| &results.instances))
    }
}

/// The base of a cached method of one instance. `_call` is called if its result is not to be found by a plain key.
#[pyclass(subclass, weakref, frozen, module = "larder._native")]
pub(crate) struct Method {
    /// What is cached: a `Call`, or a coroutine function.
    #[pyo3(get, name = "__func__")]
    function: Py<PyAny>,
    #[pyo3(get, name = "__self__")]
    instance: Py<PyAny>,
}

#[pymethods]
impl Method {
    #[new]
    #[pyo3(signature = (function, instance, /))]
    fn new(function: Py<PyAny>, instance: Py<PyAny>) -> Self {
        Self { function, instance }
    }

    #[pyo3(signature = (*arguments, **keywords))]
    fn __call__<'py>(
        slf: &Bound<'py, Self>,
        arguments: &Bound<'py, PyTuple>,
        keywords: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        if keywords.is_none_or(|keywords| keywords.is_empty())
            && let Ok(function) = slf.get().function.bind(py).cast::<Call>()
            && let Some(results) = function.get().results.get()
            && results.has_plain_keys
            && let Some(number) = slf.get().number(results, py)?
        {
            let key = match single_key(arguments) {
                Some(key) => PyTuple::new(py, [number, key.to_owned()])?,
                None => PyTuple::new(py, [number, PyTuple::new(py, [arguments])?.into_any()])?,
            };
            if let Some(found) = results.core.get().look_up(&key)? {
                return Ok(found.into_bound(py));
            }
            let all = [slf.get().instance.bind(py).clone()].into_iter().chain(arguments.iter());
            let all = PyTuple::new(py, all.collect::<Vec<_>>())?;
            return load(function, &key, &all, None);
        }
        slf.call_method("_call", arguments, keywords)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.function)?;
        visit.call(&self.instance)
    }
}

impl Method {
    /// The number that stands for the instance, if it has one by now.
    fn number<'py>(
        &self,
        results: &Results,
        py: Python<'py>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let identity = self.instance.as_ptr().addr();
        let Some(known) = results.instances.bind(py).get_item(identity)? else { return Ok(None) };
        let (reference, number): (Bound<'py, PyAny>, Bound<'py, PyAny>) = known.extract()?;
        // What is known of this identity may be of another instance, which is gone.
        Ok(reference.call0()?.is(&self.instance).then_some(number))
    }
}

/// Loads a result that is missing. The function is called from here, with nothing but this between two calls of a
/// function that calls itself: the interpreter bounds how deep its own frames are nested.
#[cold]
fn load<'py>(
    slf: &Bound<'py, Call>,
    key: &Bound<'py, PyAny>,
    arguments: &Bound<'py, PyTuple>,
    keywords: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = slf.py();
    let flight = slf.call_method1("_open", (key,))?;
    if let Ok(found) = flight.cast::<PyTuple>() {
        return found.get_item(0);
    }
    let loaded = slf.getattr("_function").and_then(|function| {
        let value = function.call(arguments, keywords)?;
        let keywords = keywords.map_or_else(|| PyDict::new(py), Bound::clone);
        slf.call_method1("_keep", (key, &flight, &value, arguments, keywords))?;
        Ok(value)
    });
    loaded.map_err(|error| {
        // An interrupt may keep this one from its work, too; others wait for the end of the load.
        let failed = || slf.call_method1("_fail", (key, &flight, error.value(py)));
        match failed().or_else(|_| failed()) {
            Ok(_) => error,
            Err(other) => other,
        }
    })
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
