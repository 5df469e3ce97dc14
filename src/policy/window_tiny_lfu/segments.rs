//! Window, probation and protected: the order of one instance, real or miniature.
//!
//! All three are first-in-first-out lists that give marked nodes a second chance, so a hit has
//! nothing to do but to set the mark. A *look* at the tail of a list is where a mark is seen,
//! cleared, and counted in the sketch.

use crate::base::node_id::NodeId;
use crate::policy::Nodes;
use crate::policy::budget::{Budget, share};
use crate::policy::ghost::Ghost;
use crate::policy::list::{Links, NodeList};
use crate::policy::sketch::{KeyBits, Sketch, spread};

use super::word::{MissClock, NodeWord, SEGMENTS, SegmentId, TICK_MASK, UNKNOWN};

mod reports;

/// Ticks in the time in which the whole budget could be replaced.
const TICKS: u64 = 32;
/// Of what is not the window's, the protected list should hold so much.
const PROTECTED_PERCENT: u64 = 80;
/// Nodes that one insertion moves out of the window at most, in multiples of its own cost: a
/// window that is told to shrink drains over the next insertions.
const DRAIN: u64 = 4;
/// Looks at marked nodes in one insertion or eviction: then the next one is taken for unmarked.
const MAX_LOOKS: usize = 64;
/// A candidate that was seen so often is warm, and a victim that has lain unused for so many ticks is
/// stale. Where a warm candidate loses against a stale victim, the victim's count is likely another
/// key's, one of the same hash or the same counters, and it would keep all others out for as long as
/// that key is hot. So one in so many is let in all the same. (As in Caffeine, which does so against
/// keys that were chosen to collide.) A loop of up to eight times the cache makes nothing stale.
const WARM: u64 = 6;
const STALE: u16 = 8 * TICKS as u16;
const LET_IN: u64 = 128;
/// Nodes that are gone through when the sketch grows.
const MAX_RECOUNT: usize = 1 << 16;

#[derive(Clone, Copy, Debug, Default)]
struct SegmentQueue {
    list: NodeList,
    entries: usize,
    cost: u64,
}

#[derive(Debug)]
pub(super) struct Segments {
    links: Links,
    /// By `SegmentId`.
    queues: [SegmentQueue; SEGMENTS],
    budget: Budget,
    window_percent: u64,
    window_target: u64,
    protected_target: u64,
    sketch: Sketch,
    ghost: Ghost,
    /// The entries that both serve as they are.
    enough_for: usize,
    clock: MissClock,
    /// The one node that the last insertion pushes out of the window. It stays there until the
    /// eviction that follows, for most lose their duel.
    leaving: Option<NodeId>,
    /// The next of `candidates` that moved from the window to the head of probation in the last
    /// insertion: the newest, behind which the others stand.
    candidate: Option<NodeId>,
    candidates: usize,
    /// The last key inserted: it is not the victim of its own insertion.
    newest: Option<NodeId>,
    /// Where chance comes from: the hashes of warm candidates, which nobody can choose who does not
    /// know the hasher's seed. The same requests have the same chances.
    chance: u64,
    /// While others leave for its update: the node that is to stay.
    spared: Option<NodeId>,
}

impl Segments {
    pub(super) fn new(budget: Budget, window_percent: u64) -> Self {
        let entries = budget.counts_entries().then_some(budget.total);
        let mut segments = Self {
            links: Links::default(),
            queues: [SegmentQueue::default(); SEGMENTS],
            budget,
            window_percent,
            window_target: 0,
            protected_target: 0,
            sketch: Sketch::new(entries),
            ghost: Ghost::new(entries.unwrap_or(u64::MAX)),
            enough_for: 0,
            clock: MissClock { now: 0, progress: 0, tick_cost: 1 },
            leaving: None,
            candidate: None,
            candidates: 0,
            newest: None,
            chance: 0,
            spared: None,
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

    pub(super) fn is_over(&self) -> bool {
        self.queues.iter().map(|queue| queue.cost).sum::<u64>() > self.budget.total
    }

    pub(super) fn window_percent(&self) -> u64 {
        self.window_percent
    }

    /// Makes the window one of `percent` of the budget. What that moves moves with the next
    /// insertions.
    pub(super) fn set_window(&mut self, percent: u64) {
        self.window_percent = percent;
        self.set_targets();
    }

    fn set_targets(&mut self) {
        let total = self.budget.total;
        self.window_target = (total - share(total, 100 - self.window_percent, 100)).max(1);
        self.protected_target =
            share(total.saturating_sub(self.window_target), PROTECTED_PERCENT, 100);
        self.clock.tick_cost = (total / TICKS).max(1);
    }

    /// Changes the budget. `recount` has to be called next.
    pub(super) fn set_budget(&mut self, budget: Budget) {
        self.budget = budget;
        self.set_targets();
        if budget.counts_entries() {
            self.sketch.resize(budget.total);
            self.ghost.resize(budget.total);
            self.enough_for = 0;
        }
    }

    /// Adds up anew what the nodes cost.
    pub(super) fn recount<N: Nodes + ?Sized>(&mut self, nodes: &N) {
        if self.budget.is_fixed_unit() {
            return;
        }
        for at in 0..SEGMENTS {
            let ids = self.links.oldest_first(&self.queues[at].list);
            self.queues[at].cost = ids.map(|id| self.budget.cost_of(id, nodes)).sum();
        }
    }

    /// Takes a new key into the window and moves what that pushes out of it to probation.
    pub(super) fn insert<N: Nodes + ?Sized>(&mut self, id: NodeId, nodes: &N) {
        if let Some(left) = self.leaving.take() {
            // Nothing was evicted for it.
            self.change_segment(left, SegmentId::Probation, nodes);
        }
        self.reserve_for_one_more(nodes);
        let cost = self.budget.cost_of(id, nodes);
        self.clock.advance(cost);
        let key = KeyBits::of(nodes.hash(id));
        self.sketch.count(key);
        let distance = self.ghost.stamp(key).map_or(UNKNOWN, |then| self.clock.distance(then));
        NodeWord { segment: SegmentId::Window, distance, last: self.clock.now }.store(id, nodes);
        self.push(SegmentId::Window, id, cost);
        self.newest = Some(id);
        self.drain_window(cost, nodes);
    }

    /// Takes in a key that was there before, where it was, of which it is known how often it was
    /// used and how long ago.
    pub(super) fn take_back<N: Nodes + ?Sized>(
        &mut self,
        id: NodeId,
        segment: SegmentId,
        distance: u16,
        age: u16,
        frequency: u32,
        nodes: &N,
    ) {
        self.reserve_for_one_more(nodes);
        let key = KeyBits::of(nodes.hash(id));
        for _ in 0..frequency {
            self.sketch.count(key);
        }
        let last = self.clock.now.wrapping_sub(age) & TICK_MASK;
        NodeWord { segment, distance, last }.store(id, nodes);
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
        let held = self.entries() + 1;
        if held > self.enough_for {
            self.grow(held, nodes);
        }
    }

    /// Lets sketch and ghost serve `held` entries.
    #[cold]
    fn grow<N: Nodes + ?Sized>(&mut self, held: usize, nodes: &N) {
        let Self { queues, links, sketch, ghost, .. } = self;
        ghost.reserve_for(held);
        if held > sketch.enough_for() {
            // Beyond that, it would take too long.
            let walked = if held <= MAX_RECOUNT { queues.as_slice() } else { &[] };
            let ids = walked.iter().flat_map(|queue| links.oldest_first(&queue.list));
            sketch.grow(held, ids.map(|id| nodes.hash(id)));
        }
        self.enough_for = sketch.enough_for().min(ghost.enough_for());
    }

    /// Finds what a key that costs `cost`, the newest, pushes out of the window.
    #[inline]
    fn drain_window<N: Nodes + ?Sized>(&mut self, cost: u64, nodes: &N) {
        (self.candidate, self.candidates) = (None, 0);
        match self.window_excess() {
            None => {}
            // Mostly so, and nothing moves.
            Some((excess, tail)) if self.is_enough(tail, excess, nodes) => {
                self.leaving = Some(tail);
            }
            Some(_) => self.drain_window_moving(cost, nodes),
        }
    }

    /// What the window costs above its target, and its tail. `None` if nothing has to leave it.
    #[inline]
    fn window_excess(&self) -> Option<(u64, NodeId)> {
        let window = &self.queues[SegmentId::Window as usize];
        let excess = window.cost.checked_sub(self.window_target).filter(|excess| *excess > 0)?;
        // The newest stays, whatever it costs: a heavy key, too, gets a chance to be used.
        let tail = window.list.back().filter(|tail| Some(*tail) != self.newest)?;
        Some((excess, tail))
    }

    /// Whether the unmarked `tail` alone has to leave the window, for an eviction that is due.
    #[inline]
    fn is_enough<N: Nodes + ?Sized>(&self, tail: NodeId, excess: u64, nodes: &N) -> bool {
        nodes.frequency(tail) == 0
            && self.budget.cost_of(tail, nodes) >= excess
            // Where both bounds count, one may be over its part of the budget while the cache is not.
            && self.budget.is_fixed_unit()
            && self.is_over()
    }

    #[inline(never)]
    fn drain_window_moving<N: Nodes + ?Sized>(&mut self, cost: u64, nodes: &N) {
        let (mut looks, mut moved_cost) = (0, 0);
        while let Some((excess, tail)) = self.window_excess() {
            looks += 1;
            if looks <= MAX_LOOKS && self.look(tail, nodes) {
                self.links.move_to_front(&mut self.queues[SegmentId::Window as usize].list, tail);
                continue;
            }
            if self.candidates >= DRAIN as usize && moved_cost >= DRAIN * cost {
                return;
            }
            if self.candidates == 0 && self.is_enough(tail, excess, nodes) {
                self.leaving = Some(tail);
                return;
            }
            moved_cost += self.change_segment(tail, SegmentId::Probation, nodes);
            self.candidate = Some(tail);
            self.candidates += 1;
        }
    }

    /// Whether `id` was used since the last look; notes the use.
    #[inline]
    fn look<N: Nodes + ?Sized>(&mut self, id: NodeId, nodes: &N) -> bool {
        let is_marked = nodes.frequency(id) != 0;
        if is_marked {
            self.note_use(id, nodes);
        }
        is_marked
    }

    #[inline(never)]
    fn note_use<N: Nodes + ?Sized>(&mut self, id: NodeId, nodes: &N) {
        nodes.set_frequency(id, 0);
        self.sketch.count(KeyBits::of(nodes.hash(id)));
        let NodeWord { segment, last, .. } = NodeWord::of(id, nodes);
        let distance = self.clock.distance(last);
        NodeWord { segment, distance, last: self.clock.now }.store(id, nodes);
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
    }

    /// Moves `id` to the head of another list; returns what it costs.
    fn change_segment<N: Nodes + ?Sized>(&mut self, id: NodeId, to: SegmentId, nodes: &N) -> u64 {
        let word = NodeWord::of(id, nodes);
        let cost = self.budget.cost_of(id, nodes);
        self.unlink(word.segment, id, cost);
        self.push(to, id, cost);
        NodeWord { segment: to, ..word }.store(id, nodes);
        cost
    }

    /// `id` now weighs what `nodes` says, and weighed `old_weight`.
    pub(super) fn update<N: Nodes + ?Sized>(&mut self, id: NodeId, old_weight: u32, nodes: &N) {
        if !self.budget.counts_entries() {
            let queue = &mut self.queues[NodeWord::of(id, nodes).segment as usize];
            queue.cost -= self.budget.cost(old_weight);
            queue.cost += self.budget.cost(nodes.weight(id));
        }
    }

    /// Forgets `id` without remembering it.
    pub(super) fn remove<N: Nodes + ?Sized>(&mut self, id: NodeId, nodes: &N) {
        self.unname(id);
        self.unlink(NodeWord::of(id, nodes).segment, id, self.budget.cost_of(id, nodes));
    }

    /// Lets no part of the policy name `id` any more.
    fn unname(&mut self, id: NodeId) {
        if self.leaving == Some(id) {
            self.leaving = None;
        }
        if self.candidate == Some(id) {
            (self.candidate, self.candidates) = (None, 0);
        }
        if self.newest == Some(id) {
            self.newest = None;
        }
    }

    /// Forgets the node that is least worth keeping.
    pub(super) fn evict<N: Nodes + ?Sized>(&mut self, nodes: &N) -> Option<NodeId> {
        let Some(candidate) = self.leaving.take() else { return self.evict_searching(nodes) };
        let tail = self.queues[SegmentId::Probation as usize].list.back();
        let Some(victim) = tail.filter(|tail| nodes.frequency(*tail) == 0) else {
            // The search for a victim moves nodes to where the candidate stands first.
            self.change_segment(candidate, SegmentId::Probation, nodes);
            (self.candidate, self.candidates) = (Some(candidate), 1);
            return self.evict_searching(nodes);
        };
        // Neither is the newest.
        let (ours, theirs) = (KeyBits::of(nodes.hash(candidate)), KeyBits::of(nodes.hash(victim)));
        let (segment, loser, key) = match self.admits(candidate, ours, victim, theirs, nodes) {
            false => (SegmentId::Window, candidate, ours),
            true => {
                self.change_segment(candidate, SegmentId::Probation, nodes);
                (SegmentId::Probation, victim, theirs)
            }
        };
        self.forget_at(segment, loser, key, nodes);
        Some(loser)
    }

    /// The same, but `spared` leaves only if nothing else is there.
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
        let loser = match (self.find_victim(nodes), candidate) {
            (Some(victim), Some(candidate)) => {
                self.next_candidate();
                let of = |id| KeyBits::of(nodes.hash(id));
                match self.admits(candidate, of(candidate), victim, of(victim), nodes) {
                    true => victim,
                    false => candidate,
                }
            }
            (Some(only), None) | (None, Some(only)) => only,
            (None, None) => self.find_unused_in_window(nodes)?,
        };
        self.forget(loser, nodes);
        Some(loser)
    }

    /// As [`remove`](Self::remove), but remembers when the key was used last.
    fn forget<N: Nodes + ?Sized>(&mut self, id: NodeId, nodes: &N) {
        self.unname(id);
        self.forget_at(NodeWord::of(id, nodes).segment, id, KeyBits::of(nodes.hash(id)), nodes);
    }

    /// The same of a node at `place` that is named nowhere.
    #[inline]
    fn forget_at<N: Nodes + ?Sized>(
        &mut self,
        segment: SegmentId,
        id: NodeId,
        key: KeyBits,
        nodes: &N,
    ) {
        self.unlink(segment, id, self.budget.cost_of(id, nodes));
        let clock = self.clock;
        self.ghost.insert(key, NodeWord::of(id, nodes).last, |then| clock.age(then));
    }

    /// One duel a candidate. There are several where a heavy key pushed many light ones out of
    /// the window.
    fn next_candidate(&mut self) {
        self.candidates -= 1;
        self.candidate = match self.candidate {
            Some(last) if self.candidates > 0 => self.links.older(last),
            _ => None,
        };
    }

    /// The unused node at probation's tail, the candidate left aside.
    fn find_victim<N: Nodes + ?Sized>(&mut self, nodes: &N) -> Option<NodeId> {
        let mut looks = 0;
        loop {
            let mut tail = self.queues[SegmentId::Probation as usize].list.back();
            while tail.is_some() && (tail == self.candidate || tail == self.spared) {
                tail = tail.and_then(|tail| self.links.newer(tail));
            }
            let Some(tail) = tail else {
                let protected = self.queues[SegmentId::Protected as usize].list.back()?;
                self.change_segment(protected, SegmentId::Probation, nodes);
                continue;
            };
            looks += 1;
            if looks > MAX_LOOKS || !self.look(tail, nodes) {
                return Some(tail);
            }
            self.change_segment(tail, SegmentId::Protected, nodes);
            self.drain_protected(&mut looks, nodes);
        }
    }

    fn drain_protected<N: Nodes + ?Sized>(&mut self, looks: &mut usize, nodes: &N) {
        loop {
            let protected = &self.queues[SegmentId::Protected as usize];
            if protected.cost <= self.protected_target {
                return;
            }
            let Some(tail) = protected.list.back() else { return };
            *looks += 1;
            if *looks <= MAX_LOOKS && self.look(tail, nodes) {
                self.links
                    .move_to_front(&mut self.queues[SegmentId::Protected as usize].list, tail);
            } else {
                self.change_segment(tail, SegmentId::Probation, nodes);
            }
        }
    }

    /// The unused node at the window's tail; there is nothing else.
    fn find_unused_in_window<N: Nodes + ?Sized>(&mut self, nodes: &N) -> Option<NodeId> {
        let mut looks = 0;
        loop {
            let tail = self.window_tail()?;
            looks += 1;
            if looks > MAX_LOOKS || !self.look(tail, nodes) {
                return Some(tail);
            }
            self.links.move_to_front(&mut self.queues[SegmentId::Window as usize].list, tail);
        }
    }

    /// The oldest of the window that may leave: the newest, and what is spared, only if there is
    /// nothing else.
    fn window_tail(&self) -> Option<NodeId> {
        let window = &self.queues[SegmentId::Window as usize].list;
        let mut others = self.links.oldest_first(window).filter(|id| Some(*id) != self.spared);
        let oldest = others.next().or(window.back())?;
        let next = if Some(oldest) == self.newest { others.next() } else { None };
        next.or(Some(oldest))
    }

    /// The duel: whether `candidate` is worth more than `victim`.
    ///
    /// A lead of one is no more than the insertion that was just counted. It decides only if the
    /// candidate comes back at shorter distances than the victim has lain unused (the test of
    /// LIRS). With a lead of one alone, the keys of a loop would push each other out.
    #[inline]
    fn admits<N: Nodes + ?Sized>(
        &mut self,
        candidate: NodeId,
        ours: KeyBits,
        victim: NodeId,
        theirs: KeyBits,
        nodes: &N,
    ) -> bool {
        let seen = self.sketch.estimate(ours);
        let lead = seen.saturating_sub(self.sketch.estimate(theirs));
        if lead != 1 {
            return lead > 1 || (seen >= WARM && self.is_let_in(ours, victim, nodes));
        }
        let word = NodeWord::of(candidate, nodes);
        let distance = word.distance.max(self.clock.age(word.last));
        distance < self.clock.age(NodeWord::of(victim, nodes).last)
    }

    /// Whether chance lets a warm candidate in that has lost against `victim`.
    #[cold]
    fn is_let_in<N: Nodes + ?Sized>(
        &mut self,
        candidate: KeyBits,
        victim: NodeId,
        nodes: &N,
    ) -> bool {
        if self.clock.age(NodeWord::of(victim, nodes).last) < STALE {
            return false;
        }
        self.chance = spread(self.chance.wrapping_add(candidate.0));
        self.chance.is_multiple_of(LET_IN)
    }

    /// How often `id` was seen lately, as far as counted, and its mark.
    pub(super) fn frequency<N: Nodes + ?Sized>(&self, id: NodeId, nodes: &N) -> u64 {
        self.sketch.estimate(KeyBits::of(nodes.hash(id))) + u64::from(nodes.frequency(id))
    }

    #[inline]
    pub(super) fn prefetch(&self, hash: u64) {
        let key = KeyBits::of(hash);
        self.sketch.prefetch(key);
        self.ghost.prefetch(key);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::policy::PolicyConfig;

    /// Entries by id, of which several may have one hash.
    #[derive(Default)]
    struct TestNodes(Vec<(u64, Cell<u8>, Cell<u32>)>);

    impl Nodes for TestNodes {
        fn hash(&self, id: NodeId) -> u64 {
            self.0[id.index()].0
        }
        fn weight(&self, _: NodeId) -> u32 {
            1
        }
        fn frequency(&self, id: NodeId) -> u8 {
            self.0[id.index()].1.get()
        }
        fn set_frequency(&self, id: NodeId, frequency: u8) {
            self.0[id.index()].1.set(frequency);
        }
        fn scratch(&self, id: NodeId) -> u32 {
            self.0[id.index()].2.get()
        }
        fn set_scratch(&self, id: NodeId, scratch: u32) {
            self.0[id.index()].2.set(scratch);
        }
    }

    /// A cache of 100 entries, read through, whose keys choose their hashes.
    struct TestCache {
        segments: Segments,
        table: TestNodes,
        held: Vec<u64>,
    }

    impl TestCache {
        fn new() -> Self {
            let budget = Budget::new(&PolicyConfig::new(Some(100), None));
            Self {
                segments: Segments::new(budget, 10),
                table: TestNodes::default(),
                held: Vec::new(),
            }
        }

        fn request(&mut self, key: u64, hash: u64) -> bool {
            if let Some(at) = self.held.iter().position(|held| *held == key) {
                self.table.0[at].1.set(1);
                return true;
            }
            let at = self.held.iter().position(|held| *held == u64::MAX).unwrap_or(self.held.len());
            let entry = (hash, Cell::new(0), Cell::new(0));
            if at == self.held.len() {
                self.held.push(key);
                self.table.0.push(entry);
            } else {
                self.held[at] = key;
                self.table.0[at] = entry;
            }
            self.segments.insert(NodeId::from_raw(u32::try_from(at).unwrap()), &self.table);
            if self.segments.entries() > 100 {
                let victim = self.segments.evict(&self.table).expect("something is held");
                self.held[victim.index()] = u64::MAX;
            }
            false
        }
    }

    /// Hits of keys of which some are popular, beside one that is hot, and one that comes once;
    /// and whether that is still there.
    fn hits_beside(cold_hash: u64, salt: u64) -> (u64, bool) {
        let mut cache = TestCache::new();
        let hash = |key: u64| spread(key + (salt << 32) + 1) >> 16;
        let hot = 0;
        // Marked whenever it is looked at, it stays in the window.
        for key in 1_000..1_200 {
            cache.request(hot, hash(hot));
            cache.request(hot, hash(hot));
            cache.request(key, hash(key));
        }
        cache.request(1, if cold_hash == 0 { hash(hot) } else { cold_hash });
        let (mut hits, mut state) = (0, salt);
        for step in 0..60_000 {
            cache.request(hot, hash(hot));
            state = spread(state + step);
            let key = 2 + ((state >> 8) % 400) * ((state >> 40) % 400) / 400;
            hits += u64::from(cache.request(key, hash(key)) && step >= 30_000);
        }
        (hits, cache.held.contains(&1))
    }

    #[test]
    fn a_cold_key_that_collides_with_a_hot_one_keeps_others_out_for_a_while_only() {
        for salt in 0..5 {
            let (collides, is_held) = hits_beside(0, salt);
            assert!(!is_held, "nobody has asked for it since, salt {salt}");
            let (does_not, _) = hits_beside(77, salt);
            assert!(
                collides * 100 > does_not * 97,
                "{collides} instead of {does_not}, salt {salt}"
            );
        }
    }
}
