//! The search for the entry that would leave.

use super::{
    COMPARED, DRAIN, FIRST_CHECKS, MAX_CHECKS, PROTECTED_EXCESS_PART, SegmentId, Segments,
};
use crate::base::node_id::NodeId;
use crate::policy::Nodes;
use crate::policy::window_tiny_lfu::variants::{Direct, VARIANTS};
use crate::policy::window_tiny_lfu::word::NodeWord;

impl Segments {
    /// The unused node at probation's tail, apart from the candidate.
    pub(super) fn find_victim<N: Nodes + ?Sized>(&mut self, nodes: &N) -> Option<NodeId> {
        let mut checks = 0;
        self.drain_protected(&mut checks, FIRST_CHECKS, nodes);
        loop {
            let mut tail = self.queues[SegmentId::Probation as usize].list.back();
            while tail.is_some()
                && (tail == self.candidate || tail == self.newest || tail == self.spared)
            {
                tail = tail.and_then(|tail| self.links.newer(tail));
            }
            let Some(tail) = tail else {
                let protected = self.queues[SegmentId::Protected as usize].list.back()?;
                self.change_segment(protected, SegmentId::Probation, nodes);
                continue;
            };
            checks += 1;
            if checks > MAX_CHECKS || !self.check(tail, nodes) {
                return Some(tail);
            }
            self.defender = None;
            self.change_segment(tail, SegmentId::Protected, nodes);
            self.drain_protected(&mut checks, MAX_CHECKS, nodes);
        }
    }

    /// The tail of the protected segment if it has been unused for longer than `victim`. Where all keys that the
    /// ghost knows go to probation, they may leave it before they are used again, so that nothing else would
    /// push the nodes out of the protected segment.
    pub(super) fn find_older<N: Nodes + ?Sized>(&mut self, victim: NodeId, nodes: &N) -> NodeId {
        let protected = self.queues[SegmentId::Protected as usize].list;
        match protected.back() {
            Some(tail)
                if VARIANTS[self.variant].direct == Direct::Always && Some(tail) != self.spared =>
            {
                if self.check(tail, nodes) {
                    self.links
                        .move_to_front(&mut self.queues[SegmentId::Protected as usize].list, tail);
                    return victim;
                }
                let age = |id: NodeId| self.clock.age(NodeWord::of(id, nodes).last);
                if age(tail) > age(victim) { tail } else { victim }
            }
            _ => victim,
        }
    }

    /// The node of the lowest count among `victim`, the tail of probation, and the unmarked ones of the next few
    /// nodes. If that is another one, `victim` moves to the head.
    ///
    /// The counts are those of the last uses, because asking the sketch would cost a cache line for each.
    #[inline(never)]
    pub(super) fn find_coldest<N: Nodes + ?Sized>(&mut self, victim: NodeId, nodes: &N) -> NodeId {
        if self.costs.is_some() {
            return self.find_least_worth(victim, nodes);
        }
        let count = |id: NodeId| NodeWord::of(id, nodes).count;
        let (mut coldest, mut lowest) = (victim, count(victim));
        let mut next = self.links.newer(victim);
        for _ in 1..COMPARED {
            let Some(id) = next.filter(|_| lowest > 0) else { break };
            let is_spared = [self.candidate, self.newest, self.spared].contains(&Some(id));
            if !is_spared && nodes.frequency(id) == 0 && count(id) < lowest {
                (coldest, lowest) = (id, count(id));
            }
            next = self.links.newer(id);
        }
        if coldest != victim {
            let probation = &mut self.queues[SegmentId::Probation as usize].list;
            self.links.move_to_front(probation, victim);
        }
        coldest
    }

    /// Moves nodes out of the protected segment until it fits, or until there were `limit` checks. Further
    /// insertions and evictions go on. A large excess shrinks nevertheless, whatever the checks find.
    pub(super) fn drain_protected<N: Nodes + ?Sized>(
        &mut self,
        checks: &mut usize,
        limit: usize,
        nodes: &N,
    ) {
        let may_exceed = self.targets.protected / PROTECTED_EXCESS_PART;
        loop {
            let protected = &self.queues[SegmentId::Protected as usize];
            let Some(excess) = protected.cost.checked_sub(self.targets.protected + 1) else {
                return;
            };
            let Some(tail) = protected.list.back() else { return };
            if *checks >= limit + if excess <= may_exceed { 0 } else { DRAIN as usize } {
                return;
            }
            *checks += 1;
            if *checks <= limit && self.check(tail, nodes) {
                self.links
                    .move_to_front(&mut self.queues[SegmentId::Protected as usize].list, tail);
            } else {
                self.change_segment(tail, SegmentId::Probation, nodes);
            }
        }
    }

    /// The unused node at the window's tail; there is nothing else.
    pub(super) fn find_unused_in_window<N: Nodes + ?Sized>(&mut self, nodes: &N) -> Option<NodeId> {
        let mut checks = 0;
        loop {
            let tail = self.window_tail()?;
            checks += 1;
            if checks > MAX_CHECKS || !self.check(tail, nodes) {
                return Some(tail);
            }
            self.links.move_to_front(&mut self.queues[SegmentId::Window as usize].list, tail);
        }
    }

    /// The oldest node of the window, apart from the newest and from `spared` unless there is no other.
    pub(super) fn window_tail(&self) -> Option<NodeId> {
        let window = &self.queues[SegmentId::Window as usize].list;
        let mut others = self.links.oldest_first(window).filter(|id| Some(*id) != self.spared);
        let oldest = others.next().or(window.back())?;
        let next = if Some(oldest) == self.newest { others.next() } else { None };
        next.or(Some(oldest))
    }
}
