//! Room in other partitions, where all partitions share one bound because the cache has namespaces.
//!
//! A run of maintenance evicts from its own partition. If nothing there may leave (`evict::quotas`), the
//! thread comes here after it has released the lock, and lets the partitions evict one after the other, each
//! under its own lock, until the bound holds. A thread holds one partition's lock at a time, so no two wait
//! for each other.
//!
//! | pass | which entries may leave |
//! |---|---|
//! | first | those of namespaces that stay at or above their minimums, but no partition's newest entry if all others there are protected |
//! | last resort | the newest entries too; and entries with which a namespace crosses its minimum, which happens only by weight |
//!
//! The excess of a namespace above its maximum is sought in the same way, among its own entries: in the first pass
//! all but the new entry that was too much.
//!
//! The sum of the minimums is at most the bound, so while the bound is exceeded the second pass finds an entry,
//! unless another thread has taken it off its account and not off the sum yet; that thread then makes the
//! room.
#![forbid(unsafe_code)]

use super::Engine;
use super::partition::{Freeing, Partition};
use crate::namespaces::{Excess, Quotas};

impl<K, V> Engine<K, V> {
    /// Makes room in other partitions if the bound that all share is exceeded, or makes a namespace smaller that is
    /// above its maximum.
    #[inline]
    pub(super) fn share_excess(&self) {
        let Some(quotas) = &self.quotas else { return };
        if quotas.is_above_enforced(None) {
            self.evict_anywhere(quotas, None, || quotas.is_above_enforced(None));
        }
        while let Some(excess) = quotas.noted_excess() {
            let is_above = || quotas.is_above_maximum(excess.namespace);
            self.evict_anywhere(quotas, Some(excess), is_above);
            // Within an atomic listener, or under a pin, nothing can leave now. A later call goes on.
            if self.atomic.is_some() && quotas.is_above_maximum(excess.namespace) {
                break;
            }
            quotas.settle_excess(excess);
        }
    }

    /// After the bound that all partitions share was lowered: evicts the excess, a few entries of each partition
    /// at a time.
    pub(super) fn lower_shared_bound(&self) {
        if let Some(quotas) = &self.quotas {
            self.evict_anywhere(quotas, None, || quotas.is_above_bound());
        }
    }

    /// Lets the partitions evict in turn, `from` one namespace only if that is given, while `is_excess` holds and one
    /// of them can evict.
    #[cold]
    fn evict_anywhere(&self, quotas: &Quotas, from: Option<Excess>, is_excess: impl Fn() -> bool) {
        let count = self.partitions.len();
        for is_last_resort in [false, true] {
            let mut has_evicted = true;
            while has_evicted {
                has_evicted = false;
                for _ in 0..count {
                    if !is_excess() {
                        return;
                    }
                    let partition = &self.partitions[quotas.next_partition(count)];
                    has_evicted |= self.evict_some(partition, from, is_last_resort);
                }
            }
        }
    }

    /// Runs maintenance of a partition while the bound, or the maximum of a namespace, is exceeded. False if that
    /// evicts nothing.
    fn evict_some(
        &self,
        partition: &Partition<K, V>,
        from: Option<Excess>,
        is_last_resort: bool,
    ) -> bool {
        let (after, has_evicted) = {
            let mut core = partition.core.lock();
            let (len, losses) = (core.evictor.len(), core.evictor.losses());
            core.evictor.set_last_resort(is_last_resort);
            core.evictor.set_oversized(from);
            let after = partition.run(&mut core, self, None, Freeing::AsRetired, None);
            core.evictor.set_last_resort(false);
            core.evictor.set_oversized(None);
            let has_evicted = match self.atomic {
                None => core.evictor.losses() > losses,
                // A victim within another thread's gate was put back.
                Some(_) => after.leaving.is_some() || core.evictor.len() < len,
            };
            (after, has_evicted)
        };
        self.finish_runs(partition, after, None);
        has_evicted
    }
}
