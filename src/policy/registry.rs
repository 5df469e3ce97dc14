//! Policies by name: those of the library, and those that users have registered.
#![forbid(unsafe_code)]

use std::sync::{PoisonError, RwLock};

use super::{EvictionPolicy, Policy, PolicyConfig};
use crate::base::error::RegisterError;

/// The policies that users of the process have registered, in that order. They are never removed.
static REGISTERED: RwLock<Vec<Policy>> = RwLock::new(Vec::new());

/// Registers a custom policy under `name` for the whole process, so that [`Policy::named`] finds it, and
/// configuration files can choose it.
///
/// Names ignore case: `mru` and `MRU` are the same. `factory` makes an instance for each partition of
/// each cache that is built with the policy; if it panics, so does
/// [`Builder::build`](crate::Builder::build). A registration cannot be undone.
///
/// Threads may register at the same time; if two of them take the same name, one gets the error.
///
/// # Errors
/// [`RegisterError`] if the name is blank, or if it is taken by a policy of the library or by an earlier
/// registration.
///
/// # Examples
/// A policy that evicts the most recently used entry (MRU), which is best for loops larger than the cache:
/// ```
/// use larder::policy::{Accesses, EvictionPolicy, NodeId, Nodes, Policy, register_policy};
/// use larder::{Cache, Maintenance};
///
/// /// Nodes in the order of their last use. To keep the example short, most calls search the list.
/// #[derive(Default)]
/// struct Mru(Vec<NodeId>);
///
/// impl Mru {
///     fn forget(&mut self, id: NodeId) {
///         self.0.retain(|other| *other != id);
///     }
///
///     fn note_use(&mut self, id: NodeId) {
///         self.forget(id);
///         self.0.push(id);
///     }
/// }
///
/// impl EvictionPolicy for Mru {
///     fn accesses(&self) -> Accesses { Accesses::Order }
///     fn on_insert(&mut self, id: NodeId, _: &dyn Nodes) { self.0.push(id) }
///     fn on_access(&mut self, id: NodeId, _: &dyn Nodes) { self.note_use(id) }
///     fn on_update(&mut self, id: NodeId, _: u32, _: &dyn Nodes) { self.note_use(id) }
///     fn on_remove(&mut self, id: NodeId, _: &dyn Nodes) { self.forget(id) }
///     fn evict(&mut self, _: &dyn Nodes) -> Option<NodeId> { self.0.pop() }
/// }
///
/// register_policy("mru", |_| Box::new(Mru::default()))?;
///
/// // The name may come from a configuration file.
/// let name = "MRU";
/// let cache = Cache::builder()
///     .capacity(100)
///     .policy(Policy::named(name))
///     .maintenance(Maintenance::Inline)
///     .build()?;
/// let mut hits = 0;
/// for key in (0..10).flat_map(|_| 0..110) {
///     match cache.get(&key) {
///         Some(()) => hits += 1,
///         None => drop(cache.insert(key, ())),
///     }
/// }
/// // Of 110 keys in a loop, LRU would have hit none.
/// assert!(hits > 800, "{hits}");
///
/// // The same policy serves many threads: the cache calls it from one thread at a time.
/// std::thread::scope(|scope| {
///     for thread in 0..8 {
///         let cache = &cache;
///         scope.spawn(move || {
///             for key in (0..1_000).map(|step| step * thread % 300) {
///                 if cache.get(&key).is_none() {
///                     cache.insert(key, ());
///                 }
///             }
///         });
///     }
/// });
/// assert_eq!(cache.len(), 100);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn register_policy(
    name: &str,
    factory: impl Fn(&PolicyConfig) -> Box<dyn EvictionPolicy> + Send + Sync + 'static,
) -> Result<(), RegisterError> {
    if name.trim().is_empty() {
        return Err(RegisterError::EmptyName);
    }
    let mut registered = REGISTERED.write().unwrap_or_else(PoisonError::into_inner);
    let known = || Policy::built_in().iter().cloned().chain(registered.iter().cloned());
    if known().any(|policy| has_name(&policy, name)) {
        let known = known().map(|policy| policy.name().to_owned()).collect();
        return Err(RegisterError::Taken { given: name.to_owned(), known });
    }
    registered.push(Policy::custom(name, factory));
    Ok(())
}

/// The policies of the library, and those that were registered.
pub(super) fn known() -> Vec<Policy> {
    let registered = REGISTERED.read().unwrap_or_else(PoisonError::into_inner);
    Policy::built_in().iter().cloned().chain(registered.iter().cloned()).collect()
}

/// The policy of that name, in upper or lower case.
pub(super) fn find(name: &str) -> Option<Policy> {
    known().into_iter().find(|policy| has_name(policy, name))
}

fn has_name(policy: &Policy, name: &str) -> bool {
    policy.name().eq_ignore_ascii_case(name)
}
