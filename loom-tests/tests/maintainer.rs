//! The maintenance thread: no event waits while the thread sleeps.
//!
//! A writer that waits for an event that the thread never applies is parked for ever, which loom
//! reports as a deadlock. A cache is a write buffer of 2 slots here. ORDERINGS.md lists the changes
//! that make a model fail.
#![cfg(larder_loom)]

use larder::model::MaintainerModel;
use loom::thread;

#[test]
fn the_thread_never_sleeps_while_an_event_waits() {
    loom_tests::model(|| {
        let cache = MaintainerModel::default().register();
        cache.write(1);
        cache.await_applied(1);
        cache.close();
    });
}

#[test]
fn an_event_wakes_a_thread_that_is_about_to_sleep() {
    loom_tests::model(|| {
        let cache = MaintainerModel::default().register();
        cache.write(1);
        cache.await_applied(1);
        cache.write(2);
        cache.await_applied(2);
        cache.close();
    });
}

#[test]
fn the_thread_never_sleeps_while_a_direct_run_has_left_something() {
    loom_tests::model(|| {
        let cache = MaintainerModel::default().register();
        cache.write(1);
        cache.await_applied(1);
        cache.run_directly();
        cache.await_applied(2);
        cache.close();
    });
}

#[test]
fn the_thread_never_sleeps_while_events_of_two_writers_wait() {
    loom_tests::model(|| {
        let cache = MaintainerModel::default().register();
        let other = cache.clone();
        let writer = thread::spawn(move || other.write(2));
        cache.write(1);
        cache.await_applied(2);
        writer.join().expect("the model's thread panicked");
        cache.close();
    });
}

#[test]
fn the_thread_does_not_sleep_on_a_cache_registered_during_its_round() {
    loom_tests::model(|| {
        let maintainer = MaintainerModel::default();
        let first = maintainer.register();
        first.write(1);
        let second = maintainer.register();
        second.write(1);
        second.await_applied(1);
        first.close();
        second.close();
    });
}

#[test]
fn the_thread_ends_with_the_last_cache_and_starts_with_the_next() {
    loom_tests::model(|| {
        let maintainer = MaintainerModel::default();
        let first = maintainer.register();
        first.write(1);
        first.await_applied(1);
        first.close();
        let cache = maintainer.register();
        cache.write(1);
        cache.await_applied(1);
        cache.close();
    });
}
