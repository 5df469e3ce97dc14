//! Changes from within the listener, or from closures and drops around it, and a listener that
//! panics.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Barrier, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use larder::{Cache, Inserted, Maintenance, Rejection, Removal};

use super::inline;

#[test]
fn a_listener_that_panics_is_counted_and_the_removal_goes_on() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let cache = inline(2)
        .atomic_listener(move |_: &Removal<'_, u32, u32>| {
            counted.fetch_add(1, Ordering::SeqCst);
            panic!("the listener's own");
        })
        .build()
        .unwrap();
    for key in 0..5 {
        cache.insert(key, key);
    }
    assert_eq!(cache.len(), 2);
    let present = cache.keys().next().unwrap();
    assert_eq!(cache.insert(present, 9), Inserted::Replaced);
    assert_eq!(cache.remove(&present), Some(9));
    cache.clear();
    assert_eq!(cache.len(), 0);
    assert_eq!(calls.load(Ordering::SeqCst), 6);
    assert_eq!(cache.stats().listener_panics, 6);
    cache.validate();
}

#[test]
fn changes_from_within_are_refused_and_lookups_are_not() {
    let slot: Arc<OnceLock<Cache<u32, u32>>> = Arc::default();
    let own = Arc::clone(&slot);
    let cache = inline(100)
        .atomic_listener(move |removal: &Removal<'_, u32, u32>| {
            let cache = own.get().unwrap();
            let refused = Inserted::Rejected(Rejection::WithinListener);
            assert_eq!(cache.get(removal.key), Some(*removal.value));
            assert_eq!(cache.insert(*removal.key, 7), refused);
            assert_eq!(cache.insert(99, 7), refused);
            assert_eq!(cache.insert_if_absent(99, 7), refused);
            assert_eq!(cache.replace(*removal.key, 7), refused);
            assert_eq!(cache.insert_with_tags(99, 7, ["t"]), refused);
            assert_eq!(cache.insert_unevictable(99, 7), refused);
            let panics = |change: &dyn Fn()| {
                assert!(catch_unwind(AssertUnwindSafe(change)).is_err(), "not refused");
            };
            panics(&|| assert_eq!(cache.remove(removal.key), None));
            panics(&|| assert!(cache.remove_if(removal.key, |_, _| true)));
            panics(&|| cache.clear());
            cache.run_pending();
            assert_eq!(cache.iter().count(), 2);
        })
        .build()
        .unwrap();
    slot.set(cache.clone()).unwrap();
    cache.insert(1, 1);
    cache.insert(2, 2);
    assert_eq!(cache.insert(1, 3), Inserted::Replaced);
    assert_eq!(cache.stats().listener_panics, 0);
    assert_eq!((cache.get(&1), cache.get(&99)), (Some(3), None));
    cache.validate();
}

#[test]
fn closures_called_by_a_change_are_refused_changes_too() {
    struct Meddler(Arc<OnceLock<Cache<u32, u32>>>);
    impl larder::Expiry<u32, u32> for Meddler {
        fn after_create(&self, key: &u32, _: &u32) -> Option<Duration> {
            let refused = self.0.get().unwrap().insert(*key, 0);
            assert_eq!(refused, Inserted::Rejected(Rejection::WithinListener));
            None
        }
    }
    let slot = Arc::new(OnceLock::new());
    let cache = inline(100)
        .expiry(Meddler(Arc::clone(&slot)))
        .atomic_listener(|_: &Removal<'_, u32, u32>| {})
        .build()
        .unwrap();
    slot.set(cache.clone()).unwrap();
    for key in 0..10 {
        assert_eq!(cache.insert(key, key), Inserted::Added);
        assert_eq!(cache.insert(key, key), Inserted::Replaced);
    }
    let refused = || cache.insert(99, 0) == Inserted::Rejected(Rejection::WithinListener);
    assert!(cache.remove_if(&1, |_, _| refused()));
    assert_eq!(cache.invalidate_if(|key, _| *key < 5 && refused()), 4);
    assert_eq!(cache.read(&7, |_| cache.remove(&8)), Some(Some(8)), "a lookup is not a change");
    assert_eq!(cache.len(), 4);
    cache.validate();
}

#[test]
fn values_that_change_the_cache_as_they_are_dropped_do_so_outside_of_gates() {
    type Slot = Arc<OnceLock<Cache<u32, Noisy>>>;
    struct Noisy(Option<(Slot, u32)>);
    impl Drop for Noisy {
        fn drop(&mut self) {
            if let Some((slot, key)) = self.0.take() {
                slot.get().unwrap().insert(key % 64, Noisy(None));
            }
        }
    }
    for mode in [Maintenance::Inline, Maintenance::Background] {
        let slot = Slot::default();
        let notified = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&notified);
        let cache = Cache::builder()
            .capacity(32)
            .partitions(1)
            .maintenance(mode)
            .atomic_listener(move |_: &Removal<'_, u32, Noisy>| {
                count.fetch_add(1, Ordering::SeqCst);
            })
            .build()
            .unwrap();
        let _ = slot.set(cache.clone());
        thread::scope(|scope| {
            for thread in 0..2 {
                let (cache, slot) = (&cache, &slot);
                scope.spawn(move || {
                    for round in 0..2_000 {
                        let key = round * 7 + thread;
                        cache.insert(key % 96, Noisy(Some((Arc::clone(slot), key))));
                        if round % 500 == 0 {
                            cache.clear();
                        }
                    }
                });
            }
        });
        assert!(notified.load(Ordering::SeqCst) > 1_000);
        // What a drop inserts evicts nothing at once; the last value that is dropped inserts
        // nothing.
        let _ = cache.flush();
        while cache.len() > 32 {
            cache.run_pending();
            let _ = cache.flush();
        }
        cache.validate();
    }
}

#[test]
fn another_cache_with_a_listener_may_be_changed_from_within() {
    let behind: Cache<u32, u32> = inline(1_000).build().unwrap();
    let store = behind.clone();
    let cache = inline(10)
        .atomic_listener(move |removal: &Removal<'_, u32, u32>| {
            store.insert(*removal.key, *removal.value);
        })
        .build()
        .unwrap();
    for key in 0..100 {
        cache.insert(key, key);
    }
    assert_eq!((cache.len(), behind.len()), (10, 90));
    assert!((0..100).all(|key| cache.contains_key(&key) ^ behind.contains_key(&key)));
}

#[test]
fn values_that_were_not_stored_are_dropped_outside_of_gates() {
    static CACHE: OnceLock<Cache<u32, Rejected>> = OnceLock::new();
    struct Rejected(bool);
    impl Drop for Rejected {
        fn drop(&mut self) {
            if self.0 {
                let cache = CACHE.get().unwrap();
                assert!(cache.remove_if(&2, |_, _| true), "refused within the gate of 1");
                assert_eq!(cache.insert(2, Rejected(false)), Inserted::Added);
            }
        }
    }
    let cache = Cache::builder()
        .max_weight(100)
        .maintenance(Maintenance::Inline)
        // This changes the key between the first search for it and the change.
        .weigher(|key: &u32, value: &Rejected| {
            if *key == 1 && value.0 {
                let cache = CACHE.get().unwrap();
                if !cache.remove_if(&1, |_, _| true) {
                    cache.insert(1, Rejected(false));
                }
            }
            1
        })
        .atomic_listener(|_: &Removal<'_, u32, Rejected>| ())
        .build()
        .unwrap();
    let cache = CACHE.get_or_init(|| cache);
    cache.insert(2, Rejected(false));
    let inserted = cache.insert_if_absent(1, Rejected(true));
    assert_eq!(inserted, Inserted::Rejected(Rejection::Present));
    let replaced = cache.replace(1, Rejected(true));
    assert_eq!(replaced, Inserted::Rejected(Rejection::Absent));
    cache.validate();
}

#[test]
fn a_change_inside_a_listener_is_refused_rather_than_waiting_for_another_thread() {
    // Each of two threads is inside the listener of one cache for key 1, and wants to change key 1
    // of the other cache.
    type Slots = [Arc<OnceLock<Cache<u32, u32>>>; 2];
    let slots: Slots = Default::default();
    let barrier = Arc::new(Barrier::new(2));
    let (sender, results) = mpsc::channel();
    let make = |other: usize| {
        let (other, barrier) = (Arc::clone(&slots[other]), Arc::clone(&barrier));
        let sender = Mutex::new(sender.clone());
        inline(100)
            .atomic_listener(move |_: &Removal<'_, u32, u32>| {
                let other = other.get().unwrap();
                barrier.wait();
                sender.lock().unwrap().send(other.insert(1, 9)).unwrap();
                let is_refused = catch_unwind(AssertUnwindSafe(|| other.remove(&1))).is_err();
                assert!(is_refused);
                assert_eq!(other.get(&1), Some(1), "lookups never wait");
                assert_eq!(other.insert(2, 2), Inserted::Added, "nor does another key");
                barrier.wait();
            })
            .build()
            .unwrap()
    };
    let caches = [make(1), make(0)];
    for (slot, cache) in slots.iter().zip(&caches) {
        slot.set(cache.clone()).unwrap();
        cache.insert(1, 1);
    }
    thread::scope(|scope| {
        for cache in &caches {
            scope.spawn(move || assert_eq!(cache.remove(&1), Some(1)));
        }
    });
    for _ in 0..2 {
        let refused = Inserted::Rejected(Rejection::WithinListener);
        assert_eq!(results.recv().unwrap(), refused);
    }
    for cache in &caches {
        assert_eq!((cache.len(), cache.stats().listener_panics), (1, 0));
        cache.validate();
    }
}
