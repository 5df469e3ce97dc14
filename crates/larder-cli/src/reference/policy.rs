//! What all policies of this module can do.

/// A policy and its cache of keys, read-through: what is missed is inserted.
pub(crate) trait ReferencePolicy {
    /// Asks for a key; returns whether it was there.
    fn request(&mut self, key: u32, weight: u32) -> bool;
}
