//! The comparison with other libraries as JSON, tables and plots.
//!
//! Measures what `compare` does, then the latencies of single operations on the same contenders, and
//! last the memory of an entry. Everything goes into one folder, with the machine and the command.

#![forbid(unsafe_code)]

// The pages.
mod plots;
mod markdown;
mod json;
// What they show.
mod results;
// What is measured by another program.
mod memory;

use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use clap::builder::RangedU64ValueParser;
use larder_benches::contender::{Hashing, Name};
use larder_benches::rounds::{AllInputs, Plan, measure_rounds, name_of};
use larder_benches::stopwatch::clock_cost_ns;
use larder_benches::workload::Workload;

use self::results::{Conditions, Results, load_average};

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ALLOCATOR_NAME: &str = if cfg!(feature = "mimalloc") { "mimalloc" } else { "system" };

/// Compares larder with other libraries: throughput, hit ratio, latency and memory.
#[derive(Debug, Parser)]
#[command(about)]
struct Options {
    /// The folder for `report.json`, `report.md`, `throughput.svg`, `latency.svg` and `memory.svg`
    #[arg(long)]
    out: PathBuf,
    /// Shows that everything works, in minutes; what it measures means little
    #[arg(long)]
    quick: bool,
    /// What to measure [default: all]
    #[arg(long, value_delimiter = ',')]
    workload: Vec<Workload>,
    /// The contenders [default: larder with four policies, the peers and the maps]
    #[arg(long, value_delimiter = ',')]
    contenders: Vec<Name>,
    /// Numbers of threads to measure with
    #[arg(long, value_delimiter = ',', default_value = "1,2,16", value_parser = at_least_one())]
    threads: Vec<usize>,
    /// How often each contender is built and measured [default: 5, or 1 with --quick]
    #[arg(long, value_parser = at_least_one())]
    rounds: Option<usize>,
    /// How long a rate is measured, after a fifth of it as warm-up [default: 300, or 40]
    #[arg(long)]
    millis: Option<u64>,
    /// How long latencies are recorded, after a fifth of it as warm-up [default: 200, or 40]
    #[arg(long)]
    latency_millis: Option<u64>,
    /// The entries whose memory is counted [default: 1000000, or 100000]
    #[arg(long)]
    entries: Option<usize>,
}

fn at_least_one() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..)
}

fn main() -> ExitCode {
    match run(Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut options: Options) -> Result<(), Box<dyn Error>> {
    if options.workload.is_empty() {
        options.workload = Workload::ALL.to_vec();
    }
    if options.contenders.is_empty() {
        options.contenders = Name::DEFAULT.to_vec();
    }
    options.threads.sort_unstable();
    options.threads.dedup();
    // Before the measurement, so that it is not lost for a folder that cannot be made.
    fs::create_dir_all(&options.out)?;
    let results = measure(&options)?;
    let write = |name, text: String| fs::write(options.out.join(name), text);
    write("report.json", json::render(&results))?;
    write("report.md", markdown::render(&results))?;
    write("throughput.svg", plots::throughput(&results)?)?;
    write("latency.svg", plots::latency(&results)?)?;
    write("memory.svg", plots::memory(&results)?)?;
    Ok(())
}

fn measure(options: &Options) -> Result<Results, Box<dyn Error>> {
    let quick = options.quick;
    let millis = options.millis.unwrap_or(if quick { 40 } else { 300 });
    let latency_millis = options.latency_millis.unwrap_or(if quick { 40 } else { 200 });
    let entries = options.entries.unwrap_or(if quick { 100_000 } else { 1_000_000 });
    let plan = Plan {
        contenders: options.contenders.clone(),
        threads: options.threads.clone(),
        rounds: options.rounds.unwrap_or(if quick { 1 } else { 5 }),
        duration: Duration::from_millis(millis),
        timed: Some(Duration::from_millis(latency_millis)),
        hashing: Hashing::Own,
    };
    // First, so that a missing program is noticed at once.
    let memory = memory::measure(&plan.contenders, entries)?;
    let load_before = load_average();
    let clock_cost_ns = clock_cost_ns();
    let inputs = AllInputs::default();
    let mut series = Vec::new();
    for &workload in &options.workload {
        series.extend(measure_rounds(&plan, workload, &inputs, |round| {
            eprintln!("{}: round {round} of {}", name_of(workload), plan.rounds);
        }));
    }
    let conditions = Conditions::new(ALLOCATOR_NAME, clock_cost_ns, load_before, load_average());
    Ok(Results { plan, conditions, series, entries, memory })
}
