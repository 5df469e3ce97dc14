//! Loading: the value of a key or, if it is missing, the value that one run of a loader returns.
//!
//! A call takes the steps of `flow` until it has to load the value or to wait for it. It runs its loader in this
//! module, in `task`, `many` or `background`, and ends in `complete`, which stores the value unless the key was changed
//! meanwhile.
#![forbid(unsafe_code)]

use std::cell::OnceCell;
use std::convert::Infallible;
use std::hash::{BuildHasher, Hash};

use super::Cache;
use crate::base::equivalent::{Equivalent, ToKey};
use crate::base::hash::KeyHash;
use crate::base::load_error::LoadError;
use crate::expiry::clock::nanoseconds;
use crate::reclaim;
use crate::task::Parker;

mod task; // loading by futures
mod many; // one call of a loader for many keys
mod background; // loads by a loader that is bound to the cache
mod flow; // the steps from a lookup to an answer
mod complete; // how a load ends, and how its value is stored
mod missing; // keys that are known to have no value
mod options; // `Load`, `Loaded`, `LoadOptions`

pub(crate) use background::{AsyncLoader, BlockingLoader, Loader};
use flow::{Flow, LoadStep};
pub(crate) use missing::KnownMissing;
pub use options::{Load, LoadOptions, Loaded};

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
{
    /// The value of `key`, cloned; if it is missing, the value that `load` returns, which is also stored.
    ///
    /// Of several calls that miss a key at the same time, one runs its `load`, and the others wait for its value.
    /// They are the calls of all methods that load, futures too. A hit costs what [`get`](Self::get) costs.
    ///
    /// # If the key is changed meanwhile
    /// An insertion, a replacement or a removal of the key, [`clear`](Self::clear),
    /// [`retain`](Self::retain), [`invalidate_if`](Self::invalidate_if) and
    /// [`invalidate_tag`](Self::invalidate_tag) make a load that is under way stale. Its caller, and those
    /// that wait already, still get its value, because they called before the change had returned; but the
    /// cache does not keep it, and calls that come later load anew. So a program that changes its database
    /// before it removes the key from the cache never reads the old value afterwards. Eviction and expiry make no load
    /// stale.
    ///
    /// # If the loader does not return
    /// If `load` panics, the panic is this call's; one of the waiting calls runs its own `load` instead, and
    /// nothing was stored. If a load takes longer than the cache's
    /// [load timeout](crate::Builder::load_timeout), waiting calls give it up, and one of them loads; the late
    /// value is returned to its own caller only.
    ///
    /// # Within user code
    /// `load` runs under no lock and no pin of the cache, and may use it: it may load other keys. Two loaders
    /// that wait for each other's keys wait for the load timeout. A call from within a listener, or from the
    /// `Drop` of a key or value, waits for no other thread: it runs its own `load`.
    ///
    /// # Panics
    /// If `load` panics, or asks for the same key, on the same thread;
    /// [`try_get_or_insert_with`](Self::try_get_or_insert_with) returns an error for that. Otherwise as
    /// [`insert`](Self::insert); the key is cloned by each call that misses, and once more to be stored.
    ///
    /// # Complexity
    /// As `get` for a hit. A miss costs the loader, an insertion, an allocation, and two times a lock that a 32nd of
    /// the keys being loaded share, each for O(keys being loaded / 32).
    ///
    /// # Examples
    /// ```
    /// let cache: larder::Cache<String, usize> = larder::Cache::new(100);
    /// assert_eq!(cache.get_or_insert_with("four", || "four".len()), 4);
    /// assert_eq!(cache.get_or_insert_with("four", || unreachable!("it is there")), 4);
    /// ```
    #[doc(alias("get_with", "computeIfAbsent", "compute_if_absent"))]
    #[inline]
    pub fn get_or_insert_with<Q>(&self, key: &Q, load: impl FnOnce() -> V) -> V
    where
        Q: Hash + ToKey<K> + ?Sized,
    {
        let hash = self.hash(key);
        match self.get_current(key, hash) {
            Some(value) => value,
            None => self.load_with(key, hash, LoadOptions::new(), load),
        }
    }

    /// Loads a key that was missing, or waits for its value. The options have no deadline.
    #[inline(never)]
    pub(super) fn load_with<Q>(
        &self,
        key: &Q,
        hash: KeyHash,
        options: LoadOptions<'_>,
        load: impl FnOnce() -> V,
    ) -> V
    where
        Q: Hash + ToKey<K> + ?Sized,
    {
        let load = |_: &mut _| Ok::<_, Infallible>(Loaded::Store(load()));
        match self.load_blocking(key, hash, options, Answers::Value, load) {
            Ok(Some(value)) => value,
            Err(LoadError::Reentrant) => panic_as_reentrant(),
            Ok(None) | Err(_) => unreachable!("without a deadline, a value comes in the end"),
        }
    }

    /// As [`get_or_insert_with`](Self::get_or_insert_with), with a loader that may fail. Its error is not
    /// stored.
    ///
    /// The error is returned to this call, and to all that waited for this loader with the same type of error.
    /// One that waited with another type, or with a method that has no errors, runs its own loader.
    ///
    /// # Errors
    /// [`LoadError::Failed`] with the error of the loader; [`LoadError::Reentrant`] within the loader of the
    /// same key, on the same thread.
    ///
    /// # Panics
    /// If `load` panics; otherwise as [`insert`](Self::insert).
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, LoadError};
    ///
    /// let cache: Cache<u64, u64> = Cache::new(100);
    /// let error = cache.try_get_or_insert_with(&1, || Err("no connection")).unwrap_err();
    /// assert_eq!(error.loader_error(), Some(&"no connection"));
    /// assert_eq!(cache.try_get_or_insert_with(&1, || Ok::<_, &str>(7)), Ok(7));
    ///
    /// // A loader that asks for its own key.
    /// let nested = cache.try_get_or_insert_with(&2, || {
    ///     cache.try_get_or_insert_with(&2, || Ok::<_, &str>(7)).map_err(|error| match error {
    ///         LoadError::Reentrant => "a circle",
    ///         _ => "another error",
    ///     })
    /// });
    /// assert_eq!(nested.unwrap_err().loader_error(), Some(&"a circle"));
    /// ```
    #[doc(alias = "try_get_with")]
    #[inline]
    pub fn try_get_or_insert_with<Q, E>(
        &self,
        key: &Q,
        load: impl FnOnce() -> Result<V, E>,
    ) -> Result<V, LoadError<E>>
    where
        Q: Hash + ToKey<K> + ?Sized,
        E: Send + Sync + 'static,
    {
        let hash = self.hash(key);
        if let Some(value) = self.get_current(key, hash) {
            return Ok(value);
        }
        let load = |_: &mut _| load().map(Loaded::Store);
        let loaded = self.load_blocking(key, hash, LoadOptions::new(), Answers::Value, load)?;
        loaded.ok_or(LoadError::NotLoaded)
    }

    /// As [`get_or_insert_with`](Self::get_or_insert_with), with a loader that may find no value.
    ///
    /// That is not stored, unless the cache has a
    /// [negative time to live](crate::Builder::negative_time_to_live). A call that waits with a method that
    /// must return a value runs its own loader then.
    ///
    /// # Panics
    /// As `get_or_insert_with`.
    ///
    /// # Examples
    /// ```
    /// let cache: larder::Cache<&str, u64> = larder::Cache::new(100);
    /// assert_eq!(cache.optionally_get_or_insert_with(&"7", || "7".parse().ok()), Some(7));
    /// assert_eq!(cache.optionally_get_or_insert_with(&"x", || "x".parse().ok()), None);
    /// ```
    #[doc(alias = "optionally_get_with")]
    #[inline]
    pub fn optionally_get_or_insert_with<Q>(
        &self,
        key: &Q,
        load: impl FnOnce() -> Option<V>,
    ) -> Option<V>
    where
        Q: Hash + ToKey<K> + ?Sized,
    {
        let loaded = self.try_optionally_get_or_insert_with(key, || Ok::<_, Infallible>(load()));
        match loaded {
            Ok(found) => found,
            Err(LoadError::Reentrant) => panic_as_reentrant(),
            Err(_) => unreachable!("without a deadline, an answer comes in the end"),
        }
    }

    /// As [`try_get_or_insert_with`](Self::try_get_or_insert_with), with a loader that may also find no value,
    /// as in [`optionally_get_or_insert_with`](Self::optionally_get_or_insert_with).
    ///
    /// # Errors
    /// As `try_get_or_insert_with`.
    ///
    /// # Panics
    /// As `try_get_or_insert_with`.
    #[inline]
    pub fn try_optionally_get_or_insert_with<Q, E>(
        &self,
        key: &Q,
        load: impl FnOnce() -> Result<Option<V>, E>,
    ) -> Result<Option<V>, LoadError<E>>
    where
        Q: Hash + ToKey<K> + ?Sized,
        E: Send + Sync + 'static,
    {
        let hash = self.hash(key);
        if let Some(value) = self.get_current(key, hash) {
            return Ok(Some(value));
        }
        let load = |_: &mut _| load().map(|found| found.map_or(Loaded::Missing, Loaded::Store));
        self.load_blocking(key, hash, LoadOptions::new(), Answers::ValueOrNone, load)
    }

    /// As [`try_optionally_get_or_insert_with`](Self::try_optionally_get_or_insert_with), with `options`, and
    /// with a loader that is given its [context](Load) and says what becomes of its value: see [`Loaded`].
    ///
    /// # Errors
    /// As `try_get_or_insert_with`; [`LoadError::DeadlineExceeded`] if the call waited for another caller's
    /// load until its [deadline](LoadOptions::load_deadline); [`LoadError::NotLoaded`] if the loader has
    /// answered [`NotModified`](Loaded::NotModified) though there is no stale value.
    ///
    /// # Panics
    /// As `try_get_or_insert_with`.
    ///
    /// # Examples
    /// See [`Load`], [`Loaded`] and [`LoadOptions`].
    #[doc(alias = "get_value_or_guard")]
    pub fn get_or_load<Q, E>(
        &self,
        key: &Q,
        options: LoadOptions<'_>,
        load: impl FnOnce(&Load<K, V>) -> Result<Loaded<V>, E>,
    ) -> Result<Option<V>, LoadError<E>>
    where
        Q: Hash + ToKey<K> + ?Sized,
        E: Send + Sync + 'static,
    {
        let hash = self.hash(key);
        if let Some(value) = self.get_current(key, hash) {
            return Ok(Some(value));
        }
        let load = |setup: &mut Setup<K, V>| load(setup.context(key.to_key()));
        self.load_blocking(key, hash, options, Answers::ValueOrNone, load)
    }

    /// Whether a load has found that `key` has no value, and the cache
    /// [remembers](crate::Builder::negative_time_to_live) that.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    ///
    /// let cache: larder::Cache<&str, u64> = larder::Cache::builder()
    ///     .capacity(100)
    ///     .negative_time_to_live(Duration::from_secs(5))
    ///     .build()?;
    /// assert_eq!(cache.optionally_get_or_insert_with(&"x", || None), None);
    /// assert!(cache.is_known_missing(&"x"));
    /// cache.insert("x", 1);
    /// assert!(!cache.is_known_missing(&"x"));
    /// # Ok::<(), larder::BuildError>(())
    /// ```
    #[must_use]
    pub fn is_known_missing<Q>(&self, key: &Q) -> bool
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let missing = self.shared.settings.missing.as_ref();
        missing.is_some_and(|missing| missing.has(key, self.hash(key)))
    }

    /// Until when a call waits, in the cache's time.
    fn deadline_ns(&self, options: LoadOptions<'_>) -> u64 {
        let ahead = |deadline| self.now_ns().saturating_add(nanoseconds(deadline));
        options.deadline.map_or(u64::MAX, ahead)
    }

    /// A lookup as by `get`, which also misses values that may have to be renewed.
    #[inline(always)]
    fn get_current<Q>(&self, key: &Q, hash: KeyHash) -> Option<V>
    where
        Q: Equivalent<K> + ?Sized,
    {
        match self.shared.settings.refresh_rule {
            None => self.read_hashed(key, hash, V::clone),
            Some(_) => self.get_unless_due(key, hash),
        }
    }

    #[inline(never)]
    fn get_unless_due<Q>(&self, key: &Q, hash: KeyHash) -> Option<V>
    where
        Q: Equivalent<K> + ?Sized,
    {
        let guard = reclaim::pin();
        let (pointer, entry) = self.lookup(key, hash, &guard)?;
        let is_due = self.may_be_due(pointer) && self.may_refresh(hash);
        (!is_due).then(|| entry.value.clone())
    }

    /// Waits for the value of a key that was missing or is to be renewed, or loads it.
    #[inline(never)]
    fn load_blocking<Q, E>(
        &self,
        key: &Q,
        hash: KeyHash,
        options: LoadOptions<'_>,
        answers: Answers,
        load: impl FnOnce(&mut Setup<K, V>) -> Result<Loaded<V>, E>,
    ) -> Result<Option<V>, LoadError<E>>
    where
        Q: Hash + ToKey<K> + ?Sized,
        E: Send + Sync + 'static,
    {
        let mut flow = Flow::new(self, key, hash, answers, self.deadline_ns(options));
        let parker = OnceCell::new();
        let waker = || parker.get_or_init(Parker::new).waker();
        let (leader, old) = loop {
            match flow.step(waker) {
                LoadStep::Found(value) => return Ok(Some(value)),
                LoadStep::Missing => return Ok(None),
                LoadStep::Failed(error) => {
                    if let Ok(error) = error.downcast() {
                        return flow.answer(Err(LoadError::Failed(error)));
                    }
                }
                LoadStep::Lead(leader) => break (leader, None),
                LoadStep::Refresh(leader, old) => break (leader, Some(old)),
                LoadStep::Wait(until_ns) => {
                    let parker = parker.get_or_init(Parker::new);
                    parker.park_until(&self.shared.engine.timing.time, until_ns);
                }
                LoadStep::Reentrant => return flow.answer(Err(LoadError::Reentrant)),
                LoadStep::DeadlineExceeded => return flow.answer(Err(LoadError::DeadlineExceeded)),
            }
        };
        flow.keep_as_fallback(old);
        let mut setup = Setup::new(&flow.fallback);
        let loaded = {
            let _running = leader.run();
            load(&mut setup)
        };
        let load = setup.load.as_ref();
        flow.answer(self.complete_load(leader, flow.started_ns, options.insert, load, loaded))
    }
}

/// What a loader is given, and its context if it asks for one.
struct Setup<K, V> {
    stale: Option<V>,
    load: Option<Load<K, V>>,
}

impl<K, V: Clone> Setup<K, V> {
    fn new(stale: &Option<V>) -> Self {
        Self { stale: stale.clone(), load: None }
    }

    /// Makes the context of the load of `key`.
    fn context(&mut self, key: K) -> &Load<K, V> {
        self.load.insert(Load::new(key, self.stale.take()))
    }
}

/// What a call can answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answers {
    Value,
    ValueOrNone,
}

#[cold]
fn panic_as_reentrant() -> ! {
    panic!("the loader of a key asked for the same key")
}
