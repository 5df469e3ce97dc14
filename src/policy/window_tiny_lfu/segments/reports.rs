//! Reports of the segments: which nodes are examined next, how nodes rank, and what each segment holds.

use super::{SegmentId, SegmentQueue, Segments};
use crate::base::node_id::NodeId;
use crate::policy::window_tiny_lfu::word::NodeWord;
use crate::policy::{Nodes, Segment};

/// The nodes of a segment that the next insertion may examine, as a rule.
const FIRST: usize = 2;

impl Segments {
    /// Names the nodes that the next `count` insertions will examine: the tail of the window, which
    /// become candidates, and the tail of probation.
    #[inline]
    pub(in crate::policy::window_tiny_lfu) fn upcoming(
        &self,
        count: usize,
        name: &mut (impl FnMut(NodeId) + ?Sized),
    ) {
        // Most candidates lose their duel, and the victim stays to duel with others.
        for (segment, count) in
            [(SegmentId::Window, count), (SegmentId::Probation, count.div_ceil(4))]
        {
            self.links.name_from(self.queues[segment as usize].list.back(), count, name);
        }
    }

    /// Names the nodes that those insertions may examine besides, `count` of each segment, and says whether
    /// they are among the first of it: the tail of probation, since a node there that was used moves to the
    /// protected segment, and the tail of that, since the node pushes others out of it, unless they were used.
    #[inline]
    pub(in crate::policy::window_tiny_lfu) fn also_examined(
        &self,
        count: usize,
        name: &mut impl FnMut(NodeId, bool),
    ) {
        let protected = &self.queues[SegmentId::Protected as usize];
        let is_full = protected.cost >= self.targets.protected;
        let probation = &self.queues[SegmentId::Probation as usize];
        for list in
            [Some(&probation.list), is_full.then_some(&protected.list)].into_iter().flatten()
        {
            let mut named = 0;
            self.links.name_from(list.back(), count, &mut |id| {
                name(id, named < FIRST);
                named += 1;
            });
        }
    }

    /// Names up to `count` nodes, the next to leave first.
    pub(in crate::policy::window_tiny_lfu) fn coldest(
        &self,
        count: usize,
        name: &mut dyn FnMut(NodeId),
    ) {
        let mut left = count;
        for segment in [SegmentId::Probation, SegmentId::Window, SegmentId::Protected] {
            let queue = &self.queues[segment as usize];
            self.links.name_from(queue.list.back(), left, name);
            left = left.saturating_sub(queue.entries);
        }
    }

    /// Names up to `count` nodes, the last to leave first, by their segments and places alone.
    pub(in crate::policy::window_tiny_lfu) fn hottest(
        &self,
        count: usize,
        name: &mut dyn FnMut(NodeId),
    ) {
        let segments = [SegmentId::Protected, SegmentId::Window, SegmentId::Probation];
        let ids = segments
            .iter()
            .flat_map(|segment| self.links.newest_first(&self.queues[*segment as usize].list));
        ids.take(count).for_each(name);
    }

    /// The name of the segment that a node is in.
    pub(in crate::policy::window_tiny_lfu) fn name_of<N: Nodes + ?Sized>(
        &self,
        id: NodeId,
        nodes: &N,
    ) -> &'static str {
        NodeWord::of(id, nodes).segment.name()
    }

    pub(in crate::policy::window_tiny_lfu) fn report(&self) -> Vec<Segment> {
        let segment = |segment: SegmentId| {
            let SegmentQueue { entries, cost, .. } = self.queues[segment as usize];
            Segment::new(segment.name(), entries, cost)
        };
        let main_target = self.budget.total.saturating_sub(self.targets.window);
        vec![
            segment(SegmentId::Window).with_target(self.targets.window),
            segment(SegmentId::Probation).with_target(main_target - self.targets.protected),
            segment(SegmentId::Protected).with_target(self.targets.protected),
        ]
    }
}
