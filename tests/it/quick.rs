//! What `QuickCache` promises.

#[cfg(feature = "async")]
mod contract;
mod defects;

use larder::quick::{QuickCache, QuickCacheConfig};
use larder::test::FakeClock;

/// A cache without a cleaner, its clock, and the folder that it saves to.
fn isolated<V: Send + Sync + 'static>(
    change: impl FnOnce(&mut QuickCacheConfig),
) -> (QuickCache<V>, FakeClock, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let mut config = QuickCacheConfig::default();
    config.cleanup_interval = None;
    config.storage_dir = folder.path().join("storage");
    config.metrics_storage_dir = folder.path().join("metrics");
    change(&mut config);
    let clock = FakeClock::new();
    let cache = QuickCache::builder(config).clock(clock.clone()).build().unwrap();
    (cache, clock, folder)
}
