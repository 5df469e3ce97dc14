//! What shadows cost hits: the same cache with and without, in turns, in one process.

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
    /// Measures two caches without shadows: what the figures are without a difference
    #[arg(long)]
    control: bool,
    /// Entries of each shadow [default: the library's]
    #[arg(long)]
    sample_entries: Option<usize>,
}

type Hits = Cache<u64, u64>;

fn main() -> Result<(), larder::BuildError> {
    let options = Options::parse();
    let mut shadow = ShadowConfig::new();
    if let Some(entries) = options.sample_entries {
        shadow = shadow.sample_entries(entries);
    }
    // One partition: a capacity split unevenly by hash would not hold all keys.
    let plain: Hits = Cache::builder().capacity(options.capacity).partitions(1).build()?;
    let mut builder = Cache::builder().capacity(options.capacity).partitions(1);
    if !options.control {
        builder = builder.shadow(shadow);
    }
    let shadowed: Hits = builder.build()?;
    let keys: Vec<Vec<u64>> = (0..options.threads as u64)
        .map(|thread| zipf(options.capacity as u64, 1 << 20, thread))
        .collect();
    for cache in [&plain, &shadowed] {
        for number in 0..options.capacity as u64 {
            let _ = cache.insert(larder_benches::keys::scramble(number), number);
        }
        cache.run_pending();
    }
    let duration = Duration::from_millis(options.millis);
    let rate = |cache: &Hits| {
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
    };
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for round in 0..options.rounds {
        if round % 2 == 0 {
            without.push(rate(&plain));
            with.push(rate(&shadowed));
        } else {
            with.push(rate(&shadowed));
            without.push(rate(&plain));
        }
    }
    for (name, rates) in [("without shadows", &without), ("with shadows", &with)] {
        let (least, most) = range(rates);
        println!("{name}: {:.2} million hits a second ({least:.2} to {most:.2})", median(rates));
    }
    println!("with / without, median of the rounds: {:.4}", median_ratio(&with, &without));
    if let Some(report) = shadowed.shadow_report() {
        println!(
            "{} lookups, {} recorded, {} dropped, {} bytes",
            report.lookups, report.records, report.dropped, report.bytes
        );
    }
    Ok(())
}
