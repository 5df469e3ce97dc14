//! Writes that wait to be sent to the server: one for each key, the latest.
//!
//! | from | to | by | when |
//! |---|---|---|---|
//! | (none) | waiting | a write | there is room |
//! | waiting | waiting | another write of the key | it takes the place of the first, which is never sent |
//! | waiting | sent | the task | it takes a batch |
//! | sent | (none) | the task | the server has answered, and there was no other write of the key meanwhile |
//! | sent | waiting | the task | the server has answered, and there was one |
//! | sent | held | the task | it is not known whether the server has carried it out, or it refuses all writes for now |
//! | held | waiting | the task | it is time for another attempt |
//! | any | (none) | the task | the cache or the runtime has ended, and there was no more time |
//!
//! Keys are sent in the order of their first writes. One that was written again while it was sent stands at the end
//! afterwards, or keys that are written all the time would keep others from being sent; one whose outcome is unknown
//! stands where it was. A removal of a key waits for its write: to take the write out would lose it if the removal then
//! fails. Writes are found by the bytes of their keys, and values are shared, so no code of the user's runs under the
//! lock.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::error::NearError;
use crate::lease::now_ns;

/// A write that waits.
pub(crate) struct PendingWrite<K, V> {
    pub(crate) key: Arc<K>,
    pub(crate) value: Arc<V>,
    pub(crate) bytes: Arc<[u8]>,
    pub(crate) time_to_live: Option<Duration>,
    queued_ns: u64,
    number: u64,
    /// No write of the key with a number below this is unsettled: each was answered, or one that took its place was.
    since: u64,
    is_sent: bool,
}

/// One write of a batch.
pub(crate) struct Sending<K> {
    pub(crate) name: Arc<[u8]>,
    pub(crate) key: Arc<K>,
    pub(crate) bytes: Arc<[u8]>,
    /// What is left of the time to live.
    pub(crate) time_to_live: Option<Duration>,
    number: u64,
}

/// What has become of a write that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// The server has carried it out, or has refused it.
    Settled,
    /// It is to be sent again.
    Unknown,
}

struct Queue<K, V> {
    writes: HashMap<Arc<[u8]>, PendingWrite<K, V>>,
    order: VecDeque<Arc<[u8]>>,
    /// Those that are to be sent again, later and before those in `order`.
    held: Vec<Arc<[u8]>>,
    numbers: u64,
    /// The last error of a write that was lost since it was asked for.
    lost: Option<NearError>,
    is_closed: bool,
}

/// All writes of one cache that wait.
pub(crate) struct Pending<K, V> {
    queue: Mutex<Queue<K, V>>,
    limit: usize,
    /// There is something to send, or nothing will come any more.
    has_work: Notify,
    /// A write was settled.
    settled: Notify,
}

impl<K, V> Pending<K, V> {
    pub(crate) fn new(limit: usize) -> Self {
        let queue = Queue {
            writes: HashMap::new(),
            order: VecDeque::new(),
            held: Vec::new(),
            numbers: 0,
            lost: None,
            is_closed: false,
        };
        let queue = Mutex::new(queue);
        Self { queue, limit, has_work: Notify::new(), settled: Notify::new() }
    }

    /// No user code runs under this lock.
    fn queue(&self) -> MutexGuard<'_, Queue<K, V>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn len(&self) -> usize {
        self.queue().writes.len()
    }

    /// Adds a write, or puts it in the place of an earlier one of the key, which is returned.
    fn put(
        &self,
        name: &[u8],
        write: Queued<K, V>,
    ) -> Result<Option<PendingWrite<K, V>>, NotPut<K, V>> {
        let mut guard = self.queue();
        let queue = &mut *guard;
        if queue.is_closed {
            drop(guard);
            return Err(NotPut::Closed);
        }
        let is_new = !queue.writes.contains_key(name);
        if is_new && queue.writes.len() >= self.limit {
            return Err(NotPut::Full(write));
        }
        queue.numbers += 1;
        let Queued { key, value, bytes, time_to_live } = write;
        let (queued_ns, number) = (now_ns(), queue.numbers);
        let before = queue.writes.get(name);
        let is_sent = before.is_some_and(|write| write.is_sent);
        let since = before.map_or(number, |write| write.since);
        let write =
            PendingWrite { key, value, bytes, time_to_live, queued_ns, number, since, is_sent };
        let name: Arc<[u8]> = name.into();
        if is_new {
            queue.order.push_back(Arc::clone(&name));
        }
        let replaced = queue.writes.insert(name, write);
        drop(guard);
        self.has_work.notify_one();
        Ok(replaced)
    }

    /// The same, and waits for room.
    ///
    /// Fails with [`NearError::Closed`] if nothing that was added would be sent.
    pub(crate) async fn put_within(
        &self,
        name: &[u8],
        mut write: Queued<K, V>,
        patience: Duration,
    ) -> Result<Option<PendingWrite<K, V>>, NearError> {
        let put = async {
            loop {
                let mut settled = std::pin::pin!(self.settled.notified());
                // From here on, room is not missed.
                settled.as_mut().enable();
                match self.put(name, write) {
                    Ok(replaced) => return Ok(replaced),
                    Err(NotPut::Full(back)) => write = back,
                    Err(NotPut::Closed) => return Err(NearError::Closed),
                }
                settled.await;
            }
        };
        let full = |_| NearError::TooManyPending { limit: self.limit };
        tokio::time::timeout(patience, put).await.map_err(full)?
    }

    /// The value that waits under this name; `Some(None)` if its time to live is over.
    pub(crate) fn value(&self, name: &[u8]) -> Option<Option<Arc<V>>> {
        let queue = self.queue();
        let write = queue.writes.get(name)?;
        let is_over = write.time_left().is_some_and(|left| left.is_zero());
        Some((!is_over).then(|| Arc::clone(&write.value)))
    }

    /// Waits until everything that waits now is settled, by this name alone if one is given.
    pub(crate) async fn settle(
        &self,
        name: Option<&[u8]>,
        patience: Duration,
    ) -> Result<(), NearError> {
        let until = self.queue().numbers;
        let all = async {
            loop {
                let mut settled = std::pin::pin!(self.settled.notified());
                settled.as_mut().enable();
                let waits = {
                    let queue = self.queue();
                    match name {
                        Some(name) => queue.writes.get(name).is_some_and(|it| it.since <= until),
                        None => queue.writes.values().any(|write| write.since <= until),
                    }
                };
                if !waits {
                    return;
                }
                settled.await;
            }
        };
        let waited = |_| NearError::TimedOut { waited: patience };
        tokio::time::timeout(patience, all).await.map_err(waited)
    }

    /// The error of the last write that was lost since the last call.
    pub(crate) fn take_lost(&self) -> Option<NearError> {
        self.queue().lost.take()
    }

    pub(crate) fn note_lost(&self, error: NearError) {
        let before = self.queue().lost.replace(error);
        drop(before);
    }

    /// Nothing will be added any more.
    pub(crate) fn close(&self) {
        self.queue().is_closed = true;
        self.has_work.notify_one();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.queue().is_closed
    }

    /// Waits until there is something to send, and marks up to `most` writes as sent. Nothing, if nothing waits but
    /// what is held, and nothing will.
    pub(crate) async fn take(&self, most: usize) -> Vec<Sending<K>> {
        loop {
            let mut has_work = std::pin::pin!(self.has_work.notified());
            has_work.as_mut().enable();
            {
                let mut guard = self.queue();
                let queue = &mut *guard;
                let number = most.min(queue.order.len());
                let taken: Vec<_> = (queue.order.drain(..number))
                    .filter_map(|name| {
                        let write = queue.writes.get_mut(&name)?;
                        write.is_sent = true;
                        Some(write.sending(name))
                    })
                    .collect();
                if !taken.is_empty() || queue.is_closed {
                    return taken;
                }
            }
            has_work.await;
        }
    }

    /// What has become of a batch. Returns the writes that are settled.
    #[must_use = "the drop of values is code of the user's"]
    pub(crate) fn settle_batch(
        &self,
        batch: &[Sending<K>],
        outcomes: &[Sent],
    ) -> Vec<PendingWrite<K, V>> {
        let mut settled = Vec::new();
        {
            let mut guard = self.queue();
            let queue = &mut *guard;
            for (sending, outcome) in batch.iter().zip(outcomes) {
                let Some(write) = queue.writes.get_mut(&sending.name) else { continue };
                if *outcome == Sent::Settled && write.number == sending.number {
                    settled.extend(queue.writes.remove(&sending.name));
                    continue;
                }
                write.is_sent = false;
                let name = Arc::clone(&sending.name);
                match outcome {
                    Sent::Settled => {
                        write.since = sending.number + 1;
                        queue.order.push_back(name);
                    }
                    Sent::Unknown => queue.held.push(name),
                }
            }
        }
        self.settled.notify_waiters();
        settled
    }

    /// Whether writes are held, and nothing else waits to be sent.
    pub(crate) fn has_held_alone(&self) -> bool {
        let queue = self.queue();
        queue.order.is_empty() && !queue.held.is_empty()
    }

    /// Lets what is held be sent again, before all that has come since.
    pub(crate) fn release_held(&self) {
        let mut guard = self.queue();
        let queue = &mut *guard;
        for name in queue.held.drain(..).rev() {
            queue.order.push_front(name);
        }
    }

    /// Takes everything out that still waits. Nothing will be added any more.
    pub(crate) fn take_rest(&self) -> Vec<PendingWrite<K, V>> {
        let rest = {
            let mut queue = self.queue();
            queue.is_closed = true;
            queue.order.clear();
            queue.held.clear();
            std::mem::take(&mut queue.writes)
        };
        self.settled.notify_waiters();
        rest.into_values().collect()
    }
}

/// A write that is to be added.
pub(crate) struct Queued<K, V> {
    pub(crate) key: Arc<K>,
    pub(crate) value: Arc<V>,
    pub(crate) bytes: Arc<[u8]>,
    pub(crate) time_to_live: Option<Duration>,
}

/// Why a write was not added.
enum NotPut<K, V> {
    /// There is no room; the write is given back.
    Full(Queued<K, V>),
    Closed,
}

impl<K, V> PendingWrite<K, V> {
    /// What is left of the time to live; 0 if it is over, `None` if there is none.
    fn time_left(&self) -> Option<Duration> {
        let waited = Duration::from_nanos(now_ns().saturating_sub(self.queued_ns));
        self.time_to_live.map(|time| time.saturating_sub(waited))
    }

    fn sending(&self, name: Arc<[u8]>) -> Sending<K> {
        Sending {
            name,
            key: Arc::clone(&self.key),
            bytes: Arc::clone(&self.bytes),
            // What has expired while it waited is written for a moment, because it replaces what is there.
            time_to_live: self.time_left(),
            number: self.number,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::modelled_time;

    const LONG: Duration = Duration::from_secs(60);

    fn queued(value: u64) -> Queued<u64, u64> {
        let (key, value) = (Arc::new(0), Arc::new(value));
        Queued { key, value, bytes: Arc::new([]), time_to_live: None }
    }

    fn names(batch: &[Sending<u64>]) -> Vec<&[u8]> {
        batch.iter().map(|sending| &*sending.name).collect()
    }

    #[tokio::test]
    async fn the_last_write_of_a_key_is_sent_in_the_place_of_the_first() {
        let pending = Pending::new(2);
        for (name, value) in [(b"a", 1), (b"b", 2), (b"a", 3)] {
            assert!(pending.put(name, queued(value)).is_ok());
        }
        assert!(pending.put(b"c", queued(4)).is_err(), "there is no room for a third key");
        let full = pending.put_within(b"c", queued(4), Duration::from_millis(1)).await;
        assert!(matches!(full, Err(NearError::TooManyPending { limit: 2 })));
        let batch = pending.take(10).await;
        assert_eq!(names(&batch), [b"a", b"b"]);
        assert_eq!(pending.value(b"a"), Some(Some(Arc::new(3))));
        // `b` is written again while it is under way, and `a` has an unknown outcome.
        assert!(pending.put(b"b", queued(5)).is_ok());
        assert!(pending.settle_batch(&batch, &[Sent::Unknown, Sent::Settled]).is_empty());
        assert_eq!(pending.len(), 2);
        // What is held waits, and then goes before the others.
        let batch = pending.take(10).await;
        assert_eq!(names(&batch), [b"b"]);
        assert!(pending.has_held_alone());
        let _ = pending.settle_batch(&batch, &[Sent::Unknown]);
        pending.release_held();
        assert!(!pending.has_held_alone());
        let batch = pending.take(10).await;
        assert_eq!(names(&batch), [b"a", b"b"]);
        assert_eq!(pending.settle_batch(&batch, &[Sent::Settled, Sent::Settled]).len(), 2);
        assert_eq!((pending.len(), pending.value(b"a")), (0, None));
        pending.close();
        assert!(pending.take(10).await.is_empty());
    }

    /// Otherwise, keys that are written all the time would keep all others from being sent.
    #[tokio::test]
    async fn a_key_that_is_written_again_and_again_keeps_no_other_from_being_sent() {
        let pending = Pending::new(10);
        for name in [b"a", b"b", b"c"] {
            assert!(pending.put(name, queued(1)).is_ok());
        }
        let mut sent = Vec::new();
        for _ in 0..3 {
            let batch = pending.take(2).await;
            assert!(pending.put(b"a", queued(2)).is_ok());
            assert!(pending.put(b"b", queued(2)).is_ok());
            sent.extend(batch.iter().map(|sending| sending.name.to_vec()));
            let _ = pending.settle_batch(&batch, &[Sent::Settled; 2]);
        }
        assert!(sent.contains(&b"c".to_vec()), "{sent:?}");
    }

    #[tokio::test]
    async fn a_write_whose_time_is_over_is_no_value_and_still_waits() {
        modelled_time::set(1);
        let pending = Pending::new(10);
        let short = Queued { time_to_live: Some(Duration::from_nanos(10)), ..queued(1) };
        assert!(pending.put(b"a", short).is_ok());
        modelled_time::set(10);
        assert_eq!(pending.value(b"a"), Some(Some(Arc::new(1))));
        modelled_time::set(11);
        assert_eq!(pending.value(b"a"), Some(None));
        let batch = pending.take(10).await;
        assert_eq!(batch[0].time_to_live, Some(Duration::ZERO));
        assert_eq!(pending.take_rest().len(), 1);
        assert_eq!((pending.len(), pending.value(b"a")), (0, None));
    }

    #[tokio::test]
    async fn a_flush_waits_for_what_was_written_before_it() {
        let pending = Pending::new(10);
        assert!(pending.put(b"a", queued(1)).is_ok());
        let batch = pending.take(10).await;
        let (flushed, ()) = tokio::join!(pending.settle(None, LONG), async {
            assert!(pending.put(b"b", queued(2)).is_ok());
            assert_eq!(pending.settle_batch(&batch, &[Sent::Settled]).len(), 1);
        });
        flushed.unwrap();
        assert_eq!(pending.len(), 1, "what came later is not awaited");
        let late = pending.settle(Some(b"b"), Duration::from_millis(1)).await;
        assert!(matches!(late, Err(NearError::TimedOut { .. })));
    }

    /// The write that a flush waits for is never sent, because a later one has taken its place: then the flush waits
    /// for that one.
    #[tokio::test]
    async fn a_flush_waits_for_the_write_that_took_the_place_of_an_earlier_one() {
        let pending = Pending::new(10);
        assert!(pending.put(b"a", queued(1)).is_ok());
        let short = Duration::from_millis(1);
        let (flushed, ()) = tokio::join!(pending.settle(None, short), async {
            assert!(pending.put(b"a", queued(2)).is_ok());
            pending.settled.notify_waiters();
        });
        assert!(matches!(flushed, Err(NearError::TimedOut { .. })), "{flushed:?}");
        let batch = pending.take(10).await;
        let (flushed, ()) = tokio::join!(pending.settle(None, LONG), async {
            // It was sent with the value that the flush waits for, so the next one is not awaited.
            assert!(pending.put(b"a", queued(3)).is_ok());
            assert!(pending.settle_batch(&batch, &[Sent::Settled]).is_empty());
        });
        flushed.unwrap();
        assert_eq!(pending.len(), 1);
    }
}
