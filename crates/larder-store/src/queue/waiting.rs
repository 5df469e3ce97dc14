//! Waiting: of the writer for work, of callers for room; as threads and as futures.

use std::future::poll_fn;
use std::sync::PoisonError;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::attempts::Attempt;
use super::{Queue, QueueState};

/// What the writer does next.
pub(crate) enum Step<K, V> {
    Write(Vec<Attempt<K, V>>),
    /// To wait until something has happened since that signal, at most for that long.
    Wait(u64, Option<Duration>),
    End,
}

impl<K, V, E> Queue<K, V, E> {
    /// Whether the first write in the order may be written now.
    pub(super) fn is_due(&self, state: &QueueState<K, V, E>, now_ns: u64) -> bool {
        let bounds = &self.bounds;
        state.is_closing
            || state.rush > 0
            || state.retries > 0
            || state.order.len() >= bounds.batch_entries
            // A writer that waits must not make callers wait for room.
            || state.entries >= bounds.max_entries.div_ceil(2)
            || state.weight >= bounds.max_weight.div_ceil(2)
            || self.until_due(state, now_ns).is_zero()
    }

    fn until_due(&self, state: &QueueState<K, V, E>, now_ns: u64) -> Duration {
        let first = state.order.front().and_then(|id| state.slots.get(id)?.queued.as_ref());
        let age = first.map_or(0, |write| now_ns.saturating_sub(write.since_ns));
        self.bounds.delay.saturating_sub(Duration::from_nanos(age))
    }

    /// The writer's next step. Only one thread or future may take steps.
    pub(crate) fn next(&self) -> Step<K, V> {
        let now_ns = self.now_ns();
        let mut state = self.state();
        if state.order.is_empty() {
            return if state.is_closing { Step::End } else { Step::Wait(state.signal, None) };
        }
        if !self.is_due(&state, now_ns) {
            return Step::Wait(state.signal, Some(self.until_due(&state, now_ns)));
        }
        Step::Write(self.take(&mut state))
    }

    /// Waits until there was a signal after `seen`, at most for `most`.
    pub(crate) fn wait_for_work(&self, seen: u64, most: Option<Duration>) {
        self.wait_until(most, |state| state.signal != seen);
    }

    /// Waits for `pause`, or until all was given up.
    pub(crate) fn pause(&self, pause: Duration) {
        self.wait_until(Some(pause), |state| state.is_abandoned);
    }

    fn wait_until(&self, most: Option<Duration>, is_over: impl Fn(&QueueState<K, V, E>) -> bool) {
        // A time beyond the range of the system is never reached.
        let end = most.and_then(|most| Instant::now().checked_add(most));
        let mut state = self.state();
        while !is_over(&state) {
            state = match end {
                None => self.work.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(end) => {
                    let left = end.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return;
                    }
                    self.work.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// Waits until room was made since `freed` was read, at most until `end`; says whether it was.
    pub(crate) fn wait_for_room(&self, freed: u64, end: Option<Instant>) -> bool {
        let mut state = self.state();
        while state.freed == freed {
            state = match end {
                None => self.room.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(end) => {
                    let left = end.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return false;
                    }
                    self.room.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        true
    }

    /// Waits for the same as a future.
    pub(crate) async fn room(&self, freed: u64) {
        let number = {
            let mut state = self.state();
            state.last_roomless += 1;
            state.last_roomless
        };
        let roomless = Roomless { queue: self, number };
        poll_fn(|context| {
            // Cloned before the lock and dropped after it, because both are user code.
            let waker = context.waker().clone();
            let mut state = self.state();
            if state.freed != freed {
                drop(state);
                return Poll::Ready(());
            }
            let before = state.roomless.insert(roomless.number, waker);
            drop(state);
            drop(before);
            Poll::Pending
        })
        .await;
    }

    /// Waits until there was a signal after `seen`, as the one future that is the writer.
    pub(crate) async fn work(&self, seen: u64) {
        self.writer_until(|state| state.signal != seen).await;
    }

    /// Waits until all was given up, as the one future that is the writer.
    pub(crate) async fn abandoned(&self) {
        self.writer_until(|state| state.is_abandoned).await;
    }

    /// Waits until the tier is closed, within the one future that is the writer.
    pub(crate) async fn closing(&self) {
        self.writer_until(|state| state.is_closing).await;
    }

    async fn writer_until(&self, is_over: impl Fn(&QueueState<K, V, E>) -> bool) {
        poll_fn(|context| {
            let waker = context.waker().clone();
            let mut state = self.state();
            if is_over(&state) {
                drop(state);
                return Poll::Ready(());
            }
            let before = state.writer.replace(waker);
            drop(state);
            drop(before);
            Poll::Pending
        })
        .await;
    }
}

/// A future that waits for room; forgets its waker when it is dropped.
struct Roomless<'q, K, V, E> {
    queue: &'q Queue<K, V, E>,
    number: u64,
}

impl<K, V, E> Drop for Roomless<'_, K, V, E> {
    fn drop(&mut self) {
        let waker = self.queue.state().roomless.remove(&self.number);
        drop(waker);
    }
}
