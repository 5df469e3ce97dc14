//! How hits reach the policy.
#![forbid(unsafe_code)]

use super::Engine;
use super::partition::{Freeing, Partition};
use crate::base::hash::KeyHash;
use crate::base::mode::Maintenance;
use crate::base::node_id::NodeId;
use crate::base::stats::Counter;
use crate::buffer::read_buffer::{Offer, ReadBuffer};
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
        match self.accesses {
            Accesses::None => {}
            Accesses::Counter { max } => entry.raise_frequency(max),
            Accesses::Mark { .. } => {
                if entry.mark() {
                    self.record_mark(entry, thread);
                }
            }
            Accesses::Order => self.record_order(entry, thread),
        }
    }

    /// Reports a first mark to the policy, if the key is in its sample.
    fn record_mark(&self, entry: EntryPtr, thread: usize) {
        let partition = self.partition(entry.hash());
        if partition.sample().contains(entry.hash().raw())
            && let (Some(reads), Some(node)) = (&partition.reads, entry.meta().node())
        {
            self.offer(partition, reads, node, entry.hash(), thread);
        }
    }

    fn record_order(&self, entry: EntryPtr, thread: usize) {
        // An entry without a node is not linked yet: its insertion event, which is still to come, counts
        // as the more recent use.
        let meta = entry.meta();
        let Some(node) = meta.node() else { return };
        let partition = self.partition(entry.hash());
        let Some(reads) = &partition.reads else { return };
        // One record between two runs says as much as many, and so hits on a hot entry write to nothing
        // shared. With inline maintenance every access is recorded.
        if self.mode == Maintenance::Background && !meta.touch(partition.tick()) {
            return;
        }
        self.offer(partition, reads, node, entry.hash(), thread);
    }

    #[inline]
    fn offer(
        &self,
        partition: &Partition<K, V>,
        reads: &ReadBuffer,
        node: NodeId,
        hash: KeyHash,
        thread: usize,
    ) {
        if reads.offer(thread, node, hash) == Offer::Full {
            self.try_run(partition, Freeing::Later);
            if reads.offer(thread, node, hash) == Offer::Full {
                self.counters.add(thread, Counter::DroppedAccesses, 1);
            }
        }
    }
}
