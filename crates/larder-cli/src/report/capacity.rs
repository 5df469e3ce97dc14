//! The capacity of one replay or simulation.

use indicatif::{HumanBytes, HumanCount};
use serde::Serialize;

use crate::capacity::Weights;

/// A capacity, absolute and as a share.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Capacity {
    /// `null` if an entry weighs its size.
    pub(crate) capacity_entries: Option<u64>,
    /// `null` if every entry weighs 1.
    pub(crate) capacity_bytes: Option<u64>,
    /// The capacity divided by the number of distinct keys or by their bytes; 1.0 holds all.
    pub(crate) capacity_share: f64,
}

impl Capacity {
    /// `footprint` is the weight of all keys together, in the unit of the capacity.
    pub(super) fn of(capacity: u64, weights: Weights, footprint: u64) -> Self {
        let (capacity_entries, capacity_bytes) = match weights {
            Weights::Entries => (Some(capacity), None),
            Weights::Bytes => (None, Some(capacity)),
        };
        let capacity_share = capacity as f64 / footprint.max(1) as f64;
        Capacity { capacity_entries, capacity_bytes, capacity_share }
    }

    pub(crate) fn is_in_bytes(&self) -> bool {
        self.capacity_bytes.is_some()
    }

    /// The number of entries or bytes.
    pub(crate) fn absolute(&self) -> u64 {
        self.capacity_entries.or(self.capacity_bytes).unwrap_or(0)
    }

    /// The form of the capacity in tables.
    pub(super) fn human(&self) -> String {
        match self.capacity_bytes {
            Some(bytes) => HumanBytes(bytes).to_string(),
            None => HumanCount(self.absolute()).to_string(),
        }
    }
}
