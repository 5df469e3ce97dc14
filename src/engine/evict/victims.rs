//! Which entry is evicted next.
#![forbid(unsafe_code)]

use super::Evictor;
use crate::base::node_id::NodeId;
use crate::entry::EntryPtr;
use crate::policy::{EvictionPolicy, Nodes};

impl Evictor {
    /// Lets the node of `entry` leave last, until this is called with another one.
    pub(crate) fn spare(&mut self, entry: Option<EntryPtr>) {
        self.spared = entry.and_then(|entry| Some((entry.meta().node()?, entry.hash())));
    }

    /// Ends the sparing of a node once the limits hold.
    #[inline]
    pub(crate) fn stop_sparing(&mut self) {
        if self.spared.is_some() && !self.is_above_limits() {
            self.spared = None;
        }
    }

    /// The node that is spared, unless its entry has left or is unevictable.
    fn spared_node(&self) -> Option<NodeId> {
        let (id, hash) = self.spared?;
        let entry = self.nodes.evictable(id)?;
        (entry.hash() == hash).then_some(id)
    }

    /// The victim that the policy names while a node is spared.
    #[cold]
    pub(super) fn name_sparing(&mut self) -> Option<NodeId> {
        let spared = self.spared_node();
        let name = |policy: &mut dyn EvictionPolicy, nodes: &dyn Nodes| match spared {
            Some(spared) => policy.evict_sparing(spared, nodes),
            None => policy.evict(nodes),
        };
        self.call_policy(name).flatten()
    }

    /// Chooses an entry to evict and unlinks it; `None` if there is none.
    #[inline]
    pub(crate) fn evict(&mut self) -> Option<EntryPtr> {
        if self.quotas.is_some() {
            return self.evict_within_quotas();
        }
        if !self.demoted.is_empty()
            && let Some(entry) = self.evict_demoted()
        {
            return Some(entry);
        }
        if self.nodes.heavy_weight > self.loan
            && let Some(entry) = self.evict_heavy()
        {
            return Some(entry);
        }
        let named = match self.spared {
            None => self.call_policy_impl(|policy, nodes| policy.evict(nodes)).flatten(),
            Some(_) => self.name_sparing(),
        };
        match named.and_then(|id| self.nodes.take_evictable(id)) {
            Some(entry) => Some(entry),
            None => self.evict_any(),
        }
    }

    /// Unlinks the oldest heavy entry, because its loan was called back. To evict lighter entries instead
    /// would not make it fit.
    #[cold]
    fn evict_heavy(&mut self) -> Option<EntryPtr> {
        let spared = self.spared_node();
        let id = *self.nodes.heavy.iter().find(|id| Some(**id) != spared)?;
        self.call_policy_impl(|policy, nodes| policy.on_remove(id, nodes));
        self.nodes.take(id)
    }

    /// Unlinks any entry, because the policy has failed to name a victim, so that the limits hold.
    #[cold]
    fn evict_any(&mut self) -> Option<EntryPtr> {
        let slots = self.nodes.entries.len();
        let evictable = |at: &usize| {
            self.nodes.entries[*at].is_some_and(|entry| !entry.meta().is_unevictable())
        };
        let spared = self.spared_node().map(NodeId::index);
        let at = (0..slots)
            .map(|step| (self.fallback + step) % slots)
            .filter(|at| Some(*at) != spared)
            .chain(spared)
            .find(evictable)?;
        self.faults.count += 1;
        self.fallback = at + 1;
        let id = NodeId::from_raw(u32::try_from(at).expect("ids are 32 bits"));
        self.call_policy(|policy, nodes| policy.on_remove(id, nodes));
        self.nodes.take(id)
    }
}
