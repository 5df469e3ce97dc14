//! Reads a slow store through a cache, and writes to it only what leaves the cache.
//!
//! The listener is an atomic one: it writes a value before the removal takes effect. So a reader that misses
//! the key finds the value in the store. Whatever is in the cache is lost if the process is killed; where a write
//! has to survive that, write to the store first, or use the crate `larder-store`, which can acknowledge a write when
//! the store has taken it.
//!
//! `cargo run --example write_behind`

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use larder::{Cache, Removal, RemovalCause};

#[derive(Default)]
struct Store {
    rows: HashMap<u32, u64>,
    reads: u64,
    writes: u64,
}

/// A number, and whether the store has another one.
#[derive(Clone, Copy)]
struct Row {
    number: u64,
    is_dirty: bool,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = Arc::new(Mutex::new(Store::default()));
    let lock = || store.lock().unwrap_or_else(PoisonError::into_inner);

    let written = Arc::clone(&store);
    let cache = Cache::builder()
        .capacity(1_000)
        .atomic_listener(move |removal: &Removal<'_, u32, Row>| {
            // A newer value has replaced it and will be written when that is removed.
            if removal.cause != RemovalCause::Replaced && removal.value.is_dirty {
                let mut store = written.lock().unwrap_or_else(PoisonError::into_inner);
                store.rows.insert(*removal.key, removal.value.number);
                store.writes += 1;
            }
        })
        .build()?;

    // One thread of several that miss a row reads it. A write during the read wins.
    let read = |key: u32| {
        let row = cache.get_or_insert_with(&key, || {
            let mut store = lock();
            store.reads += 1;
            Row { number: store.rows.get(&key).copied().unwrap_or(0), is_dirty: false }
        });
        row.number
    };
    // Adds to the number that is there, wherever it is. No addition of another thread is lost.
    let add = |key: u32, amount: u64| {
        let grown = |row: &Row| Row { number: row.number + amount, is_dirty: true };
        while cache.update(&key, grown).is_none() {
            read(key); // it is not in the cache: fetch it
        }
    };
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for round in 1..=10 {
                    for key in 0..5_000 {
                        add(key, round);
                        // These are written many times, and reach the store seldom.
                        add(key % 10, 1);
                    }
                }
            });
        }
    });
    assert_eq!(read(4_999), 2 * 55);

    // Before the program ends, the remaining entries have to be removed too.
    cache.clear();
    let Store { rows, reads, writes } = &*lock();
    assert!((10..5_000).all(|key| rows[&key] == 2 * 55));
    assert!((0..10).all(|key| rows[&key] == 2 * (55 + 10 * 500)));
    println!("200000 additions came to {reads} reads and {writes} writes");
    assert!(*writes < 200_000);
    Ok(())
}
