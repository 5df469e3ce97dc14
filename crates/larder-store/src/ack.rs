//! How the queue tells a caller that its writes are done: an acknowledgement, awaited by a thread or by a
//! future.
//!
//! The writer counts an acknowledgement down under the queue's lock, and wakes those who wait after it,
//! because a waker is user code.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use crate::error::TierError;

/// What some writes are waited for by.
pub(crate) struct Ack<E> {
    state: Mutex<AckState<E>>,
    done: Condvar,
}

struct AckState<E> {
    /// How many writes are not done.
    open: usize,
    /// How many of the writes were given up.
    given_up: usize,
    /// Why one of them was.
    error: Option<TierError<E>>,
    waker: Option<Waker>,
}

/// How the writes of an acknowledgement ended.
pub(crate) struct Outcome<E> {
    pub(crate) given_up: usize,
    pub(crate) error: Option<TierError<E>>,
}

impl<E> Ack<E> {
    pub(crate) fn new(open: usize) -> Arc<Self> {
        let state = AckState { open, given_up: 0, error: None, waker: None };
        Arc::new(Self { state: Mutex::new(state), done: Condvar::new() })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, AckState<E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that one of the writes is done, or was given up for that reason.
    pub(crate) fn count_down(&self, error: Option<TierError<E>>) {
        let mut state = self.state();
        state.open -= 1;
        if let Some(error) = error {
            state.given_up += 1;
            // The first stays: under this lock, the last reference to an error of the store must not be dropped. That of
            // the new one is not the last, because its write has one.
            state.error.get_or_insert(error);
        }
    }

    /// Wakes the caller that waits, if nothing is left to wait for.
    pub(crate) fn wake(&self) {
        let mut state = self.state();
        if state.open > 0 {
            return;
        }
        let waker = state.waker.take();
        drop(state);
        self.done.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn outcome(state: &mut AckState<E>) -> Option<Outcome<E>> {
        let AckState { open, given_up, error, .. } = state;
        (*open == 0).then(|| Outcome { given_up: *given_up, error: error.take() })
    }

    /// Waits until the writes are done, at most until `end`, and for ever without one. An error is how many
    /// writes are left.
    pub(crate) fn wait(&self, end: Option<Instant>) -> Result<Outcome<E>, usize> {
        let mut state = self.state();
        loop {
            if let Some(outcome) = Self::outcome(&mut state) {
                return Ok(outcome);
            }
            state = match end {
                None => self.done.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(end) => {
                    let left = end.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Err(state.open);
                    }
                    let waited = self.done.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// Waits for the same as a future.
    pub(crate) fn done(self: Arc<Self>) -> AckFuture<E> {
        AckFuture(self)
    }
}

/// The wait of one future for an acknowledgement.
pub(crate) struct AckFuture<E>(Arc<Ack<E>>);

impl<E> Future for AckFuture<E> {
    type Output = Outcome<E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome<E>> {
        // Cloned before the lock and dropped after it, because both are user code.
        let waker = context.waker().clone();
        let mut state = self.0.state();
        if let Some(outcome) = Ack::outcome(&mut state) {
            drop(state);
            return Poll::Ready(outcome);
        }
        let before = state.waker.replace(waker);
        drop(state);
        drop(before);
        Poll::Pending
    }
}
