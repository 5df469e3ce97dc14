//! Where entries stand in the eyes of their policies, for snapshots.
#![forbid(unsafe_code)]

use super::Engine;
use super::partition::Partition;
use crate::base::hash::partition_of;
use crate::base::prefetch::prefetch_for_read;
use crate::base::sync;
use crate::engine::evict::Standing;
use crate::entry::EntryPtr;

/// Where every node stood a moment ago.
pub(crate) struct Standings {
    of_partitions: Vec<Vec<Standing>>,
    partition_bits: u32,
}

impl Standings {
    /// Where that entry stood, if its node is still the same.
    pub(crate) fn of(&self, entry: EntryPtr) -> Option<Standing> {
        self.at(entry).copied()
    }

    /// Asks the processor for that.
    pub(crate) fn prefetch(&self, entry: EntryPtr) {
        if let Some(standing) = self.at(entry) {
            prefetch_for_read(standing);
        }
    }

    fn at(&self, entry: EntryPtr) -> Option<&Standing> {
        let partition = &self.of_partitions[partition_of(entry.hash(), self.partition_bits)];
        partition.get(entry.meta().node()?.index())
    }
}

impl<K, V> Engine<K, V> {
    /// Where the nodes of each partition stand in its policy's eyes, by id. A partition is locked
    /// while its nodes are named.
    pub(crate) fn standings(&self) -> Standings {
        let standings = |partition: &Partition<K, V>| {
            let mut core = sync::lock(&partition.core);
            (core.evictor.standings(), core.evictor.take_payloads())
        };
        let of_partitions = self.partitions.iter().map(|partition| standings(partition).0);
        Standings { of_partitions: of_partitions.collect(), partition_bits: self.partition_bits }
    }
}
