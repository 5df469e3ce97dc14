//! A cache for everyday use: string keys, seconds to live, errors with codes, files and metrics, all
//! set up by one configuration.
//!
//! [`QuickCache`] has the interface of the Python package PyQuickCache, without its limits: it is
//! shared by any number of threads whose lookups take no lock, is saved while it serves, never runs
//! code that it finds in a file, and never loses an old file to a failed save.
//!
//! What it is made of:
//!
//! ```text
//!   QuickCacheConfig ─▶ QuickCache ─▶ Cache (one partition, inline maintenance; what has expired
//!    names ─▶ Registry     │            stays there until it is found, swept or in the way)
//!                          ├─ Metrics ─▶ MetricsSink
//!                          ├─ sweeper: by the maintenance thread, each cleanup interval
//!                          └─ files: snapshots, by the rules of Target
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

/// What a key of a [`QuickCache`] can do: `String`, numbers, and any type that is displayed and
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
/// A handle: clones are one cache, which ends with the last of them.
///
/// # States of a key
/// A key is missing, valid, or expired: its time is over, but no call has noticed. An entry is
/// valid as long as no more than its time to live has passed. What has expired stays until a call
/// comes across it, which returns [`KeyExpired`](CacheError::KeyExpired) and removes it, so that
/// the key is missing from then on; until a sweep removes it ([`cleanup`](Self::cleanup), and each
/// [interval](QuickCacheConfig::cleanup_interval)); or until a new key needs room: then all that
/// has expired goes before anything valid is evicted.
///
/// # Concurrency
/// Lookups are lock-free. Each change of a key's state is one atomic step, so of several calls that
/// compete, one adds, one deletes, and one learns of the expiry. `set_many`, `get_many` and
/// `delete_many` are so many single steps. There are never more than
/// [`max_size`](QuickCacheConfig::max_size) entries when a call returns and no other is inserting.
/// Keys and values are dropped under no lock.
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
    /// That of the serializer.
    extension: String,
    default_ttl_ns: AtomicU64,
}

/// What the sweeper sees too.
struct QuickCore<K, V> {
    cache: Cache<K, V>,
    max_size: usize,
    metrics: Metrics,
}

// For one type, so that `QuickCache::builder` needs none named; `build` makes any.
impl QuickCache<()> {
    /// Starts from a configuration, to say more than that.
    pub fn builder(config: QuickCacheConfig) -> QuickCacheBuilder {
        QuickCacheBuilder::new(config)
    }
}

impl<K: QuickKey, V: Send + Sync + 'static> QuickCache<V, K> {
    /// A cache of that configuration.
    ///
    /// # Errors
    /// The first setting that is wrong, what was given and what is allowed.
    pub fn new(config: QuickCacheConfig) -> Result<Self, ConfigError> {
        QuickCache::builder(config).build()
    }

    /// Stores `value` under `key`, whatever its state.
    ///
    /// # Errors
    /// [`CacheError::InvalidTtl`]; nothing has changed then, and nothing is counted.
    ///
    /// # Complexity
    /// O(1) expected; if the cache is full and `key` is new, what has expired is removed first, at
    /// O(1) for each entry.
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

    /// Stores `value` under `key` unless it is there and valid. Of several threads that try at once,
    /// one adds its value.
    ///
    /// # Errors
    /// [`CacheError::KeyAlreadyExists`], which is no use of the entry; [`CacheError::InvalidTtl`].
    pub fn add(
        &self,
        key: impl Into<K>,
        value: V,
        ttl_sec: impl Into<Ttl>,
    ) -> Result<(), CacheError> {
        let ttl = self.ttl(&ttl_sec.into())?;
        let (core, key) = (self.core(), key.into());
        core.make_room_for(&key);
        // The message wants it after the cache has taken the key.
        let kept = key.clone();
        match core.cache.insert_if_absent_with(key, value, InsertOptions::new().ttl(ttl)) {
            Inserted::Rejected(Rejection::Present) => {
                core.count(Metric::FailedOp);
                Err(CacheError::KeyAlreadyExists { key: kept.to_string() })
            }
            _ => {
                core.count_set();
                Ok(())
            }
        }
    }

    /// Replaces the value of `key`, and how long it may live.
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
            let kept = key.clone();
            if core.cache.replace_with(key, value, InsertOptions::new().ttl(ttl)).is_stored() {
                core.count_set();
                return Ok(());
            }
            // Gone meanwhile: at that moment the key was not there.
            return Err(core.refuse_update(core.cache.remove_if_expired(&kept), &kept));
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

    /// What `reader` makes of the value of `key`, without cloning it. As
    /// [`Cache::read`](crate::Cache::read) otherwise, and as [`get`](Self::get).
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

    /// As [`set`](Self::set), for each pair in turn. Of more pairs than the cache may hold, the last
    /// ones remain.
    ///
    /// # Errors
    /// [`CacheError::InvalidTtl`], before anything has changed.
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

    /// The keys that are valid with their values, cloned, in the order of the request; a key that
    /// is asked for again appears where it was first. The others are left out.
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

    /// Removes each of the keys. Returns those that were not there, or had expired, in the order of
    /// the request.
    pub fn delete_many<'q, Q>(&self, keys: impl IntoIterator<Item = &'q Q>) -> Vec<&'q Q>
    where
        Q: Hash + Equivalent<K> + ?Sized + 'q,
    {
        let is_skipped = |key: &&Q| self.core().delete(*key) != KeyState::Valid;
        keys.into_iter().filter(is_skipped).collect()
    }

    /// Number of entries, with those that have expired and were not removed yet.
    #[must_use]
    pub fn size(&self) -> usize {
        self.core().cache.len()
    }

    /// Number of entries after all that has expired was removed.
    #[must_use]
    pub fn valid_size(&self) -> usize {
        self.cleanup();
        self.size()
    }

    /// Removes all that has expired.
    ///
    /// # Complexity
    /// O(1) for each entry that has expired; the others are not looked at.
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

    /// What was counted since the cache was built or its metrics were reset, and how full it is.
    ///
    /// # Complexity
    /// O(n): it looks which entries have expired, without removing them.
    #[must_use]
    pub fn get_metrics_snapshot(&self) -> MetricsSnapshot {
        let core = self.core();
        if !core.metrics.is_enabled() {
            return MetricsSnapshot::default();
        }
        core.metrics.report(core.counts());
        core.metrics.snapshot(core.counts(), self.size(), core.cache.census().valid_len)
    }

    /// Sets all counts to 0, and the peaks to what is there.
    pub fn reset_metrics(&self) {
        let core = self.core();
        core.metrics.report(core.counts());
        core.metrics.reset(core.counts(), self.size());
    }

    /// Ends the cleanup in the background. When this has returned, none runs, unless it was called
    /// from within one; the cache remains usable, and can still be cleaned up by hand. Calling it
    /// again does nothing.
    pub fn stop(&self) {
        self.inner.stop();
    }

    /// The configuration that the cache was built with.
    #[must_use]
    pub fn config(&self) -> &QuickCacheConfig {
        &self.inner.config
    }

    /// Changes how long entries live from now on when nothing else is said.
    ///
    /// # Errors
    /// If that is not above 0 and up to a million million.
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

    /// If the cache is full and `key` is new, removes what has expired.
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

    /// A lookup that counts, but for the call itself; or what the key is instead of valid.
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
                // Inserted in between.
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
