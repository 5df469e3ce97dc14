//! A thread that waits until a waker wakes it, and that polls a future until it is done.
//!
//! # Tokens of others
//! The standard library has one token for each thread: `unpark` leaves it, and `park` takes it. The code
//! around a wait, such as the runtime that a caller stands in, may use the same token for purposes of its
//! own. So a [`Parker`] keeps a flag of its own, which says whether it was woken, and takes other wakings as
//! spurious. As it may have taken a token that was left for another purpose, it leaves one when it is
//! dropped: whoever parks has to expect a token too many, and would wait for ever after one too few.
//!
//! # Orderings
//! `is_woken` is set with release and cleared with acquire, so the thread that waited sees what was written
//! before it was woken: also if it takes the flag before the waker gets to `unpark`, or if a second waker
//! finds the flag set. Model test, of lost wakings: `loom-tests/tests/parker.rs`.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::marker::PhantomData;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use super::stand_in::StandIn;
use crate::base::sync::thread::{self, Thread};
use crate::base::sync::{self, AtomicBool, Ordering};
use crate::expiry::CacheTime;

/// Lets the thread that made it sleep until a [`Waker`] is woken. One waking is remembered if the thread does
/// not sleep yet.
pub(crate) struct Parker {
    state: Arc<ParkState>,
    /// Whether the thread's own token may have been taken.
    has_parked: Cell<bool>,
    /// Keeps this on its thread.
    not_send: PhantomData<*const ()>,
}

struct ParkState {
    is_woken: AtomicBool,
    thread: Thread,
}

impl Wake for ParkState {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Release: what this thread has written is seen by the one that waits; pairs with `take_waking`.
        if !self.is_woken.swap(true, Ordering::Release) {
            self.thread.unpark();
        }
    }
}

impl Parker {
    pub(crate) fn new() -> Self {
        let is_woken = AtomicBool::new(false);
        let state = Arc::new(ParkState { is_woken, thread: thread::current() });
        Self { state, has_parked: Cell::new(false), not_send: PhantomData }
    }

    /// A waker that wakes the thread. It may outlive this.
    pub(crate) fn waker(&self) -> Waker {
        Waker::from(Arc::clone(&self.state))
    }

    /// Sleeps until a waker is woken; returns at once if one was woken since the last return.
    pub(crate) fn park(&self) {
        let _stand_in = StandIn::begin();
        while !self.take_waking() {
            self.has_parked.set(true);
            thread::park();
        }
    }

    /// As [`park`](Self::park), but only until the time of a cache is at least `until_ns`. True if a waker
    /// was woken, false if the time has come. The thread reads the cache's clock at least as often as
    /// [`CacheTime::real_wait_for`] says, so a clock that is moved by hand is noticed within a millisecond.
    pub(crate) fn park_until(&self, time: &CacheTime, until_ns: u64) -> bool {
        let _stand_in = StandIn::begin();
        loop {
            if self.take_waking() {
                return true;
            }
            // The time is never this late.
            if until_ns == u64::MAX {
                while !self.take_waking() {
                    self.has_parked.set(true);
                    thread::park();
                }
                return true;
            }
            let now_ns = time.now_ns();
            if now_ns >= until_ns {
                return false;
            }
            self.has_parked.set(true);
            sync::park_timeout(time.real_wait_for(until_ns - now_ns));
        }
    }

    fn take_waking(&self) -> bool {
        // Acquire: sees what was written before the waker was woken; pairs with `wake_by_ref`.
        self.state.is_woken.swap(false, Ordering::Acquire)
    }
}

impl Drop for Parker {
    fn drop(&mut self) {
        // Loom lets no thread leave a token for itself.
        if self.has_parked.get() && !cfg!(larder_loom) {
            self.state.thread.unpark();
        }
    }
}

/// Polls `future` on this thread until it is done, and sleeps while it waits. Works on any thread, inside
/// other runtimes too, and may be nested.
///
/// # Panics
/// If the future does.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let parker = Parker::new();
    let waker = parker.waker();
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        parker.park();
    }
}

#[cfg(all(test, not(larder_loom)))]
mod tests {
    use std::future::poll_fn;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;
    use crate::expiry::ClockKind;
    use crate::test::FakeClock;

    #[test]
    fn a_waking_before_the_thread_sleeps_is_not_lost() {
        let parker = Parker::new();
        parker.waker().wake();
        parker.waker().wake_by_ref();
        parker.park();
        assert!(!parker.take_waking(), "two wakings before the thread sleeps are one");
    }

    #[test]
    fn a_token_of_another_purpose_wakes_no_parker_and_is_not_lost() {
        thread::current().unpark();
        let parker = Parker::new();
        let waker = parker.waker();
        let (ready, is_ready) = channel();
        let other = thread::spawn(move || {
            is_ready.recv().unwrap();
            waker.wake();
        });
        ready.send(()).unwrap();
        parker.park();
        other.join().unwrap();
        drop(parker);
        // Would wait for ever if the parker had kept the token.
        thread::park();
    }

    #[test]
    fn a_future_is_polled_until_it_is_done_however_its_waker_is_woken() {
        let mut polls = 0;
        let output = block_on(poll_fn(|context| {
            polls += 1;
            if polls == 5 {
                return Poll::Ready(polls);
            }
            let waker = context.waker().clone();
            match polls % 2 {
                0 => waker.wake(),
                _ => drop(thread::spawn(move || waker.wake())),
            }
            Poll::Pending
        }));
        assert_eq!(output, 5);
        let nested = block_on(async { block_on(async { 1 }) + block_on(async { 2 }) });
        assert_eq!(nested, 3);
    }

    #[test]
    fn a_wait_ends_when_the_clock_of_the_cache_says_so() {
        let clock = FakeClock::new();
        let time = CacheTime::new(ClockKind::of(clock.clone()));
        let until_ns = time.now_ns() + 1_000_000_000;
        let parker = Parker::new();
        let (ready, is_ready) = channel();
        let other = thread::spawn(move || {
            is_ready.recv().unwrap();
            clock.advance(Duration::from_secs(1));
        });
        ready.send(()).unwrap();
        assert!(!parker.park_until(&time, until_ns));
        assert!(time.now_ns() >= until_ns);
        other.join().unwrap();
        // A waking counts, even if the time has come too.
        parker.waker().wake();
        assert!(parker.park_until(&time, until_ns));
    }

    #[test]
    fn a_wait_by_the_system_clock_ends_in_time_or_when_it_is_woken() {
        for clock in [ClockKind::Monotonic, ClockKind::Coarse] {
            let time = CacheTime::new(clock);
            let until_ns = time.now_ns() + 3_000_000;
            let parker = Parker::new();
            assert!(!parker.park_until(&time, until_ns));
            assert!(time.now_ns() >= until_ns);
            for until_ns in [u64::MAX, time.now_ns() + 3_600_000_000_000] {
                let waker = parker.waker();
                let other = thread::spawn(move || waker.wake());
                assert!(parker.park_until(&time, until_ns));
                other.join().unwrap();
            }
        }
    }
}
