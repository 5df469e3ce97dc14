//! Whether memory stays flat while all cores insert new keys into a small cache.
//!
//! Every insert makes garbage: the victim, whose value owns heap memory. If reclamation or the
//! write buffers fall behind, resident memory grows. It is sampled each second, and the run fails
//! if after the warm-up it exceeds its median by more than the margin.

#![forbid(unsafe_code)]

use std::error::Error;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use larder::{Cache, Maintenance};
use larder_benches::keys::scramble;
use larder_benches::report::{Table, median, range};
use larder_benches::resident::resident_kib;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Seconds before samples count; at most a quarter of the run.
const WARM_UP_SECONDS: u64 = 5;
/// Inserts between two checks of the stop flag.
const BATCH: u64 = 1_024;
const KIB: f64 = 1_024.0;

/// Inserts new keys from all cores and watches resident memory.
#[derive(Debug, Parser)]
#[command(about)]
struct Options {
    /// How long to insert
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Entries that the cache may hold
    #[arg(long, default_value_t = 1_000)]
    capacity: usize,
    /// Threads that insert [default: one for each core]
    #[arg(long)]
    threads: Option<usize>,
    /// Run without the maintenance thread
    #[arg(long)]
    inline: bool,
    /// How far resident memory may exceed its median after the warm-up
    #[arg(long, default_value_t = 16.0)]
    margin_mib: f64,
}

/// A value that owns heap memory, so that a leak of values shows in resident memory and not only in
/// counters.
type Heap = Box<[u8; 64]>;

/// The state at the end of one second.
struct Sample {
    resident_mib: f64,
    waiting_kib: f64,
    entries: usize,
    minserts: f64,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns whether memory stayed flat.
fn run(options: &Options) -> Result<bool, Box<dyn Error>> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let threads = options.threads.unwrap_or(cores);
    let maintenance = if options.inline { Maintenance::Inline } else { Maintenance::Background };
    let builder = Cache::<u64, Heap>::builder();
    let cache = builder.capacity(options.capacity).maintenance(maintenance).build()?;
    println!(
        "{threads} threads on {cores} cores, {} s, capacity {}, {} policy, {} partition(s), {maintenance:?} maintenance\n",
        options.seconds,
        options.capacity,
        cache.policy_name(),
        cache.partitions(),
    );
    let samples = storm(&cache, threads, options.seconds)?;
    let warm = WARM_UP_SECONDS.min(options.seconds / 4) as usize;
    println!("{}", render(&samples));
    cache.run_pending();
    println!(
        "after run_pending: {} entries, {:.1} KiB waiting",
        cache.len(),
        cache.stats().waiting_bytes() as f64 / KIB
    );
    Ok(is_flat(&samples[warm.min(samples.len())..], options.margin_mib))
}

fn storm(
    cache: &Cache<u64, Heap>,
    threads: usize,
    seconds: u64,
) -> Result<Vec<Sample>, std::io::Error> {
    let stop = AtomicBool::new(false);
    let inserted = AtomicU64::new(0);
    thread::scope(|scope| {
        for thread in 0..threads as u64 {
            let (stop, inserted) = (&stop, &inserted);
            scope.spawn(move || {
                let mut number = thread << 40;
                // Relaxed: a flag only.
                while !stop.load(Ordering::Relaxed) {
                    for number in number..number + BATCH {
                        let _ = cache.insert(scramble(number), Box::new([number as u8; 64]));
                    }
                    number += BATCH;
                    inserted.fetch_add(BATCH, Ordering::Relaxed);
                }
            });
        }
        let samples = watch(cache, &inserted, seconds);
        stop.store(true, Ordering::Relaxed);
        samples
    })
}

/// Samples at the end of each second.
fn watch(
    cache: &Cache<u64, Heap>,
    inserted: &AtomicU64,
    seconds: u64,
) -> Result<Vec<Sample>, std::io::Error> {
    let started = Instant::now();
    let mut samples = Vec::with_capacity(seconds as usize);
    let mut before = 0;
    for second in 1..=seconds {
        let next = Duration::from_secs(second);
        thread::sleep(next.saturating_sub(started.elapsed()));
        let now = inserted.load(Ordering::Relaxed);
        samples.push(Sample {
            resident_mib: resident_kib()? as f64 / KIB,
            waiting_kib: cache.stats().waiting_bytes() as f64 / KIB,
            entries: cache.len(),
            minserts: (now - before) as f64 / 1e6,
        });
        before = now;
    }
    Ok(samples)
}

fn render(samples: &[Sample]) -> String {
    let mut table = Table::new(["second", "resident MiB", "waiting KiB", "entries", "M inserts/s"]);
    for (index, sample) in samples.iter().enumerate() {
        table.row(vec![
            (index + 1).to_string(),
            format!("{:.1}", sample.resident_mib),
            format!("{:.1}", sample.waiting_kib),
            sample.entries.to_string(),
            format!("{:.2}", sample.minserts),
        ]);
    }
    table.render()
}

/// Judges the samples after the warm-up and prints the verdict.
fn is_flat(samples: &[Sample], margin_mib: f64) -> bool {
    let resident: Vec<f64> = samples.iter().map(|sample| sample.resident_mib).collect();
    let (least, most) = range(&resident);
    let middle = median(&resident);
    let is_flat = !samples.is_empty() && most <= middle + margin_mib;
    println!(
        "resident once warm: least {least:.1}, median {middle:.1}, most {most:.1} MiB; \
         {}: at most {margin_mib:.1} MiB above the median",
        if is_flat { "flat" } else { "NOT FLAT" }
    );
    is_flat
}
