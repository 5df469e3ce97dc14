//! Caches that keep values after their deadlines, for loads to use: all other calls treat such entries
//! as expired, and timers remove them once the grace is over.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use larder::{
    Absence, Builder, Cache, Explanation, InsertOptions, Inserted, KeyState, Maintenance, Policy,
    Rejection, Removal, RemovalCause,
};

use super::{NANOSECOND, SECOND, TICK, timed, wait_until};
use larder::test::FakeClock;

/// A cache whose entries live for a minute and stay for an hour after that.
fn graced() -> (Builder<u32, u32>, FakeClock) {
    let (builder, clock) = timed();
    (builder.time_to_live(60 * SECOND).stale_if_error(3600 * SECOND), clock)
}

/// Each way to look at an entry, except for those that change it.
fn assert_unseen(cache: &Cache<u32, u32>, key: u32) {
    assert_eq!(cache.get(&key), None);
    assert_eq!(cache.read(&key, |value| *value), None);
    assert_eq!(cache.peek(&key), None);
    assert_eq!(cache.get_key_value(&key), None);
    assert!(!cache.contains_key(&key) && !cache.touch(&key));
    assert_eq!(cache.pin().get(&key), None);
    assert_eq!(cache.pin().peek(&key), None);
    assert_eq!(cache.inspect(&key), None);
    assert!(!cache.iter().any(|(found, _)| found == key));
    assert!(!cache.keys().any(|found| found == key));
    assert!(!cache.entries().any(|entry| entry.key == key));
    assert!(!cache.remove_if(&key, |_, _| true));
    assert!(!cache.expire_after(&key, Some(SECOND)) && !cache.expire_after(&key, None));
    assert_eq!(cache.replace(key, 99), Inserted::Rejected(Rejection::Absent));
    assert_eq!(cache.explain(&key), Explanation::Missing(Absence::Expired));
    assert!(cache.has_expired(&key));
}

#[test]
fn an_entry_in_its_grace_takes_room_and_is_seen_by_no_call() {
    for lazy in [false, true] {
        let (mut builder, clock) = graced();
        if lazy {
            builder = builder.expire_lazily();
        }
        let cache = builder.explain_misses(100).build().unwrap();
        for key in 1..=9 {
            cache.insert(key, 10 * key);
        }
        cache.insert_with_ttl(10, 100, Duration::MAX);
        clock.advance(60 * SECOND);
        assert_eq!(cache.get(&1), Some(10));
        clock.advance(NANOSECOND);
        for _ in 0..2 {
            assert_unseen(&cache, 1);
            cache.run_pending();
            let census = cache.census();
            assert_eq!((census.valid_len, census.expired_len, cache.len()), (1, 9, 10));
            clock.advance(1000 * SECOND);
        }
        assert_eq!(cache.stats().expirations, 0);
        assert_eq!(cache.insert(1, 11), Inserted::Added);
        assert_eq!(cache.insert_if_absent(2, 21), Inserted::Added);
        assert_eq!(cache.swap(3, 31), Ok(None));
        assert_eq!(cache.remove(&4), None);
        assert_eq!(cache.remove_key(&5), KeyState::Expired);
        assert_eq!(cache.remove_if_expired(&6), KeyState::Expired);
        assert_eq!(cache.remove_entry(&7), None);
        let fill = cache.begin_fill(&8);
        assert_eq!(cache.complete_fill(fill, 81), Inserted::Added);
        let stats = cache.stats();
        assert_eq!((stats.expirations, stats.replacements, stats.removals), (7, 0, 0));
        assert_eq!((cache.get(&1), cache.get(&8)), (Some(11), Some(81)));
        let removed = cache.clear_and_count();
        assert_eq!((removed.valid_len, removed.expired_len), (5, 2));
        cache.validate();
    }
}

#[test]
fn the_timer_removes_an_entry_once_its_grace_is_over() {
    let (builder, clock) = graced();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let note = Arc::clone(&seen);
    let cache = builder
        .atomic_listener(move |removal: &Removal<'_, u32, u32>| {
            note.lock().unwrap().push((*removal.key, removal.cause));
        })
        .build()
        .unwrap();
    for key in 0..10 {
        let ttl = (u64::from(key) + 1) * SECOND.as_secs();
        cache.insert_with(key, key, InsertOptions::new().ttl(Duration::from_secs(ttl)));
    }
    clock.advance(3600 * SECOND);
    for left in (0..10).rev() {
        cache.run_pending();
        assert_eq!(cache.len(), left + 1, "removed before the grace was over");
        clock.advance(SECOND + TICK);
        cache.run_pending();
        assert_eq!(cache.len(), left);
        clock.set(clock.time() - TICK);
        cache.validate();
    }
    assert_eq!(cache.stats().expirations, 10);
    let expected: Vec<_> = (0..10).map(|key| (key, RemovalCause::Expired)).collect();
    assert_eq!(*seen.lock().unwrap(), expected);
}

#[test]
fn the_maintenance_thread_removes_what_the_grace_has_kept() {
    let (builder, clock) = graced();
    let builder = builder.capacity(10_000).partitions(4).maintenance(Maintenance::Background);
    let cache = builder.build().unwrap();
    for key in 0..1000 {
        cache.insert(key, key);
    }
    cache.run_pending();
    clock.advance(3660 * SECOND);
    cache.run_pending();
    assert_eq!((cache.len(), cache.get(&1)), (1000, None));
    clock.advance(TICK);
    wait_until("the grace is over", || cache.is_empty());
    assert_eq!(cache.stats().expirations, 1000);
    cache.validate();
}

#[test]
fn removing_all_expired_entries_leaves_those_in_their_grace() {
    for lazy in [false, true] {
        let (mut builder, clock) = graced();
        if lazy {
            builder = builder.expire_lazily();
        }
        let cache = builder.build().unwrap();
        cache.insert(1, 10);
        cache.insert_with_ttl(2, 20, 600 * SECOND);
        clock.advance(601 * SECOND);
        cache.remove_expired();
        assert_eq!((cache.len(), cache.iter().count()), (2, 0));
        clock.advance(3100 * SECOND);
        cache.run_pending();
        assert_eq!(cache.len(), if lazy { 2 } else { 1 }, "a timer has removed it");
        cache.remove_expired();
        assert_eq!(cache.len(), 1);
        assert!(cache.has_expired(&2));
        cache.validate();
    }
}

#[test]
fn entries_in_their_grace_can_be_evicted() {
    let (builder, clock) = graced();
    let cache = builder.capacity(10).policy(Policy::fifo()).build().unwrap();
    for key in 0..10 {
        cache.insert(key, key);
    }
    clock.advance(61 * SECOND);
    for key in 10..20 {
        cache.insert(key, key);
    }
    assert_eq!((cache.len(), cache.iter().count()), (10, 10));
    let stats = cache.stats();
    assert_eq!((stats.evictions, stats.expirations), (10, 0));
    cache.validate();
}

#[test]
fn a_use_prolongs_no_entry_that_was_found_expired() {
    let (builder, clock) = graced();
    let cache = builder.time_to_idle(10 * SECOND).build().unwrap();
    cache.insert(1, 10);
    cache.insert(2, 20);
    for _ in 0..5 {
        clock.advance(9 * SECOND);
        assert_eq!(cache.get(&1), Some(10));
    }
    assert_unseen_after_idle(&cache, &clock);
}

fn assert_unseen_after_idle(cache: &Cache<u32, u32>, clock: &FakeClock) {
    assert_eq!((cache.get(&2), cache.len()), (None, 2));
    let now = clock.time();
    clock.set(Duration::ZERO);
    assert_eq!((cache.get(&2), cache.get(&1)), (None, Some(10)), "the clock has revived it");
    clock.set(now + 3700 * SECOND);
    cache.run_pending();
    assert!(cache.is_empty());
    cache.validate();
}

#[test]
fn the_longer_of_the_two_settings_is_the_grace_and_a_huge_one_never_ends() {
    for (builder, end) in [
        (graced().0.stale_while_revalidate(10 * SECOND), Some(3660)),
        (graced().0.stale_while_revalidate(5000 * SECOND), Some(5060)),
        (graced().0.stale_if_error(Duration::MAX), None),
        (timed().0.time_to_live(60 * SECOND).stale_while_revalidate(SECOND), Some(61)),
    ] {
        let clock = FakeClock::new();
        let cache = builder.clock(clock.clone()).build().unwrap();
        cache.insert(1, 10);
        clock.advance(end.unwrap_or(1 << 30) * SECOND);
        cache.run_pending();
        assert_eq!((cache.len(), cache.get(&1)), (1, None), "{end:?}");
        clock.advance(TICK);
        cache.run_pending();
        assert_eq!(cache.len(), usize::from(end.is_none()), "{end:?}");
        cache.validate();
    }
}

#[cfg(feature = "json")]
#[test]
fn an_entry_in_its_grace_is_not_saved() {
    let (builder, clock) = graced();
    let cache = builder.build().unwrap();
    cache.insert(1, 10);
    clock.advance(30 * SECOND);
    cache.insert(2, 20);
    clock.advance(31 * SECOND);
    let json = larder::snapshot::Serializers::standard().get("json").unwrap();
    let mut bytes = Vec::new();
    cache.save_to(&mut bytes, &larder::snapshot::SaveOptions::new(json)).unwrap();
    let (builder, _) = graced();
    let restored = builder.build().unwrap();
    restored.load_from(&bytes[..], &larder::snapshot::RestoreOptions::new()).unwrap();
    assert_eq!((restored.len(), restored.get(&2)), (1, Some(20)));
}
