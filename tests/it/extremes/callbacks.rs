//! User code that calls the same cache, or another one.

use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, OnceLock};

use larder::{Cache, Maintenance};

use crate::support::configs::for_each_config;

/// A key whose hash and comparison use the cache that it is a key of.
#[derive(Clone)]
struct Recursive {
    id: u64,
    cache: Arc<OnceLock<Cache<u64, u64>>>,
}

impl Recursive {
    fn call_back(&self) {
        if let Some(cache) = self.cache.get() {
            cache.insert(self.id, self.id);
            cache.get(&self.id);
            cache.remove(&self.id);
        }
    }
}

impl Hash for Recursive {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.call_back();
        self.id.hash(state);
    }
}

impl PartialEq for Recursive {
    fn eq(&self, other: &Self) -> bool {
        self.call_back();
        self.id == other.id
    }
}

impl Eq for Recursive {}

#[test]
fn hash_and_eq_of_a_key_may_use_another_cache() {
    for_each_config(|config| {
        let inner = Arc::new(OnceLock::new());
        assert!(inner.set(config.cache::<u64, u64>(4)).is_ok());
        let cache = config.cache::<Recursive, u64>(16);
        for id in 0..100 {
            let key = Recursive { id: id % 40, cache: Arc::clone(&inner) };
            cache.insert(key.clone(), id);
            cache.get(&key);
            if id % 5 == 0 {
                cache.remove(&key);
            }
        }
        cache.run_pending();
        assert!(cache.len() <= 16);
        cache.validate();
        inner.get().unwrap().validate();
    });
}

#[test]
fn closures_may_call_the_same_cache() {
    for_each_config(|config| {
        let cache = config.cache::<u64, u64>(64);
        for key in 0..10 {
            cache.insert(key, key);
        }
        let read = cache.read(&1, |&value| {
            cache.insert(1, 100);
            cache.remove(&2);
            cache.run_pending();
            // It must not wait for the guard under which this closure runs.
            let _held = cache.flush();
            cache.clear();
            cache.insert(3, 3);
            value
        });
        assert_eq!(read, Some(1));
        assert_eq!(cache.keys().collect::<Vec<_>>(), [3]);
        cache.insert(4, 4);
        cache.retain(|&key, _| {
            cache.insert(key + 100, 0);
            cache.get(&key);
            cache.run_pending();
            key != 3
        });
        assert!(cache.contains_key(&4) && !cache.contains_key(&3));
        let removed = cache.remove_if(&4, |key, _| {
            cache.get(key);
            cache.insert(5, 5);
            true
        });
        assert!(removed && cache.contains_key(&5));
        for (key, value) in cache.iter() {
            cache.insert(key, value + 1);
            cache.remove(&key);
        }
        assert!(!cache.contains_key(&5));
        cache.run_pending();
        cache.validate();
    });
}

#[test]
fn a_weigher_may_use_the_same_cache() {
    let slot: Arc<Mutex<Option<Cache<u64, u64>>>> = Arc::default();
    let inside = Arc::clone(&slot);
    let cache = Cache::<u64, u64>::builder()
        .max_weight(100)
        .weigher(move |key, value| {
            // The lock is released at once, because the insertion below calls this closure again.
            let cache = inside.lock().unwrap().clone();
            if let Some(cache) = cache.filter(|_| *key < 1_000) {
                cache.get(key);
                cache.insert(key + 1_000, 1);
            }
            *value as u32
        })
        .maintenance(Maintenance::Inline)
        .build()
        .unwrap();
    *slot.lock().unwrap() = Some(cache.clone());
    for key in 0..200 {
        cache.insert(key, 2);
        assert!(cache.weight() <= 100);
    }
    assert_eq!(cache.get(&199), Some(2));
    cache.validate();
    // Break the circle of cache and weigher.
    *slot.lock().unwrap() = None;
}
