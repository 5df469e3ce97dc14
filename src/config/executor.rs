//! The setting that says where background loads run.
#![forbid(unsafe_code)]

use std::sync::Arc;

use super::Builder;
use crate::task::{Background, LoadExecutor};

impl<K, V, S> Builder<K, V, S> {
    /// Runs background loads, such as refreshes, with `executor`. Default: in a pool that all caches of the
    /// process share.
    ///
    /// The pool has at most 17 threads, which start when they are needed and end when they are idle. It drives
    /// synchronous and asynchronous loaders, and keeps one thread for the asynchronous ones. It takes at most 1,024
    /// synchronous loads that wait for a thread, and at most 16,384 loads altogether; a refresh that finds no room is
    /// skipped, and tried again later. While loaders in the pool wait for loads of other keys, as many more threads,
    /// up to 32, run what is in the queue.
    ///
    /// A future that only works within its runtime, because it uses the runtime's sockets or timers, must be
    /// run there: give tokio's `Handle` (with the feature `tokio`), or a closure that spawns the task. With that
    /// feature, [`build_with_async_loader`](Self::build_with_async_loader) uses the tokio runtime within which it is
    /// called, if no executor is given. A load that a caller waits for runs in that caller, not in the executor, unless
    /// the cache has a [timeout](Self::hard_timeout) for it.
    ///
    /// [`LoadExecutor`] says what an executor may do with a task. Clones of the builder share the executor.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, ThreadPerTask};
    ///
    /// let cache: Cache<u64, String> =
    ///     Cache::builder().capacity(1000).load_executor(ThreadPerTask).build()?;
    /// # Ok::<(), larder::BuildError>(())
    /// ```
    #[doc(alias = "executor")]
    pub fn load_executor(mut self, executor: impl LoadExecutor + 'static) -> Self {
        self.background = Background::User(Arc::new(executor));
        self
    }

    /// Runs background loads in the runtime of tokio within which this is called, if there is one, and if no
    /// executor was given.
    pub(crate) fn load_within_runtime(self) -> Self {
        #[cfg(feature = "tokio")]
        if let (Background::Pool, Ok(runtime)) =
            (&self.background, tokio::runtime::Handle::try_current())
        {
            return self.load_executor(runtime);
        }
        self
    }
}
