//! The nodes of a cache that stores no values, by id and by hash.
#![forbid(unsafe_code)]

use std::cell::Cell;

use super::sketch::spread;
use super::{NodeId, Nodes};
use crate::base::load_time::LoadTime;

/// No node: the end of a chain.
const NONE: u32 = u32::MAX;

/// A hash table with chains of nodes, at most one node for each hash.
/// A policy that asks about a node which was taken out panics.
#[derive(Debug, Default)]
pub(super) struct NodeTable {
    /// By id.
    nodes: Vec<TableNode>,
    free: Vec<NodeId>,
    /// The first node of each chain: a power of two of chains, or none yet.
    chains: Vec<u32>,
    weight: u64,
}

#[derive(Debug)]
struct TableNode {
    hash: u64,
    weight: u32,
    scratch: Cell<u32>,
    /// The next node of the chain.
    next: u32,
    frequency: Cell<u8>,
    is_held: bool,
    cost: LoadTime,
}

/// The id of the node at an index.
pub(super) fn node(index: usize) -> NodeId {
    NodeId::from_raw(u32::try_from(index).expect("memory ends before 2^32 nodes"))
}

impl NodeTable {
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.nodes.len() - self.free.len()
    }

    /// The weights of all nodes together.
    #[inline]
    pub(super) fn total_weight(&self) -> u64 {
        self.weight
    }

    /// The bytes that the table has allocated.
    pub(super) fn bytes(&self) -> usize {
        self.nodes.capacity() * size_of::<TableNode>()
            + self.free.capacity() * size_of::<NodeId>()
            + self.chains.capacity() * size_of::<u32>()
    }

    #[inline]
    pub(super) fn find(&self, hash: u64) -> Option<NodeId> {
        if self.chains.is_empty() {
            return None;
        }
        let mut next = self.chains[self.chain(hash)];
        while next != NONE {
            let node = &self.nodes[next as usize];
            if node.hash == hash {
                return Some(NodeId::from_raw(next));
            }
            next = node.next;
        }
        None
    }

    /// The nodes and their hashes, in the order of their ids.
    pub(super) fn iter(&self) -> impl Iterator<Item = (NodeId, u64)> {
        let nodes = self.nodes.iter().enumerate().filter(|(_, node)| node.is_held);
        nodes.map(|(at, held)| (node(at), held.hash))
    }

    /// The first node whose index is at least `start`, or else the first of all.
    pub(super) fn first_from(&self, start: usize) -> Option<NodeId> {
        let slots = self.nodes.len();
        let mut indexes = (0..slots).map(|step| (start + step) % slots);
        indexes.find(|at| self.nodes[*at].is_held).map(node)
    }

    /// Adds a node for a hash that has none.
    pub(super) fn add(&mut self, hash: u64, weight: u32, cost: LoadTime) -> NodeId {
        self.weight += u64::from(weight);
        let new = TableNode {
            hash,
            weight,
            scratch: Cell::new(0),
            next: NONE,
            frequency: Cell::new(0),
            is_held: true,
            cost,
        };
        if let Some(id) = self.free.pop() {
            self.nodes[id.index()] = new;
            self.chain_up(id);
            return id;
        }
        let id = node(self.nodes.len());
        self.nodes.push(new);
        if self.nodes.len() > self.chains.len() {
            self.rebuild_chains();
        } else {
            self.chain_up(id);
        }
        id
    }

    /// Removes a node and returns its hash; `None` if there is no such node.
    pub(super) fn take(&mut self, id: NodeId) -> Option<u64> {
        let node = self.nodes.get_mut(id.index()).filter(|node| node.is_held)?;
        node.is_held = false;
        let TableNode { hash, weight, next, .. } = *node;
        let chain = self.chain(hash);
        let mut at = self.chains[chain];
        if at == id.to_raw() {
            self.chains[chain] = next;
        } else {
            while self.nodes[at as usize].next != id.to_raw() {
                at = self.nodes[at as usize].next;
            }
            self.nodes[at as usize].next = next;
        }
        self.weight -= u64::from(weight);
        self.free.push(id);
        Some(hash)
    }

    pub(super) fn set_weight(&mut self, id: NodeId, weight: u32) {
        let node = &mut self.nodes[id.index()];
        self.weight -= u64::from(node.weight);
        self.weight += u64::from(weight);
        node.weight = weight;
    }

    pub(super) fn set_cost(&mut self, id: NodeId, cost: LoadTime) {
        self.nodes[id.index()].cost = cost;
    }

    /// Raises the counter of a node, but not beyond `max`.
    #[inline]
    pub(super) fn raise_frequency(&self, id: NodeId, max: u8) {
        let frequency = &self.expect(id).frequency;
        if frequency.get() < max {
            frequency.set(frequency.get() + 1);
        }
    }

    #[inline]
    fn expect(&self, id: NodeId) -> &TableNode {
        let node = &self.nodes[id.index()];
        assert!(node.is_held, "the policy asks about a node that it does not hold");
        node
    }

    #[inline]
    fn chain(&self, hash: u64) -> usize {
        // The keys may be a sample, whose hashes have some bits alike: all bits are mixed.
        (spread(hash) >> 32) as usize & (self.chains.len() - 1)
    }

    #[inline]
    fn chain_up(&mut self, id: NodeId) {
        let chain = self.chain(self.nodes[id.index()].hash);
        self.nodes[id.index()].next = self.chains[chain];
        self.chains[chain] = id.to_raw();
    }

    #[cold]
    fn rebuild_chains(&mut self) {
        self.chains = vec![NONE; self.nodes.len().next_power_of_two()];
        for at in 0..self.nodes.len() {
            if self.nodes[at].is_held {
                self.chain_up(node(at));
            }
        }
    }
}

impl Nodes for NodeTable {
    #[inline]
    fn hash(&self, id: NodeId) -> u64 {
        self.expect(id).hash
    }

    #[inline]
    fn weight(&self, id: NodeId) -> u32 {
        self.expect(id).weight
    }

    #[inline]
    fn cost_ns(&self, id: NodeId) -> u64 {
        self.expect(id).cost.to_ns()
    }

    #[inline]
    fn frequency(&self, id: NodeId) -> u8 {
        self.expect(id).frequency.get()
    }

    #[inline]
    fn set_frequency(&self, id: NodeId, frequency: u8) {
        self.expect(id).frequency.set(frequency);
    }

    #[inline]
    fn scratch(&self, id: NodeId) -> u32 {
        self.expect(id).scratch.get()
    }

    #[inline]
    fn set_scratch(&self, id: NodeId, scratch: u32) {
        self.expect(id).scratch.set(scratch);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn a_table_holds_what_a_map_holds() {
        let (mut table, mut map) = (NodeTable::default(), HashMap::new());
        let mut state = 7;
        for step in 0..20_000_u64 {
            state = spread(state + step);
            // Few keys at first, so that chains and free ids are used, then more of them.
            let hash = state % (10 + step / 10);
            if let Some(id) = map.remove(&hash) {
                assert_eq!((table.find(hash), table.hash(id)), (Some(id), hash));
                assert_eq!((table.take(id), table.take(id)), (Some(hash), None));
            } else {
                assert_eq!(table.find(hash), None);
                map.insert(hash, table.add(hash, 3, LoadTime::default()));
            }
            assert_eq!((table.len(), table.total_weight()), (map.len(), 3 * map.len() as u64));
        }
        let held: HashMap<u64, NodeId> = table.iter().map(|(id, hash)| (hash, id)).collect();
        assert_eq!(held, map);
        assert!(map.iter().all(|(hash, id)| table.find(*hash) == Some(*id)));
    }

    #[test]
    #[should_panic(expected = "does not hold")]
    fn a_policy_that_asks_about_a_node_that_has_left_is_noticed() {
        let mut table = NodeTable::default();
        let id = table.add(1, 1, LoadTime::default());
        table.take(id);
        let _ = table.hash(id);
    }
}
