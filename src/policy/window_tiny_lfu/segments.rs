//! Window, probation and protected: the order of one instance.
//!
//! All three are first-in-first-out lists that give marked nodes a second chance, so a hit only sets the
//! mark. A *check* of the node at the tail of a list finds the mark, clears it, and counts the use in the
//! sketch.

use crate::base::node_id::NodeId;
use crate::policy::Nodes;
use crate::policy::budget::{Budget, share};
use crate::policy::ghost::Ghost;
use crate::policy::key_arrays::KeyArrays;
use crate::policy::list::{Links, NodeList};
use crate::policy::sketch::{KeyBits, Sketch};

use super::variants::{self, Direct, VARIANTS, Variant};
use super::word::{MissClock, NodeWord, SEGMENTS, SegmentId, TICK_MASK, UNKNOWN};

mod reports;
mod duel;
mod victims;
mod window;
mod worth;

use duel::Defender;
use window::Heavy;
use worth::Costs;

/// The ticks in which new keys cost as much as the whole budget.
pub(super) const TICKS: u64 = 32;
/// The most that one insertion moves out of the window: this many nodes, or this many times its own cost if that is
/// more. A window whose target was lowered drains over the next insertions.
pub(super) const DRAIN: u64 = 4;
/// The most checks in one insertion or eviction; after them, the next node is taken for unmarked.
pub(super) const MAX_CHECKS: usize = 16;
/// How many of the checks of an eviction may go to the protected segment before the first to probation: a
/// segment whose target was lowered drains over the next evictions.
pub(super) const FIRST_CHECKS: usize = 4;
/// The number of nodes among which the victim is chosen.
const COMPARED: usize = 4;
/// The protected segment exceeds its target by this part of it at most.
const PROTECTED_EXCESS_PART: u64 = 16;
/// The number of evictions that the ghost remembers for each entry.
const GHOSTS: usize = 2;
/// The most nodes whose counts are carried over when the sketch grows.
const MAX_RECOUNT: usize = 1 << 16;

/// What the segments should cost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Targets {
    pub(super) window: u64,
    pub(super) protected: u64,
}

impl Targets {
    pub(super) fn of(variant: Variant, budget: Budget) -> Self {
        let total = budget.total;
        let window = (total - share(total, 100 - variant.window_percent, 100)).max(1);
        let main = total.saturating_sub(window);
        Self { window, protected: share(main, variant.protected_percent, 100) }
    }
}

/// Whether a key that comes back after `distance` probably returns sooner than a victim of that age.
#[inline]
pub(super) fn is_soon(distance: u16, age: u16) -> bool {
    2 * u32::from(distance) < u32::from(age)
}

#[derive(Clone, Copy, Debug, Default)]
struct SegmentQueue {
    list: NodeList,
    entries: usize,
    cost: u64,
}

/// What an insertion changes comes first, in three cache lines: the last may have been another core's.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Segments {
    /// By `SegmentId`.
    queues: [SegmentQueue; SEGMENTS],
    /// The number of insertions for which sketch and ghost certainly suffice.
    spare: usize,
    clock: MissClock,
    /// The one node that the last insertion pushes out of the window. It stays there until the
    /// eviction that follows, because most such nodes lose their duel.
    leaving: Option<NodeId>,
    /// The next to duel of the `candidates` that the last insertion has moved from the window to the head of
    /// probation. It is the newest of them; the others are behind it.
    candidate: Option<NodeId>,
    candidates: usize,
    /// The node inserted last: it is not the victim of its own insertion.
    newest: Option<NodeId>,
    /// Whether the policy was ever full.
    has_evicted: bool,
    /// The victim of the last duel, which mostly stays to duel with the next candidate.
    defender: Option<Defender>,
    /// The state of the pseudorandom choice. It comes from the hashes of warm candidates, which cannot be
    /// chosen without knowing the hasher's seed. The same requests lead to the same choices.
    chance: u64,
    sketch: Sketch,
    ghost: Ghost,
    links: Links,
    budget: Budget,
    /// The index of the variant.
    variant: usize,
    targets: Targets,
    /// The node that must not leave while others leave because of its update.
    spared: Option<NodeId>,
    /// What is known about the costs of misses, if they count.
    costs: Option<Costs>,
    /// A node in the window that costs more than the whole window should.
    heavy: Option<Heavy>,
}

/// The number of evictions that the ghost of a policy with this many entries remembers.
fn ghost_capacity(entries: Option<u64>) -> u64 {
    entries.map_or(u64::MAX, |entries| entries.saturating_mul(GHOSTS as u64))
}

impl Segments {
    pub(super) fn new(budget: Budget) -> Self {
        let entries = budget.counts_entries().then_some(budget.total);
        let capacity = entries.and_then(|entries| usize::try_from(entries).ok());
        let variant = variants::first(budget);
        let mut segments = Self {
            links: Links::new(capacity),
            queues: [SegmentQueue::default(); SEGMENTS],
            budget,
            variant,
            targets: Targets::of(VARIANTS[variant], budget),
            sketch: Sketch::new(entries),
            ghost: Ghost::new(ghost_capacity(entries)),
            spare: 0,
            clock: MissClock { now: 0, progress: 0, tick_cost: 1 },
            leaving: None,
            candidate: None,
            candidates: 0,
            newest: None,
            defender: None,
            has_evicted: false,
            chance: 0,
            spared: None,
            costs: None,
            heavy: None,
        };
        segments.set_targets();
        segments
    }

    pub(super) fn entries(&self) -> usize {
        self.queues.iter().map(|queue| queue.entries).sum()
    }

    pub(super) fn budget(&self) -> Budget {
        self.budget
    }

    fn cost(&self) -> u64 {
        self.queues.iter().map(|queue| queue.cost).sum()
    }

    pub(super) fn is_over(&self) -> bool {
        self.cost() > self.budget.total
    }

    /// The index of the variant in force.
    pub(super) fn variant(&self) -> usize {
        self.variant
    }

    /// Changes the variant. The next insertions and evictions move the nodes.
    pub(super) fn set_variant(&mut self, variant: usize) {
        self.variant = variant;
        self.set_targets();
    }

    fn set_targets(&mut self) {
        self.targets = Targets::of(VARIANTS[self.variant], self.budget);
        self.clock.tick_cost = (self.budget.total / TICKS).max(1);
    }

    /// Changes the budget. `recount` has to be called next.
    pub(super) fn set_budget(&mut self, budget: Budget) {
        self.budget = budget;
        self.heavy = None;
        self.set_targets();
        if budget.counts_entries() {
            self.sketch.resize(budget.total);
            self.ghost.resize(ghost_capacity(Some(budget.total)));
            self.spare = 0;
        }
    }

    /// Adds up the costs of the nodes anew.
    pub(super) fn recount<N: Nodes + ?Sized>(&mut self, nodes: &N) {
        if self.budget.is_fixed_unit() {
            return;
        }
        for at in 0..SEGMENTS {
            let ids = self.links.oldest_first(&self.queues[at].list);
            self.queues[at].cost = ids.map(|id| self.budget.cost_of(id, nodes)).sum();
        }
    }

    /// Inserts a new node into the window, and moves the nodes that it pushes out to probation.
    #[inline]
    pub(super) fn insert<N: Nodes + ?Sized>(&mut self, id: NodeId, hash: u64, nodes: &N) {
        self.newest = Some(id);
        if self.costs.is_some() {
            self.note_cost(id, nodes);
        }
        if let Some(leaving) = self.leaving.take() {
            // No eviction has followed.
            self.change_segment(leaving, SegmentId::Probation, nodes);
        }
        if self.candidate.is_some() && self.has_evicted && !self.budget.counts_entries() {
            self.settle_candidates(nodes);
        }
        self.reserve_for_one_more(nodes);
        let cost = self.budget.cost_of(id, nodes);
        self.clock.advance(cost);
        let key = KeyBits::of(hash);
        let count = self.sketch.count(key);
        let last = self.clock.now;
        let mut distance = UNKNOWN;
        if let Some(then) = self.ghost.take(key) {
            distance = self.clock.distance(then);
            if self.is_direct(distance, nodes) {
                NodeWord { segment: SegmentId::Probation, count, distance, last }.store(id, nodes);
                self.push(SegmentId::Probation, id, cost);
                self.candidate = None;
                return;
            }
        }
        if cost > self.targets.window && self.duels_at_once(cost) {
            NodeWord { segment: SegmentId::Probation, count, distance, last }.store(id, nodes);
            self.push(SegmentId::Probation, id, cost);
            (self.candidate, self.candidates) = (Some(id), 1);
            return;
        }
        NodeWord { segment: SegmentId::Window, count, distance, last }.store(id, nodes);
        self.push(SegmentId::Window, id, cost);
        if cost > self.targets.window {
            self.note_heavy(id, cost);
        }
        self.drain_window(cost, nodes);
    }

    /// Whether a key that the ghost knows goes to probation without a duel.
    #[inline(never)]
    fn is_direct<N: Nodes + ?Sized>(&self, distance: u16, nodes: &N) -> bool {
        if self.queues[SegmentId::Window as usize].cost < self.targets.window {
            return false;
        }
        let tail = |segment: SegmentId| self.queues[segment as usize].list.back();
        match VARIANTS[self.variant].direct {
            Direct::Never => false,
            Direct::Always => true,
            Direct::Soon => {
                let tail = tail(SegmentId::Probation).or(tail(SegmentId::Protected));
                tail.is_none_or(|tail| is_soon(distance, self.age(NodeWord::of(tail, nodes).last)))
            }
        }
    }

    /// Inserts a node from a snapshot into the segment in which it was, with what is known about its uses.
    pub(super) fn insert_restored<N: Nodes + ?Sized>(
        &mut self,
        id: NodeId,
        segment: SegmentId,
        distance: u16,
        age: u16,
        frequency: usize,
        nodes: &N,
    ) {
        self.reserve_for_one_more(nodes);
        let key = KeyBits::of(nodes.hash(id));
        for _ in 0..frequency {
            self.sketch.count(key);
        }
        let count = self.sketch.estimate(key);
        let last = self.clock.now.wrapping_sub(age) & TICK_MASK;
        NodeWord { segment, count, distance, last }.store(id, nodes);
        self.push(segment, id, self.budget.cost_of(id, nodes));
    }

    pub(super) fn oldest_first(&self, segment: SegmentId) -> impl Iterator<Item = NodeId> {
        self.links.oldest_first(&self.queues[segment as usize].list)
    }

    pub(super) fn age(&self, then: u16) -> u16 {
        self.clock.age(then)
    }

    #[inline]
    fn reserve_for_one_more<N: Nodes + ?Sized>(&mut self, nodes: &N) {
        match self.spare.checked_sub(1) {
            Some(spare) => self.spare = spare,
            None => self.grow(nodes),
        }
    }

    /// Sizes sketch and ghost for one more entry, if they are too small for it.
    #[cold]
    fn grow<N: Nodes + ?Sized>(&mut self, nodes: &N) {
        let entries = self.entries() + 1;
        let Self { queues, links, sketch, ghost, .. } = self;
        ghost.reserve_for(GHOSTS * entries);
        if entries > sketch.sized_for() {
            // A walk through more nodes would take too long.
            let walked = if entries <= MAX_RECOUNT { queues.as_slice() } else { &[] };
            let ids = walked.iter().flat_map(|queue| links.oldest_first(&queue.list));
            sketch.grow(entries, ids.map(|id| nodes.hash(id)));
        }
        self.spare = sketch.sized_for().min(ghost.sized_for() / GHOSTS) - entries;
    }

    /// Whether `id` was used since its last check; counts the use.
    #[inline]
    fn check<N: Nodes + ?Sized>(&mut self, id: NodeId, nodes: &N) -> bool {
        let is_marked = nodes.frequency(id) != 0;
        if is_marked {
            self.note_use(id, nodes);
        }
        is_marked
    }

    #[inline(never)]
    fn note_use<N: Nodes + ?Sized>(&mut self, id: NodeId, nodes: &N) {
        nodes.set_frequency(id, 0);
        let count = self.sketch.count(KeyBits::of(nodes.hash(id)));
        let NodeWord { segment, last, .. } = NodeWord::of(id, nodes);
        let distance = self.clock.distance(last);
        NodeWord { segment, count, distance, last: self.clock.now }.store(id, nodes);
    }

    #[inline]
    fn push(&mut self, segment: SegmentId, id: NodeId, cost: u64) {
        let queue = &mut self.queues[segment as usize];
        self.links.push_front(&mut queue.list, id);
        queue.entries += 1;
        queue.cost += cost;
    }

    #[inline]
    fn unlink(&mut self, segment: SegmentId, id: NodeId, cost: u64) {
        let queue = &mut self.queues[segment as usize];
        self.links.remove(&mut queue.list, id);
        queue.entries -= 1;
        queue.cost -= cost;
        self.clear_heavy(id);
    }

    /// Moves `id` to the head of another list; returns its cost.
    #[inline(never)]
    fn change_segment<N: Nodes + ?Sized>(&mut self, id: NodeId, to: SegmentId, nodes: &N) -> u64 {
        let word = NodeWord::of(id, nodes);
        let cost = self.budget.cost_of(id, nodes);
        self.unlink(word.segment, id, cost);
        self.push(to, id, cost);
        NodeWord { segment: to, ..word }.store(id, nodes);
        cost
    }

    /// Counts the new weight of `id`, which `nodes` has, instead of `old_weight`.
    pub(super) fn update<N: Nodes + ?Sized>(&mut self, id: NodeId, old_weight: u32, nodes: &N) {
        if !self.budget.counts_entries() {
            let queue = &mut self.queues[NodeWord::of(id, nodes).segment as usize];
            queue.cost -= self.budget.cost(old_weight);
            queue.cost += self.budget.cost(nodes.weight(id));
            // The window then costs more than it may, until the node leaves it.
            self.clear_heavy(id);
        }
    }

    /// Removes `id` without remembering it in the ghost.
    pub(super) fn remove<N: Nodes + ?Sized>(&mut self, id: NodeId, nodes: &N) {
        self.clear_names_of(id);
        self.unlink(NodeWord::of(id, nodes).segment, id, self.budget.cost_of(id, nodes));
    }

    /// Clears the fields that name `id`.
    fn clear_names_of(&mut self, id: NodeId) {
        if self.leaving == Some(id) {
            self.leaving = None;
        }
        if self.candidate == Some(id) {
            (self.candidate, self.candidates) = (None, 0);
        }
        if self.newest == Some(id) {
            self.newest = None;
        }
        if self.defender.is_some_and(|defender| defender.id == id) {
            self.defender = None;
        }
    }

    /// Removes the node that is least worth keeping.
    #[inline]
    pub(super) fn evict<N: Nodes + ?Sized>(&mut self, nodes: &N) -> Option<NodeId> {
        let Some(candidate) = self.leaving.take() else { return self.evict_searching(nodes) };
        let victim = match self.defender {
            Some(Defender { id, .. }) => Some(id),
            None => self.queues[SegmentId::Probation as usize].list.back(),
        };
        let Some(mut victim) = victim.filter(|victim| nodes.frequency(*victim) == 0) else {
            return self.evict_moving(candidate, nodes);
        };
        if self.defender.is_none() {
            victim = self.find_coldest(victim, nodes);
        }
        let challenger = NodeWord::of(candidate, nodes);
        if self.admits(candidate, challenger, victim, nodes) {
            self.change_segment(candidate, SegmentId::Probation, nodes);
            self.forget(victim, nodes);
            return Some(victim);
        }
        // The candidate is not the newest, nor the defender, so `clear_names_of` is not needed.
        let window = &mut self.queues[SegmentId::Window as usize];
        self.links.remove_oldest(&mut window.list, candidate);
        window.entries -= 1;
        window.cost -= self.budget.cost_of(candidate, nodes);
        self.clear_heavy(candidate);
        self.ghost.remember(KeyBits::of(nodes.hash(candidate)), challenger.last);
        Some(candidate)
    }

    /// As [`evict`](Self::evict), but searches for a victim. The candidate moves first: the search moves other
    /// nodes to the head of probation.
    #[inline(never)]
    fn evict_moving<N: Nodes + ?Sized>(&mut self, candidate: NodeId, nodes: &N) -> Option<NodeId> {
        self.change_segment(candidate, SegmentId::Probation, nodes);
        (self.candidate, self.candidates) = (Some(candidate), 1);
        self.evict_searching(nodes)
    }

    /// As [`evict`](Self::evict), but `spared` leaves only if there is no other node.
    pub(super) fn evict_sparing<N: Nodes + ?Sized>(
        &mut self,
        spared: NodeId,
        nodes: &N,
    ) -> Option<NodeId> {
        if self.entries() <= 1 {
            return self.evict(nodes);
        }
        if self.candidate == Some(spared) {
            (self.candidate, self.candidates) = (None, 0);
        }
        if let Some(candidate) = self.leaving.take().filter(|leaving| *leaving != spared) {
            self.change_segment(candidate, SegmentId::Probation, nodes);
            (self.candidate, self.candidates) = (Some(candidate), 1);
        }
        self.spared = Some(spared);
        let victim = self.evict_searching(nodes);
        self.spared = None;
        victim
    }

    #[inline(never)]
    fn evict_searching<N: Nodes + ?Sized>(&mut self, nodes: &N) -> Option<NodeId> {
        let candidate = self.candidate;
        self.has_evicted = true;
        let loser = match (self.find_victim(nodes), candidate) {
            (Some(victim), Some(candidate)) => {
                let victim = self.find_coldest(victim, nodes);
                self.next_candidate();
                match self.admits(candidate, NodeWord::of(candidate, nodes), victim, nodes) {
                    true => victim,
                    false => candidate,
                }
            }
            (Some(victim), None) => {
                let victim = self.find_coldest(victim, nodes);
                self.find_older(victim, nodes)
            }
            (None, Some(only)) => only,
            (None, None) => self.find_last(nodes)?,
        };
        self.forget(loser, nodes);
        Some(loser)
    }

    /// A node of those that other searches leave aside: the newest may be in probation, and alone there. The
    /// spared one leaves only if there is no other.
    #[cold]
    fn find_last<N: Nodes + ?Sized>(&mut self, nodes: &N) -> Option<NodeId> {
        let in_window = self.find_unused_in_window(nodes);
        in_window
            .filter(|id| Some(*id) != self.spared)
            .or_else(|| {
                let mut probation = self.oldest_first(SegmentId::Probation);
                probation.find(|id| Some(*id) != self.spared)
            })
            .or(in_window)
            .or(self.queues[SegmentId::Probation as usize].list.back())
    }

    /// As [`remove`](Self::remove), but remembers when the key was used last.
    #[inline(never)]
    fn forget<N: Nodes + ?Sized>(&mut self, id: NodeId, nodes: &N) {
        self.clear_names_of(id);
        let NodeWord { segment, last, .. } = NodeWord::of(id, nodes);
        self.unlink(segment, id, self.budget.cost_of(id, nodes));
        self.ghost.remember(KeyBits::of(nodes.hash(id)), last);
    }

    /// Each candidate has one duel. There are several candidates if a heavy entry has pushed many light ones
    /// out of the window.
    fn next_candidate(&mut self) {
        self.candidates -= 1;
        self.candidate = match self.candidate {
            Some(last) if self.candidates > 0 => self.links.older(last),
            _ => None,
        };
    }

    /// The sketch's estimate of how often `id` was used lately, plus its mark.
    pub(super) fn frequency<N: Nodes + ?Sized>(&self, id: NodeId, nodes: &N) -> u64 {
        self.sketch.estimate(KeyBits::of(nodes.hash(id))) + u64::from(nodes.frequency(id))
    }

    #[inline]
    pub(super) fn prefetch(&self, hash: u64) {
        let key = KeyBits::of(hash);
        self.sketch.prefetch(key);
        self.ghost.prefetch(key);
    }

    /// Where keys are looked up.
    #[inline]
    pub(super) fn key_arrays(&self) -> KeyArrays {
        KeyArrays::of(self.sketch.blocks(), self.ghost.sets())
    }
}

#[cfg(test)]
mod tests;
