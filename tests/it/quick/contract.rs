//! The contract of `QuickCache`, row by row: each call in each state of a key, times to live,
//! eviction, metrics, paths and files, configuration. Maintenance is inline, and the clock stands
//! still.

macro_rules! cases {
    ($($name:ident $body:block)*) => {$(
        #[test]
        fn $name() $body
    )*};
}

mod calls;
mod lifetimes;
mod errors;
mod eviction;
mod metrics;
mod files;
mod configuration;
mod lifecycle;
mod atomicity;

use std::path::Path;
use std::time::Duration;

use larder::quick::{CacheError, QuickCache, QuickCacheConfig};
use larder::test::FakeClock;

use super::isolated;

/// A cache, its clock and its folder.
struct Fixture {
    cache: QuickCache<i64>,
    clock: FakeClock,
    folder: tempfile::TempDir,
}

impl Fixture {
    fn new(max_size: usize, policy: &str) -> Self {
        Self::with(|config| {
            config.max_size = max_size;
            config.eviction_policy = policy.to_owned();
        })
    }

    fn with(change: impl FnOnce(&mut QuickCacheConfig)) -> Self {
        let (cache, clock, folder) = isolated(change);
        Self { cache, clock, folder }
    }

    fn roomy() -> Self {
        Self::new(50, "lru")
    }

    /// With the key `k` missing.
    fn missing() -> Self {
        Self::roomy()
    }

    /// With the key `k`, whose value is 1, valid.
    fn valid() -> Self {
        let fixture = Self::roomy();
        fixture.cache.set("k", 1, 10).unwrap();
        fixture.cache.reset_metrics();
        fixture
    }

    /// With the key `k` expired, before any call has noticed.
    fn expired() -> Self {
        let fixture = Self::valid();
        fixture.pass(10);
        fixture.clock.advance(Duration::from_nanos(1));
        fixture
    }

    fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// hits, misses, sets, gets, failed_ops, evictions, expired_removals, manual_deletions.
    fn counts(&self) -> [u64; 8] {
        let metrics = self.cache.get_metrics_snapshot();
        [
            metrics.hits,
            metrics.misses,
            metrics.sets,
            metrics.gets,
            metrics.failed_ops,
            metrics.evictions,
            metrics.expired_removals,
            metrics.manual_deletions,
        ]
    }

    fn keys(&self) -> Vec<String> {
        let all: Vec<String> = (0..200).map(|n| format!("k{n}")).collect();
        let metrics = self.cache.get_metrics_snapshot();
        assert!(metrics.current_total_keys <= self.cache.config().max_size as u64);
        // `add` would report a present key too, but may evict; `get_many` does not.
        let mut there: Vec<String> = Vec::new();
        for (key, _) in self.cache.get_many(all.iter().map(String::as_str)) {
            there.push(key);
        }
        there
    }

    fn fill(&self, keys: &[&str]) {
        for key in keys {
            self.cache.set(*key, 0, None).unwrap();
        }
    }
}

fn code<T: std::fmt::Debug>(result: Result<T, CacheError>) -> &'static str {
    result.unwrap_err().code()
}

fn is_stamped(path: &Path, stem: &str, extension: &str) -> bool {
    let name = path.file_name().unwrap().to_str().unwrap();
    let Some(rest) = name.strip_prefix(&format!("{stem}_")) else { return false };
    let Some(stamp) = rest.strip_suffix(&format!(".{extension}")) else { return false };
    let bytes = stamp.as_bytes();
    let is_digits = |bytes: &[u8]| bytes.iter().all(u8::is_ascii_digit);
    bytes.len() >= 19
        && is_digits(&bytes[..8])
        && bytes[8] == b'_'
        && is_digits(&bytes[9..15])
        && &bytes[15..19] == b"_srr"
}
