//! Eviction policies: which entry is evicted when the cache is full.
//!
//! A policy is a plain, safe, single-threaded state machine over [`NodeId`]s. It holds no key, no
//! lock and no atomic, reads no clock and does no I/O, so the same code runs in the cache, in a
//! simulator and under a fuzzer. The cache has one instance for each partition and calls it under
//! that partition's lock:
//!
//! ```text
//!   a new key was inserted          → on_insert(id)    evict() comes before or after it, as room() says
//!   the entry was read (Accesses)   → on_access(id)
//!   its value was replaced          → on_update(id)    while over a bound: evict_sparing(id)
//!   the entry expired, or the user
//!     removed it                    → on_remove(id)
//!   an entry must leave             ← evict() = id     no on_remove follows
//! ```
//!
//! Ids are dense, and the id of a removed node is used again, so tables indexed by [`NodeId::index`] are
//! the natural store. [`Nodes`] has whatever else a policy needs to know about a node: its hash, its
//! weight, the counter of its accesses. Ghosts, which remember evicted keys, are kept by hash. A policy
//! that decides about the admission of new entries asks the cache to make room after their insertion
//! ([`Room`]). If it does not admit an entry, it names that entry as the victim.
#![forbid(unsafe_code)]

use std::any::Any;
use std::fmt;
use std::sync::{Arc, LazyLock};

mod simulator;
mod naming;
mod registry;
pub(crate) mod policy_impl;
mod window_tiny_lfu;
mod s3_fifo;
mod sieve;
mod lfu;
mod lru;
mod fifo;
mod hints;
pub(crate) mod key_arrays;
mod ghost_queue;
mod ghost;
mod node_table;
mod sketch;
mod growth;
pub(crate) mod list;
mod budget;
pub(crate) mod bounds;

pub use crate::base::node_id::NodeId;
pub use fifo::Fifo;
pub use hints::Hints;
use hints::NoHints;
pub use lfu::Lfu;
pub use lru::Lru;
pub use registry::register_policy;
pub use s3_fifo::S3Fifo;
pub use sieve::Sieve;
pub use simulator::Simulator;
pub use window_tiny_lfu::WindowTinyLfu;

/// What a policy can ask about the nodes that it holds.
pub trait Nodes {
    /// The key's hash, equal for the same key for as long as the cache lives.
    fn hash(&self, id: NodeId) -> u64;
    /// The entry's weight in units of the cache's `max_weight`; 1 if the cache has no weigher.
    fn weight(&self, id: NodeId) -> u32;
    /// What a miss on the entry's key would cost: how long its value took to load, in nanoseconds, or what
    /// [`InsertOptions::cost`](crate::InsertOptions::cost) has said, exact to an eighth; 0 if it is unknown. In a
    /// cache, it is known only if the policy [asks for it](EvictionPolicy::weighs_costs). Default: 0.
    fn cost_ns(&self, id: NodeId) -> u64 {
        let _ = id;
        0
    }
    /// How often the entry was accessed since it came, or since [`set_frequency`](Self::set_frequency),
    /// saturating; see [`Accesses::Counter`]. An overwrite counts as an access.
    fn frequency(&self, id: NodeId) -> u8;
    /// Sets that counter. A concurrent hit may get lost.
    fn set_frequency(&self, id: NodeId, frequency: u8);
    /// A word for the policy's own use, stored beside the counter; undefined until it is set. An
    /// overwrite keeps it.
    /// Not available with [`Accesses::Order`], where the cache itself uses the word.
    fn scratch(&self, id: NodeId) -> u32;
    /// Sets that word.
    fn set_scratch(&self, id: NodeId, scratch: u32);
}

/// Which accesses a policy is notified of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Accesses {
    /// None: hits are not recorded.
    None,
    /// A counter in each entry, which hits raise up to `max`. The policy reads it with
    /// [`Nodes::frequency`]. Once it has reached `max`, hits to the entry write nothing at all. A new
    /// entry begins with 0, and an overwrite keeps the count and adds one. Two hits at the same time may
    /// count as one, and a demotion by the user sets it to 0.
    Counter {
        /// Where the counter saturates.
        max: u8,
    },
    /// A mark in each entry: [`Nodes::frequency`] is 0, or 1 once the entry was accessed. A hit to
    /// a marked entry writes nothing at all. If the key is in `sample`, [`EvictionPolicy::on_access`]
    /// also reports the hit that set the mark, nearly in order; few of these reports get lost.
    Mark {
        /// The keys whose first marks are reported.
        sample: Sample,
    },
    /// [`EvictionPolicy::on_access`] in the order of accesses. With inline maintenance and one
    /// thread, every access is reported. Otherwise an entry is reported at most once between two runs of
    /// maintenance, and accesses are dropped when their buffer is full.
    Order,
}

/// A part of all keys, chosen by hash: a key is in it always or never, and a smaller sample
/// is a part of every larger one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    below: u32,
}

impl Sample {
    /// The bit of a hash that decides most. A sample of one key in 2^n has those of which this bit and the next
    /// are zero, n bits in all.
    pub(crate) const FIRST_BIT: u32 = 16;
    /// The empty sample.
    pub const NONE: Self = Self { below: 0 };

    /// About `rate` of all keys, from 0 to 1.
    #[must_use]
    pub fn with_rate(rate: f64) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturates, as it should"
        )]
        Self { below: (rate * 2.0_f64.powi(32)) as u32 }
    }

    /// The part of all keys that is in the sample.
    #[must_use]
    pub fn rate(self) -> f64 {
        f64::from(self.below) / 2.0_f64.powi(32)
    }

    /// Whether the key of that hash is in the sample.
    #[inline]
    #[must_use]
    pub const fn contains(self, hash: u64) -> bool {
        // The lowest bits are left out: they choose the bucket. The highest bits choose the partition and
        // are alike in each, so they become the lowest here, which hardly count.
        let bits = (hash >> Self::FIRST_BIT) as u32;
        // The leading zeros alone rule most keys out, and are cheaper to check.
        bits.trailing_zeros() >= self.below.leading_zeros() && bits.reverse_bits() < self.below
    }

    pub(crate) const fn to_raw(self) -> u32 {
        self.below
    }

    pub(crate) const fn from_raw(below: u32) -> Self {
        Self { below }
    }
}

/// A part of what a policy holds, for reports.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Segment {
    /// The policy's name for it: `window`, `probation`, `main` …
    pub name: &'static str,
    /// Entries in it.
    pub entries: usize,
    /// The cost of these entries together, in the unit of the bound that the policy divides: entries; weight
    /// if only weight is bounded; or parts of 2^40 if both are.
    pub cost: u64,
    /// The `cost` that the policy aims at, if it has an aim.
    pub target: Option<u64>,
}

impl Segment {
    /// A segment without a target.
    #[must_use]
    pub const fn new(name: &'static str, entries: usize, cost: u64) -> Self {
        Self { name, entries, cost, target: None }
    }

    /// Adds another partition's segment of that name.
    pub(crate) fn add(&mut self, other: &Self) {
        self.entries += other.entries;
        self.cost = self.cost.saturating_add(other.cost);
        self.target = self.target.zip(other.target).map(|(own, more)| own.saturating_add(more));
    }

    /// The same segment with a target.
    #[must_use]
    pub const fn with_target(mut self, target: u64) -> Self {
        self.target = Some(target);
        self
    }
}

/// When entries leave to make room for a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Room {
    /// Before `on_insert`: a new entry is never the victim of its own insertion.
    BeforeInsert,
    /// After `on_insert`: the policy may name the new entry itself, which does not admit it.
    AfterInsert,
}

/// The bounds that a policy instance is built for.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct PolicyConfig {
    /// The most entries that the instance will hold, apart from the one being inserted.
    pub capacity_entries: Option<usize>,
    /// The most weight that the instance will hold, apart from the entry being inserted. If a cache has
    /// several instances, an instance may hold more, or have to hold less, while one of them holds an entry
    /// that is heavier than this.
    pub max_weight: Option<u64>,
}

impl PolicyConfig {
    /// A configuration with these bounds.
    #[must_use]
    pub fn new(capacity_entries: Option<usize>, max_weight: Option<u64>) -> Self {
        Self { capacity_entries, max_weight }
    }
}

/// Decides which entry is evicted. The [module documentation](self) shows when the cache calls which method.
///
/// Each method should take amortized constant time: it runs under the partition's lock. No method may
/// call the cache that it works for.
pub trait EvictionPolicy: Any + Send {
    /// Which accesses the policy is notified of. Called after construction; of later answers, only the
    /// sample of [`Accesses::Mark`] counts, which an instance may change.
    fn accesses(&self) -> Accesses;

    /// When entries leave to make room for a new one. Called once, after construction. Default:
    /// [`Room::BeforeInsert`].
    fn room(&self) -> Room {
        Room::BeforeInsert
    }

    /// Whether the policy reads [`Nodes::cost_ns`], so that the cache notes how long each value took to load.
    /// Called once, after construction. Default: no.
    fn weighs_costs(&self) -> bool {
        false
    }

    /// `id` is new.
    fn on_insert(&mut self, id: NodeId, nodes: &dyn Nodes);

    /// `id` was read. Called only with [`Accesses::Order`] and, for first marks of sampled keys,
    /// [`Accesses::Mark`]. Default: nothing.
    fn on_access(&mut self, id: NodeId, nodes: &dyn Nodes) {
        let _ = (id, nodes);
    }

    /// The value of `id` was replaced; `nodes` has its new weight, and `old_weight` was its weight before. Default:
    /// nothing.
    fn on_update(&mut self, id: NodeId, old_weight: u32, nodes: &dyn Nodes) {
        let _ = (id, old_weight, nodes);
    }

    /// `id` has left, and the id will be used for another node.
    fn on_remove(&mut self, id: NodeId, nodes: &dyn Nodes);

    /// Forgets one node, whose entry the cache then evicts, and returns it. `None` only if there is no node.
    fn evict(&mut self, nodes: &dyn Nodes) -> Option<NodeId>;

    /// As [`evict`](Self::evict), but returns `spared` only if there is no other node. Called while others
    /// have to leave because the value of `spared` was replaced by a heavier one: it would be useless to
    /// evict the value that was just stored.
    ///
    /// Default: the answer of `evict`; if that is `spared`, its next answer, and `spared` is inserted
    /// again.
    fn evict_sparing(&mut self, spared: NodeId, nodes: &dyn Nodes) -> Option<NodeId> {
        let first = self.evict(nodes)?;
        if first != spared {
            return Some(first);
        }
        let second = self.evict(nodes);
        if second.is_some() {
            self.on_insert(spared, nodes);
        }
        second.or(Some(spared))
    }

    /// The bounds have changed to those of `config`. The policy need not do anything; the cache calls
    /// `evict` for the excess. Default: nothing.
    fn on_resize(&mut self, config: &PolicyConfig, nodes: &dyn Nodes) {
        let _ = (config, nodes);
    }

    /// Names every node, each with a word of the policy's choice, in the order in which
    /// [`on_restore`](Self::on_restore) of another instance should be called to bring that instance into
    /// about the same state. Nodes that it leaves out follow, ranked by their
    /// [`frequency`](Hints::frequency).
    ///
    /// Default: the nodes that [`coldest`](Hints::coldest) names, with 0.
    fn to_restore(&self, nodes: &dyn Nodes, name: &mut dyn FnMut(NodeId, u32)) {
        self.hints().coldest(usize::MAX, nodes, &mut |id| name(id, 0));
    }

    /// `id` is new to this instance, but comes from a snapshot, for which an instance of the same policy
    /// has named it with `word`. It has kept its counter or mark. Default: as `on_insert`.
    fn on_restore(&mut self, id: NodeId, word: u32, nodes: &dyn Nodes) {
        let _ = word;
        self.on_insert(id, nodes);
    }

    /// The policy's hints: the policy itself if it implements [`Hints`]. Default: no hints.
    fn hints(&self) -> &dyn Hints {
        &NoHints
    }
}

type Factory = Arc<dyn Fn(&PolicyConfig) -> Box<dyn EvictionPolicy> + Send + Sync>;

/// The choice of a policy, for [`Builder::policy`](crate::Builder::policy).
#[derive(Clone)]
pub struct Policy {
    name: Arc<str>,
    /// `None` if no policy of that name is known.
    factory: Option<Factory>,
}

impl Policy {
    /// Least recently used: an ordered list; a hit moves its entry to the front.
    #[must_use]
    pub fn lru() -> Self {
        Self::built_in()[0].clone()
    }

    /// Least frequently used, the least recently used among equals.
    #[must_use]
    pub fn lfu() -> Self {
        Self::built_in()[1].clone()
    }

    /// First in, first out: hits change nothing.
    #[must_use]
    pub fn fifo() -> Self {
        Self::built_in()[2].clone()
    }

    /// SIEVE: a queue whose hand passes over the entries that were used since its last visit.
    #[must_use]
    pub fn sieve() -> Self {
        Self::built_in()[3].clone()
    }

    /// S3-FIFO: a small queue tests new entries before they reach the main one.
    #[must_use]
    pub fn s3_fifo() -> Self {
        Self::built_in()[4].clone()
    }

    /// Mirrored window-TinyLFU: new entries pass a window and then have to be more useful than the entry
    /// that would leave for them. It tunes itself, by small simulations of its variants. The default.
    #[must_use]
    pub fn window_tiny_lfu() -> Self {
        Self::built_in()[5].clone()
    }

    /// As [`window_tiny_lfu`](Self::window_tiny_lfu), but an entry is worth the more the longer its value took to
    /// load, and the less the more it weighs: it saves waiting rather than misses. For values whose loads take very
    /// different times.
    ///
    /// The cache measures how long a loader takes; [`InsertOptions::cost`](crate::InsertOptions::cost) says what it
    /// cannot measure. An entry of unknown cost counts like the mean of the others. An overwrite without a cost
    /// makes it unknown, and so does a restart: snapshots have no costs. Shadow caches do not know of costs.
    #[must_use]
    pub fn cost_aware() -> Self {
        Self::built_in()[6].clone()
    }

    /// The policy of that name, in upper or lower case: one of the library, or one that was
    /// [registered](register_policy) before. See [`Policy::names`].
    ///
    /// An unknown name is reported by [`Builder::build`](crate::Builder::build), together with
    /// the names that are known.
    #[must_use]
    pub fn named(name: &str) -> Self {
        registry::find(name).unwrap_or_else(|| Self { name: name.into(), factory: None })
    }

    /// A custom policy: `factory` makes an instance for each partition.
    ///
    /// # Examples
    /// ```
    /// use larder::policy::{Accesses, EvictionPolicy, NodeId, Nodes, Policy};
    ///
    /// /// Evicts the newest entry.
    /// #[derive(Default)]
    /// struct Lifo(Vec<NodeId>);
    ///
    /// impl EvictionPolicy for Lifo {
    ///     fn accesses(&self) -> Accesses { Accesses::None }
    ///     fn on_insert(&mut self, id: NodeId, _: &dyn Nodes) { self.0.push(id) }
    ///     fn on_remove(&mut self, id: NodeId, _: &dyn Nodes) { self.0.retain(|other| *other != id) }
    ///     fn evict(&mut self, _: &dyn Nodes) -> Option<NodeId> { self.0.pop() }
    /// }
    ///
    /// let cache = larder::Cache::builder()
    ///     .capacity(2)
    ///     .policy(Policy::custom("lifo", |_| Box::new(Lifo::default())))
    ///     .maintenance(larder::Maintenance::Inline)
    ///     .build()?;
    /// for key in 0..3 {
    ///     cache.insert(key, ());
    /// }
    /// assert!(cache.contains_key(&0) && cache.contains_key(&2));
    /// # Ok::<(), larder::BuildError>(())
    /// ```
    #[must_use]
    pub fn custom(
        name: &str,
        factory: impl Fn(&PolicyConfig) -> Box<dyn EvictionPolicy> + Send + Sync + 'static,
    ) -> Self {
        Self { name: name.into(), factory: Some(Arc::new(factory)) }
    }

    /// The name of the policy, or the name that was given to [`Policy::named`].
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The names that [`Policy::named`] knows at the moment.
    pub fn names() -> impl Iterator<Item = String> {
        registry::known().into_iter().map(|policy| policy.name.as_ref().to_owned())
    }

    /// The policies of the library, in the order of the constructors above, each of which knows its position.
    /// They are made once, so that two choices of one policy have the same factory.
    fn built_in() -> &'static [Self; 7] {
        static BUILT_IN: LazyLock<[Policy; 7]> = LazyLock::new(|| {
            [
                Policy::custom("lru", |config| Box::new(Lru::new(config))),
                Policy::custom("lfu", |config| Box::new(Lfu::new(config))),
                Policy::custom("fifo", |config| Box::new(Fifo::new(config))),
                Policy::custom("sieve", |config| Box::new(Sieve::new(config))),
                Policy::custom("s3_fifo", |config| Box::new(S3Fifo::new(config))),
                Policy::custom("window_tiny_lfu", |config| Box::new(WindowTinyLfu::new(config))),
                Policy::custom("cost_aware", |config| Box::new(WindowTinyLfu::cost_aware(config))),
            ]
        });
        &BUILT_IN
    }

    /// A new instance; `None` if the name is unknown.
    pub(crate) fn instantiate(&self, config: &PolicyConfig) -> Option<Box<dyn EvictionPolicy>> {
        self.factory.as_ref().map(|factory| factory(config))
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self::window_tiny_lfu()
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Policy").field(&self.name).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Nodes that are hit so often that no counter stays cleared.
    struct BusyNodes {
        frequency: u8,
        cleared: Cell<usize>,
    }

    impl Nodes for BusyNodes {
        fn hash(&self, id: NodeId) -> u64 {
            u64::from(id.to_raw())
        }
        fn weight(&self, _: NodeId) -> u32 {
            7
        }
        fn frequency(&self, _: NodeId) -> u8 {
            self.frequency
        }
        fn set_frequency(&self, _: NodeId, _: u8) {
            self.cleared.set(self.cleared.get() + 1);
        }
        fn scratch(&self, _: NodeId) -> u32 {
            7
        }
        fn set_scratch(&self, _: NodeId, _: u32) {}
    }

    /// How many counters are cleared until each victim is found, of six nodes, one of which is removed.
    fn cleared_until_evicted(policy: &mut dyn EvictionPolicy, frequency: u8) -> Vec<usize> {
        let nodes = BusyNodes { frequency, cleared: Cell::new(0) };
        (0..6).for_each(|id| policy.on_insert(NodeId::from_raw(id), &nodes));
        policy.on_remove(NodeId::from_raw(2), &nodes);
        let evict = |_| policy.evict(&nodes).map(|_| nodes.cleared.take());
        (0..6).map_while(evict).collect()
    }

    #[test]
    fn a_search_ends_even_if_all_nodes_are_hit_all_the_time() {
        let config = PolicyConfig::new(Some(60), None);
        // One round of all nodes, and one more.
        assert_eq!(cleared_until_evicted(&mut Sieve::new(&config), 1), [6, 5, 4, 3, 2]);
        // Once on the way into the main queue, then as many rounds as a counter has steps.
        assert_eq!(cleared_until_evicted(&mut S3Fifo::new(&config), 3), [17, 14, 11, 8, 5]);
    }

    #[test]
    fn lfu_sorts_nodes_that_are_restored_in_any_order() {
        let nodes = BusyNodes { frequency: 0, cleared: Cell::new(0) };
        let mut policy = Lfu::new(&PolicyConfig::new(Some(60), None));
        for (id, count) in [(0, 5), (1, 3), (2, 9), (3, 3), (4, 1), (5, 4), (6, 0)] {
            policy.on_restore(NodeId::from_raw(id), count, &nodes);
        }
        let order: Vec<u32> =
            (0..7).map_while(|_| policy.evict(&nodes)).map(NodeId::to_raw).collect();
        assert_eq!(order, [4, 6, 1, 3, 5, 0, 2]);
    }

    #[test]
    fn a_sample_is_the_part_of_all_keys_that_was_asked_for() {
        for rate in [0.0, 0.001, 0.25, 0.5, 1.0] {
            let sample = Sample::with_rate(rate);
            assert!((sample.rate() - rate).abs() < 1e-9, "{rate}: {}", sample.rate());
            assert_eq!(Sample::from_raw(sample.to_raw()), sample);
            let hashes = (0..20_000_u64).map(|key| sketch::spread(key + 1) >> 16);
            let part = hashes.filter(|hash| sample.contains(*hash)).count() as f64 / 20_000.0;
            assert!((part - rate).abs() < 0.02, "{part} of all instead of {rate}");
        }
    }

    #[test]
    fn the_largest_sample_lacks_one_key_in_billions_and_the_smallest_has_none() {
        let sample = Sample { below: 1 };
        assert!(sample.contains(0) && !sample.contains(1 << 47));
        assert!(!Sample::NONE.contains(0));
        assert!(!Sample::with_rate(1.0).contains(u64::MAX));
        assert_eq!(Sample::with_rate(-1.0), Sample::NONE);
    }

    #[test]
    fn segments_of_partitions_are_added_up() {
        let mut all = Segment::new("main", 2, 20).with_target(100);
        all.add(&Segment::new("main", 3, 40).with_target(7));
        assert_eq!(all, Segment::new("main", 5, 60).with_target(107));
        all.add(&Segment::new("main", 1, u64::MAX).with_target(u64::MAX));
        assert_eq!(all, Segment::new("main", 6, u64::MAX).with_target(u64::MAX));
        all.add(&Segment::new("main", 1, 1));
        assert_eq!(all.target, None, "one part has no target");
    }

    #[test]
    fn default_methods_use_what_a_policy_has_implemented() {
        #[derive(Default)]
        struct Terse(Vec<NodeId>);
        impl EvictionPolicy for Terse {
            fn accesses(&self) -> Accesses {
                Accesses::None
            }
            fn on_insert(&mut self, id: NodeId, _: &dyn Nodes) {
                self.0.push(id);
            }
            fn on_access(&mut self, _: NodeId, _: &dyn Nodes) {}
            fn on_update(&mut self, _: NodeId, _: u32, _: &dyn Nodes) {}
            fn on_remove(&mut self, _: NodeId, _: &dyn Nodes) {}
            fn evict(&mut self, _: &dyn Nodes) -> Option<NodeId> {
                self.0.pop()
            }
            fn hints(&self) -> &dyn Hints {
                self
            }
        }
        impl Hints for Terse {
            fn upcoming(&self, count: usize, name: &mut dyn FnMut(NodeId)) {
                self.0.iter().rev().take(count).for_each(|id| name(*id));
            }
        }
        let nodes = BusyNodes { frequency: 7, cleared: Cell::new(0) };
        let mut policy = Terse::default();
        policy.on_restore(NodeId::from_raw(3), 9, &nodes);
        policy.on_insert(NodeId::from_raw(1), &nodes);
        let mut named = Vec::new();
        policy.hints().coldest(1, &nodes, &mut |id| named.push((id, 5)));
        policy.to_restore(&nodes, &mut |id, word| named.push((id, word)));
        policy.hints().hottest(1, &nodes, &mut |id| named.push((id, 6)));
        assert_eq!(
            named,
            [(NodeId::from_raw(1), 5), (NodeId::from_raw(1), 0), (NodeId::from_raw(3), 0)]
        );
        assert_eq!(policy.hints().frequency(NodeId::from_raw(1), &nodes), 7);
        assert_eq!(policy.hints().segment_of(NodeId::from_raw(1), &nodes), None);
        assert_eq!(policy.hints().segments(), []);
        assert_eq!(policy.room(), Room::BeforeInsert);
    }
}
