//! The id by which a policy and its cache refer to an entry.
#![forbid(unsafe_code)]

/// The id of a policy's node: refers to one entry from its `on_insert` until the entry leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u32);

impl NodeId {
    /// Makes the id with that number, for simulators and tests. In a cache, the cache assigns ids.
    #[must_use]
    pub const fn from_raw(raw: u32) -> Self {
        Self(raw)
    }

    /// The number of the id.
    #[must_use]
    pub const fn to_raw(self) -> u32 {
        self.0
    }

    /// The id as an index, which is below the largest number of nodes that ever existed at once.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}
