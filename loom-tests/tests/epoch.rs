//! Grace periods of guards of crossbeam-epoch, under the governor: the real crate, which has a
//! build for loom. Two threads, for a third takes hours.
//!
//! ```text
//! LOOM_MAX_PREEMPTIONS=2 RUSTFLAGS="--cfg larder_loom --cfg crossbeam_loom" \
//!     cargo test --release -p loom-tests --test epoch --target-dir target/loom-epoch
//! ```
#![cfg(all(larder_loom, crossbeam_loom))]

use larder::model::Governed;
use loom_tests::two;

/// Calls of `advance` that complete a ticket if no guard holds it back.
const ENOUGH: usize = 3;

#[test]
fn a_value_is_freed_only_when_its_guard_is_dropped() {
    two(
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

/// Who frees learns from another thread that nobody is left, and that one from whoever ran the
/// deferred function.
#[test]
fn a_value_is_freed_by_a_ticket_that_its_reader_completes() {
    two(
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

/// A reader that comes when the ticket is completed sees that the value was taken out.
#[test]
fn a_ticket_that_another_thread_closes_covers_what_was_taken_out_before() {
    two(
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
fn a_ticket_is_completed_by_three_calls_where_nobody_holds_it_back() {
    loom_tests::model(|| {
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
