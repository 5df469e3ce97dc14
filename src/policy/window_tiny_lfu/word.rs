//! What the segments store about a node, and the clock that its times are read from.
//!
//! Each node has a word ([`Nodes::scratch`]):
//!
//! ```text
//!   31     30 29   28 27   24 23        12 11        0     last: the tick of its last known use
//!   | segment | unused | count | distance  | last     |     distance: between its last two known uses
//! ```
//!
//! The count is what the sketch estimated when that use was counted.
//!
//! A tick passes when new keys have cost a 32nd of the budget: the policy's only clock counts misses.
#![forbid(unsafe_code)]

use crate::base::node_id::NodeId;
use crate::policy::Nodes;
use crate::policy::ghost::STAMP_BITS;
use crate::policy::sketch::MAX_COUNT;

/// Ticks are counted modulo 2^12, the bits of a stamp in the ghost.
pub(super) const TICK_MASK: u16 = (1 << STAMP_BITS) - 1;
/// The distance of a key that is not known to have been used twice.
pub(super) const UNKNOWN: u16 = TICK_MASK;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SegmentId {
    Window = 0,
    Probation = 1,
    Protected = 2,
}

impl SegmentId {
    /// Its name in reports.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Window => "window",
            Self::Probation => "probation",
            Self::Protected => "protected",
        }
    }
}

pub(super) const SEGMENTS: usize = 3;

const _: () = assert!(MAX_COUNT == 15 && STAMP_BITS == 12);

/// The contents of a node's word.
#[derive(Clone, Copy, Debug)]
pub(super) struct NodeWord {
    pub(super) segment: SegmentId,
    pub(super) count: u64,
    pub(super) distance: u16,
    pub(super) last: u16,
}

impl NodeWord {
    #[inline]
    pub(super) fn of<N: Nodes + ?Sized>(id: NodeId, nodes: &N) -> Self {
        let raw = nodes.scratch(id);
        let segment = match raw >> 30 {
            0 => SegmentId::Window,
            1 => SegmentId::Probation,
            _ => SegmentId::Protected,
        };
        #[expect(clippy::cast_possible_truncation, reason = "twelve bits each")]
        let (distance, last) = ((raw >> 12) as u16 & TICK_MASK, raw as u16 & TICK_MASK);
        Self { segment, count: u64::from(raw >> 24) & MAX_COUNT, distance, last }
    }

    #[inline]
    pub(super) fn store<N: Nodes + ?Sized>(self, id: NodeId, nodes: &N) {
        #[expect(clippy::cast_possible_truncation, reason = "at most `MAX_COUNT`")]
        let (segment, count) = ((self.segment as u32) << 30, (self.count as u32) << 24);
        nodes.set_scratch(
            id,
            segment | count | u32::from(self.distance) << 12 | u32::from(self.last),
        );
    }
}

/// Counts the costs of new keys.
#[derive(Clone, Copy, Debug)]
pub(super) struct MissClock {
    pub(super) now: u16,
    pub(super) progress: u64,
    pub(super) tick_cost: u64,
}

impl MissClock {
    #[inline]
    pub(super) fn advance(&mut self, cost: u64) {
        self.progress += cost;
        if self.progress >= self.tick_cost {
            self.tick();
        }
    }

    #[cold]
    fn tick(&mut self) {
        #[expect(clippy::cast_possible_truncation, reason = "modulo 2^15")]
        let ticks = (self.progress / self.tick_cost) as u16;
        self.progress %= self.tick_cost;
        self.now = self.now.wrapping_add(ticks) & TICK_MASK;
    }

    #[inline]
    pub(super) fn age(self, then: u16) -> u16 {
        self.now.wrapping_sub(then) & TICK_MASK
    }

    /// As [`age`](Self::age), but never `UNKNOWN`: the distance of two uses.
    #[inline]
    pub(super) fn distance(self, then: u16) -> u16 {
        self.age(then).min(UNKNOWN - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_distance_is_so_long_that_it_means_unknown() {
        let clock = MissClock { now: 5, progress: 0, tick_cost: 1 };
        assert_eq!((clock.age(5), clock.age(4), clock.age(6)), (0, 1, TICK_MASK));
        assert_eq!((clock.distance(4), clock.distance(6)), (1, UNKNOWN - 1));
    }

    #[test]
    fn the_clock_ticks_with_costs_and_wraps_around() {
        let mut clock = MissClock { now: TICK_MASK, progress: 0, tick_cost: 10 };
        clock.advance(9);
        assert_eq!((clock.now, clock.progress), (TICK_MASK, 9));
        clock.advance(26);
        assert_eq!((clock.now, clock.progress), (2, 5));
    }
}
