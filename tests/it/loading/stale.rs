//! Values that are renewed, and values that are used after their deadlines.

use std::cell::Cell;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use larder::test::FakeClock;
use larder::{Builder, Cache, LoadError, LoadOptions, LoadTask, Loaded, LoadingCache, Maintenance};

pub(super) const SECOND: Duration = Duration::from_secs(1);

pub(super) fn builder(clock: &FakeClock) -> Builder<u64, u64> {
    Cache::builder()
        .capacity(100)
        .clock(clock.clone())
        .maintenance(Maintenance::Inline)
        .time_to_live(100 * SECOND)
}

/// An executor that keeps its tasks until the test runs them.
pub(super) fn manual() -> (impl Fn(LoadTask) + Send + Sync + 'static, Receiver<LoadTask>) {
    let (sender, tasks) = channel();
    let sender: Mutex<Sender<LoadTask>> = Mutex::new(sender);
    (move |task| drop(sender.lock().unwrap().send(task)), tasks)
}

/// A loader whose answer the test sets, and which counts.
pub(super) type Source = Arc<Mutex<(Result<Loaded<u64>, String>, u64)>>;

pub(super) fn loading(builder: Builder<u64, u64>) -> (LoadingCache<u64, u64, String>, Source) {
    let source: Source = Arc::new(Mutex::new((Ok(Loaded::Store(1)), 0)));
    let shared = Arc::clone(&source);
    let cache = builder.build_with_loader(move |_: &u64, _| {
        let mut source = shared.lock().unwrap();
        source.1 += 1;
        source.0.clone()
    });
    (cache.unwrap(), source)
}

#[test]
fn an_ageing_value_is_served_while_one_load_renews_it_in_the_background() {
    let (executor, tasks) = manual();
    let clock = FakeClock::new();
    let builder = builder(&clock).refresh_after_write(10 * SECOND).load_executor(executor);
    let (cache, source) = loading(builder);
    assert_eq!(cache.get(&1), Ok(1));
    source.lock().unwrap().0 = Ok(Loaded::Store(2));
    clock.advance(9 * SECOND);
    assert_eq!(cache.get(&1), Ok(1));
    assert!(tasks.try_recv().is_err(), "a young value was renewed");
    clock.advance(2 * SECOND);
    assert_eq!((cache.get(&1), cache.get(&1)), (Ok(1), Ok(1)));
    let task = tasks.try_recv().unwrap();
    assert!(tasks.try_recv().is_err(), "two loads at once");
    task.run();
    assert_eq!(cache.get(&1), Ok(2));
    assert_eq!(cache.stats().refreshes, 1);
    assert_eq!(source.lock().unwrap().1, 2);
    // A refresh that fails keeps the old value until its end, and is not tried again at once.
    source.lock().unwrap().0 = Err("down".to_owned());
    clock.advance(11 * SECOND);
    assert_eq!(cache.get(&1), Ok(2));
    tasks.try_recv().unwrap().run();
    assert_eq!(cache.get(&1), Ok(2));
    assert!(tasks.try_recv().is_err(), "the throttle is one second");
    clock.advance(2 * SECOND);
    assert_eq!(cache.get(&1), Ok(2));
    tasks.try_recv().unwrap().run();
    clock.advance(100 * SECOND);
    assert!(matches!(cache.get(&1), Err(LoadError::Failed(_))));
}

#[test]
fn an_expired_value_is_served_while_it_is_renewed_and_a_change_wins() {
    let (executor, tasks) = manual();
    let clock = FakeClock::new();
    let builder = builder(&clock).stale_while_revalidate(50 * SECOND).load_executor(executor);
    let (cache, source) = loading(builder);
    assert_eq!(cache.get(&1), Ok(1));
    clock.advance(101 * SECOND);
    source.lock().unwrap().0 = Ok(Loaded::Store(2));
    assert_eq!((cache.peek(&1), cache.get(&1), cache.get(&1)), (None, Ok(1), Ok(1)));
    assert_eq!(cache.stats().stale_hits, 2);
    cache.insert(1, 7);
    tasks.try_recv().unwrap().run();
    assert_eq!((cache.get(&1), cache.stats().loads_discarded), (Ok(7), 1));
    // Beyond the window it is loaded anew.
    clock.advance(151 * SECOND);
    assert_eq!(cache.get(&1), Ok(2));
}

#[test]
fn an_expired_value_is_served_if_the_loader_fails() {
    let clock = FakeClock::new();
    let (cache, source) = loading(builder(&clock).stale_if_error(50 * SECOND));
    assert_eq!(cache.get(&1), Ok(1));
    source.lock().unwrap().0 = Err("down".to_owned());
    clock.advance(101 * SECOND);
    assert_eq!((cache.get(&1), cache.get(&1)), (Ok(1), Ok(1)));
    assert_eq!(source.lock().unwrap().1, 2, "the throttle holds the second try back");
    assert_eq!(cache.stats().stale_hits, 2);
    clock.advance(2 * SECOND);
    source.lock().unwrap().0 = Ok(Loaded::Store(2));
    assert_eq!(cache.get(&1), Ok(2));
    clock.advance(151 * SECOND);
    source.lock().unwrap().0 = Err("down".to_owned());
    assert!(matches!(cache.get(&1), Err(LoadError::Failed(_))), "the window is over");
}

#[test]
fn timeouts_end_the_wait_and_the_load_goes_on() {
    let (executor, tasks) = manual();
    let clock = FakeClock::new();
    let builder = builder(&clock)
        .stale_if_error(50 * SECOND)
        .soft_timeout(SECOND)
        .hard_timeout(3 * SECOND)
        .load_executor(executor);
    let (cache, source) = loading(builder);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| cache.get(&1));
        let task = tasks.recv().unwrap();
        clock.advance(4 * SECOND);
        assert_eq!(waiting.join().unwrap(), Err(LoadError::TimedOut));
        task.run();
        assert_eq!(cache.peek(&1), Some(1));
        clock.advance(101 * SECOND);
        source.lock().unwrap().0 = Ok(Loaded::Store(2));
        let waiting = scope.spawn(|| cache.get(&1));
        let task = tasks.recv().unwrap();
        clock.advance(SECOND);
        assert_eq!(waiting.join().unwrap(), Ok(1), "the soft timeout has passed");
        task.run();
        assert_eq!(cache.get(&1), Ok(2));
    });
}

#[test]
fn an_executor_may_drop_tasks_and_run_them_inline() {
    let clock = FakeClock::new();
    let dropping = builder(&clock).refresh_after_write(10 * SECOND).hard_timeout(SECOND);
    let (cache, source) = loading(dropping.load_executor(drop::<LoadTask>));
    assert_eq!(cache.get(&1), Ok(1), "the call runs the loader itself");
    clock.advance(11 * SECOND);
    source.lock().unwrap().0 = Ok(Loaded::Store(2));
    assert_eq!((cache.get(&1), cache.get(&1)), (Ok(1), Ok(1)));
    assert_eq!(source.lock().unwrap().1, 1);
    let inline = builder(&clock).refresh_after_write(10 * SECOND).hard_timeout(SECOND);
    let (cache, source) = loading(inline.load_executor(LoadTask::run));
    assert_eq!(cache.get(&1), Ok(1));
    clock.advance(11 * SECOND);
    source.lock().unwrap().0 = Ok(Loaded::Store(2));
    assert_eq!((cache.get(&1), cache.get(&1)), (Ok(1), Ok(2)));
}

#[test]
fn a_load_that_returns_after_its_cache_is_gone_is_dropped() {
    let (executor, tasks) = manual();
    let clock = FakeClock::new();
    let (cache, _) = loading(builder(&clock).load_executor(executor));
    assert!(cache.refresh(&1) && !cache.refresh(&1));
    assert_eq!(cache.refresh_many(&[1, 2, 3]), 2);
    drop(cache);
    tasks.try_iter().for_each(LoadTask::run);
}

#[test]
fn a_value_that_is_not_modified_gets_a_new_lifetime() {
    let (executor, tasks) = manual();
    let clock = FakeClock::new();
    let builder = builder(&clock).stale_while_revalidate(50 * SECOND).load_executor(executor);
    let (cache, source) = loading(builder);
    assert_eq!(cache.get(&1), Ok(1));
    source.lock().unwrap().0 = Ok(Loaded::NotModified);
    clock.advance(99 * SECOND);
    for _ in 0..3 {
        clock.advance(2 * SECOND);
        assert_eq!((cache.peek(&1), cache.get(&1)), (None, Ok(1)));
        tasks.try_recv().unwrap().run();
        clock.advance(99 * SECOND);
        assert_eq!(cache.peek(&1), Some(1));
    }
    assert_eq!(cache.get(&2), Err(LoadError::NotLoaded), "there is no stale value");
}

/// Without a loader that is bound, the call that finds the value due renews it itself.
#[test]
fn a_closure_renews_in_its_own_call() {
    let clock = FakeClock::new();
    let cache = builder(&clock)
        .refresh_after_write(10 * SECOND)
        .stale_if_error(50 * SECOND)
        .build()
        .unwrap();
    assert_eq!(cache.get_or_insert_with(&1, || 1), 1);
    clock.advance(11 * SECOND);
    let seen = Cell::new(None);
    let renewed = cache.get_or_load(&1, LoadOptions::new(), |load| {
        seen.set(load.stale().copied());
        // The others get the old value meanwhile, and so does the loader itself.
        assert_eq!(cache.get_or_insert_with(&1, || unreachable!()), 1);
        Ok::<_, String>(Loaded::Store(2))
    });
    assert_eq!((renewed, seen.get()), (Ok(Some(2)), Some(1)));
    clock.advance(11 * SECOND);
    let failed = cache.try_get_or_insert_with(&1, || Err::<u64, _>("down".to_owned()));
    assert_eq!(failed, Ok(2));
    clock.advance(100 * SECOND);
    let failed = cache.try_get_or_insert_with(&1, || Err::<u64, _>("down".to_owned()));
    assert_eq!((failed, cache.stats().stale_hits), (Ok(2), 1));
}

#[test]
fn a_value_that_is_gone_at_the_source_is_not_served_any_more() {
    let clock = FakeClock::new();
    let builder = || builder(&clock).negative_time_to_live(5 * SECOND);
    for (builder, after) in [
        (builder().refresh_after_write(10 * SECOND), 11 * SECOND),
        (builder().stale_while_revalidate(50 * SECOND), 101 * SECOND),
        (builder().stale_if_error(50 * SECOND), 101 * SECOND),
        (builder().stale_if_error(50 * SECOND).atomic_listener(|_| {}), 101 * SECOND),
    ] {
        let cache = builder.build().unwrap();
        cache.insert(1, 10);
        clock.advance(after);
        assert_eq!(cache.optionally_get_or_insert_with(&1, || None), None);
        assert_eq!(cache.optionally_get_or_insert_with(&1, || Some(11)), None, "it is remembered");
        assert_eq!((cache.get(&1), cache.len(), cache.stats().loads), (None, 0, 1));
        clock.advance(6 * SECOND);
        assert_eq!(cache.optionally_get_or_insert_with(&1, || Some(11)), Some(11));
        // A change during the load wins.
        clock.advance(after);
        let gone = cache.optionally_get_or_insert_with(&1, || {
            cache.insert(1, 12);
            None
        });
        assert_eq!((gone, cache.get(&1), cache.is_known_missing(&1)), (None, Some(12), false));
        cache.validate();
    }
    // In the background.
    let (executor, tasks) = manual();
    let (cache, source) = loading(builder().load_executor(executor));
    assert_eq!(cache.get(&1), Ok(1));
    source.lock().unwrap().0 = Ok(Loaded::Missing);
    assert!(cache.refresh(&1));
    assert_eq!(cache.get(&1), Ok(1));
    tasks.try_recv().unwrap().run();
    assert_eq!((cache.get(&1), cache.get_optional(&1)), (Err(LoadError::NotLoaded), Ok(None)));
    assert_eq!(source.lock().unwrap().1, 2);
}

#[test]
fn calls_renew_a_value_early_with_the_probability_of_xfetch() {
    let clock = FakeClock::new();
    let hasher = larder::RandomState::with_seeds(1, 2, 3, 4);
    let cache = builder(&clock).early_refresh(1.0).hasher(hasher).build().unwrap();
    let (mut renewed, rounds) = (0, 4000);
    for key in 0..rounds {
        let load = || {
            clock.advance(8 * SECOND);
            1
        };
        cache.get_or_insert_with(&key, load);
        clock.advance(92 * SECOND);
        cache.get_or_insert_with(&key, || {
            renewed += 1;
            2
        });
    }
    let (share, expected) = (f64::from(renewed) / rounds as f64, (-1.0_f64).exp());
    assert!((share - expected).abs() < 0.03, "{share} instead of {expected}");
}

#[test]
fn a_loader_that_asks_for_its_own_key_gets_the_value_that_it_renews() {
    let clock = FakeClock::new();
    let cache = builder(&clock).stale_while_revalidate(50 * SECOND).build().unwrap();
    cache.insert(1, 10);
    clock.advance(101 * SECOND);
    let renewed = cache.try_get_or_insert_with(&1, || {
        cache.try_get_or_insert_with(&1, || Ok::<_, &str>(0)).map(|old| old + 1).map_err(|_| "none")
    });
    assert_eq!((renewed, cache.get(&1)), (Ok(11), Some(11)));
    // Where there is no such value, it is an error.
    clock.advance(151 * SECOND);
    let renewed = cache.try_get_or_insert_with(&1, || {
        let own = cache.try_get_or_insert_with(&1, || Ok::<_, &str>(0));
        assert_eq!(own, Err(LoadError::Reentrant));
        Ok::<_, &str>(12)
    });
    assert_eq!(renewed, Ok(12));
}

#[test]
fn a_refresh_whose_value_is_rejected_is_not_tried_again_at_once() {
    let (executor, tasks) = manual();
    let clock = FakeClock::new();
    let builder = builder(&clock).refresh_after_write(10 * SECOND).load_executor(executor);
    let (cache, source) = loading(builder);
    assert_eq!(cache.get(&1), Ok(1));
    source.lock().unwrap().0 = Ok(Loaded::Reject(2));
    clock.advance(11 * SECOND);
    for _ in 0..2 {
        assert_eq!(cache.get(&1), Ok(1));
        tasks.try_recv().unwrap().run();
        assert_eq!(cache.get(&1), Ok(1));
        assert!(tasks.try_recv().is_err(), "it was tried again at once");
        clock.advance(2 * SECOND);
    }
}
