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
fn an_exclusive_fill_never_overwrites_a_change() {
    loom_tests::model(|| {
        let map = Arc::new(Filled::default());
        map.insert(1, 5);
        let fill = map.begin(1);
        let filler = {
            let map = Arc::clone(&map);
            thread::spawn(move || map.complete_replacing(&fill, 10))
        };
        map.insert(1, 20);
        assert_eq!(map.get(1), Some(20), "the change was overwritten");
        filler.join().expect("the model's thread panicked");
        assert_eq!(map.get(1), Some(20), "the change was overwritten");
    });
}

#[test]
fn one_of_two_exclusive_fills_completes() {
    loom_tests::model(|| {
        let map = Arc::new(Filled::default());
        map.insert(1, 5);
        let (fill, other) = (map.begin(1), map.begin(1));
        let filler = {
            let map = Arc::clone(&map);
            thread::spawn(move || map.complete_replacing(&other, 10))
        };
        let is_first = map.complete_replacing(&fill, 20).is_some();
        let is_second = filler.join().expect("the model's thread panicked").is_some();
        assert!(is_first != is_second, "both fills or neither were stored");
        assert_eq!(map.get(1), Some(if is_first { 20 } else { 10 }));
    });
}

#[test]
fn an_exclusive_fill_is_refused_after_any_other_has_completed() {
    loom_tests::model(|| {
        let map = Arc::new(Filled::default());
        let (fill, plain) = (map.begin(1), map.begin(1));
        let filler = {
            let map = Arc::clone(&map);
            thread::spawn(move || map.complete(&plain, 10))
        };
        let replacing = map.complete_replacing(&fill, 20);
        let is_stored = filler.join().expect("the model's thread panicked");
        assert!(replacing.is_some() || is_stored, "neither was stored");
        assert_ne!(replacing, Some(true), "the value of a fill that had completed was replaced");
        assert_eq!(map.get(1), Some(if replacing.is_some() { 20 } else { 10 }));
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
