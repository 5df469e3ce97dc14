//! The cost of shadows for hits: caches with and without them are measured in turns in one process.

#![forbid(unsafe_code)]

use std::time::Duration;

use clap::Parser;
use larder::{Cache, ShadowConfig};
use larder_benches::keys::zipf;
use larder_benches::measure::{BATCH, measure};
use larder_benches::report::{median, median_ratio, range};

/// Compares the throughput of hits with and without shadow caches.
#[derive(Debug, Parser)]
#[command(about)]
struct Options {
    /// Entries of the cache, all of them resident
    #[arg(long, default_value_t = 131_072)]
    capacity: usize,
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// How often both are measured
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// How long one measurement takes, after a fifth of it as warm-up
    #[arg(long, default_value_t = 300)]
    millis: u64,
    /// How often all caches are rebuilt, because chance decides which keys, and so how many
    /// lookups, are sampled
    #[arg(long, default_value_t = 5)]
    caches: usize,
    /// Entries of each shadow [default: the library's]
    #[arg(long)]
    sample_entries: Option<usize>,
}

type Hits = Cache<u64, u64>;

/// The caches that are measured in turns.
const NAMES: [&str; 3] = ["without shadows", "without shadows, again", "with shadows"];

fn main() -> Result<(), larder::BuildError> {
    let options = Options::parse();
    let keys: Vec<Vec<u64>> = (0..options.threads as u64)
        .map(|thread| zipf(options.capacity as u64, 1 << 20, thread))
        .collect();
    let mut rates = [const { Vec::new() }; 3];
    for _ in 0..options.caches.max(1) {
        let caches = build(&options)?;
        for round in 0..options.rounds {
            for turn in 0..caches.len() {
                let index = (round + turn) % caches.len();
                rates[index].push(rate(&caches[index], &keys, &options));
            }
        }
        if let Some(report) = caches[2].shadow_report() {
            println!(
                "{} lookups, {} recorded, {} dropped, {} bytes",
                report.lookups, report.records, report.dropped, report.bytes
            );
        }
    }
    for (name, rates) in NAMES.iter().zip(&rates) {
        let (least, most) = range(rates);
        println!("{name}: {:.2} million hits a second ({least:.2} to {most:.2})", median(rates));
    }
    println!("with / without, median of the rounds: {:.4}", median_ratio(&rates[2], &rates[0]));
    println!("without / without, the same: {:.4}", median_ratio(&rates[1], &rates[0]));
    Ok(())
}

fn build(options: &Options) -> Result<[Hits; 3], larder::BuildError> {
    let mut config = ShadowConfig::new();
    if let Some(entries) = options.sample_entries {
        config = config.sample_entries(entries);
    }
    // One partition, because keys that are split unevenly over several would not all fit.
    let builder = || Cache::builder().capacity(options.capacity).partitions(1);
    let caches: [Hits; 3] =
        [builder().build()?, builder().build()?, builder().shadow(config).build()?];
    for cache in &caches {
        for number in 0..options.capacity as u64 {
            let _ = cache.insert(larder_benches::keys::scramble(number), number);
        }
        cache.run_pending();
    }
    Ok(caches)
}

/// Millions of hits per second.
fn rate(cache: &Hits, keys: &[Vec<u64>], options: &Options) -> f64 {
    let duration = Duration::from_millis(options.millis);
    let worker = |thread: usize| {
        let (cache, keys) = (cache.clone(), &keys[thread]);
        let mut batches = keys.chunks_exact(BATCH).cycle();
        move || {
            let batch = batches.next().unwrap_or_default();
            batch.iter().filter(|key| cache.get(*key).is_some()).count() as u64
        }
    };
    let rate = measure(options.threads, duration / 5, duration, worker);
    assert!(rate.hit_ratio() > 0.999, "{} of the lookups hit", rate.hit_ratio());
    rate.operations_per_second / 1e6
}
