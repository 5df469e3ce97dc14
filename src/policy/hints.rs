//! What a policy can say about its nodes besides which of them it evicts.
#![forbid(unsafe_code)]

use super::{NodeId, Nodes, Segment};

/// What a policy can say about its nodes besides which of them it evicts.
///
/// Every method has a default, and no answer changes what [`evict`] names: with hints, maintenance is
/// faster, and the cache can report the policy's order and segments. A policy that gives hints implements
/// this trait and returns itself from [`EvictionPolicy::hints`].
///
/// [`evict`]: super::EvictionPolicy::evict
/// [`EvictionPolicy::hints`]: super::EvictionPolicy::hints
///
/// # Examples
/// ```
/// use larder::policy::{Accesses, EvictionPolicy, Hints, NodeId, Nodes, Policy};
/// use larder::{Cache, Maintenance};
///
/// /// Evicts the newest entry.
/// #[derive(Default)]
/// struct Lifo(Vec<NodeId>);
///
/// impl EvictionPolicy for Lifo {
///     fn accesses(&self) -> Accesses { Accesses::None }
///     fn on_insert(&mut self, id: NodeId, _: &dyn Nodes) { self.0.push(id) }
///     fn on_remove(&mut self, id: NodeId, _: &dyn Nodes) { self.0.retain(|other| *other != id) }
///     fn evict(&mut self, _: &dyn Nodes) -> Option<NodeId> { self.0.pop() }
///     fn hints(&self) -> &dyn Hints { self }
/// }
///
/// impl Hints for Lifo {
///     fn upcoming(&self, count: usize, name: &mut dyn FnMut(NodeId)) {
///         self.0.iter().rev().take(count).for_each(|id| name(*id));
///     }
/// }
///
/// let cache = Cache::builder()
///     .capacity(10)
///     .policy(Policy::custom("lifo", |_| Box::new(Lifo::default())))
///     .maintenance(Maintenance::Inline)
///     .build()?;
/// (0..10).for_each(|key| drop(cache.insert(key, ())));
/// assert_eq!(cache.coldest(2), [9, 8]);
/// # Ok::<(), larder::BuildError>(())
/// ```
pub trait Hints {
    /// Names up to `count` nodes that the next calls of [`evict`](super::EvictionPolicy::evict) will
    /// examine, so that the cache can prefetch their entries. Default: none.
    fn upcoming(&self, count: usize, name: &mut dyn FnMut(NodeId)) {
        let _ = (count, name);
    }

    /// A key of this hash is about to be inserted, or may soon be evicted: the policy can prefetch what
    /// it will look up by hash. Default: nothing.
    fn announce(&self, hash: u64) {
        let _ = hash;
    }

    /// How often `id` was used lately, as far as the policy knows and in its own measure. Default: the
    /// counter of its accesses.
    fn frequency(&self, id: NodeId, nodes: &dyn Nodes) -> u64 {
        u64::from(nodes.frequency(id))
    }

    /// Names up to `count` nodes, the one least worth keeping first. The cache ranks the nodes that are
    /// not named after them, by [`frequency`](Self::frequency). Default: the nodes that
    /// [`upcoming`](Self::upcoming) names.
    fn coldest(&self, count: usize, nodes: &dyn Nodes, name: &mut dyn FnMut(NodeId)) {
        let _ = nodes;
        self.upcoming(count, name);
    }

    /// Names up to `count` nodes, the one most worth keeping first. Default: none; the cache then
    /// takes the nodes that [`coldest`](Self::coldest) names last.
    fn hottest(&self, count: usize, nodes: &dyn Nodes, name: &mut dyn FnMut(NodeId)) {
        let _ = (count, nodes, name);
    }

    /// The name of the [segment](Self::segments) that `id` is in. Default: none.
    fn segment_of(&self, id: NodeId, nodes: &dyn Nodes) -> Option<&'static str> {
        let _ = (id, nodes);
        None
    }

    /// The segments into which the policy divides its nodes at the moment. Default: none.
    fn segments(&self) -> Vec<Segment> {
        Vec::new()
    }
}

/// The hints of a policy that gives none.
pub(super) struct NoHints;

impl Hints for NoHints {}
