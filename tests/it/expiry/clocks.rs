//! Clocks that jump, stand still, panic or are real, and how often they are read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use larder::expiry::{CoarseClock, MonotonicClock, TickingClock};
use larder::test::FakeClock;
use larder::{Cache, Clock, Inserted};

use super::{SECOND, assert_absent, timed};

#[test]
fn a_clock_that_jumps_back_revives_nothing_and_one_that_stands_still_expires_nothing() {
    let (builder, clock) = timed();
    clock.set(1000 * SECOND);
    let cache = builder.time_to_live(10 * SECOND).build().unwrap();
    cache.insert(1, 10);
    cache.insert(2, 20);
    clock.set(1011 * SECOND);
    assert_eq!(cache.peek(&1), None);
    clock.set(1005 * SECOND);
    assert_absent(&cache, 1);
    assert_eq!(cache.get(&2), Some(20), "no call had seen it expired");
    // Even before the cache was built.
    clock.set(Duration::ZERO);
    assert_eq!(cache.get(&2), Some(20));
    cache.insert(3, 30);
    for _ in 0..1000 {
        assert_eq!(cache.get(&3), Some(30));
    }
    cache.validate();
}

#[test]
fn a_panic_of_the_clock_is_contained_counted_and_taken_as_standing_still() {
    struct Faulty(FakeClock);
    impl Clock for Faulty {
        fn now_ns(&self) -> u64 {
            assert!(self.0.time() < 100 * SECOND, "out of order");
            self.0.now_ns()
        }
    }
    let (builder, clock) = timed();
    let cache = builder.time_to_live(10 * SECOND).clock(Faulty(clock.clone())).build().unwrap();
    cache.insert(1, 10);
    clock.set(200 * SECOND);
    assert_eq!(cache.get(&1), Some(10));
    assert_eq!(cache.insert(1, 11), Inserted::Replaced);
    assert!(cache.stats().maintenance_panics > 0);
    clock.set(99 * SECOND);
    assert_absent(&cache, 1);
    cache.validate();
}

/// Counts how often it is read.
#[derive(Clone, Default)]
struct Counting(Arc<AtomicU64>);

impl Clock for Counting {
    fn now_ns(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst)
    }
}

#[test]
fn an_entry_that_cannot_expire_is_found_without_reading_the_clock() {
    let clock = Counting::default();
    let builder = || timed().0.clock(clock.clone());
    let plain = builder().build().unwrap();
    plain.insert(1, 10);
    // An entry that has room for a deadline, but has none.
    let endless = builder().build().unwrap();
    endless.insert_with_ttl(1, 10, Duration::MAX);
    let bounded = builder().time_to_live(1000 * SECOND).build().unwrap();
    bounded.insert(1, 10);
    let readings = |cache: &Cache<u32, u32>| {
        let before = clock.0.load(Ordering::SeqCst);
        for _ in 0..10 {
            assert_eq!(cache.get(&1), Some(10));
            assert_eq!(cache.pin().get(&1), Some(&10));
            assert_eq!(cache.peek(&1), Some(10));
            assert!(cache.contains_key(&1));
            assert_eq!(cache.get(&2), None);
        }
        clock.0.load(Ordering::SeqCst) - before
    };
    assert_eq!(readings(&plain), 0);
    assert_eq!(readings(&endless), 0);
    assert!(readings(&bounded) >= 40, "the clock was not read");
}

#[test]
fn an_entry_expired_by_a_real_clock_is_never_seen() {
    #[track_caller]
    fn holds(clock: impl Clock + Clone) {
        const TTL: Duration = Duration::from_millis(3);
        let cache: Cache<u32, u32> =
            Cache::builder().capacity(10).clock(clock.clone()).build().unwrap();
        for round in 0..5 {
            cache.insert_with_ttl(round, round, TTL);
            let latest = clock.now_ns() + 3_000_000;
            loop {
                let is_past = clock.now_ns() > latest;
                let found = cache.get(&round);
                assert!(!(is_past && found.is_some()), "round {round}");
                if found.is_none() {
                    break;
                }
                std::thread::yield_now();
            }
        }
    }
    holds(MonotonicClock::default());
    holds(CoarseClock::default());
    holds(TickingClock::new());
}
