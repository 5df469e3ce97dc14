//! What the segments say of themselves: what is looked at next, which node ranks where, what each
//! holds.

use super::{SegmentId, SegmentQueue, Segments};
use crate::base::node_id::NodeId;
use crate::policy::window_tiny_lfu::word::NodeWord;
use crate::policy::{Nodes, Segment};

impl Segments {
    /// Names what the next insertions will look at: so many at the tail of the window, which then
    /// are candidates, and of probation.
    #[inline]
    pub(in crate::policy::window_tiny_lfu) fn upcoming(
        &self,
        count: usize,
        name: &mut (impl FnMut(NodeId) + ?Sized),
    ) {
        // Most candidates lose, and leave victims for others to duel with.
        for (segment, count) in
            [(SegmentId::Window, count), (SegmentId::Probation, count.div_ceil(4))]
        {
            self.links.name_from(self.queues[segment as usize].list.back(), count, name);
        }
    }

    /// Names what those insertions may look at besides: what moves to the protected list pushes
    /// others out of it, unless they were used.
    #[inline]
    pub(in crate::policy::window_tiny_lfu) fn looked_at(
        &self,
        count: usize,
        name: &mut impl FnMut(NodeId),
    ) {
        let protected = &self.queues[SegmentId::Protected as usize];
        if protected.cost >= self.protected_target {
            self.links.name_from(protected.list.back(), count.div_ceil(2), name);
        }
    }

    /// Names nodes from the one that leaves first on.
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

    /// Names nodes from the one that would leave last on, as far as their place tells.
    pub(in crate::policy::window_tiny_lfu) fn hottest(
        &self,
        count: usize,
        name: &mut dyn FnMut(NodeId),
    ) {
        let places = [SegmentId::Protected, SegmentId::Window, SegmentId::Probation];
        let ids = places
            .iter()
            .flat_map(|segment| self.links.newest_first(&self.queues[*segment as usize].list));
        ids.take(count).for_each(name);
    }

    /// The name of the part that a node is in.
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
        let main_target = self.budget.total.saturating_sub(self.window_target);
        vec![
            segment(SegmentId::Window).with_target(self.window_target),
            segment(SegmentId::Probation).with_target(main_target - self.protected_target),
            segment(SegmentId::Protected).with_target(self.protected_target),
        ]
    }
}
