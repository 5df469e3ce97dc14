//! How a change of the table is reported to the maintenance of its partition.
#![forbid(unsafe_code)]

use crossbeam_utils::Backoff;

use super::partition::AfterUnlock;
use super::{Engine, Freeing, Partition, panics};
use crate::base::cause::RemovalCause;
use crate::base::mode::Maintenance;
use crate::base::sync;
use crate::buffer::write_buffer::{self, Event};
use crate::engine::history::Absence;
use crate::entry::{Entry, EntryPtr};
use crate::reclaim::{self, KeepAlive};

/// Is shown entries that are evicted, while it may read them. User code may run in it: no lock is held.
pub(crate) type Show<'e, K, V> = &'e dyn Fn(&Entry<K, V>);

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
        old.meta().set_cause(cause);
        if let Some(history) = &self.history {
            history.removed(hash, cause, explicit);
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
        let after = {
            let mut core = sync::lock(&partition.core);
            partition.run(&mut core, self, Some(*event), Freeing::AsRetired, due_ns)
        };
        self.finish(partition, after);
    }

    /// As [`submit`](Self::submit), but applies what waits up to the change, in background mode too, and
    /// shows what that evicts in the key's partition.
    #[cold]
    pub(super) fn submit_showing(&self, event: &Event, hash: u64, show: Show<'_, K, V>) {
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

    /// Applies `event`, and the events before the position `end`, and shows what that evicts.
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

    /// Runs maintenance once, waiting for the thread that does so, and shows what that evicts.
    fn run_showing(&self, partition: &Partition<K, V>, event: Option<Event>, show: Show<'_, K, V>) {
        let due_ns = self.due_now(partition);
        // What is evicted is retired, and cannot be freed before this. Where there is an atomic
        // listener, victims are not retired yet, and a pin would keep it from being notified.
        let guard = self.atomic.is_none().then(reclaim::pin);
        let (after, victims) = {
            let mut core = sync::lock(&partition.core);
            core.victims = Some(Vec::new());
            let after = partition.run(&mut core, self, event, Freeing::AsRetired, due_ns);
            (after, core.victims.take().unwrap_or_default())
        };
        if let Some(guard) = guard {
            for victim in victims {
                // A panic leaves out the one that it is about.
                panics::contain(|| show(self.table.at(victim, &guard)));
            }
        }
        self.finish_showing(partition, after, show);
    }

    /// As [`finish`](Self::finish), and shows what the atomic listener is notified of.
    fn finish_showing(
        &self,
        partition: &Partition<K, V>,
        after: AfterUnlock<'_, K, V>,
        show: Show<'_, K, V>,
    ) {
        let mut next = Some(after);
        let mut has_unneeded_loan = false;
        while let Some(after) = next {
            let has_evicted = after.leaving.is_some();
            if let Some(leaving) = &after.leaving
                && leaving.cause == RemovalCause::Evicted
            {
                // Within its gate it stays linked, and is not retired.
                let alive = KeepAlive::<K, V>::new(leaving.entry);
                panics::contain(|| show(alive.entry()));
            }
            has_unneeded_loan |= self.finish_run(partition, after);
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

    /// Memory is bounded: the thread that runs maintenance makes room, or this thread does, unless
    /// the oldest event is still being filled in by its writer.
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
    pub(super) fn follow_up(&self, end: u32, hash: u64) {
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
    pub(super) fn run_until(&self, partition: &Partition<K, V>, end: u32) {
        loop {
            let due_ns = self.due_now(partition);
            let after = {
                let mut core = sync::lock(&partition.core);
                partition.run(&mut core, self, None, Freeing::AsRetired, due_ns)
            };
            self.finish(partition, after);
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
