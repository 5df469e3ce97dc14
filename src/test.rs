//! Help for tests of programs that use a cache.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::base::sync::{AtomicU64, Ordering};
use crate::expiry::Clock;
use crate::expiry::clock::nanoseconds;
use crate::maintainer;

/// A clock for tests, which stands still until it is moved. Clones share one time.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use larder::{Cache, Maintenance, test::FakeClock};
///
/// let clock = FakeClock::new();
/// let cache = Cache::builder()
///     .capacity(100)
///     .time_to_live(Duration::from_secs(60))
///     .clock(clock.clone())
///     .maintenance(Maintenance::Inline)
///     .build()?;
/// cache.insert("key", 1);
/// clock.advance(Duration::from_secs(60));
/// assert_eq!(cache.get("key"), Some(1));
/// clock.advance(Duration::from_nanos(1));
/// assert_eq!(cache.get("key"), None);
/// # Ok::<(), larder::BuildError>(())
/// ```
#[derive(Clone, Default)]
pub struct FakeClock {
    now_ns: Arc<AtomicU64>,
}

impl FakeClock {
    /// Makes a clock that stands at zero.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves the clock ahead, and wakes the maintenance of caches in background mode. Saturates.
    pub fn advance(&self, by: Duration) {
        let now = self.now_ns.load(Ordering::SeqCst);
        self.set(Duration::from_nanos(now.saturating_add(nanoseconds(by))));
    }

    /// Moves the clock to `time` since its zero, ahead or back.
    pub fn set(&self, time: Duration) {
        // SeqCst: before the maintenance thread is notified, which reads the clock after it has declared
        // a cache idle (`maintainer`).
        self.now_ns.store(nanoseconds(time), Ordering::SeqCst);
        maintainer::notify_all();
    }

    /// The time since the clock's zero.
    #[must_use]
    pub fn time(&self) -> Duration {
        Duration::from_nanos(self.now_ns.load(Ordering::SeqCst))
    }
}

impl Clock for FakeClock {
    fn now_ns(&self) -> u64 {
        self.now_ns.load(Ordering::SeqCst)
    }
}

impl fmt::Debug for FakeClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FakeClock").field(&self.time()).finish()
    }
}
