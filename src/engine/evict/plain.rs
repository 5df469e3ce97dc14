//! The events of most caches: no weights, tags, explanations, shadow caches or histograms.
//!
//! It implements the table at the head of `engine`, as `run` does, for entries that have nothing but their
//! place in the order of eviction and perhaps a deadline, and while no timer is due. It knows the type of
//! the policy, so each call is direct, and no type of keys and values, so it is compiled once. If there is
//! a listener, it leaves a list of the entries that have left, of which the caller makes notifications.
#![forbid(unsafe_code)]

use super::Evictor;
use super::node_map::{NodeMap, is_special};
use crate::base::cause::RemovalCause;
use crate::base::node_id::NodeId;
use crate::base::panics::{Payload, catch};
use crate::buffer::write_buffer::{Event, SHARE, WriteBuffer};
use crate::entry::{Deadline, EntryMeta, EntryPtr};
use crate::policy::Room;
use crate::policy::policy_impl::{DirectPolicy, PolicyImpl, with_policy};
use crate::reclaim::{Guard, RetiredList};
use crate::table::UntypedTable;

/// In a partition of so many entries nothing is prefetched: they mostly lie in the processor's caches.
const SMALL: usize = 2048;

/// How far a run looks ahead for entries that evictions only examine.
const EXAMINED_AHEAD: usize = 6;

/// The most evictions that are prepared at once: one for each event that a run takes out, and one more.
const MAX_PREPARED: usize = SHARE + 1;

/// What a run needs besides the evictor, and what it has done.
pub(crate) struct PlainRun<'r> {
    pub(crate) table: UntypedTable<'r>,
    pub(crate) retired: &'r mut RetiredList,
    pub(crate) guard: &'r Guard,
    pub(crate) evictions: u64,
    pub(crate) retirements: u64,
    /// The change of the number of linked entries.
    pub(crate) linked: isize,
    /// If there is a listener.
    leaving: Option<Leaving<'r>>,
    /// What a policy has panicked with, in each of its calls. They are users' values, so none is dropped
    /// under the lock.
    payloads: Vec<Payload>,
}

/// What a plain run needs if there is a listener, which is notified of what leaves.
pub(crate) struct Leaving<'r> {
    pub(crate) writes: &'r WriteBuffer,
    /// Where the run lists what has left.
    pub(crate) left: &'r mut Vec<Left>,
}

/// An entry that has left the table, of which the listener has to be notified.
pub(crate) struct Left {
    pub(crate) old: EntryPtr,
    /// The entry that took its place, if any.
    pub(crate) new: Option<EntryPtr>,
    pub(crate) when: NotifyAt,
}

/// When the listener is notified of a removal.
#[derive(Clone, Copy)]
pub(crate) enum NotifyAt {
    /// At once: the removal's event was just popped.
    Now,
    /// Once all slots before this position were popped.
    Position(u32),
}

/// The part of an evictor that such a run uses.
struct Order<'o, P: ?Sized> {
    policy: &'o mut P,
    nodes: &'o mut NodeMap,
    /// The most entries.
    limit: usize,
    /// Nodes are allocated for so many entries at most.
    capacity: usize,
    room: Room,
    counter_max: u8,
    owns_scratch: bool,
    /// Whether entries may have deadlines, because some have had one.
    is_timed: bool,
}

impl<'r> PlainRun<'r> {
    pub(crate) fn new(
        table: UntypedTable<'r>,
        retired: &'r mut RetiredList,
        guard: &'r Guard,
        leaving: Option<Leaving<'r>>,
    ) -> Self {
        Self {
            table,
            retired,
            guard,
            evictions: 0,
            retirements: 0,
            linked: 0,
            leaving,
            payloads: Vec::new(),
        }
    }

    #[inline(always)]
    fn retire(&mut self, entry: EntryPtr) {
        self.retirements += 1;
        self.retired.retire(entry, 1);
    }

    /// Notes that `old`, whose event was just applied, has left the table, and that `new`, if any, is in its
    /// place.
    #[inline(always)]
    fn note_gone(&mut self, old: EntryPtr, meta: &EntryMeta, new: Option<EntryPtr>) {
        if meta.set_gone_and_check() && self.leaving.is_none() {
            self.retire(old);
        } else if self.leaving.is_some() {
            self.note_left(Left { old, new, when: NotifyAt::Now });
        }
    }

    /// The notification holds the entry; the entry is retired when it is dropped.
    #[inline(never)]
    fn note_left(&mut self, left: Left) {
        if let Some(leaving) = &mut self.leaving {
            leaving.left.push(left);
        }
    }

    /// Takes a victim out of the table. False if another thread was first.
    #[inline(always)]
    fn take_out(&mut self, victim: EntryPtr, meta: &EntryMeta) -> bool {
        if self.leaving.is_some() {
            return self.take_out_notifying(victim, meta);
        }
        let is_out = self.table.remove_entry(victim, self.guard);
        if is_out && meta.set_gone_and_check() {
            self.retire(victim);
        }
        is_out
    }

    #[inline(never)]
    fn take_out_notifying(&mut self, victim: EntryPtr, meta: &EntryMeta) -> bool {
        let Some(leaving) = &mut self.leaving else { return false };
        // Read before the removal (`listener`, "The order of removals").
        let position = leaving.writes.position();
        if !self.table.remove_entry(victim, self.guard) {
            return false;
        }
        meta.set_cause(RemovalCause::Evicted);
        meta.set_gone();
        let when = NotifyAt::Position(position);
        leaving.left.push(Left { old: victim, new: None, when });
        true
    }
}

impl Evictor {
    /// Applies events and evicts the excess; the evictor [is plain](Self::is_plain), and so is the cache.
    /// Stops at an event that needs more, and after a fault of the policy: returns how many events it has
    /// applied. After a fault there may be an excess left.
    pub(crate) fn apply_plain(
        &mut self,
        events: &[Option<Event>],
        run: &mut PlainRun<'_>,
    ) -> usize {
        let Self { policy, nodes, enforced, limits, room, counter_max, owns_scratch, .. } = self;
        let (limit, capacity, room) = (enforced.entries, limits.entries, *room);
        let (counter_max, owns_scratch) = (*counter_max, *owns_scratch);
        let is_timed = nodes.timers.are_used();
        let applied = with_policy!(policy, policy => {
            let policy = &mut **policy;
            Order { policy, nodes, limit, capacity, room, counter_max, owns_scratch, is_timed }
                .apply(events, run)
        });
        self.note_plain(run);
        applied
    }

    /// As [`apply_plain`](Self::apply_plain), for one event. `Err` if more has to be done; it says whether the
    /// event was applied.
    pub(crate) fn apply_one(&mut self, event: &Event, run: &mut PlainRun<'_>) -> Result<(), bool> {
        let Self { policy, nodes, enforced, limits, room, counter_max, owns_scratch, .. } = self;
        let (limit, capacity, room) = (enforced.entries, limits.entries, *room);
        let (counter_max, owns_scratch) = (*counter_max, *owns_scratch);
        let is_timed = nodes.timers.are_used();
        let outcome = with_policy!(policy, policy => {
            let policy = &mut **policy;
            Order { policy, nodes, limit, capacity, room, counter_max, owns_scratch, is_timed }
                .apply_one(event, run)
        });
        self.note_plain(run);
        outcome
    }

    /// Prefetches what the next evictions will read, if there will be any.
    pub(crate) fn look_ahead(&mut self, table: UntypedTable<'_>) {
        let Self { policy, nodes, enforced, limits, room, counter_max, owns_scratch, .. } = self;
        let (limit, capacity, room) = (enforced.entries, limits.entries, *room);
        let (counter_max, owns_scratch) = (*counter_max, *owns_scratch);
        let is_timed = nodes.timers.are_used();
        if nodes.len() <= SMALL || (nodes.len() < limit && nodes.weight < enforced.weight) {
            return;
        }
        let outcome = with_policy!(policy, policy => {
            let policy = &mut **policy;
            let order = Order { policy, nodes, limit, capacity, room, counter_max, owns_scratch, is_timed };
            catch(|| order.look_ahead(table))
        });
        if let Err(payload) = outcome {
            self.note_panic(payload);
        }
    }

    /// Notes what has come of a plain run.
    #[inline(always)]
    fn note_plain(&mut self, run: &mut PlainRun<'_>) {
        // Each entry weighs one.
        self.nodes.weight = self.nodes.weight.wrapping_add_signed(run.linked as i64);
        if !run.payloads.is_empty() {
            run.payloads.drain(..).for_each(|payload| self.note_panic(payload));
        }
    }
}

impl<P: DirectPolicy + ?Sized> Order<'_, P> {
    #[inline(always)]
    fn apply_event(&mut self, event: &Event, run: &mut PlainRun<'_>) -> bool {
        match *event {
            Event::Inserted(new) => self.link(new, run),
            Event::Removed(old) => self.unlink(old, run),
            Event::Replaced { new, old } => self.relink(new, old, run),
        }
    }

    #[inline(always)]
    fn apply_one(mut self, event: &Event, run: &mut PlainRun<'_>) -> Result<(), bool> {
        let is_lowered = self.limit > self.capacity;
        match *event {
            Event::Inserted(new) => self.insert_one(new, run)?,
            _ => self.apply_other(event, run)?,
        }
        // If the limit was lowered, it is approached step by step.
        if !run.payloads.is_empty() || is_lowered { Err(true) } else { Ok(()) }
    }

    /// Links a new entry and evicts another one if there are too many then. The policy is called once for all of
    /// it.
    #[inline(always)]
    fn insert_one(&mut self, new: EntryPtr, run: &mut PlainRun<'_>) -> Result<(), bool> {
        let meta = new.meta();
        if self.needs_more(new, meta) {
            return Err(false);
        }
        if meta.set_born_and_check() {
            note_left(new, meta, run);
            return Ok(());
        }
        let id = self.add(new, meta, run);
        let excess = self.nodes.len().saturating_sub(self.limit);
        let is_room_first = self.room == Room::BeforeInsert;
        let (mut is_told, mut named) = (false, None);
        let asked = catch(|| {
            if excess > 0 && is_room_first {
                named = self.policy.choose(self.nodes);
            }
            is_told = true;
            self.policy.insert(id, self.nodes);
            if excess > 0 {
                if !is_room_first {
                    named = self.policy.choose(self.nodes);
                }
                if self.limit > SMALL {
                    self.look_ahead(run.table);
                }
            }
        });
        if let Err(payload) = asked {
            run.payloads.push(payload);
            if !is_told {
                self.call(run, |policy, nodes| policy.insert(id, nodes));
            }
        }
        if excess == 0 {
            return Ok(());
        }
        // If the policy has panicked, or names none, a full run goes on.
        let is_out = named.is_some_and(|victim| self.take_out(victim, run));
        if is_out && excess == 1 { Ok(()) } else { Err(true) }
    }

    /// Applies an event that is not just an insertion.
    #[inline(never)]
    fn apply_other(mut self, event: &Event, run: &mut PlainRun<'_>) -> Result<(), bool> {
        if !self.apply_event(event, run) {
            return Err(false);
        }
        while self.nodes.len() > self.limit {
            if !self.evict(run) {
                return Err(true);
            }
        }
        Ok(())
    }

    fn apply(&mut self, events: &[Option<Event>], run: &mut PlainRun<'_>) -> usize {
        self.prepare(events, run);
        let mut applied = 0;
        for event in events.iter().flatten() {
            if !self.apply_event(event, run) {
                break;
            }
            applied += 1;
            while self.nodes.len() > self.limit {
                if !self.evict(run) {
                    return applied;
                }
            }
            if !run.payloads.is_empty() {
                break;
            }
        }
        if self.limit > SMALL && self.nodes.len() >= self.limit && run.payloads.is_empty() {
            let ahead = catch(|| self.look_ahead(run.table));
            run.payloads.extend(ahead.err());
        }
        applied
    }

    /// Prefetches for the next evictions, each a step further with every run: the node of the fourth, the
    /// entry of the third, which says which its bucket is, the bucket of the second, and the entry with which
    /// the bucket of the next begins, since it leads to the others.
    // Or the call of the policy is not inlined.
    #[inline(never)]
    fn look_ahead(&self, table: UntypedTable<'_>) {
        let mut place = 0;
        self.policy.name_upcoming(P::EXAMINED + 3, &mut |id| {
            if place == P::EXAMINED + 2 {
                self.nodes.prefetch(id);
            } else if let Some(entry) = self.nodes.get(id) {
                match place {
                    0 => table.prefetch_entry(entry.hash()),
                    1 => {
                        let hash = entry.hash();
                        table.prefetch_bucket(hash);
                        self.policy.announce_key(hash.raw());
                    }
                    _ => entry.prefetch(),
                }
            }
            place += 1;
        });
        self.policy.name_also_examined(EXAMINED_AHEAD, &mut |id, is_next| {
            if let Some(entry) = self.nodes.get(id) {
                if is_next {
                    // If it was used, that is counted.
                    self.policy.announce_key(entry.hash().raw());
                } else {
                    entry.prefetch();
                }
            }
        });
    }

    /// Prefetches what the events and the evictions after them will read, and lets the policy do so.
    ///
    /// The new entries may have been written by another core, and the victims were used long ago. Fetched one
    /// by one, they would be most of what a run costs. Only an entry says which its bucket is, so the buckets
    /// come after all entries. What an earlier run would have fetched may be in the cache of another core.
    #[inline(always)]
    fn prepare(&mut self, events: &[Option<Event>], run: &mut PlainRun<'_>) {
        let mut victims = [None; MAX_PREPARED];
        let prepared = catch(|| {
            if self.limit > SMALL {
                for event in events.iter().flatten() {
                    if let Event::Inserted(new) = event {
                        new.prefetch();
                    }
                }
                if self.nodes.len() + events.len() > self.limit {
                    self.prefetch_victims(events.len(), &mut victims);
                }
            }
            for event in events.iter().flatten() {
                if let Event::Inserted(new) = event {
                    self.policy.announce_key(new.hash().raw());
                }
            }
            for victim in victims.iter().flatten() {
                let hash = victim.hash();
                run.table.prefetch_bucket(hash);
                self.policy.announce_key(hash.raw());
            }
        });
        run.payloads.extend(prepared.err());
    }

    /// Prefetches the entries that are evicted next, and puts them into `victims`.
    #[inline(always)]
    fn prefetch_victims(&self, count: usize, victims: &mut [Option<EntryPtr>; MAX_PREPARED]) {
        let mut named = 0;
        self.policy.name_upcoming(count.min(MAX_PREPARED), &mut |id| {
            if let Some(entry) = self.nodes.get(id) {
                entry.prefetch();
                if let Some(place) = victims.get_mut(named) {
                    *place = Some(entry);
                    named += 1;
                }
            }
        });
        self.policy.name_also_examined(count.div_ceil(2), &mut |id, _| {
            if let Some(entry) = self.nodes.get(id) {
                entry.prefetch();
            }
        });
    }

    /// Links a new entry, unless it has left already. False if it needs more than a plain run.
    #[inline(always)]
    fn link(&mut self, new: EntryPtr, run: &mut PlainRun<'_>) -> bool {
        let meta = new.meta();
        if self.needs_more(new, meta) {
            return false;
        }
        if meta.set_born_and_check() {
            note_left(new, meta, run);
            return true;
        }
        if self.room == Room::BeforeInsert {
            while self.nodes.len() >= self.limit.max(1) && self.evict(run) {}
        }
        let id = self.add(new, meta, run);
        self.call(run, |policy, nodes| policy.insert(id, nodes));
        true
    }

    /// Unlinks an entry that was removed. False if that needs more than a plain run: also an entry that is
    /// not linked any more, and so not counted as special, may have tags.
    #[inline(always)]
    fn unlink(&mut self, old: EntryPtr, run: &mut PlainRun<'_>) -> bool {
        if old.has_tags() {
            return false;
        }
        let meta = old.meta();
        if let Some(id) = meta.node() {
            self.call(run, |policy, nodes| policy.remove(id, nodes));
            self.release(id, meta, run);
        }
        run.note_gone(old, meta, None);
        true
    }

    /// Hands the node of `old` on to `new`. False if that needs more than a plain run.
    #[inline(always)]
    fn relink(&mut self, new: EntryPtr, old: EntryPtr, run: &mut PlainRun<'_>) -> bool {
        let (old_meta, new_meta) = (old.meta(), new.meta());
        let Some(id) = old_meta.node() else { return false };
        if self.needs_more(new, new_meta)
            || old_meta.cause() != RemovalCause::Replaced
            || new_meta.is_gone()
        {
            return false;
        }
        new_meta.set_born();
        old_meta.set_node(None);
        new_meta.set_node(Some(id));
        new.set_frequency(old.frequency().saturating_add(1).min(self.counter_max));
        if self.owns_scratch {
            new_meta.set_scratch(old_meta.scratch());
        }
        self.nodes.entries[id.index()] = Some(new);
        self.watch(id, new);
        self.call(run, |policy, nodes| policy.update(id, 1, nodes));
        run.note_gone(old, old_meta, Some(new));
        true
    }

    /// Evicts an entry. False if the policy names none.
    #[inline(always)]
    fn evict(&mut self, run: &mut PlainRun<'_>) -> bool {
        let named = self.call(run, |policy, nodes| policy.choose(nodes)).flatten();
        named.is_some_and(|id| self.take_out(id, run))
    }

    /// Takes an entry that the policy has chosen out of the table. False if there is none.
    #[inline(always)]
    fn take_out(&mut self, id: NodeId, run: &mut PlainRun<'_>) -> bool {
        let Some(victim) = self.nodes.get(id) else { return false };
        let meta = victim.meta();
        self.release(id, meta, run);
        // If it was removed or replaced a moment ago, that event is still to come, and will find it
        // unlinked.
        if run.take_out(victim, meta) {
            run.evictions += 1;
        }
        true
    }

    /// Gives a new entry a node, and sets its timer.
    #[inline(always)]
    fn add(&mut self, new: EntryPtr, meta: &EntryMeta, run: &mut PlainRun<'_>) -> NodeId {
        let id = self.nodes.add_uncounted(new, meta, self.capacity);
        self.watch(id, new);
        run.linked += 1;
        id
    }

    /// Sets the timer of an entry. One that keeps only its age has none, unless it was just given a deadline.
    #[inline(always)]
    fn watch(&mut self, id: NodeId, new: EntryPtr) {
        if self.is_timed || new.is_extended() {
            self.nodes.timers.watch(id, new);
            self.is_timed = self.nodes.timers.are_used();
        }
    }

    /// Frees the node of an entry that leaves, and stops its timer.
    #[inline(always)]
    fn release(&mut self, id: NodeId, meta: &EntryMeta, run: &mut PlainRun<'_>) {
        if self.is_timed {
            self.nodes.timers.forget(id);
        }
        self.nodes.release_uncounted(id, meta);
        run.linked -= 1;
    }

    /// Whether a new entry needs more than a plain run. The first one with a deadline does, since for that the
    /// timers have to be allocated.
    #[inline(always)]
    fn needs_more(&self, new: EntryPtr, meta: &EntryMeta) -> bool {
        // Without flags it is neither unevictable nor heavy.
        debug_assert!(meta.has_flags() || is_special(new, meta) == new.has_tags());
        meta.has_flags() || (new.is_extended() && (new.has_tags() || self.is_first_timed(new)))
    }

    /// Whether a new entry is the first one with a deadline.
    #[inline(always)]
    fn is_first_timed(&self, new: EntryPtr) -> bool {
        !self.is_timed && self.nodes.timers.end_of(new) != Deadline::NEVER
    }

    /// Calls the policy, which may panic.
    #[inline(always)]
    fn call<R>(
        &mut self,
        run: &mut PlainRun<'_>,
        call: impl FnOnce(&mut P, &NodeMap) -> R,
    ) -> Option<R> {
        match catch(|| call(self.policy, self.nodes)) {
            Ok(answer) => Some(answer),
            Err(payload) => {
                run.payloads.push(payload);
                None
            }
        }
    }
}

/// For a new entry that has left before its event was applied.
#[cold]
fn note_left(new: EntryPtr, meta: &EntryMeta, run: &mut PlainRun<'_>) {
    if meta.is_finished() {
        run.retire(new);
    }
}
