//! Functions that remember their results: by a key, for a time, without errors, and as methods.
//!
//! `cargo run --example memoized --features macros`

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use larder::{Cache, cached};

/// How often bodies have run.
static RUNS: AtomicUsize = AtomicUsize::new(0);

/// All arguments are the key. The value is computed once, however many threads ask for it at once.
#[cached(capacity = 1_000, ttl = "10m", policy = "lru")]
fn thumbnail(path: &str, width: u32) -> String {
    RUNS.fetch_add(1, Ordering::Relaxed);
    format!("{path} at {width} pixels")
}

/// Errors are returned and not stored, so the next call tries again.
#[cached(result)]
fn port(text: &str) -> Result<u16, std::num::ParseIntError> {
    RUNS.fetch_add(1, Ordering::Relaxed);
    text.parse()
}

struct Database {
    name: String,
    rows: Cache<u64, String>,
}

impl Database {
    /// One cache for all databases, so the key says which one.
    #[cached(key = (self.name, id), key_type = (String, u64))]
    fn describe(&self, id: u64) -> String {
        RUNS.fetch_add(1, Ordering::Relaxed);
        format!("row {id} of {}", self.name)
    }

    /// A cache of the database's own.
    #[cached(cache = self.rows)]
    fn row(&self, id: u64) -> String {
        RUNS.fetch_add(1, Ordering::Relaxed);
        format!("the contents of row {id}")
    }
}

/// How many bodies `work` has run.
fn runs(work: impl FnOnce()) -> usize {
    let before = RUNS.load(Ordering::Relaxed);
    work();
    RUNS.load(Ordering::Relaxed) - before
}

fn main() {
    let together = runs(|| {
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| thumbnail("cat.png", 64));
            }
        });
    });
    println!("8 threads asked for one thumbnail, which was made {together} time");
    assert_eq!(together, 1);

    // The helper returns the cache itself.
    thumbnail_cache().remove(&("cat.png".to_owned(), 64));
    assert_eq!(runs(|| assert_eq!(thumbnail("cat.png", 64), "cat.png at 64 pixels")), 1);

    let tries = runs(|| {
        assert!(port("http").is_err());
        assert!(port("http").is_err());
        assert_eq!((port("80"), port("80")), (Ok(80), Ok(80)));
    });
    println!("two tries of a text that is not a port, and one of a port: {tries}");
    assert_eq!(tries, 3);

    let database = |name: &str| Database { name: name.to_owned(), rows: Cache::new(100) };
    let (users, orders) = (database("users"), database("orders"));
    let rows = runs(|| {
        for _ in 0..3 {
            assert_eq!(users.describe(1), "row 1 of users");
            assert_eq!(orders.describe(1), "row 1 of orders");
            assert_eq!(users.row(1), orders.row(1));
        }
    });
    println!("two databases, each asked three times: {rows}");
    assert_eq!(rows, 4);
    println!("the caches: {:?}, {:?}", thumbnail_cache().name(), Database::describe_cache().name());
}
