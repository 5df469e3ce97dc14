//! What a cache says about itself: the order of eviction, frequencies, segments and shadow caches.
//!
//! These are functions of the module and not methods of the class: `larder.Cache` has the methods, in Python,
//! because none of them is called often.

use larder::{Policy, ShadowPoint};
use pyo3::types::{PyAnyMethods, PyDict, PyDictMethods, PyList};
use pyo3::{Bound, Py, PyAny, PyResult, Python, pyfunction};

use crate::arguments;
use crate::core::Core;

/// The names of the eviction policies.
#[pyfunction]
pub(crate) fn policies() -> Vec<String> {
    Policy::names().collect()
}

/// Up to `count` keys: those that the policy would evict next, or those that it finds most worth keeping.
#[pyfunction]
pub(crate) fn ranked<'py>(
    core: &Bound<'py, Core>,
    is_coldest: bool,
    count: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyList>> {
    let py = core.py();
    let count = arguments::count(count, "count")?;
    let cache = &core.get().store.cache;
    let keys: Vec<Py<PyAny>> = {
        // A clone of a key owns no reference. Until this ends, no entry that was seen since is dropped, so
        // the holdings keep its key.
        let _pinned = cache.pin();
        let keys = if is_coldest { cache.coldest(count) } else { cache.hottest(count) };
        keys.into_iter().map(|key| key.object(py)).collect()
    };
    core.get().settle(py);
    PyList::new(py, keys)
}

/// How often `key` was used, in the measure of the policy; None if it is missing.
#[pyfunction]
pub(crate) fn frequency(core: &Bound<'_, Core>, key: &Bound<'_, PyAny>) -> PyResult<Option<u64>> {
    let store = &core.get().store;
    store.find(key, |query| store.cache.frequency(query))
}

/// The sum of the weights of the entries.
#[pyfunction]
pub(crate) fn weight(core: &Bound<'_, Core>) -> u64 {
    core.get().store.cache.weight()
}

/// The segments into which the policy divides the entries.
#[pyfunction]
pub(crate) fn segments<'py>(core: &Bound<'py, Core>) -> PyResult<Bound<'py, PyList>> {
    let py = core.py();
    let all = PyList::empty(py);
    for segment in core.get().store.cache.segments() {
        let one = PyDict::new(py);
        one.set_item("name", segment.name)?;
        one.set_item("entries", segment.entries)?;
        one.set_item("cost", segment.cost)?;
        one.set_item("target", segment.target)?;
        all.call_method1("append", (one,))?;
    }
    Ok(all)
}

/// The results of the shadow caches, or None if the cache has none.
#[pyfunction]
pub(crate) fn shadow_report<'py>(core: &Bound<'py, Core>) -> PyResult<Option<Bound<'py, PyDict>>> {
    let py = core.py();
    let Some(found) = core.get().store.cache.shadow_report() else { return Ok(None) };
    let points =
        found.points.iter().map(|result| point(py, result)).collect::<PyResult<Vec<_>>>()?;
    let report = PyDict::new(py);
    report.set_item("points", points)?;
    report.set_item("lookups", found.lookups)?;
    report.set_item("records", found.records)?;
    report.set_item("dropped", found.dropped)?;
    report.set_item("bytes", found.bytes)?;
    Ok(Some(report))
}

/// Resets the counts of the shadow caches, which keep their entries.
#[pyfunction]
pub(crate) fn reset_shadow_counts(core: &Bound<'_, Core>) {
    core.get().store.cache.reset_shadow_counts();
}

fn point<'py>(py: Python<'py>, result: &ShadowPoint) -> PyResult<Bound<'py, PyDict>> {
    let point = PyDict::new(py);
    point.set_item("policy", &result.policy)?;
    point.set_item("multiple", result.multiple)?;
    point.set_item("capacity", result.capacity)?;
    point.set_item("max_weight", result.max_weight)?;
    point.set_item("hit_ratio", result.hit_ratio)?;
    point.set_item("samples", result.samples)?;
    point.set_item("sample_rate", result.sample_rate)?;
    point.set_item("entries", result.entries)?;
    point.set_item("has_failed", result.has_failed)?;
    Ok(point)
}
