//! One instance of a policy, by its type if it is the default policy, SIEVE or LRU. A new policy needs
//! nothing here: it is `Other`.
//!
//! An insertion reads some twenty fields of nodes. Through [`Nodes`] as a trait object, each of them is a
//! virtual call; if the types of policy and nodes are known, the compiler inlines them. LRU reads none, but
//! most hits move a node.
#![forbid(unsafe_code)]

use std::any::Any;

use super::{EvictionPolicy, Hints, Lru, NodeId, Nodes, Sieve, WindowTinyLfu};

/// One instance of a policy.
pub(crate) enum PolicyImpl {
    WindowTinyLfu(Box<WindowTinyLfu>),
    Sieve(Box<Sieve>),
    Lru(Box<Lru>),
    Other(Box<dyn EvictionPolicy>),
}

impl PolicyImpl {
    pub(crate) fn new(policy: Box<dyn EvictionPolicy>) -> Self {
        let policy = match downcast(policy) {
            Ok(policy) => return Self::WindowTinyLfu(policy),
            Err(policy) => policy,
        };
        let policy = match downcast(policy) {
            Ok(policy) => return Self::Sieve(policy),
            Err(policy) => policy,
        };
        match downcast(policy) {
            Ok(policy) => Self::Lru(policy),
            Err(policy) => Self::Other(policy),
        }
    }

    #[inline]
    pub(crate) fn as_dyn(&mut self) -> &mut dyn EvictionPolicy {
        match self {
            Self::WindowTinyLfu(policy) => &mut **policy,
            Self::Sieve(policy) => &mut **policy,
            Self::Lru(policy) => &mut **policy,
            Self::Other(policy) => &mut **policy,
        }
    }

    #[inline]
    pub(crate) fn on_insert<N: Nodes>(&mut self, id: NodeId, nodes: &N) {
        match self {
            Self::WindowTinyLfu(policy) => policy.insert(id, nodes),
            Self::Sieve(policy) => policy.on_insert(id, nodes),
            Self::Lru(policy) => policy.on_insert(id, nodes),
            Self::Other(policy) => policy.on_insert(id, nodes),
        }
    }

    /// The policy, if it is LRU.
    #[inline]
    pub(crate) fn as_lru(&mut self) -> Option<&mut Lru> {
        if let Self::Lru(policy) = self { Some(&mut **policy) } else { None }
    }

    /// Prefetches what an access to `id` will write.
    #[inline]
    pub(crate) fn prefetch_access(&self, id: NodeId) {
        if let Self::Lru(policy) = self {
            policy.prefetch_access(id);
        }
    }

    #[inline]
    pub(crate) fn on_remove<N: Nodes>(&mut self, id: NodeId, nodes: &N) {
        match self {
            Self::WindowTinyLfu(policy) => policy.remove(id, nodes),
            Self::Sieve(policy) => policy.on_remove(id, nodes),
            Self::Lru(policy) => policy.on_remove(id, nodes),
            Self::Other(policy) => policy.on_remove(id, nodes),
        }
    }

    #[inline]
    pub(crate) fn evict<N: Nodes>(&mut self, nodes: &N) -> Option<NodeId> {
        match self {
            Self::WindowTinyLfu(policy) => policy.choose(nodes),
            Self::Sieve(policy) => policy.choose(nodes),
            Self::Lru(policy) => policy.evict(nodes),
            Self::Other(policy) => policy.evict(nodes),
        }
    }

    #[inline]
    pub(crate) fn upcoming(&self, count: usize, name: &mut impl FnMut(NodeId)) {
        match self {
            Self::WindowTinyLfu(policy) => policy.name_upcoming(count, name),
            Self::Sieve(policy) => policy.upcoming(count, name),
            Self::Lru(policy) => policy.upcoming(count, name),
            Self::Other(policy) => policy.hints().upcoming(count, name),
        }
    }

    /// Names nodes that the same evictions may examine, but will not choose.
    #[inline]
    pub(crate) fn also_examined(&self, count: usize, name: &mut impl FnMut(NodeId)) {
        if let Self::WindowTinyLfu(policy) = self {
            policy.name_also_examined(count, name);
        }
    }

    #[inline]
    pub(crate) fn announce(&self, hashes: impl Iterator<Item = u64>) {
        match self {
            Self::WindowTinyLfu(policy) => hashes.for_each(|hash| policy.announce(hash)),
            Self::Sieve(_) | Self::Lru(_) => {}
            Self::Other(policy) => {
                let hints = policy.hints();
                hashes.for_each(|hash| hints.announce(hash));
            }
        }
    }
}

/// The policy by its type, if it is of that type.
fn downcast<P: Any>(policy: Box<dyn EvictionPolicy>) -> Result<Box<P>, Box<dyn EvictionPolicy>> {
    let any: &dyn Any = &*policy;
    if !any.is::<P>() {
        return Err(policy);
    }
    let any: Box<dyn Any> = policy;
    Ok(any.downcast().expect("its type was just checked"))
}
