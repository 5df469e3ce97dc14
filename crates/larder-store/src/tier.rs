//! What the two kinds of tiers share: the cache, the queue, and how they are kept in step.
//!
//! # How the cache never stays behind the store
//! A reader that misses loads under a fill of the cache, and so does a writer put its value into the cache. A
//! writer opens its fill ([`CacheWrite::begin`]) before it writes to the store or to the queue, and
//! completes it ([`CacheWrite::publish`]) or removes the key (its drop) afterwards. So when a write returns:
//!
//! | what else happened meanwhile | the cache has |
//! |---|---|
//! | nothing | the written value |
//! | a reader has loaded the older value | the written value or none: it replaces or removes what was loaded |
//! | a reader loads the older value, and is not done | the written value or none, and the load is refused as stale |
//! | another writer wrote the key | its value if that was not disturbed either, or none |
//!
//! With none, the next reader asks the queue and then the store. With write-behind, the order of two
//! writers of a key is that in which the queue took them.

use std::hash::{BuildHasher, Hash};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use larder::{Cache, Fill, InsertOptions, Inserted, Load, LoadError, Loaded, RandomState};

use crate::ack::{Ack, Outcome};
use crate::error::{DeadLetter, FlushError, TierBuildError, TierError};
use crate::queue::{PendingWrite, Queue, Refused};
use crate::stats::TierStats;
use crate::store::{Durability, Record};
use crate::write_behind::{WhenFull, WriteBehind};

/// Runs user code; `None` if it panics.
pub(crate) fn contain<R>(run: impl FnOnce() -> R) -> Option<R> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(done) => Some(done),
        Err(panic) => {
            // What was thrown may throw again when it is dropped.
            if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
                std::mem::forget(again);
            }
            None
        }
    }
}

/// How writes reach the store.
pub(crate) enum Writing<K, V, E> {
    /// The store first, then the cache.
    Through,
    /// The store, and the cache forgets the key.
    Around,
    /// The cache and the queue; a writer carries them to the store.
    Behind(Box<Behind<K, V, E>>),
}

pub(crate) struct Behind<K, V, E> {
    pub(crate) queue: Queue<K, V, E>,
    pub(crate) settings: WriteBehind<K, V, E>,
}

pub(crate) struct Tier<K, V, E, S = RandomState> {
    pub(crate) cache: Cache<K, V, S>,
    pub(crate) writing: Writing<K, V, E>,
    corrupt: AtomicU64,
    foreign: AtomicU64,
}

impl<K, V, E, S> Tier<K, V, E, S> {
    pub(crate) fn new(cache: Cache<K, V, S>, writing: Writing<K, V, E>) -> Self {
        Self { cache, writing, corrupt: AtomicU64::new(0), foreign: AtomicU64::new(0) }
    }

    pub(crate) fn behind(
        cache: Cache<K, V, S>,
        settings: WriteBehind<K, V, E>,
    ) -> Result<Self, TierBuildError> {
        settings.check()?;
        let (bounds, clock) = settings.bounds();
        let queue = Queue::new(bounds, clock);
        Ok(Self::new(cache, Writing::Behind(Box::new(Behind { queue, settings }))))
    }

    pub(crate) fn queue(&self) -> Option<&Behind<K, V, E>> {
        match &self.writing {
            Writing::Behind(behind) => Some(behind),
            Writing::Through | Writing::Around => None,
        }
    }

    pub(crate) fn count_corrupt(&self) {
        self.corrupt.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_foreign(&self) {
        self.foreign.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn stats(&self) -> TierStats {
        let counts = self.queue().map(|behind| behind.queue.counts()).unwrap_or_default();
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        TierStats::new(counts, read(&self.corrupt), read(&self.foreign))
    }
}

impl<K, V, E, S> Tier<K, V, E, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
{
    pub(crate) fn dead_letters(&self) -> Vec<DeadLetter<K, V, E>> {
        let behind = self.queue();
        behind.map(|behind| behind.queue.dead_letters()).unwrap_or_default()
    }

    pub(crate) fn take_dead_letters(&self) -> Vec<DeadLetter<K, V, E>> {
        let behind = self.queue();
        behind.map(|behind| behind.queue.take_dead()).unwrap_or_default()
    }

    /// Puts the writes that were given up back into the queue. The cache forgets their keys, so that reads
    /// find them there.
    pub(crate) fn retry_dead_letters(&self) -> usize {
        let Some(behind) = self.queue() else { return 0 };
        let retried = behind.queue.retry_dead();
        retried.iter().for_each(|key| forget(&self.cache, key));
        retried.len()
    }

    /// What the queue says about a key; `None` if the store has to be asked.
    pub(crate) fn pending(&self, key: &K) -> Option<Option<Record<V>>> {
        let queue = &self.queue()?.queue;
        let PendingWrite { record, written_ns } = queue.pending(key)?;
        let now_ns = queue.now_ns();
        Some(record.and_then(|record| {
            let ttl = record.remaining(written_ns, now_ns)?;
            Some(Record { value: record.value.clone(), ttl, tags: record.tags.clone() })
        }))
    }

    /// The loader's answer for a record.
    pub(crate) fn loaded(load: &Load<K, V>, record: Option<Record<V>>) -> Loaded<V> {
        let Some(Record { value, ttl, tags }) = record else { return Loaded::Missing };
        if let Some(ttl) = ttl {
            load.set_ttl(ttl);
        }
        if !tags.is_empty() {
            let tags: Vec<_> = tags.iter().map(String::as_str).collect();
            load.set_tags(&tags);
        }
        Loaded::Store(value)
    }

    /// Puts writes into the queue, waiting for room if that is the setting, and returns the acknowledgement
    /// to wait for.
    ///
    /// The writes before one that is refused are in the queue.
    pub(crate) fn enqueue(
        &self,
        behind: &Behind<K, V, E>,
        writes: &[QueueWrite<K, V>],
        end: Option<Instant>,
    ) -> Result<Option<Arc<Ack<E>>>, TierError<E>> {
        let ack = behind.new_ack(writes.len());
        for write in writes {
            loop {
                match behind.push(write, ack.as_ref()) {
                    Ok(()) => break,
                    Err(refused) => {
                        let freed = behind.freed_to_wait_for(&refused);
                        if !freed.is_some_and(|freed| behind.queue.wait_for_room(freed, end)) {
                            return Err(behind.refused(refused));
                        }
                    }
                }
            }
        }
        Ok(ack)
    }

    /// Begins a write of each key in the cache.
    pub(crate) fn begin<'t>(
        &'t self,
        keys: impl IntoIterator<Item = &'t K>,
    ) -> Vec<CacheWrite<'t, K, V, S>> {
        keys.into_iter().map(|key| CacheWrite::begin(&self.cache, key)).collect()
    }

    /// Puts into the cache what the store has; the cache forgets keys that were removed.
    pub(crate) fn publish(begun: Vec<CacheWrite<'_, K, V, S>>, records: Vec<Option<Record<V>>>) {
        for (begun, record) in begun.into_iter().zip(records) {
            if let Some(record) = record {
                begun.publish(record);
            }
        }
    }

    /// Puts queued writes into the cache.
    pub(crate) fn publish_queued(
        behind: &Behind<K, V, E>,
        begun: Vec<CacheWrite<'_, K, V, S>>,
        writes: &[QueueWrite<K, V>],
    ) {
        let now_ns = behind.queue.now_ns();
        for (begun, write) in begun.into_iter().zip(writes) {
            let Some(record) = &write.record else { continue };
            // A record that has expired while the call waited is not worth storing.
            if let Some(ttl) = record.remaining(write.begun_ns, now_ns) {
                let record = Record { value: record.value.clone(), ttl, tags: record.tags.clone() };
                begun.publish(record);
            }
        }
    }

    /// The result of writes whose acknowledgement has come.
    pub(crate) fn acknowledged(
        &self,
        outcome: Outcome<E>,
        writes: &[QueueWrite<K, V>],
    ) -> Result<(), TierError<E>> {
        let Some(error) = outcome.error else { return Ok(()) };
        // The writer forgets them too, but perhaps after this call has returned.
        writes.iter().for_each(|write| forget(&self.cache, &*write.key));
        Err(error)
    }

    /// Forgets the keys of writes that were given up, for a call that says so. The writer forgets them too, but perhaps
    /// after this call has returned.
    pub(crate) fn forget_dead_letters(&self) {
        self.dead_letters().iter().for_each(|letter| forget(&self.cache, &*letter.key));
    }

    /// Forgets the keys of writes that were given up, and reports them.
    pub(crate) fn report(&self, letters: &[DeadLetter<K, V, E>]) {
        let Some(behind) = self.queue() else { return };
        for letter in letters {
            contain(|| forget(&self.cache, &*letter.key));
            if let Some(report) = &behind.settings.on_give_up {
                contain(|| report(letter));
            }
        }
    }
}

/// Removes a key from a cache, without cloning its value.
pub(crate) fn forget<K, V, S>(cache: &Cache<K, V, S>, key: &K)
where
    K: Hash + Eq,
    S: BuildHasher,
{
    cache.remove_if(key, |_, _| true);
}

impl<K: Hash + Eq, V, E> Behind<K, V, E> {
    /// A write for the queue. Calls the weigher.
    pub(crate) fn write(&self, key: K, record: Option<Record<V>>) -> QueueWrite<K, V> {
        let weight = self.settings.weigh(&key, record.as_ref());
        let begun_ns = self.queue.now_ns();
        QueueWrite { key: Arc::new(key), record: record.map(Arc::new), weight, begun_ns }
    }

    pub(crate) fn new_ack(&self, writes: usize) -> Option<Arc<Ack<E>>> {
        (self.settings.durability == Durability::Durable).then(|| Ack::new(writes))
    }

    pub(crate) fn push(
        &self,
        write: &QueueWrite<K, V>,
        ack: Option<&Arc<Ack<E>>>,
    ) -> Result<(), Refused> {
        self.queue.push(&write.key, write.record.as_ref(), write.weight, ack)
    }

    /// The error for a write that was not accepted.
    pub(crate) fn refused(&self, refused: Refused) -> TierError<E> {
        match refused {
            Refused::Full { entries, weight, .. } => {
                TierError::QueueFull { entries, weight, source: self.queue.last_error() }
            }
            Refused::TooHeavy { weight, limit } => TierError::TooHeavy { weight, limit },
            Refused::Closed => TierError::Closed,
        }
    }

    /// The error for writes that were not carried out in time.
    pub(crate) fn unwritten(&self, entries: usize) -> FlushError<E> {
        FlushError::Unwritten { entries, source: self.queue.last_error() }
    }

    /// If the refused write is to wait for room: the state of the room in which it was refused.
    pub(crate) fn freed_to_wait_for(&self, refused: &Refused) -> Option<u64> {
        match (refused, self.settings.when_full) {
            (Refused::Full { freed, .. }, WhenFull::Wait) => Some(*freed),
            _ => None,
        }
    }
}

/// A write on its way into the queue.
pub(crate) struct QueueWrite<K, V> {
    pub(crate) key: Arc<K>,
    /// `None` for a removal.
    pub(crate) record: Option<Arc<Record<V>>>,
    weight: u64,
    begun_ns: u64,
}

/// A write to one key of the cache, from before it is written elsewhere until that is done. If it is dropped
/// without [`publish`](Self::publish), after an error or a panic, the cache forgets the key.
pub(crate) struct CacheWrite<'t, K: Hash + Eq, V, S: BuildHasher> {
    cache: &'t Cache<K, V, S>,
    key: &'t K,
    fill: Option<Fill<K, V>>,
    is_open: bool,
}

impl<'t, K, V, S> CacheWrite<'t, K, V, S>
where
    K: Hash + Eq + Clone,
    S: BuildHasher,
{
    fn begin(cache: &'t Cache<K, V, S>, key: &'t K) -> Self {
        let fill = Some(cache.begin_fill(key));
        Self { cache, key, fill, is_open: true }
    }

    /// Stores the value that was written, unless the key was changed meanwhile; then the cache forgets it.
    pub(crate) fn publish(mut self, record: Record<V>) {
        let Some(fill) = self.fill.take() else { return };
        let stored = with_options(record, |value, options| {
            self.cache.complete_fill_replacing_with(fill, value, options)
        });
        // A value that the cache refuses must not leave an older one.
        self.is_open = matches!(stored, Inserted::Rejected(_));
    }

    /// Nothing was written, so the cache keeps what it has.
    pub(crate) fn cancel(mut self) {
        self.is_open = false;
    }
}

impl<K: Hash + Eq, V, S: BuildHasher> Drop for CacheWrite<'_, K, V, S> {
    fn drop(&mut self) {
        if self.is_open {
            // It may be dropped by a panic, where a second one would end the process.
            contain(|| forget(self.cache, self.key));
        }
    }
}

/// The options with which a record is stored.
pub(crate) fn with_options<V, R>(
    record: Record<V>,
    store: impl FnOnce(V, InsertOptions<'_>) -> R,
) -> R {
    let Record { value, ttl, tags } = record;
    let tags: Vec<_> = tags.iter().map(String::as_str).collect();
    let options = InsertOptions::new().tags(&tags);
    store(value, ttl.map_or(options, |ttl| options.ttl(ttl)))
}

impl<E> From<LoadError<TierError<E>>> for TierError<E> {
    fn from(error: LoadError<TierError<E>>) -> Self {
        match error {
            LoadError::Failed(error) => (*error).clone(),
            LoadError::Reentrant => Self::Reentrant,
            LoadError::DeadlineExceeded => Self::DeadlineExceeded,
            _ => Self::TimedOut,
        }
    }
}
