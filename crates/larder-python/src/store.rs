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

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use larder::{Builder, Cache, InsertOptions, Inserted, Listener};
use pyo3::exceptions::PyRuntimeError;
use pyo3::types::PyAnyMethods;
use pyo3::{Bound, Py, PyAny, PyErr, PyResult, Python, ffi};

use crate::guarded::Guarded;
use crate::holdings::{Holdings, Place};
use crate::key::{Collect, Key, Kind, Query};
use crate::loads::{Fill, Loads};

/// Comparisons that keep changing the cache are given up after so many rounds.
const MAX_ROUNDS: u32 = 10_000;

/// After so many insertions of new keys in a row, the next one is not expected to find a value in its place.
const MANY_NEW: u32 = 4;

/// Whether other threads can run Python code at the same time.
const IS_FREE_THREADED: bool = cfg!(Py_GIL_DISABLED);

/// The value of an entry, and the place of both of its references in the holdings.
pub(crate) struct Value {
    /// Changed by `overwrite` alone, with the interpreter's lock.
    object: Cell<*mut ffi::PyObject>,
    place: Place,
    pub(crate) weight: u32,
    /// Whether the entry has neither a lifetime of its own nor tags.
    is_plain: bool,
    holdings: Arc<Holdings>,
}

// SAFETY: the object is used by threads that are attached to the interpreter, and only those call the library.
unsafe impl Send for Value {}
// SAFETY: as above; without the interpreter's lock, nothing changes `object`.
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
        unsafe { Bound::from_borrowed_ptr(py, self.object.get()) }.unbind()
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
pub(crate) struct Extras<'f> {
    pub(crate) ttl: Option<Duration>,
    pub(crate) tags: Vec<String>,
    pub(crate) weight: u32,
    /// The load that the value comes from: it is not stored if the key was changed since.
    pub(crate) fill: Option<&'f Fill>,
}

impl Extras<'_> {
    fn is_plain(&self) -> bool {
        self.ttl.is_none() && self.tags.is_empty()
    }
}

/// How the insertion of a key ended; `None` if a change has made its load stale.
pub(crate) type Outcome = Option<Inserted>;

pub(crate) struct Store {
    pub(crate) cache: Cache<Key, Value>,
    pub(crate) holdings: Arc<Holdings>,
    /// Whether a key was ever inserted that can equal one that it cannot stand for.
    has_mixed_keys: AtomicBool,
    inserting: Guarded<()>,
    pub(crate) loads: Loads,
    /// Whether a value may be put in the place of another one without the library: the library would do no more
    /// than to count it, because entries have no lifetimes or weights, and there is no listener.
    can_overwrite: bool,
    /// How many insertions in a row had a new key. A search that finds no value is a seventh of the work of an insertion
    /// into a full cache.
    new_in_a_row: AtomicU32,
    pub(crate) overwritten: AtomicU64,
    /// Misses that were counted for lookups which went on, and lookups of `overwrite`.
    pub(crate) spurious_misses: AtomicU64,
    pub(crate) spurious_hits: AtomicU64,
}

impl Store {
    /// # Errors
    /// As the library's.
    pub(crate) fn build(
        builder: Builder<Key, Value>,
        has_listener: bool,
        is_plain: bool,
    ) -> Result<Self, larder::BuildError> {
        let holdings = Arc::new(Holdings::new(has_listener));
        let noted = Arc::clone(&holdings);
        let listener = Listener::new(move |removal: &larder::Removal<'_, Key, Value>| {
            // SAFETY: maintenance is inline, so this thread is within a call of `Core`, and attached.
            let py = unsafe { Python::assume_attached() };
            noted.leave(removal.value.place, removal.cause, py);
        });
        // Without the interpreter's lock, a value is released when the library drops its entry, so only a listener of
        // the user needs to know that it has left.
        let builder = if IS_FREE_THREADED && !has_listener {
            builder
        } else {
            builder.listener(listener.without_ages())
        };
        Ok(Self {
            cache: builder.build()?,
            holdings,
            has_mixed_keys: AtomicBool::new(IS_FREE_THREADED),
            inserting: Guarded::default(),
            loads: Loads::default(),
            can_overwrite: is_plain && !has_listener && !IS_FREE_THREADED,
            new_in_a_row: AtomicU32::new(0),
            overwritten: AtomicU64::new(0),
            spurious_misses: AtomicU64::new(0),
            spurious_hits: AtomicU64::new(0),
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

    /// Calls `verb` for the stored keys that Python finds equal to `key`, until it finds one.
    #[cold]
    pub(crate) fn find_equal<'py, R>(
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
                let is_equal = stored.is(key) || stored.eq(key)?;
                if is_equal && let Some(found) = verb(&Query::same(&stored, hash)) {
                    return Ok(Some(found));
                }
                // If it has left, or has expired, an equal key that was inserted since is a new object.
                compared.push(stored);
            }
        }
        Err(restless())
    }

    /// The stored keys that have a hash, except those in `compared`.
    fn collect<'py>(
        &self,
        hash: isize,
        compared: &[Bound<'py, PyAny>],
        py: Python<'py>,
    ) -> Vec<Bound<'py, PyAny>> {
        let collect = Collect::new(hash, compared, py);
        // It finds nothing, and visits the keys on the way, expired ones too.
        let _ = self.cache.has_expired(&collect);
        collect.found()
    }

    /// Puts `value` in the place of the value that the key has, if that is all there is to do.
    fn overwrite(&self, query: &Query<'_, '_>, value: &Bound<'_, PyAny>) -> bool {
        let overwritten = self.cache.read(query, |old| {
            if old.is_plain {
                old.object.set(value.as_ptr());
                self.holdings.replace(old.place, value.clone().unbind());
            }
            old.is_plain
        });
        let lookups =
            if overwritten.is_some() { &self.spurious_hits } else { &self.spurious_misses };
        add(lookups, 1);
        if overwritten == Some(true) {
            add(&self.overwritten, 1);
        }
        overwritten == Some(true)
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
        extras: &Extras<'_>,
    ) -> PyResult<Outcome> {
        let query = Query::new(key)?;
        if extras.fill.is_some() {
            return self.insert_by_library(&query, value, verb, extras);
        }
        self.loads.note(Some(query.hash));
        if verb != Verb::Set || !self.can_overwrite || !extras.is_plain() {
            return self.insert_by_library(&query, value, verb, extras);
        }
        // Relaxed, here and below: only the holder of the interpreter's lock uses it, and it is no more than a guess.
        let new_in_a_row = self.new_in_a_row.load(Ordering::Relaxed);
        if new_in_a_row < MANY_NEW && self.overwrite(&query, value) {
            self.new_in_a_row.store(0, Ordering::Relaxed);
            return Ok(Some(Inserted::Replaced));
        }
        let outcome = self.insert_by_library(&query, value, verb, extras)?;
        let is_new = !matches!(outcome, Some(Inserted::Replaced));
        let new_in_a_row = if is_new { (new_in_a_row + 1).min(MANY_NEW) } else { 0 };
        self.new_in_a_row.store(new_in_a_row, Ordering::Relaxed);
        Ok(outcome)
    }

    /// As `insert`, for a key that was read, and whose change was noted.
    #[inline]
    fn insert_by_library(
        &self,
        query: &Query<'_, '_>,
        value: &Bound<'_, PyAny>,
        verb: Verb,
        extras: &Extras<'_>,
    ) -> PyResult<Outcome> {
        let (key, hash, kind) = (query.object(), query.hash, query.kind());
        // Relaxed: with the interpreter's lock it is always up to date, and without it always set.
        if kind.is_simple() && !self.has_mixed_keys.load(Ordering::Relaxed) {
            return Ok(self.insert_as(key, hash, kind, value, verb, extras));
        }
        if !kind.is_simple() {
            self.has_mixed_keys.store(true, Ordering::Relaxed);
        }
        let (mut compared, mut equal) = (Vec::new(), None);
        for _ in 0..MAX_ROUNDS {
            let named = (key, hash, kind);
            let (step, _released_here) = self
                .inserting
                .with(|()| self.try_insert(named, equal.as_ref(), &compared, value, verb, extras));
            equal = None;
            let new = match step {
                Step::Done(outcome) => return Ok(outcome),
                Step::Compare(new) => new,
            };
            for stored in new {
                let is_equal = stored.eq(key)?;
                compared.push(stored.clone());
                if is_equal {
                    equal = Some(stored);
                    break;
                }
            }
        }
        Err(restless())
    }

    /// Inserts under the stored key that is equal, `equal` if that is still there, or under `key`, if there are
    /// no other keys with the hash to compare it with. It runs no Python code, and releases no reference: the caller
    /// does so with those that come back.
    fn try_insert<'py>(
        &self,
        (key, hash, kind): (&Bound<'py, PyAny>, isize, Kind),
        equal: Option<&Bound<'py, PyAny>>,
        compared: &[Bound<'py, PyAny>],
        value: &Bound<'py, PyAny>,
        verb: Verb,
        extras: &Extras<'_>,
    ) -> (Step<'py>, Vec<Bound<'py, PyAny>>) {
        if let Some(stored) = equal {
            let query = Query::same(stored, hash);
            if self.cache.has_expired(&query) || self.cache.contains_key(&query) {
                let kind = Kind::of(stored);
                let outcome = self.insert_as(stored, hash, kind, value, verb, extras);
                return (Step::Done(outcome), Vec::new());
            }
        }
        let query = Query::new_with(key, hash, kind).remembering();
        let is_there = self.cache.contains_key(&query) || self.cache.has_expired(&query);
        let has_met_other = query.has_met_other();
        let met = query.met();
        if is_there && let Some(stored) = met.last() {
            let outcome = self.insert_as(stored, hash, Kind::of(stored), value, verb, extras);
            return (Step::Done(outcome), met);
        }
        let new = if has_met_other { self.collect(hash, compared, key.py()) } else { Vec::new() };
        if new.is_empty() {
            return (Step::Done(self.insert_as(key, hash, kind, value, verb, extras)), met);
        }
        (Step::Compare(new), met)
    }

    /// Stores a value under this very key. The caller has made sure that no other key is equal, except for those
    /// that the library compares itself.
    fn insert_as(
        &self,
        key: &Bound<'_, PyAny>,
        hash: isize,
        kind: Kind,
        value: &Bound<'_, PyAny>,
        verb: Verb,
        extras: &Extras<'_>,
    ) -> Outcome {
        let place = self.holdings.hold(key.clone().unbind(), value.clone().unbind());
        let table_key = Key::new(key, hash, kind);
        let value = Value {
            object: Cell::new(value.as_ptr()),
            place,
            weight: extras.weight,
            is_plain: extras.is_plain(),
            holdings: Arc::clone(&self.holdings),
        };
        if let Some(fill) = extras.fill {
            let replaces = verb != Verb::Add;
            return self.loads.end(fill, replaces, || self.put(table_key, value, verb, extras));
        }
        Some(self.put(table_key, value, verb, extras))
    }

    fn put(&self, key: Key, value: Value, verb: Verb, extras: &Extras<'_>) -> Inserted {
        if verb == Verb::Set && value.is_plain {
            return self.cache.insert(key, value);
        }
        let tags: Vec<&str> = extras.tags.iter().map(String::as_str).collect();
        let mut options = InsertOptions::new().tags(&tags);
        if let Some(ttl) = extras.ttl {
            options = options.ttl(ttl);
        }
        match verb {
            Verb::Set => self.cache.insert_with(key, value, options),
            Verb::Add => self.cache.insert_if_absent_with(key, value, options),
            Verb::Replace => self.cache.replace_with(key, value, options),
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

/// What an attempt to insert has come to.
enum Step<'py> {
    Done(Outcome),
    /// These keys are to be compared first.
    Compare(Vec<Bound<'py, PyAny>>),
}

/// Adds to a counter. With the interpreter's lock, no other thread does so meanwhile.
#[inline]
pub(crate) fn add(counter: &AtomicU64, count: u64) {
    if IS_FREE_THREADED {
        counter.fetch_add(count, Ordering::Relaxed);
    } else {
        counter.store(counter.load(Ordering::Relaxed) + count, Ordering::Relaxed);
    }
}

fn restless() -> PyErr {
    PyRuntimeError::new_err("the cache was changed during each of 10000 comparisons of a key")
}
