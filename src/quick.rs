//! A cache for everyday use: string keys, times to live in seconds, errors with codes, files and metrics,
//! all set up by one configuration.
//!
//! [`QuickCache`] has the interface of the Python package PyQuickCache, without its limits: any number of
//! threads share it, and their lookups take no lock; it is saved while it serves; it never runs code from a
//! file, and never loses an old file to a failed save.
//!
//! Its parts:
//!
//! ```text
//!   QuickCacheConfig ─▶ QuickCache ─▶ Cache (one partition, inline maintenance, lazy expiry: expired
//!    names ─▶ Registry     │            entries stay until a call finds them or needs room)
//!                          ├─ Metrics ─▶ MetricsSink
//!                          ├─ sweeper: run by the maintenance thread, once each cleanup interval
//!                          └─ files: snapshots, named by the rules of Target
//! ```
#![forbid(unsafe_code)]

use std::borrow::Borrow;
use std::collections::HashSet;
use std::fmt;
use std::fmt::Display;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::base::equivalent::Equivalent;
use crate::base::error::{Inserted, Rejection};
use crate::base::sync::{AtomicU64, Ordering};
use crate::cache::{Cache, InsertOptions, KeyState};
use crate::expiry::clock::nanoseconds;
use crate::periodic::{Periodic, Task};

mod builder;
mod disk;
mod path;
mod metrics;
mod ttl;
mod config;
mod registry;
mod error;

pub use builder::QuickCacheBuilder;
pub use config::{QuickCacheConfig, QuickCacheConfigBuilder};
pub use error::{CacheError, ConfigError};
pub use metrics::{Metric, MetricsSink, MetricsSnapshot};
pub use path::Target;
pub use registry::Registry;
pub use ttl::Ttl;

use metrics::{CoreCounts, Metrics};

/// A type of keys for a [`QuickCache`]: `String`, numbers, and any other type that can be displayed and
/// serialized.
pub trait QuickKey:
    Hash + Eq + Clone + Display + Serialize + DeserializeOwned + Send + Sync + 'static
{
}

impl<K> QuickKey for K where
    K: Hash + Eq + Clone + Display + Serialize + DeserializeOwned + Send + Sync + 'static
{
}

/// A cache of values `V` by keys `K`, with seconds to live, metrics and files.
///
/// It is a handle: all clones are one cache, which ends with the last of them.
///
/// # States of a key
/// A key is missing, valid or expired. It is valid as long as no more than its time to live has passed. An
/// expired entry stays in the cache until one of these happens:
///
/// - A call for its key finds it, returns [`KeyExpired`](CacheError::KeyExpired) and removes it, so that the
///   key is missing from then on.
/// - [`cleanup`](Self::cleanup) or the sweep of each [interval](QuickCacheConfig::cleanup_interval) removes it.
/// - A new key needs room in a full cache. Then all expired entries are removed before a valid one is evicted.
///
/// # Concurrency
/// Lookups are lock-free. Each change of a key's state is one atomic step, so of several calls that compete,
/// one adds, one deletes, and one reports the expiry. `set_many`, `get_many` and `delete_many` take one step
/// for each key. When a call returns and no other one is inserting, there are no more than
/// [`max_size`](QuickCacheConfig::max_size) entries. Keys and values are dropped under no lock.
///
/// # Examples
/// ```
/// use larder::quick::{CacheError, QuickCache, QuickCacheConfig};
///
/// let config = QuickCacheConfig::builder().max_size(1000).eviction_policy("lfu").build()?;
/// let cache: QuickCache<String> = QuickCache::new(config)?;
/// cache.set("greeting", "hello".to_owned(), 60)?;
/// assert_eq!(cache.get("greeting")?, "hello");
/// assert!(matches!(cache.get("farewell"), Err(CacheError::KeyNotFound { key }) if key == "farewell"));
/// assert_eq!(cache.add("greeting", String::new(), None).unwrap_err().code(), "KEY_ALREADY_EXISTS");
/// assert_eq!(cache.get_metrics_snapshot().hit_ratio, 0.5);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct QuickCache<V, K = String>
where
    K: QuickKey,
    V: Send + Sync + 'static,
{
    inner: Arc<QuickInner<K, V>>,
}

struct QuickInner<K, V>
where
    K: QuickKey,
    V: Send + Sync + 'static,
{
    core: Arc<QuickCore<K, V>>,
    sweeper: Option<Arc<Periodic>>,
    config: QuickCacheConfig,
    registry: Registry,
    /// The extension of the serializer's files.
    extension: String,
    default_ttl_ns: AtomicU64,
}

/// What a quick cache shares with its sweeper.
struct QuickCore<K, V> {
    cache: Cache<K, V>,
    max_size: usize,
    metrics: Metrics,
}

// For one type, so that callers of `QuickCache::builder` need not name one; `build` makes a cache of any.
impl QuickCache<()> {
    /// Starts a builder from a configuration, for settings that a configuration cannot hold.
    pub fn builder(config: QuickCacheConfig) -> QuickCacheBuilder {
        QuickCacheBuilder::new(config)
    }
}

impl<K: QuickKey, V: Send + Sync + 'static> QuickCache<V, K> {
    /// Builds a cache with the configuration `config`.
    ///
    /// # Errors
    /// [`ConfigError`] names the first setting that is wrong, what was given and what is allowed.
    pub fn new(config: QuickCacheConfig) -> Result<Self, ConfigError> {
        QuickCache::builder(config).build()
    }

    /// Stores `value` under `key`, whatever the key's state.
    ///
    /// # Errors
    /// [`CacheError::InvalidTtl`]; the cache is unchanged then, and nothing is counted.
    ///
    /// # Complexity
    /// O(1) expected; if the cache is full and `key` is new, O(e) to remove e expired entries first.
    pub fn set(
        &self,
        key: impl Into<K>,
        value: V,
        ttl_sec: impl Into<Ttl>,
    ) -> Result<(), CacheError> {
        let ttl = self.ttl(&ttl_sec.into())?;
        self.core().set(key.into(), value, ttl);
        Ok(())
    }

    /// Stores `value` under `key` unless the key is valid. Of several threads that try at the same time, one
    /// adds its value.
    ///
    /// # Errors
    /// [`CacheError::KeyAlreadyExists`], which does not count as a use of the entry;
    /// [`CacheError::InvalidTtl`].
    pub fn add(
        &self,
        key: impl Into<K>,
        value: V,
        ttl_sec: impl Into<Ttl>,
    ) -> Result<(), CacheError> {
        let ttl = self.ttl(&ttl_sec.into())?;
        let (core, key) = (self.core(), key.into());
        core.make_room_for(&key);
        // For the error's message, after the cache has taken the key.
        let copy = key.clone();
        match core.cache.insert_if_absent_with(key, value, InsertOptions::new().ttl(ttl)) {
            Inserted::Rejected(Rejection::Present) => {
                core.count(Metric::FailedOp);
                Err(CacheError::KeyAlreadyExists { key: copy.to_string() })
            }
            _ => {
                core.count_set();
                Ok(())
            }
        }
    }

    /// Replaces the value of `key` and its time to live.
    ///
    /// # Errors
    /// [`CacheError::KeyNotFound`], [`CacheError::KeyExpired`], [`CacheError::InvalidTtl`].
    pub fn update(
        &self,
        key: impl Into<K>,
        value: V,
        ttl_sec: impl Into<Ttl>,
    ) -> Result<(), CacheError> {
        let ttl = self.ttl(&ttl_sec.into())?;
        let (core, key) = (self.core(), key.into());
        let state = core.cache.remove_if_expired(&key);
        if state == KeyState::Valid {
            let copy = key.clone();
            if core.cache.replace_with(key, value, InsertOptions::new().ttl(ttl)).is_stored() {
                core.count_set();
                return Ok(());
            }
            // The entry has left in between.
            return Err(core.refuse_update(core.cache.remove_if_expired(&copy), &copy));
        }
        Err(core.refuse_update(state, &key))
    }

    /// The value of `key`, cloned. Counts as a use of the entry.
    ///
    /// # Errors
    /// [`CacheError::KeyNotFound`], [`CacheError::KeyExpired`].
    pub fn get<Q>(&self, key: &Q) -> Result<V, CacheError>
    where
        Q: Hash + Equivalent<K> + Display + ?Sized,
        V: Clone,
    {
        self.read(key, V::clone)
    }

    /// Calls `reader` on the value of `key`, without cloning it, and returns the result. Otherwise as
    /// [`get`](Self::get) and [`Cache::read`](crate::Cache::read).
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn read<Q, R>(&self, key: &Q, reader: impl FnMut(&V) -> R) -> Result<R, CacheError>
    where
        Q: Hash + Equivalent<K> + Display + ?Sized,
    {
        let core = self.core();
        core.count(Metric::Get);
        core.look_up(key, reader).map_err(|state| match state {
            KeyState::Expired => CacheError::KeyExpired { key: key.to_string() },
            _ => CacheError::KeyNotFound { key: key.to_string() },
        })
    }

    /// Removes `key`.
    ///
    /// # Errors
    /// [`CacheError::KeyNotFound`], [`CacheError::KeyExpired`].
    pub fn delete<Q>(&self, key: &Q) -> Result<(), CacheError>
    where
        Q: Hash + Equivalent<K> + Display + ?Sized,
    {
        match self.core().delete(key) {
            KeyState::Valid => Ok(()),
            KeyState::Expired => Err(CacheError::KeyExpired { key: key.to_string() }),
            _ => Err(CacheError::KeyNotFound { key: key.to_string() }),
        }
    }

    /// Stores each pair in turn, as [`set`](Self::set) does. If there are more pairs than the cache may hold,
    /// the last ones remain.
    ///
    /// # Errors
    /// [`CacheError::InvalidTtl`]; the cache is unchanged in that case.
    pub fn set_many<I>(
        &self,
        pairs: impl IntoIterator<Item = (I, V)>,
        ttl_sec: impl Into<Ttl>,
    ) -> Result<(), CacheError>
    where
        I: Into<K>,
    {
        let ttl = self.ttl(&ttl_sec.into())?;
        for (key, value) in pairs {
            self.core().set(key.into(), value, ttl);
        }
        Ok(())
    }

    /// The valid ones among `keys` with their values, cloned, in the order of `keys`; a repeated key appears
    /// only where it was first.
    pub fn get_many<'q, Q>(&self, keys: impl IntoIterator<Item = &'q Q>) -> Vec<(K, V)>
    where
        K: Borrow<Q> + for<'k> From<&'k Q>,
        Q: Hash + Eq + ?Sized + 'q,
        V: Clone,
    {
        let core = self.core();
        core.count(Metric::Get);
        let (mut found, mut seen) = (Vec::new(), HashSet::new());
        for key in keys {
            if let Ok(value) = core.look_up(key, V::clone)
                && seen.insert(key)
            {
                found.push((K::from(key), value));
            }
        }
        found
    }

    /// Removes each of the keys. Returns those that were missing or had expired, in the order of `keys`.
    pub fn delete_many<'q, Q>(&self, keys: impl IntoIterator<Item = &'q Q>) -> Vec<&'q Q>
    where
        Q: Hash + Equivalent<K> + ?Sized + 'q,
    {
        let is_skipped = |key: &&Q| self.core().delete(*key) != KeyState::Valid;
        keys.into_iter().filter(is_skipped).collect()
    }

    /// Number of entries, including those that have expired and were not removed yet.
    #[must_use]
    pub fn size(&self) -> usize {
        self.core().cache.len()
    }

    /// Removes all expired entries, and returns the number of the others.
    #[must_use]
    pub fn valid_size(&self) -> usize {
        self.cleanup();
        self.size()
    }

    /// Removes all expired entries.
    ///
    /// # Complexity
    /// O(e) for e expired entries; the call does not visit the others.
    pub fn cleanup(&self) {
        self.core().run();
    }

    /// Removes all entries that are there when the call begins. Each counts as a manual deletion.
    pub fn clear(&self) {
        let core = self.core();
        let removed = core.cache.clear_and_count();
        core.metrics.discount_expirations(removed.expired_len as u64);
        let all = removed.valid_len + removed.expired_len;
        core.metrics.count(Metric::ManualDeletion, all as u64);
    }

    /// The counts since the cache was built or its metrics were reset, and how full the cache is.
    ///
    /// # Complexity
    /// O(n): the call counts the expired entries, without removing them.
    #[must_use]
    pub fn get_metrics_snapshot(&self) -> MetricsSnapshot {
        let core = self.core();
        if !core.metrics.is_enabled() {
            return MetricsSnapshot::default();
        }
        core.metrics.report(core.counts());
        core.metrics.snapshot(core.counts(), self.size(), core.cache.census().valid_len)
    }

    /// Sets all counts to 0, and the peaks to the current number of entries.
    pub fn reset_metrics(&self) {
        let core = self.core();
        core.metrics.report(core.counts());
        core.metrics.reset(core.counts(), self.size());
    }

    /// Adds the cache to a collector of metrics under `name`. The collector shows what the cache below counts:
    /// entries, insertions, and removals by cause. It shows neither hits nor misses, because the counts of
    /// [`get_metrics_snapshot`](Self::get_metrics_snapshot) can be reset, and counters must not fall.
    ///
    /// # Errors
    /// As those of [`Collector::register_as`](crate::metrics::Collector::register_as).
    #[cfg(feature = "metrics")]
    pub fn register_in(
        &self,
        collector: &crate::metrics::Collector,
        name: &str,
    ) -> Result<(), crate::metrics::MetricsError> {
        collector.register_as(name, &self.core().cache)
    }

    /// Ends the cleanup in the background. Once the call has returned, no cleanup is running, unless the call
    /// came from within one. The cache remains usable, and [`cleanup`](Self::cleanup) still works. Further
    /// calls do nothing.
    pub fn stop(&self) {
        self.inner.stop();
    }

    /// The configuration that the cache was built with.
    #[must_use]
    pub fn config(&self) -> &QuickCacheConfig {
        &self.inner.config
    }

    /// Changes the default time to live, for entries that are stored from now on.
    ///
    /// # Errors
    /// If `seconds` is not above 0 and up to 10^12.
    pub fn set_default_ttl(&self, seconds: f64) -> Result<(), ConfigError> {
        let Some(ttl) = config::seconds_above_zero(seconds) else {
            return Err(ConfigError::BadValue {
                field: "default_ttl",
                given: seconds.to_string(),
                allowed: "seconds above 0, up to 1000000000000",
            });
        };
        self.inner.default_ttl_ns.store(nanoseconds(ttl), Ordering::Relaxed);
        Ok(())
    }

    /// Panics if an invariant is broken. For tests.
    #[doc(hidden)]
    pub fn validate(&self) {
        self.core().cache.validate();
    }

    fn core(&self) -> &QuickCore<K, V> {
        &self.inner.core
    }

    fn ttl(&self, ttl: &Ttl) -> Result<Duration, CacheError> {
        let default = self.inner.default_ttl_ns.load(Ordering::Relaxed);
        ttl.resolve(Duration::from_nanos(default))
    }
}

impl<K: QuickKey, V: Send + Sync + 'static> QuickCore<K, V> {
    fn set(&self, key: K, value: V, ttl: Duration) {
        self.make_room_for(&key);
        self.cache.insert_with_ttl(key, value, ttl);
        self.count_set();
    }

    /// If the cache is full and `key` is new, removes all expired entries.
    fn make_room_for(&self, key: &K) {
        if self.cache.len() >= self.max_size && !self.cache.contains_key(key) {
            self.cache.remove_expired();
        }
    }

    fn count(&self, metric: Metric) {
        self.metrics.count(metric, 1);
    }

    fn count_set(&self) {
        self.count(Metric::Set);
        self.metrics.note_total(self.cache.len());
        self.report_to_sink();
    }

    fn refuse_update(&self, state: KeyState, key: &K) -> CacheError {
        self.count(Metric::FailedOp);
        self.report_to_sink();
        match state {
            KeyState::Expired => CacheError::KeyExpired { key: key.to_string() },
            _ => CacheError::KeyNotFound { key: key.to_string() },
        }
    }

    /// Looks `key` up, and counts a hit or a miss, but not the call. Returns the key's state if it is not valid.
    fn look_up<Q, R>(&self, key: &Q, mut reader: impl FnMut(&V) -> R) -> Result<R, KeyState>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        loop {
            if let Some(read) = self.cache.read(key, &mut reader) {
                self.count(Metric::Hit);
                return Ok(read);
            }
            match self.cache.remove_if_expired(key) {
                // Another thread has inserted it in between.
                KeyState::Valid => {}
                state => {
                    self.count(Metric::Miss);
                    self.report_to_sink();
                    return Err(state);
                }
            }
        }
    }

    fn delete<Q>(&self, key: &Q) -> KeyState
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let state = self.cache.remove_key(key);
        let is_valid = state == KeyState::Valid;
        self.count(if is_valid { Metric::ManualDeletion } else { Metric::Miss });
        self.report_to_sink();
        state
    }

    fn counts(&self) -> CoreCounts {
        let stats = self.cache.stats();
        CoreCounts { evictions: stats.evictions, expirations: stats.expirations }
    }

    fn report_to_sink(&self) {
        if self.metrics.has_sink() {
            self.metrics.report(self.counts());
        }
    }
}

impl<K: QuickKey, V: Send + Sync + 'static> Task for QuickCore<K, V> {
    fn run(&self) {
        self.cache.remove_expired();
        self.report_to_sink();
    }
}

impl<K: QuickKey, V: Send + Sync + 'static> QuickInner<K, V> {
    fn stop(&self) {
        if let Some(sweeper) = &self.sweeper {
            sweeper.stop();
        }
    }
}

impl<K: QuickKey, V: Send + Sync + 'static> Drop for QuickInner<K, V> {
    fn drop(&mut self) {
        self.stop();
    }
}

impl<K: QuickKey, V: Send + Sync + 'static> Clone for QuickCache<V, K> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<K: QuickKey, V: Send + Sync + 'static> fmt::Debug for QuickCache<V, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuickCache")
            .field("size", &self.size())
            .field("max_size", &self.core().max_size)
            .field("policy", &self.core().cache.policy_name())
            .finish_non_exhaustive()
    }
}

impl<K: QuickKey, V: Send + Sync + 'static> Display for QuickCache<V, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (size, max_size) = (self.size(), self.core().max_size);
        let policy = self.core().cache.policy_name();
        write!(f, "<QuickCache(size={size}, max_size={max_size}, policy='{policy}')>")
    }
}
