//! What renewed values are stored with, when they are renewed, and what is counted.

use std::task::{Context, Waker};

use larder::test::FakeClock;
use larder::{
    Builder, Cache, InsertOptions, Load, LoadError, LoadOptions, LoadTask, Loaded, LoadingCache,
    Policy,
};

use super::background::wait_until;
use super::stale::{SECOND, builder, loading, manual};

/// The context of a load.
type Given = Load<u64, u64>;

/// A cache of which each load calls `load` with its context.
fn with_loader(
    builder: Builder<u64, u64>,
    load: impl Fn(&Given) -> Loaded<u64> + Send + Sync + 'static,
) -> LoadingCache<u64, u64, String> {
    builder.build_with_loader(move |_, context| Ok(load(context))).unwrap()
}

#[test]
fn a_load_in_the_background_sets_lifetime_tags_and_whether_it_may_be_evicted() {
    let (executor, tasks) = manual();
    let clock = FakeClock::new();
    let builder = builder(&clock).policy(Policy::lru()).load_executor(executor);
    let cache = with_loader(builder, |load| {
        load.set_ttl(7 * SECOND);
        load.set_tags(&["a", "b"]);
        load.set_unevictable();
        Loaded::Store(2)
    });
    cache.insert_with_tags(1, 1, ["old"]);
    assert!(cache.refresh(&1) && cache.refresh(&2));
    tasks.try_iter().for_each(LoadTask::run);
    for key in [1, 2] {
        let info = cache.inspect(&key).unwrap();
        assert_eq!((cache.peek(&key), info.expires_in), (Some(2), Some(7 * SECOND)));
        assert_eq!(cache.tags_of(&key), Some(vec!["a".to_owned(), "b".to_owned()]));
    }
    for key in 10..1000 {
        cache.insert(key, key);
    }
    assert!(cache.contains_key(&1) && cache.contains_key(&2), "they were evicted");
    assert!(cache.invalidate_tag("b") && cache.peek(&1).is_none());
}

#[test]
fn a_value_that_is_not_modified_keeps_its_tags_and_whether_it_may_be_evicted() {
    type Setting = fn(&Given);
    let settings: [(Setting, &str, u64); 4] = [
        (|_| (), "old", 100),
        (|load| load.set_ttl(500 * SECOND), "old", 500),
        (Load::set_unevictable, "old", 100),
        (|load| load.set_tags(&["new"]), "new", 100),
    ];
    for (setting, tag, lifetime) in settings {
        // In time; after the entry has expired and has left; after it was evicted.
        for leaves in 0..3 {
            let (executor, tasks) = manual();
            let clock = FakeClock::new();
            let builder = builder(&clock)
                .policy(Policy::lru())
                .stale_if_error(10 * SECOND)
                .load_executor(executor);
            let cache = with_loader(builder, move |load| {
                setting(load);
                load.not_modified()
            });
            cache.insert_with_tags(1, 1, ["old"]);
            assert!(cache.refresh(&1));
            match leaves {
                0 => clock.advance(50 * SECOND),
                1 => {
                    clock.advance(150 * SECOND);
                    cache.run_pending();
                }
                _ => (10..1000).for_each(|key| {
                    cache.insert(key, key);
                }),
            }
            assert_eq!(cache.peek(&1).is_some(), leaves == 0);
            tasks.try_recv().unwrap().run();
            let info = cache.inspect(&1).expect("it was stored anew");
            assert_eq!(cache.tags_of(&1), Some(vec![tag.to_owned()]));
            assert_eq!(info.expires_in.map(|left| left.as_secs()), Some(lifetime));
            assert!(cache.invalidate_tag(tag) && cache.peek(&1).is_none());
            cache.validate();
        }
    }
    // A change during the load wins, that of a tag too.
    let (executor, tasks) = manual();
    let builder = builder(&FakeClock::new()).load_executor(executor);
    let cache = with_loader(builder, Load::not_modified);
    for change in 0..3 {
        cache.insert_with_tags(1, 1, ["old"]);
        assert!(cache.refresh(&1));
        match change {
            0 => drop(cache.remove(&1)),
            1 => drop(cache.invalidate_tag("old")),
            _ => cache.clear(),
        }
        tasks.try_recv().unwrap().run();
        assert_eq!(cache.peek(&1), None, "change {change}");
    }
}

#[test]
fn a_value_that_is_not_modified_stays_unevictable_with_other_tags() {
    let builder = builder(&FakeClock::new()).policy(Policy::lru());
    let cache = with_loader(builder.load_executor(LoadTask::run), |load| {
        load.set_tags(&["new"]);
        load.not_modified()
    });
    cache.insert_with(1, 1, InsertOptions::new().unevictable());
    assert!(cache.refresh(&1));
    assert_eq!(cache.tags_of(&1), Some(vec!["new".to_owned()]));
    for key in 10..1000 {
        cache.insert(key, key);
    }
    assert_eq!(cache.peek(&1), Some(1));
}

#[test]
fn a_value_that_is_not_modified_is_young_again() {
    let (executor, tasks) = manual();
    let clock = FakeClock::new();
    let builder = builder(&clock).refresh_after_write(10 * SECOND).load_executor(executor);
    let (cache, source) = loading(builder);
    assert_eq!(cache.get(&1), Ok(1));
    source.lock().unwrap().0 = Ok(Loaded::NotModified);
    for _ in 0..30 {
        clock.advance(11 * SECOND);
        assert_eq!(cache.get(&1), Ok(1));
        tasks.try_recv().unwrap().run();
        clock.advance(9 * SECOND);
        assert_eq!(cache.get(&1), Ok(1));
        assert!(tasks.try_recv().is_err(), "it was renewed a moment ago");
    }
}

#[test]
fn a_rejected_value_leaves_the_old_one() {
    let (executor, tasks) = manual();
    let clock = FakeClock::new();
    let builder = builder(&clock)
        .refresh_after_write(10 * SECOND)
        .stale_if_error(50 * SECOND)
        .load_executor(executor);
    let (cache, source) = loading(builder);
    assert_eq!(cache.get(&1), Ok(1));
    source.lock().unwrap().0 = Ok(Loaded::Reject(2));
    clock.advance(11 * SECOND);
    assert_eq!(cache.get(&1), Ok(1));
    tasks.try_recv().unwrap().run();
    assert_eq!(cache.peek(&1), Some(1));
    clock.advance(95 * SECOND);
    assert_eq!((cache.get(&1), cache.peek(&1)), (Ok(2), None));
}

#[test]
fn expiry_waits_for_no_refresh() {
    let (executor, tasks) = manual();
    let clock = FakeClock::new();
    let builder = builder(&clock).refresh_after_write(10 * SECOND).load_executor(executor);
    let (cache, source) = loading(builder);
    assert_eq!(cache.get(&1), Ok(1));
    source.lock().unwrap().0 = Ok(Loaded::Store(2));
    clock.advance(60 * SECOND);
    assert_eq!(cache.get(&1), Ok(1));
    let task = tasks.try_recv().unwrap();
    clock.advance(41 * SECOND);
    cache.run_pending();
    assert_eq!((cache.peek(&1), cache.len(), cache.cache().get(&1)), (None, 0, None));
    std::thread::scope(|scope| {
        // A call that needs the value now waits for the load that is under way.
        let waiting = scope.spawn(|| cache.get(&1));
        wait_until("the call waits", || cache.stats().load_waits == 1);
        task.run();
        assert_eq!(waiting.join().unwrap(), Ok(2));
    });
    assert_eq!(source.lock().unwrap().1, 2);
}

#[test]
fn values_are_renewed_by_the_share_of_their_lifetimes() {
    let (executor, tasks) = manual();
    let clock = FakeClock::new();
    let (cache, _) = loading(builder(&clock).eager_refresh(0.8).load_executor(executor));
    assert_eq!(cache.get(&1), Ok(1));
    cache.insert_with_ttl(2, 2, 10 * SECOND);
    cache.insert_with_ttl(3, 3, 1000 * SECOND);
    clock.advance(79 * SECOND / 10);
    assert_eq!((cache.get(&2), tasks.try_recv().is_err()), (Ok(2), true));
    clock.advance(2 * SECOND / 10);
    assert_eq!((cache.get(&2), tasks.try_recv().is_ok()), (Ok(2), true));
    clock.advance(71 * SECOND);
    assert_eq!((cache.get(&1), tasks.try_recv().is_err()), (Ok(1), true));
    clock.advance(SECOND);
    assert_eq!((cache.get(&1), tasks.try_recv().is_ok()), (Ok(1), true));
    assert_eq!((cache.get(&3), tasks.try_recv().is_err()), (Ok(3), true));
}

#[test]
fn lookups_that_do_not_load_renew_nothing_either() {
    let (executor, tasks) = manual();
    let clock = FakeClock::new();
    let builder = builder(&clock)
        .refresh_after_write(10 * SECOND)
        .stale_while_revalidate(50 * SECOND)
        .load_executor(executor);
    let (cache, source) = loading(builder);
    assert_eq!((cache.peek(&1), cache.read(&1, |value| *value)), (None, None));
    assert_eq!((cache.cache().get(&1), cache.contains_key(&1)), (None, false));
    assert_eq!(source.lock().unwrap().1, 0);
    cache.insert(1, 1);
    clock.advance(11 * SECOND);
    assert_eq!((cache.peek(&1), cache.cache().get(&1)), (Some(1), Some(1)));
    clock.advance(100 * SECOND);
    assert_eq!((cache.peek(&1), cache.cache().get(&1)), (None, None));
    assert!(tasks.try_recv().is_err());
}

#[test]
fn loads_in_the_background_are_counted_and_timed() {
    let (executor, tasks) = manual();
    let clock = FakeClock::new();
    let within = clock.clone();
    let cache: LoadingCache<u64, u64, String> = builder(&clock)
        .refresh_after_write(10 * SECOND)
        .stale_while_revalidate(50 * SECOND)
        .load_executor(executor)
        .build_with_loader(move |_, load| {
            within.advance(3 * SECOND);
            match load.stale() {
                Some(2) => Err("down".to_owned()),
                old => Ok(Loaded::Store(old.map_or(1, |old| old + 1))),
            }
        })
        .unwrap();
    assert_eq!(cache.get(&1), Ok(1));
    assert_eq!((cache.stats().loads, cache.stats().load_time), (1, 3 * SECOND));
    clock.advance(11 * SECOND);
    assert_eq!((cache.get(&1), cache.get(&1)), (Ok(1), Ok(1)));
    tasks.try_recv().unwrap().run();
    clock.advance(101 * SECOND);
    assert_eq!((cache.get(&1), cache.get(&1)), (Ok(2), Ok(2)));
    tasks.try_recv().unwrap().run();
    let stats = cache.stats();
    assert_eq!((stats.loads, stats.refreshes, stats.load_failures), (3, 2, 1));
    assert_eq!((stats.stale_hits, stats.load_time), (2, 9 * SECOND));
    assert_eq!((stats.load_waits, stats.load_handovers, stats.loads_discarded), (0, 0, 0));
}

/// Without a bound loader: the call that has begun to renew the value vanishes.
#[test]
fn a_refresh_by_a_future_that_is_dropped_is_no_failure() {
    let clock = FakeClock::new();
    let cache: Cache<u64, u64> = builder(&clock).refresh_after_write(10 * SECOND).build().unwrap();
    cache.insert(1, 1);
    clock.advance(11 * SECOND);
    {
        let mut renewing =
            Box::pin(cache.get_or_insert_with_async(&1, std::future::pending::<u64>()));
        let mut context = Context::from_waker(Waker::noop());
        assert!(renewing.as_mut().poll(&mut context).is_pending());
        // The others get the old value.
        assert_eq!(cache.get_or_insert_with(&1, || unreachable!("it is being renewed")), 1);
    }
    assert_eq!(cache.get_or_insert_with(&1, || 2), 2, "the next call may try at once");
    assert_eq!((cache.stats().refreshes, cache.stats().load_failures), (2, 0));
    // One that is kept and polled no more delays the others until the load timeout.
    clock.advance(11 * SECOND);
    let mut kept = Box::pin(cache.get_or_insert_with_async(&1, std::future::pending::<u64>()));
    let mut context = Context::from_waker(Waker::noop());
    assert!(kept.as_mut().poll(&mut context).is_pending());
    clock.advance(59 * SECOND);
    assert_eq!(cache.get_or_insert_with(&1, || unreachable!("it is being renewed")), 2);
    clock.advance(2 * SECOND);
    assert_eq!(cache.get_or_insert_with(&1, || 3), 3);
}

#[test]
fn a_value_that_nobody_loaded_or_that_never_expires_is_not_renewed_early() {
    let clock = FakeClock::new();
    let within = clock.clone();
    let (executor, tasks) = manual();
    let cache =
        with_loader(builder(&clock).early_refresh(1.0).load_executor(executor), move |_| {
            within.advance(5 * SECOND);
            Loaded::Store(1)
        });
    cache.insert(1, 1);
    assert_eq!(cache.get(&2), Ok(1));
    cache.expire_after(&2, None);
    clock.advance(99 * SECOND);
    for _ in 0..100 {
        assert_eq!((cache.get(&1), cache.get(&2)), (Ok(1), Ok(1)));
    }
    assert!(tasks.try_recv().is_err());
    // With a huge factor, at once.
    let within = clock.clone();
    let (executor, tasks) = manual();
    let eager = builder(&clock).early_refresh(f64::MAX).load_executor(executor);
    let cache = with_loader(eager, move |_| {
        within.advance(5 * SECOND);
        Loaded::Store(1)
    });
    assert_eq!((cache.get(&1), cache.get(&1)), (Ok(1), Ok(1)));
    assert!(tasks.try_recv().is_ok());
}

#[test]
fn a_deadline_of_a_call_gives_the_old_value_if_there_is_one() {
    let clock = FakeClock::new();
    let cache = builder(&clock).stale_if_error(50 * SECOND).build().unwrap();
    cache.insert(1, 1);
    clock.advance(101 * SECOND);
    let options = LoadOptions::new().load_deadline(2 * SECOND);
    let mut context = Context::from_waker(Waker::noop());
    for (key, expected) in [(1, Ok(Some(1))), (2, Err(LoadError::DeadlineExceeded))] {
        let mut call = Box::pin(cache.get_or_load_async(&key, options, |_| {
            std::future::pending::<Result<Loaded<u64>, String>>()
        }));
        assert!(call.as_mut().poll(&mut context).is_pending());
        clock.advance(2 * SECOND);
        assert_eq!(call.as_mut().poll(&mut context), std::task::Poll::Ready(expected));
    }
}

#[test]
fn huge_settings_are_as_good_as_none() {
    let clock = FakeClock::new();
    let for_ever = std::time::Duration::MAX;
    let builder = builder(&clock)
        .stale_while_revalidate(for_ever)
        .stale_if_error(for_ever)
        .refresh_throttle(for_ever)
        .load_timeout(for_ever)
        .soft_timeout(for_ever - SECOND)
        .hard_timeout(for_ever)
        .load_executor(LoadTask::run);
    let (cache, source) = loading(builder);
    assert_eq!(cache.get(&1), Ok(1));
    source.lock().unwrap().0 = Err("down".to_owned());
    clock.advance(1_000_000 * SECOND);
    for _ in 0..3 {
        assert_eq!(cache.get(&1), Ok(1));
    }
    assert_eq!(source.lock().unwrap().1, 2, "the throttle lasts for ever");
    assert!(cache.refresh(&1));
    source.lock().unwrap().0 = Ok(Loaded::Store(2));
    assert!(cache.refresh(&1));
    assert_eq!((cache.get(&1), cache.peek(&1)), (Ok(2), Some(2)));
}

/// What FusionCache calls `Expire`: the next call loads, and the old value stays for the case that this fails.
#[test]
fn a_value_may_be_made_stale_by_hand() {
    let (executor, tasks) = manual();
    let clock = FakeClock::new();
    let (cache, source) = loading(builder(&clock).stale_if_error(50 * SECOND));
    let revalidating = builder(&clock).stale_while_revalidate(50 * SECOND).load_executor(executor);
    let (revalidating, newer) = loading(revalidating);
    for cache in [&cache, &revalidating] {
        assert_eq!(cache.get(&1), Ok(1));
        clock.advance(SECOND);
        assert!(cache.expire_after(&1, Some(std::time::Duration::from_nanos(1))));
        clock.advance(SECOND);
        assert_eq!(cache.peek(&1), None);
    }
    source.lock().unwrap().0 = Err("down".to_owned());
    assert_eq!(cache.get(&1), Ok(1));
    clock.advance(2 * SECOND);
    source.lock().unwrap().0 = Ok(Loaded::Store(2));
    assert_eq!(cache.get(&1), Ok(2));
    newer.lock().unwrap().0 = Ok(Loaded::Store(2));
    assert_eq!(revalidating.get(&1), Ok(1));
    tasks.try_recv().unwrap().run();
    assert_eq!(revalidating.get(&1), Ok(2));
}

/// A loader of one key that panics in its own call: nothing is stored, and the next call may load at once.
#[test]
fn a_panic_of_a_loader_in_the_call_leaves_the_old_value_and_the_key_free() {
    let clock = FakeClock::new();
    let cache = builder(&clock)
        .stale_if_error(50 * SECOND)
        .build_with_loader(|key: &u64, load| match load.stale() {
            Some(1) => panic!("a loader"),
            _ => Ok::<_, String>(Loaded::Store(*key)),
        })
        .unwrap();
    cache.insert(7, 1);
    clock.advance(101 * SECOND);
    for _ in 0..2 {
        let call = std::panic::AssertUnwindSafe(|| cache.get(&7));
        assert!(std::panic::catch_unwind(call).is_err());
    }
    cache.insert(7, 2);
    clock.advance(101 * SECOND);
    assert_eq!(cache.get(&7), Ok(7));
    cache.validate();
}
