//! Errors of a [`QuickCache`](super::QuickCache), with their codes.
#![forbid(unsafe_code)]

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::base::error::BuildError;
use crate::snapshot::error::with_causes;
use crate::snapshot::{RegistryError, SnapshotError};

/// Why a call of a [`QuickCache`](super::QuickCache) was refused or failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum CacheError {
    /// The key is missing.
    KeyNotFound {
        /// The key, as it is shown.
        key: String,
    },
    /// The key's entry has expired. Each expiry is reported once; afterwards the key is missing.
    KeyExpired {
        /// The key, as it is shown.
        key: String,
    },
    /// The key is valid already.
    KeyAlreadyExists {
        /// The key, as it is shown.
        key: String,
    },
    /// The time to live is invalid: [`Ttl`](super::Ttl) says which ones are valid.
    InvalidTtl {
        /// The time to live that was given.
        ttl: String,
    },
    /// The entries could not be saved. An old file is unchanged.
    CacheSave {
        /// The file.
        filepath: PathBuf,
        /// The cause.
        source: SnapshotError,
    },
    /// The entries could not be loaded. The cache is unchanged.
    CacheLoad {
        /// The file.
        filepath: PathBuf,
        /// The cause.
        source: SnapshotError,
    },
    /// The metrics could not be saved.
    CacheMetricsSave {
        /// The file.
        filepath: PathBuf,
        /// The cause.
        source: SnapshotError,
    },
}

impl CacheError {
    /// The code, which stays the same if the message changes.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::KeyNotFound { .. } => "KEY_NOT_FOUND",
            Self::KeyExpired { .. } => "KEY_EXPIRED",
            Self::KeyAlreadyExists { .. } => "KEY_ALREADY_EXISTS",
            Self::InvalidTtl { .. } => "INVALID_TTL",
            Self::CacheSave { .. } => "CACHE_SAVE_ERROR",
            Self::CacheLoad { .. } => "CACHE_LOAD_ERROR",
            Self::CacheMetricsSave { .. } => "CACHE_METRICS_SAVE_ERROR",
        }
    }

    /// The key, for errors that have one.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::KeyNotFound { key }
            | Self::KeyExpired { key }
            | Self::KeyAlreadyExists { key } => Some(key),
            _ => None,
        }
    }

    /// The file, for errors that have one.
    #[must_use]
    pub fn filepath(&self) -> Option<&Path> {
        match self {
            Self::CacheSave { filepath, .. }
            | Self::CacheLoad { filepath, .. }
            | Self::CacheMetricsSave { filepath, .. } => Some(filepath),
            _ => None,
        }
    }
}

impl fmt::Display for CacheError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyNotFound { key } => write!(f, "Key '{key}' not found"),
            Self::KeyExpired { key } => write!(f, "Key '{key}' has expired"),
            Self::KeyAlreadyExists { key } => write!(f, "Key '{key}' already exists"),
            Self::InvalidTtl { ttl } => write!(f, "Invalid TTL value: {ttl}"),
            Self::CacheSave { filepath, source } => {
                let why = with_causes(source);
                write!(f, "Failed to save cache to disk: {} | {why}", filepath.display())
            }
            Self::CacheLoad { filepath, source } => {
                let why = with_causes(source);
                write!(f, "Failed to load cache from disk: {} | {why}", filepath.display())
            }
            Self::CacheMetricsSave { filepath, .. } => {
                write!(f, "Failed to save cache metrics to disk: {}", filepath.display())
            }
        }
    }
}

impl Error for CacheError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            // Their messages are part of the interface and include that of the snapshot's error, so the chain
            // goes on behind that error.
            Self::CacheSave { source, .. } | Self::CacheLoad { source, .. } => source.source(),
            Self::CacheMetricsSave { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Why a configuration is invalid: the setting, what was given and what is allowed.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ConfigError {
    /// A value is out of its range.
    BadValue {
        /// The field of [`QuickCacheConfig`](super::QuickCacheConfig).
        field: &'static str,
        /// What was given.
        given: String,
        /// What is allowed.
        allowed: &'static str,
    },
    /// A policy or serializer of that name is not registered.
    Name {
        /// The field of [`QuickCacheConfig`](super::QuickCacheConfig).
        field: &'static str,
        /// The name that was given, and the names that are known.
        source: RegistryError,
    },
    /// The cache itself could not be built.
    Build(BuildError),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadValue { field, given, allowed } => {
                write!(f, "{field} is {given}; use {allowed}")
            }
            Self::Name { field, source } => write!(f, "{field}: {source}"),
            Self::Build(source) => source.fmt(f),
        }
    }
}

impl Error for ConfigError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::BadValue { .. } => None,
            // The message includes that of the cause.
            Self::Name { source, .. } => source.source(),
            Self::Build(source) => source.source(),
        }
    }
}
