//! What every change of the table goes through: its place in the order of removals, its report.
#![forbid(unsafe_code)]

use std::time::Duration;

use crossbeam_utils::Backoff;

use super::report::Show;
use super::{Engine, Freeing, Partition};
use crate::base::cause::RemovalCause;
use crate::buffer::write_buffer::{ChangeKind, Claim, Event};
use crate::engine::history::Absence;
use crate::entry::{EntryPtr, Owned};
use crate::expiry::{EntryTtl, Timing};
use crate::listener::{AtomicListening, Entered, MustNotWait, PendingRemoval};
use crate::reclaim::{self, Guard};
use crate::table::AttemptStage;

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
    state: ChangeState,
    /// Where there is a listener of either kind.
    listener: Option<ListenerState<'e>>,
    /// Shown what the maintenance evicts that this change makes due.
    show_evicted: Option<Show<'e, K, V>>,
}

/// What one attempt at a change has come to.
pub(crate) enum Attempt<R> {
    /// The change was made, or is not to be made: what the call returns.
    Done(R),
    /// Nothing was changed. Once what the attempt lacks is there (room for the report, or a listener that
    /// was notified), the next one is made.
    Retry,
}

/// A new entry that is on its way into the table; or none, for a removal.
pub(crate) struct Incoming<K, V> {
    entry: Option<Owned<K, V>>,
    /// By which its lifetime is computed anew where an attempt had to wait.
    lifetime: Option<EntryTtl>,
}

impl<K, V> Incoming<K, V> {
    #[inline]
    pub(crate) fn new(entry: Owned<K, V>, lifetime: Option<EntryTtl>) -> Self {
        Self { entry: Some(entry), lifetime }
    }

    #[inline]
    pub(crate) fn none() -> Self {
        Self { entry: None, lifetime: None }
    }

    /// Takes the entry, for one attempt to put it into the table.
    #[inline]
    pub(crate) fn take(&mut self) -> Owned<K, V> {
        self.entry.take().expect("the attempt before has put it back")
    }

    /// Takes back an entry that is not in the table, for the next attempt or to be dropped.
    #[inline]
    pub(crate) fn put_back(&mut self, unused: Owned<K, V>) {
        self.entry = Some(unused);
    }

    fn value(&self) -> Option<&V> {
        self.entry.as_ref().map(Owned::value)
    }

    /// Lets the entry's lifetime begin now: the thread has waited, or a listener has run, since the entry
    /// was made.
    #[cold]
    pub(crate) fn restart(&self, timing: &Timing) {
        if let (Some(entry), Some(lifetime)) = (&self.entry, self.lifetime) {
            timing.restart(entry.as_ptr(), lifetime);
        }
    }
}

/// What a change needs for the sake of listeners.
#[derive(Default)]
struct ListenerState<'e> {
    claim: Option<Claim<'e>>,
    /// Where there is an atomic listener.
    gate: Option<Entered<'e>>,
    /// What it was notified of already, or is to be notified of, and why that leaves.
    leaving: Option<(EntryPtr, RemovalCause)>,
}

/// What one attempt hands on to the next. Seldom there, so in a box: moving it would cost every change.
struct Prepared<'e>(Box<ListenerState<'e>>);

enum ChangeState {
    /// Nothing has happened yet.
    Open,
    /// There was no slot to claim.
    NoRoom,
    /// The atomic listener must be notified first.
    NotifyFirst,
    /// It has happened and is to be pushed.
    Committed(Event),
    /// It has happened, and stands in the buffer before this position.
    Reported(u32),
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
    /// Changes an entry of `hash`, or finds that it is not to be changed: calls `once` until it is done.
    ///
    /// Each attempt has a change, and a guard that is dropped before the change is reported. What is
    /// found in one attempt is not in the next: it has to be searched anew.
    ///
    /// # Errors
    /// If the thread is inside this cache's atomic listener or within a gate of it; or if another
    /// thread is within the gate of `hash`, and this one must not wait.
    #[inline(always)]
    pub(crate) fn attempt<'e, R>(
        &'e self,
        hash: u64,
        incoming: &mut Incoming<K, V>,
        once: impl FnMut(&mut Change<'e, K, V>, &mut Incoming<K, V>, &Guard) -> Attempt<R>,
    ) -> Result<R, MustNotWait> {
        self.fills.mark(hash);
        self.attempt_from(None, hash, incoming, once)
    }

    /// The same for a change that makes no fill stale: one that is a fill, or whose caller has seen to that.
    #[inline(always)]
    pub(crate) fn attempt_unmarked<'e, R>(
        &'e self,
        hash: u64,
        incoming: &mut Incoming<K, V>,
        once: impl FnMut(&mut Change<'e, K, V>, &mut Incoming<K, V>, &Guard) -> Attempt<R>,
    ) -> Result<R, MustNotWait> {
        self.attempt_from(None, hash, incoming, once)
    }

    #[inline(always)]
    fn attempt_from<'e, R>(
        &'e self,
        mut prepared: Option<Prepared<'e>>,
        hash: u64,
        incoming: &mut Incoming<K, V>,
        mut once: impl FnMut(&mut Change<'e, K, V>, &mut Incoming<K, V>, &Guard) -> Attempt<R>,
    ) -> Result<R, MustNotWait> {
        loop {
            let admitted = match (prepared.take(), &self.atomic) {
                (None, Some(atomic)) => Self::enter_gate(atomic, hash)?,
                (prepared, _) => prepared,
            };
            // Before the guard, so that it is dropped, and maintenance runs, after it; also if user code
            // panics in the attempt.
            let mut change = self.change(hash, admitted);
            let guard = reclaim::pin();
            let attempt = once(&mut change, incoming, &guard);
            drop(guard);
            match attempt {
                Attempt::Done(result) => return Ok(result),
                Attempt::Retry if change.is_unprepared() => {
                    prepared = change.prepare(incoming.value());
                    incoming.restart(&self.timing);
                }
                Attempt::Retry => {}
            }
        }
    }

    /// Out of line, since few caches need it.
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

    /// A change of an entry of `hash`, by a thread that was admitted.
    #[inline]
    fn change<'e>(&'e self, hash: u64, admitted: Option<Prepared<'e>>) -> Change<'e, K, V> {
        let listener = match admitted {
            Some(Prepared(listener)) => Some(*listener),
            None => self.deliveries.is_some().then(ListenerState::default),
        };
        Change { engine: self, hash, state: ChangeState::Open, listener, show_evicted: None }
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
    pub(super) fn evict_notifying(&self, partition: &Partition<K, V>, leaving: PendingRemoval<'_>) {
        let Some(atomic) = &self.atomic else { return };
        let _in_flight = partition.leaving_ends();
        let _evicting = atomic.enter_eviction();
        let PendingRemoval { gate, entry, cause } = leaving;
        atomic.notify(entry, cause, None, self.age(entry));
        let prepared = Some(Prepared::of(gate, Some((entry, cause))));
        let none = &mut Incoming::none();
        let is_out = self.attempt_from(prepared, entry.hash(), none, |change, _, guard| {
            if !change.reserve(ChangeKind::Remove) {
                return Attempt::Retry;
            }
            let is_out = self.table.remove_entry(entry, guard);
            if is_out {
                change.commit_removal(entry, cause);
                partition.count_notified(cause, entry.meta().weight());
            }
            Attempt::Done(is_out)
        });
        debug_assert!(
            matches!(is_out, Ok(true)),
            "an entry within the gate was taken out by another thread"
        );
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
        Self(Box::new(ListenerState { claim: None, gate: Some(gate), leaving }))
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
        match &mut self.listener {
            Some(listener) if listener.gate.is_some() => {
                let was_notified = listener.leaving.is_some_and(|(entry, _)| entry == old);
                if !was_notified {
                    listener.leaving = Some((old, cause()));
                    self.state = ChangeState::NotifyFirst;
                }
                !was_notified
            }
            _ => false,
        }
    }

    /// What the atomic listener was notified of, and why that leaves.
    #[inline]
    pub(crate) fn notified(&self) -> Option<(EntryPtr, RemovalCause)> {
        self.listener.as_ref().and_then(|listener| listener.leaving)
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

    /// Reserves the change, which is tried next: the entry in question was found. False if there is
    /// no room for the report, or the atomic listener must be notified first: then nothing may be
    /// changed, and [`prepare`](Self::prepare) helps.
    #[inline]
    pub(crate) fn reserve(&mut self, kind: ChangeKind) -> bool {
        match &mut self.listener {
            Some(listener) if self.engine.deliveries.is_some() => {
                debug_assert!(listener.claim.is_none(), "cancelled before the next attempt");
                match self.engine.partition(self.hash).writes.claim(kind) {
                    Ok(claim) => listener.claim = Some(claim),
                    Err(_) => self.state = ChangeState::NoRoom,
                }
                listener.claim.is_some()
            }
            _ => true,
        }
    }

    /// As [`reserve`](Self::reserve), but makes room itself. For a thread that is pinned and must
    /// go on with what it has found: it may wait for the thread that runs maintenance, which runs
    /// no user code but the policy.
    pub(crate) fn reserve_pinned(&mut self, kind: ChangeKind) {
        while !self.reserve(kind) {
            self.engine.make_room(self.engine.partition(self.hash), Freeing::Later);
        }
    }

    /// Sees to what the table says of its own attempt: `ready` is asked about the entry that was found,
    /// or that none was, and says what the change will be; `None` if it may not be tried yet, because
    /// the atomic listener [must be notified](Self::must_notify) first.
    #[inline(always)]
    pub(crate) fn on_attempt<E>(
        &mut self,
        stage: AttemptStage<E>,
        ready: impl FnOnce(&mut Self, Option<E>) -> Option<ChangeKind>,
    ) -> bool {
        match stage {
            AttemptStage::Found(old) => match ready(self, old) {
                Some(kind) => self.reserve(kind),
                None => false,
            },
            AttemptStage::Failed => {
                self.cancel();
                true
            }
        }
    }

    /// Cancels the attempt: it has failed, and the table was not changed.
    #[inline]
    fn cancel(&mut self) {
        if let Some(listener) = &mut self.listener {
            listener.claim = None;
        }
    }

    /// Commits the change: the table was changed. `cause` is why the old entry has left, if one
    /// has.
    #[inline]
    pub(crate) fn commit(&mut self, event: Event, cause: RemovalCause) {
        self.commit_as(event, cause, Absence::Removed);
    }

    /// As [`commit`](Self::commit); `explicit` is what is remembered of a removal by the user.
    #[inline]
    pub(crate) fn commit_as(&mut self, event: Event, cause: RemovalCause, explicit: Absence) {
        if let Event::Removed(old) | Event::Replaced { old, .. } = event {
            self.engine.note_removal(old, self.hash, cause, explicit);
        }
        self.state = ChangeState::Committed(event);
        if self.listener.is_some() {
            self.fill_claim(event);
        }
    }

    /// Reports what happened in the slot that was claimed for it, if one was.
    #[inline(never)]
    fn fill_claim(&mut self, event: Event) {
        if let Some(claim) = self.listener.as_mut().and_then(|listener| listener.claim.take()) {
            self.state = ChangeState::Reported(claim.fill(event));
        }
    }

    /// Commits the removal of an entry.
    #[inline]
    pub(crate) fn commit_removal(&mut self, old: EntryPtr, cause: RemovalCause) {
        self.commit(Event::Removed(old), cause);
    }

    /// Whether nothing was tried, because something is to be prepared.
    pub(crate) fn is_unprepared(&self) -> bool {
        matches!(self.state, ChangeState::NoRoom | ChangeState::NotifyFirst)
    }

    /// Lets maintenance make room, or notifies the atomic listener of what leaves, and of the value
    /// that takes its place; returns what the next attempt needs. No guard may be held by the cache
    /// itself.
    #[cold]
    fn prepare(mut self, new_value: Option<&V>) -> Option<Prepared<'e>> {
        let state = std::mem::replace(&mut self.state, ChangeState::Open);
        let ListenerState { gate, leaving, .. } = self.listener.take().unwrap_or_default();
        let notified = match (&self.engine.atomic, gate, leaving) {
            (Some(atomic), Some(gate), Some((entry, cause))) => {
                if matches!(state, ChangeState::NotifyFirst) {
                    atomic.notify(entry, cause, new_value, self.engine.age(entry));
                }
                // What the listener was notified of must leave: no other thread may come in between.
                Some(Prepared::of(gate, Some((entry, cause))))
            }
            _ => None,
        };
        if matches!(state, ChangeState::NoRoom) {
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
        if let Some(listener) = &mut self.listener {
            listener.gate = None;
        }
        match (&self.state, self.show_evicted) {
            (ChangeState::Open | ChangeState::NoRoom | ChangeState::NotifyFirst, _) => {}
            (ChangeState::Committed(event), None) => self.engine.submit(event, self.hash),
            (ChangeState::Reported(end), None) => self.engine.follow_up(*end, self.hash),
            (ChangeState::Committed(event), Some(show)) => {
                self.engine.submit_showing(event, self.hash, show)
            }
            (ChangeState::Reported(end), Some(show)) => {
                self.engine.apply_showing(self.engine.partition(self.hash), None, *end, show);
            }
        }
    }
}
