//! The interface of all policies of this module.

/// A read-through cache of keys and its policy: a key that is missed is inserted.
pub(crate) trait ReferencePolicy {
    /// Requests a key; returns whether it was a hit.
    fn request(&mut self, key: u32, weight: u32) -> bool;
}
