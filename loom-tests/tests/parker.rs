//! A thread that waits for a waking gets it, and sees what was written before.
//!
//! A waking that is lost leaves the thread parked for ever, which loom reports as a deadlock.
#![cfg(larder_loom)]

use std::sync::Arc;

use larder::model::{Handed, Waiting};
use loom::thread;

#[test]
fn a_waking_is_not_lost_and_publishes_what_was_written_before() {
    loom_tests::model(|| {
        let (handed, waiting) = (Arc::new(Handed::default()), Waiting::default());
        let other = thread::spawn({
            let (handed, waker) = (Arc::clone(&handed), waiting.waker());
            move || handed.hand(7, waker)
        });
        assert_eq!(handed.receive(&waiting), 7);
        other.join().expect("the model's thread panicked");
    });
}

#[test]
fn a_token_that_was_left_for_another_purpose_is_no_waking() {
    loom_tests::model(|| {
        let (handed, waiting) = (Arc::new(Handed::default()), Waiting::default());
        let waiter = thread::current();
        let other = thread::spawn({
            let (handed, waker) = (Arc::clone(&handed), waiting.waker());
            move || {
                waiter.unpark();
                handed.hand(7, waker);
            }
        });
        assert_eq!(handed.receive(&waiting), 7);
        other.join().expect("the model's thread panicked");
    });
}
