//! What direct runs leave behind, if the policy panics or changes its mind.

use std::panic::panic_any;
use std::sync::{OnceLock, Weak};

use super::*;
use crate::policy::{Room, Sample};

/// How many payloads a policy has panicked with, and what became of them.
#[derive(Default)]
struct Payloads {
    raised: AtomicUsize,
    dropped: AtomicUsize,
    dropped_under_the_lock: AtomicUsize,
    test: OnceLock<Weak<TestEngine>>,
}

impl Payloads {
    /// How many were raised, and how many of these were dropped since.
    fn counts(&self) -> (usize, usize) {
        (self.raised.load(Ordering::Relaxed), self.dropped.load(Ordering::Relaxed))
    }
}

/// A payload, whose drop is user code.
struct RaisedPayload(Arc<Payloads>);

impl Drop for RaisedPayload {
    fn drop(&mut self) {
        let Payloads { dropped, dropped_under_the_lock, test, .. } = &*self.0;
        dropped.fetch_add(1, Ordering::Relaxed);
        let Some(test) = test.get().and_then(Weak::upgrade) else { return };
        if test.engine.partitions[0].core.try_lock().is_none() {
            dropped_under_the_lock.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Panics when it is notified of hits, or in all calls.
struct Panicking {
    payloads: Arc<Payloads>,
    room: Room,
    only_over_hits: bool,
}

impl Panicking {
    fn panic(&self) -> ! {
        self.payloads.raised.fetch_add(1, Ordering::Relaxed);
        panic_any(RaisedPayload(Arc::clone(&self.payloads)))
    }

    fn panic_unless_only_over_hits(&self) {
        if !self.only_over_hits {
            self.panic();
        }
    }
}

impl EvictionPolicy for Panicking {
    fn accesses(&self) -> Accesses {
        Accesses::Order
    }
    fn room(&self) -> Room {
        self.room
    }
    fn on_insert(&mut self, _: NodeId, _: &dyn Nodes) {
        self.panic_unless_only_over_hits();
    }
    fn on_access(&mut self, _: NodeId, _: &dyn Nodes) {
        self.panic();
    }
    fn on_update(&mut self, _: NodeId, _: u32, _: &dyn Nodes) {
        self.panic_unless_only_over_hits();
    }
    fn on_remove(&mut self, _: NodeId, _: &dyn Nodes) {
        self.panic_unless_only_over_hits();
    }
    fn evict(&mut self, _: &dyn Nodes) -> Option<NodeId> {
        self.panic_unless_only_over_hits();
        None
    }
}

fn with_panics(
    room: Room,
    only_over_hits: bool,
    capacity: usize,
) -> (Arc<TestEngine>, Arc<Payloads>) {
    let payloads = Arc::<Payloads>::default();
    let policy = Panicking { payloads: Arc::clone(&payloads), room, only_over_hits };
    let limits = Limits { entries: capacity, weight: u64::MAX };
    let evictor = Evictor::new(Box::new(policy), Accesses::Order, limits);
    let engine = engine_of(Maintenance::Background, vec![evictor], &ExpiryConfig::default());
    let test = Arc::new(TestEngine { engine, accesses: Arc::default() });
    assert!(payloads.test.set(Arc::downgrade(&test)).is_ok());
    (test, payloads)
}

#[test]
fn a_panic_over_a_hit_is_settled_by_the_next_direct_run() {
    let (test, payloads) = with_panics(Room::BeforeInsert, true, 320);
    let entry = test.insert(0);
    for count in 1..=10 {
        test.hit(entry);
        assert_eq!(payloads.counts(), (count - 1, count - 1), "hits do not ask the policy");
        test.insert(count as u64);
        assert_eq!(payloads.counts(), (count, count));
        assert_eq!(test.engine.stats().maintenance_panics, count as u64);
    }
    assert_eq!(payloads.dropped_under_the_lock.load(Ordering::Relaxed), 0);
    assert_eq!((test.nodes(), test.linked(), test.engine.len()), (11, 11, 11));
}

#[test]
fn no_panic_over_an_event_is_lost_and_no_payload_is_dropped_under_the_lock() {
    for room in [Room::BeforeInsert, Room::AfterInsert] {
        let (test, payloads) = with_panics(room, false, 2);
        let mut seen = 0;
        let mut check = |what: &str| {
            let (raised, dropped) = payloads.counts();
            assert!(raised > seen, "{room:?}, {what}: the policy was not called");
            assert_eq!(dropped, raised, "{room:?}, {what}");
            let counted = test.engine.stats().maintenance_panics;
            assert!(counted >= raised as u64, "{room:?}, {what}: {counted} of {raised}");
            let under_the_lock = payloads.dropped_under_the_lock.load(Ordering::Relaxed);
            assert_eq!(under_the_lock, 0, "{room:?}, {what}");
            assert!(test.engine.len() <= 2, "{room:?}, {what}");
            assert_eq!(test.nodes(), test.engine.len(), "{room:?}, {what}");
            seen = raised;
        };
        test.insert(0);
        check("a first entry");
        for key in 1..5 {
            test.insert(key);
            check("an insertion");
        }
        for key in 5..9 {
            test.insert_pushed(key);
        }
        test.engine.run_pending();
        check("events that were pushed");
        assert_eq!(test.engine.len(), 2);
    }
}

/// First in, first out. After a number of insertions it wants another sample.
struct Narrowing {
    queue: std::collections::VecDeque<NodeId>,
    until: usize,
}

impl EvictionPolicy for Narrowing {
    fn accesses(&self) -> Accesses {
        Accesses::Mark { sample: Sample::with_rate(if self.until > 0 { 0.5 } else { 0.25 }) }
    }
    fn on_insert(&mut self, id: NodeId, _: &dyn Nodes) {
        self.until = self.until.saturating_sub(1);
        self.queue.push_back(id);
    }
    fn on_access(&mut self, _: NodeId, _: &dyn Nodes) {}
    fn on_update(&mut self, _: NodeId, _: u32, _: &dyn Nodes) {}
    fn on_remove(&mut self, id: NodeId, _: &dyn Nodes) {
        self.queue.retain(|known| *known != id);
    }
    fn evict(&mut self, _: &dyn Nodes) -> Option<NodeId> {
        self.queue.pop_front()
    }
}

fn sampling(policy: Box<dyn EvictionPolicy>, limits: Limits) -> TestEngine {
    let accesses = policy.accesses();
    let evictor = Evictor::new(policy, accesses, limits);
    let expiry_config = ExpiryConfig::default();
    let engine = engine_for(accesses, Maintenance::Background, vec![evictor], &expiry_config);
    TestEngine { engine, accesses: Arc::default() }
}

fn rate(test: &TestEngine) -> f64 {
    test.engine.partitions[0].sample().rate()
}

#[test]
fn hits_learn_of_a_new_sample_though_all_runs_are_direct() {
    let limits = Limits { entries: 64, weight: u64::MAX };
    let test = sampling(Box::new(Narrowing { queue: [].into(), until: 100 }), limits);
    assert!(rate(&test) > 0.49);
    for key in 0..1_000 {
        test.insert(key);
    }
    assert!((rate(&test) - 0.25).abs() < 0.01, "{}", rate(&test));
}

#[test]
fn hits_use_the_sample_of_a_policy_that_was_resized() {
    let limits = entries(50).share(0, 1);
    let policy = Policy::default().instantiate(&entries(50).policy_config(limits));
    let test = sampling(policy.expect("known"), limits);
    assert!(rate(&test) > 0.99);
    test.engine.set_bounds(entries(1_000_000));
    assert!(rate(&test) < 0.01, "{}: the policy mirrors few of so many", rate(&test));
}

#[test]
fn with_inline_maintenance_all_hits_before_an_event_are_applied() {
    let test = TestEngine::new(Maintenance::Inline, 320);
    assert!(test.engine.is_plain);
    let entry = test.insert(0);
    for round in 1..=10 {
        for hits in [1, 9, 30] {
            (0..hits).for_each(|_| test.hit(entry));
            test.insert(round * 100 + hits);
            assert_eq!(test.accesses(), hits as usize);
        }
    }
}

#[test]
fn a_direct_run_sets_the_timer_of_an_entry_and_notifies_the_thread_if_it_is_the_first() {
    for mode in [Maintenance::Background, Maintenance::Inline] {
        let clock = FakeClock::new();
        let test = TestEngine::timed(mode, &clock, false);
        let partition = &test.engine.partitions[0];
        let runs = || partition.runs();
        test.insert_for(0, 1_000);
        assert_eq!(runs(), (1, 0), "the first has the timers allocated");
        let mut before = partition.next_timer_ns();
        for (key, (seconds, is_earlier)) in
            (1..).zip([(2_000, false), (900, true), (900, false), (100, true), (500, false)])
        {
            test.insert_for(key, seconds);
            let next = partition.next_timer_ns();
            assert_eq!(next < before, is_earlier, "{seconds} s");
            before = next;
        }
        assert_eq!(runs(), (1, 5));

        // The second of the two that are due was replaced by one that is not.
        let old = test.put_for(6, 100);
        test.engine.submit(&Event::Inserted(old), old.hash());
        let guard = reclaim::pin();
        let new = test.owned_for(6, 3_000);
        let Ok((new, Some(_))) = test.engine.table.upsert(new, |_, _| true, &guard) else {
            unreachable!("the key is there")
        };
        old.meta().set_cause(RemovalCause::Replaced);
        test.engine.submit(&Event::Replaced { new, old }, new.hash());
        drop(guard);
        assert_eq!(runs(), (1, 7));
        clock.advance(Duration::from_secs(200));
        test.insert(7);
        if mode == Maintenance::Background {
            test.engine.run_pending();
        }
        assert_eq!(test.engine.stats().expirations, 1);
        assert_eq!(runs().1, 7, "a whole run, since a timer was due");
        assert_eq!((test.nodes(), test.engine.len()), (7, 7));
        test.engine.validate();
    }
}

#[test]
fn a_direct_run_stops_the_timer_of_what_leaves() {
    let clock = FakeClock::new();
    let test = TestEngine::timed(Maintenance::Inline, &clock, false);
    let all: Vec<_> = (0..10).map(|key| test.insert_for(key, 1_000)).collect();
    all.into_iter().for_each(|entry| test.remove(entry));
    let partition = &test.engine.partitions[0];
    assert_eq!(partition.runs(), (1, 19));
    // A timer without an entry would make the run panic.
    clock.advance(Duration::from_secs(2_000));
    test.engine.apply_pending();
    assert_eq!((test.engine.stats().expirations, test.engine.len()), (0, 0));
}

#[test]
fn entries_that_are_weighed_take_direct_runs() {
    let limits = Limits { entries: 100, weight: 50 };
    let bounds = Bounds { capacity: Some(100), max_weight: Some(50) };
    let policy = Policy::lru().instantiate(&bounds.policy_config(limits)).expect("known");
    let evictor = Evictor::new(policy, Accesses::Order, limits);
    let engine = engine_of(Maintenance::Background, vec![evictor], &ExpiryConfig::default());
    let test = TestEngine { engine, accesses: Arc::default() };
    let mut weights = 0;
    for key in 0..200 {
        let weight = 1 + key as u32 % 3;
        weights += u64::from(weight);
        let entry = test.put(Owned::new(hash_of(key), weight, key, key));
        test.engine.submit(&Event::Inserted(entry), hash_of(key));
        let stats = test.engine.stats();
        assert!(test.engine.weight() <= 50);
        assert_eq!(test.engine.weight() + stats.evicted_weight, weights);
        assert_eq!(test.engine.len() as u64 + stats.evictions, key + 1);
    }
    assert_eq!(test.engine.partitions[0].runs(), (0, 200));
    test.engine.validate();
}
