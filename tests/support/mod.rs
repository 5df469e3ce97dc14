//! What the integration tests share: seeded randomness, the configurations to run through,
//! plain models of the exact policies, a type that counts its own drops, and small helpers.
//!
//! Nothing here keeps global state, so tests may run side by side; only `child` reads a clock.

// Every test program compiles this folder for itself and uses a part of it.
#![allow(dead_code)]

pub(crate) mod rng;
pub(crate) mod model;
pub(crate) mod newest_first;
pub(crate) mod s3_fifo;
pub(crate) mod sieve;
pub(crate) mod driver;
pub(crate) mod loose;
pub(crate) mod rounds;
pub(crate) mod linear;
pub(crate) mod counted;
pub(crate) mod hashers;
pub(crate) mod configs;
#[cfg(unix)]
#[path = "../../src/fork/child.rs"]
pub(crate) mod child;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake};
use std::thread::{self, Thread};

use larder::policy::Policy;
use larder::{Cache, FlushError, Maintenance};

/// Runs `step`, which must panic, and returns the panic's message.
///
/// Only payloads that are `&str` or `String` have one; ours always are.
pub(crate) fn panic_message(what: &str, step: impl FnOnce()) -> String {
    let payload = match catch_unwind(AssertUnwindSafe(step)) {
        Ok(()) => panic!("{what}: expected a panic, none came"),
        Err(payload) => payload,
    };
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        String::new()
    }
}

/// A cache that is bounded by `capacity` and has inline maintenance, and so one partition.
pub(crate) fn inline_cache(policy: Policy, capacity: usize) -> Cache<u64, u64> {
    let builder = Cache::builder().policy(policy).capacity(capacity);
    builder.maintenance(Maintenance::Inline).build().unwrap()
}

/// Frees everything that was removed from `cache`.
///
/// All caches of a process share one epoch, so a thread of another test may delay the memory: a
/// thread that was preempted while it was pinned, or that waits at that point for what its test is
/// about. This function waits for such a thread for a limited time, and accepts no other reason to
/// refuse.
#[track_caller]
pub(crate) fn flush<K, V, S>(cache: &Cache<K, V, S>) {
    let mut refusals = 0;
    while let Err(error) = cache.flush() {
        refusals += 1;
        let is_elsewhere = matches!(error, FlushError::PinnedElsewhere { .. });
        assert!(is_elsewhere && refusals < 40, "{error}, after {refusals} refusals");
    }
}

/// A point at which a thread waits until the test releases it: the closure that waits, the receiver
/// of what each thread passes to it on arrival, and the sender that releases one thread.
pub(crate) fn stop_point<T: Send>() -> (impl Fn(T) + Send + Sync, Receiver<T>, Sender<()>) {
    let (entered, has_entered) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel();
    let may_go_on = Mutex::new(may_go_on);
    let stop = move |value| {
        entered.send(value).unwrap();
        may_go_on.lock().unwrap().recv().unwrap();
    };
    (stop, has_entered, go_on)
}

/// Runs `future` to its end on this thread.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(thread::current())).into();
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

/// The threads of a stress test: as many as there are cores, but at least 2, so that they race, and
/// at most 8.
pub(crate) fn stress_threads() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 8)
}

/// Raises a flag when it is dropped, also by a panic, so that a thread never waits for the flag for
/// ever.
pub(crate) struct RaiseOnDrop<'a>(pub(crate) &'a AtomicBool);

impl Drop for RaiseOnDrop<'_> {
    fn drop(&mut self) {
        // Release: a thread that finds the flag raised sees what was done before.
        self.0.store(true, Ordering::Release);
    }
}
