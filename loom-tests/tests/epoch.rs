//! Grace periods of epoch guards, under the governor. The real crossbeam-epoch runs here; it has a
//! build for loom. There are two threads, because a third takes hours, and two preemptions.
#![cfg(larder_loom)]

use larder::model::Governed;
use loom::model::Builder;
use loom_tests::two_within;

/// So many calls of `advance` complete a ticket if no guard holds it back.
const ENOUGH: usize = 3;

/// With one preemption more, a model does not end in reasonable time.
fn limits() -> Builder {
    let mut limits = Builder::new();
    limits.preemption_bound = Some(2);
    limits
}

#[test]
fn a_value_is_freed_only_when_its_guard_is_dropped() {
    two_within(
        &limits(),
        |_: &Governed| (),
        |governed| governed.read(&governed.join()),
        |governed| {
            let old = governed.replace(1);
            (0..ENOUGH).any(|_| {
                governed.advance();
                governed.free(&old)
            })
        },
        |_, read, _| assert!(read <= 1),
    );
}

/// The thread that frees learns from a second thread that no reader is left, and that one from the
/// thread that ran the deferred function.
#[test]
fn a_value_is_freed_by_a_ticket_that_its_reader_completes() {
    two_within(
        &limits(),
        |_: &Governed| (),
        |governed| {
            let read = governed.read(&governed.join());
            (0..ENOUGH).for_each(|_| governed.advance());
            read
        },
        |governed| {
            let old = governed.replace(1);
            governed.advance();
            governed.free(&old)
        },
        |_, read, _| assert!(read <= 1),
    );
}

/// A reader that joins when the ticket is completed sees that the value was unlinked.
#[test]
fn a_ticket_that_another_thread_closes_covers_what_was_unlinked_before() {
    two_within(
        &limits(),
        |_: &Governed| (),
        |governed| {
            let member = governed.join();
            (0..ENOUGH).for_each(|_| governed.advance());
            governed.read(&member)
        },
        |governed| {
            let old = governed.replace(1);
            (0..2).any(|_| governed.free(&old))
        },
        |_, read, _| assert!(read <= 1),
    );
}

#[test]
fn a_ticket_without_guards_is_completed_by_three_calls() {
    loom_tests::check(&limits(), || {
        let governed = Governed::default();
        let member = governed.join();
        assert_eq!(governed.read(&member), 0);
        let old = governed.replace(1);
        assert!(!governed.free(&old), "no grace period was over");
        (0..ENOUGH).for_each(|_| governed.advance());
        assert!(governed.free(&old));
        assert_eq!(governed.read(&member), 1);
    });
}
