//! The maintenance thread: no event waits behind a thread that sleeps.
//!
//! Who waits for an event that the thread never applies is parked for good, which loom reports as a
//! deadlock. A cache is a write buffer of 2 slots here. ORDERINGS.md lists the changes that make a
//! model fail.
#![cfg(larder_loom)]

use larder::model::MaintainerModel;
use loom::thread;

#[test]
fn an_event_is_never_slept_over() {
    loom_tests::model(|| {
        let cache = MaintainerModel::default().register();
        cache.write(1);
        cache.await_applied(1);
        cache.close();
    });
}

#[test]
fn an_event_that_comes_as_the_thread_lies_down_wakes_it() {
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
fn events_of_two_writers_are_never_slept_over() {
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
fn a_cache_that_comes_during_a_look_is_not_slept_over() {
    loom_tests::model(|| {
        let maintainer = MaintainerModel::default();
        let first = maintainer.register();
        let second = maintainer.register();
        second.write(1);
        second.await_applied(1);
        first.close();
        second.close();
    });
}

#[test]
fn the_thread_ends_with_the_last_cache_and_comes_with_the_next() {
    loom_tests::model(|| {
        let maintainer = MaintainerModel::default();
        maintainer.register().close();
        let cache = maintainer.register();
        cache.write(1);
        cache.await_applied(1);
        cache.close();
    });
}
