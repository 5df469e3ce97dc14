//! One policy instance and the keys that it orders, without values, threads or a concurrent table.
//!
//! A simulator calls the policy as a cache does under its partition's lock, in the same order, but at once
//! and for keys alone. It answers the question whether a request would have been a hit. Simulations,
//! shadow caches and the policies' own tests run the same policy code as caches.
#![forbid(unsafe_code)]

use std::fmt;
use std::time::Duration;

use super::node_table::NodeTable;
use super::{Accesses, EvictionPolicy, NodeId, Nodes, Policy, PolicyConfig, Room, Sample, Segment};
use crate::base::error::{BuildError, Inserted, Rejection};
use crate::base::load_time::LoadTime;

/// A cache of keys, each identified by its hash, in the order of one policy.
///
/// Deterministic, and equal, request by request, to a [`Cache`](crate::Cache) with inline
/// maintenance and one partition whose keys have these hashes. A key *is* its hash: two keys of
/// equal hash are one key here. Policies rely on the bits of a hash to be random, so numbers have to be
/// hashed before they are used as keys.
///
/// For one thread. A panic of the policy is propagated, and the simulator must not be used afterwards. If
/// the policy names no victim, or one that it does not hold, this is counted in
/// [`faults`](Self::faults), and some node leaves.
///
/// # Complexity
/// O(1) expected a call, plus the policy's time; 30 to 60 bytes a key, plus the policy's memory.
///
/// # Examples
/// ```
/// use larder::policy::{Policy, PolicyConfig, Simulator};
///
/// let mut cache = Simulator::new(&Policy::lru(), PolicyConfig::new(Some(2), None))?;
/// let hits = [1, 2, 1, 3, 1, 2].map(|key| cache.request(key, 1));
/// assert_eq!(hits, [false, false, true, false, true, false]);
/// # Ok::<(), larder::BuildError>(())
/// ```
pub struct Simulator {
    policy: Box<dyn EvictionPolicy>,
    accesses: Accesses,
    room: Room,
    nodes: NodeTable,
    max_entries: usize,
    max_weight: u64,
    evictions: u64,
    faults: u64,
    /// Where the search for a victim continues if the policy names none.
    fallback: usize,
}

impl Simulator {
    /// A simulator with an instance of `policy` and the bounds of `config`.
    ///
    /// # Errors
    /// [`BuildError`] if there is no bound, a bound is 0, or the policy is unknown.
    pub fn new(policy: &Policy, config: PolicyConfig) -> Result<Self, BuildError> {
        let instance = policy.instantiate(&config).ok_or_else(|| BuildError::UnknownPolicy {
            given: policy.name().to_owned(),
            known: Policy::names().collect(),
        })?;
        Self::with_instance(instance, config)
    }

    /// A simulator with an instance that was built for `config`.
    ///
    /// # Errors
    /// [`BuildError`] if there is no bound or a bound is 0.
    pub fn with_instance(
        policy: Box<dyn EvictionPolicy>,
        config: PolicyConfig,
    ) -> Result<Self, BuildError> {
        let (max_entries, max_weight) = bounds(config)?;
        Ok(Self {
            accesses: policy.accesses(),
            room: policy.room(),
            policy,
            nodes: NodeTable::default(),
            max_entries,
            max_weight,
            evictions: 0,
            faults: 0,
            fallback: 0,
        })
    }

    /// Looks the key up and inserts it on a miss, as read-through does. Returns whether it was a hit.
    #[inline]
    pub fn request(&mut self, hash: u64, weight: u32) -> bool {
        self.request_costing(hash, weight, Duration::ZERO)
    }

    /// As [`request`](Self::request), for a key whose value takes `cost` to load, which is 0 if it is unknown.
    #[inline]
    pub fn request_costing(&mut self, hash: u64, weight: u32, cost: Duration) -> bool {
        let is_hit = self.get(hash);
        if !is_hit {
            let _ = self.insert_costing(hash, weight, cost);
        }
        is_hit
    }

    /// Looks the key up, which counts as a use. Returns whether it was a hit.
    #[inline]
    pub fn get(&mut self, hash: u64) -> bool {
        let Some(id) = self.nodes.find(hash) else { return false };
        match self.accesses {
            Accesses::None => {}
            Accesses::Counter { max } => self.nodes.raise_frequency(id, max),
            Accesses::Mark { sample } => {
                if self.nodes.frequency(id) == 0 {
                    self.nodes.set_frequency(id, 1);
                    if sample.contains(hash) {
                        self.policy.on_access(id, &self.nodes);
                        self.update_sample();
                    }
                }
            }
            Accesses::Order => self.policy.on_access(id, &self.nodes),
        }
        true
    }

    /// Whether the key is there. Does not count as a use.
    #[must_use]
    pub fn contains(&self, hash: u64) -> bool {
        self.nodes.find(hash).is_some()
    }

    /// Inserts the key, or replaces its weight, which counts as a use.
    ///
    /// A key that is heavier than the bound on weight is not stored, and removed if it was there; see
    /// [`Rejection::TooHeavy`].
    pub fn insert(&mut self, hash: u64, weight: u32) -> Inserted {
        self.insert_costing(hash, weight, Duration::ZERO)
    }

    /// As [`insert`](Self::insert), with what a miss on the key costs: see [`Nodes::cost_ns`].
    pub fn insert_costing(&mut self, hash: u64, weight: u32, cost: Duration) -> Inserted {
        if u64::from(weight) > self.max_weight {
            self.remove(hash);
            let (weight, limit) = (u64::from(weight), self.max_weight);
            return Inserted::Rejected(Rejection::TooHeavy { weight, limit });
        }
        let (outcome, spared) = match self.nodes.find(hash) {
            Some(id) => {
                self.update(id, weight, LoadTime::of(cost));
                (Inserted::Replaced, Some(id))
            }
            None => {
                self.add(hash, weight, LoadTime::of(cost));
                (Inserted::Added, None)
            }
        };
        while self.is_over() && self.evict_sparing(spared) {}
        self.update_sample();
        outcome
    }

    /// Removes the key, as a user does. Returns whether it was there.
    pub fn remove(&mut self, hash: u64) -> bool {
        let Some(id) = self.nodes.find(hash) else { return false };
        self.policy.on_remove(id, &self.nodes);
        self.nodes.take(id);
        true
    }

    /// Removes every key for which `is_kept` does not hold. O(n).
    pub fn retain(&mut self, mut is_kept: impl FnMut(u64) -> bool) {
        let hashes = self.nodes.iter().map(|(_, hash)| hash);
        let unwanted: Vec<u64> = hashes.filter(|hash| !is_kept(*hash)).collect();
        for hash in unwanted {
            self.remove(hash);
        }
    }

    /// Changes the bounds; the excess leaves at once.
    ///
    /// # Errors
    /// As [`with_instance`](Self::with_instance). The bounds are then unchanged.
    pub fn resize(&mut self, config: PolicyConfig) -> Result<(), BuildError> {
        (self.max_entries, self.max_weight) = bounds(config)?;
        self.policy.on_resize(&config, &self.nodes);
        while self.is_over() && self.evict() {}
        self.update_sample();
        Ok(())
    }

    /// Number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.len() == 0
    }

    /// The weights of all keys together.
    #[must_use]
    pub fn weight(&self) -> u64 {
        self.nodes.total_weight()
    }

    /// The number of keys that were evicted.
    #[must_use]
    pub fn evictions(&self) -> u64 {
        self.evictions
    }

    /// How often the policy named no victim, or one that it did not hold.
    #[must_use]
    pub fn faults(&self) -> u64 {
        self.faults
    }

    /// The segments into which the policy divides the keys.
    #[must_use]
    pub fn segments(&self) -> Vec<Segment> {
        self.policy.hints().segments()
    }

    /// The bytes that the simulator has allocated for the keys. The policy's memory is not included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.nodes.bytes()
    }

    fn add(&mut self, hash: u64, weight: u32, cost: LoadTime) {
        let lacks_room = |simulator: &Self| {
            !simulator.is_empty()
                && (simulator.len() >= simulator.max_entries
                    || simulator.weight() + u64::from(weight) > simulator.max_weight)
        };
        if self.room == Room::BeforeInsert {
            while lacks_room(self) && self.evict() {}
        }
        let id = self.nodes.add(hash, weight, cost);
        self.policy.on_insert(id, &self.nodes);
    }

    fn update(&mut self, id: NodeId, weight: u32, cost: LoadTime) {
        let old_weight = self.nodes.weight(id);
        self.nodes.set_weight(id, weight);
        self.nodes.set_cost(id, cost);
        match self.accesses {
            Accesses::Counter { max } => self.nodes.raise_frequency(id, max),
            Accesses::Mark { .. } => self.nodes.set_frequency(id, 1),
            Accesses::None | Accesses::Order => {}
        }
        self.policy.on_update(id, old_weight, &self.nodes);
    }

    #[inline]
    fn is_over(&self) -> bool {
        self.len() > self.max_entries || self.weight() > self.max_weight
    }

    /// Evicts one node; false if there is none.
    fn evict(&mut self) -> bool {
        self.evict_sparing(None)
    }

    fn evict_sparing(&mut self, spared: Option<NodeId>) -> bool {
        let named = match spared {
            None => self.policy.evict(&self.nodes),
            Some(spared) => self.policy.evict_sparing(spared, &self.nodes),
        };
        let has_left = named.and_then(|id| self.nodes.take(id)).is_some() || self.evict_any();
        self.evictions += u64::from(has_left);
        has_left
    }

    #[cold]
    fn evict_any(&mut self) -> bool {
        let Some(id) = self.nodes.first_from(self.fallback) else { return false };
        self.faults += 1;
        self.fallback = id.index() + 1;
        self.policy.on_remove(id, &self.nodes);
        self.nodes.take(id);
        true
    }

    /// Asks the policy for its sample, which it may have changed.
    #[inline]
    fn update_sample(&mut self) {
        if let Accesses::Mark { sample } = self.accesses
            && sample != Sample::NONE
        {
            self.accesses = self.policy.accesses();
        }
    }
}

impl fmt::Debug for Simulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulator")
            .field("len", &self.len())
            .field("weight", &self.weight())
            .field("max_entries", &self.max_entries)
            .field("max_weight", &self.max_weight)
            .finish_non_exhaustive()
    }
}

/// The bounds on entries and weight, `MAX` where there is none.
fn bounds(config: PolicyConfig) -> Result<(usize, u64), BuildError> {
    match (config.capacity_entries, config.max_weight) {
        (None, None) => Err(BuildError::Unbounded),
        (Some(0), _) => Err(BuildError::ZeroCapacity),
        (_, Some(0)) => Err(BuildError::ZeroWeight),
        (entries, weight) => Ok((entries.unwrap_or(usize::MAX), weight.unwrap_or(u64::MAX))),
    }
}

#[cfg(test)]
mod golden;

#[cfg(test)]
mod tests {
    use std::hash::Hasher;

    use super::*;
    use crate::base::hash::Hashing;
    use crate::{Cache, Maintenance};

    /// Hashes a number to itself. The cache mixes the hash afterwards.
    #[derive(Clone, Default)]
    struct Identity;

    #[derive(Default)]
    struct IdentityHasher(u64);

    impl Hasher for IdentityHasher {
        fn write(&mut self, bytes: &[u8]) {
            self.0 = bytes.iter().fold(self.0, |all, byte| all << 8 | u64::from(*byte));
        }

        fn write_u64(&mut self, number: u64) {
            self.0 = number;
        }

        fn finish(&self) -> u64 {
            self.0
        }
    }

    impl std::hash::BuildHasher for Identity {
        type Hasher = IdentityHasher;

        fn build_hasher(&self) -> IdentityHasher {
            IdentityHasher::default()
        }
    }

    pub(super) fn random(state: &mut u64) -> u64 {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        *state >> 33
    }

    fn policies() -> Vec<Policy> {
        Policy::names().map(|name| Policy::named(&name)).collect()
    }

    /// Does the same lookups, inserts, replacements and removals in a cache and a simulator, with or without
    /// weights, and compares all answers.
    fn assert_agreement(policy: &Policy, config: PolicyConfig, seed: u64) {
        let label = format!("{policy:?}, {config:?}, seed {seed}");
        let mut builder = Cache::<u64, u32>::builder()
            .policy(policy.clone())
            .maintenance(Maintenance::Inline)
            .partitions(1);
        if let Some(capacity) = config.capacity_entries {
            builder = builder.capacity(capacity);
        }
        if let Some(max_weight) = config.max_weight {
            builder = builder.max_weight(max_weight).weigher(|_, weight| *weight);
        }
        let cache = builder.hasher(Identity).build().unwrap();
        let hashing = Hashing::new(Identity);
        let mut simulator = Simulator::new(policy, config).unwrap();
        let mut state = seed;
        let mut hits = 0;
        for step in 0..20_000 {
            // The smaller of two random keys, so that low keys are popular.
            let key = (random(&mut state) % 64).min(random(&mut state) % 64);
            let weight = (random(&mut state) % 7) as u32;
            let weighed = if config.max_weight.is_some() { weight } else { 1 };
            let hash = hashing.hash(&key).raw();
            let at = || format!("step {step}, key {key}: {label}");
            match random(&mut state) % 16 {
                0 => {
                    let expected = cache.insert(key, weight);
                    assert_eq!(simulator.insert(hash, weighed), expected, "{}", at());
                }
                1 => {
                    let expected = cache.remove(&key).is_some();
                    assert_eq!(simulator.remove(hash), expected, "{}", at());
                }
                _ => {
                    let expected = cache.get(&key).is_some();
                    if !expected {
                        let _ = cache.insert(key, weight);
                    }
                    assert_eq!(simulator.request(hash, weighed), expected, "{}", at());
                    hits += u64::from(expected);
                }
            }
            assert_eq!(simulator.len(), cache.len(), "{}", at());
        }
        for key in cache.keys() {
            assert!(simulator.contains(hashing.hash(&key).raw()), "{label}");
        }
        assert_eq!(simulator.evictions(), cache.stats().evictions, "{label}");
        assert_eq!(simulator.faults(), 0, "{label}");
        assert!(hits > 200, "{hits} hits prove little: {label}");
    }

    #[test]
    fn every_policy_runs_as_in_an_inline_cache() {
        for policy in policies() {
            for capacity in [1, 2, 10, 40] {
                assert_agreement(&policy, PolicyConfig::new(Some(capacity), None), 7);
            }
        }
    }

    #[test]
    fn every_policy_runs_as_in_an_inline_cache_with_weights() {
        for policy in policies() {
            assert_agreement(&policy, PolicyConfig::new(None, Some(60)), 3);
            assert_agreement(&policy, PolicyConfig::new(Some(12), Some(40)), 4);
        }
    }

    #[test]
    fn a_key_that_is_too_heavy_is_rejected_and_its_old_self_removed() {
        let mut cache = Simulator::new(&Policy::lru(), PolicyConfig::new(None, Some(10))).unwrap();
        assert_eq!(cache.insert(1, 10), Inserted::Added);
        let limit = Rejection::TooHeavy { weight: 11, limit: 10 };
        assert_eq!(cache.insert(1, 11), Inserted::Rejected(limit));
        assert!(cache.is_empty() && cache.weight() == 0);
        assert!(!cache.request(2, 11) && !cache.request(2, 11));
    }

    #[test]
    fn bounds_that_hold_nothing_are_refused() {
        let built = |entries, weight| {
            Simulator::new(&Policy::lru(), PolicyConfig::new(entries, weight)).map(drop)
        };
        assert_eq!(built(None, None), Err(BuildError::Unbounded));
        assert_eq!(built(Some(0), None), Err(BuildError::ZeroCapacity));
        assert_eq!(built(Some(1), Some(0)), Err(BuildError::ZeroWeight));
        let unknown = Simulator::new(&Policy::named("?"), PolicyConfig::new(Some(1), None));
        assert!(matches!(unknown, Err(BuildError::UnknownPolicy { .. })));
    }

    #[test]
    fn resizing_keeps_the_new_bound_at_once() {
        for policy in policies() {
            let mut cache = Simulator::new(&policy, PolicyConfig::new(Some(50), None)).unwrap();
            let mut state = 1;
            for (capacity, keys) in [(50, 200), (5, 200), (1, 200), (100, 500)] {
                cache.resize(PolicyConfig::new(Some(capacity), None)).unwrap();
                assert!(cache.len() <= capacity, "{policy:?}");
                for _ in 0..2000 {
                    cache.request(random(&mut state) % keys, 1);
                    assert!(cache.len() <= capacity, "{policy:?}");
                }
            }
            assert!(cache.len() > 50, "{policy:?} stays at {} of 100", cache.len());
            assert_eq!(cache.resize(PolicyConfig::new(None, None)), Err(BuildError::Unbounded));
        }
    }

    #[test]
    fn retain_removes_all_other_keys() {
        for policy in policies() {
            let mut cache = Simulator::new(&policy, PolicyConfig::new(Some(100), None)).unwrap();
            (0..100).for_each(|key| assert!(!cache.request(key, 1)));
            cache.retain(|key| key % 3 == 0);
            assert_eq!(cache.len(), 34, "{policy:?}");
            (1000..1200).for_each(|key| assert!(!cache.request(key, 1)));
            assert_eq!((cache.len(), cache.faults()), (100, 0), "{policy:?}");
        }
    }

    #[test]
    fn keys_segments_and_bytes_are_reported() {
        let config = PolicyConfig::new(Some(1_000), None);
        let mut cache = Simulator::new(&Policy::window_tiny_lfu(), config).unwrap();
        assert_eq!((cache.bytes(), cache.contains(1)), (0, false));
        (0..1_500).for_each(|key| assert!(!cache.request(key << 8, 1)));
        assert!(!cache.contains(1) && cache.contains(1_499 << 8));
        let entries: usize = cache.segments().iter().map(|segment| segment.entries).sum();
        assert_eq!(entries, 1_000);
        // 1,024 slots of 24 bytes, as many chains of 4 bytes, and one free id.
        let all = cache.bytes();
        assert!((1_024 * 28..1_024 * 30).contains(&all), "{all}");
        cache.retain(|_| false);
        assert!(
            (4 * 1_000..5 * 1_024).contains(&(cache.bytes() - all)),
            "the list of free ids has grown"
        );
    }

    #[test]
    fn a_wrong_victim_is_counted_as_a_fault_and_the_bound_holds() {
        struct NamesNoNode;
        impl EvictionPolicy for NamesNoNode {
            fn accesses(&self) -> Accesses {
                Accesses::None
            }
            fn on_insert(&mut self, _: NodeId, _: &dyn Nodes) {}
            fn on_access(&mut self, _: NodeId, _: &dyn Nodes) {}
            fn on_update(&mut self, _: NodeId, _: u32, _: &dyn Nodes) {}
            fn on_remove(&mut self, _: NodeId, _: &dyn Nodes) {}
            fn evict(&mut self, _: &dyn Nodes) -> Option<NodeId> {
                Some(NodeId::from_raw(77))
            }
        }
        let config = PolicyConfig::new(Some(3), None);
        let mut cache = Simulator::with_instance(Box::new(NamesNoNode), config).unwrap();
        (0..10).for_each(|key| assert!(!cache.request(key, 1)));
        assert_eq!((cache.len(), cache.faults(), cache.evictions()), (3, 7, 7));
        assert!((7..10).all(|key| cache.contains(key)), "the oldest has left each time");
    }
}
