//! The settings of a cache that can be read from a file.
#![forbid(unsafe_code)]

use std::time::Duration;

use super::{Builder, Maintenance};
use crate::expiry::LoadingConfig;
use crate::policy::Policy;

/// The settings of a cache that need no code: those of a [`Builder`] except for closures, hasher, clock,
/// namespaces and shadow caches.
///
/// With the feature `serde` they can be read from a file. A field that is left out has the builder's
/// default; an unknown field is an error. A duration is a text of a whole number and a unit: `ns`, `us`,
/// `ms`, `s`, `m`, `h` or `d`. Values are checked only by [`build`](Builder::build), which says what is wrong.
///
/// # Examples
#[cfg_attr(feature = "serde", doc = "```")]
#[cfg_attr(not(feature = "serde"), doc = "```ignore")]
/// use larder::{Cache, CacheConfig};
///
/// let config: CacheConfig = toml::from_str(
///     r#"
///     name = "pages"
///     capacity = 10_000
///     policy = "s3_fifo"
///     time_to_live = "10m"
///     maintenance = "inline"
///     "#,
/// )?;
/// let cache: Cache<String, u32> = config.into_builder().build()?;
/// assert_eq!((cache.name(), cache.policy_name()), (Some("pages"), "s3_fifo"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
#[non_exhaustive]
pub struct CacheConfig {
    /// As [`Builder::name`]. Default: none.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub name: Option<String>,
    /// As [`Builder::capacity`]. Default: no such bound.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub capacity: Option<usize>,
    /// As [`Builder::max_weight`]. Default: no such bound.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub max_weight: Option<u64>,
    /// As [`Builder::initial_capacity`]. Default: 0.
    pub initial_capacity: usize,
    /// As [`Builder::policy`], by name. Default: `window_tiny_lfu`.
    pub policy: Policy,
    /// As [`Builder::partitions`]. Default: depends on the cores and the bounds, as said there.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub partitions: Option<usize>,
    /// As [`Builder::maintenance`]: `background` or `inline`. Default: `background`.
    pub maintenance: Maintenance,
    /// As [`Builder::time_to_live`]. Default: entries do not expire by age.
    #[cfg_attr(
        feature = "serde",
        serde(with = "super::duration_text", skip_serializing_if = "Option::is_none")
    )]
    pub time_to_live: Option<Duration>,
    /// As [`Builder::time_to_idle`]. Default: entries do not expire by disuse.
    #[cfg_attr(
        feature = "serde",
        serde(with = "super::duration_text", skip_serializing_if = "Option::is_none")
    )]
    pub time_to_idle: Option<Duration>,
    /// As [`Builder::jitter`]. Default: 0.
    pub jitter: f64,
    /// As [`Builder::timer_tick`]. Default: 2^24 nanoseconds.
    #[cfg_attr(
        feature = "serde",
        serde(with = "super::duration_text", skip_serializing_if = "Option::is_none")
    )]
    pub timer_tick: Option<Duration>,
    /// Whether [`Builder::expire_lazily`]. Default: no.
    pub expire_lazily: bool,
    /// Whether [`Builder::count_lookups`]. Default: no.
    pub count_lookups: bool,
    /// Whether [`Builder::load_time_histogram`]. Default: no.
    pub load_time_histogram: bool,
    /// Whether [`Builder::eviction_age_histogram`]. Default: no.
    pub eviction_age_histogram: bool,
    /// As [`Builder::explain_misses`]. Default: 0.
    pub explain_misses: usize,
    /// Whether [`Builder::keep_ages`]. Default: no.
    pub keep_ages: bool,
    /// As [`Builder::refresh_after_write`]. Default: values are not renewed by age.
    #[cfg_attr(
        feature = "serde",
        serde(with = "super::duration_text", skip_serializing_if = "Option::is_none")
    )]
    pub refresh_after_write: Option<Duration>,
    /// As [`Builder::stale_while_revalidate`]. Default: an expired value is not used.
    #[cfg_attr(
        feature = "serde",
        serde(with = "super::duration_text", skip_serializing_if = "Option::is_none")
    )]
    pub stale_while_revalidate: Option<Duration>,
    /// As [`Builder::stale_if_error`]. Default: a loader's error is returned.
    #[cfg_attr(
        feature = "serde",
        serde(with = "super::duration_text", skip_serializing_if = "Option::is_none")
    )]
    pub stale_if_error: Option<Duration>,
    /// As [`Builder::early_refresh`]. Default: values are not renewed before their deadlines.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub early_refresh: Option<f64>,
    /// As [`Builder::eager_refresh`]. Default: values are not renewed by the share of their lifetimes.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub eager_refresh: Option<f64>,
    /// As [`Builder::refresh_throttle`]. Default: one second.
    #[cfg_attr(
        feature = "serde",
        serde(with = "super::duration_text", skip_serializing_if = "Option::is_none")
    )]
    pub refresh_throttle: Option<Duration>,
    /// As [`Builder::load_timeout`]. Default: one minute.
    #[cfg_attr(
        feature = "serde",
        serde(with = "super::duration_text", skip_serializing_if = "Option::is_none")
    )]
    pub load_timeout: Option<Duration>,
    /// As [`Builder::soft_timeout`]. Default: callers wait.
    #[cfg_attr(
        feature = "serde",
        serde(with = "super::duration_text", skip_serializing_if = "Option::is_none")
    )]
    pub soft_timeout: Option<Duration>,
    /// As [`Builder::hard_timeout`]. Default: callers wait.
    #[cfg_attr(
        feature = "serde",
        serde(with = "super::duration_text", skip_serializing_if = "Option::is_none")
    )]
    pub hard_timeout: Option<Duration>,
    /// As [`Builder::negative_time_to_live`]. Default: that a key has no value is not remembered.
    #[cfg_attr(
        feature = "serde",
        serde(with = "super::duration_text", skip_serializing_if = "Option::is_none")
    )]
    pub negative_time_to_live: Option<Duration>,
}

impl CacheConfig {
    /// A builder with these settings, to which code can add closures and the rest.
    pub fn into_builder<K, V>(self) -> Builder<K, V> {
        let Self {
            name,
            capacity,
            max_weight,
            initial_capacity,
            policy,
            partitions,
            maintenance,
            time_to_live,
            time_to_idle,
            jitter,
            timer_tick,
            expire_lazily,
            count_lookups,
            load_time_histogram,
            eviction_age_histogram,
            explain_misses,
            keep_ages,
            refresh_after_write,
            stale_while_revalidate,
            stale_if_error,
            early_refresh,
            eager_refresh,
            refresh_throttle,
            load_timeout,
            soft_timeout,
            hard_timeout,
            negative_time_to_live,
        } = self;
        let mut builder = Builder::default()
            .initial_capacity(initial_capacity)
            .policy(policy)
            .maintenance(maintenance)
            .jitter(jitter)
            .explain_misses(explain_misses);
        builder.name = name.map(Into::into);
        builder.capacity = capacity;
        builder.max_weight = max_weight;
        builder.partitions = partitions;
        builder.time.time_to_live = time_to_live;
        builder.time.time_to_idle = time_to_idle;
        builder.time.timer_tick = timer_tick;
        builder.time.loading = LoadingConfig {
            refresh_after_write,
            stale_while_revalidate,
            stale_if_error,
            early_refresh,
            eager_refresh,
            refresh_throttle,
            load_timeout,
            soft_timeout,
            hard_timeout,
            negative_time_to_live,
            has_loader: false,
        };
        if expire_lazily {
            builder = builder.expire_lazily();
        }
        if count_lookups {
            builder = builder.count_lookups();
        }
        if load_time_histogram {
            builder = builder.load_time_histogram();
        }
        if eviction_age_histogram {
            builder = builder.eviction_age_histogram();
        }
        if keep_ages {
            builder = builder.keep_ages();
        }
        builder
    }
}

impl<K, V> From<CacheConfig> for Builder<K, V> {
    fn from(config: CacheConfig) -> Self {
        config.into_builder()
    }
}
