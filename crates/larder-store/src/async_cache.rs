//! A cache in front of a store, for futures.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;
use std::time::Duration;

use larder::{Cache, LoadOptions, RandomState, ToKey};

use crate::ack::Ack;
use crate::async_writer::{AsyncShared, WriterLife, contained, run};
use crate::bulk_read::BulkRead;
use crate::error::{DeadLetter, FlushError, TierBuildError, TierError};
use crate::stats::TierStats;
use crate::store::{AsyncStore, Durability, ErrorKind, Record, write_of};
use crate::tier::{Behind, CacheWrite, QueueWrite, Tier, Writing};
use crate::write_behind::WriteBehind;

/// A [`Cache`] in front of an [`AsyncStore`]: a [`StoredCache`](crate::StoredCache) for asynchronous code, of
/// any runtime. Its clones are handles of the same tier.
///
/// All that is said there about reading and writing holds here, with these differences:
/// - The writer of write-behind is a future, which [`write_behind`](Self::write_behind) returns and which you
///   spawn. If it is dropped before the tier is closed, the writes that are left become dead letters, and the
///   tier accepts no more.
/// - Calls wait without a bound, because their futures can be dropped at any time. A dropped read gives its load
///   to another caller. A dropped write was carried out, is still queued, or was never begun; the cache
///   forgets its key unless the write is known to be queued.
/// - Dropping the last handle closes the tier and does not wait. The writer goes on until all is written, or until
///   the [patience](WriteBehind::patience) of the tier has passed; [`close`](Self::close) waits for that.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use larder::Cache;
/// use larder_store::{AsyncStoredCache, Durability, WriteBehind};
/// # use std::{collections::HashMap, convert::Infallible, sync::{Arc, Mutex, PoisonError}};
/// # use larder_store::{AsyncStore, Record, Write};
/// # #[derive(Clone, Default)]
/// # struct Table(Arc<Mutex<HashMap<u64, String>>>);
/// # impl AsyncStore<u64, String> for Table {
/// #     type Error = Infallible;
/// #     async fn get(&self, key: &u64) -> Result<Option<Record<String>>, Infallible> {
/// #         let rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
/// #         Ok(rows.get(key).cloned().map(Record::new))
/// #     }
/// #     async fn write(&self, batch: &[Write<'_, u64, String>], _: Durability) -> Result<(), Infallible> {
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
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build()?;
/// # runtime.block_on(async {
/// let table = Table::default();
/// let settings = WriteBehind::new().durability(Durability::Durable);
/// let (users, writer) =
///     AsyncStoredCache::write_behind(Cache::new(10_000), table.clone(), settings, tokio::time::sleep)?;
/// tokio::spawn(writer);
/// users.insert(1, "Ada".to_owned()).await?;
/// assert_eq!(users.get(&1).await?.as_deref(), Some("Ada"));
/// assert_eq!(table.get(&1).await?.unwrap().value, "Ada");
/// users.close().await?;
/// # Ok(())
/// # })
/// # }
/// ```
pub struct AsyncStoredCache<K, V, T, S = RandomState>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    T: AsyncStore<K, V>,
    S: BuildHasher,
{
    handles: Arc<AsyncHandles<K, V, T, S>>,
}

/// What all handles share; its drop closes the tier.
struct AsyncHandles<K, V, T, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    T: AsyncStore<K, V>,
    S: BuildHasher,
{
    shared: Arc<AsyncShared<K, V, T, S>>,
}

impl<K, V, T, S> AsyncStoredCache<K, V, T, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    T: AsyncStore<K, V>,
    S: BuildHasher + Send + Sync,
{
    /// As [`StoredCache::write_through`](crate::StoredCache::write_through).
    pub fn write_through(cache: Cache<K, V, S>, store: T) -> Self {
        Self::over(Tier::new(cache, Writing::Through), store)
    }

    /// As [`StoredCache::write_around`](crate::StoredCache::write_around).
    pub fn write_around(cache: Cache<K, V, S>, store: T) -> Self {
        Self::over(Tier::new(cache, Writing::Around), store)
    }

    fn over(tier: Tier<K, V, T::Error, S>, store: T) -> Self {
        Self { handles: Arc::new(AsyncHandles { shared: Arc::new(AsyncShared { tier, store }) }) }
    }

    /// A tier whose writes go into the cache and a queue, and the future that carries them to the store, which
    /// you have to spawn. `sleep` is how that future waits, such as `tokio::time::sleep`.
    ///
    /// # Errors
    /// If a setting is 0 that lets nothing through.
    pub fn write_behind<P, F>(
        cache: Cache<K, V, S>,
        store: T,
        settings: WriteBehind<K, V, T::Error>,
        sleep: P,
    ) -> Result<(Self, impl Future<Output = ()> + Send + use<K, V, T, S, P, F>), TierBuildError>
    where
        S: 'static,
        P: Fn(Duration) -> F + Send + Sync,
        F: Future<Output = ()> + Send,
    {
        let tier = Self::over(Tier::behind(cache, settings)?, store);
        let life = WriterLife { shared: Arc::clone(&tier.handles.shared) };
        Ok((tier, run(life, sleep)))
    }

    /// The cache in front of the store.
    pub fn cache(&self) -> &Cache<K, V, S> {
        &self.handles.shared.tier.cache
    }

    /// The store behind the cache.
    pub fn store(&self) -> &T {
        &self.handles.shared.store
    }

    /// As [`StoredCache::get`](crate::StoredCache::get). Blocking and asynchronous callers of the cache share the
    /// load.
    ///
    /// # Errors
    /// As there.
    ///
    /// # Panics
    /// As there.
    pub async fn get<Q>(&self, key: &Q) -> Result<Option<V>, TierError<T::Error>>
    where
        Q: Hash + ToKey<K> + Sync + ?Sized,
    {
        self.get_with(key, LoadOptions::new()).await
    }

    /// As [`StoredCache::get_with`](crate::StoredCache::get_with). The deadline also ends a load that this call
    /// leads.
    ///
    /// # Errors
    /// As there.
    ///
    /// # Panics
    /// As there.
    pub async fn get_with<Q>(
        &self,
        key: &Q,
        options: LoadOptions<'_>,
    ) -> Result<Option<V>, TierError<T::Error>>
    where
        Q: Hash + ToKey<K> + Sync + ?Sized,
    {
        let AsyncShared { tier, store } = &*self.handles.shared;
        let loaded = tier.cache.get_or_load_async(key, options, |load| async move {
            let record = match tier.pending(load.key()) {
                Some(pending) => pending,
                None => match store.get(load.key()).await {
                    Ok(record) => record,
                    Err(error) => {
                        self.missed(error)?;
                        None
                    }
                },
            };
            Ok::<_, TierError<T::Error>>(Tier::<_, _, T::Error, S>::loaded(&load, record))
        });
        Ok(loaded.await?)
    }

    /// As [`StoredCache::get_many`](crate::StoredCache::get_many).
    ///
    /// # Errors
    /// As there.
    ///
    /// # Panics
    /// As there.
    pub async fn get_many(&self, keys: &[K]) -> Result<Vec<Option<V>>, TierError<T::Error>> {
        let AsyncShared { tier, store } = &*self.handles.shared;
        let mut read = BulkRead::begin(tier, keys);
        let wanted = read.take_wanted();
        if !wanted.is_empty() {
            match store.get_many(&wanted).await {
                Ok(found) => read.add(tier, &wanted, found),
                Err(error) if store.kind(&error) == ErrorKind::Corrupt => {
                    self.get_each(&wanted, &mut read).await?;
                }
                Err(error) => return Err(TierError::Store(Arc::new(error))),
            }
        }
        Ok(read.end(tier, keys))
    }

    /// Asks the store for each of the keys, because one of their records is corrupt.
    async fn get_each(
        &self,
        keys: &[K],
        read: &mut BulkRead<K, V>,
    ) -> Result<(), TierError<T::Error>> {
        for key in keys {
            match self.store().get(key).await {
                Ok(Some(record)) => read.add_one(key, record),
                Ok(None) => {}
                Err(error) => self.missed(error)?,
            }
        }
        Ok(())
    }

    /// As [`StoredCache::insert`](crate::StoredCache::insert).
    ///
    /// # Errors
    /// As there, except that the call does not stop waiting by itself.
    ///
    /// # Panics
    /// As there.
    pub async fn insert(
        &self,
        key: K,
        record: impl Into<Record<V>> + Send,
    ) -> Result<(), TierError<T::Error>> {
        self.write_all(vec![(key, Some(record.into()))]).await
    }

    /// As [`StoredCache::remove`](crate::StoredCache::remove).
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    ///
    /// # Panics
    /// As `insert`.
    pub async fn remove(&self, key: &K) -> Result<(), TierError<T::Error>> {
        self.write_all(vec![(key.clone(), None)]).await
    }

    /// As [`StoredCache::insert_many`](crate::StoredCache::insert_many).
    ///
    /// # Errors
    /// As [`insert`](Self::insert). Any part of the writes may have been carried out or accepted.
    ///
    /// # Panics
    /// As `insert`.
    pub async fn insert_many<R: Into<Record<V>>>(
        &self,
        records: impl IntoIterator<Item = (K, R)> + Send,
    ) -> Result<(), TierError<T::Error>> {
        let writes = records.into_iter().map(|(key, record)| (key, Some(record.into()))).collect();
        self.write_all(writes).await
    }

    /// As [`StoredCache::remove_many`](crate::StoredCache::remove_many).
    ///
    /// # Errors
    /// As [`insert_many`](Self::insert_many).
    ///
    /// # Panics
    /// As `insert`.
    pub async fn remove_many(
        &self,
        keys: impl IntoIterator<Item = K> + Send,
    ) -> Result<(), TierError<T::Error>> {
        let writes = keys.into_iter().map(|key| (key, None)).collect();
        self.write_all(writes).await
    }

    async fn write_all(
        &self,
        mut writes: Vec<(K, Option<Record<V>>)>,
    ) -> Result<(), TierError<T::Error>> {
        if writes.len() > 1 {
            // A batch has each key once, with its last write.
            writes = writes.into_iter().collect::<HashMap<_, _>>().into_iter().collect();
        }
        let AsyncShared { tier, store } = &*self.handles.shared;
        let behind = match &tier.writing {
            Writing::Behind(behind) => behind,
            Writing::Through | Writing::Around => {
                let (keys, records): (Vec<_>, Vec<_>) = writes.into_iter().unzip();
                let begun = tier.begin(&keys);
                write_now(store, &keys, &records)
                    .await
                    .map_err(|error| TierError::Store(Arc::new(error)))?;
                if matches!(tier.writing, Writing::Through) {
                    Tier::<_, _, T::Error, S>::publish(begun, records);
                }
                return Ok(());
            }
        };
        let writes: Vec<_> =
            writes.into_iter().map(|(key, record)| behind.write(key, record)).collect();
        let begun = tier.begin(writes.iter().map(|write| &*write.key));
        let ack = match enqueue(behind, &writes).await {
            Ok(ack) => ack,
            Err(error) => {
                if writes.len() == 1 {
                    begun.into_iter().for_each(CacheWrite::cancel);
                }
                return Err(error);
            }
        };
        // Before the wait for the store, because changes of the cache cost more while a fill is open.
        Tier::<_, _, T::Error, S>::publish_queued(behind, begun, &writes);
        match ack {
            Some(ack) => tier.acknowledged(ack.done().await, &writes),
            None => Ok(()),
        }
    }

    /// As [`StoredCache::flush`](crate::StoredCache::flush), without a bound.
    ///
    /// # Errors
    /// [`GaveUp`](FlushError::GaveUp), [`Store`](FlushError::Store) and [`Panicked`](FlushError::Panicked) as there.
    pub async fn flush(&self) -> Result<(), FlushError<T::Error>> {
        if let Some(behind) = self.handles.shared.tier.queue() {
            let entries = behind.queue.ack_all().done().await.given_up;
            if entries > 0 {
                self.handles.shared.tier.forget_dead_letters();
                return Err(FlushError::GaveUp { entries });
            }
        }
        self.flush_store().await
    }

    async fn flush_store(&self) -> Result<(), FlushError<T::Error>> {
        match contained(async { self.store().flush().await }).await {
            Some(flushed) => flushed.map_err(FlushError::Store),
            None => Err(FlushError::Panicked),
        }
    }

    /// As [`StoredCache::close`](crate::StoredCache::close): accepts no further writes, and waits until the
    /// writer has carried out all others, or has given them up because the patience of the tier has passed.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    pub async fn close(&self) -> Result<(), FlushError<T::Error>> {
        if let Some(behind) = self.handles.shared.tier.queue() {
            behind.queue.begin_close();
        }
        self.flush().await
    }

    /// As [`StoredCache::dead_letters`](crate::StoredCache::dead_letters).
    #[must_use]
    pub fn dead_letters(&self) -> Vec<DeadLetter<K, V, T::Error>> {
        self.handles.shared.tier.dead_letters()
    }

    /// As [`StoredCache::take_dead_letters`](crate::StoredCache::take_dead_letters).
    #[must_use = "the writes are in no other place"]
    pub fn take_dead_letters(&self) -> Vec<DeadLetter<K, V, T::Error>> {
        self.handles.shared.tier.take_dead_letters()
    }

    /// As [`StoredCache::retry_dead_letters`](crate::StoredCache::retry_dead_letters).
    pub fn retry_dead_letters(&self) -> usize {
        self.handles.shared.tier.retry_dead_letters()
    }

    /// As [`StoredCache::last_error`](crate::StoredCache::last_error).
    #[must_use]
    pub fn last_error(&self) -> Option<Arc<T::Error>> {
        self.handles.shared.tier.queue().and_then(|behind| behind.queue.last_error())
    }

    /// As [`StoredCache::stats`](crate::StoredCache::stats).
    #[must_use]
    pub fn stats(&self) -> TierStats {
        self.handles.shared.tier.stats()
    }

    /// A corrupt record is a miss, and counted; other errors are the caller's.
    fn missed(&self, error: T::Error) -> Result<(), TierError<T::Error>> {
        let AsyncShared { tier, store } = &*self.handles.shared;
        if store.kind(&error) != ErrorKind::Corrupt {
            return Err(TierError::Store(Arc::new(error)));
        }
        tier.count_corrupt();
        Ok(())
    }
}

/// Writes to the store, by the call for one if there is one.
async fn write_now<K, V, T>(
    store: &T,
    keys: &[K],
    records: &[Option<Record<V>>],
) -> Result<(), T::Error>
where
    K: Send + Sync,
    V: Send + Sync,
    T: AsyncStore<K, V>,
{
    match (keys, records) {
        ([key], [Some(record)]) => store.insert(key, &record.value, record.meta()).await,
        ([key], [None]) => store.remove(key).await,
        ([], _) => Ok(()),
        _ => {
            let writes = keys.iter().zip(records);
            let batch: Vec<_> =
                writes.map(|(key, record)| write_of(key, record.as_ref())).collect();
            store.write(&batch, Durability::Durable).await
        }
    }
}

/// As [`Tier::enqueue`], waiting for room as a future.
async fn enqueue<K, V, E>(
    behind: &Behind<K, V, E>,
    writes: &[QueueWrite<K, V>],
) -> Result<Option<Arc<Ack<E>>>, TierError<E>>
where
    K: Hash + Eq,
{
    let ack = behind.new_ack(writes.len());
    for write in writes {
        while let Err(refused) = behind.push(write, ack.as_ref()) {
            let Some(freed) = behind.freed_to_wait_for(&refused) else {
                return Err(behind.refused(refused));
            };
            behind.queue.room(freed).await;
        }
    }
    Ok(ack)
}

impl<K, V, T, S> Drop for AsyncHandles<K, V, T, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    T: AsyncStore<K, V>,
    S: BuildHasher,
{
    fn drop(&mut self) {
        if let Some(behind) = self.shared.tier.queue() {
            behind.queue.begin_close();
        }
    }
}

impl<K, V, T, S> Clone for AsyncStoredCache<K, V, T, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    T: AsyncStore<K, V>,
    S: BuildHasher,
{
    fn clone(&self) -> Self {
        Self { handles: Arc::clone(&self.handles) }
    }
}

impl<K, V, T, S> fmt::Debug for AsyncStoredCache<K, V, T, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    T: AsyncStore<K, V>,
    S: BuildHasher,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stats = self.handles.shared.tier.stats();
        f.debug_struct("AsyncStoredCache").field("stats", &stats).finish_non_exhaustive()
    }
}
