//! Doubly linked lists of nodes, linked by index. Several lists share one table of links.

use super::NodeId;
use crate::base::prefetch::prefetch_for_write;

/// No node: the end of a list.
const NONE: u32 = u32::MAX;

/// The links of every node, 8 bytes each. A node is in at most one list.
#[derive(Debug)]
pub(crate) struct Links {
    links: Vec<NodeLink>,
    /// How many nodes there will be at once, if nothing unusual happens.
    expected: usize,
}

#[derive(Clone, Copy, Debug)]
struct NodeLink {
    /// Towards the front.
    newer: u32,
    /// Towards the back.
    older: u32,
}

/// One list: new nodes at the front, the oldest at the back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NodeList {
    front: u32,
    back: u32,
}

impl Default for NodeList {
    fn default() -> Self {
        Self { front: NONE, back: NONE }
    }
}

fn node(raw: u32) -> Option<NodeId> {
    (raw != NONE).then_some(NodeId::from_raw(raw))
}

impl Links {
    /// The links of a policy's nodes. There is one node more than the policy may hold while it makes room for
    /// the newest. There may be any number of nodes besides, if a cache has unevictable entries.
    pub(crate) fn new(capacity_entries: Option<usize>) -> Self {
        let expected = capacity_entries.unwrap_or(usize::MAX).saturating_add(1);
        Self { links: Vec::new(), expected }
    }

    /// Adds the links of `id`, which is higher than all ids before.
    #[cold]
    fn push(&mut self, id: NodeId, link: NodeLink) {
        let (len, needed) = (self.links.len(), id.index() + 1);
        if needed > self.links.capacity() && needed <= self.expected {
            // Doubles, but not beyond what is expected, so that a full policy wastes nothing.
            let wanted = needed.max(len.saturating_mul(2)).max(16).min(self.expected);
            self.links.reserve_exact(wanted - len);
        }
        self.links.resize(needed, link);
    }

    #[inline]
    pub(crate) fn push_front(&mut self, list: &mut NodeList, id: NodeId) {
        let link = NodeLink { newer: NONE, older: list.front };
        match self.links.get_mut(id.index()) {
            Some(place) => *place = link,
            None => self.push(id, link),
        }
        match node(list.front) {
            Some(front) => self.links[front.index()].newer = id.to_raw(),
            None => list.back = id.to_raw(),
        }
        list.front = id.to_raw();
    }

    /// Removes `id`, which must be in `list`.
    #[inline]
    pub(crate) fn remove(&mut self, list: &mut NodeList, id: NodeId) {
        let NodeLink { newer, older } = self.links[id.index()];
        match node(newer) {
            Some(newer) => self.links[newer.index()].older = older,
            None => list.front = older,
        }
        match node(older) {
            Some(older) => self.links[older.index()].newer = newer,
            None => list.back = newer,
        }
    }

    /// Removes the oldest node of `list`, which must be `id`.
    #[inline]
    pub(super) fn remove_oldest(&mut self, list: &mut NodeList, id: NodeId) {
        debug_assert_eq!(list.back(), Some(id));
        let NodeLink { newer, .. } = self.links[id.index()];
        match node(newer) {
            Some(newer) => self.links[newer.index()].older = NONE,
            None => list.front = NONE,
        }
        list.back = newer;
    }

    /// Moves `id`, which must be in `list`.
    #[inline]
    pub(super) fn move_to_front(&mut self, list: &mut NodeList, id: NodeId) {
        let front = list.front;
        if front == id.to_raw() {
            return;
        }
        // It is not at the front, so there is a newer one.
        let NodeLink { newer, older } = self.links[id.index()];
        self.links[newer as usize].older = older;
        match node(older) {
            Some(older) => self.links[older.index()].newer = newer,
            None => list.back = newer,
        }
        self.links[front as usize].newer = id.to_raw();
        self.links[id.index()] = NodeLink { newer: NONE, older: front };
        list.front = id.to_raw();
    }

    /// Moves `id`, which must be in `list`.
    pub(super) fn move_to_back(&mut self, list: &mut NodeList, id: NodeId) {
        let Some(back) = list.back().filter(|back| *back != id) else { return };
        self.remove(list, id);
        self.links[id.index()] = NodeLink { newer: back.to_raw(), older: NONE };
        self.links[back.index()].older = id.to_raw();
        list.back = id.to_raw();
    }

    /// Prefetches what moving `id` will write besides its own links.
    #[inline]
    pub(super) fn prefetch_neighbours(&self, id: NodeId) {
        if let Some(NodeLink { newer, older }) = self.links.get(id.index()) {
            // Wrapping: at an end of the list there is none, and the address is a mere hint.
            prefetch_for_write(self.links.as_ptr().wrapping_add(*newer as usize));
            prefetch_for_write(self.links.as_ptr().wrapping_add(*older as usize));
        }
    }

    /// Names up to `count` nodes, from `from` towards the front.
    #[inline]
    pub(super) fn name_from(
        &self,
        from: Option<NodeId>,
        count: usize,
        name: &mut (impl FnMut(NodeId) + ?Sized),
    ) {
        let mut next = from;
        for _ in 0..count {
            let Some(id) = next else { break };
            name(id);
            next = self.newer(id);
        }
    }

    /// The oldest node of `list` other than `spared`, or `spared` if there is no other.
    pub(super) fn oldest_sparing(&self, list: &NodeList, spared: NodeId) -> Option<NodeId> {
        let oldest = list.back()?;
        if oldest == spared { self.newer(oldest).or(Some(oldest)) } else { Some(oldest) }
    }

    /// The nodes of `list`, the oldest first.
    pub(crate) fn oldest_first(&self, list: &NodeList) -> impl Iterator<Item = NodeId> + Clone {
        std::iter::successors(list.back(), |id| self.newer(*id))
    }

    /// The nodes of `list`, the newest first.
    pub(super) fn newest_first(&self, list: &NodeList) -> impl Iterator<Item = NodeId> + Clone {
        std::iter::successors(list.front(), |id| self.older(*id))
    }

    /// The next node towards the back.
    #[inline]
    pub(super) fn older(&self, id: NodeId) -> Option<NodeId> {
        node(self.links[id.index()].older)
    }

    /// The next node towards the front.
    #[inline]
    pub(super) fn newer(&self, id: NodeId) -> Option<NodeId> {
        node(self.links[id.index()].newer)
    }
}

impl NodeList {
    #[inline]
    pub(crate) fn front(&self) -> Option<NodeId> {
        node(self.front)
    }

    #[inline]
    pub(crate) fn back(&self) -> Option<NodeId> {
        node(self.back)
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.back == NONE
    }
}
