//! The nodes of one partition: where the policy's ids and the table's entries meet.
//!
//! Owns the map from node ids to entries, the weight they have together, and the policy. All of
//! it belongs to the partition's maintenance, under its lock. A policy may be a user's: each call
//! is contained, so that one that panics or names a wrong victim costs the cache its order, not
//! its bounds nor its memory.
//!
//! An entry that is never evicted has a node like any other, by which it is removed, replaced and
//! watched by its timer, but the policy never hears of it and the bounds leave it out. Whether an
//! entry is one does not change; a replacement may be of the other kind.
#![forbid(unsafe_code)]

use std::collections::VecDeque;

use crate::base::node_id::NodeId;
use crate::base::panics::{Payload, catch};
use crate::buffer::read_buffer;
use crate::entry::{EntryMeta, EntryPtr};
use crate::expiry::Timers;
use crate::policy::bounds::Limits;
use crate::policy::held::Held;
use crate::policy::{Accesses, EvictionPolicy, Nodes, PolicyConfig, Room, Sample};

mod ahead;
mod loans;
mod members;
mod ranking;

pub(crate) use loans::Loans;
use members::Members;
pub(crate) use ranking::Rank;
#[cfg(feature = "snapshot")]
pub(crate) use ranking::Standing;

/// The policy of a partition and the entries it orders.
pub(crate) struct Order {
    policy: Held,
    members: Members,
    limits: Limits,
    /// What is kept at the moment: `limits`, or more while a lowered bound is approached.
    kept: Limits,
    /// What the other partitions have lent it for its heavy entries; a part of `limits` (`loans`).
    loan: u64,
    /// Of that, what is meant for heavy entries that are still being inserted.
    reserved: u64,
    /// What leaves only if nothing else can: the node whose update makes others leave, and the hash of
    /// its entry, which may have left since.
    spared: Option<(NodeId, u64)>,
    /// Where hits let the entries' counters saturate; 0 if the policy asks for none.
    counter_max: u8,
    /// Whether the policy has the entries' scratch words.
    owns_scratch: bool,
    /// The keys whose first marks the policy wants to hear of.
    sample: Sample,
    room: Room,
    /// Panics and wrong answers of the policy.
    faults: u64,
    payloads: Vec<Payload>,
    /// Where the search for a victim goes on when the policy names none.
    fallback: usize,
    /// What is to leave before the policy is asked, and what was but has left or was used since.
    demoted: VecDeque<NodeId>,
}

impl Order {
    /// `accesses` is what the policy asked for.
    pub(crate) fn new(policy: Box<dyn EvictionPolicy>, accesses: Accesses, limits: Limits) -> Self {
        let (counter_max, sample) = match accesses {
            Accesses::Counter { max } => (max, Sample::NONE),
            Accesses::Mark { sample } => (1, sample),
            Accesses::None | Accesses::Order => (0, Sample::NONE),
        };
        let members = Members::default();
        let room = policy.room();
        Self {
            policy: Held::new(policy),
            members,
            limits,
            kept: limits,
            loan: 0,
            reserved: 0,
            spared: None,
            counter_max,
            owns_scratch: accesses != Accesses::Order,
            sample,
            room,
            faults: 0,
            payloads: Vec::new(),
            fallback: 0,
            demoted: VecDeque::new(),
        }
    }

    /// With `timers` instead of those by default.
    pub(crate) fn with_timers(mut self, timers: Timers) -> Self {
        self.members.timers = timers;
        self
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.members.entries.len() - self.members.free.len()
    }

    #[inline]
    pub(crate) fn weight(&self) -> u64 {
        self.members.weight
    }

    /// Entries that the bounds are about.
    #[inline]
    fn bounded_len(&self) -> usize {
        self.len() - self.members.kept
    }

    /// Their weight.
    #[inline]
    fn bounded_weight(&self) -> u64 {
        self.members.weight - self.members.kept_weight
    }

    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    pub(crate) fn faults(&self) -> u64 {
        self.faults
    }

    /// Whether an entry's accesses are told once between two runs of maintenance.
    #[inline]
    pub(crate) fn needs_ticks(&self) -> bool {
        !self.owns_scratch
    }

    /// The keys whose first marks the policy wants to hear of from now on.
    #[inline]
    pub(crate) fn sample(&mut self) -> Sample {
        if self.sample != Sample::NONE
            && let Some(Accesses::Mark { sample }) = self.tell(|policy, _| policy.accesses())
        {
            self.sample = sample;
        }
        self.sample
    }

    /// Whether something has to leave before `new` can be inserted.
    #[inline]
    pub(crate) fn lacks_room_for(&self, new: &EntryMeta) -> bool {
        if self.room != Room::BeforeInsert || self.bounded_len() == 0 {
            return false;
        }
        let weight = u64::from(new.weight());
        !new.is_unevictable()
            && (self.bounded_len() >= self.kept.entries
                || self.bounded_weight().saturating_add(weight) > self.kept.weight)
    }

    #[inline]
    pub(crate) fn is_over(&self) -> bool {
        self.bounded_len() > self.kept.entries || self.bounded_weight() > self.kept.weight
    }

    /// Changes the bounds. Lower ones are approached by `lower_bounds`.
    pub(crate) fn set_limits(&mut self, limits: Limits, config: &PolicyConfig) {
        self.limits = limits;
        self.settle();
        self.tell(|policy, nodes| policy.on_resize(config, nodes));
    }

    /// Changes what it may weigh: its share, and what it was lent beside. The policy goes on with
    /// the share that it would have without loans: they come and go with single entries.
    pub(crate) fn set_weight(&mut self, limit: u64, loan: u64) {
        self.limits.weight = limit;
        self.loan = loan;
        self.settle();
    }

    /// Counts so much of the loan as meant for an entry that is being inserted.
    pub(crate) fn reserve(&mut self, weight: u64) {
        self.reserved += weight;
    }

    /// The entry is there now, or was not stored.
    pub(crate) fn release(&mut self, weight: u64) {
        self.reserved -= weight;
    }

    /// What it has to be lent at the moment.
    pub(crate) fn needed_loan(&self) -> u64 {
        self.reserved.saturating_add(self.members.heavy_weight)
    }

    /// Whether it was lent more than it needs.
    #[inline]
    pub(crate) fn has_unneeded_loan(&self) -> bool {
        self.loan > 0 && self.loan > self.needed_loan()
    }

    /// Whether more is kept than the bounds allow.
    #[inline]
    pub(crate) fn is_above_limits(&self) -> bool {
        self.bounded_len() > self.limits.entries || self.bounded_weight() > self.limits.weight
    }

    /// Keeps from now on no more than is there, down to the bounds.
    pub(crate) fn settle(&mut self) {
        self.kept = Limits {
            entries: self.limits.entries.max(self.bounded_len()),
            weight: self.limits.weight.max(self.bounded_weight()),
        };
    }

    /// Links a new entry, which has that metadata.
    #[inline]
    pub(crate) fn insert(&mut self, entry: EntryPtr, meta: &EntryMeta) {
        let id = self.members.add(entry, meta, self.limits.entries);
        self.members.timers.watch(id, entry);
        if meta.is_unevictable() {
            return;
        }
        match meta.restored() {
            None => self.tell_held(|policy, nodes| policy.on_insert(id, nodes)),
            Some(word) => {
                entry.set_frequency(entry.frequency().min(self.counter_max));
                meta.set_scratch(0);
                self.tell(|policy, nodes| policy.on_restore(id, word, nodes))
            }
        };
    }

    /// Hands the node of `old` on to `new`, which has taken its place in the table.
    #[inline]
    pub(crate) fn update(&mut self, id: NodeId, old: EntryPtr, new: EntryPtr) {
        let (old_meta, new_meta) = (old.meta(), new.meta());
        old_meta.set_node(None);
        new_meta.set_node(Some(id));
        new.set_frequency(old.frequency().saturating_add(1).min(self.counter_max));
        if self.owns_scratch {
            new_meta.set_scratch(old_meta.scratch());
        }
        let kinds = (old_meta.is_unevictable(), new_meta.is_unevictable());
        match kinds {
            // To the policy it is a new one.
            (true, false) => {
                new.set_frequency(0);
                if self.owns_scratch {
                    new_meta.set_scratch(0);
                }
            }
            // While the node is still that of `old`, whose weight the policy has counted.
            (false, true) => {
                self.tell(|policy, nodes| policy.on_remove(id, nodes));
            }
            _ => {}
        }
        self.members.entries[id.index()] = Some(new);
        self.members.timers.watch(id, new);
        self.members.discount(id, old_meta);
        self.members.count(id, new_meta);
        match kinds {
            (false, false) => {
                self.tell(|policy, nodes| policy.on_update(id, old_meta.weight(), nodes))
            }
            (true, false) => self.tell(|policy, nodes| policy.on_insert(id, nodes)),
            (_, true) => None,
        };
    }

    /// Unlinks an entry that has left the table.
    #[inline]
    pub(crate) fn remove(&mut self, id: NodeId) {
        if self.members.ordered(id).is_some() {
            self.tell_held(|policy, nodes| policy.on_remove(id, nodes));
        }
        self.members.take(id);
    }

    /// Tells the policy of a recorded access, unless its entry has left since.
    #[inline]
    pub(crate) fn access(&mut self, id: NodeId, tag: u32) {
        let is_same = |entry: &EntryPtr| read_buffer::tag(entry.hash()) == tag;
        if self.members.ordered(id).as_ref().is_some_and(is_same) {
            if !self.demoted.is_empty() {
                self.restore_rank(id);
            }
            self.tell(|policy, nodes| policy.on_access(id, nodes));
        }
    }

    /// An entry whose timer is due, and its node. The timer is stopped: the entry has to be removed
    /// or watched anew. At most `budget` timers are touched.
    #[inline]
    pub(crate) fn fire(&mut self, now_ns: u64, budget: &mut u32) -> Option<(NodeId, EntryPtr)> {
        let id = self.members.timers.fire(now_ns, budget)?;
        Some((id, self.members.expect(id)))
    }

    /// Sets the timer of an entry anew that [`fire`](Self::fire) has named.
    pub(crate) fn rewatch(&mut self, id: NodeId, entry: EntryPtr) {
        self.members.timers.watch(id, entry);
    }

    /// Sets the timer of an entry whose deadline was moved, unless it has left since.
    pub(crate) fn watch(&mut self, id: NodeId, tag: u32) {
        let is_same = |entry: &EntryPtr| read_buffer::tag(entry.hash()) == tag;
        if let Some(entry) = self.members.get(id).filter(is_same) {
            entry.meta().take_moved();
            self.members.timers.watch(id, entry);
        }
    }

    /// From when on a timer may be due.
    #[inline]
    pub(crate) fn next_timer_ns(&self) -> u64 {
        self.members.timers.next_ns()
    }

    /// Lets the node of `entry` leave last, until another one is named.
    pub(crate) fn spare(&mut self, entry: Option<EntryPtr>) {
        self.spared = entry.and_then(|entry| Some((entry.meta().node()?, entry.hash())));
    }

    /// Spares nothing more once the bounds hold.
    #[inline]
    pub(crate) fn stop_sparing(&mut self) {
        if self.spared.is_some() && !self.is_above_limits() {
            self.spared = None;
        }
    }

    /// The node that is spared. One that is never evicted needs that from nobody.
    fn spared_node(&self) -> Option<NodeId> {
        let (id, hash) = self.spared?;
        let entry = self.members.ordered(id)?;
        (entry.hash() == hash).then_some(id)
    }

    /// The policy's victim beside the node that is spared.
    #[cold]
    fn name_sparing(&mut self) -> Option<NodeId> {
        let spared = self.spared_node();
        let name = |policy: &mut dyn EvictionPolicy, nodes: &dyn Nodes| match spared {
            Some(spared) => policy.evict_sparing(spared, nodes),
            None => policy.evict(nodes),
        };
        self.tell(name).flatten()
    }

    /// Unlinks the entry that is to leave; `None` if there is none.
    #[inline]
    pub(crate) fn evict(&mut self) -> Option<EntryPtr> {
        if !self.demoted.is_empty()
            && let Some(entry) = self.evict_demoted()
        {
            return Some(entry);
        }
        if self.members.heavy_weight > self.loan
            && let Some(entry) = self.evict_heavy()
        {
            return Some(entry);
        }
        let named = match self.spared {
            None => self.tell_held(|policy, nodes| policy.evict(nodes)).flatten(),
            Some(_) => self.name_sparing(),
        };
        match named.and_then(|id| self.members.take_ordered(id)) {
            Some(entry) => Some(entry),
            None => self.evict_any(),
        }
    }

    /// Unlinks the heavy entry that came first: its loan was called back. What lies beside it would
    /// leave for nothing.
    #[cold]
    fn evict_heavy(&mut self) -> Option<EntryPtr> {
        let spared = self.spared_node();
        let id = *self.members.heavy.iter().find(|id| Some(**id) != spared)?;
        self.tell_held(|policy, nodes| policy.on_remove(id, nodes));
        self.members.take(id)
    }

    /// The policy failed to name a victim: takes any, so that the bound is kept all the same.
    #[cold]
    fn evict_any(&mut self) -> Option<EntryPtr> {
        let slots = self.members.entries.len();
        let evictable = |at: &usize| {
            self.members.entries[*at].is_some_and(|entry| !entry.meta().is_unevictable())
        };
        let spared = self.spared_node().map(NodeId::index);
        let at = (0..slots)
            .map(|step| (self.fallback + step) % slots)
            .filter(|at| Some(*at) != spared)
            .chain(spared)
            .find(evictable)?;
        self.faults += 1;
        self.fallback = at + 1;
        let id = NodeId::from_raw(u32::try_from(at).expect("ids are 32 bits"));
        self.tell(|policy, nodes| policy.on_remove(id, nodes));
        self.members.take(id)
    }

    /// Calls the policy, which may panic.
    #[inline]
    fn tell<R>(
        &mut self,
        call: impl FnOnce(&mut dyn EvictionPolicy, &dyn Nodes) -> R,
    ) -> Option<R> {
        self.tell_held(|policy, members| call(policy.as_dyn(), members))
    }

    /// The same, of nodes whose type is known.
    #[inline]
    fn tell_held<R>(&mut self, call: impl FnOnce(&mut Held, &Members) -> R) -> Option<R> {
        let (policy, members) = (&mut self.policy, &self.members);
        match catch(|| call(policy, members)) {
            Ok(answer) => Some(answer),
            Err(payload) => {
                self.note_panic(payload);
                None
            }
        }
    }

    #[cold]
    fn note_panic(&mut self, payload: Payload) {
        self.faults += 1;
        self.payloads.push(payload);
    }

    /// What the policy has panicked with: to be dropped without the lock.
    pub(crate) fn take_payloads(&mut self) -> Vec<Payload> {
        std::mem::take(&mut self.payloads)
    }

    /// Panics unless it was lent just so much, and all of that for what is there.
    pub(crate) fn validate_loan(&self, lent: u64) {
        assert_eq!(self.loan, lent, "a partition does not know its loan");
        assert_eq!(self.reserved, 0, "an insertion that is over has left a reservation");
    }

    /// Panics unless ids, entries and weight agree with each other and with the bounds.
    pub(crate) fn validate(&self) {
        let members = &self.members;
        let (mut weight, mut kept, mut kept_weight) = (0, 0, 0);
        let (mut heavy, mut heavy_weight) = (Vec::new(), 0);
        for (at, entry) in members.entries.iter().enumerate() {
            if let Some(entry) = entry {
                assert_eq!(
                    entry.meta().node().map(NodeId::index),
                    Some(at),
                    "a node id is not its own"
                );
                assert!(!entry.meta().is_gone(), "an entry that has left is still linked");
                weight += u64::from(entry.meta().weight());
                assert!(
                    !entry.meta().is_demoted()
                        || self.demoted.iter().any(|demoted| demoted.index() == at),
                    "a demoted entry would never leave"
                );
                if entry.meta().is_unevictable() {
                    kept += 1;
                    kept_weight += u64::from(entry.meta().weight());
                }
                if entry.meta().is_heavy() {
                    heavy.extend(entry.meta().node());
                    heavy_weight += u64::from(entry.meta().weight());
                }
            }
        }
        let mut known_heavy = members.heavy.clone();
        known_heavy.sort_unstable();
        assert_eq!(
            (heavy, heavy_weight),
            (known_heavy, members.heavy_weight),
            "what is heavy is miscounted"
        );
        assert_eq!(
            (kept, kept_weight),
            (members.kept, members.kept_weight),
            "what is never evicted is miscounted"
        );
        assert_eq!(weight, members.weight, "the weight is not that of the entries");
        members.timers.validate(
            members
                .entries
                .iter()
                .flatten()
                .filter_map(|entry| Some((entry.meta().node()?, *entry))),
        );
        let free = members.entries.iter().filter(|entry| entry.is_none()).count();
        assert_eq!(free, members.free.len(), "free ids are lost or doubled");
        assert!(!self.is_above_limits(), "over a bound after maintenance");
    }
}

#[cfg(all(test, not(larder_loom)))]
mod tests;
