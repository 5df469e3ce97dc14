//! Tests of one instance of the policy, without a cache around it.

use std::cell::Cell;

use super::*;
use crate::policy::PolicyConfig;
use crate::policy::sketch::spread;

/// The hash of an entry that is heavier than others.
fn heavy(weight: u64) -> u64 {
    HEAVY + weight
}

const HEAVY: u64 = 0x5_0000_0000;

/// Entries by id, several of which may have the same hash.
#[derive(Default)]
struct TestNodes(Vec<(u64, Cell<u8>, Cell<u32>)>);

impl Nodes for TestNodes {
    fn hash(&self, id: NodeId) -> u64 {
        self.0[id.index()].0
    }
    fn weight(&self, id: NodeId) -> u32 {
        u32::try_from(self.hash(id).wrapping_sub(HEAVY)).unwrap_or(1)
    }
    fn cost_ns(&self, id: NodeId) -> u64 {
        // Enough different costs for all tests; only those with costs ask.
        [0, 1_000, 1_000, 50_000][id.index() % 4]
    }
    fn frequency(&self, id: NodeId) -> u8 {
        self.0[id.index()].1.get()
    }
    fn set_frequency(&self, id: NodeId, frequency: u8) {
        self.0[id.index()].1.set(frequency);
    }
    fn scratch(&self, id: NodeId) -> u32 {
        self.0[id.index()].2.get()
    }
    fn set_scratch(&self, id: NodeId, scratch: u32) {
        self.0[id.index()].2.set(scratch);
    }
}

/// A read-through cache, of 100 entries unless it was made otherwise, where the caller chooses the hash of a key.
struct TestCache {
    segments: Segments,
    table: TestNodes,
    /// By id; `u64::MAX` where there is no entry.
    keys: Vec<u64>,
}

impl TestCache {
    fn new() -> Self {
        Self::bounded(PolicyConfig::new(Some(100), None))
    }

    fn bounded(config: PolicyConfig) -> Self {
        let segments = Segments::new(Budget::new(&config));
        Self { segments, table: TestNodes::default(), keys: Vec::new() }
    }

    fn request(&mut self, key: u64, hash: u64) -> bool {
        if let Some(at) = self.keys.iter().position(|other| *other == key) {
            self.table.0[at].1.set(1);
            return true;
        }
        let at = self.keys.iter().position(|other| *other == u64::MAX).unwrap_or(self.keys.len());
        let entry = (hash, Cell::new(0), Cell::new(0));
        if at == self.keys.len() {
            self.keys.push(key);
            self.table.0.push(entry);
        } else {
            self.keys[at] = key;
            self.table.0[at] = entry;
        }
        let id = NodeId::from_raw(u32::try_from(at).unwrap());
        self.segments.insert(id, hash, &self.table);
        while self.segments.is_over() {
            let victim = self.segments.evict(&self.table).expect("the cache is not empty");
            self.keys[victim.index()] = u64::MAX;
        }
        false
    }
}

/// Hits of keys some of which are popular, beside a hot key, and a cold key that is requested once;
/// and whether the cold key is still in the cache.
fn hits_beside(cold_hash: u64, salt: u64) -> (u64, bool) {
    let mut cache = TestCache::new();
    let hash = |key: u64| spread(key + (salt << 32) + 1) >> 16;
    let hot = 0;
    // The hot key is marked at each check, so it stays in the window.
    for key in 1_000..1_200 {
        cache.request(hot, hash(hot));
        cache.request(hot, hash(hot));
        cache.request(key, hash(key));
    }
    cache.request(1, if cold_hash == 0 { hash(hot) } else { cold_hash });
    let (mut hits, mut state) = (0, salt);
    for step in 0..60_000 {
        cache.request(hot, hash(hot));
        state = spread(state + step);
        let key = 2 + ((state >> 8) % 400) * ((state >> 40) % 400) / 400;
        hits += u64::from(cache.request(key, hash(key)) && step >= 30_000);
    }
    (hits, cache.keys.contains(&1))
}

#[test]
fn a_cold_key_that_collides_with_a_hot_one_keeps_others_out_for_a_while_only() {
    for salt in 0..5 {
        let (collides, is_cached) = hits_beside(0, salt);
        assert!(!is_cached, "the key was not requested again, salt {salt}");
        let (alone, _) = hits_beside(77, salt);
        assert!(collides * 100 > alone * 97, "{collides} instead of {alone}, salt {salt}");
    }
}

impl TestCache {
    fn segment_of(&self, key: u64) -> Option<SegmentId> {
        let at = self.keys.iter().position(|other| *other == key)?;
        let id = NodeId::from_raw(u32::try_from(at).unwrap());
        Some(NodeWord::of(id, &self.table).segment)
    }

    fn entries_in(&self, segment: SegmentId) -> usize {
        self.segments.queues[segment as usize].entries
    }

    /// Requests new keys, each of them once, from `first` on.
    fn scan(&mut self, first: u64, keys: u64) {
        for key in first..first + keys {
            self.request(key, spread(key) >> 16);
        }
    }

    /// A cache that is full of used entries, most of them protected.
    fn with_protected() -> Self {
        let mut cache = Self::new();
        for _ in 0..20 {
            cache.scan(0, 99);
            cache.scan(0, 99);
            cache.scan(1_000, 20);
        }
        assert!(cache.entries_in(SegmentId::Protected) > 60);
        cache
    }
}

#[test]
fn a_variant_that_protects_nothing_takes_over_step_by_step() {
    let mut cache = TestCache::with_protected();
    cache.segments.set_variant(4);
    assert_eq!((VARIANTS[4].window_percent, cache.segments.targets.protected), (100, 0));
    let mut steps = 0;
    while cache.entries_in(SegmentId::Protected) > 0 {
        let before = cache.entries_in(SegmentId::Protected);
        cache.scan(10_000 + steps, 1);
        let moved = before.saturating_sub(cache.entries_in(SegmentId::Protected));
        assert!(moved <= MAX_CHECKS + DRAIN as usize, "{moved} at once");
        steps += 1;
        assert!(steps < 100, "{before} are still protected");
    }
    cache.scan(20_000, 100);
    assert_eq!(cache.entries_in(SegmentId::Window), 100);
}

#[test]
fn a_key_that_comes_back_soon_goes_to_probation_unless_the_window_has_to_grow() {
    for (variant, expected) in [(0, SegmentId::Probation), (4, SegmentId::Window)] {
        let mut cache = TestCache::with_protected();
        cache.segments.set_variant(variant);
        // Unused for long, so that ten requests are soon.
        cache.scan(10_000, 60);
        cache.scan(77, 1);
        cache.scan(5_000, 1);
        cache.scan(20_000, 10);
        if cache.segment_of(5_000).is_none() {
            cache.scan(5_000, 1);
            assert_eq!(cache.segment_of(5_000), Some(expected), "variant {variant}");
        } else {
            assert_eq!(variant, 4, "only a growing window keeps a new key so long");
        }
    }
}

/// A key that no scan requests.
const NEWCOMER: u64 = 1 << 40;

/// A cache of that variant in which all keys were used, so a key that is requested for the first time loses its duel.
fn full_of_used(variant: usize, max_weight: u64) -> TestCache {
    let mut cache = TestCache::bounded(PolicyConfig::new(None, Some(max_weight)));
    cache.segments.set_variant(variant);
    (0..3).for_each(|_| cache.scan(0, max_weight));
    cache.scan(max_weight, max_weight / 4);
    cache
}

/// It leaves the window after half of a window, like a lighter one; and not before, so that it can be used again.
#[test]
fn a_node_heavier_than_the_window_has_time_to_be_used_again() {
    for (variant, window) in [(2, 200), (3, 700)] {
        for weight in [window + 20, 1_200] {
            let mut cache = full_of_used(variant, 2_000);
            let is_kept = |cache: &TestCache| cache.segment_of(NEWCOMER).is_some();
            assert_eq!(cache.segments.targets.window, window);
            cache.request(NEWCOMER, heavy(weight));
            let mut first = 10_000;
            let mut scan = |cache: &mut TestCache, parts: u64| {
                let keys = window * parts / 100;
                cache.scan(first, keys);
                first += keys;
            };
            scan(&mut cache, 45);
            assert!(
                is_kept(&cache),
                "variant {variant}, {weight}: it left before others would have"
            );
            scan(&mut cache, 60);
            assert!(!is_kept(&cache), "variant {variant}, {weight}: it was not used, and stays");
            cache.request(NEWCOMER, heavy(weight));
            for _ in 0..20 {
                scan(&mut cache, 40);
                assert!(is_kept(&cache), "variant {variant}, {weight}: it is used in time");
                cache.request(NEWCOMER, heavy(weight));
            }
        }
    }
}

#[test]
fn a_heavy_newcomer_has_its_duel_at_once_only_in_a_small_window_and_among_many() {
    let is_kept = |variant: usize, max_weight: u64| {
        let mut cache = full_of_used(variant, max_weight);
        cache.request(NEWCOMER, heavy(60));
        let is_kept = cache.segment_of(NEWCOMER).is_some();
        // As if it had been requested often: it wins now.
        for _ in 0..8 {
            cache.segments.sketch.count(KeyBits::of(heavy(60)));
        }
        cache.request(NEWCOMER, heavy(60));
        assert!(cache.segment_of(NEWCOMER).is_some(), "variant {variant}, {max_weight}");
        is_kept
    };
    assert!(!is_kept(0, 1_000));
    assert!(is_kept(2, 1_000), "the window is larger");
    assert!(is_kept(0, 63), "there are few others");
}

#[test]
fn the_coldest_of_four_is_the_victim() {
    let mut cache = TestCache::with_protected();
    let oldest = cache.segments.oldest_first(SegmentId::Probation);
    let tail: Vec<NodeId> = oldest.take(5).collect();
    for (id, count) in tail.iter().zip([5, 4, 3, 3, 1]) {
        cache.table.0[id.index()].1.set(0);
        NodeWord { count, ..NodeWord::of(*id, &cache.table) }.store(*id, &cache.table);
    }
    assert_eq!(cache.segments.find_coldest(tail[0], &cache.table), tail[2]);
    let oldest = cache.segments.oldest_first(SegmentId::Probation);
    assert!(oldest.take(3).eq(tail[1..4].iter().copied()), "the first has moved to the head");
    // Used since: it is left aside.
    cache.table.0[tail[2].index()].1.set(1);
    assert_eq!(cache.segments.find_coldest(tail[1], &cache.table), tail[4]);
}

/// The segments of a policy that weighs costs, and of which `uses` were counted for the first nodes. All are in
/// probation, the first one at its tail. Their costs are those of `TestNodes`.
fn weighing_costs(uses: &[u64]) -> (Segments, TestNodes) {
    let mut segments = Segments::new(Budget::new(&PolicyConfig::new(Some(100), None)));
    segments.weigh_costs();
    let mut nodes = TestNodes::default();
    for (id, count) in (0..).map(NodeId::from_raw).zip(uses) {
        let hash = spread(u64::from(id.to_raw()) + 1) >> 16;
        nodes.0.push((hash, Cell::new(0), Cell::new(0)));
        segments.note_cost(id, &nodes);
        let age = 0;
        let frequency = usize::try_from(*count).expect("a small count");
        let probation = SegmentId::Probation;
        segments.insert_restored(id, probation, UNKNOWN, age, frequency, &nodes);
    }
    (segments, nodes)
}

#[test]
fn the_duel_goes_by_uses_and_costs_together() {
    let [unknown, cheap, other_cheap, dear] = [0, 1, 2, 3].map(NodeId::from_raw);
    let admits = |uses: [u64; 4], candidate: NodeId, victim: NodeId| {
        let (mut segments, nodes) = weighing_costs(&uses);
        segments.admits(candidate, NodeWord::of(candidate, &nodes), victim, &nodes)
    };
    // Of equal cost: a lead of one use is not enough, as without costs.
    assert!(!admits([0, 3, 3, 0], cheap, other_cheap));
    assert!(!admits([0, 4, 3, 0], cheap, other_cheap), "neither has a distance");
    assert!(admits([0, 5, 3, 0], cheap, other_cheap));
    // A use of the dear one is worth fifty of the cheap ones.
    assert!(admits([0, 0, 12, 1], dear, other_cheap));
    assert!(!admits([0, 12, 0, 1], cheap, dear));
    assert!(!admits([0, 12, 0, 0], cheap, dear), "it was not used lately, but may come back");
    // An unknown cost is the mean of the known ones, a little above that of the cheap ones.
    assert!(admits([5, 3, 0, 0], unknown, cheap) && !admits([3, 3, 0, 0], unknown, cheap));
}

#[test]
fn the_victim_is_the_node_that_is_worth_least_among_the_next_few() {
    // Node 0 is of unknown cost, which counts as about that of nodes 1 and 2; node 3 is dear.
    let (mut segments, nodes) = weighing_costs(&[3, 2, 1, 0, 2, 2, 2, 2, 0, 0]);
    let victim = segments.evict(&nodes);
    assert_eq!(victim, Some(NodeId::from_raw(2)), "8 and 9 are further from the tail");
    let first = segments.oldest_first(SegmentId::Probation).next();
    assert_eq!(
        first,
        Some(NodeId::from_raw(1)),
        "the spared node has moved from the tail to the head"
    );
    nodes.0[6].1.set(1);
    let victims = std::iter::from_fn(|| segments.evict(&nodes)).map(NodeId::to_raw);
    let victims: Vec<u32> = victims.collect();
    assert_eq!(victims.len(), 9, "each node leaves once: {victims:?}");
    let at = |id: u32| victims.iter().position(|other| *other == id);
    assert!(
        at(3) > at(1) && at(3) > at(4) && at(7) > at(4),
        "the dear ones stay longest: {victims:?}"
    );
}
