//! The cache itself: every verb that users call.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, Hash};
use std::sync::{Arc, Weak};

use crate::RandomState;
use crate::base::error::{FlushError, Inserted, Rejection};
use crate::base::hash::Hashing;
use crate::base::mode::Maintenance;
use crate::base::stats::{Counter, Stats};
use crate::base::sync::{self, AtomicUsize, Mutex};
use crate::engine::Engine;
use crate::expiry::Expiry;
use crate::maintainer;
use crate::policy::Policy;
use crate::policy::bounds::Bounds;
use crate::reclaim::{self, Tally};
use crate::tags::Tags;

// In the order of use: rustdoc lists `impl` blocks by these modules.
mod basics;
mod insert;
mod fill;
mod remove;
mod remove_entry;
mod invalidate;
mod expire;
mod lazy_expiry;
mod tagged;
mod unevictable;
mod options;
mod weigh;
mod collect;
mod iter;
mod pinned;
#[cfg(feature = "snapshot")]
mod restore;
mod explain;
mod entry_info;
mod introspect;
mod ranking;
mod shadow_report;
mod lookup;
mod executor;
pub(crate) mod lifecycle;

#[cfg(feature = "snapshot")]
pub(crate) use restore::{Arrival, LeftOut, Restored, SavedMeta, Saving};

use lifecycle::Lifecycle;

pub use collect::InsertCounts;
pub use entry_info::{Census, EntryInfo, EntryView, KeyState};
pub use explain::{Explanation, Presence};
pub use fill::Fill;
pub use iter::{Entries, Iter, Keys, Values};
pub use options::{Displaced, InsertOptions};
pub use pinned::Pinned;
pub use ranking::Ranked;

/// A cache that many threads share.
///
/// A `Cache` is a handle: cloning it is cheap, and all clones are one cache. When the last one is
/// dropped, every key and value is dropped before that drop returns; it waits for the maintenance
/// thread, or a job of a listener's executor, that is inside the cache at the moment. (So a key or value
/// must not, in its own `Drop`, wait for another thread that drops the last handle.) Within a listener,
/// or the `Drop` of a key or value, it waits for a quarter of a second at most; then the other thread
/// drops them.
///
/// # Concurrency
/// Lookups are lock-free and, on an entry that is hot, write no memory that threads share.
/// Updates of the table are lock-free, one atomic step each: once `insert` has returned, every
/// thread's lookup finds the value until it is replaced, removed or evicted, and while a value is
/// replaced a lookup finds the old one or the new one. After that step an update reports to its
/// partition's policy; in [background mode](Maintenance::Background) it may have to run or wait
/// for maintenance of the partition when the report's buffer is full, with
/// [inline maintenance](Maintenance::Inline) it always does.
///
/// The key's `Hash` is called outside of everything; its `Eq`, and `Clone` of a value in
/// [`get`](Self::get), run while the calling thread is pinned: what is retired meanwhile, by all
/// caches of the process, is freed later. Keys and values are dropped under no lock and no pin of
/// the cache's own.
///
/// # Bounds
/// Order and bounds are split by hash into [partitions](crate::Builder::partitions), each with an equal
/// share; for entries heavier than that, they lend each other weight. With inline maintenance the bounds
/// hold whenever a call returns. In background mode a
/// partition may hold a sixteenth of its share more, but at least one entry and at most 64, and one
/// for each thread that is within an insertion; writers that would exceed that make room first, or
/// wait for the thread that does so. The excess is gone within a few milliseconds, and after
/// [`run_pending`](Self::run_pending).
///
/// # Memory
/// An entry that was removed, replaced or evicted is freed once no thread can be reading it, by
/// the threads that write and the maintenance thread. See [`Stats::waiting_bytes`],
/// [`flush`](Self::flush), and [`pin`](Self::pin) for what holds it back.
///
/// # Examples
/// ```
/// use larder::Cache;
///
/// let cache = Cache::new(10_000);
/// cache.insert("hello".to_owned(), 5);
/// std::thread::scope(|scope| {
///     scope.spawn(|| assert_eq!(cache.get("hello"), Some(5)));
///     scope.spawn(|| assert_eq!(cache.get("world"), None));
/// });
/// ```
pub struct Cache<K, V, S = RandomState> {
    shared: Arc<Shared<K, V, S>>,
}

struct Shared<K, V, S> {
    engine: Engine<K, V>,
    settings: Settings<K, V, S>,
    /// Handles that there are. The `Arc` cannot tell: the maintenance thread holds some too.
    handles: AtomicUsize,
    lifecycle: Lifecycle,
    #[cfg(all(unix, not(larder_loom)))]
    forks: crate::fork::ForkRegistration,
}

/// Says what an entry weighs.
pub(crate) type Weigher<K, V> = Arc<dyn Fn(&K, &V) -> u32 + Send + Sync>;

/// The most entries that room is made for in advance: 4 GiB of buckets.
pub(crate) const MAX_RESERVED: usize = 1 << 28;

/// What a cache is put together from.
pub(crate) struct Parts<K, V, S> {
    pub(crate) name: Option<Arc<str>>,
    pub(crate) engine: Engine<K, V>,
    pub(crate) hasher: S,
    pub(crate) weigher: Option<Weigher<K, V>>,
    pub(crate) bounds: Bounds,
    pub(crate) expiry: Option<Arc<dyn Expiry<K, V>>>,
    pub(crate) policy: Policy,
    pub(crate) maintenance: Maintenance,
    pub(crate) is_counting_lookups: bool,
}

struct Settings<K, V, S> {
    name: Option<Arc<str>>,
    hashing: Hashing<S>,
    weigher: Option<Weigher<K, V>>,
    /// Held while they are changed.
    bounds: Mutex<Bounds>,
    expiry: Option<Arc<dyn Expiry<K, V>>>,
    tags: Arc<Tags>,
    policy_name: Box<str>,
    /// Whether there is neither a listener nor an [`Expiry`].
    is_unwatched: bool,
    /// Whether lookups are counted, or reported to shadows.
    is_watching_lookups: bool,
    is_counting_lookups: bool,
    /// Where hits are counted, if lookups are and a tally was left.
    hits: Option<Tally>,
    /// Its number, or none that there is.
    hits_at: usize,
    /// Hits are recorded on entries whose counter is below this; no other hit leaves a trace.
    record_hits_below: u16,
}

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    pub(crate) fn assemble(parts: Parts<K, V, S>) -> Self {
        let Parts {
            name,
            engine,
            hasher,
            weigher,
            bounds,
            expiry,
            policy,
            maintenance,
            is_counting_lookups,
        } = parts;
        let is_watching_lookups = is_counting_lookups || engine.shadow.is_some();
        let record_hits_below = match is_watching_lookups {
            true => u16::MAX,
            false => u16::from(engine.record_hits_below()),
        };
        let hits = is_counting_lookups.then(Tally::take).flatten();
        let is_unwatched =
            engine.atomic.is_none() && engine.deliveries.is_none() && expiry.is_none();
        let shared = Arc::new(Shared {
            engine,
            settings: Settings {
                name,
                hashing: Hashing::new(hasher),
                weigher,
                bounds: Mutex::new(bounds),
                expiry,
                tags: Tags::new(),
                policy_name: policy.name().into(),
                is_unwatched,
                is_watching_lookups,
                is_counting_lookups,
                hits_at: hits.as_ref().map_or(usize::MAX, Tally::at),
                hits,
                record_hits_below,
            },
            handles: AtomicUsize::new(1),
            lifecycle: Lifecycle::new(),
            #[cfg(all(unix, not(larder_loom)))]
            forks: crate::fork::ForkRegistration::default(),
        });
        #[cfg(all(unix, not(larder_loom)))]
        lifecycle::outlive_forks(&shared);
        executor::connect_executor(&shared);
        if maintenance == Maintenance::Background {
            let weak: Weak<Shared<K, V, S>> = Arc::downgrade(&shared);
            maintainer::register(weak, &shared.engine.attendance);
        }
        Self { shared }
    }
}

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    fn hash<Q: Hash + ?Sized>(&self, key: &Q) -> u64 {
        self.shared.settings.hashing.hash(key)
    }

    /// Rejects a value that the cache cannot hold and that was to take the place of what is there under
    /// its key, which leaves.
    #[cold]
    fn reject_too_heavy(&self, key: &K, rejection: Rejection, hash: u64) -> Inserted {
        self.remove_with(key, hash, |_| ());
        self.reject_stored(rejection, hash)
    }

    /// Rejects a value whose key is not there now.
    fn reject_stored(&self, rejection: Rejection, hash: u64) -> Inserted {
        if let Some(history) = &self.shared.engine.history {
            history.rejected(hash);
        }
        self.reject(rejection)
    }

    fn reject(&self, rejection: Rejection) -> Inserted {
        self.count(Counter::Rejections, &reclaim::pin());
        Inserted::Rejected(rejection)
    }
}

impl<K, V, S> Cache<K, V, S> {
    /// Number of entries. Exact while nobody writes and, in background mode, after
    /// [`run_pending`](Self::run_pending): entries that maintenance is evicting are counted until
    /// it is done. Entries that no call returns any more are counted as long as they take room: those that
    /// have expired, for up to a [tick](crate::Builder::timer_tick), and those of which a tag was
    /// [invalidated](Self::invalidate_tag). [`census`](Self::census) counts them separately.
    ///
    /// # Complexity
    /// O(partitions).
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.engine.len()
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sum of the weights of all entries that maintenance has seen: all of them with inline
    /// maintenance, and after [`run_pending`](Self::run_pending). It includes the same entries as
    /// [`len`](Self::len).
    #[must_use]
    pub fn weight(&self) -> u64 {
        self.shared.engine.weight()
    }

    /// The name of the cache, if it was [given](crate::Builder::name) one.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::<u32, u32>::builder().name("pages").capacity(100).build()?;
    /// assert_eq!(cache.name(), Some("pages"));
    /// assert!(format!("{cache:?}").contains("pages"));
    /// # Ok::<(), larder::BuildError>(())
    /// ```
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.shared.settings.name.as_deref()
    }

    /// The bound on the number of entries, if there is one.
    #[must_use]
    pub fn capacity(&self) -> Option<usize> {
        sync::lock(&self.shared.settings.bounds).capacity
    }

    /// The bound on the sum of weights, if there is one.
    #[must_use]
    pub fn max_weight(&self) -> Option<u64> {
        sync::lock(&self.shared.settings.bounds).max_weight
    }

    /// The name of the policy.
    #[must_use]
    pub fn policy_name(&self) -> &str {
        &self.shared.settings.policy_name
    }

    /// Number of partitions.
    #[must_use]
    pub fn partitions(&self) -> usize {
        self.shared.engine.partitions()
    }

    /// Does the maintenance that calls which have returned have left. Afterwards the [bounds](Self#bounds)
    /// hold, unless other threads go on inserting. May wait for maintenance that another thread is
    /// running.
    pub fn run_pending(&self) {
        self.shared.engine.run_pending();
    }

    /// Returns once everything that was removed, replaced or evicted before the call has been
    /// dropped and freed, but for entries whose insertion has not returned yet. Waits for drops
    /// that other threads have begun.
    ///
    /// # Errors
    /// [`FlushError`] says what holds it back, if it does not come about within a quarter of a
    /// second without progress: a pin, in this thread or in another one. It is freed later then.
    pub fn flush(&self) -> Result<(), FlushError> {
        self.shared.engine.flush()
    }

    /// What the cache has done so far.
    ///
    /// # Complexity
    /// O(partitions + cores).
    #[must_use]
    pub fn stats(&self) -> Stats {
        let counted = |counter| self.shared.engine.counters.sum(counter);
        let Settings { is_counting_lookups: is_counting, hits, .. } = &self.shared.settings;
        let tallied = || hits.as_ref().map_or(0, Tally::sum);
        Stats {
            hits: is_counting.then(|| counted(Counter::Hits) + tallied()),
            misses: is_counting.then(|| counted(Counter::Misses)),
            ..self.shared.engine.stats()
        }
    }

    /// Panics if an invariant of table, policies or accounts is broken. For tests: only while no
    /// other thread uses the cache.
    #[doc(hidden)]
    pub fn validate(&self) {
        self.shared.engine.validate();
    }
}
