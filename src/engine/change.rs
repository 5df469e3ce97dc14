//! A change of the table, from its reservation to its report.
#![forbid(unsafe_code)]

use std::time::Duration;

use crossbeam_utils::Backoff;

use super::Engine;
use super::finish::Show;
use super::partition::{Freeing, Partition};
use super::shadowing::ShadowWrite;
use crate::base::cause::RemovalCause;
use crate::base::hash::KeyHash;
use crate::buffer::write_buffer::{ChangeKind, Claim, Event};
use crate::engine::history::Absence;
use crate::entry::{EntryPtr, Owned};
use crate::expiry::{EntryTtl, Timing};
use crate::listener::{AtomicListening, Entered, MustNotWait, PendingRemoval};
use crate::reclaim::{self, Guard};
use crate::table::AttemptStage;
use crate::tags::TagSet;

/// One attempt to change the table, from before it is tried until it is reported. Dropping a change
/// reports it.
///
/// A change has to be created before the guard under which it is tried. Then it is dropped, and
/// maintenance runs, after the guard. In a cache without a listener, events are reported after they
/// have happened. In one with a listener, their slots are claimed in advance (`write_buffer`). In one
/// with an atomic listener, a change is within the gate of its key (`listener::gates`), and the listener
/// is notified of a removal before the entry leaves: the first attempt finds the entry and gives up,
/// `prepare` notifies the listener, and the second attempt changes the table.
pub(crate) struct Change<'e, K, V> {
    engine: &'e Engine<K, V>,
    hash: KeyHash,
    state: ChangeState,
    /// If there is a listener of either kind.
    listener: Option<ListenerState<'e>>,
    /// Is shown what maintenance evicts because of this change.
    show_evicted: Option<Show<'e, K, V>>,
}

/// The outcome of one attempt at a change.
pub(crate) enum Attempt<R> {
    /// The change was made, or must not be made. The call returns this.
    Done(R),
    /// Nothing was changed. The next attempt follows, after what this one lacked: room for the report, or a
    /// notification of the listener.
    Retry,
}

/// A new entry on its way into the table, or none for a removal.
pub(crate) struct Incoming<K, V> {
    entry: Option<Owned<K, V>>,
    /// The entry's deadline is computed from this again if an attempt had to wait.
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
        self.entry.take().expect("the previous attempt has put it back")
    }

    /// Takes back an entry that was not put into the table, to use it in the next attempt or to drop it.
    #[inline]
    pub(crate) fn put_back(&mut self, unused: Owned<K, V>) {
        self.entry = Some(unused);
    }

    /// The entry, before [`take`](Self::take).
    #[inline]
    pub(crate) fn entry(&self) -> &Owned<K, V> {
        self.entry.as_ref().expect("the previous attempt has put it back")
    }

    /// Whether there is an entry.
    pub(crate) fn is_some(&self) -> bool {
        self.entry.is_some()
    }

    fn value(&self) -> Option<&V> {
        self.entry.as_ref().map(Owned::value)
    }

    /// Starts the entry's lifetime now: since the entry was created, the thread has waited or a listener
    /// has run.
    #[cold]
    pub(crate) fn restart(&self, timing: &Timing) {
        if let (Some(entry), Some(lifetime)) = (&self.entry, self.lifetime) {
            timing.restart(entry.as_ptr(), lifetime);
        }
    }
}

/// What a change needs if there is a listener.
#[derive(Default)]
struct ListenerState<'e> {
    claim: Option<Claim<'e>>,
    /// If there is an atomic listener.
    gate: Option<Entered<'e>>,
    /// The entry of whose removal the atomic listener was notified, or must be notified now, and the
    /// cause.
    leaving: Option<(EntryPtr, RemovalCause)>,
}

/// What one attempt hands on to the next. It is rare, and boxed so that moving it costs the other changes
/// nothing.
struct Prepared<'e>(Box<ListenerState<'e>>);

enum ChangeState {
    /// Nothing has happened yet.
    Open,
    /// There was no slot to claim.
    NoRoom,
    /// The atomic listener must be notified first.
    NotifyFirst,
    /// The table was changed, and the event has to be pushed.
    Committed(Event),
    /// The table was changed, and the event is in the buffer, before the position `end`. It has to be reported
    /// to the shadow caches, if there are any.
    Reported { end: u32, shadowed: Option<ShadowWrite> },
}

impl MustNotWait {
    /// For removals that cannot return an error.
    #[cold]
    pub(crate) fn panic(self) -> ! {
        panic!(
            "a cache with an atomic listener was changed from within one of its own changes, or, from \
             within a listener or a drop, for a key that another thread is changing"
        );
    }
}

impl<K, V> Engine<K, V> {
    /// Changes an entry of `hash`: calls `once` until an attempt is done.
    ///
    /// Each attempt has a change of its own, and a guard that is dropped before the change is reported.
    /// What one attempt finds may have left before the next one, which has to search again.
    ///
    /// # Errors
    /// If the thread is inside this cache's atomic listener or within a gate of it; or if another
    /// thread is within the gate of `hash`, and this one must not wait.
    #[inline(always)]
    pub(crate) fn attempt<'e, R>(
        &'e self,
        hash: KeyHash,
        incoming: &mut Incoming<K, V>,
        once: impl FnMut(&mut Change<'e, K, V>, &mut Incoming<K, V>, &Guard) -> Attempt<R>,
    ) -> Result<R, MustNotWait> {
        self.attempt_from(None, true, hash, incoming, once)
    }

    /// The same for a change that need not mark fills: because it completes a fill, or because its caller
    /// has marked them.
    #[inline(always)]
    pub(crate) fn attempt_unmarked<'e, R>(
        &'e self,
        hash: KeyHash,
        incoming: &mut Incoming<K, V>,
        once: impl FnMut(&mut Change<'e, K, V>, &mut Incoming<K, V>, &Guard) -> Attempt<R>,
    ) -> Result<R, MustNotWait> {
        self.attempt_from(None, false, hash, incoming, once)
    }

    #[inline(always)]
    fn attempt_from<'e, R>(
        &'e self,
        mut prepared: Option<Prepared<'e>>,
        marks_fills: bool,
        hash: KeyHash,
        incoming: &mut Incoming<K, V>,
        mut once: impl FnMut(&mut Change<'e, K, V>, &mut Incoming<K, V>, &Guard) -> Attempt<R>,
    ) -> Result<R, MustNotWait> {
        loop {
            if marks_fills {
                // Before each attempt: a fill may begin while the last one is prepared.
                self.mark_changed(hash);
            }
            let admitted = match (prepared.take(), &self.atomic) {
                (None, Some(atomic)) => Self::enter_gate(atomic, hash)?,
                (prepared, _) => prepared,
            };
            // Created before the guard, so that it is dropped, and maintenance runs, after the guard, also if
            // user code panics in the attempt.
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

    /// Out of line: few caches have gates.
    #[inline(never)]
    fn enter_gate<'e>(
        atomic: &'e AtomicListening<K, V>,
        hash: KeyHash,
    ) -> Result<Option<Prepared<'e>>, MustNotWait> {
        if atomic.refuses_changes() {
            return Err(MustNotWait);
        }
        Ok(Some(Prepared::of(atomic.gates.enter(hash)?, None)))
    }

    /// A change of an entry of `hash`, within the gate that was entered, if any.
    #[inline]
    fn change<'e>(&'e self, hash: KeyHash, admitted: Option<Prepared<'e>>) -> Change<'e, K, V> {
        let listener = match admitted {
            Some(Prepared(listener)) => Some(*listener),
            None => self.deliveries.is_some().then(ListenerState::default),
        };
        Change { engine: self, hash, state: ChangeState::Open, listener, show_evicted: None }
    }

    /// A change by a thread that is within the gate of the key already, or in a cache without gates.
    #[inline]
    pub(crate) fn change_within(&self, hash: KeyHash) -> Change<'_, K, V> {
        self.change(hash, None)
    }

    /// Notifies the atomic listener of an entry that maintenance has unlinked from its policy within the gate, and then
    /// takes the entry out of the table. No lock may be held, and the thread must not be pinned.
    #[cold]
    pub(super) fn evict_notifying(&self, partition: &Partition<K, V>, leaving: PendingRemoval<'_>) {
        let Some(atomic) = &self.atomic else { return };
        let _in_flight = partition.leaving_ends();
        let _evicting = atomic.enter_eviction();
        let PendingRemoval { gate, entry, cause } = leaving;
        atomic.notify(entry, cause, None, self.age(entry));
        let prepared = Some(Prepared::of(gate, Some((entry, cause))));
        let none = &mut Incoming::none();
        let is_out = self.attempt_from(prepared, false, entry.hash(), none, |change, _, guard| {
            if !change.reserve(ChangeKind::Remove) {
                return Attempt::Retry;
            }
            let is_out = self.table.remove_entry(entry, guard);
            if is_out {
                change.commit(Event::Removed(entry), cause);
                partition.count_notified(cause, entry, self);
                self.count_loss(cause, entry);
            }
            Attempt::Done(is_out)
        });
        debug_assert!(
            matches!(is_out, Ok(true)),
            "an entry within the gate was taken out by another thread"
        );
    }

    /// Counts an eviction in the statistics of the entry's namespace.
    fn count_loss(&self, cause: RemovalCause, entry: EntryPtr) {
        if let Some(quotas) = self.quotas.as_ref().filter(|_| cause == RemovalCause::Evicted)
            && let Some(account) = entry.tags().and_then(TagSet::account)
        {
            quotas.count_eviction(account.namespace, entry.meta().weight());
        }
    }

    fn age(&self, entry: EntryPtr) -> Duration {
        self.timing.age(entry).unwrap_or_default()
    }

    /// Runs maintenance, or waits a moment for the thread that does so. Then a slot of the partition's
    /// buffer may be free.
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
    /// Has `show` called on this thread with the entries that are evicted because of the change.
    pub(crate) fn show_evicted(&mut self, show: Option<Show<'e, K, V>>) {
        self.show_evicted = show;
    }

    /// Whether the atomic listener must be notified before `old` may leave because of `cause`. If so,
    /// this attempt may change nothing, and [`prepare`](Self::prepare) notifies the listener.
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

    /// The entry of whose removal the atomic listener was notified, and the cause.
    #[inline]
    pub(crate) fn notified(&self) -> Option<(EntryPtr, RemovalCause)> {
        self.listener.as_ref().and_then(|listener| listener.leaving)
    }

    /// Why `old`, which was just taken out, has left: the cause of which the atomic listener was notified,
    /// or else `cause`.
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

    /// In a cache with a listener, claims the slot for the report of a change that is tried next. False if
    /// the write buffer is full: then nothing may be changed, and [`prepare`](Self::prepare) makes room.
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

    /// As [`reserve`](Self::reserve), but makes room itself. For a pinned thread that must continue with
    /// the entry it has found. It may wait for the thread that runs maintenance, since that thread runs no
    /// user code except the policy under the lock.
    pub(crate) fn reserve_pinned(&mut self, kind: ChangeKind) {
        while !self.reserve(kind) {
            self.engine.make_room(self.engine.partition(self.hash), Freeing::Later);
        }
    }

    /// Handles a stage of the table's own attempt, and returns whether the table may go on. `ready` is
    /// given the entry that was found, if any, and returns the kind of the change, or `None` if it may not
    /// be tried yet because the atomic listener [must be notified](Self::must_notify) first.
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

    /// Cancels the reservation: the attempt has failed, and the table was not changed.
    #[inline]
    pub(crate) fn cancel(&mut self) {
        if let Some(listener) = &mut self.listener {
            listener.claim = None;
        }
    }

    /// Notes that the table was changed. `cause` is why the old entry has left, if there was one.
    #[inline]
    pub(crate) fn commit(&mut self, event: Event, cause: RemovalCause) {
        self.commit_as(event, cause, Absence::Removed);
    }

    /// As [`commit`](Self::commit); the history remembers a removal by the user as `explicit`.
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

    /// Puts the event into the slot that was claimed for it, if one was.
    #[inline(never)]
    fn fill_claim(&mut self, event: Event) {
        if let Some(claim) = self.listener.as_mut().and_then(|listener| listener.claim.take()) {
            // Before the event is in the buffer, after which the entries may be freed.
            let shadowed = self.engine.shadow.as_ref().and_then(|_| ShadowWrite::of(&event));
            self.state = ChangeState::Reported { end: claim.fill(event), shadowed };
        }
    }

    /// Whether the attempt changed nothing because something has to be prepared first.
    pub(crate) fn is_unprepared(&self) -> bool {
        matches!(self.state, ChangeState::NoRoom | ChangeState::NotifyFirst)
    }

    /// Makes room by maintenance, or notifies the atomic listener of the entry that leaves and of the value
    /// that takes its place. Returns what the next attempt needs. The cache itself must hold no guard.
    #[cold]
    fn prepare(mut self, new_value: Option<&V>) -> Option<Prepared<'e>> {
        let state = std::mem::replace(&mut self.state, ChangeState::Open);
        let ListenerState { gate, leaving, .. } = self.listener.take().unwrap_or_default();
        let next = match (&self.engine.atomic, gate, leaving) {
            (Some(atomic), Some(gate), Some((entry, cause))) => {
                if matches!(state, ChangeState::NotifyFirst) {
                    atomic.notify(entry, cause, new_value, self.engine.age(entry));
                }
                // The listener was notified, so the entry must leave: the gate keeps other threads out.
                Some(Prepared::of(gate, Some((entry, cause))))
            }
            _ => None,
        };
        if matches!(state, ChangeState::NoRoom) {
            // Within the gate this thread must run no user code, nor wait for any. While it is pinned,
            // maintenance leaves user code to other threads.
            let guard = next.is_some().then(reclaim::pin);
            let freeing = if next.is_some() { Freeing::Later } else { Freeing::AsRetired };
            self.engine.make_room(self.engine.partition(self.hash), freeing);
            drop(guard);
        }
        next
    }
}

impl<K, V> Drop for Change<'_, K, V> {
    #[inline]
    fn drop(&mut self) {
        // The gate is left before maintenance runs, which may enter that gate, or wait.
        if let Some(listener) = &mut self.listener {
            listener.gate = None;
        }
        match &self.state {
            ChangeState::Open | ChangeState::NoRoom | ChangeState::NotifyFirst => return,
            ChangeState::Committed(event) => match self.show_evicted {
                None => self.engine.submit(event, self.hash),
                Some(show) => self.engine.submit_showing(event, self.hash, show),
            },
            ChangeState::Reported { end, shadowed } => {
                if let (Some(shadow), Some(write)) = (&self.engine.shadow, *shadowed) {
                    self.engine.note_shadow_write(shadow, write, self.hash);
                }
                match self.show_evicted {
                    None => self.engine.follow_up(*end, self.hash),
                    Some(show) => {
                        let partition = self.engine.partition(self.hash);
                        self.engine.apply_showing(partition, None, *end, show);
                    }
                }
            }
        }
        // Again, now that the table was changed.
        self.engine.forget_known(self.hash);
    }
}
