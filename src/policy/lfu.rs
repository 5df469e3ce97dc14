//! Least frequently used; among entries of equal count, the least recently used.
//!
//! The structure is that of Shah, Mitra and Matani ("An O(1) algorithm for implementing the LFU
//! cache eviction scheme", 2010): a chain of buckets in rising order of count, each a list of its
//! nodes in the order in which they reached that count.
#![forbid(unsafe_code)]

use super::list::{Links, NodeList};
use super::{Accesses, EvictionPolicy, Hints, NodeId, Nodes, PolicyConfig};

const NONE: u32 = u32::MAX;

/// Least frequently used. The insertion counts as the first use, an access or an overwrite as one
/// more; counts never age. O(1) a call; 12 bytes for each node and 24 for each distinct count.
#[derive(Debug)]
pub struct Lfu {
    links: Links,
    /// The bucket of each node.
    bucket_of: Vec<u32>,
    buckets: Vec<Bucket>,
    free: Vec<u32>,
    /// The bucket of the lowest count.
    lowest: u32,
    /// The bucket of the highest count.
    highest: u32,
}

#[derive(Debug, Default)]
struct Bucket {
    count: u64,
    nodes: NodeList,
    lower: u32,
    higher: u32,
}

impl Lfu {
    /// An instance.
    #[must_use]
    pub fn new(config: &PolicyConfig) -> Self {
        Self {
            links: Links::new(config.capacity_entries),
            bucket_of: Vec::new(),
            buckets: Vec::new(),
            free: Vec::new(),
            lowest: NONE,
            highest: NONE,
        }
    }

    /// A bucket of `count` between two neighbours of the chain.
    fn add_bucket(&mut self, count: u64, lower: u32, higher: u32) -> u32 {
        let bucket = Bucket { count, nodes: NodeList::default(), lower, higher };
        let at = match self.free.pop() {
            Some(at) => {
                self.buckets[at as usize] = bucket;
                at
            }
            None => {
                self.buckets.push(bucket);
                u32::try_from(self.buckets.len() - 1).expect("no more buckets than nodes")
            }
        };
        match lower {
            NONE => self.lowest = at,
            lower => self.buckets[lower as usize].higher = at,
        }
        match higher {
            NONE => self.highest = at,
            higher => self.buckets[higher as usize].lower = at,
        }
        at
    }

    fn drop_if_empty(&mut self, at: u32) {
        let Bucket { nodes, lower, higher, .. } = &self.buckets[at as usize];
        if !nodes.is_empty() {
            return;
        }
        let (lower, higher) = (*lower, *higher);
        match lower {
            NONE => self.lowest = higher,
            lower => self.buckets[lower as usize].higher = higher,
        }
        match higher {
            NONE => self.highest = lower,
            higher => self.buckets[higher as usize].lower = lower,
        }
        self.free.push(at);
    }

    fn push(&mut self, at: u32, id: NodeId) {
        self.links.push_front(&mut self.buckets[at as usize].nodes, id);
        self.bucket_of[id.index()] = at;
    }

    fn take(&mut self, id: NodeId) -> u32 {
        let at = self.bucket_of[id.index()];
        self.links.remove(&mut self.buckets[at as usize].nodes, id);
        at
    }

    fn count_use(&mut self, id: NodeId) {
        let at = self.take(id);
        let Bucket { count, higher, .. } = self.buckets[at as usize];
        let has_next = higher != NONE && self.buckets[higher as usize].count == count + 1;
        let next = if has_next { higher } else { self.add_bucket(count + 1, at, higher) };
        self.push(next, id);
        self.drop_if_empty(at);
    }

    /// The buckets in rising order of count.
    fn by_count(&self) -> impl Iterator<Item = &Bucket> {
        let at = |at: u32| self.buckets.get(at as usize);
        std::iter::successors(at(self.lowest), move |bucket| at(bucket.higher))
    }

    /// All nodes, the next to leave first.
    fn coldest_first(&self) -> impl Iterator<Item = NodeId> {
        self.by_count().flat_map(|bucket| self.links.oldest_first(&bucket.nodes))
    }

    fn forget(&mut self, id: NodeId) {
        let at = self.take(id);
        self.drop_if_empty(at);
    }
}

impl EvictionPolicy for Lfu {
    fn accesses(&self) -> Accesses {
        Accesses::Order
    }

    fn on_insert(&mut self, id: NodeId, _nodes: &dyn Nodes) {
        if id.index() >= self.bucket_of.len() {
            self.bucket_of.resize(id.index() + 1, NONE);
        }
        let has_first = self.lowest != NONE && self.buckets[self.lowest as usize].count == 1;
        let first = if has_first { self.lowest } else { self.add_bucket(1, NONE, self.lowest) };
        self.push(first, id);
    }

    fn on_access(&mut self, id: NodeId, _nodes: &dyn Nodes) {
        self.count_use(id);
    }

    fn on_update(&mut self, id: NodeId, _old_weight: u32, _nodes: &dyn Nodes) {
        self.count_use(id);
    }

    fn on_remove(&mut self, id: NodeId, _nodes: &dyn Nodes) {
        self.forget(id);
    }

    fn evict(&mut self, _nodes: &dyn Nodes) -> Option<NodeId> {
        if self.lowest == NONE {
            return None;
        }
        let victim = self.buckets[self.lowest as usize].nodes.back()?;
        self.forget(victim);
        Some(victim)
    }

    fn evict_sparing(&mut self, spared: NodeId, nodes: &dyn Nodes) -> Option<NodeId> {
        let Some(victim) = self.coldest_first().find(|id| *id != spared) else {
            return self.evict(nodes);
        };
        self.forget(victim);
        Some(victim)
    }

    fn to_restore(&self, _nodes: &dyn Nodes, name: &mut dyn FnMut(NodeId, u32)) {
        for Bucket { count, nodes, .. } in self.by_count() {
            let count = u32::try_from(*count).unwrap_or(u32::MAX);
            self.links.name_from(nodes.back(), usize::MAX, &mut |id| name(id, count));
        }
    }

    fn on_restore(&mut self, id: NodeId, word: u32, nodes: &dyn Nodes) {
        self.on_insert(id, nodes);
        let wanted = u64::from(word);
        if wanted <= 1 {
            return;
        }
        // Searched from the highest bucket down, because nodes are usually restored in rising order of count.
        let mut below = self.highest;
        while below != NONE && self.buckets[below as usize].count > wanted {
            below = self.buckets[below as usize].lower;
        }
        let from = self.take(id);
        let has_bucket = below != NONE && self.buckets[below as usize].count == wanted;
        let at = if has_bucket {
            below
        } else {
            let higher = match below {
                NONE => self.lowest,
                below => self.buckets[below as usize].higher,
            };
            self.add_bucket(wanted, below, higher)
        };
        self.push(at, id);
        self.drop_if_empty(from);
    }

    fn hints(&self) -> &dyn Hints {
        self
    }
}

impl Hints for Lfu {
    fn frequency(&self, id: NodeId, _nodes: &dyn Nodes) -> u64 {
        match self.bucket_of.get(id.index()).and_then(|at| self.buckets.get(*at as usize)) {
            Some(bucket) => bucket.count,
            None => 0,
        }
    }

    fn coldest(&self, count: usize, _nodes: &dyn Nodes, name: &mut dyn FnMut(NodeId)) {
        self.coldest_first().take(count).for_each(name);
    }

    fn upcoming(&self, count: usize, name: &mut dyn FnMut(NodeId)) {
        if self.lowest != NONE {
            let lowest = &self.buckets[self.lowest as usize];
            self.links.name_from(lowest.nodes.back(), count, name);
        }
    }
}
