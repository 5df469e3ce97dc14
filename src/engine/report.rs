//! How a change of the table is reported to its partition, and which thread then runs maintenance.
#![forbid(unsafe_code)]

use crossbeam_utils::Backoff;

use super::Engine;
use super::finish::Show;
use super::partition::{Freeing, Partition};
use crate::base::cause::RemovalCause;
use crate::base::hash::KeyHash;
use crate::base::mode::Maintenance;
use crate::base::panics;
use crate::base::sync;
use crate::buffer::write_buffer::{self, Event};
use crate::engine::history::Absence;
use crate::entry::EntryPtr;
use crate::reclaim::{self, Guard};

/// Where a plain insertion reports its change.
pub(crate) struct PlainReport<'e, K, V> {
    engine: &'e Engine<K, V>,
    partition: &'e Partition<K, V>,
}

impl<K, V> PlainReport<'_, K, V> {
    /// As [`Engine::submit`]. Drops the guard, under which the change was made.
    #[inline]
    pub(crate) fn submit(&self, event: &Event, guard: Guard) {
        self.engine.submit_plain(self.partition, event, guard);
    }
}

impl<K, V> Engine<K, V> {
    /// Notes why `old`, which was just taken out, has left, before the removal is reported. The history
    /// remembers a removal by the user as `explicit`.
    #[inline]
    pub(crate) fn note_removal(
        &self,
        old: EntryPtr,
        hash: KeyHash,
        cause: RemovalCause,
        explicit: Absence,
    ) {
        old.meta().set_cause(cause);
        if let Some(history) = &self.history {
            history.removed(hash, cause, explicit);
        }
    }

    /// Reports a change of the table for `hash`. The cache itself must hold no guard.
    ///
    /// The event is passed by reference. It was just written word by word; a copy would read it in wider
    /// words, and wait until these stores have left the processor's store buffer.
    pub(crate) fn submit(&self, event: &Event, hash: KeyHash) {
        if let Some(shadow) = &self.shadow {
            self.shadow_write(shadow, event, hash);
        }
        let partition = self.partition(hash);
        if self.is_plain {
            return self.submit_plain(partition, event, reclaim::pin());
        }
        self.submit_whole(partition, event);
    }

    /// Applies an event by a whole run, with inline maintenance, or leaves it to the thread that has the lock.
    #[inline]
    fn submit_whole(&self, partition: &Partition<K, V>, event: &Event) {
        match self.mode {
            Maintenance::Background => self.push(partition, event),
            Maintenance::Inline => self.apply_now(partition, event),
        }
    }

    /// Applies an event of a plain cache by a direct run, if the thread gets the lock at once.
    #[inline]
    fn submit_plain(&self, partition: &Partition<K, V>, event: &Event, guard: Guard) {
        // Entries that are due leave first, which takes a whole run.
        let is_due = self.due_about_now(partition).is_some();
        let core = if is_due { None } else { partition.core.try_lock() };
        let Some(mut core) = core.filter(|core| partition.takes_direct_runs(core)) else {
            // With inline maintenance the thread waits for the lock.
            drop(guard);
            return self.submit_whole(partition, event);
        };
        let mut rest = None;
        let has_garbage = partition.run_directly(&mut core, self, event, &guard, &mut rest);
        drop(core);
        // What follows may wait or run user code.
        drop(guard);
        if rest.is_some() {
            return self.finish_direct(partition, &mut rest);
        }
        // There is nothing to drop, which the compiler does not see.
        std::mem::forget(rest);
        if has_garbage {
            // The run saw, under the lock, whether the maintenance thread had declared the cache idle.
            self.attendance.notify();
        }
    }

    /// Leaves an event to the thread that has the lock.
    pub(super) fn push(&self, partition: &Partition<K, V>, event: &Event) {
        match partition.writes.push(event) {
            Ok(waiting) => self.note_waiting(partition, waiting),
            Err(write_buffer::Full) => self.await_push(partition, event),
        }
    }

    /// Where a plain insertion of `hash` reports its change; `None` if the bounds refuse the entry, or may
    /// refuse it. Prefetches what that report writes.
    #[inline]
    pub(crate) fn plain_report(&self, hash: KeyHash) -> Option<PlainReport<'_, K, V>> {
        let partition = self.partition(hash);
        partition.prefetch(hash);
        let takes_entry = !self.stores_nothing() && partition.weight_share() > 0;
        takes_entry.then_some(PlainReport { engine: self, partition })
    }

    /// With inline maintenance: applies `event`, so that the change has taken full effect when its call
    /// returns.
    #[inline(never)]
    fn apply_now(&self, partition: &Partition<K, V>, event: &Event) {
        let due_ns = self.due_about_now(partition);
        self.finish(partition, self.run_locked(partition, Some(*event), due_ns));
    }

    /// As [`submit`](Self::submit), but applies all events up to this one, in background mode too, and
    /// calls `show` with the entries that this evicts from the key's partition.
    #[cold]
    pub(super) fn submit_showing(&self, event: &Event, hash: KeyHash, show: Show<'_, K, V>) {
        if let Some(shadow) = &self.shadow {
            self.shadow_write(shadow, event, hash);
        }
        let partition = self.partition(hash);
        let event = match self.mode {
            Maintenance::Inline => Some(*event),
            Maintenance::Background => {
                while partition.writes.push(event).is_err() {
                    self.run_showing(partition, None, show);
                }
                None
            }
        };
        self.apply_showing(partition, event, partition.writes.position(), show);
    }

    /// Applies `event`, and the events before the position `end`, and calls `show` with the victims.
    #[cold]
    pub(super) fn apply_showing(
        &self,
        partition: &Partition<K, V>,
        mut event: Option<Event>,
        end: u32,
        show: Show<'_, K, V>,
    ) {
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

    /// Waits for the partition's lock, runs maintenance once, and calls `show` with the victims.
    fn run_showing(&self, partition: &Partition<K, V>, event: Option<Event>, show: Show<'_, K, V>) {
        let due_ns = self.due_now(partition);
        // Victims are retired, and the guard keeps them from being freed. If there is an atomic listener,
        // they are not retired yet, and a guard would keep the listener from being notified.
        let guard = self.atomic.is_none().then(reclaim::pin);
        let (after, victims) = {
            let mut core = partition.core.lock();
            core.victims = Some(Vec::new());
            let after = partition.run(&mut core, self, event, Freeing::AsRetired, due_ns);
            (after, core.victims.take().unwrap_or_default())
        };
        if let Some(guard) = guard {
            for victim in victims {
                // A panic ends only the call for this victim.
                panics::contain(|| show(self.table.at(victim, &guard)));
            }
        }
        if self.finish_runs(partition, after, Some(show)) {
            self.settle_loans();
        }
        self.share_excess();
    }

    /// Runs maintenance once enough events wait; otherwise, or if another thread runs it, notifies the
    /// maintenance thread.
    #[inline]
    fn note_waiting(&self, partition: &Partition<K, V>, waiting: u32) {
        if waiting >= self.batch {
            self.run_due(partition);
        } else {
            self.attendance.notify();
        }
    }

    /// Runs maintenance, or else notifies the maintenance thread.
    #[inline(never)]
    fn run_due(&self, partition: &Partition<K, V>) {
        if !self.try_run(partition, Freeing::AsRetired) {
            self.attendance.notify();
        }
    }

    /// Waits until the event can be pushed, so that memory stays bounded. The thread that runs
    /// maintenance makes room, or this thread does, unless the writer of the oldest event has not
    /// filled in its slot yet.
    #[cold]
    fn await_push(&self, partition: &Partition<K, V>, event: &Event) {
        let backoff = Backoff::new();
        loop {
            // Most likely the thread that has the lock has lost its processor. This one yields until it has
            // the lock, so the other can go on.
            let due_ns = self.due_about_now(partition);
            self.finish(partition, self.run_locked(partition, None, due_ns));
            if let Ok(waiting) = partition.writes.push(event) {
                return self.note_waiting(partition, waiting);
            }
            backoff.snooze();
        }
    }

    /// Does what is left to do for a change whose event is in the buffer, before `end`.
    #[inline(never)]
    pub(super) fn follow_up(&self, end: u32, hash: KeyHash) {
        let partition = self.partition(hash);
        if !self.takes_direct_runs || !self.follow_directly(partition, end) {
            match self.mode {
                Maintenance::Background => self.note_waiting(partition, partition.writes.waiting()),
                Maintenance::Inline => self.run_until(partition, end),
            }
        }
        self.await_room(partition);
    }

    /// Applies the events before the position `end` by a direct run, if the thread gets the lock at once. Returns
    /// whether nothing is left to do. In background mode, some of the events may be left to the maintenance thread.
    fn follow_directly(&self, partition: &Partition<K, V>, end: u32) -> bool {
        let due_ns = match self.mode {
            Maintenance::Background => self.due_about_now(partition),
            Maintenance::Inline => self.due_now(partition),
        };
        let Some(channel) = partition.channel.as_ref().filter(|_| due_ns.is_none()) else {
            return false;
        };
        let guard = reclaim::pin();
        let core = partition.core.try_lock();
        let Some(mut core) = core.filter(|core| partition.takes_direct_runs(core)) else {
            return false;
        };
        let mut rest = None;
        partition.run_notifying(&mut core, self, channel, &guard, &mut rest);
        drop(core);
        // What follows may wait or run user code.
        drop(guard);
        self.finish_direct(partition, &mut rest);
        self.deliver(partition);
        match self.mode {
            Maintenance::Background => {
                self.notify_if_wanted(partition, false);
                true
            }
            Maintenance::Inline => partition.writes.has_popped(end),
        }
    }

    /// Applies all events that were submitted before the call.
    pub(super) fn apply_pending(&self) {
        for partition in &self.partitions {
            // Not the events that other threads push meanwhile, or this might never end.
            self.run_until(partition, partition.writes.position());
        }
    }

    /// Applies the events before the position `end`, and removes the entries that are due to expire.
    pub(super) fn run_until(&self, partition: &Partition<K, V>, end: u32) {
        loop {
            let due_ns = self.due_now(partition);
            self.finish(partition, self.run_locked(partition, None, due_ns));
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
