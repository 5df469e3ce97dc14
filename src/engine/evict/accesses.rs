//! Recorded accesses, and how the policy learns of them.
#![forbid(unsafe_code)]

use super::Evictor;
use crate::base::node_id::NodeId;
use crate::buffer::read_buffer::ReadRecord;
use crate::entry::EntryPtr;

/// The most accesses in a batch, as many as a thread records between two runs.
const BATCH: usize = 64;

/// Accesses that were checked and are still to be reported to the policy, the oldest first.
///
/// The nodes are scattered in memory. A policy that had to move one after the other would wait for each of
/// them, and for those beside it in its list, longer than for everything else. So what a batch will write is
/// prefetched first.
pub(crate) struct AccessBatch {
    nodes: [NodeId; BATCH],
    len: usize,
}

impl Default for AccessBatch {
    fn default() -> Self {
        Self { nodes: [NodeId::from_raw(0); BATCH], len: 0 }
    }
}

impl Evictor {
    /// Adds a recorded access to a batch, unless its entry has left since, and reports the batch once it is
    /// full.
    #[inline]
    pub(crate) fn access(&mut self, accesses: &mut AccessBatch, record: ReadRecord) {
        let id = record.node();
        let is_same = |entry: &EntryPtr| entry.hash().tag() == record.tag();
        if self.quotas.is_some() {
            self.note_use(id, record.tag());
        }
        if !self.nodes.evictable(id).as_ref().is_some_and(is_same) {
            return;
        }
        if !self.demoted.is_empty() {
            self.restore_rank(id);
        }
        self.policy.prefetch_access(id);
        if let Some(node) = accesses.nodes.get_mut(accesses.len) {
            *node = id;
            accesses.len += 1;
        }
        if accesses.len == BATCH {
            self.report(accesses);
        }
    }

    /// Reports the accesses of a batch, and empties it.
    pub(crate) fn report(&mut self, accesses: &mut AccessBatch) {
        let nodes = &accesses.nodes[..accesses.len];
        let is_lru = self.call_policy_impl(|policy, _| match policy.as_lru() {
            Some(lru) => {
                lru.on_uses(nodes);
                true
            }
            None => false,
        });
        if is_lru == Some(false) {
            // Each in a call of its own, so that a policy that panics learns of the others.
            for id in nodes {
                self.call_policy(|policy, nodes| policy.on_access(*id, nodes));
            }
        }
        accesses.len = 0;
    }
}
