//! The visits of the maintenance thread, and when the next timer is due.
#![forbid(unsafe_code)]

use std::time::Duration;

use super::Engine;
use super::partition::{Freeing, Partition};
use crate::base::mode::Maintenance;
use crate::base::sync::{self, Ordering};
use crate::entry::{Deadline, EntryPtr};
use crate::expiry::{EntryTtl, Moved};
use crate::maintainer::STRANGE_CLOCK_PAUSE;
use crate::reclaim;

/// Buckets that a visit opens after the table has grown.
const BUCKETS_OPENED_A_VISIT: usize = 16 * 1024;
/// Runs of one partition in a visit while its timers are due.
const RUNS_A_VISIT: usize = 64;

impl<K, V> Engine<K, V> {
    /// A visit of the maintenance thread. True if there may be more to do soon.
    pub(crate) fn tick(&self) -> bool {
        let mut has_garbage = false;
        for partition in &self.partitions {
            has_garbage |= partition.has_garbage();
            let mut due_ns = self.due_now(partition);
            let is_idle = partition.writes.waiting() == 0 && !partition.wants_visit();
            // Writers that run maintenance do it better, since the data is in their processors' caches.
            // But each of their runs removes few of the entries that are due to expire.
            let needs_run = !(is_idle || partition.is_attended());
            if !needs_run && due_ns.is_none() {
                continue;
            }
            for _ in 0..RUNS_A_VISIT {
                let after = match partition.core.try_lock() {
                    Some(mut core) => partition.run(&mut core, self, None, Freeing::All, due_ns),
                    None => break, // another thread runs maintenance
                };
                self.finish(partition, after);
                due_ns = self.due_now(partition);
                if due_ns.is_none() && partition.writes.waiting() == 0 {
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
        if let Some(shadows) = &self.namespace_shadows {
            shadows.play_if_due();
        }
        self.open_buckets(BUCKETS_OPENED_A_VISIT);
        self.has_work()
    }

    /// Lets a valid entry live for `ttl` from now, or for ever if that is `None`. False if the entry has
    /// expired.
    pub(crate) fn set_remaining(&self, entry: EntryPtr, ttl: Option<Duration>) -> bool {
        let moved = self.timing.set_remaining(entry, ttl);
        self.note_moved(entry, moved);
        moved.is_some()
    }

    /// The same for an entry in use, as an [`Expiry`](crate::Expiry) has computed, within the entry's other
    /// lifetimes.
    pub(crate) fn set_computed(&self, entry: EntryPtr, ttl: Option<Duration>) {
        let moved = self.timing.set_computed(entry, ttl);
        self.note_moved(entry, moved);
    }

    /// Gives an entry, which may have expired and be kept for the grace, a new lifetime as if it were
    /// written now; `computed` is what an [`Expiry`](crate::Expiry) has answered, if it was asked. False
    /// if the entry has expired for ever.
    pub(crate) fn renew(
        &self,
        entry: EntryPtr,
        lifetime: EntryTtl,
        computed: Option<Option<Duration>>,
    ) -> bool {
        if entry.extension().is_none() {
            return true;
        }
        let moved = self.timing.renew(entry, lifetime, computed);
        self.note_moved(entry, moved);
        moved.is_some()
    }

    /// Gives `new`, which keeps the lifetime of `old` and has just replaced it, a lifetime that `old` was given
    /// at the same time.
    pub(crate) fn carry_lifetime(&self, old: EntryPtr, new: EntryPtr, kept_until: u64) {
        if let Some(ttl) = self.timing.lifetime_to_carry(old, new, kept_until) {
            self.set_remaining(new, ttl);
        }
    }

    fn note_moved(&self, entry: EntryPtr, moved: Option<Moved>) {
        if moved == Some(Moved::Earlier) {
            self.brought_forward.note();
            self.partition(entry.hash()).note_moved(entry);
            if self.mode == Maintenance::Background {
                // SeqCst: between the report of the move and the maintenance thread's state; pairs with the
                // fence in `has_work` (module head of the engine).
                sync::fence(Ordering::SeqCst);
                self.attendance.notify();
            }
        }
    }

    /// The time, if a timer of the partition may be due. Cheap to read, and therefore a little early.
    #[inline]
    pub(super) fn due_about_now(&self, partition: &Partition<K, V>) -> Option<u64> {
        let next = partition.next_timer_ns();
        if next == Deadline::NEVER || self.timing.is_expiry_lazy || self.cannot_expire() {
            return None;
        }
        let (early, _) = self.timing.time.around_ns();
        (next <= early).then_some(early)
    }

    /// Whether expired entries must not be taken out now.
    #[inline]
    fn cannot_expire(&self) -> bool {
        self.is_ending() || self.cannot_notify()
    }

    /// The exact time, if a timer of the partition may be due.
    pub(super) fn due_now(&self, partition: &Partition<K, V>) -> Option<u64> {
        if self.timing.is_expiry_lazy { None } else { self.due_even_if_lazy(partition) }
    }

    /// The same, even with lazy expiry.
    pub(super) fn due_even_if_lazy(&self, partition: &Partition<K, V>) -> Option<u64> {
        let next = partition.next_timer_ns();
        if self.cannot_expire() {
            return None;
        }
        (next != Deadline::NEVER).then(|| self.timing.time.note_now_ns()).filter(|now| next <= *now)
    }

    /// How long it is until a timer may be due; `None` if none is set.
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

    /// Removes everything that expired before the call, even with lazy expiry.
    pub(crate) fn remove_expired(&self) {
        for partition in &self.partitions {
            // The run that applies an insertion, or a new deadline, sets its timer.
            if partition.writes.waiting() > 0 || partition.has_moved() {
                self.run_until(partition, partition.writes.position());
            }
            // What expires after the first look is left, or a listener that keeps inserting entries with
            // short lifetimes would keep this thread here.
            let due = self.due_even_if_lazy(partition);
            while let Some(due) = due.filter(|due| partition.next_timer_ns() <= *due)
                && !self.cannot_expire()
            {
                self.finish(partition, self.run_locked(partition, None, Some(due)));
            }
        }
    }
}
