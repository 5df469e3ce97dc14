//! The cache itself: every method that users call.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, Hash};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::{Arc, Weak};

use crate::RandomState;
use crate::base::error::{FlushError, Inserted, Rejection};
use crate::base::hash::{Hashing, KeyHash};
use crate::base::histogram::TimeCounts;
use crate::base::mode::Maintenance;
use crate::base::stats::{Counter, Stats};
use crate::base::sync::{self, AtomicUsize, Mutex};
use crate::engine::Engine;
use crate::expiry::{Expiry, LoadingConfig, RefreshRule, Throttle};
use crate::maintainer;
use crate::policy::Policy;
use crate::policy::bounds::Bounds;
use crate::reclaim::{self, Tally};
use crate::tags::{MAX_TAGS, Tags};
use crate::task::Background;

// Rustdoc lists the `impl` blocks of `Cache` in the order of these modules, so it is the order of use.
mod basics; // `get`, `insert`, and the other methods that most users need
mod insert; // insertions with options, and the steps that all insertions share
mod insert_plain; // insertions without options
mod update; // replacing the value of a key by one that is computed from it
mod counters; // numbers that many threads add to
mod entry_api; // `entry`: what a map's entries do, each in one atomic step
mod load; // the value of a key, and if it is missing the one that a loader makes
mod fill; // storing a fetched value, unless its key was changed meanwhile
mod compute; // the steps that updates, counters and entries share
mod remove; // removing one key
mod remove_entry; // removing entries and returning what they held
mod bulk; // looking up, inserting and removing many keys in one call
mod invalidate; // removing many entries: by a predicate, or all
mod expire; // lifetimes of single entries, whether an entry is valid, why it left, and counting that
mod freshness; // values that may be used after their deadlines, and renewing entries
mod lazy_expiry; // removing expired entries where no timer does, and telling in which state a key was
mod tagged; // entries with tags, and invalidating all entries of a tag
mod unevictable; // entries that are never evicted
mod namespaces; // which namespace an entry belongs to, what it holds, and invalidating all of it
#[cfg(feature = "snapshot")]
mod restore; // what a snapshot saves of the entries, and how it puts them back
mod options; // `InsertOptions`, `UpdateOptions`, and what an insertion displaced
mod stored; // what follows when an entry is in the table
mod weigh; // weighing a new entry, and borrowing weight for a heavy one
mod collect; // `to_vec`, `reserve`, `FromIterator`, `Extend`, `Debug`
mod iter; // iterators over entries, keys and values
mod scan; // iteration in steps whose position is a number
mod pinned; // several lookups under one pin
mod explain; // why a key is present or missing
mod entry_info; // reading what the cache knows of entries, and counting them by state
mod introspect; // the hottest and coldest keys, segments, and changing the bounds
mod ranking; // iterating in the order of the policy, and changing the place of an entry
#[cfg(feature = "metrics")]
mod reading; // the numbers of a cache of any types, for metrics
mod shadow_report; // the hit ratios that the shadow caches estimate
mod block; // keys that a bulk verb reads ahead
mod lookup; // the fast path and the slow path of a lookup
mod executor; // jobs in which a listener's executor notifies it
pub(crate) mod lifecycle; // from the first handle to the end of the cache

#[cfg(feature = "snapshot")]
pub(crate) use restore::{Arrival, LeftOut, Restored, SavedMeta, Saving};

use lifecycle::Lifecycle;
pub(crate) use load::{AsyncLoader, BlockingLoader, KnownMissing, Loader};
pub(crate) use namespaces::ChooseNamespace;
#[cfg(feature = "metrics")]
pub(crate) use reading::{CacheReading, Readable};

pub use block::Intent;
pub use bulk::InsertCounts;
pub use compute::{Compute, Computed};
pub use counters::CounterValue;
pub use entry_api::{CacheEntry, ModifyEntry, OccupiedEntry, VacantEntry};
pub use entry_info::{Census, EntryInfo, EntryView, KeyState};
pub use explain::{Explanation, Presence};
pub use fill::Fill;
pub use iter::{Entries, Iter, Keys, Values};
pub use load::{Load, LoadOptions, Loaded};
pub use options::{Displaced, InsertOptions, UpdateOptions};
pub use pinned::Pinned;
pub use ranking::Ranked;

/// A cache that many threads share.
///
/// A `Cache` is a handle: cloning it is cheap, and all clones are the same cache. The drop of the last
/// handle drops every key and value before it returns. If the maintenance thread or a job of a listener's
/// executor is inside the cache at that moment, the drop waits for it. Therefore the `Drop` of a key or value
/// must never wait for a thread that may drop the last handle. Within a listener, or within the `Drop`
/// of a key or value, it waits for at most a quarter of a second; after that, the other thread drops the
/// keys and values.
///
/// # Concurrency
/// Lookups are lock-free, and a lookup of a hot entry writes no memory that threads share.
/// An update changes the table lock-free, in one atomic step. Once `insert` has returned, the lookups of all
/// threads find the value until it is replaced, removed, evicted or expired. While a value is being
/// replaced, a lookup finds the old value or the new one. After that step, the update is reported to the
/// policy of its partition. With [inline maintenance](Maintenance::Inline), the call also runs the
/// partition's maintenance. In [background mode](Maintenance::Background), it does so only when enough
/// reports have gathered, and waits for another thread's run only if there is no room for its report.
///
/// The key's `Hash` is called under no lock and no pin of the cache. Its `Eq`, and the `Clone` of a value in
/// [`get`](Self::get), run while the calling thread is pinned: whatever any cache of the process retires
/// meanwhile is freed later. Keys and values are dropped under no lock and no pin of the cache.
///
/// # Bounds
/// The order of eviction and the bounds are split by hash into
/// [partitions](crate::Builder::partitions), each with an equal share. For an entry heavier than its
/// share, a partition borrows weight from the others. With inline maintenance the bounds hold whenever a
/// call returns. In background mode a partition may exceed its share by an eighth of it (at least one
/// entry, at most 2,048), and by one entry for each thread that is inserting. A writer that would exceed
/// that makes room first, or waits for the thread that does so. The excess is evicted within a few
/// milliseconds; [`run_pending`](Self::run_pending) evicts it at once.
///
/// # Memory
/// An entry that was removed, replaced or evicted is freed once no thread can be reading it. The threads
/// that write and the maintenance thread free it. [`Stats::waiting_bytes`] shows how much waits to be
/// freed, [`flush`](Self::flush) waits for it, and [`pin`](Self::pin) says what delays it.
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
    /// Whether this keeps the cache open. One that is made for a visit does not: the drop of the last handle
    /// waits for the visit instead.
    is_handle: bool,
}

// A panic of user code within a call leaves the cache as the call's documentation says: its own state stays whole.
impl<K, V, S> UnwindSafe for Cache<K, V, S> {}
impl<K, V, S> RefUnwindSafe for Cache<K, V, S> {}

struct Shared<K, V, S> {
    engine: Engine<K, V>,
    settings: Settings<K, V, S>,
    /// The number of handles. The `Arc`'s own count does not serve: the maintenance thread holds some too.
    handles: AtomicUsize,
    lifecycle: Lifecycle,
    #[cfg(all(unix, not(larder_loom)))]
    forks: crate::fork::ForkRegistration,
}

/// Computes the weight of an entry.
pub(crate) type Weigher<K, V> = Arc<dyn Fn(&K, &V) -> u32 + Send + Sync>;

/// The most entries for which buckets are opened in advance: 4 GiB of buckets.
pub(crate) const MAX_RESERVED: usize = 1 << 28;

/// What the builder assembles a cache from.
pub(crate) struct Parts<K, V, S> {
    pub(crate) name: Option<Arc<str>>,
    pub(crate) engine: Engine<K, V>,
    pub(crate) hasher: S,
    pub(crate) weigher: Option<Weigher<K, V>>,
    pub(crate) bounds: Bounds,
    pub(crate) expiry: Option<Arc<dyn Expiry<K, V>>>,
    pub(crate) policy: Policy,
    pub(crate) weighs_costs: bool,
    pub(crate) maintenance: Maintenance,
    pub(crate) is_counting_lookups: bool,
    pub(crate) missing: Option<KnownMissing>,
    pub(crate) background: Background,
    pub(crate) loading: LoadingConfig,
    pub(crate) choose_namespace: Option<ChooseNamespace<K>>,
}

struct Settings<K, V, S> {
    name: Option<Arc<str>>,
    hashing: Hashing<S>,
    weigher: Option<Weigher<K, V>>,
    /// The lock is held while the bounds are changed.
    bounds: Mutex<Bounds>,
    expiry: Option<Arc<dyn Expiry<K, V>>>,
    tags: Arc<Tags>,
    /// How an entry gets its namespace, if there are namespaces and that follows from the key.
    choose_namespace: Option<ChooseNamespace<K>>,
    policy_name: Box<str>,
    /// Whether the policy wants to know how long each value took to load.
    weighs_costs: bool,
    /// Whether there is neither a listener of either kind, nor an [`Expiry`], nor a memory of missing keys.
    is_unwatched: bool,
    /// Whether, in addition, there are no weights, lifetimes, explanations or shadow caches, and maintenance runs in
    /// the background: an insertion without options then only changes the table and reports that.
    is_plain: bool,
    /// Whether lookups are counted, or reported to shadows.
    is_watching_lookups: bool,
    is_counting_lookups: bool,
    /// Where hits are counted, if lookups are counted and a tally was free.
    hits: Option<Tally>,
    /// The number of that tally; `usize::MAX` without one.
    hits_at: usize,
    /// Hits are recorded on entries whose counter is below this; no other hit leaves a trace.
    record_hits_below: u16,
    /// The keys that are known to have no value, if the cache remembers them.
    missing: Option<KnownMissing>,
    /// Where loads run in the background.
    #[allow(dead_code, reason = "for the calls that load")]
    background: Background,
    loading: LoadingConfig,
    /// When values are renewed; `None` if no valid value is.
    refresh_rule: Option<Box<RefreshRule>>,
    /// Which keys are not tried again yet after their loaders have failed.
    throttle: Throttle,
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
            weighs_costs,
            maintenance,
            is_counting_lookups,
            missing,
            background,
            loading,
            choose_namespace,
        } = parts;
        let has_namespaces = engine.quotas.is_some();
        let is_watching_lookups = is_counting_lookups || engine.shadow.is_some();
        let record_hits_below = match is_watching_lookups {
            true => u16::MAX,
            false => u16::from(engine.record_hits_below()),
        };
        let hits = is_counting_lookups.then(Tally::take).flatten();
        let is_unwatched = engine.atomic.is_none()
            && engine.deliveries.is_none()
            && expiry.is_none()
            && missing.is_none();
        let is_plain = is_unwatched && engine.takes_plain_insertions();
        let shared = Arc::new(Shared {
            engine,
            settings: Settings {
                name,
                hashing: Hashing::new(hasher),
                weigher,
                bounds: Mutex::new(bounds),
                expiry,
                // A namespace takes the place of a tag.
                tags: if has_namespaces { Tags::with_limit(MAX_TAGS - 1) } else { Tags::new() },
                choose_namespace,
                policy_name: policy.name().into(),
                weighs_costs,
                is_unwatched,
                is_plain,
                is_watching_lookups,
                is_counting_lookups,
                hits_at: hits.as_ref().map_or(usize::MAX, Tally::at),
                hits,
                record_hits_below,
                missing,
                background,
                loading,
                refresh_rule: RefreshRule::new(&loading).map(Box::new),
                throttle: Throttle::new(loading.throttle()),
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
        Self { shared, is_handle: true }
    }
}

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    fn hash<Q: Hash + ?Sized>(&self, key: &Q) -> KeyHash {
        self.shared.settings.hashing.hash(key)
    }

    /// Rejects a value that the cache cannot hold, and removes the entry that it was to replace.
    #[cold]
    fn reject_and_remove(&self, key: &K, rejection: Rejection, hash: KeyHash) -> Inserted {
        self.remove_reading(key, hash, |_, _| ());
        self.reject_and_note(rejection, hash)
    }

    /// Rejects a value, and notes it in the history, which explains why its key is missing.
    fn reject_and_note(&self, rejection: Rejection, hash: KeyHash) -> Inserted {
        if let Some(history) = &self.shared.engine.history {
            history.rejected(hash);
        }
        self.reject(rejection)
    }

    /// Rejects a value and counts that.
    fn reject(&self, rejection: Rejection) -> Inserted {
        self.count(Counter::Rejections, &reclaim::pin());
        Inserted::Rejected(rejection)
    }
}

impl<K, V, S> Cache<K, V, S> {
    /// The number of entries. It is exact while no thread writes and, in background mode, after
    /// [`run_pending`](Self::run_pending): an entry that maintenance is evicting is counted until
    /// the eviction is done. An entry that is not valid any more is counted as long as it takes room: for up
    /// to a [tick](crate::Builder::timer_tick) if it has expired (or longer, if loads
    /// [may use](crate::Builder::stale_if_error) its value), and until it leaves if one of its tags
    /// was [invalidated](Self::invalidate_tag). [`census`](Self::census) counts these separately.
    ///
    /// # Complexity
    /// O(partitions).
    #[doc(alias("entry_count", "estimated_size", "estimatedSize", "size"))]
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.engine.len()
    }

    /// Whether [`len`](Self::len) is 0.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The sum of the weights of all entries that maintenance has seen. With inline maintenance, and
    /// after [`run_pending`](Self::run_pending), these are the entries that [`len`](Self::len) counts.
    ///
    /// The partitions are read one after the other, so while other threads write, the sum may be one that the cache
    /// never had, even one above the bound.
    #[doc(alias("weighted_size", "weightedSize"))]
    #[must_use]
    pub fn weight(&self) -> u64 {
        self.shared.engine.weight()
    }

    /// The [name](crate::Builder::name) of the cache, if it has one.
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
    #[doc(alias("max_capacity", "getMaximum"))]
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

    /// The number of partitions.
    #[must_use]
    pub fn partitions(&self) -> usize {
        self.shared.engine.partitions()
    }

    /// Does all maintenance that earlier calls have left to do. Afterwards the [bounds](Self#bounds)
    /// hold, unless other threads go on inserting. May wait for another thread that is running
    /// maintenance.
    #[doc(alias("run_pending_tasks", "cleanUp", "clean_up"))]
    pub fn run_pending(&self) {
        self.shared.engine.run_pending();
    }

    /// Returns once every entry that was removed, replaced or evicted before the call has been dropped
    /// and freed, except for entries whose insertion has not returned yet. Waits for drops that other
    /// threads have begun.
    ///
    /// # Errors
    /// [`FlushError`] says what prevents that: a pin of the calling thread; a pin of another thread, or a
    /// call of the listener, that lasts for more than a quarter of a second; or that `flush` was called
    /// from a listener or from the `Drop` of a key or value. The rest is freed later.
    pub fn flush(&self) -> Result<(), FlushError> {
        self.shared.engine.flush()
    }

    /// Statistics of what the cache has done so far.
    ///
    /// # Complexity
    /// O(partitions + cores).
    #[doc(alias = "debug_stats")]
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

    /// How long loads took, failed ones too; `None` unless the cache was built with
    /// [`Builder::load_time_histogram`](crate::Builder::load_time_histogram).
    #[must_use]
    pub fn load_times(&self) -> Option<TimeCounts> {
        self.shared.engine.load_times.as_ref().map(|times| times.read())
    }

    /// How old entries were when they were evicted; `None` unless the cache was built with
    /// [`Builder::eviction_age_histogram`](crate::Builder::eviction_age_histogram). Removed, replaced, expired and
    /// invalidated entries do not count.
    ///
    /// # Complexity
    /// O(partitions).
    #[must_use]
    pub fn eviction_ages(&self) -> Option<TimeCounts> {
        self.shared.engine.eviction_ages()
    }

    /// Panics if an invariant of the table, the policies or the counts is broken. For tests; call it only
    /// while no other thread uses the cache.
    #[doc(hidden)]
    pub fn validate(&self) {
        self.shared.engine.validate();
    }
}
