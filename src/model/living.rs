//! The end of a cache, with the visits of threads that have no handle.

use loom::cell::UnsafeCell;

use crate::base::reentrancy::{self, Scope};
use crate::base::sync::{self, AtomicUsize, Mutex, Ordering};
use crate::cache::lifecycle::{End, Lifecycle, Visit};

/// A cache that visitors change, and that the last one to be inside takes apart. Its listener is run by
/// one thread at a time.
pub struct Living {
    lifecycle: Lifecycle,
    /// What visitors have done: the cache's own memory, to which its lock is all the protection.
    done: Mutex<u64>,
    /// What the end of the cache reads and frees without any lock.
    freed: UnsafeCell<u64>,
    ends: AtomicUsize,
}

// SAFETY: loom reports any access to `freed` that is not ordered; that is the point.
unsafe impl Send for Living {}
// SAFETY: as above.
unsafe impl Sync for Living {}

impl Default for Living {
    fn default() -> Self {
        Self {
            lifecycle: Lifecycle::new(),
            done: Mutex::new(0),
            freed: UnsafeCell::new(0),
            ends: AtomicUsize::new(0),
        }
    }
}

impl Living {
    /// As the maintenance thread, or a job of an executor: does something inside the cache, unless it is
    /// closed. Says whether it did.
    pub fn visit(&self) -> bool {
        self.visit_and(|| ())
    }

    /// The same; `listener` is what the visitor runs of the user's.
    pub fn visit_and(&self, listener: impl FnOnce()) -> bool {
        let Some(visit) = self.lifecycle.visit() else { return false };
        // SAFETY: the pointer is valid; that nobody frees it meanwhile is what loom checks.
        self.freed.with(|freed| unsafe { assert_eq!(*freed, 0, "visited after its end") });
        *sync::lock(&self.done) += 1;
        listener();
        self.leave(visit);
        true
    }

    fn leave(&self, visit: Visit<'_>) {
        self.end(visit.leave());
    }

    /// As the drop of the last handle.
    pub fn close(&self) {
        self.end(self.lifecycle.close());
    }

    /// The same, from within a listener of another cache.
    pub fn close_inside(&self) {
        let _inside = reentrancy::enter(Scope::Listener, &0_u64);
        self.close();
    }

    fn end(&self, end: End) {
        if end == End::Here {
            // SAFETY: the pointer is valid; that nobody else is inside is what loom checks.
            self.freed.with_mut(|freed| unsafe { *freed += 1 });
            self.ends.fetch_add(1, Ordering::Relaxed);
            self.lifecycle.note_ended();
        }
    }

    /// Whether the cache was taken apart before: to a thread that has closed it. Also reads what was
    /// freed, which must have happened before.
    pub fn has_ended(&self) -> bool {
        let ends = self.ends.load(Ordering::Relaxed);
        assert!(ends <= 1, "taken apart twice");
        // SAFETY: the pointer is valid; that it is ordered is what loom checks.
        ends == 1 && self.freed.with(|freed| unsafe { *freed == 1 })
    }
}
