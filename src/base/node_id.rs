//! What a policy and the cache call an entry by.
#![forbid(unsafe_code)]

/// A node of a policy: stands for one entry from its `on_insert` until it leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u32);

impl NodeId {
    /// The id of that number. The cache gives out ids; this is for simulators and tests.
    #[must_use]
    pub const fn from_raw(raw: u32) -> Self {
        Self(raw)
    }

    /// The number of the id.
    #[must_use]
    pub const fn to_raw(self) -> u32 {
        self.0
    }

    /// The id as an index: below the largest number of nodes there ever were at once.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}
