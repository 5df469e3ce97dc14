//! The reports of the shadow caches.
#![forbid(unsafe_code)]

use super::Cache;
use crate::shadow::ShadowReport;

impl<K, V, S> Cache<K, V, S> {
    /// Estimates of the hit ratio at other capacities and with other policies; `None` unless the cache was
    /// built with [`Builder::shadow`](crate::Builder::shadow).
    ///
    /// The report covers all calls that have returned before. The call waits for a thread that is playing
    /// records to the shadow caches, and plays the records that are left.
    ///
    /// # Complexity
    /// O(records that wait): at most 1024 for each of up to 16 stripes.
    #[must_use]
    pub fn shadow_report(&self) -> Option<ShadowReport> {
        self.shared.engine.shadow.as_ref().map(|shadow| shadow.report())
    }

    /// Resets the counts of the shadow caches, so that later reports cover only what happens from now on. The
    /// shadow caches keep their entries. Does nothing in a cache without them.
    pub fn reset_shadow_counts(&self) {
        if let Some(shadow) = &self.shared.engine.shadow {
            shadow.reset_counts();
        }
    }
}
