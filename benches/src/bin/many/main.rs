//! Small caches, and many of them: what an empty cache takes and costs, and how ten thousand small caches
//! compare with a large one of as many entries.
//!
//! It counts requests to the allocator, so the bytes do not depend on the machine; memory that a contender
//! maps without the allocator is not in them. The times do depend on it.

#[cfg(feature = "peers")]
use std::hash::RandomState;
use std::hint::black_box;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use larder::Cache;
use larder_benches::contender::{Contender, Larder, LruMutex, Name, QuickCache};
#[cfg(feature = "peers")]
use larder_benches::contender::{MiniMoka, Moka};
use larder_benches::keys::scramble;
use larder_benches::report::Table;

use self::counting::{Counting, live_bytes};

#[path = "../memory/counting.rs"]
mod counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Measures empty caches, and many small caches beside a large one, with u64 keys and values.
#[derive(Debug, Parser)]
#[command(about)]
struct Options {
    #[arg(default_value = "all")]
    part: Part,
    /// The number of small caches
    #[arg(long, default_value_t = 10_000)]
    caches: usize,
    /// The entries of each, and its capacity
    #[arg(long, default_value_t = 1_000)]
    entries: usize,
    /// The gets to measure
    #[arg(long, default_value_t = 10_000_000)]
    gets: u64,
    /// Only the contenders whose names begin with one of these
    #[arg(long, value_delimiter = ',')]
    contenders: Vec<String>,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Building and dropping empty caches, and the bytes of one.
    Empty,
    /// Many small caches, and a large one.
    Many,
    /// Both.
    All,
}

fn main() {
    let options = Options::parse();
    let mut empty = Table::new(["empty cache", "bytes", "to build", "to drop", "threads for them"]);
    let mut many = Table::new([
        "contender",
        "caches",
        "to build each",
        "to fill, an entry",
        "get",
        "bytes an entry",
        "to drop, an entry",
    ]);
    let mut both = Both { options: &options, empty: &mut empty, many: &mut many };
    both.measure("larder", |n| Larder::<u64, u64, _>::new(Name::Larder, n, Cache::builder()));
    both.measure("larder-sieve", |n| {
        Larder::<u64, u64, _>::new(Name::LarderSieve, n, Cache::builder())
    });
    both.measure("larder-lru", |n| {
        Larder::<u64, u64, _>::new(Name::LarderLru, n, Cache::builder())
    });
    both.measure("larder-inline", |n| {
        Larder::<u64, u64, _>::new(Name::LarderInline, n, Cache::builder())
    });
    both.measure("quick-cache", |n| {
        QuickCache::<u64, u64, _>::new(n, quick_cache::DefaultHashBuilder::default())
    });
    #[cfg(feature = "peers")]
    {
        both.measure("moka", |n| Moka::<u64, u64, _>::new(n, RandomState::new()));
        both.measure("mini-moka", |n| MiniMoka::<u64, u64, _>::new(n, RandomState::new()));
    }
    both.measure("lru-mutex", |n| LruMutex::<u64, u64, _>::new(n, lru::DefaultHasher::default()));
    if options.part != Part::Many {
        println!("capacity {}; goal for larder: at most 4096 bytes, 5 µs\n", options.entries);
        println!("{}", empty.render());
    }
    if options.part != Part::Empty {
        print!("{}", many.render());
    }
}

struct Both<'o> {
    options: &'o Options,
    empty: &'o mut Table,
    many: &'o mut Table,
}

impl Both<'_> {
    fn measure<C: Contender<Key = u64, Value = u64>>(
        &mut self,
        name: &str,
        make: impl Fn(usize) -> C,
    ) {
        let Options { part, caches, entries, gets, contenders } = self.options;
        if !contenders.is_empty() && !contenders.iter().any(|start| name.starts_with(&**start)) {
            return;
        }
        if *part != Part::Many {
            self.empty.row(measure_empty(name, *entries, &make));
        }
        if *part != Part::Empty {
            self.many.row(measure_many(name, *caches, *entries, *gets, &make));
            self.many.row(measure_many(name, 1, caches * entries, *gets, &make));
        }
    }
}

/// Builds and drops a thousand empty caches several times, and keeps the best time.
fn measure_empty<C>(name: &str, capacity: usize, make: impl Fn(usize) -> C) -> Vec<String> {
    const CACHES: u32 = 1_000;
    const ROUNDS: usize = 9;
    // What belongs to the process is made by the first.
    drop(make(capacity));
    let (mut to_build, mut to_drop) = (Duration::MAX, Duration::MAX);
    let (mut bytes, mut started) = (0, 0);
    for _ in 0..ROUNDS {
        let mut caches = Vec::with_capacity(CACHES as usize);
        let (before, threads_before) = (live_bytes(), threads());
        let start = Instant::now();
        caches.extend((0..CACHES).map(|_| make(capacity)));
        to_build = to_build.min(start.elapsed() / CACHES);
        bytes = (live_bytes() - before) / CACHES as usize;
        started = started.max(threads().saturating_sub(threads_before));
        let start = Instant::now();
        drop(caches);
        to_drop = to_drop.min(start.elapsed() / CACHES);
    }
    vec![
        name.to_owned(),
        bytes.to_string(),
        format!("{to_build:.1?}"),
        format!("{to_drop:.1?}"),
        started.to_string(),
    ]
}

/// The threads of this process; 0 where that is not known.
fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

/// Builds so many caches, fills them key by key, reads random keys of random ones, and drops them.
fn measure_many<C: Contender<Key = u64, Value = u64>>(
    name: &str,
    caches: usize,
    entries: usize,
    gets: u64,
    make: impl Fn(usize) -> C,
) -> Vec<String> {
    let all = (caches * entries) as u64;
    let before = live_bytes();
    let start = Instant::now();
    let built: Vec<C> = (0..caches).map(|_| make(entries)).collect();
    let to_build = start.elapsed() / u32::try_from(caches).expect("at most 2^32 caches");
    let start = Instant::now();
    // In turns, or the caches that are filled would be in the processor's caches.
    for key in 0..entries as u64 {
        for cache in &built {
            cache.insert(scramble(key), key);
        }
    }
    built.iter().for_each(C::run_pending);
    let to_fill = start.elapsed();
    let present: usize = built.iter().filter_map(C::entries).sum();
    let bytes = live_bytes() - before;
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let start = Instant::now();
    for _ in 0..gets {
        let random = random();
        let cache = &built[(random >> 32) as usize % caches];
        black_box(cache.get(&scramble((random & 0xffff_ffff) % entries as u64)));
    }
    let to_get = start.elapsed();
    let start = Instant::now();
    drop(built);
    let to_drop = start.elapsed();
    let each = |time: Duration, count: u64| {
        format!("{:.1} ns", time.as_nanos() as f64 / count.max(1) as f64)
    };
    vec![
        name.to_owned(),
        caches.to_string(),
        format!("{to_build:.1?}"),
        each(to_fill, all),
        each(to_get, gets),
        format!("{:.1}", bytes as f64 / present.max(1) as f64),
        each(to_drop, all),
    ]
}
