//! Which retired entries of a partition are freed, and when.
//!
//! # Orderings
//! `Counts::freeing` counts the batches that are being freed, in two phases. A batch is counted, under
//! the lock, in the phase that is current when it is taken. `await_freed` makes the other phase current
//! and waits until the count of the old one is zero. Its acquire pairs with the release after each
//! batch, so the drops of all batches that were taken before happen before `flush` returns, however many
//! are taken meanwhile.
#![forbid(unsafe_code)]

use crossbeam_utils::Backoff;

use super::{Core, Freeing, Partition};
use crate::base::reentrancy::{self, Scope};
use crate::base::sync::Ordering;
use crate::engine::counts::add;
use crate::reclaim::{self, Freeable, Ticket};

/// For each entry that it retires, a run of maintenance may free `1 + 1/CATCH_UP_PART` entries. So freeing
/// keeps up with retiring and catches up after a long guard, no single call pays for all of it, and freed
/// memory is soon allocated again.
const CATCH_UP_PART: u64 = 4;
/// While more waits than the backlog, a run may free `1 + BACKLOG_FACTOR` entries for each.
const BACKLOG_FACTOR: u64 = 4;
/// A batch is sealed once it weighs this part of the partition's limit.
pub(super) const SEAL_PART: u64 = 64;
/// Once more than this part of the partition's share of weight waits, everything is freed that can be.
const HEAVY_PART: u64 = 8;

impl<K, V> Partition<K, V> {
    /// The batches that a run hands over to be freed.
    pub(super) fn choose_free(
        &self,
        core: &mut Core<K, V>,
        retirements: u64,
        freeing: Freeing,
    ) -> Vec<Freeable<K, V>> {
        if freeing == Freeing::Later {
            return Vec::new();
        }
        add(&self.counts.freeing_runs, 1);
        let is_behind = self.garbage() > self.backlog;
        core.credit = core.credit.saturating_add(credit_for(retirements, is_behind));
        let mut credit = core.credit;
        if freeing == Freeing::All || self.has_heavy_garbage(core) {
            credit = u64::MAX;
        }
        let free = self.take(core, &mut credit);
        core.credit = credit.min(core.credit);
        free
    }

    /// Takes batches that no thread can see any more, with at most `credit` entries, which it reduces.
    fn take(&self, core: &mut Core<K, V>, credit: &mut u64) -> Vec<Freeable<K, V>> {
        let mut free = Vec::new();
        // Inside a drop nothing is freed, so that drops do not nest on the stack.
        if core.retired.is_empty() || reentrancy::is_inside_any(Scope::Dropping) {
            return free;
        }
        let completed = reclaim::completed();
        while let Some(batch) = core.retired.pop_ready(completed, *credit) {
            *credit -= batch.len() as u64;
            self.counts.freeing[core.phase].fetch_add(1, Ordering::Relaxed);
            free.push(batch);
        }
        if !core.retired.has_ready(completed) {
            // Everything that can be freed is taken, so there is nothing to catch up with.
            *credit = 0;
        }
        free
    }

    /// All batches that no thread can see any more, and the phase in which they were taken.
    pub(in crate::engine) fn take_ready(&self) -> (Vec<Freeable<K, V>>, usize) {
        let mut core = self.core.lock();
        let free = self.take(&mut core, &mut { u64::MAX });
        (free, core.phase)
    }

    /// Seals the current batch, and returns the ticket for which all retired entries wait.
    pub(in crate::engine) fn seal(&self) -> Option<Ticket> {
        let mut core = self.core.lock();
        core.retired.seal();
        core.retired.last_ticket()
    }

    /// Counts a batch of `count` entries, which was taken in `phase`, as freed, and the panics of its drops.
    pub(in crate::engine) fn note_freed(&self, count: u64, panics: u64, phase: usize) {
        self.counts.panics.fetch_add(panics, Ordering::Relaxed);
        self.counts.freed.fetch_add(count, Ordering::Relaxed);
        // Release: pairs with the acquire in `await_freed`.
        self.counts.freeing[phase].fetch_sub(1, Ordering::Release);
    }

    /// Returns once every batch that was taken before has been freed.
    pub(in crate::engine) fn await_freed(&self) {
        let backoff = Backoff::new();
        let is_zero = |phase: usize| self.counts.freeing[phase].load(Ordering::Acquire) == 0;
        let old = loop {
            let mut core = self.core.lock();
            // The other phase must be over before it can be current again.
            if is_zero(1 - core.phase) {
                core.phase = 1 - core.phase;
                break 1 - core.phase;
            }
            drop(core);
            backoff.snooze();
        };
        while !is_zero(old) {
            backoff.snooze();
        }
    }

    /// Whether a thread is freeing what this partition has retired.
    pub(in crate::engine) fn is_freeing(&self) -> bool {
        self.counts.freeing.iter().any(|batches| batches.load(Ordering::Relaxed) > 0)
    }

    /// Whether so much weight waits that everything is to be freed that can be.
    #[inline]
    pub(super) fn has_heavy_garbage(&self, core: &Core<K, V>) -> bool {
        core.retired.weight() > self.weight_share() / HEAVY_PART
    }

    /// Entries that are retired and not freed yet.
    pub(in crate::engine) fn garbage(&self) -> u64 {
        let freed = self.counts.freed.load(Ordering::Relaxed);
        self.counts.retired.load(Ordering::Relaxed).saturating_sub(freed)
    }

    pub(in crate::engine) fn has_garbage(&self) -> bool {
        self.counts.retired.load(Ordering::Relaxed) != self.counts.freed.load(Ordering::Relaxed)
    }
}

/// The number of entries that a run may free because it has retired so many.
pub(in crate::engine) fn credit_for(retirements: u64, is_behind: bool) -> u64 {
    let catch_up = match is_behind {
        true => retirements * BACKLOG_FACTOR,
        false => retirements / CATCH_UP_PART + 1,
    };
    retirements + catch_up
}
