//! Mirrored window-TinyLFU: new entries pass a window, and then a duel with the entry that would leave for
//! them.
//!
//! ```text
//!   insert → window ──unmarked: the candidate──▶ probation ◀──unmarked── protected
//!            ▲    │marked                          │    │                ▲  ▲    │marked
//!            └────┘                        unmarked│    └────marked──────┘  └────┘
//!                                                  ▼
//!            the victim; candidate and victim duel; the loser leaves, its last use goes to the ghost
//! ```
//!
//! A key that the ghost knows may go to probation at once. When it does, how the segments divide the budget, and where
//! a marked node of the window goes, depends on which of six *variants* is in force.
//!
//! The sources of its parts:
//! - Window, frequency sketch as admission, segmented main part: W-TinyLFU. Einziger, Friedman,
//!   Manes: "TinyLFU: A Highly Efficient Cache Admission Policy", ACM ToS 2017; Einziger, Eytan,
//!   Friedman, Manes: "Adaptive Software Cache Management", Middleware 2018.
//! - Lists that give used entries a second chance, so that a hit only sets a mark: CLOCK
//!   (Corbató 1968), which S3-FIFO (SOSP 2023) and SIEVE (NSDI 2024) have revived.
//! - In the duel, the distance between two uses of one key compared with the time since the last use of
//!   the other: LIRS. Jiang, Zhang, SIGMETRICS 2002; with clocks: CLOCK-Pro, Jiang, Chen, Zhang, ATC 2005.
//! - A key that comes back soon skips the window and the duel: also LIRS.
//! - The variant in force, chosen by miniatures of the policy itself: see `mirrors`.
//!
//! Believed new: a policy that mirrors only itself and gets insertions and first marks alone, and
//! the rule that a lead of one in frequency counts only together with the shorter distance.
#![forbid(unsafe_code)]

use super::budget::Budget;
use super::key_arrays::KeyArrays;
use super::{Accesses, EvictionPolicy, Hints, NodeId, Nodes, PolicyConfig, Room, Sample, Segment};

mod restored;
mod mirrors;
mod segments;
mod word;
mod variants;

use mirrors::Mirrors;
use segments::Segments;

/// Mirrored window-TinyLFU. A hit sets a mark and moves nothing. O(1) amortized; 18 to 30 bytes a
/// node, and up to 140 KiB for the mirrors, or 270 KiB if only weight is bounded.
#[derive(Debug)]
pub struct WindowTinyLfu {
    segments: Segments,
    mirrors: Mirrors,
}

impl WindowTinyLfu {
    /// An instance.
    #[must_use]
    pub fn new(config: &PolicyConfig) -> Self {
        let budget = Budget::new(config);
        Self { segments: Segments::new(budget), mirrors: Mirrors::new(budget) }
    }

    /// An instance that weighs what the misses cost.
    #[must_use]
    pub fn cost_aware(config: &PolicyConfig) -> Self {
        let mut policy = Self::new(config);
        policy.segments.weigh_costs();
        policy
    }

    /// Plays an access in the mirrors if the key is in their sample.
    #[inline]
    fn mirror<N: Nodes + ?Sized>(&mut self, id: NodeId, hash: u64, nodes: &N) {
        if !self.mirrors.excludes(hash) {
            self.mirror_sampled(id, hash, nodes);
        }
    }

    #[inline(never)]
    fn mirror_sampled<N: Nodes + ?Sized>(&mut self, id: NodeId, hash: u64, nodes: &N) {
        let current = self.segments.variant();
        if let Some(better) = self.mirrors.access(hash, nodes.weight(id), current) {
            // Costs count only in duels, and without a main part there are none.
            if !(self.segments.weighs_costs() && variants::has_no_main(better)) {
                self.segments.set_variant(better);
            }
        }
    }

    /// `on_insert` for nodes of a known type. `PolicyImpl` calls this and the next four methods.
    #[inline]
    pub(super) fn insert<N: Nodes + ?Sized>(&mut self, id: NodeId, nodes: &N) {
        let hash = nodes.hash(id);
        self.mirror(id, hash, nodes);
        self.segments.insert(id, hash, nodes);
        self.mirrors.adapt(&self.segments);
    }

    #[inline]
    pub(super) fn remove<N: Nodes + ?Sized>(&mut self, id: NodeId, nodes: &N) {
        let hash = nodes.hash(id);
        if !self.mirrors.excludes(hash) {
            self.mirrors.remove(hash);
        }
        self.segments.remove(id, nodes);
    }

    #[inline]
    pub(super) fn choose<N: Nodes + ?Sized>(&mut self, nodes: &N) -> Option<NodeId> {
        self.segments.evict(nodes)
    }

    #[inline]
    pub(super) fn name_upcoming(&self, count: usize, name: &mut (impl FnMut(NodeId) + ?Sized)) {
        self.segments.upcoming(count, name);
    }

    #[inline]
    pub(super) fn name_also_examined(&self, count: usize, name: &mut impl FnMut(NodeId, bool)) {
        self.segments.also_examined(count, name);
    }

    #[inline]
    pub(super) fn key_arrays(&self) -> KeyArrays {
        self.segments.key_arrays()
    }

    /// The keys whose first marks have to be reported to the policy.
    #[must_use]
    pub fn sample(&self) -> Sample {
        self.mirrors.sample()
    }
}

impl EvictionPolicy for WindowTinyLfu {
    fn accesses(&self) -> Accesses {
        Accesses::Mark { sample: self.mirrors.sample() }
    }

    fn room(&self) -> Room {
        Room::AfterInsert
    }

    fn weighs_costs(&self) -> bool {
        self.segments.weighs_costs()
    }

    fn on_insert(&mut self, id: NodeId, nodes: &dyn Nodes) {
        self.insert(id, nodes);
    }

    fn on_access(&mut self, id: NodeId, nodes: &dyn Nodes) {
        self.mirror(id, nodes.hash(id), nodes);
    }

    fn on_update(&mut self, id: NodeId, old_weight: u32, nodes: &dyn Nodes) {
        self.segments.update(id, old_weight, nodes);
        self.mirror(id, nodes.hash(id), nodes);
    }

    fn on_remove(&mut self, id: NodeId, nodes: &dyn Nodes) {
        self.remove(id, nodes);
    }

    fn evict(&mut self, nodes: &dyn Nodes) -> Option<NodeId> {
        self.choose(nodes)
    }

    fn evict_sparing(&mut self, spared: NodeId, nodes: &dyn Nodes) -> Option<NodeId> {
        self.segments.evict_sparing(spared, nodes)
    }

    fn on_resize(&mut self, config: &PolicyConfig, nodes: &dyn Nodes) {
        let budget = Budget::new(config);
        self.segments.set_budget(budget);
        self.segments.recount(nodes);
        self.mirrors.resize(budget);
    }

    fn to_restore(&self, nodes: &dyn Nodes, name: &mut dyn FnMut(NodeId, u32)) {
        self.segments.to_restore(nodes, name);
    }

    fn on_restore(&mut self, id: NodeId, word: u32, nodes: &dyn Nodes) {
        self.mirror(id, nodes.hash(id), nodes);
        self.segments.restore(id, word, nodes);
        self.mirrors.adapt(&self.segments);
    }

    fn hints(&self) -> &dyn Hints {
        self
    }
}

impl Hints for WindowTinyLfu {
    fn upcoming(&self, count: usize, name: &mut dyn FnMut(NodeId)) {
        self.name_upcoming(count, name);
    }

    fn announce(&self, hash: u64) {
        self.segments.prefetch(hash);
    }

    fn frequency(&self, id: NodeId, nodes: &dyn Nodes) -> u64 {
        self.segments.frequency(id, nodes)
    }

    fn coldest(&self, count: usize, _nodes: &dyn Nodes, name: &mut dyn FnMut(NodeId)) {
        self.segments.coldest(count, name);
    }

    fn hottest(&self, count: usize, _nodes: &dyn Nodes, name: &mut dyn FnMut(NodeId)) {
        self.segments.hottest(count, name);
    }

    fn segment_of(&self, id: NodeId, nodes: &dyn Nodes) -> Option<&'static str> {
        Some(self.segments.name_of(id, nodes))
    }

    fn segments(&self) -> Vec<Segment> {
        self.segments.report()
    }
}
