//! The write buffer: no event is lost, torn or doubled, and the count of live entries stays right.
//!
//! Under loom it has 2 slots. ORDERINGS.md lists the changes that make a model fail.
#![cfg(larder_loom)]

use larder::model::{WriteEvent, Writes};
use loom::sync::Arc;
use loom::thread;

fn drain(writes: &Writes) -> Vec<WriteEvent> {
    std::iter::from_fn(|| writes.pop()).collect()
}

#[test]
fn only_published_events_come_out() {
    loom_tests::model(|| {
        let writes = Arc::new(Writes::default());
        let other = Arc::clone(&writes);
        let writer = thread::spawn(move || other.push(WriteEvent::Replaced { new: 2, old: 1 }));
        let mut seen = drain(&writes);
        assert!(writer.join().expect("the model's thread panicked"));
        seen.extend(drain(&writes));
        assert_eq!(seen, [WriteEvent::Replaced { new: 2, old: 1 }]);
        assert_eq!(writes.waiting(), 0);
    });
}

#[test]
fn two_writers_and_a_drainer_lose_nothing() {
    loom_tests::model(|| {
        let writes = Arc::new(Writes::default());
        let (a, b) = (Arc::clone(&writes), Arc::clone(&writes));
        let first = thread::spawn(move || a.push(WriteEvent::Inserted(1)));
        let second = thread::spawn(move || b.push(WriteEvent::Removed(2)));
        let mut seen = drain(&writes);
        assert!(first.join().expect("the model's thread panicked"));
        assert!(second.join().expect("the model's thread panicked"));
        seen.extend(drain(&writes));
        assert_eq!(seen.len(), 2, "{seen:?}");
        assert!(seen.contains(&WriteEvent::Inserted(1)) && seen.contains(&WriteEvent::Removed(2)));
        assert_eq!(writes.live(), 0);
    });
}

#[test]
fn a_full_buffer_refuses_and_loses_nothing() {
    loom_tests::model(|| {
        let writes = Arc::new(Writes::default());
        assert!(writes.push(WriteEvent::Inserted(1)));
        let (a, b) = (Arc::clone(&writes), Arc::clone(&writes));
        let first = thread::spawn(move || a.push(WriteEvent::Inserted(2)));
        let second = thread::spawn(move || b.push(WriteEvent::Inserted(3)));
        let mut seen = Vec::from_iter(writes.pop());
        let pushed = [
            first.join().expect("the model's thread panicked"),
            second.join().expect("the model's thread panicked"),
        ];
        seen.extend(drain(&writes));
        let accepted = 1 + pushed.iter().filter(|pushed| **pushed).count();
        assert!(accepted >= 2, "refused while there was room");
        assert_eq!(seen.len(), accepted, "{seen:?} of {pushed:?}");
        assert_eq!(writes.live(), accepted);
    });
}

#[test]
fn slots_are_reused_only_once_empty() {
    loom_tests::model(|| {
        let writes = Arc::new(Writes::default());
        assert!(writes.push(WriteEvent::Inserted(1)) && writes.push(WriteEvent::Inserted(2)));
        let other = Arc::clone(&writes);
        let writer = thread::spawn(move || {
            (3..5).filter(|at| other.push(WriteEvent::Inserted(*at))).count()
        });
        let mut seen = Vec::from_iter(writes.pop());
        seen.extend(writes.pop());
        let pushed = writer.join().expect("the model's thread panicked");
        seen.extend(drain(&writes));
        assert_eq!(seen.len(), 2 + pushed);
        assert_eq!(seen[..2], [WriteEvent::Inserted(1), WriteEvent::Inserted(2)]);
    });
}

#[test]
fn evictions_and_pushes_both_count() {
    loom_tests::model(|| {
        let writes = Arc::new(Writes::default());
        assert!(writes.push(WriteEvent::Inserted(1)));
        let other = Arc::clone(&writes);
        let writer = thread::spawn(move || other.push(WriteEvent::Inserted(2)));
        writes.adjust_live(-1);
        assert!(writer.join().expect("the model's thread panicked"));
        assert_eq!(writes.live(), 1);
        assert_eq!(writes.waiting(), 2);
    });
}
