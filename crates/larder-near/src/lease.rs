//! For how long hits may be served: the words that every hit reads.
//!
//! A server pushes what changes, and a connection may die without a word. So nothing is served on the mere
//! absence of bad news. A reply that came over a tracked connection **proves** that every change from
//! before its command was sent has been pushed and applied, since pushes and replies are one stream. The lease of
//! a connection runs for `max_stale` from the latest moment that is so proven. A hit compares the time with the
//! earliest end of the leases of all live connections. A process that was stopped for a while, or a timer that
//! fires late, therefore serves nothing too old: nothing has to happen in time.
//!
//! A cluster divides the keys into slots, each of which one **node** has; a single server is one node with one
//! slot. A **generation** is a period in which no change of a key of one slot can have been missed. It ends with
//! the node's connection, when the node says that all keys may have changed, and when another node gets the slot.
//! Each value in memory has the generation of its slot in which its command was sent, and is served only in that
//! one. So to begin another generation is to forget the slot at once.
//!
//! | event | generations of the node's slots | end of the node's lease |
//! |---|---|---|
//! | a connection was opened at `t` (`begin`) | next | `t + max_stale`; never, if nothing is tracked |
//! | a reply to a command sent at `t` (`prove`) | same | the later of what it is and `t + max_stale` |
//! | all keys were invalidated (`turn`) | next | same |
//! | a slot is another node's (`assign`) | that slot: next | same |
//! | the connection has ended (`end`) | none | the node's lease does not count |
//!
//! A connection is proven from its beginning: nothing was read over it before, so nothing can have been missed.
//!
//! Where a server tracks nothing, values are held for `max_stale` at most from when they were asked for, by
//! their own deadlines, and the lease does not end while the connection lives.
//!
//! # The order in which a hit reads
//! A hit reads the clock, then the end of the leases, then the value, then the generation of the value's slot.
//! Let the time that it read be `t`. It may return the value only if it was current at some time after
//! `t - max_stale`. Let the value be of generation `g`:
//! - `g` was present when the end was read: the lease of its node counted and had not ended at `t`, so all changes
//!   from before `t - max_stale` had been applied when the end was read, and the value was found after that;
//! - `g` began later: the value was fetched by a command that was sent after `t`;
//! - `g` had ended before: the value is refused by the comparison, because a generation ends before the end of the
//!   lease of its node ceases to count, and before anything is applied that belongs to the next one.
//!
//! # Orderings
//! `until_ns` is stored with release after the words in `present` have changed, and loaded with acquire before
//! the value is looked up: a hit that sees an end of the leases sees the generations on which it rests, or later
//! ones. A word of `present` is loaded with acquire after the value was read. It is stored with release before a
//! later fill can have that generation, and a fill's value is published by the cache with release; so a hit that
//! finds a value of a later generation loads that generation or a later one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use larder::expiry::{Clock, MonotonicClock};

use crate::key::SLOTS;

/// The number of a node in the lease.
pub(crate) type NodeId = u16;

/// The owner of a slot that no node has.
pub(crate) const NOBODY: NodeId = NodeId::MAX;

/// The generation of a slot whose node has no connection. No value has it.
pub(crate) const NO_GENERATION: u64 = 0;

// A generation: 63 62                   14 13      0
//               |0 | number, never 0:49   | slot:14 |
const SLOT_BITS: u32 = 14;
const _: () = assert!(1 << SLOT_BITS == SLOTS);

/// All generations are below this.
pub(crate) const MOST_GENERATIONS: u64 = 1 << 63;

/// The lease of one near cache.
#[derive(Debug)]
pub(crate) struct Lease {
    /// The generation of each slot; the number of slots is a power of two.
    present: Box<[AtomicU64]>,
    /// The earliest end of the leases that count.
    until_ns: AtomicU64,
    max_stale_ns: u64,
    /// Serializes the changes of all words.
    changes: Mutex<Changes>,
    /// A defect that the tests must find.
    #[cfg(test)]
    pub(crate) planted: std::sync::OnceLock<Defect>,
}

/// Defects that the tests plant to see that they find them.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Defect {
    /// Values are stored whether or not their reservation has survived.
    LateFill,
    /// Values of earlier generations are served.
    KeptAcrossGap,
    /// The lease never ends.
    EndlessLease,
    /// The deadline counts from the reply.
    LateDeadline,
    /// A slot that another node gets keeps its generation.
    KeptAcrossMove,
    /// What a loader has found is stored though another lease was given, or the key was changed.
    Unfenced,
    /// A write leaves the turn of its key to the process that loads it.
    TurnSurvivesWrite,
    /// A hit does not look at the tags of its value.
    TagsUnchecked,
}

#[derive(Debug)]
struct Changes {
    /// The number that was given last, to a generation or a connection.
    last: u64,
    slots: Box<[SlotState]>,
    nodes: Vec<NodeState>,
}

#[derive(Clone, Copy, Debug)]
struct SlotState {
    owner: NodeId,
    /// The generation before the present one, and until when it was proven: for values that are served when
    /// the server cannot be asked.
    before: u64,
    before_ns: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct NodeState {
    /// The number of the connection, while there is one.
    connection: Option<u64>,
    is_tracked: bool,
    /// The latest moment from before which all changes have been applied.
    proven_ns: u64,
}

/// A time that is not before the one at which a hit has read its lease, and little after it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimeOfHit {
    late_ns: u64,
}

impl TimeOfHit {
    /// Whether a value is still valid whose deadline is `until_ns`.
    #[inline]
    pub(crate) fn is_within(self, until_ns: u64) -> bool {
        self.late_ns <= until_ns || now_ns() <= until_ns
    }
}

/// The present time, in nanoseconds since a fixed moment.
pub(crate) fn now_ns() -> u64 {
    #[cfg(test)]
    if let Some(now) = modelled_time::get() {
        return now;
    }
    MonotonicClock::default().now_ns()
}

/// Two times between which the present time is, the earlier one first.
#[inline]
fn around_ns() -> (u64, u64) {
    #[cfg(test)]
    if let Some(now) = modelled_time::get() {
        return (now, now);
    }
    MonotonicClock::default().around_ns()
}

/// The time of a test that moves the clock of its own thread.
#[cfg(test)]
pub(crate) mod modelled_time {
    use std::cell::Cell;

    thread_local! {
        static NOW: Cell<Option<u64>> = const { Cell::new(None) };
    }

    pub(crate) fn get() -> Option<u64> {
        NOW.get()
    }

    pub(crate) fn set(now_ns: u64) {
        NOW.set(Some(now_ns));
    }
}

/// Whole nanoseconds, saturating.
pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Lease {
    /// For one server: its node is 0, and its slot too.
    pub(crate) fn of_one(max_stale: Duration) -> Self {
        Self::new(max_stale, 1, 0)
    }

    /// For a cluster, whose slots nobody has yet.
    pub(crate) fn of_cluster(max_stale: Duration) -> Self {
        Self::new(max_stale, SLOTS, NOBODY)
    }

    fn new(max_stale: Duration, slots: usize, owner: NodeId) -> Self {
        let slot = SlotState { owner, before: NO_GENERATION, before_ns: 0 };
        let changes = Changes { last: 0, slots: vec![slot; slots].into(), nodes: Vec::new() };
        Self {
            present: std::iter::repeat_with(AtomicU64::default).take(slots).collect(),
            until_ns: AtomicU64::new(0),
            max_stale_ns: nanoseconds(max_stale),
            changes: Mutex::new(changes),
            #[cfg(test)]
            planted: std::sync::OnceLock::new(),
        }
    }

    /// For how long hits are allowed after `now_ns`.
    #[cfg(test)]
    pub(crate) fn remaining_ns(&self, now_ns: u64) -> u64 {
        self.until_ns.load(Ordering::Acquire).saturating_sub(now_ns)
    }

    #[cfg(test)]
    pub(crate) fn has(&self, defect: Defect) -> bool {
        self.planted.get() == Some(&defect)
    }

    /// The present time, if a value may be served that is looked up after this call.
    #[inline]
    pub(crate) fn time_of_hit(&self) -> Option<TimeOfHit> {
        let (early_ns, late_ns) = around_ns();
        // Acquire: pairs with the store in `count_leases`; see the head of the module.
        let until = self.until_ns.load(Ordering::Acquire);
        #[cfg(test)]
        let until = if self.has(Defect::EndlessLease) { u64::MAX } else { until };
        let is_open = late_ns <= until || (early_ns <= until && self.allows_hits_at(now_ns()));
        is_open.then_some(TimeOfHit { late_ns })
    }

    /// Whether the lease had not ended at `now`, which was read before this call.
    fn allows_hits_at(&self, now: u64) -> bool {
        // Acquire: as in `time_of_hit`.
        now <= self.until_ns.load(Ordering::Acquire)
    }

    /// Whether a value of `generation`, which was read before this call, is of a present one.
    #[inline]
    pub(crate) fn is_present(&self, generation: u64) -> bool {
        #[cfg(test)]
        if self.has(Defect::KeptAcrossGap) {
            return true;
        }
        // Acquire: after the value was read; pairs with the stores in `Changes::next`.
        self.present[generation as usize & (self.present.len() - 1)].load(Ordering::Acquire)
            == generation
    }

    /// Whether there are several nodes, among which slots may move.
    pub(crate) fn is_of_cluster(&self) -> bool {
        self.present.len() > 1
    }

    /// The node that has `slot`; [`NOBODY`] if none has.
    pub(crate) fn owner(&self, slot: u16) -> NodeId {
        self.lock().slots[usize::from(slot)].owner
    }

    /// The nodes that have `slots`.
    pub(crate) fn owners_of(&self, slots: impl Iterator<Item = u16>) -> Vec<NodeId> {
        let changes = self.lock();
        slots.map(|slot| changes.slots[usize::from(slot)].owner).collect()
    }

    /// The owners of all slots.
    pub(crate) fn owners(&self) -> Vec<NodeId> {
        self.lock().slots.iter().map(|slot| slot.owner).collect()
    }

    /// The generations in which commands over the connection of `node` are sent that concern `slots`;
    /// [`NO_GENERATION`] if their values must not be held.
    pub(crate) fn generations(&self, node: NodeId, slots: impl Iterator<Item = u16>) -> Vec<u64> {
        let changes = self.lock();
        let generation = |slot: u16| {
            let slot = usize::from(slot);
            // Relaxed: words are stored under the lock alone.
            let present = self.present[slot].load(Ordering::Relaxed);
            if changes.slots[slot].owner == node { present } else { NO_GENERATION }
        };
        slots.map(generation).collect()
    }

    /// A connection to `node` was opened, and no command was sent over it since `now_ns`. Begins generations, and
    /// returns the number of the connection.
    pub(crate) fn begin(&self, node: NodeId, is_tracked: bool, now_ns: u64) -> u64 {
        let mut changes = self.lock();
        changes.last += 1;
        let number = changes.last;
        let proven_ns = now_ns;
        *changes.node(node) = NodeState { connection: Some(number), is_tracked, proven_ns };
        self.next_of_node(&mut changes, node);
        self.count_leases(&changes);
        number
    }

    /// The connection of `node` has ended, or says nothing.
    pub(crate) fn end(&self, node: NodeId) {
        let mut changes = self.lock();
        if changes.node(node).connection.take().is_some() {
            self.next_of_node(&mut changes, node);
            self.count_leases(&changes);
        }
    }

    /// Whether `node` has a connection that is not suspended.
    pub(crate) fn is_begun(&self, node: NodeId) -> bool {
        self.lock().state(node).connection.is_some()
    }

    /// All keys of `node` may have changed: begins other generations on the same connection.
    pub(crate) fn turn(&self, node: NodeId) {
        let mut changes = self.lock();
        self.next_of_node(&mut changes, node);
    }

    /// Gives slots to nodes. Returns how many had another owner, which are forgotten.
    pub(crate) fn assign(&self, slots: impl Iterator<Item = (u16, NodeId)>) -> usize {
        let mut changes = self.lock();
        let mut moved = 0;
        for (slot, owner) in slots {
            let state = &mut changes.slots[usize::from(slot)];
            let previous = std::mem::replace(&mut state.owner, owner);
            if previous == owner {
                continue;
            }
            moved += usize::from(previous != NOBODY);
            #[cfg(test)]
            if self.has(Defect::KeptAcrossMove) && previous != NOBODY {
                continue;
            }
            self.next_of_slot(&mut changes, slot, previous);
        }
        moved
    }

    fn next_of_node(&self, changes: &mut Changes, node: NodeId) {
        for slot in 0..self.present.len() {
            // There are at most 2^14 of them.
            let number = slot as u16;
            if changes.slots[slot].owner == node {
                self.next_of_slot(changes, number, node);
            }
        }
    }

    /// Begins another generation of a slot, or none if its node has no connection. `previous` had the slot.
    fn next_of_slot(&self, changes: &mut Changes, slot: u16, previous: NodeId) {
        let proven_ns = changes.state(previous).proven_ns;
        let owner = changes.slots[usize::from(slot)].owner;
        let is_live = changes.state(owner).connection.is_some();
        let next = if is_live {
            changes.last += 1;
            (changes.last << SLOT_BITS) | u64::from(slot)
        } else {
            NO_GENERATION
        };
        // Release: before any value of the new generation is stored; pairs with the load in `is_present`.
        let before = self.present[usize::from(slot)].swap(next, Ordering::Release);
        let state = &mut changes.slots[usize::from(slot)];
        if before != NO_GENERATION {
            (state.before, state.before_ns) = (before, proven_ns);
        }
    }

    /// Makes hits depend on the leases that count now.
    fn count_leases(&self, changes: &Changes) {
        let live = changes.nodes.iter().filter(|node| node.connection.is_some());
        let until = live.map(|node| node.until_ns(self.max_stale_ns)).min().unwrap_or(0);
        // With `max_stale` 0, nothing is ever served from memory.
        let until = if self.max_stale_ns == 0 { 0 } else { until };
        // Release: after all pushes that came before the proof, and after the generations were changed; pairs with
        // the load in `time_of_hit`.
        self.until_ns.store(until, Ordering::Release);
    }

    /// A command that was sent at `sent_ns` over a connection of `node` was answered: all changes from before have
    /// been applied.
    pub(crate) fn prove(&self, node: NodeId, connection: u64, sent_ns: u64) {
        let until = sent_ns.saturating_add(self.max_stale_ns);
        // Relaxed: a proof that adds little is left out, so that not every reply takes the lock.
        let known = self.until_ns.load(Ordering::Relaxed);
        if until <= known.saturating_add(self.max_stale_ns / 64) && self.max_stale_ns > 0 {
            return;
        }
        let mut changes = self.lock();
        let state = changes.node(node);
        if state.connection != Some(connection) || sent_ns <= state.proven_ns {
            return;
        }
        state.proven_ns = sent_ns;
        self.count_leases(&changes);
    }

    /// When the lease of `node` ends; `None` if it has none, or one without an end.
    pub(crate) fn until_ns(&self, node: NodeId) -> Option<u64> {
        let state = self.lock().state(node);
        let is_bounded = state.connection.is_some() && state.is_tracked && self.max_stale_ns > 0;
        is_bounded.then(|| state.until_ns(self.max_stale_ns))
    }

    /// The latest time at which a value of `generation`, fetched at `fetched_ns`, is known to have been current.
    pub(crate) fn known_current_ns(&self, generation: u64, fetched_ns: u64) -> u64 {
        let changes = self.lock();
        let slot = &changes.slots[generation as usize & (self.present.len() - 1)];
        if self.is_present(generation) {
            fetched_ns.max(changes.state(slot.owner).proven_ns)
        } else if slot.before == generation {
            fetched_ns.max(slot.before_ns)
        } else {
            fetched_ns
        }
    }

    /// No user code runs under this lock.
    fn lock(&self) -> MutexGuard<'_, Changes> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Changes {
    fn node(&mut self, node: NodeId) -> &mut NodeState {
        let at = usize::from(node);
        if at >= self.nodes.len() {
            self.nodes.resize(at + 1, NodeState::default());
        }
        &mut self.nodes[at]
    }

    /// A copy, which for [`NOBODY`] has no connection.
    fn state(&self, node: NodeId) -> NodeState {
        self.nodes.get(usize::from(node)).copied().unwrap_or_default()
    }
}

impl NodeState {
    fn until_ns(&self, max_stale_ns: u64) -> u64 {
        if self.is_tracked { self.proven_ns.saturating_add(max_stale_ns) } else { u64::MAX }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const ONE: NodeId = 0;

    fn present(lease: &Lease, node: NodeId, slot: u16) -> u64 {
        lease.generations(node, std::iter::once(slot))[0]
    }

    #[test]
    fn a_lease_runs_from_the_latest_proof_and_ends_with_its_connection() {
        let lease = Lease::of_one(Duration::from_secs(2));
        assert!(!lease.allows_hits_at(1), "there is no connection yet");
        assert_eq!(present(&lease, ONE, 0), NO_GENERATION);
        let first = lease.begin(ONE, true, 5 * SECOND);
        let generation = present(&lease, ONE, 0);
        assert!(lease.allows_hits_at(7 * SECOND) && !lease.allows_hits_at(7 * SECOND + 1));
        lease.prove(ONE, first, 10 * SECOND);
        assert!(lease.allows_hits_at(12 * SECOND) && !lease.allows_hits_at(12 * SECOND + 1));
        lease.prove(ONE, first, 9 * SECOND);
        assert!(lease.allows_hits_at(12 * SECOND), "an older proof takes nothing away");
        assert!(lease.is_present(generation));
        lease.end(ONE);
        assert!(!lease.is_present(generation) && !lease.allows_hits_at(1));
        lease.prove(ONE, first, 11 * SECOND);
        assert!(!lease.allows_hits_at(1), "a late reply of a connection that has ended");
        let second = lease.begin(ONE, true, 12 * SECOND);
        lease.prove(ONE, first, 13 * SECOND);
        assert!(!lease.allows_hits_at(15 * SECOND), "a late reply, after another was opened");
        lease.prove(ONE, second, 20 * SECOND);
        assert!(lease.allows_hits_at(22 * SECOND));
        assert!(!lease.is_present(generation));
    }

    #[test]
    fn a_turn_refuses_all_values_and_keeps_the_lease() {
        let lease = Lease::of_one(Duration::from_secs(2));
        let connection = lease.begin(ONE, true, SECOND);
        let first = present(&lease, ONE, 0);
        lease.prove(ONE, connection, 10 * SECOND);
        lease.turn(ONE);
        assert!(!lease.is_present(first) && lease.allows_hits_at(12 * SECOND));
        assert_eq!(lease.known_current_ns(first, SECOND), 10 * SECOND);
        assert_eq!(lease.known_current_ns(present(&lease, ONE, 0), SECOND), 10 * SECOND);
        lease.turn(ONE);
        assert_eq!(lease.known_current_ns(first, SECOND), SECOND);
    }

    #[test]
    fn a_lease_without_tracking_ends_with_its_connection_alone() {
        let lease = Lease::of_one(Duration::from_secs(2));
        lease.begin(ONE, false, SECOND);
        assert!(lease.allows_hits_at(1_000 * SECOND) && lease.until_ns(ONE).is_none());
        lease.end(ONE);
        assert!(!lease.allows_hits_at(1));
    }

    #[test]
    fn with_max_stale_0_no_hit_is_allowed() {
        let lease = Lease::of_one(Duration::ZERO);
        let first = lease.begin(ONE, true, SECOND);
        lease.prove(ONE, first, 10 * SECOND);
        assert!(!lease.allows_hits_at(10 * SECOND) && lease.time_of_hit().is_none());
        assert_eq!(lease.known_current_ns(present(&lease, ONE, 0), 0), 10 * SECOND);
    }

    #[test]
    fn of_several_nodes_the_earliest_end_counts_until_its_node_is_gone() {
        let lease = Lease::of_cluster(Duration::from_secs(2));
        assert_eq!(lease.assign((0..100).map(|slot| (slot, u16::from(slot >= 50)))), 0);
        let here = lease.begin(0, true, SECOND);
        lease.begin(1, true, 4 * SECOND);
        assert!(!lease.allows_hits_at(5 * SECOND));
        lease.prove(0, here, 10 * SECOND);
        assert!(lease.allows_hits_at(6 * SECOND) && !lease.allows_hits_at(6 * SECOND + 1));
        let (of_first, of_second) = (present(&lease, 0, 49), present(&lease, 1, 50));
        assert_eq!(present(&lease, 0, 50), NO_GENERATION, "it is not that node's");
        lease.end(1);
        assert!(lease.is_present(of_first) && !lease.is_present(of_second));
        assert_eq!(present(&lease, 1, 50), NO_GENERATION);
        assert!(lease.allows_hits_at(12 * SECOND));
        assert_eq!(lease.known_current_ns(of_second, 0), 4 * SECOND);
        lease.end(0);
        assert!(!lease.allows_hits_at(1));
    }

    #[test]
    fn a_slot_that_has_moved_is_forgotten_and_no_other() {
        let lease = Lease::of_cluster(Duration::from_secs(2));
        lease.assign((0..100).map(|slot| (slot, 0)));
        lease.begin(0, true, SECOND);
        lease.begin(1, true, SECOND);
        let (moving, staying) = (present(&lease, 0, 7), present(&lease, 0, 8));
        assert_eq!(lease.assign([(7, 1), (8, 0)].into_iter()), 1);
        assert_eq!((lease.owner(7), lease.owner(8)), (1, 0));
        assert!(!lease.is_present(moving) && lease.is_present(staying));
        assert_eq!(present(&lease, 0, 7), NO_GENERATION);
        assert!(lease.is_present(present(&lease, 1, 7)));
        lease.turn(0);
        assert!(!lease.is_present(staying) && lease.is_present(present(&lease, 1, 7)));
        // Nobody is there to ask for it.
        lease.assign(std::iter::once((7, 2)));
        assert_eq!(present(&lease, 2, 7), NO_GENERATION);
    }
}
