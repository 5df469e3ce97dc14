//! Several threads that call one function.

use std::sync::Barrier;
use std::thread;

use larder::cached;

use crate::support::Runs;

const THREADS: usize = 8;

/// What each of the threads makes of its number, all at once.
fn at_once<T: Send>(call: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let barrier = Barrier::new(THREADS);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (barrier, call) = (&barrier, &call);
                scope.spawn(move || {
                    barrier.wait();
                    call(thread)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no call panics")).collect()
    })
}

#[test]
fn threads_that_miss_at_once_run_one_body() {
    static RUNS: Runs = Runs::new();

    #[cached]
    fn cube(n: u64) -> u64 {
        RUNS.add();
        thread::yield_now();
        n * n * n
    }

    for round in 0..200 {
        assert_eq!(at_once(|_| cube(round)), [round * round * round; THREADS]);
        assert_eq!(RUNS.count() as u64, round + 1);
    }
}

#[derive(Clone, Debug, PartialEq)]
struct Failure(u64);

#[test]
fn an_error_reaches_all_that_wait_for_it() {
    #[cached(result)]
    fn refuse(n: u64) -> Result<u64, Failure> {
        thread::yield_now();
        Err(Failure(n))
    }

    for round in 0..200 {
        for result in at_once(|_| refuse(round)) {
            assert_eq!(result, Err(Failure(round)));
        }
    }
    assert!(refuse_cache().is_empty());
}

#[test]
fn a_panic_is_that_of_one_call_and_another_computes() {
    static RUNS: Runs = Runs::new();

    #[cached(key = n)]
    fn once(n: u64, is_first: &(dyn Fn() -> bool + Sync)) -> u64 {
        RUNS.add();
        assert!(!is_first(), "the first run of a round panics");
        n
    }

    for round in 0..50 {
        let before = RUNS.count();
        let is_first = || RUNS.count() == before + 1;
        let results = at_once(|_| {
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| once(round, &is_first)))
        });
        assert_eq!(results.iter().filter(|result| result.is_err()).count(), 1);
        assert!(results.iter().flatten().all(|value| *value == round));
        assert_eq!(RUNS.count(), before + 2);
    }
}
