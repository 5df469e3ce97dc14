//! One run over the events of a partition, under its lock: the table of `maintenance`, in code.
#![forbid(unsafe_code)]

use std::collections::VecDeque;

use crate::base::cause::RemovalCause;
use crate::base::node_id::NodeId;
use crate::buffer::write_buffer::{self, Event, Popped, WriteBuffer};
use crate::engine::evict::Evictor;
use crate::engine::history::{Absence, RemovalHistory};
use crate::entry::{EntryMeta, EntryPtr};
use crate::expiry::Timing;
use crate::listener::{AtomicListening, Channel, Notification, PendingRemoval};
use crate::reclaim::{Guard, Retired};
use crate::table::Table;

/// Timers that a run fires, or moves down the wheel, at most: so that no writer waits longer for a
/// run that has a million due before it than for another.
const TIMERS_A_RUN: u32 = 64;

/// Entries that a run evicts, at most, to approach bounds that were lowered.
const MAX_LOWERED: usize = 256;
/// Events that are announced to the policy in advance.
const AHEAD: usize = 16;
/// Victims that are tried one after the other while other threads are within their gates.
const GATES_TRIED: usize = 8;

/// A run of maintenance over the events of one partition.
pub(super) struct Run<'a, 'e, K, V> {
    pub(super) evictor: &'a mut Evictor,
    pub(super) retired: &'a mut Retired<K, V>,
    pub(super) table: &'a Table<K, V>,
    pub(super) writes: &'a WriteBuffer,
    pub(super) history: Option<&'a RemovalHistory>,
    /// The atomic listener, if it can be notified of what this run takes out.
    pub(super) atomic: Option<&'e AtomicListening<K, V>>,
    /// Whether there is one.
    pub(super) has_atomic: bool,
    /// The one entry that this run takes out of a cache with an atomic listener: within its gate, which
    /// is not held for longer than one call of the listener takes.
    pub(super) leaving: Option<PendingRemoval<'e>>,
    /// Expired entries whose gates other threads are within.
    pub(super) postponed: Vec<EntryPtr>,
    /// See `AfterUnlock`; `None` where there are no shadows.
    pub(super) ended: Option<Vec<u64>>,
    /// What is evicted, if a caller asks for that.
    pub(super) victims: Option<&'a mut Vec<EntryPtr>>,
    pub(super) listener: Option<RunListener<'a, K, V>>,
    pub(super) guard: Guard,
    pub(super) retirements: u64,
    pub(super) retired_weight: u64,
    pub(super) evictions: u64,
    pub(super) evicted_weight: u64,
    pub(super) expirations: u64,
    pub(super) expired_weight: u64,
    pub(super) invalidations: u64,
}

/// When the listener is notified of a removal.
#[derive(Clone, Copy)]
enum NotifyAt {
    /// Its event was just popped.
    Now,
    /// Once everything before this position was popped.
    Position(u32),
}

/// What a run needs where there is a listener.
pub(super) struct RunListener<'a, K, V> {
    pub(super) channel: &'a Channel<K, V>,
    pub(super) deferred: &'a mut VecDeque<(u32, Notification<K, V>)>,
    /// Entries linked when the run began.
    pub(super) linked: usize,
    pub(super) timing: &'a Timing,
}

impl<'e, K, V> Run<'_, 'e, K, V> {
    /// Applies what waits, and announces some insertions to the policy in advance.
    pub(super) fn apply_ahead(&mut self) {
        for _ in 0..write_buffer::SLOTS / AHEAD as u32 + 1 {
            let mut events = [None; AHEAD];
            let mut count = 0;
            while count < AHEAD
                && let Some(event) = self.writes.pop()
            {
                if let Event::Inserted(new) = event {
                    // Another core may have written it.
                    new.prefetch();
                }
                events[count] = Some(event);
                count += 1;
            }
            let events = &events[..count];
            self.evictor.announce(events.iter().flatten().filter_map(|event| match event {
                Event::Inserted(new) => Some(new.hash()),
                _ => None,
            }));
            for event in events.iter().flatten() {
                self.apply(*event);
            }
            if count < AHEAD {
                break;
            }
        }
    }

    /// Applies what waits one by one, for the notifications that belong between two events.
    pub(super) fn apply_in_order(&mut self) {
        for _ in 0..write_buffer::SLOTS {
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
            Event::Removed(old) => self.removed(old),
            // Nobody saw it any more: `new` is a new entry like any other.
            Event::Replaced { new, old } if old.meta().cause() != RemovalCause::Replaced => {
                self.removed(old);
                self.born(new);
            }
            Event::Replaced { new, old } => {
                self.replaced(new, old);
                if self.evictor.is_over() {
                    self.evict_others(new);
                }
            }
        }
        while self.evictor.is_over() && self.evict() {}
    }

    fn removed(&mut self, old: EntryPtr) {
        let meta = old.meta();
        if let Some(id) = meta.node() {
            self.evictor.remove(id);
        }
        self.gone(old, meta, None, NotifyAt::Now);
    }

    fn replaced(&mut self, new: EntryPtr, old: EntryPtr) {
        let meta = old.meta();
        match meta.node() {
            // Its node changes hands: the key keeps its place in the policy.
            Some(id) if !new.meta().is_gone() => {
                new.meta().set_born();
                self.evictor.update(id, old, new);
            }
            Some(id) => {
                self.evictor.remove(id);
                self.born(new);
            }
            // Not linked yet, or unlinked as a victim that this replacement saved.
            None => self.born(new),
        }
        self.gone(old, meta, Some(new), NotifyAt::Now);
    }

    /// Evicts the excess because `new` is heavier than what it has replaced: `new` itself last.
    /// Where one entry leaves with each run, the coming runs spare it, too.
    #[cold]
    fn evict_others(&mut self, new: EntryPtr) {
        self.evictor.spare(Some(new));
        while self.evictor.is_over() && self.evict() {}
        if !self.has_atomic {
            self.evictor.spare(None);
        }
    }

    /// Approaches bounds that were lowered, by so many entries a run.
    #[cold]
    pub(super) fn lower_bounds(&mut self) {
        for _ in 0..MAX_LOWERED {
            if !(self.evictor.is_above_limits() && self.evict()) {
                break;
            }
        }
        self.evictor.ratchet();
    }

    /// As [`link`](Self::link), for the rarer events.
    #[inline(never)]
    fn born(&mut self, entry: EntryPtr) {
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
        while self.evictor.lacks_room_for(meta) && self.evict() {}
        self.evictor.insert(entry, meta);
    }

    /// Takes an entry out of the table that is not linked in the policy any more, unless another
    /// thread was first.
    #[inline]
    fn take_out(&mut self, entry: EntryPtr, cause: RemovalCause) -> bool {
        // Read before the removal (`listener`, "The order of removals").
        let position = if self.listener.is_some() { self.writes.position() } else { 0 };
        if !self.table.remove_entry(entry, &self.guard) {
            return false;
        }
        let meta = entry.meta();
        meta.set_cause(cause);
        if self.history.is_some() || self.ended.is_some() {
            self.remember(entry.hash(), cause);
        }
        self.gone(entry, meta, None, NotifyAt::Position(position));
        true
    }

    /// For those who ask about the key, and for the shadows.
    #[cold]
    fn remember(&mut self, hash: u64, cause: RemovalCause) {
        if let Some(history) = self.history {
            history.removed(hash, cause, Absence::Removed);
        }
        if let Some(ended) = self.ended.as_mut().filter(|_| cause != RemovalCause::Evicted) {
            ended.push(hash);
        }
    }

    /// `entry` has left the table, and `new` is in its place.
    #[inline(always)]
    fn gone(&mut self, entry: EntryPtr, meta: &EntryMeta, new: Option<EntryPtr>, when: NotifyAt) {
        meta.set_gone();
        if self.listener.is_some() {
            // Which holds it, or else retires it.
            self.note(entry, new, when);
        } else if meta.is_finished() {
            self.retire(entry, meta);
        }
    }

    /// Creates the notification that `entry` has left.
    #[cold]
    fn note(&mut self, entry: EntryPtr, new: Option<EntryPtr>, when: NotifyAt) {
        let Some(listener) = &mut self.listener else { return };
        let age = listener.timing.age(entry);
        let notification = Notification::new(entry, new, age.unwrap_or_default());
        match when {
            NotifyAt::Now => self.notify(notification),
            NotifyAt::Position(position) => listener.deferred.push_back((position, notification)),
        }
    }

    fn notify(&mut self, notification: Notification<K, V>) {
        let Some(listener) = &mut self.listener else { return };
        if let Err(dropped) = listener.channel.offer(notification, listener.linked) {
            self.release(dropped);
        }
    }

    /// Notifies of what maintenance took out itself, as far as everything before that was notified.
    #[inline]
    pub(super) fn notify_deferred(&mut self) {
        while let Some(listener) = &mut self.listener
            && let Some((position, _)) = listener.deferred.front()
            && self.writes.popped().wrapping_sub(*position).cast_signed() >= 0
            && let Some((_, notification)) = listener.deferred.pop_front()
        {
            self.notify(notification);
        }
    }

    /// Releases the entries whose notifications were delivered.
    #[inline]
    pub(super) fn take_back_done(&mut self) {
        let Some(listener) = &self.listener else { return };
        for notification in listener.channel.take_delivered() {
            self.release(notification);
        }
    }

    fn release(&mut self, notification: Notification<K, V>) {
        let (old, new) = notification.release();
        for entry in [Some(old), new].into_iter().flatten() {
            let meta = entry.meta();
            if meta.is_finished() {
                self.retire(entry, meta);
            }
        }
    }

    #[inline]
    fn retire(&mut self, entry: EntryPtr, meta: &EntryMeta) {
        let weight = u64::from(meta.weight());
        self.retirements += 1;
        self.retired_weight += weight;
        self.retired.retire(entry, weight);
    }

    /// Takes out what is due, as much as one run may.
    pub(super) fn expire(&mut self, now_ns: u64) {
        let mut budget = TIMERS_A_RUN;
        while self.leaving.is_none()
            && let Some((id, entry)) = self.evictor.fire(now_ns, &mut budget)
        {
            let has_expired = entry
                .extension()
                .is_some_and(|extension| extension.deadline.expire_if_past(now_ns));
            if !has_expired {
                // Hits have moved the deadline since the timer was set.
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
                self.expirations += 1;
                self.expired_weight += u64::from(entry.meta().weight());
            }
        }
    }

    /// Chooses a victim that is to be taken out once the listener was notified; false if there is none
    /// now.
    #[cold]
    fn evict_notifying(&mut self) -> bool {
        let Some(atomic) = self.atomic.filter(|_| self.leaving.is_none()) else { return false };
        let mut demoted = Vec::new();
        let is_chosen = self.choose_within_gate(atomic, &mut demoted);
        // What was put back is the next to leave again, if it was before.
        for victim in demoted {
            if let Some(node) = victim.meta().node() {
                self.evictor.demote(node, victim.hash());
            }
        }
        is_chosen
    }

    /// Chooses a victim whose gate it can enter, and puts the others back; adds to `demoted` which of
    /// these were demoted.
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
            // Else it was removed or replaced a moment ago, and the event of that is still to come.
            if self.table.is_linked(victim, &self.guard) {
                let is_dead = victim.is_invalidated();
                let cause = if is_dead { RemovalCause::Invalidated } else { RemovalCause::Evicted };
                self.leaving = Some(PendingRemoval { gate, entry: victim, cause });
            }
            return true;
        }
        false
    }

    /// As [`evict_notifying`](Self::evict_notifying), of a node whose entry has expired: false if it
    /// has to wait.
    #[cold]
    fn expire_notifying(&mut self, id: NodeId, entry: EntryPtr) -> bool {
        let gate = self.atomic.and_then(|atomic| atomic.gates.try_enter(entry.hash()));
        let Some(gate) = gate else { return false };
        self.evictor.remove(id);
        if self.table.is_linked(entry, &self.guard) {
            self.leaving = Some(PendingRemoval { gate, entry, cause: RemovalCause::Expired });
        }
        true
    }

    /// Takes a victim out; false if there is none.
    #[inline(never)]
    fn evict(&mut self) -> bool {
        if self.has_atomic {
            return self.evict_notifying();
        }
        let Some(victim) = self.evictor.evict() else {
            return false;
        };
        let is_dead = victim.is_invalidated();
        let cause = if is_dead { RemovalCause::Invalidated } else { RemovalCause::Evicted };
        // If it was removed or replaced a moment ago, the event of that is still to come and
        // will find it unlinked.
        if self.take_out(victim, cause) {
            self.invalidations += u64::from(is_dead);
            if !is_dead {
                self.evictions += 1;
                self.evicted_weight += u64::from(victim.meta().weight());
                if let Some(victims) = &mut self.victims {
                    victims.push(victim);
                }
            }
        }
        true
    }
}
