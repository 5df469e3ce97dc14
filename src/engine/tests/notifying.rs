//! Direct runs in a cache with a listener: which events they take, and in which order they notify.

use super::*;
use crate::buffer::write_buffer::{ChangeKind, Claim};
use crate::engine::partition::Partition;
use crate::listener::{Listener, Removal};

type Notified = (u64, RemovalCause);

/// An engine of one partition with the policy FIFO and a listener that notes what it is notified of.
struct Listened {
    engine: Engine<u64, u64>,
    notified: Arc<Mutex<Vec<Notified>>>,
}

impl Listened {
    fn new(mode: Maintenance, capacity: usize) -> Self {
        let limits = Limits { entries: capacity, weight: u64::MAX };
        let config = entries(capacity).policy_config(limits);
        let policy = Policy::fifo().instantiate(&config).expect("known");
        Self::with_policy(mode, policy, limits)
    }

    fn with_policy(mode: Maintenance, policy: Box<dyn EvictionPolicy>, limits: Limits) -> Self {
        let notified = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&notified);
        let listener = Listener::new(move |removal: &Removal<'_, u64, u64>| {
            sync::lock(&notes).push((*removal.key, removal.cause));
        });
        let engine = Engine::new(EngineConfig {
            listening: Some(Arc::new(listener.listening())),
            ..config_for(
                Accesses::Order,
                mode,
                vec![Evictor::new(policy, Accesses::Order, limits)],
                &ExpiryConfig::default(),
            )
        });
        assert!(engine.takes_direct_runs && !engine.is_plain);
        Self { engine, notified }
    }

    fn partition(&self) -> &Partition<u64, u64> {
        &self.engine.partitions[0]
    }

    fn claim(&self, kind: ChangeKind) -> Claim<'_> {
        self.partition().writes.claim(kind).expect("there is room")
    }

    fn put(&self, key: u64) -> EntryPtr {
        let new = Owned::new(hash_of(key), 1, key, key);
        let linked = self.engine.table.insert_if_absent(new, |_| true, &reclaim::pin());
        linked.ok().expect("absent")
    }

    fn insert(&self, key: u64) -> EntryPtr {
        let claim = self.claim(ChangeKind::Insert);
        let entry = self.put(key);
        self.engine.follow_up(claim.fill(Event::Inserted(entry)), hash_of(key));
        entry
    }

    fn take_out(&self, entry: EntryPtr, claim: Claim<'_>) -> u32 {
        assert!(self.engine.table.remove_entry(entry, &reclaim::pin()));
        entry.meta().set_cause(RemovalCause::Explicit);
        claim.fill(Event::Removed(entry))
    }

    fn remove(&self, entry: EntryPtr) {
        let hash = entry.hash();
        let end = self.take_out(entry, self.claim(ChangeKind::Remove));
        self.engine.follow_up(end, hash);
    }

    fn notified(&self) -> Vec<Notified> {
        std::mem::take(&mut sync::lock(&self.notified))
    }
}

impl Drop for Listened {
    fn drop(&mut self) {
        self.engine.tear_down();
    }
}

#[test]
fn with_a_listener_each_change_is_a_direct_run_whose_removals_are_notified_at_once() {
    for mode in [Maintenance::Background, Maintenance::Inline] {
        let test = Listened::new(mode, 3);
        let all: Vec<_> = (0..3).map(|key| test.insert(key)).collect();
        test.remove(all[1]);
        assert_eq!(test.notified(), [(1, RemovalCause::Explicit)]);
        test.insert(3);
        assert_eq!(test.notified(), []);
        test.insert(4);
        assert_eq!(test.notified(), [(0, RemovalCause::Evicted)]);
        test.insert(5);
        assert_eq!(test.notified(), [(2, RemovalCause::Evicted)]);
        assert_eq!(test.partition().runs(), (0, 7), "{mode:?}");
        assert_eq!((test.engine.len(), test.engine.stats().evictions), (3, 2));
        test.engine.apply_pending();
        assert_eq!(test.notified(), []);
        test.engine.validate();
    }
}

#[test]
fn a_removal_waits_for_the_slots_that_were_claimed_before_it() {
    let test = Listened::new(Maintenance::Background, 100);
    let first = test.insert(0);
    (1..100).for_each(|key| _ = test.insert(key));
    // Another thread is about to remove an entry, of whatever key.
    let claim = test.claim(ChangeKind::Remove);
    assert_eq!(test.notified(), []);
    let insertion = test.claim(ChangeKind::Insert);
    let second = test.put(100);
    test.engine.follow_up(insertion.fill(Event::Inserted(second)), hash_of(100));
    assert_eq!(test.partition().writes.waiting(), 2, "the slot holds back the one behind it");
    // It removes the entry that would have been evicted.
    test.engine.follow_up(test.take_out(first, claim), first.hash());
    assert_eq!(test.notified(), [(0, RemovalCause::Explicit)]);
    assert_eq!((test.engine.len(), test.partition().writes.waiting()), (100, 0));

    // The insertion is applied, and evicts, while a slot behind it is claimed.
    let insertion = test.claim(ChangeKind::Insert);
    let third = test.put(101);
    let end = insertion.fill(Event::Inserted(third));
    let unused = test.claim(ChangeKind::Remove);
    test.engine.follow_up(end, hash_of(101));
    assert_eq!((test.engine.len(), test.partition().writes.waiting()), (99, 1));
    assert_eq!(test.notified(), [], "the other thread may have removed it before");
    let removal = test.claim(ChangeKind::Remove);
    drop(unused);
    let end = test.take_out(third, removal);
    test.engine.follow_up(end, third.hash());
    let both = [(1, RemovalCause::Evicted), (101, RemovalCause::Explicit)];
    assert_eq!(test.notified(), both, "in the order in which they left the table");
    assert_eq!((test.engine.len(), test.partition().writes.waiting()), (99, 0));
    let (whole, _) = test.partition().runs();
    assert_eq!(whole, 0);
    test.engine.validate();
}

#[test]
fn a_removal_that_takes_more_than_a_direct_run_is_notified_before_what_is_deferred_until_then() {
    let test = Listened::new(Maintenance::Background, 100);
    (0..100).for_each(|key| _ = test.insert(key));
    let insertion = test.claim(ChangeKind::Insert);
    let old = test.put(100);
    let end = insertion.fill(Event::Inserted(old));
    let replacement = test.claim(ChangeKind::Replace);
    test.engine.follow_up(end, hash_of(100));
    assert_eq!(test.notified(), [], "the eviction is deferred");
    let new = Owned::new(hash_of(100), 1, 100, 1);
    let Ok((new, Some(_))) = test.engine.table.upsert(new, |_, _| true, &reclaim::pin()) else {
        unreachable!("the key is there")
    };
    // Replaced, but not because of that.
    old.meta().set_cause(RemovalCause::Invalidated);
    test.engine.follow_up(replacement.fill(Event::Replaced { new, old }), hash_of(100));
    let both = [(100, RemovalCause::Invalidated), (0, RemovalCause::Evicted)];
    assert_eq!(test.notified(), both);
    assert_eq!(test.partition().runs().0, 1, "a whole run");
    assert_eq!((test.engine.len(), test.partition().writes.waiting()), (100, 0));
    test.engine.validate();
}

#[test]
fn no_caller_applies_more_than_a_few_events_of_others_and_none_is_forgotten() {
    let test = Listened::new(Maintenance::Background, 100);
    let held = test.claim(ChangeKind::Remove);
    for key in 0..10 {
        test.insert(key);
    }
    assert_eq!(test.partition().writes.waiting(), 11);
    drop(held);
    test.insert(10);
    assert_eq!(test.partition().writes.waiting(), 8, "four slots, one of them unused");
    test.engine.apply_pending();
    assert_eq!((test.partition().writes.waiting(), test.engine.len()), (0, 11));
    test.engine.validate();

    let test = Listened::new(Maintenance::Inline, 100);
    let held = test.claim(ChangeKind::Remove);
    for key in 0..10 {
        let claim = test.claim(ChangeKind::Insert);
        let entry = test.put(key);
        claim.fill(Event::Inserted(entry));
    }
    drop(held);
    test.insert(10);
    assert_eq!(
        (test.partition().writes.waiting(), test.engine.len()),
        (0, 11),
        "inline, all before it"
    );
}

/// Evicts the oldest entry, and panics in every second call.
struct Faulty {
    calls: usize,
    ids: Vec<NodeId>,
}

impl Faulty {
    fn count(&mut self) {
        self.calls += 1;
        assert!(self.calls.is_multiple_of(2), "as the test wants");
    }
}

impl EvictionPolicy for Faulty {
    fn accesses(&self) -> Accesses {
        Accesses::Order
    }
    fn on_insert(&mut self, id: NodeId, _: &dyn Nodes) {
        self.ids.push(id);
        self.count();
    }
    fn on_access(&mut self, _: NodeId, _: &dyn Nodes) {}
    fn on_update(&mut self, _: NodeId, _: u32, _: &dyn Nodes) {}
    fn on_remove(&mut self, id: NodeId, _: &dyn Nodes) {
        self.ids.retain(|known| *known != id);
        self.count();
    }
    fn evict(&mut self, _: &dyn Nodes) -> Option<NodeId> {
        self.count();
        (!self.ids.is_empty()).then(|| self.ids.remove(0))
    }
}

#[test]
fn with_a_policy_that_panics_each_removal_is_notified_once_and_nothing_is_lost() {
    for mode in [Maintenance::Background, Maintenance::Inline] {
        let limits = Limits { entries: 5, weight: u64::MAX };
        let policy = Box::new(Faulty { calls: 0, ids: Vec::new() });
        let test = Listened::with_policy(mode, policy, limits);
        let mut removed = 0;
        for key in 0..200 {
            let entry = test.insert(key);
            let is_there = test.engine.table.is_linked(entry, &reclaim::pin());
            if key % 7 == 0 && is_there {
                test.remove(entry);
                removed += 1;
            }
        }
        test.engine.apply_pending();
        test.engine.apply_pending();
        let mut notified = test.notified();
        let explicit = |(_, cause): &&Notified| *cause == RemovalCause::Explicit;
        assert_eq!(notified.iter().filter(explicit).count(), removed);
        notified.sort_by_key(|(key, _)| *key);
        notified.dedup_by_key(|(key, _)| *key);
        assert_eq!(notified.len() + test.engine.len(), 200, "{mode:?}");
        let stats = test.engine.stats();
        assert_eq!(stats.evictions as usize + removed, notified.len());
        assert!(stats.maintenance_panics > 100 && test.engine.len() <= 5);
    }
}
