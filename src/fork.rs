//! Keeps caches usable in a forked child.
//!
//! A fork copies memory as it is, and only the calling thread. If another thread were inside a cache at
//! that moment, the child might find locks that no thread will ever release. So before a fork the caller
//! waits until the maintenance thread is between two visits. (The thread of ticking clocks, that of alarms and the pool
//! of loads have hooks of their own.) Then the caller takes the process-wide locks, and those locks of every cache that
//! a reading thread may hold, because a lookup that finds its read buffer full runs maintenance. Parent and child
//! release them after the fork, and the child starts a maintenance thread of its own when it needs one. A write that
//! another thread has begun stays unfinished in the child: see `docs::limitations`.
//!
//! # Order of locks
//! The maintenance thread's visits; the list of caches; of each cache its bounds, its fills, its partitions one
//! after another, and its shadows; epochs; memory; the maintenance thread's roster; then the locks of ticking
//! clocks, of alarms and of the pool of loads, by hooks of their own. No thread takes one of these while it
//! holds a later one.
//!
//! This module has `unsafe` code because it keeps lock guards beside the caches that they borrow from.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, Weak};

use crate::base::at_fork::{self, HeldAcrossFork, Hook};
use crate::base::sync::{self, Mutex, MutexGuard};
use crate::maintainer;
use crate::memory;
use crate::reclaim;

/// A cache with locks that a reading thread may hold.
pub(crate) trait Forked: Send + Sync {
    /// Takes these locks.
    fn hold(&self) -> Box<dyn Locks + '_>;
}

/// The locks of a cache during a fork. Dropping this releases them.
pub(crate) trait Locks {
    /// In the child, corrects what the locks protect for a process that has only the calling thread. Must
    /// not panic.
    fn forget_other_threads(&mut self);
}

/// All living caches, by number.
static CACHES: Mutex<Caches> = Mutex::new(Caches { all: BTreeMap::new(), last: 0 });

struct Caches {
    all: BTreeMap<u64, Weak<dyn Forked>>,
    last: u64,
}

/// The registration of a cache, whose locks forking threads take until this is dropped.
#[derive(Default)]
pub(crate) struct ForkRegistration(OnceLock<u64>);

impl ForkRegistration {
    /// Registers the cache, unless it is registered already.
    pub(crate) fn register(&self, cache: Weak<dyn Forked>) {
        let mut caches = sync::lock(&CACHES);
        caches.last += 1;
        let number = caches.last;
        if self.0.set(number).is_ok() {
            caches.all.insert(number, cache);
        }
    }
}

impl Drop for ForkRegistration {
    fn drop(&mut self) {
        if let Some(number) = self.0.get() {
            let cache = sync::lock(&CACHES).all.remove(number);
            drop(cache);
        }
    }
}

/// The locks of one cache.
struct CacheLocks {
    // Before the cache, because fields are dropped in order.
    locks: Box<dyn Locks>,
    _cache: Arc<dyn Forked>,
}

impl CacheLocks {
    fn hold(cache: Arc<dyn Forked>) -> Self {
        let locks = cache.hold();
        // SAFETY: only the lifetime changes. The locks borrow from the cache alone, which `_cache` keeps
        // in its place on the heap, and which is dropped after them.
        let locks = unsafe { std::mem::transmute::<Box<dyn Locks + '_>, Box<dyn Locks>>(locks) };
        Self { locks, _cache: cache }
    }
}

/// The locks of this module's hook.
struct ForkLocks {
    // In the reverse of the order in which they are taken, because fields are dropped in order.
    roster: maintainer::HeldRoster,
    memory: memory::PoolLocks,
    reclaim: reclaim::EpochLocks,
    caches: Vec<CacheLocks>,
    list: MutexGuard<'static, Caches>,
    visits: Option<maintainer::HeldVisits>,
}

impl ForkLocks {
    fn take() -> Self {
        let visits = maintainer::hold_visits();
        let list = sync::lock(&CACHES);
        let caches = list.all.values().filter_map(Weak::upgrade).map(CacheLocks::hold).collect();
        let reclaim = reclaim::hold();
        let memory = memory::hold();
        let roster = maintainer::hold_roster();
        Self { roster, memory, reclaim, caches, list, visits }
    }

    /// Releases all locks, and then drops the references to caches. If the last handle of a cache was
    /// dropped meanwhile, its memory is freed then.
    fn release(self) {
        let Self { roster, memory, reclaim, caches, list, visits } = self;
        let mut unlocked = Vec::with_capacity(caches.len());
        for CacheLocks { locks, _cache: cache } in caches {
            drop(locks);
            unlocked.push(cache);
        }
        drop((roster, memory, reclaim, list, visits));
        drop(unlocked);
    }
}

/// The locks that [`at_fork`] keeps during a fork; `None` only while this is dropped.
struct HeldForkLocks(Option<ForkLocks>);

impl HeldAcrossFork for HeldForkLocks {
    fn forget_other_threads(&mut self) {
        if let Some(held) = &mut self.0 {
            held.caches.iter_mut().for_each(|cache| cache.locks.forget_other_threads());
            held.roster.forget_thread();
            held.reclaim.forget_other_threads();
        }
    }
}

impl Drop for HeldForkLocks {
    fn drop(&mut self) {
        if let Some(held) = self.0.take() {
            held.release();
        }
    }
}

/// Of the lowest rank, because caches use everything whose locks other hooks take.
static HOOK: Hook = Hook { rank: 0, hold: || Box::new(HeldForkLocks(Some(ForkLocks::take()))) };

/// Registers the hook, once for the process.
pub(crate) fn prepare() {
    at_fork::register(&HOOK);
}

#[cfg(test)]
mod child;
#[cfg(test)]
mod tests;
