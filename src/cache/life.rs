//! How long a cache lives: its handles, the maintenance thread's looks at it, and its end.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use super::{Cache, Gate, Shared};
use crate::maintainer::{self, Maintained};
use crate::maintenance::Maintenance;
use crate::sync::{self, Ordering};

thread_local! {
    /// The cache that this thread, as the maintenance thread or in a job of the listener's executor,
    /// is looking after at the moment.
    pub(super) static LOOKING_AFTER: Cell<*const ()> = const { Cell::new(ptr::null()) };
}

impl<K, V, S> Shared<K, V, S> {
    /// The last handle is gone.
    fn close(&self) {
        // SeqCst: before the look at the gate below; pairs with the load in `tick`, after it has
        // taken the gate.
        self.is_closed.store(true, Ordering::SeqCst);
        // Dropped by a value that the maintenance thread is freeing for this very cache, or by the
        // listener in a job of the executor: they tear the cache down when they are through.
        if !self.is_looked_after_here() {
            self.tear_down(&mut sync::lock(&self.gate));
        }
        if self.parts.maintenance == Maintenance::Background {
            maintainer::notify();
        }
    }

    pub(super) fn is_looked_after_here(&self) -> bool {
        LOOKING_AFTER
            .try_with(|cache| ptr::eq(cache.get(), ptr::from_ref(self).cast()))
            .unwrap_or(false)
    }

    pub(super) fn tear_down(&self, gate: &mut Gate) {
        if *gate == Gate::Open {
            *gate = Gate::TornDown;
            self.engine.tear_down();
        }
    }
}

impl<K, V, S> Maintained for Shared<K, V, S>
where
    K: Send + Sync,
    V: Send + Sync,
    S: Send + Sync,
{
    fn tick(&self) -> bool {
        let Some(mut gate) = sync::try_lock(&self.gate) else { return true };
        if *gate == Gate::TornDown {
            return true;
        }
        let _ = LOOKING_AFTER.try_with(|cache| cache.set(ptr::from_ref(self).cast()));
        let may_have_more = self.engine.tick();
        // SeqCst: see `close`. Set by another thread, which waits for the gate and tears down
        // itself, or from within this look.
        let is_closed = self.is_closed.load(Ordering::SeqCst);
        if is_closed {
            self.tear_down(&mut gate);
        }
        let _ = LOOKING_AFTER.try_with(|cache| cache.set(ptr::null()));
        may_have_more || is_closed
    }

    fn next_timer(&self) -> Option<Duration> {
        self.engine.next_timer()
    }

    fn has_work(&self) -> bool {
        self.is_closed.load(Ordering::SeqCst) || self.engine.has_work()
    }
}

impl<K, V, S> Clone for Cache<K, V, S> {
    fn clone(&self) -> Self {
        self.shared.handles.fetch_add(1, Ordering::Relaxed);
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<K, V, S> Drop for Cache<K, V, S> {
    fn drop(&mut self) {
        // AcqRel: all that other handles did happens before the last one closes.
        if self.shared.handles.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.close();
        }
    }
}
