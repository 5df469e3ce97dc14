//! A policy that implements only the required methods: it evicts the newest entry, and does not name
//! its coldest or hottest entries.

use larder::policy::{Accesses, EvictionPolicy, NodeId, Nodes};

pub(crate) struct NewestFirst {
    accesses: Accesses,
    nodes: Vec<NodeId>,
}

impl NewestFirst {
    pub(crate) fn new(accesses: Accesses) -> Self {
        Self { accesses, nodes: Vec::new() }
    }
}

impl EvictionPolicy for NewestFirst {
    fn accesses(&self) -> Accesses {
        self.accesses
    }

    fn on_insert(&mut self, id: NodeId, _: &dyn Nodes) {
        self.nodes.push(id);
    }

    fn on_access(&mut self, _: NodeId, _: &dyn Nodes) {}

    fn on_update(&mut self, _: NodeId, _: u32, _: &dyn Nodes) {}

    fn on_remove(&mut self, id: NodeId, _: &dyn Nodes) {
        self.nodes.retain(|node| *node != id);
    }

    fn evict(&mut self, _: &dyn Nodes) -> Option<NodeId> {
        self.nodes.pop()
    }
}
