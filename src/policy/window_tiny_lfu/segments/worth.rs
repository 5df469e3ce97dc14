//! What a node is worth if misses have different costs: its uses, times the cost of a miss, by weight.
//!
//! The rule is that of GreedyDual-Size-Frequency (Cherkasova: "Improving WWW Proxies Performance with
//! Greedy-Dual-Size-Frequency Caching Policy", HP Labs 1998), frequency × cost / size, with the parts that the segments
//! have: the sketch, which ages all counts by halving them, instead of a count for each entry and an age that rises
//! with every eviction; and the window, which gives a new key the time to be used again, whatever its cost. So there is
//! no order by worth to keep up: the worths of a few nodes are compared when one has to leave. If all costs and weights
//! are alike, the duel is that of the policy without costs.
//!
//! Mirrors do not know of costs: they find out which variant hits most.

use super::{NodeWord, SegmentId, Segments};
use crate::base::node_id::NodeId;
use crate::policy::Nodes;

/// The number of nodes among which the victim is chosen: more than without costs, because worths differ more than
/// counts do.
const WORTHS_COMPARED: usize = 8;
/// The share of one new node in the mean of the costs.
const MEAN_PART: f32 = 1.0 / 256.0;

/// What is known about the costs of misses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Costs {
    /// The mean of the known costs of new nodes, which stands for an unknown one.
    mean_ns: f32,
}

impl Segments {
    /// Makes the costs of misses count from now on.
    ///
    /// The policy begins with the smallest window, whatever its budget: costs count only in duels.
    pub(in crate::policy::window_tiny_lfu) fn weigh_costs(&mut self) {
        self.costs = Some(Costs { mean_ns: 0.0 });
        self.set_variant(0);
    }

    pub(in crate::policy::window_tiny_lfu) fn weighs_costs(&self) -> bool {
        self.costs.is_some()
    }

    /// Counts the cost of a node that is new, or has a new value.
    #[inline(never)]
    pub(super) fn note_cost<N: Nodes + ?Sized>(&mut self, id: NodeId, nodes: &N) {
        let cost_ns = nodes.cost_ns(id);
        if let Some(costs) = &mut self.costs
            && cost_ns > 0
        {
            #[expect(clippy::cast_precision_loss, reason = "a mean need not be exact")]
            let cost_ns = cost_ns as f32;
            let part = if costs.mean_ns == 0.0 { 1.0 } else { MEAN_PART };
            costs.mean_ns += (cost_ns - costs.mean_ns) * part;
        }
    }

    /// What one use of a node is worth: the cost of a miss for each unit that the node takes of the budget.
    fn worth<N: Nodes + ?Sized>(&self, id: NodeId, nodes: &N) -> f32 {
        #[expect(clippy::cast_precision_loss, reason = "a worth need not be exact")]
        let cost = match (nodes.cost_ns(id), self.costs) {
            (0, None) => 1.0,
            // At least 1: worths are divided by each other.
            (0, Some(Costs { mean_ns })) => mean_ns.max(1.0),
            (known, _) => known as f32,
        };
        #[expect(clippy::cast_precision_loss, reason = "a worth need not be exact")]
        match self.budget.cost_of(id, nodes) {
            0 | 1 => cost,
            part => cost / part as f32,
        }
    }

    /// The duel of [`admits`](Self::admits) if misses have different costs. `defence` is the victim's count.
    ///
    /// The candidate's insertion counts for nothing, so the candidate is compared as if it had been used half a
    /// time less, and the victim as if half a time more. A lead of at most half a use of the one whose uses are worth
    /// less does not decide, just as a lead of one does not if uses are worth the same. Then the times decide: that
    /// since the victim's last use against the distance of the candidate's, each in proportion to the worth of a use.
    #[inline(never)]
    pub(super) fn admits_by_worth<N: Nodes + ?Sized>(
        &self,
        candidate: NodeId,
        challenger: NodeWord,
        victim: NodeId,
        defence: u64,
        nodes: &N,
    ) -> bool {
        let ratio = self.worth(candidate, nodes) / self.worth(victim, nodes);
        #[expect(clippy::cast_precision_loss, reason = "counts are at most `MAX_COUNT`")]
        let (offence, defence) = (challenger.count as f32, defence as f32);
        let lead = offence - 0.5 - (defence + 0.5) / ratio;
        if lead.abs() > 0.5 * (1.0 / ratio).min(1.0) {
            return lead > 0.0;
        }
        let distance = challenger.distance.max(self.clock.age(challenger.last));
        let age = self.clock.age(NodeWord::of(victim, nodes).last);
        f32::from(distance) < ratio * f32::from(age)
    }

    /// As `find_coldest`, but the node whose uses are worth least.
    #[inline(never)]
    pub(super) fn find_least_worth<N: Nodes + ?Sized>(
        &mut self,
        victim: NodeId,
        nodes: &N,
    ) -> NodeId {
        #[expect(clippy::cast_precision_loss, reason = "counts are at most `MAX_COUNT`")]
        let score =
            |id: NodeId| (NodeWord::of(id, nodes).count as f32 + 0.5) * self.worth(id, nodes);
        let (mut least, mut lowest) = (victim, score(victim));
        let mut next = self.links.newer(victim);
        for _ in 1..WORTHS_COMPARED {
            let Some(id) = next else { break };
            let is_spared = [self.candidate, self.newest, self.spared].contains(&Some(id));
            if !is_spared && nodes.frequency(id) == 0 {
                let score = score(id);
                if score < lowest {
                    (least, lowest) = (id, score);
                }
            }
            next = self.links.newer(id);
        }
        if least != victim {
            let probation = &mut self.queues[SegmentId::Probation as usize].list;
            self.links.move_to_front(probation, victim);
        }
        least
    }
}
