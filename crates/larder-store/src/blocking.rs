//! A store of blocking calls as one of futures.

use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use crate::store::{AsyncStore, Durability, ErrorKind, Meta, Record, Store, Write, write_of};
use crate::tier::contain;

/// A call of a store, for a thread on which it may block.
pub type BlockingJob = Box<dyn FnOnce() + Send>;

/// A [`Store`] as an [`AsyncStore`]: each call runs where `spawn` runs it, usually on a pool of threads that
/// may block.
///
/// A call owns what it needs, so its keys and values are cloned. A future that is dropped does not stop a call
/// that was spawned: a write is still carried out.
///
/// # Examples
/// ```
/// use std::{collections::HashMap, convert::Infallible, sync::{Mutex, PoisonError}};
/// use larder_store::{Blocking, Durability, Record, Store, Write};
///
/// struct Table(Mutex<HashMap<u64, String>>);
///
/// impl Store<u64, String> for Table {
///     type Error = Infallible;
///     // ...
/// #   fn get(&self, key: &u64) -> Result<Option<Record<String>>, Infallible> {
/// #       Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned().map(Record::new))
/// #   }
/// #   fn write(&self, _: &[Write<'_, u64, String>], _: Durability) -> Result<(), Infallible> {
/// #       Ok(())
/// #   }
/// }
///
/// # fn on(table: Table) {
/// // Under tokio: `|job| drop(tokio::task::spawn_blocking(job))`.
/// let store = Blocking::new(table, |job| drop(std::thread::spawn(job)));
/// # let _ = store;
/// # }
/// ```
pub struct Blocking<T, P> {
    store: Arc<T>,
    spawn: P,
}

impl<T, P: Fn(BlockingJob) + Send + Sync> Blocking<T, P> {
    /// Runs the calls of `store` by `spawn`, which must not block itself.
    pub fn new(store: T, spawn: P) -> Self {
        Self { store: Arc::new(store), spawn }
    }

    /// The store.
    pub fn store(&self) -> &T {
        &self.store
    }

    async fn call<R, E>(
        &self,
        call: impl FnOnce(&T) -> Result<R, E> + Send + 'static,
    ) -> Result<R, BlockingError<E>>
    where
        T: Send + Sync + 'static,
        R: Send + 'static,
        E: Send + 'static,
    {
        let reply = Arc::new(Reply { state: Mutex::new(ReplyState { reply: None, waker: None }) });
        let (store, sender) = (Arc::clone(&self.store), ReplySender(Arc::clone(&reply)));
        (self.spawn)(Box::new(move || {
            let reply = match contain(|| call(&store)) {
                Some(done) => done.map_err(BlockingError::Store),
                None => Err(BlockingError::Panicked),
            };
            drop(store);
            sender.send(reply);
        }));
        poll_fn(|context| reply.poll(context.waker().clone())).await
    }
}

impl<T, P> fmt::Debug for Blocking<T, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blocking").finish_non_exhaustive()
    }
}

/// Why a call of a [`Blocking`] store failed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BlockingError<E> {
    /// The store's own error.
    Store(E),
    /// The store panicked.
    Panicked,
    /// The call was dropped before it ran, as happens when an executor ends.
    Dropped,
}

impl<E> fmt::Display for BlockingError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Store(_) => "the store failed",
            Self::Panicked => "the store panicked",
            Self::Dropped => "the call was dropped before it ran; keep the executor alive",
        })
    }
}

impl<E: Error + 'static> Error for BlockingError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Store(error) => Some(error),
            _ => None,
        }
    }
}

/// Where a call leaves its result for the future that waits.
struct Reply<R, E> {
    state: Mutex<ReplyState<R, E>>,
}

struct ReplyState<R, E> {
    reply: Option<Result<R, BlockingError<E>>>,
    waker: Option<Waker>,
}

impl<R, E> Reply<R, E> {
    fn state(&self) -> MutexGuard<'_, ReplyState<R, E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poll(&self, waker: Waker) -> Poll<Result<R, BlockingError<E>>> {
        let mut state = self.state();
        if let Some(reply) = state.reply.take() {
            drop(state);
            return Poll::Ready(reply);
        }
        let before = state.waker.replace(waker);
        drop(state);
        drop(before);
        Poll::Pending
    }

    fn set(&self, reply: Result<R, BlockingError<E>>) {
        let mut state = self.state();
        state.reply = Some(reply);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Sends a reply, or that there is none if it is dropped.
struct ReplySender<R, E>(Arc<Reply<R, E>>);

impl<R, E> ReplySender<R, E> {
    fn send(self, reply: Result<R, BlockingError<E>>) {
        self.0.set(reply);
        // The drop would replace the reply.
        std::mem::forget(self);
    }
}

impl<R, E> Drop for ReplySender<R, E> {
    fn drop(&mut self) {
        self.0.set(Err(BlockingError::Dropped));
    }
}

/// The owned form of a [`Write`].
type OwnedWrite<K, V> = (K, Option<Record<V>>);

fn owned<K: Clone, V: Clone>(write: &Write<'_, K, V>) -> OwnedWrite<K, V> {
    match write {
        Write::Insert { key, value, meta } => {
            let Meta { ttl, tags } = *meta;
            ((*key).clone(), Some(Record { value: (*value).clone(), ttl, tags: tags.to_vec() }))
        }
        Write::Remove { key } => ((*key).clone(), None),
    }
}

impl<K, V, T, P> AsyncStore<K, V> for Blocking<T, P>
where
    K: Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    T: Store<K, V> + 'static,
    P: Fn(BlockingJob) + Send + Sync,
{
    type Error = BlockingError<T::Error>;

    async fn get(&self, key: &K) -> Result<Option<Record<V>>, Self::Error> {
        let key = key.clone();
        self.call(move |store| store.get(&key)).await
    }

    async fn get_many(&self, keys: &[K]) -> Result<Vec<(K, Record<V>)>, Self::Error> {
        let keys = keys.to_vec();
        self.call(move |store| store.get_many(&keys)).await
    }

    async fn write(
        &self,
        batch: &[Write<'_, K, V>],
        durability: Durability,
    ) -> Result<(), Self::Error> {
        let batch: Vec<_> = batch.iter().map(owned).collect();
        self.call(move |store| {
            let batch: Vec<_> =
                batch.iter().map(|(key, record)| write_of(key, record.as_ref())).collect();
            store.write(&batch, durability)
        })
        .await
    }

    async fn insert(&self, key: &K, value: &V, meta: Meta<'_>) -> Result<(), Self::Error> {
        let (key, record) = owned(&Write::Insert { key, value, meta });
        self.call(move |store| match &record {
            Some(record) => store.insert(&key, &record.value, record.meta()),
            None => store.remove(&key),
        })
        .await
    }

    async fn remove(&self, key: &K) -> Result<(), Self::Error> {
        let key = key.clone();
        self.call(move |store| store.remove(&key)).await
    }

    async fn flush(&self) -> Result<(), Self::Error> {
        self.call(|store: &T| store.flush()).await
    }

    fn kind(&self, error: &Self::Error) -> ErrorKind {
        match error {
            BlockingError::Store(error) => self.store.kind(error),
            BlockingError::Panicked | BlockingError::Dropped => ErrorKind::Transient,
        }
    }
}
