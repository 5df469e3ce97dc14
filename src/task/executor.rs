//! Loads that run in the background, and the executors that run them.
//!
//! A cache gives each such load away as a [`LoadTask`]. It never relies on what becomes of the task: an
//! executor may run it at once or late, drop it, or keep it for ever. A task that is dropped drops the load,
//! which the cache notices; if it is kept, the cache gives the load up at its bound.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::fmt;
use std::future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::block_on::block_on;
use crate::base::sync::thread;

/// A load that a cache wants to be run in the background, for a [`LoadExecutor`].
///
/// It is a future without an output, which is done when the load has ended: the loader's value or error goes
/// to the cache and not through the task. It has to be [run](Self::run) by a thread, or polled by a runtime
/// until it is done; both suit every task. A task that is dropped before it is done drops the loader. The cache
/// then treats the load as abandoned, and another call may load the key.
///
/// A task may outlive its cache. What it loads is dropped in that case.
///
/// # Panics
/// A loader that panics makes [`run`](Self::run), or the poll, panic. The load has been abandoned by then,
/// so the executor may contain the panic or let it end the thread.
#[must_use = "a task that is dropped loads nothing"]
pub struct LoadTask {
    /// `None` once it is done, or has panicked.
    future: Option<BoxedFuture>,
    is_blocking: bool,
}

type BoxedFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

impl LoadTask {
    /// A task that polls `future`.
    pub(crate) fn of(future: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { future: Some(Box::pin(future)), is_blocking: false }
    }

    /// A task that calls `load`, which may block its thread.
    pub(crate) fn blocking(load: impl FnOnce() + Send + 'static) -> Self {
        let mut load = Some(load);
        let future = future::poll_fn(move |_| {
            if let Some(load) = load.take() {
                let _within = WithinBlocking::enter();
                load();
            }
            Poll::Ready(())
        });
        Self { future: Some(Box::pin(future)), is_blocking: true }
    }

    /// Whether the thread runs a synchronous task at the moment.
    pub(crate) fn is_within_blocking() -> bool {
        BLOCKING.get() > 0
    }

    /// Runs the task, and returns when it is done. While an asynchronous loader waits, the calling thread
    /// sleeps. Works on any thread, inside of runtimes too; but there it keeps the runtime's thread from
    /// doing anything else.
    ///
    /// # Panics
    /// If the loader does.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, LoadTask};
    ///
    /// // An executor that runs each task in a thread of its own.
    /// let cache: Cache<u64, u64> = Cache::builder()
    ///     .capacity(100)
    ///     .load_executor(|task: LoadTask| drop(std::thread::spawn(move || task.run())))
    ///     .build()?;
    /// # Ok::<(), larder::BuildError>(())
    /// ```
    pub fn run(self) {
        block_on(self);
    }

    /// Whether the loader is synchronous. Such a task is done with its first poll, which lasts as long as
    /// the loader does. So a runtime should run it where it may block the thread, as by `spawn_blocking`.
    #[must_use]
    pub fn is_blocking(&self) -> bool {
        self.is_blocking
    }
}

thread_local! {
    /// How many synchronous tasks the thread runs, one within another.
    static BLOCKING: Cell<usize> = const { Cell::new(0) };
}

/// While this exists, the thread runs a synchronous task.
struct WithinBlocking;

impl WithinBlocking {
    fn enter() -> Self {
        BLOCKING.set(BLOCKING.get() + 1);
        Self
    }
}

impl Drop for WithinBlocking {
    fn drop(&mut self) {
        BLOCKING.set(BLOCKING.get() - 1);
    }
}

impl Future for LoadTask {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        // Taken out for the time of the poll, so that a future that has panicked is not polled again.
        let Some(mut future) = self.future.take() else { return Poll::Ready(()) };
        let polled = future.as_mut().poll(context);
        if polled.is_pending() {
            self.future = Some(future);
        }
        polled
    }
}

impl fmt::Debug for LoadTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadTask")
            .field("is_blocking", &self.is_blocking)
            .field("is_done", &self.future.is_none())
            .finish()
    }
}

/// Runs the loads that caches want to be run in the background; for
/// [`Builder::load_executor`](crate::Builder::load_executor).
///
/// Implemented for closures, for `Arc`s of executors, for [`ThreadPerTask`], and with the feature `tokio` for
/// tokio's `Handle`.
///
/// # Examples
/// ```
/// use std::sync::mpsc::{Sender, channel};
/// use larder::{Cache, LoadExecutor, LoadTask};
///
/// /// Sends tasks to a thread that runs them.
/// struct Queue(Sender<LoadTask>);
///
/// impl LoadExecutor for Queue {
///     fn spawn(&self, task: LoadTask) {
///         // If the thread is gone, the task comes back in the error, and is dropped with it.
///         let _ = self.0.send(task);
///     }
/// }
///
/// let (sender, tasks) = channel::<LoadTask>();
/// let thread = std::thread::spawn(move || tasks.into_iter().for_each(LoadTask::run));
/// let cache: Cache<u64, u64> =
///     Cache::builder().capacity(100).load_executor(Queue(sender)).build()?;
/// drop(cache);
/// thread.join().unwrap();
/// # Ok::<(), larder::BuildError>(())
/// ```
pub trait LoadExecutor: Send + Sync {
    /// Takes a task to run it. Called by the thread that wants the load, under no lock and no pin of a cache,
    /// possibly within one of the user's own callbacks.
    ///
    /// It should return soon, because the call that wants the load waits for it. It may run the task before
    /// it returns; then that call takes as long as the loader. It may drop the task, if there are too many:
    /// the load is then given up, and a refresh is tried again later. If it panics, the panic is contained
    /// and counts as a task that was dropped.
    fn spawn(&self, task: LoadTask);
}

impl<F: Fn(LoadTask) + Send + Sync> LoadExecutor for F {
    fn spawn(&self, task: LoadTask) {
        self(task);
    }
}

impl<E: LoadExecutor + ?Sized> LoadExecutor for Arc<E> {
    fn spawn(&self, task: LoadTask) {
        E::spawn(self, task);
    }
}

/// Runs synchronous loads among the runtime's blocking tasks, and polls asynchronous ones among its others.
/// Once the runtime has shut down, tasks are dropped.
#[cfg(feature = "tokio")]
#[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
impl LoadExecutor for tokio::runtime::Handle {
    fn spawn(&self, task: LoadTask) {
        if task.is_blocking() {
            drop(self.spawn_blocking(move || task.run()));
        } else {
            drop(Self::spawn(self, task));
        }
    }
}

/// A [`LoadExecutor`] that starts a thread for each task. Without a bound: as many threads run as loads. If
/// the system starts no thread, the task is dropped.
///
/// # Examples
/// ```
/// use larder::{Cache, ThreadPerTask};
///
/// let cache: Cache<u64, u64> =
///     Cache::builder().capacity(100).load_executor(ThreadPerTask).build()?;
/// # Ok::<(), larder::BuildError>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct ThreadPerTask;

impl LoadExecutor for ThreadPerTask {
    fn spawn(&self, task: LoadTask) {
        let builder = thread::Builder::new().name("larder-load".to_owned());
        // An error drops the closure, and the task with it.
        let _ = builder.spawn(move || task.run());
    }
}

#[cfg(all(test, not(larder_loom)))]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::mpsc::channel;
    use std::task::Waker;

    use super::*;
    use crate::base::sync::{AtomicUsize, Ordering};

    /// Counts its drops.
    struct Counted(Arc<AtomicUsize>);

    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    const fn assert_send<T: Send + Unpin + 'static>() {}
    const _: () = assert_send::<LoadTask>();

    #[test]
    fn a_blocking_task_is_done_with_its_first_poll_and_runs_once() {
        let runs = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&runs);
        let mut task = LoadTask::blocking(move || {
            counter.fetch_add(1, Ordering::SeqCst);
        });
        assert!(task.is_blocking());
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..2 {
            assert_eq!(Pin::new(&mut task).poll(&mut context), Poll::Ready(()));
        }
        task.run();
        assert_eq!(runs.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn dropping_a_task_drops_its_load_and_a_panic_ends_it() {
        let drops = Arc::new(AtomicUsize::new(0));
        let counted = Counted(Arc::clone(&drops));
        drop(LoadTask::blocking(move || drop(counted)));
        let counted = Counted(Arc::clone(&drops));
        drop(LoadTask::of(async move { drop(counted) }));
        assert_eq!(drops.load(Ordering::SeqCst), 2);

        let counted = Counted(Arc::clone(&drops));
        let mut task = LoadTask::of(async move {
            let _counted = counted;
            panic!("a loader");
        });
        let mut context = Context::from_waker(Waker::noop());
        let polled = catch_unwind(AssertUnwindSafe(|| Pin::new(&mut task).poll(&mut context)));
        assert!(polled.is_err());
        assert_eq!(drops.load(Ordering::SeqCst), 3, "the load is dropped with the panic");
        assert_eq!(Pin::new(&mut task).poll(&mut context), Poll::Ready(()));
    }

    #[cfg(feature = "tokio")]
    #[test]
    fn a_task_runs_to_its_end_inside_of_a_runtime() {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        let (sender, done) = channel();
        runtime.block_on(async move {
            let (wake, woken) = channel::<Waker>();
            let other = std::thread::spawn(move || woken.recv().unwrap().wake());
            let mut is_first = true;
            let waiting = future::poll_fn(move |context| {
                if std::mem::take(&mut is_first) {
                    wake.send(context.waker().clone()).unwrap();
                    return Poll::Pending;
                }
                sender.send(()).unwrap();
                Poll::Ready(())
            });
            LoadTask::of(waiting).run();
            other.join().unwrap();
        });
        assert_eq!(done.recv(), Ok(()));
    }
}
