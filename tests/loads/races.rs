//! Races at exact points, which user code holds open: a comparison or a clone of a key, or a loader.

use std::sync::mpsc::channel;
use std::thread;

use larder::{Cache, Maintenance};

use crate::Hooked;
use crate::support::hashers::Constant;

const OLD: u64 = 1;
const NEW: u64 = 2;

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
