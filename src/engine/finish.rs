//! What a run of maintenance leaves to be done without the lock.
#![forbid(unsafe_code)]

use super::partition::{AfterDirect, AfterUnlock, DirectRun, Freeing, Partition, Unpaced};
use super::{BUCKETS_OPENED_INLINE, Engine, ending};
use crate::base::cause::RemovalCause;
use crate::base::mode::Maintenance;
use crate::base::panics;
use crate::base::sync::{self, Ordering};
use crate::buffer::write_buffer::Event;
use crate::entry::Entry;
use crate::reclaim::{self, Freeable, KeepAlive};

/// Writers give way once the garbage of a partition is this many times the backlog: where there are more threads than
/// processors, some pinned thread is always off its processor, for some milliseconds.
const PATIENCE: u64 = 4;

/// A closure that is called with each evicted entry before the entry is freed. It may run user code: no
/// lock is held.
pub(crate) type Show<'e, K, V> = &'e dyn Fn(&Entry<K, V>);

impl<K, V> Engine<K, V> {
    /// Runs maintenance of a partition unless another thread does.
    pub(super) fn try_run(&self, partition: &Partition<K, V>, freeing: Freeing) -> bool {
        let due_ns = self.due_about_now(partition);
        let after = match partition.core.try_lock() {
            Some(mut core) => partition.run(&mut core, self, None, freeing, due_ns),
            None => return false,
        };
        self.finish(partition, after);
        true
    }

    /// Waits for the lock of a partition and runs its maintenance.
    // Inline, or each write with inline maintenance would pay for a call.
    #[inline(always)]
    pub(super) fn run_locked<'e>(
        &'e self,
        partition: &Partition<K, V>,
        event: Option<Event>,
        due_ns: Option<u64>,
    ) -> AfterUnlock<'e, K, V> {
        let mut core = partition.core.lock();
        partition.run(&mut core, self, event, Freeing::AsRetired, due_ns)
    }

    /// Does everything that a run has left.
    #[inline]
    pub(super) fn finish(&self, partition: &Partition<K, V>, after: AfterUnlock<'_, K, V>) {
        let has_unneeded_loan = match after.leaving {
            None => self.finish_run(partition, after),
            Some(_) => self.finish_runs(partition, after, None),
        };
        if has_unneeded_loan {
            self.settle_loans();
        }
        self.share_excess();
    }

    /// As [`finish`](Self::finish), but leaves it to the caller to give loans back, and returns whether there are some.
    /// In a cache with an atomic listener a run takes out one entry at most, so more runs may have to follow. Calls
    /// `show` with evicted entries before the listener is notified of them.
    #[cold]
    pub(super) fn finish_runs(
        &self,
        partition: &Partition<K, V>,
        after: AfterUnlock<'_, K, V>,
        show: Option<Show<'_, K, V>>,
    ) -> bool {
        let mut next = Some(after);
        let mut has_unneeded_loan = false;
        while let Some(after) = next {
            let has_removal = after.leaving.is_some();
            if let (Some(show), Some(leaving)) = (show, &after.leaving)
                && leaving.cause == RemovalCause::Evicted
            {
                // While its gate is held, the entry stays in the table and is not retired.
                let alive = KeepAlive::<K, V>::new(leaving.entry);
                panics::contain(|| show(alive.entry()));
            }
            has_unneeded_loan |= self.finish_run(partition, after);
            next = if has_removal { self.run_again(partition) } else { None };
        }
        has_unneeded_loan
    }

    /// Runs maintenance once more, after a removal of which the atomic listener was notified.
    #[cold]
    pub(super) fn run_again<'e>(
        &'e self,
        partition: &Partition<K, V>,
    ) -> Option<AfterUnlock<'e, K, V>> {
        let due_ns = self.due_about_now(partition);
        if self.mode == Maintenance::Inline {
            return Some(self.run_locked(partition, None, due_ns));
        }
        // If another thread has the lock, it goes on with the work.
        let mut core = partition.core.try_lock()?;
        Some(partition.run(&mut core, self, None, Freeing::AsRetired, due_ns))
    }

    /// Does what one run has left, and returns whether a loan has to be given back.
    pub(super) fn finish_run(
        &self,
        partition: &Partition<K, V>,
        after: AfterUnlock<'_, K, V>,
    ) -> bool {
        let AfterUnlock { free, phase, retired, retired_weight, linked, is_due_earlier, .. } =
            after;
        let has_unneeded_loan = after.has_unneeded_loan;
        if !after.payloads.is_empty() {
            panics::discard(after.payloads);
        }
        self.shadow_removed(after.removed);
        if let Some(shadows) = &self.namespace_shadows {
            shadows.play_if_due();
        }
        if let Some(leaving) = after.leaving {
            self.evict_notifying(partition, leaving);
        }
        let linked = self.note_linked(linked);
        if linked > 0 {
            self.table.grow_for(linked);
            if self.mode == Maintenance::Inline && self.has_closed_buckets() {
                self.open_buckets(BUCKETS_OPENED_INLINE);
            }
        }
        if retired > 0 {
            self.pace(partition, retired, retired_weight);
            self.give_way(partition);
        }
        self.free(partition, free, phase);
        self.deliver(partition);
        self.notify_if_wanted(partition, is_due_earlier);
        has_unneeded_loan
    }

    /// Notifies the maintenance thread if there is work for it after a run.
    #[inline(always)]
    pub(super) fn notify_if_wanted(&self, partition: &Partition<K, V>, is_due_earlier: bool) {
        let wants_thread = partition.wants_visit()
            || partition.writes.waiting() > 0
            || self.has_closed_buckets()
            || is_due_earlier;
        if wants_thread && self.mode == Maintenance::Background {
            // SeqCst: between the counts just read and the maintenance thread's state; pairs with the
            // fence in `has_work` (module head of the engine).
            sync::fence(Ordering::SeqCst);
            self.attendance.notify();
        }
    }

    /// Lets other threads run if much waits to be freed.
    fn give_way(&self, partition: &Partition<K, V>) {
        // A pinned thread makes no progress. Most likely it is off its processor, and this thread's
        // yield brings it back sooner. Nothing waits for a guard that a user holds.
        if partition.garbage() > PATIENCE * self.backlog && reclaim::give_way() {
            reclaim::advance();
        }
    }

    /// Does what a direct run has left.
    #[inline(never)]
    pub(super) fn finish_direct(
        &self,
        partition: &Partition<K, V>,
        rest: &mut Option<AfterDirect<'_, K, V>>,
    ) {
        let run = match rest.take() {
            Some(AfterDirect::Plain(run)) => run,
            Some(AfterDirect::More(after)) => return self.finish(partition, after),
            None => return,
        };
        let DirectRun { free, phase, linked, is_paced } = run;
        if linked != 0 {
            let linked = self.note_linked(linked);
            if linked > 0 {
                self.table.grow_for(linked);
                if self.has_closed_buckets() {
                    match self.mode {
                        Maintenance::Inline => self.open_buckets(BUCKETS_OPENED_INLINE),
                        // SeqCst: as at the end of `finish_run`.
                        Maintenance::Background => sync::fence(Ordering::SeqCst),
                    }
                }
            }
        }
        if is_paced {
            advance_unless_others_do(partition);
            self.give_way(partition);
        }
        if let Some(batch) = free {
            self.free(partition, vec![batch], phase);
        }
        // There may be garbage, of which the run saw, under the lock, whether the maintenance thread had
        // declared the cache idle; or buckets to open.
        self.attendance.notify();
    }

    /// Advances the epoch once enough was retired.
    pub(super) fn pace(&self, partition: &Partition<K, V>, retired: usize, weight: u64) {
        let Unpaced { entries, weight: weights, .. } = &partition.unpaced;
        let unpaced = entries.fetch_add(retired, Ordering::Relaxed) + retired;
        let unpaced_weight = weights.fetch_add(weight, Ordering::Relaxed).saturating_add(weight);
        if unpaced >= self.pace_entries || unpaced_weight >= self.pace_weight {
            entries.store(0, Ordering::Relaxed);
            weights.store(0, Ordering::Relaxed);
            advance_unless_others_do(partition);
        }
    }

    /// Adds to the count of linked entries in all partitions. Returns the new count if it has grown, or
    /// else 0.
    pub(super) fn note_linked(&self, change: isize) -> usize {
        if change == 0 {
            return 0;
        }
        // In two's complement: a removal may be counted before the insertion that it undoes, by another
        // thread.
        let change_bits = change.cast_unsigned();
        let linked =
            self.linked.fetch_add(change_bits, Ordering::Relaxed).wrapping_add(change_bits);
        if change > 0 { usize::try_from(linked.cast_signed()).unwrap_or(0) } else { 0 }
    }

    pub(super) fn free(
        &self,
        partition: &Partition<K, V>,
        batches: Vec<Freeable<K, V>>,
        phase: usize,
    ) {
        if batches.is_empty() {
            return;
        }
        ending::while_dropping(|| {
            for batch in batches {
                let count = batch.len() as u64;
                let panics = batch.dispose();
                partition.note_freed(count, panics, phase);
            }
        });
    }
}

/// Advances the epoch, unless another partition or cache has done so since this one last came here. So one advance
/// serves what all partitions retire.
fn advance_unless_others_do<K, V>(partition: &Partition<K, V>) {
    let seen = &partition.unpaced.advances;
    if reclaim::advances() == seen.load(Ordering::Relaxed) {
        reclaim::advance();
    }
    seen.store(reclaim::advances(), Ordering::Relaxed);
}
