//! The duel between a candidate and the victim that would leave for it.

use super::{MAX_CHECKS, NodeWord, SegmentId, Segments, TICKS};
use crate::base::node_id::NodeId;
use crate::policy::Nodes;
use crate::policy::sketch::{KeyBits, spread};

/// A candidate that was counted `WARM` times is warm, and a victim that was not used for `STALE` ticks is
/// stale. If a warm candidate loses against a stale victim, the victim's count is likely that of another
/// key, which has the same hash or the same counters, and the victim would keep all others out while that
/// key is hot. So one in `ADMIT_ONE_IN` of these candidates is admitted nevertheless. (Caffeine does the
/// same, against keys that were chosen to collide.) A loop of up to eight times the cache makes no victim
/// stale.
const WARM: u64 = 6;
const STALE: u16 = 8 * TICKS as u16;
const ADMIT_ONE_IN: u64 = 128;

/// A victim and the estimate of its count.
#[derive(Clone, Copy, Debug)]
pub(super) struct Defender {
    pub(super) id: NodeId,
    count: u64,
    /// The sketch's number of halvings at the time of the estimate.
    halvings: u32,
}

impl Segments {
    /// The duel: whether `candidate` is worth more than `victim`.
    ///
    /// A lead of one may be just the insertion that was counted. It decides only if the distance between the
    /// candidate's uses is shorter than the time since the victim's last use (the test of LIRS). If a lead
    /// of one were enough, the keys of a loop would push each other out.
    #[inline(always)]
    pub(super) fn admits<N: Nodes + ?Sized>(
        &mut self,
        candidate: NodeId,
        challenger: NodeWord,
        victim: NodeId,
        nodes: &N,
    ) -> bool {
        let defence = self.count_of_victim(victim, nodes);
        if self.costs.is_some() {
            return self.admits_by_worth(candidate, challenger, victim, defence, nodes);
        }
        if challenger.count <= defence {
            return challenger.count >= WARM
                && self.is_admitted_by_chance(candidate, victim, nodes);
        }
        if challenger.count > defence + 1 {
            return true;
        }
        let distance = challenger.distance.max(self.clock.age(challenger.last));
        distance < self.clock.age(NodeWord::of(victim, nodes).last)
    }

    /// Moves the candidates that would lose their duel to the tail of probation, if the last insertion evicted nothing.
    ///
    /// A heavy new node takes the room of several others without a duel, and is gone after the next insertion, like
    /// most new ones. If all that come after it stayed in that room for good, heavy nodes would replace the whole main
    /// part with time. So these nodes are the ones that leave for the next heavy one.
    #[inline(never)]
    pub(super) fn settle_candidates<N: Nodes + ?Sized>(&mut self, nodes: &N) {
        for _ in 0..MAX_CHECKS {
            let Some(candidate) = self.candidate else { return };
            self.next_candidate();
            let victim = self.queues[SegmentId::Probation as usize].list.back();
            let Some(victim) = victim.filter(|victim| *victim != candidate) else { continue };
            let is_marked = nodes.frequency(candidate) != 0;
            if !is_marked && !self.admits(candidate, NodeWord::of(candidate, nodes), victim, nodes)
            {
                let probation = &mut self.queues[SegmentId::Probation as usize].list;
                self.links.move_to_back(probation, candidate);
                self.defender = None;
            }
        }
    }

    /// The estimate of a victim's count at the time of its first duel: what the sketch counts for it afterwards
    /// are uses of other keys.
    #[inline]
    fn count_of_victim<N: Nodes + ?Sized>(&mut self, victim: NodeId, nodes: &N) -> u64 {
        match self.defender {
            Some(Defender { id, count, halvings })
                if id == victim && halvings == self.sketch.halvings() =>
            {
                count
            }
            _ => self.estimate_victim(victim, nodes),
        }
    }

    #[inline(never)]
    fn estimate_victim<N: Nodes + ?Sized>(&mut self, id: NodeId, nodes: &N) -> u64 {
        let count = self.sketch.estimate(KeyBits::of(nodes.hash(id)));
        self.defender = Some(Defender { id, count, halvings: self.sketch.halvings() });
        count
    }

    /// Whether a warm candidate that has lost against `victim` is admitted nevertheless.
    #[cold]
    fn is_admitted_by_chance<N: Nodes + ?Sized>(
        &mut self,
        candidate: NodeId,
        victim: NodeId,
        nodes: &N,
    ) -> bool {
        if self.clock.age(NodeWord::of(victim, nodes).last) < STALE {
            return false;
        }
        let key = KeyBits::of(nodes.hash(candidate));
        self.chance = spread(self.chance.wrapping_add(key.to_raw()));
        self.chance.is_multiple_of(ADMIT_ONE_IN)
    }
}
