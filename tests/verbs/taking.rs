//! Removed entries are returned, once.

use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Barrier;
use std::time::Duration;

use larder::{Cache, Listener, Maintenance, Removal, RemovalCause};

use super::ROOMY;
use crate::support::configs::for_each_config;

/// Equal to every other one with the same number, whatever its name.
#[derive(Clone, Debug)]
struct Named(u64, &'static str);

impl PartialEq for Named {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Named {}

impl Hash for Named {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

#[test]
fn the_stored_key_is_returned_and_not_the_query() {
    for_each_config(|config| {
        let cache = config.cache::<Named, u64>(ROOMY);
        let stored = |pair: Option<(Named, u64)>| pair.map(|(key, value)| (key.1, value));
        let asked = Named(1, "asked");
        assert_eq!(stored(cache.get_key_value(&asked)), None);
        cache.insert(Named(1, "first"), 1);
        assert_eq!(stored(cache.get_key_value(&asked)), Some(("first", 1)));
        cache.insert(Named(1, "second"), 2);
        assert_eq!(stored(cache.get_key_value(&asked)), Some(("second", 2)));
        assert_eq!(stored(cache.remove_entry_if(&asked, |key, _| key.1 == "first")), None);
        assert_eq!(stored(cache.remove_entry(&asked)), Some(("second", 2)));
        assert_eq!(stored(cache.remove_entry(&asked)), None);
        cache.insert(Named(1, "third"), 3);
        let read = cache.remove_and_read(&asked, |key, value| (key.1, *value));
        assert_eq!(read, Some(("third", 3)));
        assert_eq!(cache.remove_and_read(&asked, |_, _| panic!("nothing to read")), None::<()>);
        let stats = cache.stats();
        assert_eq!((stats.hits, stats.misses, stats.removals), (Some(2), Some(1), 2));
        cache.validate();
    });
}

#[test]
fn a_value_that_is_not_clone_is_read_as_it_leaves() {
    struct Whole(String);
    let cache: Cache<u64, Whole> = Cache::new(10);
    cache.insert(1, Whole("one".to_owned()));
    let read = cache.remove_and_read(&1, |_, whole| {
        assert!(!cache.contains_key(&1), "it leaves before it is read");
        whole.0.len()
    });
    assert_eq!(read, Some(3));
}

#[test]
fn a_clone_that_panics_leaves_the_entry_where_it_is() {
    #[derive(Debug)]
    struct Unclonable;
    impl Clone for Unclonable {
        fn clone(&self) -> Self {
            panic!("not to be cloned")
        }
    }
    for_each_config(|config| {
        let cache = config.cache::<u64, Unclonable>(ROOMY);
        cache.insert(1, Unclonable);
        for remove in [
            (|cache: &Cache<u64, Unclonable>| assert!(cache.remove_entry(&1).is_none())) as fn(&_),
            |cache| drop(cache.extract_if(|_, _| true)),
            |cache| drop(cache.drain()),
            |cache| assert!(cache.pop_coldest().is_none()),
        ] {
            catch_unwind(AssertUnwindSafe(|| remove(&cache))).unwrap_err();
            assert!(cache.contains_key(&1));
        }
        assert_eq!(cache.stats().removals, 0);
        cache.validate();
    });
}

#[test]
fn extraction_returns_the_removed_entries_and_keeps_the_rest() {
    for_each_config(|config| {
        let cache = config.cache::<u64, u64>(ROOMY);
        for key in 0..1000 {
            cache.insert(key, key * 2);
        }
        let mut even = cache.extract_if(|key, value| {
            assert_eq!(*value, key * 2);
            key % 2 == 0
        });
        even.sort_unstable();
        assert_eq!(even, (0..1000).step_by(2).map(|key| (key, key * 2)).collect::<Vec<_>>());
        assert_eq!(cache.len(), 500);
        assert!(cache.iter().all(|(key, _)| key % 2 == 1));
        assert_eq!(cache.drain().len(), 500);
        assert!(cache.is_empty());
        assert_eq!(cache.stats().removals, 1000);
        cache.validate();
    });
}

#[test]
fn draining_removes_invalid_entries_without_returning_them() {
    let clock = larder::test::FakeClock::new();
    let cache = Cache::builder()
        .capacity(100)
        .clock(clock.clone())
        .maintenance(Maintenance::Inline)
        .build()
        .unwrap();
    cache.insert(1, "stays");
    cache.insert_with_ttl(2, "expires", Duration::from_secs(1));
    cache.insert_with_tags(3, "invalid", ["tag"]);
    cache.insert_unevictable(4, "unevictable");
    cache.invalidate_tag("tag");
    clock.advance(Duration::from_secs(2));
    let mut drained = cache.drain();
    drained.sort_unstable();
    assert_eq!(drained, [(1, "stays"), (4, "unevictable")]);
    assert_eq!(cache.len(), 0);
    cache.validate();
}

#[test]
fn competing_threads_take_each_entry_once() {
    const KEYS: u64 = 2_000;
    for maintenance in [Maintenance::Inline, Maintenance::Background] {
        let cache: Cache<u64, u64> =
            Cache::builder().capacity(ROOMY).maintenance(maintenance).build().unwrap();
        for key in 0..KEYS {
            cache.insert(key, key);
        }
        let start = Barrier::new(4);
        let mut taken: Vec<(u64, u64)> = std::thread::scope(|scope| {
            let take = |number: u64| {
                let (cache, start) = (&cache, &start);
                scope.spawn(move || {
                    start.wait();
                    match number {
                        0 => cache.drain(),
                        1 => cache.extract_if(|key, _| key % 3 == 0),
                        2 => (0..KEYS).filter_map(|key| cache.remove_entry(&key)).collect(),
                        _ => std::iter::from_fn(|| cache.pop_coldest()).collect(),
                    }
                })
            };
            let threads: Vec<_> = (0..4).map(take).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        taken.extend(cache.drain());
        assert_eq!(taken.len() as u64, KEYS);
        assert_eq!(taken.iter().collect::<HashSet<_>>().len() as u64, KEYS);
        assert_eq!(cache.stats().removals, KEYS);
        cache.run_pending();
        cache.validate();
    }
}

#[test]
fn listeners_are_notified_of_taken_entries_as_of_every_removal() {
    let notified = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let recorder = |notified: &std::sync::Arc<std::sync::Mutex<Vec<_>>>| {
        let notified = std::sync::Arc::clone(notified);
        move |removal: &Removal<'_, u64, u64>| {
            notified.lock().unwrap().push((*removal.key, removal.cause));
        }
    };
    let build = |builder: larder::Builder<u64, u64>| {
        builder.capacity(100).maintenance(Maintenance::Inline).build().unwrap()
    };
    for cache in [
        build(Cache::builder().listener(Listener::new(recorder(&notified)))),
        build(Cache::builder().atomic_listener(recorder(&notified))),
    ] {
        for key in 0..6 {
            cache.insert(key, key);
        }
        assert_eq!(cache.remove_entry(&0), Some((0, 0)));
        assert_eq!(cache.remove_and_read(&1, |_, value| *value), Some(1));
        assert_eq!(cache.extract_if(|key, _| *key == 2), [(2, 2)]);
        assert!(cache.pop_coldest().is_some() && cache.pop_hottest().is_some());
        assert_eq!(cache.drain().len(), 1);
        let mut removals = std::mem::take(&mut *notified.lock().unwrap());
        removals.sort_unstable_by_key(|(key, _)| *key);
        let all: Vec<_> = (0..6).map(|key| (key, RemovalCause::Explicit)).collect();
        assert_eq!(removals, all);
    }
}
