//! Throughput of larder and its peers, contender by contender in one process.
//!
//! The quick table of ratios. `report` measures the same and latencies and memory too.

#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::thread;
use std::time::Duration;

use clap::Parser;
use clap::builder::RangedU64ValueParser;
use larder_benches::contender::{Hashing, Kind, Name};
use larder_benches::report::{Table, median, median_ratio, range};
use larder_benches::rounds::{AllInputs, Plan, Series, measure_rounds, name_of};
use larder_benches::workload::{Against, Workload};
use serde_json::{Value as Json, json};

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ALLOCATOR_NAME: &str = if cfg!(feature = "mimalloc") { "mimalloc" } else { "system" };

/// Compares the throughput of larder with its peers.
#[derive(Debug, Parser)]
#[command(about)]
struct Options {
    /// What to measure [default: all]
    #[arg(long, value_delimiter = ',')]
    workload: Vec<Workload>,
    /// Numbers of threads to measure with
    #[arg(long, value_delimiter = ',', default_value = "1,2", value_parser = at_least_one())]
    threads: Vec<usize>,
    /// The contenders [default: larder with four policies, the peers and the maps]
    #[arg(long, value_delimiter = ',')]
    contenders: Vec<Name>,
    /// How often each contender is built and measured
    #[arg(long, default_value_t = 5, value_parser = at_least_one())]
    rounds: usize,
    /// How long one measurement takes, after a fifth of it as warm-up
    #[arg(long, default_value_t = 500)]
    millis: u64,
    /// The contender of the first column of ratios
    #[arg(long, default_value = "quick-cache")]
    baseline: Name,
    /// Gives `ahash::RandomState` to all contenders that take a hasher, instead of their own
    #[arg(long)]
    same_hasher: bool,
    /// Prints one JSON object, with the rate of every round, instead of tables
    #[arg(long)]
    json: bool,
}

fn at_least_one() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..)
}

fn main() -> io::Result<()> {
    let mut options = Options::parse();
    if options.workload.is_empty() {
        options.workload = Workload::ALL.to_vec();
    }
    if options.contenders.is_empty() {
        options.contenders = Name::DEFAULT.to_vec();
    }
    let plan = Plan {
        contenders: options.contenders.clone(),
        threads: options.threads.clone(),
        rounds: options.rounds,
        duration: Duration::from_millis(options.millis),
        timed: None,
        hashing: hashing(&options),
    };
    let inputs = AllInputs::default();
    let mut results = Vec::new();
    let mut out = io::stdout().lock();
    for &workload in &options.workload {
        let series = measure_rounds(&plan, workload, &inputs, |round| {
            if !options.json {
                eprintln!("{}: round {round} of {}", name_of(workload), options.rounds);
            }
        });
        if options.json {
            results.extend(series.iter().map(|one| to_json(&options, &series, one)));
        } else {
            for &threads in &options.threads {
                write!(out, "{}", to_text(&options, &series, workload, threads))?;
            }
        }
    }
    if options.json {
        let report = json!({
            "rounds": options.rounds,
            "millis": options.millis,
            "same_hasher": options.same_hasher,
            "allocator": ALLOCATOR_NAME,
            "cores": cores(),
            "results": results,
        });
        writeln!(out, "{report}")?;
    }
    Ok(())
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// The medians of the ratios of a series to those that it is compared with, if they take part.
struct Ratios {
    baseline: Option<f64>,
    best_peer: Option<f64>,
    best_map: Option<f64>,
}

impl Ratios {
    fn new(options: &Options, series: &[Series], one: &Series) -> Self {
        let is_baseline = |other: &&Series| other.name == options.baseline && one.is_beside(other);
        let baseline = series.iter().find(is_baseline);
        Self {
            baseline: baseline.map(|other| median_ratio(&one.mops, &other.mops)),
            best_peer: one.ratio_to_best(series, Kind::Peer),
            best_map: one.ratio_to_best(series, Kind::Map),
        }
    }
}

fn hashing(options: &Options) -> Hashing {
    if options.same_hasher { Hashing::Same } else { Hashing::Own }
}

fn to_text(options: &Options, series: &[Series], workload: Workload, threads: usize) -> String {
    let against = options.baseline.to_string();
    let mut table = Table::new([
        "contender",
        "M ops/s",
        "least",
        "most",
        "ns/op",
        "hits %",
        &format!("/ {against}"),
        "/ best peer",
        "/ best map",
        "hasher",
    ]);
    let ratio = |ratio: Option<f64>| ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}"));
    for one in series.iter().filter(|one| one.threads == threads) {
        let rate = median(&one.mops);
        let (least, most) = range(&one.mops);
        let ratios = Ratios::new(options, series, one);
        table.row(vec![
            one.name.to_string(),
            format!("{rate:.2}"),
            format!("{least:.2}"),
            format!("{most:.2}"),
            format!("{:.1}", threads as f64 * 1e3 / rate),
            one.hit_ratio().map_or("-".to_owned(), |ratio| format!("{:.2}", 100.0 * ratio)),
            ratio(ratios.baseline),
            ratio(ratios.best_peer),
            ratio(ratios.best_map),
            one.name.hasher(hashing(options)).to_owned(),
        ]);
    }
    let goal = workload.goal().map_or(String::new(), |(goal, against)| {
        let against = match against {
            Against::QuickCache => "quick-cache",
            Against::BestPeer => "the best peer",
        };
        format!("goal: at least {goal:.1} times {against}\n")
    });
    format!(
        "\n{}, {threads} thread{} on {} cores, {} rounds of {} ms, allocator: {ALLOCATOR_NAME}\n\
         {goal}{}",
        name_of(workload),
        if threads == 1 { "" } else { "s" },
        cores(),
        options.rounds,
        options.millis,
        table.render(),
    )
}

fn to_json(options: &Options, series: &[Series], one: &Series) -> Json {
    let ratios = Ratios::new(options, series, one);
    json!({
        "workload": name_of(one.workload),
        "threads": one.threads,
        "contender": one.name.to_string(),
        "hasher": one.name.hasher(hashing(options)),
        "mops": one.mops,
        "median_mops": median(&one.mops),
        "write_mops": one.write_mops,
        "hit_ratio": one.hit_ratio(),
        "baseline": options.baseline.to_string(),
        "ratio_to_baseline": ratios.baseline,
        "ratio_to_best_peer": ratios.best_peer,
        "ratio_to_best_map": ratios.best_map,
    })
}
