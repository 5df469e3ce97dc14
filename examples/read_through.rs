//! Fills a cache from a database, and keeps out values that have become stale in the meantime.
//!
//! `cargo run --example read_through`

use std::collections::HashMap;
use std::sync::{Barrier, Mutex, PoisonError};
use std::thread;

use larder::{Cache, Inserted, Rejection};

/// Stands for a database server.
#[derive(Default)]
struct Database {
    rows: Mutex<HashMap<u64, String>>,
}

impl Database {
    fn read(&self, id: u64) -> Option<String> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    fn write(&self, id: u64, row: &str) {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner).insert(id, row.to_owned());
    }
}

struct Store {
    database: Database,
    /// `None`, which means that there is no such row, is cached too.
    cache: Cache<u64, Option<String>>,
}

impl Store {
    fn get(&self, id: u64) -> Option<String> {
        if let Some(row) = self.cache.get(&id) {
            return row;
        }
        // Called before the database is read: any change from here on makes the fill stale.
        let fill = self.cache.begin_fill(&id);
        let row = self.database.read(id);
        // If the fill is refused, the row is still what the database returned.
        self.cache.complete_fill(fill, row.clone());
        row
    }

    fn set(&self, id: u64, row: &str) {
        // The database is changed first, so that no fill can bring back the old row.
        self.database.write(id, row);
        self.cache.remove(&id);
    }
}

fn main() {
    let store = Store { database: Database::default(), cache: Cache::new(1_000) };
    store.set(1, "one");
    assert_eq!(store.get(1).as_deref(), Some("one"));
    assert_eq!(store.cache.peek(&1), Some(Some("one".to_owned())));
    assert_eq!(store.get(2), None);
    assert_eq!(store.cache.peek(&2), Some(None), "that there is no such row is cached as well");

    // A writer runs between a reader's read and its insertion; the barriers ensure this.
    store.set(1, "old");
    let (was_read, was_written) = (Barrier::new(2), Barrier::new(2));
    thread::scope(|scope| {
        scope.spawn(|| {
            let fill = store.cache.begin_fill(&1);
            let row = store.database.read(1);
            was_read.wait();
            was_written.wait();
            let stored = store.cache.complete_fill(fill, row);
            assert_eq!(stored, Inserted::Rejected(Rejection::Stale));
        });
        was_read.wait();
        store.set(1, "new");
        was_written.wait();
    });
    assert_eq!(store.get(1).as_deref(), Some("new"));
    println!("the row that had become stale was refused; the cache has {:?}", store.cache.peek(&1));
}
