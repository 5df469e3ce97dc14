//! What changes while the listener runs, between the two attempts of a removal.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use larder::test::FakeClock;
use larder::{
    Cache, Expiry, Fill, Inserted, KeyState, Maintenance, Rejection, Removal, RemovalCause,
};

use super::inline;

type Begun = Arc<Mutex<Option<Fill<u32, u32>>>>;

/// A cache whose listener begins a fill of the key that leaves.
fn filling() -> (Cache<u32, u32>, Begun) {
    let (slot, fill) = (Arc::new(OnceLock::<Cache<u32, u32>>::new()), Arc::new(Mutex::new(None)));
    let (own, begun) = (Arc::clone(&slot), Arc::clone(&fill));
    let cache = inline(100)
        .atomic_listener(move |removal: &Removal<'_, u32, u32>| {
            *begun.lock().unwrap() = Some(own.get().unwrap().begin_fill(removal.key));
        })
        .build()
        .unwrap();
    slot.set(cache.clone()).unwrap();
    (cache, fill)
}

#[test]
fn a_fill_that_the_listener_begins_is_stale_once_the_key_has_changed() {
    type Change = fn(&Cache<u32, u32>);
    let changes: [(&str, Change); 5] = [
        ("insert", |cache| assert_eq!(cache.insert(1, 2), Inserted::Replaced)),
        ("replace", |cache| assert_eq!(cache.replace(1, 2), Inserted::Replaced)),
        ("remove", |cache| assert_eq!(cache.remove(&1), Some(1))),
        ("remove_if", |cache| assert!(cache.remove_if(&1, |_, _| true))),
        ("remove_key", |cache| assert_eq!(cache.remove_key(&1), KeyState::Valid)),
    ];
    for (name, change) in changes {
        let (cache, fill) = filling();
        cache.insert(1, 1);
        change(&cache);
        let fill = fill.lock().unwrap().take().unwrap();
        assert_eq!(cache.complete_fill(fill, 1), Inserted::Rejected(Rejection::Stale), "{name}");
    }
}

#[test]
fn a_fill_begun_while_an_expired_entry_is_removed_for_a_new_one_is_stale() {
    let clock = FakeClock::new();
    let slot = Arc::new(OnceLock::<Cache<u32, u32>>::new());
    let fill = Arc::new(Mutex::new(None));
    let (own, begun) = (Arc::clone(&slot), Arc::clone(&fill));
    let cache = inline(100)
        .clock(clock.clone())
        .time_to_live(Duration::from_secs(1))
        .expire_lazily()
        .atomic_listener(move |removal: &Removal<'_, u32, u32>| {
            let mut begun = begun.lock().unwrap();
            begun.get_or_insert_with(|| own.get().unwrap().begin_fill(removal.key));
        })
        .build()
        .unwrap();
    slot.set(cache.clone()).unwrap();
    cache.insert(1, 1);
    clock.advance(Duration::from_secs(2));
    assert_eq!(cache.insert_if_absent(1, 2), Inserted::Added);
    clock.advance(Duration::from_secs(2));
    cache.remove_expired();
    let fill = fill.lock().unwrap().take().unwrap();
    assert_eq!(cache.complete_fill(fill, 1), Inserted::Rejected(Rejection::Stale));
}

#[test]
fn a_new_entry_whose_expiry_panics_is_dropped_outside_of_the_gate() {
    type Slot = Arc<OnceLock<Cache<u32, Clearing>>>;
    struct Clearing(Option<Slot>);
    impl Drop for Clearing {
        fn drop(&mut self) {
            if let Some(cache) = self.0.take().as_ref().and_then(|slot| slot.get()) {
                // Aborts if it is refused, because it would panic during a panic.
                assert_eq!(cache.remove_key(&2), KeyState::Valid);
            }
        }
    }
    struct Panicking;
    impl Expiry<u32, Clearing> for Panicking {
        fn after_create(&self, key: &u32, _: &Clearing) -> Option<Duration> {
            assert_ne!(*key, 1, "the expiry's own");
            None
        }
    }
    let slot: Slot = Arc::default();
    let cache = Cache::builder()
        .capacity(100)
        .maintenance(Maintenance::Inline)
        .expiry(Panicking)
        .atomic_listener(|_: &Removal<'_, u32, Clearing>| {})
        .build()
        .unwrap();
    slot.set(cache.clone()).ok().unwrap();
    cache.insert(2, Clearing(None));
    let insertion = || cache.insert_if_absent(1, Clearing(Some(Arc::clone(&slot))));
    assert!(catch_unwind(AssertUnwindSafe(insertion)).is_err());
    assert!(cache.is_empty());
    cache.validate();
}

#[test]
fn an_expired_entry_that_is_invalidated_meanwhile_still_leaves_once() {
    let clock = FakeClock::new();
    let slot = Arc::new(OnceLock::<Cache<u32, u32>>::new());
    let causes = Arc::new(Mutex::new(Vec::new()));
    let (own, noted) = (Arc::clone(&slot), Arc::clone(&causes));
    let cache = inline(100)
        .clock(clock.clone())
        .time_to_live(Duration::from_secs(1))
        .expire_lazily()
        .atomic_listener(move |removal: &Removal<'_, u32, u32>| {
            noted.lock().unwrap().push(removal.cause);
            let own = own.get().unwrap().clone();
            std::thread::spawn(move || own.invalidate_tag("tag")).join().unwrap();
        })
        .build()
        .unwrap();
    slot.set(cache.clone()).unwrap();
    cache.insert_with_tags(1, 1, ["tag"]);
    clock.advance(Duration::from_secs(2));
    assert_eq!(cache.remove_if_expired(&1), KeyState::Expired);
    assert_eq!(cache.remove_key(&1), KeyState::Missing);
    assert_eq!(*causes.lock().unwrap(), [RemovalCause::Expired]);
    cache.validate();
}
