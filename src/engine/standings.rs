//! Where entries stand in the eyes of their policies, for snapshots.
#![forbid(unsafe_code)]

use super::Engine;
use crate::base::prefetch::prefetch_for_read;
use crate::engine::evict::{Evictor, Standing};
use crate::entry::EntryPtr;

/// The standing of every node at a moment in the past.
pub(crate) struct Standings {
    of_partitions: Vec<Vec<Standing>>,
    partition_bits: u32,
}

impl Standings {
    /// The standing of an entry, as far as it has kept its node.
    pub(crate) fn of(&self, entry: EntryPtr) -> Option<Standing> {
        self.find(entry).copied()
    }

    /// Prefetches the standing of an entry.
    pub(crate) fn prefetch(&self, entry: EntryPtr) {
        if let Some(standing) = self.find(entry) {
            prefetch_for_read(standing);
        }
    }

    fn find(&self, entry: EntryPtr) -> Option<&Standing> {
        let partition = &self.of_partitions[entry.hash().partition(self.partition_bits)];
        partition.get(entry.meta().node()?.index())
    }
}

impl<K, V> Engine<K, V> {
    /// The standings of all nodes. Each partition is locked while its policy names its nodes.
    pub(crate) fn standings(&self) -> Standings {
        let of_partitions = self.partitions.iter();
        let of_partitions =
            of_partitions.map(|partition| self.with_evictor(partition, Evictor::standings));
        Standings { of_partitions: of_partitions.collect(), partition_bits: self.partition_bits }
    }
}
