//! The timers of a partition's entries, allocated when the first entry with a deadline is inserted.
#![forbid(unsafe_code)]

use std::time::Duration;

use super::clock::nanoseconds;
use super::timer_wheel::TimerWheel;
use crate::base::node_id::NodeId;
use crate::base::sync::{self, Ordering};
use crate::entry::{Deadline, EntryPtr, Grace};

/// By default, a tick takes 2^24 nanoseconds, 17 milliseconds.
const DEFAULT_TICK_BITS: u32 = 24;
/// A tick has 2^`TURN_BITS` turns of the wheel. A timer fires when the turn of its deadline is over. The rest
/// of the tick is left for a maintenance thread that has to wait for a core, or a writer whose coarse clock
/// is late.
const TURN_BITS: u32 = 1;

/// The timers of one partition. A timer is set for the end of a grace after a deadline that the entry had at
/// some time. When it fires, the entry's present deadline counts, so a hit that moves the deadline ahead does not set
/// the timer.
pub(crate) struct Timers {
    /// A turn of the wheel takes 2^`turn_bits` nanoseconds.
    turn_bits: u32,
    /// For how long entries stay after their deadlines.
    grace: Grace,
    wheel: Option<Box<TimerWheel>>,
}

impl Default for Timers {
    fn default() -> Self {
        Self { turn_bits: DEFAULT_TICK_BITS - TURN_BITS, ..Self::NONE }
    }
}

impl Timers {
    const NONE: Self = Self { turn_bits: 0, grace: Grace::NONE, wheel: None };

    /// With ticks of the power of two nanoseconds at or below `tick`.
    pub(crate) fn new(tick: Duration) -> Self {
        let tick_bits = nanoseconds(tick).max(1).ilog2();
        Self { turn_bits: tick_bits.saturating_sub(TURN_BITS), ..Self::NONE }
    }

    /// The same timers, which fire after that grace.
    pub(crate) fn with_grace(self, grace: Grace) -> Self {
        Self { grace, ..self }
    }

    /// Whether a timer was ever set.
    #[inline]
    pub(crate) fn are_used(&self) -> bool {
        self.wheel.is_some()
    }

    /// Sets the timer of `entry`, whose node is `id`, if it has a deadline.
    #[inline]
    pub(crate) fn watch(&mut self, id: NodeId, entry: EntryPtr) {
        match entry.is_extended() {
            true => self.watch_deadline(id, entry),
            false => self.forget(id),
        }
    }

    fn watch_deadline(&mut self, id: NodeId, entry: EntryPtr) {
        // SeqCst: between the entry's node, which was stored before, and the deadline. A thread that moves
        // a deadline to an earlier time stores it before it reads the node: either this thread sees the
        // new deadline, or that thread sees the node and reports it (`Partition::note_moved`).
        sync::fence(Ordering::SeqCst);
        match self.end_of(entry) {
            Deadline::NEVER => self.forget(id),
            end_ns => {
                let turn_bits = self.turn_bits;
                let wheel = self.wheel.get_or_insert_with(|| Box::new(TimerWheel::new(turn_bits)));
                wheel.set(id.index(), end_ns);
            }
        }
    }

    /// When the timer of `entry` is to be due; `NEVER` if it has no deadline.
    #[inline]
    pub(crate) fn end_of(&self, entry: EntryPtr) -> u64 {
        match entry.extension().map(|extension| extension.deadline.get()) {
            None | Some(Deadline::NEVER) => Deadline::NEVER,
            Some(deadline) => self.grace.end_of(deadline),
        }
    }

    /// Stops the timer of a node that leaves.
    #[inline]
    pub(crate) fn forget(&mut self, id: NodeId) {
        if let Some(wheel) = &mut self.wheel {
            wheel.stop(id.index());
        }
    }

    /// Stops a timer that is due and returns its node; see [`TimerWheel::fire`].
    #[inline]
    pub(crate) fn fire(&mut self, now_ns: u64, budget: &mut u32) -> Option<NodeId> {
        let node = self.wheel.as_mut()?.fire(now_ns, budget)?;
        Some(NodeId::from_raw(u32::try_from(node).expect("it was a node id when it was set")))
    }

    /// The time from which a timer may be due; `NEVER` if none is set.
    #[inline]
    pub(crate) fn next_ns(&self) -> u64 {
        self.wheel.as_ref().and_then(|wheel| wheel.next_ns()).unwrap_or(Deadline::NEVER)
    }

    /// Panics unless every entry with a deadline has a timer. An entry whose deadline was removed may still
    /// have one.
    pub(crate) fn validate(&self, entries: impl Iterator<Item = (NodeId, EntryPtr)>) {
        let has_deadline = |entry: EntryPtr| {
            entry.extension().is_some_and(|entry| entry.deadline.get() != Deadline::NEVER)
        };
        let mut nodes = entries.map(|(id, entry)| (id.index(), has_deadline(entry)));
        match &self.wheel {
            Some(wheel) => wheel.validate(nodes),
            None => assert!(!nodes.any(|(_, has)| has), "an entry with a deadline has no timer"),
        }
    }
}
