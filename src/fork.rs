//! Keeping a forked child usable.
//!
//! A fork copies memory as it is, and of the threads only the caller. Were another thread inside a cache
//! at that moment, the child could find locks held for ever. So before a fork the caller waits until the
//! maintenance thread is between two visits (that of ticking clocks sees to itself); it takes the
//! process-wide locks, and of every cache those that a thread may hold that only reads: a lookup that
//! finds its read buffer full runs maintenance. Both sides give them back afterwards, and the child
//! starts a maintenance thread of its own when it needs one. What another thread is in the middle of
//! that writes to a cache, nobody can give back: see `docs::limitations`.
//!
//! # Order of locks
//! The maintenance thread's visits; the list of caches; of each cache its bounds, the partitions one
//! after another, and the shadows; epochs; memory; the maintenance thread's roster; then what lies below,
//! by hooks of its own: ticking clocks. No thread takes one of these while it holds a later one.
//!
//! Has `unsafe` outside of table, entry, reclamation and buffers: locks are kept beside what they are in.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, Weak};

use crate::base::at_fork::{self, HeldAcrossFork, Hook};
use crate::base::sync::{self, Mutex, MutexGuard};
use crate::maintainer;
use crate::memory;
use crate::reclaim;

/// What has locks that a thread may hold that only reads.
pub(crate) trait Forked: Send + Sync {
    /// Takes them.
    fn hold(&self) -> Box<dyn Locks + '_>;
}

/// Locks, whatever they protect.
pub(crate) trait Locks {}

impl<T> Locks for T {}

/// All living caches, by number.
static CACHES: Mutex<Caches> = Mutex::new(Caches { all: BTreeMap::new(), last: 0 });

struct Caches {
    all: BTreeMap<u64, Weak<dyn Forked>>,
    last: u64,
}

/// Keeps a cache among those whose locks are taken, until it is dropped.
#[derive(Default)]
pub(crate) struct ForkRegistration(OnceLock<u64>);

impl ForkRegistration {
    /// Registers the cache that this is in, once.
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
    // Before the cache: fields are dropped from the first on.
    _locks: Box<dyn Locks>,
    _cache: Arc<dyn Forked>,
}

impl CacheLocks {
    fn hold(cache: Arc<dyn Forked>) -> Self {
        let locks = cache.hold();
        // SAFETY: only the lifetime changes. The locks borrow from the cache alone, which `_cache` keeps
        // where it is, on the heap, and which is let go of after them.
        let locks = unsafe { std::mem::transmute::<Box<dyn Locks + '_>, Box<dyn Locks>>(locks) };
        Self { _locks: locks, _cache: cache }
    }
}

/// The locks of this module's hook.
struct ForkLocks {
    // In the order of their taking, reversed: fields are dropped from the first on.
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

    /// Gives everything back. The caches themselves go when nothing is held any more: the last handle of
    /// one may have been dropped meanwhile, and then this drops what is left of it.
    fn release(self) {
        let Self { roster, memory, reclaim, caches, list, visits } = self;
        let mut unlocked = Vec::with_capacity(caches.len());
        for CacheLocks { _locks: locks, _cache: cache } in caches {
            drop(locks);
            unlocked.push(cache);
        }
        drop((roster, memory, reclaim, list, visits));
        drop(unlocked);
    }
}

/// What [`at_fork`] keeps; nothing only while it is dropped.
struct HeldForkLocks(Option<ForkLocks>);

impl HeldAcrossFork for HeldForkLocks {
    fn forget_other_threads(&mut self) {
        if let Some(held) = &mut self.0 {
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

/// Caches come before all that they use.
static HOOK: Hook = Hook { rank: 0, hold: || Box::new(HeldForkLocks(Some(ForkLocks::take()))) };

/// Registers the hook, once for the process.
pub(crate) fn prepare() {
    at_fork::register(&HOOK);
}
