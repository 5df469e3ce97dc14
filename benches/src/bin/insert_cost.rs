//! The cost of a builder option for insertions of new keys into a full cache: caches with and
//! without it are measured in turns in one process.

#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::{Parser, ValueEnum};
use larder::{Cache, Policy};
use larder_benches::keys::scramble;
use larder_benches::measure::{BATCH, measure};
use larder_benches::report::{median, median_ratio, range};

/// Compares the throughput of insertions with and without an option of the builder.
#[derive(Debug, Parser)]
#[command(about)]
struct Options {
    #[arg(value_enum)]
    what: What,
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
    #[arg(long, default_value = "window_tiny_lfu")]
    policy: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum What {
    /// Nothing: shows the noise of the figures
    Control,
    /// `explain_misses` for as many removals as the capacity
    Explain,
}

type Inserts = Cache<u64, u64>;

fn main() -> Result<(), larder::BuildError> {
    let options = Options::parse();
    let builder =
        || Cache::builder().capacity(options.capacity).policy(Policy::named(&options.policy));
    let plain: Inserts = builder().build()?;
    let other: Inserts = match options.what {
        What::Control => builder(),
        What::Explain => builder().explain_misses(options.capacity),
    }
    .build()?;
    let next = AtomicU64::new(0);
    let duration = Duration::from_millis(options.millis);
    let rate = |cache: &Inserts| {
        let worker = |_| {
            let (cache, next) = (cache.clone(), &next);
            move || {
                let first = next.fetch_add(BATCH as u64, Ordering::Relaxed);
                for number in first..first + BATCH as u64 {
                    let _ = cache.insert(scramble(number), number);
                }
                BATCH as u64
            }
        };
        measure(options.threads, duration / 5, duration, worker).operations_per_second / 1e6
    };
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for round in 0..options.rounds {
        if round % 2 == 0 {
            without.push(rate(&plain));
            with.push(rate(&other));
        } else {
            with.push(rate(&other));
            without.push(rate(&plain));
        }
    }
    for (name, rates) in [("without", &without), ("with", &with)] {
        let (least, most) = range(rates);
        println!(
            "{name}: {:.2} million insertions a second ({least:.2} to {most:.2})",
            median(rates)
        );
    }
    println!("with / without, median of the rounds: {:.4}", median_ratio(&with, &without));
    Ok(())
}
