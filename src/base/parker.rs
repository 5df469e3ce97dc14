//! A thread that waits to be woken as a task is: by a `Waker`.
//!
//! The waker sets a flag, which the thread checks under a lock before it sleeps; so no waking is lost.
//! The thread does not sleep by `thread::park`, which could take a token that the user's code left for it.
//!
//! # Orderings
//! The flag is stored with release and read with acquire: what happened before the waking happens before
//! the thread goes on. The lock guards nothing but the sleep.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::Duration;

#[cfg(not(larder_loom))]
use std::sync::Condvar;

#[cfg(not(larder_loom))]
use crate::base::sync::Mutex;
use crate::base::sync::{self, AtomicBool, Ordering};

/// A thread's place to sleep. Its waker may be kept and used for longer than the thread waits.
pub(crate) struct Parker {
    is_woken: AtomicBool,
    #[cfg(not(larder_loom))]
    sleep: Mutex<()>,
    #[cfg(not(larder_loom))]
    woken: Condvar,
}

impl Parker {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            is_woken: AtomicBool::new(false),
            #[cfg(not(larder_loom))]
            sleep: Mutex::new(()),
            #[cfg(not(larder_loom))]
            woken: Condvar::new(),
        })
    }

    pub(crate) fn waker(self: &Arc<Self>) -> Waker {
        Waker::from(Arc::clone(self))
    }

    /// Sleeps until the waker is used, or for `at_most`. A waking before the call ends it at once. It may
    /// also end early for no reason.
    #[cfg(not(larder_loom))]
    pub(crate) fn park(&self, at_most: Duration) {
        // Acquire, both: pair with the release in `wake`.
        if self.is_woken.swap(false, Ordering::Acquire) {
            return;
        }
        let sleep = sync::lock(&self.sleep);
        if !self.is_woken.swap(false, Ordering::Acquire) {
            drop(self.woken.wait_timeout(sleep, at_most));
            self.is_woken.swap(false, Ordering::Acquire);
        }
    }

    /// In a model, where no time passes, a thread sleeps until it is woken.
    #[cfg(larder_loom)]
    pub(crate) fn park(&self, _: Duration) {
        // Acquire: pairs with the release in `wake`.
        while !self.is_woken.swap(false, Ordering::Acquire) {
            sync::thread::yield_now();
        }
    }
}

impl Wake for Parker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Release: pairs with the acquire in `park`.
        self.is_woken.store(true, Ordering::Release);
        #[cfg(not(larder_loom))]
        {
            // The thread is not between its check of the flag and its sleep.
            drop(sync::lock(&self.sleep));
            self.woken.notify_all();
        }
    }
}

#[cfg(all(test, not(larder_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_waking_before_the_sleep_is_not_lost_and_wakes_once() {
        let parker = Parker::new();
        parker.waker().wake();
        parker.park(Duration::MAX);
        parker.park(Duration::ZERO);
        assert!(!parker.is_woken.load(Ordering::Relaxed));
    }

    #[test]
    fn another_thread_wakes_a_thread_that_sleeps() {
        for _ in 0..100 {
            let parker = Parker::new();
            let waker = parker.waker();
            let is_done = AtomicBool::new(false);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    is_done.store(true, Ordering::Relaxed);
                    waker.wake();
                });
                while !is_done.load(Ordering::Relaxed) {
                    parker.park(Duration::from_secs(3600));
                }
            });
        }
    }
}
