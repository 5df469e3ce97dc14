//! What every change of the table goes through: its place in the order of removals, its report.
#![forbid(unsafe_code)]

use std::time::Duration;

use crossbeam_utils::Backoff;

use super::partition::Leftover;
use super::{Engine, Freeing, Partition, contain};
use crate::base::cause::RemovalCause;
use crate::base::mode::Maintenance;
use crate::base::sync;
use crate::buffer::write_buffer::{self, Claim, Event};
use crate::engine::recent::Absence;
use crate::entry::{Entry, EntryPtr};
use crate::listener::{AtomicListening, Entered, Leaving, MustNotWait};
use crate::reclaim::{self, Kept};

/// A change of the table, from before it is tried until it is reported, which dropping it does.
///
/// Make it before the guard under which the change is tried, so that it is dropped, and
/// maintenance runs, after it. In a cache without a listener, events are reported when they have
/// happened. In one with a listener their slots are claimed ahead (`write_buffer`). In one with an
/// atomic listener, a change is within the gate of its key (`listener::gates`), and the listener is
/// notified of what leaves before it does: the first attempt finds the entry and is given up,
/// `prepare` notifies the listener, the second one changes the table.
pub(crate) struct Change<'e, K, V> {
    engine: &'e Engine<K, V>,
    hash: u64,
    state: State,
    /// Where there is a listener of either kind.
    listened: Option<Listened<'e>>,
    /// Shown what the maintenance evicts that this change makes due.
    show_evicted: Option<Show<'e, K, V>>,
}

/// Is shown entries that are evicted, while it may read them. User code may run in it: no lock is held.
pub(crate) type Show<'e, K, V> = &'e dyn Fn(&Entry<K, V>);

/// What a change needs for the sake of listeners.
#[derive(Default)]
struct Listened<'e> {
    claim: Option<Claim<'e>>,
    /// Where there is an atomic listener.
    gate: Option<Entered<'e>>,
    /// What it was notified of already, or is to be notified of, and why that leaves.
    leaving: Option<(EntryPtr, RemovalCause)>,
}

/// What one attempt hands on to the next. Seldom there, so in a box: moving it would cost every change.
pub(crate) struct Prepared<'e>(Box<Listened<'e>>);

enum State {
    /// Nothing has happened yet.
    Open,
    /// There was no slot to claim.
    NoRoom,
    /// The atomic listener must be notified first.
    NotifyFirst,
    /// It has happened and is to be pushed.
    Made(Event),
    /// It has happened, and stands in the buffer before this position.
    Told(u32),
}

impl MustNotWait {
    /// What a removal does that has no result to say it in.
    #[cold]
    pub(crate) fn panic(self) -> ! {
        panic!(
            "a cache with an atomic listener was changed from within a change of its own, or, from \
             within a listener or a drop, for a key that another thread is changing"
        );
    }
}

impl<K, V> Engine<K, V> {
    /// Lets the thread change an entry of `hash`: where there is an atomic listener, within its gate,
    /// unless another attempt has prepared that.
    ///
    /// # Errors
    /// If the thread is inside this cache's atomic listener or within a gate of it; or if another
    /// thread is within the gate of `hash`, and this one must not wait.
    #[inline]
    pub(crate) fn admit<'e>(
        &'e self,
        hash: u64,
        prepared: Option<Prepared<'e>>,
    ) -> Result<Option<Prepared<'e>>, MustNotWait> {
        self.fills.mark(hash);
        self.admit_fill(hash, prepared)
    }

    /// The same for a change that makes no fill stale, being one.
    #[inline]
    pub(crate) fn admit_fill<'e>(
        &'e self,
        hash: u64,
        prepared: Option<Prepared<'e>>,
    ) -> Result<Option<Prepared<'e>>, MustNotWait> {
        match &self.atomic {
            Some(atomic) if prepared.is_none() => Self::enter_gate(atomic, hash),
            _ => Ok(prepared),
        }
    }

    /// Out of line, as all that few caches need.
    #[inline(never)]
    fn enter_gate<'e>(
        atomic: &'e AtomicListening<K, V>,
        hash: u64,
    ) -> Result<Option<Prepared<'e>>, MustNotWait> {
        if atomic.refuses_changes() {
            return Err(MustNotWait);
        }
        Ok(Some(Prepared::of(atomic.gates.enter(hash)?, None)))
    }

    /// A change of an entry of `hash`, by a thread that was [admitted](Self::admit).
    #[inline]
    pub(crate) fn change<'e>(
        &'e self,
        hash: u64,
        admitted: Option<Prepared<'e>>,
    ) -> Change<'e, K, V> {
        let listened = match admitted {
            Some(Prepared(listened)) => Some(*listened),
            None => self.deliveries.is_some().then(Listened::default),
        };
        Change { engine: self, hash, state: State::Open, listened, show_evicted: None }
    }

    /// One more change, for a thread that is within the gate of the key already; or one in a cache that
    /// has no gates.
    #[inline]
    pub(crate) fn change_within(&self, hash: u64) -> Change<'_, K, V> {
        self.change(hash, None)
    }

    /// Takes out what maintenance has unlinked from its policy within the gate, and notifies the atomic
    /// listener before. No lock may be held, and the thread must not be pinned.
    #[cold]
    pub(super) fn evict_notifying(&self, partition: &Partition<K, V>, leaving: Leaving<'_>) {
        let Some(atomic) = &self.atomic else { return };
        let _in_flight = partition.leaving_ends();
        let _evicting = atomic.evict();
        let Leaving { gate, entry, cause } = leaving;
        atomic.notify(entry, cause, None, self.age(entry));
        let mut prepared = Some(Prepared::of(gate, Some((entry, cause))));
        while prepared.is_some() {
            let mut change = self.change(entry.hash(), prepared.take());
            let guard = reclaim::pin();
            if !change.announce(-1) {
                drop(guard);
                prepared = change.prepare(None);
                continue;
            }
            let is_out = self.table.remove_entry(entry, &guard);
            debug_assert!(is_out, "an entry within the gate was taken out by another thread");
            if is_out {
                change.removed(entry, cause);
                partition.count_notified(cause, entry.upkeep().weight());
            }
        }
    }

    fn age(&self, entry: EntryPtr) -> Duration {
        self.timing.age(entry).unwrap_or_default()
    }

    /// Runs or waits for maintenance until a slot of the partition's buffer may be free.
    fn make_room(&self, partition: &Partition<K, V>, freeing: Freeing) {
        if !self.try_run(partition, freeing) {
            Backoff::new().snooze();
        }
    }
}

impl<'e> Prepared<'e> {
    fn of(gate: Entered<'e>, leaving: Option<(EntryPtr, RemovalCause)>) -> Self {
        Self(Box::new(Listened { claim: None, gate: Some(gate), leaving }))
    }
}

impl<'e, K, V> Change<'e, K, V> {
    /// Lets `show` be shown what is evicted because of the change, as this thread does that.
    pub(crate) fn show_evicted(&mut self, show: Option<Show<'e, K, V>>) {
        self.show_evicted = show;
    }

    /// Whether the atomic listener must be notified before `old` may leave, because of `cause`. Then
    /// nothing may be changed in this attempt, and [`prepare`](Self::prepare) notifies it.
    #[inline]
    pub(crate) fn must_notify(
        &mut self,
        old: EntryPtr,
        cause: impl FnOnce() -> RemovalCause,
    ) -> bool {
        match &mut self.listened {
            Some(listened) if listened.gate.is_some() => {
                let was_notified = listened.leaving.is_some_and(|(entry, _)| entry == old);
                if !was_notified {
                    listened.leaving = Some((old, cause()));
                    self.state = State::NotifyFirst;
                }
                !was_notified
            }
            _ => false,
        }
    }

    /// What the atomic listener was notified of, and why that leaves.
    #[inline]
    pub(crate) fn notified(&self) -> Option<(EntryPtr, RemovalCause)> {
        self.listened.as_ref().and_then(|listened| listened.leaving)
    }

    /// Why `old` has left that was just taken out: what the atomic listener heard, or else `cause`.
    #[inline]
    pub(crate) fn cause_of(
        &self,
        old: EntryPtr,
        cause: impl FnOnce() -> RemovalCause,
    ) -> RemovalCause {
        match self.notified() {
            Some((entry, cause)) if entry == old => cause,
            _ => cause(),
        }
    }

    /// The entry in question was found; what changes the table is tried next. False if there is no
    /// room for the report, or somebody must be told first: then nothing may be changed, and
    /// [`prepare`](Self::prepare) helps.
    #[inline]
    pub(crate) fn announce(&mut self, change: i32) -> bool {
        match &mut self.listened {
            Some(listened) if self.engine.deliveries.is_some() => {
                debug_assert!(listened.claim.is_none(), "withdrawn before the next attempt");
                match self.engine.partition(self.hash).writes.claim(change) {
                    Ok(claim) => listened.claim = Some(claim),
                    Err(_) => self.state = State::NoRoom,
                }
                listened.claim.is_some()
            }
            _ => true,
        }
    }

    /// As [`announce`](Self::announce), but makes room itself. For a thread that is pinned and must
    /// go on with what it has found: it may wait for the thread that runs maintenance, which runs
    /// no user code but the policy.
    pub(crate) fn announce_pinned(&mut self, change: i32) {
        while !self.announce(change) {
            self.engine.make_room(self.engine.partition(self.hash), Freeing::Later);
        }
    }

    /// The attempt has failed, and the table was not changed.
    #[inline]
    pub(crate) fn withdraw(&mut self) {
        if let Some(listened) = &mut self.listened {
            listened.claim = None;
        }
    }

    /// The table was changed. `cause` is why the old entry has left, if one has.
    #[inline]
    pub(crate) fn made(&mut self, event: Event, cause: RemovalCause) {
        self.made_by(event, cause, Absence::Removed);
    }

    /// As [`made`](Self::made); `explicit` is what is remembered of a removal by the user.
    #[inline]
    pub(crate) fn made_by(&mut self, event: Event, cause: RemovalCause, explicit: Absence) {
        if let Event::Removed(old) | Event::Replaced { old, .. } = event {
            self.engine.note_removal(old, self.hash, cause, explicit);
        }
        self.state = State::Made(event);
        if self.listened.is_some() {
            self.fill_claim(event);
        }
    }

    /// Tells what happened in the slot that was claimed for it, if one was.
    #[inline(never)]
    fn fill_claim(&mut self, event: Event) {
        if let Some(claim) = self.listened.as_mut().and_then(|listened| listened.claim.take()) {
            self.state = State::Told(claim.fill(event));
        }
    }

    /// An entry was taken out.
    #[inline]
    pub(crate) fn removed(&mut self, old: EntryPtr, cause: RemovalCause) {
        self.made(Event::Removed(old), cause);
    }

    /// Whether nothing was tried, because something is to be prepared.
    pub(crate) fn is_unprepared(&self) -> bool {
        matches!(self.state, State::NoRoom | State::NotifyFirst)
    }

    /// Lets maintenance make room, or notifies the atomic listener of what leaves, and of the value
    /// that takes its place; returns what the next attempt needs. No guard may be held by the cache
    /// itself.
    #[cold]
    pub(crate) fn prepare(mut self, new_value: Option<&V>) -> Option<Prepared<'e>> {
        let state = std::mem::replace(&mut self.state, State::Open);
        let Listened { gate, leaving, .. } = self.listened.take().unwrap_or_default();
        let notified = match (&self.engine.atomic, gate, leaving) {
            (Some(atomic), Some(gate), Some((entry, cause))) => {
                if matches!(state, State::NotifyFirst) {
                    atomic.notify(entry, cause, new_value, self.engine.age(entry));
                }
                // What the listener was notified of must leave: no other thread may come in between.
                Some(Prepared::of(gate, Some((entry, cause))))
            }
            _ => None,
        };
        if matches!(state, State::NoRoom) {
            // Within the gate no user code may run, nor anything be waited for that runs some: what
            // a pinned thread leaves to others too.
            let guard = notified.is_some().then(reclaim::pin);
            let freeing = if notified.is_some() { Freeing::Later } else { Freeing::AsRetired };
            self.engine.make_room(self.engine.partition(self.hash), freeing);
            drop(guard);
        }
        notified
    }
}

impl<K, V> Drop for Change<'_, K, V> {
    #[inline]
    fn drop(&mut self) {
        // Before maintenance runs, which may want to enter it, or has to wait.
        if let Some(listened) = &mut self.listened {
            listened.gate = None;
        }
        match &self.state {
            State::Open | State::NoRoom | State::NotifyFirst => {}
            state @ (State::Made(_) | State::Told(_)) if self.show_evicted.is_some() => {
                self.engine.submit_showing(state, self.hash, self.show_evicted);
            }
            State::Made(event) => self.engine.submit(event, self.hash),
            State::Told(end) => self.engine.follow_up(*end, self.hash),
        }
    }
}

impl<K, V> Engine<K, V> {
    /// Notes why an entry has left that was just taken out, before that is reported; `explicit` is what
    /// is remembered of a removal by the user.
    #[inline]
    pub(crate) fn note_removal(
        &self,
        old: EntryPtr,
        hash: u64,
        cause: RemovalCause,
        explicit: Absence,
    ) {
        old.upkeep().set_cause(cause);
        if let Some(recent) = &self.recent {
            recent.removed(hash, cause, explicit);
        }
    }

    /// Reports what the table has done for `hash`. No guard may be held by the cache itself.
    ///
    /// The event comes by reference: it was just written word by word, and a copy of it, in wider
    /// words, would wait until the processor's caches have them.
    pub(crate) fn submit(&self, event: &Event, hash: u64) {
        if let Some(shadow) = &self.shadow {
            self.shadow_write(shadow, event, hash);
        }
        let partition = self.partition(hash);
        if self.mode == Maintenance::Inline {
            return self.apply_now(partition, event);
        }
        match partition.writes.push(event) {
            Ok(waiting) => self.note_waiting(partition, waiting),
            Err(write_buffer::Full) => self.await_push(partition, event),
        }
    }

    /// With inline maintenance: what a call reports has taken full effect when it returns.
    #[inline(never)]
    fn apply_now(&self, partition: &Partition<K, V>, event: &Event) {
        let due_ns = self.due_about_now(partition);
        let leftover = {
            let mut core = sync::lock(&partition.core);
            partition.run(&mut core, self, Some(*event), Freeing::AsRetired, due_ns)
        };
        self.finish(partition, leftover);
    }

    /// As [`submit`](Self::submit) or [`follow_up`](Self::follow_up): applies what waits up to the
    /// change, in background mode too, and shows what that evicts in the key's partition.
    #[cold]
    fn submit_showing(&self, state: &State, hash: u64, show: Option<Show<'_, K, V>>) {
        let Some(show) = show else { return };
        let partition = self.partition(hash);
        let (mut event, end) = match state {
            State::Made(event) => {
                if let Some(shadow) = &self.shadow {
                    self.shadow_write(shadow, event, hash);
                }
                match self.mode {
                    Maintenance::Inline => (Some(*event), partition.writes.position()),
                    Maintenance::Background => {
                        while partition.writes.push(event).is_err() {
                            self.run_showing(partition, None, show);
                        }
                        (None, partition.writes.position())
                    }
                }
            }
            State::Told(end) => (None, *end),
            State::Open | State::NoRoom | State::NotifyFirst => return,
        };
        loop {
            self.run_showing(partition, event.take(), show);
            if partition.writes.has_popped(end) {
                break;
            }
            // A writer has claimed a slot that it has not filled in yet.
            sync::thread::yield_now();
        }
        self.await_room(partition);
    }

    /// Runs maintenance once, waiting for the thread that does so, and shows what that evicts.
    fn run_showing(&self, partition: &Partition<K, V>, event: Option<Event>, show: Show<'_, K, V>) {
        let due_ns = self.due_now(partition);
        // What is evicted is retired, and cannot be freed before this. Where there is an atomic
        // listener, victims are not retired yet, and a pin would keep it from being notified.
        let guard = self.atomic.is_none().then(reclaim::pin);
        let (leftover, victims) = {
            let mut core = sync::lock(&partition.core);
            core.victims = Some(Vec::new());
            let leftover = partition.run(&mut core, self, event, Freeing::AsRetired, due_ns);
            (leftover, core.victims.take().unwrap_or_default())
        };
        if let Some(guard) = guard {
            for victim in victims {
                // A panic leaves out the one that it is about.
                contain::contain(|| show(self.table.at(victim, &guard)));
            }
        }
        self.finish_showing(partition, leftover, show);
    }

    /// As [`finish`](Self::finish), and shows what the atomic listener is notified of.
    fn finish_showing(
        &self,
        partition: &Partition<K, V>,
        leftover: Leftover<'_, K, V>,
        show: Show<'_, K, V>,
    ) {
        let mut next = Some(leftover);
        let mut has_unneeded_loan = false;
        while let Some(leftover) = next {
            let has_evicted = leftover.leaving.is_some();
            if let Some(leaving) = &leftover.leaving
                && leaving.cause == RemovalCause::Evicted
            {
                // Within its gate it stays linked, and is not retired.
                let kept = Kept::<K, V>::new(leaving.entry);
                contain::contain(|| show(kept.entry()));
            }
            has_unneeded_loan |= self.finish_run(partition, leftover);
            next = if has_evicted { self.run_again(partition) } else { None };
        }
        if has_unneeded_loan {
            self.settle_loans();
        }
    }

    /// Sees to the events that wait, so many now.
    #[inline]
    fn note_waiting(&self, partition: &Partition<K, V>, waiting: u32) {
        let is_due = waiting >= self.batch;
        if !(is_due && self.try_run(partition, Freeing::AsRetired)) {
            self.attendance.notify();
        }
    }

    /// Bounded memory: whoever is at it makes room, or this thread does, unless the oldest event is
    /// still being filled in by its writer.
    #[cold]
    fn await_push(&self, partition: &Partition<K, V>, event: &Event) {
        let backoff = Backoff::new();
        loop {
            self.try_run(partition, Freeing::AsRetired);
            backoff.snooze();
            if let Ok(waiting) = partition.writes.push(event) {
                return self.note_waiting(partition, waiting);
            }
        }
    }

    /// Sees to what a change needs whose event stands in the buffer before `end`.
    #[inline(never)]
    fn follow_up(&self, end: u32, hash: u64) {
        let partition = self.partition(hash);
        match self.mode {
            Maintenance::Background => {
                let is_due = partition.writes.waiting() >= self.batch;
                if !(is_due && self.try_run(partition, Freeing::AsRetired)) {
                    self.attendance.notify();
                }
            }
            Maintenance::Inline => self.run_until(partition, end),
        }
        self.await_room(partition);
    }

    /// Applies what was submitted before the call.
    pub(super) fn apply_pending(&self) {
        for partition in &self.partitions {
            // What others write meanwhile is not waited for, or this might never end.
            self.run_until(partition, partition.writes.position());
        }
    }

    /// Applies the events before the position `end`, and what is due.
    fn run_until(&self, partition: &Partition<K, V>, end: u32) {
        loop {
            let due_ns = self.due_now(partition);
            let leftover = {
                let mut core = sync::lock(&partition.core);
                partition.run(&mut core, self, None, Freeing::AsRetired, due_ns)
            };
            self.finish(partition, leftover);
            if self.due_now(partition).is_some() {
                continue;
            }
            if partition.writes.has_popped(end) {
                break;
            }
            // A writer has claimed a slot that it has not filled in yet.
            sync::thread::yield_now();
        }
    }
}
