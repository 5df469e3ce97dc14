//! Checks that the parts of an evictor agree, for tests.
#![forbid(unsafe_code)]

use super::Evictor;
use crate::base::node_id::NodeId;

impl Evictor {
    /// Panics unless the loan is `lent`, and nothing is reserved.
    pub(crate) fn validate_loan(&self, lent: u64) {
        assert_eq!(self.loan, lent, "a partition does not know its loan");
        assert_eq!(self.reserved, 0, "an insertion has ended and left a reservation");
    }

    /// Panics unless ids, entries and weight agree with each other and with the limits.
    /// Returns what the entries take of a bound that all partitions share.
    pub(crate) fn validate(&self) -> u64 {
        let nodes = &self.nodes;
        let (mut weight, mut unevictable, mut unevictable_weight) = (0, 0, 0);
        let (mut heavy, mut heavy_weight) = (Vec::new(), 0);
        for (at, entry) in nodes.entries.iter().enumerate() {
            if let Some(entry) = entry {
                assert_eq!(
                    entry.meta().node().map(NodeId::index),
                    Some(at),
                    "an entry has the id of another node"
                );
                assert!(!entry.meta().is_gone(), "an entry that has left is still linked");
                weight += u64::from(entry.meta().weight());
                assert!(
                    !entry.meta().is_demoted()
                        || self.demoted.iter().any(|demoted| demoted.index() == at),
                    "a demoted entry is not in the list of these"
                );
                if entry.meta().is_unevictable() {
                    unevictable += 1;
                    unevictable_weight += u64::from(entry.meta().weight());
                }
                if entry.meta().is_heavy() {
                    heavy.extend(entry.meta().node());
                    heavy_weight += u64::from(entry.meta().weight());
                }
            }
        }
        let mut known_heavy = nodes.heavy.clone();
        known_heavy.sort_unstable();
        assert_eq!(
            (heavy, heavy_weight),
            (known_heavy, nodes.heavy_weight),
            "heavy entries are miscounted"
        );
        assert_eq!(
            (unevictable, unevictable_weight),
            (nodes.unevictable, nodes.unevictable_weight),
            "unevictable entries are miscounted"
        );
        assert_eq!(weight, nodes.weight, "the weight is not that of the entries");
        nodes.timers.validate(
            nodes.entries.iter().flatten().filter_map(|entry| Some((entry.meta().node()?, *entry))),
        );
        let free = nodes.entries.iter().filter(|entry| entry.is_none()).count();
        assert_eq!(free, nodes.free.len(), "a free id is missing or listed twice");
        assert!(!self.is_above_limits(), "a limit is exceeded after maintenance");
        self.validate_quotas()
    }
}
