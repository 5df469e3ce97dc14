//! What leaves the window.

use super::{DRAIN, MAX_CHECKS, SegmentId, Segments};
use crate::base::node_id::NodeId;
use crate::policy::Nodes;
use crate::policy::window_tiny_lfu::variants::VARIANTS;

/// A node that costs more than this many others in the mean is much heavier than they are.
const MUCH_HEAVIER: u64 = 4;
/// With fewer nodes, one that is most of the budget is nothing unusual.
const MANY: u64 = 64;

/// A node of the window for which the window may be larger.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heavy {
    id: NodeId,
    cost: u64,
}

impl Segments {
    /// Moves or notes the nodes that the newest one, which costs `cost`, pushes out of the window.
    #[inline]
    pub(super) fn drain_window<N: Nodes + ?Sized>(&mut self, cost: u64, nodes: &N) {
        self.candidate = None;
        let window = &self.queues[SegmentId::Window as usize];
        let target = self.window_target();
        if window.cost <= target {
            return;
        }
        // The usual case, in which nothing moves.
        if let Some(tail) = window.list.back()
            && Some(tail) != self.newest
            && self.is_enough(tail, window.cost - target, nodes)
        {
            self.leaving = Some(tail);
        } else {
            self.drain_window_moving(cost, nodes);
        }
    }

    /// Whether a new node that is heavier than the window, and for which others have to leave, goes to probation as the
    /// candidate, and not to the window. Where entries are counted, none is heavier than the window.
    #[inline(never)]
    pub(super) fn duels_at_once(&self, cost: u64) -> bool {
        let others = self.entries() as u64;
        VARIANTS[self.variant].duels_heavy_at_once()
            && self.cost().saturating_add(cost) > self.budget.total
            && self.costs.is_none()
            && others >= MANY
            && cost.saturating_mul(others) > self.budget.total.saturating_mul(MUCH_HEAVIER)
    }

    /// Gives a new node that is heavier than the window time there.
    ///
    /// Otherwise it would leave as soon as another node came, and could not be used again as others can. So it stays
    /// until half of a window has come after it, or a node that is as heavy. Where costs count, its cost decides.
    #[inline(never)]
    pub(super) fn note_heavy(&mut self, id: NodeId, cost: u64) {
        if self.costs.is_none() && self.heavy.is_none_or(|heavy| heavy.cost <= cost) {
            self.heavy = Some(Heavy { id, cost });
        }
    }

    /// What the window may cost now.
    #[inline]
    fn window_target(&self) -> u64 {
        let target = self.targets.window;
        self.heavy.map_or(target, |heavy| heavy.cost.saturating_add(target / 2))
    }

    /// By how much the window's cost is above its target, and its tail. `None` if no node has to leave it.
    fn window_excess(&self) -> Option<(u64, NodeId)> {
        let window = &self.queues[SegmentId::Window as usize];
        let excess = window.cost.checked_sub(self.window_target()).filter(|excess| *excess > 0)?;
        // The newest stays, whatever it costs: a heavy entry, too, gets a chance to be used.
        let tail = window.list.back().filter(|tail| Some(*tail) != self.newest)?;
        Some((excess, tail))
    }

    /// Whether an eviction is due, and only `tail`, which is unmarked, has to leave the window for it.
    #[inline]
    fn is_enough<N: Nodes + ?Sized>(&self, tail: NodeId, excess: u64, nodes: &N) -> bool {
        nodes.frequency(tail) == 0
            && self.budget.cost_of(tail, nodes) >= excess
            // If both bounds count, the policy may be over its budget while the cache is not over a bound.
            && self.budget.is_fixed_unit()
            && self.is_over()
    }

    #[inline(never)]
    fn drain_window_moving<N: Nodes + ?Sized>(&mut self, cost: u64, nodes: &N) {
        self.candidates = 0;
        let (mut checks, mut moves, mut moved_cost) = (0, 0, 0);
        while let Some((excess, tail)) = self.window_excess() {
            if moves >= DRAIN && moved_cost >= DRAIN * cost {
                return;
            }
            checks += 1;
            if checks <= MAX_CHECKS && self.check(tail, nodes) {
                if VARIANTS[self.variant].protects_used {
                    moved_cost += self.change_segment(tail, SegmentId::Protected, nodes);
                    moves += 1;
                    self.drain_protected(&mut checks, MAX_CHECKS, nodes);
                } else {
                    let window = &mut self.queues[SegmentId::Window as usize].list;
                    self.links.move_to_front(window, tail);
                }
                continue;
            }
            if moves == 0 && self.is_enough(tail, excess, nodes) {
                self.leaving = Some(tail);
                return;
            }
            moved_cost += self.change_segment(tail, SegmentId::Probation, nodes);
            moves += 1;
            self.candidate = Some(tail);
            self.candidates += 1;
        }
    }

    #[inline]
    pub(super) fn clear_heavy(&mut self, id: NodeId) {
        if self.heavy.is_some_and(|heavy| heavy.id == id) {
            self.heavy = None;
        }
    }
}
