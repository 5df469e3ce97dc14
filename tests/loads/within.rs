//! Loads from within other code of users' that caches call, and in odd places.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use larder::test::FakeClock;
use larder::{Cache, Listener, LoadError, LoadOptions, Loaded, Maintenance, Removal};

use crate::Task;

/// A call from within user code that the cache runs waits for no other thread, so it runs its own loader.
#[test]
fn a_listener_loads_while_another_thread_loads_the_same_key() {
    for is_atomic in [false, true] {
        // The cache that the listener loads from: another one, since a cache with an atomic listener refuses
        // changes from within it.
        let other: Cache<u64, u64> =
            Cache::builder().capacity(100).clock(FakeClock::new()).build().unwrap();
        let loaded = Arc::new(AtomicU64::new(0));
        let (within, sum) = (other.clone(), Arc::clone(&loaded));
        let listen = move |_: &Removal<'_, u64, u64>| {
            // Of key 1, which another thread is loading, and of key 2.
            let values = [1, 2].map(|key| within.get_or_insert_with(&key, || key * 10));
            sum.fetch_add(values[0] + values[1], Ordering::SeqCst);
        };
        let builder = Cache::builder().capacity(100).maintenance(Maintenance::Inline);
        let cache = match is_atomic {
            false => builder.listener(Listener::new(listen)),
            true => builder.atomic_listener(listen),
        };
        let cache = cache.build().unwrap();
        let mut leader = Task::new(other.get_or_insert_with_async(&1, std::future::pending()));
        assert!(leader.poll().is_pending());
        cache.insert(1, 1);
        cache.remove(&1);
        assert_eq!(loaded.load(Ordering::SeqCst), 30);
        assert_eq!((other.get(&1), other.get(&2)), (Some(10), Some(20)));
    }
}

#[test]
fn a_listener_of_a_cache_loads_from_that_cache() {
    for is_atomic in [false, true] {
        let slot: Arc<OnceLock<Cache<u64, u64>>> = Arc::default();
        let (own, loaded) = (Arc::clone(&slot), Arc::new(AtomicU64::new(0)));
        let sum = Arc::clone(&loaded);
        let listen = move |removal: &Removal<'_, u64, u64>| {
            // Only once: what is loaded is removed by the end of the cache.
            if *removal.value == 1
                && let Some(cache) = own.get()
            {
                sum.fetch_add(cache.get_or_insert_with(&5, || 50), Ordering::SeqCst);
            }
        };
        let builder = Cache::builder().capacity(100).maintenance(Maintenance::Inline);
        let cache = match is_atomic {
            false => builder.listener(Listener::new(listen)),
            true => builder.atomic_listener(listen),
        };
        let cache = slot.get_or_init(|| cache.build().unwrap());
        cache.insert(1, 1);
        assert_eq!(cache.get_or_insert_with(&1, || 2), 1);
        cache.remove(&1);
        assert_eq!(loaded.load(Ordering::SeqCst), 50);
        // Within its atomic listener a cache stores nothing.
        assert_eq!(cache.get(&5), (!is_atomic).then_some(50));
    }
}

/// A value that loads from its cache when it is dropped.
struct LoadsAtDrop(Arc<OnceLock<Cache<u64, LoadsAtDrop>>>, u64);

impl Clone for LoadsAtDrop {
    fn clone(&self) -> Self {
        // Clones load nothing.
        Self(Arc::default(), self.1)
    }
}

impl Drop for LoadsAtDrop {
    fn drop(&mut self) {
        if let Some(cache) = self.0.get() {
            for key in [1, 7] {
                let value = cache.get_or_insert_with(&key, || Self(Arc::default(), key));
                assert_eq!(value.1, key);
            }
        }
    }
}

#[test]
fn a_value_loads_from_its_cache_when_it_is_dropped() {
    for maintenance in [Maintenance::Inline, Maintenance::Background] {
        let slot: Arc<OnceLock<Cache<u64, LoadsAtDrop>>> = Arc::default();
        let builder = Cache::builder().capacity(100).maintenance(maintenance);
        let builder = builder.max_weight(100).weigher(
            |_, value: &LoadsAtDrop| {
                if value.1 == 9 { 1_000 } else { 1 }
            },
        );
        let cache = slot.get_or_init(|| builder.build().unwrap());
        for key in 1..=3 {
            let value = cache.get_or_insert_with(&key, || LoadsAtDrop(Arc::clone(&slot), key));
            assert_eq!(value.1, key);
            cache.remove(&key);
            crate::support::flush(cache);
        }
        let heavy = cache.get_or_insert_with(&9, || LoadsAtDrop(Arc::clone(&slot), 9));
        assert_eq!((heavy.1, cache.get(&9).is_some()), (9, false));
        drop(heavy);
        assert!(cache.contains_key(&1) && cache.contains_key(&7));
        cache.clear();
        crate::support::flush(cache);
    }
}

#[test]
fn a_thread_local_loads_when_its_thread_ends() {
    struct AtExit(Cache<u64, u64>, Arc<AtomicU64>);
    impl Drop for AtExit {
        fn drop(&mut self) {
            let sum = self.0.get_or_insert_with(&1, || 100) + self.0.get_or_insert_with(&2, || 200);
            self.1.store(sum, Ordering::SeqCst);
        }
    }
    thread_local! {
        static AT_EXIT: RefCell<Option<AtExit>> = const { RefCell::new(None) };
    }
    let (cache, sum) = (Cache::new(100), Arc::new(AtomicU64::new(0)));
    let (entered, has_entered) = channel();
    let (go_on, may_go_on) = channel::<()>();
    let leader = {
        let cache = cache.clone();
        thread::spawn(move || {
            cache.get_or_insert_with(&1, || {
                entered.send(()).unwrap();
                may_go_on.recv().unwrap();
                10
            })
        })
    };
    has_entered.recv().unwrap();
    let at_exit = AtExit(cache.clone(), Arc::clone(&sum));
    let waiter = thread::spawn(move || AT_EXIT.set(Some(at_exit)));
    // It waits for key 1 in the destructor.
    while cache.stats().load_waits == 0 {
        thread::yield_now();
    }
    go_on.send(()).unwrap();
    assert_eq!(leader.join().unwrap(), 10);
    waiter.join().unwrap();
    assert_eq!(sum.load(Ordering::SeqCst), 210);
}

#[test]
fn loaders_of_caches_load_from_each_other() {
    let caches: [Cache<u64, u64>; 2] = [Cache::new(100), Cache::new(100)];
    /// Loads `key` from one cache, and for that the key before from the other.
    fn load(caches: &[Cache<u64, u64>; 2], key: u64) -> u64 {
        caches[(key % 2) as usize].get_or_insert_with(&key, || match key {
            0 => 1,
            _ => load(caches, key - 1) + load(caches, key - 1),
        })
    }
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(load(&caches, 30), 1 << 30));
        }
    });
    assert_eq!(caches[0].stats().loads + caches[1].stats().loads, 31, "a key was loaded twice");
    // A circle through another cache is noticed too.
    let circle = caches[0].try_get_or_insert_with(&100, || {
        caches[1].try_get_or_insert_with(&100, || {
            let result = caches[0].try_get_or_insert_with(&100, || Ok::<u64, ()>(1));
            assert_eq!(result, Err(LoadError::Reentrant));
            Err::<u64, _>("a circle")
        })
    });
    assert!(matches!(circle, Err(LoadError::Failed(_))));
}

/// Two threads load two keys, each of which needs the other. Time passes for both only when both wait.
#[test]
fn a_circle_of_two_threads_ends_at_the_bound() {
    let clock = FakeClock::new();
    let cache: Cache<u64, u64> =
        Cache::builder().capacity(100).clock(clock.clone()).build().unwrap();
    let both = std::sync::Barrier::new(2);
    let load = |own: u64, other: u64| {
        cache.get_or_insert_with(&own, || {
            both.wait();
            cache.get_or_insert_with(&other, || other * 10) + 1
        })
    };
    thread::scope(|scope| {
        let first = scope.spawn(|| load(1, 2));
        let second = scope.spawn(|| load(2, 1));
        while cache.stats().load_waits < 2 {
            thread::yield_now();
        }
        clock.advance(Duration::from_secs(59));
        assert!(!first.is_finished() && !second.is_finished());
        // One gives the other up, which then gets a value. Each call returns one.
        clock.advance(Duration::from_secs(2));
        let values = [first.join().unwrap(), second.join().unwrap()];
        assert!(values.iter().all(|value| (11..=22).contains(value)), "{values:?}");
    });
    assert!(cache.stats().load_handovers > 0);
    cache.validate();
}

#[test]
fn caches_that_store_nothing_return_what_was_loaded() {
    let caches: [Cache<u64, u64>; 4] = [
        Cache::builder().capacity(0).build().unwrap(),
        Cache::builder().capacity(100).max_weight(0).weigher(|_, _| 1).build().unwrap(),
        Cache::builder().capacity(100).max_weight(10).weigher(|_, _| 11).build().unwrap(),
        Cache::builder().capacity(100).time_to_live(Duration::from_nanos(1)).build().unwrap(),
    ];
    for cache in &caches {
        for round in 1..=3 {
            assert_eq!(cache.get_or_insert_with(&1, || round), round);
            let mut task = Task::new(cache.get_or_insert_with_async(&1, async { round }));
            assert_eq!(task.poll(), std::task::Poll::Ready(round));
        }
        let stats = cache.stats();
        assert_eq!((stats.loads, stats.loads_discarded, cache.get(&1)), (6, 0, None));
        cache.validate();
    }
}

#[test]
fn an_expired_entry_that_stays_is_replaced_by_what_is_loaded() {
    let clock = FakeClock::new();
    for maintenance in [Maintenance::Inline, Maintenance::Background] {
        let builder = Cache::builder().capacity(100).maintenance(maintenance).expire_lazily();
        let builder = builder.time_to_live(Duration::from_secs(1)).clock(clock.clone());
        let cache: Cache<u64, u64> = builder.build().unwrap();
        for round in 0..5 {
            assert_eq!(cache.get_or_insert_with(&1, || round), round);
            assert_eq!(cache.get_or_insert_with(&1, || unreachable!()), round);
            clock.advance(Duration::from_secs(2));
            assert_eq!((cache.get(&1), cache.len()), (None, 1));
        }
        let ttl = LoadOptions::new().ttl(Duration::from_secs(60)).tags(&["one"]);
        let load = |_: &_| Ok::<_, ()>(Loaded::Store(9));
        assert_eq!(cache.get_or_load(&1, ttl, load), Ok(Some(9)));
        clock.advance(Duration::from_secs(2));
        assert_eq!(cache.get(&1), Some(9));
        cache.invalidate_tag("one");
        assert_eq!(cache.get_or_insert_with(&1, || 10), 10);
        cache.validate();
        assert_eq!(cache.stats().loads_discarded, 0);
    }
}

#[test]
fn a_loader_outlives_the_handle_that_its_cache_was_made_with() {
    let cache: Cache<u64, u64> = Cache::new(100);
    let (entered, has_entered) = channel();
    let (go_on, may_go_on) = channel::<()>();
    let handle = cache.clone();
    let leader = thread::spawn(move || {
        let value = handle.get_or_insert_with(&1, || {
            entered.send(()).unwrap();
            may_go_on.recv().unwrap();
            1
        });
        (value, handle.get(&1))
    });
    has_entered.recv().unwrap();
    drop(cache);
    go_on.send(()).unwrap();
    assert_eq!(leader.join().unwrap(), (1, Some(1)));
}
