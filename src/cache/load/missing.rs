//! Keys that are known to have no value.
//!
//! They are kept in a cache of their own, by hash, since an entry has room for no answer but a value. So a
//! lookup of them takes no lock, they expire and are evicted as entries are, and they never push a value
//! out.
//!
//! A key becomes known to have no value by a load, under the rules of a fill: it is stored unconfirmed, and
//! confirmed under the lock under which fills become stale. A change of the key marks fills and then forgets
//! the key; so either the change forgets what was stored, or the load is refused. A lookup of the value comes
//! first, and this memory is asked only if that has missed.
//!
//! # Orderings
//! `is_confirmed` is stored with release and read with acquire, so the key is known only after its entry was
//! stored. A change that forgets it has taken the lock under which it was confirmed.
#![forbid(unsafe_code)]

use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use crate::base::equivalent::Equivalent;
use crate::base::hash::KeyHash;
use crate::base::sync::{AtomicBool, Ordering};
use crate::cache::Cache;
use crate::engine::fills::OpenFill;
use crate::engine::known::KnownKeys;

/// The keys of one cache that are known to have no value.
pub(crate) struct KnownMissing<K> {
    keys: Cache<u64, Arc<MissingKey<K>>>,
}

pub(crate) struct MissingKey<K> {
    key: K,
    is_confirmed: AtomicBool,
}

impl<K: Hash + Eq + Send + Sync + 'static> KnownMissing<K> {
    /// Keeps them in `keys`, by whose bound and lifetime they leave.
    pub(crate) fn new(keys: Cache<u64, Arc<MissingKey<K>>>) -> Self {
        Self { keys }
    }
}

impl<K> KnownMissing<K> {
    /// Whether `key` is known to have no value.
    pub(super) fn has<Q>(&self, key: &Q, hash: KeyHash) -> bool
    where
        Q: Equivalent<K> + ?Sized,
    {
        let is_it = |missing: &Arc<MissingKey<K>>| {
            // Acquire: pairs with the release in `store`.
            missing.is_confirmed.load(Ordering::Acquire) && key.equivalent(&missing.key)
        };
        self.keys.read(&hash.raw(), is_it).unwrap_or(false)
    }

    /// Notes that `key` has no value, for `ttl` if that is given, unless `fill` is stale.
    pub(super) fn store<F>(&self, key: K, ttl: Option<Duration>, fill: &OpenFill<F>) {
        let hash = fill.hash.raw();
        let missing = Arc::new(MissingKey { key, is_confirmed: AtomicBool::new(false) });
        let shared = Arc::clone(&missing);
        match ttl {
            None => self.keys.insert(hash, shared),
            Some(ttl) => self.keys.insert_with_ttl(hash, shared, ttl),
        };
        let confirm = || {
            // Release: pairs with the acquire in `has`.
            missing.is_confirmed.store(true, Ordering::Release);
            true
        };
        if fill.confirm(confirm).is_none() {
            self.keys.remove_if(&hash, |_, stored| Arc::ptr_eq(stored, &missing));
        }
    }
}

impl<K: Send + Sync> KnownKeys for KnownMissing<K> {
    fn forget(&self, hash: KeyHash) {
        self.keys.remove_if(&hash.raw(), |_, _| true);
    }

    fn forget_all(&self) {
        self.keys.clear();
    }

    fn end(&self) {
        self.keys.clear();
        // Within user code some of them may have to wait until later.
        let _ = self.keys.flush();
    }
}
