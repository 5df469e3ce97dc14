//! Keeping a forked child usable.
//!
//! A fork copies memory as it is, and of the threads only the caller. Were another thread inside a cache
//! at that moment, the child could find locks held for ever. So before a fork the caller waits until the
//! maintenance thread is between two visits, and that of ticking clocks between two ticks; it takes the
//! process-wide locks, and of every cache those that a thread may hold that only reads: a lookup that
//! finds its read buffer full runs maintenance. Both sides give them back afterwards, and the child
//! starts a maintenance thread of its own when it needs one. What another thread is in the middle of
//! that writes to a cache, nobody can give back: see `docs::limitations`.
//!
//! # Order of locks
//! The maintenance thread's visits; the list of caches; of each cache its bounds, the partitions one
//! after another, and the shadows; memory and epochs; the maintenance thread's roster; ticking clocks.
//! No thread takes one of these while it holds a later one.
//!
//! Has `unsafe` outside of table, entry, reclamation and buffers: the C library calls back, and locks are
//! kept beside what they are in.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::mem::ManuallyDrop;
use std::sync::{Arc, Once, OnceLock, Weak};

use crate::base::sync::{self, Mutex, MutexGuard};
use crate::expiry::ticking;
use crate::maintainer;
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
pub(crate) struct Registration(OnceLock<u64>);

impl Registration {
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

impl Drop for Registration {
    fn drop(&mut self) {
        if let Some(number) = self.0.get() {
            let cache = sync::lock(&CACHES).all.remove(number);
            drop(cache);
        }
    }
}

/// The locks of one cache.
struct HeldCache {
    // Before the cache: fields are dropped from the first on.
    _locks: Box<dyn Locks>,
    _cache: Arc<dyn Forked>,
}

impl HeldCache {
    fn hold(cache: Arc<dyn Forked>) -> Self {
        let locks = cache.hold();
        // SAFETY: only the lifetime changes. The locks borrow from the cache alone, which `_cache` keeps
        // where it is, on the heap, and which is let go of after them.
        let locks = unsafe { std::mem::transmute::<Box<dyn Locks + '_>, Box<dyn Locks>>(locks) };
        Self { _locks: locks, _cache: cache }
    }
}

/// The locks that a forking thread holds meanwhile.
struct Held {
    // In the order of their taking, reversed: fields are dropped from the first on.
    ticking: ticking::Stopped,
    roster: maintainer::HeldRoster,
    reclaim: reclaim::Held,
    // Let go of by `Held::release`, when nothing else is held: the last handle of a cache may have been
    // dropped meanwhile, and then this drops what is left of it.
    caches: Vec<HeldCache>,
    _list: MutexGuard<'static, Caches>,
    _visits: Option<maintainer::HeldVisits>,
}

impl Held {
    fn take() -> Self {
        let visits = maintainer::hold_visits();
        let list = sync::lock(&CACHES);
        let caches = list.all.values().filter_map(Weak::upgrade).map(HeldCache::hold).collect();
        let reclaim = reclaim::hold();
        let roster = maintainer::hold_roster();
        let ticking = ticking::stop();
        Self { ticking, roster, reclaim, caches, _list: list, _visits: visits }
    }

    fn release(mut self) {
        let caches = std::mem::take(&mut self.caches);
        let mut kept = Vec::with_capacity(caches.len());
        for HeldCache { _locks: locks, _cache: cache } in caches {
            drop(locks);
            kept.push(cache);
        }
        drop(self);
        drop(kept);
    }
}

/// No destructor, so that threads can fork in those of their other thread-locals. It holds something
/// during a fork alone.
type Slot = RefCell<ManuallyDrop<Option<Held>>>;

const _: () = assert!(!std::mem::needs_drop::<Slot>());

thread_local! {
    static HELD: Slot = const { RefCell::new(ManuallyDrop::new(None)) };
}

// The standard library links the C library anyway.
unsafe extern "C" {
    fn pthread_atfork(
        prepare: Option<extern "C" fn()>,
        parent: Option<extern "C" fn()>,
        child: Option<extern "C" fn()>,
    ) -> i32;
}

/// Registers the handlers, once for the process.
pub(crate) fn prepare() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the handlers are functions of this program, which is never unloaded from under
        // them, and do not unwind: they take and give back locks. An error (no memory) leaves
        // forks as they are without handlers.
        let _ =
            unsafe { pthread_atfork(Some(before), Some(after_in_parent), Some(after_in_child)) };
    });
}

extern "C" fn before() {
    let _ = HELD.try_with(|held| **held.borrow_mut() = Some(Held::take()));
}

fn take_held() -> Option<Held> {
    HELD.try_with(|held| held.borrow_mut().take()).ok().flatten()
}

extern "C" fn after_in_parent() {
    if let Some(held) = take_held() {
        held.release();
    }
}

extern "C" fn after_in_child() {
    if let Some(mut held) = take_held() {
        held.roster.forget_thread();
        held.reclaim.forget_other_threads();
        held.ticking.forget_thread();
        held.release();
    }
}
