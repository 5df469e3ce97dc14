//! Policies by name: those of the library, and those that users have registered.
#![forbid(unsafe_code)]

use std::sync::{PoisonError, RwLock};

use super::{EvictionPolicy, Policy, PolicyConfig};
use crate::base::error::RegisterError;

/// What users have registered, in that order; for the whole process. Entries are never removed.
static REGISTERED: RwLock<Vec<Policy>> = RwLock::new(Vec::new());

/// Makes a policy of your own known by `name`, to [`Policy::named`] and so to whatever chooses a
/// policy by configuration, in the whole process and for good.
///
/// Names have no case: `mru` and `MRU` are the same. `factory` makes an instance for each
/// partition of each cache that is built with the policy; if it panics, so does
/// [`Builder::build`](crate::Builder::build).
///
/// Threads may register at the same time; of two that take one name, one gets the error.
///
/// # Errors
/// [`RegisterError`] if the name is blank, or taken: by a policy of the library or an earlier
/// registration.
///
/// # Examples
/// A policy that evicts what was used last (MRU), which is best for loops larger than the cache:
/// ```
/// use larder::policy::{Accesses, EvictionPolicy, NodeId, Nodes, Policy, register_policy};
/// use larder::{Cache, Maintenance};
///
/// /// Nodes by their last use. Kept simple: each call but `evict` searches.
/// #[derive(Default)]
/// struct Mru(Vec<NodeId>);
///
/// impl Mru {
///     fn forget(&mut self, id: NodeId) {
///         self.0.retain(|held| *held != id);
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
/// // Say, from a configuration file:
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
/// // From many threads it is the same code: the cache calls it from one at a time.
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

/// Every policy that has a name.
pub(super) fn known() -> Vec<Policy> {
    let registered = REGISTERED.read().unwrap_or_else(PoisonError::into_inner);
    Policy::built_in().iter().cloned().chain(registered.iter().cloned()).collect()
}

/// The policy of that name, whatever its case.
pub(super) fn find(name: &str) -> Option<Policy> {
    known().into_iter().find(|policy| has_name(policy, name))
}

fn has_name(policy: &Policy, name: &str) -> bool {
    policy.name().eq_ignore_ascii_case(name)
}
