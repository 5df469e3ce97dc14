//! The thread that carries the writes of a queue to the store, and its end.

use std::hash::{BuildHasher, Hash};
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use larder::RandomState;

use crate::queue::{Attempted, Step};
use crate::store::{ErrorKind, Store};
use crate::tier::{Behind, Tier, contain};

/// The pause after a failure if the closure for it panics.
pub(crate) const PAUSE_AFTER_PANIC: Duration = Duration::from_secs(1);

/// A tier and its store, which the writer shares with all handles.
pub(crate) struct Shared<K, V, T: Store<K, V>, S = RandomState> {
    pub(crate) tier: Tier<K, V, T::Error, S>,
    pub(crate) store: T,
}

/// The thread of a tier with write-behind.
pub(crate) struct Writer {
    thread: ThreadId,
    end: Arc<WriterEnd>,
}

#[derive(Default)]
struct WriterEnd {
    has_ended: Mutex<bool>,
    ended: Condvar,
}

impl Writer {
    pub(crate) fn start<K, V, T, S>(shared: &Arc<Shared<K, V, T, S>>) -> io::Result<Self>
    where
        K: Hash + Eq + Clone + Send + Sync + 'static,
        V: Clone + Send + Sync + 'static,
        T: Store<K, V> + 'static,
        S: BuildHasher + Send + Sync + 'static,
    {
        let (shared, end) = (Arc::clone(shared), Arc::<WriterEnd>::default());
        let ended = Arc::clone(&end);
        let run = move || {
            while contain(|| step(&shared)) != Some(Progress::Ended) {}
            // Before the end is reported: whoever waits for it may open the store again.
            contain(|| drop(shared));
            *ended.has_ended.lock().unwrap_or_else(PoisonError::into_inner) = true;
            ended.ended.notify_all();
        };
        let thread = thread::Builder::new().name("larder-store".to_owned()).spawn(run)?;
        Ok(Self { thread: thread.thread().id(), end })
    }

    pub(crate) fn is_current(&self) -> bool {
        thread::current().id() == self.thread
    }

    /// Waits until the thread has ended and has dropped what it shares, at most until `end`.
    pub(crate) fn wait(&self, end: Option<Instant>) {
        if self.is_current() {
            return;
        }
        let mut has_ended = self.end.has_ended.lock().unwrap_or_else(PoisonError::into_inner);
        while !*has_ended {
            has_ended = match end {
                None => self.end.ended.wait(has_ended).unwrap_or_else(PoisonError::into_inner),
                Some(end) => {
                    let left = end.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return;
                    }
                    let waited = self.end.ended.wait_timeout(has_ended, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

#[derive(PartialEq)]
enum Progress {
    GoOn,
    Ended,
}

fn step<K, V, T, S>(shared: &Shared<K, V, T, S>) -> Progress
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    T: Store<K, V>,
    S: BuildHasher,
{
    let Some(behind) = shared.tier.queue() else { return Progress::Ended };
    let Behind { queue, settings } = behind;
    let batch = match queue.next() {
        Step::End => return Progress::Ended,
        Step::Wait(seen, most) => {
            queue.wait_for_work(seen, most);
            return Progress::GoOn;
        }
        Step::Write(batch) => batch,
    };
    let now_ns = queue.now_ns();
    let writes: Vec<_> = batch.iter().map(|attempt| attempt.write(now_ns)).collect();
    let outcome = match contain(|| shared.store.write(&writes, settings.durability)) {
        Some(Ok(())) => Attempted::Written,
        Some(Err(error)) => {
            let kind = contain(|| shared.store.kind(&error)).unwrap_or(ErrorKind::Transient);
            Attempted::Failed(kind, Some(Arc::new(error)))
        }
        None => Attempted::Failed(ErrorKind::Transient, None),
    };
    drop(writes);
    let report = queue.attempted(batch, &outcome);
    shared.tier.report(&report.letters);
    if let Some(failures) = report.failures {
        queue.pause(contain(|| settings.backoff.pause(failures)).unwrap_or(PAUSE_AFTER_PANIC));
    }
    Progress::GoOn
}
