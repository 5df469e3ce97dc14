//! A cache in front of a store, for threads.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;
use std::time::{Duration, Instant};

use larder::{Cache, LoadOptions, RandomState, ToKey};

use crate::bulk_read::BulkRead;
use crate::error::{DeadLetter, FlushError, TierBuildError, TierError};
use crate::stats::TierStats;
use crate::store::{Durability, ErrorKind, Record, Store, write_of};
use crate::tier::{Behind, CacheWrite, QueueWrite, Tier, Writing, contain};
use crate::write_behind::WriteBehind;
use crate::writer::{Shared, Writer};

/// A [`Cache`] in front of a [`Store`]. Its clones are handles of the same tier.
///
/// # Reading
/// [`get`](Self::get) returns what the cache has, and loads what it misses from the store. However many threads
/// miss a key at the same time, the store is asked once. A hit costs what it costs in the cache.
///
/// # Writing
/// | | a write returns when | the cache then has |
/// |---|---|---|
/// | [write-through](Self::write_through) | the store has carried it out | the value |
/// | [write-around](Self::write_around) | the store has carried it out | nothing for the key |
/// | [write-behind](Self::write_behind) | it is in the queue or, in durable mode, the store has committed it | the value |
///
/// When a write has returned, no call that begins later finds an older value, however many threads read and
/// write the key; only evictions and expiries, after which the store is asked again, come in between. A call
/// that runs at the same time as a write may find the value before it or the value after it. If the store
/// fails or panics, it is unknown what it has carried out; the cache forgets the key, so that the next
/// reader asks the store.
///
/// # Write-behind
/// - The queue is bounded, by entries and by weight. If it is full, a write waits or fails, as
///   [configured](WriteBehind::when_full).
/// - Of several writes of a key that wait, the last one is written. Writes of one key reach the store in
///   their order, and writes of different keys in any order.
/// - Reads find queued writes, also if the entry was evicted from the cache.
/// - A batch that fails is tried again, after a [pause](crate::Backoff), for ever or
///   [so many times](WriteBehind::give_up_after). A write that is given up becomes a dead letter: it keeps its
///   place in the queue's bounds until it is [taken out](Self::take_dead_letters), [tried
///   again](Self::retry_dead_letters) or replaced by a newer write of its key. Reads do not find dead letters.
/// - With [`Durability::Memory`], a write is acknowledged before the store has it, and is lost if the process
///   dies. With [`Durability::Durable`], `Ok` means that the store has committed this write or a newer one of
///   the same key, so a crash loses nothing that was acknowledged. Other threads may read a write before it is
///   acknowledged.
/// - [`flush`](Self::flush) waits until all is written, and so does [`close`](Self::close), which the drop of
///   the last handle calls. Neither waits longer than the [patience](WriteBehind::patience) of the tier.
///
/// # The cache itself
/// [`cache`](Self::cache) is the cache, for statistics, invalidation by tags, listeners and so on. Removing
/// an entry there makes the tier ask the store again, and storing one there does not reach the store.
///
/// # Examples
/// ```
/// use larder::Cache;
/// use larder_store::{StoredCache, WriteBehind};
/// # use std::{collections::HashMap, convert::Infallible, sync::{Mutex, PoisonError}};
/// # use larder_store::{Durability, Record, Store, Write};
/// # #[derive(Default)]
/// # struct Table(Mutex<HashMap<u64, String>>);
/// # impl Store<u64, String> for Table {
/// #     type Error = Infallible;
/// #     fn get(&self, key: &u64) -> Result<Option<Record<String>>, Infallible> {
/// #         let rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
/// #         Ok(rows.get(key).cloned().map(Record::new))
/// #     }
/// #     fn write(&self, batch: &[Write<'_, u64, String>], _: Durability) -> Result<(), Infallible> {
/// #         let mut rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
/// #         for write in batch {
/// #             match write {
/// #                 Write::Insert { key, value, .. } => rows.insert(**key, (*value).clone()),
/// #                 Write::Remove { key } => rows.remove(key),
/// #             };
/// #         }
/// #         Ok(())
/// #     }
/// # }
/// let table = std::sync::Arc::new(Table::default());
/// let users = StoredCache::write_behind(Cache::new(10_000), table.clone(), WriteBehind::new())?;
/// users.insert(1, "Ada".to_owned())?;
/// assert_eq!(users.get(&1)?.as_deref(), Some("Ada"));
/// assert_eq!(users.get(&2)?, None);
/// users.flush()?;
/// assert_eq!(table.get(&1)?.unwrap().value, "Ada");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct StoredCache<K, V, T, S = RandomState>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    T: Store<K, V>,
    S: BuildHasher,
{
    handles: Arc<Handles<K, V, T, S>>,
}

/// What all handles share; its drop is the end of the tier.
struct Handles<K, V, T, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    T: Store<K, V>,
    S: BuildHasher,
{
    shared: Arc<Shared<K, V, T, S>>,
    writer: Option<Writer>,
}

impl<K, V, T, S> StoredCache<K, V, T, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    T: Store<K, V>,
    S: BuildHasher,
{
    /// A tier whose writes go to the store first and then into the cache.
    pub fn write_through(cache: Cache<K, V, S>, store: T) -> Self {
        Self::without_writer(cache, store, Writing::Through)
    }

    /// A tier whose writes go to the store only; the cache forgets their keys. For values that are seldom
    /// read after they were written.
    pub fn write_around(cache: Cache<K, V, S>, store: T) -> Self {
        Self::without_writer(cache, store, Writing::Around)
    }

    fn without_writer(cache: Cache<K, V, S>, store: T, writing: Writing<K, V, T::Error>) -> Self {
        let shared = Arc::new(Shared { tier: Tier::new(cache, writing), store });
        Self { handles: Arc::new(Handles { shared, writer: None }) }
    }

    /// A tier whose writes go into the cache and a queue, from which a thread of the tier carries them to
    /// the store.
    ///
    /// # Errors
    /// If a setting is 0 that lets nothing through, or if the system gives no thread.
    pub fn write_behind(
        cache: Cache<K, V, S>,
        store: T,
        settings: WriteBehind<K, V, T::Error>,
    ) -> Result<Self, TierBuildError>
    where
        T: 'static,
        S: Send + Sync + 'static,
    {
        let shared = Arc::new(Shared { tier: Tier::behind(cache, settings)?, store });
        let writer = Some(Writer::start(&shared).map_err(TierBuildError::NoThread)?);
        Ok(Self { handles: Arc::new(Handles { shared, writer }) })
    }

    /// The cache in front of the store.
    pub fn cache(&self) -> &Cache<K, V, S> {
        &self.handles.shared.tier.cache
    }

    /// The store behind the cache.
    pub fn store(&self) -> &T {
        &self.handles.shared.store
    }

    /// The value of `key`: from the cache, else from the queue of writes, else from the store, and then stored
    /// in the cache. `None` if there is none.
    ///
    /// Of several calls that miss a key at the same time, one asks the store, and the others wait for its
    /// answer. That a key has no value is stored if the cache has a
    /// [negative time to live](larder::Builder::negative_time_to_live). A record that the store cannot
    /// [read](ErrorKind::Corrupt) is a miss, and counted.
    ///
    /// # Errors
    /// [`Store`](TierError::Store) with the store's error, for all calls that waited for it;
    /// [`Reentrant`](TierError::Reentrant) if the store asks for the same key on the same thread. Nothing is
    /// cached then.
    ///
    /// # Panics
    /// If the store panics. A call that waited asks the store itself.
    pub fn get<Q>(&self, key: &Q) -> Result<Option<V>, TierError<T::Error>>
    where
        Q: Hash + ToKey<K> + ?Sized,
    {
        self.get_with(key, LoadOptions::new())
    }

    /// As [`get`](Self::get), with options for the load: how long this call waits for another caller's load,
    /// and a lifetime and tags for records that have none of their own.
    ///
    /// # Errors
    /// As `get`, and [`DeadlineExceeded`](TierError::DeadlineExceeded).
    ///
    /// # Panics
    /// As `get`.
    pub fn get_with<Q>(
        &self,
        key: &Q,
        options: LoadOptions<'_>,
    ) -> Result<Option<V>, TierError<T::Error>>
    where
        Q: Hash + ToKey<K> + ?Sized,
    {
        let Shared { tier, store } = &*self.handles.shared;
        let loaded = tier.cache.get_or_load(key, options, |load| {
            let record = match tier.pending(load.key()) {
                Some(pending) => pending,
                None => match store.get(load.key()) {
                    Ok(record) => record,
                    Err(error) => {
                        self.missed(error)?;
                        None
                    }
                },
            };
            Ok::<_, TierError<T::Error>>(Tier::<_, _, T::Error, S>::loaded(load, record))
        });
        Ok(loaded?)
    }

    /// The values of `keys`, in their order; those that the cache and the queue miss are asked of the store by
    /// one [`get_many`](Store::get_many).
    ///
    /// Unlike [`get`](Self::get), the call does not wait for loads of other calls. A key that the store leaves
    /// out has no value, and what it returns for other keys is ignored, and counted as
    /// [foreign](TierStats::foreign).
    ///
    /// # Errors
    /// [`Store`](TierError::Store): the store has failed, and nothing is cached. If one of several records is
    /// [corrupt](ErrorKind::Corrupt), each key is asked for alone.
    ///
    /// # Panics
    /// If the store panics.
    pub fn get_many(&self, keys: &[K]) -> Result<Vec<Option<V>>, TierError<T::Error>> {
        let Shared { tier, store } = &*self.handles.shared;
        let mut read = BulkRead::begin(tier, keys);
        let wanted = read.take_wanted();
        if !wanted.is_empty() {
            match store.get_many(&wanted) {
                Ok(found) => read.add(tier, &wanted, found),
                Err(error) if store.kind(&error) == ErrorKind::Corrupt => {
                    self.get_each(&wanted, &mut read)?;
                }
                Err(error) => return Err(TierError::Store(Arc::new(error))),
            }
        }
        Ok(read.end(tier, keys))
    }

    /// Asks the store for each of the keys, because one of their records is corrupt.
    fn get_each(&self, keys: &[K], read: &mut BulkRead<K, V>) -> Result<(), TierError<T::Error>> {
        for key in keys {
            match self.store().get(key) {
                Ok(Some(record)) => read.add_one(key, record),
                Ok(None) => {}
                Err(error) => self.missed(error)?,
            }
        }
        Ok(())
    }

    /// Stores a value under a key.
    ///
    /// # Errors
    /// [`TierError::Store`] if the store fails, and with write-behind
    /// [`QueueFull`](TierError::QueueFull), [`TooHeavy`](TierError::TooHeavy) and [`Closed`](TierError::Closed) if the
    /// write was not accepted, and in durable mode [`NotCommitted`](TierError::NotCommitted) and
    /// [`GaveUp`](TierError::GaveUp).
    ///
    /// # Panics
    /// If the store panics (not with write-behind), or the weigher.
    pub fn insert(&self, key: K, record: impl Into<Record<V>>) -> Result<(), TierError<T::Error>> {
        self.write_all(vec![(key, Some(record.into()))])
    }

    /// Removes a key.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    ///
    /// # Panics
    /// As `insert`.
    pub fn remove(&self, key: &K) -> Result<(), TierError<T::Error>> {
        self.write_all(vec![(key.clone(), None)])
    }

    /// Stores several values, as one batch of the store; with write-behind they enter the queue one after the
    /// other. If a key is there twice, its last value counts.
    ///
    /// # Errors
    /// As [`insert`](Self::insert). Any part of the writes may have been carried out or accepted.
    ///
    /// # Panics
    /// As `insert`.
    pub fn insert_many<R: Into<Record<V>>>(
        &self,
        records: impl IntoIterator<Item = (K, R)>,
    ) -> Result<(), TierError<T::Error>> {
        self.write_all(
            records.into_iter().map(|(key, record)| (key, Some(record.into()))).collect(),
        )
    }

    /// Removes several keys, as [`insert_many`](Self::insert_many) stores several.
    ///
    /// # Errors
    /// As `insert_many`.
    ///
    /// # Panics
    /// As `insert`.
    pub fn remove_many(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<(), TierError<T::Error>> {
        self.write_all(keys.into_iter().map(|key| (key, None)).collect())
    }

    fn write_all(
        &self,
        mut writes: Vec<(K, Option<Record<V>>)>,
    ) -> Result<(), TierError<T::Error>> {
        if writes.len() > 1 {
            // A batch has each key once, with its last write.
            writes = writes.into_iter().collect::<HashMap<_, _>>().into_iter().collect();
        }
        let Shared { tier, store } = &*self.handles.shared;
        let behind = match &tier.writing {
            Writing::Behind(behind) => behind,
            Writing::Through | Writing::Around => {
                let (keys, records): (Vec<_>, Vec<_>) = writes.into_iter().unzip();
                let begun = tier.begin(&keys);
                write_now(store, &keys, &records)
                    .map_err(|error| TierError::Store(Arc::new(error)))?;
                if matches!(tier.writing, Writing::Through) {
                    Tier::<_, _, T::Error, S>::publish(begun, records);
                }
                return Ok(());
            }
        };
        let writes: Vec<_> =
            writes.into_iter().map(|(key, record)| behind.write(key, record)).collect();
        self.write_behind_all(behind, &writes)
    }

    fn write_behind_all(
        &self,
        behind: &Behind<K, V, T::Error>,
        writes: &[QueueWrite<K, V>],
    ) -> Result<(), TierError<T::Error>> {
        let tier = &self.handles.shared.tier;
        let end = self.handles.end(behind.settings.patience);
        let begun = tier.begin(writes.iter().map(|write| &*write.key));
        let ack = match tier.enqueue(behind, writes, end) {
            Ok(ack) => ack,
            Err(error) => {
                if writes.len() == 1 {
                    begun.into_iter().for_each(CacheWrite::cancel);
                }
                return Err(error);
            }
        };
        // Before the wait for the store, because changes of the cache cost more while a fill is open.
        Tier::<_, _, T::Error, S>::publish_queued(behind, begun, writes);
        let Some(ack) = ack else { return Ok(()) };
        let waited = behind.settings.patience;
        let late = |_| TierError::NotCommitted { waited, source: behind.queue.last_error() };
        let outcome = ack.wait(end).map_err(late)?;
        tier.acknowledged(outcome, writes)
    }

    /// Waits until every write that was accepted before is carried out and durable.
    ///
    /// # Errors
    /// [`Unwritten`](FlushError::Unwritten) if that takes longer than the tier's
    /// [patience](WriteBehind::patience); the writes stay in the queue.
    /// [`GaveUp`](FlushError::GaveUp) if some of them were given up. [`Store`](FlushError::Store) and
    /// [`Panicked`](FlushError::Panicked) if the store's own flush fails.
    pub fn flush(&self) -> Result<(), FlushError<T::Error>> {
        let Some(behind) = self.handles.shared.tier.queue() else {
            return self.handles.flush_store();
        };
        self.flush_within(behind.settings.patience)
    }

    /// As [`flush`](Self::flush), with a patience of its own.
    ///
    /// # Errors
    /// As `flush`.
    pub fn flush_within(&self, patience: Duration) -> Result<(), FlushError<T::Error>> {
        if let Some(behind) = self.handles.shared.tier.queue() {
            let ack = behind.queue.ack_all();
            let outcome = ack.wait(self.handles.end(patience));
            let outcome = outcome.map_err(|entries| behind.unwritten(entries))?;
            if outcome.given_up > 0 {
                self.handles.shared.tier.forget_dead_letters();
                return Err(FlushError::GaveUp { entries: outcome.given_up });
            }
        }
        self.handles.flush_store()
    }

    /// Ends write-behind: accepts no further writes, and waits until all others are carried out and durable.
    /// Reads go on.
    ///
    /// What is not carried out within the tier's [patience](WriteBehind::patience) is given up. Dropping the last
    /// handle does the same, and what is lost then is passed to
    /// [`on_give_up`](WriteBehind::on_give_up) alone.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    pub fn close(&self) -> Result<(), FlushError<T::Error>> {
        self.handles.close()
    }

    /// The writes that were given up and are still there, cloned.
    #[must_use]
    pub fn dead_letters(&self) -> Vec<DeadLetter<K, V, T::Error>> {
        self.handles.shared.tier.dead_letters()
    }

    /// Takes out the writes that were given up, which makes room in the queue.
    #[must_use = "the writes are in no other place"]
    pub fn take_dead_letters(&self) -> Vec<DeadLetter<K, V, T::Error>> {
        self.handles.shared.tier.take_dead_letters()
    }

    /// Puts the writes that were given up back into the queue, and returns how many there are; 0 if the tier is
    /// closed. The cache forgets their keys, so that reads find them in the queue.
    pub fn retry_dead_letters(&self) -> usize {
        self.handles.shared.tier.retry_dead_letters()
    }

    /// Why the last attempt to write from the queue failed. `None` without write-behind, if the attempt did not fail,
    /// or if the store panicked. The error of a write that is [itself to blame](crate::ErrorKind::Permanent) does not
    /// count.
    #[must_use]
    pub fn last_error(&self) -> Option<Arc<T::Error>> {
        self.handles.shared.tier.queue().and_then(|behind| behind.queue.last_error())
    }

    /// What the tier has counted, and the state of its queue.
    #[must_use]
    pub fn stats(&self) -> TierStats {
        self.handles.shared.tier.stats()
    }

    /// A corrupt record is a miss, and counted; other errors are the caller's.
    fn missed(&self, error: T::Error) -> Result<(), TierError<T::Error>> {
        let Shared { tier, store } = &*self.handles.shared;
        if store.kind(&error) != ErrorKind::Corrupt {
            return Err(TierError::Store(Arc::new(error)));
        }
        tier.count_corrupt();
        Ok(())
    }
}

/// Writes to the store, by the call for one if there is one.
fn write_now<K, V, T: Store<K, V>>(
    store: &T,
    keys: &[K],
    records: &[Option<Record<V>>],
) -> Result<(), T::Error> {
    match (keys, records) {
        ([key], [Some(record)]) => store.insert(key, &record.value, record.meta()),
        ([key], [None]) => store.remove(key),
        ([], _) => Ok(()),
        _ => {
            let writes = keys.iter().zip(records);
            let batch: Vec<_> =
                writes.map(|(key, record)| write_of(key, record.as_ref())).collect();
            store.write(&batch, Durability::Durable)
        }
    }
}

impl<K, V, T, S> Handles<K, V, T, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    T: Store<K, V>,
    S: BuildHasher,
{
    /// When a call that begins now stops waiting; `None` for never.
    fn end(&self, patience: Duration) -> Option<Instant> {
        let now = Instant::now();
        // The writer itself, in a store or a closure, would wait for its own return.
        let is_writer = self.writer.as_ref().is_some_and(Writer::is_current);
        if is_writer { Some(now) } else { now.checked_add(patience) }
    }

    fn flush_store(&self) -> Result<(), FlushError<T::Error>> {
        match contain(|| self.shared.store.flush()) {
            Some(flushed) => flushed.map_err(FlushError::Store),
            None => Err(FlushError::Panicked),
        }
    }

    fn close(&self) -> Result<(), FlushError<T::Error>> {
        if let Some(behind) = self.shared.tier.queue() {
            behind.queue.begin_close();
            let outcome = behind.queue.ack_all().wait(self.end(behind.settings.patience));
            let letters = behind.queue.abandon();
            self.shared.tier.report(&letters);
            let outcome = outcome.map_err(|entries| behind.unwritten(entries))?;
            if outcome.given_up > 0 {
                self.shared.tier.forget_dead_letters();
                return Err(FlushError::GaveUp { entries: outcome.given_up });
            }
        }
        self.flush_store()
    }
}

impl<K, V, T, S> Drop for Handles<K, V, T, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    T: Store<K, V>,
    S: BuildHasher,
{
    fn drop(&mut self) {
        let (Some(writer), Some(behind)) = (&self.writer, self.shared.tier.queue()) else { return };
        let end = self.end(behind.settings.patience);
        // What is lost was reported to the closure for it; no caller is left to return an error to.
        let _ = contain(|| self.close());
        writer.wait(end);
    }
}

impl<K, V, T, S> Clone for StoredCache<K, V, T, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    T: Store<K, V>,
    S: BuildHasher,
{
    fn clone(&self) -> Self {
        Self { handles: Arc::clone(&self.handles) }
    }
}

impl<K, V, T, S> fmt::Debug for StoredCache<K, V, T, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    T: Store<K, V>,
    S: BuildHasher,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredCache").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
