//! The near cache for threads without a runtime.

use std::error::Error;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use larder_store::Record;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::runtime::{Handle, Runtime};

use crate::builder::NearBuilder;
use crate::error::{NearBuildError, NearError};
use crate::key::NearKey;
use crate::near_cache::{NearCache, ValueVersion};
use crate::stats::NearStats;

/// A [`NearCache`] whose calls block their threads, with a thread of its own for the connection.
///
/// A read that memory answers does not block. A call that has to ask the server fails with
/// [`NearError::WithinRuntime`] within a tokio runtime, whose thread it would hold up.
pub struct BlockingNearCache<K, V> {
    near: NearCache<K, V>,
    runtime: Arc<OwnRuntime>,
}

/// The runtime of the connection, which ends with the last handle.
struct OwnRuntime(Option<Runtime>);

impl Drop for OwnRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // The drop of a runtime blocks, which panics within another one.
            runtime.shutdown_background();
        }
    }
}

impl<K, V> Clone for BlockingNearCache<K, V> {
    fn clone(&self) -> Self {
        Self { near: self.near.clone(), runtime: Arc::clone(&self.runtime) }
    }
}

impl<K, V> NearBuilder<K, V>
where
    K: NearKey + Hash + Eq + Clone + Send + Sync + 'static,
    V: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
{
    /// Builds a cache for threads without a runtime, and opens its first connection.
    ///
    /// # Errors
    /// If a setting is wrong, if there is no thread for the connection, if a tokio runtime is running here, or
    /// if the server cannot be reached.
    pub fn connect_blocking(self) -> Result<BlockingNearCache<K, V>, NearBuildError> {
        if Handle::try_current().is_ok() {
            return Err(NearBuildError::Connect(NearError::WithinRuntime));
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("larder-near")
            .enable_all()
            .build()
            .map_err(NearBuildError::NoThread)?;
        let near = runtime.block_on(self.connect())?;
        Ok(BlockingNearCache { near, runtime: Arc::new(OwnRuntime(Some(runtime))) })
    }
}

impl<K, V> BlockingNearCache<K, V>
where
    K: NearKey + Hash + Eq + Clone + Send + Sync + 'static,
    V: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
{
    fn wait<T>(&self, call: impl Future<Output = Result<T, NearError>>) -> Result<T, NearError> {
        if Handle::try_current().is_ok() {
            return Err(NearError::WithinRuntime);
        }
        match &self.runtime.0 {
            Some(runtime) => runtime.block_on(call),
            None => Err(NearError::Closed),
        }
    }

    /// The same cache for asynchronous code.
    pub fn as_async(&self) -> &NearCache<K, V> {
        &self.near
    }

    /// As [`NearCache::get`].
    ///
    /// # Errors
    /// As there.
    pub fn get(&self, key: &K) -> Result<Option<V>, NearError> {
        match self.near.get_in_memory(key) {
            Some(value) => Ok(value),
            None => self.wait(self.near.get(key)),
        }
    }

    /// As [`NearCache::get_many`].
    ///
    /// # Errors
    /// As there.
    pub fn get_many(&self, keys: &[K]) -> Result<Vec<Option<V>>, NearError> {
        match self.near.many_in_memory(keys) {
            Ok(values) => Ok(values),
            Err(found) => self.wait(self.near.complete_many(keys, found)),
        }
    }

    /// As [`NearCache::get_or_load`]; the loader runs on this thread, within the runtime of the connection, so
    /// it must not call this cache.
    ///
    /// # Errors
    /// As there.
    pub fn get_or_load<E: Error + Send + Sync + 'static>(
        &self,
        key: &K,
        loader: impl FnOnce() -> Result<Option<Record<V>>, E>,
    ) -> Result<Option<V>, NearError> {
        match self.near.loaded_in_memory(key) {
            Some(held) => Ok(held.into_value()),
            None => self.wait(self.near.get_or_load(key, || std::future::ready(loader()))),
        }
    }

    /// As [`NearCache::set`].
    ///
    /// # Errors
    /// As there.
    pub fn set(&self, key: &K, value: V) -> Result<(), NearError> {
        self.wait(self.near.set(key, value))
    }

    /// As [`NearCache::set_for`].
    ///
    /// # Errors
    /// As there.
    pub fn set_for(&self, key: &K, value: V, time_to_live: Duration) -> Result<(), NearError> {
        self.wait(self.near.set_for(key, value, time_to_live))
    }

    /// As [`NearCache::set_record`].
    ///
    /// # Errors
    /// As there.
    pub fn set_record(&self, key: &K, record: Record<V>) -> Result<(), NearError> {
        self.wait(self.near.set_record(key, record))
    }

    /// As [`NearCache::get_with_version`].
    ///
    /// # Errors
    /// As there.
    pub fn get_with_version(
        &self,
        key: &K,
    ) -> Result<(Option<V>, Option<ValueVersion>), NearError> {
        self.wait(self.near.get_with_version(key))
    }

    /// As [`NearCache::set_if`].
    ///
    /// # Errors
    /// As there.
    pub fn set_if(
        &self,
        key: &K,
        expected: Option<&ValueVersion>,
        record: impl Into<Record<V>>,
    ) -> Result<Option<ValueVersion>, NearError> {
        self.wait(self.near.set_if(key, expected, record))
    }

    /// As [`NearCache::invalidate_tag`].
    ///
    /// # Errors
    /// As there.
    pub fn invalidate_tag(&self, tag: &str) -> Result<(), NearError> {
        self.wait(self.near.invalidate_tag(tag))
    }

    /// As [`NearCache::flush`]. The thread of the connection ends with the last handle, so call this before if writes
    /// may wait.
    ///
    /// # Errors
    /// As there.
    pub fn flush(&self, patience: Duration) -> Result<(), NearError> {
        self.wait(self.near.flush(patience))
    }

    /// As [`NearCache::set_many`].
    ///
    /// # Errors
    /// As there.
    pub fn set_many(&self, entries: impl IntoIterator<Item = (K, V)>) -> Result<(), NearError> {
        self.wait(self.near.set_many(entries))
    }

    /// As [`NearCache::remove_many`].
    ///
    /// # Errors
    /// As there.
    pub fn remove_many(&self, keys: &[K]) -> Result<usize, NearError> {
        self.wait(self.near.remove_many(keys))
    }

    /// As [`NearCache::remove`].
    ///
    /// # Errors
    /// As there.
    pub fn remove(&self, key: &K) -> Result<bool, NearError> {
        self.wait(self.near.remove(key))
    }

    /// As [`NearCache::stats`].
    pub fn stats(&self) -> NearStats {
        self.near.stats()
    }
}

impl<K, V> fmt::Debug for BlockingNearCache<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockingNearCache").field("near", &self.near).finish_non_exhaustive()
    }
}
