//! The bytes that each contender uses for an entry, beyond its key and its value.
//!
//! Fills a cache of n entries with n distinct keys, lets it finish deferred work, and divides the
//! live requested bytes by the entries that are present: a cache that splits its capacity holds
//! fewer than n. It counts requests to the allocator, so the result does not depend on the machine.

use std::thread;
use std::time::Duration;

use clap::Parser;
use larder_benches::contender::{
    CacheKey, Contender, Hashing, Job, Kind, Name, Value, with_contender,
};
use larder_benches::keys::scramble;
use larder_benches::report::Table;
use serde_json::{Value as Json, json};

use self::counting::{Counting, live_bytes};

mod counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Measures the bytes of each entry beyond key and value, u64 to u64.
#[derive(Debug, Parser)]
#[command(about)]
struct Options {
    /// The capacity, and the number of distinct keys that are inserted
    #[arg(long, default_value_t = 1_000_000)]
    entries: usize,
    /// The contenders [default: larder with each policy, the peers and the maps]
    #[arg(long, value_delimiter = ',')]
    contenders: Vec<Name>,
    /// Prints a JSON array instead of a table
    #[arg(long)]
    json: bool,
}

const ALL: &[Name] = &[
    Name::Larder,
    Name::LarderS3Fifo,
    Name::LarderSieve,
    Name::LarderLru,
    Name::LarderLfu,
    Name::LarderFifo,
    #[cfg(feature = "peers")]
    Name::Moka,
    Name::QuickCache,
    #[cfg(feature = "peers")]
    Name::Foyer,
    #[cfg(feature = "peers")]
    Name::Tinyufo,
    #[cfg(feature = "peers")]
    Name::MiniMoka,
    #[cfg(feature = "peers")]
    Name::Stretto,
    #[cfg(feature = "peers")]
    Name::Fibre,
    #[cfg(feature = "peers")]
    Name::SieveCache,
    Name::LruMutex,
    Name::LruSharded,
    #[cfg(feature = "peers")]
    Name::Cached,
    #[cfg(feature = "peers")]
    Name::Scc,
    Name::Papaya,
    #[cfg(feature = "peers")]
    Name::Dashmap,
];

fn main() {
    let mut options = Options::parse();
    if options.contenders.is_empty() {
        options.contenders = ALL.to_vec();
    }
    let mut table = Table::new([
        "contender",
        "entries",
        "bytes beyond key and value",
        "of them when built",
        "KiB left after drop",
    ]);
    let mut results = Vec::new();
    for &name in &options.contenders {
        let before = live_bytes();
        let job = Filling { entries: options.entries, before };
        let filled = with_contender::<u64, u64, _>(name, Hashing::Own, options.entries, job);
        // Gives background threads the time to free memory, or the next contender would seem
        // smaller than it is.
        thread::sleep(Duration::from_millis(200));
        let left = live_bytes() as f64 - before as f64;
        let entries = filled.entries as f64;
        // The key and the value, 8 bytes each, do not count.
        let beyond = filled.bytes as f64 / entries - 16.0;
        // A map is built without a capacity.
        let when_built =
            (name.kind() != Kind::Map).then(|| filled.bytes_when_built as f64 / entries);
        table.row(vec![
            name.to_string(),
            filled.entries.to_string(),
            format!("{beyond:.1}"),
            when_built.map_or("-".to_owned(), |bytes| format!("{bytes:.1}")),
            format!("{:.1}", left / 1024.0),
        ]);
        results.push(json!({
            "contender": name.to_string(),
            "entries": filled.entries,
            "bytes_beyond_key_and_value": beyond,
            "bytes_when_built": when_built,
            "bytes_left_after_drop": left,
        }));
    }
    if options.json {
        println!("{}", Json::Array(results));
    } else {
        println!("capacity and keys: {}; goal for larder: at most 80 bytes\n", options.entries);
        print!("{}", table.render());
    }
}

struct Filling {
    entries: usize,
    before: usize,
}

struct Filled {
    entries: usize,
    bytes: i64,
    bytes_when_built: i64,
}

/// By how much the live bytes have grown since they were `before`. They may have shrunk, because the
/// contender before frees some of its memory late.
fn since(before: usize) -> i64 {
    live_bytes() as i64 - before as i64
}

impl<K: CacheKey, V: Value> Job<K, V> for Filling {
    type Output = Filled;

    fn run<C: Contender<Key = K, Value = V>>(self, contender: C) -> Filled {
        let bytes_when_built = since(self.before);
        for number in 0..self.entries as u64 {
            contender.insert(K::new(scramble(number)), V::new(number));
        }
        contender.run_pending();
        let bytes = since(self.before);
        let entries = contender.entries().unwrap_or_else(|| {
            let is_present = |&number: &u64| contender.get(&K::new(scramble(number))).is_some();
            (0..self.entries as u64).filter(is_present).count()
        });
        Filled { entries, bytes, bytes_when_built }
    }
}
