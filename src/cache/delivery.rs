//! The jobs in which an executor notifies the listener.
#![forbid(unsafe_code)]

use std::sync::{Arc, Weak};

use super::Shared;

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
            // Of a cache that is gone, or closed, everything was delivered or will be.
            if let Some(shared) = weak.upgrade() {
                let _ = shared.visit(|| shared.engine.deliver_as_job(partition));
            }
        }));
    };
    // Set once, here.
    let _ = deliveries.schedule.set(Box::new(schedule));
}
