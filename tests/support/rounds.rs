//! Races that start together, many times.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex, PoisonError};

use super::stress_threads;

/// Runs `race` on all threads at once, `rounds` times; `judge` checks the cache after each round.
///
/// A panic in either does not leave the other threads waiting at the barrier: all threads go
/// through the remaining rounds without doing anything, and then the first panic is resumed.
pub(crate) fn in_rounds(rounds: u64, race: impl Fn(u64, u64) + Sync, judge: impl FnMut(u64)) {
    // At most as many as there are cores, so that they truly run at once, and so few that an order
    // of their calls can be searched for.
    in_rounds_of(stress_threads().min(4), rounds, race, judge);
}

/// [`in_rounds`] with a given number of threads, even if there are fewer cores.
pub(crate) fn in_rounds_of(
    threads: usize,
    rounds: u64,
    race: impl Fn(u64, u64) + Sync,
    mut judge: impl FnMut(u64),
) {
    // A thread that spins while another waits for the core would keep that one from starting.
    let spins_before_yield = if threads > stress_threads() { 1 << 4 } else { 1 << 12 };
    let barrier = Barrier::new(threads + 1);
    let started = AtomicUsize::new(0);
    let failure = Mutex::new(None);
    let guarded = |step: &mut dyn FnMut()| {
        if failure.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
            return;
        }
        if let Err(payload) = catch_unwind(AssertUnwindSafe(step)) {
            failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(payload);
        }
    };
    std::thread::scope(|scope| {
        for thread in 0..threads as u64 {
            let (barrier, race, guarded, started) = (&barrier, &race, &guarded, &started);
            scope.spawn(move || {
                for round in 0..rounds {
                    barrier.wait();
                    // The barrier wakes the threads one by one, so they start together only after
                    // this.
                    started.fetch_add(1, Ordering::AcqRel);
                    let all = (round as usize + 1) * threads;
                    let mut spins = 0_u32;
                    while started.load(Ordering::Acquire) < all {
                        spins += 1;
                        if spins.is_multiple_of(spins_before_yield) {
                            std::thread::yield_now();
                        }
                        std::hint::spin_loop();
                    }
                    guarded(&mut || race(round, thread));
                    barrier.wait();
                }
            });
        }
        for round in 0..rounds {
            barrier.wait();
            barrier.wait();
            guarded(&mut || judge(round));
        }
    });
    if let Some(payload) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        resume_unwind(payload);
    }
}
