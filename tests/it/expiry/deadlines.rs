//! Until when an entry is valid: lifetimes of the cache, of the entry, and computed ones.

use std::hash::{BuildHasherDefault, DefaultHasher};
use std::sync::atomic::Ordering;
use std::time::Duration;

use larder::test::FakeClock;
use larder::{BuildError, Builder, Cache, Expiry, InsertOptions, Inserted, Maintenance, Rejection};

use crate::support::counted::Ledger;
use crate::support::flush;

use super::{FOR_EVER, KEEP, NANOSECOND, SECOND, Shared, assert_absent, timed};

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
fn entry_lives_for_its_own_ttl_in_every_cache() {
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
fn an_entry_with_zero_ttl_is_never_seen_and_removes_the_old_value() {
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
fn time_to_idle_counts_from_the_last_use_and_not_from_a_peek() {
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
fn a_use_counts_from_at_most_a_little_before_it() {
    let step = Duration::from_nanos(1 << 28);
    for (idle, step) in [(64 * SECOND, step), (3600 * SECOND, step), (SECOND, SECOND / 64)] {
        // A use soon after the last one that counted does not count itself.
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
fn a_panic_of_an_expiry_reaches_the_caller_and_changes_nothing() {
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
fn jitter_spreads_lifetimes_within_its_fraction_and_is_repeatable() {
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
fn bad_times_are_refused_with_the_given_value() {
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
fn the_age_of_entries_that_can_expire_is_known_until_their_lifetime_is_changed() {
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
            // With jitter, or with a deadline of never, the time of writing cannot be computed, so
            // it is stored in any case.
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
fn a_lifetime_given_later_limits_how_far_uses_prolong_it_in_every_cache() {
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

#[test]
fn jitter_applies_to_lifetimes_given_with_an_insertion_if_there_are_no_others() {
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
fn a_cache_reports_the_lifetimes_that_it_was_built_with() {
    let none = timed().0.build().unwrap();
    assert_eq!((none.time_to_live(), none.time_to_idle()), (None, None));
    let both = timed().0.time_to_live(9 * SECOND).time_to_idle(NANOSECOND).build().unwrap();
    assert_eq!((both.time_to_live(), both.time_to_idle()), (Some(9 * SECOND), Some(NANOSECOND)));
    let endless = timed().0.time_to_live(Duration::MAX).build().unwrap();
    assert_eq!(endless.time_to_live(), None, "it amounts to none");
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
