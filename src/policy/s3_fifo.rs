//! S3-FIFO: a small queue for new entries, a main queue for those that proved useful, and a ghost of those
//! that left the small queue.
//!
//! Yang, Zhang, Qiu, Yue, Rashmi: "FIFO queues are all you need for cache eviction", SOSP 2023.
//! Counters saturate at 3 and are cleared on the way into the main queue.
#![forbid(unsafe_code)]

use super::budget::Budget;
use super::ghost_queue::GhostQueue;
use super::list::{Links, NodeList};
use super::{Accesses, EvictionPolicy, Hints, NodeId, Nodes, PolicyConfig};

/// The small queue's share of the budget is one part in this many.
const SMALL_PART: u64 = 10;
/// Uses in the small queue from which an entry moves on to the main one.
const USES_TO_MOVE: u8 = 2;
const MAX_FREQUENCY: u8 = 3;
/// The word by which a node of the main queue is restored.
const IN_MAIN: u32 = 1;

/// S3-FIFO. A hit counts in its entry and moves nothing. O(1) amortized; 30 to 45 bytes a node.
#[derive(Debug)]
pub struct S3Fifo {
    links: Links,
    in_main: Vec<bool>,
    small: NodeList,
    main: NodeList,
    ghost: GhostQueue,
    /// The most keys that the ghost remembers, if entries are bounded.
    max_remembered: usize,
    budget: Budget,
    /// The cost of the nodes in the small queue.
    small_cost: u64,
    small_target: u64,
    len: usize,
}

impl S3Fifo {
    /// An instance.
    #[must_use]
    pub fn new(config: &PolicyConfig) -> Self {
        let budget = Budget::new(config);
        let mut policy = Self {
            links: Links::new(config.capacity_entries),
            in_main: Vec::new(),
            small: NodeList::default(),
            main: NodeList::default(),
            ghost: GhostQueue::default(),
            max_remembered: usize::MAX,
            budget,
            small_cost: 0,
            small_target: 1,
            len: 0,
        };
        policy.set_budget(budget);
        policy
    }

    fn set_budget(&mut self, budget: Budget) {
        self.budget = budget;
        self.small_target = (budget.total / SMALL_PART).max(1);
        if budget.counts_entries() {
            // As many keys as the main queue holds, and one more: the entry that makes room for a new one
            // goes to the ghost before the new key is looked up there, and must not push that key out.
            let main = budget.total - self.small_target;
            self.max_remembered = usize::try_from(main).unwrap_or(usize::MAX).saturating_add(1);
        }
    }

    /// Whether the next victim comes from the small queue.
    fn is_small_over(&self) -> bool {
        self.small_cost >= self.small_target || self.main.is_empty()
    }

    fn remove(&mut self, id: NodeId, nodes: &dyn Nodes) {
        if self.in_main[id.index()] {
            self.links.remove(&mut self.main, id);
        } else {
            self.links.remove(&mut self.small, id);
            self.small_cost -= self.budget.cost(nodes.weight(id));
        }
    }

    /// Moves used nodes from the small queue to the main one until an unused node leaves, or until the small
    /// queue is no longer over its share.
    fn evict_small(&mut self, spared: Option<NodeId>, nodes: &dyn Nodes) -> Option<NodeId> {
        while self.is_small_over() {
            let id = match spared {
                None => self.small.back()?,
                Some(spared) => self.links.oldest_sparing(&self.small, spared)?,
            };
            if Some(id) == spared {
                return None;
            }
            self.remove(id, nodes);
            if nodes.frequency(id) < USES_TO_MOVE {
                self.remember(nodes.hash(id));
                return Some(id);
            }
            nodes.set_frequency(id, 0);
            self.in_main[id.index()] = true;
            self.links.push_front(&mut self.main, id);
        }
        None
    }

    fn remember(&mut self, hash: u64) {
        self.ghost.push(hash, self.max_remembered.min(self.len));
    }

    /// Gives used nodes another round until an unused one leaves the main queue.
    fn evict_main(&mut self, spared: Option<NodeId>, nodes: &dyn Nodes) -> Option<NodeId> {
        // Each visit lowers a counter, but concurrent hits may raise it again: after as many rounds as a
        // counter has steps, the node at the back has to leave.
        let mut visits = 0;
        while let Some(id) = self.main.back() {
            if Some(id) == spared {
                self.links.newer(id)?;
                self.links.move_to_front(&mut self.main, id);
                continue;
            }
            self.links.remove(&mut self.main, id);
            let frequency = nodes.frequency(id);
            if frequency == 0 || visits > self.len * usize::from(MAX_FREQUENCY) {
                return Some(id);
            }
            visits += 1;
            nodes.set_frequency(id, frequency - 1);
            self.links.push_front(&mut self.main, id);
        }
        None
    }
}

impl EvictionPolicy for S3Fifo {
    fn accesses(&self) -> Accesses {
        Accesses::Counter { max: MAX_FREQUENCY }
    }

    fn on_insert(&mut self, id: NodeId, nodes: &dyn Nodes) {
        self.len += 1;
        if id.index() >= self.in_main.len() {
            self.in_main.resize(id.index() + 1, false);
        }
        let in_main = self.ghost.take(nodes.hash(id));
        self.in_main[id.index()] = in_main;
        if in_main {
            self.links.push_front(&mut self.main, id);
        } else {
            self.links.push_front(&mut self.small, id);
            self.small_cost += self.budget.cost(nodes.weight(id));
        }
    }

    fn on_update(&mut self, id: NodeId, old_weight: u32, nodes: &dyn Nodes) {
        if !self.in_main[id.index()] {
            self.small_cost += self.budget.cost(nodes.weight(id));
            self.small_cost -= self.budget.cost(old_weight);
        }
    }

    fn on_remove(&mut self, id: NodeId, nodes: &dyn Nodes) {
        self.remove(id, nodes);
        self.len -= 1;
    }

    fn evict(&mut self, nodes: &dyn Nodes) -> Option<NodeId> {
        let victim = self.evict_small(None, nodes).or_else(|| self.evict_main(None, nodes));
        if victim.is_some() {
            self.len -= 1;
        }
        victim
    }

    fn evict_sparing(&mut self, spared: NodeId, nodes: &dyn Nodes) -> Option<NodeId> {
        let found =
            self.evict_small(Some(spared), nodes).or_else(|| self.evict_main(Some(spared), nodes));
        let victim = match found {
            Some(victim) => victim,
            // The other nodes are in the small queue, which is within its share, or there are none.
            None => {
                let oldest = self.links.oldest_sparing(&self.small, spared);
                let victim = oldest.or(self.main.back())?;
                self.remove(victim, nodes);
                victim
            }
        };
        self.len -= 1;
        Some(victim)
    }

    fn to_restore(&self, _nodes: &dyn Nodes, name: &mut dyn FnMut(NodeId, u32)) {
        self.links.name_from(self.main.back(), usize::MAX, &mut |id| name(id, IN_MAIN));
        self.links.name_from(self.small.back(), usize::MAX, &mut |id| name(id, 0));
    }

    fn on_restore(&mut self, id: NodeId, word: u32, nodes: &dyn Nodes) {
        self.on_insert(id, nodes);
        if word == IN_MAIN && !self.in_main[id.index()] {
            self.remove(id, nodes);
            self.in_main[id.index()] = true;
            self.links.push_front(&mut self.main, id);
        }
    }

    fn on_resize(&mut self, config: &PolicyConfig, nodes: &dyn Nodes) {
        self.set_budget(Budget::new(config));
        if !self.budget.is_fixed_unit() {
            let ids = self.links.oldest_first(&self.small);
            self.small_cost = ids.map(|id| self.budget.cost_of(id, nodes)).sum();
        }
    }

    fn hints(&self) -> &dyn Hints {
        self
    }
}

impl Hints for S3Fifo {
    /// Names nodes about in the order in which they would leave if no entry came or were used any more: the
    /// nodes by which the small queue is over its share and that do not move on; the main queue, one round
    /// for each use, with the nodes that move there behind the first round; then the rest of the small queue.
    fn coldest(&self, count: usize, nodes: &dyn Nodes, name: &mut dyn FnMut(NodeId)) {
        let has_moved_on = |id: &NodeId| nodes.frequency(*id) >= USES_TO_MOVE;
        let (mut excess, mut small_cost, mut is_main_empty) =
            (0, self.small_cost, self.main.is_empty());
        for id in self.links.oldest_first(&self.small) {
            if small_cost < self.small_target && !is_main_empty {
                break;
            }
            excess += 1;
            small_cost -= self.budget.cost(nodes.weight(id));
            is_main_empty &= !has_moved_on(&id);
        }
        let leaving = || self.links.oldest_first(&self.small).take(excess);
        let round = |uses| {
            let main = self.links.oldest_first(&self.main);
            main.filter(move |id| nodes.frequency(*id).min(MAX_FREQUENCY) == uses)
        };
        leaving()
            .filter(|id| !has_moved_on(id))
            .chain(round(0))
            .chain(leaving().filter(has_moved_on))
            .chain((1..=MAX_FREQUENCY).flat_map(round))
            .chain(self.links.oldest_first(&self.small).skip(excess))
            .take(count)
            .for_each(name);
    }

    fn upcoming(&self, count: usize, name: &mut dyn FnMut(NodeId)) {
        let queue = if self.is_small_over() { &self.small } else { &self.main };
        self.links.name_from(queue.back(), count, name);
    }
}
