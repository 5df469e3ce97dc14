//! When expired entries leave the cache: in time, without being asked for, and before any valid
//! entry is evicted.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use larder::{Builder, InsertOptions, Listener, Maintenance, NoDeadline, RemovalCause};

use super::{FOR_EVER, NANOSECOND, SECOND, Shared, TICK, timed, wait_until};

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
fn writers_of_an_inline_cache_remove_expired_entries() {
    let (builder, clock) = timed();
    // So short that timers are in the lowest level of the wheel, where they need not be moved down
    // first.
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
fn the_maintenance_thread_removes_expired_entries_without_any_call() {
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
fn an_entry_without_room_for_a_deadline_is_stored_anew_with_one() {
    let (builder, clock) = timed();
    let notified = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&notified);
    let listener = Listener::new(move |removal: &larder::Removal<'_, u32, u32>| {
        seen.lock().unwrap().push((*removal.key, removal.new_value.copied(), removal.cause));
    });
    // Ages would take room for a deadline.
    let cache = builder.listener(listener.without_ages()).build().unwrap();
    for key in 0..4 {
        cache.insert(key, key);
    }
    cache.insert_unevictable(4, 4);
    assert!(cache.expire_after(&0, None), "it lives for ever already");
    assert_eq!(cache.stats().replacements, 0);
    for key in [1, 4] {
        assert!(cache.expire_after(&key, Some(SECOND)));
        assert_eq!(cache.inspect(&key).unwrap().expires_in, Some(SECOND));
    }
    assert_eq!(cache.is_unevictable(&4), Some(true));
    assert!(cache.expire_after(&2, Some(Duration::MAX)), "for ever, with room for a deadline");
    assert_eq!(cache.try_expire_after(&2, Some(10 * SECOND)), Ok(true));
    cache.expire_after(&3, Some(Duration::ZERO));
    assert_eq!(cache.get(&3), None);
    assert!(!cache.expire_after(&3, Some(SECOND)) && !cache.expire_after(&9, Some(SECOND)));
    cache.run_pending();
    let replaced = |key| (key, Some(key), RemovalCause::Replaced);
    assert_eq!(notified.lock().unwrap()[..3], [replaced(1), replaced(4), replaced(2)]);
    clock.advance(SECOND + TICK);
    cache.run_pending();
    assert_eq!([0, 1, 2, 4].map(|key| cache.get(&key)), [Some(0), None, Some(2), None]);
    cache.validate();
}

#[test]
fn a_change_of_a_deadline_moves_the_timer_both_ways() {
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
        assert_eq!(cache.try_expire_after(&0, Some(SECOND)), Err(NoDeadline));
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
fn the_timer_meets_a_deadline_that_a_read_brought_forward() {
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
fn uses_postpone_the_timer_and_without_them_it_fires() {
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
fn the_tick_is_the_one_given_to_the_builder() {
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
fn no_valid_entry_is_evicted_while_an_expired_one_is_present() {
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
fn run_pending_leaves_no_expired_entry_while_the_clock_stands_still() {
    type Make = fn(Builder<u32, u32>) -> Builder<u32, u32>;
    let kinds: [(&str, Make); 2] =
        [("no listener", |it| it), ("a listener", |it| it.listener(larder::Listener::new(|_| ())))];
    for (name, make) in kinds {
        for maintenance in [Maintenance::Inline, Maintenance::Background] {
            let (builder, clock) = timed();
            let cache = make(builder).maintenance(maintenance).partitions(4).build().unwrap();
            for round in 0..500 {
                for key in 0..8 {
                    cache.insert_with_ttl(key, key, SECOND);
                }
                // This wakes the maintenance thread, which then runs maintenance at the same time.
                clock.advance(SECOND + TICK);
                cache.run_pending();
                assert_eq!(cache.len(), 0, "{name}, {maintenance:?}, round {round}");
            }
            cache.validate();
        }
    }
}

#[test]
fn the_census_counts_expired_and_invalidated_entries_separately() {
    for maintenance in [Maintenance::Inline, Maintenance::Background] {
        let (builder, clock) = timed();
        // The weight has no bound; the weigher is for reports only.
        let builder = builder.weigher(|_, value| *value).timer_tick(1000 * SECOND);
        let cache = builder.maintenance(maintenance).build().unwrap();
        for key in 0..10 {
            let (value, ttl) = (1 << key, SECOND * if key < 3 { 1 } else { 100 });
            // 0 to 5 carry `a`, 4 to 7 `b`, so 4 and 5 carry both.
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
        assert_eq!(
            (cache.len(), cache.weight()),
            (10, (1 << 10) - 1),
            "all of them still take room"
        );
        let census = cache.census();
        assert_eq!((census.expired_len, census.expired_weight), (3, 0b111));
        assert_eq!((census.invalidated_len, census.invalidated_weight), (4, 0b1111_0000));
        assert_eq!((census.valid_len, census.valid_weight), (3, 0b11_0000_1000));
        assert!(cache.invalidate_tag("a"));
        let census = cache.census();
        assert_eq!((census.valid_len, census.invalidated_len), (2, 8), "no entry is counted twice");
        let valid: Vec<u32> = cache.keys().collect();
        assert_eq!(valid.len(), census.valid_len);
        cache.retain(|_, _| true);
        assert_eq!(cache.len(), cache.census().valid_len);
        cache.validate();
    }
}

#[test]
fn postponed_expired_entries_leave_by_run_pending_though_the_clock_stands_still() {
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
        // Some keys share the gate that the other thread is within.
        clock.advance(SECOND + TICK);
        wait_until("most have left", || cache.len() < 100);
        cache.run_pending();
        leave.wait();
        replacing.join().unwrap();
        // The maintenance thread may be within the listener for some of them.
        wait_until("all others have left", || {
            cache.run_pending();
            cache.len() == 1
        });
    });
}
