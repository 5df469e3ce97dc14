//! What a run of maintenance leaves to be done without the lock.
#![forbid(unsafe_code)]

use super::partition::{AfterUnlock, Freeing, Partition};
use super::{BUCKETS_OPENED_INLINE, Engine, Unpaced, ending};
use crate::base::mode::Maintenance;
use crate::base::panics;
use crate::base::sync::{self, Ordering};
use crate::reclaim::{self, Freeable};

impl<K, V> Engine<K, V> {
    /// Runs maintenance of a partition unless another thread does.
    pub(super) fn try_run(&self, partition: &Partition<K, V>, freeing: Freeing) -> bool {
        let due_ns = self.due_about_now(partition);
        let after = match sync::try_lock(&partition.core) {
            Some(mut core) => partition.run(&mut core, self, None, freeing, due_ns),
            None => return false,
        };
        self.finish(partition, after);
        true
    }

    /// Does what a run of maintenance leaves to be done without the lock.
    #[inline]
    pub(super) fn finish(&self, partition: &Partition<K, V>, after: AfterUnlock<'_, K, V>) {
        let has_unneeded_loan = match after.leaving {
            None => self.finish_run(partition, after),
            Some(_) => self.finish_runs(partition, after),
        };
        if has_unneeded_loan {
            self.settle_loans();
        }
    }

    /// All of that but loans that have to be given back: says whether there are some. In a cache with
    /// an atomic listener a run takes out one entry, so there may be more to take out then.
    #[cold]
    pub(super) fn finish_runs(
        &self,
        partition: &Partition<K, V>,
        after: AfterUnlock<'_, K, V>,
    ) -> bool {
        let mut next = Some(after);
        let mut has_unneeded_loan = false;
        while let Some(after) = next {
            let has_evicted = after.leaving.is_some();
            has_unneeded_loan |= self.finish_run(partition, after);
            next = if has_evicted { self.run_again(partition) } else { None };
        }
        has_unneeded_loan
    }

    /// One more run, after an eviction of which the atomic listener was notified.
    #[cold]
    pub(super) fn run_again<'e>(
        &'e self,
        partition: &Partition<K, V>,
    ) -> Option<AfterUnlock<'e, K, V>> {
        let due_ns = self.due_about_now(partition);
        let mut core = match self.mode {
            Maintenance::Inline => sync::lock(&partition.core),
            // Else the thread that has the lock goes on with it.
            Maintenance::Background => sync::try_lock(&partition.core)?,
        };
        Some(partition.run(&mut core, self, None, Freeing::AsRetired, due_ns))
    }

    pub(super) fn finish_run(
        &self,
        partition: &Partition<K, V>,
        after: AfterUnlock<'_, K, V>,
    ) -> bool {
        let AfterUnlock { free, phase, retired, retired_weight, linked, is_due_earlier, .. } =
            after;
        let has_unneeded_loan = after.has_unneeded_loan;
        panics::discard(after.payloads);
        self.shadow_ended(after.ended);
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
            self.pace(retired, retired_weight);
            if partition.garbage() > self.backlog {
                // Some thread is pinned and does not get on: most likely it is off its processor,
                // and gets back on it sooner this way. A pin that a user holds is not waited for.
                reclaim::advance();
                sync::thread::yield_now();
            }
        }
        self.free(partition, free, phase);
        self.deliver(partition);
        let wants_thread = partition.wants_visit() || self.has_closed_buckets() || is_due_earlier;
        if wants_thread && self.mode == Maintenance::Background {
            // SeqCst: between the counts just read and the thread's state; see the module head.
            sync::fence(Ordering::SeqCst);
            self.attendance.notify();
        }
        has_unneeded_loan
    }

    /// Lets the epoch move once enough waits for it.
    pub(super) fn pace(&self, retired: usize, weight: u64) {
        let Unpaced { entries, weight: weights } = &*self.unpaced;
        let unpaced = entries.fetch_add(retired, Ordering::Relaxed) + retired;
        let unpaced_weight = weights.fetch_add(weight, Ordering::Relaxed).saturating_add(weight);
        if unpaced >= self.pace_entries || unpaced_weight >= self.pace_weight {
            entries.store(0, Ordering::Relaxed);
            weights.store(0, Ordering::Relaxed);
            reclaim::advance();
        }
    }

    /// Keeps the count of linked entries over all partitions; returns it if it has grown.
    pub(super) fn note_linked(&self, change: isize) -> usize {
        if change == 0 {
            return 0;
        }
        // Two's complement: another thread's removal may be counted before the insertion it undoes.
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
