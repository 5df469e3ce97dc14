//! Work that no call does: the visits of the maintenance thread, and the timers that say when it
//! has to come.
#![forbid(unsafe_code)]

use std::time::Duration;

use super::Engine;
use super::partition::{Freeing, Partition};
use crate::base::mode::Maintenance;
use crate::base::sync::{self, Ordering};
use crate::entry::Deadline;
use crate::entry::EntryPtr;
use crate::expiry::Moved;
use crate::reclaim;

/// Buckets that one visit of the maintenance thread opens after the table has grown.
const BUCKETS_OPENED_A_VISIT: usize = 16 * 1024;
/// Runs of one partition that one visit of the maintenance thread makes while its timers are due.
const RUNS_A_VISIT: usize = 64;
/// The longest that the maintenance thread sleeps while timers are set by a clock that need not go
/// as the system's does.
pub(super) const STRANGE_CLOCK_PAUSE: Duration = Duration::from_millis(50);

impl<K, V> Engine<K, V> {
    /// One visit of the maintenance thread. True if there may be more to do soon.
    pub(crate) fn tick(&self) -> bool {
        let mut has_garbage = false;
        for partition in &self.partitions {
            has_garbage |= partition.has_garbage();
            let mut due_ns = self.due_now(partition);
            let is_idle = partition.writes.waiting() == 0 && !partition.wants_visit();
            // Where writers run maintenance, they do this better, in their own processors' caches.
            // But they take out little of what is due at a time.
            let is_unattended = is_idle || partition.is_attended();
            if is_unattended && due_ns.is_none() {
                continue;
            }
            for _ in 0..RUNS_A_VISIT {
                let after = match sync::try_lock(&partition.core) {
                    Some(mut core) => partition.run(&mut core, self, None, Freeing::All, due_ns),
                    None => break, // another thread runs maintenance
                };
                self.finish(partition, after);
                due_ns = self.due_now(partition);
                if due_ns.is_none() {
                    break;
                }
            }
            has_garbage |= partition.has_garbage();
            partition.seal();
        }
        if has_garbage {
            reclaim::advance();
        }
        if let Some(shadow) = self.shadow.as_ref().filter(|shadow| shadow.is_due()) {
            shadow.try_play();
        }
        self.open_buckets(BUCKETS_OPENED_A_VISIT);
        self.has_work()
    }

    /// Gives a valid entry `ttl` to live from now on, `None` for ever; false if it has expired.
    pub(crate) fn set_remaining(&self, entry: EntryPtr, ttl: Option<Duration>) -> bool {
        let moved = self.timing.set_remaining(entry, ttl);
        self.note_moved(entry, moved);
        moved.is_some()
    }

    /// The same within the entry's other lifetimes, because an [`Expiry`](crate::Expiry) says so of
    /// an entry that is being used.
    pub(crate) fn set_computed(&self, entry: EntryPtr, ttl: Option<Duration>) {
        let moved = self.timing.set_computed(entry, ttl);
        self.note_moved(entry, moved);
    }

    fn note_moved(&self, entry: EntryPtr, moved: Option<Moved>) {
        if moved == Some(Moved::Earlier) {
            self.brought_forward.note();
            self.partition(entry.hash()).note_moved(entry);
            if self.mode == Maintenance::Background {
                // SeqCst: between the report and the thread's state; see the module head.
                sync::fence(Ordering::SeqCst);
                self.attendance.notify();
            }
        }
    }

    /// The time, if a timer of the partition may be due: cheap, and so a little early.
    #[inline]
    pub(super) fn due_about_now(&self, partition: &Partition<K, V>) -> Option<u64> {
        let next = partition.next_timer_ns();
        if next == Deadline::NEVER || self.timing.is_expiry_lazy || self.must_not_expire() {
            return None;
        }
        let (early, _) = self.timing.time.around_ns();
        (next <= early).then_some(early)
    }

    /// Whether nothing may be taken out now that has expired.
    #[inline]
    fn must_not_expire(&self) -> bool {
        self.is_ending() || self.cannot_notify()
    }

    /// The time, if a timer of the partition may be due.
    pub(super) fn due_now(&self, partition: &Partition<K, V>) -> Option<u64> {
        if self.timing.is_expiry_lazy { None } else { self.due_at_last(partition) }
    }

    /// The same, also with lazy expiry.
    pub(super) fn due_at_last(&self, partition: &Partition<K, V>) -> Option<u64> {
        let next = partition.next_timer_ns();
        if self.must_not_expire() {
            return None;
        }
        (next != Deadline::NEVER).then(|| self.timing.time.note_now_ns()).filter(|now| next <= *now)
    }

    /// How long it is until a timer is due; `None` if none is set.
    pub(crate) fn next_timer(&self) -> Option<Duration> {
        let next = self.partitions.iter().map(Partition::next_timer_ns).min()?;
        if next == Deadline::NEVER || self.timing.is_expiry_lazy {
            return None;
        }
        let left = Duration::from_nanos(next.saturating_sub(self.timing.time.now_ns()));
        Some(if self.timing.time.follows_system_clock() {
            left
        } else {
            left.min(STRANGE_CLOCK_PAUSE)
        })
    }

    /// Removes everything that expired before the call, also with lazy expiry.
    pub(crate) fn remove_expired(&self) {
        for partition in &self.partitions {
            // The run that applies an insertion, or a new deadline, sets its timer.
            if partition.writes.waiting() > 0 || partition.has_moved() {
                self.run_until(partition, partition.writes.position());
            }
            while let Some(due) = self.due_at_last(partition) {
                let after = {
                    let mut core = sync::lock(&partition.core);
                    partition.run(&mut core, self, None, Freeing::AsRetired, Some(due))
                };
                self.finish(partition, after);
            }
        }
    }
}
