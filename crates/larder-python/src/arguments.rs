//! What Python's callers pass: lifetimes, tags and bounds, read as hostile.

use std::time::Duration;

use larder::{Policy, ShadowConfig};
use pyo3::exceptions::{PyKeyError, PyOverflowError, PyTypeError, PyValueError};
use pyo3::types::{PyAnyMethods, PyBool, PyDict, PyDictMethods, PyString, PyTuple};
use pyo3::{Bound, FromPyObject, IntoPyObjectExt, Py, PyAny, PyErr, PyResult};

/// The longest lifetime that is not taken for ever, in seconds: 500 years, near what the library can hold.
const FOR_EVER: f64 = 500.0 * 365.25 * 86400.0;

/// A lifetime in seconds, or as a timedelta. `None` stands for ever.
///
/// # Errors
/// TypeError if it is neither; ValueError if it is not above 0.
pub(crate) fn lifetime(given: &Bound<'_, PyAny>, name: &str) -> PyResult<Option<Duration>> {
    if given.is_none() {
        return Ok(None);
    }
    let seconds = match given.extract::<f64>() {
        Ok(seconds) if !given.is_instance_of::<PyString>() => seconds,
        _ if given.hasattr("total_seconds")? => given.call_method0("total_seconds")?.extract()?,
        // An int that is too large for a float.
        Err(error) if error.is_instance_of::<PyOverflowError>(given.py()) => {
            if given.gt(0)? {
                f64::INFINITY
            } else {
                f64::NEG_INFINITY
            }
        }
        // What the conversion raised, unless it says that there is none.
        Err(error) if !error.is_instance_of::<PyTypeError>(given.py()) => return Err(error),
        _ => {
            let class = given.get_type();
            let message = format!("{name} must be seconds or a timedelta, not {class}");
            return Err(PyTypeError::new_err(message));
        }
    };
    if seconds.is_nan() || seconds <= 0.0 {
        let message =
            format!("{name} {seconds} is not above 0; use None for entries that never expire");
        return Err(PyValueError::new_err(message));
    }
    if seconds >= FOR_EVER {
        return Ok(Some(Duration::MAX));
    }
    // At least what the library tells from nothing.
    Ok(Some(Duration::from_secs_f64(seconds).max(Duration::from_nanos(1))))
}

/// A span of time in seconds, or as a timedelta, that may be 0.
///
/// # Errors
/// As those of `lifetime`; ValueError if it is below 0.
pub(crate) fn span(given: &Bound<'_, PyAny>, name: &str) -> PyResult<Duration> {
    if given.eq(0)? || given.hasattr("total_seconds")? && !given.is_truthy()? {
        return Ok(Duration::ZERO);
    }
    let time = lifetime(given, name).map_err(|error| {
        if error.is_instance_of::<PyValueError>(given.py()) {
            return PyValueError::new_err(format!("{name} {given} is below 0"));
        }
        error
    })?;
    time.ok_or_else(|| {
        PyTypeError::new_err(format!("{name} must be seconds or a timedelta, not None"))
    })
}

/// A number of entries, of units of weight, or of what else is counted.
///
/// # Errors
/// TypeError if it is not an int; ValueError if it is below 0, or larger than the library can count.
pub(crate) fn count<'py, T>(given: &Bound<'py, PyAny>, name: &str) -> PyResult<T>
where
    T: for<'a> FromPyObject<'a, 'py, Error = PyErr>,
{
    given.extract::<T>().map_err(|error| {
        let py = given.py();
        if error.is_instance_of::<PyTypeError>(py) {
            return PyTypeError::new_err(format!(
                "{name} must be an int, not {}",
                given.get_type()
            ));
        }
        if !error.is_instance_of::<PyOverflowError>(py) {
            return error;
        }
        let what = if given.lt(0).unwrap_or(false) { "below 0" } else { "too large" };
        PyValueError::new_err(format!("{name} {given} is {what}"))
    })
}

/// As `count`, for what may be left out.
///
/// # Errors
/// As those of `count`.
pub(crate) fn optional_count<'py, T>(
    given: Option<&Bound<'py, PyAny>>,
    name: &str,
) -> PyResult<Option<T>>
where
    T: for<'a> FromPyObject<'a, 'py, Error = PyErr>,
{
    given.map(|given| count(given, name)).transpose()
}

/// A key and a value: an iterable of two, as `dict` takes them.
///
/// # Errors
/// TypeError if it is not iterable; ValueError if it has not two items.
fn pair<'py>(given: &Bound<'py, PyAny>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    if given.is_exact_instance_of::<PyTuple>()
        && let Ok(pair) = given.extract()
    {
        return Ok(pair);
    }
    let items = given.try_iter().map_err(|error| {
        if !error.is_instance_of::<PyTypeError>(given.py()) {
            return error;
        }
        let class = given.get_type();
        PyTypeError::new_err(format!(
            "an item to store must be a pair of key and value, not {class}"
        ))
    })?;
    // No more than tell that it is not a pair.
    let mut items = items.take(3).collect::<PyResult<Vec<_>>>()?.into_iter();
    match (items.next(), items.next(), items.next()) {
        (Some(key), Some(value), None) => Ok((key, value)),
        _ => Err(PyValueError::new_err("an item to store must be a pair of key and value")),
    }
}

/// Calls `store` for each pair of what has keys, such as a mapping or a cache, or of an iterable, as `dict.update` does.
///
/// # Errors
/// What `store`, or the code of the given object, raises; as those of `pair`.
pub(crate) fn for_each_pair<'py>(
    given: &Bound<'py, PyAny>,
    mut store: impl FnMut(&Bound<'py, PyAny>, &Bound<'py, PyAny>) -> PyResult<()>,
) -> PyResult<()> {
    let is_keyed = given.hasattr("keys")?;
    // By preference: an entry of a cache may leave between a look at its key and one at its value.
    let has_items = is_keyed && given.hasattr("items")?;
    if is_keyed && !has_items {
        for key in given.call_method0("keys")?.try_iter()? {
            let key = key?;
            store(&key, &given.get_item(&key)?)?;
        }
        return Ok(());
    }
    let items = if has_items { &given.call_method0("items")? } else { given };
    for item in items.try_iter()? {
        let (key, value) = pair(&item?)?;
        store(&key, &value)?;
    }
    Ok(())
}

/// The name of an eviction policy.
///
/// # Errors
/// ValueError if there is none of that name.
pub(crate) fn check_policy(name: &str) -> PyResult<()> {
    if Policy::names().any(|known| known == name) {
        return Ok(());
    }
    let known = Policy::names().collect::<Vec<_>>().join(", ");
    Err(PyValueError::new_err(format!("unknown policy '{name}'; known are {known}")))
}

/// Tags: an iterable of strings, but not one string.
///
/// # Errors
/// TypeError if it is not.
pub(crate) fn tags(given: Option<&Bound<'_, PyAny>>) -> PyResult<Vec<String>> {
    let Some(given) = given else { return Ok(Vec::new()) };
    if given.is_instance_of::<PyString>() {
        return Err(PyTypeError::new_err("tags must be an iterable of strings, not one string"));
    }
    let tags = given.try_iter()?.map(|tag| {
        let tag = tag?;
        if tag.is_instance_of::<PyString>() {
            return tag.extract();
        }
        Err(PyTypeError::new_err(format!("a tag must be a string, not {}", tag.get_type())))
    });
    tags.collect()
}

/// The shadow caches: True for the cache's own policy at the default multiples, or a dict that may have
/// "policies", "multiples" and "sample_entries".
///
/// # Errors
/// TypeError if it is neither, or a value is of another type; ValueError if a name is none of these, or the
/// cache has no bound that could be multiplied.
pub(crate) fn shadow(
    given: Option<&Bound<'_, PyAny>>,
    is_unbounded: bool,
) -> PyResult<Option<ShadowConfig>> {
    let Some(given) = given else { return Ok(None) };
    let mut config = ShadowConfig::new();
    if given.is_instance_of::<PyBool>() {
        if !given.is_truthy()? {
            return Ok(None);
        }
    } else {
        let options = given
            .cast::<PyDict>()
            .map_err(|_| PyTypeError::new_err("shadow must be True or a dict of options"))?;
        for (name, value) in options.iter() {
            match name.extract::<String>()?.as_str() {
                "policies" if value.is_instance_of::<PyString>() => {
                    return Err(PyTypeError::new_err("policies must be a list of names"));
                }
                "policies" => {
                    for policy in value.try_iter()? {
                        config = config.policy(Policy::named(&policy?.extract::<String>()?));
                    }
                }
                "multiples" => config = config.multiples(value.extract::<Vec<f64>>()?),
                "sample_entries" => {
                    config = config.sample_entries(count(&value, "sample_entries")?);
                }
                other => {
                    let message = format!(
                        "shadow has no option '{other}'; there are policies, multiples and sample_entries"
                    );
                    return Err(PyValueError::new_err(message));
                }
            }
        }
    }
    if is_unbounded {
        return Err(PyValueError::new_err(
            "shadow caches are multiples of a bound; give the cache a capacity or a max_weight",
        ));
    }
    Ok(Some(config))
}

/// The weight of an entry: what the weigher returns, or 1 if there is none.
///
/// # Errors
/// What the weigher raises; ValueError if it does not return a weight.
pub(crate) fn weight(
    weigher: Option<&Py<PyAny>>,
    key: &Bound<'_, PyAny>,
    value: &Bound<'_, PyAny>,
) -> PyResult<u32> {
    let Some(weigher) = weigher else { return Ok(1) };
    let weight = weigher.bind(key.py()).call1((key, value))?;
    weight.extract().map_err(|error: PyErr| {
        let py = key.py();
        if !error.is_instance_of::<PyTypeError>(py) && !error.is_instance_of::<PyOverflowError>(py)
        {
            return error;
        }
        let message =
            format!("the weigher returned {weight}, which is no int from 0 to 4294967295");
        PyValueError::new_err(message)
    })
}

/// The error that says that a key is missing.
pub(crate) fn missing(key: &Bound<'_, PyAny>) -> PyErr {
    match (key,).into_py_any(key.py()) {
        Ok(arguments) => PyKeyError::new_err(arguments),
        Err(error) => error,
    }
}
