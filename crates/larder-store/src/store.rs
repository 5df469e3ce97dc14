//! What a second tier has to be able to do: the traits, and what passes through them.
//!
//! A store knows keys and values, and what should be kept beside a value ([`Meta`]). It knows nothing of
//! the cache in front of it. All that a tier writes is one batch of [`Write`]s, because a store that can
//! commit several writes at once should do so.

use std::error::Error;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// How safe a write must be before it counts as done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Durability {
    /// In the memory of the process. The write is lost if the process ends before the write has reached
    /// the store, or before the store has made it durable ([`Store::flush`]).
    #[default]
    Memory,
    /// Committed by the store. The write survives whatever the store's own commits survive: usually the
    /// death of the process, and the loss of power if the hardware keeps its promises.
    Durable,
}

/// What to do about an error of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The same call may succeed later: the store is full, busy, away or too slow.
    Transient,
    /// The same call will fail again: the value is too large, or the key cannot be encoded.
    Permanent,
    /// What the store holds under the key cannot be read.
    Corrupt,
}

/// What a store keeps beside a value, if it can.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meta<'a> {
    /// How long the value is valid from now on; `None` if it does not expire.
    pub ttl: Option<Duration>,
    /// The tags that the entry of the cache is to carry.
    pub tags: &'a [String],
}

/// A value with what is kept beside it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record<V> {
    /// The value.
    pub value: V,
    /// How long the value is valid from now on; `None` if it does not expire, or if the store cannot
    /// tell.
    pub ttl: Option<Duration>,
    /// The tags of the entry; none if the store cannot keep them.
    pub tags: Vec<String>,
}

impl<V> Record<V> {
    /// A record without a lifetime of its own and without tags.
    pub const fn new(value: V) -> Self {
        Self { value, ttl: None, tags: Vec::new() }
    }

    /// The value is valid for `ttl` from now on.
    #[must_use]
    pub const fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// The entry carries `tags`; a cache takes at most four.
    #[must_use]
    pub fn tags<T: Into<String>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        self.tags = tags.into_iter().map(Into::into).collect();
        self
    }

    /// The time to live that is left at `now_ns` of a record of `written_ns`; `None` if it has expired.
    pub(crate) fn remaining(&self, written_ns: u64, now_ns: u64) -> Option<Option<Duration>> {
        let Some(ttl) = self.ttl else { return Some(None) };
        let age = Duration::from_nanos(now_ns.saturating_sub(written_ns));
        ttl.checked_sub(age).filter(|left| !left.is_zero()).map(Some)
    }

    /// What is kept beside the value.
    pub fn meta(&self) -> Meta<'_> {
        Meta { ttl: self.ttl, tags: &self.tags }
    }
}

impl<V> From<V> for Record<V> {
    fn from(value: V) -> Self {
        Self::new(value)
    }
}

/// One write of a batch.
#[derive(Debug, PartialEq, Eq)]
pub enum Write<'a, K, V> {
    /// Stores a value under a key, whether the key has one or not.
    Insert {
        /// The key.
        key: &'a K,
        /// The value.
        value: &'a V,
        /// What to keep beside the value.
        meta: Meta<'a>,
    },
    /// Removes a key, if it is there.
    Remove {
        /// The key.
        key: &'a K,
    },
}

impl<K, V> Clone for Write<'_, K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for Write<'_, K, V> {}

impl<'a, K, V> Write<'a, K, V> {
    /// The key that is written.
    pub const fn key(&self) -> &'a K {
        match self {
            Self::Insert { key, .. } | Self::Remove { key } => key,
        }
    }
}

/// The write that stores a record under a key, or removes the key.
pub(crate) fn write_of<'a, K, V>(key: &'a K, record: Option<&'a Record<V>>) -> Write<'a, K, V> {
    match record {
        Some(record) => Write::Insert { key, value: &record.value, meta: record.meta() },
        None => Write::Remove { key },
    }
}

/// A second tier behind a cache: a database, a file, a server.
///
/// Threads call a store at the same time. A [`StoredCache`](crate::StoredCache) calls
/// [`get`](Self::get) for one key once at a time, and with write-behind one thread calls
/// [`write`](Self::write). Under the other ways of writing, several threads may write one key at the same
/// time; the store decides which write is the last.
///
/// Any method may block, fail or panic: that is the caller's error or the writer's next attempt, and no
/// lock is held while it runs. A method may call the tier that is in front of it, except that it must not wait
/// there for itself: to read the key that it is asked for is an [error](crate::TierError::Reentrant), and a
/// wait of the writer for its own queue ends at once, or never if it is a future.
///
/// # Examples
/// ```
/// use std::{collections::HashMap, convert::Infallible, sync::{Mutex, PoisonError}};
/// use larder_store::{Durability, Record, Store, Write};
///
/// #[derive(Default)]
/// struct Table(Mutex<HashMap<u64, String>>);
///
/// impl Store<u64, String> for Table {
///     type Error = Infallible;
///
///     fn get(&self, key: &u64) -> Result<Option<Record<String>>, Infallible> {
///         let rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
///         Ok(rows.get(key).cloned().map(Record::new))
///     }
///
///     fn write(&self, batch: &[Write<'_, u64, String>], _: Durability) -> Result<(), Infallible> {
///         let mut rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
///         for write in batch {
///             match write {
///                 Write::Insert { key, value, .. } => rows.insert(**key, (*value).clone()),
///                 Write::Remove { key } => rows.remove(key),
///             };
///         }
///         Ok(())
///     }
/// }
///
/// let table = Table::default();
/// table.insert(&1, &"one".to_owned(), Default::default())?;
/// assert_eq!(table.get(&1)?, Some(Record::new("one".to_owned())));
/// # Ok::<(), Infallible>(())
/// ```
pub trait Store<K, V>: Send + Sync {
    /// Why a call failed.
    type Error: Error + Send + Sync + 'static;

    /// The record of `key`; `None` if there is none, or if it has expired.
    ///
    /// # Errors
    /// Whatever keeps the store from answering.
    fn get(&self, key: &K) -> Result<Option<Record<V>>, Self::Error>;

    /// Carries out all writes of `batch`, which has each key at most once.
    ///
    /// `Ok` promises that each of them is as safe as `durability` asks. After an error or a panic, any part
    /// of the batch may have been carried out; a writer repeats the whole batch, or parts of it.
    ///
    /// # Errors
    /// Whatever keeps the store from carrying out the whole batch.
    fn write(&self, batch: &[Write<'_, K, V>], durability: Durability) -> Result<(), Self::Error>;

    /// The records of those of `keys` that have one, in any order. A key may be left out if it has none;
    /// what is returned for a key that is not in `keys` is ignored and counted.
    ///
    /// Default: calls [`get`](Self::get) for each.
    ///
    /// # Errors
    /// Whatever keeps the store from answering for one of the keys.
    fn get_many(&self, keys: &[K]) -> Result<Vec<(K, Record<V>)>, Self::Error>
    where
        K: Clone,
    {
        let mut found = Vec::new();
        for key in keys {
            if let Some(record) = self.get(key)? {
                found.push((key.clone(), record));
            }
        }
        Ok(found)
    }

    /// Stores `value` under `key`, durably.
    ///
    /// Default: a [`write`](Self::write) of one.
    ///
    /// # Errors
    /// As `write`.
    fn insert(&self, key: &K, value: &V, meta: Meta<'_>) -> Result<(), Self::Error> {
        self.write(&[Write::Insert { key, value, meta }], Durability::Durable)
    }

    /// Removes `key`, durably.
    ///
    /// Default: a [`write`](Self::write) of one.
    ///
    /// # Errors
    /// As `write`.
    fn remove(&self, key: &K) -> Result<(), Self::Error> {
        self.write(&[Write::Remove { key }], Durability::Durable)
    }

    /// Makes everything durable that was written before with [`Durability::Memory`].
    ///
    /// Default: does nothing, as is right for a store whose writes are all durable.
    ///
    /// # Errors
    /// Whatever keeps the store from doing so.
    fn flush(&self) -> Result<(), Self::Error> {
        Ok(())
    }

    /// What to do about an error: whether to repeat the call, and whether to take the key for absent.
    ///
    /// Default: [`ErrorKind::Transient`].
    fn kind(&self, error: &Self::Error) -> ErrorKind {
        let _ = error;
        ErrorKind::Transient
    }
}

/// A second tier whose calls are futures: a [`Store`] for asynchronous code.
///
/// All that is said there holds here. A future that is dropped before it is done counts as a call that
/// failed: the write may have been carried out, or a part of it. [`Blocking`](crate::Blocking) makes an
/// `AsyncStore` from a `Store`.
///
/// The methods may be written as `async fn` in an implementation.
pub trait AsyncStore<K, V>: Send + Sync
where
    K: Send + Sync,
    V: Send + Sync,
{
    /// Why a call failed.
    type Error: Error + Send + Sync + 'static;

    /// As [`Store::get`].
    fn get(&self, key: &K) -> impl Future<Output = Result<Option<Record<V>>, Self::Error>> + Send;

    /// As [`Store::write`].
    fn write(
        &self,
        batch: &[Write<'_, K, V>],
        durability: Durability,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// As [`Store::get_many`].
    fn get_many(
        &self,
        keys: &[K],
    ) -> impl Future<Output = Result<Vec<(K, Record<V>)>, Self::Error>> + Send
    where
        K: Clone,
    {
        async move {
            let mut found = Vec::new();
            for key in keys {
                if let Some(record) = self.get(key).await? {
                    found.push((key.clone(), record));
                }
            }
            Ok(found)
        }
    }

    /// As [`Store::insert`].
    fn insert(
        &self,
        key: &K,
        value: &V,
        meta: Meta<'_>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send {
        async move { self.write(&[Write::Insert { key, value, meta }], Durability::Durable).await }
    }

    /// As [`Store::remove`].
    fn remove(&self, key: &K) -> impl Future<Output = Result<(), Self::Error>> + Send {
        async move { self.write(&[Write::Remove { key }], Durability::Durable).await }
    }

    /// As [`Store::flush`].
    fn flush(&self) -> impl Future<Output = Result<(), Self::Error>> + Send {
        async { Ok(()) }
    }

    /// As [`Store::kind`].
    fn kind(&self, error: &Self::Error) -> ErrorKind {
        let _ = error;
        ErrorKind::Transient
    }
}

impl<K, V, T: Store<K, V> + ?Sized> Store<K, V> for Arc<T> {
    type Error = T::Error;

    fn get(&self, key: &K) -> Result<Option<Record<V>>, Self::Error> {
        (**self).get(key)
    }

    fn write(&self, batch: &[Write<'_, K, V>], durability: Durability) -> Result<(), Self::Error> {
        (**self).write(batch, durability)
    }

    fn get_many(&self, keys: &[K]) -> Result<Vec<(K, Record<V>)>, Self::Error>
    where
        K: Clone,
    {
        (**self).get_many(keys)
    }

    fn insert(&self, key: &K, value: &V, meta: Meta<'_>) -> Result<(), Self::Error> {
        (**self).insert(key, value, meta)
    }

    fn remove(&self, key: &K) -> Result<(), Self::Error> {
        (**self).remove(key)
    }

    fn flush(&self) -> Result<(), Self::Error> {
        (**self).flush()
    }

    fn kind(&self, error: &Self::Error) -> ErrorKind {
        (**self).kind(error)
    }
}

impl<K, V, T> AsyncStore<K, V> for Arc<T>
where
    K: Send + Sync,
    V: Send + Sync,
    T: AsyncStore<K, V>,
{
    type Error = T::Error;

    fn get(&self, key: &K) -> impl Future<Output = Result<Option<Record<V>>, Self::Error>> + Send {
        (**self).get(key)
    }

    fn write(
        &self,
        batch: &[Write<'_, K, V>],
        durability: Durability,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send {
        (**self).write(batch, durability)
    }

    fn get_many(
        &self,
        keys: &[K],
    ) -> impl Future<Output = Result<Vec<(K, Record<V>)>, Self::Error>> + Send
    where
        K: Clone,
    {
        (**self).get_many(keys)
    }

    fn insert(
        &self,
        key: &K,
        value: &V,
        meta: Meta<'_>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send {
        (**self).insert(key, value, meta)
    }

    fn remove(&self, key: &K) -> impl Future<Output = Result<(), Self::Error>> + Send {
        (**self).remove(key)
    }

    fn flush(&self) -> impl Future<Output = Result<(), Self::Error>> + Send {
        (**self).flush()
    }

    fn kind(&self, error: &Self::Error) -> ErrorKind {
        (**self).kind(error)
    }
}
