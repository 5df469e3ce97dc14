//! User code that panics, or calls the cache, at the moments of a load where that hurts most.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use larder::test::FakeClock;
use larder::{
    Builder, Cache, Clock, Compute, Expiry, Inserted, Listener, LoadOptions, Loaded, Maintenance,
    Rejection,
};

const SECOND: Duration = Duration::from_secs(1);

thread_local! {
    /// After how many calls of user code one panics; 0 if none does.
    static FUSE: Cell<u32> = const { Cell::new(0) };
}

/// Counts a call of user code, which may be the one that panics.
fn burn() {
    let left = FUSE.get();
    FUSE.set(left.saturating_sub(1));
    assert!(left != 1, "the fuse has burnt down");
}

#[derive(Debug, Eq)]
struct Key(u64);

impl Clone for Key {
    fn clone(&self) -> Self {
        burn();
        Self(self.0)
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        burn();
        self.0 == other.0
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        burn();
        self.0.hash(state);
    }
}

#[derive(Debug, PartialEq)]
struct Value(u32);

impl Clone for Value {
    fn clone(&self) -> Self {
        burn();
        Self(self.0)
    }
}

#[derive(Clone)]
struct BurningClock(FakeClock);

impl Clock for BurningClock {
    fn now_ns(&self) -> u64 {
        burn();
        self.0.now_ns()
    }
}

struct BurningExpiry;

impl Expiry<Key, Value> for BurningExpiry {
    fn after_create(&self, _: &Key, _: &Value) -> Option<Duration> {
        burn();
        Some(10 * SECOND)
    }

    fn after_update(&self, _: &Key, _: &Value, _: Option<Duration>) -> Option<Duration> {
        burn();
        Some(10 * SECOND)
    }
}

struct BurningWaker;

impl Wake for BurningWaker {
    fn wake(self: Arc<Self>) {
        burn();
    }
}

fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(&Waker::from(Arc::new(BurningWaker))))
}

type Burning = Cache<Key, Value>;
type Setting = fn(Builder<Key, Value>) -> Builder<Key, Value>;

const SETTINGS: [(&str, Setting); 9] = [
    ("plain", |it| it),
    ("times", |it| it.time_to_live(10 * SECOND)),
    ("heavy", |it| {
        it.max_weight(1000).weigher(|_, value: &Value| {
            burn();
            value.0
        })
    }),
    ("expiry", |it| it.expiry(BurningExpiry)),
    ("listener", |it| it.listener(Listener::new(|_: &_| burn()))),
    ("atomic", |it| it.time_to_live(10 * SECOND).atomic_listener(|_| burn())),
    ("negative", |it| it.negative_time_to_live(5 * SECOND)),
    ("stale", |it| {
        it.time_to_live(10 * SECOND).stale_while_revalidate(SECOND).stale_if_error(100 * SECOND)
    }),
    ("refresh", |it| {
        it.refresh_after_write(SECOND).atomic_listener(|_| burn()).expiry(BurningExpiry)
    }),
];

/// One load by a future for which another waits; the loader's answer depends on `kind`.
fn load_and_wait(cache: &Burning, clock: &FakeClock, kind: u32) {
    if kind & 1 == 1 {
        cache.insert(Key(1), Value(900));
        clock.advance(Duration::from_secs(12));
    }
    let mut has_waited = false;
    let mut leading = Box::pin(cache.get_or_load_async(&Key(1), LoadOptions::new(), |load| {
        poll_fn(move |_| {
            if !std::mem::replace(&mut has_waited, true) {
                return Poll::Pending;
            }
            Poll::Ready(match kind >> 1 {
                0 => Ok(Loaded::Store(Value(950))),
                1 => Ok(Loaded::Missing),
                2 => Ok(load.not_modified()),
                3 => Ok(Loaded::Store(Value(2000))),
                _ => Err("no connection"),
            })
        })
    }));
    let is_done = poll_once(leading.as_mut()).is_ready();
    let mut waiting = Box::pin(cache.get_or_insert_with_async(&Key(1), async { Value(7) }));
    let has_value = poll_once(waiting.as_mut()).is_ready();
    if !is_done {
        assert!(poll_once(leading.as_mut()).is_ready());
    }
    if !has_value {
        assert!(
            poll_once(waiting.as_mut()).is_ready(),
            "a waiter waits for a flight that has ended"
        );
    }
    let _ = cache.update(&Key(1), |value| Value(value.0 + 1));
    cache.optionally_get_or_insert_with(&Key(2), || None);
    let _ = cache.entry(Key(2)).and_compute_with(|_| Compute::Put(Value(1)));
    cache.remove(&Key(2));
    cache.optionally_get_or_insert_with(&Key(2), || None);
    let fill = cache.begin_fill(&Key(2));
    let _ = cache.complete_fill_replacing(fill, Value(2));
    cache.remove(&Key(2));
}

/// Whichever call of user code panics, no flight stays open, no entry is lost, and nothing hangs.
#[test]
fn a_panic_of_any_user_code_leaves_no_flight_and_no_entry_behind() {
    for (name, setting) in SETTINGS {
        for kind in 0..10 {
            for burns_at in 1.. {
                let clock = FakeClock::new();
                let builder = Cache::builder().clock(BurningClock(clock.clone()));
                let builder = builder.maintenance(Maintenance::Inline);
                let builder = if name == "heavy" { builder } else { builder.capacity(64) };
                let cache: Burning = setting(builder).build().unwrap();
                FUSE.set(burns_at);
                let run = || load_and_wait(&cache, &clock, kind);
                let result = catch_unwind(AssertUnwindSafe(run));
                let has_burnt = FUSE.replace(0) == 0;
                let what = format!("{name}, {kind}, {burns_at}: {result:?}");
                for key in [Key(1), Key(2)] {
                    let mut next =
                        Box::pin(cache.get_or_insert_with_async(&key, async { Value(8) }));
                    assert!(poll_once(next.as_mut()).is_ready(), "a flight is open: {what}");
                }
                cache.run_pending();
                let checked = catch_unwind(AssertUnwindSafe(|| cache.validate()));
                assert!(checked.is_ok(), "an entry was lost: {what}");
                if !has_burnt {
                    assert!(result.is_ok(), "it panicked without the fuse: {what}");
                    break;
                }
            }
        }
    }
}

/// An `Expiry` is asked after a change has made the key forgotten, and before it stores the value.
#[test]
fn a_key_that_is_found_missing_while_it_is_inserted_is_not_known_as_missing_afterwards() {
    struct Loads(Arc<std::sync::OnceLock<Cache<u64, u64>>>);
    impl Expiry<u64, u64> for Loads {
        fn after_create(&self, key: &u64, _: &u64) -> Option<Duration> {
            if let Some(cache) = self.0.get() {
                assert_eq!(cache.optionally_get_or_insert_with(key, || None), None);
                assert!(cache.is_known_missing(key));
            }
            None
        }
    }
    type Change = fn(&Cache<u64, u64>);
    let changes: [Change; 4] = [
        |cache| assert!(cache.insert(1, 10).is_stored()),
        |cache| assert!(cache.insert_if_absent(1, 10).is_stored()),
        |cache| {
            cache.entry(1).or_insert(10);
        },
        |cache| {
            let fill = cache.begin_fill(&1);
            assert_eq!(cache.complete_fill(fill, 10), Inserted::Added);
        },
    ];
    for change in changes {
        let shared = Arc::new(std::sync::OnceLock::new());
        let cache: Cache<u64, u64> = Cache::builder()
            .capacity(100)
            .negative_time_to_live(SECOND)
            .expiry(Loads(Arc::clone(&shared)))
            .build()
            .unwrap();
        assert!(shared.set(cache.clone()).is_ok());
        change(&cache);
        assert!(!cache.is_known_missing(&1) && cache.get(&1) == Some(10));
    }
}

/// A value that is to be renewed, and has become too heavy, is gone: as after an insertion.
#[test]
fn a_renewed_value_that_is_too_heavy_does_not_leave_the_old_one() {
    let clock = FakeClock::new();
    let builder =
        || Cache::builder().clock(clock.clone()).max_weight(100).weigher(|_, value: &u32| *value);
    let caches: [Cache<u64, u32>; 3] = [
        builder().refresh_after_write(SECOND).build().unwrap(),
        builder().time_to_live(SECOND).stale_while_revalidate(10 * SECOND).build().unwrap(),
        builder().time_to_live(SECOND).stale_if_error(10 * SECOND).build().unwrap(),
    ];
    for cache in caches {
        cache.insert(1, 5);
        clock.advance(2 * SECOND);
        assert_eq!(cache.get_or_insert_with(&1, || 101), 101);
        assert_eq!(cache.get(&1), None);
        let found = cache.try_get_or_insert_with(&1, || Err::<u32, _>(()));
        assert!(found.is_err(), "the old value was served: {found:?}");
        assert_eq!(cache.get_or_insert_with(&1, || 6), 6);
        cache.validate();
    }
}

/// A listener waits for nobody, so it loads each key itself, and one that it asks for twice only once.
#[test]
fn a_key_that_a_listener_asks_for_twice_is_loaded() {
    let seen = Arc::new(AtomicU64::new(0));
    let shared: Arc<std::sync::OnceLock<Cache<u64, u64>>> = Arc::default();
    let listener = {
        let (seen, shared) = (Arc::clone(&seen), Arc::clone(&shared));
        Listener::new(move |_: &larder::Removal<'_, u64, u64>| {
            let Some(cache) = shared.get() else { return };
            let load = |missing: &[u64]| {
                Ok::<_, ()>(missing.iter().map(|key| (*key, key * 2)).collect::<Vec<_>>())
            };
            let found = cache.get_many_or_load(&[5, 5], load);
            assert_eq!(found, [Ok(10), Ok(10)]);
            seen.fetch_add(1, Ordering::Relaxed);
        })
    };
    let cache: Cache<u64, u64> = Cache::builder()
        .capacity(100)
        .listener(listener)
        .maintenance(Maintenance::Inline)
        .build()
        .unwrap();
    assert!(shared.set(cache.clone()).is_ok());
    cache.insert(1, 1);
    cache.remove(&1);
    let _ = cache.flush();
    assert_eq!(seen.load(Ordering::Relaxed), 1);
}

/// The loader of many keys is dropped while its flights are open, and may ask for one of its keys then.
#[test]
fn what_a_dropped_loader_of_many_keys_asks_for_is_an_error_and_not_a_wait() {
    struct Asks<'c>(&'c Cache<u64, u64>, &'c AtomicU32);
    impl Drop for Asks<'_> {
        fn drop(&mut self) {
            let asked = self.0.try_get_or_insert_with(&1, || Ok::<_, ()>(1));
            assert!(asked.is_err(), "{asked:?}");
            self.1.fetch_add(1, Ordering::Relaxed);
        }
    }
    let (cache, dropped): (Cache<u64, u64>, _) = (Cache::new(100), AtomicU32::new(0));
    let mut call = Box::pin(cache.get_many_or_load_async(&[1, 2], |_| {
        let asks = Asks(&cache, &dropped);
        async move {
            let _asks = asks;
            std::future::pending::<Result<Vec<(u64, u64)>, ()>>().await
        }
    }));
    assert!(poll_once(call.as_mut()).is_pending());
    drop(call);
    assert_eq!(dropped.load(Ordering::Relaxed), 1);
    assert_eq!(cache.get_or_insert_with(&1, || 3), 3);
}

/// A load that finds no value completes a fill, so one that must be the only one is refused.
#[test]
fn a_load_that_finds_nothing_overtakes_an_exclusive_fill() {
    let builder = || Cache::<u64, u64>::builder().capacity(100);
    for cache in [builder().build(), builder().negative_time_to_live(SECOND).build()] {
        let cache = cache.unwrap();
        let fill = cache.begin_fill(&1);
        assert_eq!(cache.optionally_get_or_insert_with(&1, || None), None);
        let stored = cache.complete_fill_replacing(fill, 1);
        assert_eq!(stored, Inserted::Rejected(Rejection::Stale));
    }
}

/// An entry that becomes stale while it is stored was in the table, so it has come and has left.
#[test]
fn what_comes_and_what_leaves_adds_up_though_loads_become_stale_while_they_store() {
    struct Removes(Arc<std::sync::OnceLock<Cache<u64, u64>>>);
    impl Expiry<u64, u64> for Removes {
        fn after_create(&self, key: &u64, _: &u64) -> Option<Duration> {
            if let Some(cache) = self.0.get() {
                cache.remove(key);
            }
            None
        }
    }
    let shared = Arc::new(std::sync::OnceLock::new());
    let cache: Cache<u64, u64> =
        Cache::builder().capacity(100).expiry(Removes(Arc::clone(&shared))).build().unwrap();
    assert!(shared.set(cache.clone()).is_ok());
    assert_eq!(cache.get_or_insert_with(&1, || 10), 10);
    let fill = cache.begin_fill(&2);
    assert_eq!(cache.complete_fill(fill, 20), Inserted::Rejected(Rejection::Stale));
    assert_eq!((cache.get(&1), cache.get(&2), cache.len()), (None, None, 0));
    let stats = cache.stats();
    assert_eq!((stats.inserts, stats.invalidations, stats.removals), (2, 2, 0));
    assert_eq!(stats.loads_discarded, 1);
    cache.validate();
}

/// How long an absence is remembered is a matter of the cache and of the loader, not of what a value gets.
#[test]
fn the_lifetime_that_a_call_gives_its_value_is_not_that_of_an_absence() {
    let clock = FakeClock::new();
    let builder = Cache::<u64, u64>::builder().capacity(100).clock(clock.clone());
    let cache = builder.negative_time_to_live(5 * SECOND).build().unwrap();
    let options = LoadOptions::new().ttl(1000 * SECOND);
    let found = cache.get_or_load(&1, options, |_| Ok::<_, ()>(Loaded::Missing));
    assert!(found == Ok(None) && cache.is_known_missing(&1));
    clock.advance(6 * SECOND);
    assert!(!cache.is_known_missing(&1));
}
