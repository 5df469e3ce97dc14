//! Deadlines: what they mean, what moves them, and that nobody sees what is past.

use std::hash::{BuildHasherDefault, DefaultHasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use larder::expiry::{CoarseClock, MonotonicClock, TickingClock};
use larder::test::FakeClock;
use larder::{
    BuildError, Builder, Cache, Clock, Expiry, InsertOptions, Inserted, Maintenance, Rejection,
};

use crate::support::counted::Ledger;
use crate::support::flush;

const SECOND: Duration = Duration::from_secs(1);
const NANOSECOND: Duration = Duration::from_nanos(1);

/// A builder of small inline caches, and the clock that they go by.
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
    assert!(!cache.iter().any(|(held, _)| held == key));
    assert!(!cache.keys().any(|held| held == key));
    assert!(!cache.entries().any(|entry| entry.key == key));
    assert!(!cache.remove_if(&key, |_, _| true));
    assert_eq!(cache.remove(&key), None);
}

#[test]
fn entry_is_valid_up_to_its_deadline_and_never_after() {
    let (builder, clock) = timed();
    let cache = builder.time_to_live(SECOND).build().unwrap();
    cache.insert(1, 10);
    clock.advance(SECOND);
    assert_eq!(cache.get(&1), Some(10));
    assert_eq!(cache.inspect(&1).unwrap().expires_in, Some(Duration::ZERO));
    assert!(!cache.has_expired(&1));
    clock.advance(NANOSECOND);
    assert!(cache.has_expired(&1));
    assert_absent(&cache, 1);
    assert!(!cache.has_expired(&1));
    cache.validate();
}

#[test]
fn entry_lives_as_long_as_its_own_ttl_says_in_every_cache() {
    let (builder, clock) = timed();
    for builder in [builder.time_to_live(10 * SECOND), timed().0.clock(clock.clone())] {
        let cache = builder.build().unwrap();
        cache.insert_with_ttl(1, 10, 2 * SECOND);
        cache.insert_with_ttl(2, 20, 20 * SECOND);
        cache.insert_with_ttl(3, 30, Duration::MAX);
        clock.advance(2 * SECOND);
        assert_eq!(cache.get(&1), Some(10));
        clock.advance(NANOSECOND);
        assert_absent(&cache, 1);
        assert_eq!(cache.get(&2), Some(20));
        clock.advance(18 * SECOND);
        assert_absent(&cache, 2);
        clock.advance(Duration::from_secs(u64::MAX));
        assert_eq!(cache.get(&3), Some(30), "a lifetime without end ended");
        assert_eq!(cache.inspect(&3).unwrap().expires_in, None);
        cache.validate();
        clock.set(Duration::ZERO);
    }
}

#[test]
fn zero_ttl_is_never_seen_and_takes_the_old_value_with_it() {
    let (builder, _clock) = timed();
    let cache = builder.build().unwrap();
    cache.insert(1, 10);
    assert_eq!(cache.insert_with_ttl(1, 11, Duration::ZERO), Inserted::Replaced);
    assert_absent(&cache, 1);
    assert_eq!(cache.insert_if_absent(1, 12), Inserted::Added);
    assert_eq!(cache.get(&1), Some(12));
    cache.validate();
}

#[test]
fn insertion_over_an_expired_entry_adds_and_does_not_replace() {
    let (builder, clock) = timed();
    let cache = builder.time_to_live(SECOND).build().unwrap();
    let expire = |cache: &Cache<u32, u32>| {
        assert_eq!(cache.insert(1, 10), Inserted::Added);
        clock.advance(2 * SECOND);
    };
    expire(&cache);
    assert_eq!(cache.insert(1, 11), Inserted::Added);
    assert_eq!(cache.remove(&1), Some(11));
    expire(&cache);
    assert_eq!(cache.insert_if_absent(1, 12), Inserted::Added);
    assert_eq!(cache.remove(&1), Some(12));
    expire(&cache);
    assert_eq!(cache.replace(1, 13), Inserted::Rejected(Rejection::Absent));
    assert_absent(&cache, 1);
    let stats = cache.stats();
    assert_eq!((stats.inserts, stats.replacements, stats.removals), (5, 0, 2));
    assert_eq!((stats.expirations, stats.expired_weight), (3, 3));
    assert_eq!(cache.len(), 0);
    cache.validate();
}

#[test]
fn time_to_idle_counts_from_the_last_use_and_not_from_a_look() {
    let (builder, clock) = timed();
    let cache = builder.time_to_idle(64 * SECOND).build().unwrap();
    cache.insert(1, 10);
    for _ in 0..10 {
        clock.advance(60 * SECOND);
        assert_eq!(cache.get(&1), Some(10));
    }
    clock.advance(60 * SECOND);
    assert_eq!(cache.peek(&1), Some(10));
    assert!(cache.contains_key(&1));
    assert!(cache.inspect(&1).is_some());
    assert_eq!(cache.iter().count(), 1);
    clock.advance(4 * SECOND);
    assert_eq!(cache.peek(&1), Some(10));
    clock.advance(NANOSECOND);
    assert_absent(&cache, 1);
}

#[test]
fn use_counts_from_a_little_before_it_and_never_from_further() {
    let step = Duration::from_nanos(1 << 28);
    for (idle, step) in [(64 * SECOND, step), (3600 * SECOND, step), (SECOND, SECOND / 64)] {
        // Where a use comes that soon after the last one that counted, that one counts still.
        for (after, counts) in [(step, false), (step + NANOSECOND, true)] {
            let (builder, clock) = timed();
            let cache = builder.time_to_idle(idle).build().unwrap();
            cache.insert(1, 10);
            clock.advance(after);
            assert_eq!(cache.get(&1), Some(10));
            let left = cache.inspect(&1).unwrap().expires_in.unwrap();
            assert_eq!(left, if counts { idle } else { idle - step });
        }
    }
}

#[test]
fn uses_do_not_prolong_a_life_beyond_the_time_to_live() {
    let (builder, clock) = timed();
    let cache = builder.time_to_idle(4 * SECOND).time_to_live(10 * SECOND).build().unwrap();
    cache.insert(1, 10);
    for _ in 0..10 {
        assert_eq!(cache.get(&1), Some(10));
        clock.advance(SECOND);
    }
    assert_eq!(cache.get(&1), Some(10));
    clock.advance(NANOSECOND);
    assert_absent(&cache, 1);
}

/// Says what its fields say.
#[derive(Default)]
struct Computed {
    create: AtomicU64,
    update: AtomicU64,
    read: AtomicU64,
    /// What `after_update` and `after_read` were told last.
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

#[test]
fn computed_deadlines_follow_creation_update_and_reads() {
    let (builder, clock) = timed();
    let computed = Shared::default();
    let set = |create, update, read| {
        computed.0.create.store(create, Ordering::Relaxed);
        computed.0.update.store(update, Ordering::Relaxed);
        computed.0.read.store(read, Ordering::Relaxed);
    };
    let cache = builder.expiry(computed.clone()).build().unwrap();
    let left = |key| cache.inspect(&key).map(|info| info.expires_in.map(|left| left.as_secs()));

    set(10, 20, KEEP);
    cache.insert(1, 10);
    assert_eq!(left(1), Some(Some(10)));
    clock.advance(3 * SECOND);
    assert_eq!(cache.get(&1), Some(10));
    assert_eq!(left(1), Some(Some(7)), "a read that keeps the deadline moved it");
    cache.insert(1, 11);
    assert_eq!(computed.0.remaining.load(Ordering::Relaxed), 7);
    assert_eq!(left(1), Some(Some(20)));
    set(10, 20, 5);
    assert_eq!(cache.get(&1), Some(11));
    assert_eq!(left(1), Some(Some(5)));
    set(10, KEEP, FOR_EVER);
    assert_eq!(cache.replace(1, 12), Inserted::Replaced);
    assert_eq!(left(1), Some(Some(5)));
    assert_eq!(cache.get(&1), Some(12));
    assert_eq!(left(1), Some(None));
    set(FOR_EVER, 20, 0);
    cache.insert(2, 20);
    assert_eq!(left(2), Some(None));
    assert_eq!(cache.get(&2), Some(20), "the read that ends a life still sees the value");
    assert_absent(&cache, 2);
    // Over an expired entry, an insertion is a creation.
    set(10, 99, KEEP);
    cache.insert(3, 30);
    clock.advance(11 * SECOND);
    cache.insert(3, 31);
    assert_eq!(left(3), Some(Some(10)));
    cache.validate();
}

#[test]
fn panic_of_an_expiry_comes_through_and_changes_nothing() {
    struct Panics;
    impl Expiry<u32, u32> for Panics {
        fn after_create(&self, key: &u32, _: &u32) -> Option<Duration> {
            assert!(*key < 100, "create");
            None
        }
        fn after_update(&self, _: &u32, _: &u32, _: Option<Duration>) -> Option<Duration> {
            panic!("update")
        }
        fn after_read(&self, key: &u32, _: &u32, left: Option<Duration>) -> Option<Duration> {
            assert!(*key != 2, "read");
            left
        }
    }
    let (builder, _clock) = timed();
    let cache = builder.expiry(Panics).build().unwrap();
    cache.insert(1, 10);
    cache.insert(2, 20);
    for (what, step) in [
        ("create", &(|| _ = cache.insert(100, 1)) as &dyn Fn()),
        ("create", &|| _ = cache.insert_if_absent(100, 1)),
        ("update", &|| _ = cache.insert(1, 11)),
        ("update", &|| _ = cache.replace(1, 11)),
        ("read", &|| _ = cache.get(&2)),
    ] {
        assert_eq!(crate::support::panic_message(what, step), what);
    }
    assert_eq!(cache.get(&1), Some(10));
    assert_eq!(cache.peek(&2), Some(20));
    assert_eq!(cache.len(), 2);
    cache.validate();
}

#[test]
fn jitter_spreads_lifetimes_within_its_fraction_and_repeats_itself() {
    let run = || {
        let (builder, _clock) = timed();
        let cache = builder
            .capacity(1000)
            .hasher(BuildHasherDefault::<DefaultHasher>::default())
            .time_to_live(1000 * SECOND)
            .jitter(0.1)
            .build()
            .unwrap();
        for key in 0..1000 {
            cache.insert(key, key);
        }
        let mut lives: Vec<_> =
            cache.entries().map(|entry| (entry.key, entry.info.expires_in.unwrap())).collect();
        lives.sort_unstable();
        lives
    };
    let lives = run();
    assert_eq!(lives, run());
    assert!(lives.iter().all(|(_, life)| (900..=1100).contains(&life.as_secs())), "{lives:?}");
    let is_in = |tenth: u64| {
        let (from, to) = (900 + 20 * tenth, 920 + 20 * tenth);
        lives.iter().filter(|(_, life)| (from..to).contains(&life.as_secs())).count()
    };
    assert!((0..10).all(|tenth| is_in(tenth) > 50), "not spread: {lives:?}");
}

#[test]
fn bad_times_are_refused_with_what_was_given() {
    let built = |configure: fn(Builder<u32, u32>) -> Builder<u32, u32>| {
        configure(timed().0).build().map(|_| ()).unwrap_err()
    };
    assert_eq!(built(|b| b.time_to_live(Duration::ZERO)), BuildError::ZeroTimeToLive);
    assert_eq!(built(|b| b.time_to_idle(Duration::ZERO)), BuildError::ZeroTimeToIdle);
    assert_eq!(built(|b| b.jitter(-0.1)), BuildError::BadJitter { given: -0.1 });
    assert_eq!(built(|b| b.jitter(1.5)), BuildError::BadJitter { given: 1.5 });
    assert!(matches!(built(|b| b.jitter(f64::NAN)), BuildError::BadJitter { .. }));
    assert!(matches!(built(|b| b.jitter(f64::INFINITY)), BuildError::BadJitter { .. }));
}

#[test]
fn clock_that_jumps_back_revives_nothing_and_one_that_stands_ends_nothing() {
    let (builder, clock) = timed();
    clock.set(1000 * SECOND);
    let cache = builder.time_to_live(10 * SECOND).build().unwrap();
    cache.insert(1, 10);
    cache.insert(2, 20);
    clock.set(1011 * SECOND);
    assert_eq!(cache.peek(&1), None);
    clock.set(1005 * SECOND);
    assert_absent(&cache, 1);
    assert_eq!(cache.get(&2), Some(20), "nobody had seen it expired");
    // Before the cache's own beginning, too.
    clock.set(Duration::ZERO);
    assert_eq!(cache.get(&2), Some(20));
    cache.insert(3, 30);
    for _ in 0..1000 {
        assert_eq!(cache.get(&3), Some(30));
    }
    cache.validate();
}

#[test]
fn panicking_clock_is_contained_counted_and_taken_to_stand() {
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

#[test]
fn age_is_known_of_what_can_expire_until_its_lifetime_is_changed() {
    let (_, clock) = timed();
    let builder = || timed().0.clock(clock.clone()).keep_ages();
    let plain = || timed().0.clock(clock.clone());
    type Make = fn(Builder<u32, u32>) -> Builder<u32, u32>;
    let kinds: [(&str, Make); 5] = [
        ("to live", |it| it.time_to_live(100 * SECOND)),
        ("for ever", |it| it.time_to_live(Duration::MAX)),
        ("to idle", |it| it.time_to_idle(50 * SECOND)),
        ("both", |it| it.time_to_live(100 * SECOND).time_to_idle(50 * SECOND)),
        ("jitter", |it| it.time_to_live(100 * SECOND).jitter(0.5)),
    ];
    for (name, make) in kinds {
        for keeps in [false, true] {
            clock.set(777 * SECOND);
            let cache = make(if keeps { builder() } else { plain() }).build().unwrap();
            let age = |key: u32| cache.inspect(&key).unwrap().age;
            clock.advance(5 * SECOND);
            cache.insert(1, 10);
            cache.insert_with_ttl(2, 20, 80 * SECOND);
            cache.insert(3, 30);
            clock.advance(20 * SECOND);
            for key in 1..=3 {
                assert_eq!(cache.get(&key), Some(10 * key));
                assert_eq!(age(key), Some(20 * SECOND), "{name} {keeps} {key}");
            }
            assert!(cache.expire_after(&1, Some(40 * SECOND)));
            assert!(cache.expire_after(&2, Some(40 * SECOND)));
            clock.advance(SECOND);
            let after = Some(21 * SECOND);
            // With jitter, and without an end to tell it from, the time of writing is kept anyhow.
            let is_known = keeps || matches!(name, "jitter" | "for ever");
            assert_eq!(age(1), if is_known { after } else { None }, "{name} {keeps}");
            assert_eq!((age(2), age(3)), (after, after), "{name} {keeps}");
            cache.insert(1, 11);
            assert_eq!(age(1), Some(Duration::ZERO));
            cache.validate();
        }
    }
    let cache = plain().build().unwrap();
    cache.insert(1, 10);
    assert_eq!(cache.inspect(&1).unwrap().age, None);
    let cache = builder().build().unwrap();
    cache.insert(1, 10);
    clock.advance(SECOND);
    assert_eq!(cache.inspect(&1).unwrap().age, Some(SECOND));
    assert_eq!(cache.inspect(&1).unwrap().expires_in, None);
}

#[test]
fn lifetime_given_later_bounds_what_uses_prolong_in_every_cache() {
    let live = |it: Builder<u32, u32>| it.time_to_live(30 * SECOND);
    for (keeps, has_ttl) in [(false, false), (false, true), (true, false), (true, true)] {
        let (builder, clock) = timed();
        let builder = builder.time_to_idle(10 * SECOND);
        let builder = if keeps { builder.keep_ages() } else { builder };
        let cache = if has_ttl { live(builder) } else { builder }.build().unwrap();
        let end_of = |key: u32, clock: &FakeClock| {
            for second in 1.. {
                clock.advance(SECOND);
                if second == 100 || cache.get(&key).is_none() {
                    return second;
                }
            }
            unreachable!("it returns after so many seconds");
        };
        cache.insert(1, 10);
        assert_eq!(end_of(1, &clock), if has_ttl { 31 } else { 100 });
        for (ttl, end) in [(Some(15), 16), (Some(5), 6), (Some(45), 46), (None, 100)] {
            cache.insert(1, 10);
            clock.advance(SECOND);
            assert!(cache.expire_after(&1, ttl.map(Duration::from_secs)));
            assert_eq!(end_of(1, &clock), end, "{ttl:?}, {keeps}, {has_ttl}");
        }
        cache.insert_with_ttl(1, 10, 20 * SECOND);
        assert_eq!(end_of(1, &clock), 21);
        cache.validate();
    }
}

/// Counts how often it is asked.
#[derive(Clone, Default)]
struct Counting(Arc<AtomicU64>);

impl Clock for Counting {
    fn now_ns(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst)
    }
}

#[test]
fn what_cannot_expire_is_found_without_a_look_at_the_clock() {
    let clock = Counting::default();
    let builder = || timed().0.clock(clock.clone());
    let plain = builder().build().unwrap();
    plain.insert(1, 10);
    // Has room for a deadline, but none.
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
    assert!(readings(&bounded) >= 40, "the clock does not count");
}

#[test]
fn huge_durations_saturate() {
    let (builder, clock) = timed();
    clock.set(Duration::MAX);
    let cache = builder
        .time_to_live(Duration::MAX)
        .time_to_idle(Duration::from_nanos(u64::MAX - 1))
        .jitter(1.0)
        .build()
        .unwrap();
    cache.insert(1, 10);
    cache.insert_with_ttl(2, 20, Duration::from_nanos(u64::MAX - 1));
    clock.set(Duration::ZERO);
    clock.set(Duration::MAX);
    assert_eq!(cache.get(&1), Some(10));
    assert_eq!(cache.get(&2), Some(20));
    cache.validate();
}

/// Waits for other threads, for as long as it takes them, but not for ever.
fn wait_until(what: &str, is_true: impl Fn() -> bool) {
    let begin = std::time::Instant::now();
    while !is_true() {
        assert!(begin.elapsed() < 60 * SECOND, "never came about: {what}");
        std::thread::yield_now();
    }
}

const TICK: Duration = Duration::from_nanos(1 << 24);

#[test]
fn expired_entries_are_removed_within_a_tick_without_being_asked_for() {
    let (builder, clock) = timed();
    let cache = builder.build().unwrap();
    for key in 0..50 {
        cache.insert_with_ttl(key, key, (key + 1) * SECOND);
    }
    cache.insert(99, 99);
    for left in (0..50).rev() {
        clock.advance(SECOND);
        cache.run_pending();
        assert_eq!(cache.len(), left + 2, "removed before its time");
        clock.advance(TICK);
        cache.run_pending();
        assert_eq!(cache.len(), left + 1);
        cache.validate();
        clock.set(clock.time() - TICK);
    }
    assert_eq!(cache.stats().expirations, 50);
    assert_eq!(cache.get(&99), Some(99));
}

#[test]
fn writers_of_an_inline_cache_remove_what_is_due() {
    let (builder, clock) = timed();
    // Short enough for the lowest level of the wheel, where nothing is to be moved down before.
    let cache = builder.capacity(10_000).time_to_live(SECOND / 2).build().unwrap();
    for key in 0..1000 {
        cache.insert(key, key);
    }
    clock.advance(SECOND);
    let mut last = cache.len();
    for key in 2000..2100 {
        cache.insert(key, key);
        let len = cache.len();
        assert!(len < last || len == key as usize - 1999, "nothing was removed");
        assert!(last.saturating_sub(len) <= 64, "one call did the work of many");
        last = len;
    }
    assert_eq!(cache.len(), 100);
    cache.validate();
}

#[test]
fn maintenance_thread_removes_what_is_due_while_nobody_calls() {
    let (builder, clock) = timed();
    let cache = builder
        .capacity(10_000)
        .maintenance(Maintenance::Background)
        .partitions(4)
        .time_to_live(10 * SECOND)
        .build()
        .unwrap();
    for key in 0..5000 {
        cache.insert(key, key);
    }
    cache.insert_with_ttl(5000, 5000, SECOND);
    cache.run_pending();
    assert_eq!(cache.len(), 5001);
    clock.advance(SECOND + TICK);
    wait_until("the short life ended", || cache.len() == 5000);
    clock.advance(10 * SECOND);
    wait_until("all ended", || cache.is_empty());
    assert_eq!(cache.stats().expirations, 5001);
    cache.validate();
}

#[test]
fn what_has_expired_by_a_real_clock_is_never_seen() {
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

#[test]
fn change_of_a_deadline_moves_the_timer_both_ways() {
    for maintenance in [Maintenance::Inline, Maintenance::Background] {
        let (builder, clock) = timed();
        let cache = builder.maintenance(maintenance).build().unwrap();
        cache.insert(0, 0);
        for key in 1..4 {
            cache.insert_with_ttl(key, key, 10 * SECOND);
        }
        cache.run_pending();
        assert!(cache.expire_after(&1, Some(SECOND)));
        assert!(cache.expire_after(&2, Some(100 * SECOND)));
        assert!(cache.expire_after(&3, None));
        assert!(!cache.expire_after(&0, Some(SECOND)), "there is no room for a deadline");
        assert!(!cache.expire_after(&9, None), "there is no such key");
        clock.advance(SECOND + TICK);
        if maintenance == Maintenance::Inline {
            cache.run_pending();
        }
        wait_until("the earlier deadline counts", || cache.len() == 3);
        assert_eq!(cache.get(&1), None);
        clock.advance(20 * SECOND);
        cache.run_pending();
        assert_eq!((cache.get(&2), cache.get(&3)), (Some(2), Some(3)));
        assert!(cache.expire_after(&3, Some(SECOND)), "it has room for one again");
        cache.validate();
        clock.advance(100 * SECOND);
        cache.run_pending();
        assert_eq!(cache.len(), 1);
        assert_eq!(cache.stats().expirations, 3);
        cache.validate();
    }
}

#[test]
fn deadline_that_a_read_brings_forward_is_kept_by_the_timer() {
    let (builder, clock) = timed();
    let computed = Shared::default();
    computed.0.create.store(FOR_EVER, Ordering::Relaxed);
    computed.0.read.store(1, Ordering::Relaxed);
    let cache = builder.expiry(computed).maintenance(Maintenance::Background).build().unwrap();
    cache.insert(1, 10);
    cache.run_pending();
    assert_eq!(cache.get(&1), Some(10));
    clock.advance(SECOND + TICK);
    wait_until("the entry is gone", || cache.is_empty());
    cache.validate();
}

#[test]
fn uses_postpone_the_timer_and_disuse_lets_it_fire() {
    let (builder, clock) = timed();
    let cache = builder.time_to_idle(10 * SECOND).build().unwrap();
    cache.insert(1, 10);
    cache.insert(2, 20);
    for _ in 0..10 {
        clock.advance(9 * SECOND);
        assert_eq!(cache.get(&1), Some(10));
        cache.run_pending();
        cache.validate();
    }
    assert_eq!(cache.len(), 1);
    clock.advance(10 * SECOND + TICK);
    cache.run_pending();
    assert_eq!(cache.len(), 0);
    assert_eq!(cache.stats().expirations, 2);
}

#[test]
fn tick_is_what_the_builder_says() {
    let (builder, clock) = timed();
    let cache = builder.timer_tick(64 * SECOND).time_to_live(SECOND).build().unwrap();
    cache.insert(1, 10);
    clock.advance(2 * SECOND);
    cache.run_pending();
    assert_eq!((cache.len(), cache.get(&1), cache.has_expired(&1)), (1, None, true));
    clock.advance(64 * SECOND);
    cache.run_pending();
    assert_eq!((cache.len(), cache.has_expired(&1)), (0, false));
    let (builder, clock) = timed();
    let cache = builder.timer_tick(Duration::ZERO).time_to_live(SECOND).build().unwrap();
    cache.insert(1, 10);
    clock.advance(SECOND + 2 * NANOSECOND);
    cache.run_pending();
    assert_eq!(cache.len(), 0);
}

#[test]
fn nothing_valid_is_evicted_while_something_expired_is_there() {
    let (builder, clock) = timed();
    let cache = builder.policy(larder::Policy::fifo()).build().unwrap();
    for key in 0..50 {
        cache.insert(key, key);
    }
    for key in 50..100 {
        cache.insert_with_ttl(key, key, SECOND);
    }
    clock.advance(SECOND + TICK);
    for key in 100..150 {
        cache.insert(key, key);
    }
    assert!((0..50).chain(100..150).all(|key| cache.contains_key(&key)));
    let stats = cache.stats();
    assert_eq!((stats.evictions, stats.expirations), (0, 50));
    cache.validate();
}

#[test]
fn entries_show_age_deadline_weight_and_frequency() {
    let (builder, clock) = timed();
    let cache = builder
        .policy(larder::Policy::sieve())
        .weigher(|_, value| *value)
        .time_to_live(10 * SECOND)
        .build()
        .unwrap();
    cache.insert(1, 10);
    clock.advance(3 * SECOND);
    cache.insert(2, 20);
    cache.get(&2);
    let mut entries: Vec<_> = cache.entries().collect();
    entries.sort_unstable_by_key(|entry| entry.key);
    let [one, two] = &entries[..] else { panic!("two were inserted: {entries:?}") };
    assert_eq!(one.info.age, Some(3 * SECOND));
    assert_eq!(one.info.expires_in, Some(7 * SECOND));
    assert_eq!((one.value, one.info.weight, one.info.frequency), (10, 10, 0));
    assert_eq!(two.info.age, Some(Duration::ZERO));
    assert_eq!((two.value, two.info.weight, two.info.frequency), (20, 20, 1));
    assert_eq!(cache.inspect(&2), Some(two.info));
    assert_eq!(cache.inspect(&3), None);
}

/// A plain map that knows the time: what the cache must answer as long as nothing is evicted.
#[derive(Default)]
struct TimedMap(std::collections::HashMap<u32, (u32, Option<Duration>)>);

impl TimedMap {
    fn get(&mut self, key: u32, now: Duration) -> Option<u32> {
        let is_valid =
            |(_, deadline): &(u32, Option<Duration>)| deadline.is_none_or(|at| now <= at);
        if !self.0.get(&key).is_some_and(is_valid) {
            self.0.remove(&key);
        }
        self.0.get(&key).map(|(value, _)| *value)
    }

    fn insert(&mut self, key: u32, value: u32, now: Duration, ttl: Option<Duration>) -> Inserted {
        let old = self.get(key, now);
        if ttl == Some(Duration::ZERO) {
            self.0.remove(&key);
        } else {
            self.0.insert(key, (value, ttl.map(|ttl| now + ttl)));
        }
        if old.is_some() { Inserted::Replaced } else { Inserted::Added }
    }
}

#[test]
fn cache_agrees_with_a_plain_map_that_knows_the_time() {
    let configurations =
        [(Maintenance::Inline, 1), (Maintenance::Inline, 4), (Maintenance::Background, 4)];
    for seed in crate::support::rng::seeds(0x7153, 12) {
        for (maintenance, partitions) in configurations {
            let (builder, clock) = timed();
            let tick = Duration::from_nanos(1 << (seed % 40));
            let builder = builder.maintenance(maintenance).partitions(partitions);
            let cache = builder.capacity(1000).timer_tick(tick).build().unwrap();
            let mut map = TimedMap::default();
            let mut rng = crate::support::rng::Rng::new(seed);
            for step in 0..2000 {
                let key = rng.below(50) as u32;
                let now = clock.time();
                let range = rng.below(38);
                let ttl = Duration::from_nanos(rng.below(1 << range));
                let context = || format!("seed {seed}, step {step}, key {key}, at {now:?}");
                match rng.below(12) {
                    0..3 => assert_eq!(cache.get(&key), map.get(key, now), "{}", context()),
                    3 => {
                        let there = map.get(key, now);
                        assert_eq!(cache.peek(&key), there, "{}", context());
                        assert_eq!(cache.contains_key(&key), there.is_some(), "{}", context());
                        let left = cache.inspect(&key).map(|info| info.expires_in);
                        let wanted = there.map(|_| map.0[&key].1.map(|at| at - now));
                        assert_eq!(left, wanted, "{}", context());
                    }
                    4 => {
                        let (got, wanted) =
                            (cache.insert(key, step), map.insert(key, step, now, None));
                        assert_eq!(got, wanted, "{}", context());
                    }
                    5..7 => {
                        let got = cache.insert_with_ttl(key, step, ttl);
                        assert_eq!(got, map.insert(key, step, now, Some(ttl)), "{}", context());
                    }
                    7 => {
                        let got =
                            cache.insert_if_absent_with(key, step, InsertOptions::new().ttl(ttl));
                        let wanted = match map.get(key, now) {
                            Some(_) => Inserted::Rejected(Rejection::Present),
                            None => map.insert(key, step, now, Some(ttl)),
                        };
                        assert_eq!(got, wanted, "{}", context());
                    }
                    8 => {
                        let got = cache.replace_with(key, step, InsertOptions::new().ttl(ttl));
                        let wanted = match map.get(key, now) {
                            Some(_) => map.insert(key, step, now, Some(ttl)),
                            None => Inserted::Rejected(Rejection::Absent),
                        };
                        assert_eq!(got, wanted, "{}", context());
                    }
                    9 => {
                        let wanted = map.get(key, now);
                        map.0.remove(&key);
                        assert_eq!(cache.remove(&key), wanted, "{}", context());
                    }
                    10 => clock.advance(ttl),
                    _ => {
                        let mut held: Vec<_> = cache.iter().collect();
                        held.sort_unstable();
                        let keys: Vec<u32> = map.0.keys().copied().collect();
                        let mut wanted: Vec<_> = keys
                            .into_iter()
                            .filter_map(|key| Some((key, map.get(key, now)?)))
                            .collect();
                        wanted.sort_unstable();
                        assert_eq!(held, wanted, "{}", context());
                    }
                }
            }
            cache.validate();
            clock.advance(Duration::from_secs(1 << 20));
            cache.run_pending();
            cache.validate();
            map.0.retain(|_, (_, deadline)| deadline.is_none());
            assert_eq!(cache.len(), map.0.len(), "seed {seed}: something expired is left");
            let stats = cache.stats();
            let left = stats.expirations + stats.removals + cache.len() as u64;
            assert_eq!(stats.inserts, left, "seed {seed}: an entry was lost or counted twice");
        }
    }
}

/// What a cache must know of an entry: until which second each of its lifetimes lasts, `u64::MAX` for
/// ever.
#[derive(Clone, Copy, Debug)]
struct Lives {
    value: u32,
    /// By the time to live, an own one or `expire_after`.
    fixed: u64,
    /// By the last answer of the `Expiry`.
    computed: u64,
    /// By the last use.
    idle: u64,
    has_room: bool,
}

/// A dull model of every lifetime that an entry can have: the earliest counts.
struct LivesModel {
    ttl: Option<u64>,
    idle: Option<u64>,
    has_expiry: bool,
    entries: std::collections::HashMap<u32, Lives>,
    now: u64,
}

impl LivesModel {
    fn after(&self, seconds: Option<u64>) -> u64 {
        seconds.map_or(u64::MAX, |seconds| self.now + seconds)
    }

    fn valid(&mut self, key: u32) -> Option<Lives> {
        let now = self.now;
        self.entries.retain(|_, it| now <= it.fixed.min(it.computed).min(it.idle));
        self.entries.get(&key).copied()
    }

    /// How long it has left; the outer one is `None` if it is not there.
    fn left(&mut self, key: u32) -> Option<Option<u64>> {
        let it = self.valid(key)?;
        let end = it.fixed.min(it.computed).min(it.idle);
        Some((end != u64::MAX).then(|| end - self.now))
    }

    /// Stores an entry whose own lifetime is `own`, or else as long as `answers` say.
    fn store(&mut self, key: u32, value: u32, own: Option<u64>, is_tagged: bool, answers: Answers) {
        let old = self.left(key);
        let computed = match old {
            _ if own.is_some() || !self.has_expiry => None,
            None => Some(answers.create.of(None)),
            Some(left) => Some(answers.update.of(left)),
        };
        let lives = Lives {
            value,
            fixed: self.after(own.or(self.ttl)),
            computed: self.after(computed.flatten()),
            idle: self.after(self.idle),
            has_room: is_tagged
                || own.is_some()
                || self.ttl.is_some()
                || self.idle.is_some()
                || self.has_expiry,
        };
        self.entries.insert(key, lives);
        // Nothing lives for zero time.
        if own == Some(0) || computed == Some(Some(0)) {
            self.entries.remove(&key);
        }
    }

    fn use_of(&mut self, key: u32, answers: Answers) -> Option<u32> {
        let left = self.left(key)?;
        let now_idle = self.after(self.idle);
        // An answer that is what was left changes nothing.
        let answer =
            Some(answers.read.of(left)).filter(|answer| self.has_expiry && *answer != left);
        let computed = answer.map(|answer| self.after(answer));
        let it = self.entries.get_mut(&key).expect("it is valid");
        it.idle = now_idle;
        it.computed = computed.unwrap_or(it.computed);
        let value = it.value;
        if answer == Some(Some(0)) {
            self.entries.remove(&key);
        }
        Some(value)
    }

    fn expire_after(&mut self, key: u32, ttl: Option<u64>) -> bool {
        let (fixed, idle) = (self.after(ttl), self.after(self.idle));
        if !self.valid(key).is_some_and(|it| it.has_room) {
            return false;
        }
        let it = self.entries.get_mut(&key).expect("it is valid");
        (it.fixed, it.computed, it.idle) = (fixed, u64::MAX, idle);
        if ttl == Some(0) {
            self.entries.remove(&key);
        }
        true
    }
}

/// What an `Expiry` answers: seconds, or `KEEP`, or `FOR_EVER`.
#[derive(Clone, Copy, Debug)]
struct Answer(u64);

impl Answer {
    fn of(self, left: Option<u64>) -> Option<u64> {
        match self.0 {
            KEEP => left,
            FOR_EVER => None,
            seconds => Some(seconds),
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Answers {
    create: Answer,
    update: Answer,
    read: Answer,
}

#[test]
fn the_earliest_of_all_lifetimes_counts_whatever_sets_and_moves_them() {
    let modes = [(Maintenance::Inline, 1), (Maintenance::Background, 4)];
    let seconds = |seconds: u64| Duration::from_secs(seconds);
    for seed in crate::support::rng::seeds(0xf11, 144) {
        let mut rng = crate::support::rng::Rng::new(seed);
        let ttl = [None, Some(7), Some(16)][rng.below(3) as usize];
        let idle = [None, Some(4), Some(9)][rng.below(3) as usize];
        let has_expiry = rng.below(4) != 0;
        let keeps_ages = rng.below(2) == 0;
        let (maintenance, partitions) = modes[rng.below(2) as usize];
        let what = format!(
            "seed {seed}: ttl {ttl:?}, idle {idle:?}, expiry {has_expiry}, ages {keeps_ages}, \
             {maintenance:?}"
        );
        let (mut builder, clock) = timed();
        builder = builder.capacity(1000).maintenance(maintenance).partitions(partitions);
        let computed = Shared::default();
        if let Some(ttl) = ttl {
            builder = builder.time_to_live(seconds(ttl));
        }
        if let Some(idle) = idle {
            builder = builder.time_to_idle(seconds(idle));
        }
        if has_expiry {
            builder = builder.expiry(computed.clone());
        }
        if keeps_ages {
            builder = builder.keep_ages();
        }
        let cache = builder.build().unwrap();
        let entries = std::collections::HashMap::new();
        let mut model = LivesModel { ttl, idle, has_expiry, entries, now: 0 };
        // One that keeps ages has room for a deadline in every entry.
        let has_room = keeps_ages;
        for step in 0..600 {
            let key = rng.below(6) as u32;
            let own = Some(rng.below(24)).filter(|_| rng.below(2) == 0);
            let mut answer = || match rng.below(5) {
                0 => KEEP,
                1 => FOR_EVER,
                _ => rng.below(20),
            };
            let (create, update, read) = (answer(), answer(), answer());
            computed.0.create.store(create, Ordering::Relaxed);
            computed.0.update.store(update, Ordering::Relaxed);
            computed.0.read.store(read, Ordering::Relaxed);
            let [create, update, read] = [create, update, read].map(Answer);
            let answers = Answers { create, update, read };
            let left = model.left(key);
            let told = || {
                let told = computed.0.remaining.load(Ordering::Relaxed);
                (told != FOR_EVER).then_some(told)
            };
            let verb = rng.below(14);
            let context = format!("{what}, step {step}, verb {verb}, key {key}, at {}", model.now);
            match verb {
                0..4 => {
                    let wanted = model.use_of(key, answers);
                    let got =
                        if verb == 0 { cache.pin().get(&key).copied() } else { cache.get(&key) };
                    assert_eq!(got, wanted, "{context}");
                    if has_expiry && wanted.is_some() {
                        assert_eq!(Some(told()), left, "{context}: `after_read` was told this");
                    }
                }
                4 => assert_eq!(cache.peek(&key), model.valid(key).map(|it| it.value), "{context}"),
                5 | 6 => {
                    match own {
                        None => _ = cache.insert(key, step),
                        Some(own) => _ = cache.insert_with_ttl(key, step, seconds(own)),
                    }
                    model.store(key, step, own, has_room, answers);
                    if has_expiry && own.is_none() && left.is_some() {
                        assert_eq!(Some(told()), left, "{context}: `after_update` was told this");
                    }
                }
                7 => {
                    match own {
                        None => _ = cache.insert_with_tags(key, step, ["a"]),
                        Some(own) => {
                            _ = cache.insert_with(
                                key,
                                step,
                                InsertOptions::new().tags(&["a"]).ttl(seconds(own)),
                            );
                        }
                    }
                    model.store(key, step, own, true, answers);
                }
                8 => {
                    match own {
                        None => _ = cache.insert_if_absent(key, step),
                        Some(own) => {
                            _ = cache.insert_if_absent_with(
                                key,
                                step,
                                InsertOptions::new().ttl(seconds(own)),
                            )
                        }
                    }
                    if left.is_none() {
                        model.store(key, step, own, has_room, answers);
                    }
                }
                9 => {
                    match own {
                        None => _ = cache.replace(key, step),
                        Some(own) => {
                            _ = cache.replace_with(
                                key,
                                step,
                                InsertOptions::new().ttl(seconds(own)),
                            )
                        }
                    }
                    if left.is_some() {
                        model.store(key, step, own, has_room, answers);
                    }
                }
                10 => {
                    let got = cache.expire_after(&key, own.map(seconds));
                    assert_eq!(got, model.expire_after(key, own), "{context}");
                }
                11 if rng.below(4) == 0 => cache.run_pending(),
                _ => {
                    let by = rng.below(6);
                    clock.advance(seconds(by));
                    model.now += by;
                }
            }
            let left = cache.inspect(&key).map(|info| info.expires_in);
            assert_eq!(left, model.left(key).map(|left| left.map(seconds)), "{context}");
        }
        cache.validate();
        clock.advance(seconds(1 << 20));
        model.now += 1 << 20;
        cache.run_pending();
        cache.validate();
        model.valid(0);
        assert_eq!(cache.len(), model.entries.len(), "{what}");
    }
}

#[test]
fn run_pending_leaves_nothing_that_has_expired_by_a_clock_that_stands() {
    type Make = fn(Builder<u32, u32>) -> Builder<u32, u32>;
    let kinds: [(&str, Make); 2] = [
        ("nobody hears of it", |it| it),
        ("a listener", |it| it.listener(larder::Listener::new(|_| ()))),
    ];
    for (name, make) in kinds {
        for maintenance in [Maintenance::Inline, Maintenance::Background] {
            let (builder, clock) = timed();
            let cache = make(builder).maintenance(maintenance).partitions(4).build().unwrap();
            for round in 0..500 {
                for key in 0..8 {
                    cache.insert_with_ttl(key, key, SECOND);
                }
                // Wakes the maintenance thread, which is at it at the same time.
                clock.advance(SECOND + TICK);
                cache.run_pending();
                assert_eq!(cache.len(), 0, "{name}, {maintenance:?}, round {round}");
            }
            cache.validate();
        }
    }
}

#[test]
fn jitter_holds_for_lifetimes_given_with_an_insertion_where_there_are_no_others() {
    let (builder, _clock) = timed();
    let cache = builder.jitter(0.5).build().unwrap();
    for key in 0..50 {
        cache.insert_with_ttl(key, key, 1000 * SECOND);
    }
    let left = |entry: larder::EntryView<u32, u32>| entry.info.expires_in.unwrap().as_secs();
    let lives: Vec<u64> = cache.entries().map(left).collect();
    assert!(lives.iter().all(|life| (500..=1500).contains(life)), "{lives:?}");
    assert!(lives.iter().any(|life| *life < 900) && lives.iter().any(|life| *life > 1100));
    cache.insert(1, 1);
    assert_eq!(cache.inspect(&1).unwrap().expires_in, None);
}

#[test]
fn a_cache_says_what_lifetimes_it_was_built_with() {
    let none = timed().0.build().unwrap();
    assert_eq!((none.time_to_live(), none.time_to_idle()), (None, None));
    let both = timed().0.time_to_live(9 * SECOND).time_to_idle(NANOSECOND).build().unwrap();
    assert_eq!((both.time_to_live(), both.time_to_idle()), (Some(9 * SECOND), Some(NANOSECOND)));
    let endless = timed().0.time_to_live(Duration::MAX).build().unwrap();
    assert_eq!(endless.time_to_live(), None, "as good as none");
}

#[test]
fn census_counts_apart_what_nobody_can_see_any_more() {
    for maintenance in [Maintenance::Inline, Maintenance::Background] {
        let (builder, clock) = timed();
        // There is no bound on the weight: the weigher is for those who ask.
        let builder = builder.weigher(|_, value| *value).timer_tick(1000 * SECOND);
        let cache = builder.maintenance(maintenance).build().unwrap();
        for key in 0..10 {
            let (value, ttl) = (1 << key, SECOND * if key < 3 { 1 } else { 100 });
            // 0 to 5 carry `a`, 4 to 7 `b`: two of them both.
            let tags: &[&str] = match key {
                0..4 => &["a"],
                4..6 => &["a", "b"],
                6..8 => &["b"],
                _ => &[],
            };
            cache.insert_with(key, value, InsertOptions::new().tags(tags).ttl(ttl));
        }
        cache.run_pending();
        let all = cache.census();
        assert_eq!((all.valid_len, all.valid_weight), (10, (1 << 10) - 1));
        clock.advance(2 * SECOND);
        assert!(cache.invalidate_tag("b"));
        cache.run_pending();
        assert_eq!((cache.len(), cache.weight()), (10, (1 << 10) - 1), "all of them take room");
        let census = cache.census();
        assert_eq!((census.expired_len, census.expired_weight), (3, 0b111));
        assert_eq!((census.invalidated_len, census.invalidated_weight), (4, 0b1111_0000));
        assert_eq!((census.valid_len, census.valid_weight), (3, 0b11_0000_1000));
        assert!(cache.invalidate_tag("a"));
        let census = cache.census();
        assert_eq!((census.valid_len, census.invalidated_len), (2, 8), "none is counted twice");
        let valid: Vec<u32> = cache.keys().collect();
        assert_eq!(valid.len(), census.valid_len);
        cache.retain(|_, _| true);
        assert_eq!(cache.len(), cache.census().valid_len);
        cache.validate();
    }
}

#[test]
fn what_was_kept_from_leaving_in_time_leaves_by_run_pending_though_the_clock_stands() {
    let (builder, clock) = timed();
    let (entered, leave) =
        (Arc::new(std::sync::Barrier::new(2)), Arc::new(std::sync::Barrier::new(2)));
    let (enters, leaves) = (Arc::clone(&entered), Arc::clone(&leave));
    let cache = builder
        .capacity(1000)
        .maintenance(Maintenance::Background)
        .atomic_listener(move |removal: &larder::Removal<'_, u32, u32>| {
            if *removal.key == 0 && *removal.value == 0 {
                enters.wait();
                leaves.wait();
            }
        })
        .build()
        .unwrap();
    cache.insert(0, 0);
    for key in 1..300 {
        cache.insert_with_ttl(key, key, SECOND);
    }
    cache.run_pending();
    std::thread::scope(|scope| {
        let replacing = scope.spawn(|| cache.insert(0, 1));
        entered.wait();
        // Some of them share what the other thread is within.
        clock.advance(SECOND + TICK);
        wait_until("most have left", || cache.len() < 100);
        cache.run_pending();
        leave.wait();
        replacing.join().unwrap();
        // The maintenance thread may be telling of some.
        wait_until("all others have left", || {
            cache.run_pending();
            cache.len() == 1
        });
    });
}

#[test]
fn racing_threads_never_see_a_value_whose_deadline_was_past_before_they_looked() {
    const KEYS: u64 = 16;
    const LIFE: Duration = Duration::from_millis(40);
    for maintenance in [Maintenance::Background, Maintenance::Inline] {
        let clock = FakeClock::new();
        // A value is the time at which it was written. The clock stands while one is, so that its
        // deadline is known; it moves at any moment of a lookup.
        let standing = RwLock::new(());
        let cache: Cache<u64, Duration> = Cache::builder()
            .capacity(1000)
            .partitions(2)
            .maintenance(maintenance)
            .timer_tick(Duration::from_millis(4))
            .clock(clock.clone())
            .build()
            .unwrap();
        let threads = crate::support::stress_threads() as u64;
        let (seen, replaced) = (AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for thread in 0..threads {
                let (cache, clock, standing) = (&cache, &clock, &standing);
                let (seen, replaced) = (&seen, &replaced);
                scope.spawn(move || {
                    let mut rng = crate::support::rng::Rng::new(thread);
                    for _ in 0..40_000 / threads {
                        let key = rng.below(KEYS);
                        match rng.below(10) {
                            0..6 => {
                                let before = clock.time();
                                if let Some(written) = cache.get(&key) {
                                    assert!(before <= written + LIFE, "{before:?} {written:?}");
                                    seen.fetch_add(1, Ordering::Relaxed);
                                }
                            }
                            6..8 => {
                                let _standing = standing.read();
                                let now = clock.time();
                                if cache.insert_with_ttl(key, now, LIFE) == Inserted::Replaced {
                                    replaced.fetch_add(1, Ordering::Relaxed);
                                }
                            }
                            8 => {
                                let _standing = standing.read();
                                let now = clock.time();
                                let inserted = cache.insert_if_absent_with(
                                    key,
                                    now,
                                    InsertOptions::new().ttl(LIFE),
                                );
                                assert_ne!(inserted, Inserted::Replaced);
                            }
                            _ => {
                                let _moving = standing.write();
                                clock.advance(Duration::from_millis(rng.below(12)));
                            }
                        }
                    }
                });
            }
        });
        cache.validate();
        clock.advance(SECOND);
        cache.run_pending();
        assert!(cache.is_empty());
        let stats = cache.stats();
        assert_eq!(stats.inserts, stats.expirations, "an entry ended twice or never");
        assert_eq!(stats.replacements, replaced.into_inner());
        assert!(seen.into_inner() > 0 && stats.replacements > 0 && stats.expirations > 0);
    }
}

#[test]
fn values_of_any_alignment_stay_aligned_behind_a_deadline() {
    #[derive(Clone, Debug, PartialEq)]
    #[repr(align(128))]
    struct Wide(u8);
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    #[repr(align(16))]
    struct Key(u8);
    let is_aligned = |value: &Wide| std::ptr::from_ref(value).addr().is_multiple_of(128);
    let cache = Cache::builder().capacity(100).maintenance(Maintenance::Inline).build().unwrap();
    for number in 0..200 {
        let (key, value) = (Key(number), Wide(number));
        match number % 2 {
            0 => cache.insert(key, value),
            _ => cache.insert_with_ttl(key, value, SECOND),
        };
        assert_eq!(cache.read(&key, is_aligned), Some(true));
        assert_eq!(cache.get(&key), Some(Wide(number)));
    }
    cache.validate();
}

#[test]
fn entries_with_and_without_deadlines_share_a_cache_and_all_are_dropped_once() {
    let ledger = Ledger::new();
    let (_, clock) = timed();
    for maintenance in [Maintenance::Inline, Maintenance::Background] {
        let cache = Cache::builder()
            .capacity(500)
            .maintenance(maintenance)
            .clock(clock.clone())
            .build()
            .unwrap();
        let mut rng = crate::support::rng::Rng::new(7);
        for number in 0..20_000_u64 {
            let (key, value) = (rng.below(1000), ledger.make(number));
            match rng.below(4) {
                0 => _ = cache.insert(key, value),
                1 => _ = cache.insert_with_ttl(key, value, Duration::from_millis(rng.below(50))),
                2 => _ = cache.replace_with(key, value, InsertOptions::new().ttl(SECOND)),
                _ => _ = cache.insert_if_absent(key, value),
            }
            if number % 8 == 0 {
                clock.advance(Duration::from_millis(1));
            }
        }
        cache.validate();
        flush(&cache);
        ledger.assert_living(cache.len(), "after the flush");
        drop(cache);
        ledger.assert_living(0, "after the end");
    }
}
