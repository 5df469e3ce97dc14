//! One run of maintenance over a partition, under its lock. It implements the table at the head of
//! `engine`.
#![forbid(unsafe_code)]

use crate::base::cause::RemovalCause;
use crate::base::hash::KeyHash;
use crate::base::node_id::NodeId;
use crate::buffer::write_buffer::{Event, Popped, SHARE, WriteBuffer};
use crate::engine::evict::{EvictionAges, Evictor, Left, NotifyAt, Weights};
use crate::engine::history::{Absence, RemovalHistory};
use crate::entry::{EntryMeta, EntryPtr, Grace};
use crate::expiry::Timing;
use crate::listener::{AtomicListening, PendingRemoval};
use crate::reclaim::{Guard, Retired};
use crate::table::Table;

/// The most timers that a step fires or moves down the wheel, so that a writer's run does not take longer
/// if a million timers are due. A run has one step, and more before it evicts a valid entry.
const TIMERS_A_STEP: u32 = 16;
/// The most steps of expiry that a run tries before it evicts a valid entry.
const TRIES_TO_EXPIRE: usize = 4;

/// The most entries that a run evicts to approach lowered limits.
const MAX_LOWERED: usize = 16;
/// The most victims that are tried one after the other while other threads are within their gates.
const GATES_TRIED: usize = 8;

mod notifying;

pub(super) use notifying::{Retiring, RunListener};

/// A run of maintenance over the events of one partition.
pub(super) struct Run<'a, 'e, K, V> {
    pub(super) evictor: &'a mut Evictor,
    pub(super) retired: &'a mut Retired<K, V>,
    pub(super) table: &'a Table<K, V>,
    pub(super) writes: &'a WriteBuffer,
    pub(super) history: Option<&'a RemovalHistory>,
    /// The atomic listener, if it can be notified of what this run takes out.
    pub(super) atomic: Option<&'e AtomicListening<K, V>>,
    /// Whether there is an atomic listener.
    pub(super) has_atomic: bool,
    /// Expired entries that stay because other threads are within their gates.
    pub(super) postponed: Vec<EntryPtr>,
    /// Whether there are shadow caches, which are notified of removals.
    pub(super) notes_removed: bool,
    /// The evicted entries, if a caller wants to see them.
    pub(super) victims: Option<&'a mut Vec<EntryPtr>>,
    pub(super) listener: Option<RunListener<'a, K, V>>,
    /// Where the ages of evicted entries are counted, if that was asked for.
    pub(super) ages: Option<EvictionAges<'a>>,
    pub(super) timing: &'a Timing,
    /// The time, as long as timers may be due.
    pub(super) due_ns: Option<u64>,
    /// For how long entries stay after their deadlines.
    pub(super) grace: Grace,
    pub(super) guard: &'a Guard,
    pub(super) done: &'a mut Done<'e>,
}

/// A number of entries, and what they weigh.
#[derive(Clone, Copy, Default)]
pub(super) struct Amount {
    pub(super) entries: u64,
    pub(super) weight: u64,
}

impl Amount {
    /// Adds an entry.
    #[inline]
    pub(super) fn add(&mut self, weight: u64) {
        self.entries += 1;
        self.weight += weight;
    }
}

/// What a run has done.
#[derive(Default)]
pub(super) struct Done<'e> {
    pub(super) retired: Amount,
    pub(super) evicted: Amount,
    pub(super) expirations: u64,
    pub(super) expired_weight: u64,
    pub(super) invalidations: u64,
    /// With an atomic listener: the one entry that the run removes, within its gate. One, so that a gate is
    /// held only for one call of the listener.
    pub(super) leaving: Option<PendingRemoval<'e>>,
    /// See `AfterUnlock`.
    pub(super) removed: Vec<KeyHash>,
}

impl Done<'_> {
    /// What plain runs have done. Entries weigh one each if `weights` is `None`.
    pub(super) fn of_plain(evictions: u64, retirements: u64, weights: Option<Weights>) -> Self {
        let ones = Weights { evicted: evictions, retired: retirements };
        let weights = weights.unwrap_or(ones);
        Self {
            evicted: Amount { entries: evictions, weight: weights.evicted },
            retired: Amount { entries: retirements, weight: weights.retired },
            ..Self::default()
        }
    }
}

impl<'e, K, V> Run<'_, 'e, K, V> {
    /// Applies events, after the insertions among them were announced to the policy.
    pub(super) fn apply_ahead(&mut self, events: &[Option<Event>]) {
        if events.len() > 1 {
            self.evictor.prefetch_victims(events.len(), self.table.untyped());
        }
        for event in events {
            if let Some(Event::Inserted(new)) = event {
                // Another core may have written it.
                new.prefetch();
            }
        }
        self.evictor.announce(events.iter().flatten().filter_map(|event| match event {
            Event::Inserted(new) => Some(new.hash()),
            _ => None,
        }));
        for event in events.iter().flatten() {
            self.apply(*event);
        }
    }

    /// Applies waiting events one by one, with the notifications that belong between two events.
    pub(super) fn apply_in_order(&mut self) {
        for _ in 0..SHARE {
            self.notify_deferred();
            let Some(popped) = self.writes.pop_slot() else { break };
            if let Popped::Event(event) = popped {
                self.apply(event);
            }
        }
    }

    /// Applies one event and evicts the excess.
    pub(super) fn apply(&mut self, event: Event) {
        match event {
            Event::Inserted(new) => self.link(new),
            Event::Removed(old) => self.unlink(old),
            // `old` was invalid already: `new` is a new entry like any other.
            Event::Replaced { new, old } if old.meta().cause() != RemovalCause::Replaced => {
                self.unlink(old);
                self.link_rare(new);
            }
            Event::Replaced { new, old } => {
                self.relink(new, old);
                if self.evictor.is_above_enforced() {
                    self.evict_others(new);
                }
            }
        }
        while self.evictor.is_above_enforced() && self.evict() {}
    }

    fn unlink(&mut self, old: EntryPtr) {
        let meta = old.meta();
        if let Some(id) = meta.node() {
            self.evictor.remove(id);
        }
        self.note_gone(old, meta, None, NotifyAt::Now);
    }

    fn relink(&mut self, new: EntryPtr, old: EntryPtr) {
        let meta = old.meta();
        match meta.node() {
            // `new` takes over the node, so the key keeps its place in the policy.
            Some(id) if !new.meta().is_gone() => {
                new.meta().set_born();
                self.evictor.update(id, old, new);
            }
            Some(id) => {
                self.evictor.remove(id);
                self.link_rare(new);
            }
            // `old` is not linked yet, or was unlinked as a victim just before it was replaced.
            None => self.link_rare(new),
        }
        self.note_gone(old, meta, Some(new), NotifyAt::Now);
    }

    /// Evicts the excess after `new` has replaced a lighter entry, and `new` itself only if nothing else is
    /// left. With an atomic listener one entry leaves with each run, so the following runs spare `new` too.
    #[cold]
    fn evict_others(&mut self, new: EntryPtr) {
        self.evictor.spare(Some(new));
        while self.evictor.is_above_enforced() && self.evict() {}
        if !self.has_atomic {
            self.evictor.spare(None);
        }
    }

    /// Approaches lowered limits, by `MAX_LOWERED` entries a run.
    #[cold]
    pub(super) fn approach_limits(&mut self) {
        for _ in 0..MAX_LOWERED {
            if !(self.evictor.is_above_limits() && self.evict()) {
                break;
            }
        }
        self.evictor.ratchet();
    }

    /// As [`link`](Self::link), for the rarer events.
    #[inline(never)]
    fn link_rare(&mut self, entry: EntryPtr) {
        self.link(entry);
    }

    /// Notes that `entry` was born, and links it in the policy unless it has gone already.
    #[inline(always)]
    fn link(&mut self, entry: EntryPtr) {
        let meta = entry.meta();
        meta.set_born();
        if meta.is_gone() {
            if meta.is_finished() {
                self.retire(entry, meta);
            }
            return;
        }
        self.evictor.note_arrival(entry);
        // A namespace at its maximum makes room itself, once the new entry is listed.
        if !self.evictor.exceeds_maximum(entry, meta) {
            while self.evictor.lacks_room_for(meta) && self.evict() {}
        }
        self.evictor.insert(entry, meta);
    }

    /// Takes an entry that is no longer linked in the policy out of the table, unless another thread was
    /// first.
    #[inline]
    fn take_out(&mut self, entry: EntryPtr, cause: RemovalCause) -> bool {
        // Read before the removal (`listener`, "The order of removals").
        let position = if self.listener.is_some() { self.writes.position() } else { 0 };
        if !self.table.remove_entry(entry, self.guard) {
            return false;
        }
        let meta = entry.meta();
        meta.set_cause(cause);
        if self.history.is_some() || self.notes_removed {
            self.note_cause(entry.hash(), cause);
        }
        self.note_gone(entry, meta, None, NotifyAt::Position(position));
        true
    }

    /// Notes the removal for explanations, and for the shadow caches.
    #[cold]
    fn note_cause(&mut self, hash: KeyHash, cause: RemovalCause) {
        if let Some(history) = self.history {
            history.removed(hash, cause, Absence::Removed);
        }
        if self.notes_removed && cause != RemovalCause::Evicted {
            self.done.removed.push(hash);
        }
    }

    /// Notes that `entry` has left the table, and that `new`, if any, is in its place.
    #[inline(always)]
    fn note_gone(
        &mut self,
        entry: EntryPtr,
        meta: &EntryMeta,
        new: Option<EntryPtr>,
        when: NotifyAt,
    ) {
        meta.set_gone();
        if self.listener.is_some() {
            // The notification holds the entry; if it is dropped, the entry is retired.
            self.notify_left(entry, new, when);
        } else if meta.is_finished() {
            self.retire(entry, meta);
        }
    }

    /// Creates the notification that `entry` has left.
    #[cold]
    fn notify_left(&mut self, old: EntryPtr, new: Option<EntryPtr>, when: NotifyAt) {
        let Self { listener, retired, done, timing, .. } = self;
        if let Some(listener) = listener {
            let retiring = &mut Retiring { retired, counted: &mut done.retired };
            listener.notify_left(Left { old, new, when }, timing, retiring);
        }
    }

    /// Sends deferred notifications, as far as all events before them were popped.
    #[inline]
    pub(super) fn notify_deferred(&mut self) {
        let Self { listener, retired, done, writes, .. } = self;
        if let Some(listener) = listener {
            let retiring = &mut Retiring { retired, counted: &mut done.retired };
            listener.notify_deferred(writes.popped(), retiring);
        }
    }

    /// Releases the entries whose notifications were delivered.
    #[inline]
    pub(super) fn take_back_done(&mut self) {
        let Self { listener, retired, done, .. } = self;
        if let Some(listener) = listener {
            listener.take_back_done(&mut Retiring { retired, counted: &mut done.retired });
        }
    }

    #[inline]
    fn retire(&mut self, entry: EntryPtr, meta: &EntryMeta) {
        let Self { retired, done, .. } = self;
        Retiring { retired, counted: &mut done.retired }.retire(entry, meta);
    }

    /// Removes expired entries where one would have to be evicted. False if it finds none.
    #[cold]
    fn expire_instead(&mut self, now_ns: u64) -> bool {
        let len_before = self.evictor.len();
        for _ in 0..TRIES_TO_EXPIRE {
            let has_ended = self.expire(now_ns);
            if self.evictor.len() < len_before {
                return true;
            }
            if has_ended {
                break;
            }
        }
        self.due_ns = None;
        false
    }

    /// Removes entries that are due to expire, as many as one step may. Returns whether no more are due.
    pub(super) fn expire(&mut self, now_ns: u64) -> bool {
        let mut budget = TIMERS_A_STEP;
        while self.done.leaving.is_none()
            && let Some((id, entry)) = self.evictor.fire(now_ns, &mut budget)
        {
            let has_expired = entry
                .extension()
                .is_some_and(|extension| extension.deadline.end_if_past(now_ns, self.grace));
            if !has_expired {
                // The deadline was moved since the timer was set.
                self.evictor.rewatch(id, entry);
                continue;
            }
            if self.has_atomic {
                if !self.expire_notifying(id, entry) {
                    self.postponed.push(entry);
                }
                continue;
            }
            self.evictor.remove(id);
            // As in `evict`: another thread may have been first.
            if self.take_out(entry, RemovalCause::Expired) {
                self.done.expirations += 1;
                self.done.expired_weight += u64::from(entry.meta().weight());
            }
        }
        budget > 0
    }

    /// Chooses a victim to take out after the listener was notified. False if there is none now.
    #[cold]
    fn evict_notifying(&mut self) -> bool {
        let Some(atomic) = self.atomic.filter(|_| self.done.leaving.is_none()) else {
            return false;
        };
        let mut demoted = Vec::new();
        let is_chosen = self.choose_within_gate(atomic, &mut demoted);
        // A demoted entry that was put back is the next to leave again.
        for victim in demoted {
            if let Some(node) = victim.meta().node() {
                self.evictor.demote(node, victim.hash());
            }
        }
        is_chosen
    }

    /// Chooses a victim whose gate this thread can enter, and puts the others back. Adds those of them that
    /// were demoted to `demoted`.
    fn choose_within_gate(
        &mut self,
        atomic: &'e AtomicListening<K, V>,
        demoted: &mut Vec<EntryPtr>,
    ) -> bool {
        for _ in 0..GATES_TRIED {
            let Some(victim) = self.evictor.evict() else { return false };
            let Some(gate) = atomic.gates.try_enter(victim.hash()) else {
                let meta = victim.meta();
                if meta.is_demoted() {
                    meta.clear_demoted();
                    demoted.push(victim);
                }
                self.evictor.insert(victim, meta);
                continue;
            };
            // Otherwise it was removed or replaced a moment ago, and that event is still to come.
            if self.table.is_linked(victim, self.guard) {
                let cause = cause_of_eviction(victim);
                self.done.leaving = Some(PendingRemoval { gate, entry: victim, cause });
            }
            return true;
        }
        false
    }

    /// As [`evict_notifying`](Self::evict_notifying), for an entry that has expired. False if the entry has
    /// to stay for now.
    #[cold]
    fn expire_notifying(&mut self, id: NodeId, entry: EntryPtr) -> bool {
        let gate = self.atomic.and_then(|atomic| atomic.gates.try_enter(entry.hash()));
        let Some(gate) = gate else { return false };
        self.evictor.remove(id);
        if self.table.is_linked(entry, self.guard) {
            self.done.leaving = Some(PendingRemoval { gate, entry, cause: RemovalCause::Expired });
        }
        true
    }

    /// Takes a victim out, or chooses it with an atomic listener. False if there is none. As long as expired
    /// entries are there, these leave first.
    #[inline(never)]
    fn evict(&mut self) -> bool {
        if let Some(now_ns) = self.due_ns
            && self.expire_instead(now_ns)
        {
            return true;
        }
        if self.has_atomic {
            return self.evict_notifying();
        }
        let Some(victim) = self.evictor.evict() else {
            return false;
        };
        let cause = cause_of_eviction(victim);
        // If it was removed or replaced a moment ago, that event is still to come, and will find it
        // unlinked.
        if self.take_out(victim, cause) {
            if cause == RemovalCause::Invalidated {
                self.done.invalidations += 1;
            } else {
                self.done.evicted.add(u64::from(victim.meta().weight()));
                self.evictor.count_loss(victim);
                if let Some(ages) = self.ages {
                    ages.note(victim);
                }
                if let Some(victims) = &mut self.victims {
                    victims.push(victim);
                }
            }
        }
        true
    }
}

/// Why a victim leaves: an invalidated entry is not counted as evicted.
fn cause_of_eviction(victim: EntryPtr) -> RemovalCause {
    if victim.is_invalidated() { RemovalCause::Invalidated } else { RemovalCause::Evicted }
}
