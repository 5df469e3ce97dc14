//! The evictor of one partition, with a policy that follows a script.

use std::sync::{Arc, Mutex};

use super::*;
use crate::base::hash::KeyHash;
use crate::base::sync;
use crate::buffer::read_buffer::ReadRecord;
use crate::entry::{Deadline, DeadlineSpec, Owned};
use crate::policy::Hints;
use crate::policy::bounds::Bounds;
use crate::reclaim::{self, Freeable};
use crate::table::Table;

/// A call that the policy has received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PolicyCall {
    Insert(u32),
    Access(u32),
    /// The node and the old weight.
    Update(u32, u32),
    Remove(u32),
    Restore(u32, u32),
    Resize(Option<usize>, Option<u64>),
}

/// What the policy answers, and the calls that it has received.
#[derive(Default)]
struct Script {
    calls: Vec<PolicyCall>,
    victims: Vec<u32>,
    named: Vec<u32>,
    sample: Option<Sample>,
    panics: bool,
}

struct Scripted {
    script: Arc<Mutex<Script>>,
    accesses: Accesses,
    room: Room,
}

impl Scripted {
    fn note(&self, calls: PolicyCall) {
        let mut script = sync::lock(&self.script);
        script.calls.push(calls);
        let panics = script.panics;
        drop(script);
        assert!(!panics, "as scripted");
    }
}

impl EvictionPolicy for Scripted {
    fn accesses(&self) -> Accesses {
        match (self.accesses, sync::lock(&self.script).sample) {
            (Accesses::Mark { .. }, Some(sample)) => Accesses::Mark { sample },
            (accesses, _) => accesses,
        }
    }
    fn room(&self) -> Room {
        self.room
    }
    fn on_insert(&mut self, id: NodeId, _: &dyn Nodes) {
        self.note(PolicyCall::Insert(id.to_raw()));
    }
    fn on_access(&mut self, id: NodeId, _: &dyn Nodes) {
        self.note(PolicyCall::Access(id.to_raw()));
    }
    fn on_update(&mut self, id: NodeId, old_weight: u32, _: &dyn Nodes) {
        self.note(PolicyCall::Update(id.to_raw(), old_weight));
    }
    fn on_remove(&mut self, id: NodeId, _: &dyn Nodes) {
        self.note(PolicyCall::Remove(id.to_raw()));
    }
    fn on_restore(&mut self, id: NodeId, word: u32, _: &dyn Nodes) {
        self.note(PolicyCall::Restore(id.to_raw(), word));
    }
    fn on_resize(&mut self, config: &PolicyConfig, _: &dyn Nodes) {
        self.note(PolicyCall::Resize(config.capacity_entries, config.max_weight));
    }
    fn evict(&mut self, _: &dyn Nodes) -> Option<NodeId> {
        sync::lock(&self.script).victims.pop().map(NodeId::from_raw)
    }
    fn to_restore(&self, _: &dyn Nodes, name: &mut dyn FnMut(NodeId, u32)) {
        for id in &sync::lock(&self.script).named {
            name(NodeId::from_raw(*id), 100 + id);
        }
    }
    fn hints(&self) -> &dyn Hints {
        self
    }
}

impl Hints for Scripted {
    fn coldest(&self, _: usize, _: &dyn Nodes, name: &mut dyn FnMut(NodeId)) {
        sync::lock(&self.script).named.iter().for_each(|id| name(NodeId::from_raw(*id)));
    }
    fn hottest(&self, count: usize, nodes: &dyn Nodes, name: &mut dyn FnMut(NodeId)) {
        self.coldest(count, nodes, name);
    }
}

/// An evictor, and a table for its entries.
struct TestPartition {
    evictor: Evictor,
    script: Arc<Mutex<Script>>,
    table: Table<u64, u64>,
}

const LIMITS: Limits = Limits { entries: 3, weight: 100 };

impl TestPartition {
    fn new(accesses: Accesses, room: Room) -> Self {
        let script = Arc::<Mutex<Script>>::default();
        let policy = Scripted { script: Arc::clone(&script), accesses, room };
        let evictor = Evictor::new(Box::new(policy), accesses, LIMITS);
        Self { evictor, script, table: Table::new(0) }
    }

    fn plain() -> Self {
        Self::new(Accesses::Counter { max: 3 }, Room::BeforeInsert)
    }

    /// An entry that is not linked yet.
    fn entry(&self, hash: u64, weight: u32, prepare: impl FnOnce(&Owned<u64, u64>)) -> EntryPtr {
        let owned = Owned::new(KeyHash::from_raw(hash), weight, hash << 32 | u64::from(weight), 0);
        prepare(&owned);
        let inserted = self.table.insert_if_absent(owned, |_| true, &reclaim::pin());
        inserted.ok().expect("no other entry has that hash and weight")
    }

    fn insert(&mut self, hash: u64, weight: u32) -> EntryPtr {
        let entry = self.entry(hash, weight, |_| {});
        self.evictor.insert(entry, entry.meta());
        entry
    }

    /// Inserts as many entries as the bound allows.
    fn fill(&mut self, weight: u32) {
        for hash in 1..=LIMITS.entries as u64 {
            self.insert(hash, weight);
        }
    }

    fn insert_unevictable(&mut self, hash: u64, weight: u32) -> EntryPtr {
        let entry = self.entry(hash, weight, Owned::set_unevictable);
        self.evictor.insert(entry, entry.meta());
        entry
    }

    fn access_each(&mut self, records: &[ReadRecord]) {
        let mut accesses = AccessBatch::default();
        for record in records {
            self.evictor.access(&mut accesses, *record);
        }
        self.evictor.report(&mut accesses);
    }

    fn calls(&self) -> Vec<PolicyCall> {
        std::mem::take(&mut sync::lock(&self.script).calls)
    }

    fn evict(&mut self) -> Option<u64> {
        self.evictor.evict().map(|entry| entry.hash().raw())
    }
}

impl Drop for TestPartition {
    fn drop(&mut self) {
        let mut all = Vec::new();
        self.table.drain(|entry| all.push(entry));
        assert_eq!(Freeable::<u64, u64>::last(all).dispose(), 0);
    }
}

fn id(raw: u32) -> NodeId {
    NodeId::from_raw(raw)
}

#[test]
fn shares_add_up_to_the_bounds_and_differ_by_one_at_most() {
    let bounds = Bounds { capacity: Some(10), max_weight: Some(7) };
    let shares: Vec<_> = (0..4).map(|at| bounds.share(at, 4)).collect();
    assert_eq!(shares.iter().map(|share| share.entries).collect::<Vec<_>>(), [3, 3, 2, 2]);
    assert_eq!(shares.iter().map(|share| share.weight).collect::<Vec<_>>(), [2, 2, 2, 1]);
    let config = bounds.policy_config(shares[3]);
    assert_eq!((config.capacity_entries, config.max_weight), (Some(2), Some(1)));
}

#[test]
fn an_unbounded_partition_holds_what_its_counts_have_room_for() {
    let most = i32::MAX as usize - 1024;
    for capacity in [None, Some(usize::MAX)] {
        let share = Bounds { capacity, max_weight: None }.share(0, 1);
        assert_eq!((share.entries, share.weight), (most, u64::MAX));
    }
    let none = Bounds { capacity: None, max_weight: None };
    let config = none.policy_config(none.share(0, 1));
    assert_eq!((config.capacity_entries, config.max_weight), (None, None));
}

#[test]
fn room_is_lacking_when_one_more_entry_would_exceed_a_limit() {
    let mut full = TestPartition::plain();
    let light = full.entry(90, 1, |_| {});
    let heavy = full.entry(91, 200, |_| {});
    let unevictable = full.entry(92, 200, Owned::set_unevictable);
    assert!(!full.evictor.lacks_room_for(heavy.meta()), "no entry could leave");
    full.insert(1, 40);
    full.insert(2, 40);
    let fits = full.entry(93, 20, |_| {});
    let too_much = full.entry(94, 21, |_| {});
    assert!(
        !full.evictor.lacks_room_for(fits.meta()) && full.evictor.lacks_room_for(too_much.meta())
    );
    full.insert(3, 0);
    assert!(full.evictor.lacks_room_for(light.meta()), "three entries are the limit");
    assert!(!full.evictor.lacks_room_for(unevictable.meta()), "the limits do not count it");

    let mut late = TestPartition::new(Accesses::None, Room::AfterInsert);
    late.fill(1);
    let new = late.entry(9, 1, |_| {});
    assert!(!late.evictor.lacks_room_for(new.meta()), "its policy wants to see it first");
}

#[test]
fn bounds_are_exceeded_by_entries_or_by_weight_alone() {
    let mut by_entries = TestPartition::plain();
    by_entries.fill(1);
    assert!(!by_entries.evictor.is_above_enforced() && !by_entries.evictor.is_above_limits());
    by_entries.insert(4, 1);
    assert!(by_entries.evictor.is_above_enforced() && by_entries.evictor.is_above_limits());

    let mut by_weight = TestPartition::plain();
    by_weight.insert(1, 100);
    assert!(!by_weight.evictor.is_above_enforced() && !by_weight.evictor.is_above_limits());
    by_weight.insert(2, 1);
    assert!(by_weight.evictor.is_above_enforced() && by_weight.evictor.is_above_limits());
}

#[test]
fn lowered_bounds_are_approached_from_what_is_there() {
    let mut partition = TestPartition::plain();
    partition.fill(30);
    partition.calls();
    let limits = Limits { entries: 2, weight: 80 };
    partition.evictor.set_limits(limits, &PolicyConfig::new(Some(2), Some(80)));
    assert_eq!(partition.calls(), [PolicyCall::Resize(Some(2), Some(80))]);
    assert_eq!(partition.evictor.limits().entries, 2);
    assert!(partition.evictor.is_above_limits() && !partition.evictor.is_above_enforced());
    partition.insert(4, 0);
    assert!(partition.evictor.is_above_enforced(), "it does not grow meanwhile");
    assert!(partition.evict().is_some() && partition.evict().is_some());
    partition.evictor.ratchet();
    assert!(!partition.evictor.is_above_limits() && !partition.evictor.is_above_enforced());
    partition.insert(5, 0);
    assert!(partition.evictor.is_above_enforced(), "the enforced limits are not raised again");
}

#[test]
fn a_replacement_takes_over_the_node_and_the_counter_of_the_key() {
    let mut partition = TestPartition::plain();
    let old = partition.insert(1, 10);
    old.set_frequency(2);
    old.meta().set_scratch(77);
    let new = partition.entry(1, 20, |_| {});
    partition.evictor.update(id(0), old, new);
    assert_eq!(partition.calls(), [PolicyCall::Insert(0), PolicyCall::Update(0, 10)]);
    assert_eq!((new.frequency(), new.meta().scratch(), new.meta().node()), (3, 77, Some(id(0))));
    assert_eq!((old.meta().node(), partition.evictor.weight()), (None, 20));
    let newest = partition.entry(1, 5, |_| {});
    partition.evictor.update(id(0), new, newest);
    assert_eq!(newest.frequency(), 3, "no more than the policy asked for");
    partition.evictor.validate();
}

#[test]
fn the_cache_keeps_the_scratch_word_where_the_policy_asks_for_order() {
    let mut partition = TestPartition::new(Accesses::Order, Room::BeforeInsert);
    assert!(partition.evictor.needs_ticks());
    assert!(!TestPartition::plain().evictor.needs_ticks());
    let old = partition.insert(1, 10);
    old.meta().set_scratch(77);
    old.set_frequency(9);
    let new = partition.entry(1, 20, |_| {});
    partition.evictor.update(id(0), old, new);
    assert_eq!((new.meta().scratch(), new.frequency()), (0, 0));
}

#[test]
fn the_policy_never_sees_unevictable_entries() {
    let mut partition = TestPartition::plain();
    let (plain, unevictable) = (partition.insert(1, 10), partition.insert_unevictable(2, 20));
    assert_eq!(partition.calls(), [PolicyCall::Insert(0)]);
    assert_eq!((partition.evictor.len(), partition.evictor.weight()), (2, 30));
    partition.access_each(&[ReadRecord::new(id(1), KeyHash::from_raw(2))]);
    let still_unevictable = partition.entry(2, 21, Owned::set_unevictable);
    partition.evictor.update(id(1), unevictable, still_unevictable);
    assert_eq!(partition.calls(), []);

    // From one kind to the other, and back.
    let now_unevictable = partition.entry(1, 11, Owned::set_unevictable);
    partition.evictor.update(id(0), plain, now_unevictable);
    assert_eq!(partition.calls(), [PolicyCall::Remove(0)]);
    let now_plain = partition.entry(2, 22, |_| {});
    still_unevictable.set_frequency(2);
    still_unevictable.meta().set_scratch(5);
    partition.evictor.update(id(1), still_unevictable, now_plain);
    assert_eq!(partition.calls(), [PolicyCall::Insert(1)]);
    assert_eq!((now_plain.frequency(), now_plain.meta().scratch()), (0, 0), "new to the policy");
    assert_eq!(partition.evictor.weight(), 33);
    partition.evictor.validate();

    partition.evictor.remove(id(0));
    assert_eq!((partition.calls(), partition.evictor.weight()), (vec![], 22));
    partition.evictor.remove(id(1));
    assert_eq!((partition.calls(), partition.evictor.weight()), (vec![PolicyCall::Remove(1)], 0));
    assert_eq!(partition.evictor.len(), 0);
}

#[test]
fn an_access_is_reported_if_the_node_is_still_that_of_its_key() {
    let mut partition = TestPartition::plain();
    let entry = partition.insert(7 << 32 | 7, 1);
    let other = KeyHash::from_raw(7 << 33);
    partition.calls();
    let accesses = [(0, entry.hash()), (0, other), (5, entry.hash())];
    partition.access_each(&accesses.map(|(node, hash)| ReadRecord::new(id(node), hash)));
    assert_eq!(partition.calls(), [PolicyCall::Access(0)]);
}

#[test]
fn more_accesses_than_a_batch_holds_are_reported_in_their_order() {
    let mut partition = TestPartition::plain();
    let entries: Vec<EntryPtr> = (0..3).map(|key| partition.insert(key << 16, 1)).collect();
    partition.calls();
    for count in [1, 63, 64, 65, 128, 1_000] {
        let nodes = (0..count).map(|step| step * step % 3);
        let records: Vec<ReadRecord> = nodes
            .clone()
            .map(|node| ReadRecord::new(id(node), entries[node as usize].hash()))
            .collect();
        partition.access_each(&records);
        let expected: Vec<PolicyCall> = nodes.map(PolicyCall::Access).collect();
        assert_eq!(partition.calls(), expected, "{count}");
    }
}

#[test]
fn any_entry_is_evicted_if_the_policy_names_no_victim_or_a_wrong_one() {
    let mut partition = TestPartition::plain();
    partition.fill(1);
    partition.insert_unevictable(4, 1);
    sync::lock(&partition.script).victims = vec![1];
    partition.calls();
    assert_eq!((partition.evict(), partition.evictor.faults()), (Some(2), 0));
    assert_eq!(partition.calls(), [], "a policy that names a victim has forgotten it");
    sync::lock(&partition.script).victims = vec![3, 1, 99];
    assert_eq!((partition.evict(), partition.evictor.faults()), (Some(1), 1), "there is no 99");
    assert_eq!((partition.evict(), partition.evictor.faults()), (Some(3), 2), "1 has left");
    assert_eq!(partition.calls(), [PolicyCall::Remove(0), PolicyCall::Remove(2)]);
    partition.insert(5, 1);
    assert_eq!(
        (partition.evict(), partition.evictor.faults()),
        (Some(5), 3),
        "node 3 is unevictable"
    );
    assert_eq!(
        (partition.evict(), partition.evictor.faults()),
        (None, 3),
        "the entry that is left is unevictable"
    );
}

#[test]
fn a_new_entry_is_not_the_next_to_leave_if_the_policy_names_no_victim() {
    let mut partition = TestPartition::plain();
    partition.fill(1);
    for (new, leaves) in [(4, 1), (5, 2), (6, 3), (7, 4), (8, 5), (9, 6)] {
        assert_eq!(partition.evict(), Some(leaves));
        partition.insert(new, 1);
    }
    // The search goes round, past empty nodes.
    assert_eq!([(); 4].map(|()| partition.evict()), [Some(7), Some(8), Some(9), None]);
}

#[test]
fn validation_finds_parts_that_do_not_agree() {
    let is_valid = |spoil: fn(&mut Evictor, EntryPtr)| {
        let mut partition = TestPartition::plain();
        let entry = partition.insert(1, 10);
        partition.insert_unevictable(2, 20);
        partition.evictor.validate();
        spoil(&mut partition.evictor, entry);
        catch(|| partition.evictor.validate()).is_ok()
    };
    assert!(is_valid(|_, _| {}));
    assert!(!is_valid(|_, entry| entry.meta().set_node(None)));
    assert!(!is_valid(|_, entry| entry.meta().set_gone()));
    assert!(!is_valid(|evictor, _| evictor.nodes.weight += 1));
    assert!(!is_valid(|evictor, _| evictor.nodes.unevictable += 1));
    assert!(!is_valid(|evictor, _| evictor.nodes.unevictable_weight -= 1));
    assert!(!is_valid(|evictor, _| evictor.nodes.free.push(id(7))));
    assert!(!is_valid(|evictor, _| evictor.nodes.entries.push(None)));
    assert!(!is_valid(|evictor, _| evictor.limits.weight = 9));
}

#[test]
fn a_panic_of_the_policy_is_a_fault_and_its_payload_is_handed_on() {
    let mut partition = TestPartition::plain();
    sync::lock(&partition.script).panics = true;
    partition.insert(1, 1);
    assert_eq!((partition.evictor.faults(), partition.evictor.len()), (1, 1));
    assert_eq!(partition.evictor.take_payloads().len(), 1);
    assert_eq!(partition.evictor.take_payloads().len(), 0);
    partition.evictor.validate();
}

#[test]
fn ranked_entries_are_those_the_policy_names_and_then_the_others() {
    let mut partition = TestPartition::plain();
    for (hash, frequency) in [(1, 1), (2, 3), (3, 2)] {
        partition.insert(hash, 1).set_frequency(frequency);
    }
    partition.insert_unevictable(4, 1);
    sync::lock(&partition.script).named = vec![2, 3, 99, 1];
    // A node that the policy does not name follows.
    assert_eq!(
        partition.evictor.ranked(Rank::Coldest, 9),
        [(KeyHash::from_raw(3), 2), (KeyHash::from_raw(2), 3), (KeyHash::from_raw(1), 1)]
    );
    assert_eq!(partition.evictor.ranked(Rank::Hottest, 1), [(KeyHash::from_raw(3), 2)]);
    // If it names no evictable node, all are ranked by frequency.
    sync::lock(&partition.script).named = vec![3, 99];
    assert_eq!(
        partition.evictor.ranked(Rank::Coldest, 9),
        [(KeyHash::from_raw(1), 1), (KeyHash::from_raw(3), 2), (KeyHash::from_raw(2), 3)]
    );
    assert_eq!(
        partition.evictor.ranked(Rank::Hottest, 2),
        [(KeyHash::from_raw(2), 3), (KeyHash::from_raw(3), 2)]
    );
}

#[test]
fn frequency_and_segment_are_those_of_the_entry_with_that_hash() {
    let mut partition = TestPartition::plain();
    partition.insert(1, 1).set_frequency(2);
    partition.insert_unevictable(2, 1).set_frequency(1);
    assert_eq!(partition.evictor.frequency(id(0), KeyHash::from_raw(1)), Some(2));
    assert_eq!(partition.evictor.frequency(id(0), KeyHash::from_raw(9)), None);
    assert_eq!(partition.evictor.frequency(id(1), KeyHash::from_raw(2)), Some(1));
    assert_eq!(
        partition.evictor.segment_of(id(0), KeyHash::from_raw(1)),
        None,
        "the policy names no segment"
    );
    assert_eq!(partition.evictor.segments(), []);
}

#[test]
fn a_policy_may_change_its_sample_if_it_has_one() {
    let (some, more) = (Sample::with_rate(0.25), Sample::with_rate(0.5));
    let mut marks = TestPartition::new(Accesses::Mark { sample: some }, Room::BeforeInsert);
    assert_eq!(marks.evictor.sample(), some);
    sync::lock(&marks.script).sample = Some(more);
    assert_eq!(marks.evictor.sample(), more);

    let mut none = TestPartition::new(Accesses::Mark { sample: Sample::NONE }, Room::BeforeInsert);
    sync::lock(&none.script).sample = Some(more);
    assert_eq!(none.evictor.sample(), Sample::NONE, "the policy is not asked again");
}

#[test]
fn a_timer_fires_once_and_again_if_it_is_set_again() {
    const SECOND: u64 = 1_000_000_000;
    let mut partition = TestPartition::plain();
    let spec = DeadlineSpec {
        written_ns: None,
        deadline_ns: 100 * SECOND,
        limit_ns: None,
        has_computed: false,
    };
    let owned = Owned::extended(KeyHash::from_raw(1), 1, 1, 0, spec, None);
    let entry = partition.table.insert_if_absent(owned, |_| true, &reclaim::pin());
    let entry = entry.ok().expect("absent");
    partition.evictor.insert(entry, entry.meta());
    let fires = |evictor: &mut Evictor, seconds: u64| {
        evictor.fire(seconds * SECOND, &mut 100).map(|(id, fired)| {
            assert!(fired == entry);
            id.to_raw()
        })
    };
    let evictor = &mut partition.evictor;
    assert!((50 * SECOND..=101 * SECOND).contains(&evictor.next_timer_ns()));
    assert_eq!(fires(evictor, 50), None);
    assert_eq!(fires(evictor, 200), Some(0));
    assert_eq!(evictor.next_timer_ns(), Deadline::NEVER);
    evictor.rewatch(id(0), entry);
    assert_eq!(fires(evictor, 500), Some(0), "its deadline has not moved");
}

#[test]
fn ids_are_used_again_before_new_ones() {
    let mut partition = TestPartition::plain();
    partition.fill(1);
    partition.evictor.remove(id(1));
    assert_eq!(partition.insert(4, 1).meta().node(), Some(id(1)));
    assert_eq!(partition.insert(5, 1).meta().node(), Some(id(3)));
    // At the limit nothing is wasted: there is room for one more, which is being inserted.
    assert_eq!(partition.evictor.nodes.entries.capacity(), 4);
    partition.insert_unevictable(6, 1);
    partition.insert_unevictable(7, 1);
    assert!(partition.evictor.nodes.entries.capacity() > 6, "besides the limit");
}

#[cfg(feature = "snapshot")]
#[test]
fn every_node_has_a_standing_and_unevictable_ones_the_warmest() {
    let mut partition = TestPartition::plain();
    for (hash, frequency) in [(1, 2), (2, 0), (3, 1)] {
        partition.insert(hash, 1).set_frequency(frequency);
    }
    partition.insert_unevictable(4, 1);
    partition.insert(5, 1);
    partition.evictor.remove(id(4));
    // A policy may name a node twice, or an unknown one.
    sync::lock(&partition.script).named = vec![1, 99, 1, 3];
    let standings = partition.evictor.standings();
    let quarter = u64::from(u32::MAX) / 4;
    let places: Vec<u64> = standings.iter().map(|it| u64::from(it.warmth) / quarter).collect();
    assert_eq!(places, [3, 1, 2, 4, 0], "the node that is named is the coldest, then by frequency");
    let words: Vec<u32> = standings.iter().map(|it| it.word).collect();
    assert_eq!(words, [0, 101, 0, 0, 0]);
    assert_eq!(partition.evictor.faults(), 0);
}
