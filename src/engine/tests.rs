//! Maintenance of engines that are not registered with the maintenance thread, so that only the thread of
//! the test does anything.

use std::sync::Arc;
use std::time::Duration;

use super::partition::Freeing;
use super::*;
use crate::base::cause::RemovalCause;
use crate::base::error::FlushError;
use crate::base::hash::KeyHash;
use crate::base::node_id::NodeId;
use crate::buffer::write_buffer::Event;
use crate::entry::{DeadlineSpec, EntryPtr, Owned};
use crate::expiry::{Clock, ClockKind, ExpiryConfig};
use crate::maintainer::Attendance;
use crate::policy::bounds::{Bounds, Limits};
use crate::policy::{Accesses, EvictionPolicy, Nodes, Policy};
use crate::test::FakeClock;

mod direct;
mod freeing;
mod notifying;
mod timers;

/// Counts the accesses that are reported to it, and evicts the newest entry.
struct CountingPolicy {
    accesses: Arc<AtomicUsize>,
    ids: Vec<NodeId>,
}

impl EvictionPolicy for CountingPolicy {
    fn accesses(&self) -> Accesses {
        Accesses::Order
    }
    fn on_insert(&mut self, id: NodeId, _: &dyn Nodes) {
        self.ids.push(id);
    }
    fn on_access(&mut self, _: NodeId, _: &dyn Nodes) {
        self.accesses.fetch_add(1, Ordering::Relaxed);
    }
    fn on_update(&mut self, _: NodeId, _: u32, _: &dyn Nodes) {}
    fn on_remove(&mut self, id: NodeId, _: &dyn Nodes) {
        self.ids.retain(|known| *known != id);
    }
    fn evict(&mut self, _: &dyn Nodes) -> Option<NodeId> {
        self.ids.pop()
    }
}

fn engine_of<V>(
    mode: Maintenance,
    evictors: Vec<Evictor>,
    expiry_config: &ExpiryConfig<u64, V>,
) -> Engine<u64, V> {
    engine_for(Accesses::Order, mode, evictors, expiry_config)
}

fn engine_for<V>(
    accesses: Accesses,
    mode: Maintenance,
    evictors: Vec<Evictor>,
    expiry_config: &ExpiryConfig<u64, V>,
) -> Engine<u64, V> {
    Engine::new(config_for(accesses, mode, evictors, expiry_config))
}

fn config_for<V>(
    accesses: Accesses,
    mode: Maintenance,
    evictors: Vec<Evictor>,
    expiry_config: &ExpiryConfig<u64, V>,
) -> EngineConfig<u64, V> {
    EngineConfig {
        has_weigher: false,
        mode,
        accesses,
        evictors,
        cores: 1,
        timing: expiry_config.timing(),
        history: None,
        shadow: None,
        atomic: None,
        listening: None,
        attendance: Attendance::new(),
        known: None,
        histograms: Histograms::default(),
    }
}

/// An engine of equal partitions with the policy LRU.
fn lru_engine<V>(mode: Maintenance, bounds: Bounds, partitions: usize) -> Engine<u64, V> {
    let evictor = |index| {
        let limits = bounds.share(index, partitions);
        let policy = Policy::lru().instantiate(&bounds.policy_config(limits)).expect("known");
        Evictor::new(policy, Accesses::Order, limits)
    };
    engine_of(mode, (0..partitions).map(evictor).collect(), &ExpiryConfig::default())
}

fn entries(capacity: usize) -> Bounds {
    Bounds { capacity: Some(capacity), max_weight: None }
}

fn hash_of(key: u64) -> KeyHash {
    KeyHash::from_raw((key + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16)
}

/// An engine of one partition, and the accesses that its policy was notified of.
struct TestEngine {
    engine: Engine<u64, u64>,
    accesses: Arc<AtomicUsize>,
}

impl TestEngine {
    fn new(mode: Maintenance, capacity: usize) -> Self {
        Self::with_expiry(mode, capacity, &ExpiryConfig::default())
    }

    /// An engine whose clock the test moves.
    fn timed(mode: Maintenance, clock: &FakeClock, is_expiry_lazy: bool) -> Self {
        let clock = ClockKind::of(clock.clone());
        Self::with_expiry(
            mode,
            320,
            &ExpiryConfig { clock, is_expiry_lazy, ..ExpiryConfig::default() },
        )
    }

    fn with_expiry(
        mode: Maintenance,
        capacity: usize,
        expiry_config: &ExpiryConfig<u64, u64>,
    ) -> Self {
        let accesses = Arc::<AtomicUsize>::default();
        let policy = CountingPolicy { accesses: Arc::clone(&accesses), ids: Vec::new() };
        let limits = Limits { entries: capacity, weight: u64::MAX };
        let evictor = Evictor::new(Box::new(policy), Accesses::Order, limits);
        Self { engine: engine_of(mode, vec![evictor], expiry_config), accesses }
    }

    /// Puts an entry into the table without reporting it.
    fn put(&self, new: Owned<u64, u64>) -> EntryPtr {
        let linked = self.engine.table.insert_if_absent(new, |_| true, &reclaim::pin());
        linked.ok().expect("absent")
    }

    fn insert(&self, key: u64) -> EntryPtr {
        let entry = self.put(Owned::new(hash_of(key), 1, key, key));
        self.engine.submit(&Event::Inserted(entry), hash_of(key));
        entry
    }

    /// As [`insert`](Self::insert), by a thread that does not get the lock at once.
    fn insert_pushed(&self, key: u64) -> EntryPtr {
        let entry = self.put(Owned::new(hash_of(key), 1, key, key));
        self.engine.push(&self.engine.partitions[0], &Event::Inserted(entry));
        entry
    }

    /// As [`put`](Self::put), for an entry that expires `seconds` from now.
    fn put_for(&self, key: u64, seconds: u64) -> EntryPtr {
        self.put(self.owned_for(key, seconds))
    }

    fn owned_for(&self, key: u64, seconds: u64) -> Owned<u64, u64> {
        let deadline_ns = self.engine.timing.time.now_ns() + seconds * 1_000_000_000;
        let spec =
            DeadlineSpec { written_ns: None, deadline_ns, limit_ns: None, has_computed: false };
        Owned::extended(hash_of(key), 1, key, key, spec, None)
    }

    fn insert_for(&self, key: u64, seconds: u64) -> EntryPtr {
        let entry = self.put_for(key, seconds);
        self.engine.submit(&Event::Inserted(entry), hash_of(key));
        entry
    }

    fn remove(&self, entry: EntryPtr) {
        let hash = entry.hash();
        assert!(self.engine.table.remove_entry(entry, &reclaim::pin()));
        self.engine.submit(&Event::Removed(entry), hash);
    }

    fn hit(&self, entry: EntryPtr) {
        let guard = reclaim::pin();
        let (found, _) = self.engine.table.get(entry.hash(), |_| true, &guard).expect("there");
        self.engine.record_hit(found, guard.thread());
    }

    fn nodes(&self) -> usize {
        self.engine.partitions[0].core.lock().evictor.len()
    }

    fn waiting(&self) -> u32 {
        self.engine.partitions[0].writes.waiting()
    }

    fn accesses(&self) -> usize {
        self.accesses.swap(0, Ordering::Relaxed)
    }

    fn opened(&self) -> usize {
        self.engine.opened.load(Ordering::Relaxed)
    }

    fn linked(&self) -> usize {
        self.engine.linked.load(Ordering::Relaxed)
    }
}

impl Drop for TestEngine {
    fn drop(&mut self) {
        self.engine.tear_down();
    }
}

#[test]
fn insertions_bring_two_buckets_each_and_open_them_in_small_steps() {
    let test = TestEngine::new(Maintenance::Inline, 10_000);
    let mut growths = 0;
    for count in 1..=6_000 {
        let (buckets, opened) = (test.engine.table.buckets(), test.opened());
        test.insert(count as u64);
        assert_eq!(test.linked(), count);
        assert!(test.engine.table.buckets() >= 2 * count, "too few for {count}");
        let step = test.opened() - opened;
        assert!(step <= BUCKETS_OPENED_INLINE, "{step} at once");
        assert_eq!(step > 0, opened < test.engine.table.buckets(), "at {count}");
        growths += usize::from(test.engine.table.buckets() > buckets);
    }
    assert!(growths >= 9, "{growths}");
    assert!(!test.engine.has_closed_buckets(), "long after the last growth");
}

#[test]
fn all_buckets_are_open_once_nothing_is_pending() {
    let test = TestEngine::new(Maintenance::Background, 10_000);
    for key in 0..1_000 {
        test.insert(key);
    }
    assert!(test.engine.has_closed_buckets(), "writers leave them to the thread");
    assert!(test.engine.has_work());
    test.engine.open_buckets(100);
    assert!((100..=400).contains(&test.opened()), "{}", test.opened());
    test.engine.run_pending();
    assert_eq!(test.opened(), test.engine.table.buckets());
    assert!(!test.engine.has_closed_buckets());
}

#[test]
fn removed_entries_are_not_counted_as_linked() {
    let test = TestEngine::new(Maintenance::Inline, 100);
    let all: Vec<_> = (0..40).map(|key| test.insert(key)).collect();
    assert_eq!((test.linked(), test.engine.len(), test.engine.weight()), (40, 40, 40));
    all.into_iter().for_each(|entry| test.remove(entry));
    assert_eq!((test.linked(), test.engine.len(), test.engine.weight()), (0, 0, 0));
    assert_eq!(test.engine.note_linked(-3), 0, "its insertion is counted later");
    assert_eq!(test.engine.note_linked(3), 0);
    assert_eq!(test.engine.note_linked(5), 5);
    assert_eq!(test.engine.note_linked(0), 0, "it has not grown");
    test.engine.note_linked(-5);
}

#[test]
fn a_replacement_that_was_removed_before_it_was_reported_leaves_no_node() {
    let test = TestEngine::new(Maintenance::Inline, 100);
    let old = test.insert(1);
    let guard = reclaim::pin();
    let new = Owned::new(old.hash(), 1, 1, 7);
    let replaced = test.engine.table.upsert(new, |_, _| true, &guard);
    let (new, replaced) = replaced.ok().expect("nothing refuses it");
    assert!(replaced == Some(old));
    assert!(test.engine.table.remove_entry(new, &guard));
    drop(guard);
    // The remover reports first.
    old.meta().set_cause(RemovalCause::Replaced);
    test.engine.submit(&Event::Removed(new), old.hash());
    assert_eq!(test.nodes(), 1, "the old one is still linked");
    test.engine.submit(&Event::Replaced { new, old }, old.hash());
    assert_eq!((test.nodes(), test.linked()), (0, 0));
}

#[test]
fn a_removed_entry_with_an_extension_is_freed_as_one_in_a_plain_run() {
    let test = TestEngine::new(Maintenance::Inline, 100);
    let spec =
        DeadlineSpec { written_ns: None, deadline_ns: 100, limit_ns: None, has_computed: false };
    let hash = KeyHash::from_raw(1);
    let guard = reclaim::pin();
    let owned = Owned::extended(hash, 1, 1, 7, spec, None);
    let (entry, _) =
        test.engine.table.upsert(owned, |_, _| true, &guard).ok().expect("none refuses");
    assert!(test.engine.table.remove_entry(entry, &guard));
    drop(guard);
    // The remover reports first: nothing says yet that there is an entry for which runs are full.
    test.engine.submit(&Event::Removed(entry), hash);
    test.engine.submit(&Event::Inserted(entry), hash);
    assert_eq!((test.nodes(), test.linked()), (0, 0));
    // As a victim that was taken out of the table by its remover before.
    let guard = reclaim::pin();
    let owned = Owned::extended(hash, 1, 1, 7, spec, None);
    let (entry, _) =
        test.engine.table.upsert(owned, |_, _| true, &guard).ok().expect("none refuses");
    drop(guard);
    test.engine.submit(&Event::Inserted(entry), hash);
    assert!(test.engine.table.remove_entry(entry, &reclaim::pin()));
    test.engine.partitions[0].core.lock().evictor.evict();
    assert_eq!(test.nodes(), 0);
    test.engine.submit(&Event::Removed(entry), hash);
    assert_eq!(test.engine.stats().retired_bytes, 2 * Entry::<u64, u64>::BYTES as u64);
}

#[test]
fn events_that_were_pushed_are_applied_in_batches() {
    let test = TestEngine::new(Maintenance::Background, 320);
    assert_eq!(test.engine.batch, 8);
    for count in 1..=100 {
        test.insert_pushed(count);
        assert_eq!(u64::from(test.waiting()), count % 8);
        assert_eq!(test.linked() as u64, count / 8 * 8);
    }
    test.insert_pushed(101);
    assert!(test.engine.has_work());
    test.engine.run_pending();
    assert_eq!((test.waiting(), test.linked()), (0, 101));
    assert!(!test.engine.has_work(), "nothing waits");
}

#[test]
fn a_writer_that_gets_the_lock_applies_its_event_after_a_few_others() {
    let test = TestEngine::new(Maintenance::Background, 320);
    for key in 0..10 {
        test.insert(key);
        assert_eq!((test.waiting(), test.linked() as u64), (0, key + 1));
    }
    for key in 10..17 {
        test.insert_pushed(key);
    }
    assert_eq!((test.waiting(), test.linked()), (7, 10));
    for (key, waiting) in [(17, 4), (18, 1), (19, 0), (20, 0)] {
        let entry = test.insert(key);
        assert_eq!((test.waiting(), entry.meta().node().is_some()), (waiting, true));
    }
    assert_eq!((test.linked(), test.engine.len()), (21, 21));
}

#[test]
fn a_visit_applies_waiting_events_and_opens_buckets() {
    let test = TestEngine::new(Maintenance::Background, 320);
    for key in 0..7 {
        test.insert_pushed(key);
    }
    assert!(!test.engine.tick(), "nothing is left to do");
    assert_eq!((test.waiting(), test.linked()), (0, 7));
    assert!(!test.engine.has_closed_buckets());
}

#[test]
fn a_visit_leaves_a_partition_to_writers_that_run_it() {
    let test = TestEngine::new(Maintenance::Background, 320);
    for key in 0..11 {
        test.insert_pushed(key);
    }
    assert_eq!(test.waiting(), 3);
    assert!(test.engine.tick(), "another visit is needed");
    assert_eq!(test.waiting(), 3, "a writer has run it since the last visit");
    assert!(!test.engine.tick());
    assert_eq!(test.waiting(), 0, "no writer has run it since");
}

#[test]
fn hits_use_the_sample_that_the_policy_has_now() {
    let bounds = Bounds { capacity: None, max_weight: Some(1_000_000) };
    let limits = bounds.share(0, 1);
    let policy = Policy::default().instantiate(&bounds.policy_config(limits)).expect("known");
    let accesses = policy.accesses();
    let evictor = Evictor::new(policy, accesses, limits);
    let expiry_config = ExpiryConfig::<u64, u64>::default();
    let test = TestEngine {
        engine: engine_for(accesses, Maintenance::Inline, vec![evictor], &expiry_config),
        accesses: Arc::default(),
    };
    let rate = || test.engine.partitions[0].sample().rate();
    assert!(rate() > 0.99);
    for key in 0..600 {
        test.insert(key);
    }
    assert!((rate() - 1.0 / 8.0).abs() < 1e-6, "{}: mirrors would cost too much", rate());
}

#[test]
fn an_entry_is_recorded_once_between_two_runs_in_the_background() {
    let test = TestEngine::new(Maintenance::Background, 320);
    let (one, other) = (test.insert_pushed(1), test.insert_pushed(2));
    test.hit(one);
    test.engine.run_pending();
    assert_eq!(test.accesses(), 0, "it was not linked yet");
    for _ in 0..3 {
        [one, one, other, other, one, one].into_iter().for_each(|entry| test.hit(entry));
        test.engine.run_pending();
        assert_eq!(test.accesses(), 2);
    }
}

#[test]
fn every_access_of_one_thread_is_recorded_inline_and_none_is_lost() {
    let test = TestEngine::new(Maintenance::Inline, 320);
    let entry = test.insert(1);
    for _ in 0..1_000 {
        test.hit(entry);
    }
    test.engine.run_pending();
    assert_eq!(test.accesses(), 1_000);
    assert_eq!(test.engine.stats().dropped_accesses, 0);
}

#[test]
fn readers_drain_a_full_buffer_unless_another_thread_runs_maintenance() {
    let test = TestEngine::new(Maintenance::Inline, 320);
    let entry = test.insert(1);
    let core = test.engine.partitions[0].core.lock();
    for _ in 0..1_000 {
        test.hit(entry);
    }
    drop(core);
    let dropped = test.engine.stats().dropped_accesses;
    assert!((1..1_000).contains(&dropped), "{dropped}");
    test.engine.run_pending();
    assert_eq!(test.accesses() as u64 + dropped, 1_000);
}

#[test]
fn a_reader_of_a_full_buffer_applies_the_events_that_wait() {
    let test = TestEngine::new(Maintenance::Background, 320);
    let entries: Vec<EntryPtr> = (0..100).map(|key| test.insert(key)).collect();
    test.engine.run_pending();
    let runs = || test.engine.stats().maintenance_runs;
    let (partition, before) = (&test.engine.partitions[0], runs());
    entries.iter().for_each(|entry| test.hit(*entry));
    assert_eq!((runs(), test.accesses()), (before + 1, 64), "nothing else waits");

    test.insert_pushed(200);
    assert_eq!(partition.writes.waiting(), 1);
    // The buffer still has 36 records.
    entries[..50].iter().for_each(|entry| test.hit(*entry));
    assert_eq!((partition.writes.waiting(), runs(), test.accesses()), (0, before + 2, 64));
    assert_eq!(test.engine.stats().dropped_accesses, 0);
}

#[test]
fn batches_and_room_are_parts_of_the_smallest_partition() {
    for (entries, part, limit, events) in
        [(0, 32, 64, 1), (31, 32, 64, 1), (64, 32, 64, 2), (1 << 40, 32, 64, 64), (63, 16, 3, 3)]
    {
        assert_eq!(events_in(entries, part, limit), events);
    }
    let engine = lru_engine::<u64>(Maintenance::Background, entries(650), 4);
    assert_eq!((engine.partitions(), engine.batch), (4, 162 / 32));
    let huge = lru_engine::<u64>(Maintenance::Background, entries(1 << 24), 1);
    assert_eq!(huge.batch, MAX_BATCH);
}
