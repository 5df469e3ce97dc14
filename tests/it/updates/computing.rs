//! Updates and computations of one key: what each answer does, what an entry keeps, rejections, panics, and
//! closures that use the cache.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use larder::test::FakeClock;
use larder::{
    Builder, Cache, Clock, Compute, Computed, Expiry, InsertOptions, Inserted, Listener,
    Maintenance, Rejection, Removal, RemovalCause, UpdateOptions,
};

use crate::support::configs::for_each_config;
use crate::support::{block_on, flush, panic_message};

type Left = Arc<Mutex<Vec<(u32, u64, RemovalCause, Option<u64>)>>>;

/// A function that notes removals, and what it has noted.
fn noting() -> (impl Fn(&Removal<'_, u32, u64>) + Send + Sync + 'static, Left) {
    let left = Left::default();
    let noted = Arc::clone(&left);
    let note = move |it: &Removal<'_, u32, u64>| {
        noted.lock().unwrap().push((*it.key, *it.value, it.cause, it.new_value.copied()));
    };
    (note, left)
}

fn inline() -> Builder<u32, u64> {
    Cache::builder().capacity(100).maintenance(Maintenance::Inline)
}

/// The three ways to compute: optimistic, by a fill within an atomic listener's cache, and asynchronous.
fn for_each_way(mut check: impl FnMut(&str, Cache<u32, u64>, &Left, Answering)) {
    let (note, left) = noting();
    check("optimistic", inline().listener(Listener::new(note)).build().unwrap(), &left, sync);
    let (note, left) = noting();
    check("by a fill", inline().atomic_listener(note).build().unwrap(), &left, sync);
    let (note, left) = noting();
    check("async", inline().listener(Listener::new(note)).build().unwrap(), &left, asynchronous);
}

type Answering =
    fn(&Cache<u32, u64>, u32, &mut dyn FnMut(Option<u64>) -> Compute<u64>) -> Computed<u64>;

fn sync(
    cache: &Cache<u32, u64>,
    key: u32,
    answer: &mut dyn FnMut(Option<u64>) -> Compute<u64>,
) -> Computed<u64> {
    cache.entry(key).and_compute_with(|value| answer(value.copied()))
}

fn asynchronous(
    cache: &Cache<u32, u64>,
    key: u32,
    answer: &mut dyn FnMut(Option<u64>) -> Compute<u64>,
) -> Computed<u64> {
    block_on(cache.entry(key).and_compute_with_async(|value| {
        let answer = answer(value);
        async move { answer }
    }))
}

#[test]
fn each_answer_does_what_it_says_and_the_listener_is_given_the_cause() {
    for_each_way(|way, cache, left, compute| {
        let mut seen = Vec::new();
        let mut compute = |answer: Compute<u64>| {
            compute(&cache, 1, &mut |value| {
                seen.push(value);
                answer
            })
        };
        assert_eq!(compute(Compute::Remove), Computed::StillAbsent, "{way}");
        assert_eq!(compute(Compute::Keep), Computed::StillAbsent);
        assert_eq!(compute(Compute::Put(1)), Computed::Inserted(1));
        assert_eq!(compute(Compute::Keep), Computed::Unchanged(1));
        assert_eq!(compute(Compute::Put(2)), Computed::Replaced(2));
        assert_eq!(compute(Compute::Remove), Computed::Removed(2));
        assert_eq!(compute(Compute::Put(3)), Computed::Inserted(3));
        assert_eq!(seen, [None, None, None, Some(1), Some(1), Some(2), None], "{way}");
        flush(&cache);
        assert_eq!(
            *left.lock().unwrap(),
            [(1, 1, RemovalCause::Replaced, Some(2)), (1, 2, RemovalCause::Explicit, None)],
            "{way}"
        );
        let stats = cache.stats();
        assert_eq!((stats.inserts, stats.replacements, stats.removals), (2, 1, 1), "{way}");
        assert_eq!((stats.rejections, cache.len()), (0, 1));
        cache.validate();
    });
}

#[test]
fn an_expired_or_invalidated_value_is_not_seen_and_makes_room() {
    for is_atomic in [false, true] {
        for is_tagged in [false, true] {
            let clock = FakeClock::new();
            let (note, left) = noting();
            let builder =
                inline().time_to_live(Duration::from_secs(10)).clock(clock.clone()).expire_lazily();
            let cache = match is_atomic {
                true => builder.atomic_listener(note).build().unwrap(),
                false => builder.listener(Listener::new(note)).build().unwrap(),
            };
            let cause = if is_tagged { RemovalCause::Invalidated } else { RemovalCause::Expired };
            let lose = || match is_tagged {
                true => assert!(cache.invalidate_tag("t")),
                false => clock.advance(Duration::from_secs(11)),
            };
            let tagged = UpdateOptions::new().tags(&["t"]);
            for value in 1..=2 {
                let computed = cache.entry_with(1, tagged).and_compute_with(|old| {
                    assert_eq!(old, None);
                    Compute::Put(value)
                });
                assert_eq!(computed, Computed::Inserted(value));
                lose();
            }
            assert_eq!(cache.update(&1, |value| value + 1), None);
            assert_eq!(cache.entry(1).and_compute_with(|_| Compute::Remove), Computed::StillAbsent);
            flush(&cache);
            assert_eq!(*left.lock().unwrap(), [(1, 1, cause, None)]);
            let stats = cache.stats();
            assert_eq!((stats.inserts, stats.replacements), (2, 0));
            assert_eq!(stats.expirations + stats.invalidations, 1);
            assert_eq!(cache.len(), 1, "what is not valid stays until it is replaced or removed");
            cache.validate();
        }
    }
}

#[test]
fn a_changed_value_keeps_tags_and_place_and_begins_its_lifetime_by_the_rules_of_the_cache() {
    let clock = FakeClock::new();
    let seconds = Duration::from_secs;
    let left = |cache: &Cache<u32, u64>| cache.inspect(&1).unwrap().expires_in;
    let options = UpdateOptions::new();
    let add = |n: &u64| n + 1;

    // No rules: a lifetime of its own stays.
    let cache = inline().clock(clock.clone()).build().unwrap();
    cache.insert_with(1, 1, InsertOptions::new().ttl(seconds(10)).tags(&["t"]).unevictable());
    clock.advance(seconds(4));
    assert_eq!(cache.update(&1, add), Some(2));
    assert_eq!(left(&cache), Some(seconds(6)));
    assert_eq!(cache.tags_of(&1), Some(vec!["t".to_owned()]));
    assert_eq!(cache.is_unevictable(&1), Some(true));
    assert_eq!(cache.update_with(&1, options.ttl(seconds(30)), add), Ok(Some(3)));
    assert_eq!(left(&cache), Some(seconds(30)));
    assert!(cache.expire_after(&1, Some(seconds(7))));
    assert_eq!(cache.update_with(&1, options.ttl(seconds(30)).keep_lifetime(), add), Ok(Some(4)));
    assert_eq!(left(&cache), Some(seconds(7)));
    assert!(cache.expire_after(&1, None));
    assert_eq!(cache.update(&1, add), Some(5));
    assert_eq!(left(&cache), None);
    assert_eq!(cache.update_with(&1, options.tags(&["u", "v"]), add), Ok(Some(6)));
    assert_eq!(cache.tags_of(&1).unwrap(), ["u", "v"]);
    cache.invalidate_tag("t");
    assert_eq!(cache.get(&1), Some(6), "it has other tags now");
    assert!(cache.invalidate_tag("v"));
    assert_eq!(cache.update(&1, add), None);
    cache.insert(1, 1);
    cache.update_with(&1, options.unevictable(), add).unwrap();
    assert_eq!(cache.is_unevictable(&1), Some(true));

    // With rules, they hold anew, as for a replacement.
    let cache = inline().time_to_live(seconds(10)).clock(clock.clone()).build().unwrap();
    cache.insert(1, 1);
    clock.advance(seconds(4));
    cache.update_with(&1, options.keep_lifetime(), add).unwrap();
    assert_eq!(left(&cache), Some(seconds(6)));
    cache.update(&1, add);
    assert_eq!(left(&cache), Some(seconds(10)));
    cache.insert_with_ttl(1, 1, seconds(3));
    cache.update_with(&1, options.keep_lifetime(), add).unwrap();
    assert_eq!(left(&cache), Some(seconds(3)));
    cache.update(&1, add);
    assert_eq!(left(&cache), Some(seconds(10)));
    clock.advance(seconds(11));
    assert_eq!(cache.update(&1, add), None);

    // A time to idle goes on, up to the limit that is kept.
    let cache = inline()
        .time_to_live(seconds(20))
        .time_to_idle(seconds(6))
        .clock(clock.clone())
        .build()
        .unwrap();
    cache.insert(1, 1);
    for _ in 0..3 {
        clock.advance(seconds(5));
        assert!(cache.get(&1).is_some());
        cache.update_with(&1, options.keep_lifetime(), add).unwrap();
    }
    assert_eq!(left(&cache), Some(seconds(5)), "the limit of the first insertion");
    clock.advance(seconds(6));
    assert_eq!(cache.update(&1, add), None);
}

/// A clock that stands still, and calls a hook at one of its readings.
#[derive(Default)]
struct Hooked {
    /// The readings left before the hook is called.
    countdown: Mutex<Option<u32>>,
    cache: OnceLock<Cache<u32, u64>>,
}

impl Clock for &'static Hooked {
    fn now_ns(&self) -> u64 {
        let is_due = {
            let mut countdown = self.countdown.lock().unwrap();
            let is_due = *countdown == Some(0);
            *countdown = countdown.and_then(|left| left.checked_sub(1));
            is_due
        };
        if is_due {
            let expire_later = || {
                let hour = Some(Duration::from_secs(3600));
                assert!(self.cache.get().unwrap().expire_after(&1, hour));
            };
            std::thread::scope(|scope| scope.spawn(expire_later).join().unwrap());
        }
        1_000_000_000
    }
}

#[test]
fn a_lifetime_that_is_changed_during_an_update_is_not_lost() {
    let mut hooks = 0;
    for is_idle in [false, true] {
        for countdown in 0..8 {
            let clock: &'static Hooked = Box::leak(Box::default());
            let builder = inline().clock(clock);
            let builder =
                if is_idle { builder.time_to_idle(Duration::from_secs(7200)) } else { builder };
            let cache = builder.build().unwrap();
            assert!(clock.cache.set(cache.clone()).is_ok());
            cache.insert_with_ttl(1, 1, Duration::from_secs(60));
            let keep = UpdateOptions::new().keep_lifetime();
            let updated = cache.update_with(&1, keep, |n| {
                *clock.countdown.lock().unwrap() = Some(countdown);
                n + 1
            });
            assert_eq!(updated, Ok(Some(2)));
            let is_called = clock.countdown.lock().unwrap().take().is_none();
            hooks += u32::from(is_called);
            let expected = Duration::from_secs(if is_called { 3600 } else { 60 });
            let left = cache.inspect(&1).unwrap().expires_in;
            assert_eq!(left, Some(expected), "after {countdown} readings, idle: {is_idle}");
        }
    }
    assert!(hooks >= 4, "{hooks}: the clock was hardly read");
}

#[test]
fn an_expiry_is_asked_about_an_update_as_about_a_replacement() {
    struct Twice;
    impl Expiry<u32, u64> for Twice {
        fn after_create(&self, _: &u32, _: &u64) -> Option<Duration> {
            Some(Duration::from_secs(100))
        }

        fn after_update(&self, _: &u32, value: &u64, left: Option<Duration>) -> Option<Duration> {
            left.map(|left| left * u32::try_from(*value).unwrap())
        }
    }
    let clock = FakeClock::new();
    for is_atomic in [false, true] {
        let builder = inline().expiry(Twice).clock(clock.clone());
        let cache = match is_atomic {
            true => builder.atomic_listener(|_: &Removal<'_, u32, u64>| ()).build().unwrap(),
            false => builder.build().unwrap(),
        };
        let left = || cache.inspect(&1).unwrap().expires_in.unwrap().as_secs();
        cache.fetch_add(&1, 1);
        assert_eq!(left(), 100);
        cache.update(&1, |n| n + 1);
        assert_eq!(left(), 200);
        cache.update_with(&1, UpdateOptions::new().keep_lifetime(), |n| n + 1).unwrap();
        assert_eq!(left(), 200);
        cache.update_with(&1, UpdateOptions::new().ttl(Duration::from_secs(7)), |n| n + 1).unwrap();
        assert_eq!(left(), 7);
    }
}

#[test]
fn a_value_that_cannot_be_stored_is_rejected_and_the_old_one_is_removed() {
    let weighed = || Cache::<u32, u64>::builder().max_weight(10).weigher(|_, value| *value as u32);
    let builders = [
        weighed().maintenance(Maintenance::Inline),
        weighed().atomic_listener(|_: &Removal<'_, u32, u64>| ()),
    ];
    for builder in builders {
        let cache = builder.build().unwrap();
        cache.insert(1, 5);
        let heavy = Rejection::TooHeavy { weight: 50, limit: 10 };
        assert_eq!(cache.update_with(&1, UpdateOptions::new(), |n| n * 10), Err(heavy));
        assert_eq!(cache.get(&1), None, "the old value would be read as if it were current");
        let put = |value| cache.entry(1).and_compute_with(|_| Compute::Put(value));
        assert_eq!(put(50), Computed::Rejected(heavy));
        assert_eq!(put(5), Computed::Inserted(5));
        assert_eq!(cache.update(&1, |n| n * 10), None);
        assert_eq!(cache.entry(1).or_insert(50), 50, "what was rejected is returned");
        assert_eq!(cache.entry(1).and_modify(|n| n + 1).or_insert(50), 50);
        cache.insert(1, 9);
        assert_eq!(cache.entry(1).and_modify(|n| n * 10).or_insert(1), 90);
        assert_eq!(cache.get(&1), None);
        cache.insert(1, 9);
        assert_eq!(cache.entry(1).and_modify(|n| n * 10).or_insert_with(|| 1), 90);
        assert_eq!(cache.get(&1), None);
        let async_put = |_| async { Compute::Put(50) };
        cache.insert(1, 9);
        let computed = block_on(cache.entry(1).and_compute_with_async(async_put));
        assert_eq!(computed, Computed::Rejected(heavy));
        assert_eq!(cache.get(&1), None);
        assert_eq!(cache.stats().rejections, 8);

        cache.insert(1, 5);
        let names = ["a", "b", "c", "d", "e"];
        let tagged = UpdateOptions::new().tags(&names);
        let refused = Rejection::TooManyTags { limit: 4 };
        assert_eq!(cache.update_with(&1, tagged, |n| n + 1), Err(refused));
        assert_eq!(
            cache.entry_with(1, tagged).and_compute_with(|_| Compute::Put(1)),
            Computed::Rejected(refused)
        );
        assert_eq!(cache.get(&1), Some(5), "nothing has changed");
        cache.set_max_weight(0).unwrap();
        assert_eq!(
            cache.entry(2).and_compute_with(|_| Compute::Put(1)),
            Computed::Rejected(Rejection::StoresNothing)
        );
        cache.run_pending();
        cache.validate();
    }
}

#[test]
fn heavy_values_borrow_weight_when_they_are_updated() {
    let cache = Cache::<u32, u64>::builder()
        .max_weight(64)
        .partitions(4)
        .weigher(|_, value| *value as u32)
        .maintenance(Maintenance::Inline)
        .build()
        .unwrap();
    cache.insert(1, 1);
    let mut calls = 0;
    assert_eq!(
        cache.update(&1, |n| {
            calls += 1;
            n + 59
        }),
        Some(60)
    );
    assert_eq!((calls, cache.weight()), (1, 60), "the closure was called again");
    assert_eq!(cache.update(&1, |n| n - 20), Some(40));
    assert_eq!(cache.update(&1, |n| n - 39), Some(1));
    assert_eq!(cache.weight(), 1);
    cache.validate();
}

#[test]
fn the_closure_is_called_again_with_what_another_thread_has_stored() {
    for_each_way(|way, cache, _, compute| {
        cache.insert(1, 10);
        let mut calls = 0;
        let computed = compute(&cache, 1, &mut |value| {
            calls += 1;
            // Whatever the listener: the closure runs outside of the gate.
            let change = |step: &(dyn Fn() + Sync)| {
                std::thread::scope(|scope| scope.spawn(step).join().unwrap());
            };
            match calls {
                1 => change(&|| assert_eq!(cache.insert(1, 20), Inserted::Replaced)),
                2 => change(&|| assert_eq!(cache.remove(&1), Some(20))),
                3 => change(&|| assert_eq!(cache.insert(1, 30), Inserted::Added)),
                4 => change(&|| assert_eq!(cache.update(&1, |n| n + 1), Some(31))),
                5 => change(&|| _ = cache.insert(2, 1)),
                _ => panic!("{way}: called without need"),
            }
            assert_eq!(value, [Some(10), Some(20), None, Some(30), Some(31)][calls - 1], "{way}");
            Compute::Put(value.unwrap_or(0) + 1)
        });
        assert_eq!((computed, calls), (Computed::Replaced(32), 5), "{way}");
        cache.validate();
    });
}

#[test]
fn an_entry_that_is_evicted_during_a_computation_is_absent_afterwards() {
    for_each_way(|way, cache, left, compute| {
        cache.insert(1, 10);
        let mut calls = 0;
        let computed = compute(&cache, 1, &mut |value| {
            calls += 1;
            if calls == 1 {
                // By another thread: one that is pinned notifies no atomic listener, and so evicts nothing.
                let evict = || {
                    cache.set_capacity(1).unwrap();
                    (100..110).for_each(|key| _ = cache.insert(key, 7));
                };
                std::thread::scope(|scope| scope.spawn(evict).join().unwrap());
                assert!(!cache.contains_key(&1), "{way}: not evicted");
            }
            Compute::Put(value.unwrap_or(0) + 1)
        });
        assert_eq!((computed, calls), (Computed::Inserted(1), 2), "{way}");
        flush(&cache);
        let left = left.lock().unwrap();
        let of_key: Vec<_> = left.iter().filter(|it| it.0 == 1 && it.1 == 10).collect();
        assert!(matches!(of_key[..], [(_, _, RemovalCause::Evicted, None)]), "{way}: {of_key:?}");
        cache.validate();
    });
}

#[test]
fn a_closure_may_use_other_keys_and_change_its_own() {
    for_each_way(|way, cache, _, compute| {
        cache.insert(1, 1);
        let computed = compute(&cache, 1, &mut |value| {
            let other = cache.entry(2).and_modify(|n| n + 1).or_insert(1);
            let nested = cache.update(&2, |n| n + cache.fetch_add(&3, 1) + 1).unwrap();
            assert!(nested > other);
            cache.remove(&3);
            Compute::Put(value.unwrap() + nested)
        });
        assert_eq!(computed, Computed::Replaced(3), "{way}");

        // Its own change takes effect first, and then the answer about that.
        let mut calls = 0;
        let computed = compute(&cache, 1, &mut |value| {
            calls += 1;
            if calls == 1 {
                assert_eq!(cache.update(&1, |n| n + 100), Some(103), "{way}");
            }
            Compute::Put(value.unwrap() * 2)
        });
        assert_eq!((computed, calls), (Computed::Replaced(206), 2), "{way}");
    });
}

#[test]
fn a_closure_that_changes_its_own_key_each_time_is_given_up() {
    type Step = fn(&Cache<u32, u64>);
    let steps: [Step; 5] = [
        |cache| _ = cache.insert(1, 5),
        |cache| _ = cache.fetch_add(&1, 1),
        |cache| cache.clear(),
        |cache| {
            cache.remove(&1);
            cache.insert(1, 5);
        },
        |cache| _ = cache.entry(1).and_compute_with(|n| Compute::Put(n.map_or(1, |n| n + 1))),
    ];
    for (index, step) in steps.into_iter().enumerate() {
        for_each_way(|way, cache, _, compute| {
            cache.insert(1, 1);
            let mut calls = 0;
            let computed = compute(&cache, 1, &mut |_| {
                calls += 1;
                assert!(calls < 1_000, "step {index}, {way}: without end");
                step(&cache);
                cache.insert(1, calls);
                Compute::Put(7)
            });
            assert_eq!(computed, Computed::Rejected(Rejection::Stale), "step {index}, {way}");
            assert_eq!(cache.stats().rejections, 1);
            assert_ne!(cache.get(&1), Some(7));
            cache.validate();
        });
    }
}

#[test]
fn a_closure_that_panics_changes_nothing() {
    for_each_way(|way, cache, left, compute| {
        cache.insert(1, 1);
        for key in [1, 2] {
            let message = panic_message(way, || {
                compute(&cache, key, &mut |_| panic!("the closure's own"));
            });
            assert_eq!(message, "the closure's own");
        }
        assert_eq!((cache.get(&1), cache.get(&2), cache.len()), (Some(1), None, 1), "{way}");
        assert!(left.lock().unwrap().is_empty());
        assert_eq!(compute(&cache, 1, &mut |_| Compute::Put(2)), Computed::Replaced(2));
        flush(&cache);
        cache.validate();
    });
    for_each_config(|config| {
        let cache = config.cache::<u32, u64>(100);
        cache.insert(1, 1);
        for _ in 0..3 {
            let update = || cache.update(&1, |_| panic!("again"));
            assert!(catch_unwind(AssertUnwindSafe(update)).is_err());
        }
        assert_eq!(cache.update(&1, |n| n + 1), Some(2));
        cache.run_pending();
        cache.validate();
    });
}

#[test]
fn a_clone_or_a_reader_that_panics_comes_after_the_change() {
    #[derive(Debug)]
    struct Fussy(u64);
    impl Clone for Fussy {
        fn clone(&self) -> Self {
            assert_ne!(self.0, 13, "unlucky");
            Self(self.0)
        }
    }
    let cache = Cache::<u32, Fussy>::new(100);
    cache.insert(1, Fussy(12));
    let update = || cache.update(&1, |n| Fussy(n.0 + 1));
    assert!(catch_unwind(AssertUnwindSafe(update)).is_err());
    assert_eq!(cache.read(&1, |n| n.0), Some(13));
    let numbers = |old: &Fussy, new: &Fussy| (old.0, new.0);
    let options = UpdateOptions::new();
    let read = cache.update_and_read(&1, options, |n| Fussy(n.0 + 1), numbers);
    assert_eq!(read, Ok(Some((13, 14))));
    assert_eq!(cache.update_and_read(&2, options, |n| Fussy(n.0), numbers), Ok(None));
    let reading = || cache.update_and_read(&1, options, |n| Fussy(n.0 + 1), |_, _| panic!("late"));
    assert!(catch_unwind(AssertUnwindSafe(reading)).is_err());
    assert_eq!(cache.read(&1, |n| n.0), Some(15));
    cache.run_pending();
    cache.validate();
}

#[test]
fn a_closure_that_fails_changes_nothing() {
    let cache = inline().build().unwrap();
    cache.insert(1, 1);
    let fail = |_: Option<&u64>| Err::<Compute<u64>, _>("no");
    assert_eq!(cache.entry(1).try_and_compute_with(fail), Err("no"));
    let fail = |_| async { Err::<Compute<u64>, _>("no") };
    assert_eq!(block_on(cache.entry(1).try_and_compute_with_async(fail)), Err("no"));
    assert_eq!((cache.get(&1), cache.len(), cache.stats().rejections), (Some(1), 1, 0));
}

#[test]
fn within_an_atomic_listener_updates_are_refused_and_leave_everything_as_it_is() {
    let slot: Arc<OnceLock<Cache<u32, u64>>> = Arc::default();
    let own = Arc::clone(&slot);
    let refused = Rejection::WithinListener;
    let cache = inline()
        .atomic_listener(move |removal: &Removal<'_, u32, u64>| {
            let cache = own.get().unwrap();
            let options = UpdateOptions::new();
            for key in [*removal.key, 99] {
                assert_eq!(cache.update_with(&key, options, |n| n + 1), Err(refused));
                assert_eq!(cache.fetch_add_with(&key, 1, options), Err(refused));
                let put = |_: Option<&u64>| Compute::Put(1);
                let computed = cache.entry(key).and_compute_with(put);
                assert_eq!(computed, Computed::Rejected(refused));
                let put = |_| async { Compute::Put(1) };
                let computed = block_on(cache.entry(key).and_compute_with_async(put));
                assert_eq!(computed, Computed::Rejected(refused));
                let present = cache.get(&key);
                assert_eq!(cache.entry(key).or_insert(5), present.unwrap_or(5));
                assert_eq!(cache.entry(key).and_upsert_with(|_| 6), 6);
                let stale = cache.complete_fill_replacing(cache.begin_fill(&key), 1);
                assert_eq!(stale, Inserted::Rejected(refused));
            }
        })
        .build()
        .unwrap();
    assert!(slot.set(cache.clone()).is_ok());
    cache.insert(1, 1);
    assert_eq!(cache.update(&1, |n| n + 1), Some(2));
    assert_eq!(cache.remove(&1), Some(2));
    assert_eq!((cache.len(), cache.stats().listener_panics), (0, 0));
    cache.validate();
}

#[test]
fn an_atomic_listener_is_notified_before_the_new_value_is_visible() {
    let slot: Arc<OnceLock<Cache<u32, u64>>> = Arc::default();
    let own = Arc::clone(&slot);
    let cache = inline()
        .atomic_listener(move |removal: &Removal<'_, u32, u64>| {
            assert_eq!(own.get().unwrap().get(removal.key), Some(*removal.value));
            let new = (removal.cause == RemovalCause::Replaced).then_some(*removal.value + 1);
            assert_eq!(removal.new_value.copied(), new);
        })
        .build()
        .unwrap();
    assert!(slot.set(cache.clone()).is_ok());
    cache.insert(1, 1);
    let add = |n: Option<&u64>| n.map_or(Compute::Keep, |n| Compute::Put(n + 1));
    assert_eq!(cache.update(&1, |n| n + 1), Some(2));
    assert_eq!(cache.entry(1).and_compute_with(add), Computed::Replaced(3));
    assert_eq!(cache.fetch_add(&1, 1), 3);
    assert_eq!(cache.complete_fill_replacing(cache.begin_fill(&1), 5), Inserted::Replaced);
    assert_eq!(cache.entry(1).and_compute_with(|_| Compute::Remove), Computed::Removed(5));
    assert_eq!(cache.stats().listener_panics, 0);
}
