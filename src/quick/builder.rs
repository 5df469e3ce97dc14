//! Building a [`QuickCache`].
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::config::{QuickCacheConfig, seconds_above_zero};
use super::error::ConfigError;
use super::metrics::{Metrics, MetricsSink};
use super::registry::Registry;
use super::{QuickCache, QuickCore, QuickInner, QuickKey};
use crate::base::mode::Maintenance;
use crate::base::sync::AtomicU64;
use crate::cache::Cache;
use crate::expiry::clock::nanoseconds;
use crate::expiry::{Clock, MonotonicClock};
use crate::periodic::Periodic;

/// Builds a [`QuickCache`] from a configuration and settings that a configuration cannot hold.
#[must_use = "a builder does nothing until `build`"]
pub struct QuickCacheBuilder {
    config: QuickCacheConfig,
    registry: Registry,
    clock: Option<Arc<dyn Clock>>,
    sink: Option<Arc<dyn MetricsSink>>,
}

impl QuickCacheBuilder {
    pub(super) fn new(config: QuickCacheConfig) -> Self {
        Self { config, registry: Registry::standard(), clock: None, sink: None }
    }

    /// Looks up the configuration's names in `registry`. Default: [`Registry::standard`].
    pub fn registry(mut self, registry: Registry) -> Self {
        self.registry = registry;
        self
    }

    /// Takes the time from `clock`. Default: [`MonotonicClock`].
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Some(Arc::new(clock));
        self
    }

    /// Reports everything that is counted to `sink`. Default: there is no sink.
    pub fn metrics_sink(mut self, sink: impl MetricsSink) -> Self {
        self.sink = Some(Arc::new(sink));
        self
    }

    /// Builds the cache.
    ///
    /// # Errors
    /// [`ConfigError`] names the first setting that is wrong, what was given and what is allowed.
    pub fn build<K: QuickKey, V: Send + Sync + 'static>(
        self,
    ) -> Result<QuickCache<V, K>, ConfigError> {
        let Self { config, registry, clock, sink } = self;
        config.validate(&registry)?;
        let policy = registry
            .policy(&config.eviction_policy)
            .map_err(|source| ConfigError::Name { field: "eviction_policy", source })?;
        let follows_system_clock = clock.is_none();
        let clock: Arc<dyn Clock> = clock.unwrap_or_else(|| Arc::new(MonotonicClock));
        let cache = Cache::builder()
            .capacity(config.max_size)
            .policy(policy)
            .maintenance(Maintenance::Inline)
            .clock(SharedClock(Arc::clone(&clock)))
            // So that `remove_expired` finds an entry as soon as it has expired.
            .timer_tick(Duration::from_nanos(1))
            .expire_lazily()
            .build()
            .map_err(ConfigError::Build)?;
        let metrics = Metrics::new(config.enable_metrics, sink);
        let core = Arc::new(QuickCore { cache, max_size: config.max_size, metrics });
        let sweeper = config.cleanup_interval.and_then(seconds_above_zero).map(|interval| {
            let swept: Weak<QuickCore<K, V>> = Arc::downgrade(&core);
            Periodic::start(interval, clock, follows_system_clock, swept)
        });
        let serializer = registry
            .serializers()
            .get(&config.serializer)
            .map_err(|source| ConfigError::Name { field: "serializer", source })?;
        let extension = serializer.extension().to_owned();
        let default_ttl = seconds_above_zero(config.default_ttl).unwrap_or(Duration::MAX);
        let default_ttl_ns = AtomicU64::new(nanoseconds(default_ttl));
        let inner = QuickInner { core, sweeper, config, registry, extension, default_ttl_ns };
        Ok(QuickCache { inner: Arc::new(inner) })
    }
}

impl fmt::Debug for QuickCacheBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuickCacheBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}

struct SharedClock(Arc<dyn Clock>);

impl Clock for SharedClock {
    fn now_ns(&self) -> u64 {
        self.0.now_ns()
    }

    fn around_ns(&self) -> (u64, u64) {
        self.0.around_ns()
    }
}
