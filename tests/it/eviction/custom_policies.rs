//! Policies of users: what the cache promises them, and what it guarantees whatever they do.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use larder::policy::{
    Accesses, EvictionPolicy, Hints, NodeId, Nodes, Policy, PolicyConfig, Room, Sample, Segment,
};
use larder::{Cache, Maintenance};

use crate::support::counted::{Counted, Ledger};
use crate::support::driver::{Op, weight_of};
use crate::support::flush;
use crate::support::loose::Loose;
use crate::support::rng::{Rng, seeds};

/// First in, first out. It also checks that the cache keeps its side of the contract.
struct Strict {
    queue: VecDeque<NodeId>,
    accesses: Accesses,
    /// The hash and the weight of each node when the policy was last notified of it.
    known: Vec<Option<(u64, u32)>>,
    /// The number of calls, so that the test knows that something was checked.
    calls: Arc<AtomicU64>,
}

fn scratch_of(id: NodeId, nodes: &dyn Nodes) -> u32 {
    id.to_raw() ^ nodes.hash(id) as u32
}

impl Strict {
    fn check_known(&self, id: NodeId, nodes: &dyn Nodes) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let (hash, weight) = self.known[id.index()].expect("the policy has this node");
        assert_eq!(nodes.hash(id), hash, "the hash of a node changed");
        assert_eq!(nodes.weight(id), weight, "the weight of a node changed without notice");
        self.check_words(id, nodes);
    }

    fn check_words(&self, id: NodeId, nodes: &dyn Nodes) {
        match self.accesses {
            Accesses::Counter { max } => assert!(nodes.frequency(id) <= max),
            Accesses::Mark { .. } => assert!(nodes.frequency(id) <= 1),
            _ => {}
        }
        if self.accesses != Accesses::Order {
            assert_eq!(nodes.scratch(id), scratch_of(id, nodes), "the policy's word was changed");
        }
    }

    fn forget(&mut self, id: NodeId) {
        self.queue.retain(|node| *node != id);
        self.known[id.index()] = None;
    }
}

impl EvictionPolicy for Strict {
    fn accesses(&self) -> Accesses {
        self.accesses
    }

    fn on_insert(&mut self, id: NodeId, nodes: &dyn Nodes) {
        if self.known.len() <= id.index() {
            assert_eq!(id.index(), self.known.len(), "ids are dense");
            self.known.push(None);
        }
        assert!(self.known[id.index()].is_none(), "inserted twice");
        if self.accesses != Accesses::Order {
            nodes.set_scratch(id, scratch_of(id, nodes));
        }
        self.check_words(id, nodes);
        self.known[id.index()] = Some((nodes.hash(id), nodes.weight(id)));
        self.queue.push_back(id);
    }

    fn on_access(&mut self, id: NodeId, nodes: &dyn Nodes) {
        match self.accesses {
            Accesses::Order => {}
            Accesses::Mark { sample } => assert!(sample.contains(nodes.hash(id))),
            _ => panic!("notified of accesses that it did not ask for"),
        }
        self.check_known(id, nodes);
    }

    fn on_update(&mut self, id: NodeId, old_weight: u32, nodes: &dyn Nodes) {
        let (hash, weight) = self.known[id.index()].expect("the policy has this node");
        self.check_words(id, nodes);
        assert_eq!((nodes.hash(id), old_weight), (hash, weight));
        self.known[id.index()] = Some((hash, nodes.weight(id)));
    }

    fn on_remove(&mut self, id: NodeId, nodes: &dyn Nodes) {
        self.check_known(id, nodes);
        self.forget(id);
    }

    fn evict(&mut self, nodes: &dyn Nodes) -> Option<NodeId> {
        let id = *self.queue.front().expect("asked for a victim without any node");
        self.check_known(id, nodes);
        self.forget(id);
        Some(id)
    }
}

fn all_accesses() -> [Accesses; 5] {
    [
        Accesses::None,
        Accesses::Counter { max: 3 },
        Accesses::Mark { sample: Sample::NONE },
        Accesses::Mark { sample: Sample::with_rate(0.5) },
        Accesses::Order,
    ]
}

#[test]
fn a_policy_is_notified_of_each_node_as_the_contract_says() {
    for seed in seeds(0x57c7, 1) {
        for maintenance in [Maintenance::Inline, Maintenance::Background] {
            for accesses in all_accesses() {
                for partitions in [1, 4] {
                    let calls = Arc::new(AtomicU64::new(0));
                    let counter = Arc::clone(&calls);
                    let policy = Policy::custom("strict", move |_| {
                        Box::new(Strict {
                            queue: VecDeque::new(),
                            accesses,
                            known: Vec::new(),
                            calls: Arc::clone(&counter),
                        })
                    });
                    let cache = Cache::<u64, u64>::builder()
                        .capacity(24)
                        .max_weight(200)
                        .weigher(|_, value| weight_of(*value))
                        .policy(policy)
                        .maintenance(maintenance)
                        .partitions(partitions)
                        .build()
                        .unwrap();
                    let is_inline = maintenance == Maintenance::Inline;
                    let label = format!("seed {seed}, {accesses:?}, {partitions} partition(s)");
                    let mut loose = Loose::new(cache, is_inline, label.clone());
                    let mut rng = Rng::new(seed);
                    for _ in 0..10_000 {
                        loose.apply(Op::random(&mut rng, 80, 12));
                    }
                    loose.check_all();
                    // The policy's panics are contained and counted.
                    assert_eq!(loose.cache.stats().maintenance_panics, 0, "{label}");
                    assert!(calls.load(Ordering::Relaxed) > 1_000, "{label}");
                }
            }
        }
    }
}

#[test]
fn a_policy_is_notified_of_each_node_as_the_contract_says_under_races_too() {
    for accesses in all_accesses() {
        let calls = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&calls);
        let policy = Policy::custom("strict", move |_| {
            Box::new(Strict {
                queue: VecDeque::new(),
                accesses,
                known: Vec::new(),
                calls: Arc::clone(&counter),
            })
        });
        let cache = Cache::<u64, u64>::builder().capacity(16).policy(policy).build().unwrap();
        std::thread::scope(|scope| {
            for thread in 0..crate::support::stress_threads() as u64 {
                let cache = &cache;
                scope.spawn(move || {
                    let mut rng = Rng::new(thread);
                    for step in 0..20_000 {
                        let key = rng.skewed_below(48);
                        match rng.below(4) {
                            0 | 1 => drop(cache.insert(key, step)),
                            2 => drop(cache.remove(&key)),
                            _ => drop(cache.get(&key)),
                        }
                    }
                });
            }
        });
        cache.run_pending();
        assert_eq!(cache.stats().maintenance_panics, 0, "{accesses:?}");
        assert!(cache.len() <= 16);
        cache.validate();
    }
}

/// The fault of a policy.
#[derive(Clone, Copy, Debug)]
enum Fault {
    NamesNobody,
    NamesStrangers,
    NamesOneForever,
    PanicsAlways,
    PanicsAtTimes,
    PanicsInEvict,
}

struct Faulty {
    fault: Fault,
    rng: Rng,
}

impl Faulty {
    fn call(&mut self) {
        let panics = match self.fault {
            Fault::PanicsAlways => true,
            Fault::PanicsAtTimes => self.rng.below(3) == 0,
            _ => false,
        };
        assert!(!panics, "a faulty policy");
    }
}

impl EvictionPolicy for Faulty {
    fn accesses(&self) -> Accesses {
        Accesses::Order
    }

    fn on_insert(&mut self, _: NodeId, _: &dyn Nodes) {
        self.call();
    }

    fn on_access(&mut self, _: NodeId, _: &dyn Nodes) {
        self.call();
    }

    fn on_update(&mut self, _: NodeId, _: u32, _: &dyn Nodes) {
        self.call();
    }

    fn on_remove(&mut self, _: NodeId, _: &dyn Nodes) {
        self.call();
    }

    fn evict(&mut self, nodes: &dyn Nodes) -> Option<NodeId> {
        self.call();
        match self.fault {
            Fault::NamesNobody => None,
            Fault::NamesStrangers => match self.rng.below(4) {
                0 => Some(NodeId::from_raw(u32::MAX)),
                // A question about a node that does not exist is a fault too.
                1 => Some(NodeId::from_raw(nodes.weight(NodeId::from_raw(1 << 30)))),
                _ => Some(NodeId::from_raw(self.rng.below(40) as u32)),
            },
            Fault::NamesOneForever => Some(NodeId::from_raw(0)),
            Fault::PanicsInEvict => panic!("a faulty policy"),
            Fault::PanicsAlways | Fault::PanicsAtTimes => None,
        }
    }
}

const FAULTS: [Fault; 6] = [
    Fault::NamesNobody,
    Fault::NamesStrangers,
    Fault::NamesOneForever,
    Fault::PanicsAlways,
    Fault::PanicsAtTimes,
    Fault::PanicsInEvict,
];

fn faulty(fault: Fault, seed: u64) -> Policy {
    Policy::custom("faulty", move |_| Box::new(Faulty { fault, rng: Rng::new(seed) }))
}

#[test]
fn a_faulty_policy_breaks_the_order_but_neither_bounds_nor_contents() {
    for seed in seeds(0xfa17, 1) {
        for fault in FAULTS {
            for maintenance in [Maintenance::Inline, Maintenance::Background] {
                for partitions in [1, 4] {
                    let cache = Cache::<u64, u64>::builder()
                        .capacity(24)
                        .max_weight(200)
                        .weigher(|_, value| weight_of(*value))
                        .policy(faulty(fault, seed))
                        .maintenance(maintenance)
                        .partitions(partitions)
                        .build()
                        .unwrap();
                    let is_inline = maintenance == Maintenance::Inline;
                    let mut loose = Loose::new(cache, is_inline, format!("seed {seed}, {fault:?}"));
                    let mut rng = Rng::new(seed);
                    for _ in 0..400 {
                        loose.apply(Op::random(&mut rng, 80, 12));
                    }
                    loose.check_all();
                    let is_noticed = loose.cache.stats().maintenance_panics > 0;
                    assert!(is_noticed || matches!(fault, Fault::NamesOneForever), "{fault:?}");
                }
            }
        }
    }
}

#[test]
fn a_faulty_policy_leaks_nothing() {
    for fault in FAULTS {
        for maintenance in [Maintenance::Inline, Maintenance::Background] {
            let ledger = Ledger::new();
            let cache = Cache::<u64, Counted>::builder()
                .capacity(10)
                .policy(faulty(fault, 1))
                .maintenance(maintenance)
                .build()
                .unwrap();
            for id in 0..200 {
                cache.insert(id % 40, ledger.make(id));
                if id % 9 == 0 {
                    cache.remove_if(&(id % 40), |_, _| true);
                }
            }
            cache.run_pending();
            flush(&cache);
            ledger.assert_living(cache.len(), &format!("{fault:?}, flushed"));
            drop(cache);
            ledger.assert_living(0, &format!("{fault:?}, dropped"));
        }
    }
}

#[test]
fn a_faulty_policy_leaks_nothing_and_breaks_no_bound_under_races_either() {
    const CAPACITY: usize = 10;
    for fault in FAULTS {
        let ledger = Ledger::new();
        let policy = faulty(fault, 1);
        let cache: Cache<u64, Counted> =
            Cache::builder().capacity(CAPACITY).policy(policy).build().unwrap();
        std::thread::scope(|scope| {
            for thread in 0..crate::support::stress_threads() as u64 {
                let (cache, ledger) = (&cache, &ledger);
                scope.spawn(move || {
                    let mut rng = Rng::new(thread);
                    for id in 0..500 {
                        let key = rng.below(40);
                        match rng.below(4) {
                            0 | 1 => drop(cache.insert(key, ledger.make(id))),
                            2 => drop(cache.remove_if(&key, |_, _| true)),
                            _ => drop(cache.read(&key, Counted::id)),
                        }
                    }
                });
            }
        });
        cache.run_pending();
        assert!(cache.len() <= CAPACITY, "{fault:?}: {}", cache.len());
        cache.validate();
        let stats = cache.stats();
        let left = stats.evictions + stats.removals;
        assert_eq!(stats.inserts, left + cache.len() as u64, "{fault:?}");
        flush(&cache);
        ledger.assert_living(cache.len(), &format!("{fault:?}, flushed"));
        drop(cache);
        ledger.assert_living(0, &format!("{fault:?}, dropped"));
    }
}

/// Panics when it is asked for its settings.
struct Mute {
    panics_in_accesses: bool,
}

impl EvictionPolicy for Mute {
    fn accesses(&self) -> Accesses {
        assert!(!self.panics_in_accesses, "cannot say its accesses");
        Accesses::None
    }

    fn room(&self) -> Room {
        panic!("cannot say its room")
    }

    fn on_insert(&mut self, _: NodeId, _: &dyn Nodes) {}
    fn on_access(&mut self, _: NodeId, _: &dyn Nodes) {}
    fn on_update(&mut self, _: NodeId, _: u32, _: &dyn Nodes) {}
    fn on_remove(&mut self, _: NodeId, _: &dyn Nodes) {}

    fn evict(&mut self, _: &dyn Nodes) -> Option<NodeId> {
        None
    }
}

#[test]
fn a_policy_that_panics_when_asked_for_its_settings_makes_no_cache() {
    for (panics_in_accesses, said) in
        [(true, "cannot say its accesses"), (false, "cannot say its room")]
    {
        let policy = Policy::custom("mute", move |_| Box::new(Mute { panics_in_accesses }));
        let message = crate::support::panic_message("build", || {
            drop(Cache::<u64, u64>::builder().capacity(10).policy(policy.clone()).build());
        });
        assert_eq!(message, said);
    }
}

/// Panics in everything that it is asked later, and has a sample that it wants to change.
struct Brittle {
    queue: VecDeque<NodeId>,
    has_begun: AtomicU64,
}

impl EvictionPolicy for Brittle {
    fn accesses(&self) -> Accesses {
        let asked = self.has_begun.fetch_add(1, Ordering::Relaxed);
        assert!(asked < 3, "a panic in accesses");
        Accesses::Mark { sample: Sample::with_rate(0.5) }
    }

    fn on_insert(&mut self, id: NodeId, _: &dyn Nodes) {
        self.queue.push_back(id);
    }

    fn on_access(&mut self, _: NodeId, _: &dyn Nodes) {
        panic!("a panic in on_access");
    }

    fn on_update(&mut self, _: NodeId, _: u32, _: &dyn Nodes) {}

    fn on_remove(&mut self, id: NodeId, _: &dyn Nodes) {
        self.queue.retain(|node| *node != id);
    }

    fn evict(&mut self, _: &dyn Nodes) -> Option<NodeId> {
        self.queue.pop_front()
    }

    fn on_resize(&mut self, _: &PolicyConfig, _: &dyn Nodes) {
        panic!("a panic in on_resize");
    }

    fn hints(&self) -> &dyn Hints {
        self
    }
}

impl Hints for Brittle {
    fn upcoming(&self, _: usize, _: &mut dyn FnMut(NodeId)) {
        panic!("a panic in upcoming");
    }

    fn announce(&self, _: u64) {
        panic!("a panic in announce");
    }

    fn frequency(&self, _: NodeId, _: &dyn Nodes) -> u64 {
        panic!("uncounted");
    }

    fn coldest(&self, _: usize, _: &dyn Nodes, _: &mut dyn FnMut(NodeId)) {
        panic!("a panic in coldest");
    }

    fn hottest(&self, count: usize, _: &dyn Nodes, name: &mut dyn FnMut(NodeId)) {
        for raw in 0..count as u32 {
            name(NodeId::from_raw(raw * 7919));
        }
    }

    fn segments(&self) -> Vec<Segment> {
        panic!("a panic in segments");
    }
}

#[test]
fn a_policy_that_panics_in_hints_and_reports_loses_only_those() {
    for maintenance in [Maintenance::Inline, Maintenance::Background] {
        let policy = Policy::custom("brittle", |_| {
            Box::new(Brittle { queue: VecDeque::new(), has_begun: AtomicU64::new(0) })
        });
        let cache = Cache::<u64, u64>::builder()
            .capacity(100)
            .policy(policy)
            .maintenance(maintenance)
            .build()
            .unwrap();
        for key in 0..1_000 {
            cache.insert(key, key);
            cache.get(&key);
        }
        assert_eq!(cache.set_capacity(50), Ok(()));
        cache.run_pending();
        assert!(cache.len() <= 50);
        assert_eq!(cache.frequency(&999), None);
        assert!(cache.hottest(10).len() <= 10);
        assert_eq!(cache.coldest(10).len(), 10);
        assert!(cache.segments().is_empty());
        cache.run_pending();
        assert!(cache.stats().maintenance_panics > 100);
        cache.validate();
    }
}

#[test]
fn a_policy_that_cannot_be_made_leaves_nothing_behind() {
    let policy = Policy::custom("unmakeable", |_| panic!("cannot be made"));
    let message = crate::support::panic_message("build", || {
        drop(Cache::<u64, u64>::builder().capacity(10).policy(policy.clone()).build());
    });
    assert_eq!(message, "cannot be made");
    // Other caches go on, in the background too.
    let cache = Cache::<u64, u64>::new(10);
    cache.insert(1, 1);
    assert_eq!(cache.get(&1), Some(1));
}

/// Records the accesses that it was notified of, and clears marks on updates.
struct Recording {
    sample: Sample,
    notified: Arc<Mutex<Vec<u64>>>,
}

impl EvictionPolicy for Recording {
    fn accesses(&self) -> Accesses {
        Accesses::Mark { sample: self.sample }
    }

    fn on_insert(&mut self, _: NodeId, _: &dyn Nodes) {}

    fn on_access(&mut self, id: NodeId, nodes: &dyn Nodes) {
        assert_eq!(nodes.frequency(id), 1);
        self.notified.lock().unwrap().push(nodes.hash(id));
    }

    fn on_update(&mut self, id: NodeId, _: u32, nodes: &dyn Nodes) {
        nodes.set_frequency(id, 0);
    }

    fn on_remove(&mut self, _: NodeId, _: &dyn Nodes) {}

    fn evict(&mut self, _: &dyn Nodes) -> Option<NodeId> {
        None
    }
}

#[test]
fn the_policy_is_notified_only_of_the_first_mark_of_each_sampled_key() {
    const KEYS: u64 = 1_000;
    for rate in [0.0, 0.25, 1.0] {
        let notified = Arc::new(Mutex::new(Vec::new()));
        let (sample, log) = (Sample::with_rate(rate), Arc::clone(&notified));
        let policy = Policy::custom("listening", move |_| {
            Box::new(Recording { sample, notified: Arc::clone(&log) })
        });
        let cache = Cache::<u64, u64>::builder()
            .capacity(10_000)
            .policy(policy)
            .maintenance(Maintenance::Inline)
            .build()
            .unwrap();
        for key in 0..KEYS {
            cache.insert(key, key);
        }
        for round in 1..=3 {
            for key in (0..KEYS).chain(0..KEYS) {
                assert!(cache.get(&key).is_some());
            }
            // Updates clear the marks, so that the next round's first hits set them again.
            for key in 0..KEYS {
                cache.insert(key, key);
            }
            let mut hashes = std::mem::take(&mut *notified.lock().unwrap());
            assert!(hashes.iter().all(|hash| sample.contains(*hash)), "rate {rate}");
            let expected = rate * KEYS as f64;
            assert!((hashes.len() as f64 - expected).abs() < 100.0, "rate {rate}, round {round}");
            hashes.sort_unstable();
            let count = hashes.len();
            hashes.dedup();
            assert_eq!(hashes.len(), count, "notified twice: rate {rate}, round {round}");
        }
    }
}

#[test]
fn an_updated_entry_outlives_others_even_if_the_policy_ignores_updates() {
    /// Evicts the oldest entry, and implements only the required methods.
    #[derive(Default)]
    struct Plain(VecDeque<NodeId>);

    impl EvictionPolicy for Plain {
        fn accesses(&self) -> Accesses {
            Accesses::None
        }
        fn on_insert(&mut self, id: NodeId, _: &dyn Nodes) {
            assert!(!self.0.contains(&id), "inserted twice");
            self.0.push_back(id);
        }
        fn on_access(&mut self, _: NodeId, _: &dyn Nodes) {}
        fn on_update(&mut self, _: NodeId, _: u32, _: &dyn Nodes) {}
        fn on_remove(&mut self, id: NodeId, _: &dyn Nodes) {
            self.0.retain(|node| *node != id);
        }
        fn evict(&mut self, _: &dyn Nodes) -> Option<NodeId> {
            self.0.pop_front()
        }
    }

    let cache = Cache::<u64, u64>::builder()
        .max_weight(10)
        .weigher(|_, weight| *weight as u32)
        .policy(Policy::custom("plain", |_| Box::new(Plain::default())))
        .maintenance(Maintenance::Inline)
        .build()
        .unwrap();
    for seed in seeds(0xb71, 2) {
        let mut rng = Rng::new(seed);
        for _ in 0..5_000 {
            let (key, weight) = (rng.below(8), 1 + rng.below(10));
            cache.insert(key, weight);
            assert_eq!(cache.get(&key), Some(weight), "seed {seed}");
            assert!(cache.weight() <= 10);
        }
        cache.validate();
    }
    // Alone above a bound that is lowered, it has to leave after all.
    cache.clear();
    cache.insert(1, 9);
    cache.set_max_weight(5).unwrap();
    assert!(cache.is_empty());
    assert_eq!(cache.stats().maintenance_panics, 0);
}

#[test]
fn a_faulty_policy_borrows_no_more_than_it_gives_back() {
    for fault in FAULTS {
        for maintenance in [Maintenance::Inline, Maintenance::Background] {
            let cache = Cache::<u64, u64>::builder()
                .max_weight(200)
                .weigher(|_, weight| *weight as u32)
                .policy(faulty(fault, 7))
                .maintenance(maintenance)
                .partitions(4)
                .build()
                .unwrap();
            let mut rng = Rng::new(7);
            for _ in 0..1_000 {
                let most = [5, 60, 201][rng.below(3) as usize];
                cache.insert(rng.below(40), rng.below(most));
                let is_within = maintenance == Maintenance::Background || cache.weight() <= 200;
                assert!(is_within, "{fault:?}: {}", cache.weight());
            }
            // This checks loans, limits and weights.
            cache.validate();
            assert!(cache.weight() <= 200, "{fault:?}");
        }
    }
}
