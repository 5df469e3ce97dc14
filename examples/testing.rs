//! Tests code that uses a cache: no sleep, no thread, the same result every time.
//!
//! `cargo run --example testing`

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use larder::test::FakeClock;
use larder::{BuildError, Builder, Cache, Listener, Maintenance, Policy, Removal, RemovalCause};

/// The code under test: a user who fails to log in five times within a minute has to wait.
struct Attempts {
    failures: Cache<String, u32>,
}

impl Attempts {
    /// Takes a builder, so that tests can add a clock and inline maintenance to it.
    fn new(builder: Builder<String, u32>) -> Result<Self, BuildError> {
        let failures = builder.capacity(100_000).time_to_live(Duration::from_secs(60)).build()?;
        Ok(Self { failures })
    }

    fn fail(&self, user: &str) {
        let failures = self.failures.peek(user).unwrap_or(0) + 1;
        self.failures.insert(user.to_owned(), failures);
    }

    fn may_try(&self, user: &str) -> bool {
        self.failures.get(user).is_none_or(|failures| failures < 5)
    }
}

fn a_user_who_fails_five_times_has_to_wait_a_minute() -> Result<(), BuildError> {
    let clock = FakeClock::new();
    let builder = Cache::builder().clock(clock.clone()).maintenance(Maintenance::Inline);
    let attempts = Attempts::new(builder)?;
    for _ in 0..5 {
        assert!(attempts.may_try("ada"));
        attempts.fail("ada");
    }
    assert!(!attempts.may_try("ada"));
    assert!(attempts.may_try("bob"));

    clock.advance(Duration::from_secs(60));
    assert!(!attempts.may_try("ada"), "the last moment of the minute");
    clock.advance(Duration::from_nanos(1));
    assert!(attempts.may_try("ada"));
    Ok(())
}

fn evictions_and_notifications_come_before_the_call_returns() -> Result<(), BuildError> {
    let log = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&log);
    let listener = Listener::new(move |removal: &Removal<'_, u32, &str>| {
        let mut log = heard.lock().unwrap_or_else(PoisonError::into_inner);
        log.push((*removal.key, removal.cause, removal.age));
    });
    let clock = FakeClock::new();
    let cache = Cache::builder()
        .capacity(2)
        .policy(Policy::lru()) // a rule that one can predict
        .clock(clock.clone())
        .listener(listener)
        .maintenance(Maintenance::Inline)
        .build()?;
    cache.insert(1, "one");
    cache.insert(2, "two");
    clock.advance(Duration::from_secs(7));
    cache.get(&1);
    cache.insert(3, "three");
    let log = log.lock().unwrap_or_else(PoisonError::into_inner);
    assert_eq!(*log, [(2, RemovalCause::Evicted, Duration::from_secs(7))]);
    Ok(())
}

fn in_background_mode_run_pending_settles_everything() -> Result<(), BuildError> {
    let cache = Cache::builder().capacity(100).build()?;
    for key in 0..10_000 {
        cache.insert(key, ());
    }
    cache.run_pending();
    assert_eq!((cache.len(), cache.stats().evictions), (100, 9_900));
    Ok(())
}

fn main() -> Result<(), BuildError> {
    // In your crate these would be `#[test]` functions.
    a_user_who_fails_five_times_has_to_wait_a_minute()?;
    evictions_and_notifications_come_before_the_call_returns()?;
    in_background_mode_run_pending_settles_everything()?;
    println!("three tests passed");
    Ok(())
}
