//! Least recently used: a list in the order of the last use, whose back is evicted.
#![forbid(unsafe_code)]

use super::list::{Links, NodeList};
use super::{Accesses, EvictionPolicy, Hints, NodeId, Nodes, PolicyConfig};

/// Least recently used. An access or an overwrite is a use. O(1) a call; 8 bytes a node.
#[derive(Debug)]
#[repr(align(64))]
pub struct Lru {
    links: Links,
    recent: NodeList,
}

impl Lru {
    /// An instance.
    #[must_use]
    pub fn new(config: &PolicyConfig) -> Self {
        Self { links: Links::new(config.capacity_entries), recent: NodeList::default() }
    }

    #[inline]
    pub(super) fn name_upcoming(&self, count: usize, name: &mut (impl FnMut(NodeId) + ?Sized)) {
        self.links.name_from(self.recent.back(), count, name);
    }

    /// Uses of several nodes that are in the list, the oldest first.
    #[inline]
    pub(crate) fn on_uses(&mut self, ids: &[NodeId]) {
        for id in ids {
            self.links.move_to_front(&mut self.recent, *id);
        }
    }

    /// Prefetches what an access to `id` will write.
    #[inline]
    pub(super) fn prefetch_access(&self, id: NodeId) {
        self.links.prefetch_neighbours(id);
    }
}

impl EvictionPolicy for Lru {
    fn accesses(&self) -> Accesses {
        Accesses::Order
    }

    #[inline]
    fn on_insert(&mut self, id: NodeId, _nodes: &dyn Nodes) {
        self.links.push_front(&mut self.recent, id);
    }

    #[inline]
    fn on_access(&mut self, id: NodeId, _nodes: &dyn Nodes) {
        self.links.move_to_front(&mut self.recent, id);
    }

    #[inline]
    fn on_update(&mut self, id: NodeId, _old_weight: u32, _nodes: &dyn Nodes) {
        self.links.move_to_front(&mut self.recent, id);
    }

    #[inline]
    fn on_remove(&mut self, id: NodeId, _nodes: &dyn Nodes) {
        self.links.remove(&mut self.recent, id);
    }

    #[inline]
    fn evict(&mut self, _nodes: &dyn Nodes) -> Option<NodeId> {
        let victim = self.recent.back()?;
        self.links.remove(&mut self.recent, victim);
        Some(victim)
    }

    fn evict_sparing(&mut self, spared: NodeId, _nodes: &dyn Nodes) -> Option<NodeId> {
        let victim = self.links.oldest_sparing(&self.recent, spared)?;
        self.links.remove(&mut self.recent, victim);
        Some(victim)
    }

    fn hints(&self) -> &dyn Hints {
        self
    }
}

impl Hints for Lru {
    fn hottest(&self, count: usize, _nodes: &dyn Nodes, name: &mut dyn FnMut(NodeId)) {
        self.links.newest_first(&self.recent).take(count).for_each(name);
    }

    #[inline]
    fn upcoming(&self, count: usize, name: &mut dyn FnMut(NodeId)) {
        self.name_upcoming(count, name);
    }
}
