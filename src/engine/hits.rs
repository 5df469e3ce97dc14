//! How hits reach the policy.
#![forbid(unsafe_code)]

use super::Engine;
use super::partition::{Freeing, Partition};
use crate::base::mode::Maintenance;
use crate::base::stats::Counter;
use crate::buffer::read_buffer::{ReadBuffer, ReadRecord};
use crate::entry::EntryPtr;
use crate::policy::Accesses;

impl<K, V> Engine<K, V> {
    /// Records a hit by the pinned thread of that number for the policy.
    #[inline]
    pub(crate) fn record_hit(&self, entry: EntryPtr, thread: usize) {
        if entry.frequency() < self.record_hits_below {
            self.record(entry, thread);
        }
    }

    /// The same for an entry whose counter is known to be below `record_hits_below`.
    #[inline(never)]
    pub(crate) fn record(&self, entry: EntryPtr, thread: usize) {
        // First, because with such a policy every hit gets here, and with all others few do.
        if self.accesses == Accesses::Order {
            return self.record_order(entry, thread);
        }
        match self.accesses {
            Accesses::None | Accesses::Order => {}
            Accesses::Counter { max } => entry.raise_frequency(max),
            Accesses::Mark { .. } => {
                if entry.mark() {
                    self.record_mark(entry, thread);
                }
            }
        }
    }

    #[inline(always)]
    fn record_order(&self, entry: EntryPtr, thread: usize) {
        // An entry without a node is not linked yet: its insertion event, which is still to come, counts
        // as the more recent use.
        let meta = entry.meta();
        let Some(node) = meta.node() else { return };
        let hash = entry.hash();
        let partition = self.partition(hash);
        let Some(reads) = &partition.reads else { return };
        // One record between two runs says as much as many, and so hits on a hot entry write to nothing
        // shared. With inline maintenance every access is recorded.
        if self.mode == Maintenance::Background && !meta.touch(partition.tick()) {
            return;
        }
        let record = ReadRecord::new(node, hash);
        if !reads.offer(thread, record) {
            self.offer_again(partition, record, thread);
        }
    }

    /// Reports a first mark to the policy, if the key is in its sample.
    // Out of line, and so is `offer_again`: the registers that they need would cost every hit something.
    #[inline(never)]
    fn record_mark(&self, entry: EntryPtr, thread: usize) {
        let hash = entry.hash();
        let partition = self.partition(hash);
        if partition.sample().contains(hash.raw())
            && let (Some(reads), Some(node)) = (&partition.reads, entry.meta().node())
        {
            let record = ReadRecord::new(node, hash);
            if !reads.offer(thread, record) {
                self.offer_again(partition, record, thread);
            }
        }
    }

    /// Offers a record for which there was no room, once room was made.
    #[cold]
    #[inline(never)]
    fn offer_again(&self, partition: &Partition<K, V>, record: ReadRecord, thread: usize) {
        self.make_read_room(partition);
        let is_kept = |reads: &ReadBuffer| reads.offer(thread, record);
        if !partition.reads.as_ref().is_some_and(is_kept) {
            self.counters.add(thread, Counter::DroppedAccesses, 1);
        }
    }

    /// Takes the recorded hits out of a partition's read buffer, unless another thread has the lock. Runs
    /// maintenance only if it has more to do, which is seldom where most calls are hits.
    fn make_read_room(&self, partition: &Partition<K, V>) {
        if self.accesses == Accesses::Order && self.due_about_now(partition).is_none() {
            let Some(mut core) = partition.core.try_lock() else { return };
            if partition.drain_quiet(&mut core) {
                return;
            }
        }
        self.try_run(partition, Freeing::Later);
    }
}
