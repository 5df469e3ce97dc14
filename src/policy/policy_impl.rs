//! One instance of a policy, by its type if it is the default policy or SIEVE. A new policy needs nothing
//! here: it is `Other`.
//!
//! An insertion reads some twenty fields of nodes. Through [`Nodes`] as a trait object, each of them is a
//! virtual call; if the types of policy and nodes are known, the compiler inlines them.
#![forbid(unsafe_code)]

use std::any::Any;

use super::{EvictionPolicy, Hints, NodeId, Nodes, Sieve, WindowTinyLfu};

/// One instance of a policy.
pub(crate) enum PolicyImpl {
    WindowTinyLfu(Box<WindowTinyLfu>),
    Sieve(Box<Sieve>),
    Other(Box<dyn EvictionPolicy>),
}

impl PolicyImpl {
    pub(crate) fn new(policy: Box<dyn EvictionPolicy>) -> Self {
        let any: &dyn Any = &*policy;
        let (is_default, is_sieve) = (any.is::<WindowTinyLfu>(), any.is::<Sieve>());
        if !is_default && !is_sieve {
            return Self::Other(policy);
        }
        let any: Box<dyn Any> = policy;
        match any.downcast::<WindowTinyLfu>() {
            Ok(policy) => Self::WindowTinyLfu(policy),
            Err(any) => {
                Self::Sieve(any.downcast().expect("it is not the default policy, so it is SIEVE"))
            }
        }
    }

    #[inline]
    pub(crate) fn as_dyn(&mut self) -> &mut dyn EvictionPolicy {
        match self {
            Self::WindowTinyLfu(policy) => &mut **policy,
            Self::Sieve(policy) => &mut **policy,
            Self::Other(policy) => &mut **policy,
        }
    }

    #[inline]
    pub(crate) fn on_insert<N: Nodes>(&mut self, id: NodeId, nodes: &N) {
        match self {
            Self::WindowTinyLfu(policy) => policy.insert(id, nodes),
            Self::Sieve(policy) => policy.on_insert(id, nodes),
            Self::Other(policy) => policy.on_insert(id, nodes),
        }
    }

    #[inline]
    pub(crate) fn on_remove<N: Nodes>(&mut self, id: NodeId, nodes: &N) {
        match self {
            Self::WindowTinyLfu(policy) => policy.remove(id, nodes),
            Self::Sieve(policy) => policy.on_remove(id, nodes),
            Self::Other(policy) => policy.on_remove(id, nodes),
        }
    }

    #[inline]
    pub(crate) fn evict<N: Nodes>(&mut self, nodes: &N) -> Option<NodeId> {
        match self {
            Self::WindowTinyLfu(policy) => policy.choose(nodes),
            Self::Sieve(policy) => policy.choose(nodes),
            Self::Other(policy) => policy.evict(nodes),
        }
    }

    #[inline]
    pub(crate) fn upcoming(&self, count: usize, name: &mut impl FnMut(NodeId)) {
        match self {
            Self::WindowTinyLfu(policy) => policy.name_upcoming(count, name),
            Self::Sieve(policy) => policy.upcoming(count, name),
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
            Self::Sieve(_) => {}
            Self::Other(policy) => {
                let hints = policy.hints();
                hashes.for_each(|hash| hints.announce(hash));
            }
        }
    }
}
