//! What a listener is notified of, once for each removal, and in which order.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::Duration;

use larder::test::FakeClock;
use larder::{Cache, Inserted, Listener, Maintenance, Policy, Removal, RemovalCause};

use crate::support::configs::for_each_config;
use crate::support::counted::{Counted, Ledger};
use crate::support::flush;
use crate::support::rng::{Rng, seeds};

use super::{Notified, notified, record, recorder, replaced};

#[test]
fn every_cause_is_notified_with_key_value_weight_and_age() {
    let clock = FakeClock::new();
    let (sender, receiver) = mpsc::channel();
    let cache: Cache<u64, u64> = Cache::builder()
        .capacity(2)
        .max_weight(1000)
        .weigher(|_, value| *value as u32)
        .policy(Policy::fifo())
        .clock(clock.clone())
        .maintenance(Maintenance::Inline)
        .listener(Listener::new(move |removal: &Removal<'_, u64, u64>| {
            let _ = sender.send((record(removal), removal.weight, removal.age.as_secs()));
        }))
        .build()
        .unwrap();
    cache.insert(1, 10);
    clock.advance(Duration::from_secs(1));
    cache.insert(1, 11);
    clock.advance(Duration::from_secs(2));
    cache.remove(&1);
    cache.insert_with_ttl(2, 20, Duration::from_secs(5));
    clock.advance(Duration::from_secs(6));
    cache.run_pending();
    cache.insert(3, 30);
    cache.insert(4, 40);
    cache.insert(5, 50);
    cache.insert(4, 4000);
    let all: Vec<_> = receiver.try_iter().collect();
    assert_eq!(
        all,
        [
            (replaced(1, 10, 11), 10, 1),
            (notified(1, 11, RemovalCause::Explicit), 11, 2),
            (notified(2, 20, RemovalCause::Expired), 20, 6),
            (notified(3, 30, RemovalCause::Evicted), 30, 0),
            (notified(4, 40, RemovalCause::Explicit), 40, 0),
        ]
    );
    assert_eq!(cache.stats().notifications, 5);
}

#[test]
fn an_insertion_over_an_expired_entry_notifies_of_its_expiry() {
    let clock = FakeClock::new();
    let (listener, receiver) = recorder();
    let cache = Cache::builder()
        .capacity(10)
        .clock(clock.clone())
        .timer_tick(Duration::from_secs(1_000))
        .maintenance(Maintenance::Inline)
        .listener(listener)
        .build()
        .unwrap();
    for key in 0..3 {
        cache.insert_with_ttl(key, key, Duration::from_secs(1));
    }
    clock.advance(Duration::from_secs(2));
    assert_eq!(cache.insert(0, 10), Inserted::Added);
    assert_eq!(cache.insert_if_absent(1, 11), Inserted::Added);
    assert_eq!(cache.remove(&2), None);
    let all: Vec<_> = receiver.try_iter().collect();
    assert_eq!(all, [0, 1, 2].map(|key| notified(key, key, RemovalCause::Expired)));
}

#[test]
fn removals_are_notified_as_they_happen_in_every_configuration() {
    for_each_config(|config| {
        let ledger = Ledger::new();
        let counts: Arc<Mutex<HashMap<RemovalCause, u64>>> = Arc::default();
        let listened = Arc::clone(&counts);
        let listener = Listener::new(move |removal: &Removal<'_, u64, Counted>| {
            assert_eq!(*removal.key, removal.value.id() % 100, "another key's value");
            *listened.lock().unwrap().entry(removal.cause).or_default() += 1;
        });
        let cache = config.builder::<u64, Counted>(40).listener(listener).build().unwrap();
        let mut rng = Rng::new(7);
        for step in 0..2_000 {
            let key = rng.below(100);
            match rng.below(6) {
                0..4 => drop(cache.insert(key, ledger.make(key + 100 * step))),
                4 => drop(cache.remove_if(&key, |_, _| true)),
                _ => drop(cache.replace(key, ledger.make(key + 100 * step))),
            }
        }
        cache.retain(|key, _| key % 2 == 0);
        flush(&cache);
        let stats = cache.stats();
        let counts = std::mem::take(&mut *counts.lock().unwrap());
        let count = |cause| counts.get(&cause).copied().unwrap_or(0);
        assert_eq!(count(RemovalCause::Replaced), stats.replacements);
        assert_eq!(count(RemovalCause::Explicit), stats.removals);
        assert_eq!(count(RemovalCause::Evicted), stats.evictions);
        let gone = stats.replacements + stats.removals + stats.evictions;
        assert_eq!((stats.notifications, stats.notifications_waiting), (gone, 0));
        assert_eq!(cache.len() as u64, stats.inserts - stats.removals - stats.evictions);
        ledger.assert_living(cache.len(), "after flush");
        cache.validate();
        drop(cache);
        ledger.assert_living(0, "after the drop");
    });
}

/// 8 threads write the same few keys. The notifications of each key must form one chain, in which
/// each value is the one that replaced the value before it, or came after it, as far as its writer
/// knows.
fn removals_of_a_key_come_in_order(maintenance: Maintenance, capacity: usize, seed: u64) {
    const THREADS: u64 = 8;
    const KEYS: u64 = 6;
    const ROUNDS: u64 = 4_000;
    /// When a write began and ended, by a clock that all threads advance.
    #[derive(Clone, Copy)]
    struct Write {
        began: u64,
        ended: u64,
    }
    let notified: Arc<Mutex<Vec<Notified>>> = Arc::default();
    let listened = Arc::clone(&notified);
    let listener = Listener::new(move |removal: &Removal<'_, u64, u64>| {
        listened.lock().unwrap().push(record(removal));
    })
    .queue(64);
    let cache = Cache::builder()
        .capacity(capacity)
        .partitions(2)
        .policy(Policy::fifo())
        .maintenance(maintenance)
        .listener(listener)
        .build()
        .unwrap();
    let clock = AtomicU64::new(0);
    let now = || clock.fetch_add(1, Ordering::SeqCst);
    let barrier = Barrier::new(THREADS as usize);
    // For each value, when it was inserted; and the values that were returned by removals, with the
    // times.
    let inserted: Mutex<HashMap<u64, Write>> = Mutex::default();
    let removed: Mutex<Vec<(u64, u64, Write)>> = Mutex::default();
    thread::scope(|scope| {
        for number in 0..THREADS {
            let (cache, barrier, now, inserted, removed) =
                (&cache, &barrier, &now, &inserted, &removed);
            scope.spawn(move || {
                let mut rng = Rng::new(seed * 100 + number);
                let (mut inserts, mut removals) = (Vec::new(), Vec::new());
                barrier.wait();
                for round in 0..ROUNDS {
                    let key = rng.below(KEYS);
                    let value = number * ROUNDS + round;
                    let began = now();
                    match rng.below(8) {
                        0..5 => {
                            cache.insert(key, value);
                            inserts.push((value, Write { began, ended: now() }));
                        }
                        5 => {
                            if cache.insert_if_absent(key, value).is_stored() {
                                inserts.push((value, Write { began, ended: now() }));
                            }
                        }
                        _ => {
                            if let Some(old) = cache.remove(&key) {
                                removals.push((key, old, Write { began, ended: now() }));
                            }
                        }
                    }
                }
                inserted.lock().unwrap().extend(inserts);
                removed.lock().unwrap().extend(removals);
            });
        }
    });
    flush(&cache);
    let (inserted, removed) = (inserted.into_inner().unwrap(), removed.into_inner().unwrap());
    let notified = notified.lock().unwrap().clone();
    let mut by_key: HashMap<u64, Vec<Notified>> = HashMap::new();
    for notification in &notified {
        by_key.entry(notification.key).or_default().push(*notification);
    }
    // Each value that left was notified exactly once.
    let mut values: Vec<_> = notified.iter().map(|notified| notified.value).collect();
    values.sort_unstable();
    let count = values.len();
    values.dedup();
    assert_eq!(values.len(), count, "a removal was notified twice");
    assert_eq!(count + cache.len(), inserted.len(), "a removal was not notified");
    for (key, notifications) in &by_key {
        for (at, pair) in notifications.windows(2).enumerate() {
            let [first, second] = pair else { unreachable!() };
            // The value that replaced it leaves next.
            if let Some(new_value) = first.new_value {
                assert_eq!(new_value, second.value, "key {key}, notification {at}");
            }
            // Its insertion did not end before the insertion of the value that left before it
            // began.
            let (a, b) = (inserted[&first.value], inserted[&second.value]);
            assert!(b.ended > a.began, "key {key}: {first:?} was notified before {second:?}");
        }
        // A removal that ended before another began is notified before it.
        let place: HashMap<u64, usize> =
            notifications.iter().enumerate().map(|(at, notified)| (notified.value, at)).collect();
        let mut own: Vec<_> = removed.iter().filter(|(of, ..)| of == key).collect();
        own.sort_by_key(|(.., write)| write.began);
        let mut latest_ended: VecDeque<(u64, usize)> = VecDeque::new();
        let mut last_place = 0;
        for (_, value, write) in own {
            while latest_ended.front().is_some_and(|(ended, _)| *ended < write.began) {
                let (_, at) = latest_ended.pop_front().unwrap();
                last_place = last_place.max(at);
            }
            let at = place[value];
            assert!(at >= last_place, "key {key}: the removal of {value} was notified too early");
            let position = latest_ended.partition_point(|(ended, _)| *ended < write.ended);
            latest_ended.insert(position, (write.ended, at));
        }
        // The value that was notified last is no longer in the cache.
        let last = notifications.last().unwrap();
        assert_eq!(cache.peek(key), last.new_value.or(cache.peek(key)), "key {key}");
    }
    assert!(notified.len() > 1_000, "too few notifications for the test to mean anything");
    cache.validate();
}

#[test]
fn removals_of_a_key_come_in_order_under_8_threads() {
    for seed in seeds(1, 3) {
        println!("seed {seed}");
        for maintenance in [Maintenance::Background, Maintenance::Inline] {
            // With room for all keys, and with so little room that most leave by eviction.
            for capacity in [1000, 4] {
                removals_of_a_key_come_in_order(maintenance, capacity, seed);
            }
        }
    }
}
