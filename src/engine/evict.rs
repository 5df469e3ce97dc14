//! The evictor of one partition: its policy, and the entries that the policy may evict.
//!
//! It owns the map from node ids to entries, their weight, and the policy. Only the partition's
//! maintenance uses it, under the lock. The policy may be a user's, so each call contains panics: a
//! policy that panics or names a wrong victim spoils the order of evictions, but neither the bounds
//! nor memory.
//!
//! An unevictable entry has a node like any other, by which it is removed, replaced and watched by its
//! timer, but the policy never sees it and the limits do not count it. An entry stays evictable or
//! unevictable for as long as it lives; its replacement may be of the other kind.
//!
//! In a cache with namespaces, the bound is one for all partitions, and which entries may leave depends on
//! the quotas (`quotas`).
#![forbid(unsafe_code)]

use std::collections::VecDeque;

use crate::base::hash::KeyHash;
use crate::base::node_id::NodeId;
use crate::base::panics::{Payload, catch};
use crate::entry::{EntryMeta, EntryPtr};
use crate::expiry::Timers;
use crate::policy::bounds::Limits;
use crate::policy::key_arrays::KeyArrays;
use crate::policy::policy_impl::PolicyImpl;
use crate::policy::{Accesses, EvictionPolicy, Nodes, PolicyConfig, Room, Sample};

// Recorded accesses.
mod accesses;
// Prefetching what evictions will read.
mod ahead;
// The accounts of what partitions lend each other.
mod loans;
// The events of most caches.
mod plain;
// What they take out of the table.
mod plain_run;
// The entries by node id.
mod node_map;
// Entries in the order of the policy, and demoted ones.
mod ranking;
// Which entry is evicted next where there are namespaces.
mod quotas;
// Which entry of a namespace above its maximum is next.
mod maximums;
// Checks for tests.
mod validate;
// Which entry is evicted next.
mod victims;

pub(crate) use accesses::AccessBatch;
pub(crate) use loans::Loans;
use node_map::NodeMap;
pub(crate) use plain::Applying;
pub(crate) use plain_run::{Attended, EvictionAges, Leaving, Left, NotifyAt, PlainRun, Weights};
use quotas::PartitionQuotas;
pub(crate) use ranking::Rank;
#[cfg(feature = "snapshot")]
pub(crate) use ranking::Standing;

/// The policy of a partition, and the entries that the policy may evict.
#[repr(C)]
pub(crate) struct Evictor {
    nodes: NodeMap,
    policy: PolicyImpl,
    limits: Limits,
    /// The limits that hold now: `limits`, or higher ones while a lowered bound is approached.
    enforced: Limits,
    /// The weight that the other partitions have lent this one for its heavy entries. It is a part of
    /// `limits` (see `loans`).
    loan: u64,
    /// The part of the loan that is reserved for heavy entries that are still being inserted.
    reserved: u64,
    /// The node that is evicted only if nothing else can be, because its update makes others leave, and
    /// the hash of its entry, which may have left since.
    spared: Option<(NodeId, KeyHash)>,
    /// The value at which the entries' counters saturate; 0 if the policy asks for no counters.
    counter_max: u8,
    /// Whether entries may weigh other than one, or their weight was ever limited.
    is_weighed: bool,
    /// Whether the policy may use the entries' scratch words.
    owns_scratch: bool,
    /// The keys whose first marks the policy wants to see.
    sample: Sample,
    room: Room,
    faults: Faults,
    /// Where the search for a victim continues when the policy names none.
    fallback: usize,
    /// The nodes that are evicted before the policy is asked, and nodes of demoted entries that have left
    /// or were used since.
    demoted: VecDeque<NodeId>,
    /// If the cache has namespaces.
    quotas: Option<Box<PartitionQuotas>>,
}

/// The panics and wrong answers of a policy.
#[derive(Default)]
struct Faults {
    count: u64,
    /// What it has panicked with. They are users' values, so none is dropped under the lock.
    payloads: Vec<Payload>,
}

impl Faults {
    #[cold]
    fn note_panic(&mut self, payload: Payload) {
        self.count += 1;
        self.payloads.push(payload);
    }
}

impl Evictor {
    /// `accesses` is what the policy has asked for.
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
            is_weighed: limits.weight != u64::MAX,
            owns_scratch: accesses != Accesses::Order,
            sample,
            room,
            faults: Faults::default(),
            fallback: 0,
            demoted: VecDeque::new(),
            quotas: None,
        }
    }

    /// Uses `timers` instead of the default ones.
    pub(crate) fn with_timers(mut self, timers: Timers) -> Self {
        self.nodes.timers = timers;
        self
    }

    /// With a weigher, entries may weigh other than one.
    pub(crate) fn with_weigher(mut self, has_weigher: bool) -> Self {
        self.is_weighed |= has_weigher;
        self
    }

    #[inline]
    pub(crate) fn is_weighed(&self) -> bool {
        self.is_weighed
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    #[inline]
    pub(crate) fn weight(&self) -> u64 {
        self.nodes.weight
    }

    /// The number of evictable entries, which the limits count.
    #[inline]
    fn evictable_len(&self) -> usize {
        self.len() - self.nodes.unevictable
    }

    /// The weight of these.
    #[inline]
    fn evictable_weight(&self) -> u64 {
        self.nodes.weight - self.nodes.unevictable_weight
    }

    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    pub(crate) fn faults(&self) -> u64 {
        self.faults.count
    }

    /// Whether the cache notes in an entry's scratch word that an access was recorded since the last run.
    #[inline]
    pub(crate) fn needs_ticks(&self) -> bool {
        !self.owns_scratch
    }

    /// Where the policy looks up incoming keys.
    #[inline]
    pub(crate) fn key_arrays(&self) -> KeyArrays {
        self.policy.key_arrays()
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

    /// Whether plain runs can apply events, as far as that depends on the entries and the limits.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.nodes.special == 0
            && self.demoted.is_empty()
            && self.spared.is_none()
            && self.loan == 0
            && self.quotas.is_none()
    }

    /// Whether another entry has to leave before `new` can be inserted.
    #[inline]
    pub(crate) fn lacks_room_for(&self, new: &EntryMeta) -> bool {
        if self.room != Room::BeforeInsert || self.evictable_len() == 0 {
            return false;
        }
        if let Some(quotas) = &self.quotas {
            return !new.is_unevictable() && quotas.shared.is_above_enforced(Some(new.weight()));
        }
        let weight = u64::from(new.weight());
        !new.is_unevictable()
            && (self.evictable_len() >= self.enforced.entries
                || self.evictable_weight().saturating_add(weight) > self.enforced.weight)
    }

    /// Whether more is there than the enforced limits allow.
    #[inline]
    pub(crate) fn is_above_enforced(&self) -> bool {
        if let Some(quotas) = &self.quotas {
            return quotas.shared.is_above_enforced(None) || quotas.is_above_maximum();
        }
        self.evictable_len() > self.enforced.entries
            || self.evictable_weight() > self.enforced.weight
    }

    /// Changes the limits. The coming runs evict the excess.
    pub(crate) fn set_limits(&mut self, limits: Limits, config: &PolicyConfig) {
        self.limits = limits;
        self.ratchet();
        self.call_policy(|policy, nodes| policy.on_resize(config, nodes));
    }

    /// Changes the limit of weight, of which `loan` was lent. The policy keeps the share that it would have
    /// without loans, since loans come and go with single entries.
    pub(crate) fn set_weight(&mut self, limit: u64, loan: u64) {
        self.limits.weight = limit;
        self.loan = loan;
        self.ratchet();
    }

    /// Reserves a part of the loan for an entry that is being inserted.
    pub(crate) fn reserve(&mut self, weight: u64) {
        self.reserved += weight;
    }

    /// Ends a reservation: the entry has its node now, or was not stored.
    pub(crate) fn release(&mut self, weight: u64) {
        self.reserved -= weight;
    }

    /// The loan that this partition needs now.
    pub(crate) fn needed_loan(&self) -> u64 {
        self.reserved.saturating_add(self.nodes.heavy_weight)
    }

    /// Whether this partition was lent more than it needs.
    #[inline]
    pub(crate) fn has_unneeded_loan(&self) -> bool {
        self.loan > 0 && self.loan > self.needed_loan()
    }

    /// Whether more is there than the set limits allow.
    #[inline]
    pub(crate) fn is_above_limits(&self) -> bool {
        if let Some(quotas) = &self.quotas {
            return quotas.shared.is_above_bound() || quotas.is_above_maximum();
        }
        self.evictable_len() > self.limits.entries || self.evictable_weight() > self.limits.weight
    }

    /// Lowers the enforced limits to what is there now, but not below the set limits.
    pub(crate) fn ratchet(&mut self) {
        if let Some(quotas) = &self.quotas {
            quotas.shared.ratchet();
        }
        self.enforced = Limits {
            entries: self.limits.entries.max(self.evictable_len()),
            weight: self.limits.weight.max(self.evictable_weight()),
        };
        self.is_weighed |= self.enforced.weight != u64::MAX;
    }

    /// Links a new entry, whose metadata is `meta`.
    #[inline]
    pub(crate) fn insert(&mut self, entry: EntryPtr, meta: &EntryMeta) {
        // If partitions share the bound, one may hold more than its part.
        let limit = if self.quotas.is_none() { self.limits.entries } else { usize::MAX };
        let id = self.nodes.add(entry, meta, limit);
        self.nodes.timers.watch(id, entry);
        if meta.is_unevictable() {
            return;
        }
        self.charge(entry, meta);
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
        let was_outside = old_meta.is_outside_policy();
        if self.quotas.is_some() {
            self.note_replacement(id, old, new);
        }
        old_meta.set_node(None);
        new_meta.set_node(Some(id));
        new.set_frequency(old.frequency().saturating_add(1).min(self.counter_max));
        if self.owns_scratch {
            new_meta.set_scratch(old_meta.scratch());
        }
        let kinds = (was_outside, new_meta.is_unevictable());
        match kinds {
            // New to the policy.
            (true, false) => {
                new.set_frequency(0);
                if self.owns_scratch {
                    new_meta.set_scratch(0);
                }
            }
            // Before `new` takes over the node: the policy has counted the weight of `old`.
            (false, true) => {
                self.call_policy(|policy, nodes| policy.on_remove(id, nodes));
            }
            _ => {}
        }
        self.nodes.entries[id.index()] = Some(new);
        self.nodes.timers.watch(id, new);
        self.nodes.discount(id, old, old_meta);
        self.nodes.count(id, new, new_meta);
        match kinds {
            (false, false) => {
                self.call_policy(|policy, nodes| policy.on_update(id, old_meta.weight(), nodes))
            }
            (true, false) => self.call_policy(|policy, nodes| policy.on_insert(id, nodes)),
            (_, true) => None,
        };
        if !kinds.1 {
            self.charge(new, new_meta);
        }
    }

    /// Unlinks an entry that has left the table.
    #[inline]
    pub(crate) fn remove(&mut self, id: NodeId) {
        if self.nodes.evictable(id).is_some() {
            self.call_policy_impl(|policy, nodes| policy.on_remove(id, nodes));
        }
        if self.quotas.is_some()
            && let Some(entry) = self.nodes.get(id)
        {
            self.note_departure(id, entry);
        }
        self.nodes.take(id);
    }

    /// An entry whose timer is due, and its node. The timer is stopped: the caller removes the entry or
    /// calls [`rewatch`](Self::rewatch). Visits at most `budget` timers.
    #[inline]
    pub(crate) fn fire(&mut self, now_ns: u64, budget: &mut u32) -> Option<(NodeId, EntryPtr)> {
        let id = self.nodes.timers.fire(now_ns, budget)?;
        Some((id, self.nodes.expect(id)))
    }

    /// Sets the timer of an entry that [`fire`](Self::fire) has returned.
    pub(crate) fn rewatch(&mut self, id: NodeId, entry: EntryPtr) {
        self.nodes.timers.watch(id, entry);
    }

    /// Sets the timer of an entry whose deadline was moved, unless it has left since.
    pub(crate) fn watch(&mut self, id: NodeId, tag: u32) {
        let is_same = |entry: &EntryPtr| entry.hash().tag() == tag;
        if let Some(entry) = self.nodes.get(id).filter(is_same) {
            entry.meta().take_moved();
            self.nodes.timers.watch(id, entry);
        }
    }

    /// Whether the timer of `entry`, which has just been set, is due before that time.
    #[inline]
    pub(crate) fn is_timed_before(&self, entry: EntryPtr, time_ns: u64) -> bool {
        self.nodes.timers.are_used() && self.nodes.timers.end_of(entry) < time_ns
    }

    /// The cache's time from which on a timer may be due.
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

    /// As [`call_policy`](Self::call_policy), but with the policy's own type, so that calls are direct.
    #[inline]
    fn call_policy_impl<R>(
        &mut self,
        call: impl FnOnce(&mut PolicyImpl, &NodeMap) -> R,
    ) -> Option<R> {
        let (policy, nodes) = (&mut self.policy, &self.nodes);
        match catch(|| call(policy, nodes)) {
            Ok(answer) => Some(answer),
            Err(payload) => {
                self.faults.note_panic(payload);
                None
            }
        }
    }

    /// Whether the policy has panicked since they were last taken.
    pub(crate) fn has_payloads(&self) -> bool {
        !self.faults.payloads.is_empty()
    }

    /// The payloads of the policy's panics, which have to be dropped without the lock.
    pub(crate) fn take_payloads(&mut self) -> Vec<Payload> {
        std::mem::take(&mut self.faults.payloads)
    }
}

#[cfg(all(test, not(larder_loom)))]
mod tests;
