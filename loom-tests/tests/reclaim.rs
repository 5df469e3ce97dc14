//! Grace periods of fast guards: nothing is freed that a reader still reads.
//!
//! A value is "freed" by writing to a cell that loom watches, so loom reports a race with a reader
//! that still uses it. Loom has no asymmetric fence; a full fence on both sides replaces it.
//! ORDERINGS.md lists the changes that make a model fail.
#![cfg(larder_loom)]

use larder::model::Guarded;
use loom::sync::Arc;
use loom::thread;

/// One thread reads `reads` times against a replacement, which takes `steps` steps to be freed.
fn read_against_replacement(reads: usize, steps: usize) {
    loom_tests::model(move || {
        let guarded = Arc::new(Guarded::new(1));
        let (reader, writer) = (Arc::clone(&guarded), Arc::clone(&guarded));
        let reader = thread::spawn(move || (0..reads).for_each(|_| assert!(reader.read(0) <= 1)));
        let writer = thread::spawn(move || {
            let old = writer.replace(1);
            (0..steps).for_each(|_| writer.step());
            writer.free(&old)
        });
        reader.join().expect("the model's thread panicked");
        writer.join().expect("the model's thread panicked");
        assert_eq!(guarded.read(0), 1);
    });
}

#[test]
fn a_value_is_freed_only_when_its_reader_has_left() {
    read_against_replacement(1, 1);
    read_against_replacement(1, 2);
}

#[test]
fn a_reader_that_came_back_is_distinguished_from_one_that_stayed() {
    read_against_replacement(2, 2);
    read_against_replacement(2, 3);
}

#[test]
fn two_readers_and_two_replacements() {
    loom_tests::model(|| {
        let guarded = Arc::new(Guarded::new(2));
        let readers = [0, 1].map(|number| {
            let guarded = Arc::clone(&guarded);
            thread::spawn(move || guarded.read(number))
        });
        let first = guarded.replace(1);
        guarded.step();
        let second = guarded.replace(2);
        guarded.step();
        guarded.free(&first);
        guarded.free(&second);
        for reader in readers {
            assert!(reader.join().expect("the model's thread panicked") <= 2);
        }
    });
}

#[test]
fn quiet_readers_end_a_grace_period_in_one_step() {
    loom_tests::model(|| {
        let guarded = Arc::new(Guarded::new(2));
        let reader = Arc::clone(&guarded);
        let reader = thread::spawn(move || reader.read(0));
        reader.join().expect("the model's thread panicked");
        let old = guarded.replace(1);
        guarded.step();
        assert!(guarded.free(&old), "no reader is inside");
    });
}
