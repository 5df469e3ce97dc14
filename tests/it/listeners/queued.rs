//! Removal listeners: what is told, how often, in which order, and what a listener may do.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Barrier, Mutex, OnceLock, Weak};
use std::thread;
use std::time::Duration;

use larder::test::FakeClock;
use larder::{
    BuildError, Cache, FlushError, Inserted, Listener, Maintenance, Overflow, Policy, Removal,
    RemovalCause,
};

use crate::support::configs::for_each_config;
use crate::support::counted::{Counted, Ledger};
use crate::support::flush;
use crate::support::rng::{Rng, seeds};

/// A notification, by value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Told {
    key: u64,
    value: u64,
    new_value: Option<u64>,
    cause: RemovalCause,
}

fn told(key: u64, value: u64, cause: RemovalCause) -> Told {
    Told { key, value, new_value: None, cause }
}

fn replaced(key: u64, value: u64, new_value: u64) -> Told {
    Told { key, value, new_value: Some(new_value), cause: RemovalCause::Replaced }
}

fn record(removal: &Removal<'_, u64, u64>) -> Told {
    Told {
        key: *removal.key,
        value: *removal.value,
        new_value: removal.new_value.copied(),
        cause: removal.cause,
    }
}

fn recorder() -> (Listener<u64, u64>, Receiver<Told>) {
    let (sender, receiver) = mpsc::channel();
    let listener = Listener::new(move |removal: &Removal<'_, u64, u64>| {
        let _ = sender.send(record(removal));
    });
    (listener, receiver)
}

fn inline(capacity: usize, listener: Listener<u64, u64>) -> Cache<u64, u64> {
    Cache::builder()
        .capacity(capacity)
        .policy(Policy::fifo())
        .maintenance(Maintenance::Inline)
        .listener(listener)
        .build()
        .unwrap()
}

#[test]
fn every_cause_is_told_with_key_value_weight_and_age() {
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
            (told(1, 11, RemovalCause::Explicit), 11, 2),
            (told(2, 20, RemovalCause::Expired), 20, 6),
            (told(3, 30, RemovalCause::Evicted), 30, 0),
            (told(4, 40, RemovalCause::Explicit), 40, 0),
        ]
    );
    assert_eq!(cache.stats().notifications, 5);
}

#[test]
fn an_insertion_over_an_expired_entry_tells_that_it_had_expired() {
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
    assert_eq!(all, [0, 1, 2].map(|key| told(key, key, RemovalCause::Expired)));
}

#[test]
fn removals_are_told_as_they_are_made_in_every_configuration() {
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

/// 8 threads write the same few keys. Each value names the one that it replaced or that it came
/// after, as far as its writer knows; what a listener is told must be one chain for each key.
fn removals_of_a_key_come_in_order(maintenance: Maintenance, capacity: usize, seed: u64) {
    const THREADS: u64 = 8;
    const KEYS: u64 = 6;
    const ROUNDS: u64 = 4_000;
    /// What threads do to keys, by a clock that all of them advance.
    #[derive(Clone, Copy)]
    struct Write {
        began: u64,
        ended: u64,
    }
    let told: Arc<Mutex<Vec<Told>>> = Arc::default();
    let listened = Arc::clone(&told);
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
    // By value: when it was inserted; and the values that were seen to be removed, with when.
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
    let told = told.lock().unwrap().clone();
    let mut by_key: HashMap<u64, Vec<Told>> = HashMap::new();
    for notification in &told {
        by_key.entry(notification.key).or_default().push(*notification);
    }
    // Each value that left was told once, none is missing.
    let mut values: Vec<_> = told.iter().map(|told| told.value).collect();
    values.sort_unstable();
    let count = values.len();
    values.dedup();
    assert_eq!(values.len(), count, "a removal was told twice");
    assert_eq!(count + cache.len(), inserted.len(), "a removal was not told");
    for (key, notifications) in &by_key {
        for (at, pair) in notifications.windows(2).enumerate() {
            let [first, second] = pair else { unreachable!() };
            // What took its place leaves next.
            if let Some(new_value) = first.new_value {
                assert_eq!(new_value, second.value, "key {key}, notification {at}");
            }
            // Its insertion did not end before the one that left before it had begun.
            let (a, b) = (inserted[&first.value], inserted[&second.value]);
            assert!(b.ended > a.began, "key {key}: {first:?} was told before {second:?}");
        }
        // A removal that had ended before another began is told before it.
        let place: HashMap<u64, usize> =
            notifications.iter().enumerate().map(|(at, told)| (told.value, at)).collect();
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
            assert!(at >= last_place, "key {key}: the removal of {value} was told too early");
            let position = latest_ended.partition_point(|(ended, _)| *ended < write.ended);
            latest_ended.insert(position, (write.ended, at));
        }
        // And the last one told is what the cache does not hold any more.
        let last = notifications.last().unwrap();
        assert_eq!(cache.peek(key), last.new_value.or(cache.peek(key)), "key {key}");
    }
    assert!(told.len() > 1_000, "too little left to say anything");
    cache.validate();
}

#[test]
fn removals_of_a_key_come_in_order_under_8_threads() {
    for seed in seeds(1, 3) {
        println!("seed {seed}");
        for maintenance in [Maintenance::Background, Maintenance::Inline] {
            // With room for all keys, and so little that most leave by eviction.
            for capacity in [1000, 4] {
                removals_of_a_key_come_in_order(maintenance, capacity, seed);
            }
        }
    }
}

#[test]
fn a_listener_may_use_the_cache() {
    let cache: Arc<OnceLock<Cache<u64, u64>>> = Arc::default();
    let told: Arc<Mutex<Vec<Told>>> = Arc::default();
    let (inner, listened) = (Arc::clone(&cache), Arc::clone(&told));
    let listener = Listener::new(move |removal: &Removal<'_, u64, u64>| {
        listened.lock().unwrap().push(record(removal));
        let cache = inner.get().unwrap();
        assert_eq!(cache.flush(), Err(FlushError::WithinListener));
        assert_eq!(cache.get(removal.key), removal.new_value.copied());
        if *removal.value < 3 {
            // Its own key again, and others.
            cache.insert(*removal.key, removal.value + 1);
            cache.insert(100 + *removal.value, 1000);
            cache.remove(&(100 + *removal.value));
            cache.run_pending();
        }
    });
    cache.set(inline(1000, listener)).unwrap();
    let cache = cache.get().unwrap();
    cache.insert(1, 0);
    cache.remove(&1);
    assert_eq!(cache.peek(&1), Some(1));
    cache.remove(&1);
    cache.remove(&1);
    cache.remove(&1);
    let causes = |key| -> Vec<_> {
        let all = told.lock().unwrap();
        all.iter().filter(|told| told.key == key).map(|told| (told.value, told.cause)).collect()
    };
    assert_eq!(causes(1), [0, 1, 2, 3].map(|value| (value, RemovalCause::Explicit)));
    for key in 100..103 {
        assert_eq!(causes(key), [(1000, RemovalCause::Explicit)]);
    }
    cache.validate();
}

#[test]
fn what_a_listener_removes_is_told_before_the_call_returns_in_whichever_partition() {
    let cache: Arc<OnceLock<Cache<u64, u64>>> = Arc::default();
    let told: Arc<Mutex<Vec<u64>>> = Arc::default();
    let (inner, listened) = (Arc::clone(&cache), Arc::clone(&told));
    let listener = Listener::new(move |removal: &Removal<'_, u64, u64>| {
        listened.lock().unwrap().push(*removal.key);
        inner.get().unwrap().remove(&(removal.key + 1));
    });
    let builder = Cache::<u64, u64>::builder().maintenance(Maintenance::Inline).partitions(8);
    cache.set(builder.capacity(1_000).listener(listener).build().unwrap()).unwrap();
    let cache = cache.get().unwrap();
    for key in 0..50 {
        cache.insert(key, key);
    }
    cache.remove(&0);
    assert_eq!(*told.lock().unwrap(), (0..50).collect::<Vec<u64>>());
}

#[test]
fn a_listener_of_one_cache_may_fill_another_with_a_listener() {
    let (listener, receiver) = recorder();
    let second = inline(1, listener);
    let filled = second.clone();
    let first = inline(
        1,
        Listener::new(move |removal: &Removal<'_, u64, u64>| {
            filled.insert(*removal.key, *removal.value);
        }),
    );
    for key in 0..4 {
        first.insert(key, key);
    }
    let all: Vec<_> = receiver.try_iter().collect();
    assert_eq!(all, [0, 1].map(|key| told(key, key, RemovalCause::Evicted)));
}

#[test]
fn a_panicking_listener_is_counted_and_stays() {
    for_each_config(|config| {
        let calls = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&calls);
        let listener = Listener::new(move |_: &Removal<'_, u64, u64>| {
            if counted.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) {
                std::panic::panic_any(crate::support::counted::REQUESTED);
            }
        });
        let cache = config.builder(10).listener(listener).build().unwrap();
        for step in 0..200 {
            cache.insert(step % 20, step);
        }
        flush(&cache);
        let stats = cache.stats();
        assert_eq!(stats.notifications, stats.evictions + stats.replacements);
        assert_eq!(stats.notifications, calls.load(Ordering::SeqCst));
        assert_eq!(stats.listener_panics, stats.notifications.div_ceil(2));
        cache.validate();
    });
}

#[test]
fn nothing_is_told_under_a_pin_and_nothing_is_lost_by_that() {
    for maintenance in [Maintenance::Inline, Maintenance::Background] {
        let here = thread::current().id();
        let was_told_here = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&was_told_here);
        let listener = Listener::new(move |_: &Removal<'_, u64, u64>| {
            seen.fetch_or(thread::current().id() == here, Ordering::SeqCst);
        });
        let cache = Cache::builder()
            .capacity(10)
            .maintenance(maintenance)
            .listener(listener)
            .build()
            .unwrap();
        {
            let pinned = cache.pin();
            for key in 0..100 {
                cache.insert(key, key);
            }
            assert!(pinned.get(&1_000).is_none());
            assert!(!was_told_here.load(Ordering::SeqCst), "told while pinned");
        }
        flush(&cache);
        assert_eq!(cache.stats().notifications, cache.stats().evictions);
        assert_eq!(cache.stats().notifications_waiting, 0);
    }
}

#[test]
fn flush_says_that_a_pin_of_its_own_thread_keeps_removals_from_being_told() {
    let (listener, _receiver) = recorder();
    let cache = inline(10, listener);
    cache.insert(1, 1);
    let pinned = cache.pin();
    cache.remove(&1);
    assert_eq!(cache.flush(), Err(FlushError::PinnedHere));
    drop(pinned);
    flush(&cache);
}

type Listen = Box<dyn Fn(&Removal<'_, u64, u64>) + Send + Sync>;

/// A listener that waits at its first notification until the test lets it go on.
fn stuck() -> (Listen, Receiver<()>, mpsc::Sender<()>) {
    let (entered, has_entered) = mpsc::channel();
    let (go_on, wait) = mpsc::channel();
    let wait = Mutex::new(wait);
    let is_first = AtomicBool::new(true);
    let listen = move |_: &Removal<'_, u64, u64>| {
        if is_first.swap(false, Ordering::SeqCst) {
            entered.send(()).unwrap();
            wait.lock().unwrap().recv().unwrap();
        }
    };
    (Box::new(listen), has_entered, go_on)
}

#[test]
fn a_full_queue_that_drops_counts_what_it_drops_and_stays_small() {
    let (listen, has_entered, go_on) = stuck();
    let ledger = Ledger::new();
    let listener = Listener::new(listen).queue(8).overflow(Overflow::Drop);
    let cache = inline(1000, listener);
    thread::scope(|scope| {
        scope.spawn(|| {
            cache.insert(0, 0);
            cache.remove(&0);
        });
        has_entered.recv().unwrap();
        for step in 0..500 {
            cache.insert(1, step);
            assert!(cache.stats().notifications_waiting <= 8);
        }
        let stats = cache.stats();
        assert_eq!(stats.notifications_waiting, 8);
        assert_eq!(stats.notifications_dropped, 499 - 8);
        go_on.send(()).unwrap();
    });
    flush(&cache);
    let stats = cache.stats();
    assert_eq!(stats.notifications + stats.notifications_dropped, 1 + 499);
    assert_eq!(stats.waiting_bytes(), 0, "what was dropped is freed");
    ledger.assert_living(0, "nothing made");
    cache.validate();
}

#[test]
fn a_full_queue_that_blocks_holds_writers_back_and_loses_nothing() {
    for maintenance in [Maintenance::Inline, Maintenance::Background] {
        let (listen, has_entered, go_on) = stuck();
        let listener = Listener::new(listen).queue(8);
        let cache: Cache<u64, u64> = Cache::builder()
            .capacity(1000)
            .partitions(1)
            .maintenance(maintenance)
            .listener(listener)
            .build()
            .unwrap();
        let written = AtomicU64::new(0);
        thread::scope(|scope| {
            scope.spawn(|| {
                cache.insert(0, 0);
                cache.remove(&0);
                cache.run_pending();
            });
            has_entered.recv().unwrap();
            let writer = scope.spawn(|| {
                for step in 0..2_000 {
                    cache.insert(1, step);
                    written.fetch_add(1, Ordering::SeqCst);
                }
            });
            // Until it does not get on any more: the queue is over its bound.
            while cache.stats().notifications_waiting <= 8 {
                thread::yield_now();
            }
            // What has been pushed and not been applied yet, and the call that waits.
            assert!(written.load(Ordering::SeqCst) <= 8 + 64 + 2);
            assert!(!writer.is_finished());
            go_on.send(()).unwrap();
        });
        flush(&cache);
        let stats = cache.stats();
        assert_eq!((stats.notifications, stats.notifications_dropped), (1 + 1_999, 0));
        cache.validate();
    }
}

#[test]
fn a_listener_that_writes_more_than_it_is_told_neither_hangs_nor_grows_without_bound() {
    let cache: Arc<OnceLock<Cache<u64, u64>>> = Arc::default();
    let inner = Arc::clone(&cache);
    let budget = AtomicUsize::new(3_000);
    let most = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&most);
    let listener = Listener::new(move |removal: &Removal<'_, u64, u64>| {
        let cache = inner.get().unwrap();
        for _ in 0..3 {
            if budget
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
                .is_ok()
            {
                cache.insert(*removal.key, 0);
            }
        }
        seen.fetch_max(cache.stats().notifications_waiting, Ordering::SeqCst);
    })
    .queue(16);
    cache.set(inline(10, listener)).unwrap();
    let cache = cache.get().unwrap();
    cache.insert(1, 1);
    cache.insert(1, 2);
    let stats = cache.stats();
    assert!(most.load(Ordering::SeqCst) <= 2 * 64 + 64 + 10, "bounded as documented");
    assert!(stats.notifications_dropped > 0);
    assert_eq!(stats.notifications + stats.notifications_dropped, stats.replacements);
    cache.validate();
}

#[test]
fn flush_says_that_the_listener_is_busy() {
    let (listen, has_entered, go_on) = stuck();
    let cache = inline(10, Listener::new(listen));
    thread::scope(|scope| {
        scope.spawn(|| {
            cache.insert(0, 0);
            cache.remove(&0);
        });
        has_entered.recv().unwrap();
        assert!(matches!(cache.flush(), Err(FlushError::ListenerBusy { .. })));
        go_on.send(()).unwrap();
    });
    flush(&cache);
}

type Jobs = Arc<Mutex<Vec<Box<dyn FnOnce() + Send>>>>;

fn run_all(jobs: &Jobs) -> usize {
    let mut count = 0;
    loop {
        let Some(job) = jobs.lock().unwrap().pop() else { return count };
        job();
        count += 1;
    }
}

#[test]
fn an_executor_gets_the_deliveries() {
    let jobs: Jobs = Arc::default();
    let queue = Arc::clone(&jobs);
    let (listener, receiver) = recorder();
    let cache = inline(2, listener.executor(move |job| queue.lock().unwrap().push(job)));
    for key in 0..5 {
        cache.insert(key, key);
    }
    assert_eq!(receiver.try_iter().count(), 0, "told without the executor");
    assert_eq!(run_all(&jobs), 1, "one job on its way at a time");
    let all: Vec<_> = receiver.try_iter().collect();
    assert_eq!(all, [0, 1, 2].map(|key| told(key, key, RemovalCause::Evicted)));
    cache.insert(5, 5);
    // A job that is never run is no loss.
    jobs.lock().unwrap().clear();
    flush(&cache);
    assert_eq!(receiver.try_iter().count(), 1);
    // What waits is told before the last handle's drop returns; the job finds nothing.
    cache.insert(6, 6);
    drop(cache);
    assert_eq!(receiver.try_iter().count(), 1);
    run_all(&jobs);
    assert_eq!(receiver.try_iter().count(), 0);
}

#[test]
fn a_condition_is_asked_once_of_a_value_even_if_the_write_buffer_is_full() {
    let (listener, receiver) = recorder();
    let cache = inline(2, listener);
    cache.insert(1, 1);
    cache.insert(2, 2);
    let mut asked = 0;
    // What is reported of 1 fills the buffer of so small a cache until the reader has returned.
    let is_removed = cache.remove_and_read(&1, |_, _| {
        cache.remove_if(&2, |_, _| {
            asked += 1;
            true
        })
    });
    assert_eq!((is_removed, asked), (Some(true), 1));
    flush(&cache);
    assert_eq!(receiver.try_iter().count(), 2);
}

#[test]
fn an_executor_that_drops_a_job_is_asked_again() {
    let (listener, receiver) = recorder();
    let is_broken = Arc::new(AtomicBool::new(true));
    let broken = Arc::clone(&is_broken);
    let cache = inline(
        10,
        listener.executor(move |job| {
            if !broken.load(Ordering::SeqCst) {
                job();
            }
        }),
    );
    cache.insert(1, 1);
    cache.remove(&1);
    assert_eq!(receiver.try_iter().count(), 0);
    is_broken.store(false, Ordering::SeqCst);
    cache.insert(2, 2);
    assert_eq!(receiver.try_iter().count(), 1);
}

#[test]
fn no_writer_waits_for_ever_for_an_executor_that_runs_nothing() {
    for panics in [false, true] {
        for mode in [Maintenance::Inline, Maintenance::Background] {
            let (listener, receiver) = recorder();
            let listener = listener.queue(4).executor(move |_job| {
                if panics {
                    std::panic::panic_any(crate::support::counted::REQUESTED);
                }
            });
            let builder = Cache::builder().capacity(100).partitions(1).maintenance(mode);
            let cache = builder.listener(listener).build().unwrap();
            for key in 0..200 {
                cache.insert(key, key);
                cache.remove(&key);
            }
            flush(&cache);
            assert_eq!(receiver.try_iter().count(), 200, "{mode:?}");
        }
    }
}

#[test]
fn an_executor_that_panics_is_counted_and_asked_again() {
    let (listener, receiver) = recorder();
    let is_broken = Arc::new(AtomicBool::new(true));
    let broken = Arc::clone(&is_broken);
    let cache = inline(
        10,
        listener.executor(move |job| {
            if broken.load(Ordering::SeqCst) {
                std::panic::panic_any(crate::support::counted::REQUESTED);
            }
            job();
        }),
    );
    cache.insert(1, 1);
    cache.remove(&1);
    assert!(cache.stats().listener_panics > 0);
    assert_eq!(receiver.try_iter().count(), 0);
    is_broken.store(false, Ordering::SeqCst);
    cache.insert(2, 2);
    assert_eq!(receiver.try_iter().count(), 1);
}

#[test]
fn the_last_handle_may_be_dropped_in_a_job_of_the_executor() {
    let ledger = Ledger::new();
    let slot: Arc<Mutex<Option<Cache<u64, Counted>>>> = Arc::default();
    let taken = Arc::clone(&slot);
    let jobs: Jobs = Arc::default();
    let queue = Arc::clone(&jobs);
    let listener = Listener::new(move |removal: &Removal<'_, u64, Counted>| {
        drop(taken.lock().unwrap().take());
        // Still there, though the cache is gone.
        assert_eq!(removal.value.id(), 1);
    })
    .executor(move |job| queue.lock().unwrap().push(job));
    let cache: Cache<u64, Counted> = Cache::builder()
        .capacity(10)
        .maintenance(Maintenance::Inline)
        .listener(listener)
        .build()
        .unwrap();
    for id in 1..6 {
        cache.insert(id, ledger.make(id));
    }
    cache.remove_if(&1, |_, _| true);
    *slot.lock().unwrap() = Some(cache);
    run_all(&jobs);
    assert!(slot.lock().unwrap().is_none());
    ledger.assert_living(0, "after the job");
}

#[test]
fn what_was_removed_is_told_before_the_last_drop_returns() {
    let (listener, receiver) = recorder();
    let cache: Cache<u64, u64> =
        Cache::builder().capacity(1000).partitions(1).listener(listener).build().unwrap();
    for key in 0..100 {
        cache.insert(key, key);
        cache.remove(&key);
    }
    cache.insert(100, 100);
    drop(cache);
    assert_eq!(receiver.try_iter().count(), 100);
}

#[test]
fn entries_live_until_they_were_told_and_no_longer() {
    let ledger = Ledger::new();
    let jobs: Jobs = Arc::default();
    let queue = Arc::clone(&jobs);
    let listener = Listener::new(|removal: &Removal<'_, u64, Counted>| {
        // `id` notices use after drop.
        assert_eq!(*removal.key, removal.value.id() / 10);
        assert!(removal.new_value.is_none_or(|new| new.id() == removal.value.id() + 1));
    })
    .executor(move |job| queue.lock().unwrap().push(job));
    let cache: Cache<u64, Counted> = Cache::builder()
        .capacity(100)
        .maintenance(Maintenance::Inline)
        .listener(listener)
        .build()
        .unwrap();
    for key in 0..10 {
        for version in 0..5 {
            cache.insert(key, ledger.make(key * 10 + version));
        }
        cache.remove_if(&key, |_, _| true);
    }
    ledger.assert_living(50, "before they were told");
    run_all(&jobs);
    flush(&cache);
    ledger.assert_living(0, "after they were told");
    assert_eq!(cache.stats().listener_panics, 0);
    cache.validate();
}

#[test]
fn a_listener_holding_the_cache_weakly_does_not_keep_it() {
    let (listener, receiver) = recorder();
    let cache = Arc::new(inline(10, listener));
    let weak: Weak<Cache<u64, u64>> = Arc::downgrade(&cache);
    cache.insert(1, 1);
    cache.insert(1, 2);
    drop(cache);
    assert!(weak.upgrade().is_none());
    assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [replaced(1, 1, 2)]);
}

#[test]
fn a_queue_of_nothing_is_refused() {
    let (listener, _receiver) = recorder();
    let built = Cache::builder().capacity(1).listener(listener.queue(0)).build();
    assert!(matches!(built, Err(BuildError::ZeroListenerQueue)));
}
