//! The entries of a cache, found by Python's equality.
//!
//! A verb is given a closure that calls the library with a [`Query`]. If the query has met keys that only
//! Python can compare, these are compared one by one, outside of the library, and the closure is called again
//! for the one that is equal. Another thread may change the cache meanwhile; then the keys are collected anew,
//! until none is left that was not compared.
//!
//! # Two equal keys
//! No two equal keys are in a cache. Keys of built-in types are compared by the library itself. Before a key
//! of another type is inserted, all keys of its hash are compared, and in the step between finding that none
//! was added since and the insertion no other thread can insert one of them: with the interpreter's lock,
//! because that step runs no Python code; without it, because `inserting` is held. (A key whose equality
//! changes while it is stored is the user's business, as in a `dict`.)

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use larder::{Builder, Cache, InsertOptions, Inserted, Listener};
use pyo3::exceptions::PyRuntimeError;
use pyo3::types::PyAnyMethods;
use pyo3::{Bound, Py, PyAny, PyErr, PyResult, Python, ffi};

use crate::holdings::{Holdings, Place};
use crate::key::{Collect, Key, Kind, Query};

/// Comparisons that keep changing the cache are given up after so many rounds.
const MAX_ROUNDS: u32 = 10_000;

/// Whether other threads can run Python code at the same time.
const IS_FREE_THREADED: bool = cfg!(Py_GIL_DISABLED);

/// The value of an entry, and the place of both of its references in the holdings.
pub(crate) struct Value {
    object: *mut ffi::PyObject,
    place: Place,
    pub(crate) weight: u32,
    holdings: Arc<Holdings>,
}

// SAFETY: the object is used by threads that are attached to the interpreter, and only those call the library.
unsafe impl Send for Value {}
// SAFETY: as above.
unsafe impl Sync for Value {}

impl Value {
    /// A new reference to the object. To be called within a closure of the library, on an entry that it has
    /// found in the table, or is removing from it.
    #[inline]
    pub(crate) fn object(&self, py: Python<'_>) -> Py<PyAny> {
        // SAFETY: the holdings release the object by a `settle` after the entry has left. With the
        // interpreter's lock, `settle` cannot run while a closure of the library does, because those release
        // no lock; without it, they release the object only after the library has dropped this value, and it
        // drops none that a closure can see.
        unsafe { Bound::from_borrowed_ptr(py, self.object) }.unbind()
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        self.holdings.give_back(self.place);
    }
}

/// Which keys an insertion is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Set,
    Add,
    Replace,
}

/// The options of an insertion.
#[derive(Default)]
pub(crate) struct Extras {
    pub(crate) ttl: Option<Duration>,
    pub(crate) tags: Vec<String>,
    pub(crate) weight: u32,
}

pub(crate) struct Store {
    pub(crate) cache: Cache<Key, Value>,
    pub(crate) holdings: Arc<Holdings>,
    /// Whether a key was ever inserted that can equal one that it cannot stand for.
    has_mixed_keys: AtomicBool,
    inserting: Mutex<()>,
    /// Misses that were counted for lookups which went on.
    pub(crate) spurious_misses: AtomicU64,
}

impl Store {
    /// # Errors
    /// As the library's.
    pub(crate) fn build(
        builder: Builder<Key, Value>,
        wants_keys: bool,
    ) -> Result<Self, larder::BuildError> {
        let holdings = Arc::new(Holdings::new(wants_keys));
        let noted = Arc::clone(&holdings);
        // Other threads may still be reading the value without the interpreter's lock. Then it is released
        // when the library drops it, and listeners are not notified, of which `Core` says so.
        let listener = Listener::new(move |removal: &larder::Removal<'_, Key, Value>| {
            // SAFETY: maintenance is inline, so this thread is within a call of `Core`, and attached.
            let py = unsafe { Python::assume_attached() };
            noted.leave(removal.value.place, removal.cause, py);
        });
        let builder =
            if IS_FREE_THREADED { builder } else { builder.listener(listener.without_ages()) };
        Ok(Self {
            cache: builder.build()?,
            holdings,
            has_mixed_keys: AtomicBool::new(IS_FREE_THREADED),
            inserting: Mutex::new(()),
            spurious_misses: AtomicU64::new(0),
        })
    }

    /// Calls `verb` for `key`; again, if Python finds another stored key equal. `verb` returns `None` if the
    /// library has not found the key.
    #[inline]
    pub(crate) fn find<'py, R>(
        &self,
        key: &Bound<'py, PyAny>,
        verb: impl Fn(&Query<'_, 'py>) -> Option<R>,
    ) -> PyResult<Option<R>> {
        let query = Query::new(key)?;
        match verb(&query) {
            None if query.has_met_other() => self.find_equal(key, query.hash, verb),
            found => Ok(found),
        }
    }

    #[cold]
    fn find_equal<'py, R>(
        &self,
        key: &Bound<'py, PyAny>,
        hash: isize,
        verb: impl Fn(&Query<'_, 'py>) -> Option<R>,
    ) -> PyResult<Option<R>> {
        let mut compared = Vec::new();
        for _ in 0..MAX_ROUNDS {
            let new = self.collect(hash, &compared, key.py());
            if new.is_empty() {
                return Ok(None);
            }
            for stored in new {
                let stored = stored.into_bound(key.py());
                let is_equal = stored.is(key) || stored.eq(key)?;
                if is_equal && let Some(found) = verb(&Query::same(&stored, hash)) {
                    return Ok(Some(found));
                }
                // If it has left, or has expired, an equal key that was inserted since is a new object.
                compared.push(stored.unbind());
            }
        }
        Err(restless())
    }

    /// The stored keys that have a hash, except those in `compared`.
    fn collect(&self, hash: isize, compared: &[Py<PyAny>], py: Python<'_>) -> Vec<Py<PyAny>> {
        let collect = Collect::new(hash, py);
        // It finds nothing, and visits the keys on the way, expired ones too.
        self.cache.has_expired(&collect);
        let mut found = collect.found();
        found.retain(|key| compared.iter().all(|old| !old.is(key)));
        found
    }

    /// Stores `value` under `key`, or under the stored key that is equal.
    ///
    /// # Errors
    /// What the keys' `__hash__` and `__eq__` raise.
    pub(crate) fn insert(
        &self,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        verb: Verb,
        extras: &Extras,
    ) -> PyResult<Inserted> {
        let query = Query::new(key)?;
        let (hash, kind) = (query.hash, query.kind());
        // Relaxed: with the interpreter's lock it is always up to date, and without it always set.
        if kind.is_simple() && !self.has_mixed_keys.load(Ordering::Relaxed) {
            return Ok(self.insert_as(key.clone().unbind(), hash, kind, value, verb, extras));
        }
        if !kind.is_simple() {
            self.has_mixed_keys.store(true, Ordering::Relaxed);
        }
        let py = key.py();
        let (mut compared, mut equal): (Vec<Py<PyAny>>, Option<Py<PyAny>>) = (Vec::new(), None);
        for _ in 0..MAX_ROUNDS {
            let new = {
                let _inserting = self.inserting.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(stored) = equal.take() {
                    let stored = stored.into_bound(py);
                    let query = Query::same(&stored, hash);
                    if self.cache.has_expired(&query) || self.cache.contains_key(&query) {
                        let kind = Kind::of(&stored);
                        return Ok(self.insert_as(
                            stored.unbind(),
                            hash,
                            kind,
                            value,
                            verb,
                            extras,
                        ));
                    }
                }
                let query = Query::new_with(key, hash, kind).remembering();
                let is_there = self.cache.contains_key(&query) || self.cache.has_expired(&query);
                let has_met_other = query.has_met_other();
                if is_there && let Some(stored) = query.met() {
                    let kind = Kind::of(stored.bind(py));
                    return Ok(self.insert_as(stored, hash, kind, value, verb, extras));
                }
                let new =
                    if has_met_other { self.collect(hash, &compared, py) } else { Vec::new() };
                if new.is_empty() {
                    let key = key.clone().unbind();
                    return Ok(self.insert_as(key, hash, kind, value, verb, extras));
                }
                new
            };
            for stored in new {
                let is_equal = stored.bind(py).eq(key)?;
                compared.push(stored.clone_ref(py));
                if is_equal {
                    equal = Some(stored);
                    break;
                }
            }
        }
        Err(restless())
    }

    /// Stores a value under this very key. The caller has made sure that no other key is equal, except for those
    /// that the library compares itself.
    fn insert_as(
        &self,
        key: Py<PyAny>,
        hash: isize,
        kind: Kind,
        value: &Bound<'_, PyAny>,
        verb: Verb,
        extras: &Extras,
    ) -> Inserted {
        let table_key = Key::new(&key, hash, kind);
        let place = self.holdings.hold(key, value.clone().unbind());
        let holdings = Arc::clone(&self.holdings);
        let value = Value { object: value.as_ptr(), place, weight: extras.weight, holdings };
        if verb == Verb::Set && extras.ttl.is_none() && extras.tags.is_empty() {
            return self.cache.insert(table_key, value);
        }
        let tags: Vec<&str> = extras.tags.iter().map(String::as_str).collect();
        let mut options = InsertOptions::new().tags(&tags);
        if let Some(ttl) = extras.ttl {
            options = options.ttl(ttl);
        }
        match verb {
            Verb::Set => self.cache.insert_with(table_key, value, options),
            Verb::Add => self.cache.insert_if_absent_with(table_key, value, options),
            Verb::Replace => self.cache.replace_with(table_key, value, options),
        }
    }

    /// Calls `visit` for every valid entry. It runs no Python code.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(&Key, &Value, larder::EntryInfo)) {
        let mut cursor = 0;
        loop {
            cursor = self.cache.scan(cursor, 256, &mut visit);
            if cursor == 0 {
                return;
            }
        }
    }
}

fn restless() -> PyErr {
    PyRuntimeError::new_err("the cache was changed during each of 10000 comparisons of a key")
}
