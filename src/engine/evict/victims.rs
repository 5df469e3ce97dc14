//! Which entry leaves next.
#![forbid(unsafe_code)]

use super::Evictor;
use crate::base::node_id::NodeId;
use crate::entry::EntryPtr;
use crate::policy::{EvictionPolicy, Nodes};

impl Evictor {
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

    /// The node that is spared. One that is never evicted need not be spared.
    fn spared_node(&self) -> Option<NodeId> {
        let (id, hash) = self.spared?;
        let entry = self.nodes.evictable(id)?;
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
        self.call_policy(name).flatten()
    }

    /// Unlinks the entry that is to leave; `None` if there is none.
    #[inline]
    pub(crate) fn evict(&mut self) -> Option<EntryPtr> {
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

    /// Unlinks the heavy entry that came first: its loan was called back. What lies beside it would
    /// leave for nothing.
    #[cold]
    fn evict_heavy(&mut self) -> Option<EntryPtr> {
        let spared = self.spared_node();
        let id = *self.nodes.heavy.iter().find(|id| Some(**id) != spared)?;
        self.call_policy_impl(|policy, nodes| policy.on_remove(id, nodes));
        self.nodes.take(id)
    }

    /// The policy failed to name a victim: takes any, so that the bound holds all the same.
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
        self.faults += 1;
        self.fallback = at + 1;
        let id = NodeId::from_raw(u32::try_from(at).expect("ids are 32 bits"));
        self.call_policy(|policy, nodes| policy.on_remove(id, nodes));
        self.nodes.take(id)
    }
}
