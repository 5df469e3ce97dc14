//! The jobs in which an executor delivers notifications to the listener.
#![forbid(unsafe_code)]

use std::sync::{Arc, Weak};

use super::Shared;

/// A job that was handed to the executor. The executor may also drop it without running it, or keep it
/// until the cache is gone.
struct Job<K, V, S> {
    shared: Weak<Shared<K, V, S>>,
    partition: usize,
    has_run: bool,
}

impl<K, V, S> Job<K, V, S> {
    fn run(mut self) {
        self.has_run = true;
        // If the cache is gone or closed, the thread that takes it apart delivers everything.
        if let Some(shared) = self.shared.upgrade() {
            let _ = shared.visit(|| shared.engine.deliver_as_job(self.partition));
        }
    }
}

impl<K, V, S> Drop for Job<K, V, S> {
    fn drop(&mut self) {
        if !self.has_run
            && let Some(shared) = self.shared.upgrade()
        {
            shared.engine.forget_job(self.partition);
        }
    }
}

/// Hands deliveries to the executor of the cache's listener, if it has one.
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
        let job = Job { shared: Weak::clone(&weak), partition, has_run: false };
        executor(Box::new(move || job.run()));
    };
    // Never fails: this is the only place that sets it, once for each cache.
    let _ = deliveries.schedule.set(Box::new(schedule));
}
