//! Which entry is evicted next where namespaces have guaranteed minimums.
//!
//! The policy chooses as ever. If the namespace of its choice must not lose the entry, the entry is *kept*:
//! the policy has given it up, and it waits in a list of its namespace, of which a partition has one for each
//! namespace with such entries. The lists share one table of links.
//!
//! | from | to | when |
//! |---|---|---|
//! | in the policy | evicted | the policy chooses it, and its namespace can lose it (`Account::try_lose`) |
//! | in the policy | kept | the policy chooses it, and its namespace cannot |
//! | kept | evicted | it is the oldest of its list, its namespace can lose it or was invalidated, and it was not used since |
//! | kept | in the policy, as a new node | as above, but it was used since; or its value is replaced |
//! | any | gone | it is removed or expires |
//!
//! Kept entries were chosen before, so they leave before the policy is asked again: first one of the
//! namespace of the new entry, then one of the namespace whose turn it is. So each eviction visits two lists, and each
//! call of the policy moves an entry on: a step is O(1), amortized over insertions and uses. Only if everything left in
//! a partition is protected does it visit the lists of all namespaces above their minimums, and as a last resort all
//! its lists.
//!
//! If nothing in the partition may leave, or only the new entry itself because all others are protected, the
//! excess stays until the lock is released; then the thread makes room in the other partitions
//! (`engine::room`), which is always possible (`namespaces`).
#![forbid(unsafe_code)]

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::Evictor;
use super::maximums::{Candidates, Maximums, account_of};
use crate::base::hash::KeyHash;
use crate::base::node_id::NodeId;
use crate::entry::{EntryMeta, EntryPtr};
use crate::namespaces::{Excess, Quotas};
use crate::policy::list::{Links, NodeList};
use crate::shadow::{NamespaceShadows, ShadowKind};

/// What the evictor of one partition knows of namespaces.
pub(super) struct PartitionQuotas {
    pub(super) shared: Arc<Quotas>,
    shadows: Arc<NamespaceShadows>,
    links: Links,
    /// The kept entries of each namespace that is in `turns`.
    kept: HashMap<u32, NodeList, ahash::RandomState>,
    /// The namespaces with kept entries, each once, and some that had some lately.
    turns: VecDeque<u32>,
    /// The entry that came last.
    newcomer: Option<(KeyHash, u32)>,
    /// Whether nothing else is left to evict in any partition.
    is_last_resort: bool,
    /// For the namespaces with maximums.
    maximums: Maximums,
    /// How many entries were taken off their accounts to be evicted.
    losses: u64,
}

impl PartitionQuotas {
    pub(super) fn new(shared: Arc<Quotas>, shadows: Arc<NamespaceShadows>) -> Self {
        Self {
            shared,
            shadows,
            links: Links::new(None),
            kept: HashMap::default(),
            turns: VecDeque::new(),
            newcomer: None,
            is_last_resort: false,
            maximums: Maximums::default(),
            losses: 0,
        }
    }

    /// Whether a namespace that this partition is to make smaller is above its maximum.
    #[inline]
    pub(super) fn is_above_maximum(&self) -> bool {
        self.shared.has_maximums() && self.above_maximum().is_some()
    }

    #[cold]
    fn above_maximum(&self) -> Option<u32> {
        let Maximums { own, oversized, .. } = &self.maximums;
        let mut both = own.iter().chain(oversized.as_ref().map(|excess| &excess.namespace));
        both.find(|namespace| self.shared.is_above_maximum(**namespace)).copied()
    }

    /// Adds a kept entry to the list of its namespace.
    fn list(&mut self, id: NodeId, namespace: u32) {
        let Self { links, kept, turns, .. } = self;
        let list = kept.entry(namespace).or_insert_with(|| {
            turns.push_back(namespace);
            NodeList::default()
        });
        links.push_front(list, id);
    }

    fn unlist(&mut self, id: NodeId, namespace: u32) {
        let list = self.kept.get_mut(&namespace).expect("it has a kept entry");
        self.links.remove(list, id);
    }

    fn oldest(&self, namespace: u32) -> Option<NodeId> {
        self.kept.get(&namespace).and_then(NodeList::back)
    }

    /// The namespace whose turn it is. Forgets namespaces without kept entries.
    fn next_in_turn(&mut self) -> Option<u32> {
        while let Some(namespace) = self.turns.pop_front() {
            if self.oldest(namespace).is_some() {
                self.turns.push_back(namespace);
                return Some(namespace);
            }
            self.kept.remove(&namespace);
        }
        None
    }
}

impl Evictor {
    /// Shares the bound with other partitions, by the quotas of namespaces.
    pub(crate) fn with_quotas(
        mut self,
        quotas: Option<(&Arc<Quotas>, &Arc<NamespaceShadows>)>,
    ) -> Self {
        self.quotas = quotas.map(|(shared, shadows)| {
            Box::new(PartitionQuotas::new(Arc::clone(shared), Arc::clone(shadows)))
        });
        self
    }

    /// The shadows of the namespaces of the cache, if it has namespaces.
    pub(crate) fn namespace_shadows(&self) -> Option<&Arc<NamespaceShadows>> {
        self.quotas.as_ref().map(|quotas| &quotas.shadows)
    }

    /// The quotas of the cache, if it has namespaces.
    pub(crate) fn quotas(&self) -> Option<&Arc<Quotas>> {
        self.quotas.as_ref().map(|quotas| &quotas.shared)
    }

    /// Lets the next evictions take what is taken last: the new entry, and entries with which a namespace
    /// crosses its minimum.
    pub(crate) fn set_last_resort(&mut self, is_last_resort: bool) {
        if let Some(quotas) = &mut self.quotas {
            quotas.is_last_resort = is_last_resort;
        }
    }

    /// Lets the next evictions take entries of the namespace that has an excess, as long as there is one.
    pub(crate) fn set_oversized(&mut self, excess: Option<Excess>) {
        if let Some(quotas) = &mut self.quotas {
            quotas.maximums.oversized = excess;
        }
    }

    /// Whether the namespace of `new`, which is going to be linked, would be above its maximum with it.
    #[inline]
    pub(crate) fn exceeds_maximum(&self, new: EntryPtr, meta: &EntryMeta) -> bool {
        self.quotas.as_ref().is_some_and(|quotas| quotas.shared.has_maximums())
            && !meta.is_unevictable()
            && account_of(&new).exceeds_maximum(meta.weight())
    }

    /// Notes that `new` has come and is going to be linked.
    #[inline]
    pub(crate) fn note_arrival(&mut self, new: EntryPtr) {
        if self.quotas.is_some() {
            self.note_newcomer(new, true);
        }
    }

    #[cold]
    pub(super) fn note_newcomer(&mut self, new: EntryPtr, is_added: bool) {
        let Some(quotas) = &mut self.quotas else { return };
        let namespace = account_of(&new).namespace;
        let previous = quotas.newcomer.replace((new.hash(), namespace));
        let own = account_of(&new).has_maximum().then_some(namespace);
        let left =
            std::mem::replace(&mut quotas.maximums.own, own).filter(|left| own != Some(*left));
        // With an atomic listener one entry leaves with each run, so the excess of the one before may still be there.
        if let Some(left) = left
            && quotas.shared.is_above_maximum(left)
        {
            let newest = previous.filter(|(_, of)| *of == left).map(|(hash, _)| hash);
            quotas.shared.note_excess(left, newest);
        }
        if is_added {
            quotas.shared.count_insertion(namespace);
            let meta = new.meta();
            if !meta.is_unevictable() {
                // An entry from a snapshot is not an access.
                let is_restored = meta.restored().is_some();
                let kind = if is_restored { ShadowKind::Added } else { ShadowKind::Miss };
                quotas.shadows.note_applied(namespace, new.hash(), kind, meta.weight());
            }
        }
    }

    /// Notes for the shadows of namespaces that `new` takes the place of `old`.
    fn shadow_replacement(&self, old: EntryPtr, new: EntryPtr) {
        let Some(quotas) = &self.quotas else { return };
        let (from, to) = (account_of(&old).namespace, account_of(&new).namespace);
        let (was_outside, is_outside) = (old.meta().is_unevictable(), new.meta().is_unevictable());
        if !was_outside && (is_outside || from != to) {
            quotas.shadows.note_applied(from, old.hash(), ShadowKind::Removed, 0);
        }
        if !is_outside {
            let is_new = was_outside || from != to;
            let kind = if is_new { ShadowKind::Added } else { ShadowKind::Replaced };
            quotas.shadows.note_applied(to, new.hash(), kind, new.meta().weight());
        }
    }

    /// Counts the eviction of an entry.
    pub(crate) fn count_loss(&self, victim: EntryPtr) {
        if let Some(quotas) = &self.quotas {
            let number = account_of(&victim).namespace;
            quotas.shared.count_eviction(number, victim.meta().weight());
        }
    }

    /// Adds an evictable entry to the account of its namespace.
    #[inline]
    pub(super) fn charge(&mut self, entry: EntryPtr, meta: &EntryMeta) {
        if let Some(quotas) = &mut self.quotas {
            quotas.shared.add(account_of(&entry), meta.weight());
            quotas.maximums.enlist(entry);
        }
    }

    /// Notes that an entry leaves, not by an eviction.
    #[cold]
    pub(super) fn note_departure(&mut self, id: NodeId, entry: EntryPtr) {
        self.discharge(id, entry);
        if let Some(quotas) = &self.quotas
            && !entry.meta().is_unevictable()
        {
            let number = account_of(&entry).namespace;
            quotas.shadows.note_applied(number, entry.hash(), ShadowKind::Removed, 0);
        }
    }

    /// Notes that `new` takes the node `id` of `old`.
    #[cold]
    pub(super) fn note_replacement(&mut self, id: NodeId, old: EntryPtr, new: EntryPtr) {
        self.discharge(id, old);
        self.note_newcomer(new, false);
        self.shadow_replacement(old, new);
    }

    /// Takes an evictable entry off the account of its namespace, and out of its list if it was kept.
    fn discharge(&mut self, id: NodeId, entry: EntryPtr) {
        let meta = entry.meta();
        if meta.is_unevictable() {
            return;
        }
        if meta.is_kept() {
            self.stop_keeping(id, entry);
        }
        if let Some(quotas) = &mut self.quotas {
            quotas.maximums.delist(entry);
            quotas.shared.subtract(account_of(&entry), meta.weight());
        }
    }

    /// Notes a use of an entry that is kept, or whose namespace has a maximum, for policies that leave no trace of
    /// uses in the entry.
    #[cold]
    pub(super) fn note_use(&self, id: NodeId, tag: u32) {
        let is_same = |entry: &EntryPtr| {
            entry.hash().tag() == tag && (entry.meta().is_kept() || account_of(entry).has_maximum())
        };
        if let Some(entry) = self.nodes.get(id).filter(is_same) {
            entry.set_frequency(1);
        }
    }

    /// The number of nodes that the policy knows.
    fn len_in_policy(&self) -> usize {
        self.nodes.len() - self.nodes.outside
    }

    /// As [`evict`](Self::evict), where there are namespaces. `None` also if other partitions have to make
    /// room.
    #[cold]
    pub(super) fn evict_within_quotas(&mut self) -> Option<EntryPtr> {
        if let Some(evicted) = self.evict_oversized() {
            return evicted;
        }
        if !self.demoted.is_empty()
            && let Some(entry) = self.evict_demoted()
        {
            return Some(entry);
        }
        let quotas = self.quotas.as_mut()?;
        let newest = quotas.newcomer.map(|(_, namespace)| namespace);
        let is_last_resort = quotas.is_last_resort;
        let in_turn = quotas.next_in_turn();
        for namespace in newest.into_iter().chain(in_turn) {
            if let Some(entry) = self.evict_kept(namespace, false) {
                return Some(entry);
            }
        }
        self.evict_named().or_else(|| self.evict_any_kept(is_last_resort))
    }

    /// Evicts an entry of a namespace that is above its maximum. `None` if there is none and the bound may have to be
    /// checked; `Some(None)` if nothing has to leave this partition.
    #[inline]
    fn evict_oversized(&mut self) -> Option<Option<EntryPtr>> {
        if !self.quotas.as_ref()?.shared.has_maximums() {
            return None;
        }
        self.evict_above_maximum()
    }

    #[cold]
    fn evict_above_maximum(&mut self) -> Option<Option<EntryPtr>> {
        let mut has_given_up = false;
        while let Some(namespace) = self.quotas.as_ref().and_then(|it| it.above_maximum()) {
            if let Some(entry) = self.evict_member(namespace) {
                return Some(Some(entry));
            }
            has_given_up = true;
            let quotas = self.quotas.as_mut()?;
            let maximums = &mut quotas.maximums;
            if maximums.own == Some(namespace) {
                maximums.own = None;
                let newest = quotas.newcomer.map(|(hash, _)| hash);
                quotas.shared.note_excess(namespace, newest);
            } else {
                maximums.oversized = None;
            }
        }
        let is_above_bound = self.quotas.as_ref()?.shared.is_above_bound();
        (has_given_up && !is_above_bound).then_some(None)
    }

    /// Evicts an entry of a namespace, if it is above its maximum and one may leave.
    fn evict_member(&mut self, namespace: u32) -> Option<EntryPtr> {
        let Self { quotas, nodes, spared, .. } = self;
        let quotas = quotas.as_mut()?;
        let spared = spared.map(|(_, hash)| hash);
        let own = quotas.newcomer.filter(|(_, of)| *of == namespace).map(|(hash, _)| hash);
        let newest = match quotas.maximums.oversized {
            Some(excess) if excess.namespace == namespace => excess.newest,
            _ => own,
        };
        let is_last_resort = quotas.is_last_resort;
        let is_spared = |entry: EntryPtr| {
            let hash = Some(entry.hash());
            !is_last_resort && (hash == newest || hash == spared)
        };
        let candidates = quotas.maximums.candidates(namespace, |id| nodes.expect(id), is_spared);
        let id = self.least_used(candidates)?;
        let entry = self.nodes.expect(id);
        let quotas = self.quotas.as_mut()?;
        let (account, weight) = (account_of(&entry), entry.meta().weight());
        if entry.is_invalidated() {
            quotas.shared.subtract(account, weight);
        } else if !quotas.shared.try_lose_excess(account, weight) {
            return None;
        }
        quotas.losses += 1;
        quotas.maximums.delist(entry);
        if entry.meta().is_kept() {
            self.stop_keeping(id, entry);
        } else {
            self.call_policy_impl(|policy, nodes| policy.on_remove(id, nodes));
        }
        self.nodes.take(id)
    }

    /// The candidate with the fewest uses that the policy remembers; the oldest of several.
    fn least_used(&mut self, candidates: Candidates) -> Option<NodeId> {
        let [first, others @ ..] = candidates;
        let mut least = first?;
        if others.iter().all(Option::is_none) {
            return Some(least);
        }
        let mut uses = self.uses_of(least);
        for id in others.into_iter().flatten() {
            let fewer = self.uses_of(id);
            if fewer < uses {
                (least, uses) = (id, fewer);
            }
        }
        Some(least)
    }

    fn uses_of(&mut self, id: NodeId) -> u64 {
        let entry = self.nodes.expect(id);
        if entry.is_invalidated() { 0 } else { self.frequency(id, entry.hash()).unwrap_or(0) }
    }

    /// Evicts the first entry that the policy names and that its namespace can lose. The others are kept.
    fn evict_named(&mut self) -> Option<EntryPtr> {
        while self.len_in_policy() > 0 {
            let is_last = self.len_in_policy() == 1;
            let named = match self.spared {
                None => self.call_policy_impl(|policy, nodes| policy.evict(nodes)).flatten(),
                Some(_) => self.name_sparing(),
            };
            let id = match named.filter(|id| self.nodes.evictable(*id).is_some()) {
                Some(id) => id,
                None => self.name_any()?,
            };
            let entry = self.nodes.expect(id);
            if is_last && self.is_new(entry) {
                // All others are protected, which says nothing about this one.
                self.return_to_policy(id);
                return None;
            }
            if self.try_lose(entry, false) {
                return self.nodes.take(id);
            }
            self.keep(id, entry);
        }
        None
    }

    /// Whether this is the entry that came last, and other entries may leave instead of it.
    fn is_new(&self, entry: EntryPtr) -> bool {
        self.quotas.as_ref().is_some_and(|quotas| {
            !quotas.is_last_resort
                && quotas.newcomer.is_some_and(|(newest, _)| newest == entry.hash())
        })
    }

    /// Takes an entry off the account of its namespace, unless that must not lose it. One that was
    /// invalidated may always leave.
    pub(super) fn try_lose(&mut self, entry: EntryPtr, may_cross: bool) -> bool {
        let Some(quotas) = &mut self.quotas else { return true };
        let (account, weight) = (account_of(&entry), entry.meta().weight());
        let is_lost = if entry.is_invalidated() {
            quotas.shared.subtract(account, weight);
            true
        } else {
            quotas.shared.try_lose(account, weight, may_cross)
        };
        if is_lost {
            quotas.losses += 1;
            quotas.maximums.delist(entry);
        }
        is_lost
    }

    /// How many entries were taken off their accounts to be evicted.
    pub(crate) fn losses(&self) -> u64 {
        self.quotas.as_ref().map_or(0, |quotas| quotas.losses)
    }

    /// Keeps an entry that the policy has given up.
    pub(super) fn keep(&mut self, id: NodeId, entry: EntryPtr) {
        let Some(quotas) = &mut self.quotas else { return };
        // From now on it says whether the entry was used since.
        entry.set_frequency(0);
        entry.meta().set_kept(true);
        self.nodes.outside += 1;
        quotas.list(id, account_of(&entry).namespace);
    }

    /// Takes a kept entry out of its list.
    pub(super) fn stop_keeping(&mut self, id: NodeId, entry: EntryPtr) {
        let Some(quotas) = &mut self.quotas else { return };
        quotas.unlist(id, account_of(&entry).namespace);
        entry.meta().set_kept(false);
        self.nodes.outside -= 1;
    }

    /// Evicts the oldest kept entry of a namespace that was not used since, if the namespace can lose it.
    fn evict_kept(&mut self, namespace: u32, may_cross: bool) -> Option<EntryPtr> {
        while let Some(id) = self.quotas.as_ref()?.oldest(namespace) {
            let entry = self.nodes.expect(id);
            let is_dead = entry.is_invalidated();
            if !is_dead && entry.frequency() > 0 && account_of(&entry).is_above_minimum() {
                self.stop_keeping(id, entry);
                self.return_to_policy(id);
                continue;
            }
            if !self.try_lose(entry, may_cross) {
                return None;
            }
            self.stop_keeping(id, entry);
            return self.nodes.take(id);
        }
        None
    }

    /// Evicts a kept entry of any namespace that can lose one. As a last resort also one with which the
    /// namespace crosses its minimum, or the new entry.
    fn evict_any_kept(&mut self, is_last_resort: bool) -> Option<EntryPtr> {
        let with_kept = |it: &Self| -> Vec<u32> {
            it.quotas.iter().flat_map(|quotas| quotas.turns.iter().copied()).collect()
        };
        // Where the whole bound is guaranteed, few namespaces at a time have more than their minimums.
        let few = self.quotas.as_ref().and_then(|quotas| {
            let most = if is_last_resort { 0 } else { quotas.turns.len() };
            quotas.shared.above_minimums(most)
        });
        for namespace in few.unwrap_or_else(|| with_kept(self)) {
            if let Some(entry) = self.evict_kept(namespace, false) {
                return Some(entry);
            }
        }
        // Entries that were used have come back to the policy.
        if let Some(entry) = self.evict_named() {
            return Some(entry);
        }
        // What the policy has given up just now is among them.
        let all = if is_last_resort { with_kept(self) } else { Vec::new() };
        all.into_iter().find_map(|namespace| self.evict_kept(namespace, true))
    }

    /// Inserts an entry that the policy has given up into it again.
    fn return_to_policy(&mut self, id: NodeId) {
        let entry = self.nodes.expect(id);
        if self.owns_scratch {
            entry.meta().set_scratch(0);
        } else {
            // Such a policy has no counters.
            entry.set_frequency(0);
        }
        self.call_policy_impl(|policy, nodes| policy.on_insert(id, nodes));
    }

    /// Takes any node out of the policy, because the policy has failed to name one.
    #[cold]
    fn name_any(&mut self) -> Option<NodeId> {
        let mut ids = self.nodes.entries.iter().flatten().filter_map(|entry| entry.meta().node());
        let id = ids.find(|id| self.nodes.evictable(*id).is_some())?;
        self.faults.count += 1;
        self.call_policy(|policy, nodes| policy.on_remove(id, nodes));
        Some(id)
    }

    /// Panics unless the lists hold the kept entries and those of namespaces with maximums. Returns what the
    /// entries take of the bound.
    pub(super) fn validate_quotas(&self) -> u64 {
        let Some(quotas) = &self.quotas else { return 0 };
        let mut listed = Vec::new();
        for (namespace, list) in &quotas.kept {
            for id in quotas.links.oldest_first(list) {
                let entry = self.nodes.expect(id);
                assert!(entry.meta().is_kept(), "an entry in a list is not kept");
                assert_eq!(account_of(&entry).namespace, *namespace, "it is in another's list");
                listed.push(id);
            }
        }
        let entries = || self.nodes.entries.iter().flatten();
        quotas.maximums.validate(entries().copied());
        let kept = entries().filter(|entry| entry.meta().is_kept()).count();
        assert_eq!(listed.len(), kept, "a kept entry is in no list");
        assert_eq!(self.nodes.outside, kept + self.nodes.unevictable, "kept ones are miscounted");
        let evictable = entries().filter(|entry| !entry.meta().is_unevictable());
        evictable.map(|entry| quotas.shared.cost(entry.meta().weight())).sum()
    }
}
