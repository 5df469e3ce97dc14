//! The bytes that each contender uses for an entry, beyond its key and its value.
//!
//! Fills a cache of n entries with n distinct keys, lets it finish deferred work, and divides the memory
//! by the entries that are present: a cache that splits its capacity holds fewer than n. It counts
//! what was requested from the allocator, which does not depend on the machine, and on Linux the
//! resident memory too: larder maps large tables directly, past the allocator.

use std::env;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use clap::Parser;
use larder_benches::contender::{
    CacheKey, Contender, Hashing, Job, Kind, Name, Value, with_contender,
};
use larder_benches::keys::scramble;
use larder_benches::report::Table;
use larder_benches::resident::resident_kib;
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
    let results: Vec<Json> = match options.contenders[..] {
        [name] => vec![measure(name, options.entries)],
        // Each in a process of its own, or one would use the memory that another has left.
        _ => options.contenders.iter().map(|&name| measured_apart(name, options.entries)).collect(),
    };
    if options.json {
        println!("{}", Json::Array(results));
        return;
    }
    let mut table = Table::new([
        "contender",
        "entries",
        "resident bytes beyond key and value",
        "bytes from the allocator beyond them",
        "of these when built",
        "KiB left after drop",
    ]);
    for result in &results {
        let number = |name: &str, divisor: f64| match result[name].as_f64() {
            Some(number) => format!("{:.1}", number / divisor),
            None => "-".to_owned(),
        };
        table.row(vec![
            result["contender"].as_str().unwrap_or_default().to_owned(),
            result["entries"].to_string(),
            number("resident_bytes_beyond_key_and_value", 1.0),
            number("bytes_beyond_key_and_value", 1.0),
            number("bytes_when_built", 1.0),
            number("bytes_left_after_drop", 1024.0),
        ]);
    }
    println!("capacity and keys: {}\n", options.entries);
    print!("{}", table.render());
}

/// Measures one contender in another process, which does only that.
fn measured_apart(name: Name, entries: usize) -> Json {
    let program = env::current_exe().expect("a program knows its own file");
    let output = Command::new(program)
        .args(["--json", "--entries", &entries.to_string(), "--contenders", &name.to_string()])
        .stderr(Stdio::inherit())
        .output()
        .expect("this program can be started again");
    assert!(output.status.success(), "{name}: {}", output.status);
    let mut results: Vec<Json> =
        serde_json::from_slice(&output.stdout).expect("it prints a JSON array");
    results.pop().expect("of one contender")
}

fn measure(name: Name, entries: usize) -> Json {
    let before = live_bytes();
    let resident_before = resident_kib().ok();
    let job = Filling { entries, before };
    let filled = with_contender::<u64, u64, _>(name, Hashing::Own, entries, job);
    // Gives background threads the time to free memory.
    thread::sleep(Duration::from_millis(200));
    let left = live_bytes() as f64 - before as f64;
    let entries = filled.entries as f64;
    // The key and the value, 8 bytes each, do not count.
    let beyond = |bytes: f64| bytes / entries - 16.0;
    let resident = filled.resident_kib.zip(resident_before);
    // A map is built without a capacity.
    let when_built = (name.kind() != Kind::Map).then(|| filled.bytes_when_built as f64 / entries);
    json!({
        "contender": name.to_string(),
        "entries": filled.entries,
        "resident_bytes_beyond_key_and_value":
            resident.map(|(after, before)| beyond((after as f64 - before as f64) * 1024.0)),
        "bytes_beyond_key_and_value": beyond(filled.bytes as f64),
        "bytes_when_built": when_built,
        "bytes_left_after_drop": left,
    })
}

struct Filling {
    entries: usize,
    before: usize,
}

struct Filled {
    entries: usize,
    bytes: i64,
    resident_kib: Option<u64>,
    bytes_when_built: i64,
}

/// By how much the live bytes have grown since they were `before`.
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
        let resident_kib = resident_kib().ok();
        let entries = contender.entries().unwrap_or_else(|| {
            let is_present = |&number: &u64| contender.get(&K::new(scramble(number))).is_some();
            (0..self.entries as u64).filter(is_present).count()
        });
        Filled { entries, bytes, resident_kib, bytes_when_built }
    }
}
