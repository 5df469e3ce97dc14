//! Writes to the cache alone, and lets values reach a slow store when they leave: on a thread of its
//! own, so that no caller waits for the store.
//!
//! A reader that misses may ask the store a moment before the write has arrived there. Where that must
//! not be, take `Builder::atomic_listener`, which writes within the removal.
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
        // A newer value has taken its place, and will be written when it leaves.
        if removal.cause == RemovalCause::Replaced {
            return;
        }
        let mut store = written.lock().unwrap_or_else(PoisonError::into_inner);
        store.rows.insert(*removal.key, *removal.value);
        store.writes += 1;
    });

    // The executor is given jobs, each of which calls the listener for some of what has left.
    let (jobs, queue) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
    let writer = thread::spawn(move || queue.into_iter().for_each(|job| job()));
    let listener = listener.executor(move |job| {
        // If the writer is gone, the cache delivers by itself in `flush`.
        let _ = jobs.send(job);
    });

    let cache = Cache::builder().capacity(1_000).listener(listener).build()?;
    for round in 1..=10 {
        for key in 0..5_000 {
            cache.insert(key, round * 1_000_000 + u64::from(key));
            // These are written again and again, and reach the store once.
            cache.insert(key % 10, round);
        }
    }

    // Before the program ends, what is in the cache has to leave as well. `flush` returns when the
    // listener has heard of everything, and says so if it could not.
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

    // The last handle has the listener, that one the executor, and that one the sender: the writer ends.
    drop(cache);
    writer.join().map_err(|_| "the writer has panicked")?;
    Ok(())
}
