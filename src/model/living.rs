//! The end of a cache, with the visits of threads that have no handle.

use loom::cell::UnsafeCell;

use crate::base::reentrancy::{self, Scope};
use crate::base::sync::{self, AtomicUsize, Mutex, Ordering};
use crate::cache::lifecycle::{End, Lifecycle, Visit};

/// A cache that visitors change, and that the last thread inside takes apart. Its listener is
/// called by one thread at a time.
pub struct Living {
    lifecycle: Lifecycle,
    /// What visitors have done: the cache's own memory, which only its lock protects.
    done: Mutex<u64>,
    /// Memory that the end of the cache reads and frees without a lock.
    freed: UnsafeCell<u64>,
    ends: AtomicUsize,
}

// SAFETY: loom reports any access to `freed` that is not ordered, which is the purpose.
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
    /// As the maintenance thread, or a job of an executor: does something inside the cache, unless
    /// it is closed. Returns whether it did.
    pub fn visit(&self) -> bool {
        self.visit_and(|| ())
    }

    /// The same; the visitor calls `listener`, which stands for user code.
    pub fn visit_and(&self, listener: impl FnOnce()) -> bool {
        let Some(visit) = self.lifecycle.visit() else { return false };
        // SAFETY: the pointer is valid; loom checks that no thread frees it meanwhile.
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
            // SAFETY: the pointer is valid; loom checks that no other thread is inside.
            self.freed.with_mut(|freed| unsafe { *freed += 1 });
            self.ends.fetch_add(1, Ordering::Relaxed);
            self.lifecycle.note_ended();
        }
    }

    /// Whether the cache has been taken apart; for a thread that has closed it. Also reads the
    /// freed memory, since the end must have happened before.
    pub fn has_ended(&self) -> bool {
        let ends = self.ends.load(Ordering::Relaxed);
        assert!(ends <= 1, "taken apart twice");
        // SAFETY: the pointer is valid; loom checks that the access is ordered.
        ends == 1 && self.freed.with(|freed| unsafe { *freed == 1 })
    }
}
