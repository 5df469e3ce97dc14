//! What listeners are given, and how users set them up.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::base::cause::RemovalCause;
use crate::base::error::BuildError;
use crate::base::sync::AtomicU64;

/// A removal, as a [`Listener`] is notified of it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Removal<'r, K, V> {
    /// The key.
    pub key: &'r K,
    /// The removed value. Other threads may be reading it at the same time.
    pub value: &'r V,
    /// The value that replaced it, if the cause is [`RemovalCause::Replaced`]. That value may have been
    /// removed too in the meantime; then the listener is notified of it next.
    pub new_value: Option<&'r V>,
    /// The weight of the entry.
    pub weight: u32,
    /// How old the entry was when the cache recorded its removal. Zero for an entry of unknown age, which exists only
    /// if the listener works [without ages](Listener::without_ages).
    pub age: Duration,
    /// Why it was removed.
    pub cause: RemovalCause,
}

impl<K, V> Clone for Removal<'_, K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for Removal<'_, K, V> {}

/// What happens when removals come faster than the listener handles notifications.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overflow {
    /// Writers wait until there is room. Default.
    ///
    /// A call waits at its end, after it has taken effect. It does not wait inside a listener or
    /// in the `Drop` of a key or value, nor while its thread holds a [pin](crate::Cache::pin). Such
    /// calls can fill the queue up to twice its bound (or twice 64, if that is more), plus 64, plus the
    /// number of entries in the partition; further notifications are dropped and counted. A listener must
    /// not wait for a thread that writes to the cache.
    #[default]
    Block,
    /// Notifications are dropped, and counted in
    /// [`Stats::notifications_dropped`](crate::Stats::notifications_dropped).
    Drop,
}

pub(crate) type Listen<K, V> = dyn Fn(&Removal<'_, K, V>) + Send + Sync;
type Executor = dyn Fn(Box<dyn FnOnce() + Send>) + Send + Sync;

/// A closure that is notified of every removal from a cache, and how it is called; for
/// [`Builder::listener`](crate::Builder::listener).
///
/// # Notifications
/// There is one for every removal: a [`Removal`] with its [`RemovalCause`]. A full queue may lose notifications, as
/// [`Overflow`] says. Those of one key are delivered one after another, in the order of the removals. Those of
/// different keys may be delivered at the same time, on different threads. There is none for the entries that are in
/// the cache when its last handle is dropped; those for earlier removals are delivered before that drop returns.
///
/// # The calling thread
/// Without an [executor](Self::executor), the thread that runs maintenance calls the closure. With
/// [inline maintenance](crate::Maintenance::Inline) that is the call that removed the entry, before it
/// returns (unless another thread is delivering at the moment, or this one holds a pin or is within a
/// listener). In background mode a writer of the same partition or the maintenance thread calls it, within
/// a few milliseconds. [`flush`](crate::Cache::flush) returns after the notifications for all earlier
/// removals.
///
/// The closure is called under no lock of the cache and no pin, and may use the cache. If it removes
/// entries there, it is notified of them after it has returned. It must not expect the removed key to be
/// absent, because another thread may have inserted it again. A panic is counted in
/// [`Stats::listener_panics`](crate::Stats::listener_panics), and the next removal is notified as usual.
///
/// # Cost
/// In a cache with a listener each entry takes 16 bytes more, for its age
/// ([`without_ages`](Self::without_ages) saves them), and an update takes one more
/// atomic operation, to record its place in the order. Removed entries stay in memory until the listener
/// has been notified.
///
/// # Examples
/// ```
/// use std::sync::mpsc;
/// use larder::{Cache, Listener, Maintenance, RemovalCause};
///
/// let (sender, receiver) = mpsc::channel();
/// let cache = Cache::builder()
///     .capacity(2)
///     .maintenance(Maintenance::Inline)
///     .listener(Listener::new(move |removal: &larder::Removal<'_, u32, &str>| {
///         let _ = sender.send((*removal.key, *removal.value, removal.cause));
///     }))
///     .build()?;
/// cache.insert(1, "one");
/// cache.insert(1, "uno");
/// cache.remove(&1);
/// let removals: Vec<_> = receiver.try_iter().collect();
/// assert_eq!(removals, [(1, "one", RemovalCause::Replaced), (1, "uno", RemovalCause::Explicit)]);
/// # Ok::<(), larder::BuildError>(())
/// ```
#[must_use = "a listener does nothing until a cache is built with it"]
pub struct Listener<K, V> {
    listen: Arc<Listen<K, V>>,
    queue: usize,
    overflow: Overflow,
    executor: Option<Arc<Executor>>,
    pub(crate) wants_ages: bool,
}

/// How many notifications may wait, by default.
const QUEUE: usize = 1024;

impl<K, V> Listener<K, V> {
    /// A listener that calls `listen`.
    pub fn new(listen: impl Fn(&Removal<'_, K, V>) + Send + Sync + 'static) -> Self {
        Self {
            listen: Arc::new(listen),
            queue: QUEUE,
            overflow: Overflow::default(),
            executor: None,
            wants_ages: true,
        }
    }

    /// Bounds the notifications that may wait in each partition, and the entries that they keep in
    /// memory. At least 1. Default: 1,024.
    ///
    /// With [`Overflow::Block`], concurrent calls may each exceed the bound by as many notifications as
    /// their runs of maintenance remove entries.
    pub fn queue(mut self, notifications: usize) -> Self {
        self.queue = notifications;
        self
    }

    /// Sets what happens when the queue is full. Default: [`Overflow::Block`].
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }

    /// Does not keep the ages of entries for the listener, which saves 16 bytes for each.
    /// [`Removal::age`] is then zero for entries whose age the cache does not know otherwise
    /// ([`keep_ages`](crate::Builder::keep_ages)).
    pub fn without_ages(mut self) -> Self {
        self.wants_ages = false;
        self
    }

    /// Hands deliveries to `executor` as jobs to run on another thread. Default: the thread that runs
    /// maintenance delivers.
    ///
    /// A job delivers the notifications that wait in one partition when it runs. At most one job for each
    /// partition is handed over and has not begun. `executor` is called where the listener would be, so it
    /// may run the job itself. If it panics, that is counted like a listener's panic. If it panics or drops
    /// a job, the cache hands it another one later. `flush`, the drop of the last handle, and a writer that
    /// finds the queue full and no job handed over deliver the notifications themselves; the first two
    /// also wait for jobs that have begun.
    pub fn executor(
        mut self,
        executor: impl Fn(Box<dyn FnOnce() + Send>) + Send + Sync + 'static,
    ) -> Self {
        self.executor = Some(Arc::new(executor));
        self
    }

    pub(crate) fn check(&self) -> Result<(), BuildError> {
        if self.queue == 0 { Err(BuildError::ZeroListenerQueue) } else { Ok(()) }
    }

    pub(crate) fn listening(self) -> Listening<K, V> {
        Listening {
            listen: self.listen,
            queue: self.queue,
            overflow: self.overflow,
            executor: self.executor,
            panics: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        }
    }
}

impl<K, V> Clone for Listener<K, V> {
    /// Makes another listener that calls the same closures.
    fn clone(&self) -> Self {
        Self {
            listen: Arc::clone(&self.listen),
            queue: self.queue,
            overflow: self.overflow,
            executor: self.executor.clone(),
            wants_ages: self.wants_ages,
        }
    }
}

impl<K, V> fmt::Debug for Listener<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("queue", &self.queue)
            .field("overflow", &self.overflow)
            .field("has_executor", &self.executor.is_some())
            .finish_non_exhaustive()
    }
}

/// The listener of a cache, shared by the channels of its partitions.
pub(crate) struct Listening<K, V> {
    pub(super) listen: Arc<Listen<K, V>>,
    pub(super) queue: usize,
    pub(super) overflow: Overflow,
    pub(crate) executor: Option<Arc<Executor>>,
    pub(crate) panics: AtomicU64,
    pub(crate) delivered: AtomicU64,
    pub(crate) dropped: AtomicU64,
}
