//! Saving and loading as futures: a new thread does the work, and wakes the task when it is done.
#![forbid(unsafe_code)]

use std::future::Future;
use std::hash::{BuildHasher, Hash};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::thread;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{LoadSummary, RestoreOptions, SaveOptions, Saved, SnapshotError};
use crate::cache::Cache;

/// Runs `work` on a new thread, which starts at once and finishes even if the future is dropped. A panic of
/// `work` passes through the future.
pub(crate) fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> impl Future<Output = io::Result<T>> + Send + 'static {
    let (sender, receiver) = futures_channel::oneshot::channel();
    let started = thread::Builder::new().name("larder-snapshot".to_owned()).spawn(move || {
        // The future may have been dropped.
        let _ = sender.send(catch_unwind(AssertUnwindSafe(work)));
    });
    async move {
        started?;
        match receiver.await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(payload)) => resume_unwind(payload),
            Err(_) => unreachable!("the thread always sends"),
        }
    }
}

impl<K, V, S> Cache<K, V, S>
where
    K: Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: Send + Sync + 'static,
{
    /// As [`save_to_path`](Self::save_to_path), on a new thread, which starts with this call. Works with every
    /// runtime. Dropping the future does not stop the saving.
    ///
    /// # Errors
    /// As `save_to_path`.
    pub fn save_to_path_async(
        &self,
        path: impl Into<PathBuf>,
        options: &SaveOptions,
    ) -> impl Future<Output = Result<Saved, SnapshotError>> + Send + 'static
    where
        K: Serialize + DeserializeOwned,
        V: Serialize + DeserializeOwned,
    {
        let (cache, path, options) = (self.clone(), path.into(), options.clone());
        let done = on_a_thread(move || cache.save_to_path(path, &options));
        async move { done.await? }
    }

    /// As [`load_from_path`](Self::load_from_path), on a new thread, which starts with this call. Works with
    /// every runtime. Dropping the future does not stop the loading.
    ///
    /// # Errors
    /// As `load_from_path`.
    pub fn load_from_path_async(
        &self,
        path: impl Into<PathBuf>,
        options: &RestoreOptions,
    ) -> impl Future<Output = Result<LoadSummary, SnapshotError>> + Send + 'static
    where
        K: Hash + Eq + DeserializeOwned,
        V: DeserializeOwned,
        S: BuildHasher,
    {
        let (cache, path, options) = (self.clone(), path.into(), options.clone());
        let done = on_a_thread(move || cache.load_from_path(path, &options));
        async move { done.await? }
    }
}
