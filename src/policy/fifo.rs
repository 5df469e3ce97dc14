//! First in, first out: evicts the entry that was inserted first. Accesses and overwrites do not change the
//! order, but an entry is not evicted for its own new weight while there is another.
#![forbid(unsafe_code)]

use super::list::{Links, NodeList};
use super::{Accesses, EvictionPolicy, Hints, NodeId, Nodes, PolicyConfig};

/// First in, first out. O(1) a call; 8 bytes a node.
#[derive(Debug)]
#[repr(align(64))]
pub struct Fifo {
    links: Links,
    queue: NodeList,
}

impl Fifo {
    /// An instance.
    #[must_use]
    pub fn new(config: &PolicyConfig) -> Self {
        Self { links: Links::new(config.capacity_entries), queue: NodeList::default() }
    }

    #[inline]
    pub(super) fn name_upcoming(&self, count: usize, name: &mut (impl FnMut(NodeId) + ?Sized)) {
        self.links.name_from(self.queue.back(), count, name);
    }
}

impl EvictionPolicy for Fifo {
    fn accesses(&self) -> Accesses {
        Accesses::None
    }

    #[inline]
    fn on_insert(&mut self, id: NodeId, _nodes: &dyn Nodes) {
        self.links.push_front(&mut self.queue, id);
    }

    #[inline]
    fn on_remove(&mut self, id: NodeId, _nodes: &dyn Nodes) {
        self.links.remove(&mut self.queue, id);
    }

    #[inline]
    fn evict(&mut self, _nodes: &dyn Nodes) -> Option<NodeId> {
        let victim = self.queue.back()?;
        self.links.remove(&mut self.queue, victim);
        Some(victim)
    }

    fn evict_sparing(&mut self, spared: NodeId, _nodes: &dyn Nodes) -> Option<NodeId> {
        let victim = self.links.oldest_sparing(&self.queue, spared)?;
        self.links.remove(&mut self.queue, victim);
        Some(victim)
    }

    fn hints(&self) -> &dyn Hints {
        self
    }
}

impl Hints for Fifo {
    fn hottest(&self, count: usize, _nodes: &dyn Nodes, name: &mut dyn FnMut(NodeId)) {
        self.links.newest_first(&self.queue).take(count).for_each(name);
    }

    fn upcoming(&self, count: usize, name: &mut dyn FnMut(NodeId)) {
        self.name_upcoming(count, name);
    }
}
