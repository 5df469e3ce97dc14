//! Asking the shadows.
#![forbid(unsafe_code)]

use super::Cache;
use crate::shadow::ShadowReport;

impl<K, V, S> Cache<K, V, S> {
    /// What the hit ratio would be at other capacities and with other policies; `None` unless the
    /// cache was built with [`Builder::shadow`](crate::Builder::shadow).
    ///
    /// Counts what all calls that returned before have done. Waits for a thread that is playing
    /// records to the shadows, and plays what is left.
    ///
    /// # Complexity
    /// O(records that wait), at most 1024 for each of up to 16 stripes.
    #[must_use]
    pub fn shadow_report(&self) -> Option<ShadowReport> {
        self.shared.engine.shadow.as_ref().map(|shadow| shadow.report())
    }

    /// Begins the counts of the shadows anew, while they keep what they hold: later reports are
    /// about what happens from now on. Nothing in a cache without shadows.
    pub fn reset_shadow_counts(&self) {
        if let Some(shadow) = &self.shared.engine.shadow {
            shadow.reset_counts();
        }
    }
}
