//! The end of a cache: the last thread that is inside takes it apart, once, and before the drop of
//! the last handle returns if that may wait.
#![cfg(larder_loom)]

use larder::model::Living;
use loom::sync::Arc;
use loom::thread;

/// A cache whose last handle this thread has, and `visitors` threads that visit it.
fn visited(visitors: usize, visit: fn(&Living), close: fn(&Living), check: fn(&Living)) {
    loom_tests::model(move || {
        let cache = Arc::new(Living::default());
        let threads: Vec<_> = (0..visitors)
            .map(|_| {
                let cache = Arc::clone(&cache);
                thread::spawn(move || visit(&cache))
            })
            .collect();
        close(&cache);
        check(&cache);
        threads.into_iter().for_each(|it| it.join().expect("the model's thread panicked"));
        assert!(cache.has_ended(), "no thread has taken it apart");
    });
}

fn visit(cache: &Living) {
    cache.visit();
}

#[test]
fn the_last_drop_waits_for_visitors_and_then_everything_is_dropped() {
    visited(1, visit, Living::close, |cache| {
        assert!(cache.has_ended(), "a drop returned before everything was dropped");
    });
}

#[test]
fn an_executors_job_and_the_maintenance_thread_end_the_cache_once() {
    visited(2, visit, Living::close, |cache| assert!(cache.has_ended()));
}

#[test]
fn a_drop_inside_user_code_leaves_the_end_to_the_last_visitor() {
    visited(1, visit, Living::close_inside, |_| ());
}

#[test]
fn an_executor_that_runs_jobs_at_once_is_not_waited_for() {
    loom_tests::model(|| {
        let cache = Arc::new(Living::default());
        let other = Arc::clone(&cache);
        // The maintenance thread, whose listener's executor runs a job at once.
        let visitor = thread::spawn(move || {
            other.visit_and(|| {
                other.visit();
            });
        });
        cache.close();
        assert!(cache.has_ended());
        visitor.join().expect("the model's thread panicked");
    });
}

#[test]
fn a_listener_that_drops_the_last_handle_does_not_wait_for_itself() {
    loom_tests::model(|| {
        let cache = Arc::new(Living::default());
        let other = Arc::clone(&cache);
        let job = thread::spawn(move || {
            other.visit();
        });
        cache.visit_and(|| cache.close());
        job.join().expect("the model's thread panicked");
        assert!(cache.has_ended());
    });
}

#[test]
fn two_listeners_that_drop_each_others_cache_do_not_wait_for_each_other() {
    loom_tests::model(|| {
        let caches = Arc::new([Living::default(), Living::default()]);
        let other = Arc::clone(&caches);
        let visitor = thread::spawn(move || {
            other[0].visit_and(|| other[1].close());
        });
        if !caches[1].visit_and(|| caches[0].close()) {
            caches[0].close();
        }
        visitor.join().expect("the model's thread panicked");
        // A visit that came too late did not run its closure; cache 0 is closed in either case.
        assert!(caches[0].has_ended());
    });
}
