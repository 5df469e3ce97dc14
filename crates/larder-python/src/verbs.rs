//! What the methods of [`Core`] have in common: they look a key up, store a value, remove a key or visit all entries,
//! and then settle.

use std::cell::Cell;

use larder::{Inserted, KeyState, Rejection};
use pyo3::exceptions::PyValueError;
use pyo3::{Bound, Py, PyAny, PyResult, Python};

use crate::arguments;
use crate::core::Core;
use crate::key::Query;
use crate::store::{self, Extras, Verb};

impl Core {
    #[inline]
    pub(crate) fn look_up(&self, key: &Bound<'_, PyAny>) -> PyResult<Option<Py<PyAny>>> {
        let py = key.py();
        let query = Query::new(key)?;
        match self.store.cache.read(&query, |value| value.object(py)) {
            None if query.has_met_other() => self.look_up_equal(key, query.hash),
            // Returned as it is: the processor would have to wait for an outcome that is moved through memory.
            found => {
                self.settle(py);
                Ok(found)
            }
        }
    }

    /// Goes on with a lookup that has met keys which Python has to compare.
    #[cold]
    fn look_up_equal(&self, key: &Bound<'_, PyAny>, hash: isize) -> PyResult<Option<Py<PyAny>>> {
        let py = key.py();
        let looked = Cell::new(0_u64);
        let found = self.store.find_equal(key, hash, |query| {
            looked.set(looked.get() + 1);
            self.store.cache.read(query, |value| value.object(py))
        });
        // With the first lookup, which was a miss, there was one too many for each of these.
        store::add(&self.store.spurious_misses, looked.get());
        self.settle(py);
        found
    }

    pub(crate) fn insert(
        &self,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        verb: Verb,
        ttl: Option<&Bound<'_, PyAny>>,
        tags: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<bool> {
        let extras = self.extras(key, value, ttl, tags)?;
        self.insert_with(key, value, verb, &extras)
    }

    pub(crate) fn extras(
        &self,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        ttl: Option<&Bound<'_, PyAny>>,
        tags: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Extras<'static>> {
        Ok(Extras {
            ttl: ttl.map_or(Ok(None), |given| arguments::lifetime(given, "ttl"))?,
            tags: arguments::tags(tags)?,
            weight: arguments::weight(self.weigher.as_ref(), key, value)?,
            fill: None,
        })
    }

    pub(crate) fn insert_with(
        &self,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        verb: Verb,
        extras: &Extras<'_>,
    ) -> PyResult<bool> {
        let inserted = self.store.insert(key, value, verb, extras);
        self.settle(key.py());
        match inserted? {
            Some(Inserted::Rejected(
                rejection @ (Rejection::TooManyTags { .. } | Rejection::ReservedTag),
            )) => Err(PyValueError::new_err(rejection.to_string())),
            inserted => Ok(inserted.is_some_and(|inserted| inserted.is_stored())),
        }
    }

    pub(crate) fn state_after(
        &self,
        key: &Bound<'_, PyAny>,
        verb: impl Fn(&Query<'_, '_>) -> KeyState,
    ) -> PyResult<&'static str> {
        let found = self.store.find(key, |query| match verb(query) {
            KeyState::Missing => None,
            state => Some(state),
        });
        self.settle(key.py());
        Ok(match found? {
            None | Some(KeyState::Missing) => "missing",
            Some(KeyState::Valid) => "valid",
            Some(KeyState::Expired) => "expired",
            Some(KeyState::Invalidated) => "invalidated",
        })
    }

    pub(crate) fn collect<T>(
        &self,
        mut item: impl FnMut(&crate::key::Key, &crate::store::Value, larder::EntryInfo) -> T,
    ) -> Vec<T> {
        let mut items = Vec::new();
        self.store.for_each(|key, value, info| items.push(item(key, value, info)));
        items
    }

    /// Releases what the library has let go of, and notifies the listener.
    #[inline]
    pub(crate) fn settle(&self, py: Python<'_>) {
        let holdings = &self.store.holdings;
        if holdings.is_unsettled() && holdings.release_quiet(py) {
            self.listening.settle(holdings, py);
        }
    }
}
