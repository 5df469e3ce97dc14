//! Races at exact points, which user code holds open: a comparison or a clone of a key, or a loader.

use std::sync::mpsc::channel;
use std::thread;

use larder::{Cache, Maintenance};

use crate::Hooked;
use crate::support::hashers::Constant;

const OLD: u64 = 1;
const NEW: u64 = 2;

/// A change of the cache marks loads before it changes the table. A load that begins between the two, and
/// then finds the old value in the table, must not hand that to a caller that comes after the change.
#[test]
fn a_value_that_a_leader_finds_is_not_given_to_callers_that_come_after_its_removal() {
    let cache: Cache<Hooked, Hooked> = Cache::new(100);
    // The removal has marked the loads of the key; it may go on; it has returned.
    let (marked, has_marked) = channel();
    let (go_on, may_go_on) = channel::<()>();
    let (removed, has_removed) = channel();
    let remover = {
        let cache = cache.clone();
        move || {
            let key = Hooked::new(1).on_eq(move || {
                marked.send(()).unwrap();
                may_go_on.recv().unwrap();
            });
            removed.send(cache.remove(&key).is_some()).unwrap();
        }
    };
    let (late, has_late) = channel();
    let found = {
        let cache = cache.clone();
        move || {
            // The leader has found the old value. The removal ends, and a caller comes after it.
            go_on.send(()).unwrap();
            assert!(has_removed.recv().unwrap());
            let caller = cache.clone();
            let caller = move || caller.get_or_insert_with(&Hooked::new(1), || Hooked::new(NEW));
            late.send(thread::spawn(caller)).unwrap();
            while cache.stats().load_waits == 0 {
                thread::yield_now();
            }
        }
    };
    let missed = {
        let cache = cache.clone();
        move || {
            // Between the miss and the join, another call stores the old value, and its removal begins.
            cache.insert(Hooked::new(1), Hooked::new(OLD).on_clone(found));
            thread::spawn(remover);
            has_marked.recv().unwrap();
        }
    };
    let key = Hooked::new(1).on_clone(missed);
    let value = cache.get_or_insert_with(&key, || unreachable!("the old value is there"));
    assert_eq!(value, Hooked::new(OLD), "the call began before the removal");
    let late = has_late.recv().unwrap().join().unwrap();
    assert_eq!(late, Hooked::new(NEW), "the caller came after the removal");
}

/// A load that begins between the two steps of an insertion does not put its value in the place of the
/// inserted one.
#[test]
fn a_load_that_begins_within_an_insertion_does_not_replace_what_was_inserted() {
    for maintenance in [Maintenance::Inline, Maintenance::Background] {
        let builder = Cache::<Hooked, u64>::builder().capacity(100).maintenance(maintenance);
        let cache = builder.hasher(Constant(3)).build().unwrap();
        // A key that every search compares.
        cache.insert(Hooked::new(2), 0);
        let (marked, has_marked) = channel();
        let (go_on, may_go_on) = channel::<()>();
        let inserter = {
            let cache = cache.clone();
            thread::spawn(move || {
                let key = Hooked::new(1).on_eq(move || {
                    marked.send(()).unwrap();
                    may_go_on.recv().unwrap();
                });
                cache.insert(key, NEW);
            })
        };
        has_marked.recv().unwrap();
        let value = cache.get_or_insert_with(&Hooked::new(1), || {
            go_on.send(()).unwrap();
            inserter.join().unwrap();
            OLD
        });
        assert_eq!(value, OLD, "the call began before the insertion took effect");
        assert_eq!(cache.get(&Hooked::new(1)), Some(NEW), "the load has overwritten it");
        assert_eq!(cache.stats().loads_discarded, 1);
    }
}
