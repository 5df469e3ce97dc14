//! The events of most caches: no tags, no namespaces, and no atomic listener.
//!
//! It implements the table at the head of `engine`, as `run` does, for entries that have nothing but their
//! place in the order of eviction, their weight and perhaps a deadline, and while no timer is due. It knows the
//! type of the policy, so each call is direct, and no type of keys and values, so it is compiled once: for
//! entries that weigh one each, and for weights. If there is a listener, it leaves a list of the entries that
//! have left, of which the caller makes notifications.
#![forbid(unsafe_code)]

use std::marker::PhantomData;

use super::node_map::{NodeMap, is_special};
use super::plain_run::{Attended, Attending, PlainRun};
use super::{Evictor, Faults};
use crate::base::cause::RemovalCause;
use crate::base::node_id::NodeId;
use crate::base::panics::{Payload, catch};
use crate::buffer::write_buffer::{Event, SHARE};
use crate::entry::{Deadline, EntryMeta, EntryPtr};
use crate::policy::Room;
use crate::policy::policy_impl::{DirectPolicy, PolicyImpl, with_policy};
use crate::table::UntypedTable;

/// In a partition of at most this many entries nothing is prefetched: they mostly lie in the processor's caches.
const SMALL: usize = 2048;

/// How far a run looks ahead for entries that evictions only examine.
const EXAMINED_AHEAD: usize = 6;

/// The most evictions that are prepared at once: one for each event that a run takes out, and one more.
const MAX_PREPARED: usize = SHARE + 1;

/// The part of an evictor that such a run uses.
struct Order<'o, P: ?Sized, M> {
    policy: &'o mut P,
    nodes: &'o mut NodeMap,
    faults: &'o mut Faults,
    settings: OrderSettings,
    /// Whether entries may have deadlines, because some have had one.
    is_timed: bool,
    more: PhantomData<M>,
}

/// How an evictor is configured, and which limits hold now.
#[derive(Clone, Copy)]
struct OrderSettings {
    /// The most entries.
    limit: usize,
    /// The most that they may weigh, if they are weighed.
    max_weight: u64,
    /// Nodes are allocated for at most this many entries.
    capacity: usize,
    /// Whether the limits were lowered, and are approached step by step.
    is_lowered: bool,
    room: Room,
    counter_max: u8,
    owns_scratch: bool,
}

/// Evaluates an expression with the [`Order`] of an evictor, in which the type of the policy is known.
macro_rules! with_order {
    ($evictor:expr, $more:ty, $order:ident => $call:expr) => {{
        let settings = $evictor.settings::<$more>();
        let Evictor { policy, nodes, faults, .. } = $evictor;
        let is_timed = nodes.timers.are_used();
        with_policy!(policy, policy => {
            let policy = &mut **policy;
            let more = PhantomData::<$more>;
            let $order = Order { policy, nodes, faults, settings, is_timed, more };
            $call
        })
    }};
}

/// How the events of a plain run are applied.
///
/// The functions are not generic, so that they are compiled with this crate, and not once more by each crate that
/// uses a cache: there is one for each policy in them.
pub(crate) trait Applying: Attending + Sized {
    /// Applies events and evicts the excess; the evictor [is plain](Evictor::is_plain), and so is the cache.
    /// Stops at an event that needs more, and after a fault of the policy: returns how many events it has
    /// applied. After a fault there may be an excess left.
    fn apply(
        evictor: &mut Evictor,
        events: &[Option<Event>],
        run: &mut PlainRun<'_, Self>,
    ) -> usize;

    /// As [`apply`](Self::apply), for one event. `Err` if more has to be done; it says whether the event was
    /// applied.
    fn apply_one(
        evictor: &mut Evictor,
        event: &Event,
        run: &mut PlainRun<'_, Self>,
    ) -> Result<(), bool>;
}

macro_rules! apply {
    ($($more:ty),*) => {$(
        impl Applying for $more {
            fn apply(
                evictor: &mut Evictor,
                events: &[Option<Event>],
                run: &mut PlainRun<'_, Self>,
            ) -> usize {
                with_order!(evictor, $more, order => order.apply(events, run))
            }

            fn apply_one(
                evictor: &mut Evictor,
                event: &Event,
                run: &mut PlainRun<'_, Self>,
            ) -> Result<(), bool> {
                with_order!(evictor, $more, order => order.apply_one(event, run))
            }
        }
    )*};
}

apply!((), Attended<'_>);

impl Evictor {
    /// Prefetches what the next evictions will read, if there will be any.
    pub(crate) fn look_ahead(&mut self, table: UntypedTable<'_>) {
        let Self { nodes, enforced, .. } = self;
        if nodes.len() <= SMALL
            || (nodes.len() < enforced.entries && nodes.weight < enforced.weight)
        {
            return;
        }
        let outcome = with_order!(self, (), order => catch(|| order.look_ahead(table)));
        if let Err(payload) = outcome {
            self.faults.note_panic(payload);
        }
    }

    #[inline(always)]
    fn settings<M: Attending>(&self) -> OrderSettings {
        let Self { enforced, limits, room, counter_max, owns_scratch, .. } = self;
        OrderSettings {
            limit: enforced.entries,
            max_weight: enforced.weight,
            capacity: limits.entries,
            is_lowered: enforced.entries > limits.entries
                || (M::WEIGHED && enforced.weight > limits.weight),
            room: *room,
            counter_max: *counter_max,
            owns_scratch: *owns_scratch,
        }
    }
}

impl<P: DirectPolicy + ?Sized, M: Attending> Order<'_, P, M> {
    #[inline(always)]
    fn apply_event(&mut self, event: &Event, run: &mut PlainRun<'_, M>) -> bool {
        match *event {
            Event::Inserted(new) => self.link(new, run),
            Event::Removed(old) => self.unlink(old, run),
            Event::Replaced { new, old } => self.relink(new, old, run),
        }
    }

    #[inline(always)]
    fn apply_one(mut self, event: &Event, run: &mut PlainRun<'_, M>) -> Result<(), bool> {
        let is_lowered = self.settings.is_lowered;
        match *event {
            Event::Inserted(new) if !M::WEIGHED => self.insert_one(new, run)?,
            _ => self.apply_other(event, run)?,
        }
        // If a limit was lowered, a whole run goes on to approach it.
        if run.has_failed || is_lowered { Err(true) } else { Ok(()) }
    }

    /// Links a new entry, which weighs one, and evicts another one if there are too many then. The policy is called
    /// once for all of it.
    #[inline(always)]
    fn insert_one(&mut self, new: EntryPtr, run: &mut PlainRun<'_, M>) -> Result<(), bool> {
        let meta = new.meta();
        if self.needs_more(new, meta) {
            return Err(false);
        }
        if meta.set_born_and_check() {
            run.note_left(new, meta);
            return Ok(());
        }
        let id = self.add(new, meta, run);
        let excess = self.nodes.len().saturating_sub(self.settings.limit);
        let is_room_first = self.settings.room == Room::BeforeInsert;
        let (mut is_inserted, mut named) = (false, None);
        let asked = catch(|| {
            if excess > 0 && is_room_first {
                named = self.policy.choose(self.nodes);
            }
            is_inserted = true;
            self.policy.insert(id, self.nodes);
            if excess > 0 {
                if !is_room_first {
                    named = self.policy.choose(self.nodes);
                }
                if self.settings.limit > SMALL {
                    self.look_ahead(run.table);
                }
            }
        });
        if let Err(payload) = asked {
            self.note_panic(payload, run);
            if !is_inserted {
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

    /// Applies an event of which the policy is not notified by one call.
    #[inline(never)]
    fn apply_other(mut self, event: &Event, run: &mut PlainRun<'_, M>) -> Result<(), bool> {
        if !self.apply_event(event, run) {
            return Err(false);
        }
        while self.is_above() {
            if !self.evict(run) {
                return Err(true);
            }
        }
        if M::WEIGHED && run.evictions > 0 && self.nodes.len() > SMALL {
            self.contain_look_ahead(run);
        }
        Ok(())
    }

    /// Whether there is more than the limits allow.
    #[inline(always)]
    fn is_above(&self) -> bool {
        let OrderSettings { limit, max_weight, .. } = self.settings;
        self.nodes.len() > limit || (M::WEIGHED && self.nodes.weight > max_weight)
    }

    /// Whether another entry has to leave before one of this weight is inserted, for a policy that wants that.
    #[inline(always)]
    fn lacks_room_for(&self, weight: u64) -> bool {
        let OrderSettings { limit, max_weight, .. } = self.settings;
        let is_too_heavy = || M::WEIGHED && self.nodes.weight.saturating_add(weight) > max_weight;
        self.nodes.len() > 0 && (self.nodes.len() >= limit || is_too_heavy())
    }

    /// Whether the next insertion evicts an entry.
    #[inline(always)]
    fn is_full(&self) -> bool {
        let OrderSettings { limit, max_weight, .. } = self.settings;
        self.nodes.len() >= limit || (M::WEIGHED && self.nodes.weight >= max_weight)
    }

    fn apply(mut self, events: &[Option<Event>], run: &mut PlainRun<'_, M>) -> usize {
        self.prepare(events, run);
        let mut applied = 0;
        for event in events.iter().flatten() {
            if !self.apply_event(event, run) {
                break;
            }
            applied += 1;
            while self.is_above() {
                if !self.evict(run) {
                    return applied;
                }
            }
            if run.has_failed {
                break;
            }
        }
        if self.nodes.len() > SMALL && self.is_full() && !run.has_failed {
            self.contain_look_ahead(run);
        }
        applied
    }

    /// Prefetches for the next evictions, each a step further with every run: the node of the fourth, the
    /// entry of the third, which says which its bucket is, the bucket of the second, and the entry with which
    /// the bucket of the next begins, since it leads to the others.
    // Out of line, or the call of the policy would not be inlined.
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
    fn prepare(&mut self, events: &[Option<Event>], run: &mut PlainRun<'_, M>) {
        let mut victims = [None; MAX_PREPARED];
        let prepared = catch(|| {
            if self.nodes.len() > SMALL {
                for event in events.iter().flatten() {
                    if let Event::Inserted(new) = event {
                        new.prefetch();
                    }
                }
                if self.nodes.len() + events.len() > self.settings.limit || self.is_full() {
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
        if let Err(payload) = prepared {
            self.note_panic(payload, run);
        }
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
    fn link(&mut self, new: EntryPtr, run: &mut PlainRun<'_, M>) -> bool {
        let meta = new.meta();
        if self.needs_more(new, meta) {
            return false;
        }
        if meta.set_born_and_check() {
            run.note_left(new, meta);
            return true;
        }
        if self.settings.room == Room::BeforeInsert {
            while self.lacks_room_for(u64::from(PlainRun::<M>::weight_of(meta))) && self.evict(run)
            {
            }
        }
        let id = self.add(new, meta, run);
        self.call(run, |policy, nodes| policy.insert(id, nodes));
        true
    }

    /// Unlinks an entry that was removed. False if that needs more than a plain run: even an entry that is not linked
    /// any more, and so not counted as special, may have tags.
    #[inline(always)]
    fn unlink(&mut self, old: EntryPtr, run: &mut PlainRun<'_, M>) -> bool {
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
    fn relink(&mut self, new: EntryPtr, old: EntryPtr, run: &mut PlainRun<'_, M>) -> bool {
        let (old_meta, new_meta) = (old.meta(), new.meta());
        let Some(id) = old_meta.node() else { return false };
        let old_weight = PlainRun::<M>::weight_of(old_meta);
        let new_weight = PlainRun::<M>::weight_of(new_meta);
        let weight = self.nodes.weight - u64::from(old_weight) + u64::from(new_weight);
        if self.needs_more(new, new_meta)
            || old_meta.cause() != RemovalCause::Replaced
            || new_meta.is_gone()
            // Then others leave, but not the new one.
            || (M::WEIGHED && weight > self.settings.max_weight)
        {
            return false;
        }
        new_meta.set_born();
        old_meta.set_node(None);
        new_meta.set_node(Some(id));
        new.set_frequency(old.frequency().saturating_add(1).min(self.settings.counter_max));
        if self.settings.owns_scratch {
            new_meta.set_scratch(old_meta.scratch());
        }
        self.nodes.entries[id.index()] = Some(new);
        self.nodes.weight = weight;
        self.watch(id, new);
        self.call(run, |policy, nodes| policy.update(id, old_weight, nodes));
        run.note_gone(old, old_meta, Some(new));
        true
    }

    /// Evicts an entry. False if the policy names none.
    #[inline(always)]
    fn evict(&mut self, run: &mut PlainRun<'_, M>) -> bool {
        let named = self.call(run, |policy, nodes| policy.choose(nodes)).flatten();
        named.is_some_and(|id| self.take_out(id, run))
    }

    /// Takes an entry that the policy has chosen out of the table. False if there is none.
    #[inline(always)]
    fn take_out(&mut self, id: NodeId, run: &mut PlainRun<'_, M>) -> bool {
        let Some(victim) = self.nodes.get(id) else { return false };
        let meta = victim.meta();
        self.release(id, meta, run);
        // If it was removed or replaced a moment ago, that event is still to come, and will find it
        // unlinked.
        run.take_out(victim, meta);
        true
    }

    /// Gives a new entry a node, and sets its timer.
    #[inline(always)]
    fn add(&mut self, new: EntryPtr, meta: &EntryMeta, run: &mut PlainRun<'_, M>) -> NodeId {
        let id = self.nodes.add_uncounted(new, meta, self.settings.capacity);
        self.nodes.weight += u64::from(PlainRun::<M>::weight_of(meta));
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
    fn release(&mut self, id: NodeId, meta: &EntryMeta, run: &mut PlainRun<'_, M>) {
        if self.is_timed {
            self.nodes.timers.forget(id);
        }
        self.nodes.release_uncounted(id, meta);
        self.nodes.weight -= u64::from(PlainRun::<M>::weight_of(meta));
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

    #[inline(always)]
    fn contain_look_ahead(&mut self, run: &mut PlainRun<'_, M>) {
        if let Err(payload) = catch(|| self.look_ahead(run.table)) {
            self.note_panic(payload, run);
        }
    }

    #[cold]
    fn note_panic(&mut self, payload: Payload, run: &mut PlainRun<'_, M>) {
        self.faults.note_panic(payload);
        run.has_failed = true;
    }

    /// Calls the policy, which may panic.
    #[inline(always)]
    fn call<R>(
        &mut self,
        run: &mut PlainRun<'_, M>,
        call: impl FnOnce(&mut P, &NodeMap) -> R,
    ) -> Option<R> {
        match catch(|| call(self.policy, self.nodes)) {
            Ok(answer) => Some(answer),
            Err(payload) => {
                self.note_panic(payload, run);
                None
            }
        }
    }
}
