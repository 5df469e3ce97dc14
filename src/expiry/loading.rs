//! What the builder was given about loading: how long values may be used after their deadlines, when they
//! are renewed, and how long a load may take.
#![forbid(unsafe_code)]

use std::time::Duration;

use super::clock::nanoseconds;
use crate::base::error::BuildError;
use crate::entry::Grace;

/// For how long a flight may take, unless the builder says otherwise.
const DEFAULT_LOAD_TIMEOUT: Duration = Duration::from_secs(60);
/// For how long a key is not tried again after its refresh has failed, unless the builder says otherwise.
const DEFAULT_THROTTLE: Duration = Duration::from_secs(1);

/// The settings of loading. Each is described at the builder's method of that name.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct LoadingConfig {
    pub(crate) refresh_after_write: Option<Duration>,
    pub(crate) stale_while_revalidate: Option<Duration>,
    pub(crate) stale_if_error: Option<Duration>,
    /// The factor beta of the early refresh.
    pub(crate) early_refresh: Option<f64>,
    /// The share of its lifetime after which a value is renewed.
    pub(crate) eager_refresh: Option<f64>,
    pub(crate) refresh_throttle: Option<Duration>,
    pub(crate) load_timeout: Option<Duration>,
    pub(crate) soft_timeout: Option<Duration>,
    pub(crate) hard_timeout: Option<Duration>,
    pub(crate) negative_time_to_live: Option<Duration>,
    /// Whether a loader is bound to the cache, which can run in the background.
    pub(crate) has_loader: bool,
}

impl LoadingConfig {
    /// Checks the settings, in a cache whose entries live for `time_to_live` by default.
    pub(crate) fn check(&self, time_to_live: Option<Duration>) -> Result<(), BuildError> {
        for (setting, given) in [
            ("refresh_after_write", self.refresh_after_write),
            ("stale_while_revalidate", self.stale_while_revalidate),
            ("stale_if_error", self.stale_if_error),
            ("load_timeout", self.load_timeout),
            ("soft_timeout", self.soft_timeout),
            ("hard_timeout", self.hard_timeout),
            ("negative_time_to_live", self.negative_time_to_live),
        ] {
            if given == Some(Duration::ZERO) {
                return Err(BuildError::ZeroDuration { setting });
            }
        }
        if let Some(given) = self.early_refresh
            && !(given.is_finite() && given > 0.0)
        {
            return Err(BuildError::BadEarlyRefresh { given });
        }
        // A NaN is not in the range either.
        if let Some(given) = self.eager_refresh
            && !(given > 0.0 && given < 1.0)
        {
            return Err(BuildError::BadEagerRefresh { given });
        }
        for (shorter, short, longer, long) in [
            ("refresh_after_write", self.refresh_after_write, "time_to_live", time_to_live),
            ("soft_timeout", self.soft_timeout, "hard_timeout", self.hard_timeout),
        ] {
            if let (Some(given), Some(limit)) = (short, long)
                && given >= limit
            {
                return Err(BuildError::NotShorter {
                    setting: shorter,
                    given,
                    than: longer,
                    limit,
                });
            }
        }
        if self.soft_timeout.is_some() && !self.grace().is_some() {
            return Err(BuildError::NeedsStaleValues { setting: "soft_timeout" });
        }
        for (setting, given) in
            [("soft_timeout", self.soft_timeout), ("hard_timeout", self.hard_timeout)]
        {
            if given.is_some() && !self.has_loader {
                return Err(BuildError::NeedsLoader { setting });
            }
        }
        Ok(())
    }

    /// For how long an expired entry stays.
    pub(crate) fn grace(&self) -> Grace {
        Grace::of_ns(self.revalidate_ns().max(self.if_error_ns()))
    }

    /// For how long after its deadline a value is used while it is renewed; 0 if it is not.
    pub(crate) fn revalidate_ns(&self) -> u64 {
        self.stale_while_revalidate.map_or(0, nanoseconds)
    }

    /// For how long after its deadline a value is used if it cannot be renewed; 0 if it is not.
    pub(crate) fn if_error_ns(&self) -> u64 {
        self.stale_if_error.map_or(0, nanoseconds)
    }

    /// For how long a key is not tried again after its refresh has failed.
    pub(crate) fn throttle(&self) -> Duration {
        self.refresh_throttle.unwrap_or(DEFAULT_THROTTLE)
    }

    /// How long a load may take before its key is free again.
    pub(crate) fn load_timeout(&self) -> Duration {
        self.load_timeout.unwrap_or(DEFAULT_LOAD_TIMEOUT)
    }

    /// Whether the ages of entries have to be known.
    pub(crate) fn wants_ages(&self) -> bool {
        self.refresh_after_write.is_some() || self.eager_refresh.is_some()
    }
}
