//! What every change of the table goes through: its place in the order of removals, its report.
#![forbid(unsafe_code)]

use crossbeam_utils::Backoff;

use super::{Engine, Freeing, Maintenance, Partition};
use crate::entry::EntryPtr;
use crate::listener::RemovalCause;
use crate::maintainer;
use crate::sync;
use crate::write_buffer::{Claim, Event};

/// A change of the table, from before it is tried until it is reported, which dropping it does.
///
/// Make it before the guard under which the change is tried, so that it is dropped, and
/// maintenance runs, after it. In a cache without a listener, events are reported when they have
/// happened. In one with a listener their slots are claimed ahead (`write_buffer`).
pub(crate) struct Change<'e, K, V> {
    engine: &'e Engine<K, V>,
    hash: u64,
    claim: Option<Claim<'e>>,
    state: State,
}

enum State {
    /// Nothing has happened yet.
    Open,
    /// There was no slot to claim.
    NoRoom,
    /// It has happened and is to be pushed.
    Made(Event),
    /// It has happened, and stands in the buffer before this position.
    Told(u32),
}

impl<K, V> Engine<K, V> {
    /// A change of an entry of `hash`.
    #[inline]
    pub(crate) fn change(&self, hash: u64) -> Change<'_, K, V> {
        Change { engine: self, hash, claim: None, state: State::Open }
    }

    /// Runs or waits for maintenance until a slot of the partition's buffer may be free.
    fn make_room(&self, partition: &Partition<K, V>, freeing: Freeing) {
        if !self.try_run(partition, freeing) {
            Backoff::new().snooze();
        }
    }
}

impl<K, V> Change<'_, K, V> {
    /// The entry in question was found; what changes the table is tried next. False if there is no
    /// room for the report: then nothing may be changed, and [`make_room`](Self::make_room) helps.
    #[inline]
    pub(crate) fn announce(&mut self, change: i32) -> bool {
        if self.engine.deliveries.is_none() {
            return true;
        }
        debug_assert!(self.claim.is_none(), "withdrawn before the next attempt");
        match self.engine.partition(self.hash).writes.claim(change) {
            Ok(claim) => self.claim = Some(claim),
            Err(_) => self.state = State::NoRoom,
        }
        self.claim.is_some()
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
        self.claim = None;
    }

    /// The table was changed. `cause` is why the old entry has left, if one has.
    #[inline]
    pub(crate) fn made(&mut self, event: Event, cause: RemovalCause) {
        if let Event::Removed(old) | Event::Replaced { old, .. } = event {
            old.set_cause(cause);
            if let Some(recent) = &self.engine.recent {
                recent.removed(self.hash, cause);
            }
        }
        self.state = match self.claim.take() {
            Some(claim) => State::Told(claim.fill(event)),
            None => State::Made(event),
        };
    }

    /// An entry was taken out.
    #[inline]
    pub(crate) fn removed(&mut self, old: EntryPtr, cause: RemovalCause) {
        self.made(Event::Removed(old), cause);
    }

    /// Whether nothing was tried for want of room.
    pub(crate) fn lacks_room(&self) -> bool {
        matches!(self.state, State::NoRoom)
    }

    /// Lets maintenance make room. No guard may be held by the cache itself.
    #[cold]
    pub(crate) fn make_room(mut self) {
        self.state = State::Open;
        self.engine.make_room(self.engine.partition(self.hash), Freeing::AsRetired);
    }
}

impl<K, V> Drop for Change<'_, K, V> {
    #[inline]
    fn drop(&mut self) {
        match self.state {
            State::Open | State::NoRoom => {}
            State::Made(event) => self.engine.submit(event, self.hash),
            State::Told(end) => self.engine.follow_up(end, self.hash),
        }
    }
}

impl<K, V> Engine<K, V> {
    /// Sees to what a change needs whose event stands in the buffer before `end`.
    fn follow_up(&self, end: u32, hash: u64) {
        let partition = self.partition(hash);
        match self.mode {
            Maintenance::Background => {
                let is_due = partition.writes.waiting() >= self.batch;
                if !(is_due && self.try_run(partition, Freeing::AsRetired)) {
                    maintainer::notify();
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
            std::thread::yield_now();
        }
    }
}
