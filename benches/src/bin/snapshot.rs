//! Saving and loading a million entries, lookups during a save, and insertions into a full
//! `QuickCache`.
//!
//! `cargo run --release -p larder-benches --bin snapshot`

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use larder::Cache;
use larder::quick::{QuickCache, QuickCacheConfig};
use larder::snapshot::{RestoreOptions, SaveOptions, Serializers};

#[derive(Parser)]
struct Args {
    /// Entries that are saved and loaded
    #[arg(long, default_value_t = 1_000_000)]
    entries: u64,
    /// Rounds, of which the median is reported
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Serializers to save and load with
    #[arg(long, value_delimiter = ',', default_value = "bincode,json,postcard")]
    serializers: Vec<String>,
    /// Measure only saves and loads
    #[arg(long)]
    throughput: bool,
}

fn main() {
    let args = Args::parse();
    println!("{} entries, String to String of 100 bytes, median of {}", args.entries, args.rounds);
    for serializer in &args.serializers {
        throughput(&args, serializer);
    }
    if args.throughput {
        return;
    }
    lookups_while_saving(&args);
    insertions_at_capacity(&args);
}

fn filled(entries: u64) -> Cache<String, String> {
    let capacity = usize::try_from(entries * 2).expect("fits");
    let builder = Cache::builder().capacity(capacity).partitions(1);
    let cache = builder.build().expect("a valid configuration");
    for n in 0..entries {
        cache.insert(format!("key {n:012}"), "x".repeat(100));
    }
    cache.run_pending();
    cache
}

fn options(name: &str) -> SaveOptions {
    SaveOptions::new(Serializers::standard().get(name).expect("a standard serializer"))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn throughput(args: &Args, serializer: &str) {
    let cache = filled(args.entries);
    let (mut saves, mut loads, mut bytes) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..args.rounds {
        bytes.clear();
        let start = Instant::now();
        cache.save_to(&mut bytes, &options(serializer)).expect("memory takes all");
        saves.push(bytes.len() as f64 / start.elapsed().as_secs_f64() / 1e6);
        let target: Cache<String, String> = Cache::builder()
            .capacity(cache.capacity().unwrap_or(1))
            .partitions(1)
            .build()
            .expect("a valid configuration");
        let start = Instant::now();
        target.load_from(&*bytes, &RestoreOptions::new()).expect("just saved");
        loads.push(bytes.len() as f64 / start.elapsed().as_secs_f64() / 1e6);
    }
    let (save, load, size) = (median(saves), median(loads), bytes.len() as f64 / 1e6);
    println!("{serializer}: {size:.0} MB, save {save:.0} MB/s, load {load:.0} MB/s");
}

/// One thread does lookups while another alternates between saving and sleeping.
fn lookups_while_saving(args: &Args) {
    let cache = filled(args.entries);
    let keys: Vec<String> = (0..args.entries).step_by(97).map(|n| format!("key {n:012}")).collect();
    let (done, gets) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut ratios = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for key in &keys {
                    black_box(cache.read(key.as_str(), String::len));
                }
                gets.fetch_add(keys.len() as u64, Ordering::Relaxed);
            }
        });
        let rate = |work: &mut dyn FnMut()| {
            let (start, before) = (Instant::now(), gets.load(Ordering::Relaxed));
            work();
            (gets.load(Ordering::Relaxed) - before) as f64 / start.elapsed().as_secs_f64()
        };
        for _ in 0..args.rounds {
            let alone = rate(&mut || std::thread::sleep(Duration::from_millis(500)));
            let beside = rate(&mut || {
                cache.save_to(std::io::sink(), &options("bincode")).expect("a sink takes all");
            });
            ratios.push(beside / alone);
        }
        done.store(true, Ordering::Relaxed);
    });
    println!("lookups while saving: {:.0} % of their rate alone", 100.0 * median(ratios));
}

/// Measures the two sizes in turns.
fn insertions_at_capacity(args: &Args) {
    const INSERTIONS: u64 = 200_000;
    let cache = |max_size: usize| {
        let config = QuickCacheConfig::builder().max_size(max_size).build();
        let config = config.expect("a valid configuration");
        let cache: QuickCache<u64> = QuickCache::new(config).expect("a valid configuration");
        for n in 0..max_size as u64 {
            cache.set(format!("old {n}"), n, None).expect("a valid time to live");
        }
        cache
    };
    let (small, large) = (cache(1000), cache(100_000));
    let mut next = 0;
    let mut nanoseconds = |cache: &QuickCache<u64>| {
        let start = Instant::now();
        for n in next..next + INSERTIONS {
            cache.set(format!("new {n}"), n, None).expect("a valid time to live");
        }
        next += INSERTIONS;
        start.elapsed().as_secs_f64() * 1e9 / INSERTIONS as f64
    };
    let rounds: Vec<_> =
        (0..args.rounds).map(|_| (nanoseconds(&small), nanoseconds(&large))).collect();
    let at_1000 = median(rounds.iter().map(|it| it.0).collect());
    let at_100_000 = median(rounds.iter().map(|it| it.1).collect());
    let ratio = median(rounds.iter().map(|it| it.1 / it.0).collect());
    println!(
        "QuickCache, set of a new key when full: {at_1000:.0} ns at 1,000, {at_100_000:.0} ns at \
         100,000: {ratio:.2} times"
    );
}
