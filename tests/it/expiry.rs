//! Deadlines: what they mean and what moves them, and that an entry past its deadline is not seen.

mod deadlines;
mod clocks;
mod removal;
mod lazy;
mod grace;
mod models;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use larder::test::FakeClock;
use larder::{Builder, Cache, Expiry, Maintenance};

const SECOND: Duration = Duration::from_secs(1);

const NANOSECOND: Duration = Duration::from_nanos(1);

/// A builder of small inline caches, and the clock that they use.
fn timed() -> (Builder<u32, u32>, FakeClock) {
    let clock = FakeClock::new();
    let builder = Cache::builder()
        .capacity(100)
        .maintenance(Maintenance::Inline)
        .count_lookups()
        .clock(clock.clone());
    (builder, clock)
}

/// Asserts that no call shows an entry of `key`.
fn assert_absent(cache: &Cache<u32, u32>, key: u32) {
    assert_eq!(cache.get(&key), None);
    assert_eq!(cache.read(&key, |value| *value), None);
    assert_eq!(cache.peek(&key), None);
    assert!(!cache.contains_key(&key));
    assert_eq!(cache.pin().get(&key), None);
    assert_eq!(cache.pin().peek(&key), None);
    assert!(!cache.pin().contains_key(&key));
    assert_eq!(cache.inspect(&key), None);
    assert!(!cache.iter().any(|(found, _)| found == key));
    assert!(!cache.keys().any(|found| found == key));
    assert!(!cache.entries().any(|entry| entry.key == key));
    assert!(!cache.remove_if(&key, |_, _| true));
    assert_eq!(cache.remove(&key), None);
}

/// An `Expiry` that answers what its fields say.
#[derive(Default)]
struct Computed {
    create: AtomicU64,
    update: AtomicU64,
    read: AtomicU64,
    /// The remaining time that `after_update` or `after_read` was last given.
    remaining: AtomicU64,
}

const KEEP: u64 = u64::MAX;

const FOR_EVER: u64 = u64::MAX - 1;

impl Computed {
    fn answer(&self, seconds: &AtomicU64, remaining: Option<Duration>) -> Option<Duration> {
        self.remaining.store(remaining.map_or(FOR_EVER, |left| left.as_secs()), Ordering::Relaxed);
        match seconds.load(Ordering::Relaxed) {
            KEEP => remaining,
            FOR_EVER => None,
            seconds => Some(Duration::from_secs(seconds)),
        }
    }
}

#[derive(Clone, Default)]
struct Shared(Arc<Computed>);

impl Expiry<u32, u32> for Shared {
    fn after_create(&self, _: &u32, _: &u32) -> Option<Duration> {
        self.0.answer(&self.0.create, None)
    }

    fn after_update(&self, _: &u32, _: &u32, remaining: Option<Duration>) -> Option<Duration> {
        self.0.answer(&self.0.update, remaining)
    }

    fn after_read(&self, _: &u32, _: &u32, remaining: Option<Duration>) -> Option<Duration> {
        self.0.answer(&self.0.read, remaining)
    }
}

/// Waits for other threads, as long as they need, but not for ever.
fn wait_until(what: &str, is_true: impl Fn() -> bool) {
    let begin = std::time::Instant::now();
    while !is_true() {
        assert!(begin.elapsed() < 60 * SECOND, "never happened: {what}");
        std::thread::yield_now();
    }
}

const TICK: Duration = Duration::from_nanos(1 << 24);
