//! SIEVE: one queue in the order of insertion, and a hand that moves from old to new entries. It passes once
//! over an entry that was used since its last visit, and evicts one that was not.
//!
//! Zhang, Yang, Yue, Vigfusson, Rashmi: "SIEVE is Simpler than LRU: an Efficient Turn-Key
//! Eviction Algorithm for Web Caches", NSDI 2024.
#![forbid(unsafe_code)]

use super::list::{Links, NodeList};
use super::{Accesses, EvictionPolicy, Hints, NodeId, Nodes, PolicyConfig};

/// The word by which the node under the hand is restored.
const AT_HAND: u32 = 1;

/// SIEVE. A hit marks its entry and moves nothing. O(1) amortized; 8 bytes a node.
#[derive(Debug)]
#[repr(align(64))]
pub struct Sieve {
    links: Links,
    queue: NodeList,
    /// The node that the hand visits next; `None` means the oldest.
    hand: Option<NodeId>,
    len: usize,
}

impl Sieve {
    /// An instance.
    #[must_use]
    pub fn new(config: &PolicyConfig) -> Self {
        Self {
            links: Links::new(config.capacity_entries),
            queue: NodeList::default(),
            hand: None,
            len: 0,
        }
    }

    #[inline]
    fn remove(&mut self, id: NodeId) {
        if self.hand == Some(id) {
            self.hand = self.links.newer(id);
        }
        self.links.remove(&mut self.queue, id);
        self.len -= 1;
    }

    #[inline]
    pub(super) fn name_upcoming(&self, count: usize, name: &mut (impl FnMut(NodeId) + ?Sized)) {
        self.links.name_from(self.hand.or(self.queue.back()), count, name);
    }

    /// `evict` for nodes of a known type.
    #[inline]
    pub(super) fn choose<N: Nodes + ?Sized>(&mut self, nodes: &N) -> Option<NodeId> {
        self.choose_sparing(None, nodes)
    }

    #[inline]
    fn choose_sparing<N: Nodes + ?Sized>(
        &mut self,
        spared: Option<NodeId>,
        nodes: &N,
    ) -> Option<NodeId> {
        // Each visit clears a mark, but concurrent hits may set it again: after a full round, the node under
        // the hand has to leave.
        let mut visits = 0;
        loop {
            let id = self.hand.or(self.queue.back())?;
            let is_unused = nodes.frequency(id) == 0 || visits > self.len;
            if is_unused && (Some(id) != spared || self.len == 1) {
                self.remove(id);
                return Some(id);
            }
            visits += 1;
            nodes.set_frequency(id, 0);
            self.hand = self.links.newer(id);
        }
    }
}

impl EvictionPolicy for Sieve {
    fn accesses(&self) -> Accesses {
        Accesses::Counter { max: 1 }
    }

    #[inline]
    fn on_insert(&mut self, id: NodeId, _nodes: &dyn Nodes) {
        self.links.push_front(&mut self.queue, id);
        self.len += 1;
    }

    #[inline]
    fn on_remove(&mut self, id: NodeId, _nodes: &dyn Nodes) {
        self.remove(id);
    }

    fn evict(&mut self, nodes: &dyn Nodes) -> Option<NodeId> {
        self.choose(nodes)
    }

    fn evict_sparing(&mut self, spared: NodeId, nodes: &dyn Nodes) -> Option<NodeId> {
        self.choose_sparing(Some(spared), nodes)
    }

    fn to_restore(&self, _nodes: &dyn Nodes, name: &mut dyn FnMut(NodeId, u32)) {
        let is_at_hand = |id| if self.hand == Some(id) { AT_HAND } else { 0 };
        self.links.name_from(self.queue.back(), usize::MAX, &mut |id| name(id, is_at_hand(id)));
    }

    fn on_restore(&mut self, id: NodeId, word: u32, nodes: &dyn Nodes) {
        self.on_insert(id, nodes);
        if word == AT_HAND {
            self.hand = Some(id);
        }
    }

    fn hints(&self) -> &dyn Hints {
        self
    }
}

impl Hints for Sieve {
    /// Names nodes in the order in which they would leave if no entry were used any more: first the unmarked
    /// ones from the hand on, then the marked ones.
    fn coldest(&self, count: usize, nodes: &dyn Nodes, name: &mut dyn FnMut(NodeId)) {
        let from_hand = std::iter::successors(self.hand, |id| self.links.newer(*id));
        let to_hand = self.links.oldest_first(&self.queue).take_while(|id| Some(*id) != self.hand);
        let round = from_hand.chain(to_hand);
        let is_marked = |id: &NodeId| nodes.frequency(*id) != 0;
        let unmarked = round.clone().filter(|id| !is_marked(id));
        unmarked.chain(round.filter(is_marked)).take(count).for_each(name);
    }

    fn upcoming(&self, count: usize, name: &mut dyn FnMut(NodeId)) {
        self.name_upcoming(count, name);
    }
}
