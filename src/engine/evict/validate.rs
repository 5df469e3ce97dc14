//! Whether the parts of an evictor agree.
#![forbid(unsafe_code)]

use super::Evictor;
use crate::base::node_id::NodeId;

impl Evictor {
    /// Panics unless it was lent just so much, and all of that for what is there.
    pub(crate) fn validate_loan(&self, lent: u64) {
        assert_eq!(self.loan, lent, "a partition does not know its loan");
        assert_eq!(self.reserved, 0, "an insertion that is over has left a reservation");
    }

    /// Panics unless ids, entries and weight agree with each other and with the bounds.
    pub(crate) fn validate(&self) {
        let nodes = &self.nodes;
        let (mut weight, mut unevictable, mut unevictable_weight) = (0, 0, 0);
        let (mut heavy, mut heavy_weight) = (Vec::new(), 0);
        for (at, entry) in nodes.entries.iter().enumerate() {
            if let Some(entry) = entry {
                assert_eq!(
                    entry.meta().node().map(NodeId::index),
                    Some(at),
                    "a node id is not its own"
                );
                assert!(!entry.meta().is_gone(), "an entry that has left is still linked");
                weight += u64::from(entry.meta().weight());
                assert!(
                    !entry.meta().is_demoted()
                        || self.demoted.iter().any(|demoted| demoted.index() == at),
                    "a demoted entry would never leave"
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
            "what is heavy is miscounted"
        );
        assert_eq!(
            (unevictable, unevictable_weight),
            (nodes.unevictable, nodes.unevictable_weight),
            "what is never evicted is miscounted"
        );
        assert_eq!(weight, nodes.weight, "the weight is not that of the entries");
        nodes.timers.validate(
            nodes.entries.iter().flatten().filter_map(|entry| Some((entry.meta().node()?, *entry))),
        );
        let free = nodes.entries.iter().filter(|entry| entry.is_none()).count();
        assert_eq!(free, nodes.free.len(), "free ids are lost or doubled");
        assert!(!self.is_above_limits(), "over a bound after maintenance");
    }
}
