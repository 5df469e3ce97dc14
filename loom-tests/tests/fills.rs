//! A fill that began before its key was changed is never seen after the change; others are stored.
#![cfg(larder_loom)]

use larder::model::Filled;
use loom::sync::Arc;
use loom::thread;

#[test]
fn a_fill_that_began_before_a_change_is_never_seen_after_it() {
    loom_tests::model(|| {
        let map = Arc::new(Filled::default());
        let fill = map.begin(1);
        let filler = {
            let map = Arc::clone(&map);
            thread::spawn(move || map.complete(&fill, 10))
        };
        let was_seen = map.remove(1);
        assert_eq!(map.get(1), None, "a stale value is seen after the change");
        let is_stored = filler.join().expect("the model's thread panicked");
        assert_eq!(is_stored, was_seen, "stored and not removed, or removed and not stored");
        assert_eq!(map.get(1), None, "a stale value stays");
    });
}

#[test]
fn a_fill_that_begins_after_a_change_is_stored() {
    loom_tests::model(|| {
        let map = Arc::new(Filled::default());
        let other = Arc::clone(&map);
        let writer = thread::spawn(move || other.remove(2));
        map.remove(1);
        let fill = map.begin(1);
        assert!(map.complete(&fill, 10));
        writer.join().expect("the model's thread panicked");
        assert_eq!(map.get(1), Some(10));
    });
}
