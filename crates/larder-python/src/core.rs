//! The class `Core`: what Python calls.
//!
//! Every verb ends with [`Core::settle`], which releases the objects that the library has let go of and calls
//! the listener. No verb holds anything of the library's then.

use std::cell::RefCell;
use std::sync::atomic::Ordering;

use larder::{Cache, Explanation, Maintenance, Policy};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::types::{PyAnyMethods, PyDict, PyDictMethods, PyList, PyTypeMethods};
use pyo3::{Bound, Py, PyAny, PyResult, PyTraverseError, PyVisit, Python, pyclass, pymethods};

use crate::arguments;
use crate::clock::ManualClock;
use crate::listening::Listening;
use crate::loads::Fill;
use crate::store::{Extras, Store, Verb};

/// What an entry takes besides its place in the holdings: the library's header and metadata, key and value, and
/// a bucket.
const ENTRY_BYTES: usize = 112;

/// The capacity of a cache without a bound: more entries than the holdings have places.
const NO_BOUND: usize = 1 << 33;

/// The native part of a cache: bounded entries, lifetimes and tags.
///
/// `larder.Cache` says what its arguments are.
#[pyclass(subclass, weakref, frozen, module = "larder._native")]
pub(crate) struct Core {
    pub(crate) store: Store,
    is_unbounded: bool,
    pub(crate) weigher: Option<Py<PyAny>>,
    pub(crate) listening: Listening,
}

#[pymethods]
impl Core {
    #[new]
    #[pyo3(signature = (
        capacity = None, *, max_weight = None, weigher = None, policy = "window_tiny_lfu", ttl = None,
        idle = None, jitter = 0.0, listener = None, explain = None, clock = None, lazy_expiry = false,
        shadow = None
    ))]
    #[allow(clippy::too_many_arguments, reason = "they are the keyword arguments of a class")]
    fn new(
        capacity: Option<&Bound<'_, PyAny>>,
        max_weight: Option<&Bound<'_, PyAny>>,
        weigher: Option<Bound<'_, PyAny>>,
        policy: &str,
        ttl: Option<&Bound<'_, PyAny>>,
        idle: Option<&Bound<'_, PyAny>>,
        jitter: f64,
        listener: Option<Bound<'_, PyAny>>,
        explain: Option<&Bound<'_, PyAny>>,
        clock: Option<&Bound<'_, ManualClock>>,
        lazy_expiry: bool,
        shadow: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        for (name, given) in [("weigher", &weigher), ("listener", &listener)] {
            if let Some(given) = given
                && !given.is_callable()
            {
                return Err(PyTypeError::new_err(format!("{name} must be callable")));
            }
        }
        let capacity = arguments::optional_count(capacity, "capacity")?;
        let max_weight = arguments::optional_count(max_weight, "max_weight")?;
        let explain: usize = arguments::optional_count(explain, "explain")?.unwrap_or(0);
        // A cache without a bound has no use for its policy, but an unknown name is an error there, too.
        arguments::check_policy(policy)?;
        let mut builder = Cache::builder()
            .policy(Policy::named(policy))
            .partitions(1)
            .maintenance(Maintenance::Inline)
            .count_lookups()
            .jitter(jitter);
        let is_unbounded = capacity.is_none() && max_weight.is_none();
        let is_plain = max_weight.is_none()
            && ttl.is_none()
            && idle.is_none()
            && explain == 0
            && shadow.is_none();
        if is_unbounded {
            // The library wants a bound, and the policy never has to choose.
            builder = builder.capacity(NO_BOUND).policy(Policy::fifo());
        } else if let Some(capacity) = capacity {
            builder = builder.capacity(capacity);
        }
        if let Some(weight) = max_weight {
            builder = builder
                .max_weight(weight)
                .weigher(|_: &crate::key::Key, value: &crate::store::Value| value.weight);
        }
        if let Some(time) = ttl.map_or(Ok(None), |given| arguments::lifetime(given, "ttl"))? {
            builder = builder.time_to_live(time);
        }
        if let Some(time) = idle.map_or(Ok(None), |given| arguments::lifetime(given, "idle"))? {
            builder = builder.time_to_idle(time);
        }
        if explain > 0 {
            builder = builder.explain_misses(explain);
        }
        if let Some(clock) = clock {
            builder = builder.clock(clock.get().clock.clone());
        }
        if let Some(shadow) = arguments::shadow(shadow, is_unbounded)? {
            builder = builder.shadow(shadow);
        }
        if lazy_expiry {
            // So that `remove_expired` finds an entry as soon as it has expired.
            builder = builder.expire_lazily().timer_tick(std::time::Duration::from_nanos(1));
        }
        let store = Store::build(builder, listener.is_some(), is_plain && weigher.is_none())
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        let listening = Listening::new(listener.map(Bound::unbind));
        Ok(Self { store, is_unbounded, weigher: weigher.map(Bound::unbind), listening })
    }

    /// The value of `key`, or `default` if the cache has none.
    #[pyo3(signature = (key, default = None, /))]
    fn get(
        &self,
        key: &Bound<'_, PyAny>,
        default: Option<Py<PyAny>>,
    ) -> PyResult<Option<Py<PyAny>>> {
        Ok(self.look_up(key)?.or(default))
    }

    fn __getitem__(&self, key: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        self.look_up(key)?.ok_or_else(|| arguments::missing(key))
    }

    /// The value of `key`, or `default`; it counts neither as a use of the entry nor as a hit or a miss.
    #[pyo3(signature = (key, default = None, /))]
    fn peek(
        &self,
        key: &Bound<'_, PyAny>,
        default: Option<Py<PyAny>>,
    ) -> PyResult<Option<Py<PyAny>>> {
        let py = key.py();
        let found = self.store.find(key, |query| {
            let pinned = self.store.cache.pin();
            pinned.peek(query).map(|value| value.object(py))
        });
        self.settle(py);
        Ok(found?.or(default))
    }

    fn __contains__(&self, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        let cache = &self.store.cache;
        Ok(self.store.find(key, |query| cache.contains_key(query).then_some(()))?.is_some())
    }

    fn __len__(&self) -> usize {
        self.store.cache.len()
    }

    /// Stores `value` under `key`, for `ttl` seconds if given, with `tags`.
    ///
    /// Returns whether it was stored: a value that is heavier than the cache is not, and the old value of
    /// the key is then removed.
    #[pyo3(signature = (key, value, /, ttl = None, tags = None))]
    fn set(
        &self,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        ttl: Option<&Bound<'_, PyAny>>,
        tags: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<bool> {
        self.insert(key, value, Verb::Set, ttl, tags)
    }

    /// Stores `value` under `key` unless the key has a valid value, in one step. Returns whether it was stored.
    #[pyo3(signature = (key, value, /, ttl = None, tags = None))]
    fn add(
        &self,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        ttl: Option<&Bound<'_, PyAny>>,
        tags: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<bool> {
        self.insert(key, value, Verb::Add, ttl, tags)
    }

    /// Stores `value` under `key` if the key has a valid value, in one step. Returns whether it was stored.
    #[pyo3(signature = (key, value, /, ttl = None, tags = None))]
    fn replace(
        &self,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        ttl: Option<&Bound<'_, PyAny>>,
        tags: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<bool> {
        self.insert(key, value, Verb::Replace, ttl, tags)
    }

    /// Begins a load of `key`. The result is passed to `complete_fill` with what was loaded.
    #[pyo3(signature = (key, /))]
    fn begin_fill(&self, key: &Bound<'_, PyAny>) -> PyResult<Fill> {
        Ok(self.store.loads.begin(key.hash()?))
    }

    /// Stores what was loaded, once, unless the key was stored, removed or invalidated since `begin_fill`. A
    /// value that another load has stored stays, unless `replace` says otherwise; then no other load that is under
    /// way is stored. Returns whether it was stored.
    #[pyo3(signature = (fill, key, value, /, ttl = None, tags = None, replace = false))]
    fn complete_fill(
        &self,
        fill: &Bound<'_, Fill>,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        ttl: Option<&Bound<'_, PyAny>>,
        tags: Option<&Bound<'_, PyAny>>,
        replace: bool,
    ) -> PyResult<bool> {
        let extras = Extras { fill: Some(fill.get()), ..self.extras(key, value, ttl, tags)? };
        let verb = if replace { Verb::Set } else { Verb::Add };
        self.insert_with(key, value, verb, &extras)
    }

    fn __setitem__(&self, key: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        self.insert(key, value, Verb::Set, None, None).map(|_| ())
    }

    /// Stores every pair of a mapping, or of an iterable of pairs. Returns how many were stored.
    #[pyo3(signature = (pairs, /, ttl = None, tags = None))]
    fn set_many(
        &self,
        pairs: &Bound<'_, PyAny>,
        ttl: Option<&Bound<'_, PyAny>>,
        tags: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<usize> {
        let mut stored = 0;
        arguments::for_each_pair(pairs, |key, value| {
            stored += usize::from(self.insert(key, value, Verb::Set, ttl, tags)?);
            Ok(())
        })?;
        Ok(stored)
    }

    /// The values of those keys that the cache has, as a dict.
    #[pyo3(signature = (keys, /))]
    fn get_many<'py>(&self, keys: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
        let found = PyDict::new(keys.py());
        for key in keys.try_iter()? {
            let key = key?;
            if let Some(value) = self.look_up(&key)? {
                found.set_item(key, value)?;
            }
        }
        Ok(found)
    }

    /// Removes `key`. Returns whether the cache had a valid value for it.
    #[pyo3(signature = (key, /))]
    fn remove(&self, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        Ok(self.remove_key(key)? == "valid")
    }

    /// Removes `key`, whatever its state, and returns that state: "valid", "expired", "invalidated" or "missing".
    #[pyo3(signature = (key, /))]
    fn remove_key(&self, key: &Bound<'_, PyAny>) -> PyResult<&'static str> {
        self.state_after(key, |query| {
            self.store.loads.note(Some(query.hash));
            self.store.cache.remove_key(query)
        })
    }

    /// Removes `key` if its entry has expired, and returns the state in which it was.
    #[pyo3(signature = (key, /))]
    fn remove_if_expired(&self, key: &Bound<'_, PyAny>) -> PyResult<&'static str> {
        self.state_after(key, |query| self.store.cache.remove_if_expired(query))
    }

    fn __delitem__(&self, key: &Bound<'_, PyAny>) -> PyResult<()> {
        if self.remove(key)? { Ok(()) } else { Err(arguments::missing(key)) }
    }

    /// Removes `key` and returns its value, or `default`; a KeyError if there is neither.
    #[pyo3(signature = (key, /, *default))]
    fn pop(
        &self,
        key: &Bound<'_, PyAny>,
        default: &Bound<'_, pyo3::types::PyTuple>,
    ) -> PyResult<Py<PyAny>> {
        if default.len()? > 1 {
            return Err(PyTypeError::new_err("pop takes a key and at most one default"));
        }
        let py = key.py();
        let cache = &self.store.cache;
        let popped = self.store.find(key, |query| {
            self.store.loads.note(Some(query.hash));
            cache.remove_and_read(query, |_, value| value.object(py))
        });
        self.settle(py);
        match popped? {
            Some(value) => Ok(value),
            None => default.get_item(0).map(Bound::unbind).map_err(|_| arguments::missing(key)),
        }
    }

    /// Removes every entry. Returns how many there were.
    fn clear(&self, py: Python<'_>) -> usize {
        self.store.loads.note(None);
        let removed = self.store.cache.clear_and_count();
        self.settle(py);
        removed.valid_len + removed.expired_len + removed.invalidated_len
    }

    /// Removes the entries that have expired. Returns how many entries are left.
    fn remove_expired(&self, py: Python<'_>) -> usize {
        self.store.cache.remove_expired();
        self.settle(py);
        self.store.cache.len()
    }

    /// Removes every entry that carries `tag`, in one step. Returns whether there was any.
    #[pyo3(signature = (tag, /))]
    fn invalidate_tag(&self, py: Python<'_>, tag: &str) -> bool {
        self.store.loads.note(None);
        let had_any = self.store.cache.invalidate_tag(tag);
        if had_any {
            // Lookups do not find them any more; this releases their values now.
            self.store.cache.invalidate_if(|_, _| false);
        }
        self.settle(py);
        had_any
    }

    /// Lets the entry of `key` expire in `ttl` seconds from now; None stands for never. Returns whether the
    /// key was there.
    #[pyo3(signature = (key, ttl, /))]
    fn expire(&self, key: &Bound<'_, PyAny>, ttl: &Bound<'_, PyAny>) -> PyResult<bool> {
        let ttl = arguments::lifetime(ttl, "ttl")?;
        let cache = &self.store.cache;
        let py = key.py();
        let is_set = self.store.find(key, |query| {
            let is_set = cache.try_expire_after(query, ttl);
            matches!(is_set, Ok(true)).then_some(())
        })?;
        if is_set.is_some() {
            return Ok(true);
        }
        // An entry without a deadline has no room for one, so it is stored anew, with its tags, as if it had been
        // loaded: if the key is changed meanwhile, the old value must not come back.
        loop {
            let fill = self.store.loads.begin(key.hash()?);
            let Some(value) = self.peek(key, None)? else { return Ok(false) };
            let Some(ttl) = ttl else { return Ok(true) };
            let tags = self.tags(key)?.unwrap_or_default();
            let weight = arguments::weight(self.weigher.as_ref(), key, value.bind(py))?;
            let extras = Extras { ttl: Some(ttl), tags, weight, fill: Some(&fill) };
            let is_stored = self.insert_with(key, value.bind(py), Verb::Replace, &extras)?;
            if is_stored || !fill.is_stale() {
                return Ok(is_stored);
            }
        }
    }

    /// The seconds until the entry of `key` expires; None if it never does. A KeyError if it is missing.
    #[pyo3(signature = (key, /))]
    fn expires_in(&self, key: &Bound<'_, PyAny>) -> PyResult<Option<f64>> {
        let cache = &self.store.cache;
        let info = self.store.find(key, |query| cache.inspect(query))?;
        let info = info.ok_or_else(|| arguments::missing(key))?;
        Ok(info.expires_in.map(|left| left.as_secs_f64()))
    }

    /// The tags of the entry of `key`; None if it is missing.
    #[pyo3(signature = (key, /))]
    fn tags(&self, key: &Bound<'_, PyAny>) -> PyResult<Option<Vec<String>>> {
        let cache = &self.store.cache;
        self.store.find(key, |query| cache.tags_of(query))
    }

    /// A list of the keys, in no particular order.
    fn keys<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        PyList::new(py, self.collect(|key, _, _| key.object(py)))
    }

    /// A list of the values, in no particular order.
    fn values<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        PyList::new(py, self.collect(|_, value, _| value.object(py)))
    }

    /// A list of the keys with their values, in no particular order.
    fn items<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        PyList::new(py, self.collect(|key, value, _| (key.object(py), value.object(py))))
    }

    /// A list of the entries: key, value, and the seconds until it expires or None.
    fn entries<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let entry =
            |key: &crate::key::Key, value: &crate::store::Value, info: larder::EntryInfo| {
                let left = info.expires_in.map(|left| left.as_secs_f64());
                (key.object(py), value.object(py), left)
            };
        PyList::new(py, self.collect(entry))
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Ok(self.keys(py)?.try_iter()?.into_any())
    }

    /// Why `key` is present or missing, in words. Reasons are remembered for as many removals as `explain`
    /// said when the cache was made.
    #[pyo3(signature = (key, /))]
    fn explain(&self, key: &Bound<'_, PyAny>) -> PyResult<String> {
        let cache = &self.store.cache;
        let missing = RefCell::new(None);
        let present = self.store.find(key, |query| match cache.explain(query) {
            Explanation::Present(presence) => Some(Explanation::Present(presence)),
            absent @ Explanation::Missing(_) => {
                missing.replace(Some(absent));
                None
            }
        })?;
        Ok(present.or(missing.into_inner()).map_or_else(String::new, |answer| answer.to_string()))
    }

    /// What the cache has counted, as a dict.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = self.store.cache.stats();
        let [spurious_hits, spurious_misses, overwritten] =
            [&self.store.spurious_hits, &self.store.spurious_misses, &self.store.overwritten]
                .map(|counter| counter.load(Ordering::Relaxed));
        let census = self.store.cache.census();
        let dict = PyDict::new(py);
        let counts = [
            ("hits", stats.hits.unwrap_or(0).saturating_sub(spurious_hits)),
            ("misses", stats.misses.unwrap_or(0).saturating_sub(spurious_misses)),
            ("inserts", stats.inserts),
            ("replacements", stats.replacements + overwritten),
            ("evictions", stats.evictions),
            ("removals", stats.removals),
            ("expirations", stats.expirations),
            ("invalidations", stats.invalidations),
            ("rejections", stats.rejections),
            ("weight", self.store.cache.weight()),
            ("entries", self.store.cache.len() as u64),
            ("valid_entries", census.valid_len as u64),
            ("listener_errors", self.listening.errors()),
        ];
        for (name, count) in counts {
            dict.set_item(name, count)?;
        }
        Ok(dict)
    }

    /// Changes the bound on the number of entries; the excess is evicted at once.
    #[pyo3(signature = (capacity, /))]
    fn set_capacity(&self, py: Python<'_>, capacity: &Bound<'_, PyAny>) -> PyResult<()> {
        let capacity = arguments::count(capacity, "capacity")?;
        if self.capacity().is_none() {
            return Err(PyValueError::new_err(
                "the cache was made without a capacity, so it cannot be given one",
            ));
        }
        let changed = self.store.cache.set_capacity(capacity);
        self.settle(py);
        changed.map_err(|error| PyValueError::new_err(error.to_string()))
    }

    /// The bound on the number of entries, or None.
    #[getter]
    fn capacity(&self) -> Option<usize> {
        self.store.cache.capacity().filter(|_| !self.is_unbounded)
    }

    /// The bound on the sum of weights, or None.
    #[getter]
    fn max_weight(&self) -> Option<u64> {
        self.store.cache.max_weight()
    }

    /// The name of the eviction policy.
    #[getter]
    fn policy(&self) -> &str {
        self.store.cache.policy_name()
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let name = slf.get_type().name()?;
        let cache = &slf.get().store.cache;
        let bound = match (slf.get().capacity(), cache.max_weight()) {
            (Some(capacity), _) => format!("capacity={capacity}, "),
            (None, Some(weight)) => format!("max_weight={weight}, "),
            (None, None) => String::new(),
        };
        Ok(format!("<{name}(len={}, {bound}policy='{}')>", cache.len(), cache.policy_name()))
    }

    fn __sizeof__(&self) -> usize {
        size_of::<Self>() + self.store.holdings.bytes() + self.store.cache.len() * ENTRY_BYTES
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.weigher)?;
        visit.call(self.listening.listener())?;
        self.store.holdings.traverse(&visit)
    }

    fn __clear__(&self) {
        self.store.cache.clear();
        // Drops the entries, whose keys may be part of a cycle too. It waits for no thread, because none can be
        // within the library. If it is refused, the rest stays for the end of the cache.
        let _ = self.store.cache.flush();
        while self.store.holdings.settle().is_some() {}
    }
}
