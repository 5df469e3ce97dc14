//! The jobs in which an executor tells the listener.
#![forbid(unsafe_code)]

use std::ptr;
use std::sync::{Arc, Weak};

use super::Shared;
use super::life::LOOKING_AFTER;
use crate::sync::{self, Ordering};

/// Lets deliveries go to the executor of the cache's listener, if it has one.
pub(super) fn connect_executor<K, V, S>(shared: &Arc<Shared<K, V, S>>)
where
    K: Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: Send + Sync + 'static,
{
    let Some(deliveries) = &shared.engine.deliveries else { return };
    let Some(executor) = deliveries.listening.executor.clone() else { return };
    let weak = Arc::downgrade(shared);
    let schedule = move |partition| {
        let weak: Weak<Shared<K, V, S>> = Weak::clone(&weak);
        executor(Box::new(move || {
            // None: the cache is gone, and has told everything before.
            if let Some(shared) = weak.upgrade() {
                shared.deliver(partition);
            }
        }));
    };
    // Set once, here.
    let _ = deliveries.schedule.set(Box::new(schedule));
}

impl<K, V, S> Shared<K, V, S> {
    fn deliver(&self, partition: usize) {
        // Run by the executor on a thread that is within this cache anyway: that one sees to the
        // end of the cache.
        if self.is_looked_after_here() {
            return self.engine.deliver_as_job(partition);
        }
        let before = LOOKING_AFTER.try_with(|cache| cache.replace(ptr::from_ref(self).cast()));
        self.engine.deliver_as_job(partition);
        let _ = LOOKING_AFTER.try_with(|cache| cache.set(before.unwrap_or(ptr::null())));
        // SeqCst: as in `tick`. The listener may have dropped the last handle.
        if self.is_closed.load(Ordering::SeqCst) {
            self.tear_down(&mut sync::lock(&self.gate));
        }
    }
}
