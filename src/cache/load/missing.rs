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
//! The memory does not know the type of its keys. So it is compiled once, with this crate, and not once more for each
//! type of cache that a program uses.
//!
//! # Orderings
//! `is_confirmed` is stored with release and read with acquire, so the key is known only after its entry was
//! stored. A change that forgets it has taken the lock under which it was confirmed.
#![forbid(unsafe_code)]

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use crate::base::equivalent::Equivalent;
use crate::base::error::FlushError;
use crate::base::hash::KeyHash;
use crate::base::stats::Stats;
use crate::base::sync::{AtomicBool, Ordering};
use crate::cache::Cache;
use crate::engine::fills::OpenFill;
use crate::engine::known::KnownKeys;

/// The keys of one cache that are known to have no value.
#[derive(Clone)]
pub(crate) struct KnownMissing(Arc<dyn MissingKeys>);

/// A key, of whatever type.
type AnyKey = dyn Any + Send + Sync;

pub(crate) struct MissingKey<K: ?Sized = AnyKey> {
    is_confirmed: AtomicBool,
    key: K,
}

/// Missing keys by their hashes.
trait MissingKeys: KnownKeys {
    fn insert(&self, hash: KeyHash, missing: Arc<MissingKey>, ttl: Option<Duration>);
    /// Forgets a key, if it is still there.
    fn remove(&self, hash: KeyHash, missing: &Arc<MissingKey>);
    /// Whether the key of that hash was confirmed and satisfies `is_it`.
    fn has(&self, hash: KeyHash, is_it: &dyn Fn(&AnyKey) -> bool) -> bool;
}

impl KnownMissing {
    /// Keeps them in `keys`, whose bound and lifetime apply to them.
    pub(crate) fn new(keys: Cache<u64, Arc<MissingKey>>) -> Self {
        Self(Arc::new(MissingByHash { keys }))
    }

    /// The keys that changes make the cache forget.
    pub(crate) fn known_keys(&self) -> Arc<dyn KnownKeys> {
        Arc::clone(&self.0) as Arc<dyn KnownKeys>
    }

    /// Whether `key` is known to have no value.
    pub(super) fn has<K, Q>(&self, key: &Q, hash: KeyHash) -> bool
    where
        K: 'static,
        Q: Equivalent<K> + ?Sized,
    {
        let is_it =
            |known: &AnyKey| known.downcast_ref().is_some_and(|known| key.equivalent(known));
        self.0.has(hash, &is_it)
    }

    /// Notes that `key` has no value, for `ttl` if that is given, unless `fill` is stale.
    pub(super) fn store<K, F>(&self, key: K, ttl: Option<Duration>, fill: &OpenFill<F>)
    where
        K: Send + Sync + 'static,
    {
        let missing: Arc<MissingKey> =
            Arc::new(MissingKey { is_confirmed: AtomicBool::new(false), key });
        self.0.insert(fill.hash, Arc::clone(&missing), ttl);
        let confirm = || {
            // Release: pairs with the acquire in `has`.
            missing.is_confirmed.store(true, Ordering::Release);
            true
        };
        if fill.confirm(confirm).is_none() {
            self.0.remove(fill.hash, &missing);
        }
    }
}

struct MissingByHash {
    keys: Cache<u64, Arc<MissingKey>>,
}

impl MissingKeys for MissingByHash {
    fn insert(&self, hash: KeyHash, missing: Arc<MissingKey>, ttl: Option<Duration>) {
        match ttl {
            None => self.keys.insert(hash.raw(), missing),
            Some(ttl) => self.keys.insert_with_ttl(hash.raw(), missing, ttl),
        };
    }

    fn remove(&self, hash: KeyHash, missing: &Arc<MissingKey>) {
        self.keys.remove_if(&hash.raw(), |_, stored| Arc::ptr_eq(stored, missing));
    }

    fn has(&self, hash: KeyHash, is_it: &dyn Fn(&AnyKey) -> bool) -> bool {
        let is_known = |missing: &Arc<MissingKey>| {
            // Acquire: pairs with the release in `store`.
            missing.is_confirmed.load(Ordering::Acquire) && is_it(&missing.key)
        };
        self.keys.read(&hash.raw(), is_known).unwrap_or(false)
    }
}

impl KnownKeys for MissingByHash {
    fn forget(&self, hash: KeyHash) {
        self.keys.remove_if(&hash.raw(), |_, _| true);
    }

    fn forget_all(&self) {
        self.keys.clear();
    }

    fn run_pending(&self) {
        self.keys.run_pending();
    }

    fn flush(&self) -> Result<(), FlushError> {
        self.keys.flush()
    }

    fn add_to(&self, stats: &mut Stats) {
        let own = self.keys.stats();
        stats.retired_bytes += own.retired_bytes;
        stats.freed_bytes += own.freed_bytes;
        stats.maintenance_panics += own.maintenance_panics;
    }

    fn end(&self) {
        self.keys.clear();
        // Within user code some of them may have to wait until later.
        let _ = self.keys.flush();
    }
}
