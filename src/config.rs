//! The builder: the settings of a cache, their checks, and its construction.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, Hash};
use std::marker::PhantomData;
use std::sync::Arc;

use crate::RandomState;
use crate::base::error::BuildError;
use crate::base::mode::Maintenance;
use crate::base::sync;
use crate::cache::{Cache, KnownMissing, MAX_RESERVED, Parts, Weigher};
use crate::engine::evict::Evictor;
use crate::engine::history::RemovalHistory;
use crate::engine::{Engine, EngineConfig, Histograms};
use crate::expiry;
use crate::listener::{AtomicListening, Listen, Listener, Removal};
use crate::maintainer::Attendance;
use crate::policy::bounds::Bounds;
use crate::policy::{Accesses, Policy};
use crate::shadow::{NamespaceShadows, Shadow, ShadowConfig};
use crate::task::Background;

mod time;
mod executor;
mod loading;
mod namespaces;
mod settings;
#[cfg(feature = "serde")]
mod duration_text;

pub use namespaces::Namespaces;
pub use settings::CacheConfig;

/// The smallest share of the capacity that a partition gets by default.
const MIN_ENTRIES: u64 = 1024;
/// The smallest share of the weight if a weigher is set, so that heavy entries fit in a partition.
const MIN_WEIGHT: u64 = 1 << 24;
const MAX_PARTITIONS: usize = 4096;
/// The most removals that can be remembered: as many as a 64-bit table has buckets at most.
const MAX_EXPLAINED: u64 = 1 << 32;
/// The default number of partitions for each core: enough that two writers seldom contend.
const PARTITIONS_PER_CORE: usize = 4;

/// Configures and builds a [`Cache`].
///
/// # Examples
/// ```
/// use larder::{Cache, Policy};
///
/// let cache = Cache::<String, Vec<u8>>::builder()
///     .capacity(100_000)
///     .max_weight(64 << 20)
///     .weigher(|key, value| (key.len() + value.len()).try_into().unwrap_or(u32::MAX))
///     .policy(Policy::lru())
///     .build()?;
/// # Ok::<(), larder::BuildError>(())
/// ```
#[must_use = "a builder does nothing until `build`"]
pub struct Builder<K, V, S = RandomState> {
    name: Option<Arc<str>>,
    capacity: Option<usize>,
    max_weight: Option<u64>,
    initial_capacity: usize,
    weigher: Option<Weigher<K, V>>,
    policy: Policy,
    hasher: S,
    partitions: Option<usize>,
    maintenance: Maintenance,
    is_counting_lookups: bool,
    histograms: Histograms,
    explained: usize,
    shadow: Option<ShadowConfig>,
    time: expiry::ExpiryConfig<K, V>,
    listener: Option<Listener<K, V>>,
    atomic_listener: Option<Arc<Listen<K, V>>>,
    background: Background,
    namespaces: Option<Namespaces<K>>,
    entries: PhantomData<fn(K, V)>,
}

impl<K, V> Default for Builder<K, V> {
    fn default() -> Self {
        Self {
            name: None,
            capacity: None,
            max_weight: None,
            initial_capacity: 0,
            weigher: None,
            policy: Policy::default(),
            hasher: RandomState::new(),
            partitions: None,
            maintenance: Maintenance::default(),
            is_counting_lookups: false,
            histograms: Histograms::default(),
            explained: 0,
            shadow: None,
            time: expiry::ExpiryConfig::default(),
            listener: None,
            atomic_listener: None,
            background: Background::default(),
            namespaces: None,
            entries: PhantomData,
        }
    }
}

impl<K, V, S> Builder<K, V, S> {
    /// Names the cache. [`Cache::name`] returns the name, and `Debug` shows it. Default: no name.
    ///
    /// Several caches may have the same name.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into().into());
        self
    }

    /// Bounds the number of entries. Default: no such bound; then [`max_weight`](Self::max_weight) must be
    /// set. If both are set, both hold.
    ///
    /// 0 switches the cache off: it stores nothing, and every insertion is
    /// [rejected](crate::Rejection::StoresNothing), even if the entry is unevictable or weighs nothing.
    /// [`Stats::rejections`](crate::Stats::rejections) counts these. The cache then has one partition, unless
    /// [`partitions`](Self::partitions) sets another number; [`set_capacity`](Cache::set_capacity) can switch it on.
    ///
    /// A capacity that is never reached costs almost nothing: on 64-bit Linux, macOS and FreeBSD only
    /// address space, elsewhere zeroed memory of the allocator, at most 16 bytes for each entry.
    #[doc(alias("max_capacity", "maximumSize", "maximum_size"))]
    pub fn capacity(mut self, entries: usize) -> Self {
        self.capacity = Some(entries);
        self
    }

    /// Bounds the sum of the entries' weights, in the unit of the [`weigher`](Self::weigher).
    /// Default: no such bound; then weights are only reported. With 0 the cache stores nothing, as with a
    /// [`capacity`](Self::capacity) of 0: not even entries that weigh nothing.
    #[doc(alias("weight_capacity", "maximumWeight", "maximum_weight"))]
    pub fn max_weight(mut self, weight: u64) -> Self {
        self.max_weight = Some(weight);
        self
    }

    /// Prepares the table for that many entries in advance, as [`Cache::reserve`] does at any time.
    /// Default: 0. It may exceed neither a bound nor 2^28.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::builder().capacity(10_000).initial_capacity(10_000).build()?;
    /// cache.insert(1, "found as fast as in a cache that has long been full");
    /// # Ok::<(), larder::BuildError>(())
    /// ```
    #[doc(alias = "estimated_items_capacity")]
    pub fn initial_capacity(mut self, entries: usize) -> Self {
        self.initial_capacity = entries;
        self
    }

    /// Computes the weight of each entry, once, when it is inserted. Default: 1 for each.
    ///
    /// - A weight of 0 does not keep an entry in the cache: the entry takes nothing of
    ///   [`max_weight`](Self::max_weight), but counts in [`capacity`](Self::capacity) and is evicted like
    ///   any other, although that frees no weight. If entries may weigh 0, set a capacity too, because
    ///   the bound on weight does not limit their number. To store an entry that is never evicted, use
    ///   [`insert_unevictable`](Cache::insert_unevictable).
    /// - An entry that is heavier than the whole `max_weight` is
    ///   [rejected](crate::Rejection::TooHeavy); every other one is stored.
    /// - An entry keeps the weight that it was inserted with, even if `weigher` would return another
    ///   weight later.
    /// - Without a bound on the weight, weights are only reported: by [`Cache::weight`],
    ///   [`Cache::census`], [`EntryInfo`](crate::EntryInfo) and [`Stats`](crate::Stats), and to listeners.
    ///
    /// The inserting thread calls `weigher` under no lock. If `weigher` panics, so does the insertion, and
    /// nothing has changed.
    #[doc(alias("weighter", "with_weighter"))]
    pub fn weigher(mut self, weigher: impl Fn(&K, &V) -> u32 + Send + Sync + 'static) -> Self {
        self.weigher = Some(Arc::new(weigher));
        self
    }

    /// Chooses which entry is evicted when a bound is reached. Default: [`Policy::window_tiny_lfu`].
    #[doc(alias = "eviction_policy")]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Hashes keys with `hasher`. Default: a [`RandomState`] with random seeds, different for each builder, so that an
    /// attacker cannot choose keys that collide.
    #[doc(alias("build_with_hasher", "with_hasher"))]
    pub fn hasher<T>(self, hasher: T) -> Builder<K, V, T> {
        Builder {
            name: self.name,
            capacity: self.capacity,
            max_weight: self.max_weight,
            initial_capacity: self.initial_capacity,
            weigher: self.weigher,
            policy: self.policy,
            hasher,
            partitions: self.partitions,
            maintenance: self.maintenance,
            is_counting_lookups: self.is_counting_lookups,
            histograms: self.histograms,
            explained: self.explained,
            shadow: self.shadow,
            time: self.time,
            listener: self.listener,
            atomic_listener: self.atomic_listener,
            background: self.background,
            namespaces: self.namespaces,
            entries: PhantomData,
        }
    }

    /// Splits the order of eviction and the bounds by hash into `partitions` parts: a power of two from 1
    /// to 4096, and no more than a bound allows entries or units of weight, unless a bound is 0. Default:
    /// with inline maintenance one; otherwise four for each core, rounded up to a power of two, but so
    /// few that each gets at least 1,024 entries and 1,024 units of weight (2^24 with a weigher).
    ///
    /// Writers to different partitions do not contend. But each partition has its own share of the bounds,
    /// and evicts when its share is full. For an entry that is heavier than its share, a partition borrows
    /// weight from the others, up to the whole bound, until the entry leaves. Such an insertion visits every
    /// partition and makes the others evict.
    #[doc(alias("shards", "segments"))]
    pub fn partitions(mut self, partitions: usize) -> Self {
        self.partitions = Some(partitions);
        self
    }

    /// Counts hits and misses, for [`Stats::hits`](crate::Stats::hits), [`misses`](crate::Stats::misses) and
    /// [`hit_ratio`](crate::Stats::hit_ratio). Default: they are not counted, and these are `None`, because counting
    /// costs up to a fifth of the rate of hits (the benchmark `compare --workload get --contenders
    /// larder-fifo,larder-fifo-counted` measures it). Everything else in [`Stats`](crate::Stats) is always counted.
    #[doc(alias("recordStats", "record_stats"))]
    pub fn count_lookups(mut self) -> Self {
        self.is_counting_lookups = true;
        self
    }

    /// Keeps a histogram of how long loads take, for [`Cache::load_times`]. Default: none.
    ///
    /// A load then reads the clock exactly when it begins and when it ends, and adds to two counters; otherwise it
    /// reads the clock to a few milliseconds. Calls that load nothing pay nothing.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::builder().capacity(100).load_time_histogram().build()?;
    /// cache.get_or_insert_with(&1, || "one");
    /// assert_eq!(cache.load_times().map(|times| times.count()), Some(1));
    /// # Ok::<(), larder::BuildError>(())
    /// ```
    pub fn load_time_histogram(mut self) -> Self {
        self.histograms.load_times = true;
        self
    }

    /// Keeps a histogram of how old entries are when they are evicted, for [`Cache::eviction_ages`]. Default: none.
    ///
    /// If entries are evicted much younger than the time for which a value is useful, the cache is too small. The
    /// option implies [`keep_ages`](Self::keep_ages), which costs up to 16 bytes for each entry. An eviction then
    /// reads the clock to a few milliseconds and adds to two counters. Lookups pay nothing.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use larder::{Cache, Maintenance};
    ///
    /// let clock = larder::test::FakeClock::new();
    /// let cache = Cache::builder()
    ///     .capacity(1)
    ///     .maintenance(Maintenance::Inline)
    ///     .clock(clock.clone())
    ///     .policy(larder::Policy::lru())
    ///     .eviction_age_histogram()
    ///     .build()?;
    /// cache.insert("old", 1);
    /// clock.advance(Duration::from_secs(40));
    /// cache.insert("new", 2);
    /// let ages = cache.eviction_ages().expect("it was asked for");
    /// assert_eq!(ages.quantile(0.5), Some(Duration::from_secs(60)), "at most a minute");
    /// # Ok::<(), larder::BuildError>(())
    /// ```
    pub fn eviction_age_histogram(mut self) -> Self {
        self.histograms.ages = true;
        self.time.wants_ages = true;
        self
    }

    /// Remembers the last `removals` removals and rejected insertions, and the reason of each, for
    /// [`Cache::explain`](crate::Cache::explain). Default: 0, nothing. At most 2^32.
    ///
    /// It takes 8 bytes for each, on most systems only once they are used, and one atomic addition and one
    /// store for each removal. That costs about a twelfth of the rate at which two threads insert into a
    /// full cache (the benchmark `insert_cost explain` measures it). Hits pay nothing.
    pub fn explain_misses(mut self, removals: usize) -> Self {
        self.explained = removals;
        self
    }

    /// Notifies `listener` of every removal. Default: there is no listener.
    #[doc(alias("eviction_listener", "removalListener", "removal_listener", "Lifecycle"))]
    pub fn listener(mut self, listener: Listener<K, V>) -> Self {
        self.time.wants_ages |= listener.wants_ages;
        self.listener = Some(listener);
        self
    }

    /// Calls `listen` within every removal: after the removal was decided and before it takes effect, and
    /// so before the next insertion of the key is visible. Default: there is no such listener.
    ///
    /// It serves a slower store that must never be behind the cache: if the listener writes each value that leaves to
    /// the store, every thread that misses the value in the cache finds it in the store. Lookups see the old value
    /// until the listener has returned (unless the value has expired), and a new value only afterwards. The listener
    /// is called once for each removal (again only after a panic, see below), in order for each key, with a
    /// [`Removal`]. A cache may have a [`Listener`] too. The thread that removes, or runs maintenance, calls it under
    /// no lock and no pin; meanwhile only threads that change the same key wait.
    ///
    /// The listener may look up entries of the cache. Insertions from within it are rejected
    /// ([`WithinListener`](crate::Rejection::WithinListener)), and removals panic. The same holds for changes
    /// by the conditions of `remove_if` and `retain` and by an [`Expiry`](crate::Expiry), because these run
    /// within the change that calls them. It also holds if a listener, an executor or the drop of a value of
    /// another cache changes a key that another thread is changing, because it would have to wait for that
    /// thread's listener. The listener must not wait for another thread that changes the cache. If it panics,
    /// [`Stats::listener_panics`](crate::Stats::listener_panics) counts that, and the removal goes on. If a
    /// key's `Eq` or an [`Expiry`](crate::Expiry) panics after the listener was called, the entry may stay,
    /// and the listener may be called for it again.
    ///
    /// The cause of a removal is decided when the listener is called: an entry that expires while the
    /// listener runs does not count as expired. The lifetime of a new entry begins when the entry becomes
    /// visible.
    ///
    /// Maintenance does not wait: if another thread is changing the key of a victim, the next victim is
    /// evicted instead. A thread that holds a [`pin`](crate::Cache::pin) of any cache, or is within the `Drop`
    /// of a key or value, evicts nothing. So the bounds may be exceeded until later calls. The listener is
    /// not called for the entries that are in the cache when its last handle is dropped.
    ///
    /// # Cost
    /// Updates are tried twice, and take a lock for a moment before and after. Maintenance evicts one entry
    /// in each run. Each entry takes 16 bytes more, for its age. Lookups pay nothing.
    ///
    /// # Examples
    /// ```
    /// use std::collections::HashMap;
    /// use std::sync::{Arc, Mutex};
    /// use larder::{Cache, Maintenance, Removal};
    ///
    /// let store = Arc::new(Mutex::new(HashMap::new()));
    /// let written = Arc::clone(&store);
    /// let cache: Cache<u32, u32> = Cache::builder()
    ///     .capacity(2)
    ///     .maintenance(Maintenance::Inline)
    ///     .atomic_listener(move |removal: &Removal<'_, u32, u32>| {
    ///         written.lock().unwrap().insert(*removal.key, *removal.value);
    ///     })
    ///     .build()?;
    /// for key in 0..10 {
    ///     cache.insert(key, key * key);
    /// }
    /// for key in 0..10 {
    ///     let value = cache.get(&key).or_else(|| store.lock().unwrap().get(&key).copied());
    ///     assert_eq!(value, Some(key * key));
    /// }
    /// # Ok::<(), larder::BuildError>(())
    /// ```
    #[doc(alias("evictionListener", "on_evict"))]
    pub fn atomic_listener(
        mut self,
        listen: impl Fn(&Removal<'_, K, V>) + Send + Sync + 'static,
    ) -> Self {
        self.atomic_listener = Some(Arc::new(listen));
        self.time.wants_ages = true;
        self
    }

    /// Runs shadow caches of sampled keys beside the cache, which estimate its hit ratio at other capacities
    /// and with other policies; see [`Cache::shadow_report`](crate::Cache::shadow_report). Default: none.
    /// [`ShadowConfig`] says what they cost.
    pub fn shadow(mut self, shadow: ShadowConfig) -> Self {
        self.shadow = Some(shadow);
        self
    }

    /// Chooses which threads do the maintenance. Default: [`Maintenance::Background`].
    pub fn maintenance(mut self, maintenance: Maintenance) -> Self {
        self.maintenance = maintenance;
        self
    }
}

impl<K, V, S> Builder<K, V, S>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    /// Builds the cache.
    ///
    /// # Errors
    /// [`BuildError`] says which setting is wrong, what was given and what is allowed.
    ///
    /// # Panics
    /// If the factory of a [custom policy](Policy::custom) panics, or the policy's method
    /// [`accesses`](crate::policy::EvictionPolicy::accesses).
    pub fn build(self) -> Result<Cache<K, V, S>, BuildError> {
        let cores = sync::cores();
        let partitions = self.check(cores)?;
        self.time.check()?;
        self.listener.iter().try_for_each(|listener| listener.check())?;
        let unknown = || BuildError::UnknownPolicy {
            given: self.policy.name().to_owned(),
            known: Policy::names().collect(),
        };
        let bounds = Bounds { capacity: self.capacity, max_weight: self.max_weight };
        let (quotas, choose_namespace) = self.quotas(bounds, cores)?;
        let attendance = Attendance::new();
        let namespaces = quotas.as_ref().map(|quotas| {
            let (count, wake_state) = (quotas.len(), attendance.wake_state());
            let shadows =
                NamespaceShadows::new(&self.policy, count, self.maintenance, cores, wake_state);
            (quotas, Arc::new(shadows))
        });
        let namespaces = namespaces.as_ref().map(|(quotas, shadows)| (*quotas, shadows));
        let mut evictors = Vec::with_capacity(partitions);
        let (mut accesses, mut weighs_costs) = (None, false);
        for index in 0..partitions {
            let limits = bounds.share(index, partitions);
            let config = bounds.policy_config(limits);
            let policy = self.policy.instantiate(&config).ok_or_else(unknown)?;
            // The first instance speaks for all.
            let accesses = *accesses.get_or_insert_with(|| policy.accesses());
            weighs_costs |= policy.weighs_costs();
            let evictor = Evictor::new(policy, accesses, limits)
                .with_timers(self.time.timers())
                .with_weigher(self.weigher.is_some())
                .with_quotas(namespaces);
            evictors.push(evictor);
        }
        let shadow = self.shadow.as_ref().map(|config| {
            let wake_state = attendance.wake_state();
            Shadow::new(config, &self.policy, bounds, self.maintenance, cores, wake_state)
                .map(Box::new)
        });
        let missing = self.known_missing()?;
        let engine = Engine::new(EngineConfig {
            history: self.history()?,
            shadow: shadow.transpose()?,
            atomic: self.atomic_listener.map(|listen| Box::new(AtomicListening::new(listen))),
            mode: self.maintenance,
            accesses: accesses.unwrap_or(Accesses::None),
            evictors,
            cores,
            timing: self.time.timing(),
            listening: self.listener.map(|listener| Arc::new(listener.listening())),
            attendance,
            known: missing.as_ref().map(KnownMissing::known_keys),
            histograms: self.histograms,
            has_weigher: self.weigher.is_some(),
        });
        engine.reserve(self.initial_capacity);
        Ok(Cache::assemble(Parts {
            name: self.name,
            engine,
            hasher: self.hasher,
            weigher: self.weigher,
            bounds,
            expiry: self.time.expiry,
            policy: self.policy,
            weighs_costs,
            maintenance: self.maintenance,
            is_counting_lookups: self.is_counting_lookups,
            missing,
            background: self.background,
            loading: self.time.loading,
            choose_namespace,
        }))
    }

    fn history(&self) -> Result<Option<Box<RemovalHistory>>, BuildError> {
        let given = self.explained as u64;
        if given == 0 {
            return Ok(None);
        }
        let setting = "explain_misses";
        if given > MAX_EXPLAINED {
            return Err(BuildError::TooLarge { setting, given, limit: MAX_EXPLAINED });
        }
        let history = RemovalHistory::try_new(self.explained);
        let history = history.ok_or(BuildError::OutOfMemory { setting, bytes: given * 8 })?;
        Ok(Some(Box::new(history)))
    }

    /// Checks the bounds, the initial capacity and the partitions; returns the number of partitions.
    fn check(&self, cores: usize) -> Result<usize, BuildError> {
        let bound = match (self.capacity, self.max_weight) {
            (None, None) => return Err(BuildError::Unbounded),
            (capacity, weight) => {
                capacity.map_or(u64::MAX, |entries| entries as u64).min(weight.unwrap_or(u64::MAX))
            }
        };
        let limit = bound.min(MAX_RESERVED as u64);
        if self.initial_capacity as u64 > limit {
            return Err(BuildError::BadInitialCapacity { given: self.initial_capacity, limit });
        }
        match self.partitions {
            None => Ok(self.default_partitions(cores)),
            Some(given) if !given.is_power_of_two() || given > MAX_PARTITIONS => {
                Err(BuildError::BadPartitions { given })
            }
            Some(given) if given as u64 > bound && bound > 0 => {
                Err(BuildError::TooManyPartitions { given, bound })
            }
            Some(given) => Ok(given),
        }
    }

    fn default_partitions(&self, cores: usize) -> usize {
        if self.maintenance == Maintenance::Inline {
            return 1;
        }
        let by_cores = cores.saturating_mul(PARTITIONS_PER_CORE).next_power_of_two();
        let by_entries = self.capacity.map(|entries| entries as u64 / MIN_ENTRIES);
        let least = if self.weigher.is_some() { MIN_WEIGHT } else { MIN_ENTRIES };
        let by_weight = self.max_weight.map(|weight| weight / least);
        let most = by_entries.unwrap_or(u64::MAX).min(by_weight.unwrap_or(u64::MAX)).max(1);
        let most = usize::try_from(most).unwrap_or(MAX_PARTITIONS).min(MAX_PARTITIONS);
        // The largest power of two that is at most `most`.
        by_cores.min(1 << most.ilog2())
    }
}

impl<K, V> Cache<K, V> {
    /// Makes a cache of at most `capacity` entries, with everything else at its default. With 0 it stores
    /// nothing; see [`Builder::capacity`].
    #[must_use]
    pub fn new(capacity: usize) -> Self
    where
        K: Hash + Eq + Send + Sync + 'static,
        V: Send + Sync + 'static,
    {
        match Self::builder().capacity(capacity).build() {
            Ok(cache) => cache,
            Err(error) => unreachable!("every capacity is allowed: {error}"),
        }
    }

    /// A builder, which configures a cache.
    pub fn builder() -> Builder<K, V> {
        Builder::default()
    }
}

impl<K, V, S: Clone> Clone for Builder<K, V, S> {
    /// Makes a builder with the same settings, for one more cache. Both caches call the same closures
    /// (weigher, expiry, listeners), use the same clock, and hash with clones of the same hasher, which have
    /// the same seeds.
    fn clone(&self) -> Self {
        Self {
            name: self.name.clone(),
            weigher: self.weigher.clone(),
            policy: self.policy.clone(),
            hasher: self.hasher.clone(),
            shadow: self.shadow.clone(),
            time: self.time.clone(),
            listener: self.listener.clone(),
            atomic_listener: self.atomic_listener.clone(),
            background: self.background.clone(),
            namespaces: self.namespaces.clone(),
            ..*self
        }
    }
}

impl<K, V, S> std::fmt::Debug for Builder<K, V, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder")
            .field("name", &self.name)
            .field("capacity", &self.capacity)
            .field("max_weight", &self.max_weight)
            .field("initial_capacity", &self.initial_capacity)
            .field("has_weigher", &self.weigher.is_some())
            .field("policy", &self.policy.name())
            .field("partitions", &self.partitions)
            .field("time_to_live", &self.time.time_to_live)
            .field("time_to_idle", &self.time.time_to_idle)
            .field("has_expiry", &self.time.expiry.is_some())
            .field("jitter", &self.time.jitter)
            .field("expires_lazily", &self.time.is_expiry_lazy)
            .field("loading", &self.time.loading)
            .field("listener", &self.listener)
            .field("has_atomic_listener", &self.atomic_listener.is_some())
            .field("load_executor", &self.background)
            .field("maintenance", &self.maintenance)
            .field("counts_lookups", &self.is_counting_lookups)
            .field("histograms", &self.histograms)
            .field("explain_misses", &self.explained)
            .field("shadow", &self.shadow)
            .field("namespaces", &self.namespaces)
            .finish_non_exhaustive()
    }
}
