//! What metrics show of a cache, whatever its types, for as long as the cache lives.
#![forbid(unsafe_code)]

use std::sync::{Arc, Weak};

use super::lifecycle::visit_cache;
use super::{Cache, Shared};
use crate::base::histogram::TimeCounts;
use crate::base::stats::Stats;
use crate::shadow::ShadowTotals;

/// A cache of any types, held weakly.
pub(crate) trait Readable: Send + Sync {
    /// Whether the cache has a handle.
    fn is_open(&self) -> bool;

    /// The present numbers of the cache; `None` if its last handle is gone. They are read on a visit: the drop of the
    /// last handle waits for its end.
    fn reading(&self) -> Option<CacheReading>;
}

/// The numbers of a cache at one moment.
pub(crate) struct CacheReading {
    pub(crate) stats: Stats,
    pub(crate) policy: Box<str>,
    pub(crate) entries: usize,
    pub(crate) capacity: Option<usize>,
    pub(crate) weight: u64,
    pub(crate) max_weight: Option<u64>,
    pub(crate) load_times: Option<TimeCounts>,
    pub(crate) eviction_ages: Option<TimeCounts>,
    pub(crate) shadows: Option<ShadowTotals>,
}

impl<K, V, S> Readable for Weak<Shared<K, V, S>>
where
    K: Send + Sync,
    V: Send + Sync,
    S: Send + Sync,
{
    fn is_open(&self) -> bool {
        self.upgrade().is_some_and(|shared| !shared.lifecycle.is_closed())
    }

    fn reading(&self) -> Option<CacheReading> {
        visit_cache(&self.upgrade()?, |cache| CacheReading {
            shadows: cache.shared.engine.shadow.as_ref().map(|shadow| shadow.totals()),
            load_times: cache.load_times(),
            eviction_ages: cache.eviction_ages(),
            stats: cache.stats(),
            policy: cache.policy_name().into(),
            entries: cache.len(),
            capacity: cache.capacity(),
            weight: cache.weight(),
            max_weight: cache.max_weight(),
        })
    }
}

impl<K, V, S> Cache<K, V, S>
where
    K: Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: Send + Sync + 'static,
{
    /// The cache without its types, held weakly.
    pub(crate) fn readable(&self) -> Arc<dyn Readable> {
        Arc::new(Arc::downgrade(&self.shared))
    }
}
