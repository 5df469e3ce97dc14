//! Reads a database through a cache: each row once, however many threads ask for it, no row that was changed
//! meanwhile, and an old row if the database is down.
//!
//! `cargo run --example read_through`

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use larder::test::FakeClock;
use larder::{BuildError, Cache, LoadError};

/// Stands for a database server.
#[derive(Default)]
struct Database {
    rows: Mutex<HashMap<u64, String>>,
    reads: AtomicUsize,
    is_down: AtomicBool,
}

impl Database {
    fn read(&self, id: u64) -> Result<Option<String>, &'static str> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        if self.is_down.load(Ordering::Relaxed) {
            return Err("the database is down");
        }
        Ok(self.rows.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned())
    }

    fn write(&self, id: u64, row: &str) {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner).insert(id, row.to_owned());
    }
}

struct Store {
    database: Database,
    cache: Cache<u64, String>,
}

impl Store {
    /// Its rows live for a minute by `clock`, and for ten more if the database is down. That there is no row is
    /// remembered for five seconds.
    fn new(clock: &FakeClock) -> Result<Self, BuildError> {
        let cache = Cache::builder()
            .capacity(1_000)
            .time_to_live(Duration::from_secs(60))
            .stale_if_error(Duration::from_secs(600))
            .negative_time_to_live(Duration::from_secs(5))
            .clock(clock.clone())
            .build()?;
        Ok(Self { database: Database::default(), cache })
    }

    fn get(&self, id: u64) -> Result<Option<String>, LoadError<&'static str>> {
        self.cache.try_optionally_get_or_insert_with(&id, || self.database.read(id))
    }

    fn set(&self, id: u64, row: &str) {
        // The database is changed first, so that no load can bring back the old row.
        self.database.write(id, row);
        self.cache.remove(&id);
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let clock = FakeClock::new();
    let store = Store::new(&clock)?;
    let reads = || store.database.reads.swap(0, Ordering::Relaxed);

    // Eight threads that want the same row at the same time read it once.
    store.set(1, "one");
    let start = Barrier::new(8);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                start.wait();
                assert_eq!(store.get(1), Ok(Some("one".to_owned())));
            });
        }
    });
    assert_eq!(reads(), 1);
    println!("eight threads have read the database once");

    // A row that does not exist is looked for once in five seconds, and found as soon as it is there.
    assert_eq!((store.get(2), store.get(2)), (Ok(None), Ok(None)));
    assert_eq!(reads(), 1);
    store.set(2, "two");
    assert_eq!(store.get(2), Ok(Some("two".to_owned())));
    assert_eq!(reads(), 1);

    // A writer comes between a reader's read and the end of its load. The reader gets the row that it has read,
    // and the cache does not keep it.
    store.cache.remove(&1);
    let old = store.cache.optionally_get_or_insert_with(&1, || {
        let row = store.database.read(1).ok().flatten();
        store.set(1, "new");
        row
    });
    assert_eq!((old.as_deref(), store.cache.peek(&1)), (Some("one"), None));
    assert_eq!(store.get(1), Ok(Some("new".to_owned())));
    println!("the row that was changed during its load was not kept");

    // The row has expired, and the database is down: the old row is better than none.
    clock.advance(Duration::from_secs(61));
    store.database.is_down.store(true, Ordering::Relaxed);
    assert_eq!(store.get(1), Ok(Some("new".to_owned())));
    let error = store.get(3).expect_err("this row was never in the cache");
    assert_eq!(error.loader_error(), Some(&"the database is down"));
    println!("while the database is down: {:?}, and for another row: {error}", store.get(1));
    println!("{}", store.cache.stats());
    Ok(())
}
