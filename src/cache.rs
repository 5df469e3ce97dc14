//! The cache itself: every verb that users call.
#![forbid(unsafe_code)]

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};
use std::sync::{Arc, Weak};

use crate::RandomState;
use crate::config::{Builder, Parts};
use crate::entry::{Entry, EntryPtr, Owned};
use crate::error::{FlushError, Inserted, Rejection};
use crate::evict::Bounds;
use crate::expiry::{Expiry, Lifetime};
use crate::hash::Hashing;
use crate::listener::RemovalCause;
use crate::maintainer;
use crate::maintenance::{Engine, Maintenance};
use crate::reclaim;
use crate::stats::{Counter, Stats};
use crate::sync::{self, AtomicBool, AtomicUsize, Mutex};
use crate::table::{Glance, Step};
use crate::tags::Tags;
use crate::write_buffer::Event;

mod delivery;
mod collect;
mod expiring;
mod explain;
mod inspect;
mod invalidate;
mod order;
mod iter;
mod life;
mod looking;
mod pinned;
mod removing;
mod shadowing;
mod tagged;
mod unevictable;
#[cfg(feature = "snapshot")]
mod restore;
#[cfg(feature = "quick")]
mod states;

#[cfg(feature = "snapshot")]
pub(crate) use restore::{Arrival, LeftOut, Restored, Saving, Seen};
#[cfg(feature = "quick")]
pub(crate) use states::State;

pub use explain::{Explanation, Presence};
pub use inspect::{EntryInfo, EntryView};
pub use iter::{Entries, Iter, Keys, Values};
pub use pinned::Pinned;

/// A cache that many threads share.
///
/// A `Cache` is a handle: cloning it is cheap, and all clones are one cache. When the last one is
/// dropped, every key and value is dropped before that drop returns; it waits for the maintenance
/// thread if that is dropping some at the moment. (So a key or value must not, in its own `Drop`,
/// wait for another thread that drops the last handle.)
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
/// Order and bounds are split by hash into [partitions](Builder::partitions), each with an equal
/// share. With inline maintenance the bounds hold whenever a call returns. In background mode a
/// partition may hold a sixteenth of its share more, but at least one entry and at most 64, and one
/// for each thread that is within an insertion; writers that would exceed that make room first, or
/// wait for who is at it. What is too much is gone within a few milliseconds, and after
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
    parts: Settings<K, V, S>,
    /// Handles that there are. The `Arc` cannot tell: the maintenance thread holds some too.
    handles: AtomicUsize,
    /// Held by the maintenance thread while it looks, and by the end of the cache.
    gate: Mutex<Gate>,
    /// No handle is left.
    is_closed: AtomicBool,
}

struct Settings<K, V, S> {
    hashing: Hashing<S>,
    weigher: Option<crate::config::Weigher<K, V>>,
    /// Held while they are changed.
    bounds: Mutex<Bounds>,
    expiry: Option<Arc<dyn Expiry<K, V>>>,
    tags: Arc<Tags>,
    policy_name: Box<str>,
    maintenance: Maintenance,
    /// Whether lookups are counted, or told to shadows.
    is_watching_lookups: bool,
    is_counting_lookups: bool,
    /// A hit on an entry whose counter stands at this or above leaves no trace, and nobody watches it.
    quiet_from: u16,
}

#[derive(PartialEq, Eq)]
enum Gate {
    Open,
    TornDown,
}

impl<K, V> Cache<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    /// A cache of at most `capacity` entries with everything else at its default.
    ///
    /// # Panics
    /// If `capacity` is 0. [`builder`](Self::builder) reports that as an error instead.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        match Self::builder().capacity(capacity).build() {
            Ok(cache) => cache,
            Err(error) => panic!("{error}"),
        }
    }
}

impl<K, V> Cache<K, V> {
    /// Configures a cache.
    pub fn builder() -> Builder<K, V> {
        Builder::default()
    }
}

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    pub(crate) fn assemble(parts: Parts<K, V, S>) -> Self {
        let Parts {
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
        let quiet_from = match is_watching_lookups {
            true => u16::MAX,
            false => u16::from(engine.recorded_below()),
        };
        let shared = Arc::new(Shared {
            engine,
            parts: Settings {
                hashing: Hashing::new(hasher),
                weigher,
                bounds: Mutex::new(bounds),
                expiry,
                tags: Tags::new(),
                policy_name: policy.name().into(),
                maintenance,
                is_watching_lookups,
                is_counting_lookups,
                quiet_from,
            },
            handles: AtomicUsize::new(1),
            gate: Mutex::new(Gate::Open),
            is_closed: AtomicBool::new(false),
        });
        #[cfg(all(unix, not(larder_loom)))]
        crate::fork::prepare();
        delivery::connect_executor(&shared);
        if maintenance == Maintenance::Background {
            let weak: Weak<Shared<K, V, S>> = Arc::downgrade(&shared);
            maintainer::register(weak);
        }
        Self { shared }
    }
}

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// The value of `key`, cloned.
    ///
    /// Lock-free. Counts as a use of the entry, and as a hit or a miss.
    ///
    /// # Complexity
    /// O(1) expected.
    #[inline]
    pub fn get<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
        V: Clone,
    {
        self.read(key, V::clone)
    }

    /// What `reader` makes of the value of `key`, without cloning it.
    ///
    /// `reader` runs pinned: see [`pin`](Self::pin) for what that holds back, and keep it short.
    /// It may use the cache. Otherwise as [`get`](Self::get).
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(100);
    /// cache.insert("a", vec![1, 2, 3]);
    /// assert_eq!(cache.read("a", |numbers| numbers.len()), Some(3));
    /// ```
    #[inline(always)]
    pub fn read<Q, R>(&self, key: &Q, reader: impl FnOnce(&V) -> R) -> Option<R>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let hash = self.hash(key);
        let Some(mark) = reclaim::pin_marked() else {
            return self.read_on(reclaim::pin(), Glance::Unsure, key, hash, reader);
        };
        match self.look(key, hash, &mark) {
            Ok(entry) => Some(reader(&entry.value)),
            Err(seen) => self.read_on(mark.into(), seen, key, hash, reader),
        }
    }

    /// The value of `key`, cloned, without a trace: neither a use, nor a hit or a miss.
    pub fn peek<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
        V: Clone,
    {
        let hash = self.hash(key);
        let guard = reclaim::pin();
        self.find(key, hash, &guard).map(|(_, entry)| entry.value.clone())
    }

    /// Whether `key` is there; without a trace, like [`peek`](Self::peek).
    pub fn contains_key<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let hash = self.hash(key);
        self.find(key, hash, &reclaim::pin()).is_some()
    }

    /// Pins the calling thread for several lookups, which then cost no pin of their own and
    /// return references.
    ///
    /// A pin costs as much as a lookup, so this pays from a few lookups on. While it lives,
    /// nothing that any larder cache of the process removes, replaces or evicts from now on is
    /// freed: memory grows with the writes of all threads. Hold it for microseconds, not across
    /// anything that waits. [`Stats::reclamation_lag`] shows a pin that is held for long.
    ///
    /// # Examples
    /// ```
    /// let cache: larder::Cache<u32, String> = (0..10).map(|n| (n, n.to_string())).collect();
    /// let pinned = cache.pin();
    /// let total: usize = (0..10).filter_map(|n| pinned.get(&n)).map(|text| text.len()).sum();
    /// assert_eq!(total, 10);
    /// ```
    pub fn pin(&self) -> Pinned<'_, K, V, S> {
        Pinned::new(self, reclaim::pin())
    }

    /// Stores `value` under `key`, in the place of the value that is there, if any.
    ///
    /// Once it has returned, every thread sees the value until it is replaced, removed or
    /// evicted. A key that was there keeps its place in the order as far as the policy says so;
    /// the key object is replaced together with the value.
    ///
    /// # Panics
    /// If the weigher or the key's `Hash` or `Eq` does; nothing has changed then.
    ///
    /// # Complexity
    /// O(1) expected; in background mode one call in up to 32 applies that many to the policy.
    #[inline]
    pub fn insert(&self, key: K, value: V) -> Inserted {
        self.store(key, value, Lifetime::Usual)
    }

    fn store(&self, key: K, value: V, lifetime: Lifetime) -> Inserted {
        if self.is_within_removal() {
            return self.reject(Rejection::WithinListener);
        }
        let hash = self.hash(&key);
        self.shared.engine.table.prefetch_bucket(hash);
        self.shared.engine.prefetch_report(hash);
        let weight = match self.weigh(&key, &value, hash) {
            Ok(weight) => weight,
            Err(rejection) => return self.reject_too_heavy(&key, rejection, hash),
        };
        let new = self.entry(hash, weight, key, value, lifetime);
        self.shared.engine.table.prefetch_entry(hash);
        self.store_entry(new, hash, Some(lifetime))
    }

    /// Puts `new` into the table. Its lifetime is computed anew if `lifetime` says so.
    fn store_entry(&self, mut new: Owned<K, V>, hash: u64, lifetime: Option<Lifetime>) -> Inserted {
        let engine = &self.shared.engine;
        let mut prepared = None;
        loop {
            let mut change = engine.change(hash, prepared.take());
            let guard = reclaim::pin();
            let steps = |new: &Owned<K, V>, step: Step<(EntryPtr, &Entry<K, V>)>| match step {
                Step::Found(old) => {
                    if let Some(lifetime) = lifetime {
                        self.prepare(new, old, lifetime);
                    }
                    match old {
                        None => change.announce(1),
                        Some((old, _)) => {
                            let cause = || self.cause_now(old, RemovalCause::Replaced);
                            change.announce_leaving(0, old, cause)
                        }
                    }
                }
                Step::Failed => {
                    change.withdraw();
                    true
                }
            };
            let (new, old) = match engine.table.upsert(new, steps, &guard) {
                Ok(done) => done,
                Err(unused) => {
                    drop(guard);
                    prepared = change.prepare(Some(unused.value()));
                    new = unused;
                    continue;
                }
            };
            let Some(old) = old else {
                change.made(Event::Inserted(new), RemovalCause::Explicit);
                self.count(Counter::Inserts, &guard);
                drop(guard);
                return Inserted::Added;
            };
            let cause = self.cause_of(old, RemovalCause::Replaced);
            change.made(Event::Replaced { new, old }, cause);
            self.count_gone(old, cause, &guard);
            if cause == RemovalCause::Replaced {
                return Inserted::Replaced;
            }
            // A new entry like any other, not a change of the one that nobody saw any more.
            self.count(Counter::Inserts, &guard);
            return Inserted::Added;
        }
    }

    /// Stores `value` under `key` unless the key is there: then
    /// [`Present`](Rejection::Present). Of several threads that try at once, one adds its value.
    ///
    /// # Panics
    /// As [`insert`](Self::insert).
    pub fn insert_if_absent(&self, key: K, value: V) -> Inserted {
        self.store_if_absent(key, value, Lifetime::Usual)
    }

    fn store_if_absent(&self, key: K, value: V, lifetime: Lifetime) -> Inserted {
        if self.is_within_removal() {
            return self.reject(Rejection::WithinListener);
        }
        let hash = self.hash(&key);
        if self.find(&key, hash, &reclaim::pin()).is_some() {
            return self.reject(Rejection::Present);
        }
        let weight = match self.weigh(&key, &value, hash) {
            Ok(weight) => weight,
            Err(rejection) => return self.reject_stored(rejection, hash),
        };
        let mut new = self.entry(hash, weight, key, value, lifetime);
        self.prepare(&new, None, lifetime);
        let engine = &self.shared.engine;
        let mut prepared = None;
        loop {
            let mut removal = engine.change(hash, prepared.take());
            let mut change = engine.change_within(hash);
            let guard = reclaim::pin();
            let steps = |step: Step<(EntryPtr, &Entry<K, V>)>| match step {
                Step::Found(_) => change.announce(1),
                Step::Failed => {
                    change.withdraw();
                    true
                }
            };
            match engine.table.insert_if_absent(new, steps, &guard) {
                Ok(new) => {
                    change.made(Event::Inserted(new), RemovalCause::Explicit);
                    // Leaves the gate.
                    drop(removal);
                    self.count(Counter::Inserts, &guard);
                    return Inserted::Added;
                }
                Err((unused, None)) => {
                    drop(guard);
                    drop(removal);
                    change.prepare(None);
                    new = unused;
                }
                Err((unused, Some(present))) if self.is_valid(present) => {
                    drop(guard);
                    drop(unused);
                    return self.reject(Rejection::Present);
                }
                Err((unused, Some(fallen))) => {
                    new = unused;
                    let cause = || self.cause_now(fallen, RemovalCause::Explicit);
                    if !removal.announce_leaving(-1, fallen, cause) {
                        drop(guard);
                        prepared = removal.prepare(None);
                    } else if engine.table.remove_entry(fallen, &guard) {
                        let cause = self.cause_of(fallen, RemovalCause::Explicit);
                        removal.removed(fallen, cause);
                        self.count_gone(fallen, cause, &guard);
                    }
                }
            }
        }
    }

    /// Stores `value` under `key` if the key is there; else [`Absent`](Rejection::Absent). A key
    /// that expires while the call runs may still count as there.
    ///
    /// # Panics
    /// As [`insert`](Self::insert).
    pub fn replace(&self, key: K, value: V) -> Inserted {
        self.store_if_present(key, value, Lifetime::Usual)
    }

    fn store_if_present(&self, key: K, value: V, lifetime: Lifetime) -> Inserted {
        if self.is_within_removal() {
            return self.reject(Rejection::WithinListener);
        }
        let hash = self.hash(&key);
        if self.find(&key, hash, &reclaim::pin()).is_none() {
            return self.reject(Rejection::Absent);
        }
        let weight = match self.weigh(&key, &value, hash) {
            Ok(weight) => weight,
            Err(rejection) => return self.reject_too_heavy(&key, rejection, hash),
        };
        let mut new = self.entry(hash, weight, key, value, lifetime);
        let engine = &self.shared.engine;
        let mut prepared = None;
        loop {
            let mut change = engine.change(hash, prepared.take());
            let guard = reclaim::pin();
            // What was told leaves, even if it has expired since.
            let told = change.told();
            let is_valid = |present| told == Some(present) || self.is_valid(present);
            let steps = |new: &Owned<K, V>, step: Step<(EntryPtr, &Entry<K, V>)>| match step {
                Step::Found(old) => {
                    self.prepare(new, old, lifetime);
                    match old {
                        None => change.announce(0),
                        Some((old, _)) => {
                            change.announce_leaving(0, old, || RemovalCause::Replaced)
                        }
                    }
                }
                Step::Failed => {
                    change.withdraw();
                    true
                }
            };
            match engine.table.replace(new, is_valid, steps, &guard) {
                Ok((new, old)) => {
                    change.made(Event::Replaced { new, old }, RemovalCause::Replaced);
                    self.count(Counter::Replacements, &guard);
                    return Inserted::Replaced;
                }
                Err(unused) if change.is_unprepared() => {
                    drop(guard);
                    prepared = change.prepare(Some(unused.value()));
                    new = unused;
                }
                Err(unused) => {
                    drop(guard);
                    drop(unused);
                    return self.reject(Rejection::Absent);
                }
            }
        }
    }

    fn hash<Q: Hash + ?Sized>(&self, key: &Q) -> u64 {
        self.shared.parts.hashing.hash(key)
    }

    fn weigh(&self, key: &K, value: &V, hash: u64) -> Result<u32, Rejection> {
        let weight = self.shared.parts.weigher.as_ref().map_or(1, |weigher| weigher(key, value));
        let limit = self.shared.engine.max_weight(hash);
        if u64::from(weight) > limit {
            return Err(Rejection::TooHeavy { weight: u64::from(weight), limit });
        }
        Ok(weight)
    }

    /// Rejects a value that was to take the place of what is there under its key, which leaves.
    #[cold]
    fn reject_too_heavy(&self, key: &K, rejection: Rejection, hash: u64) -> Inserted {
        self.remove_with(key, hash, |_| ());
        self.reject_stored(rejection, hash)
    }

    /// Rejects a value whose key is not there now.
    fn reject_stored(&self, rejection: Rejection, hash: u64) -> Inserted {
        if let Some(recent) = &self.shared.engine.recent {
            recent.rejected(hash);
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
    /// it is through.
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
    /// maintenance, and after [`run_pending`](Self::run_pending).
    #[must_use]
    pub fn weight(&self) -> u64 {
        self.shared.engine.weight()
    }

    /// The bound on the number of entries, if there is one.
    #[must_use]
    pub fn capacity(&self) -> Option<usize> {
        sync::lock(&self.shared.parts.bounds).capacity
    }

    /// The bound on the sum of weights, if there is one.
    #[must_use]
    pub fn max_weight(&self) -> Option<u64> {
        sync::lock(&self.shared.parts.bounds).max_weight
    }

    /// The name of the policy.
    #[must_use]
    pub fn policy_name(&self) -> &str {
        &self.shared.parts.policy_name
    }

    /// Number of partitions.
    #[must_use]
    pub fn partitions(&self) -> usize {
        self.shared.engine.partitions()
    }

    /// Applies everything that calls which returned before have left to maintenance. Afterwards
    /// the [bounds](Self#bounds) hold, unless other threads go on inserting. May wait for
    /// maintenance that is under way.
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
        self.shared.engine.stats()
    }

    /// Panics if an invariant of table, policies or accounts is broken. For tests: only while no
    /// other thread uses the cache.
    #[doc(hidden)]
    pub fn validate(&self) {
        self.shared.engine.validate();
    }
}
