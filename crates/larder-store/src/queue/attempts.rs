//! The writer's side: which writes the next attempt has, and what its outcome does to them.

use std::mem;
use std::sync::Arc;

use super::{AfterUnlock, Queue, QueueState, QueuedWrite};
use crate::error::DeadLetter;
use crate::store::{ErrorKind, Meta, Record, Write};

/// After so many failures a write is tried alone.
const ALONE_AFTER: u32 = 3;

/// One write that the writer has.
pub(crate) struct Attempt<K, V> {
    id: u64,
    key: Arc<K>,
    record: Option<Arc<Record<V>>>,
    written_ns: u64,
}

impl<K, V> Attempt<K, V> {
    /// The write for the store; a record that has expired in the queue is a removal.
    pub(crate) fn write(&self, now_ns: u64) -> Write<'_, K, V> {
        let key = &*self.key;
        let Some(record) = &self.record else { return Write::Remove { key } };
        match record.remaining(self.written_ns, now_ns) {
            Some(ttl) => {
                let meta = Meta { ttl, tags: &record.tags };
                Write::Insert { key, value: &record.value, meta }
            }
            None => Write::Remove { key },
        }
    }
}

/// How an attempt ended.
pub(crate) enum Attempted<E> {
    Written,
    /// There is no error if the store panicked.
    Failed(ErrorKind, Option<Arc<E>>),
}

/// What the writer has to do after an attempt.
pub(crate) struct QueueReport<K, V, E> {
    /// Writes that were given up.
    pub(crate) letters: Vec<DeadLetter<K, V, E>>,
    /// How many attempts have failed since the last success, if the writer is to wait before the next.
    pub(crate) failures: Option<u32>,
}

impl<K, V, E> Queue<K, V, E> {
    /// Takes the writes of the next batch out of the order.
    pub(super) fn take(&self, state: &mut QueueState<K, V, E>) -> Vec<Attempt<K, V>> {
        let mut batch = Vec::new();
        while batch.len() < state.batch_limit {
            let Some(id) = state.order.front().copied() else { break };
            let Some(slot) = state.slots.get_mut(&id) else { break };
            let attempts = slot.queued.as_ref().map_or(0, |write| write.attempts);
            let is_alone = attempts >= self.alone_after();
            if is_alone && !batch.is_empty() {
                break;
            }
            state.order.pop_front();
            let Some(write) = slot.queued.take() else { continue };
            state.retries -= usize::from(attempts > 0);
            batch.push(Attempt {
                id,
                key: Arc::clone(&slot.key),
                record: write.record.clone(),
                written_ns: write.written_ns,
            });
            slot.in_flight = Some(write);
            if is_alone {
                break;
            }
        }
        state.rush = state.rush.saturating_sub(batch.len());
        batch
    }

    fn alone_after(&self) -> u32 {
        self.bounds.give_up_after.map_or(ALONE_AFTER, |most| most.min(ALONE_AFTER))
    }

    /// Notes the outcome of an attempt.
    pub(crate) fn attempted(
        &self,
        batch: Vec<Attempt<K, V>>,
        outcome: &Attempted<E>,
    ) -> QueueReport<K, V, E> {
        let mut state = self.state();
        let mut after = AfterUnlock::new();
        let mut report = QueueReport { letters: Vec::new(), failures: None };
        match outcome {
            Attempted::Written => {
                state.counts.batches += 1;
                state.counts.written += batch.len() as u64;
                state.failures = 0;
                after.errors.extend(state.last_error.take());
                state.batch_limit = (state.batch_limit * 2).min(self.bounds.batch_entries);
                for attempt in &batch {
                    let Some(mut write) = state.landed(attempt.id) else { continue };
                    for ack in write.acks.drain(..) {
                        ack.count_down(None);
                        after.acks.push(ack);
                    }
                    state.leave(attempt.id, write, &mut after);
                }
            }
            Attempted::Failed(kind, error) => {
                state.counts.failed_batches += 1;
                state.batch_limit = (state.batch_limit / 2).max(1);
                // A write that is itself to blame says nothing about the next one.
                if *kind != ErrorKind::Permanent {
                    state.failures = state.failures.saturating_add(1);
                    after.errors.extend(mem::replace(&mut state.last_error, error.clone()));
                    report.failures = Some(state.failures);
                }
                let is_alone = batch.len() == 1;
                for attempt in &batch {
                    let Some(mut write) = state.landed(attempt.id) else { continue };
                    write.attempts = write.attempts.saturating_add(1);
                    after.errors.extend(mem::replace(&mut write.error, error.clone()));
                    let is_last = is_alone && self.is_last(*kind, write.attempts);
                    if *kind == ErrorKind::Permanent {
                        write.attempts = write.attempts.max(self.alone_after());
                    }
                    self.failed(&mut state, attempt.id, write, is_last, &mut report, &mut after);
                }
            }
        }
        self.signal(&mut state, &mut after);
        self.unlock(state, after);
        // The keys and values that the attempt held are user code to drop.
        drop(batch);
        report
    }

    fn is_last(&self, kind: ErrorKind, attempts: u32) -> bool {
        kind == ErrorKind::Permanent
            || self.bounds.give_up_after.is_some_and(|most| attempts >= most)
    }

    fn failed(
        &self,
        state: &mut QueueState<K, V, E>,
        id: u64,
        mut write: QueuedWrite<V, E>,
        is_last: bool,
        report: &mut QueueReport<K, V, E>,
        after: &mut AfterUnlock<K, V, E>,
    ) {
        let Some(slot) = state.slots.get_mut(&id) else { return };
        if let Some(newer) = &mut slot.queued {
            newer.acks.append(&mut write.acks);
            newer.since_ns = newer.since_ns.min(write.since_ns);
            state.counts.coalesced += 1;
            state.leave(id, write, after);
        } else if is_last || state.is_abandoned {
            report.letters.push(state.bury(id, write, after));
        } else {
            slot.queued = Some(write);
            state.order.push_back(id);
            state.retries += 1;
        }
    }
}

impl<K, V, E> QueueState<K, V, E> {
    fn landed(&mut self, id: u64) -> Option<QueuedWrite<V, E>> {
        self.slots.get_mut(&id)?.in_flight.take()
    }
}
