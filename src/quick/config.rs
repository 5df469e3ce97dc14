//! The configuration of a [`QuickCache`](super::QuickCache), from code or from a file.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::ConfigError;
use super::registry::Registry;

/// The longest duration in a configuration, in seconds.
pub(super) const MAX_SECONDS: f64 = 1e12;

/// The settings of a [`QuickCache`](super::QuickCache).
///
/// It can be read by every deserializer of serde: from TOML, JSON or the environment. Fields that are left
/// out have their defaults; unknown fields are an error.
///
/// # Examples
/// ```
/// use larder::quick::QuickCacheConfig;
///
/// let from_file: QuickCacheConfig =
///     serde_json::from_str(r#"{"max_size": 1000, "eviction_policy": "lfu"}"#)?;
/// let by_hand = QuickCacheConfig::builder().max_size(1000).eviction_policy("LFU").build()?;
/// assert_eq!(from_file.max_size, by_hand.max_size);
///
/// let error = QuickCacheConfig::builder().max_size(0).build().unwrap_err();
/// assert_eq!(error.to_string(), "max_size is 0; use a whole number from 1 up to 2147482623");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct QuickCacheConfig {
    /// The most entries, from 1 to 2,147,482,623. Default: 50.
    pub max_size: usize,
    /// The time to live of entries that are stored without one, in seconds; fractions count. More than 0.
    /// Default: 500.
    pub default_ttl: f64,
    /// Seconds between two removals of expired entries in the background; `None` for no such removals. More
    /// than 0. Default: 50.
    pub cleanup_interval: Option<f64>,
    /// The policy, which chooses the entry to evict when the cache is full: a name from the
    /// [registry](Registry), in any case.
    /// Default: `lru`.
    pub eviction_policy: String,
    /// The serializer of entries in files: a name from the registry. Default: `bincode`; without the
    /// feature of that name, `postcard`.
    pub serializer: String,
    /// The folder of files that are given without one; relative to the current folder unless it is absolute.
    /// Default: `cache_storage`.
    pub storage_dir: PathBuf,
    /// The name of files that are given without one, without the extension. Default: `cache_data`.
    pub filename: String,
    /// Whether the names of files get a timestamp. Default: no.
    pub cache_timestamps: bool,
    /// Whether metrics are counted. Default: yes.
    pub enable_metrics: bool,
    /// The serializer of metrics in files: a name from the registry. Default: `json`.
    pub metrics_serializer: String,
    /// As `storage_dir`, for metrics. Default: `cache_metrics`.
    pub metrics_storage_dir: PathBuf,
    /// As `filename`, for metrics. Default: `metrics`.
    pub metrics_filename: String,
    /// As `cache_timestamps`, for metrics. Default: no.
    pub cache_metrics_timestamps: bool,
}

/// The default serializer.
const BINARY: &str = if cfg!(feature = "bincode") { "bincode" } else { "postcard" };

impl Default for QuickCacheConfig {
    fn default() -> Self {
        Self {
            max_size: 50,
            default_ttl: 500.0,
            cleanup_interval: Some(50.0),
            eviction_policy: "lru".to_owned(),
            serializer: BINARY.to_owned(),
            storage_dir: PathBuf::from("cache_storage"),
            filename: "cache_data".to_owned(),
            cache_timestamps: false,
            enable_metrics: true,
            metrics_serializer: "json".to_owned(),
            metrics_storage_dir: PathBuf::from("cache_metrics"),
            metrics_filename: "metrics".to_owned(),
            cache_metrics_timestamps: false,
        }
    }
}

impl QuickCacheConfig {
    /// Starts from the defaults.
    pub fn builder() -> QuickCacheConfigBuilder {
        QuickCacheConfigBuilder { config: Self::default() }
    }

    /// Checks every field, and looks up names in `registry`.
    ///
    /// # Errors
    /// [`ConfigError`] names the first field that is wrong, what was given and what is allowed.
    pub fn validate(&self, registry: &Registry) -> Result<(), ConfigError> {
        let bad =
            |field, given: String, allowed| Err(ConfigError::BadValue { field, given, allowed });
        if !(1..=MAX_SIZE).contains(&self.max_size) {
            let allowed = "a whole number from 1 up to 2147482623";
            return bad("max_size", self.max_size.to_string(), allowed);
        }
        let seconds = "seconds above 0, up to 1000000000000";
        if seconds_above_zero(self.default_ttl).is_none() {
            return bad("default_ttl", self.default_ttl.to_string(), seconds);
        }
        if let Some(interval) = self.cleanup_interval
            && seconds_above_zero(interval).is_none()
        {
            let allowed = "seconds above 0, up to 1000000000000, or nothing for no cleanup";
            return bad("cleanup_interval", interval.to_string(), allowed);
        }
        let named = |field| move |source| ConfigError::Name { field, source };
        registry.policy(&self.eviction_policy).map_err(named("eviction_policy"))?;
        registry.serializers().get(&self.serializer).map_err(named("serializer"))?;
        registry
            .serializers()
            .get(&self.metrics_serializer)
            .map_err(named("metrics_serializer"))?;
        for (field, name) in
            [("filename", &self.filename), ("metrics_filename", &self.metrics_filename)]
        {
            let is_name = !name.is_empty()
                && name != "."
                && name != ".."
                && !name.contains(['/', '\\', '\0']);
            if !is_name {
                return bad(field, format!("`{}`", name.escape_debug()), "a name without a folder");
            }
        }
        for (field, folder) in
            [("storage_dir", &self.storage_dir), ("metrics_storage_dir", &self.metrics_storage_dir)]
        {
            if folder.as_os_str().is_empty() || folder.as_os_str().as_encoded_bytes().contains(&0) {
                return bad(field, format!("`{}`", folder.display()), "the path of a folder");
            }
        }
        Ok(())
    }
}

/// The most entries that one partition of a cache can count.
pub(super) const MAX_SIZE: usize = i32::MAX as usize - 1024;

/// The duration of `seconds`, if it is above zero and at most [`MAX_SECONDS`].
pub(super) fn seconds_above_zero(seconds: f64) -> Option<Duration> {
    let is_allowed = seconds > 0.0 && seconds <= MAX_SECONDS;
    let duration = is_allowed.then(|| Duration::try_from_secs_f64(seconds).ok()).flatten();
    duration.filter(|duration| !duration.is_zero())
}

/// Makes a [`QuickCacheConfig`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct QuickCacheConfigBuilder {
    config: QuickCacheConfig,
}

macro_rules! setters {
    ($($field:ident: $type:ty)*) => {$(
        #[doc = concat!("Sets [`", stringify!($field), "`](QuickCacheConfig::", stringify!($field), ").")]
        pub fn $field(mut self, $field: impl Into<$type>) -> Self {
            self.config.$field = $field.into();
            self
        }
    )*};
}

impl QuickCacheConfigBuilder {
    setters! {
        default_ttl: f64
        cleanup_interval: Option<f64>
        eviction_policy: String
        serializer: String
        storage_dir: PathBuf
        filename: String
        metrics_serializer: String
        metrics_storage_dir: PathBuf
        metrics_filename: String
    }

    /// Sets [`max_size`](QuickCacheConfig::max_size).
    pub fn max_size(mut self, max_size: usize) -> Self {
        self.config.max_size = max_size;
        self
    }

    /// Adds a [timestamp](QuickCacheConfig::cache_timestamps) to the names of files.
    pub fn cache_timestamps(mut self) -> Self {
        self.config.cache_timestamps = true;
        self
    }

    /// Switches [metrics](QuickCacheConfig::enable_metrics) off.
    pub fn disable_metrics(mut self) -> Self {
        self.config.enable_metrics = false;
        self
    }

    /// As [`cache_timestamps`](Self::cache_timestamps), for metrics.
    pub fn cache_metrics_timestamps(mut self) -> Self {
        self.config.cache_metrics_timestamps = true;
        self
    }

    /// Checks the settings with the standard [`Registry`], and returns them.
    ///
    /// # Errors
    /// [`ConfigError`] names the first field that is wrong, what was given and what is allowed.
    pub fn build(self) -> Result<QuickCacheConfig, ConfigError> {
        self.build_with(&Registry::standard())
    }

    /// Checks the settings with `registry`, and returns them.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn build_with(self, registry: &Registry) -> Result<QuickCacheConfig, ConfigError> {
        self.config.validate(registry)?;
        Ok(self.config)
    }
}
