//! One instance of a policy, by its type if it is one of those that are used most. A new policy needs nothing
//! here: it is `Other`.
//!
//! An insertion reads some twenty fields of nodes. Through [`Nodes`] as a trait object, each of them is a
//! virtual call; if the types of policy and nodes are known, the compiler inlines them. LRU reads none, but
//! most hits move a node.
#![forbid(unsafe_code)]

use std::any::Any;

use super::key_arrays::KeyArrays;
use super::{EvictionPolicy, Fifo, Hints, Lru, NodeId, Nodes, Sieve, WindowTinyLfu};

/// One instance of a policy.
pub(crate) enum PolicyImpl {
    WindowTinyLfu(Box<WindowTinyLfu>),
    Sieve(Box<Sieve>),
    Lru(Box<Lru>),
    Fifo(Box<Fifo>),
    Other(Box<dyn EvictionPolicy>),
}

/// A policy whose methods can be inlined where the type of the nodes is known. They do what those of
/// [`EvictionPolicy`] and [`Hints`] do. A policy that reads nodes has methods of its own for them.
pub(crate) trait DirectPolicy: EvictionPolicy {
    /// How many nodes an eviction examines at most, as a rule.
    const EXAMINED: usize = 1;

    #[inline(always)]
    fn insert<N: Nodes>(&mut self, id: NodeId, nodes: &N) {
        self.on_insert(id, nodes);
    }

    #[inline(always)]
    fn remove<N: Nodes>(&mut self, id: NodeId, nodes: &N) {
        self.on_remove(id, nodes);
    }

    #[inline(always)]
    fn update<N: Nodes>(&mut self, id: NodeId, old_weight: u32, nodes: &N) {
        self.on_update(id, old_weight, nodes);
    }

    #[inline(always)]
    fn choose<N: Nodes>(&mut self, nodes: &N) -> Option<NodeId> {
        self.evict(nodes)
    }

    #[inline(always)]
    fn name_upcoming(&self, count: usize, name: &mut impl FnMut(NodeId)) {
        self.hints().upcoming(count, name);
    }

    /// Names nodes that the next evictions may examine, but will hardly choose: up to `count` of each of its
    /// queues. Passes with each whether the next eviction may examine it already.
    #[inline(always)]
    fn name_also_examined(&self, _count: usize, _name: &mut impl FnMut(NodeId, bool)) {}

    #[inline(always)]
    fn announce_key(&self, _hash: u64) {}

    /// The arrays in which it looks up new keys.
    #[inline(always)]
    fn key_arrays(&self) -> KeyArrays {
        KeyArrays::default()
    }
}

/// Calls `$call` with the policy in `$policy`, by its type.
macro_rules! with_policy {
    ($policy:expr, $name:ident => $call:expr) => {
        match $policy {
            PolicyImpl::WindowTinyLfu($name) => $call,
            PolicyImpl::Sieve($name) => $call,
            PolicyImpl::Lru($name) => $call,
            PolicyImpl::Fifo($name) => $call,
            PolicyImpl::Other($name) => $call,
        }
    };
}
pub(crate) use with_policy;

impl PolicyImpl {
    pub(crate) fn new(policy: Box<dyn EvictionPolicy>) -> Self {
        fn is<P: Any>(policy: &dyn EvictionPolicy) -> bool {
            let any: &dyn Any = policy;
            any.is::<P>()
        }
        fn known<P: Any>(policy: Box<dyn EvictionPolicy>) -> Box<P> {
            let any: Box<dyn Any> = policy;
            any.downcast().expect("the caller has checked the type")
        }
        match &*policy {
            it if is::<WindowTinyLfu>(it) => Self::WindowTinyLfu(known(policy)),
            it if is::<Sieve>(it) => Self::Sieve(known(policy)),
            it if is::<Lru>(it) => Self::Lru(known(policy)),
            it if is::<Fifo>(it) => Self::Fifo(known(policy)),
            _ => Self::Other(policy),
        }
    }

    #[inline]
    pub(crate) fn as_dyn(&mut self) -> &mut dyn EvictionPolicy {
        match self {
            Self::WindowTinyLfu(policy) => &mut **policy,
            Self::Sieve(policy) => &mut **policy,
            Self::Lru(policy) => &mut **policy,
            Self::Fifo(policy) => &mut **policy,
            Self::Other(policy) => &mut **policy,
        }
    }

    #[inline]
    pub(crate) fn on_insert<N: Nodes>(&mut self, id: NodeId, nodes: &N) {
        with_policy!(self, policy => policy.insert(id, nodes));
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
        with_policy!(self, policy => policy.remove(id, nodes));
    }

    #[inline]
    pub(crate) fn evict<N: Nodes>(&mut self, nodes: &N) -> Option<NodeId> {
        with_policy!(self, policy => policy.choose(nodes))
    }

    #[inline]
    pub(crate) fn upcoming(&self, count: usize, name: &mut impl FnMut(NodeId)) {
        with_policy!(self, policy => policy.name_upcoming(count, name));
    }

    #[inline]
    pub(crate) fn also_examined(&self, count: usize, name: &mut impl FnMut(NodeId, bool)) {
        with_policy!(self, policy => policy.name_also_examined(count, name));
    }

    /// The arrays in which the policy looks up new keys.
    #[inline]
    pub(crate) fn key_arrays(&self) -> KeyArrays {
        with_policy!(self, policy => policy.key_arrays())
    }

    #[inline]
    pub(crate) fn announce(&self, hashes: impl Iterator<Item = u64>) {
        with_policy!(self, policy => hashes.for_each(|hash| policy.announce_key(hash)));
    }
}

impl DirectPolicy for WindowTinyLfu {
    #[inline(always)]
    fn insert<N: Nodes>(&mut self, id: NodeId, nodes: &N) {
        self.insert(id, nodes);
    }

    #[inline(always)]
    fn remove<N: Nodes>(&mut self, id: NodeId, nodes: &N) {
        self.remove(id, nodes);
    }

    #[inline(always)]
    fn choose<N: Nodes>(&mut self, nodes: &N) -> Option<NodeId> {
        self.choose(nodes)
    }

    #[inline(always)]
    fn name_upcoming(&self, count: usize, name: &mut impl FnMut(NodeId)) {
        self.name_upcoming(count, name);
    }

    #[inline(always)]
    fn name_also_examined(&self, count: usize, name: &mut impl FnMut(NodeId, bool)) {
        self.name_also_examined(count, name);
    }

    #[inline(always)]
    fn announce_key(&self, hash: u64) {
        self.announce(hash);
    }

    #[inline(always)]
    fn key_arrays(&self) -> KeyArrays {
        self.key_arrays()
    }
}

impl DirectPolicy for Sieve {
    const EXAMINED: usize = 3;

    #[inline(always)]
    fn choose<N: Nodes>(&mut self, nodes: &N) -> Option<NodeId> {
        self.choose(nodes)
    }

    #[inline(always)]
    fn name_upcoming(&self, count: usize, name: &mut impl FnMut(NodeId)) {
        self.name_upcoming(count, name);
    }
}

impl DirectPolicy for Lru {
    #[inline(always)]
    fn name_upcoming(&self, count: usize, name: &mut impl FnMut(NodeId)) {
        self.name_upcoming(count, name);
    }
}

impl DirectPolicy for Fifo {
    #[inline(always)]
    fn name_upcoming(&self, count: usize, name: &mut impl FnMut(NodeId)) {
        self.name_upcoming(count, name);
    }
}

impl DirectPolicy for dyn EvictionPolicy {
    #[inline]
    fn announce_key(&self, hash: u64) {
        self.hints().announce(hash);
    }
}
