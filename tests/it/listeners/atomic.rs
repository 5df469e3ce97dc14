//! The atomic listener, which runs within removals: what is visible while it runs, in which order
//! it is notified, and what happens when it panics, blocks or calls the cache.

mod order;
mod gates;
mod within;
mod interrupted;

use std::sync::{Arc, Mutex, OnceLock};

use larder::{Builder, Cache, Maintenance, Removal, RemovalCause};

/// Key, old value, new value, cause.
type Notified = (u32, u32, Option<u32>, RemovalCause);

fn inline(capacity: usize) -> Builder<u32, u32> {
    Cache::builder().capacity(capacity).partitions(1).maintenance(Maintenance::Inline)
}

/// A cache that records its notifications, and asserts that lookups see each entry until its
/// notification.
fn noting(builder: Builder<u32, u32>) -> (Cache<u32, u32>, Arc<Mutex<Vec<Notified>>>) {
    let notified = Arc::new(Mutex::new(Vec::new()));
    let note = Arc::clone(&notified);
    let slot: Arc<OnceLock<Cache<u32, u32>>> = Arc::default();
    let own = Arc::clone(&slot);
    let cache = builder
        .atomic_listener(move |removal: &Removal<'_, u32, u32>| {
            let Removal { key, value, new_value, cause, .. } = *removal;
            let seen = own.get().unwrap().peek(key);
            let is_visible = !matches!(cause, RemovalCause::Expired | RemovalCause::Invalidated);
            assert_eq!(seen, is_visible.then_some(*value), "{cause}");
            note.lock().unwrap().push((*key, *value, new_value.copied(), cause));
        })
        .build()
        .unwrap();
    // It lives until the process ends, because the listener owns the cache that owns it.
    slot.set(cache.clone()).unwrap();
    (cache, notified)
}
