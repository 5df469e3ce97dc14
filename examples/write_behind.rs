//! Writes only to the cache, and lets values reach a slow store when they are removed, on a separate
//! thread, so that no caller waits for the store.
//!
//! A reader that misses may read the store a moment before the write has arrived there. To rule
//! that out, use `Builder::atomic_listener`, which writes as part of the removal.
//!
//! `cargo run --example write_behind`

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;

use larder::{Cache, Listener, Removal, RemovalCause};

#[derive(Default)]
struct Store {
    rows: HashMap<u32, u64>,
    writes: u64,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = Arc::new(Mutex::new(Store::default()));
    let written = Arc::clone(&store);
    let listener = Listener::new(move |removal: &Removal<'_, u32, u64>| {
        // A newer value has replaced it and will be written when it is removed.
        if removal.cause == RemovalCause::Replaced {
            return;
        }
        let mut store = written.lock().unwrap_or_else(PoisonError::into_inner);
        store.rows.insert(*removal.key, *removal.value);
        store.writes += 1;
    });

    // The executor receives jobs, each of which notifies the listener of some removals.
    let (jobs, queue) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
    let writer = thread::spawn(move || queue.into_iter().for_each(|job| job()));
    let listener = listener.executor(move |job| {
        // If the writer thread has ended, the cache itself delivers the notifications in `flush`.
        let _ = jobs.send(job);
    });

    let cache = Cache::builder().capacity(1_000).listener(listener).build()?;
    for round in 1..=10 {
        for key in 0..5_000 {
            cache.insert(key, round * 1_000_000 + u64::from(key));
            // These keys are written many times but reach the store once.
            cache.insert(key % 10, round);
        }
    }

    // Before the program ends, the remaining entries have to be removed too. `flush` returns when
    // the listener has been notified of all of them, or returns an error.
    cache.clear();
    cache.flush()?;
    let store = store.lock().unwrap_or_else(PoisonError::into_inner);
    assert_eq!(store.rows.len(), 5_000);
    assert!((10..5_000).all(|key| store.rows[&key] == 10_000_000 + u64::from(key)));
    assert!((0..10).all(|key| store.rows[&key] == 10));
    let inserts = 10 * 5_000 * 2;
    println!("{inserts} insertions came to {} writes", store.writes);
    assert!(store.writes < inserts);
    drop(store);

    // The last handle owns the listener, the executor and the sender, so dropping it ends the
    // writer.
    drop(cache);
    writer.join().map_err(|_| "the writer has panicked")?;
    Ok(())
}
