//! The future that carries the writes of a queue to an asynchronous store, and its end.

use std::future::{Future, poll_fn};
use std::hash::{BuildHasher, Hash};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use larder::RandomState;

use crate::queue::{Attempt, Attempted, Step};
use crate::store::{AsyncStore, ErrorKind};
use crate::tier::{Behind, Tier, contain};
use crate::writer::PAUSE_AFTER_PANIC;

/// A tier and its asynchronous store, which the writer shares with all handles.
pub(crate) struct AsyncShared<K, V, T, S = RandomState>
where
    K: Send + Sync,
    V: Send + Sync,
    T: AsyncStore<K, V>,
{
    pub(crate) tier: Tier<K, V, T::Error, S>,
    pub(crate) store: T,
}

/// Gives up all that is left if the writer's future is dropped before its end, so that no caller waits for
/// a writer that is gone.
pub(crate) struct WriterLife<K, V, T, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    T: AsyncStore<K, V>,
    S: BuildHasher,
{
    pub(crate) shared: Arc<AsyncShared<K, V, T, S>>,
}

impl<K, V, T, S> Drop for WriterLife<K, V, T, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    T: AsyncStore<K, V>,
    S: BuildHasher,
{
    fn drop(&mut self) {
        if let Some(behind) = self.shared.tier.queue() {
            let letters = behind.queue.abandon();
            self.shared.tier.report(&letters);
        }
    }
}

/// A batch that the store has. If it is dropped before the store has answered, it has failed.
struct BatchInFlight<'t, K, V, E, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
{
    tier: &'t Tier<K, V, E, S>,
    behind: &'t Behind<K, V, E>,
    batch: Vec<Attempt<K, V>>,
}

impl<K, V, E, S> BatchInFlight<'_, K, V, E, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
{
    /// Returns how many attempts have failed in a row, if the writer is to wait.
    fn end(&mut self, outcome: &Attempted<E>) -> Option<u32> {
        let report = self.behind.queue.attempted(std::mem::take(&mut self.batch), outcome);
        self.tier.report(&report.letters);
        report.failures
    }
}

impl<K, V, E, S> Drop for BatchInFlight<'_, K, V, E, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
{
    fn drop(&mut self) {
        if !self.batch.is_empty() {
            // Only the end of the writer drops it.
            let letters = self.behind.queue.abandon();
            self.tier.report(&letters);
            self.end(&Attempted::Failed(ErrorKind::Transient, None));
        }
    }
}

/// Carries writes to the store until the tier is closed and all are written, or until the patience of the
/// tier has passed since it was closed.
pub(crate) async fn run<K, V, T, S, P, F>(life: WriterLife<K, V, T, S>, sleep: P)
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    T: AsyncStore<K, V>,
    S: BuildHasher + Send + Sync + 'static,
    P: Fn(Duration) -> F + Send + Sync,
    F: Future<Output = ()> + Send,
{
    let Some(behind) = life.shared.tier.queue() else { return };
    let end = async {
        behind.queue.closing().await;
        sleep(behind.settings.patience).await;
    };
    let write = async { while step(&life.shared, behind, &sleep).await {} };
    first_of(pin!(write), pin!(end)).await;
}

/// Carries one batch to the store, or waits. `false` once there is nothing more to do.
async fn step<K, V, T, S, P, F>(
    shared: &AsyncShared<K, V, T, S>,
    behind: &Behind<K, V, T::Error>,
    sleep: &P,
) -> bool
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    T: AsyncStore<K, V>,
    S: BuildHasher + Send + Sync + 'static,
    P: Fn(Duration) -> F + Send + Sync,
    F: Future<Output = ()> + Send,
{
    let Behind { queue, settings } = behind;
    let batch = match queue.next() {
        Step::End => return false,
        Step::Wait(seen, None) => {
            queue.work(seen).await;
            return true;
        }
        Step::Wait(seen, Some(most)) => {
            first_of(pin!(queue.work(seen)), pin!(sleep(most))).await;
            return true;
        }
        Step::Write(batch) => batch,
    };
    let mut in_flight = BatchInFlight { tier: &shared.tier, behind, batch };
    let outcome = {
        let now_ns = queue.now_ns();
        let writes: Vec<_> = in_flight.batch.iter().map(|attempt| attempt.write(now_ns)).collect();
        match contained(async { shared.store.write(&writes, settings.durability).await }).await {
            Some(Ok(())) => Attempted::Written,
            Some(Err(error)) => {
                let kind = contain(|| shared.store.kind(&error)).unwrap_or(ErrorKind::Transient);
                Attempted::Failed(kind, Some(Arc::new(error)))
            }
            None => Attempted::Failed(ErrorKind::Transient, None),
        }
    };
    if let Some(failures) = in_flight.end(&outcome) {
        let pause = contain(|| settings.backoff.pause(failures)).unwrap_or(PAUSE_AFTER_PANIC);
        first_of(pin!(sleep(pause)), pin!(queue.abandoned())).await;
    }
    true
}

/// Runs user code that is a future; `None` if it panics.
pub(crate) async fn contained<R>(run: impl Future<Output = R>) -> Option<R> {
    let mut run = pin!(run);
    poll_fn(|context| match contain(|| run.as_mut().poll(context)) {
        Some(poll) => poll.map(Some),
        None => Poll::Ready(None),
    })
    .await
}

/// Ends when one of the two does.
async fn first_of(
    mut one: Pin<&mut impl Future<Output = ()>>,
    mut other: Pin<&mut impl Future<Output = ()>>,
) {
    poll_fn(|context: &mut Context<'_>| {
        if one.as_mut().poll(context).is_ready() || other.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        Poll::Pending
    })
    .await;
}
