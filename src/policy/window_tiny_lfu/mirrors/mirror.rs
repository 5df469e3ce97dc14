//! One mirror: the segments of a variant, over the mirrored keys.
//!
//! It decides as `Segments` do, with three simplifications: a key's count is what it was when the key was
//! last requested, only one key of those that an insertion pushes out of the window is a candidate, and a key that is
//! heavier than the window has no time of its own there. (In a miniature, many more keys are.)
#![forbid(unsafe_code)]

use super::keys::{MirroredKeys, NONE};
use crate::policy::budget::Budget;
use crate::policy::window_tiny_lfu::segments::{DRAIN, FIRST_CHECKS, MAX_CHECKS, Targets, is_soon};
use crate::policy::window_tiny_lfu::variants::{Direct, VARIANTS};
use crate::policy::window_tiny_lfu::word::{MissClock, SEGMENTS, SegmentId, UNKNOWN};

/// The most keys of a mirror, whatever they weigh.
const MAX_KEYS: usize = 512;

#[derive(Clone, Copy, Debug)]
struct MirrorQueue {
    front: u16,
    back: u16,
    cost: u64,
}

/// A key's place in a mirror. Its times outlive its eviction, as long as another mirror holds the key.
#[derive(Clone, Copy, Debug)]
struct MirrorPlace {
    /// Towards the front.
    newer: u16,
    /// Towards the back.
    older: u16,
    /// The tick of the last known use.
    last: u16,
    /// The ticks between the last two known uses.
    distance: u16,
    segment: SegmentId,
}

const NOWHERE: MirrorPlace = MirrorPlace {
    newer: NONE,
    older: NONE,
    last: 0,
    distance: UNKNOWN,
    segment: SegmentId::Window,
};

#[derive(Debug)]
pub(super) struct Mirror {
    /// Which of the variants it plays.
    index: usize,
    /// Its bit in the records.
    bit: u8,
    queues: [MirrorQueue; SEGMENTS],
    len: usize,
    /// Whether it was ever full.
    has_evicted: bool,
    /// The cost of all keys together.
    cost: u64,
    budget: Budget,
    targets: Targets,
    /// By the numbers of keys.
    places: Vec<MirrorPlace>,
}

/// What all mirrors share in one access.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) clock: MissClock,
    /// The sketch's number of halvings.
    pub(super) halvings: u8,
}

impl Moment {
    /// The count of a key now.
    #[inline]
    fn count(self, keys: &MirroredKeys, id: u16) -> u8 {
        let record = keys.get(id);
        record.count >> self.halvings.wrapping_sub(record.halvings).min(7)
    }
}

impl Mirror {
    pub(super) fn new(index: usize, budget: Budget) -> Self {
        Self {
            index,
            bit: 1 << index,
            queues: [MirrorQueue { front: NONE, back: NONE, cost: 0 }; SEGMENTS],
            len: 0,
            has_evicted: false,
            cost: 0,
            places: Vec::new(),
            budget,
            targets: Targets::of(VARIANTS[index], budget),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    fn back(&self, segment: SegmentId) -> Option<u16> {
        let back = self.queues[segment as usize].back;
        (back != NONE).then_some(back)
    }

    fn newer(&self, id: u16) -> Option<u16> {
        let newer = self.places[usize::from(id)].newer;
        (newer != NONE).then_some(newer)
    }

    #[inline]
    fn place(&mut self, id: u16) -> &mut MirrorPlace {
        &mut self.places[usize::from(id)]
    }

    fn is_over(&self) -> bool {
        self.cost > self.budget.total || self.len > MAX_KEYS
    }

    #[inline]
    fn push(&mut self, segment: SegmentId, id: u16, cost: u64) {
        let queue = &mut self.queues[segment as usize];
        let front = queue.front;
        queue.front = id;
        queue.cost += cost;
        if front == NONE {
            queue.back = id;
        } else {
            self.place(front).newer = id;
        }
        let place = self.place(id);
        (place.newer, place.older, place.segment) = (NONE, front, segment);
    }

    #[inline]
    fn unlink(&mut self, id: u16, cost: u64) {
        let MirrorPlace { newer, older, segment, .. } = *self.place(id);
        let queue = &mut self.queues[segment as usize];
        queue.cost -= cost;
        if newer == NONE {
            queue.front = older;
        }
        if older == NONE {
            queue.back = newer;
        }
        if newer != NONE {
            self.place(newer).older = older;
        }
        if older != NONE {
            self.place(older).newer = newer;
        }
    }

    fn cost_of(&self, id: u16, keys: &MirroredKeys) -> u64 {
        if self.budget.counts_entries() { 1 } else { self.budget.cost(keys.get(id).weight) }
    }

    fn change_segment(&mut self, id: u16, segment: SegmentId, keys: &mut MirroredKeys) {
        let cost = self.cost_of(id, keys);
        self.unlink(id, cost);
        self.push(segment, id, cost);
    }

    /// The tick of the last known use of a key that it may have held.
    pub(super) fn last_use(&self, id: u16) -> u16 {
        self.places[usize::from(id)].last
    }

    /// Inserts a key that it does not hold, and evicts the excess; names each key that has left. `distance`
    /// is that of the key's last two uses.
    #[inline]
    pub(super) fn insert(
        &mut self,
        id: u16,
        distance: u16,
        moment: Moment,
        keys: &mut MirroredKeys,
        left: &mut impl FnMut(u16, u16, &mut MirroredKeys),
    ) {
        if usize::from(id) >= self.places.len() {
            self.places.resize(usize::from(id) + 1, NOWHERE);
        }
        keys.record(id).marks &= !self.bit;
        let place = self.place(id);
        (place.last, place.distance) = (moment.clock.now, distance);
        let cost = self.cost_of(id, keys);
        self.len += 1;
        self.cost += cost;
        let mut candidate = None;
        if distance != UNKNOWN && self.is_direct(distance, moment) {
            self.push(SegmentId::Probation, id, cost);
        } else {
            self.push(SegmentId::Window, id, cost);
            if self.queues[SegmentId::Window as usize].cost > self.targets.window {
                if let Some(loser) = self.duel_at_once(id, moment, keys) {
                    self.remove(loser, keys);
                    left(loser, self.last_use(loser), keys);
                    return;
                }
                candidate = self.drain_window(id, moment, keys);
            }
        }
        while self.is_over() {
            let Some(loser) = self.choose(candidate, id, moment, keys) else { return };
            candidate = None;
            self.has_evicted = true;
            self.remove(loser, keys);
            left(loser, self.last_use(loser), keys);
        }
        if let Some(candidate) = candidate.filter(|_| self.has_evicted) {
            self.settle_candidate(candidate, moment, keys);
        }
    }

    /// As in the segments: nothing had to leave for the candidate.
    #[inline(never)]
    fn settle_candidate(&mut self, candidate: u16, moment: Moment, keys: &MirroredKeys) {
        if self.budget.counts_entries() {
            return;
        }
        let victim = self.back(SegmentId::Probation).filter(|victim| *victim != candidate);
        if victim.is_some_and(|victim| !self.admits(candidate, victim, moment, keys)) {
            let cost = self.cost_of(candidate, keys);
            self.unlink(candidate, cost);
            self.push_back(SegmentId::Probation, candidate, cost);
        }
    }

    /// As [`push`](Self::push), but at the other end.
    fn push_back(&mut self, segment: SegmentId, id: u16, cost: u64) {
        let queue = &mut self.queues[segment as usize];
        let back = queue.back;
        queue.back = id;
        queue.cost += cost;
        if back == NONE {
            queue.front = id;
        } else {
            self.place(back).older = id;
        }
        let place = self.place(id);
        (place.newer, place.older, place.segment) = (back, NONE, segment);
    }

    /// The usual case, if entries are counted: the key at the window's tail is the one candidate, the key at
    /// probation's tail is the victim, neither was used, and the candidate loses.
    #[inline]
    fn duel_at_once(&self, newest: u16, moment: Moment, keys: &MirroredKeys) -> Option<u16> {
        let is_usual = self.budget.counts_entries()
            && self.cost == self.budget.total + 1
            && self.queues[SegmentId::Window as usize].cost == self.targets.window + 1
            && self.queues[SegmentId::Protected as usize].cost <= self.targets.protected;
        let candidate = self.back(SegmentId::Window).filter(|_| is_usual)?;
        let victim = self.back(SegmentId::Probation)?;
        let is_marked = |id: u16| keys.get(id).marks & self.bit != 0;
        let decides = candidate != newest && !is_marked(candidate) && !is_marked(victim);
        (decides && !self.admits(candidate, victim, moment, keys)).then_some(candidate)
    }

    /// Evicts the excess, as after a change of the budget.
    pub(super) fn evict_excess(
        &mut self,
        moment: Moment,
        keys: &mut MirroredKeys,
        left: &mut impl FnMut(u16, u16, &mut MirroredKeys),
    ) {
        while self.is_over() {
            let Some(loser) = self.choose(None, NONE, moment, keys) else { return };
            self.remove(loser, keys);
            left(loser, self.last_use(loser), keys);
        }
    }

    pub(super) fn is_in(&self, holders: u8) -> bool {
        holders & self.bit != 0
    }

    /// Changes the budget. The excess stays until keys are evicted.
    pub(super) fn set_budget(&mut self, budget: Budget, keys: &MirroredKeys) {
        self.budget = budget;
        self.targets = Targets::of(VARIANTS[self.index], budget);
        for at in 0..SEGMENTS {
            let (mut cost, mut next) = (0, self.queues[at].back);
            while next != NONE {
                cost += budget.cost(keys.get(next).weight);
                next = self.places[usize::from(next)].newer;
            }
            self.queues[at].cost = cost;
        }
        self.cost = self.queues.iter().map(|queue| queue.cost).sum();
    }

    /// The weight of a key that it holds has changed. The excess stays until keys are evicted.
    pub(super) fn reweigh(&mut self, id: u16, old_weight: u32, weight: u32) {
        let (old_cost, cost) = (self.budget.cost(old_weight), self.budget.cost(weight));
        let queue = &mut self.queues[self.places[usize::from(id)].segment as usize];
        queue.cost = queue.cost - old_cost + cost;
        self.cost = self.cost - old_cost + cost;
    }

    /// Removes a key that it holds.
    pub(super) fn remove(&mut self, id: u16, keys: &mut MirroredKeys) {
        let cost = self.cost_of(id, keys);
        self.unlink(id, cost);
        self.len -= 1;
        self.cost -= cost;
        keys.record(id).holders &= !self.bit;
    }

    fn is_direct(&self, distance: u16, moment: Moment) -> bool {
        if self.queues[SegmentId::Window as usize].cost < self.targets.window {
            return false;
        }
        match VARIANTS[self.index].direct {
            Direct::Never => false,
            Direct::Always => true,
            Direct::Soon => {
                let tail = self.back(SegmentId::Probation).or(self.back(SegmentId::Protected));
                tail.is_none_or(|tail| is_soon(distance, moment.clock.age(self.last_use(tail))))
            }
        }
    }

    /// Whether the key was used since its last check; notes the use.
    #[inline]
    fn check(&mut self, id: u16, moment: Moment, keys: &mut MirroredKeys) -> bool {
        let record = keys.record(id);
        let is_marked = record.marks & self.bit != 0;
        if is_marked {
            record.marks &= !self.bit;
            let place = self.place(id);
            place.distance = moment.clock.distance(place.last);
            place.last = moment.clock.now;
        }
        is_marked
    }

    /// Moves what the newest key pushes out of the window; returns the candidate.
    #[inline(never)]
    fn drain_window(
        &mut self,
        newest: u16,
        moment: Moment,
        keys: &mut MirroredKeys,
    ) -> Option<u16> {
        let (mut checks, mut moves) = (0, 0);
        let mut candidate = None;
        while self.queues[SegmentId::Window as usize].cost > self.targets.window && moves < DRAIN {
            let Some(tail) = self.back(SegmentId::Window).filter(|tail| *tail != newest) else {
                break;
            };
            checks += 1;
            if checks > MAX_CHECKS || !self.check(tail, moment, keys) {
                self.change_segment(tail, SegmentId::Probation, keys);
                candidate = Some(tail);
                moves += 1;
            } else if VARIANTS[self.index].protects_used {
                self.change_segment(tail, SegmentId::Protected, keys);
                self.drain_protected(&mut checks, MAX_CHECKS, moment, keys);
                moves += 1;
            } else {
                self.change_segment(tail, SegmentId::Window, keys);
            }
        }
        candidate
    }

    fn drain_protected(
        &mut self,
        checks: &mut usize,
        limit: usize,
        moment: Moment,
        keys: &mut MirroredKeys,
    ) {
        while self.queues[SegmentId::Protected as usize].cost > self.targets.protected
            && *checks < limit
            && let Some(tail) = self.back(SegmentId::Protected)
        {
            *checks += 1;
            let segment = match self.check(tail, moment, keys) {
                true => SegmentId::Protected,
                false => SegmentId::Probation,
            };
            self.change_segment(tail, segment, keys);
        }
    }

    /// The key that is least worth keeping.
    #[inline(never)]
    fn choose(
        &mut self,
        candidate: Option<u16>,
        newest: u16,
        moment: Moment,
        keys: &mut MirroredKeys,
    ) -> Option<u16> {
        let is_spared = |id: u16| Some(id) == candidate || id == newest;
        match (self.find_victim(&is_spared, moment, keys), candidate) {
            (Some(victim), Some(candidate)) => {
                let admits = self.admits(candidate, victim, moment, keys);
                Some(if admits { victim } else { candidate })
            }
            (Some(victim), None) => Some(self.find_older(victim, moment, keys)),
            (None, only) => only.or_else(|| self.find_unused_in_window(newest, moment, keys)),
        }
    }

    /// As in the segments.
    fn find_older(&mut self, victim: u16, moment: Moment, keys: &mut MirroredKeys) -> u16 {
        match self.back(SegmentId::Protected) {
            Some(tail) if VARIANTS[self.index].direct == Direct::Always => {
                if self.check(tail, moment, keys) {
                    self.change_segment(tail, SegmentId::Protected, keys);
                    return victim;
                }
                let age = |id: u16| moment.clock.age(self.last_use(id));
                if age(tail) > age(victim) { tail } else { victim }
            }
            _ => victim,
        }
    }

    #[inline]
    fn admits(&self, candidate: u16, victim: u16, moment: Moment, keys: &MirroredKeys) -> bool {
        let (offence, defence) = (moment.count(keys, candidate), moment.count(keys, victim));
        if offence <= defence {
            return false;
        }
        let MirrorPlace { last, distance, .. } = self.places[usize::from(candidate)];
        let distance = distance.max(moment.clock.age(last));
        offence > defence + 1 || distance < moment.clock.age(self.last_use(victim))
    }

    fn find_victim(
        &mut self,
        is_spared: &impl Fn(u16) -> bool,
        moment: Moment,
        keys: &mut MirroredKeys,
    ) -> Option<u16> {
        let mut checks = 0;
        self.drain_protected(&mut checks, FIRST_CHECKS, moment, keys);
        loop {
            let mut tail = self.back(SegmentId::Probation);
            while let Some(spared) = tail.filter(|tail| is_spared(*tail)) {
                tail = self.newer(spared);
            }
            let Some(tail) = tail else {
                let protected = self.back(SegmentId::Protected)?;
                self.change_segment(protected, SegmentId::Probation, keys);
                continue;
            };
            checks += 1;
            if checks > MAX_CHECKS || !self.check(tail, moment, keys) {
                return Some(tail);
            }
            self.change_segment(tail, SegmentId::Protected, keys);
            self.drain_protected(&mut checks, MAX_CHECKS, moment, keys);
        }
    }

    /// The unused key at the window's tail; the main part has none, except perhaps the newest.
    fn find_unused_in_window(
        &mut self,
        newest: u16,
        moment: Moment,
        keys: &mut MirroredKeys,
    ) -> Option<u16> {
        let mut checks = 0;
        loop {
            let tail = self.back(SegmentId::Window).or(self.back(SegmentId::Probation))?;
            let older = if tail == newest { self.newer(tail) } else { None };
            let tail = older.unwrap_or(tail);
            checks += 1;
            if checks > MAX_CHECKS || !self.check(tail, moment, keys) {
                return Some(tail);
            }
            self.change_segment(tail, SegmentId::Window, keys);
        }
    }
}

#[cfg(test)]
impl Mirror {
    /// Checks that the lists hold the keys that the keys' bits name, and that their costs add up.
    pub(super) fn validate(&self, keys: &MirroredKeys) {
        let (mut len, mut cost) = (0, 0);
        for (at, queue) in self.queues.iter().enumerate() {
            let (mut next, mut older, mut queue_cost) = (queue.back, NONE, 0);
            while next != NONE {
                assert!(self.is_in(keys.get(next).holders));
                let place = self.places[usize::from(next)];
                assert_eq!((place.older, place.segment as usize), (older, at));
                queue_cost += self.budget.cost(keys.get(next).weight);
                len += 1;
                (older, next) = (next, place.newer);
            }
            assert_eq!((older, queue_cost), (queue.front, queue.cost));
            cost += queue_cost;
        }
        let held = keys.ids().filter(|(id, _)| self.is_in(keys.get(*id).holders)).count();
        assert_eq!((len, cost, held), (self.len, self.cost, self.len));
        assert!(cost <= self.budget.total && len <= MAX_KEYS);
    }
}
