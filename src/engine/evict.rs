//! The nodes of one partition: where the policy's ids and the table's entries meet.
//!
//! Owns the map from node ids to entries, the weight they have together, and the policy. All of
//! it belongs to the partition's maintenance, under its lock. A policy may be a user's: each call
//! is contained, so that one that panics or names a wrong victim costs the cache its order, not
//! its bounds nor its memory.
//!
//! An entry that is never evicted has a node like any other, by which it is removed, replaced and
//! watched by its timer, but the policy never sees it and the bounds leave it out. Whether an
//! entry is one does not change; a replacement may be of the other kind.
#![forbid(unsafe_code)]

use std::collections::VecDeque;

use crate::base::node_id::NodeId;
use crate::base::panics::{Payload, catch};
use crate::buffer::read_buffer;
use crate::entry::{EntryMeta, EntryPtr};
use crate::expiry::Timers;
use crate::policy::bounds::Limits;
use crate::policy::policy_impl::PolicyImpl;
use crate::policy::{Accesses, EvictionPolicy, Nodes, PolicyConfig, Room, Sample};

mod ahead;
mod loans;
mod node_map;
mod ranking;
mod validate;
mod victims;

pub(crate) use loans::Loans;
use node_map::NodeMap;
pub(crate) use ranking::Rank;
#[cfg(feature = "snapshot")]
pub(crate) use ranking::Standing;

/// The policy of a partition, and the entries that it may evict.
pub(crate) struct Evictor {
    policy: PolicyImpl,
    nodes: NodeMap,
    limits: Limits,
    /// The limits that hold at the moment: `limits`, or higher ones while a lowered bound is
    /// approached.
    enforced: Limits,
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
    /// The keys whose first marks the policy wants to see.
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

impl Evictor {
    /// `accesses` is what the policy asked for.
    pub(crate) fn new(policy: Box<dyn EvictionPolicy>, accesses: Accesses, limits: Limits) -> Self {
        let (counter_max, sample) = match accesses {
            Accesses::Counter { max } => (max, Sample::NONE),
            Accesses::Mark { sample } => (1, sample),
            Accesses::None | Accesses::Order => (0, Sample::NONE),
        };
        let nodes = NodeMap::default();
        let room = policy.room();
        Self {
            policy: PolicyImpl::new(policy),
            nodes,
            limits,
            enforced: limits,
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
        self.nodes.timers = timers;
        self
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.nodes.entries.len() - self.nodes.free.len()
    }

    #[inline]
    pub(crate) fn weight(&self) -> u64 {
        self.nodes.weight
    }

    /// Entries that the bounds are about.
    #[inline]
    fn bounded_len(&self) -> usize {
        self.len() - self.nodes.unevictable
    }

    /// Their weight.
    #[inline]
    fn bounded_weight(&self) -> u64 {
        self.nodes.weight - self.nodes.unevictable_weight
    }

    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    pub(crate) fn faults(&self) -> u64 {
        self.faults
    }

    /// Whether an entry's accesses are reported once between two runs of maintenance.
    #[inline]
    pub(crate) fn needs_ticks(&self) -> bool {
        !self.owns_scratch
    }

    /// The keys whose first marks the policy wants to see from now on.
    #[inline]
    pub(crate) fn sample(&mut self) -> Sample {
        if self.sample != Sample::NONE
            && let Some(Accesses::Mark { sample }) = self.call_policy(|policy, _| policy.accesses())
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
            && (self.bounded_len() >= self.enforced.entries
                || self.bounded_weight().saturating_add(weight) > self.enforced.weight)
    }

    #[inline]
    pub(crate) fn is_over(&self) -> bool {
        self.bounded_len() > self.enforced.entries || self.bounded_weight() > self.enforced.weight
    }

    /// Changes the bounds. Lower ones are approached by `lower_bounds`.
    pub(crate) fn set_limits(&mut self, limits: Limits, config: &PolicyConfig) {
        self.limits = limits;
        self.ratchet();
        self.call_policy(|policy, nodes| policy.on_resize(config, nodes));
    }

    /// Changes what it may weigh: its share, and what it was lent beside. The policy goes on with
    /// the share that it would have without loans: they come and go with single entries.
    pub(crate) fn set_weight(&mut self, limit: u64, loan: u64) {
        self.limits.weight = limit;
        self.loan = loan;
        self.ratchet();
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
        self.reserved.saturating_add(self.nodes.heavy_weight)
    }

    /// Whether it was lent more than it needs.
    #[inline]
    pub(crate) fn has_unneeded_loan(&self) -> bool {
        self.loan > 0 && self.loan > self.needed_loan()
    }

    /// Whether more is held than the bounds allow.
    #[inline]
    pub(crate) fn is_above_limits(&self) -> bool {
        self.bounded_len() > self.limits.entries || self.bounded_weight() > self.limits.weight
    }

    /// Lowers the enforced limits to what is held now, but not below the bounds.
    pub(crate) fn ratchet(&mut self) {
        self.enforced = Limits {
            entries: self.limits.entries.max(self.bounded_len()),
            weight: self.limits.weight.max(self.bounded_weight()),
        };
    }

    /// Links a new entry, which has that metadata.
    #[inline]
    pub(crate) fn insert(&mut self, entry: EntryPtr, meta: &EntryMeta) {
        let id = self.nodes.add(entry, meta, self.limits.entries);
        self.nodes.timers.watch(id, entry);
        if meta.is_unevictable() {
            return;
        }
        match meta.restored() {
            None => self.call_policy_impl(|policy, nodes| policy.on_insert(id, nodes)),
            Some(word) => {
                entry.set_frequency(entry.frequency().min(self.counter_max));
                meta.set_scratch(0);
                self.call_policy(|policy, nodes| policy.on_restore(id, word, nodes))
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
                self.call_policy(|policy, nodes| policy.on_remove(id, nodes));
            }
            _ => {}
        }
        self.nodes.entries[id.index()] = Some(new);
        self.nodes.timers.watch(id, new);
        self.nodes.discount(id, old_meta);
        self.nodes.count(id, new_meta);
        match kinds {
            (false, false) => {
                self.call_policy(|policy, nodes| policy.on_update(id, old_meta.weight(), nodes))
            }
            (true, false) => self.call_policy(|policy, nodes| policy.on_insert(id, nodes)),
            (_, true) => None,
        };
    }

    /// Unlinks an entry that has left the table.
    #[inline]
    pub(crate) fn remove(&mut self, id: NodeId) {
        if self.nodes.evictable(id).is_some() {
            self.call_policy_impl(|policy, nodes| policy.on_remove(id, nodes));
        }
        self.nodes.take(id);
    }

    /// Reports a recorded access to the policy, unless its entry has left since.
    #[inline]
    pub(crate) fn access(&mut self, id: NodeId, tag: u32) {
        let is_same = |entry: &EntryPtr| read_buffer::tag(entry.hash()) == tag;
        if self.nodes.evictable(id).as_ref().is_some_and(is_same) {
            if !self.demoted.is_empty() {
                self.restore_rank(id);
            }
            self.call_policy(|policy, nodes| policy.on_access(id, nodes));
        }
    }

    /// An entry whose timer is due, and its node. The timer is stopped: the entry has to be removed
    /// or watched anew. At most `budget` timers are touched.
    #[inline]
    pub(crate) fn fire(&mut self, now_ns: u64, budget: &mut u32) -> Option<(NodeId, EntryPtr)> {
        let id = self.nodes.timers.fire(now_ns, budget)?;
        Some((id, self.nodes.expect(id)))
    }

    /// Sets the timer of an entry anew that [`fire`](Self::fire) has named.
    pub(crate) fn rewatch(&mut self, id: NodeId, entry: EntryPtr) {
        self.nodes.timers.watch(id, entry);
    }

    /// Sets the timer of an entry whose deadline was moved, unless it has left since.
    pub(crate) fn watch(&mut self, id: NodeId, tag: u32) {
        let is_same = |entry: &EntryPtr| read_buffer::tag(entry.hash()) == tag;
        if let Some(entry) = self.nodes.get(id).filter(is_same) {
            entry.meta().take_moved();
            self.nodes.timers.watch(id, entry);
        }
    }

    /// From when on a timer may be due.
    #[inline]
    pub(crate) fn next_timer_ns(&self) -> u64 {
        self.nodes.timers.next_ns()
    }

    /// Calls the policy, which may panic.
    #[inline]
    fn call_policy<R>(
        &mut self,
        call: impl FnOnce(&mut dyn EvictionPolicy, &dyn Nodes) -> R,
    ) -> Option<R> {
        self.call_policy_impl(|policy, nodes| call(policy.as_dyn(), nodes))
    }

    /// The same with the policy's own type, which the compiler sees through.
    #[inline]
    fn call_policy_impl<R>(
        &mut self,
        call: impl FnOnce(&mut PolicyImpl, &NodeMap) -> R,
    ) -> Option<R> {
        let (policy, nodes) = (&mut self.policy, &self.nodes);
        match catch(|| call(policy, nodes)) {
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
}

#[cfg(all(test, not(larder_loom)))]
mod tests;
